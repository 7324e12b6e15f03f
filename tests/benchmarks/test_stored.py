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
from judged import judged
from test_report import ENVIRONMENT, SLICES, make_result
from test_report_large import ALL

from elasticface import files
from elasticface.benchmarks import stored
from elasticface.benchmarks.pairs import PairResult
from elasticface.benchmarks.results import LargeResult
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


def test_large_benchmarks_without_outcomes_are_read_without(tmp_path: Path) -> None:
    assert os.listdir(write(tmp_path, [*ALL])) == ["results.json"]
    found = read_results(tmp_path).results
    assert found == ALL
    assert {result.outcomes for result in found if not isinstance(result, PairResult)} == {None}


def test_outcomes_are_read_as_they_were(tmp_path: Path) -> None:
    before = [judged(result, seed) for seed, result in enumerate(ALL)]
    found = read_results(write(tmp_path, before)).results
    assert found == before
    assert len(os.listdir(tmp_path / "scores")) == len(ALL)
    for a, b in zip(found, before, strict=True):
        assert not isinstance(a, PairResult)
        assert a.outcomes is not None
        assert b.outcomes is not None
        assert (a.outcomes.kind, a.outcomes.digest) == (b.outcomes.kind, b.outcomes.digest)
        for name in ("hits", "units", "groups"):
            np.testing.assert_array_equal(getattr(a.outcomes, name), getattr(b.outcomes, name))
            assert getattr(a.outcomes, name).dtype == getattr(b.outcomes, name).dtype


def test_what_is_too_long_to_be_read_again_is_not_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = [judged(result) for result in ALL]
    write(tmp_path, results)
    monkeypatch.setattr(stored, "_MOST_TRIALS", 89)
    with pytest.raises(InputError, match="more than 89 trials"):
        read_results(tmp_path)
    write(tmp_path, results)
    assert os.listdir(tmp_path / "scores") == []
    assert read_results(tmp_path).results == results


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


def of_trials(folder: Path, result: LargeResult = ALL[1]) -> Path:
    return write(folder, [judged(result)])


WRONG_TRIALS: dict[str, tuple[Change, str]] = {
    "nothing of the lists": (lambda top, one: one["stored"].pop("trials"), "trials is None, not a text"),
    "units of pairs": (lambda top, one: one["stored"].update(units="people"), "units people, not subjects, templates"),
    "other counts": (lambda top, one: one["galleries"][1]["counts"].update(mated=7), "90 trials where the counts say"),
    "no counts": (lambda top, one: one["galleries"][0].update(counts={}), "90 trials where the counts say otherwise"),
    "no galleries": (lambda top, one: one.update(galleries=[]), "90 trials where the counts say otherwise"),
    "a gallery more": (lambda top, one: one["galleries"].append(one["galleries"][0]), "90 trials where the counts say"),
    "another figure": (lambda top, one: one["rank"].update({"5": 0.1}), "its trials give other figures than are told"),
    "none": (lambda top, one: one["rank"].update({"5": None}), "its trials give other figures than are told"),
    "a gallery's": (lambda top, one: one["galleries"][1]["rank"].update({"5": 0.1}), "give other figures than are"),
    "a figure more": (lambda top, one: one["rank"].update({"20": 0.1}), "its trials give other figures than are told"),
    "a figure less": (lambda top, one: one["tpir_at_fpir"].clear(), "its trials are not of 3 figures"),
    "too many": (lambda top, one: one["rank"].update({str(k): 1 for k in range(40, 80)}), "not of 45 figures"),
    "another kind": (lambda top, one: one.update(kind="pairs"), "tar_at_far: not an object"),
}


@pytest.mark.parametrize("what", WRONG_TRIALS)
def test_wrong_results_on_trials_are_refused(tmp_path: Path, what: str) -> None:
    change, message = WRONG_TRIALS[what]
    folder = of_trials(tmp_path)
    top = json.loads((folder / "results.json").read_text())
    change(top, top["results"][0])
    (folder / "results.json").write_text(json.dumps(top))
    with pytest.raises(InputError) as caught:
        read_results(folder)
    assert message in str(caught.value)


def wrong_trials(folder: Path) -> dict[str, bytes]:
    (path,) = (folder / "scores").iterdir()
    good = path.read_bytes()
    records = np.load(path)
    size = len(records) * records.dtype.itemsize

    def of(column: str, value: int) -> bytes:
        other = records.copy()
        other[column][0] = value
        return good[:-size] + other.tobytes()

    return {
        "empty": b"",
        "cut": good[:-1],
        "one more": good + good[-9:],
        "a header for more": good[:-size].replace(b"(90,)", b"(99,)") + good[-size:],
        "objects": good[:-size].replace(b"'<u4'", b"'|O4'") + good[-size:],
        "a figure beyond": of("hits", 1 << 5),
        "another hit": of("hits", int(records["hits"][0]) ^ 1),
        "below 0": of("unit", -1),
        "a unit too many": of("unit", 90),
        "a gallery too many": of("group", 255),
        "another gallery": of("group", int(records["group"][0]) ^ 1),
    }


@pytest.mark.parametrize("what", range(11))
def test_wrong_trials_are_refused(tmp_path: Path, what: int) -> None:
    folder = of_trials(tmp_path)
    replace_scores(folder, list(wrong_trials(folder).values())[what])
    with pytest.raises(InputError, match=r"; run `elasticface evaluate` anew"):
        read_results(folder)


def test_records_of_pairs_are_none_of_trials(tmp_path: Path, folder: Path) -> None:
    (path,) = (folder / "scores").iterdir()
    of_trials(tmp_path)
    replace_scores(tmp_path, path.read_bytes())
    with pytest.raises(InputError, match="no records of trials"):
        read_results(tmp_path)


def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (path,) = (folder / "scores").iterdir()
    path.rename(tmp_path / "elsewhere.npy")
    path.symlink_to(tmp_path / "elsewhere.npy")
    with pytest.raises(InputError, match="is no file of scores/"):
        read_results(folder)
