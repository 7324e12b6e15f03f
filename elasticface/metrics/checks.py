"""What the figures' rooms share: pairs and ids as they should come in, rows at unit length."""

from typing import Any

import numpy as np
import numpy.typing as npt


def checked_pairs(
    values: npt.ArrayLike, same: npt.ArrayLike, name: str
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Values as a finite float array [P], and ``same`` as bool [P]."""
    numbers, labels = np.asarray(values), np.asarray(same)
    if numbers.ndim != 1 or numbers.shape != labels.shape:
        raise ValueError(f"{name} and same must both be [P], got shapes {numbers.shape} and {labels.shape}")
    if not np.issubdtype(numbers.dtype, np.floating):
        numbers = numbers.astype(np.float64)
    broken = len(numbers) - int(np.count_nonzero(np.isfinite(numbers)))
    if broken:
        raise ValueError(f"{broken} of {len(numbers)} {name} are NaN or inf")
    genuine = labels.astype(np.bool_)
    if labels.dtype != np.bool_ and np.any(labels != genuine):
        raise ValueError("same must hold bools, or 0 and 1 alone")
    return numbers, genuine


def checked_trials(
    values: npt.ArrayLike, same: npt.ArrayLike, enrolled: npt.ArrayLike | None, name: str
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_], npt.NDArray[np.bool_] | None]:
    """``checked_pairs``, and which of the pairs were enrolled [P]: None for all. The others' values are not looked at.

    A pair of which a photo gave no embedding, say since no face was found in it, is accepted by no threshold, as NIST's
    FRTE counts a failure to enrol: a genuine one is a false non-match everywhere, an impostor a true non-match.
    """
    if enrolled is None:
        return *checked_pairs(values, same, name), None
    numbers, there = np.asarray(values), np.asarray(enrolled, np.bool_)
    if there.shape != numbers.shape:
        raise ValueError(f"{name} and enrolled must both be [P], got shapes {numbers.shape} and {there.shape}")
    return *checked_pairs(np.where(there, numbers, 0), same, name), None if there.all() else there


def checked_ids(values: npt.ArrayLike, count: int, name: str, of: str) -> npt.NDArray[np.integer[Any]]:
    """Ids as an int array [count], one per row of ``of``."""
    ids = np.asarray(values)
    if ids.shape != (count,):
        raise ValueError(f"{name} must hold one id per row of {of}, [{count}], got shape {ids.shape}")
    if not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"{name} must be ints, got {ids.dtype}")
    return ids


def checked_rows(values: npt.ArrayLike, name: str) -> npt.NDArray[np.floating[Any]]:
    """Vectors as a float32 or float64 array [N, D] without NaN or inf."""
    rows = floats(values)
    if rows.ndim != 2:
        raise ValueError(f"{name} must be [N, D], got shape {rows.shape}")
    if not np.isfinite(rows).all():
        broken = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        raise ValueError(
            f"{len(broken)} of {len(rows)} rows of {name} hold NaN or inf, the first is row {broken[0]}, from 0"
        )
    return rows


def checked_rates(values: npt.ArrayLike, name: str) -> npt.NDArray[np.float64]:
    """Target rates as float64 in [0, 1], of any shape."""
    rates = np.asarray(values, dtype=np.float64)
    if not np.all((rates >= 0) & (rates <= 1)):
        raise ValueError(f"{name} must lie in [0, 1], got {rates.tolist()}")
    return rates


def floats(values: npt.ArrayLike) -> npt.NDArray[np.floating[Any]]:
    """float32 and float64 as they are, anything else as float64."""
    array = np.asarray(values)
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)


def most_within(rates: npt.NDArray[np.float64], total: int) -> npt.NDArray[np.int64]:
    """The largest counts n in 0..total with n / total <= rate as float64 divides, of the shape of ``rates``."""
    counts = np.floor(rates * total).astype(np.int64)
    counts -= counts / total > rates  # the product rounds to either side
    counts += (counts + 1) / total <= rates
    return np.minimum(counts, total)


def unit_rows(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Rows scaled to length 1; a zero row stays zero."""
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    return rows / np.where(lengths > 0, lengths, 1.0)[:, None]
