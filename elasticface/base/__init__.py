"""What everything stands on: errors, files, progress, worker processes, keyed random numbers."""
