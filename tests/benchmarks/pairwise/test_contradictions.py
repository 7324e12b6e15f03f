"""Lists of pairs that contradict themselves: cut short, of one kind, a pair twice, a pair of both kinds."""

from pathlib import Path

import numpy as np
import pytest
from conftest import write_pairs, write_people

from elasticface.base.errors import InputError
from elasticface.benchmarks.pairwise.contradictions import notes_on
from elasticface.benchmarks.pairwise.lists import Pairs, open_pairs, parse_pairs
from elasticface.benchmarks.pairwise.pairs import evaluate_pairs
from elasticface.data.formats.packs import write_pack
from elasticface.model.encoder import Card, FaceEncoder

NAMES = [f"{name}/{name}_{n:04d}.jpg" for name in ("Ann", "Bob", "Cy") for n in range(1, 30)]
GENUINE = [f"Ann\t{n}\t{n + 1}" for n in range(1, 21)]
IMPOSTOR = [f"Ann\t{n}\tBob\t{n}" for n in range(1, 21)]
LFW = [row for fold in range(2) for rows in (GENUINE, IMPOSTOR) for row in rows[10 * fold : 10 * fold + 10]]


def as_paths(rows: list[str]) -> list[str]:
    pairs = parse_pairs("\n".join(rows), "x", NAMES)
    return [f"{a}\t{b}\t{int(s)}" for a, b, s in zip(pairs.first, pairs.second, pairs.same.tolist(), strict=True)]


def refused(rows: list[str]) -> str:
    with pytest.raises(InputError) as caught:
        parse_pairs("\n".join(rows), "pairs.txt", NAMES)
    return str(caught.value)


def test_a_list_that_is_what_its_first_line_says_is_taken() -> None:
    for first in ("2\t10", "20"):  # folds and pairs of either kind in each; pairs of either kind
        assert len(parse_pairs("\n".join([first, *LFW]), "pairs.txt", NAMES).same) == 40
    assert len(parse_pairs("\n".join(["2\t10", *as_paths(LFW)]), "pairs.txt", NAMES).same) == 40
    assert len(parse_pairs("\n".join(["2\t20", *as_paths(LFW)]), "pairs.txt", NAMES).same) == 40  # of both kinds


@pytest.mark.parametrize("left", [39, 20, 30])
def test_a_list_that_is_cut_short_is_refused(left: int) -> None:
    said = (
        f"pairs.txt: {left} pairs, where its first line says 10 genuine and as many impostor pairs in each of 2 folds"
    )
    assert refused(["2\t10", *LFW[:left]]).startswith(said)
    assert "40 in all; it is cut short, fetch it again" in refused(["2\t10", *LFW[:left]])
    if left != 20:
        assert "cut short" in refused(["2\t10", *as_paths(LFW)[:left]])
    said = f"pairs.txt: {left} pairs, where its first line says 20 genuine and as many impostor pairs, 40 in all"
    assert refused(["20", *LFW[:left]]).startswith(said)


def test_a_list_with_more_pairs_than_its_first_line_says_is_refused() -> None:
    assert "40 pairs, where its first line says 9 " in refused(["2\t9", *LFW])
    assert "36 in all; correct that row" in refused(["2\t9", *LFW])


def test_a_list_that_is_sorted_by_kind_is_noted() -> None:
    sorted_by_kind = parse_pairs("\n".join(["2\t10", *GENUINE, *IMPOSTOR]), "pairs.txt", NAMES)
    assert notes_on(sorted_by_kind) == ("2 of 2 folds have pairs of one kind alone, so the ± over folds says little",)
    few = parse_pairs("\n".join(["2\t1", *GENUINE[:2], *IMPOSTOR[:2]]), "pairs.txt", NAMES)
    assert notes_on(few) == ()  # of so few it may be chance


def test_a_fold_of_one_kind_is_noted() -> None:
    one, other = (tuple(f"{side}{number}" for number in range(30)) for side in "ab")
    pairs = Pairs(one, other, np.array([True] * 10 + [True, False] * 10), 3)
    assert notes_on(pairs) == ("1 of 3 folds have pairs of one kind alone, so the ± over folds says little",)


@pytest.mark.parametrize("again", ["Ann\t3\t4", "Ann\t4\t3"])
def test_a_pair_that_is_listed_twice_is_counted_twice_and_noted(again: str) -> None:
    pairs = parse_pairs("\n".join([*LFW, again]), "pairs.txt", NAMES)
    assert len(pairs.same) == 41
    assert notes_on(pairs) == ("1 pair listed before already, and counted again",)


def test_a_pair_of_both_kinds_is_refused_with_both_rows() -> None:
    paths = [*as_paths(LFW), "Ann/Ann_0004.jpg\tAnn/Ann_0003.jpg\t0"]
    assert refused(paths) == (
        "pairs.txt, row 41: Ann/Ann_0004.jpg with Ann/Ann_0003.jpg is an impostor pair, and in row 3 a genuine one; "
        "take one of them out"
    )
    paths[-1] = "Ann/Ann_0002.jpg\tBob/Bob_0002.jpg\t1"
    assert "row 41: Ann/Ann_0002.jpg with Bob/Bob_0002.jpg is a genuine pair, and in row 12 an impostor one" in refused(
        paths
    )


def test_a_photo_with_itself_is_an_impostor_pair_nowhere() -> None:
    assert "Ann/Ann_0001.jpg with Ann/Ann_0001.jpg is listed as an impostor pair" in refused([*LFW, "Ann\t1\tAnn\t1"])
    pairs = parse_pairs("\n".join([*LFW, "Ann\t1\t1"]), "pairs.txt", NAMES)
    assert notes_on(pairs) == ("1 pair of an image with itself",)


def test_what_is_wrong_in_a_pack_is_noted_since_nobody_can_mend_it(tmp_path: Path) -> None:
    images = [bytes([number]) * 9 for number in range(20)]
    write_pack(tmp_path / "x.bin", [*images, *images, *images[:2]], [*[True] * 10, *[True] * 10, False])
    assert open_pairs(tmp_path / "x.bin").notes == (
        "11 pairs listed before already, and counted again",
        "1 pair listed both as genuine and as impostor",
    )


def test_the_notes_are_those_of_the_result(tmp_path: Path) -> None:
    folder = write_pairs(write_people(tmp_path / "faces", 6, 5), 6, 5)
    rows = (folder / "pairs.txt").read_text().splitlines()[1:]
    (folder / "pairs.txt").write_text("\n".join([*rows, rows[0]]) + "\n")
    encoder = FaceEncoder(lambda inputs: inputs[:, :, ::16, ::16].flatten(1), Card("pixels", embedding_size=147))
    assert evaluate_pairs(encoder, open_pairs(folder)).notes == ("1 pair listed before already, and counted again",)
