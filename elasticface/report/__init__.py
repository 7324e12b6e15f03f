"""Figures -> a page, tables and files that one reads: of one model, or of several compared."""
