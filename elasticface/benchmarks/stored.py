"""Results that are kept, read again: `results.json`, and beside it in `scores/` what a comparison needs.

A file there is a .npy. Of a benchmark of pairs it has one record a pair: the cosine, or -2 where a photo could not be
enrolled, whether the pair is genuine, whether it was accepted by the threshold of its fold, and the units on either
side (:mod:`elasticface.benchmarks.units`) as numbers. Of a large benchmark it has a row for each bootstrap resample,
with every figure (:mod:`elasticface.benchmarks.samples`). Its name is the beginning of its SHA-256, so results and
their files always fit together, even if an evaluation was killed while it wrote them. What is read may be a stranger's:
nothing in it is executed or controls a terminal, sizes are bounded, types and ranges are checked; the figures are not
computed again.
"""

import dataclasses
import functools
import hashlib
import io
import itertools
import math
import operator
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_type_hints

import msgspec
import numpy as np
from numpy.typing import NDArray

from elasticface.base import files, records
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.benchmarks.pairwise.pairs import PairResult
from elasticface.benchmarks.pairwise.slices import FACTORS, is_group_name
from elasticface.benchmarks.results import (
    FORMAT_VERSION,
    LARGE_ELSEWHERE,
    PAIRS,
    PAIRS_ELSEWHERE,
    RESULTS,
    DistractorSearch,
    LargeResult,
    RocPoints,
    TemplateIdentification,
    TemplateVerification,
)
from elasticface.benchmarks.samples import ACCURACY, EER, Samples
from elasticface.benchmarks.units import OF_PAIRS, OF_TRIALS, Units
from elasticface.metrics.resampling import interval

SCORES = "scores"
AGAIN = "run `elasticface evaluate` again"

_RECORD = np.dtype([("score", "<f4"), ("same", "?"), ("accepted", "?"), ("first", "<i4"), ("second", "<i4")])
_SAMPLE = np.dtype("<f8")
_FILE = re.compile(SCORES + r"/[0-9a-f]{16}\.npy")
_MOST_JSON = 1 << 26  # a thousand ROCs
_MOST_SCORES = 1 << 28  # bytes: nineteen million pairs
_MOST_COSINE = 1.01  # rounded
_NOT_ENROLLED = -2.0  # in the place of a cosine, where a photo of the pair could not be enrolled
_LONGEST_TEXT = 4096  # of a text, in characters
_MOST_ENTRIES = 10_000  # entries of a list or an object
_MOST_COUNT = 1 << 53
_HIGHEST_RANK = 1e9
_MOST_DISTANCE = 4.0  # squared L2, of embeddings of unit length
_ROUNDING = 1e-9  # of an end of an interval to what the samples give: rounded
_ADDED = ("enrolment", "notes", "departures")
"""Fields that results of the format had not from the start, or not all of them."""

References = list[dict[str, str] | None]


class StoredResults(NamedTuple):
    """What a folder of results holds."""

    results: list[PairResult | LargeResult]  # of pairs without the photos' names
    versions: dict[str, str]  # of what made them


@dataclasses.dataclass(frozen=True)
class _Reference:
    """What `results.json` says of a result's file."""

    file: str
    sha256: str
    units: str
    pairs: str | None = None  # digest of the trials, of a benchmark of pairs
    trials: str | None = None  # likewise, of a large one


def write_scores(out: Path, results: Sequence[PairResult | LargeResult]) -> References:
    """A file in ``out/scores`` for each result; files of earlier results stay until :func:`forget_others`.

    Returns:
        For each result what `results.json` says of its file, or None without one.
    """
    references: References = []
    for result in results:
        stored = _stored(result)
        if stored is None:
            references.append(None)
            continue
        array, described = stored
        data = _header(array.dtype, array.shape) + array.tobytes()
        digest = hashlib.sha256(data).hexdigest()
        file = f"{SCORES}/{digest[:16]}.npy"
        files.write_bytes(out / file, data)
        references.append({"file": file, "sha256": digest, **described})
    return references


def _stored(result: PairResult | LargeResult) -> tuple[NDArray[Any], dict[str, str]] | None:
    """What is stored of a result, and what `results.json` says of it; None where a comparison has nothing to draw."""
    if isinstance(result, LargeResult):
        if result.samples is None:
            return None
        rates = result.samples.rates.astype(_SAMPLE, copy=False)
        return rates, {"units": result.samples.kind, "trials": result.samples.digest}
    units = result.units
    if units is None:
        return None
    pairs = np.empty(len(result.scores), _RECORD)
    columns = (result.scores, result.same, result.accepted, units.first, units.second)
    for name, column in zip(_RECORD.names or (), columns, strict=True):
        pairs[name] = column
    pairs["score"][~result.enrolled] = _NOT_ENROLLED
    return pairs, {"units": units.kind, "pairs": units.digest}


def forget_others(out: Path, references: References) -> None:
    """Remove what earlier evaluations have left in ``out/scores``: files of our kind that no result refers to."""
    kept = {reference["file"] for reference in references if reference}
    for path in (out / SCORES).glob("*.npy"):
        file = f"{SCORES}/{path.name}"
        if _FILE.fullmatch(file) and file not in kept:
            path.unlink(missing_ok=True)


def named_in(out: Path) -> list[tuple[str, str]]:
    """Benchmark and model of each result in a folder; none where its `results.json` is missing or damaged."""
    try:
        told = records.read_object(out / RESULTS, most=_MOST_JSON).get("results")
        return [(str(one["benchmark"]), str(one["model"])) for one in told or ()]
    except (InputError, KeyError, TypeError):
        return []


def read_results(path: str | Path) -> StoredResults:
    """The results in a folder that `elasticface evaluate` wrote, or in its `results.json`.

    A result on pairs without scores is refused; one of a large benchmark that could not be resampled has no samples.

    Raises:
        InputError: no such file, or one that is damaged, or a stranger's that is not what it says.
    """
    root = Path(path)
    file = root / RESULTS if root.is_dir() else root
    if not file.exists():
        raise InputError(f"{printable(file)}: not there; give a folder of results, which `elasticface evaluate` writes")
    label = printable(file)
    top = records.read_object(file, AGAIN, _MOST_JSON)
    version = top.get("format_version")
    if version != FORMAT_VERSION:
        newer = isinstance(version, int) and version > FORMAT_VERSION
        what = "of a newer version; update elasticface" if newer else f"not of format {FORMAT_VERSION}; {AGAIN}"
        raise InputError(f"{label}: {what}")
    some = Annotated[list[Any], msgspec.Meta(min_length=1, max_length=_MOST_ENTRIES)]
    found: dict[tuple[str, str], PairResult | LargeResult] = {}
    for number, told in enumerate(records.convert(top.get("results"), some, f"{label}: results", AGAIN), start=1):
        where = f"{label}: results {number}"
        result = _with_records(file.parent, *figures_of(told, where), where)
        if (result.benchmark, result.model) in found:
            raise InputError(f"{where}: a second result of one model on one benchmark; {AGAIN}")
        found[result.benchmark, result.model] = result
    versions = records.convert(top.get("versions"), dict[str, str | None], f"{label}: versions", AGAIN)
    return StoredResults([*found.values()], {name: told for name, told in versions.items() if told is not None})


def _with_records(
    root: Path, result: PairResult | LargeResult, reference: _Reference | None, where: str
) -> PairResult | LargeResult:
    """``result`` with what its file holds."""
    if reference is None:
        if isinstance(result, PairResult):
            raise InputError(f"{where}: its scores were not stored; {AGAIN}")
        return result
    path = root / reference.file
    # A link may lead anywhere, and a stranger may have made it.
    if not _FILE.fullmatch(reference.file) or not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
        raise InputError(f"{where}: stored: {printable(reference.file, 100)} is no file of {SCORES}/; {AGAIN}")
    data, label = files.read_bytes(path, AGAIN, _MOST_SCORES), printable(path)
    if hashlib.sha256(data).hexdigest() != reference.sha256:
        raise InputError(f"{label}: is not the file that was written; {AGAIN}")
    kinds, digest = (OF_PAIRS, "pairs") if isinstance(result, PairResult) else (OF_TRIALS, "trials")
    if reference.units not in kinds:
        raise InputError(f"{where}: units {printable(reference.units, 60)}, not {', '.join(kinds)}; {AGAIN}")
    trials = getattr(reference, digest)
    if trials is None:
        raise InputError(f"{where}: stored: {digest} is missing; {AGAIN}")
    if isinstance(result, PairResult):
        return _with_scores(result, records_of(data, label), reference.units, trials, where)
    rates = samples_of(data, sum(len(group.rates) for group in result.groups()), label)
    return with_samples(result, Samples(rates, reference.units, trials), where)


def _with_scores(result: PairResult, pairs: NDArray[Any], kind: str, trials: str, where: str) -> PairResult:
    same = pairs["same"]
    counted = (result.counts.get("pairs"), result.counts.get("genuine"), result.counts.get("impostor"))
    if counted != (len(same), int(same.sum()), int((~same).sum())):
        raise InputError(f"{where}: {len(same):,} pairs where the counts say otherwise; {AGAIN}")
    scores = np.where(pairs["score"] == _NOT_ENROLLED, np.float32(-np.inf), pairs["score"])
    rejects = result.enrolment is not None and result.enrolment.undetected != "skip"
    failed = result.enrolment.trials if result.enrolment is not None and rejects else 0
    if int((scores == -np.inf).sum()) != failed:
        raise InputError(f"{where}: not {failed:,} pairs without a score, as its enrolment says; {AGAIN}")
    units = Units(kind, pairs["first"], pairs["second"], trials)
    return dataclasses.replace(result, scores=scores, same=same, accepted=pairs["accepted"], units=units)


def with_samples(result: LargeResult, samples: Samples, where: str) -> LargeResult:
    """``result`` with its samples, if its intervals are those that they give.

    Raises:
        InputError: they are not.
    """
    rates = samples.rates
    told = [(rate, group.intervals.get(target)) for group in result.groups() for target, rate in group.rates.items()]
    if len(told) != rates.shape[1] or not ((rates >= 0) & (rates <= 1)).all():
        raise InputError(f"{where}: no samples of its {len(told)} figures; {AGAIN}")
    for (rate, ends), column in zip(told, rates.T, strict=True):
        if ends is None:
            good = False
        elif np.ptp(column) > 0:
            good = not math.isnan(rate) and np.allclose(ends, interval(column), rtol=0, atol=_ROUNDING)
        else:  # the interval of one that never varies is by how many units there are
            good = ends[0] <= rate <= ends[1]
        if not good:
            raise InputError(f"{where}: its samples give other intervals than are told; {AGAIN}")
    return dataclasses.replace(result, samples=samples)


# ---------------------------------------------------------------------------------------------- figures


def _json_type(kind: str, result: type, elsewhere: Sequence[str]) -> Any:
    """The object in `results.json` for a class of results: all its fields but those that are kept ``elsewhere``."""
    hints = get_type_hints(result)
    named = [field for field in dataclasses.fields(result) if field.name not in elsewhere]
    fields = [(field.name, hints[field.name]) for field in named if field.name not in _ADDED]
    optional: list[tuple[str, Any, Any]] = [("stored", _Reference | None, None), ("threshold_cosine", Any, None)]
    optional += [(field.name, hints[field.name], field.default) for field in named if field.name in _ADDED]
    return msgspec.defstruct(result.__name__, [*fields, *optional], tag_field="kind", tag=kind)


_without_scores = functools.partial(
    PairResult,
    scores=np.zeros(0, np.float32),
    same=np.zeros(0, np.bool_),
    accepted=np.zeros(0, np.bool_),
    first=(),
    second=(),
)
_RESULT_OF_JSON: dict[Any, Any] = {
    _json_type(PAIRS, PairResult, PAIRS_ELSEWHERE): _without_scores,
    **{
        _json_type(of.KIND, of, [*LARGE_ELSEWHERE, *(["roc"] if of is TemplateIdentification else [])]): of
        for of in (TemplateVerification, TemplateIdentification, DistractorSearch)
    },
}
_ANY_KIND: Any = functools.reduce(operator.or_, _RESULT_OF_JSON)


def figures_of(told: Any, where: str) -> tuple[PairResult | LargeResult, _Reference | None]:
    """A result as `results.json` has it, one on pairs without its scores; and what is said of its file.

    Raises:
        InputError: a kind that is unknown, or an entry that is missing or wrong, of ``where``.
    """
    if isinstance(told, dict):  # identification has no roc; the enrolment may be unknown
        told = {name: value for name, value in told.items() if value is not None or name not in ("roc", "enrolment")}
    read = records.convert(_cleaned(told), _ANY_KIND, where, AGAIN)
    fields = {name: getattr(read, name) for name in read.__struct_fields__}
    reference = fields.pop("stored")
    del fields["threshold_cosine"]
    result: PairResult | LargeResult = _RESULT_OF_JSON[type(read)](**fields)
    plain = [(name, value) for name, value in msgspec.to_builtins(fields).items() if value is not None]
    for fault in itertools.chain(*(_out_of_range(value, name) for name, value in plain), _inconsistencies(result)):
        raise InputError(f"{where}: {fault}; {AGAIN}")
    return result, reference


def _cleaned(value: Any, depth: int = 8) -> Any:
    """``value`` with NaN for None and without what would control a terminal, as deep as figures are."""
    if value is None:
        return math.nan
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict) and depth:
        return {printable(name): _cleaned(part, depth - 1) for name, part in value.items()}
    if isinstance(value, list) and depth:
        return [_cleaned(part, depth - 1) for part in value]
    return value


def _out_of_range(value: Any, *path: str) -> Iterator[str]:
    """Where a number, a text or a list is out of range in figures of the right types.

    Bounds of msgspec in the annotations would refuse the NaN that stands for null.
    """
    wanted = ""
    if isinstance(value, str):
        wanted = f"a text of at most {_LONGEST_TEXT:,} characters" if len(value) > _LONGEST_TEXT else ""
    elif isinstance(value, float):
        most = _MOST_DISTANCE if path == ("threshold",) else 1.0
        wanted = "" if math.isnan(value) or 0 <= value <= most else f"a number from 0 to {most:g}"
    elif isinstance(value, int):  # or a flag
        wanted = "" if 0 <= value < _MOST_COUNT else "a count"
    elif len(value) > _MOST_ENTRIES:
        wanted = f"of at most {_MOST_ENTRIES:,} entries"
    else:
        for name, part in value.items() if isinstance(value, dict) else enumerate(value, start=1):
            yield from _out_of_range(name, *path, "a key")
            yield from _out_of_range(part, *path, str(name))
    if wanted:
        yield f"{printable(', '.join(path), 120)} is {printable(repr(value), 60)}, not {wanted}"


def _inconsistencies(result: PairResult | LargeResult) -> Iterator[str]:
    """What does not fit together in figures that are in their ranges."""
    if isinstance(result, PairResult):
        if math.isnan(result.accuracy) or math.isnan(result.threshold):
            yield "accuracy or threshold is missing"
        for piece in result.slices:
            if piece.factor not in FACTORS:
                yield f"factor is {printable(piece.factor, 60)!r}, not one of {', '.join(FACTORS)}"
            if not is_group_name(piece.name):
                yield f"name is {printable(piece.name, 60)!r}, not that of a group"
            if math.isnan(piece.accuracy):
                yield f"accuracy of {piece.name} is missing"
    else:
        try:
            result.groups()
        except KeyError as error:
            yield f"{error.args[0]} is missing, the figures or their intervals"
        if result.roc is not None and not _is_curve(result.roc):
            yield f"roc is {printable(repr(result.roc), 60)}, not a curve"
        if isinstance(result, TemplateIdentification):
            if not _is_curve(result.open_set):
                yield f"open_set is {printable(repr(result.open_set), 60)}, not a curve"
            if not result.cmc or any(map(math.isnan, result.cmc)):
                yield f"cmc is {printable(repr(list(result.cmc)), 60)}, not a curve"
    for name, target, figure in _figures_by_target(result):
        if not _is_target(target, _HIGHEST_RANK if name in ("rank", "intervals") else 1):
            yield f"{name}: {printable(target, 60)} is no rate"
        if isinstance(figure, tuple) and figure[0] > figure[1]:
            yield f"{name}, {printable(target, 60)} is {list(figure)}, not two numbers, the lower one first"


def _figures_by_target(result: PairResult | LargeResult) -> Iterator[tuple[str, str, Any]]:
    """Each rate and each interval: its kind, its target, and the figure."""
    for part in (result, *getattr(result, "galleries", ())):
        kinds = {name: getattr(part, name, {}) for name in ("rank", "tpir_at_fpir")} | getattr(part, "tar_at_far", {})
        for name, rates in [*kinds.items(), *({} if isinstance(part, PairResult) else part.intervals).items()]:
            yield from ((name, target, figure) for target, figure in rates.items())
    if isinstance(result, PairResult):
        for target, ends in result.intervals.items():
            yield "intervals", "0" if target in (ACCURACY, EER) else re.sub("^(tar|nearest)@", "", target), ends
        yield from (("intervals", "0", piece.interval) for piece in result.slices)


def _is_target(target: str, most: float) -> bool:
    try:
        return 0 <= float(target) <= most
    except ValueError:
        return False


def _is_curve(points: RocPoints) -> bool:
    fars, tars = points.fars, points.tars
    rising = all(a < b for a, b in itertools.pairwise(fars))  # and no NaN
    return len(fars) == len(tars) > 1 and rising and not any(map(math.isnan, tars))


# ---------------------------------------------------------------------------------------------- files


def samples_of(data: bytes, figures: int, label: str) -> NDArray[np.float64]:
    """Samples [R, figures] in the bytes of a file, R >= 2.

    Raises:
        InputError: there are none, said of ``label``.
    """
    samples = _parsed(data, _SAMPLE, f"{label}: no samples of {figures} figures; {AGAIN}", (figures,))
    if len(samples) < 2:
        raise InputError(f"{label}: one sample alone; {AGAIN}")
    return samples


def records_of(data: bytes, label: str) -> NDArray[Any]:
    """The records [P] of pairs in the bytes of a file, each number in its range.

    Raises:
        InputError: there are none, said of ``label``.
    """
    records = _parsed(data, _RECORD, f"{label}: no records of pairs; {AGAIN}")
    count = len(records)
    flags = np.concatenate([np.ascontiguousarray(records[name]).view(np.uint8) for name in ("same", "accepted")])
    same, first, second = records["same"], records["first"], records["second"]
    scores = records["score"]
    enrolled = scores != _NOT_ENROLLED
    kinds = same[enrolled]
    good = np.where(enrolled, np.abs(scores) < _MOST_COSINE, ~records["accepted"])
    if flags.max() > 1 or not good.all() or kinds.all() or not kinds.any():
        raise InputError(f"{label}: no scores of genuine and impostor pairs; {AGAIN}")
    least, most = min(first.min(), second.min()), max(first.max(), second.max())
    if least < 0 or most >= 2 * count or (first != second)[same].any():
        raise InputError(f"{label}: its units do not fit its pairs; {AGAIN}")
    return records


def _parsed(data: bytes, record: np.dtype[Any], otherwise: str, row: tuple[int, ...] = ()) -> NDArray[Any]:
    """The array [n, *row] in a file. Nothing is parsed: there is one header that a file of so many bytes can have."""
    header, size = len(_header(record, (0, *row))), record.itemsize * math.prod(row)  # padded: as long for any number
    count, rest = divmod(len(data) - header, size) if size else (0, 0)
    if count < 1 or rest or data[:header] != _header(record, (count, *row)):
        raise InputError(otherwise)
    records: NDArray[Any] = np.frombuffer(data, record, offset=header).reshape(count, *row)
    return records


def _header(record: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(record), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, described)
    return stream.getvalue()
