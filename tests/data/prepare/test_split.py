"""elasticface.data.prepare.split: who is held out, and that the pairs are what verification needs."""

import itertools
import json
import os
from collections import Counter
from pathlib import PurePosixPath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticface.base.errors import InputError
from elasticface.data.formats.folder import FolderSource
from elasticface.data.images.decoding import encode
from elasticface.data.prepare import split as module
from elasticface.data.prepare.split import draw_pairs, split

PNG = encode(np.zeros((112, 112, 3), np.uint8), ".png")


def people(root, counts):
    """Identity folders p00, p01, … with so many images each. All hold the same image: nothing here looks at it."""
    for number, count in enumerate(counts):
        folder = root / f"p{number:02}"
        folder.mkdir(parents=True)
        for image in range(count):
            (folder / f"{image}.png").write_bytes(PNG)
    return root


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """60 people with 2 to 13 images, and one with 60."""
    return people(tmp_path_factory.mktemp("split") / "faces", [2 + number % 12 for number in range(59)] + [60])


def read_pairs(out):
    """Folds of (path, path, same), and the header."""
    lines = (out / "heldout" / "pairs.txt").read_text().splitlines()
    folds, each = map(int, lines[0].split("\t"))
    rows = [line.split("\t") for line in lines[1:]]
    assert len(rows) == folds * each * 2
    return [rows[i * 2 * each : (i + 1) * 2 * each] for i in range(folds)], each


def identity(path):
    return PurePosixPath(path).parts[0]


def images(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")}


def check_pairs(out, pairs, folds):
    """What holds of every pairs.txt. Returns the folds."""
    found, each = read_pairs(out)
    assert (len(found), each) == (folds, pairs // (2 * folds))
    there = images(out / "heldout")
    for fold in found:
        assert [same for *_, same in fold] == ["1"] * each + ["0"] * each
    rows = [row for fold in found for row in fold]
    for a, b, same in rows:
        assert {a, b} <= there
        assert a != b
        assert (identity(a) == identity(b)) == (same == "1")
    assert len({frozenset(row[:2]) for row in rows}) == pairs
    return found


def test_everyone_goes_whole_to_one_side_and_no_image_is_lost(faces, tmp_path):
    out = tmp_path / "out"
    summary = split(str(faces), str(out), people=30, pairs=400, folds=10)
    train, heldout = FolderSource(out / "train"), FolderSource(out / "heldout")
    assert train.num_classes == summary.train_people == 30
    assert heldout.num_classes == summary.heldout_people == 30
    assert not set(train.class_names) & set(heldout.class_names)
    assert images(out / "train") | images(out / "heldout") == images(faces)
    assert (len(train), len(heldout)) == (summary.train_images, summary.heldout_images)
    assert sorted(path.name for path in out.iterdir()) == ["heldout", "split.json", "train"]
    assert json.loads((out / "split.json").read_text()) == summary.__dict__
    name = sorted(images(out / "train"))[0]
    assert os.path.samefile(out / "train" / name, faces / name)


def test_pairs_are_what_they_say_and_folds_share_no_one(faces, tmp_path):
    summary = split(faces, tmp_path / "out", people=30, pairs=400, folds=10)
    found = check_pairs(tmp_path / "out", 400, 10)
    assert summary.disjoint_folds
    members = [{identity(path) for a, b, _ in fold for path in (a, b)} for fold in found]
    assert sum(map(len, members)) == len(set().union(*members))
    assert all(2 <= len(group) <= 3 for group in members)
    assert summary.lines() == [
        f"train: 30 people, {len(images(tmp_path / 'out/train'))} images",
        f"heldout: 30 people, {len(images(tmp_path / 'out/heldout'))} images",
        "pairs: 200 genuine and 200 impostor in 10 folds, each of other people",
        f"genuine pairs: of {summary.genuine_people} people, at most {summary.most_genuine_of_one} of one",
    ]


def test_the_seed_decides_everything(faces, tmp_path):
    for name, seed in {"a": 3, "b": 3, "c": 4}.items():
        split(faces, tmp_path / name, people=20, pairs=80, folds=4, seed=seed)
    a, b, c = ((tmp_path / name / "heldout" / "pairs.txt").read_text() for name in "abc")
    assert a == b != c
    assert images(tmp_path / "a") == images(tmp_path / "b") != images(tmp_path / "c")


def test_a_person_with_many_photos_does_not_dominate_the_genuine_pairs(tmp_path):
    faces = people(tmp_path / "faces", [40] + [6] * 19 + [1, 1])
    # Nearly everyone has 15 pairs, of which 5 are needed: one each in turn comes to 5 or 6 of each, within a fold.
    for seed in range(10):
        summary = split(faces, tmp_path / f"out{seed}", people=20, pairs=200, folds=2, seed=seed)
        found = check_pairs(tmp_path / f"out{seed}", 200, 2)
        own = Counter(identity(a) for fold in found for a, _, same in fold if same == "1")
        assert summary.genuine_people == len(own)
        assert summary.most_genuine_of_one == max(own.values())
        assert max(own.values()) - min(own.values()) <= 2  # between folds; within one, at most 1
        for fold in found:
            within = Counter(identity(a) for a, _, same in fold if same == "1")
            assert max(within.values()) - min(within.values()) <= 1


def test_impostor_pairs_are_of_many_pairs_of_people(faces, tmp_path):
    split(faces, tmp_path / "out", people=40, pairs=160, folds=2)
    for fold in check_pairs(tmp_path / "out", 160, 2):  # 20 people a fold: 190 pairs of people for 40 pairs of photos
        pairs_of_people = [frozenset((identity(a), identity(b))) for a, b, same in fold if same == "0"]
        assert len(set(pairs_of_people)) == 40


def test_where_people_are_too_few_folds_share_them_and_the_summary_says_so(tmp_path):
    faces = people(tmp_path / "faces", [8, 8, 8, 8, 8])
    summary = split(faces, tmp_path / "out", people=3, pairs=80, folds=10)
    check_pairs(tmp_path / "out", 80, 10)
    assert not summary.disjoint_folds
    assert summary.lines()[2] == (
        "pairs: 40 genuine and 40 impostor in 10 folds, sharing people, of whom there are too few"
    )


@given(
    counts=st.lists(st.integers(1, 30), min_size=2, max_size=40),
    folds=st.integers(2, 6),
    per_fold=st.integers(1, 40),
    seed=st.integers(0, 1000),
)
@settings(max_examples=150)
def test_pairs_hold_their_promises_whatever_the_people(counts, folds, per_fold, seed):
    ends = np.cumsum([0, *counts])
    own = [np.arange(a, b) for a, b in itertools.pairwise(ends)]
    person = np.repeat(np.arange(len(counts)), counts)
    genuine_available = sum(n * (n - 1) // 2 for n in counts)
    impostor_available = sum(a * b for i, a in enumerate(counts) for b in counts[:i])
    possible = min(genuine_available, impostor_available) // folds
    if per_fold > possible:
        available = f"{genuine_available} genuine and {impostor_available} impostor pairs"
        message = f"{available}: enough for {possible * folds * 2} pairs"
        with pytest.raises(InputError, match=message):
            draw_pairs(own, per_fold, folds, seed)
        return
    drawn = draw_pairs(own, per_fold, folds, seed)
    for kind, same in ((drawn.genuine, True), (drawn.impostor, False)):
        assert [len(fold) for fold in kind] == [per_fold] * folds
        rows = [pair for fold in kind for pair in fold]
        assert len({frozenset(pair) for pair in rows}) == len(rows)
        assert all(a != b and (person[a] == person[b]) == same for a, b in rows)
    if drawn.disjoint_folds:
        both = zip(drawn.genuine, drawn.impostor, strict=True)
        members = [{person[i] for pair in g + f for i in pair} for g, f in both]
        assert sum(map(len, members)) == len(set().union(*members))


def test_folds_are_dealt_so_that_each_has_pairs_enough():
    counts = [10, 9, 3, 2, 1, 1, 1, 1, 1, 1]
    ends = np.cumsum([0, *counts])
    own = [np.arange(a, b) for a, b in itertools.pairwise(ends)]
    # 38 genuine pairs a fold: whoever gets the 36 of the second person must get the 3 of the third, too.
    assert all(draw_pairs(own, 38, 2, seed).disjoint_folds for seed in range(10))


def test_even_shares_are_one_each_in_turn_until_a_place_is_full():
    generator = np.random.default_rng(0)
    capacities = np.array([1, 100, 3, 0, 50])
    for number in range(155):
        shares = module._shares(capacities, number, generator)
        assert shares.sum() == number
        level = next(level for level in range(101) if np.minimum(capacities, level).sum() >= number)
        assert (shares <= np.minimum(capacities, level)).all()
        assert (shares >= np.minimum(capacities, level - 1)).all()


def test_of_many_people_impostor_pairs_are_drawn_without_a_list_of_all(monkeypatch):
    monkeypatch.setattr(module, "_MOST_LISTED", 20)
    monkeypatch.setattr(np, "tril_indices", None)
    own = [np.array([2 * person, 2 * person + 1])[: person % 3] for person in range(60)]  # a third have no image
    drawn = module._impostor(own, 380, np.random.default_rng(0))
    assert len({frozenset((a // 2, b // 2)) for a, b in drawn}) == 380  # of 780 pairs of people: each at most once
    assert {image for pair in drawn for image in pair} == {int(image) for images in own for image in images}
    assert drawn == module._impostor(own, 380, np.random.default_rng(0))


def test_pairs_are_numbered_without_gap_or_repetition():
    assert {module._pair(index) for index in range(45)} == {(i, j) for j in range(10) for i in range(j)}
    assert module._pair(10**12 * (10**12 - 1) // 2) == (0, 10**12)


def test_links_in_the_folder_become_images_and_copies_stand_in_for_links(faces, tmp_path, monkeypatch):
    (tmp_path / "linked").mkdir()
    for number, folder in enumerate(sorted(faces.iterdir())[:8]):
        if number % 2:
            (tmp_path / "linked" / folder.name).symlink_to(folder)
        else:
            (tmp_path / "linked" / folder.name).mkdir()
            for image in folder.iterdir():
                (tmp_path / "linked" / folder.name / image.name).symlink_to(image)
    split(tmp_path / "linked", tmp_path / "a", people=4, pairs=8, folds=2)
    monkeypatch.setattr(module.os, "link", lambda *_: (_ for _ in ()).throw(OSError(18, "Invalid cross-device link")))
    split(tmp_path / "linked", tmp_path / "b", people=4, pairs=8, folds=2)
    for out in (tmp_path / "a", tmp_path / "b"):
        files = list(out.rglob("*.png"))
        assert len(files) == len(FolderSource(tmp_path / "linked"))
        assert all(path.is_file() and not path.is_symlink() and path.read_bytes() == PNG for path in files)
    assert {path.stat().st_nlink for path in (tmp_path / "b").rglob("*.png")} == {1}


# What is refused. Nothing is left behind then.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"people": 1}, r"people must be at least 2 and leave at least 2 to train on, got 1 of the 60 in .*faces"),
        ({"people": 59}, r"got 59 of the 60"),
        ({"people": 9, "pairs": 0}, r"pairs must be a multiple of 20, for 10 folds .* got 0; take 20"),
        ({"people": 9, "pairs": 6010}, r"got 6010; take 60[02]0"),
        ({"people": 9, "folds": 1}, r"folds must be at least 2 and seed at least 0, got folds 1, seed 0"),
        ({"people": 9, "seed": -1}, r"folds must be at least 2 and seed at least 0, got folds 10, seed -1"),
        (
            {"people": 2, "pairs": 600_000},
            r"the 2 people held out, with \d+ images, have \d+ genuine and \d+ impostor pairs: enough for \d+ pairs in "
            r"10 folds, not for 600000; ask for fewer with --pairs, or hold out more people",
        ),
    ],
)
def test_settings_that_cannot_be_met_are_refused(faces, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        split(faces, tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_the_most_that_can_be_had_can_be_had(tmp_path):
    faces = people(tmp_path / "faces", [3, 3, 4, 4])
    with pytest.raises(InputError) as caught:
        split(faces, tmp_path / "out", people=2, pairs=400, folds=2)
    possible = int(str(caught.value).split("enough for ")[1].split()[0])
    split(faces, tmp_path / "out", people=2, pairs=possible, folds=2)
    check_pairs(tmp_path / "out", possible, 2)


def test_an_output_that_holds_something_or_lies_in_the_folder_is_refused(faces, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "file").touch()
    split(faces, tmp_path / "out", people=4, pairs=8, folds=2)  # empty is well
    with pytest.raises(InputError, match=r"out: holds something already; give a new folder"):
        split(faces, tmp_path / "out", people=4, pairs=8, folds=2)
    with pytest.raises(InputError, match=r"file: cannot be used: Not a directory"):
        split(faces, tmp_path / "file", people=4, pairs=8, folds=2)
    with pytest.raises(InputError, match=r"lies in the folder that is split; give one outside .*faces"):
        split(faces, faces / "out", people=4, pairs=8, folds=2)


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none: cannot be read: No such file"):
        split(tmp_path / "none", tmp_path / "out", people=4)
    with pytest.raises(InputError, match="faces are needed: give a folder of identity folders"):
        split("", tmp_path / "out", people=4)


@pytest.mark.parametrize("name", ["Ann\tLee", "Ann\nLee", "Ann\u2028Lee", " Ann", "Zo\udceb"])
def test_names_that_cannot_stand_in_a_list_are_refused(tmp_path, name):
    faces = people(tmp_path / "faces", [4, 4, 4, 4])
    for folder in faces.iterdir():
        folder.rename(faces / f"{name}{folder.name}")
    with pytest.raises(InputError, match=r"cannot stand in pairs.txt; rename it") as caught:
        split(faces, tmp_path / "out", people=2, pairs=4, folds=2)
    assert str(caught.value).isprintable()
    assert not (tmp_path / "out").exists()


def test_a_split_that_is_stopped_leaves_nothing(faces, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module.files, "write_json", stop)
    with pytest.raises(KeyboardInterrupt):
        split(faces, tmp_path / "out", people=4, pairs=8, folds=2)
    assert list(tmp_path.iterdir()) == []


def test_all_people_of_a_folder_are_paired_and_none_is_left_to_train_on(faces, tmp_path):
    summary = split(faces, tmp_path / "out", people=None, pairs=600)
    check_pairs(tmp_path / "out", 600, 10)
    assert images(tmp_path / "out" / "heldout") == images(faces)
    assert not (tmp_path / "out" / "train").exists()
    assert (summary.train_people, summary.heldout_people) == (0, 60)
    assert [line.partition(":")[0] for line in summary.lines()] == ["heldout", "pairs", "genuine pairs"]
