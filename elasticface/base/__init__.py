"""What everything stands on: errors, files, locks, progress, worker processes, keyed random numbers."""
