"""Bounds that several packages hold to."""

MAX_EMBEDDING_SIZE = 1 << 16  # what a model card admits, and so what a run may train
