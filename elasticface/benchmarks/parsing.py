"""The figures of `results.json`, each kind of result from its plain types again; what is wrong in them is refused."""

import dataclasses
import itertools
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.benchmarks.pairwise.pairs import PairResult
from elasticface.benchmarks.pairwise.slices import FACTORS, Slice
from elasticface.benchmarks.results import (
    PAIRS,
    DistractorSearch,
    LargeResult,
    RocPoints,
    Search,
    TemplateIdentification,
    TemplateVerification,
)
from elasticface.benchmarks.samples import ACCURACY, EER, Intervals, Rates, Samples
from elasticface.benchmarks.units import OF_PAIRS, OF_TRIALS, Units
from elasticface.metrics.resampling import interval

AGAIN = "run `elasticface evaluate` anew"
_LONGEST = 4096  # of a text, in characters
_MOST = 10_000  # parts of one part
_HIGHEST_RANK = 1e9
_NEAR = 1e-9  # of an end of an interval to what the samples give: rounded
_GROUP = re.compile(r"[\w .–°-]{1,40}")


class Fields:
    """A JSON object of someone's, and where it is, for messages.

    Raises:
        InputError: of each method, and of the constructor: what is there is not of the type asked for, or out of range.
    """

    def __init__(self, where: str, value: Any) -> None:
        if not isinstance(value, dict) or len(value) > _MOST or max(map(len, value), default=0) > _LONGEST:
            raise InputError(f"{where}: not an object of a few entries; {AGAIN}")
        self.where = where
        self.value: dict[str, Any] = value

    def refused(self, key: str, wanted: str) -> InputError:
        found = printable(repr(self.value.get(key)), 60)
        return InputError(f"{self.where}: {printable(key, 60)} is {found}, not {wanted}; {AGAIN}")

    def part(self, key: str) -> "Fields":
        return Fields(f"{self.where}, {printable(key, 60)}", self.value.get(key))

    def list(self, key: str) -> list[Any]:
        value = self.value.get(key)
        if not isinstance(value, list) or len(value) > _MOST:
            raise self.refused(key, "a list")
        return value

    def items(self, key: str) -> Iterator["Fields"]:
        for number, value in enumerate(self.list(key), start=1):
            yield Fields(f"{self.where}, {key} {number}", value)

    def text(self, key: str) -> str:
        value = self.value.get(key)
        if not isinstance(value, str) or len(value) > _LONGEST:
            raise self.refused(key, "a text")
        return value

    def texts(self, key: str) -> dict[str, str]:
        part = self.part(key)
        return {name: part.text(name) for name in part.value if part.value[name] is not None}

    def counts(self, key: str) -> dict[str, int]:
        part = self.part(key)
        return {name: part.count(name) for name in part.value}

    def count(self, key: str) -> int:
        value = self.value.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 53:
            raise self.refused(key, "a count")
        return value

    def flags(self, key: str) -> dict[str, bool]:
        part = self.part(key)
        for name, value in part.value.items():
            if not isinstance(value, bool):
                raise part.refused(name, "true or false")
        return part.value

    def number(self, key: str, most: float = 1.0, needed: bool = False) -> float:
        """A number from 0 to ``most``; NaN where there is none and none is ``needed``."""
        value = self.value.get(key)
        if value is None and not needed:
            return math.nan
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
            raise self.refused(key, f"a number from 0 to {most:g}")
        return float(value)

    def numbers(self, key: str) -> tuple[float, ...]:
        """Fractions in 0..1."""
        values = Fields(f"{self.where}, {key}", {str(i): value for i, value in enumerate(self.list(key))})
        return tuple(values.number(i) for i in values.value)

    def interval(self, key: str) -> tuple[float, float]:
        ends = self.numbers(key)
        if len(ends) != 2 or ends[0] > ends[1]:
            raise self.refused(key, "two numbers, the lower one first")
        return ends[0], ends[1]

    def rates(self, key: str, most: float = 1.0) -> Rates:
        """Fractions by their targets, which are numbers from 0 to ``most``."""
        part = self.part(key)
        for target in part.value:
            part.check_target(target, most)
        return {target: part.number(target) for target in part.value}

    def intervals(self, key: str) -> Intervals:
        part = self.part(key)
        for target in part.value:
            part.check_target("0" if target in (ACCURACY, EER) else re.sub("^(tar|nearest)@", "", target))
        return {target: part.interval(target) for target in part.value}

    def check_target(self, target: str, most: float = _HIGHEST_RANK) -> None:
        try:
            good = 0 <= float(target) <= most
        except ValueError:
            good = False
        if not good:
            raise InputError(f"{self.where}: {printable(target, 60)} is no rate; {AGAIN}")


def parse(fields: Fields) -> PairResult | LargeResult:
    """The result that was written as ``fields``; one on pairs is without its scores.

    Raises:
        InputError: a kind that is unknown, or an entry that is missing or wrong.
    """
    kind = fields.text("kind")
    if kind not in _KINDS:
        raise fields.refused("kind", f"one of {', '.join(_KINDS)}")
    result: PairResult | LargeResult = _KINDS[kind](fields)
    return result


def completed(
    result: PairResult,
    *,
    scores: NDArray[np.float32],
    same: NDArray[np.bool_],
    accepted: NDArray[np.bool_],
    units: Units,
    where: str,
) -> PairResult:
    """``result`` with its scores, if they are of as many pairs.

    Raises:
        InputError: they are not, or the units' kind is unknown.
    """
    counted = (result.counts.get("pairs"), result.counts.get("genuine"), result.counts.get("impostor"))
    if counted != (len(same), int(same.sum()), int((~same).sum())):
        raise InputError(f"{where}: {len(same):,} pairs where the counts say otherwise; {AGAIN}")
    _check_units(units.kind, OF_PAIRS, where)
    return dataclasses.replace(result, scores=scores, same=same, accepted=accepted, units=units)


def with_samples(result: LargeResult, *, rates: NDArray[np.float64], kind: str, digest: str, where: str) -> LargeResult:
    """``result`` with its samples, if its intervals are those that they give.

    Raises:
        InputError: they are not, or the units' kind is unknown.
    """
    _check_units(kind, OF_TRIALS, where)
    told = [(rate, group.intervals.get(target)) for group in result.groups() for target, rate in group.rates.items()]
    if len(told) != rates.shape[1] or not ((rates >= 0) & (rates <= 1)).all():
        raise InputError(f"{where}: no samples of its {len(told)} figures; {AGAIN}")
    for (rate, ends), column in zip(told, rates.T, strict=True):
        if ends is None:
            good = False
        elif np.ptp(column) > 0:
            good = not math.isnan(rate) and np.allclose(ends, interval(column), rtol=0, atol=_NEAR)
        else:  # the interval of one that never varies is by how many units there are
            good = ends[0] <= rate <= ends[1]
        if not good:
            raise InputError(f"{where}: its samples give other intervals than are told; {AGAIN}")
    return dataclasses.replace(result, samples=Samples(rates, kind, digest))


def _check_units(kind: str, known: tuple[str, ...], where: str) -> None:
    if kind not in known:
        raise InputError(f"{where}: units {printable(kind, 60)}, not {', '.join(known)}; {AGAIN}")


def _pairs(fields: Fields) -> PairResult:
    nothing = np.zeros(0, np.bool_)
    tars = fields.part("tar_at_far")
    return PairResult(
        **_names(fields),
        accuracy=fields.number("accuracy", needed=True),
        accuracy_std=fields.number("accuracy_std"),
        threshold=fields.number("threshold", most=4, needed=True),
        per_fold=fields.numbers("per_fold"),
        tar_at_far={rule: tars.rates(rule) for rule in ("at-most", "nearest") if rule in tars.value},
        eer=fields.number("eer"),
        counts=fields.counts("counts"),
        scores=np.zeros(0, np.float32),
        same=nothing,
        first=(),
        second=(),
        intervals=fields.intervals("intervals"),
        intervals_by=fields.text("intervals_by"),
        accepted=nothing,
        slices=tuple(_slice(piece) for piece in fields.items("slices")),
    )


def _slice(fields: Fields) -> Slice:
    factor = fields.text("factor")
    if factor not in FACTORS:
        raise fields.refused("factor", f"one of {', '.join(FACTORS)}")
    name = fields.text("name")
    if not _GROUP.fullmatch(name):  # it gets into a plot
        raise fields.refused("name", "that of a group")
    return Slice(
        factor=factor,
        name=name,
        genuine=fields.count("genuine"),
        impostor=fields.count("impostor"),
        accuracy=fields.number("accuracy", needed=True),
        interval=fields.interval("interval"),
        tar=fields.number("tar"),
        far=fields.number("far"),
    )


def _verification(fields: Fields) -> TemplateVerification:
    tars, intervals = fields.part("tar_at_far"), fields.part("intervals")
    return TemplateVerification(
        **_names(fields),
        tar_at_far={rule: tars.rates(rule) for rule in ("nearest", "at-most")},
        intervals={rule: intervals.intervals(rule) for rule in ("nearest", "at-most")},
        counts=fields.counts("counts"),
        options=fields.flags("options"),
        roc=_curve(fields, "roc"),
        notes=_notes(fields),
        intervals_by=fields.text("intervals_by"),
    )


def _curve(fields: Fields, key: str) -> RocPoints:
    part = fields.part(key)
    points = RocPoints(part.numbers("fars"), part.numbers("tars"))
    falling = any(not b > a for a, b in itertools.pairwise(points.fars))  # or NaN
    if len(points.fars) != len(points.tars) or len(points.fars) < 2 or falling or any(map(math.isnan, points.tars)):
        raise fields.refused(key, "a curve")
    return points


def _identification(fields: Fields) -> TemplateIdentification:
    intervals, cmc = fields.part("intervals"), fields.numbers("cmc")
    if not cmc or any(map(math.isnan, cmc)):
        raise fields.refused("cmc", "a curve")
    return TemplateIdentification(
        **_names(fields),
        rank=fields.rates("rank", _HIGHEST_RANK),
        tpir_at_fpir=fields.rates("tpir_at_fpir"),
        intervals={kind: intervals.intervals(kind) for kind in ("rank", "tpir_at_fpir")},
        galleries=tuple(_search(gallery) for gallery in fields.items("galleries")),
        counts=fields.counts("counts"),
        options=fields.flags("options"),
        cmc=cmc,
        open_set=_curve(fields, "open_set"),
        notes=_notes(fields),
        intervals_by=fields.text("intervals_by"),
    )


def _search(fields: Fields) -> Search:
    intervals = fields.part("intervals")
    return Search(
        name=fields.text("name"),
        rank=fields.rates("rank", _HIGHEST_RANK),
        tpir_at_fpir=fields.rates("tpir_at_fpir"),
        intervals={kind: intervals.intervals(kind) for kind in ("rank", "tpir_at_fpir") if kind in intervals.value},
        counts=fields.counts("counts"),
    )


def _distractors(fields: Fields) -> DistractorSearch:
    tars, intervals = fields.part("tar_at_far"), fields.part("intervals")
    return DistractorSearch(
        **_names(fields),
        rank=fields.rates("rank", _HIGHEST_RANK),
        tar_at_far={"at-most": tars.rates("at-most")},
        intervals={kind: intervals.intervals(kind) for kind in ("rank", "at-most")},
        counts=fields.counts("counts"),
        options=fields.flags("options"),
        roc=_curve(fields, "roc"),
        notes=_notes(fields),
        intervals_by=fields.text("intervals_by"),
    )


def _names(fields: Fields) -> dict[str, Any]:
    return {key: fields.text(key) for key in ("model", "benchmark", "protocol")}


def _notes(fields: Fields) -> tuple[str, ...]:
    notes = Fields(f"{fields.where}, notes", {str(i): note for i, note in enumerate(fields.list("notes"))})
    return tuple(notes.text(i) for i in notes.value)


_KINDS: dict[str, Any] = {
    PAIRS: _pairs,
    TemplateVerification.KIND: _verification,
    TemplateIdentification.KIND: _identification,
    DistractorSearch.KIND: _distractors,
}
