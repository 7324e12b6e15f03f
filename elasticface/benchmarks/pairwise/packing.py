"""A benchmark's photos and pairs in one file, as the field passes them on."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from elasticface.base import progress
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.benchmarks.pairwise.lists import FOLDS, PACK_SUFFIX, PairBenchmark
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

    def lines(self) -> list[str]:
        """For the terminal."""
        made = f", {self.images - self.kept:,} aligned or stored again as PNG" if self.kept < self.images else ""
        return [f"{self.pairs:,} pairs of {self.images:,} images{made}; {self.size:,} bytes", str(self.path)]


def pack(benchmark: PairBenchmark, out: str | Path, size: int = SIZE, overwrite: bool = False) -> Summary:
    """Write the pack of a benchmark, on which a model has the very same figures.

    Aligned JPEG and PNG files go in byte for byte. What is aligned by landmarks on the way, and other formats, become
    PNG, which loses nothing.

    Args:
        benchmark: the pairs and where their photos are.
        out: the `.bin`; whole or absent.
        size: side of the aligned faces in pixels, that of the models to be judged.
        overwrite: take the place of a file that is there.

    Raises:
        InputError: ``out`` is there or has another suffix; a photo that is damaged or not aligned.
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
    encoded: dict[str, bytes] = {}
    kept = 0
    for name in progress.track(listed, f"{benchmark.name}: packing", len(listed)):
        try:
            data, face = benchmark.photos.read(name), benchmark.face(name, size)
        except decoding.DamagedImage as error:
            raise InputError(f"{error}; or take its pairs out of the list, for a pack needs both images") from error
        keep = benchmark.landmarks is None and decoding.suffix_of(data) in _KEPT
        kept += keep
        encoded[name] = data if keep else decoding.encode(face, ".png")
    in_order = [encoded[name] for both in zip(pairs.first, pairs.second, strict=True) for name in both]
    write_pack(path, in_order, pairs.same)
    return Summary(path, len(pairs.same), len(listed), kept, path.stat().st_size)


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
