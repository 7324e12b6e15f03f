"""MegaFace and MegaFace (R): probes among a million distractors."""
