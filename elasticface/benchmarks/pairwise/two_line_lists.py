"""The lists of pairs of CALFW and CPLFW as their authors publish them: two lines a pair, the genuine pairs first.

    Carl_Reiner_0001.jpg 1        pairs_CALFW.txt: a photo and, of a genuine pair, its fold, 1 to 10; of an impostor, 0
    Carl_Reiner_0003.jpg 1
    AJ_Cook_1.jpg 1               pairs_CPLFW.txt: 1 of a genuine pair, 0 of an impostor
    AJ_Cook_2.jpg 1

There is no first line of another kind. Where the list does not say the fold, it is by the pair's place among those of
its kind: of 3,000 each, the first 300 are of the first fold.
"""

from collections.abc import Sequence

from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.data.images.listed import Finder, numbered_rows, without_suffix

FILES = ("pairs_CALFW.txt", "pairs_CPLFW.txt")
FOLDS = 10

_Pair = tuple[str, str, bool]  # two photos, and whether they are of one person


def is_two_line(text: str) -> bool:
    """Whether a list of pairs is of this kind: it begins with a photo and a number, where LFW's has two numbers."""
    first = next((line.split() for _, line in numbered_rows(text)), [])
    return len(first) == 2 and not first[0].isdecimal() and _is_kind(first[1])


def read_two_line(text: str, source: str, names: Sequence[str]) -> list[_Pair]:
    """The pairs [P] in ten contiguous folds, each with its genuine pairs first.

    Args:
        text: content of the file.
        source: its name, for messages.
        names: the photos there are; those of the list may have another image suffix, and lie in a folder.

    Raises:
        InputError: a row that is none, or that names a photo that is not there; two lines of a pair that differ in
            their number; a genuine pair after an impostor or in another place than its fold has; not as many genuine
            as impostor pairs, or not a tenth of them for each fold.
    """
    photos = _Photos(names)
    rows = [(row, line.split()) for row, line in numbered_rows(text)]
    genuine: list[_Pair] = []
    impostor: list[_Pair] = []
    numbers: list[tuple[int, int]] = []  # of each genuine pair its row, and what stands there
    for at in range(0, len(rows), 2):
        two = [(row, *_photo_and_number(words, f"{source}, row {row}")) for row, words in rows[at : at + 2]]
        row, _, number = two[0]
        if len(two) == 1:
            raise InputError(f"{source}, row {row}: a photo alone, where a pair has two lines; fetch the list again")
        if two[1][2] != number:
            raise InputError(
                f"{source}, row {two[1][0]}: {two[1][2]} where the other line of the pair, row {row}, has {number}"
            )
        if number and impostor:
            raise InputError(f"{source}, row {row}: a genuine pair after impostors; the genuine ones come first")
        first, second = (photos.find(name, f"{source}, row {row}") for row, name, _ in two)
        (genuine if number else impostor).append((first, second, number > 0))
        if number:
            numbers.append((row, number))
    if len(genuine) != len(impostor) or len(genuine) % FOLDS or not genuine:
        raise InputError(
            f"{source}: {len(genuine)} genuine and {len(impostor)} impostor pairs; {FOLDS} folds need as many of each, "
            "in tenths; fetch the list again"
        )
    size = len(genuine) // FOLDS
    says_folds = any(number > 1 for _, number in numbers)  # as CALFW's does
    for place, (row, number) in enumerate(numbers if says_folds else ()):
        if number != 1 + place // size:
            raise InputError(f"{source}, row {row}: fold {number} where a pair of fold {1 + place // size} belongs")
    starts = range(0, len(genuine), size)
    return [pair for start in starts for kind in (genuine, impostor) for pair in kind[start : start + size]]


class _Photos:
    """The photos there are, by name, or else by the name alone of one that lies in a folder."""

    def __init__(self, names: Sequence[str]) -> None:
        self._finder = Finder(names)
        self._anywhere: dict[str, list[str]] = {}
        for name in names:
            self._anywhere.setdefault(without_suffix(name.rpartition("/")[2]), []).append(name)

    def find(self, name: str, where: str) -> str:
        photo = self._finder.find(name.removeprefix("./"))
        if photo is not None:
            return photo
        found = self._anywhere.get(without_suffix(name), [])
        if len(found) == 1:
            return found[0]
        if found:
            both = " and ".join(printable(one, 100) for one in found[:2])
            raise InputError(f"{where}: both {both} may be {printable(name, 100)}; give the folder of one as BENCHMARK")
        raise InputError(f"{where}: no photo {printable(name, 100)} there; add it")


def _photo_and_number(words: list[str], where: str) -> tuple[str, int]:
    if len(words) != 2 or not _is_kind(words[1]):
        raise InputError(f"{where}: not `photo n` with n from 0 to {FOLDS}: {printable(' '.join(words)[:100])}")
    return words[0], int(words[1])


def _is_kind(text: str) -> bool:
    return text in {str(number) for number in range(FOLDS + 1)}
