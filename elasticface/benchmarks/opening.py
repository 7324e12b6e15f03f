"""Any benchmark from its path, whatever it is, and any of them measured."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.benchmarks.enrolment import Undetected
from elasticface.benchmarks.ijb.files import KINDS, kind_of
from elasticface.benchmarks.ijb.protocol import IjbBenchmark, TemplateOptions, open_ijb
from elasticface.benchmarks.megaface.files import SETS, is_megaface
from elasticface.benchmarks.megaface.protocol import MegaFaceBenchmark, open_megaface
from elasticface.benchmarks.pairwise.cfp import open_cfp, protocol_folder
from elasticface.benchmarks.pairwise.lists import PAIRS_FILE, PairBenchmark, is_pack, open_pairs
from elasticface.benchmarks.pairwise.pairs import PairResult, evaluate_pairs, try_pairs
from elasticface.benchmarks.reading.features import FeatureFiles
from elasticface.benchmarks.results import LargeResult
from elasticface.model.encoder import FaceEncoder

Benchmark = PairBenchmark | IjbBenchmark | MegaFaceBenchmark
Model = FaceEncoder | FeatureFiles
Result = PairResult | LargeResult


def open_benchmark(
    path: str | Path,
    pairs: str | Path | None = None,
    landmarks: str | Path | None = None,
    options: TemplateOptions | None = None,
    undetected: Undetected = "reject",
) -> list[Benchmark]:
    """The benchmarks at ``path``: a pack, a folder of IJB-B, IJB-C, MegaFace or CFP, or photos with a list of pairs.

    Args:
        path: the file or folder. A folder with `pairs.txt` is photos, though CFP's lists lie in it too.
        pairs: a list of pairs, or CFP's `Protocol` folder; with it ``path`` is photos.
        landmarks: five points a photo; likewise.
        options: how images become IJB templates; the mirror image is MegaFace's, too.
        undetected: what becomes of images without a face, and of damaged ones: see
            :mod:`elasticface.benchmarks.enrolment`.

    Raises:
        InputError: nothing there, or something missing or wrong in it.
    """
    options = options or TemplateOptions()
    if pairs is None and landmarks is None:
        if kind_of(path) is not None:
            return [open_ijb(path, options, undetected)]
        if is_megaface(path):
            return [open_megaface(path, options.add_mirror_image, undetected)]
        within = [name for name in map(str.upper, KINDS) if kind_of(Path(path) / name) is not None]
        if within:
            folder = printable(path)
            raise InputError(f"{folder}: not a benchmark itself; give {' or '.join(f'{folder}/{n}' for n in within)}")
    root = Path(path)
    if not is_pack(root) and (pairs or not (root / PAIRS_FILE).exists()) and protocol_folder(root, pairs):
        return list(open_cfp(root, pairs, landmarks, undetected))
    return [open_pairs(root, pairs, landmarks, undetected)]


def open_benchmarks(
    paths: Sequence[str | Path],
    pairs: str | Path | None = None,
    landmarks: str | Path | None = None,
    options: TemplateOptions | None = None,
    undetected: Undetected = "reject",
) -> list[Benchmark]:
    """The benchmarks at all ``paths``, of different names: where two have one, their paths are put before it.

    Raises:
        InputError: as :func:`open_benchmark`; a path that is given twice.
    """
    found: list[tuple[str, Benchmark]] = []
    for path in paths:
        if str(path) in (given for given, _ in found):
            raise InputError(f"{printable(path)}: is given twice")
        found += [(str(path), one) for one in open_benchmark(path, pairs, landmarks, options, undetected)]
    names = [benchmark.name for _, benchmark in found]
    alone = {given for given, _ in found if sum(given == other for other, _ in found) == 1}
    return [
        benchmark
        if names.count(benchmark.name) == 1
        else dataclasses.replace(benchmark, name=given if given in alone else f"{given}: {benchmark.name}")
        for given, benchmark in found
    ]


def is_features(path: str | Path) -> bool:
    """Whether ``path`` is ready-made features and not a model: a `.npy`, or a folder of MegaFace's features."""
    path = Path(path)
    in_folder = (any((path / name).exists() for name in (which, f"{which}.npy")) for which in SETS)
    return path.suffix == ".npy" or (path.is_dir() and all(in_folder))


def measure(model: Model, benchmark: Benchmark, flip: bool, features: Path) -> Sequence[Result]:
    """What one model reaches on one benchmark.

    Args:
        model: an encoder, or ready-made features.
        benchmark: what to measure on.
        flip: add the embedding of the mirror image, on pairs; the other benchmarks know it.
        features: folder for the embeddings of the large benchmarks.

    Raises:
        InputError: what the benchmark cannot use.
    """
    if not isinstance(benchmark, PairBenchmark):
        return benchmark.measure(model, features)
    return [evaluate_pairs(_encoder(model, benchmark), benchmark, flip)]


def try_on(model: Model, benchmark: Benchmark) -> None:
    """Look for what :func:`measure` needs, and embed a few photos: faults that are in all of them are found at once.

    Raises:
        InputError: what the benchmark cannot use.
    """
    if isinstance(benchmark, PairBenchmark):
        try_pairs(_encoder(model, benchmark), benchmark)
    else:
        benchmark.try_on(model)


def _encoder(model: Model, benchmark: PairBenchmark) -> FaceEncoder:
    if isinstance(model, FeatureFiles):
        raise InputError(f"{benchmark.name}: needs a model; {printable(model.path)} is features of another benchmark")
    return model
