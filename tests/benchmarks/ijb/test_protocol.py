"""IJB-B and IJB-C: every figure is that of the protocol written out in loops, in float64, under every option."""

import itertools
import math
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from large import IjbRows, patch_encoder, write_ijb, write_rows
from numpy.typing import NDArray

from elasticface.base.errors import InputError
from elasticface.benchmarks import samples
from elasticface.benchmarks.enrolment import UNDETECTED, Undetected
from elasticface.benchmarks.ijb.protocol import FARS, FPIRS, RANKS, TemplateOptions, figures, open_ijb
from elasticface.benchmarks.reading.features import FeatureFiles, Features
from elasticface.benchmarks.results import TemplateIdentification, TemplateVerification
from elasticface.data.images import decoding
from elasticface.data.images.alignment import align, central_square
from elasticface.metrics import binomial_interval
from elasticface.metrics.resampling import draw_people

Vector = list[float]
OPTIONS = [TemplateOptions(*choice) for choice in itertools.product([True, False], repeat=3)]


# ---------------------------------------------------------------------------------------------- longhand


def longhand_templates(rows: IjbRows, features: list[Vector | None], options: TemplateOptions) -> dict[int, Vector]:
    """Template -> its vector; templates without any feature are absent."""
    by_template: dict[int, dict[int, list[Vector]]] = {}
    for (_, template, medium), (_, score), feature in zip(rows.faces, rows.points, features, strict=True):
        if feature is None:
            continue
        value = [float(x) for x in feature]
        if not options.keep_norm:
            length = math.sqrt(math.fsum(x * x for x in value))
            value = [x / length for x in value]
        if options.weigh_by_detector_score:
            value = [x * score for x in value]
        by_template.setdefault(template, {}).setdefault(medium, []).append(value)
    found = {}
    for template, media in by_template.items():
        means = [[math.fsum(column) / len(frames) for column in zip(*frames, strict=True)] for frames in media.values()]
        total = [math.fsum(column) for column in zip(*means, strict=True)]
        length = math.sqrt(math.fsum(x * x for x in total))
        found[template] = [x / length for x in total]
    return found


def dot(a: Vector, b: Vector) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def score_of(templates: dict[int, Vector], a: int, b: int) -> float:
    """-inf, below every threshold, where a template has no image."""
    return dot(templates[a], templates[b]) if a in templates and b in templates else -math.inf


def longhand_tar(scores: list[float], same: list[int], far: float, rule: str) -> float:
    genuine = [s for s, label in zip(scores, same, strict=True) if label]
    impostor = [s for s, label in zip(scores, same, strict=True) if not label]
    curve = [(0, 0)] + [
        (sum(s >= threshold for s in impostor), sum(s >= threshold for s in genuine))
        for threshold in sorted({*scores} - {-math.inf}, reverse=True)
    ]
    if rule == "at-most":
        return max(hits / len(genuine) for alarms, hits in curve if alarms / len(impostor) <= far)
    kept = [
        point
        for i, point in enumerate(curve)
        if i < 2 or i == len(curve) - 1 or any(curve[i - 1][k] + curve[i + 1][k] != 2 * point[k] for k in (0, 1))
    ]
    nearest = min(abs(alarms / len(impostor) - far) for alarms, _ in kept)
    return max(hits / len(genuine) for alarms, hits in kept if abs(alarms / len(impostor) - far) == nearest)


def longhand_search(
    gallery: dict[int, int],
    probes: dict[int, int],
    templates: dict[int, Vector],
    wanted: Sequence[int] = RANKS,
    fpirs: Sequence[float] = FPIRS,
) -> tuple[list[float], list[float]]:
    """Shares at the ranks that are wanted, and at the FPIRs; who is not in ``templates`` is never found."""
    mates, places, largest = [], [], []
    for probe, subject in probes.items():
        scores = {owner: score_of(templates, probe, template) for template, owner in gallery.items()}
        if subject in scores:
            mates.append(scores[subject])
            found = scores[subject] > -math.inf
            places.append(sum(score >= scores[subject] for score in scores.values()) if found else math.inf)
        else:
            largest.append(max(scores.values()))
    ranks = [sum(place <= k for place in places) / len(places) for k in wanted]
    tpirs = []
    for fpir in fpirs:
        best = 0
        for threshold in {*mates, math.inf} - {-math.inf}:
            if sum(score >= threshold for score in largest) / len(largest) <= fpir:
                best = max(best, sum(score >= threshold for score in mates))
        tpirs.append(best / len(mates))
    return ranks, tpirs


def assert_is_longhand(
    rows: IjbRows,
    features: list[Vector | None],
    options: TemplateOptions,
    found: list[object],
    undetected: Undetected = "reject",
) -> None:
    verification, identification = found
    assert isinstance(verification, TemplateVerification)
    assert isinstance(identification, TemplateIdentification)
    templates = longhand_templates(rows, features, options)
    known = {*templates} if undetected == "skip" else {template for _, template, _ in rows.faces}
    pairs = [pair for pair in rows.pairs if pair[0] in known and pair[1] in known]
    scores, same = [score_of(templates, a, b) for a, b, _ in pairs], [label for *_, label in pairs]
    for rule in ("nearest", "at-most"):
        expected = [longhand_tar(scores, same, far, rule) for far in FARS]
        assert list(verification.tar_at_far[rule].values()) == pytest.approx(expected, abs=1e-12)
        assert list(map(float, verification.tar_at_far[rule])) == list(FARS)
    assert verification.counts["pairs"] == len(pairs)
    assert verification.counts["skipped_pairs"] == len(rows.pairs) - len(pairs)
    assert (verification.counts["genuine"], verification.counts["impostor"]) == (sum(same), len(same) - sum(same))

    probes = {template: subject for template, subject in rows.probes.items() if template in known}
    galleries = [{t: s for t, s in gallery.items() if t in known} for gallery in rows.galleries]
    searched = [longhand_search(gallery, probes, templates) for gallery in galleries]
    for search, (ranks, tpirs) in zip(identification.galleries, searched, strict=True):
        assert list(search.rank.values()) == pytest.approx(ranks, abs=1e-12)
        assert list(search.tpir_at_fpir.values()) == pytest.approx(tpirs, abs=1e-12)
    means = [(a + b) / 2 for a, b in zip(searched[0][0], searched[1][0], strict=True)]
    assert list(identification.rank.values()) == pytest.approx(means, abs=1e-12)
    means = [(a + b) / 2 for a, b in zip(searched[0][1], searched[1][1], strict=True)]
    assert list(identification.tpir_at_fpir.values()) == pytest.approx(means, abs=1e-12)
    curve = identification.open_set
    curves = [longhand_search(gallery, probes, templates, range(1, 21), curve.fars) for gallery in galleries]
    assert identification.cmc == pytest.approx(np.mean([ranks for ranks, _ in curves], axis=0), abs=1e-12)
    assert curve.tars == pytest.approx(np.mean([tpirs for _, tpirs in curves], axis=0), abs=1e-12)
    assert curve.fars[0] == 0
    assert curve.fars[-1] == 1 or undetected == "reject"


def random_features(rows: IjbRows, seed: int = 1, size: int = 6) -> NDArray[np.float32]:
    """Features with something of the template's subject in them, and norms from 0.5 to 20."""
    rng = np.random.default_rng(seed)
    owner = {**rows.probes, **rows.galleries[0], **rows.galleries[1]}
    centres = rng.normal(size=(1 + max(owner.values()), size))
    found = np.array([centres[owner[template]] for _, template, _ in rows.faces]) + rng.normal(
        size=(len(rows.faces), size)
    )
    return (found * rng.uniform(0.5, 8, (len(found), 1))).astype(np.float32)


# ---------------------------------------------------------------------------------------------- figures


@pytest.mark.parametrize("options", OPTIONS[::2], ids=str)
@pytest.mark.parametrize("kind", ["ijbb", "ijbc"])
def test_figures_from_features_are_the_longhand(tmp_path: Path, kind: str, options: TemplateOptions) -> None:
    rows = write_ijb(tmp_path, kind, subjects=12, pictures=False)
    features = random_features(rows)
    np.save(tmp_path / "published.npy", features)
    found = open_ijb(tmp_path, options).measure(FeatureFiles(tmp_path / "published.npy"), tmp_path / "unused")
    assert_is_longhand(rows, features.tolist(), options, list(found))
    assert 0.1 < found[0].tar_at_far["nearest"]["0.01"] < 0.95  # type: ignore[union-attr]
    assert {result.model for result in found} == {"published"}
    assert not (tmp_path / "unused").exists()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_figures_from_images_are_the_longhand(
    ijb: tuple[Path, IjbRows], tmp_path: Path, options: TemplateOptions
) -> None:
    root, rows = ijb
    encoder = patch_encoder()
    features: list[Vector | None] = []
    for (name, *_), (points, _) in zip(rows.faces, rows.points, strict=True):
        face = align(decoding.decode((root / "loose_crop" / name).read_bytes(), name), points)
        upright = encoder.embed(face[None], flip=False, normalize=False)[0].astype(np.float64)
        mirrored = encoder.embed(face[None, :, ::-1], flip=False, normalize=False)[0].astype(np.float64)
        features.append((upright + mirrored if options.add_mirror_image else upright).tolist())
    found = open_ijb(root, options).measure(encoder, tmp_path)
    assert_is_longhand(rows, features, options, list(found))
    assert all(result.options == vars(options) for result in found)


@pytest.fixture(scope="module")
def ijb(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, IjbRows]:
    root = tmp_path_factory.mktemp("ijb") / "IJBC"
    return root, write_ijb(root, subjects=6)


@pytest.mark.parametrize("undetected", UNDETECTED)
def test_images_without_a_feature_are_left_out_and_counted(undetected: Undetected, tmp_path: Path) -> None:
    rows = write_ijb(tmp_path, subjects=12, pictures=False)
    values = random_features(rows)
    usable = np.random.default_rng(3).random(len(values)) < 0.8
    lost = {next(iter(rows.galleries[0])), next(iter(rows.probes))}  # whole templates
    usable &= np.array([template not in lost for _, template, _ in rows.faces])
    values[~usable] = 0
    found = figures(open_ijb(tmp_path, undetected=undetected), "m", Features(values, usable, {}))
    kept = [value if there else None for value, there in zip(values.tolist(), usable, strict=True)]
    assert_is_longhand(rows, kept, TemplateOptions(), list(found), "skip" if undetected == "skip" else "reject")
    assert found[0].counts["damaged_images"] == int((~usable).sum())
    assert (found[0].counts["skipped_pairs"] > 0) == (undetected == "skip")
    assert (found[1].counts["skipped_templates"] > 0) == (undetected == "skip")
    templates = longhand_templates(rows, kept, TemplateOptions())
    pairs = sum(not {a, b} <= {*templates} for a, b, _ in rows.pairs)
    probes = [probe for probe in rows.probes if probe not in templates]
    unsearched = 2 * len(probes)
    if undetected != "skip":
        missing = {s for gallery in rows.galleries for t, s in gallery.items() if t not in templates}
        unsearched += sum(s in missing for t, s in rows.probes.items() if t in templates)
    for result, trials in zip(found, (pairs, unsearched), strict=True):
        told = result.enrolment
        assert told is not None
        assert (told.undetected, told.images, told.damaged) == (undetected, len(usable), int((~usable).sum()))
        assert told.trials == trials > 0
        assert "have no image left" in result.notes[-1]
        assert f"{trials} " in result.notes[-1]


@pytest.mark.parametrize("undetected", UNDETECTED)
def test_with_all_images_the_figures_are_the_same_bit_for_bit(undetected: Undetected, tmp_path: Path) -> None:
    rows = write_ijb(tmp_path, pictures=False)
    features = Features(random_features(rows), np.ones(len(rows.faces), np.bool_), {})
    found = figures(open_ijb(tmp_path, undetected=undetected), "m", features)
    for one, other in zip(found, figures(open_ijb(tmp_path), "m", features), strict=True):
        assert (one.groups(), one.counts, one.hardest) == (other.groups(), other.counts, other.hardest)
        assert one.enrolment is not None
        assert one.enrolment.failures == 0


def test_who_was_not_enrolled_is_not_shown_and_still_counted(tmp_path: Path) -> None:
    rows = write_ijb(tmp_path, subjects=12, pictures=False)
    values = random_features(rows)
    lost = {next(iter(rows.galleries[0])), next(iter(rows.probes))}
    usable = np.array([template not in lost for _, template, _ in rows.faces])
    one, many = figures(open_ijb(tmp_path), "m", Features(values, usable, {}))
    gone = {name for name, template, _ in rows.faces if template in lost}
    trials = [trial for result in (one, many) for kind in result.hardest for trial in kind.trials]
    shown = {name for trial in trials for name in trial.images}
    assert gone.isdisjoint(shown)
    assert "without a face to compare, which are not shown" in one.hardest[0].title
    assert "find nobody, without a face to compare" in many.hardest[0].title
    assert all(np.isfinite(trial.scores).all() for trial in trials)


@pytest.mark.parametrize("undetected", UNDETECTED)
def test_an_image_whose_points_lie_in_one_place_has_no_face(undetected: Undetected, tmp_path: Path) -> None:
    root = tmp_path / "IJBC"
    rows = write_ijb(root, subjects=6)
    rows.points[4] = (np.full((5, 2), 50.0), 0.9)
    write_rows(root, "ijbc", rows)
    open_ijb(root).measure(patch_encoder(), tmp_path / "features")  # what it keeps is not taken for the centre
    benchmark = open_ijb(root, undetected=undetected)
    found = benchmark.measure(patch_encoder(), tmp_path / "features")[0]
    assert found.enrolment is not None
    assert (found.enrolment.without_face, found.enrolment.damaged) == (1, 0)
    if undetected != "centre":
        assert found.counts["damaged_images"] == 1
        assert "of 81 images no face was found in 1; every template has another image" in found.notes[-1]
        return
    name = rows.faces[4][0]
    photo = decoding.decode((root / "loose_crop" / name).read_bytes(), name)
    np.testing.assert_array_equal(benchmark.face(name), central_square(photo))
    assert found.counts["damaged_images"] == 0
    assert "no face was found in 1; the central squares of those without a face are taken for faces" in found.notes[-1]


def test_the_protocol_says_what_was_done(tmp_path: Path) -> None:
    rows = write_ijb(tmp_path, pictures=False)
    features = Features(random_features(rows), np.ones(len(rows.faces), np.bool_), {})
    said = figures(open_ijb(tmp_path), "m", features)[0].protocol
    assert "image and mirror image added, norm kept, times the detector's score; mean over each template" in said
    said = figures(open_ijb(tmp_path, TemplateOptions(False, False, False)), "m", features)[0].protocol
    assert "image alone, norm removed, not weighted by detector score;" in said


def test_other_counts_than_the_published_ones_are_noted(tmp_path: Path) -> None:
    rows = write_ijb(tmp_path, pictures=False)
    features = Features(random_features(rows), np.ones(len(rows.faces), np.bool_), {})
    one, many = figures(open_ijb(tmp_path), "m", features)
    assert f"{len(rows.faces):,} images where IJB-C has 469,375" in one.departures
    assert "30 templates where IJB-C has 23,124" in one.departures
    assert "20 genuine where IJB-C has 19,557" in one.departures
    assert "20 probes where IJB-C has 19,593" in many.departures
    assert "5 G1 where IJB-C has 1,772" in many.departures


def test_the_roc_ends_where_everything_is_accepted(tmp_path: Path) -> None:
    rows = write_ijb(tmp_path, pictures=False)
    features = Features(random_features(rows), np.ones(len(rows.faces), np.bool_), {})
    roc = figures(open_ijb(tmp_path), "m", features)[0].roc
    assert roc is not None
    assert (roc.fars[0], roc.fars[-1], roc.tars[-1]) == (0, 1, 1)
    assert list(roc.tars) == sorted(roc.tars)


# ---------------------------------------------------------------------------------------------- samples


def longhand_nearest(scores: list[float], same: list[int], far: float) -> float:
    """As :func:`longhand_tar` reads it, of all points of the curve."""
    impostors, mates = ([s for s, label in zip(scores, same, strict=True) if label == kind] for kind in (0, 1))
    points = []
    for threshold in {math.inf, *scores} - {-math.inf}:
        alarms, hits = (sum(s >= threshold for s in of) / len(of) for of in (impostors, mates))
        points.append((abs(alarms - far), -alarms, -hits))
    return -min(points)[2]


def longhand_samples(
    rows: IjbRows, templates: dict[int, Vector], known: set[int], unit: dict[int, int], counts: NDArray[np.int32]
) -> tuple[list[list[float]], list[list[list[float]]]]:
    """TARs in each sample, rule after rule; and of each gallery shares at RANKS and FPIRS.

    ``known`` are the templates that count, with images or without, and ``unit`` is a subject's.
    """
    owner = {**rows.probes, **rows.galleries[0], **rows.galleries[1]}
    pairs = [(a, b, score_of(templates, a, b), label) for a, b, label in rows.pairs if {a, b} <= known]
    one, many = [], []
    for drawn in counts:
        scores, same = [], []
        for a, b, score, label in pairs:
            times = drawn[unit[owner[a]]] * (1 if label else drawn[unit[owner[b]]])
            scores += [score] * times
            same += [label] * times
        nearest = [longhand_nearest(scores, same, far) for far in FARS]
        one.append([*nearest, *(longhand_tar(scores, same, far, "at-most") for far in FARS)])
        subjects = sorted({s for t, s in rows.probes.items() if t in known})
        again = draws_of(len(subjects), counts.shape[0])
        times_of = dict(zip(subjects, again[len(many)].tolist(), strict=True))
        made = []
        for gallery in rows.galleries:
            enrolled = {t: s for t, s in gallery.items() if t in known}
            # Each copy of a probe is searched by itself.
            searched: dict[int, int] = {}
            copies = dict(templates)
            for probe, subject in rows.probes.items():
                for copy in range(times_of[subject] if probe in known else 0):
                    searched[1_000_000 * (copy + 1) + probe] = subject
                    if probe in templates:
                        copies[1_000_000 * (copy + 1) + probe] = templates[probe]
            ranks, tpirs = longhand_search(enrolled, searched, copies)
            made.append([*ranks, *tpirs])
        many.append(made)
    return one, many


def draws_of(units: int, draws: int) -> NDArray[np.int32]:
    return draw_people(units, draws, samples.SEED)


@pytest.mark.parametrize(("damaged", "undetected"), [(False, "reject"), (True, "skip"), (True, "reject")])
@pytest.mark.parametrize("seed", [1, 2])
def test_samples_are_those_of_people_drawn_one_by_one(
    tmp_path: Path, seed: int, damaged: bool, undetected: Undetected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "DRAWS", 5)
    rows = write_ijb(tmp_path, subjects=12, pictures=False)
    values = random_features(rows, seed)
    usable = np.random.default_rng(3).random(len(values)) < (0.7 if damaged else 2)
    one, many = figures(open_ijb(tmp_path, undetected=undetected), "m", Features(values, usable, {}))
    kept = [value if there else None for value, there in zip(values.tolist(), usable, strict=True)]
    templates = longhand_templates(rows, kept, TemplateOptions())
    known = {*templates} if undetected == "skip" else {template for _, template, _ in rows.faces}
    owner = {**rows.probes, **rows.galleries[0], **rows.galleries[1]}
    paired = {template for a, b, _ in rows.pairs if {a, b} <= known for template in (a, b)}
    # Units are numbered in the order of each subject's first template.
    order = dict.fromkeys(
        owner[template] for template in sorted(owner) if owner[template] in {owner[t] for t in paired}
    )
    unit = {subject: number for number, subject in enumerate(order)}
    expected, searches = longhand_samples(rows, templates, known, unit, draws_of(len(unit), 5))
    assert isinstance(one, TemplateVerification)
    assert isinstance(many, TemplateIdentification)
    assert one.samples is not None
    assert many.samples is not None
    np.testing.assert_allclose(one.samples.rates, expected, atol=1e-12)
    np.testing.assert_allclose(many.samples.rates, np.mean(searches, axis=1), atol=1e-12)
    assert (one.samples.kind, many.samples.kind) == ("subjects", "subjects")
    assert one.intervals_by == f"bootstrap over {len(unit)} people, 5 draws"
    names = [*itertools.product(["nearest", "at-most"], one.tar_at_far["nearest"])]
    assert len(names) == len(expected[0])
    for (rule, far), column in zip(names, np.transpose(expected), strict=True):
        if np.ptp(column):
            assert one.intervals[rule][far] == pytest.approx(np.quantile(column, [0.025, 0.975]), abs=1e-12)
        else:
            share = one.tar_at_far[rule][far]
            assert one.intervals[rule][far] == binomial_interval(round(share * len(unit)), len(unit))
    for gallery, of in zip(many.galleries, np.moveaxis(np.array(searches), 1, 0), strict=True):
        told = [*gallery.intervals["rank"].values(), *gallery.intervals["tpir_at_fpir"].values()]
        for ends, column in zip(told, of.T, strict=True):
            if np.ptp(column):
                assert ends == pytest.approx(np.quantile(column, [0.025, 0.975]), abs=1e-12)


def test_without_lists_of_subjects_genuine_pairs_join_templates(tmp_path: Path) -> None:
    rows = write_ijb(tmp_path, pictures=False)
    features = Features(random_features(rows), np.ones(len(rows.faces), np.bool_), {})
    listed = figures(open_ijb(tmp_path), "m", features)[0]
    rows.pairs = [pair for i, pair in enumerate(rows.pairs) if not (pair[2] and i % 3 == 0)]
    write_rows(tmp_path, "ijbc", rows)
    for file in (tmp_path / "meta").glob("*1N*"):
        file.unlink()
    (found,) = figures(open_ijb(tmp_path), "m", features)
    assert found.samples is not None
    assert listed.samples is not None
    assert (listed.samples.kind, found.samples.kind) == ("subjects", "templates")
    assert found.samples.digest != listed.samples.digest
    groups = [{template} for template in {t for a, b, _ in rows.pairs for t in (a, b)}]
    for a, b, same in rows.pairs:
        if same:
            together = [group for group in groups if group & {a, b}]
            groups = [group for group in groups if group not in together] + [set().union(*together)]
    assert listed.intervals_by == "bootstrap over 10 people, 2,000 draws"
    assert found.intervals_by == f"bootstrap over {len(groups)} groups of templates, 2,000 draws"


def test_an_impostor_pair_of_templates_that_others_join_counts_as_often_as_they_do(tmp_path: Path) -> None:
    rows = write_ijb(tmp_path, pictures=False)
    gallery = next(a for a, _, same in rows.pairs if same)
    mates = [b for a, b, same in rows.pairs if same and a == gallery]
    assert len(mates) == 2
    rows.pairs.append((mates[0], mates[1], 0))  # as published lists do: labels that contradict
    write_rows(tmp_path, "ijbc", rows)
    for file in (tmp_path / "meta").glob("*1N*"):
        file.unlink()
    features = Features(random_features(rows), np.ones(len(rows.faces), np.bool_), {})
    (found,) = figures(open_ijb(tmp_path), "m", features)
    assert found.samples is not None
    assert found.counts["impostor"] == sum(not same for *_, same in rows.pairs)


def test_nobody_is_drawn_where_there_are_too_few(tmp_path: Path) -> None:
    rows = write_ijb(tmp_path, subjects=2, pictures=False)
    features = Features(random_features(rows), np.ones(len(rows.faces), np.bool_), {})
    for result in figures(open_ijb(tmp_path), "m", features):
        assert result.samples is None
        assert result.intervals_by.startswith("none, too few people: ")
        assert all(group.intervals == {} for group in result.groups())


def test_draws_belong_to_the_lists_and_not_to_the_features(tmp_path: Path) -> None:
    rows = write_ijb(tmp_path, subjects=24, pictures=False)
    everything = np.ones(len(rows.faces), np.bool_)

    def digests(usable: NDArray[np.bool_] = everything, seed: int = 1) -> list[str]:
        benchmark = open_ijb(tmp_path, undetected="skip")
        found = figures(benchmark, "m", Features(random_features(rows, seed), usable, {}))
        return [result.samples.digest for result in found if result.samples]

    before = digests()
    assert len({*before}) == 2
    assert digests(seed=2) == before
    lost = next(iter(rows.galleries[0]))  # takes its pairs and searches with it
    fewer = digests(np.array([template != lost for _, template, _ in rows.faces]))
    rows.faces[0] = (rows.faces[0][0], rows.faces[0][1], 999)
    write_rows(tmp_path, "ijbc", rows)
    assert len({*before, *fewer, *digests()}) == 6


# ---------------------------------------------------------------------------------------------- what went wrong


def surest(rows: IjbRows, template: int) -> str:
    faces = [(score, name) for (name, of, _), (_, score) in zip(rows.faces, rows.points, strict=True) if of == template]
    return max(faces)[1]


def test_hardest_pairs_are_those_of_the_lowest_and_the_highest_scores(tmp_path: Path) -> None:
    rows = write_ijb(tmp_path, subjects=12, pictures=False)
    values = random_features(rows)
    result = figures(open_ijb(tmp_path), "m", Features(values, np.ones(len(values), np.bool_), {}))[0]
    templates = longhand_templates(rows, values.tolist(), TemplateOptions())
    listed = sorted((dot(templates[a], templates[b]), a, b, label) for a, b, label in rows.pairs)
    highest_impostor = max(score for score, *_, label in listed if not label)  # at FAR 1e-4 of few, none may pass
    for kind, expected in zip(
        result.hardest,
        ([row for row in listed if row[3]][:12], [row for row in listed[::-1] if not row[3]][:12]),
        strict=True,
    ):
        assert [trial.images for trial in kind.trials] == [
            (surest(rows, a), surest(rows, b)) for _, a, b, _ in expected
        ]
        assert [trial.scores[0] for trial in kind.trials] == pytest.approx([row[0] for row in expected], abs=1e-6)
    genuine, impostor = result.hardest
    rejected = sum(score <= highest_impostor for score, *_, label in listed if label)
    assert genuine.title == f"Genuine: {rejected} of 24 pairs of templates rejected at FAR 1e-4"
    assert [trial.wrong for trial in genuine.trials] == [
        trial.scores[0] <= highest_impostor for trial in genuine.trials
    ]
    assert impostor.title == f"Impostor: 0 of {len(listed) - 24} pairs of templates accepted at FAR 1e-4"
    assert not any(trial.wrong for trial in impostor.trials)


def test_hardest_searches_are_those_that_others_are_furthest_before(tmp_path: Path) -> None:
    rows = write_ijb(tmp_path, subjects=12, pictures=False)
    values = random_features(rows)
    usable = np.ones(len(values), np.bool_)
    result = figures(open_ijb(tmp_path), "m", Features(values, usable, {}))[1]
    templates = longhand_templates(rows, values.tolist(), TemplateOptions())
    found = []
    for gallery in rows.galleries:
        for probe, subject in rows.probes.items():
            scores = {t: dot(templates[probe], templates[t]) for t in gallery}
            own = [t for t, s in gallery.items() if s == subject]
            if own:
                other = max((t for t in gallery if t not in own), key=scores.__getitem__)
                found.append((scores[own[0]] - scores[other], probe, own[0], other))
    found.sort()
    (kind,) = result.hardest
    assert [trial.images for trial in kind.trials] == [
        (surest(rows, a), surest(rows, b), surest(rows, c)) for _, a, b, c in found[:12]
    ]
    assert [trial.scores[0] - trial.scores[1] for trial in kind.trials] == pytest.approx(
        [lead for lead, *_ in found[:12]], abs=1e-6
    )
    missed = sum(lead <= 0 for lead, *_ in found)
    assert kind.title == f"{missed} of 24 searches with a mate find somebody else first"
    assert [trial.wrong for trial in kind.trials] == [lead <= 0 for lead, *_ in found[:12]]


def test_a_face_is_the_aligned_image(ijb: tuple[Path, IjbRows]) -> None:
    root, rows = ijb
    benchmark = open_ijb(root)
    (name, *_), (points, _) = rows.faces[3], rows.points[3]
    expected = align(decoding.decode((root / "loose_crop" / name).read_bytes(), name), points)
    np.testing.assert_array_equal(benchmark.face(name), expected)


# ---------------------------------------------------------------------------------------------- what cannot be used


def test_damaged_and_missing_images_are_counted_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "IJBC"
    rows = write_ijb(root, subjects=6)
    (root / "loose_crop" / "2.jpg").write_bytes(b"no image")
    (root / "loose_crop" / "3.jpg").unlink()
    rows.points[4] = (np.full((5, 2), 50.0), 0.9)  # five points in one place
    write_rows(root, "ijbc", rows)
    found = open_ijb(root).measure(patch_encoder(), tmp_path / "features")
    assert found[0].counts["damaged_images"] == 3
    said = " ".join(capsys.readouterr().err.split())
    for name in ("2.jpg: not an image", "3.jpg: there is no such file", "5.jpg: the five landmarks lie in one place"):
        assert name in said


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    rows = write_ijb(tmp_path, pictures=False)
    nothing = Features(np.zeros((len(rows.faces), 4), np.float32), np.zeros(len(rows.faces), np.bool_), {})
    with pytest.raises(InputError, match=r"none of its \d+ images could be read"):
        figures(open_ijb(tmp_path), "m", nothing)
    nothing.usable[0] = True
    with pytest.raises(InputError, match=r"0 of \d+ pairs have images; too few to judge"):
        figures(open_ijb(tmp_path), "m", nothing)


def test_features_that_are_no_numbers_are_refused_by_their_file(tmp_path: Path) -> None:
    rows = write_ijb(tmp_path, pictures=False)
    values = random_features(rows)
    values[3, 2] = np.nan
    np.save(tmp_path / "published.npy", values)
    said = rf"published\.npy: 1 of {len(values)} rows of features hold NaN or inf, the first is row 3, from 0; compute"
    with pytest.raises(InputError, match=said):
        open_ijb(tmp_path).measure(FeatureFiles(tmp_path / "published.npy"), tmp_path)


def test_where_no_listed_image_is_there_nothing_is_embedded(tmp_path: Path) -> None:
    write_ijb(tmp_path, pictures=False)
    (tmp_path / "loose_crop" / "IJB-C").mkdir(parents=True)
    (tmp_path / "loose_crop" / "IJB-C" / "one.jpg").write_bytes(decoding.encode(np.zeros((9, 9, 3), np.uint8), ".jpg"))
    message = r"loose_crop: none of the \d+ images of the list, which begins with 1\.jpg; there is IJB-C/one\.jpg; put"
    with pytest.raises(InputError, match=message):
        open_ijb(tmp_path).measure(patch_encoder(), tmp_path / "features")
    assert not list(tmp_path.rglob("progress.json"))


@pytest.mark.parametrize("layout", ["tar of the folder", "other suffix"])
def test_figures_are_the_same_however_the_images_are_laid_out(
    ijb: tuple[Path, IjbRows], tmp_path: Path, layout: str
) -> None:
    expected = open_ijb(ijb[0]).measure(patch_encoder(), tmp_path / "features")
    shutil.copytree(ijb[0], tmp_path / "IJBC")
    crops = tmp_path / "IJBC" / "loose_crop"
    if layout == "other suffix":
        for path in crops.iterdir():
            path.rename(path.with_suffix(".jpeg"))
    else:
        with tarfile.open(tmp_path / "IJBC" / "loose_crop.tar", "w") as tar:
            tar.add(crops, "IJBC/loose_crop")
        shutil.rmtree(crops)
    found = open_ijb(tmp_path / "IJBC").measure(patch_encoder(), tmp_path / "features")
    assert [result.counts for result in found] == [result.counts for result in expected]
    assert found[0].tar_at_far == expected[0].tar_at_far  # type: ignore[union-attr]


def test_embeddings_that_are_there_need_no_images(tmp_path: Path) -> None:
    write_ijb(tmp_path, subjects=6)
    expected = open_ijb(tmp_path).measure(patch_encoder(), tmp_path / "features")
    for path in (tmp_path / "loose_crop").iterdir():
        path.unlink()
    found = open_ijb(tmp_path).measure(patch_encoder(), tmp_path / "features")
    assert found[0].tar_at_far == expected[0].tar_at_far  # type: ignore[union-attr]


def test_a_gallery_that_everybody_is_in_has_no_open_set(tmp_path: Path) -> None:
    rows = write_ijb(tmp_path, pictures=False)
    features = Features(random_features(rows), np.ones(len(rows.faces), np.bool_), {})
    rows.probes = {t: s for t, s in rows.probes.items() if s in rows.galleries[0].values()}
    write_rows(tmp_path, "ijbc", rows)
    with pytest.raises(InputError, match="no probe without a mate in the gallery G1"):
        figures(open_ijb(tmp_path), "m", features)
