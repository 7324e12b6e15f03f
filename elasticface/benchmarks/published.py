"""What the paper publishes, to stand above one's own figures, as printed.

Source: Boutros, Damer, Kirchbuchner and Kuijper, "ElasticFace: Elastic Margin Loss for Deep Face Recognition", CVPR
Workshops 2022, arXiv 2109.09416: Table III for the accuracies, and what it reports of IJB-B and IJB-C. A figure that is
not here has not been confirmed, among them all of MegaFace and some of IJB; none is guessed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

SOURCE = (
    "Boutros et al., “ElasticFace: Elastic Margin Loss for Deep Face Recognition”, CVPR Workshops 2022 "
    "(arXiv 2109.09416): Table III, and the TARs that it reports on IJB-B and IJB-C"
)


@dataclass(frozen=True)
class Column:
    """One figure on one benchmark, in %."""

    title: str  # the benchmark
    figure: str  # what is measured on it
    names: tuple[str, ...]  # of the benchmark, as :func:`canonical` gives them
    rate: str = ""  # the name of a results.Group; "" for the accuracy on pairs
    target: str = ""  # which of its rates
    # Of the published lists, where results do not say in what they depart from these.
    counts: Mapping[str, int] = field(default_factory=dict)


def _pairs(title: str, name: str, pairs: int) -> Column:
    return Column(title, "accuracy", (name,), counts={"pairs": pairs, "genuine": pairs // 2})


def _ijb(title: str, *names: str) -> Column:
    return Column(title, "TAR at FAR 10⁻⁴", names, "TAR at FAR, nearest", "0.0001")


def _megaface(title: str, name: str, counts: Mapping[str, int]) -> tuple[Column, Column]:
    return (
        Column(title, "rank 1", (name,), "rank", "1", counts),
        Column(title, "TAR at FAR 10⁻⁶", (name,), "TAR at FAR, at-most", "1e-06", counts),
    )


COLUMNS = (
    _pairs("LFW", "lfw", 6_000),
    _pairs("AgeDB-30", "agedb30", 6_000),
    _pairs("CALFW", "calfw", 6_000),
    _pairs("CPLFW", "cplfw", 6_000),
    _pairs("CFP-FP", "cfpfp", 7_000),
    _ijb("IJB-B", "ijbb", "ijbb11"),
    _ijb("IJB-C", "ijbc", "ijbc11"),
    *_megaface("MegaFace", "megaface", {}),
    *_megaface("MegaFace (R)", "megafacer", {"probes": 3_530, "distractors": 1_000_000}),  # the noisy ones among them
)
"""A benchmark's columns stand side by side."""

_MEGAFACE = (None, None, None, None)  # of no method could they be confirmed
ROWS: dict[str, tuple[str | None, ...]] = {
    "ArcFace": ("99.82", "98.15", "95.45", "92.08", "98.27", "94.2", "95.6", *_MEGAFACE),
    "CurricularFace": ("99.80", "98.32", "96.20", "93.13", "98.37", "94.8", "96.1", *_MEGAFACE),
    "MagFace": ("99.83", "98.17", "96.15", "92.87", "98.46", None, None, *_MEGAFACE),
    "MagFace+": (None, None, None, None, None, "94.51", "95.97", *_MEGAFACE),
    "ElasticFace-Arc": ("99.80", "98.35", "96.17", "93.27", "98.67", None, None, *_MEGAFACE),
    "ElasticFace-Cos": ("99.82", "98.27", "96.03", "93.17", "98.61", None, None, *_MEGAFACE),
    "ElasticFace-Arc+": ("99.82", "98.35", "96.17", "93.28", "98.60", None, None, *_MEGAFACE),
    "ElasticFace-Cos+": ("99.80", "98.28", "96.18", "93.23", "98.73", "95.43", "96.65", *_MEGAFACE),
}
"""Method -> a figure a column, in % as printed; None where it could not be confirmed."""


def canonical(name: str) -> str:
    """A benchmark's name without case and punctuation: `AgeDB-30` and `agedb_30` are one, `lfw-a` is not `lfw`."""
    return "".join(letter for letter in name.casefold() if letter.isalnum()) or name


def columns_of(benchmark: str) -> list[int]:
    """Which of ``COLUMNS`` are a benchmark's, by its name; none of another one's."""
    name = canonical(benchmark)
    return [i for i, column in enumerate(COLUMNS) if name in column.names]
