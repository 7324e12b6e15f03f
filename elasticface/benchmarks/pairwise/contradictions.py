"""Lists of pairs that contradict themselves: what is refused, and what is noted beside the figures.

Published lists have two flaws, and these are noted: pairs that are listed twice, which count twice, as in the field's
scripts; and folds of one kind alone, as in LFW's lists for development (`pairsDevTest.txt`), which are sorted by kind.
A pair that is both genuine and impostor is a mistake, and refused. In a pack it is noted: a pack cannot be mended, and
its images are told apart by their bytes alone.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.benchmarks.pairwise.listed_pairs import Pairs

_SHOWN = 100  # characters of a name, in messages
_LEAST = 10  # pairs of a fold, below which it may well be of one kind by chance


def check_header(source: str, listed: int, folds: int, said: int, paths: bool) -> None:
    """Refuse a list with another number of pairs than LFW's first line says: `folds pairs`, or `pairs` alone.

    Args:
        source: the list, for the message.
        listed: pairs.
        folds: of the first line; 1 where it has one number, which is of the whole list.
        said: pairs of either kind in each fold, of the first line.
        paths: whether the rows are `path path 0|1`, where that number may also be of both kinds together.

    Raises:
        InputError: they are not as many.
    """
    expected = 2 * folds * said
    if listed == expected or (paths and 2 * listed == expected):
        return
    mend = "it is cut short, fetch it again" if listed < expected else "correct that row"
    raise InputError(
        f"{source}: {listed:,} pairs, where its first line says {said:,} genuine and as many impostor pairs"
        f"{f' in each of {folds} folds' if folds > 1 else ''}, {expected:,} in all; {mend}"
    )


def check_kinds(pairs: Pairs, source: str, where: Sequence[str] | None = None) -> None:
    """Refuse a list with a pair of both kinds.

    Args:
        pairs: the list.
        source: its name, for messages.
        where: the row of each pair [P], for messages; None: they are not known.

    Raises:
        InputError: there is such a pair.
    """
    kinds: dict[frozenset[str], int] = {}  # a pair in either order -> where it comes first
    for place, (a, b, genuine) in enumerate(zip(pairs.first, pairs.second, pairs.same.tolist(), strict=True)):
        before = kinds.setdefault(frozenset((a, b)), place)
        if bool(pairs.same[before]) != genuine or (a == b and not genuine):
            label = where[place] if where else source
            both = f"{printable(a, _SHOWN)} with {printable(b, _SHOWN)}"
            if a == b:
                raise InputError(f"{label}: {both} is listed as an impostor pair; take it out")
            other = f", and in {where[before].rpartition(', ')[2]}" if where else ", and elsewhere"
            kind, opposite = ("a genuine", "an impostor")[:: 1 if genuine else -1]
            raise InputError(f"{label}: {both} is {kind} pair{other} {opposite} one; take one of them out")


def notes_on(pairs: Pairs) -> tuple[str, ...]:
    """What is to be said beside the figures of a list that can be judged."""
    times_listed = Counter(frozenset(pair) for pair in zip(pairs.first, pairs.second, strict=True))
    rows = zip(pairs.first, pairs.second, pairs.same.tolist(), strict=True)
    kinds = Counter(pair for pair, _ in {(frozenset(pair), same) for *pair, same in rows})
    both = sum(count > 1 for count in kinds.values())
    repeated = sum(count - 1 for count in times_listed.values())
    alone = sum(count for pair, count in times_listed.items() if len(pair) == 1)
    folds: list[NDArray[np.bool_]] = np.array_split(pairs.same, pairs.folds)
    one_kind = sum(bool(fold.all() or not fold.any()) for fold in folds)
    large = len(pairs.same) >= _LEAST * pairs.folds
    found = {
        f"{_counted(repeated, 'pair')} listed before already, and counted again": repeated,
        f"{_counted(both, 'pair')} listed both as genuine and as impostor": both,
        f"{_counted(alone, 'pair')} of an image with itself": alone,
        f"{one_kind} of {pairs.folds} folds have pairs of one kind alone, so the ± over folds says little": (
            one_kind if large else 0
        ),
    }
    return tuple(note for note, count in found.items() if count)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' if number != 1 else ''}"
