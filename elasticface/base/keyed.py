"""Randomness that belongs to a position, not to a device or a history.

Every random decision of a run (margins, order of images, flips, dropout) is drawn from a generator that is keyed by
what the decision is *for*. So a resumed run ends as an unbroken one, one process draws what N processes draw, and no
decision shifts when another one is added.
"""

import zlib

import numpy as np


def generator(seed: int, purpose: str, *position: int) -> np.random.Generator:
    """The generator of one decision.

    Args:
        seed: the run's seed, any int ≥ 0.
        purpose: what is drawn, e.g. ``"margins"``; different purposes never share a stream.
        position: where in the run, e.g. ``(step,)`` or ``(epoch,)``; ints ≥ 0.

    Raises:
        ValueError: a negative seed or position.
    """
    if seed < 0 or any(p < 0 for p in position):
        raise ValueError(f"seed and position must be >= 0, got seed {seed} and position {position}")
    words = [seed, zlib.crc32(purpose.encode()), *position]
    # As an array it is the same seed, and numpy need not make words of each int first, which takes it as long again.
    return np.random.default_rng(np.array(words, np.uint32) if max(words) < 2**32 else words)


def integer(seed: int, purpose: str, *position: int) -> int:
    """One keyed integer in [0, 2⁶³), to seed a library's own generator with."""
    return int(generator(seed, purpose, *position).integers(2**63))
