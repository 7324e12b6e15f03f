"""Readers of millions of rows: what is in the file is in the arrays, and what is wrong is named by its row."""

import contextlib
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elasticface.base import tables
from elasticface.base.errors import InputError
from elasticface.benchmarks.reading import rows
from elasticface.benchmarks.reading.rows import read_media, read_pairs, read_points

IDS = st.integers(0, 2**31 - 1)
BLANKS = st.sampled_from([" ", "\t", "  ", " \t"])
ENDS = st.sampled_from(["\n", "\r\n", " \n"])
FREELY = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
POINTS = "1.5 2 3 4 5 6 7 8 9 10 0.99"


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "rows.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@FREELY
@given(st.lists(st.tuples(IDS, IDS, st.booleans()), min_size=1), BLANKS, ENDS, st.sampled_from(["", "\n", " \r\n\n"]))
def test_every_pair_is_read(
    tmp_path: Path, pairs: list[tuple[int, int, bool]], blank: str, end: str, last: str
) -> None:
    text = end.join(blank.join((str(a), str(b), str(int(c)))) for a, b, c in pairs) + last
    found = read_pairs(written(tmp_path, text))
    assert list(zip(found.first.tolist(), found.second.tolist(), found.same.tolist(), strict=True)) == pairs
    assert (found.first.dtype, found.second.dtype, found.same.dtype) == (np.int32, np.int32, np.bool_)


@FREELY
@given(st.lists(st.tuples(IDS, IDS, st.integers(0, 1)), min_size=2, max_size=40), st.integers(32, 64))
def test_where_blocks_end_does_not_matter(tmp_path: Path, pairs: list[tuple[int, int, int]], block: int) -> None:
    path = written(tmp_path, "".join(f"{a} {b} {c}\n" for a, b, c in pairs))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "BLOCK", block)
        found = read_pairs(path)
    assert list(zip(found.first.tolist(), found.second.tolist(), found.same.tolist(), strict=True)) == pairs


SHORT_IDS = st.integers(0, 10**7 - 1)
ROW = re.compile(rb"[ \t]*(\d+)[ \t]+(\d+)[ \t]+0*([01])[ \t]*\r?")


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(SHORT_IDS, SHORT_IDS, st.integers(0, 1)), min_size=3, max_size=12),
    st.integers(0, 2**16),
    st.one_of(st.integers(0, 255), st.sampled_from(list(b"0123456789 \t\r\n/:"))),
)
def test_a_byte_amiss_in_a_plain_file_is_seen(
    tmp_path: Path, pairs: list[tuple[int, int, int]], at: int, byte: int
) -> None:
    data = bytearray("".join(f"{a} {b} {c}\n" for a, b, c in pairs), "ascii")
    data[at % len(data)] = byte
    lines = bytes(data).rstrip(b" \t\r\n").split(b"\n")
    expected = [ROW.fullmatch(line) for line in lines]
    wrong = next((row for row, match in enumerate(expected, 1) if match is None), None)
    if wrong is not None:
        with pytest.raises(InputError, match=f"row {wrong}:"):
            read_pairs(written(tmp_path, bytes(data)))
        return
    found = read_pairs(written(tmp_path, bytes(data)))
    rows_read = zip(found.first.tolist(), found.second.tolist(), found.same.astype(int).tolist(), strict=True)
    assert list(rows_read) == [tuple(map(int, match.groups())) for match in expected if match is not None]


@FREELY
@given(st.binary(max_size=40))
def test_any_bytes_are_read_as_python_reads_them_or_refused(tmp_path: Path, data: bytes) -> None:
    with contextlib.suppress(InputError):
        found = read_pairs(written(tmp_path, b"1 2 0\n" + data))
        lines = data.rstrip(b" \t\r\n").split(b"\n") if data.strip() else []
        expected = [[int(word) for word in line.split()] for line in lines]
        assert found.first.tolist() == [1, *(row[0] for row in expected)]
        assert found.same.tolist() == [False, *(row[2] == 1 for row in expected)]


@pytest.mark.parametrize(
    "row",
    [
        "1 2",
        "1 2 3",
        "1 2 -1",
        "-1 2 0",
        "1 2 0 4",
        "1 x 0",
        "1 2.0 0",
        "1 2 0x",
        "",
        "2147483648 2 1",
        "1, 2, 0",
        "99999999999999999999999 1 1",
        "1\r2 0",
        "\x00 1 1",
        "१ 1 1",
    ],
)
@pytest.mark.parametrize("block", [64, 1 << 22])
def test_a_wrong_pair_is_named_by_its_row(
    tmp_path: Path, row: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "BLOCK", block)
    path = written(tmp_path, "10 20 1\n" * 16 + row + "\n" + "10 20 1\n" * 30)
    with pytest.raises(InputError, match=r"rows\.txt, row 17: neither `template template 0` nor"):
        read_pairs(path)


def test_the_first_of_several_wrong_rows_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "BLOCK", 64)
    with pytest.raises(InputError, match=r"row 41: .*: wrong"):
        read_pairs(written(tmp_path, "1 2 0\n" * 40 + "wrong\n" + "1 2 0\n" * 40 + "worse\n"))


@pytest.mark.parametrize("read", [read_pairs, read_media, read_points])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b" \n\n", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (b"7" * 200 + b"\n1 2 0\n", "a row of more than 64"),
    ],
)
def test_a_file_without_rows_is_refused(
    tmp_path: Path, read: Callable[[Path], object], data: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "BLOCK", 64)
    with pytest.raises(InputError, match=message):
        read(written(tmp_path, data))


@pytest.mark.parametrize("read", [read_pairs, read_media, read_points])
def test_more_rows_than_any_protocol_has_are_refused(
    tmp_path: Path, read: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MOST_PAIRS", 3)
    monkeypatch.setattr(rows, "MOST_IMAGES", 3)
    with pytest.raises(InputError, match="more than 3 rows"):
        read(written(tmp_path, "1 2 0\n" * 4))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for read in (read_pairs, read_media, read_points):
        with pytest.raises(InputError, match=r"absent\.txt: cannot be read: No such file"):
            read(tmp_path / "absent.txt")
        with pytest.raises(InputError, match="cannot be read: Is a directory"):
            read(tmp_path)


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path) -> None:
    assert read_pairs(written(tmp_path, "\ufeff3 4 1")).first.tolist() == [3]


# ---------------------------------------------------------------------------------------------- images

NAMES = st.text(
    st.characters(blacklist_categories=("Cs", "Cc", "Z"), blacklist_characters="\\/"), min_size=1, max_size=8
)


@FREELY
@given(st.lists(st.tuples(NAMES.filter(lambda name: name != ".."), IDS, IDS), min_size=1), BLANKS, ENDS)
def test_every_image_is_read(tmp_path: Path, media: list[tuple[str, int, int]], blank: str, end: str) -> None:
    found = read_media(written(tmp_path, "".join(blank.join(map(str, row)) + end for row in media)))
    assert list(zip(found.names, found.templates.tolist(), found.media.tolist(), strict=True)) == media


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("/etc/passwd 1 2", "an absolute path"),
        ("../1.jpg 1 2", r"a path with \.\."),
        ("a/../../1.jpg 1 2", r"a path with \.\."),
        ("a\\b.jpg 1 2", "backslash or NUL"),
        ("a\0b.jpg 1 2", "backslash or NUL"),
        ("1.jpg 1", "not `name template medium`"),
        ("1.jpg 1 2 3", "not `name template medium`"),
        ("1.jpg -1 2", "not `name template medium`"),
        ("1.jpg 1 2147483648", "not `name template medium`"),
        ("", "not `name template medium`.*: a blank row"),
    ],
)
def test_a_wrong_image_is_named_by_its_row(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"rows\.txt, row 3: .*{message}"):
        read_media(written(tmp_path, f"1.jpg 1 2\na/b..c.jpg 1 2\n{row}\n2.jpg 1 2\n"))


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="row 2: not `name template medium` in UTF-8"):
        read_media(written(tmp_path, b"1.jpg 1 2\n\xff.jpg 1 2\n"))


NUMBERS = st.floats(-1e6, 1e6)


@FREELY
@given(
    st.lists(st.tuples(*[NUMBERS] * 10, st.floats(0, 1e6)).map(list), min_size=1, max_size=5),
    st.sampled_from([repr, "{:.3f}".format, "{:.18e}".format, "{:+.7f}".format, "{:g}".format]),
)
def test_every_number_is_the_nearest_float(tmp_path: Path, values: list[list[float]], form: object) -> None:
    texts = [[form(value) for value in row] for row in values]  # type: ignore[operator]
    found = read_points(written(tmp_path, "".join(f"{i}.jpg {' '.join(row)}\n" for i, row in enumerate(texts))))
    expected = np.array([[float(text) for text in row] for row in texts])
    assert np.array_equal(found.landmarks.reshape(-1, 10), expected[:, :10])
    assert np.array_equal(found.scores, expected[:, 10])
    assert found.names == [f"{i}.jpg" for i in range(len(values))]


@pytest.mark.parametrize(
    "word", ["nan", "inf", "-inf", "1e400", "x", "1_0", "1,5", "--1", "-", ".", "1.2.3", "1e7", "1e6x"]
)
def test_a_coordinate_that_is_no_number_is_named_by_its_row(tmp_path: Path, word: str) -> None:
    wrong = POINTS.replace("2", word, 1)
    with pytest.raises(InputError, match=r"row 2: not `name`, ten coordinates .*: b\.jpg"):
        read_points(written(tmp_path, f"a.jpg {POINTS}\nb.jpg {wrong}\nc.jpg {POINTS}\n"))


@pytest.mark.parametrize(
    "row",
    [
        "",
        "b.jpg",
        f"b.jpg {POINTS} 1",
        "b.jpg " + POINTS.rsplit(" ", 1)[0],
        f"b.jpg {POINTS[:-4]}nan",
        f"b.jpg {POINTS[:-4]}-0.1",
    ],
)
def test_a_row_of_another_length_is_named(tmp_path: Path, row: str) -> None:
    with pytest.raises(InputError, match="row 2: not `name`, ten coordinates"):
        read_points(written(tmp_path, f"a.jpg {POINTS}\n{row}\nc.jpg {POINTS}\n"))


def test_a_score_may_be_large(tmp_path: Path) -> None:
    found = read_points(written(tmp_path, f"a.jpg {POINTS.rsplit(' ', 1)[0]} 1e9"))
    assert found.scores.tolist() == [1e9]
    assert math.isfinite(found.landmarks.sum())
