"""Photos without a face, and damaged ones: non-matches at every threshold, left out, or their central squares."""

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_pairs, write_people
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from elasticface.base.errors import InputError
from elasticface.benchmarks import samples
from elasticface.benchmarks.enrolment import Undetected
from elasticface.benchmarks.pairwise.listed_faces import left_out_of
from elasticface.benchmarks.pairwise.lists import PairBenchmark, open_pairs
from elasticface.benchmarks.pairwise.packing import pack
from elasticface.benchmarks.pairwise.pairs import FARS, PairResult, evaluate_pairs
from elasticface.benchmarks.stored import read_results
from elasticface.data.images import decoding
from elasticface.data.images.alignment import TEMPLATE
from elasticface.data.images.photos import Photos
from elasticface.evaluation import evaluate
from elasticface.faces import aligned
from elasticface.faces.align_folder import align_photos
from elasticface.faces.landmarks import COLUMNS, DETECTED_COLUMNS, read_faces
from elasticface.model.encoder import Card, FaceEncoder
from elasticface.report.comparison import compare
from elasticface.report.terminal import terminal_notes

FACELESS = ("person_01/person_01_0001.png", "person_04/person_04_0003.png")
"""One in genuine and impostor pairs, and one in one of each."""

EVERY: tuple[Undetected, ...] = ("reject", "skip", "centre")


def encoder(channels: int = 3) -> FaceEncoder:
    """It makes mistakes."""

    def network(inputs: Tensor) -> Tensor:
        return functional.avg_pool2d(inputs, inputs.shape[2] // 7).flatten(1)[:, :channels]

    return FaceEncoder(network, Card(f"patches {channels}", embedding_size=channels))


def write_landmarks(path: Path, names: list[str], faceless: tuple[str, ...], columns: tuple[str, ...]) -> Path:
    """A row for each photo, the points where they belong; for one without a face empty fields, or no row."""
    detected = columns == DETECTED_COLUMNS
    points = [f"{value:.4f}" for value in TEMPLATE.ravel()]
    rows = [",".join(columns)]
    for name in names:
        if name not in faceless:
            rows.append(",".join([name, "0.9", *points, *(["10", "10", "100", "100", "1"] if detected else [])]))
        elif detected:
            rows.append(name + "," * (len(columns) - 1))
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six people of five photos with points, two of the photos wider than high and without a face."""
    folder = write_pairs(write_people(tmp_path / "faces", 6, 5), 6, 5)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    for name in FACELESS:
        face = decoding.decode((folder / name).read_bytes(), name)
        (folder / name).write_bytes(decoding.encode(np.pad(face, ((0, 0), (9, 40), (0, 0)), "reflect"), ".png"))
    write_landmarks(folder / "landmarks5.csv", names, FACELESS, DETECTED_COLUMNS)
    return folder


def lost_pairs(benchmark: PairBenchmark, lost: tuple[str, ...] = FACELESS) -> NDArray[np.bool_]:
    pairs = zip(benchmark.pairs.first, benchmark.pairs.second, strict=True)
    return np.array([not {*pair}.isdisjoint(lost) for pair in pairs])


def longhand(benchmark: PairBenchmark, lost: tuple[str, ...]) -> dict[str, Any]:
    """The definition, pair by pair in float64: a pair with a lost photo has the score -inf, at distance +inf."""
    pairs = benchmark.pairs
    there = sorted({*pairs.first, *pairs.second} - {*lost})
    embedded = encoder().embed([benchmark.face(name) for name in there]).astype(np.float64)
    unit = {name: row / math.sqrt(math.fsum(row * row)) for name, row in zip(there, embedded, strict=True)}
    cosines, distances = [], []
    for a, b in zip(pairs.first, pairs.second, strict=True):
        failed = a in lost or b in lost
        cosines.append(-math.inf if failed else math.fsum(unit[a] * unit[b]))
        distances.append(math.inf if failed else math.fsum((unit[a] - unit[b]) ** 2))
    per_fold, accepted = [], np.zeros(len(cosines), np.bool_)
    for fold in np.array_split(np.arange(len(cosines)), pairs.folds):
        others = [i for i in range(len(cosines)) if i not in fold]
        right = [sum((distances[i] < level / 100) == pairs.same[i] for i in others) for level in range(400)]
        threshold = right.index(max(right)) / 100
        accepted[fold] = [distances[i] < threshold for i in fold]
        per_fold.append(float(np.mean(accepted[fold] == pairs.same[fold])))
    genuine = [c for c, same in zip(cosines, pairs.same, strict=True) if same]
    impostor = [c for c, same in zip(cosines, pairs.same, strict=True) if not same]
    points = [
        (sum(c >= t for c in impostor) / len(impostor), sum(c >= t for c in genuine) / len(genuine))
        for t in [math.inf, *sorted({c for c in cosines if c > -math.inf}, reverse=True)]
    ]
    k = next(k for k, (far, tar) in enumerate(points) if far >= 1 - tar)
    (far, tar), (next_far, next_tar) = points[k - 1], points[k]
    gap, next_gap = 1 - tar - far, 1 - next_tar - next_far
    return {
        "cosines": cosines,
        "per_fold": per_fold,
        "accepted": accepted,
        "at-most": {f"{wanted:g}": max(tar for far, tar in points if far <= wanted) for wanted in FARS},
        "eer": far + (next_far - far) * gap / (gap - next_gap),
    }


def assert_is_longhand(result: PairResult, expected: dict[str, Any]) -> None:
    np.testing.assert_allclose(result.scores, expected["cosines"], atol=1e-6)
    assert result.per_fold == pytest.approx(expected["per_fold"], abs=1e-12)
    np.testing.assert_array_equal(result.accepted, expected["accepted"])
    assert result.tar_at_far["at-most"] == pytest.approx(expected["at-most"], abs=1e-12)
    assert result.eer == pytest.approx(expected["eer"], abs=1e-12)


def test_rejected_pairs_are_non_matches_at_every_threshold(photos: Path) -> None:
    benchmark = open_pairs(photos)
    assert (benchmark.undetected, benchmark.without_face) == ("reject", {*FACELESS})
    result = evaluate_pairs(encoder(), benchmark)
    lost = lost_pairs(benchmark)
    assert lost[result.same].any()
    assert lost[~result.same].any()
    assert_is_longhand(result, longhand(benchmark, FACELESS))
    np.testing.assert_array_equal(result.enrolled, ~lost)
    assert not result.accepted[lost].any()
    assert (result.counts["pairs"], result.counts["skipped_pairs"]) == (48, 0)
    found = result.enrolment
    assert found is not None
    assert (found.undetected, found.images, found.without_face, found.damaged) == ("reject", 30, 2, 0)
    assert (found.rate, found.trials) == (2 / 30, int(lost.sum()))
    assert result.notes == (
        f"failure to enrol 6.67 %: of 30 photos no face was found in 2; {lost.sum()} pairs with them count as "
        "non-matches at every threshold (--undetected reject)",
    )


def test_the_thresholds_are_those_of_the_pairs_that_were_enrolled(photos: Path) -> None:
    """What no threshold changes has no part in its choice; but the failures count in the accuracy."""
    result = evaluate_pairs(encoder(147), open_pairs(photos))
    assert evaluate_pairs(encoder(147), open_pairs(photos, undetected="skip")).accuracy == 1
    lost = ~result.enrolled & result.same
    assert result.accuracy == pytest.approx(1 - lost.sum() / 48)
    assert result.tar_at_far["at-most"]["0.1"] == pytest.approx(1 - lost.sum() / 24)


def test_resamples_count_them_likewise(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "DRAWS", 30)
    result = evaluate_pairs(encoder(), open_pairs(photos))
    assert result.units is not None
    counts = samples.draw(result.units.number, 30)
    drawn = samples.of_pairs(result.scores, result.same, result.accepted, result.units, FARS, counts)
    below = np.where(result.enrolled, result.scores, -5)  # at FARs this low, a score below all others says the same
    np.testing.assert_array_equal(
        drawn, samples.of_pairs(below, result.same, result.accepted, result.units, FARS, counts)
    )
    assert np.ptp(drawn[:, 0]) > 0
    assert result.intervals["accuracy"] == pytest.approx(np.quantile(drawn[:, 0], [0.025, 0.975]))


def test_skipped_pairs_are_as_if_they_were_not_listed(photos: Path, tmp_path: Path) -> None:
    benchmark = open_pairs(photos, undetected="skip")
    result, lost = evaluate_pairs(encoder(), benchmark), lost_pairs(benchmark)
    kept = [
        row for row, gone in zip((photos / "pairs.txt").read_text().splitlines()[1:], lost, strict=True) if not gone
    ]
    (tmp_path / "kept.txt").write_text("\n".join(kept) + "\n")
    rest = dataclasses.replace(open_pairs(photos, tmp_path / "kept.txt"), name="faces")
    expected = evaluate_pairs(encoder(), dataclasses.replace(rest, pairs=dataclasses.replace(rest.pairs, folds=2)))
    np.testing.assert_array_equal(result.scores, expected.scores)
    assert (result.accuracy, result.eer, result.tar_at_far) == (expected.accuracy, expected.eer, expected.tar_at_far)
    assert (result.counts["pairs"], result.counts["skipped_pairs"]) == (48 - lost.sum(), lost.sum())
    assert result.enrolled.all()
    assert "are left out (--undetected skip)" in result.notes[0]


def test_the_central_square_stands_for_the_face(photos: Path) -> None:
    benchmark = open_pairs(photos, undetected="centre")
    for name in FACELESS:
        photo = decoding.decode((photos / name).read_bytes(), name)
        assert photo.shape == (112, 161, 3)
        np.testing.assert_array_equal(benchmark.face(name), photo[:, 24:136])
        assert benchmark.face(name, 56).shape == (56, 56, 3)
    result = evaluate_pairs(encoder(), benchmark)
    assert_is_longhand(result, longhand(benchmark, ()))
    assert result.enrolled.all()
    assert result.enrolment is not None
    assert (result.enrolment.without_face, result.enrolment.trials) == (2, 0)
    assert "the central squares of those without a face are taken for faces (--undetected centre)" in result.notes[0]


@pytest.mark.parametrize("undetected", EVERY)
def test_damaged_photos_are_counted_likewise(undetected: Undetected, photos: Path) -> None:
    damaged = "person_02/person_02_0004.png"
    (photos / damaged).write_text("no picture")
    benchmark = open_pairs(photos, undetected=undetected)
    result, lost = evaluate_pairs(encoder(), benchmark), lost_pairs(benchmark, (*FACELESS, damaged))
    found = result.enrolment
    assert found is not None
    assert (found.without_face, found.damaged, found.rate) == (2, 1, 3 / 30)
    if undetected == "skip":
        assert result.counts["skipped_pairs"] == lost.sum() == found.trials
        return
    lost = lost if undetected == "reject" else lost_pairs(benchmark, (damaged,))  # it has no centre
    np.testing.assert_array_equal(result.enrolled, ~lost)
    assert found.trials == lost.sum()
    assert "1 is missing or damaged" in result.notes[0]
    gone = (*FACELESS, damaged) if undetected == "reject" else (damaged,)
    assert_is_longhand(result, longhand(benchmark, gone))


@pytest.mark.parametrize("undetected", EVERY)
def test_with_all_faces_found_the_figures_are_the_same_bit_for_bit(undetected: Undetected, people: Path) -> None:
    result = evaluate_pairs(encoder(), open_pairs(people, undetected=undetected))
    expected = evaluate_pairs(encoder(), open_pairs(people))
    np.testing.assert_array_equal(result.scores, expected.scores)
    assert (result.intervals, result.per_fold, result.notes) == (expected.intervals, expected.per_fold, ())
    assert result.enrolment is not None
    assert (result.enrolment.failures, result.enrolment.rate) == (0, 0)


def test_photos_without_a_face_are_not_even_read(photos: Path) -> None:
    for name in FACELESS:
        (photos / name).write_text("no picture")
    result = evaluate_pairs(encoder(), open_pairs(photos))
    assert result.enrolment is not None
    assert (result.enrolment.without_face, result.enrolment.damaged) == (2, 0)
    centred = evaluate_pairs(encoder(), open_pairs(photos, undetected="centre")).enrolment
    assert centred is not None
    assert (centred.without_face, centred.damaged) == (0, 2)


# ---------------------------------------------------------------------------------------------- where it is said


def names_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


def test_points_alone_cannot_say_that_there_is_no_face(photos: Path, tmp_path: Path) -> None:
    """Their columns have no row for it: such as RetinaFace's points of CFP, of which seven photos are missing."""
    path = write_landmarks(tmp_path / "points.csv", names_in(photos), FACELESS, COLUMNS)
    benchmark = open_pairs(photos, landmarks=path)
    assert benchmark.without_face == {*FACELESS}
    expected = evaluate_pairs(encoder(), open_pairs(photos))
    np.testing.assert_array_equal(evaluate_pairs(encoder(), benchmark).scores, expected.scores)


def test_a_detection_that_was_stopped_is_not_taken_for_photos_without_a_face(photos: Path) -> None:
    path = photos / "landmarks5.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-3]) + "\n")
    with pytest.raises(InputError, match=r"csv: no row for person_05/person_05_0003\.png, .*let it finish"):
        open_pairs(photos)


@pytest.mark.parametrize("undetected", EVERY)
def test_photos_that_detect_could_not_read_are_damaged(undetected: Undetected, photos: Path) -> None:
    damaged = "person_02/person_02_0004.png"
    good = (photos / damaged).read_bytes()
    (photos / damaged).write_text("no picture")
    expected = evaluate_pairs(encoder(), open_pairs(photos, undetected=undetected))
    path = photos / "landmarks5.csv"
    rows = path.read_text().splitlines()
    empty = damaged + "," * (len(DETECTED_COLUMNS) - 1)
    path.write_text("\n".join(f"{empty}cut short" if row.startswith(damaged) else row for row in rows) + "\n")
    benchmark = open_pairs(photos, undetected=undetected)
    assert benchmark.without_face == {*FACELESS}
    result = evaluate_pairs(encoder(), benchmark)
    np.testing.assert_array_equal(result.scores, expected.scores)
    assert result.enrolment == expected.enrolment
    assert result.enrolment is not None
    assert result.enrolment.damaged == 1
    (photos / damaged).write_bytes(good)  # put right since: it has no points yet
    with pytest.raises(decoding.DamagedImage, match="and can be now; run `elasticface detect` again"):
        benchmark.face(damaged)
    np.testing.assert_array_equal(evaluate_pairs(encoder(), benchmark).scores, expected.scores)


def test_of_several_faces_of_a_photo_one_that_was_skipped_is_no_photo(photos: Path, tmp_path: Path) -> None:
    skipped = {"person_00/person_00_0001.png (face 2)": "no face", "person_09/1.png": "cut short"}
    aligned.write(tmp_path, aligned.Summary(112, "png", skipped=skipped))
    assert left_out_of(tmp_path, Photos(photos)).names == ("person_09/1.png",)


def test_names_match_in_either_form_of_unicode(tmp_path: Path) -> None:
    folder = write_people(tmp_path / "faces", 2, 3)
    for path in sorted(folder.rglob("*.png")):
        path.rename(path.with_name(path.name.replace("person", "pe\u0301rson")))
    names = names_in(folder)
    rows = [f"{names[0]}\t{names[1]}\t1", f"{names[1]}\t{names[2]}\t1", f"{names[0]}\t{names[3]}\t0"]
    (folder / "pairs.txt").write_text("\n".join([*rows, f"{names[2]}\t{names[4]}\t0"] * 5) + "\n")
    write_landmarks(folder / "landmarks5.csv", names, (names[2],), DETECTED_COLUMNS)
    assert open_pairs(folder).without_face == {names[2]}


def test_photos_that_align_left_out_have_no_face(photos: Path, tmp_path: Path) -> None:
    damaged = "person_02/person_02_0004.png"
    (photos / damaged).write_text("no picture")
    expected = evaluate_pairs(encoder(), open_pairs(photos))
    align_photos(Photos(photos), tmp_path / "aligned", read_faces(photos / "landmarks5.csv"), format="png", workers=1)
    result = evaluate_pairs(encoder(), open_pairs(tmp_path / "aligned", pairs=photos / "pairs.txt"))
    np.testing.assert_array_equal(result.scores, expected.scores)
    assert result.enrolment == expected.enrolment
    (tmp_path / "aligned" / "align.json").write_text('{"size": 112, "format": "png", "without_face": 3}')
    with pytest.raises(InputError, match=r"align\.json: without_face.*align the photos again"):
        open_pairs(tmp_path / "aligned", pairs=photos / "pairs.txt")


def test_too_few_faces_are_refused(photos: Path) -> None:
    write_landmarks(photos / "landmarks5.csv", names_in(photos), tuple(names_in(photos)[2:]), DETECTED_COLUMNS)
    with pytest.raises(InputError, match="faces: too few pairs left to judge: 1 of 48"):
        evaluate_pairs(encoder(), open_pairs(photos))


# ---------------------------------------------------------------------------------------------- results and report


def measured(photos: Path, out: Path, undetected: Undetected, channels: int = 3) -> PairResult:
    """One model's result, as it is read again from the folder that it was written to."""
    evaluate([encoder(channels)], [open_pairs(photos, undetected=undetected)], out)
    (result,) = read_results(out).results
    assert isinstance(result, PairResult)
    return result


def test_results_say_how_many_and_report_and_terminal_have_a_sentence(photos: Path, tmp_path: Path) -> None:
    found = measured(photos, tmp_path / "out", "reject")
    (told,) = json.loads((tmp_path / "out" / "results.json").read_text())["results"]
    assert told["enrolment"] == {
        "undetected": "reject",
        "images": 30,
        "without_face": 2,
        "damaged": 0,
        "rate": 2 / 30,
        "trials": int((~found.enrolled).sum()),
    }
    page = (tmp_path / "out" / "report.html").read_text()
    assert f"failure to enrol 6.67 %: of 30 photos no face was found in 2; {told['enrolment']['trials']} pairs" in page
    assert not re.search(r"\b(inf|nan|NaN|Infinity)\b", page)
    assert "of them without a face to compare, which are not shown" in page
    assert terminal_notes([found]) == [f"faces: {found.notes[0]}"]


def test_what_is_stored_is_finite_and_read_as_it_was(photos: Path, tmp_path: Path) -> None:
    before = evaluate_pairs(encoder(), open_pairs(photos))
    after = measured(photos, tmp_path / "out", "reject")
    np.testing.assert_array_equal(after.scores, before.scores)
    assert (after.enrolment, after.notes) == (before.enrolment, before.notes)
    (path,) = (tmp_path / "out" / "scores").iterdir()
    records = np.load(path)
    assert np.isfinite(records["score"]).all()
    assert set(records["score"][~before.enrolled].tolist()) == {-2.0}


@pytest.mark.parametrize("trials", [0, 3])
def test_results_that_count_other_failures_than_their_file_has_are_refused(
    trials: int, photos: Path, tmp_path: Path
) -> None:
    measured(photos, tmp_path / "out", "reject")
    path = tmp_path / "out" / "results.json"
    told = json.loads(path.read_text())
    told["results"][0]["enrolment"]["trials"] = trials
    path.write_text(json.dumps(told))
    with pytest.raises(InputError, match=f"results 1: not {trials} pairs without a score"):
        read_results(tmp_path / "out")


def test_results_of_before_are_read_still(people: Path, tmp_path: Path) -> None:
    measured(people, tmp_path / "out", "reject")
    path = tmp_path / "out" / "results.json"
    told = json.loads(path.read_text())
    del told["results"][0]["enrolment"], told["results"][0]["notes"]
    path.write_text(json.dumps(told))
    (result,) = read_results(tmp_path / "out").results
    assert (result.enrolment, result.notes) == (None, ())


def test_models_that_failed_to_enrol_are_compared(photos: Path, tmp_path: Path) -> None:
    results = [measured(photos, tmp_path / str(channels), "reject", channels) for channels in (3, 147)]
    accuracy = compare(results, draws=50).contrasts[0].differences[0]
    assert (accuracy.first, accuracy.second) == tuple(result.accuracy for result in results)


@pytest.mark.parametrize("other", ["skip", "centre"])
def test_results_of_other_rules_are_not_compared(other: Undetected, photos: Path, tmp_path: Path) -> None:
    results = [measured(photos, tmp_path / "a", "reject"), measured(photos, tmp_path / "b", other, 147)]
    with pytest.raises(InputError, match=rf"patches 3 .*--undetected reject, patches 147 with --undetected {other};"):
        compare(results)


def test_where_all_faces_were_found_the_rule_does_not_matter(people: Path, tmp_path: Path) -> None:
    results = [measured(people, tmp_path / "a", "reject"), measured(people, tmp_path / "b", "skip", 147)]
    assert compare(results, draws=20).contrasts


# ---------------------------------------------------------------------------------------------- packs


@pytest.fixture
def ten(tmp_path: Path) -> Path:
    """Ten folds, two photos without a face."""
    folder = write_pairs(write_people(tmp_path / "ten", 6, 6), 6, 6, folds=10)
    write_landmarks(folder / "landmarks5.csv", names_in(folder), FACELESS, DETECTED_COLUMNS)
    return folder


def test_a_pack_with_rejected_pairs_is_refused_with_the_ways_out(ten: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ten: no face was found in 2 of its 36 photos, .*--undetected skip.*centre"):
        pack(open_pairs(ten), tmp_path / "x.bin")
    assert not (tmp_path / "x.bin").exists()


@pytest.mark.parametrize("undetected", ["skip", "centre"])
def test_a_pack_has_the_figures_of_its_folder(undetected: Undetected, ten: Path, tmp_path: Path) -> None:
    benchmark = open_pairs(ten, undetected=undetected)
    told = pack(benchmark, tmp_path / "ten.bin").lines()
    result, packed = evaluate_pairs(encoder(), benchmark), evaluate_pairs(encoder(), open_pairs(tmp_path / "ten.bin"))
    assert (packed.accuracy, packed.tar_at_far, packed.eer) == (result.accuracy, result.tar_at_far, result.eer)
    np.testing.assert_array_equal(packed.same, result.same)
    lost = int(lost_pairs(benchmark).sum())
    expected = {
        "skip": f"left out: {lost} pairs, with 2 photos without a face or damaged; the folds are cut from the rest",
        "centre": "photos without a face, of which the central square went in: 2",
    }
    assert expected[undetected] in told


@pytest.mark.parametrize("undetected", ["reject", "centre"])
def test_a_pack_counts_its_damaged_photos_before_it_refuses(undetected: Undetected, ten: Path, tmp_path: Path) -> None:
    write_landmarks(ten / "landmarks5.csv", names_in(ten), (), DETECTED_COLUMNS)
    for name in FACELESS:
        (ten / name).write_text("no picture")
    with pytest.raises(InputError, match=r"0001\.png: not an image.*and 1 more photos of 36; .*--undetected skip"):
        pack(open_pairs(ten, undetected=undetected), tmp_path / "x.bin")
    assert pack(open_pairs(ten, undetected="skip"), tmp_path / "x.bin").failures == 2
