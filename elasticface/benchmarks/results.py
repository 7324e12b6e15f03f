"""What the large benchmarks give: figures with their intervals, what they were counted on, and how they were made."""

import abc
from dataclasses import dataclass, field
from typing import ClassVar

from elasticface.benchmarks.enrolment import Enrolment
from elasticface.benchmarks.hardest import Hardest
from elasticface.benchmarks.samples import Intervals, Rates, Samples
from elasticface.metrics.resampled_roc import Rule

RULES: tuple[Rule, ...] = ("nearest", "at-most")
RESULTS = "results.json"
FORMAT_VERSION = 2  # of it
PAIRS = "pairs"  # the kind of a result on pairs, there
PAIRS_ELSEWHERE: tuple[str, ...] = ("scores", "same", "accepted", "first", "second", "units")
LARGE_ELSEWHERE: tuple[str, ...] = ("samples", "hardest")
"""Fields of a PairResult and of a LargeResult that are not in results.json."""


@dataclass(frozen=True)
class Group:
    """Figures that are read together: one kind of rate at its targets."""

    name: str  # "TAR at FAR, nearest"
    rates: Rates
    intervals: Intervals


@dataclass(frozen=True)
class RocPoints:
    """An ROC by the rule "at-most", evenly spread on a log axis, [K] each; the first point is at FAR 0.

    It ends at FAR 1, or where no more impostors are known. Of an open set the rates are FPIR and TPIR.
    """

    fars: tuple[float, ...]
    tars: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class LargeResult(abc.ABC):
    """What all large benchmarks give; each adds its figures."""

    KIND: ClassVar[str]
    TRIALS: ClassVar[str]  # what the figures are shares of

    model: str
    benchmark: str
    protocol: str
    intervals: dict[str, Intervals]  # kind of rate -> its intervals
    counts: dict[str, int]
    options: dict[str, bool]
    roc: RocPoints | None = None  # of a search `open_set` takes its place
    departures: tuple[str, ...] = ()  # from the published lists, in words
    notes: tuple[str, ...] = ()
    enrolment: Enrolment | None = None  # images without a face, and damaged ones; None: it is not known
    intervals_by: str = ""  # how the intervals were found, in words
    samples: Samples | None = field(default=None, compare=False, repr=False)
    hardest: tuple[Hardest, ...] = field(default=(), compare=False, repr=False)

    @abc.abstractmethod
    def groups(self) -> list[Group]:
        """The figures with their intervals."""

    @abc.abstractmethod
    def trials(self) -> int:
        """How many TRIALS there were."""


@dataclass(frozen=True, kw_only=True)
class TemplateVerification(LargeResult):
    """1:1 of IJB-B or IJB-C: pairs of templates."""

    KIND: ClassVar[str] = "IJB 1:1 verification"
    TRIALS: ClassVar[str] = "genuine pairs"

    tar_at_far: dict[str, Rates]  # rule of RULES -> FAR -> TAR; intervals likewise

    def groups(self) -> list[Group]:
        return [Group(f"TAR at FAR, {rule}", self.tar_at_far[rule], self.intervals[rule]) for rule in RULES]

    def trials(self) -> int:
        return self.counts.get("genuine", 0)


@dataclass(frozen=True)
class Search:
    """One gallery searched with all probes."""

    name: str
    rank: Rates  # rank -> share of the mated probes with their mate among so many
    tpir_at_fpir: Rates
    intervals: dict[str, Intervals]  # "rank", "tpir_at_fpir"
    counts: dict[str, int]  # subjects in the gallery, mated and non-mated probes


@dataclass(frozen=True, kw_only=True)
class TemplateIdentification(LargeResult):
    """1:N of IJB-B or IJB-C: probes searched in galleries. The figures are means over the galleries."""

    KIND: ClassVar[str] = "IJB 1:N identification"
    TRIALS: ClassVar[str] = "searches of mated probes"

    rank: Rates
    tpir_at_fpir: Rates  # intervals: "rank", "tpir_at_fpir"
    galleries: tuple[Search, ...]
    cmc: tuple[float, ...]  # [K] rate at rank 1, 2, … K: the mean over the galleries, as all of these
    open_set: RocPoints

    def groups(self) -> list[Group]:
        """The means; the galleries' own are in the JSON."""
        return [
            Group("rank", self.rank, self.intervals["rank"]),
            Group("TPIR at FPIR", self.tpir_at_fpir, self.intervals["tpir_at_fpir"]),
        ]

    def trials(self) -> int:
        return sum(search.counts.get("mated", 0) for search in self.galleries)


@dataclass(frozen=True, kw_only=True)
class DistractorSearch(LargeResult):
    """MegaFace: probes with mates, among distractors."""

    KIND: ClassVar[str] = "MegaFace"
    TRIALS: ClassVar[str] = "ordered mate pairs"

    rank: Rates  # "1"
    tar_at_far: dict[str, Rates]  # "at-most" alone; intervals: "rank", "at-most"

    def groups(self) -> list[Group]:
        return [
            Group("rank", self.rank, self.intervals["rank"]),
            Group("TAR at FAR, at-most", self.tar_at_far["at-most"], self.intervals["at-most"]),
        ]

    def trials(self) -> int:
        return self.counts.get("mate_pairs", 0)
