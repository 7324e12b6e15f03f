"""Memory that a process frees and needs again a moment later, as a training on a CPU does at every step."""

import ctypes
import sys

# Of glibc's malloc.h. Memory at the end of the heap goes back to the system above the first threshold; what is larger
# than the second gets pages of its own, which go back as soon as it is freed.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_NEVER, _LARGE = 2**31 - 1, 1 << 30  # bytes


def keep_freed_memory() -> None:
    """Let this process keep what it frees, up to the most that it has ever had: nothing where there is no glibc.

    Otherwise the system takes the pages of a step's activations back, and makes them anew for the next step, which took
    a fifth of the time of a step of `tiny`.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(_TRIM_THRESHOLD, _NEVER)
        mallopt(_MMAP_THRESHOLD, _LARGE)
