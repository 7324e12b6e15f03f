"""Verification on pairs: which lists and photos are taken, which are refused, and that the figures are the longhand."""

import csv
import math
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from conftest import write_pairs, write_people
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from elasticface.base.errors import InputError
from elasticface.benchmarks import samples
from elasticface.benchmarks.pairwise.lists import PairBenchmark, Pairs, open_pack, open_pairs
from elasticface.benchmarks.pairwise.lists import parse_pairs as parse
from elasticface.benchmarks.pairwise.pairs import FARS, PairResult, evaluate_pairs, figures
from elasticface.data.formats.packs import write_pack
from elasticface.data.images import decoding
from elasticface.data.images.alignment import TEMPLATE
from elasticface.data.images.photos import Photos
from elasticface.faces.align_folder import align_photos
from elasticface.faces.landmarks import COLUMNS, read_landmarks
from elasticface.metrics import binomial_interval
from elasticface.metrics.resampling import draw_people
from elasticface.model.encoder import Card, FaceEncoder
from elasticface.model.loading import load

NAMES = [f"{name}/{name}_{n:04d}.jpg" for name in ("Ann", "Bob", "Cy") for n in (1, 2, 3)]
LFW = ["Ann\t1\t2", "Bob\t2\t3", "Ann\t1\tBob\t1", "Bob\t3\tCy\t2"]


def patches(inputs: Tensor) -> Tensor:
    """The mean of each of 7×7 patches: what tells the made-up people of conftest apart without an error."""
    return functional.avg_pool2d(inputs, inputs.shape[2] // 7).flatten(1)


def encoder(network: Callable[[Tensor], Tensor] = patches) -> FaceEncoder:
    return FaceEncoder(network, Card("patches", embedding_size=147))


def lines(*rows: str) -> str:
    return "\n".join(rows) + "\n"


def put_in_tar(path: Path, folder: Path, names: Iterable[str], prefix: str = "./") -> Path:
    with tarfile.open(path, "w") as tar:
        for name in names:
            tar.add(folder / name, prefix + name)
    return path


def photo_names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


def assert_same_figures(one: PairResult, other: PairResult) -> None:
    assert np.array_equal(one.scores, other.scores)
    assert (one.accuracy, one.threshold, one.tar_at_far) == (other.accuracy, other.threshold, other.tar_at_far)
    assert one.counts == other.counts


# ---------------------------------------------------------------------------------------------- lists of pairs


def test_lfws_format_is_read_in_its_order() -> None:
    found = parse(lines("2\t1", *LFW), "pairs.txt", NAMES)
    assert found.first == ("Ann/Ann_0001.jpg", "Bob/Bob_0002.jpg", "Ann/Ann_0001.jpg", "Bob/Bob_0003.jpg")
    assert found.second == ("Ann/Ann_0002.jpg", "Bob/Bob_0003.jpg", "Bob/Bob_0001.jpg", "Cy/Cy_0002.jpg")
    assert found.same.tolist() == [True, True, False, False]
    assert found.folds == 2


@pytest.mark.parametrize(("header", "folds"), [("2\t3", 2), ("3\t2", 3), ("3 2", 3), ("6", 10)])
def test_the_first_line_says_how_many_folds(header: str, folds: int) -> None:
    assert parse(lines(header, *LFW * 3), "pairs.txt", NAMES).folds == folds


def test_without_a_first_line_there_are_ten_folds_and_no_pair_is_lost() -> None:
    found = parse(lines(*LFW * 3), "pairs.txt", NAMES)
    assert (found.folds, len(found.same)) == (10, 12)


@pytest.mark.parametrize("ends", ["\n", "\r\n", " \n", "\n\n"])
def test_line_ends_blank_lines_and_spaces_do_not_matter(ends: str) -> None:
    rows = ["2\t1", *LFW]
    found = parse(ends.join(rows), "pairs.txt", NAMES)
    expected = parse(lines(*rows), "pairs.txt", NAMES)
    assert (found.first, found.second, found.folds) == (expected.first, expected.second, expected.folds)


def test_spaces_do_instead_of_tabs() -> None:
    spaced = [row.replace("\t", " ") for row in LFW]
    assert parse(lines("2 1", *spaced), "pairs.txt", NAMES).second == parse(lines("2\t1", *LFW), "p", NAMES).second


def test_names_with_spaces_are_read_between_tabs() -> None:
    names = ["Ann Lee 3/Ann Lee 3_0001.jpg", "Ann Lee 3/Ann Lee 3_0002.jpg", "2/2_0001.jpg"]
    found = parse(lines(*["Ann Lee 3\t1\t2", "Ann Lee 3\t2\t2\t1"] * 5), "pairs.txt", names)
    assert found.first == (names[0], names[1]) * 5
    assert found.second == (names[1], names[2]) * 5
    assert found.same.tolist() == [True, False] * 5


def test_two_paths_and_0_or_1_are_a_pair() -> None:
    names = ["a b/x.jpg", "a b/y.jpg", "deep/er/z.png", "0.png"]
    rows = ["2\t1", "a b/x.jpg\ta b/y.jpg\t1", "deep/er/z.png\ta b/x.jpg\t0", "0.png\ta b/y.jpg\t0"]
    found = parse(lines(*rows, "0.png\tdeep/er/z.png\t1"), "pairs.txt", names)
    assert found.first == ("a b/x.jpg", "deep/er/z.png", "0.png", "0.png")
    assert found.second == ("a b/y.jpg", "a b/x.jpg", "a b/y.jpg", "deep/er/z.png")
    assert found.same.tolist() == [True, False, False, True]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPG", ".webp"])
def test_a_photo_is_found_whatever_its_suffix(suffix: str) -> None:
    names = [name.removesuffix(".jpg") + suffix for name in NAMES]
    assert parse(lines("2\t1", *LFW), "pairs.txt", names).first[0] == f"Ann/Ann_0001{suffix}"
    without = lines("2\t1", "Ann/Ann_0001\tAnn/Ann_0002\t1", "Ann/Ann_0001\tBob/Bob_0001\t0")
    assert parse(without, "pairs.txt", names).second == (f"Ann/Ann_0002{suffix}", f"Bob/Bob_0001{suffix}")


def test_two_paths_may_begin_with_a_dot_and_have_another_suffix() -> None:
    """As the lists of landmarks and of noise, and as LFW's and CFP's."""
    rows = lines("2\t1", "./Ann/Ann_0001.jpg\t./Ann/Ann_0002.png\t1", "Ann/Ann_0001.webp\tBob/Bob_0001.jpg\t0")
    found = parse(rows, "pairs.txt", NAMES)
    assert found.first == ("Ann/Ann_0001.jpg", "Ann/Ann_0001.jpg")
    assert found.second == ("Ann/Ann_0002.jpg", "Bob/Bob_0001.jpg")


def test_a_name_with_dots_keeps_them() -> None:
    names = ["J. R. Smith/J. R. Smith_0001.jpg", "J. R. Smith/J. R. Smith_0002.jpg", *NAMES]
    found = parse(lines(*["J. R. Smith\t1\t2", "Ann\t1\tJ. R. Smith\t2"] * 5), "pairs.txt", names)
    assert found.second == (names[1], names[1]) * 5


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["2\t2", *LFW[:3], "Ann\t1\tDee\t1"], r"row 5: no photo Dee/Dee_0001 there"),
        (["2\t2", "Ann\t1\t4", *LFW[1:]], r"row 2: no photo Ann/Ann_0004 there"),
        (["2\t2", "", "Ann\t1\t4", *LFW[1:]], r"row 3: no photo"),
        (["2\t2", *LFW, "Ann/Ann_0001.jpg\tAnn/absent.jpg\t1"], r"row 6: no photo Ann/absent\.jpg there"),
        (["2\t2", *LFW, "Ann/Ann_0001.jpg\t../../etc/passwd\t1"], r"row 6: no photo \.\./\.\./etc/passwd there"),
        (["2\t2", *LFW, "Ann\t1"], r"row 6: neither .*: Ann 1"),
        (["2\t2", *LFW, "Ann"], r"row 6: neither"),
        (["2\t2", *LFW, "Ann\t1\t2\t3\t4"], r"row 6: neither"),
        (["2\t2", *LFW, "Ann\tone\ttwo"], r"row 6: neither"),
        (["2\t2", *LFW, "Ann\t-1\t2"], r"row 6: neither"),
        (["2\t2", *LFW, "Ann/Ann_0001.jpg\tAnn/Ann_0002.jpg\t2"], r"row 6: neither"),
        (["2\t2", *LFW, "Ann\t1\t" + "9" * 5000], r"row 6: neither"),
        (["2\t2", *LFW, "Ann\x1b[31m\t1\tx"], r"row 6: neither .*Ann\\x1b"),
        (["2\t2", *LFW, "2\t2"], r"row 6: neither"),
        (["2\t2", *LFW[:2]], r"only genuine pairs"),
        (["2\t2", *LFW[2:]], r"only impostor pairs"),
        (["10\t300", *LFW], r"4 pairs in 10 folds"),
        (LFW, r"4 pairs in 10 folds"),
        (["1\t4", *LFW], r"4 pairs in 1 folds"),
        (["0\t0", *LFW], r"4 pairs in 0 folds"),
        (["9" * 5000, *LFW], r"row 1: neither"),
        ([], r"0 pairs in 10 folds"),
        (["2\t2"], r"0 pairs in 2 folds"),
    ],
)
def test_a_wrong_list_is_refused_with_its_row(rows: list[str], message: str) -> None:
    with pytest.raises(InputError, match=r"pairs\.txt.*" + message) as error:
        parse("\n".join(rows), "pairs.txt", NAMES)
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 300


# ---------------------------------------------------------------------------------------------- where things lie


def test_a_folder_holds_photos_and_pairs(people: Path) -> None:
    benchmark = open_pairs(people)
    assert benchmark.name == "faces"
    assert benchmark.landmarks is None
    assert (len(benchmark.pairs.same), benchmark.pairs.folds) == (48, 2)
    assert open_pairs(str(people)).pairs.first == benchmark.pairs.first


@pytest.mark.parametrize("layout", ["pairs beside", "pairs within", "pairs elsewhere", "folder of pairs and tar"])
def test_a_tar_gives_the_figures_of_its_folder(layout: str, people: Path, tmp_path: Path) -> None:
    names = photo_names(people)
    place = tmp_path / "tarred"
    place.mkdir()
    tar = put_in_tar(place / "faces.tar", people, [*names, "pairs.txt"] if layout == "pairs within" else names)
    pairs_text = (people / "pairs.txt").read_text()
    if layout == "pairs elsewhere":
        (tmp_path / "list.txt").write_text(pairs_text)
        found = open_pairs(tar, pairs=tmp_path / "list.txt")
    else:
        if layout != "pairs within":
            (place / "pairs.txt").write_text(pairs_text)
        found = open_pairs(place if layout.startswith("folder") else tar)
    assert found.name == ("tarred" if layout.startswith("folder") else "faces")
    assert_same_figures(evaluate_pairs(encoder(), found), evaluate_pairs(encoder(), open_pairs(people)))


def test_pairs_with_a_byte_order_mark_are_read(people: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf" + (people / "pairs.txt").read_bytes())
    assert open_pairs(people, pairs=tmp_path / "list.txt").pairs.folds == 2


def test_explicit_pairs_go_over_those_in_the_folder(people: Path, tmp_path: Path) -> None:
    (tmp_path / "few.txt").write_text(lines("2\t1", "person_00\t1\t2", "person_00\t1\tperson_01\t1"))
    with pytest.raises(
        InputError, match="2 pairs, where its first line says 1 genuine and as many impostor pairs in each of 2 folds"
    ):
        open_pairs(people, pairs=tmp_path / "few.txt")
    rows = ["person_00\t1\t2", "person_00\t1\tperson_01\t1", "person_00\t1\t3", "person_00\t2\tperson_01\t1"]
    (tmp_path / "few.txt").write_text(lines("2\t1", *rows))
    assert len(open_pairs(people, pairs=tmp_path / "few.txt").pairs.same) == 4


def test_what_is_not_there_is_said(people: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent: no such folder or tar"):
        open_pairs(tmp_path / "absent")
    with pytest.raises(InputError, match=r"no pairs\.txt in it; .*--pairs"):
        open_pairs(people / "person_00")
    with pytest.raises(InputError, match=r"absent\.txt: cannot be read"):
        open_pairs(people, pairs=tmp_path / "absent.txt")
    with pytest.raises(InputError, match=r"absent\.csv: cannot be read"):
        open_pairs(people, landmarks=tmp_path / "absent.csv")
    (tmp_path / "latin.txt").write_bytes("Jos\xe9\t1\t2\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.txt: not UTF-8 text \(byte 3\)"):
        open_pairs(people, pairs=tmp_path / "latin.txt")


def test_two_tars_in_a_folder_are_one_too_many(people: Path, tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        put_in_tar(tmp_path / name, people, photo_names(people))
    (tmp_path / "pairs.txt").write_text((people / "pairs.txt").read_text())
    with pytest.raises(InputError, match="2 tars in it"):
        open_pairs(tmp_path)


# ---------------------------------------------------------------------------------------------- landmarks


@pytest.fixture(scope="module")
def unaligned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four people of three photos of 150×130, each with five points of its own, and pairs."""
    folder = write_people(tmp_path_factory.mktemp("unaligned") / "photos", 4, 3)
    rng = np.random.default_rng(4)
    with (folder / "landmarks5.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for name in photo_names(folder):
            face = decoding.decode((folder / name).read_bytes(), name)
            photo = np.zeros((150, 130, 3), np.uint8)
            photo[20:132, 10:122] = face
            (folder / name).write_bytes(decoding.encode(photo, ".png"))
            angle, size = rng.uniform(-0.3, 0.3), rng.uniform(0.9, 1.1)
            turn = size * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
            points = (TEMPLATE - 56) @ turn.T + (66, 76) + rng.normal(0, 1, TEMPLATE.shape)
            writer.writerow([name, 0.99, *(f"{value:.2f}" for value in points.ravel())])
    return write_pairs(folder, 4, 3)


def test_aligned_on_the_way_is_aligned_beforehand_bit_for_bit(unaligned: Path, tmp_path: Path) -> None:
    points = read_landmarks(unaligned / "landmarks5.csv")
    align_photos(Photos(unaligned), tmp_path / "aligned", points, format="png", workers=1)
    on_the_way, beforehand = open_pairs(unaligned), open_pairs(tmp_path / "aligned", pairs=unaligned / "pairs.txt")
    for name in on_the_way.photos.names:
        assert np.array_equal(on_the_way.face(name), beforehand.face(name)), name
    assert_same_figures(evaluate_pairs(encoder(), on_the_way), evaluate_pairs(encoder(), beforehand))


def test_landmarks_are_found_beside_a_tar_or_where_they_are_said_to_be(unaligned: Path, tmp_path: Path) -> None:
    expected = open_pairs(unaligned)
    tar = put_in_tar(tmp_path / "photos.tar", unaligned, photo_names(unaligned))
    (tmp_path / "five.csv").write_bytes((unaligned / "landmarks5.csv").read_bytes())
    told = open_pairs(tar, unaligned / "pairs.txt", tmp_path / "five.csv")
    assert np.array_equal(told.face("person_01/person_01_0002.png"), expected.face("person_01/person_01_0002.png"))
    (tmp_path / "five.csv").rename(tmp_path / "landmarks5.csv")
    beside = open_pairs(tar, unaligned / "pairs.txt")
    assert_same_figures(evaluate_pairs(encoder(), beside), evaluate_pairs(encoder(), expected))


def test_unaligned_photos_without_landmarks_are_refused_with_the_way_out(unaligned: Path, tmp_path: Path) -> None:
    tar = put_in_tar(tmp_path / "photos.tar", unaligned, photo_names(unaligned))
    benchmark = open_pairs(tar, unaligned / "pairs.txt")
    with pytest.raises(
        InputError, match=r"png: 130x150 is no aligned face of 112x112; .*--landmarks.*elasticface align"
    ):
        evaluate_pairs(encoder(), benchmark)


def test_landmarks_of_other_photos_are_refused_with_the_name_of_one(unaligned: Path, tmp_path: Path) -> None:
    rows = (unaligned / "landmarks5.csv").read_text().splitlines()
    (tmp_path / "few.csv").write_text(lines(*rows[:5]))
    with pytest.raises(InputError, match=r"few\.csv: no row for person_01/person_01_0002\.png, .*7 others of 12"):
        open_pairs(unaligned, landmarks=tmp_path / "few.csv")


def test_landmarks_in_one_place_are_refused_by_the_photos_name(unaligned: Path, tmp_path: Path) -> None:
    rows = (unaligned / "landmarks5.csv").read_text().splitlines()
    rows[1] = ",".join([rows[1].split(",")[0], "0.9", *["50"] * 10])
    (tmp_path / "flat.csv").write_text(lines(*rows))
    with pytest.raises(InputError, match=r"person_00/person_00_0001\.png: .*one place"):
        evaluate_pairs(encoder(), open_pairs(unaligned, landmarks=tmp_path / "flat.csv"))


def test_the_longest_photos_are_judged_as_all_others(unaligned: Path, tmp_path: Path) -> None:
    """OpenCV 4 warps no photo with a side above 32,766 pixels."""
    folder = tmp_path / "long"
    shutil.copytree(unaligned, folder)
    path = folder / "person_01" / "person_01_0002.png"
    photo = decoding.decode(path.read_bytes(), "photo")
    path.write_bytes(decoding.encode(np.pad(photo, ((0, 0), (0, 33_000), (0, 0))), ".png"))
    result, expected = (evaluate_pairs(encoder(), open_pairs(one)) for one in (folder, unaligned))
    assert (result.accuracy, result.counts) == (expected.accuracy, expected.counts)


# ---------------------------------------------------------------------------------------------- packs


def packed(path: Path, folder: Path) -> Path:
    """The pack of a folder's pairs in their order."""
    pairs = open_pairs(folder).pairs
    names = [name for both in zip(pairs.first, pairs.second, strict=True) for name in both]
    write_pack(path, [(folder / name).read_bytes() for name in names], pairs.same)
    return path


@pytest.fixture(scope="module")
def ten_folds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(write_people(tmp_path_factory.mktemp("ten") / "faces", 6, 6), 6, 6, folds=10)


def test_a_pack_gives_the_figures_of_its_folder(ten_folds: Path, tmp_path: Path) -> None:
    path = packed(tmp_path / "agedb_30.bin", ten_folds)
    found = open_pairs(path)
    assert found.name == "agedb_30"
    assert (found.pairs.folds, len(found.pairs.same), found.landmarks) == (10, 60, None)
    assert_same_figures(evaluate_pairs(encoder(), found), evaluate_pairs(encoder(), open_pairs(ten_folds)))


def test_images_of_a_pack_are_named_by_position_and_equal_ones_by_the_first(ten_folds: Path, tmp_path: Path) -> None:
    content = [(ten_folds / name).read_bytes() for name in photo_names(ten_folds)[:20]]
    write_pack(tmp_path / "x.bin", [*content, *content], [True, False] * 10)
    found = open_pack(tmp_path / "x.bin")
    assert found.pairs.first == tuple(f"{number:06d}" for number in range(0, 20, 2)) * 2
    assert found.pairs.second == tuple(f"{number:06d}" for number in range(1, 20, 2)) * 2
    assert found.photos.names == [f"{number:06d}" for number in range(20)]
    assert [found.photos.read(name) for name in found.photos.names] == content


def test_a_damaged_image_of_a_pack_takes_its_pairs_with_it(
    ten_folds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = [(ten_folds / name).read_bytes() for name in photo_names(ten_folds)[:36]]
    content[5] = b"no picture"
    content[8] = b""
    write_pack(tmp_path / "lfw.bin", content, [True, False] * 9)
    result = evaluate_pairs(encoder(), open_pack(tmp_path / "lfw.bin", undetected="skip"))
    assert (result.counts["pairs"], result.counts["skipped_pairs"]) == (16, 2)
    told = " ".join(capsys.readouterr().err.split())
    assert "skipped: lfw: 000005: not an image" in told
    assert "skipped: lfw: 000008: the image is empty" in told


def test_images_of_another_size_are_refused_with_the_way_out(tmp_path: Path) -> None:
    folder = write_people(tmp_path / "faces", 5, 4, size=56)
    write_pack(tmp_path / "lfw.bin", [(folder / n).read_bytes() for n in photo_names(folder)], [True, False] * 5)
    with pytest.raises(InputError, match=r"lfw: 000000: 56x56 is no aligned face of 112x112; .*elasticface pack"):
        evaluate_pairs(encoder(), open_pack(tmp_path / "lfw.bin"))


def test_a_pack_of_images_that_claim_a_huge_size_is_refused_without_decoding_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = np.frombuffer(decoding.encode(np.zeros((112, 112, 3), np.uint8), ".png"), np.uint8).copy()
    small[16:24] = [0, 0, 0x2A, 0xF8] * 2  # 11,000
    small[29:33] = np.frombuffer(zlib.crc32(small[12:29].tobytes()).to_bytes(4, "big"), np.uint8)
    write_pack(tmp_path / "lfw.bin", [small.tobytes() + b"%d" % number for number in range(40)], [True, False] * 10)
    monkeypatch.setattr(decoding.cv2, "imdecode", None)
    with pytest.raises(InputError, match=r"lfw: 000000: 11000x11000 is no aligned face of 112x112; a pack holds faces"):
        evaluate_pairs(encoder(), open_pack(tmp_path / "lfw.bin"))


@pytest.mark.parametrize(
    ("same", "message"),
    [([True, False] * 4, "8 pairs in 10 folds"), ([True] * 12, "only genuine pairs"), ([0] * 10, "only impostor")],
)
def test_pairs_that_cannot_be_judged_are_refused_at_once(same: list[bool], message: str, tmp_path: Path) -> None:
    write_pack(tmp_path / "lfw.bin", [b"x"] * 2 * len(same), same)
    with pytest.raises(InputError, match=rf"lfw\.bin: {message}"):
        open_pairs(tmp_path / "lfw.bin")


def test_a_pack_takes_no_pairs_or_landmarks_beside_it(ten_folds: Path, tmp_path: Path) -> None:
    path = packed(tmp_path / "x.bin", ten_folds)
    for options in ({"pairs": ten_folds / "pairs.txt"}, {"landmarks": ten_folds / "none.csv"}):
        with pytest.raises(InputError, match=r"x\.bin: a pack has pairs and faces itself"):
            open_pairs(path, **options)


def test_a_folder_that_ends_like_a_pack_is_a_folder(ten_folds: Path, tmp_path: Path) -> None:
    shutil.copytree(ten_folds, tmp_path / "faces.bin")
    assert len(open_pairs(tmp_path / "faces.bin").pairs.same) == 60
    with pytest.raises(InputError, match=r"absent\.bin: cannot be read: No such file"):
        open_pairs(tmp_path / "absent.bin")


# ---------------------------------------------------------------------------------------------- figures


def test_a_perfect_encoder_makes_no_mistake(people: Path) -> None:
    result = evaluate_pairs(encoder(), open_pairs(people))
    assert (result.accuracy, result.accuracy_std, result.eer) == (1.0, 0.0, 0.0)
    assert result.per_fold == (1.0, 1.0)
    assert all(tar == 1 for tars in result.tar_at_far.values() for tar in tars.values())
    assert result.counts == {"pairs": 48, "genuine": 24, "impostor": 24, "images": 30, "skipped_pairs": 0}
    assert result.intervals["accuracy"][1] == 1
    assert (result.model, result.benchmark) == ("patches", "faces")
    assert result.protocol.startswith("image and mirror image added, L2-normalised; ")
    assert "2 contiguous folds" in result.protocol
    assert evaluate_pairs(encoder(), open_pairs(people), flip=False).protocol.startswith("image alone, ")


def test_a_blind_encoder_is_right_by_chance_alone(people: Path) -> None:
    result = evaluate_pairs(encoder(lambda inputs: inputs.new_ones(len(inputs), 4)), open_pairs(people))
    assert (result.accuracy, result.eer) == (0.5, 0.5)
    assert set(result.tar_at_far["at-most"].values()) == {0.0}


def test_every_photo_is_embedded_once(people: Path) -> None:
    seen = 0

    def counting(inputs: Tensor) -> Tensor:
        nonlocal seen
        seen += len(inputs)
        return patches(inputs)

    evaluate_pairs(encoder(counting), open_pairs(people), flip=False)
    assert seen == 30
    evaluate_pairs(encoder(counting), open_pairs(people))
    assert seen == 30 + 2 * 30


def made_up_benchmark(same: NDArray[np.bool_], folds: int, tmp_path: Path) -> PairBenchmark:
    names = [tuple(f"{side}{i}.png" for i in range(len(same))) for side in "ab"]
    return PairBenchmark("made up", Photos(tmp_path), Pairs(*names, same, folds))


def longhand(a: NDArray[np.float32], b: NDArray[np.float32], same: NDArray[np.bool_], folds: int) -> dict[str, object]:
    """The protocol one pair, one threshold and one fold at a time, in Python's own float64."""

    def unit(row: NDArray[np.float32]) -> list[float]:
        values = [float(v) for v in row]
        length = math.sqrt(math.fsum(v * v for v in values))
        return [v / length for v in values]

    units = [(unit(x), unit(y)) for x, y in zip(a, b, strict=True)]
    distances = [math.fsum((u - v) ** 2 for u, v in zip(x, y, strict=True)) for x, y in units]
    cosines = [math.fsum(u * v for u, v in zip(x, y, strict=True)) for x, y in units]
    places = np.array_split(np.arange(len(same)), folds)
    per_fold, thresholds = [], []
    for fold in places:
        others = [i for i in range(len(same)) if i not in fold]
        best, chosen = -1, 0.0
        for level in range(400):
            right = sum((distances[i] < level / 100) == same[i] for i in others)
            if right > best:
                best, chosen = right, level / 100
        per_fold.append(sum((distances[i] < chosen) == same[i] for i in fold) / len(fold))
        thresholds.append(chosen)
    genuine = [c for c, s in zip(cosines, same, strict=True) if s]
    impostor = [c for c, s in zip(cosines, same, strict=True) if not s]
    at_most = {}
    for far in FARS:
        allowed = [t for t in [*cosines, math.inf] if sum(c >= t for c in impostor) / len(impostor) <= far]
        at_most[f"{far:g}"] = max(sum(c >= t for c in genuine) / len(genuine) for t in allowed)
    mean = sum(per_fold) / folds
    return {
        "accuracy": mean,
        "accuracy_std": math.sqrt(sum((value - mean) ** 2 for value in per_fold) / folds),
        "threshold": sum(thresholds) / folds,
        "per_fold": tuple(per_fold),
        "at-most": at_most,
        "scores": cosines,
    }


@pytest.mark.parametrize(("seed", "folds", "pairs"), [(0, 2, 60), (1, 10, 60), (2, 3, 61), (3, 7, 200)])
def test_figures_are_the_longhand(seed: int, folds: int, pairs: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    same = rng.random(pairs) < 0.5
    a = rng.normal(0, 1, (pairs, 8)).astype(np.float32)
    b = (rng.normal(0, 1, (pairs, 8)) + np.where(same, 0.9, 0)[:, None] * a).astype(np.float32)
    benchmark = made_up_benchmark(same, folds, tmp_path)
    found = figures("random", benchmark, a, b, benchmark.pairs)
    expected = longhand(a, b, same, folds)
    assert found.per_fold == pytest.approx(expected["per_fold"], abs=1e-12)
    for name in ("accuracy", "accuracy_std", "threshold"):
        assert getattr(found, name) == pytest.approx(expected[name], abs=1e-12), name
    assert found.tar_at_far["at-most"] == pytest.approx(expected["at-most"], abs=1e-12)
    np.testing.assert_allclose(found.scores, expected["scores"], atol=1e-6)
    genuine = int(same.sum())
    assert found.counts == {
        "pairs": pairs,
        "genuine": genuine,
        "impostor": pairs - genuine,
        "images": 2 * pairs,
        "skipped_pairs": 0,
    }
    # No photo is in two pairs: the accuracy counts independent ones.
    assert found.intervals["accuracy"] == binomial_interval(round(found.accuracy * pairs), pairs)
    assert found.intervals_by == (
        f"exact binomial over {pairs} pairs for the accuracy; for the others bootstrap over {pairs} pairs, 2,000 draws"
    )
    others = {"eer": found.eer, **{f"tar@{far}": tar for far, tar in found.tar_at_far["at-most"].items()}}
    others |= {f"nearest@{far}": tar for far, tar in found.tar_at_far["nearest"].items()}
    assert {*found.intervals} == {"accuracy", *others}
    for name, rate in others.items():
        low, high = found.intervals[name]
        assert low <= rate <= high


def test_intervals_are_those_of_people_drawn_anew(people: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "DRAWS", 9)
    result = evaluate_pairs(encoder(lambda inputs: patches(inputs)[:, :3]), open_pairs(people))
    assert result.units is not None
    counts = draw_people(result.units.number, 9, samples.SEED)
    drawn = samples.of_pairs(result.scores, result.same, result.accepted, result.units, FARS, counts)
    assert result.intervals_by == f"bootstrap over {result.units.number} people, 9 draws"
    tars, nearest = ([f"{name}@{far:g}" for far in FARS] for name in ("tar", "nearest"))
    for name, column in zip(("accuracy", *tars, "eer", *nearest), drawn.T, strict=True):
        if np.ptp(column):
            assert result.intervals[name] == pytest.approx(np.quantile(column, [0.025, 0.975]), abs=1e-12)


def test_figures_without_an_error_have_the_interval_of_as_many_people_as_count_in_them(people: Path) -> None:
    result = evaluate_pairs(encoder(), open_pairs(people))
    assert (result.accuracy, result.eer) == (1, 0)
    assert result.units is not None
    mated = len({*result.units.first[result.same].tolist()})
    assert result.intervals["tar@0.01"] == binomial_interval(mated, mated)
    assert result.intervals["eer"] == binomial_interval(0, mated)
    assert result.intervals["accuracy"] == binomial_interval(result.units.number, result.units.number)


def test_intervals_are_left_out_where_nobody_asks(people: Path) -> None:
    result = evaluate_pairs(encoder(), open_pairs(people), intervals=False)
    assert (result.intervals, result.intervals_by) == ({}, "")


def test_embeddings_belong_to_the_photos_whose_pair_they_judge(people: Path) -> None:
    benchmark = open_pairs(people)
    result = evaluate_pairs(encoder(), benchmark)
    names = photo_names(people)
    alone = dict(zip(names, encoder().embed([benchmark.face(name) for name in names]).astype(np.float64), strict=True))
    expected = [alone[a] @ alone[b] for a, b in zip(benchmark.pairs.first, benchmark.pairs.second, strict=True)]
    np.testing.assert_allclose(result.scores, expected, atol=1e-6)


def test_a_zero_embedding_scores_zero(tmp_path: Path) -> None:
    same = np.array([True, False, True, False])
    benchmark = made_up_benchmark(same, 2, tmp_path)
    a, b = np.eye(4, dtype=np.float32), np.zeros((4, 4), np.float32)
    found = figures("zero", benchmark, a, b, benchmark.pairs)
    assert np.array_equal(found.scores, np.zeros(4, np.float32))


# ---------------------------------------------------------------------------------------------- damage


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    folder = write_pairs(write_people(tmp_path / "damaged", 6, 5), 6, 5)
    (folder / "person_03" / "person_03_0002.png").write_text("no picture")
    return folder


def test_a_damaged_photo_takes_its_pairs_with_it_where_it_is_skipped(
    damaged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = open_pairs(damaged, undetected="skip")
    gone = "person_03/person_03_0002.png"
    kept = [gone not in pair for pair in zip(benchmark.pairs.first, benchmark.pairs.second, strict=True)]
    result = evaluate_pairs(encoder(), benchmark)
    assert result.counts["skipped_pairs"] == kept.count(False) > 0
    assert result.counts["pairs"] == kept.count(True) == len(result.scores) == len(result.first)
    assert result.counts["images"] == 29
    assert gone not in {*result.first, *result.second}
    assert result.accuracy == 1
    assert gone in " ".join(capsys.readouterr().err.split())


def test_too_many_damaged_photos_are_refused(damaged: Path) -> None:
    for path in damaged.rglob("*.png"):
        path.write_text("no picture")
    with pytest.raises(InputError, match="damaged: too few pairs left to judge: 0 of 48"):
        evaluate_pairs(encoder(), open_pairs(damaged))


def test_one_kind_of_pair_left_is_refused(tmp_path: Path) -> None:
    folder = write_people(tmp_path / "faces", 2, 3)
    pairs = lines(
        "2\t1", "person_00\t1\t2", "person_00\t1\t3", "person_00\t1\tperson_01\t1", "person_00\t2\tperson_01\t1"
    )
    (folder / "pairs.txt").write_text(pairs)
    (folder / "person_01" / "person_01_0001.png").write_text("no picture")
    with pytest.raises(InputError, match="too few pairs left to judge: 2 of 4"):
        evaluate_pairs(encoder(), open_pairs(folder))


def test_a_model_that_gives_no_numbers_is_refused(people: Path) -> None:
    with pytest.raises(InputError, match="patches: its embeddings hold NaN"):
        evaluate_pairs(encoder(lambda inputs: patches(inputs) * math.nan), open_pairs(people))


# ---------------------------------------------------------------------------------------------- real faces


def test_a_public_model_reaches_its_accuracy_on_lfw(shared: Path, tmp_path: Path) -> None:
    """The model's authors give 99.48 % on all of LFW; 100 pairs leave room for three errors."""
    listed = (shared / "faces" / "lfw" / "pairs.txt").read_text().splitlines()
    genuine, impostor = listed[1:51], listed[301:351]
    rows = ["2\t25", *genuine[:25], *impostor[:25], *genuine[25:], *impostor[25:]]
    (tmp_path / "pairs.txt").write_text(lines(*rows))
    model = load(
        shared / "models" / "mobilefacenet-foamliu.onnx", mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]
    )
    tar = shared / "faces" / "lfw" / "lfw-deepfunneled-250.tar"
    with_landmarks = open_pairs(tar, tmp_path / "pairs.txt")
    wanted = {*with_landmarks.pairs.first, *with_landmarks.pairs.second}
    assert with_landmarks.landmarks is not None
    points = {name: with_landmarks.landmarks[name] for name in sorted(wanted)}
    align_photos(with_landmarks.photos, tmp_path / "aligned", points, format="jpg", workers=1)
    aligned = open_pairs(tmp_path / "aligned", tmp_path / "pairs.txt")
    assert aligned.landmarks is None
    for benchmark in (with_landmarks, aligned):
        result = evaluate_pairs(model, benchmark)
        assert result.counts["genuine"] == result.counts["impostor"] == 50
        assert result.accuracy >= 0.97
