"""What evaluation keeps for a comparison is read again as it was, and what is not that is refused."""

import hashlib
import io
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from judged import judged
from made_results import ALL, ENVIRONMENT, SLICES, make_result

from elasticface.base import files
from elasticface.base.errors import InputError
from elasticface.benchmarks import stored
from elasticface.benchmarks.pairwise.pairs import PairResult
from elasticface.benchmarks.results import LargeResult
from elasticface.benchmarks.samples import Drawn, Samples
from elasticface.benchmarks.stored import forget_others, read_results, write_scores
from elasticface.benchmarks.units import units_of
from elasticface.report.files import results_json


def with_units(result: PairResult) -> PairResult:
    return replace(result, units=units_of(result.first, result.second, result.same, 10))


def write(folder: Path, results: list[Any]) -> Path:
    stored = write_scores(folder, results)
    files.write_json(folder / "results.json", results_json(results, ENVIRONMENT, stored))
    forget_others(folder, stored)
    return folder


GROUPS = (*SLICES, replace(SLICES[0], factor="ethnicity", name="Black/African, R&B <$x^2> 中文"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "results", [with_units(replace(make_result(), slices=GROUPS)), *ALL])


def test_results_are_read_as_they_were(folder: Path) -> None:
    before = [with_units(replace(make_result(), slices=GROUPS)), *ALL]
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


def test_names_and_notes_of_a_stranger_do_not_control_a_terminal(tmp_path: Path) -> None:
    names = {"model": "a\x1b[2Jb", "benchmark": "c\rd", "notes": ("e\x9bf",)}
    (found,) = read_results(write(tmp_path, [with_units(replace(make_result(), **names))])).results
    assert (found.model, found.benchmark, found.notes) == (r"a\x1b[2Jb", r"c\rd", (r"e\x9bf",))


def test_a_file_is_a_plain_npy(folder: Path) -> None:
    (path,) = (folder / "scores").iterdir()
    records = np.load(path, allow_pickle=False)
    np.testing.assert_array_equal(records["score"], make_result().scores)
    assert path.stem == hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def test_large_benchmarks_without_samples_are_read_without(tmp_path: Path) -> None:
    assert os.listdir(write(tmp_path, [*ALL])) == ["results.json"]
    found = read_results(tmp_path).results
    assert found == ALL
    assert {result.samples for result in found if not isinstance(result, PairResult)} == {None}


def samples_in(result: Any) -> Samples:
    assert isinstance(result.samples, Samples)
    return result.samples


def test_samples_are_read_as_they_were(tmp_path: Path) -> None:
    before = [judged(result, seed) for seed, result in enumerate(ALL)]
    found = read_results(write(tmp_path, before)).results
    assert found == before
    assert len(os.listdir(tmp_path / "scores")) == len(ALL)
    for a, b in zip(map(samples_in, found), map(samples_in, before), strict=True):
        assert (a.kind, a.digest) == (b.kind, b.digest)
        np.testing.assert_array_equal(a.rates, b.rates)
        assert a.rates.dtype == b.rates.dtype


def test_a_file_of_samples_is_a_plain_npy_a_row_a_sample(tmp_path: Path) -> None:
    before = judged(ALL[0], draws=30)
    (path,) = (write(tmp_path, [before]) / "scores").iterdir()
    rates = np.load(path, allow_pickle=False)
    assert (rates.shape, rates.dtype) == ((30, 12), np.float64)
    np.testing.assert_array_equal(rates, samples_in(before).rates)


def test_samples_are_stored_whatever_their_order_in_memory(tmp_path: Path) -> None:
    before = judged(ALL[1])
    known = samples_in(before)
    wider = np.zeros((len(known.rates), 9))
    wider[:, 2:7] = known.rates
    for name, rates in (("columns", np.asfortranarray(known.rates)), ("part", wider[:, 2:7])):
        other = replace(before, samples=replace(known, rates=rates))
        (found,) = read_results(write(tmp_path / name, [other])).results
        np.testing.assert_array_equal(samples_in(found).rates, known.rates)


def never_varying(result: LargeResult = ALL[2]) -> LargeResult:
    """With the binomial interval of seven people for rank 1, which all of them have in every sample."""
    known = judged(result)
    rates = samples_in(known).rates.copy()
    rates[:, 0] = 1
    drawn = Drawn(rates, 7, "subjects", "")
    intervals = {**known.intervals, "rank": drawn.intervals({"1": 1.0}, 7)}
    return replace(known, rank={"1": 1.0}, intervals=intervals, samples=drawn.samples("0" * 64))


def test_a_figure_that_never_varies_keeps_its_interval(tmp_path: Path) -> None:
    before = never_varying()
    assert before.intervals["rank"]["1"] == pytest.approx((0.025 ** (1 / 7), 1))
    assert read_results(write(tmp_path, [before])).results == [before]


def test_a_file_too_large_to_be_one_of_ours_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, [judged(ALL[2], draws=40)])
    monkeypatch.setattr(stored, "_MOST_SCORES", 128 + 40 * 2 * 8 - 1)
    with pytest.raises(InputError, match=r"\.npy: more than 767 bytes"):
        read_results(tmp_path)
    monkeypatch.setattr(stored, "_MOST_SCORES", 128 + 40 * 2 * 8)
    assert len(read_results(tmp_path).results) == 1


def test_only_what_is_ours_and_unused_is_forgotten(folder: Path) -> None:
    (folder / "scores" / "mine.npy").write_text("x")
    write(folder, [with_units(make_result(pairs=40))])
    assert len(os.listdir(folder / "scores")) == 2
    assert (folder / "scores" / "mine.npy").exists()
    assert len(read_results(folder).results) == 1


def deep(levels: int) -> list[Any]:
    return [deep(levels - 1)] if levels else []


Change = Callable[[dict[str, Any], dict[str, Any]], Any]

WRONG: dict[str, tuple[Change, str]] = {
    "an older format": (lambda top, one: top.update(format_version=1), "not of format 2; run `elasticface evaluate`"),
    "a newer format": (lambda top, one: top.update(format_version=3), "of a newer version; update elasticface"),
    "no results": (lambda top, one: top.update(results=[]), "results: expected array of length >= 1"),
    "results no list": (lambda top, one: top.update(results={}), "results: expected array, got object"),
    "a number for a result": (lambda top, one: top.update(results=[1]), "results 1 is 1: expected object, got int"),
    "unknown kind": (lambda top, one: one.update(kind="os.system"), "kind is 'os.system': invalid value"),
    "twice the same": (lambda top, one: top["results"].append(one), "a second result of one model"),
    "model no text": (lambda top, one: one.update(model=["x"]), "model: expected str, got array"),
    "accuracy over 1": (lambda top, one: one.update(accuracy=98.2), "accuracy is 98.2, not a number from 0 to 1"),
    "accuracy absent": (lambda top, one: one.pop("accuracy"), "missing required field accuracy"),
    "accuracy true": (lambda top, one: one.update(accuracy=True), "accuracy is True: expected float"),
    "a huge number": (lambda top, one: one.update(eer=10**400), "eer is 1000"),
    "a rate that is none": (lambda top, one: one["tar_at_far"]["at-most"].update(x=1), "x is no rate"),
    "a FAR over 1": (lambda top, one: one["tar_at_far"]["at-most"].update({"1.5": 1}), "1.5 is no rate"),
    "a FAR below 0": (lambda top, one: one["tar_at_far"]["at-most"].update({"-0.1": 1}), "-0.1 is no rate"),
    "an interval of a rate that is none": (
        lambda top, one: one["intervals"].update(accuracies=[0, 1]),
        "accuracies is no rate",
    ),
    "an interval of one end": (
        lambda top, one: one["intervals"].update(eer=[0.1]),
        "intervals[...]: expected array of length 2, got 1",
    ),
    "an interval of who knows what": (lambda top, one: one.pop("intervals_by"), "missing required field intervals_by"),
    "accuracy null": (lambda top, one: one.update(accuracy=None), "accuracy or threshold is missing"),
    "a field more": (lambda top, one: one.update(scores=[1.0]), "scores: no such field"),
    "a long text": (lambda top, one: one.update(model="x" * 5000), "not a text of at most 4,096 characters"),
    "a deep list": (lambda top, one: one.update(model=deep(500)), "model: expected str"),
    "a count below 0": (lambda top, one: one["counts"].update(pairs=-1), "pairs is -1, not a count"),
    "other counts": (lambda top, one: one["counts"].update(pairs=401), "400 pairs where the counts say otherwise"),
    "no group": (lambda top, one: one["slices"][0].update(name=""), "not that of a group"),
    "long group": (lambda top, one: one["slices"][0].update(name="a" * 61), "not that of a group"),
    "unknown factor": (lambda top, one: one["slices"][0].update(factor="height"), "factor is 'height'"),
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


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\0", "[]", "null", '{"format_version": 2, "results": [{}]}'])
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
    with pytest.raises(InputError, match=r"\.npy: .*; run `elasticface evaluate` again"):
        read_results(folder)


def of_samples(folder: Path, result: LargeResult = ALL[1]) -> Path:
    return write(folder, [judged(result)])


def curve(fars: list[Any], tars: list[Any]) -> Change:
    return lambda top, one: one.update(open_set={"fars": fars, "tars": tars})


OTHER = "its samples give other intervals than are told"
WRONG_SAMPLES: dict[str, tuple[Change, str]] = {
    "nothing of the lists": (lambda top, one: one["stored"].pop("trials"), "stored: trials is missing"),
    "units of pairs": (lambda top, one: one["stored"].update(units="people"), "units people, not subjects, templates"),
    "no units": (lambda top, one: one["stored"].pop("units"), "stored: object missing required field units"),
    "another interval": (lambda top, one: one["intervals"]["rank"].update({"5": [0.1, 0.2]}), OTHER),
    "another end": (lambda top, one: nudge(one["intervals"]["tpir_at_fpir"], "0.1"), OTHER),
    "swapped ends": (lambda top, one: one["intervals"]["rank"]["10"].reverse(), "two numbers, the lower one first"),
    "two figures swapped": (lambda top, one: swap(one["intervals"]["rank"]), OTHER),
    "no interval": (lambda top, one: one["intervals"]["rank"].pop("5"), OTHER),
    "empty intervals": (lambda top, one: one["intervals"].update(rank={}), OTHER),
    "an interval without ends": (lambda top, one: one["intervals"]["rank"].update({"5": [None, None]}), OTHER),
    "intervals absent": (lambda top, one: one.pop("intervals"), "missing required field intervals"),
    "intervals of one kind": (lambda top, one: one["intervals"].pop("rank"), "rank is missing, the figures or their"),
    "no figure": (lambda top, one: one["rank"].update({"5": None}), OTHER),
    "a figure more": (lambda top, one: one["rank"].update({"20": 0.1}), "no samples of 6 figures"),
    "a figure less": (lambda top, one: one["rank"].pop("5"), "no samples of 4 figures"),
    "no figures": (lambda top, one: one.update(rank={}, tpir_at_fpir={}), "no samples of 0 figures"),
    "an FPIR over 1": (lambda top, one: one["tpir_at_fpir"].update({"2": 0.1}), "2 is no rate"),
    "a rank over all": (lambda top, one: one["rank"].update({"1e10": 0.1}), "1e10 is no rate"),
    "another kind": (lambda top, one: one.update(kind="pairs"), "intervals[...]: expected array, got object"),
    "pictures": (lambda top, one: one.update(hardest=[]), "hardest: no such field"),
    "no CMC": (lambda top, one: one.update(cmc=[]), "cmc is [], not a curve"),
    "a hole in the CMC": (lambda top, one: one["cmc"].append(None), "not a curve"),
    "an open set that turns back": (lambda top, one: one["open_set"]["fars"].reverse(), "open_set is RocPoints"),
    "a point without its rate": (lambda top, one: one["open_set"]["tars"].pop(), "open_set is RocPoints"),
    "a CMC absent": (lambda top, one: one.pop("cmc"), "missing required field cmc"),
    "a CMC over 1": (lambda top, one: one.update(cmc=[0.5, 1.5]), "cmc, 2 is 1.5, not a number from 0 to 1"),
    "an open set absent": (lambda top, one: one.pop("open_set"), "missing required field open_set"),
    **{
        f"an open set {what}": (curve(fars, tars), "not a curve")
        for what, fars, tars in (
            *(("of one point", [0], [0.5]), ("that stands", [0.1, 0.1], [0, 1])),
            *(("with a hole", [0, 1], [0, None]), ("without a target", [0, None], [0, 1])),
        )
    },
    "who drew is unknown": (lambda top, one: one.pop("intervals_by"), "missing required field intervals_by"),
}


def nudge(intervals: dict[str, Any], target: str) -> None:
    intervals[target][1] += 1e-6


def swap(intervals: dict[str, Any]) -> None:
    intervals["1"], intervals["5"] = intervals["5"], intervals["1"]


@pytest.mark.parametrize("what", WRONG_SAMPLES)
def test_wrong_results_with_samples_are_refused(tmp_path: Path, what: str) -> None:
    change, message = WRONG_SAMPLES[what]
    folder = of_samples(tmp_path)
    top = json.loads((folder / "results.json").read_text())
    change(top, top["results"][0])
    (folder / "results.json").write_text(json.dumps(top))
    with pytest.raises(InputError) as caught:
        read_results(folder)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("change", [{"rank": {"1": 0.5}}, {"rank": {"1": None}}, {"ends": [None, None]}])
def test_an_interval_of_what_never_varies_is_about_the_figure(tmp_path: Path, change: dict[str, Any]) -> None:
    write(tmp_path, [never_varying()])
    top = json.loads((tmp_path / "results.json").read_text())
    (one,) = top["results"]
    one["rank"] = change.get("rank", one["rank"])
    one["intervals"]["rank"]["1"] = change.get("ends", one["intervals"]["rank"]["1"])
    (tmp_path / "results.json").write_text(json.dumps(top))
    with pytest.raises(InputError, match=OTHER):
        read_results(tmp_path)


def wrong_samples(folder: Path) -> dict[str, bytes]:
    (path,) = (folder / "scores").iterdir()
    good = path.read_bytes()
    rates = np.load(path)
    size = rates.nbytes
    header = good[:-size]

    def of(value: float, row: int = 0) -> bytes:
        other = rates.copy()
        other[row, 2] = value
        return header + other.tobytes()

    def saved(array: np.ndarray) -> bytes:
        stream = io.BytesIO()
        np.save(stream, array)
        return stream.getvalue()

    lowest = int(rates[:, 2].argmin())
    return {
        "empty": b"",
        "a header alone": header,
        "cut": good[:-1],
        "a number more": good + good[-8:],
        "a row more": good + good[-40:],
        "a header for more": header.replace(b"(40, 5)", b"(99, 5)") + good[-size:],
        "a row less than told": good[:-40],
        "objects": header.replace(b"'<f8'", b"'|O8'") + good[-size:],
        "other bytes first": header.replace(b"'<f8'", b"'>f8'") + good[-size:],
        "columns first": header.replace(b"False", b"True ") + good[-size:],
        "single": saved(rates.astype(np.float32)),
        "turned": saved(np.ascontiguousarray(rates.T)),
        "flat": saved(rates.ravel()),
        "a figure more": saved(np.pad(rates, ((0, 0), (0, 1)))),
        "a figure less": saved(rates[:, :4].copy()),
        "one sample": saved(rates[:1].copy()),
        "no sample": saved(rates[:0].copy()),
        "not a number": of(np.nan),
        "infinite": of(np.inf),
        "below 0": of(-1e-9, lowest),
        "over 1": of(1 + 1e-9, int(rates[:, 2].argmax())),
        "another sample": of(rates[:, 2].max(), lowest),
        "columns swapped": saved(rates[:, ::-1].copy()),
        "half of them": saved(rates[:20].copy()),
    }


@pytest.mark.parametrize("what", range(24))
def test_wrong_samples_are_refused(tmp_path: Path, what: int) -> None:
    folder = of_samples(tmp_path)
    name, data = list(wrong_samples(folder).items())[what]
    message = {
        "one sample": r"\.npy: one sample alone",
        **dict.fromkeys(["another sample", "columns swapped", "half of them"], OTHER),
    }.get(name, "no samples of (its )?5 figures")
    replace_scores(folder, data)
    with pytest.raises(InputError, match=f"{message}; run `elasticface evaluate` again"):
        read_results(folder)


def test_the_order_of_samples_says_nothing_of_intervals_and_is_kept(tmp_path: Path) -> None:
    folder = of_samples(tmp_path)
    (path,) = (folder / "scores").iterdir()
    rates = np.load(path)
    replace_scores(folder, path.read_bytes()[: -rates.nbytes] + rates[::-1].tobytes())
    (found,) = read_results(folder).results
    np.testing.assert_array_equal(samples_in(found).rates, rates[::-1])


def test_records_of_pairs_are_no_samples_and_samples_no_records(tmp_path: Path, folder: Path) -> None:
    (path,) = (folder / "scores").iterdir()
    (other,) = (of_samples(tmp_path / "large") / "scores").iterdir()
    records, samples = path.read_bytes(), other.read_bytes()
    replace_scores(tmp_path / "large", records)
    with pytest.raises(InputError, match="no samples of 5 figures"):
        read_results(tmp_path / "large")
    replace_scores(folder, samples)
    with pytest.raises(InputError, match="no records of pairs"):
        read_results(folder)


def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (path,) = (folder / "scores").iterdir()
    path.rename(tmp_path / "elsewhere.npy")
    path.symlink_to(tmp_path / "elsewhere.npy")
    with pytest.raises(InputError, match="is no file of scores/"):
        read_results(folder)
