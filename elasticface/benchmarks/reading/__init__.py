"""Large files of benchmarks: tables of numbers, and features a row an image."""
