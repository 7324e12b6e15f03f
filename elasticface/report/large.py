"""What the report shows of the large benchmarks (IJB, MegaFace): a table a kind of figure, beside those of pairs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from elasticface.benchmarks.results import Group, LargeResult, TemplateIdentification
from elasticface.report import plots
from elasticface.report.figures import Note, by_benchmark, grouped, notes
from elasticface.report.pictures import Gallery, Pictures, gallery

_SHOWS = {
    "rank": "share of mated searches that find the mate within the rank",
    "TPIR at FPIR": "share of mated searches that find the mate, where at most this share of the others finds anyone",
}


@dataclass(frozen=True)
class Row:
    """One model's figures of one group."""

    model: str
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
class Section:
    """What the page shows of one large benchmark."""

    name: str
    about: str  # what the figures are
    notes: list[Note]
    methods: list[tuple[LargeResult, list[str]]]  # a result for each way to measure, and its models unless they are all
    plots: list[plots.Plot]
    tables: list[GroupTable]
    galleries: list[tuple[str, list[Gallery]]]  # of each model that was measured just now


def sections(
    results: Sequence[LargeResult], looks: Mapping[str, plots.Look], pictures: Pictures | None
) -> list[Section]:
    """The page's sections, one a benchmark."""
    return [
        Section(
            name=name,
            about=_about(rows),
            notes=notes(rows),
            methods=_methods(rows),
            plots=_plots(rows, looks, salt=f"large/{number}"),
            tables=tables(rows),
            galleries=[
                (row.model, [gallery(row, kind, kind.title, pictures) for kind in row.hardest])
                for row in rows
                if row.hardest
            ],
        )
        for number, (name, rows) in enumerate(by_benchmark(results).items())
    ]


def _about(results: Sequence[LargeResult]) -> str:
    one, numbers = results[0], {result.trials() for result in results}
    of = f"{one.trials():,} {one.TRIALS}" if len(numbers) == 1 else one.TRIALS  # some were left out of one model's
    kind = "" if one.KIND in one.benchmark else f"{one.KIND}. "
    return f"{kind}Rates are shares of {of}."


def _methods(results: Sequence[LargeResult]) -> list[tuple[LargeResult, list[str]]]:
    made = grouped(results, lambda result: (result.protocol, result.intervals_by, tuple(result.counts.items())))
    return [(rows[0], [row.model for row in rows] if len(rows) < len(results) else []) for rows in made.values()]


def _plots(results: Sequence[LargeResult], looks: Mapping[str, plots.Look], salt: str) -> list[plots.Plot]:
    benchmark, legend = results[0].benchmark, [looks[result.model] for result in results]
    made = []
    verified = [(looks[one.model], np.array(one.roc.fars), np.array(one.roc.tars)) for one in results if one.roc]
    if verified:
        made += plots.roc_and_det(verified, benchmark, salt)
    searches = [(looks[one.model], one) for one in results if isinstance(one, TemplateIdentification)]
    if searches:
        cmc = plots.cmc([(look, np.array(one.cmc)) for look, one in searches], salt)
        rates = [(look, np.array(one.open_set.fars), np.array(one.open_set.tars)) for look, one in searches]
        fpir, tpir = "False positive identification rate", "True positive identification rate"
        open_set = plots.roc(rates, f"open/{salt}", axes_of=(fpir, tpir))
        first = "how many searches have their mate among the first, by how many those are"
        made += [
            plots.curves("CMC", first, benchmark, cmc, legend),
            plots.curves("Open set", f"{tpir.lower()} over {fpir.lower()}", benchmark, open_set, legend),
        ]
    return made


def tables(results: Sequence[LargeResult]) -> list[GroupTable]:
    """A table for each kind of rate that one of the results has."""
    names = dict.fromkeys(group.name for result in results for group in result.groups())
    return [_table(name, results) for name in names]


def _table(name: str, results: Sequence[LargeResult]) -> GroupTable:
    found = [(result.model, group) for result in results for group in result.groups() if group.name == name]
    at: dict[str, list[float]] = {}  # target -> the rates there that are numbers
    for _, group in found:
        for target, rate in group.rates.items():
            at.setdefault(target, []).extend([rate] if math.isfinite(rate) else [])
    rows = [
        Row(model, group, frozenset(t for t, rate in group.rates.items() if len(at[t]) > 1 and rate == max(at[t])))
        for model, group in found
    ]
    return GroupTable(name, _SHOWS.get(name, ""), sorted(at, key=float), rows)
