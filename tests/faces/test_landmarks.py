"""elasticface.faces.landmarks: a CSV file of five points a photo, and every way it can be wrong."""

import re

import numpy as np
import pytest

from elasticface.base.errors import InputError
from elasticface.data.images.alignment import TEMPLATE
from elasticface.faces.landmarks import COLUMNS, DETECTED_COLUMNS, ListedFaces, read_faces, read_landmarks

HEADER = "file,score,x_leye,y_leye,x_reye,y_reye,x_nose,y_nose,x_lmouth,y_lmouth,x_rmouth,y_rmouth"
POINTS = "1,2,3,4,5,6,7,8,9,10.5"


@pytest.fixture
def read(tmp_path):
    def read(content: str | bytes):
        path = tmp_path / "landmarks.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_landmarks(path)

    return read


def test_the_columns_are_those_of_the_contract():
    assert ",".join(COLUMNS) == HEADER


def test_points_come_as_x_and_y_by_name(read):
    found = read(f"{HEADER}\nAnn/a.jpg,0.99,{POINTS}\n./Bob/b.jpg,1,{POINTS}\n")
    assert list(found) == ["Ann/a.jpg", "Bob/b.jpg"]
    for points in found.values():
        assert points.dtype == np.float64
        assert points.tolist() == [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10.5]]


@pytest.mark.parametrize(
    "content",
    [
        f"{HEADER}\na.jpg,0.99,{POINTS}",
        f"{HEADER}\r\n\r\na.jpg,0.99,{POINTS}\r\n\r\n",
        f"{HEADER}\n \na.jpg,0.99,{POINTS}\n\t ",
        f"\ufeff{HEADER}\na.jpg,0.99,{POINTS}\n",
        f'{HEADER}\n"a.jpg","0.99",{POINTS}\n',
        f"{HEADER.replace(',', ', ')}\na.jpg, 0.99, {POINTS.replace(',', ', ')}\n",
    ],
    ids=["no last line end", "windows and blank lines", "lines of blanks", "byte order mark", "quotes", "spaces"],
)
def test_the_csv_of_other_programs_is_read_too(read, content):
    assert list(read(content)) == ["a.jpg"]


def test_a_name_may_hold_a_comma(read):
    assert list(read(f'{HEADER}\n"Lee, Ann/a.jpg",0.99,{POINTS}\n')) == ["Lee, Ann/a.jpg"]


GOOD = f"{HEADER}\na.jpg,0.99,{POINTS}\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", f": the file is empty; its first line must be {HEADER}"),
        (HEADER + "\n", ": no landmarks after the first line; give one line a photo"),
        ("a.jpg,1,2\n", f", row 1: the first line must be {HEADER}, not a.jpg,1,2"),
        (GOOD.replace("x_nose", "nose_x"), ", row 1: the first line must be "),
        (GOOD.replace(",", ";"), ", row 1: the first line must be "),
        (GOOD + "b.jpg,1,2,3\n", f", row 3: 4 columns where 12 are needed: {HEADER}"),
        (GOOD + "\n\nb.jpg\n", f", row 5: 1 column where 12 are needed: {HEADER}"),
        (GOOD + f"b.jpg,1,{POINTS},7\n", f", row 3: 13 columns where 12 are needed: {HEADER}"),
        (GOOD + f",1,{POINTS}\n", ", row 3: no file name in the first column; name the photo"),
        (GOOD + f"./,1,{POINTS}\n", ", row 3: no file name in the first column; name the photo"),
        (GOOD + f"b.jpg,high,{POINTS}\n", ", row 3: score is 'high'; it must be a number"),
        (GOOD + f"b.jpg,1,{POINTS.replace('6', '')}\n", ", row 3: y_nose is ''; it must be a number"),
        (GOOD.replace("8", "nan"), ", row 2: y_lmouth is nan; it must be a number from -1e6 to 1e6, remove the row"),
        (
            GOOD.replace("10.5", "-inf"),
            ", row 2: y_rmouth is -inf; it must be a number from -1e6 to 1e6",
        ),
        (
            GOOD.replace("10.5", "1e999"),
            ", row 2: y_rmouth is 1e999; it must be a number from -1e6 to 1e6",
        ),
        (GOOD + f"./a.jpg,1,{POINTS}\n", ", row 3: a.jpg is listed in row 2 already; keep one"),
        (GOOD.encode() + f"Zoë,1,{POINTS}\n".encode("latin-1"), ", row 3: not UTF-8 text; save it as UTF-8"),
        (HEADER.encode("utf-16"), ", row 1: not UTF-8 text; save it as UTF-8"),
        (GOOD + "x" * 200_000, ", row 3: longer than 16,384 characters; write the file again"),
        (GOOD.replace("10.5", "1_0.5"), ", row 2: y_rmouth is 1_0.5; it must be a number from -1e6 to 1e6"),
        (GOOD.replace("10.5", "1e308"), ", row 2: y_rmouth is 1e308; it must be a number from -1e6 to 1e6"),
    ],
)
def test_an_error_names_the_file_the_row_and_the_way_out(read, content, message):
    with pytest.raises(InputError, match=r"landmarks\.csv" + re.escape(message)) as caught:
        read(content)
    assert "\n" not in str(caught.value)


def test_a_long_first_line_is_not_repeated_whole(read):
    with pytest.raises(InputError) as caught:
        read("x" * 100_000)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("cell", ["9" * 5000, "x" * 5000, "1.2" * 2000])
def test_a_long_value_or_name_is_not_repeated_whole(read, cell):
    for row in (f"b.jpg,1,{POINTS.replace('6', cell)}\n", f"{cell}.jpg,1,{POINTS}\n" * 2):
        with pytest.raises(InputError) as caught:
            read(GOOD + row)
        assert len(str(caught.value)) < 500


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"none.csv: cannot be read: No such file or directory; give a CSV file"):
        read_landmarks(tmp_path / "none.csv")
    with pytest.raises(InputError, match=r"cannot be read: Is a directory"):
        read_landmarks(str(tmp_path))


# The file of a detector.

FACE = "0.9," + ",".join(f"{value:.1f}" for value in TEMPLATE.ravel()) + ",10,10,100,100"
SMALL = FACE.replace("10,10,100,100", "10,20,30,40")
DETECTED = ",".join(DETECTED_COLUMNS) + "\n"
EMPTY = "," * (len(DETECTED_COLUMNS) - 1)


@pytest.fixture
def detected(tmp_path):
    def read(*rows: str) -> ListedFaces:
        path = tmp_path / "faces.csv"
        path.write_text(DETECTED + "".join(f"{row}\n" for row in rows))
        return read_faces(path)

    return read


def test_a_photo_has_faces_or_none_or_could_not_be_read(detected, read, tmp_path):
    found = detected(f"a.jpg,{FACE},1", f"a.jpg,{FACE},2.0", f"b.jpg{EMPTY}", f'c.jpg{EMPTY}"cut short, at 3"')
    assert {name: found.count(name) for name in found} == {"a.jpg": 2, "b.jpg": 0}
    assert [len(faces) for faces in found.values()] == [2, 0]
    assert found.damaged == {"c.jpg": "cut short, at 3"}
    assert found.from_detector
    read(GOOD)
    assert not read_faces(tmp_path / "landmarks.csv").from_detector
    assert detected(f"c.jpg{EMPTY}cut short").damaged


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([f"a.jpg,{FACE},1.9"], "row 2: face is 1.9; it must be a whole number"),
        ([f"a.jpg,{FACE},2"], "row 2: face is 2, where 1 comes next; write it again"),
        ([f"a.jpg,{FACE},0"], "row 2: face is 0, where 1 comes next; write it again"),
        ([f"a.jpg,{FACE},1", f"a.jpg,{FACE},3"], "row 3: face is 3, where 2 comes next; write it again"),
        ([f"a.jpg,{FACE},1", f"a.jpg,{FACE},1"], "row 3: a.jpg is listed in row 2 already; keep one"),
        ([f"a.jpg,{FACE},1", f"b.jpg{EMPTY}", f"a.jpg,{FACE},2"], "row 4: a.jpg is listed in row 2 already; keep one"),
        ([f"a.jpg,{FACE},1", f"a.jpg{EMPTY}"], "row 3: a.jpg is listed in row 2 already; keep one"),
        ([f"a.jpg{EMPTY}", f"a.jpg,{FACE},1"], "row 3: a.jpg is listed in row 2 already; keep one"),
        ([f"a.jpg{EMPTY}why", f"a.jpg,{FACE},1"], "row 3: a.jpg is listed in row 2 already; keep one"),
        ([f"a.jpg,{FACE},1", f"a.jpg{EMPTY}why"], "row 3: a.jpg is listed in row 2 already; keep one"),
        ([f"a.jpg{EMPTY}1"], "row 2: score is ''; it must be a number"),
        ([f"a.jpg,{FACE},1".replace("0.9,", "-55,", 1)], "row 2: score is -55; it must be from 0 to 1"),
        ([f"a.jpg,{FACE},1", f"a.jpg,{FACE},2".replace("0.9,", "1.1,", 1)], "row 3: score is 1.1; it must be"),
        ([f"a.jpg,{SMALL},1".replace("30,40", "10,40")], "row 2: a box from 10, 20 to 10, 40 has no area"),
        ([f"a.jpg,{SMALL},1".replace("30,40", "30,19")], "row 2: a box from 10, 20 to 30, 19 has no area"),
    ],
)
def test_rows_that_do_not_follow_on_each_other_are_refused(rows, message, detected):
    with pytest.raises(InputError, match=re.escape(f"faces.csv, {message}")):
        detected(*rows)


def test_faces_come_largest_first_in_whatever_order_another_tool_wrote_them(detected):
    found = detected(
        f"a.jpg,{SMALL},1", f"a.jpg,{FACE},2", f"a.jpg,{SMALL.replace('0.9,', '0.8,', 1)},3", f"b.jpg,{SMALL},1"
    )
    assert [(face.area, face.score) for face in found["a.jpg"]] == [(8100, 0.9), (400, 0.9), (400, 0.8)]
    assert [face.area for face in found["b.jpg"]] == [400]


def test_faces_of_a_mapping_are_those_that_it_has():
    points = np.asarray(TEMPLATE, np.float64)
    face = ListedFaces.of({"./a.jpg": points})["a.jpg"][0]
    np.testing.assert_array_equal(face.points, points)
    assert np.isnan(face.box).all()
    listed = ListedFaces.of({"b.jpg": [face, face], "c.jpg": []})
    assert [listed.count(name) for name in ("b.jpg", "c.jpg")] == [2, 0]
    assert ListedFaces.of(listed) is listed
