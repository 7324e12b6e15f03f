"""A benchmark's photos and pairs in one file, as the field passes them on."""

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from elasticface.base import progress
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.benchmarks.pairwise.lists import FOLDS, PACK_SUFFIX, PairBenchmark, Pairs, checked
from elasticface.data.formats.packs import write_pack
from elasticface.data.images import decoding
from elasticface.data.images.alignment import SIZE

_KEPT = (".jpg", ".png")  # what every reader of packs decodes


@dataclass(frozen=True)
class Summary:
    """What went into a pack."""

    path: Path
    pairs: int
    images: int  # different ones
    kept: int  # of them, stored as they were
    size: int  # bytes of the file
    centred: int = 0  # of the images, central squares of photos without a face
    failures: int = 0  # photos without a face, or damaged, that were left out
    skipped: int = 0  # pairs that were left out with them

    def lines(self) -> list[str]:
        """For the terminal."""
        made = f", {self.images - self.kept:,} aligned or stored again as PNG" if self.kept < self.images else ""
        lines = [f"{self.pairs:,} pairs of {self.images:,} images{made}; {self.size:,} bytes"]
        if self.centred:
            lines.append(f"photos without a face, of which the central square went in: {self.centred:,}")
        if self.skipped:
            lines.append(
                f"left out: {self.skipped:,} pairs, with {self.failures:,} photos without a face or damaged; the folds "
                "are cut from the rest"
            )
        return [*lines, str(self.path)]


def pack(benchmark: PairBenchmark, out: str | Path, size: int = SIZE, overwrite: bool = False) -> Summary:
    """Write the pack of a benchmark, on which a model has the very same figures.

    Aligned JPEG and PNG files go in byte for byte. What is aligned by landmarks on the way, and other formats, become
    PNG, which loses nothing. A pack has no way to say that a pair is a non-match: with photos without a face, or
    damaged ones, ``benchmark.undetected`` must be "skip", which leaves their pairs out, or, where no face was found,
    "centre".

    Args:
        benchmark: the pairs and where their photos are.
        out: the `.bin`; whole or absent.
        size: side of the aligned faces in pixels, that of the models to be judged.
        overwrite: take the place of a file that is there.

    Raises:
        InputError: ``out`` is there or has another suffix; a photo that is not aligned; or one that is damaged or has
            no face, unless it can be left out.
    """
    path = Path(out)
    check_out(path, overwrite)
    pairs = benchmark.pairs
    if pairs.folds != FOLDS:
        warnings.warn(
            f"{benchmark.name} has {pairs.folds} folds, and a pack is judged in {FOLDS}: figures will differ",
            stacklevel=2,
        )
    listed = sorted({*pairs.first, *pairs.second})
    if benchmark.undetected == "reject" and benchmark.without_face:
        first = printable(min(benchmark.without_face), 200)
        raise InputError(
            f"{benchmark.name}: no face was found in {len(benchmark.without_face):,} of its {len(listed):,} photos, "
            f"such as {first}, and a pack cannot say that a pair is a non-match; give --undetected skip, which leaves "
            "their pairs out, or centre"
        )
    encoded: dict[str, bytes] = {}
    kept: set[str] = set()
    damaged: list[decoding.DamagedImage] = []
    for name in progress.track(listed, f"{benchmark.name}: packing", len(listed)):
        try:
            face = benchmark.face(name, size)
            data = benchmark.photos.read(name)
        except decoding.DamagedImage as error:
            damaged.append(error)
            continue
        aligned = benchmark.landmarks is None and name not in benchmark.without_face
        if aligned and decoding.suffix_of(data) in _KEPT:
            kept.add(name)
        encoded[name] = data if name in kept else decoding.encode(face, ".png")
    if damaged and benchmark.undetected != "skip":
        others = f", and {len(damaged) - 1:,} more photos of {len(listed):,}" if len(damaged) > 1 else ""
        raise InputError(
            f"{damaged[0]}{others}; or take its pairs out of the list, as --undetected skip does: a pack needs both"
        ) from damaged[0]
    there = [a in encoded and b in encoded for a, b in zip(pairs.first, pairs.second, strict=True)]
    one, other = (tuple(itertools.compress(side, there)) for side in (pairs.first, pairs.second))
    left = Pairs(one, other, pairs.same[there], FOLDS)
    if len(left.same) < len(there):
        checked(left, f"{benchmark.name}, without photos that have no face or are damaged")
    used = {*left.first, *left.second}
    write_pack(path, [encoded[name] for both in zip(left.first, left.second, strict=True) for name in both], left.same)
    return Summary(
        path=path,
        pairs=len(left.same),
        images=len(used),
        kept=len(kept & used),
        size=path.stat().st_size,
        centred=len(benchmark.without_face & used),
        failures=len(listed) - len(encoded),
        skipped=len(pairs.same) - len(left.same),
    )


def check_out(path: Path, overwrite: bool) -> None:
    """Refuse a place for a pack before the work.

    Raises:
        InputError: another suffix than `.bin`, a folder, or a file that is there, unless ``overwrite``.
    """
    label = printable(path)
    if path.suffix.lower() != PACK_SUFFIX:
        raise InputError(f"{label}: a pack's name ends in {PACK_SUFFIX}, by which it is known; give such a name")
    if path.is_dir():
        raise InputError(f"{label}: is a folder; give the name of a file")
    if path.exists() and not overwrite:
        raise InputError(f"{label}: is there already; give another name, or --overwrite")


def choose(benchmarks: Sequence[PairBenchmark], out: Path) -> PairBenchmark:
    """The benchmark to pack: the only one, or of CFP's two the one that ``out`` is named after.

    Raises:
        InputError: ``out`` has the name of none.
    """
    named = [benchmark for benchmark in benchmarks if benchmark.name == out.stem]
    if len(benchmarks) > 1 and not named:
        names = " and ".join(benchmark.name for benchmark in benchmarks)
        raise InputError(
            f"{printable(out)}: there are {names} to pack; name the file after one, as {benchmarks[0].name}.bin"
        )
    return named[0] if named else benchmarks[0]
