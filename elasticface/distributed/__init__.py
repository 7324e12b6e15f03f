"""What the processes of a run tell each other: agreements, and collective operations on tensors."""
