"""Data sets made from data sets: conversions, and people held out."""
