"""Batches for training: which images, read by whom, flipped and augmented how."""
