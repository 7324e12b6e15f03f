"""What the large benchmarks give: figures with their intervals, what they were counted on, and how they were made."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

Rates = dict[str, float]  # target, e.g. "0.0001" or "5" -> fraction in 0..1
Intervals = dict[str, tuple[float, float]]  # likewise; 95 %, exact binomial

RULES = ("nearest", "at-most")
FORMAT_VERSION = 1  # of results.json
PAIRS = "pairs"  # the kind of a result on pairs, there


@dataclass(frozen=True)
class Group:
    """Figures that are read together: one kind of rate at its targets."""

    name: str  # "TAR at FAR, nearest"
    rates: Rates
    intervals: Intervals


@dataclass(frozen=True)
class RocPoints:
    """An ROC by the rule "at-most", evenly spread on a log axis, [K] each; the first point is at FAR 0."""

    fars: tuple[float, ...]
    tars: tuple[float, ...]


@dataclass(frozen=True)
class TemplateVerification:
    """1:1 of IJB-B or IJB-C: pairs of templates."""

    KIND: ClassVar[str] = "IJB 1:1 verification"

    model: str
    benchmark: str
    protocol: str
    tar_at_far: dict[str, Rates]  # rule of RULES -> FAR -> TAR
    intervals: dict[str, Intervals]  # likewise, over genuine pairs
    counts: dict[str, int]
    options: dict[str, bool]
    roc: RocPoints
    notes: tuple[str, ...] = ()

    def groups(self) -> list[Group]:
        return [Group(f"TAR at FAR, {rule}", self.tar_at_far[rule], self.intervals[rule]) for rule in RULES]


@dataclass(frozen=True)
class Search:
    """One gallery searched with all probes."""

    name: str
    rank: Rates  # rank -> share of the mated probes with their mate among so many
    tpir_at_fpir: Rates
    intervals: dict[str, Intervals]  # "rank", "tpir_at_fpir"
    counts: dict[str, int]  # subjects in the gallery, mated and non-mated probes


@dataclass(frozen=True)
class TemplateIdentification:
    """1:N of IJB-B or IJB-C: probes searched in galleries. The figures are means over the galleries."""

    KIND: ClassVar[str] = "IJB 1:N identification"

    model: str
    benchmark: str
    protocol: str
    rank: Rates
    tpir_at_fpir: Rates
    galleries: tuple[Search, ...]
    counts: dict[str, int]
    options: dict[str, bool]
    notes: tuple[str, ...] = ()
    roc: None = None

    def groups(self) -> list[Group]:
        """The means; a mean of shares of different counts has no exact interval, the galleries' own are in the JSON."""
        return [Group("rank", self.rank, {}), Group("TPIR at FPIR", self.tpir_at_fpir, {})]


@dataclass(frozen=True)
class DistractorSearch:
    """MegaFace: probes with mates, among distractors."""

    KIND: ClassVar[str] = "MegaFace"

    model: str
    benchmark: str
    protocol: str
    rank: Rates  # "1"
    tar_at_far: dict[str, Rates]  # "at-most" alone
    intervals: dict[str, Intervals]  # "rank", "at-most"
    counts: dict[str, int]
    options: dict[str, bool]
    notes: tuple[str, ...] = ()
    roc: None = None

    def groups(self) -> list[Group]:
        return [
            Group("rank", self.rank, self.intervals["rank"]),
            Group("TAR at FAR, at-most", self.tar_at_far["at-most"], self.intervals["at-most"]),
        ]


LargeResult = TemplateVerification | TemplateIdentification | DistractorSearch


def as_dictionary(result: LargeResult) -> dict[str, Any]:
    """The result in plain types, its kind first."""
    return {"kind": result.KIND, **dataclasses.asdict(result)}
