"""Several sets of faces as one source: whose identities are the same people, and in which order all are read."""

import bisect
import os
import unicodedata
from collections.abc import Sequence
from itertools import accumulate, combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticface.base import keyed, progress
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.data.feed import sampler
from elasticface.data.formats.encoded import NumberNames
from elasticface.data.opening import open_dataset
from elasticface.data.sources import SIDE, Source

MIXED = "mixed"

AnySet = str | Path | Source
"""A set of faces: a source, or what :func:`elasticface.data.open_dataset` opens."""


def open_sets(sets: Sequence[AnySet], merge_identities: bool = False) -> Source:
    """The one source of all these sets; a single one as it is.

    Args:
        sets: sources, or what :func:`elasticface.data.open_dataset` opens; at least one.
        merge_identities: as :class:`JoinedSource` takes it.

    Raises:
        InputError: none, one of them twice, what opening one raises, or sets that do not go together.
    """
    if not sets:
        raise InputError("no data; give at least one set of faces")
    names = set_names(sets)
    given: dict[Any, str] = {}
    for one, name in zip(sets, names, strict=True):  # before any is opened: that may take minutes
        key: Any = id(one)
        if isinstance(one, str | Path):
            key = os.path.realpath(one) if os.path.exists(one) else str(one)
        if key in given:
            raise InputError(f"{printable(name)}: the same set as {printable(given[key])}; give it once")
        given[key] = name
    sources = [open_dataset(one) if isinstance(one, str | Path) else one for one in sets]
    return JoinedSource(sources, names, merge_identities) if len(sources) > 1 else sources[0]


def set_names(sets: Sequence[AnySet]) -> list[str]:
    """What to call each of them: its path, or its type, with its place where there are several."""
    return [
        str(one) if isinstance(one, str | Path) else f"{f'set {place}, ' * (len(sets) > 1)}a {type(one).__name__}"
        for place, one in enumerate(sets, 1)
    ]


class JoinedSource:
    """The images of several sets, one set after the other; labels are numbered anew.

    Identities of different sets are different people. Where two sets have the same name for one, that may be wrong:
    they are refused, unless ``merge_identities`` says that equal names are the same people.

    Numbers that a format has in place of names (RecordIO, shards) mean nothing outside their set. They are neither
    refused nor merged, a line says so, and where two sets have the same the set's name is put before them. So it is
    for rendered people of different seeds, who have the same names, too.

    Args:
        sources: at least one; images of one size.
        names: of the sets, for messages, all different.
        merge_identities: identities of equal names (Unicode NFC) are one class.

    Attributes:
        num_classes: C, of all sets.
        class_names: [C], all different; of merged identities as the first set spells it.
        labels: int64 [N].
        size: the images' side in pixels.
        population: within what equal names are the same person: None for names that people gave, MIXED where that is
            only within this very set of images.

    Raises:
        InputError: sets that read the same file, share names without ``merge_identities``, or have images of different
            sizes.
    """

    def __init__(self, sources: Sequence[Source], names: Sequence[str], merge_identities: bool = False) -> None:
        _refuse_same_files(sources, names)
        self._sources = list(sources)
        self.size = _common_size(sources, names)
        identities = [_Identities(number, source) for number, source in enumerate(sources)]
        if not merge_identities:
            _refuse_shared(identities, names)
        self.class_names, in_joined = _numbered(identities, names, merge_identities)
        self.num_classes = len(self.class_names)
        populations = {own.population for own in identities}
        self.population = populations.pop() if len(populations) == 1 else MIXED
        self.labels: NDArray[np.int64] = np.concatenate(
            [new[source.labels] for new, source in zip(in_joined, sources, strict=True)]
        )
        self._starts = [0, *accumulate(map(len, sources))]
        _say_what_has_no_names(identities, names, merge_identities)

    def __len__(self) -> int:
        """N, how many images there are."""
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], int]:
        """One image, uint8 RGB [size, size, 3], and its label.

        Raises:
            DamagedImage: the image cannot be decoded.
            IndexError: ``index`` beyond the set.
        """
        index = range(len(self))[index]
        number = self._set_of(index)
        return self._sources[number][index - self._starts[number]][0], self.labels.item(index)

    def will_read(self, indices: Sequence[int]) -> None:
        """Tell each set which of its images are read next, where it wants to know."""
        of_sets: list[list[int]] = [[] for _ in self._sources]
        for index in indices:
            number = self._set_of(index)
            of_sets[number].append(index - self._starts[number])
        for source, own in zip(self._sources, of_sets, strict=True):
            if own and hasattr(source, "will_read"):
                source.will_read(own)

    def epoch_order(self, seed: int, epoch: int) -> NDArray[np.int64]:
        """The order in which an epoch visits the images: int64 [N], a function of seed and epoch alone.

        All are mixed with all. Where sets have an order of their own, as shards do, each set's images come in its
        order, and which set the next image is of is drawn.
        """
        own_orders = [getattr(source, "epoch_order", None) for source in self._sources]
        if not any(own_orders):
            return sampler.epoch_order(len(self), seed, epoch)
        lengths = np.diff(self._starts)
        turns = keyed.generator(seed, "turns of sets", epoch).permutation(np.repeat(np.arange(len(lengths)), lengths))
        order = np.empty(len(self), np.int64)
        for number, own_order in enumerate(own_orders):
            if own_order is None:
                own = keyed.generator(seed, "order", epoch, number).permutation(lengths[number])
            else:
                own = own_order(seed, epoch)
            order[turns == number] = self._starts[number] + own
        return order

    def _set_of(self, index: int) -> int:
        return bisect.bisect_right(self._starts, index) - 1


class _Identities:
    """The identities of one set, and within what their names tell people apart.

    Attributes:
        names: [c].
        keys: [c], names in NFC; what is equal here is the same person within one ``population``.
        known: the keys.
        population: None for names that people gave; a set's own number where the format has none.
    """

    def __init__(self, number: int, source: Source) -> None:
        self.names = [str(name) for name in source.class_names]
        self.keys = [unicodedata.normalize("NFC", name) for name in self.names]
        self.known = frozenset(self.keys)
        self.has_names = not isinstance(source.class_names, NumberNames)
        self.population = getattr(source, "population", None) if self.has_names else number


def _refuse_same_files(sources: Sequence[Source], names: Sequence[str]) -> None:
    """Sets that a folder, a file and a pattern name may be the same; equal numbers would be two classes then."""
    readers: dict[str, str] = {}
    for source, name in zip(sources, names, strict=True):
        for path in getattr(source, "files", ()):
            if (other := readers.setdefault(os.path.realpath(path), name)) != name:
                raise InputError(
                    f"{printable(name)}: reads {printable(path)}, which {printable(other)} reads too; give it once"
                )


def _common_size(sources: Sequence[Source], names: Sequence[str]) -> int:
    sizes = [int(getattr(source, "size", SIDE)) for source in sources]
    for name, size in zip(names, sizes, strict=True):
        if size != sizes[0]:
            raise InputError(
                f"{printable(name)}: images of {size} pixels, and {printable(names[0])} has some of {sizes[0]}; "
                "open all sets with one size"
            )
    return sizes[0]


def _refuse_shared(identities: Sequence[_Identities], names: Sequence[str]) -> None:
    shared: set[str] = set()
    example = ""
    for (one, own), (other, others) in combinations(zip(names, identities, strict=True), 2):
        if own.population == others.population and (common := own.known & others.known):
            example = example or f"{printable(min(common), 60)!r} in {printable(one)} and {printable(other)}"
            shared |= common
    if shared:
        many = f"{len(shared):,} identity names are" if len(shared) > 1 else "an identity name is"
        raise InputError(
            f"{many} in more than one set, such as {example}; give --merge-identities if equal names are the same "
            "people, or rename them"
        )


def _numbered(
    identities: Sequence[_Identities], names: Sequence[str], merge_identities: bool
) -> tuple[list[str], list[NDArray[np.int64]]]:
    """The names [C] of the classes of all sets, and of each set its identities' labels among them, [c]."""
    labels: dict[tuple[Any, str], int] = {}
    class_names: list[str] = []
    in_joined = []
    for name, own in zip(names, identities, strict=True):
        is_ambiguous = own.population is not None and any(
            others.population != own.population and not others.known.isdisjoint(own.known) for others in identities
        )
        own_names = [f"{name}: {own_name}" for own_name in own.names] if is_ambiguous else own.names
        in_joined.append(np.arange(len(class_names), len(class_names) + len(own_names)))
        if not merge_identities:
            class_names += own_names
            continue
        for label, (key, own_name) in enumerate(zip(own.keys, own_names, strict=True)):
            in_joined[-1][label] = labels.setdefault((own.population, key), len(labels))
            if len(labels) > len(class_names):
                class_names.append(own_name)
    return class_names, in_joined


def _say_what_has_no_names(identities: Sequence[_Identities], names: Sequence[str], merge_identities: bool) -> None:
    without = [printable(name) for name, own in zip(names, identities, strict=True) if not own.has_names]
    if len(without) > 1 or (without and merge_identities):
        told = "identities have numbers in place of names; those of each set are people of its own"
        progress.say(f"{', '.join(without)}: {told}")
