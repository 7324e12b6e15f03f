"""People held out of a training set, and pairs of their photos to verify a model with."""

import math
import os
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elasticface.base import files, keyed, progress
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.base.locks import new_folder
from elasticface.data.formats.folder import FolderSource

Pair = tuple[int, int]  # of images, by their place in the folder's source

_MOST_LISTED = 4_000  # people of a fold whose pairs are all listed to draw from


@dataclass(frozen=True)
class SplitSummary:
    """Who went where, and which pairs came of it."""

    seed: int
    train_people: int
    train_images: int
    heldout_people: int
    heldout_images: int
    folds: int
    pairs: int  # half of them genuine, half impostor
    disjoint_folds: bool  # whether no one is in the pairs of two folds
    genuine_people: int  # how many people the genuine pairs are of
    most_genuine_of_one: int  # how many of them are of the person with the most

    def lines(self) -> list[str]:
        """For the terminal."""
        people = "each of other people" if self.disjoint_folds else "sharing people, of whom there are too few"
        train = [f"train: {self.train_people:,} people, {self.train_images:,} images"] if self.train_people else []
        return [
            *train,
            f"heldout: {self.heldout_people:,} people, {self.heldout_images:,} images",
            f"pairs: {self.pairs // 2:,} genuine and {self.pairs // 2:,} impostor in {self.folds} folds, {people}",
            f"genuine pairs: of {self.genuine_people:,} people, at most {self.most_genuine_of_one:,} of one",
        ]


def split(
    folder: str | Path, out: str | Path, *, people: int | None, pairs: int = 6000, folds: int = 10, seed: int = 0
) -> SplitSummary:
    """Hold ``people`` of a folder of identity folders out of training, and draw verification pairs of their photos.

    Makes ``out/train/<identity>/<image>``, ``out/heldout/<identity>/<image>``, ``out/heldout/pairs.txt`` and
    ``out/split.json``, the summary. Images are hard links to the folder's where the disk allows, so they take no room,
    and are the same files: who edits one edits the other.

    ``pairs.txt`` begins with ``folds<TAB>pairs of each kind a fold``. Then each fold has its genuine pairs, and after
    them its impostor pairs, as ``path<TAB>path<TAB>1`` or ``0``, paths relative to ``out/heldout``. Everything is drawn
    by the seed and does not depend on the disk or the machine. No pair comes twice.

    - Genuine pairs are spread over people as evenly as they allow (one each in turn, as long as a person has pairs
      left): someone with n images has n(n−1)/2 pairs, so drawn from all pairs alike a few people would be nearly all.
    - Impostor pairs are spread evenly over pairs of people.
    - The folds have different people, as LFW's do: k-fold thresholds are then judged on people that they were not
      chosen on. Where that leaves a fold with too few pairs, all folds draw from all people; the summary tells.

    Args:
        folder: ``<folder>/<identity>/<image>``, read as training reads it.
        out: a folder that is not there or empty, and not inside ``folder``.
        people: how many to hold out, ≥ 2; at least two must remain. None takes all, for a folder of people to test on,
            and makes no ``out/train``.
        pairs: genuine and impostor pairs together, a multiple of 2 · ``folds``.
        folds: ≥ 2.
        seed: ≥ 0.

    Raises:
        InputError: a setting out of range, ``out`` holds something, too few people, too few pairs, or a name that
            cannot stand in ``pairs.txt``.
    """
    if not str(folder):
        raise InputError("faces are needed: give a folder of identity folders")
    folder, out = Path(folder), Path(out)
    _check_settings(pairs, folds, seed)
    if Path(os.path.realpath(out)).is_relative_to(os.path.realpath(folder)):
        raise InputError(f"{printable(out)}: lies in the folder that is split; give one outside {printable(folder)}")
    with new_folder(out, sync=False) as temporary:
        return _split(folder, temporary, people, pairs, folds, seed)


def _split(folder: Path, out: Path, people: int | None, pairs: int, folds: int, seed: int) -> SplitSummary:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* are resized")  # nothing is decoded here
        source = FolderSource(folder)
    if people is None:
        people = source.num_classes
    elif not 2 <= people <= source.num_classes - 2:
        raise InputError(
            f"people must be at least 2 and leave at least 2 to train on, got {people} of the {source.num_classes} "
            f"in {printable(folder)}"
        )
    is_file = np.array([os.path.isfile(path) for path in source.paths])
    names = [path.relative_to(source.root).as_posix() for path in source.paths]
    if len(others := np.flatnonzero(~is_file)):
        example = printable(names[others[0]])
        what = f"{len(others):,} images that are no files, such as {example}"
        warnings.warn(f"{printable(folder)}: left out: {what}", stacklevel=3)
    drawn = keyed.generator(seed, "heldout").permutation(source.num_classes)[:people]
    held_out = np.isin(source.labels, drawn)
    starts = np.searchsorted(source.labels, np.arange(source.num_classes + 1))
    everyones = [np.arange(starts[person], starts[person + 1]) for person in np.sort(drawn)]
    images = [own[is_file[own]] for own in everyones]  # one array a person
    chosen = draw_pairs(images, pairs // (2 * folds), folds, seed)
    _check_names([names[image] for image in np.flatnonzero(held_out & is_file)], folder)

    images_there = np.flatnonzero(is_file).tolist()
    for image in progress.track(images_there, "linking", len(images_there)):
        name = names[image]
        _link(source.root / name, out / ("heldout" if held_out[image] else "train") / name)
    write_pairs(out / "heldout" / "pairs.txt", chosen, names)
    per_person = np.unique([source.labels[a] for fold in chosen.genuine for a, _ in fold], return_counts=True)[1]
    summary = SplitSummary(
        seed=seed,
        train_people=source.num_classes - people,
        train_images=int((~held_out & is_file).sum()),
        heldout_people=people,
        heldout_images=int((held_out & is_file).sum()),
        folds=folds,
        pairs=pairs,
        disjoint_folds=chosen.disjoint_folds,
        genuine_people=len(per_person),
        most_genuine_of_one=int(per_person.max()),
    )
    files.write_json(out / "split.json", asdict(summary))
    os.sync()  # once for all, where one fsync a file would take milliseconds each
    return summary


@dataclass(frozen=True)
class Folds:
    """Verification pairs in folds, as many genuine as impostor ones in each."""

    genuine: list[list[Pair]]  # [folds][pairs]
    impostor: list[list[Pair]]  # [folds][pairs]
    disjoint_folds: bool  # whether no one is in the pairs of two folds


def draw_pairs(images: Sequence[NDArray[np.int64]], per_fold: int, folds: int, seed: int) -> Folds:
    """Verification pairs of people's images, drawn as :func:`split` describes.

    Args:
        images: every person's images.
        per_fold: pairs of each kind in a fold.
        folds: ≥ 2.
        seed: ≥ 0.

    Raises:
        InputError: the people have too few pairs.
    """
    counts = np.array([len(own) for own in images])
    groups = _deal(counts, folds, per_fold, keyed.generator(seed, "heldout folds"))
    disjoint = all(min(_capacities(counts[group])) >= per_fold for group in groups)
    if not disjoint:
        available = _capacities(counts)
        if min(available) < per_fold * folds:
            possible = min(available) // folds * folds * 2
            raise InputError(
                f"the {len(images)} people held out, with {counts.sum()} images, have {available[0]} genuine and "
                f"{available[1]} impostor pairs: enough for {possible} pairs in {folds} folds, not for "
                f"{2 * per_fold * folds}; ask for fewer with --pairs, or hold out more people"
            )
        groups = [np.arange(len(images))]
    drawn = Folds([], [], disjoint)
    for number, group in enumerate(groups):
        own = [images[person] for person in group]
        for kind, draw, result in (("genuine", _genuine, drawn.genuine), ("impostor", _impostor, drawn.impostor)):
            generator = keyed.generator(seed, f"heldout {kind}", number)
            chosen = draw(own, per_fold if disjoint else per_fold * folds, generator)
            if not disjoint:
                chosen = [chosen[i] for i in generator.permutation(len(chosen))]
            result += [sorted(chosen[i : i + per_fold]) for i in range(0, len(chosen), per_fold)]
    return drawn


def write_pairs(path: Path, drawn: Folds, names: Sequence[str]) -> None:
    """`pairs.txt`, whole or not at all: ``folds<TAB>pairs of each kind a fold``, then fold by fold the pairs.

    Args:
        path: the file.
        drawn: pairs of images.
        names: every image's path below the file's folder, fit to stand between tabs.
    """
    lines = [f"{len(drawn.genuine)}\t{len(drawn.genuine[0])}"]
    for genuine, impostor in zip(drawn.genuine, drawn.impostor, strict=True):
        for same, chosen in ((1, genuine), (0, impostor)):
            lines += [f"{names[a]}\t{names[b]}\t{same}" for a, b in chosen]
    files.write_text(path, "\n".join(lines) + "\n")


def _deal(
    counts: NDArray[np.int64], folds: int, per_fold: int, generator: np.random.Generator
) -> list[NDArray[np.int64]]:
    """The people [C] in ``folds`` groups of equal size ±1, and as near as that allows to equal in genuine pairs.

    As cards are dealt: whoever has most pairs first, a round at a time, in each round the fold with fewest pairs first.
    """
    worth = np.minimum(counts * (counts - 1) // 2, per_fold)  # a fold has no use for more
    order = generator.permutation(len(counts))
    order = order[np.argsort(-worth[order], kind="stable")]
    groups: list[list[int]] = [[] for _ in range(folds)]
    for start in range(0, len(order), folds):
        poorest_first = sorted(groups, key=lambda group: worth[group].sum())
        for person, group in zip(order[start : start + folds], poorest_first, strict=False):
            group.append(int(person))
    return [np.array(sorted(group), dtype=np.int64) for group in groups]


def _capacities(counts: NDArray[np.int64]) -> tuple[int, int]:
    """How many genuine and how many impostor pairs people with so many images have."""
    genuine = int((counts * (counts - 1) // 2).sum())
    total = int(counts.sum())
    return genuine, total * (total - 1) // 2 - genuine


def _genuine(images: Sequence[NDArray[np.int64]], number: int, generator: np.random.Generator) -> list[Pair]:
    """``number`` different pairs of one person's images, evenly over the people."""
    capacities = np.array([len(own) * (len(own) - 1) // 2 for own in images])
    pairs = []
    for own, share, capacity in zip(images, _shares(capacities, number, generator), capacities, strict=True):
        for index in generator.choice(capacity, share, replace=False):
            first, second = _pair(index)
            pairs.append((int(own[first]), int(own[second])))
    return pairs


def _impostor(images: Sequence[NDArray[np.int64]], number: int, generator: np.random.Generator) -> list[Pair]:
    """``number`` different pairs of two people's images, evenly over the pairs of people."""
    if len(images) > _MOST_LISTED:
        there = [own for own in images if len(own)]
        if number <= len(there) * (len(there) - 1) // 4:  # else most draws would hit pairs that are drawn already
            return _impostor_of_many(there, number, generator)
    counts = np.array([len(own) for own in images])
    second, first = np.tril_indices(len(images), -1)
    capacities = counts[first] * counts[second]
    shares = _shares(capacities, number, generator)
    pairs = []
    for which in np.flatnonzero(shares):
        a, b = images[first[which]], images[second[which]]
        for index in generator.choice(capacities[which], shares[which], replace=False):
            i, j = divmod(int(index), len(b))
            pairs.append((int(a[i]), int(b[j])))
    return pairs


def _impostor_of_many(images: Sequence[NDArray[np.int64]], number: int, generator: np.random.Generator) -> list[Pair]:
    """As :func:`_impostor`, with at most one of each pair of people: all pairs of 36,000 people would take 24 GB."""
    people: dict[int, None] = {}  # a set in the order of the draws
    while len(people) < number:
        drawn = generator.integers(len(images) * (len(images) - 1) // 2, size=number - len(people))
        people |= dict.fromkeys(drawn.tolist())
    return [
        (int(generator.choice(images[first])), int(generator.choice(images[second])))
        for first, second in map(_pair, people)
    ]


def _shares(capacities: NDArray[np.int64], number: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """``number`` handed out one each in turn as long as a place has room; who is served in the last turn is drawn.

    Args:
        capacities: [G], in sum at least ``number``.

    Returns:
        int64 [G], in sum ``number``, each at most its capacity.
    """
    shares = np.zeros_like(capacities)
    while number > 0:
        unfilled = np.flatnonzero(shares < capacities)
        turns = number // len(unfilled)
        if turns == 0:
            shares[generator.choice(unfilled, number, replace=False)] += 1
            break
        granted = np.minimum(capacities - shares, turns)
        shares += granted
        number -= int(granted.sum())
    return shares


def _pair(index: int) -> Pair:
    """The pairs (0, 1), (0, 2), (1, 2), (0, 3), … by their place in that order."""
    second = (1 + math.isqrt(1 + 8 * int(index))) // 2
    return int(index) - second * (second - 1) // 2, second


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source = source.resolve()  # a link to the image itself, not to a link that may be removed
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without hard links
        shutil.copy2(source, target)


def _check_settings(pairs: int, folds: int, seed: int) -> None:
    if folds < 2 or seed < 0:
        raise InputError(f"folds must be at least 2 and seed at least 0, got folds {folds}, seed {seed}")
    if pairs < 1 or pairs % (2 * folds):
        nearest = max(1, round(pairs / (2 * folds))) * 2 * folds
        raise InputError(
            f"pairs must be a multiple of {2 * folds}, for {folds} folds with as many genuine as impostor pairs, "
            f"got {pairs}; take {nearest}"
        )


def _check_names(names: Sequence[str], folder: Path) -> None:
    for name in names:
        is_utf8 = name == name.encode(errors="ignore").decode()
        if "\t" in name or len(name.splitlines()) != 1 or name != name.strip() or not is_utf8:
            raise InputError(
                f"{printable(folder / name)}: a name with a tab, a line end, outer spaces or bytes that are not UTF-8 "
                "cannot stand in pairs.txt; rename it"
            )
