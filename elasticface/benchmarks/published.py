"""What the paper publishes, to stand above one's own figures, as printed.

Source: Boutros, Damer, Kirchbuchner and Kuijper, "ElasticFace: Elastic Margin Loss for Deep Face Recognition", CVPR
Workshops 2022, arXiv 2109.09416: Table III for the accuracies, and what it reports of IJB-B and IJB-C. A figure that is
not here has not been confirmed; none is guessed.
"""

from dataclasses import dataclass

SOURCE = (
    "Boutros et al., “ElasticFace: Elastic Margin Loss for Deep Face Recognition”, CVPR Workshops 2022 "
    "(arXiv 2109.09416): Table III, and the TARs that it reports on IJB-B and IJB-C"
)


@dataclass(frozen=True)
class Column:
    """One benchmark of the table; figures in %."""

    title: str
    figure: str  # what is measured on it
    names: tuple[str, ...]  # of the benchmark, as :func:`canonical` gives them


ACCURACY, TAR = "accuracy", "TAR at FAR 1e-4"
FAR = "0.0001"  # of the columns that are a TAR, as results name it
COLUMNS = (
    Column("LFW", ACCURACY, ("lfw",)),
    Column("AgeDB-30", ACCURACY, ("agedb30",)),
    Column("CALFW", ACCURACY, ("calfw",)),
    Column("CPLFW", ACCURACY, ("cplfw",)),
    Column("CFP-FP", ACCURACY, ("cfpfp",)),
    Column("IJB-B", TAR, ("ijbb", "ijbb11")),
    Column("IJB-C", TAR, ("ijbc", "ijbc11")),
)

ROWS: dict[str, tuple[str | None, ...]] = {
    "ArcFace": ("99.82", "98.15", "95.45", "92.08", "98.27", "94.2", "95.6"),
    "CurricularFace": ("99.80", "98.32", "96.20", "93.13", "98.37", "94.8", "96.1"),
    "MagFace": ("99.83", "98.17", "96.15", "92.87", "98.46", None, None),
    "MagFace+": (None, None, None, None, None, "94.51", "95.97"),
    "ElasticFace-Arc": ("99.80", "98.35", "96.17", "93.27", "98.67", None, None),
    "ElasticFace-Cos": ("99.82", "98.27", "96.03", "93.17", "98.61", None, None),
    "ElasticFace-Arc+": ("99.82", "98.35", "96.17", "93.28", "98.60", None, None),
    "ElasticFace-Cos+": ("99.80", "98.28", "96.18", "93.23", "98.73", "95.43", "96.65"),
}
"""Method -> a figure a column, in % as printed; None where it could not be confirmed."""


def canonical(name: str) -> str:
    """A benchmark's name without case and punctuation: `AgeDB-30` and `agedb_30` are one, `lfw-a` is not `lfw`."""
    return "".join(letter for letter in name.casefold() if letter.isalnum()) or name


def column_of(benchmark: str) -> int | None:
    """Which of ``COLUMNS`` a benchmark is, by its name; None for another one."""
    name = canonical(benchmark)
    return next((i for i, column in enumerate(COLUMNS) if name in column.names), None)
