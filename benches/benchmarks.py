"""What the field's two largest benchmarks cost once the embeddings are there: IJB-C's 1:1 protocol and MegaFace.

Run it as ``python benches/benchmarks.py``, or first with ``--scale 0.02``; ``--help`` lists the options.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, console, machine, markdown, printed, run, save, spread, start_peak, status_bytes, stored
from numpy.typing import NDArray

from elasticface import metrics
from elasticface.base.errors import InputError
from elasticface.benchmarks.megaface.protocol import HIGHEST

OUT = RESULTS / "benchmarks.json"
SIZE = 512
FARS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
IMAGES, GALLERY, PROBES = 469_375, 3_531, 19_593  # IJB-C: images, and templates of the two galleries and of the probes
GENUINE, IMPOSTOR = 19_557, 15_638_932  # its listed pairs
BATCH = 100_000  # pairs that the scripts in use gather at a time
FACES, PEOPLE, DISTRACTORS = 3_530, 80, 1_000_000  # MegaFace
CHUNK = 10_000  # distractors that come at a time
MEMORY_CHUNKS = 5  # a chunk more or less makes no difference to the peak

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Ijb:
    """Synthetic numbers in the shape of IJB-C, image and mirror image added: N images, T templates, P pairs."""

    features: Floats  # [N, D]
    detector_scores: Floats  # [N]
    templates: Ints  # [N] ids
    media: Ints  # [N]
    first: Ints  # [P] ids
    second: Ints  # [P]
    same: Bools  # [P]

    @classmethod
    def made_up(cls, scale: float) -> "Ijb":
        """The same every time. Pairs are of a gallery template and a probe, in no order."""
        rng = np.random.default_rng(0)
        images, gallery, probes, genuine, impostor = (
            max(round(number * scale), 20) for number in (IMAGES, GALLERY, PROBES, GENUINE, IMPOSTOR)
        )
        count = gallery + probes
        subjects = np.append(np.arange(gallery), rng.integers(0, gallery, probes))  # of each template
        ids = np.sort(rng.choice(10 * count, count, replace=False))
        images = max(images, count)
        rows = rng.permutation(np.append(np.arange(count), rng.integers(0, count, images - count)))
        features = rng.standard_normal((images, SIZE), np.float32)
        centres = rng.standard_normal((gallery, SIZE), np.float32)
        for start in range(0, images, BATCH):
            features[start : start + BATCH] *= 2.5
            features[start : start + BATCH] += centres[subjects[rows[start : start + BATCH]]]
        mates = gallery + rng.choice(probes, min(genuine, probes), replace=False)
        first, second = rng.integers(0, gallery, impostor), gallery + rng.integers(0, probes, impostor)
        first += first == subjects[second]  # the next subject, where it were the same
        first %= gallery
        order = rng.permutation(len(mates) + impostor)
        return cls(
            features=features,
            detector_scores=rng.uniform(0.5, 1, images).astype(np.float32),
            templates=ids[rows],
            media=rng.integers(0, 5, images),
            first=ids[np.append(subjects[mates], first)[order]],
            second=ids[np.append(mates, second)[order]],
            same=(np.arange(len(order)) < len(mates))[order],
        )


@dataclass
class Ways:
    """Of one way to IJB-C's figures: seconds a stage in every round, peaks of memory, and what it found."""

    pooling: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    roc: list[float] = field(default_factory=list)
    more_bytes: list[int] = field(default_factory=list)  # at the peak, beyond the inputs
    total_bytes: list[int] = field(default_factory=list)  # at the peak
    nearest: list[float] = field(default_factory=list)  # TAR at FARS


def ours(data: Ijb, clock: "Clock") -> tuple[Floats, NDArray[np.float64]]:
    with clock("pooling"):
        ids, pooled = metrics.pool_templates(
            data.features, data.templates, data.media, detector_scores=data.detector_scores
        )
    with clock("scores"):
        first, second = (metrics.template_rows(ids, side) for side in (data.first, data.second))
        scores = metrics.pair_scores(pooled, first, second)
    with clock("roc"):
        tars = metrics.tar_at_far(scores, data.same, FARS, "nearest")
        metrics.tar_at_far(scores, data.same, FARS, "at-most")
    return scores.astype(np.float32, copy=False), tars


def longhand(data: Ijb, clock: "Clock") -> tuple[Floats, NDArray[np.float64]]:
    """As the protocol reads, step by step, in NumPy."""
    with clock("pooling"):
        weighted = data.features * data.detector_scores[:, None]
        ids = np.unique(data.templates)
        pooled = np.zeros((len(ids), SIZE), np.float32)
        for row, template in enumerate(ids):
            images = np.flatnonzero(data.templates == template)
            faces, media = weighted[images], data.media[images]
            pooled[row] = sum(faces[media == medium].mean(axis=0) for medium in np.unique(media))
        pooled /= np.sqrt(np.sum(pooled**2, axis=1, keepdims=True))
    with clock("scores"):
        first, second = np.searchsorted(ids, data.first), np.searchsorted(ids, data.second)
        scores = np.zeros(len(first), np.float32)
        for start in range(0, len(first), BATCH):
            these = slice(start, start + BATCH)
            scores[these] = np.sum(pooled[first[these]] * pooled[second[these]], axis=1)
    with clock("roc"):
        order = np.argsort(-scores, kind="stable")
        ordered, same = scores[order], data.same[order]
        ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)  # of runs of equal scores
        true_accepts = np.cumsum(same)[ends]
        false_accepts = 1 + ends - true_accepts
        bent = (np.diff(false_accepts, 2) != 0) | (np.diff(true_accepts, 2) != 0)
        kept = np.concatenate([[True], bent, [True]]) if len(ends) > 1 else np.array([True])
        far = np.append(0, false_accepts[kept])[::-1] / false_accepts[-1]
        tar = np.append(0, true_accepts[kept])[::-1] / true_accepts[-1]
        tars = np.array([tar[np.argmin(np.abs(far - target))] for target in FARS])
    return scores, tars


WAYS: dict[str, Callable[[Ijb, "Clock"], tuple[Floats, NDArray[np.float64]]]] = {"longhand": longhand, "ours": ours}
STAGES = ("pooling", "scores", "roc")


class Clock:
    """Seconds of the named stages of one run."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - start


def bench(scale: float = 1.0, rounds: int = 3, out: Path = OUT, markdown: bool = False) -> None:
    """Measure the figures of IJB-C (1:1) and MegaFace from embeddings, on all processors that NumPy and numba use.

    IJB-C: pooling, scores of the listed pairs and TAR at six FARs, ours (both readings) beside the protocol written out
    in NumPy ("longhand": a loop over templates, pairs gathered by 100,000, one sort; nearest FAR), taking turns in one
    process, on the same synthetic numbers. MegaFace: rank 1 and TAR at FAR 1e-6, beside the bare matrix product of
    probes and distractors, taking turns chunk by chunk; making the distractors is not timed. Peaks of memory are those
    of the process (Linux only).

    Args:
        scale: of the numbers of images, templates, pairs and distractors; 1 is the benchmarks' size.
        rounds: of IJB-C; MegaFace is passed over once.
        out: JSON file for every round; replaced if it is there.
        markdown: measure nothing, print the tables of the JSON file for the docs.
    """
    if markdown:
        print(tables(stored(out)))
        return
    if rounds < 1 or not 0 < scale <= 1:
        raise InputError("--rounds must be at least 1, and --scale in (0, 1]")
    figures = {"scale": scale, "ijb": measure_ijb(scale, rounds), "megaface": measure_megaface(scale)}
    kept = save(out, figures)
    console.print(printed(IJB_COLUMNS, ijb_rows(kept["ijb"]), title=ijb_title(kept["ijb"])))
    console.print(printed(MEGAFACE_COLUMNS, megaface_rows(kept["megaface"]), title=megaface_title(kept["megaface"])))
    console.print(legend(kept))


def measure_ijb(scale: float, rounds: int) -> dict[str, Any]:
    with console.status("IJB-C: compiling"):
        ours(Ijb.made_up(1e-4), Clock())
    with console.status("IJB-C: making numbers up"):
        data = Ijb.made_up(scale)
    found = {way: Ways() for way in WAYS}
    scores: dict[str, Floats] = {}
    for number in range(rounds):
        for way in WAYS if number % 2 else reversed(WAYS):
            with console.status(f"IJB-C: {way}, round {number + 1} of {rounds}"):
                clock, before = Clock(), start_peak()
                scores[way], tars = WAYS[way](data, clock)
                peak = status_bytes("VmHWM")
            this = found[way]
            for stage in STAGES:
                getattr(this, stage).append(clock.seconds[stage])
            this.more_bytes.append(max(peak - before, 0))
            this.total_bytes.append(peak)
            this.nearest = tars.tolist()
    return {
        "images": len(data.features),
        "templates": len(np.unique(data.templates)),
        "pairs": len(data.same),
        "genuine": int(data.same.sum()),
        "largest_difference_of_scores": float(np.abs(scores["ours"] - scores["longhand"]).max()),
        "ways": {way: asdict(this) for way, this in found.items()},
    }


def measure_megaface(scale: float) -> dict[str, Any]:
    chunks = max(round(DISTRACTORS * scale / CHUNK), 1)
    with (
        console.status("MegaFace: memory"),
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process,
    ):
        more, total = process.submit(megaface_peak, min(chunks, MEMORY_CHUNKS)).result()
    probes, subjects = faces()
    product: list[float] = []
    elsewhere = 0.0  # seconds that are not ours: making distractors, and the bare product
    memory = np.empty((len(probes), CHUNK), np.float32)
    np.matmul(probes, next(distractors(1)).T, out=memory)  # the first pays for the memory

    def strangers() -> Iterator[Floats]:
        nonlocal elsewhere
        began = time.perf_counter()
        for number, chunk in enumerate(distractors(chunks), 1):
            start = time.perf_counter()
            np.matmul(probes, chunk.T, out=memory)
            product.append(time.perf_counter() - start)
            status.update(f"MegaFace: chunk {number} of {chunks}")
            elsewhere += time.perf_counter() - began
            yield chunk
            began = time.perf_counter()
        elsewhere += time.perf_counter() - began

    with console.status("MegaFace") as status:
        start = time.perf_counter()
        found = metrics.distractor_search(probes, subjects, strangers(), chunks * CHUNK, fars=[1e-6], keep=HIGHEST)
        seconds = time.perf_counter() - start - elsewhere
    return {
        "probes": len(probes),
        "distractors": chunks * CHUNK,
        "chunk": CHUNK,
        "mate_pairs": len(found.pairs),
        "rank_1": float(found.rank_rates[0]),
        "tar": float(found.tars[0]),
        "seconds": seconds,
        "product_seconds": product,
        "more_bytes": more,
        "total_bytes": total,
    }


def megaface_peak(chunks: int) -> tuple[int, int]:
    """Bytes at the peak of a pass over some chunks, beyond probes and one chunk, and in all; in a fresh process."""
    probes, subjects = faces()
    metrics.distractor_search(probes[:100], subjects[:100], distractors(1), CHUNK)  # libraries come with their own
    one = next(distractors(1))
    before = start_peak()
    del one
    metrics.distractor_search(probes, subjects, distractors(chunks), chunks * CHUNK, fars=[1e-6], keep=HIGHEST)
    peak = status_bytes("VmHWM")
    return max(peak - before, 0), peak


def faces() -> tuple[Floats, Ints]:
    """MegaFace's probes, unit vectors around their person's, and who is on them."""
    rng = np.random.default_rng(1)
    subjects = np.sort(np.append(np.arange(PEOPLE), rng.integers(0, PEOPLE, FACES - PEOPLE)))
    rows = rng.standard_normal((PEOPLE, SIZE), np.float32)[subjects]
    rows += 1.7 * rng.standard_normal(rows.shape, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), subjects


def distractors(chunks: int) -> Iterator[Floats]:
    """Unit vectors at random, [CHUNK, D] a time, each chunk the same every time."""
    for number in range(chunks):
        rows = np.random.default_rng([2, number]).standard_normal((CHUNK, SIZE), np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        yield rows


IJB_COLUMNS = ["IJB-C 1:1", "pooling, s", "scores, s", "TAR at FAR, s", "all, s", "speed-up", "MiB more", "MiB in all"]
MEGAFACE_COLUMNS = ["MegaFace", "seconds", "÷ product", "MiB more", "MiB in all"]


def ijb_rows(figures: dict[str, Any]) -> list[list[str]]:
    ways = figures["ways"]
    totals = {way: [sum(stages) for stages in zip(*(of[s] for s in STAGES), strict=True)] for way, of in ways.items()}
    return [
        [
            way,
            *(spread(of[stage]) for stage in STAGES),
            spread(totals[way]),
            "1"
            if way == "longhand"
            else spread([slow / fast for slow, fast in zip(totals["longhand"], totals[way], strict=True)]),
            f"{max(of['more_bytes']) / 2**20:,.0f}",
            f"{max(of['total_bytes']) / 2**20:,.0f}",
        ]
        for way, of in ways.items()
    ]


def megaface_rows(figures: dict[str, Any]) -> list[list[str]]:
    product = sum(figures["product_seconds"])
    memory = [f"{figures[name] / 2**20:,.0f}" for name in ("more_bytes", "total_bytes")]
    return [
        ["bare product", f"{product:.1f}", "1", "–", "–"],
        ["ours", f"{figures['seconds']:.1f}", f"{figures['seconds'] / product:.2f}", *memory],
    ]


def ijb_title(figures: dict[str, Any]) -> str:
    return (
        f"{figures['images']:,} × {SIZE} features, {figures['templates']:,} templates, "
        f"{figures['genuine']:,} + {figures['pairs'] - figures['genuine']:,} pairs"
    )


def megaface_title(figures: dict[str, Any]) -> str:
    return f"{figures['probes']:,} probes, {figures['distractors']:,} distractors × {SIZE}"


def legend(figures: dict[str, Any]) -> str:
    """What the tables don't say."""
    ijb, rounds = figures["ijb"], len(figures["ijb"]["ways"]["ours"]["roc"])
    return (
        f"IJB-C: {ijb_title(ijb)}; {rounds} round{'s'[: rounds != 1]}, median (range); ours reads TAR at FAR by both "
        f"rules. Scores of the two differ by {ijb['largest_difference_of_scores']:.1g} at most. MegaFace: "
        f"{megaface_title(figures['megaface'])}, {figures['megaface']['chunk']:,} a chunk. MiB more: peak beyond the "
        f"inputs (MegaFace: probes and one chunk). {machine(figures['environment'])}."
    )


def tables(figures: dict[str, Any]) -> str:
    """Markdown of what :func:`bench` has stored."""
    ijb = markdown(IJB_COLUMNS, ijb_rows(figures["ijb"]))
    megaface = markdown(MEGAFACE_COLUMNS, megaface_rows(figures["megaface"]))
    return f"{ijb}\n\n{megaface}\n\n{legend(figures)}"


if __name__ == "__main__":
    run(bench)
