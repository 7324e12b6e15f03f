"""A benchmark in one file: what goes in as it is, what as PNG, and that a model has the very same figures on it."""

import csv
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from conftest import write_pairs, write_people

from elasticface import backbones
from elasticface.base.errors import InputError
from elasticface.benchmarks.pairwise.lists import PairBenchmark, open_pairs
from elasticface.benchmarks.pairwise.packing import choose, pack
from elasticface.benchmarks.pairwise.pairs import PairResult, evaluate_pairs
from elasticface.data.images import decoding
from elasticface.data.images.alignment import TEMPLATE
from elasticface.data.images.photos import Photos
from elasticface.faces.align_folder import align_photos
from elasticface.faces.landmarks import COLUMNS, read_landmarks
from elasticface.model.encoder import Card, FaceEncoder


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Aligned faces: JPEGs, PNGs, and of one person BMPs by content."""
    import cv2

    folder = write_pairs(write_people(tmp_path_factory.mktemp("ten") / "faces", 6, 6), 6, 6, folds=10)
    for number, path in enumerate(sorted(folder.rglob("*.png"))):
        face = decoding.decode(path.read_bytes(), path.name)
        if number % 3 == 0:
            path.with_suffix(".jpg").write_bytes(decoding.encode(face, ".jpg"))
            path.unlink()
        elif "person_05" in path.name:
            path.with_suffix(".bmp").write_bytes(cv2.imencode(".bmp", face[:, :, ::-1])[1].tobytes())
            path.unlink()
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of another size with five points each."""
    folder = write_pairs(write_people(tmp_path_factory.mktemp("photos") / "photos", 6, 6), 6, 6, folds=10)
    rng = np.random.default_rng(0)
    with (folder / "landmarks5.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for path in sorted(folder.rglob("*.png")):
            photo = np.pad(decoding.decode(path.read_bytes(), path.name), ((20, 10), (5, 30), (0, 0)))
            path.write_bytes(decoding.encode(photo, ".png"))
            points = TEMPLATE + np.array([5, 20]) + rng.normal(0, 2, TEMPLATE.shape)
            writer.writerow([path.relative_to(folder).as_posix(), 0.99, *points.ravel()])
    return folder


@pytest.fixture(scope="module")
def encoder() -> FaceEncoder:
    """An untrained network that gives some pairs right and some wrong."""
    import torch

    torch.manual_seed(1)
    return FaceEncoder(backbones.create("tiny", 16).eval(), Card("tiny", "tiny", 16))


def assert_same_to_the_last_digit(one: PairResult, other: PairResult) -> None:
    assert (one.accuracy, one.accuracy_std, one.threshold) == (other.accuracy, other.accuracy_std, other.threshold)
    assert (one.per_fold, one.eer, one.tar_at_far) == (other.per_fold, other.eer, other.tar_at_far)
    assert one.counts == other.counts
    assert one.same.tolist() == other.same.tolist()


def faces_of(benchmark: PairBenchmark) -> list[bytes]:
    pairs = benchmark.pairs
    return [benchmark.face(name).tobytes() for both in zip(pairs.first, pairs.second, strict=True) for name in both]


def test_aligned_jpeg_and_png_go_in_byte_for_byte(faces: Path, tmp_path: Path) -> None:
    benchmark = open_pairs(faces)
    summary = pack(benchmark, tmp_path / "x.bin")
    content, same = pickle.loads((tmp_path / "x.bin").read_bytes())
    assert same == benchmark.pairs.same.tolist()
    names = [n for both in zip(benchmark.pairs.first, benchmark.pairs.second, strict=True) for n in both]
    for name, stored in zip(names, content, strict=True):
        if name.endswith(".bmp"):
            assert stored.startswith(b"\x89PNG")
            assert np.array_equal(decoding.decode(stored, name), benchmark.face(name))
        else:
            assert stored == (faces / name).read_bytes()
    kept = sum(not name.endswith(".bmp") for name in set(names))
    assert (summary.pairs, summary.images, summary.kept) == (60, len(set(names)), kept)
    assert summary.size == (tmp_path / "x.bin").stat().st_size
    assert "60 pairs of 36 images, 4 aligned or stored again as PNG" in summary.lines()[0]


def test_the_pack_of_aligned_faces_has_their_figures(faces: Path, tmp_path: Path, encoder: FaceEncoder) -> None:
    pack(open_pairs(faces), tmp_path / "x.bin")
    assert faces_of(open_pairs(tmp_path / "x.bin")) == faces_of(open_pairs(faces))
    expected = evaluate_pairs(encoder, open_pairs(faces))
    assert 0 < expected.eer < 1
    assert_same_to_the_last_digit(evaluate_pairs(encoder, open_pairs(tmp_path / "x.bin")), expected)


def test_photos_with_landmarks_aligned_before_or_on_the_way_or_packed_have_one_accuracy(
    photos: Path, tmp_path: Path, encoder: FaceEncoder
) -> None:
    expected = evaluate_pairs(encoder, open_pairs(photos))
    pack(open_pairs(photos), tmp_path / "packed.bin")
    assert_same_to_the_last_digit(evaluate_pairs(encoder, open_pairs(tmp_path / "packed.bin")), expected)
    align_photos(
        Photos(photos), tmp_path / "aligned", read_landmarks(photos / "landmarks5.csv"), format="png", workers=1
    )
    aligned = open_pairs(tmp_path / "aligned", photos / "pairs.txt")
    assert_same_to_the_last_digit(evaluate_pairs(encoder, aligned), expected)
    pack(aligned, tmp_path / "again.bin")
    assert_same_to_the_last_digit(evaluate_pairs(encoder, open_pairs(tmp_path / "again.bin")), expected)
    assert (tmp_path / "again.bin").read_bytes() == (tmp_path / "packed.bin").read_bytes()


def test_a_pack_of_a_pack_is_that_pack(faces: Path, tmp_path: Path) -> None:
    pack(open_pairs(faces), tmp_path / "a.bin")
    pack(open_pairs(tmp_path / "a.bin"), tmp_path / "b.bin")
    assert (tmp_path / "a.bin").read_bytes() == (tmp_path / "b.bin").read_bytes()


def test_a_file_that_is_there_stays_unless_it_is_to_be_overwritten(faces: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(b"old")
    with pytest.raises(InputError, match=r"x\.bin: is there already; give another name, or --overwrite"):
        pack(open_pairs(faces), path)
    assert path.read_bytes() == b"old"
    pack(open_pairs(faces), path, overwrite=True)
    assert len(open_pairs(path).pairs.same) == 60


def test_other_places_for_a_pack_are_refused(faces: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.bin").mkdir()
    for name, message in (("x.pkl", "a pack's name ends in .bin"), ("folder.bin", "is a folder")):
        with pytest.raises(InputError, match=message):
            pack(open_pairs(faces), tmp_path / name, overwrite=True)


def test_a_damaged_or_unaligned_photo_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    folder = write_pairs(write_people(tmp_path / "faces", 6, 6), 6, 6, folds=10)
    target = folder / "person_03" / "person_03_0002.png"
    for content, message in (
        (b"no picture", r"person_03/person_03_0002\.png: not an image.*take its pairs out of the list"),
        (decoding.encode(np.zeros((80, 90, 3), np.uint8), ".png"), r"0002\.png: 90x80 is no aligned face of 112x112"),
    ):
        target.write_bytes(content)
        with pytest.raises(InputError, match=message):
            pack(open_pairs(folder), tmp_path / "x.bin")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces"]


def test_other_than_ten_folds_are_said_to_be_lost(people: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="faces has 2 folds, and a pack is judged in 10"):
        pack(open_pairs(people), tmp_path / "x.bin")


def test_ten_folds_need_no_warning(faces: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pack(open_pairs(faces), tmp_path / "x.bin")


def test_faces_of_another_size_are_packed_where_it_is_given(tmp_path: Path) -> None:
    folder = write_pairs(write_people(tmp_path / "faces", 6, 6, size=56), 6, 6, folds=10)
    with pytest.raises(InputError, match="56x56 is no aligned face of 112x112"):
        pack(open_pairs(folder), tmp_path / "x.bin")
    pack(open_pairs(folder), tmp_path / "x.bin", size=56)
    assert open_pairs(tmp_path / "x.bin").face("000000", 56).shape == (56, 56, 3)


def test_of_two_benchmarks_the_one_of_the_files_name_is_packed(faces: Path) -> None:
    one = open_pairs(faces)
    two = [PairBenchmark(name, one.photos, one.pairs) for name in ("cfp_fp", "cfp_ff")]
    assert choose(two, Path("x/cfp_ff.bin")) is two[1]
    assert choose(two[:1], Path("any.bin")) is two[0]
    with pytest.raises(InputError, match=r"there are cfp_fp and cfp_ff to pack; .* as cfp_fp\.bin"):
        choose(two, Path("cfp.bin"))
