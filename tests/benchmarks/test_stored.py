"""What evaluation keeps for a comparison is read again as it was, and what is not that is refused."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_report import ENVIRONMENT, SLICES, make_result
from test_report_large import ALL

from elasticface import files
from elasticface.benchmarks.pairs import PairResult
from elasticface.benchmarks.stored import forget_others, read_results, write_scores
from elasticface.benchmarks.units import units_of
from elasticface.errors import InputError
from elasticface.report import results_json


def with_units(result: PairResult) -> PairResult:
    return replace(result, units=units_of(result.first, result.second, result.same, 10))


def write(folder: Path, results: list[Any]) -> Path:
    stored = write_scores(folder, results)
    files.write_json(folder / "results.json", results_json(results, ENVIRONMENT, stored))
    forget_others(folder, stored)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "results", [with_units(replace(make_result(), slices=SLICES)), *ALL])


def test_results_are_read_as_they_were(folder: Path) -> None:
    before = [with_units(replace(make_result(), slices=SLICES)), *ALL]
    found, versions = read_results(folder)
    assert versions == ENVIRONMENT["versions"]
    assert read_results(folder / "results.json").versions == versions
    assert found[1:] == before[1:]
    assert results_json(found, ENVIRONMENT) == results_json(before, ENVIRONMENT)
    (pairs,) = (result for result in found if isinstance(result, PairResult))
    for name in ("scores", "same", "accepted"):
        np.testing.assert_array_equal(getattr(pairs, name), getattr(before[0], name))
    assert pairs.units is not None
    assert (pairs.units.kind, pairs.units.digest) == (before[0].units.kind, before[0].units.digest)
    np.testing.assert_array_equal(pairs.units.first, before[0].units.first)
    np.testing.assert_array_equal(pairs.units.second, before[0].units.second)
    assert (pairs.first, pairs.second) == ((), ())


def test_a_file_is_a_plain_npy(folder: Path) -> None:
    (path,) = (folder / "scores").iterdir()
    records = np.load(path, allow_pickle=False)
    np.testing.assert_array_equal(records["score"], make_result().scores)
    assert path.stem == hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def test_large_benchmarks_have_no_scores_folder(tmp_path: Path) -> None:
    assert os.listdir(write(tmp_path, [*ALL])) == ["results.json"]
    assert read_results(tmp_path).results == ALL


def test_only_what_is_ours_and_unused_is_forgotten(folder: Path) -> None:
    (folder / "scores" / "mine.npy").write_text("x")
    write(folder, [with_units(make_result(pairs=40))])
    assert len(os.listdir(folder / "scores")) == 2
    assert (folder / "scores" / "mine.npy").exists()
    assert len(read_results(folder).results) == 1


Change = Callable[[dict[str, Any], dict[str, Any]], Any]

WRONG: dict[str, tuple[Change, str]] = {
    "other format": (lambda top, one: top.update(format_version=2), "not of format 1"),
    "no results": (lambda top, one: top.update(results=[]), "holds no result"),
    "results no list": (lambda top, one: top.update(results={}), "results is {}, not a list"),
    "a number for a result": (lambda top, one: top.update(results=[1]), "results 1: not an object"),
    "unknown kind": (lambda top, one: one.update(kind="os.system"), "kind is 'os.system', not one of pairs"),
    "twice the same": (lambda top, one: top["results"].append(one), "a second result of one model"),
    "model no text": (lambda top, one: one.update(model=["x"]), "model is ['x'], not a text"),
    "accuracy over 1": (lambda top, one: one.update(accuracy=98.2), "accuracy is 98.2, not a number from 0 to 1"),
    "accuracy absent": (lambda top, one: one.pop("accuracy"), "accuracy is None"),
    "accuracy true": (lambda top, one: one.update(accuracy=True), "accuracy is True"),
    "a huge number": (lambda top, one: one.update(eer=10**400), "eer is 1000"),
    "a rate that is none": (lambda top, one: one["tar_at_far"]["at-most"].update(x=1), "x is no rate"),
    "a count below 0": (lambda top, one: one["counts"].update(pairs=-1), "pairs is -1, not a count"),
    "other counts": (lambda top, one: one["counts"].update(pairs=401), "400 pairs where the counts say otherwise"),
    "mathematics in a plot": (lambda top, one: one["slices"][0].update(name="$x$"), "not that of a group"),
    "unknown factor": (lambda top, one: one["slices"][0].update(factor="age"), "factor is 'age'"),
    "nothing stored": (lambda top, one: one.pop("stored"), "its scores were not stored; run `elasticface evaluate`"),
    "a path": (lambda top, one: one["stored"].update(file="/etc/passwd"), "/etc/passwd is no file of scores/"),
    "a path upwards": (lambda top, one: one["stored"].update(file="scores/../results.json"), "is no file of scores/"),
    "an absent file": (lambda top, one: one["stored"].update(file=f"scores/{'0' * 16}.npy"), "cannot be read"),
    "other digest": (lambda top, one: one["stored"].update(sha256="0"), "is not the file that was written"),
    "unknown units": (lambda top, one: one["stored"].update(units="dogs"), "units dogs"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_results_are_refused(folder: Path, what: str) -> None:
    change, message = WRONG[what]
    top = json.loads((folder / "results.json").read_text())
    change(top, top["results"][0])
    (folder / "results.json").write_text(json.dumps(top))
    with pytest.raises(InputError) as raised:
        read_results(folder)
    assert message in str(raised.value)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\0", "[]", "null", '{"format_version": 1, "results": [{}]}'])
def test_what_is_no_results_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(InputError, match="evaluate"):
        read_results(tmp_path)


def test_an_absent_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not there; give a folder of results"):
        read_results(tmp_path / "absent")


def replace_scores(folder: Path, data: bytes) -> None:
    """Other scores, with everything that refers to them."""
    top = json.loads((folder / "results.json").read_text())
    digest = hashlib.sha256(data).hexdigest()
    top["results"][0]["stored"] |= {"file": f"scores/{digest[:16]}.npy", "sha256": digest}
    (folder / "results.json").write_text(json.dumps(top))
    (folder / "scores" / f"{digest[:16]}.npy").write_bytes(data)


def wrong_records(folder: Path) -> dict[str, bytes]:
    (path,) = (folder / "scores").iterdir()
    good = path.read_bytes()
    records = np.load(path)
    size = len(records) * records.dtype.itemsize

    def of(**columns: Any) -> bytes:
        other = records.copy()
        for name, value in columns.items():
            other[name][: np.size(value)] = value
        return good[:-size] + other.tobytes()

    flags = bytearray(good)
    flags[len(good) - size + 4] = 2
    return {
        "empty": b"",
        "cut": good[:-1],
        "one more": good + good[-14:],
        "a header for more": good[:-size].replace(b"(400,)", b"(999,)") + good[-size:],
        "objects": good[:-size].replace(b"'<f4'", b"'|O4'") + good[-size:],
        "not a number": of(score=np.nan),
        "no cosine": of(score=1e30),
        "a flag of 2": bytes(flags),
        "all genuine": of(same=np.ones(400, bool)),
        "a genuine pair of two": of(second=np.int32(7)),
        "below 0": of(first=np.int32(-1), second=np.int32(-1)),
        "too many": of(first=np.int32(2**31 - 1), second=np.int32(2**31 - 1)),
    }


@pytest.mark.parametrize("what", range(12))
def test_wrong_scores_are_refused(folder: Path, what: int) -> None:
    replace_scores(folder, list(wrong_records(folder).values())[what])
    with pytest.raises(InputError, match=r"\.npy: .*; run `elasticface evaluate` anew"):
        read_results(folder)


def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (path,) = (folder / "scores").iterdir()
    path.rename(tmp_path / "elsewhere.npy")
    path.symlink_to(tmp_path / "elsewhere.npy")
    with pytest.raises(InputError, match="is no file of scores/"):
        read_results(folder)
