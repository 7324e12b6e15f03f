"""What a run will take, before there is a machine to run it on: memory, traffic, work."""
