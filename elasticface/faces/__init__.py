"""A photo -> aligned faces: five landmarks a face, and the folder of what they are aligned to."""
