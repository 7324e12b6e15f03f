"""Bounds that several packages hold to."""

LONGEST_EMBEDDING = 1 << 16  # what a model card admits, and so what a run may train
