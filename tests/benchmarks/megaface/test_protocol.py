"""MegaFace: rank 1 and TAR are those of the protocol written out in loops, in float64."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from large import MegaFaceRows, patch_encoder, write_features, write_megaface
from numpy.typing import NDArray

from elasticface.base.errors import InputError
from elasticface.benchmarks import samples
from elasticface.benchmarks.enrolment import UNDETECTED, Undetected
from elasticface.benchmarks.megaface import protocol
from elasticface.benchmarks.megaface.files import ArrayRows
from elasticface.benchmarks.megaface.protocol import figures, open_megaface
from elasticface.benchmarks.reading.features import FeatureFiles
from elasticface.benchmarks.results import DistractorSearch, LargeResult
from elasticface.data.images import decoding
from elasticface.metrics import binomial_interval
from elasticface.metrics.resampling import draw_people

Floats = NDArray[np.float32]


def features(rows: MegaFaceRows, seed: int = 0, size: int = 4, spread: float = 0.5) -> tuple[Floats, Floats]:
    """Probes near their person's centre, distractors anywhere; lengths from 0.5 to 5."""
    rng = np.random.default_rng(seed)
    centres = {person: rng.normal(size=size) for person in rows.people}
    probes = np.array([centres[person] + spread * rng.normal(size=size) for person in rows.people])
    distractors = rng.normal(size=(len(rows.distractors), size))
    found = [values * rng.uniform(0.5, 5, (len(values), 1)) for values in (probes, distractors)]
    return found[0].astype(np.float32), found[1].astype(np.float32)


def cosine(a: Floats, b: Floats) -> float:
    x, y = a.astype(np.float64), b.astype(np.float64)
    return math.fsum(x * y) / math.sqrt(math.fsum(x * x) * math.fsum(y * y))


def longhand(people: list[str], probes: Floats, distractors: Floats, far: float) -> tuple[int, int, int]:
    """Ordered mate pairs, rank-1 hits among them, and how many are accepted; NaN for an image without a face."""

    def cosine_or_never(a: Floats, b: Floats) -> float:
        return -math.inf if np.isnan(a[0]) or np.isnan(b[0]) else cosine(a, b)

    impostors = [[cosine_or_never(probe, other) for other in distractors] for probe in probes]
    everyone = [score for scores in impostors for score in scores]
    pairs, hits, mates = 0, 0, []
    for i, person in enumerate(people):
        for j, other in enumerate(people):
            if i != j and person == other:
                score = cosine_or_never(probes[i], probes[j])
                pairs += 1
                hits += score > -math.inf and score >= max(impostors[i])
                mates.append(score)
    accepted = 0
    for threshold in {*mates} - {-math.inf}:
        if sum(score >= threshold for score in everyone) / len(everyone) <= far:
            accepted = max(accepted, sum(score >= threshold for score in mates))
    return pairs, hits, accepted


def assert_is_longhand(found: LargeResult, people: list[str], probes: Floats, distractors: Floats, far: float) -> None:
    assert isinstance(found, DistractorSearch)
    pairs, hits, accepted = longhand(people, probes, distractors, far)
    assert found.rank == {"1": hits / pairs}
    assert found.tar_at_far == {"at-most": {f"{far:g}": accepted / pairs}}
    assert found.counts["mate_pairs"] == pairs
    assert (found.counts["probes"], found.counts["distractors"]) == (len(probes), len(distractors))


@pytest.mark.parametrize("far", [1e-6, 0.002, 0.01, 0.3])
@pytest.mark.parametrize("scores", [1 << 24, 40, 1])
def test_figures_are_the_longhand_with_and_without_noise(
    tmp_path: Path, far: float, scores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "FAR", far)
    monkeypatch.setattr(protocol, "_SCORES", scores)
    rows = write_megaface(tmp_path / "megaface")
    probes, distractors = features(rows)
    folder = write_features(tmp_path / "published", rows, probes, distractors)
    everything, refined = open_megaface(tmp_path / "megaface").measure(FeatureFiles(folder), tmp_path / "unused")
    assert_is_longhand(everything, rows.people, probes, distractors, far)
    people = [person for i, person in enumerate(rows.people) if i != 5]
    assert_is_longhand(refined, people, np.delete(probes, 5, 0), np.delete(distractors, [3, 8], 0), far)
    assert (everything.benchmark, refined.benchmark) == ("MegaFace", "MegaFace (R)")
    assert (refined.counts["noisy_probes"], refined.counts["noisy_distractors"]) == (1, 2)
    assert everything.model == "published"
    assert not (tmp_path / "unused").exists()


def longhand_samples(
    people: list[str], probes: Floats, distractors: Floats, far: float, counts: NDArray[np.int32]
) -> list[list[float]]:
    """Rank 1 and TAR where each person's probes come as often as the person: people in their order of the alphabet."""
    names = sorted({*people})
    found = []
    for drawn in counts:
        copies = [(i, copy) for i, person in enumerate(people) for copy in range(drawn[names.index(person)])]
        impostors = sorted((cosine(probes[i], other) for i, _ in copies for other in distractors), reverse=True)
        mates = [
            (i, cosine(probes[i], probes[j]))
            for i, copy in copies
            for j, other in copies
            if i != j and people[i] == people[j] and copy == other
        ]
        hits = [score >= max(cosine(probes[i], other) for other in distractors) for i, score in mates]
        room = max(n for n in range(len(impostors) + 1) if n / len(impostors) <= far)
        tar = sum(score > impostors[room] for _, score in mates) / len(mates) if room < len(impostors) else 1
        found.append([sum(hits) / len(hits), tar])
    return found


@pytest.mark.parametrize("far", [1e-6, 0.01, 0.3])
def test_samples_are_those_of_people_drawn_one_by_one(
    tmp_path: Path, far: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "FAR", far)
    monkeypatch.setattr(samples, "DRAWS", 4)
    rows = write_megaface(tmp_path / "megaface", people=6, distractors=20)
    digests = []
    for seed in (0, 1):
        probes, distractors = features(rows, seed, spread=1)
        folder = write_features(tmp_path / f"published{seed}", rows, probes, distractors)
        found = open_megaface(tmp_path / "megaface").measure(FeatureFiles(folder), tmp_path / "unused")
        clean = [person for i, person in enumerate(rows.people) if i != 5]
        given = [
            (rows.people, probes, distractors),
            (clean, np.delete(probes, 5, 0), np.delete(distractors, [3, 8], 0)),
        ]
        for result, lists in zip(found, given, strict=True):
            assert isinstance(result, DistractorSearch)
            expected = longhand_samples(*lists, far, draw_people(6, 4, samples.SEED))
            assert result.samples is not None
            np.testing.assert_allclose(result.samples.rates, expected, atol=1e-12)
            assert result.samples.kind == "subjects"
            assert result.intervals_by == "bootstrap over 6 people, 4 draws; the distractors stay the same"
            rank, tar = np.transpose(expected)
            for ends, column, rate in (
                (result.intervals["rank"]["1"], rank, result.rank["1"]),
                (result.intervals["at-most"][f"{far:g}"], tar, result.tar_at_far["at-most"][f"{far:g}"]),
            ):
                if np.ptp(column):
                    assert ends == pytest.approx(np.quantile(column, [0.025, 0.975]), abs=1e-12)
                else:
                    assert ends == binomial_interval(round(6 * rate), 6)
        digests.append([result.samples.digest for result in found if result.samples])
    assert digests[0] == digests[1]
    assert digests[0][0] != digests[0][1]


@pytest.mark.parametrize("kept", [0, 50, 1 << 16])
def test_the_roc_is_the_longhand_as_far_as_scores_are_kept(
    tmp_path: Path, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HIGHEST", kept)
    monkeypatch.setattr(protocol, "FAR", 0.005)
    rows = write_megaface(tmp_path / "megaface")
    probes, distractors = features(rows)
    folder = write_features(tmp_path / "f", rows, probes, distractors)
    found = open_megaface(tmp_path / "megaface").measure(FeatureFiles(folder), tmp_path)[0]
    assert isinstance(found, DistractorSearch)
    impostors = len(probes) * len(distractors)
    known = min(max(kept, int(0.005 * impostors) + 1), impostors)
    assert found.roc.fars[0] == 0
    assert found.roc.fars[-1] == (1 if known == impostors else pytest.approx((known - 1) / impostors))
    assert found.roc.tars[-1] <= 1
    for far, tar in zip(found.roc.fars[::7], found.roc.tars[::7], strict=True):
        pairs, _, accepted = longhand(rows.people, probes, distractors, far)
        assert tar == pytest.approx(accepted / pairs, abs=1e-12)


def test_hardest_searches_are_those_that_distractors_are_furthest_before(tmp_path: Path) -> None:
    rows = write_megaface(tmp_path / "megaface")
    probes, distractors = features(rows)
    folder = write_features(tmp_path / "f", rows, probes, distractors)
    everything, refined = open_megaface(tmp_path / "megaface").measure(FeatureFiles(folder), tmp_path)
    for result, no_probe, no_distractors in ((everything, None, []), (refined, 5, [3, 8])):
        worst = []
        others = [i for i in range(len(distractors)) if i not in no_distractors]
        of = [i for i in range(len(probes)) if i != no_probe]
        missed = 0
        for i in of:
            best = max(others, key=lambda j, i=i: cosine(probes[i], distractors[j]))
            mates = [j for j in of if j != i and rows.people[i] == rows.people[j]]
            leads = [(cosine(probes[i], probes[j]) - cosine(probes[i], distractors[best]), j) for j in mates]
            missed += sum(lead < 0 for lead, _ in leads)
            lead, mate = min(leads)
            names = (
                f"facescrub/{rows.probes[i]}",
                f"facescrub/{rows.probes[mate]}",
                f"megaface/{rows.distractors[best]}",
            )
            worst.append((lead, names))
        worst.sort()
        (kind,) = result.hardest
        assert [trial.images for trial in kind.trials] == [names for _, names in worst[:12]]
        assert [trial.wrong for trial in kind.trials] == [lead < 0 for lead, _ in worst[:12]]
        pairs = found_pairs(rows, of)
        assert kind.title == f"{missed} of {pairs} pairs of probe and mate have a distractor before it"


def found_pairs(rows: MegaFaceRows, of: list[int]) -> int:
    return sum(rows.people[i] == rows.people[j] for i in of for j in of if i != j)


def test_a_face_is_that_of_its_set(tmp_path: Path) -> None:
    root = tmp_path / "megaface"
    rows = write_megaface(root, people=2, photos=4, distractors=10, pictures=True)
    benchmark = open_megaface(root)
    for which, name in (("facescrub", rows.probes[1]), ("megaface", rows.distractors[2])):
        expected = decoding.decode((root / f"{which}_images" / name).read_bytes(), name)
        np.testing.assert_array_equal(benchmark.face(f"{which}/{name}"), expected)


def test_impostors_that_were_not_kept_leave_no_intervals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HIGHEST", 2)
    rows = write_megaface(tmp_path / "megaface", people=6)
    folder = write_features(tmp_path / "f", rows, *features(rows))
    for result in open_megaface(tmp_path / "megaface").measure(FeatureFiles(folder), tmp_path):
        assert isinstance(result, DistractorSearch)
        assert result.samples is None
        assert result.intervals == {"rank": {}, "at-most": {}}
        assert result.intervals_by == "none, the 2 highest impostor pairs are too few for a FAR in some sample"


def test_an_equal_score_is_a_hit_but_accepts_nobody(tmp_path: Path) -> None:
    rows = write_megaface(tmp_path / "megaface", people=2, photos=4, distractors=10)
    probes, distractors = np.ones((len(rows.probes), 4), np.float32), np.ones((10, 4), np.float32)
    folder = write_features(tmp_path / "f", rows, probes, distractors)
    found = open_megaface(tmp_path / "megaface").measure(FeatureFiles(folder), tmp_path)[0]
    assert isinstance(found, DistractorSearch)
    assert (found.rank["1"], found.tar_at_far["at-most"]["1e-06"]) == (1, 0)


def test_figures_from_images_are_the_longhand(tmp_path: Path) -> None:
    root = tmp_path / "megaface"
    rows = write_megaface(root, people=3, photos=3, distractors=20, pictures=True)
    encoder = patch_encoder()

    def embedded(which: str, names: list[str], mirror: bool) -> Floats:
        found = []
        for name in names:
            face = decoding.decode((root / f"{which}_images" / name).read_bytes(), name)[None]
            upright = encoder.embed(face, flip=False, normalize=False)
            turned = encoder.embed(face[:, :, ::-1], flip=False, normalize=False)
            found.append((upright + turned if mirror else upright)[0])
        return np.array(found)

    for mirror in (True, False):
        found = open_megaface(root, mirror).measure(encoder, tmp_path / "features")
        probes, distractors = embedded("facescrub", rows.probes, mirror), embedded("megaface", rows.distractors, mirror)
        assert_is_longhand(found[0], rows.people, probes, distractors, 1e-6)
        assert found[0].options == {"add_mirror_image": mirror}


@pytest.mark.parametrize("far", [1e-6, 0.002, 0.01, 0.3, 0.95])
@pytest.mark.parametrize("undetected", UNDETECTED)
def test_images_without_a_feature_are_never_found_or_left_out(
    undetected: Undetected, far: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "FAR", far)
    monkeypatch.setattr(samples, "DRAWS", 4)
    rows = write_megaface(tmp_path / "megaface")
    probes, distractors = features(rows, spread=1)
    lost, gone = [0, 6], [2, 3, 11]  # one of the distractors is noise as well
    usable = [~np.isin(np.arange(len(of)), out) for of, out in ((probes, lost), (distractors, gone))]
    benchmark = open_megaface(tmp_path / "megaface", undetected=undetected)
    stored = [np.where(there[:, None], of, 0) for of, there in zip((probes, distractors), usable, strict=True)]
    results = figures(benchmark, "m", *map(ArrayRows, stored), *usable, given=False)
    never = [np.where(there[:, None], of, np.nan) for of, there in zip((probes, distractors), usable, strict=True)]
    for result, noise in zip(results, (([], []), ([5], [3, 8])), strict=True):
        left_out = [[*of] for of in noise]
        if undetected == "skip":
            left_out = [[*of, *out] for of, out in zip(noise, (lost, gone), strict=True)]
        people = [person for i, person in enumerate(rows.people) if i not in left_out[0]]
        first, second = (np.delete(of, out, 0) for of, out in zip(never, left_out, strict=True))
        assert_is_longhand(result, people, first, second, far)
        told = result.enrolment
        assert told is not None
        listed = len(probes) + len(distractors) - len(noise[0]) - len(noise[1])
        damaged = len(lost) + len({*gone} - {*noise[1]})
        assert (told.undetected, told.images, told.damaged) == (undetected, listed, damaged)
        assert told.rate == damaged / listed
        there = [person for i, person in enumerate(rows.people) if i not in noise[0]]
        kept = [person for i, person in enumerate(rows.people) if i not in (*noise[0], *lost)]
        pairs = [sum(of.count(person) - 1 for person in of) for of in (there, kept)]
        assert told.trials == pairs[0] - pairs[1] > 0
        assert f"{damaged} are missing or damaged; {told.trials} ordered mate pairs with them" in result.notes[-1]
        shown = {name for kind in result.hardest for trial in kind.trials for name in trial.images}
        assert shown.isdisjoint({f"facescrub/{rows.probes[i]}" for i in lost})
        assert shown.isdisjoint({f"megaface/{rows.distractors[i]}" for i in gone})
        assert result.roc is not None
        assert result.roc.tars[-1] <= 1 - (told.trials / pairs[0] if undetected != "skip" else 0)


def test_resamples_count_who_was_not_enrolled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a probe that is the farthest from everybody would: at FARs this low none of its pairs is accepted."""
    monkeypatch.setattr(protocol, "FAR", 0.05)
    monkeypatch.setattr(samples, "DRAWS", 20)
    rows = write_megaface(tmp_path / "megaface", people=6, distractors=20)
    probes, distractors = (np.abs(of) for of in features(rows, spread=1))
    usable = [np.arange(len(of)) != 3 for of in (probes, distractors)]
    given = [ArrayRows(of) for of in (probes, distractors)]
    found = figures(open_megaface(tmp_path / "megaface"), "m", *given, *usable, given=False)
    far_off = [np.where(there[:, None], of, -of) for of, there in zip((probes, distractors), usable, strict=True)]
    everything = [np.ones(len(of), np.bool_) for of in far_off]
    expected = figures(open_megaface(tmp_path / "megaface"), "m", *map(ArrayRows, far_off), *everything, given=False)
    for one, other in zip(found, expected, strict=True):
        assert one.samples is not None
        assert other.samples is not None
        tar = np.stack([of.rates[:, 1] for of in (one.samples, other.samples)])
        np.testing.assert_array_equal(tar[0], tar[1])
        assert np.ptp(tar) > 0


def test_damaged_images_are_left_out_and_counted(tmp_path: Path) -> None:
    root = tmp_path / "megaface"
    rows = write_megaface(root, people=3, photos=3, distractors=20, pictures=True)
    (root / "facescrub_images" / rows.probes[0]).write_bytes(b"x")
    (root / "megaface_images" / rows.distractors[3]).unlink()
    rejected = open_megaface(root).measure(patch_encoder(), tmp_path / "features")
    assert (rejected[0].counts["probes"], rejected[0].counts["distractors"]) == (len(rows.probes), 20)
    assert "2 are missing or damaged" in rejected[0].notes[-1]
    found = open_megaface(root, undetected="skip").measure(patch_encoder(), tmp_path / "features")
    assert found[0].counts["damaged_images"] == 2
    assert (found[0].counts["probes"], found[0].counts["distractors"]) == (len(rows.probes) - 1, 19)
    assert found[1].counts["distractors"] == 18  # one is noise as well


def test_photos_that_are_not_aligned_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "megaface"
    write_megaface(root, people=2, photos=4, distractors=10, pictures=True)
    encoder = patch_encoder()
    encoder.card = replace(encoder.card, preprocessing=replace(encoder.card.preprocessing, size=56))
    with pytest.raises(InputError, match="112x112 is no aligned face of 56x56"):
        open_megaface(root).measure(encoder, tmp_path / "features")


@pytest.mark.parametrize("which", ["facescrub", "megaface"])
def test_both_sets_are_looked_for_before_either_is_embedded(tmp_path: Path, which: str) -> None:
    root = tmp_path / "megaface"
    write_megaface(root, people=2, photos=4, distractors=10, pictures=True)
    (root / f"{which}_images").rename(root / "away")
    (root / f"{which}_images" / "other").mkdir(parents=True)
    with pytest.raises(
        InputError, match=rf"{which}_images: none of the \d+ images of the list, .* there are no images"
    ):
        open_megaface(root).measure(patch_encoder(), tmp_path / "features")
    assert not list((tmp_path / "features").rglob("progress.json"))
    (root / f"{which}_images").rename(root / "wrong")
    (root / "away").rename(root / f"{which}_images")
    found = open_megaface(root).measure(patch_encoder(), tmp_path / "features")
    assert found[0].counts["damaged_images"] == 0


def test_an_image_of_another_size_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "megaface"
    rows = write_megaface(root, people=2, photos=4, distractors=10, pictures=True)
    (root / "megaface_images" / rows.distractors[4]).write_bytes(decoding.encode(np.zeros((9, 7, 3), np.uint8), ".png"))
    monkeypatch.setattr(decoding.cv2, "imdecode", None)
    message = (
        rf"megaface_images/{rows.distractors[4]}: 7x9 is no aligned face of 112x112; run `elasticface align` first"
    )
    with pytest.raises(InputError, match=message):
        open_megaface(root).face(f"megaface/{rows.distractors[4]}")


def test_missing_images_are_said(tmp_path: Path) -> None:
    write_megaface(tmp_path / "megaface")
    with pytest.raises(InputError, match="no facescrub_images in it"):
        open_megaface(tmp_path / "megaface").measure(patch_encoder(), tmp_path / "features")


def test_features_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    rows = write_megaface(tmp_path / "megaface")
    benchmark = open_megaface(tmp_path / "megaface")
    probes, distractors = features(rows)

    def refused(probes: Floats, distractors: Floats) -> str:
        folder = write_features(tmp_path / "f", rows, probes, distractors)
        with pytest.raises(InputError) as caught:
            benchmark.measure(FeatureFiles(folder), tmp_path)
        return str(caught.value)

    assert "features of 3 numbers in megaface, of 4 in facescrub" in refused(probes, distractors[:, :3])
    distractors[7, 1] = np.inf
    said = f"f/megaface: the feature of {rows.distractors[7]} holds NaN or infinity; compute it again"
    assert said in refused(probes, distractors)
    probes[2, 2] = np.nan
    assert "f/facescrub: the feature of " in refused(probes, distractors)


def test_other_counts_than_the_published_ones_are_noted(tmp_path: Path) -> None:
    rows = write_megaface(tmp_path / "megaface")
    folder = write_features(tmp_path / "f", rows, *features(rows))
    found, refined = open_megaface(tmp_path / "megaface").measure(FeatureFiles(folder), tmp_path)
    assert "60 distractors where MegaFace has 1,000,000" in found.departures
    assert f"{len(rows.probes)} probes where MegaFace has 3,530" in found.departures
    assert refined.departures == (
        "1 of 2 names of facescrub_noises.txt are in the list of probes",
        "2 of 3 names of megaface_noises.txt are in the list of distractors",
    )
