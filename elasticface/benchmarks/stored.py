"""Results that are kept, read again: `results.json`, and beside it in `scores/` what a comparison needs.

A file there is a .npy. Of a benchmark of pairs it has one record a pair: the cosine, whether the pair is genuine,
whether it was accepted by the threshold of its fold, and the units on either side
(:mod:`elasticface.benchmarks.units`) as numbers. Of a large benchmark it has a row a bootstrap sample, with each figure
(:mod:`elasticface.benchmarks.samples`). Its name is the beginning of its SHA-256, so results and their files always fit
together, whatever was stopped when. What is read may be a stranger's: nothing in it is executed, sizes are bounded,
types and ranges are checked; figures are taken as told.
"""

import hashlib
import io
import json
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elasticface.base import files
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.benchmarks import parsing
from elasticface.benchmarks.pairwise.pairs import PairResult
from elasticface.benchmarks.parsing import AGAIN
from elasticface.benchmarks.results import FORMAT_VERSION, LargeResult
from elasticface.benchmarks.units import Units

RESULTS, SCORES = "results.json", "scores"

_RECORD = np.dtype([("score", "<f4"), ("same", "?"), ("accepted", "?"), ("first", "<i4"), ("second", "<i4")])
_SAMPLE = np.dtype("<f8")
_FILE = re.compile(SCORES + r"/[0-9a-f]{16}\.npy")
_MOST_JSON = 1 << 26  # a thousand ROCs
_MOST_SCORES = 1 << 28  # bytes: nineteen million pairs
_MOST_COSINE = 1.01  # rounded

References = list[dict[str, str] | None]


class StoredResults(NamedTuple):
    """What a folder of results holds."""

    results: list[PairResult | LargeResult]  # of pairs without the photos' names
    versions: dict[str, str]  # of what made them


def write_scores(out: Path, results: Sequence[PairResult | LargeResult]) -> References:
    """A file in ``out/scores`` for each result; files of earlier results stay until :func:`forget_others`.

    Returns:
        For each result what `results.json` says of its file, or None without one.
    """
    references: References = []
    for result in results:
        records, told = _records(result)
        if records is None:
            references.append(None)
            continue
        data = _header(records.dtype, records.shape) + records.tobytes()
        digest = hashlib.sha256(data).hexdigest()
        file = f"{SCORES}/{digest[:16]}.npy"
        files.write_bytes(out / file, data)
        references.append({"file": file, "sha256": digest, **told})
    return references


def _records(result: PairResult | LargeResult) -> tuple[NDArray[Any] | None, dict[str, str]]:
    """What is stored of a result, or None, and what `results.json` says of it."""
    if not isinstance(result, PairResult):
        samples = result.samples
        if samples is None:
            return None, {}
        return samples.rates.astype(_SAMPLE, copy=False), {"units": samples.kind, "trials": samples.digest}
    if result.units is None:
        return None, {}
    records = np.empty(len(result.scores), _RECORD)
    for name, column in (("score", result.scores), ("same", result.same), ("accepted", result.accepted)):
        records[name] = column
    records["first"], records["second"] = result.units.first, result.units.second
    return records, {"units": result.units.kind, "pairs": result.units.digest}


def forget_others(out: Path, references: References) -> None:
    """Remove what earlier evaluations have left in ``out/scores``: files of our kind that no result refers to."""
    kept = {reference["file"] for reference in references if reference}
    for path in (out / SCORES).glob("*.npy"):
        file = f"{SCORES}/{path.name}"
        if _FILE.fullmatch(file) and file not in kept:
            path.unlink(missing_ok=True)


def read_results(path: str | Path) -> StoredResults:
    """The results in a folder that `elasticface evaluate` wrote, or in its `results.json`.

    A result on pairs without scores is refused; one of a large benchmark where nobody could be drawn has no samples.

    Raises:
        InputError: no such file, or one that is damaged, or a stranger's that is not what it says.
    """
    root = Path(path)
    file = root / RESULTS if root.is_dir() else root
    if not file.exists():
        raise InputError(f"{printable(file)}: not there; give a folder of results, which `elasticface evaluate` writes")
    label = printable(file)
    try:
        told = json.loads(files.read_bytes(file, most=_MOST_JSON))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{label}: no JSON; {AGAIN}") from error
    top = parsing.Fields(label, told)
    version = top.value.get("format_version")
    if version != FORMAT_VERSION:
        newer = isinstance(version, int) and version > FORMAT_VERSION
        what = "of a newer version; update elasticface" if newer else f"not of format {FORMAT_VERSION}; {AGAIN}"
        raise InputError(f"{label}: {what}")
    found: list[PairResult | LargeResult] = []
    for fields in top.items("results"):
        result = parsing.parse(fields)
        result = _with_records(file.parent, result, fields)
        if any((result.benchmark, result.model) == (other.benchmark, other.model) for other in found):
            raise InputError(f"{fields.where}: a second result of one model on one benchmark; {AGAIN}")
        found.append(result)
    if not found:
        raise InputError(f"{label}: holds no result; {AGAIN}")
    return StoredResults(found, top.texts("versions"))


def _with_records(root: Path, result: PairResult | LargeResult, fields: parsing.Fields) -> PairResult | LargeResult:
    """``result`` with what its file holds."""
    if fields.value.get("stored") is None:
        if isinstance(result, PairResult):
            raise InputError(f"{fields.where}: its scores were not stored; {AGAIN}")
        return result
    reference = fields.part("stored")
    file, kind = reference.text("file"), reference.text("units")
    path = root / file
    # A link may lead anywhere, and a stranger may have made it.
    if not _FILE.fullmatch(file) or not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
        raise InputError(f"{reference.where}: {printable(file, 100)} is no file of {SCORES}/; {AGAIN}")
    data = files.read_bytes(path, AGAIN, _MOST_SCORES)
    if hashlib.sha256(data).hexdigest() != reference.text("sha256"):
        raise InputError(f"{printable(path)}: is not the file that was written; {AGAIN}")
    if not isinstance(result, PairResult):
        figures = sum(len(group.rates) for group in result.groups())
        rates = samples_of(data, figures, printable(path))
        digest = reference.text("trials")
        return parsing.with_samples(result, rates=rates, kind=kind, digest=digest, where=reference.where)
    records = records_of(data, printable(path))
    return parsing.completed(
        result,
        scores=records["score"],
        same=records["same"],
        accepted=records["accepted"],
        units=Units(kind, records["first"], records["second"], reference.text("pairs")),
        where=reference.where,
    )


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
    if flags.max() > 1 or not (np.abs(records["score"]) < _MOST_COSINE).all() or same.all() or not same.any():
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
