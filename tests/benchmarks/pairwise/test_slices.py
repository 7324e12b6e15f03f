"""Slices: every figure is the longhand count, groups lose no pair, and a metadata.csv is read or refused by its row."""

import csv
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import write_pairs, write_people
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from elasticface.base.errors import InputError
from elasticface.benchmarks import samples
from elasticface.benchmarks.pairwise import slices as module
from elasticface.benchmarks.pairwise.lists import open_pairs
from elasticface.benchmarks.pairwise.pairs import evaluate_pairs
from elasticface.benchmarks.pairwise.slices import DEMOGRAPHIC, FACTORS, Metadata, Slice, read_metadata, slices
from elasticface.benchmarks.units import Units
from elasticface.metrics import binomial_interval
from elasticface.metrics.resampling import draw_people
from elasticface.model.encoder import Card, FaceEncoder

HEADER = "file,identity,yaw,heterogeneity,expression,occlusion"
PHOTOS = ("a/0.jpg", "a/1.jpg", "b/0.jpg")
ROWS = ("a/0.jpg,a,-20.5,1.5,smile,none", "a/1.jpg,a,3,1.5,none,mask", "b/0.jpg,b,0,0.5,smile,none")


def made_up(seed: int, photos: int = 40, pairs: int = 300) -> tuple[list[str], list[str], Metadata]:
    """Photos with random factors, and random pairs of them."""
    rng = np.random.default_rng(seed)
    names = [f"{i}.jpg" for i in range(photos)]
    metadata: Metadata = {
        "yaw": dict(zip(names, rng.choice([-60.0, -45, -30, 0, 15, 15.5, 44, 45.01], photos).tolist(), strict=True)),
        "heterogeneity": dict(zip(names, rng.lognormal(0, 0.5, photos).tolist(), strict=True)),
        "expression": dict(zip(names, rng.choice(["smile", "neutral", "frown"], photos).tolist(), strict=True)),
        "occlusion": dict(zip(names, rng.choice(["none", "mask", "hand"], photos).tolist(), strict=True)),
    }
    for column in DEMOGRAPHIC:
        metadata[column] = dict(zip(names, rng.choice(["x", "y", ""], photos, p=[0.4, 0.4, 0.2]).tolist(), strict=True))
    first, second = rng.choice(names, (2, pairs)).tolist()
    return first, second, metadata


def judged(seed: int, pairs: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    same = rng.random(pairs) < 0.5
    return same, same ^ (rng.random(pairs) < 0.2)


def longhand_groups(factor: str, first: list[str], second: list[str], metadata: Metadata) -> list[str]:
    """The name of each pair's group, from the definitions."""
    pairs = list(zip(first, second, strict=True))
    if factor == "pose":
        largest = [max(abs(float(metadata["yaw"][a])), abs(float(metadata["yaw"][b]))) for a, b in pairs]
        bounds = ((15, "0–15°"), (30, "15–30°"), (45, "30–45°"), (math.inf, "over 45°"))
        return [next(name for bound, name in bounds if yaw <= bound) for yaw in largest]
    if factor == "heterogeneity":
        of = metadata["heterogeneity"]
        means = [(float(of[a]) + float(of[b])) / 2 for a, b in pairs]
        low, high = np.quantile(means, [1 / 3, 2 / 3])
        names = f"up to {low:.2f}", f"{low:.2f}–{high:.2f}", f"over {high:.2f}"
        return [names[int(mean > low) + int(mean > high)] for mean in means]
    of = metadata[factor]
    if factor in DEMOGRAPHIC:
        return [str(of[a]) if of[a] == of[b] != "" else "different or unknown" for a, b in pairs]
    if factor == "expression":
        return ["the same" if of[a] == of[b] else "different" for a, b in pairs]
    return ["none" if of[a] == "none" and of[b] == "none" else "one or both" for a, b in pairs]


# ---------------------------------------------------------------------------------------------- figures


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.integers(10, 200))
def test_slices_are_the_longhand_counts(seed: int, pairs: int) -> None:
    first, second, metadata = made_up(seed, pairs=pairs)
    same, accepted = judged(seed, pairs)
    expected = []
    for factor in FACTORS:
        groups = longhand_groups(factor, first, second, metadata)
        if len(set(groups)) > 1:
            for name in dict.fromkeys(groups):
                of = [i for i in range(pairs) if groups[i] == name]
                genuine, impostor = [i for i in of if same[i]], [i for i in of if not same[i]]
                right = sum(accepted[i] == same[i] for i in of)
                tar = sum(accepted[i] for i in genuine) / len(genuine) if genuine else math.nan
                far = sum(accepted[i] for i in impostor) / len(impostor) if impostor else math.nan
                interval = binomial_interval(int(right), len(of))
                expected.append(Slice(factor, name, len(genuine), len(impostor), right / len(of), interval, tar, far))
    found = slices(first, second, same, accepted, metadata)

    def key(piece: Slice) -> tuple[str, ...]:
        return tuple(map(str, vars(piece).values()))  # as text: NaN is not equal to itself

    assert sorted(map(key, found)) == sorted(map(key, expected))


@pytest.mark.parametrize("seed", range(3))
def test_intervals_are_those_of_people_drawn_one_by_one(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "DRAWS", 30)
    first, second, metadata = made_up(seed, pairs=300)
    same, accepted = judged(seed, 300)
    rng = np.random.default_rng(seed)
    person = rng.integers(0, 25, 300).astype(np.int32)
    units = Units("people", person, np.where(same, person, (person + 1 + rng.integers(0, 24, 300)) % 25), "")
    found = {(piece.factor, piece.name): piece for piece in slices(first, second, same, accepted, metadata, units)}
    counts = draw_people(25, 30, samples.SEED)
    for factor in FACTORS:
        groups = longhand_groups(factor, first, second, metadata)
        for name in set(groups):
            shares = []
            for drawn in counts:
                right: list[bool] = []
                for i, group in enumerate(groups):
                    times = drawn[units.first[i]] * (1 if same[i] else drawn[units.second[i]])
                    right += [bool(same[i] == accepted[i])] * (times if group == name else 0)
                shares.append(np.mean(right))
            expected = np.quantile(shares, [0.025, 0.975])
            assert found[factor, name].interval == pytest.approx(expected, abs=1e-12)


def test_a_group_that_a_draw_may_lack_has_the_binomial_interval() -> None:
    first, second, metadata = made_up(0, pairs=100)
    same, accepted = judged(0, 100)
    person = np.arange(100, dtype=np.int32)
    first[0] = "rare.jpg"
    rare: Metadata = {"occlusion": {"rare.jpg": "mask", **dict.fromkeys(metadata["yaw"], "none")}}
    found = slices(first, second, same, accepted, rare, Units("images", person, person, ""))
    few = next(piece for piece in found if piece.name == "one or both")
    assert few.genuine + few.impostor == 1
    assert few.interval == binomial_interval(round(few.accuracy), 1)


def test_a_group_without_an_error_has_the_binomial_interval_of_its_people() -> None:
    person = np.repeat(np.arange(40, dtype=np.int32), 4)
    first = [f"{one}.jpg" for one in person]
    hats: Metadata = {"occlusion": {f"{one}.jpg": "hat" if one < 15 else "none" for one in range(40)}}
    same = np.arange(len(person)) % 2 == 0
    units = Units("people", person, np.where(same, person, person ^ 1).astype(np.int32), "")  # 14 and 15: both
    second = [f"{one}.jpg" for one in units.second]
    found = {piece.name: piece.interval for piece in slices(first, second, same, same, hats, units)}
    assert found == {"none": binomial_interval(25, 25), "one or both": binomial_interval(16, 16)}


def test_groups_come_in_their_order_and_lose_no_pair() -> None:
    first, second, metadata = made_up(0)
    same, accepted = judged(0, len(first))
    found = slices(first, second, same, accepted, metadata)
    assert list(dict.fromkeys(piece.factor for piece in found)) == list(FACTORS)
    assert [piece.name for piece in found if piece.factor == "pose"] == ["0–15°", "15–30°", "30–45°", "over 45°"]
    for factor in FACTORS:
        of = [piece for piece in found if piece.factor == factor]
        assert sum(piece.genuine for piece in of) == same.sum()
        assert sum(piece.impostor for piece in of) == (~same).sum()
        right = sum(piece.accuracy * (piece.genuine + piece.impostor) for piece in of)
        assert right == pytest.approx((same == accepted).sum())
    thirds = [piece.genuine + piece.impostor for piece in found if piece.factor == "heterogeneity"]
    assert max(thirds) - min(thirds) <= len(first) // 20


def test_ages_are_grouped_by_years_and_other_groups_by_name(tmp_path: Path) -> None:
    ages = ["7", "20", "34.9", "65", "-1", "young", ""]
    photos = [f"{number}.jpg" for number in range(len(ages))]
    rows = [f"{photo},{age}, {'fm'[number % 2]}" for number, (photo, age) in enumerate(zip(photos, ages, strict=True))]
    metadata = read_metadata(write(tmp_path, "file,age,sex", *rows), photos)
    assert metadata is not None
    assert list(metadata["age"].values()) == ["0–19", "20–34", "20–34", "65 and over", "", "young", ""]
    same = np.array([True] * 4 + [False] * 3)
    found = slices(photos, photos, same, same, metadata)
    told = {factor: [piece.name for piece in found if piece.factor == factor] for factor in ("age", "sex")}
    assert told["age"] == ["0–19", "20–34", "65 and over", "young", "different or unknown"]
    assert told["sex"] == ["f", "m"]


def test_a_column_of_very_many_groups_names_none() -> None:
    photos = [f"{number}.jpg" for number in range(50)]
    metadata: Metadata = {"race": {photo: photo for photo in photos}}
    same = np.arange(50) % 2 == 0
    assert slices(photos, photos, same, same, metadata) == ()


def test_a_factor_without_a_difference_is_left_out() -> None:
    first, second, metadata = made_up(1)
    same, accepted = judged(1, len(first))
    alike: Metadata = {"heterogeneity": dict.fromkeys(metadata["yaw"], 1.0), "occlusion": metadata["occlusion"]}
    assert {piece.factor for piece in slices(first, second, same, accepted, alike)} == {"occlusion"}
    assert slices(first, second, same, accepted, {}) == ()


def test_a_benchmark_with_metadata_is_sliced_at_the_thresholds_of_the_folds(tmp_path: Path) -> None:
    folder = write_pairs(write_people(tmp_path / "faces", 6, 5), 6, 5)
    rng = np.random.default_rng(3)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    with (folder / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "yaw"], *([name, f"{rng.normal(0, 30):.3f}"] for name in names)])
    benchmark = open_pairs(folder)
    assert benchmark.metadata is not None
    encoder = FaceEncoder(lambda inputs: inputs[:, :, 50, 30:32].flatten(1), Card("two pixels", embedding_size=6))
    result = evaluate_pairs(encoder, benchmark)
    assert 0.5 < result.accuracy < 1
    assert np.mean(result.accepted == result.same) == pytest.approx(result.accuracy)  # the two folds are of one size
    given = result.first, result.second, result.same, result.accepted, benchmark.metadata
    assert result.slices == slices(*given, result.units)
    assert {piece.factor for piece in result.slices} == {"pose"}
    plain = evaluate_pairs(encoder, replace(benchmark, metadata=None))
    assert (plain.accuracy, plain.slices) == (result.accuracy, ())


# ---------------------------------------------------------------------------------------------- metadata.csv


def write(folder: Path, *lines: str) -> Path:
    path = folder / "metadata.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_what_is_known_of_the_photos_is_read_whatever_else_there_is(tmp_path: Path) -> None:
    rows = [f"{row},more" for row in ROWS]
    path = write(tmp_path, f"{HEADER},hair", "z/9.jpg,z,nan,huge,smile,none,more", "", *rows)
    assert read_metadata(path, PHOTOS) == {
        "yaw": {"a/0.jpg": -20.5, "a/1.jpg": 3.0, "b/0.jpg": 0.0},
        "heterogeneity": {"a/0.jpg": 1.5, "a/1.jpg": 1.5, "b/0.jpg": 0.5},
        "expression": {"a/0.jpg": "smile", "a/1.jpg": "none", "b/0.jpg": "smile"},
        "occlusion": {"a/0.jpg": "none", "a/1.jpg": "mask", "b/0.jpg": "none"},
    }
    path.write_bytes(b"\xef\xbb\xbf" + b"file,yaw\r\n./a/0.jpg,1\r\n")
    assert read_metadata(path, PHOTOS[:1]) == {"yaw": {"a/0.jpg": 1.0}}


@pytest.mark.parametrize(
    "lines",
    [
        [HEADER, *ROWS[:2]],  # lacks b/0.jpg
        [HEADER],
        ["file,identity,height", *(",".join(row.split(",")[:3]) for row in ROWS)],  # nothing that is known here
        ["name,yaw", "a/0.jpg,3", "a/1.jpg,3", "b/0.jpg,3"],
        ["a file, about something else", "entirely"],
        [],
    ],
)
def test_metadata_about_something_else_is_none(lines: list[str], tmp_path: Path) -> None:
    assert read_metadata(write(tmp_path, *lines), PHOTOS) is None


def test_no_metadata_is_none(tmp_path: Path) -> None:
    assert read_metadata(tmp_path / "metadata.csv", PHOTOS) is None
    (tmp_path / "metadata.csv").mkdir()
    assert read_metadata(tmp_path / "metadata.csv", PHOTOS) is None


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([HEADER, *ROWS[:2], "b/0.jpg,b,left,1,smile,none"], r"row 4: yaw is 'left'; it must be a finite number"),
        ([HEADER, *ROWS[:2], "b/0.jpg,b,1,nan,smile,none"], r"row 4: heterogeneity is 'nan'"),
        ([HEADER, *ROWS[:2], "b/0.jpg,b,1,,smile,none"], r"row 4: heterogeneity is ''"),
        ([HEADER, "", "b/0.jpg,b,1e999,1,smile,none"], r"row 3: yaw is '1e999'"),
        (["file,race", "a/0.jpg,x", f"b/0.jpg,{'y' * 61}"], r"row 3: race is 'y+'; it must be at most 60 printable"),
        (["file,age", '"a/0.jpg","x\x1by"'], r"row 2: age is 'x\\x1by'; it must be at most"),
        ([HEADER, *ROWS, ROWS[0]], r"row 5: a/0\.jpg is in row 2 already; keep one"),
        ([HEADER, ROWS[0], "b/0.jpg,b,1"], r"row 3: 3 cells where the first line names 6 columns"),
        ([HEADER, ROWS[0], ROWS[1] + ",more"], r"row 3: 7 cells where"),
        ([HEADER + ",yaw", *(f"{row},1" for row in ROWS)], r"row 1: two columns have one name"),
        ([HEADER, '"a/0.jpg,a,1,1,smile,none'], r"row 2: not CSV"),
        ([HEADER, ROWS[0], '"' + "x" * 200_000 + '"'], r"row 3: not CSV \(field larger"),
    ],
)
def test_a_malformed_row_is_refused_by_its_number(lines: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"metadata\.csv, " + message) as error:
        read_metadata(write(tmp_path, *lines), PHOTOS)
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 300


def test_a_file_that_is_no_text_or_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, HEADER, *ROWS)
    with path.open("ab") as file:
        file.write(b"\xff,b,1,1,smile,none\n")
    with pytest.raises(InputError, match=r"metadata\.csv: not UTF-8 text"):
        read_metadata(path, PHOTOS)
    monkeypatch.setattr(module, "_MOST_BYTES", os.path.getsize(path) - 1)
    with pytest.raises(InputError, match=r"metadata\.csv: more than \d+ bytes"):
        read_metadata(path, PHOTOS)
