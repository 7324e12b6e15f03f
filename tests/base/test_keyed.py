"""elasticface.base.keyed: a decision's generator is that of its key's numbers."""

import zlib

import numpy as np
import pytest

from elasticface.base import keyed


@pytest.mark.parametrize(
    ("seed", "position"), [(0, ()), (3, (1, 2)), (2**32 - 1, (0,)), (2**32, (5,)), (7, (2**40, 1)), (2**70, ())]
)
def test_a_generator_is_numpy_s_own_of_seed_purpose_and_position(seed, position):
    """Whatever their size: what runs have drawn must not change."""
    expected = np.random.default_rng([seed, zlib.crc32(b"margins"), *position])
    assert keyed.generator(seed, "margins", *position).bit_generator.state == expected.bit_generator.state


@pytest.mark.parametrize(("seed", "position"), [(-1, ()), (0, (3, -1))])
def test_negative_keys_are_refused(seed, position):
    with pytest.raises(ValueError, match="must be >= 0"):
        keyed.generator(seed, "margins", *position)
