"""What the report shows of the large benchmarks (IJB, MegaFace): a table a kind of figure, beside those of pairs."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from elasticface.benchmarks.results import Group, LargeResult, TemplateIdentification
from elasticface.report import plots
from elasticface.report.figures import Note, notes
from elasticface.report.pictures import Hard, Pictures, taken

if TYPE_CHECKING:
    from markupsafe import Markup

_SHOWS = {
    "rank": "share of mated searches that find the mate within the rank",
    "TPIR at FPIR": "share of mated searches that find the mate, where at most this share of the others finds anyone",
}


@dataclass(frozen=True)
class Row:
    """One model's figures of one group."""

    result: LargeResult
    look: plots.Look
    group: Group
    best: frozenset[str]  # the targets at which no other of several models has a higher rate


@dataclass(frozen=True)
class GroupTable:
    """All models' figures of one kind of rate."""

    name: str
    shows: str  # in words; empty where the rule that the name ends in says it
    targets: list[str]  # ascending
    rows: list[Row]


@dataclass(frozen=True)
class Gallery:
    """Trials of one kind to look at, the hardest first."""

    title: str
    error: str
    roles: tuple[str, ...]
    trials: list[Hard]


@dataclass(frozen=True)
class Curve:
    """A plot of all models."""

    name: str
    shows: str  # in words
    svg: "Markup"


@dataclass(frozen=True)
class Section:
    """What the page shows of one large benchmark."""

    name: str
    about: str  # what the figures are
    entries: list[tuple[LargeResult, plots.Look]]
    notes: list[Note]
    methods: list[tuple[LargeResult, list[str]]]  # a result for each way to measure, and its models unless they are all
    curves: list[Curve]
    tables: list[GroupTable]
    galleries: list[tuple[plots.Look, list[Gallery]]]  # of each model that was measured just now


def sections(
    results: Sequence[LargeResult], looks: Mapping[str, plots.Look], pictures: Pictures | None
) -> list[Section]:
    """The page's sections, one a benchmark."""
    made = []
    for number, rows in enumerate(by(results, lambda result: result.benchmark).values()):
        names = dict.fromkeys(group.name for result in rows for group in result.groups())
        made.append(
            Section(
                name=rows[0].benchmark,
                about=_about(rows),
                entries=[(result, looks[result.model]) for result in rows],
                notes=notes(rows),
                methods=_methods(rows),
                curves=_curves(rows, looks, salt=f"large/{number}"),
                tables=[table(name, rows, looks) for name in names],
                galleries=[(looks[row.model], _galleries(row, pictures)) for row in rows if row.hardest],
            )
        )
    return made


def _about(results: Sequence[LargeResult]) -> str:
    one, numbers = results[0], {result.trials() for result in results}
    of = f"{one.trials():,} {one.TRIALS}" if len(numbers) == 1 else one.TRIALS  # some were left out of one model's
    kind = "" if one.KIND in one.benchmark else f"{one.KIND}. "
    return f"{kind}Rates are shares of {of}."


def _methods(results: Sequence[LargeResult]) -> list[tuple[LargeResult, list[str]]]:
    made = by(results, lambda result: (result.protocol, result.intervals_by, tuple(result.counts.items())))
    return [(rows[0], [row.model for row in rows] if len(rows) < len(results) else []) for rows in made.values()]


def _curves(results: Sequence[LargeResult], looks: Mapping[str, plots.Look], salt: str) -> list[Curve]:
    searches = [(looks[one.model], one) for one in results if isinstance(one, TemplateIdentification)]
    lines = [
        (looks[one.model], np.array(one.roc.fars), np.array(one.roc.tars))
        for one in results
        if not isinstance(one, TemplateIdentification)
    ]
    made = []
    if lines:
        made = [
            Curve("ROC", "true accept rate over false accept rate on a logarithmic axis", plots.roc(lines, salt)),
            Curve("DET", "false non-match rate over false match rate on normal-deviate axes", plots.det(lines, salt)),
        ]
    if searches:
        ranks = [(look, np.array(one.cmc)) for look, one in searches]
        rates = [(look, np.array(one.open_set.fars), np.array(one.open_set.tars)) for look, one in searches]
        names = "False positive identification rate", "True positive identification rate"
        made += [
            Curve(
                "CMC",
                "how many searches have their mate among the first, by how many those are",
                plots.cmc(ranks, salt),
            ),
            Curve(
                "Open set",
                f"{names[1].lower()} over {names[0].lower()}",
                plots.roc(rates, f"open/{salt}", axes_of=names),
            ),
        ]
    return made


def _galleries(result: LargeResult, pictures: Pictures | None) -> list[Gallery]:
    return [
        Gallery(
            kind.title,
            kind.error,
            kind.roles,
            [Hard(one.scores, one.images, taken(result, one.images, pictures), one.wrong) for one in kind.trials],
        )
        for kind in result.hardest
    ]


def table(name: str, results: Sequence[LargeResult], looks: Mapping[str, plots.Look]) -> GroupTable:
    found = [(result, group) for result in results for group in result.groups() if group.name == name]
    at: dict[str, list[float]] = {}  # target -> the rates there that are numbers
    for _, group in found:
        for target, rate in group.rates.items():
            at.setdefault(target, []).extend([rate] if math.isfinite(rate) else [])
    rows = [
        Row(
            result,
            looks[result.model],
            group,
            frozenset(t for t, rate in group.rates.items() if len(at[t]) > 1 and rate == max(at[t])),
        )
        for result, group in found
    ]
    return GroupTable(name, _SHOWS.get(name, ""), sorted(at, key=float), rows)


def by(results: Iterable[LargeResult], key: Callable[[LargeResult], Any]) -> dict[Any, list[LargeResult]]:
    groups: dict[Any, list[LargeResult]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return groups
