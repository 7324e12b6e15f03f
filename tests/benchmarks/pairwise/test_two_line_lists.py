"""CALFW's and CPLFW's own lists: their folds, written out by hand; where they are found; which are refused."""

import contextlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from benchmarks.pairwise.test_pairs import assert_same_figures, encoder, put_in_tar
from conftest import write_people
from hypothesis import given
from hypothesis import strategies as st

from elasticface.base.errors import InputError
from elasticface.benchmarks.opening import open_benchmark
from elasticface.benchmarks.pairwise.lists import PairBenchmark, open_pairs, parse_pairs
from elasticface.benchmarks.pairwise.packing import pack
from elasticface.benchmarks.pairwise.pairs import evaluate_pairs
from elasticface.benchmarks.pairwise.two_line_lists import is_two_line, read_two_line
from elasticface.data.images.alignment import TEMPLATE
from elasticface.faces.landmarks import COLUMNS

PEOPLE = "Al Bo Cy Di Ed Fa Gu Hu Ib Jo".split()
PHOTOS = [f"{name}_{n:04d}.jpg" for name in PEOPLE for n in (1, 2, 3)]  # CALFW's names
UNPADDED = [f"{name}_{n}.jpg" for name in PEOPLE for n in (1, 2)]  # CPLFW's


def rows(pairs: list[tuple[str, str, int]]) -> list[str]:
    return [f"{name} {number}" for a, b, number in pairs for name in (a, b)]


def calfw() -> list[str]:
    """Two genuine pairs a fold, which says which it is, then 20 impostors."""
    genuine = [(f"{p}_0001.jpg", f"{p}_000{n}.jpg", fold) for fold, p in enumerate(PEOPLE, 1) for n in (2, 3)]
    impostor = [
        (f"{p}_0001.jpg", f"{q}_000{n}.jpg", 0)
        for p, q in zip(PEOPLE, PEOPLE[1:] + PEOPLE[:1], strict=True)
        for n in (1, 2)
    ]
    return rows(genuine + impostor)


def cplfw() -> list[str]:
    """One pair of each kind a fold."""
    genuine = [(f"{p}_1.jpg", f"{p}_2.jpg", 1) for p in PEOPLE]
    impostor = [(f"{p}_1.jpg", f"{q}_2.jpg", 0) for p, q in zip(PEOPLE, reversed(PEOPLE), strict=True)]
    return rows(genuine + impostor)


CALFW_FOLDS = """
    Al1 Al2 + Al1 Al3 + Al1 Bo1 - Al1 Bo2 -    Bo1 Bo2 + Bo1 Bo3 + Bo1 Cy1 - Bo1 Cy2 -
    Cy1 Cy2 + Cy1 Cy3 + Cy1 Di1 - Cy1 Di2 -    Di1 Di2 + Di1 Di3 + Di1 Ed1 - Di1 Ed2 -
    Ed1 Ed2 + Ed1 Ed3 + Ed1 Fa1 - Ed1 Fa2 -    Fa1 Fa2 + Fa1 Fa3 + Fa1 Gu1 - Fa1 Gu2 -
    Gu1 Gu2 + Gu1 Gu3 + Gu1 Hu1 - Gu1 Hu2 -    Hu1 Hu2 + Hu1 Hu3 + Hu1 Ib1 - Hu1 Ib2 -
    Ib1 Ib2 + Ib1 Ib3 + Ib1 Jo1 - Ib1 Jo2 -    Jo1 Jo2 + Jo1 Jo3 + Jo1 Al1 - Jo1 Al2 -
"""
CPLFW_FOLDS = """
    Al1 Al2 + Al1 Jo2 -    Bo1 Bo2 + Bo1 Ib2 -    Cy1 Cy2 + Cy1 Hu2 -    Di1 Di2 + Di1 Gu2 -    Ed1 Ed2 + Ed1 Fa2 -
    Fa1 Fa2 + Fa1 Ed2 -    Gu1 Gu2 + Gu1 Di2 -    Hu1 Hu2 + Hu1 Cy2 -    Ib1 Ib2 + Ib1 Bo2 -    Jo1 Jo2 + Jo1 Al2 -
"""


def written_out(folds: str, pattern: str) -> list[tuple[str, str, bool]]:
    words = folds.split()
    names = [pattern.format(word[:2], int(word[2])) if len(word) == 3 else word for word in words]
    return [(a, b, sign == "+") for a, b, sign in zip(names[::3], names[1::3], names[2::3], strict=True)]


@pytest.mark.parametrize(
    ("listed", "photos", "folds"),
    [
        (calfw(), PHOTOS, written_out(CALFW_FOLDS, "{}_{:04d}.jpg")),
        (cplfw(), UNPADDED, written_out(CPLFW_FOLDS, "{}_{}.jpg")),
    ],
    ids=["CALFW", "CPLFW"],
)
@pytest.mark.parametrize("ends", ["\n", "\r\n", " \n", "\n\n"])
def test_a_fold_is_its_tenth_of_the_genuine_and_of_the_impostor_pairs(
    listed: list[str], photos: list[str], folds: list[tuple[str, str, bool]], ends: str
) -> None:
    text = ends.join(listed) + ends
    assert is_two_line(text)
    assert read_two_line(text, "list.txt", photos) == folds
    pairs = parse_pairs(text, "list.txt", photos)
    assert pairs.folds == 10
    assert list(zip(pairs.first, pairs.second, pairs.same.tolist(), strict=True)) == folds


@pytest.mark.parametrize("first", ["10\t300", "10 300", "Ann 1 2", "a.jpg\tb.jpg\t1", "600", "Ann", "Ann 11", "Ann x"])
def test_lists_of_other_kinds_are_told_from_it(first: str) -> None:
    assert not is_two_line(f"\n{first}\nAl_0001.jpg 1\n")


def test_photos_may_lie_in_a_folder_and_have_another_suffix() -> None:
    photos = [f"aligned images/{name.replace('.jpg', '.png')}" for name in PHOTOS]
    found = read_two_line("\n".join(calfw()), "list.txt", photos)
    assert found[0] == (photos[0], photos[1], True)
    both = [*photos, "originals/Al_0001.jpg"]
    with pytest.raises(
        InputError, match=r"row 1: both aligned images/Al_0001\.png and originals/Al_0001\.jpg may be Al"
    ):
        read_two_line("\n".join(calfw()), "list.txt", both)


# ---------------------------------------------------------------------------------------------- wrong lists


def change(at: int, row: str) -> list[str]:
    return [*calfw()[:at], row, *calfw()[at + 1 :]]


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        (change(7, "Bo_0003.jpg 1"), "row 8: 1 where the other line of the pair, row 7, has 2"),
        (change(7, "Bo_0003.jpg"), "row 8: not `photo n`.*: Bo_0003.jpg"),
        (change(7, "Bo_0003.jpg 2 2"), "row 8: not `photo n`"),
        (change(7, "Bo_0003.jpg 11"), "row 8: not `photo n`"),
        (change(7, "Bo_0003.jpg -1"), "row 8: not `photo n`"),
        (change(7, "Bo_0003.jpg 02"), "row 8: not `photo n`"),
        (change(7, "Bo_0003.jpg ²"), "row 8: not `photo n`"),
        (change(7, "Bo_0003.jpg " + "9" * 5000), "row 8: not `photo n`"),
        (change(7, "Bo_0009.jpg 2"), r"row 8: no photo Bo_0009\.jpg there"),
        (change(7, "../Bo_0003.jpg 2"), r"row 8: no photo \.\./Bo_0003\.jpg there"),
        (change(7, "/etc/passwd 2"), "row 8: no photo /etc/passwd there"),
        (calfw()[:-1], "row 79: a photo alone"),
        (calfw()[:-2], "20 genuine and 19 impostor pairs"),
        (calfw()[2:], "19 genuine and 20 impostor pairs"),
        (calfw()[40:], "0 genuine and 20 impostor pairs"),
        (calfw()[2:40] + calfw()[42:], "19 genuine and 19 impostor pairs; 10 folds need"),
        (calfw()[40:] + calfw()[:40], "row 41: a genuine pair after impostors"),
        (calfw()[36:40] + calfw()[:36] + calfw()[40:], "row 1: fold 10 where a pair of fold 1 belongs"),
        (calfw()[:4] + calfw()[8:12] + calfw()[4:8] + calfw()[12:], "row 5: fold 3 where a pair of fold 2 belongs"),
    ],
)
def test_a_wrong_list_is_refused_with_its_row(listed: list[str], message: str) -> None:
    with pytest.raises(InputError, match=rf"^list\.txt(: |, ){message}") as error:
        parse_pairs("\n".join(listed), "list.txt", PHOTOS)
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 300


LINE = st.sampled_from([*calfw(), "", "Al_0001.jpg 11", "Al_0001.jpg", "x 1", "10\t300", "\0 1", "\x1b[31m 0"])


@given(st.data())
def test_a_list_with_any_lines_in_other_places_has_ten_folds_or_is_refused(data: st.DataObject) -> None:
    listed = calfw()
    for _ in range(data.draw(st.integers(0, 3))):
        at, length = data.draw(st.integers(0, len(listed))), data.draw(st.integers(0, 4))
        listed[at : at + length] = data.draw(st.lists(LINE, max_size=4))
    text = "\n".join(listed)
    with contextlib.suppress(InputError):
        pairs = parse_pairs(text, "list.txt", PHOTOS)
        if is_two_line(text):
            folds = pairs.same.reshape(10, -1)
            half = folds.shape[1] // 2
            assert folds.tolist() == [[True] * half + [False] * half] * 10


@given(st.text(max_size=200))
def test_any_text_is_a_list_or_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        parse_pairs("Al_0001.jpg 1\n" + text, "list.txt", PHOTOS)


# ---------------------------------------------------------------------------------------------- where they lie


@pytest.fixture(scope="module")
def folder(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten people's aligned photos under CALFW's flat names, and the list."""
    made = tmp_path_factory.mktemp("own") / "calfw"
    made.mkdir()
    written = write_people(made.parent / "people", len(PEOPLE), 3)
    for number, name in enumerate(PEOPLE):
        for n in (1, 2, 3):
            shutil.copy(written / f"person_{number:02d}/person_{number:02d}_000{n}.png", made / f"{name}_000{n}.png")
    (made / "pairs_CALFW.txt").write_text("\n".join(calfw()) + "\n")
    return made


def opened(path: Path, pairs: Path | None = None) -> PairBenchmark:
    (found,) = open_benchmark(path, pairs)
    assert isinstance(found, PairBenchmark)
    return found


def test_a_folder_with_the_authors_list_is_a_benchmark_of_the_folders_name(folder: Path) -> None:
    found = opened(folder)
    assert found.name == "calfw"
    assert found.pairs.first[:4] == ("Al_0001.png",) * 4
    result = evaluate_pairs(encoder(), found)
    assert (result.accuracy, result.per_fold) == (1.0, (1.0,) * 10)
    assert (result.counts["genuine"], result.counts["impostor"]) == (20, 20)


def test_it_is_found_beside_a_tar_in_it_and_where_it_is_said_to_be(folder: Path, tmp_path: Path) -> None:
    expected = evaluate_pairs(encoder(), opened(folder))
    names = sorted(path.name for path in folder.iterdir())
    within = put_in_tar(tmp_path / "calfw.tar", folder, names)
    (tmp_path / "a").mkdir()
    beside = put_in_tar(tmp_path / "a" / "calfw.tar", folder, [name for name in names if name.endswith(".png")])
    assert_same_figures(evaluate_pairs(encoder(), opened(beside, folder / "pairs_CALFW.txt")), expected)
    shutil.copy(folder / "pairs_CALFW.txt", tmp_path / "a")
    for path in (within, beside, beside.parent):
        assert_same_figures(evaluate_pairs(encoder(), opened(path)), expected)


def test_a_pairs_txt_goes_first_and_two_lists_are_one_too_many(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "both"
    shutil.copytree(folder, place)
    shutil.copy(place / "pairs_CALFW.txt", place / "pairs_CPLFW.txt")
    with pytest.raises(InputError, match=r"both: pairs_CALFW\.txt and pairs_CPLFW\.txt in it; give one with --pairs"):
        opened(place)
    assert opened(place, place / "pairs_CPLFW.txt").pairs.folds == 10
    (place / "pairs.txt").write_text("2\t1\nAl_0001.png\tAl_0002.png\t1\nAl_0001.png\tBo_0002.png\t0\n")
    assert opened(place).pairs.folds == 2


def test_photos_with_landmarks_are_aligned_and_packed_with_the_same_figures(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "calfw"
    shutil.copytree(folder, place)
    points = ",".join(map(str, TEMPLATE.ravel()))
    names = sorted(path.name for path in folder.glob("*.png"))
    (place / "landmarks5.csv").write_text("\n".join([",".join(COLUMNS), *(f"{n},0.9,{points}" for n in names)]) + "\n")
    found = opened(place)
    assert found.landmarks is not None
    pack(found, tmp_path / "calfw.bin")
    packed = open_pairs(tmp_path / "calfw.bin")
    assert np.array_equal(packed.pairs.same, found.pairs.same)
    one, other = evaluate_pairs(encoder(), found), evaluate_pairs(encoder(), packed)
    assert (one.accuracy, one.per_fold, one.scores.tolist()) == (other.accuracy, other.per_fold, other.scores.tolist())
