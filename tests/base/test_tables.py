"""Tables of text: what the expression of a row says is in the arrays, whether pandas has read it or not."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elasticface.base import tables
from elasticface.base.errors import InputError
from elasticface.base.tables import Column, read_columns

WORD, NUMBER, WHOLE = Column(object), Column(np.float64, -1e300, 1e300), Column(np.int64, 0, 10**18)
TABLES: list[list[Column]] = [[WHOLE, WHOLE], [WORD, WHOLE, WHOLE], [WORD, NUMBER, NUMBER], [NUMBER], [WORD]]

WHOLES = "0 00 007 1 12 2147483648 1000000000000000000 1000000000000000001 9223372036854775808 18446744073709551616"
NUMBERS = (
    "0 -0 +.5 5. 1e5 1E-3 1e400 1e-400 4.9e-324 9007199254740993 18446744073709551616 1e301 123456.123456789012345"
)
NO_NUMBERS = "+1 -1 1.0 1e3 1_0 nan NA inf True true 0x10 1e . - 1.2.3 1,0 '1' \"1\" #1 ١ 1d3"
WORDS = (
    'a 1.jpg NA nan null None True 1.0 \'x\' "a a"b" a,b #x \\n é \ufeff \ufeffx \x00 a\x00b \x0bx \x1a \x85 \u2028 😀'
)
ODD = [b"\xff", b"\xed\xa0\x80", b"\x0b1", b"1\x0c", b"\x001", b"1\x00", b"0" * 5000 + b"1", b"1" + b"0" * 5000, b""]
VALUES = [word.encode() for words in (WHOLES, NUMBERS, NO_NUMBERS, WORDS) for word in words.split(" ")] + ODD
BETWEEN = [b" ", b" ", b"\t", b" \t", b"\r", b"\x0b", b"\xc2\xa0", b",", b""]
ENDS = [b"\n", b"\n", b"\r\n", b" \n", b"\r", b"\n\n", b"\n \n", b"\r\r\n", b"\n\r"]


@st.composite
def files_of(draw: st.DrawFn, columns: list[Column]) -> bytes:
    """Rows of which most are right, and some are wrong in one of the ways that files are."""
    usual = {int: [b"1", b"23"], float: [b"0.5", b"-2"], str: [b"a.jpg", b"b"]}
    text = draw(st.sampled_from([b"", b"", b"\xef\xbb\xbf"]))
    for _ in range(draw(st.integers(1, 5))):
        kinds = [column.kind for column in columns] + draw(st.sampled_from([[]] * 9 + [[int]]))
        kinds = kinds[: draw(st.sampled_from([9] * 9 + [len(kinds) - 1, 0]))]
        words = [draw(st.sampled_from(usual[kind] * 9 + VALUES)) for kind in kinds]
        between = draw(st.sampled_from([b" "] * 9 + BETWEEN))
        text += draw(st.sampled_from([b""] * 4 + [b"  "])) + between.join(words)
        text += draw(st.sampled_from([b"\n"] * 9 + ENDS))
    return text + draw(st.sampled_from([b"", b"\n\n \r\n"]))


def longhand(text: bytes, columns: list[Column]) -> list[list[Any]] | int:
    """The rows, or the number of the first wrong one."""
    rows: list[list[Any]] = []
    for line in text.removeprefix(b"\xef\xbb\xbf").rstrip(b" \t\r\n").split(b"\n"):
        words = line.removesuffix(b"\r").replace(b"\t", b" ").strip(b" ").split(b" ")
        words = [word for word in words if word]
        try:
            if b"\r" in line.removesuffix(b"\r") or len(words) != len(columns):
                raise ValueError
            rows.append([value_of(word, column) for word, column in zip(words, columns, strict=True)])
        except ValueError:
            return len(rows) + 1
    return rows


def value_of(word: bytes, column: Column) -> Any:
    if column.kind is str:
        return word.decode()
    allowed = b"0123456789" if column.kind is int else b"0123456789+-.eE"
    if word.translate(None, allowed):
        raise ValueError
    value = int(word.lstrip(b"0") or b"0") if column.kind is int else float(word)
    if not column.least <= value <= column.largest:
        raise ValueError
    return value


@pytest.mark.parametrize("columns", TABLES, ids=lambda columns: " ".join(column.kind.__name__ for column in columns))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.sampled_from([64, 1 << 22]))
def test_what_is_read_is_what_the_longhand_reads(
    tmp_path: Path, columns: list[Column], data: st.DataObject, block: int
) -> None:
    text = data.draw(files_of(columns))
    (tmp_path / "table.txt").write_bytes(text)
    expected = longhand(text, columns)
    if max(map(len, text.split(b"\n"))) > 32:
        block = 1 << 22
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "BLOCK", block)
        if not text.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r\n") or isinstance(expected, int):
            with pytest.raises(InputError, match=f"the file is empty; mend it|, row {expected}: wrong: .*; mend it"):
                read_columns(tmp_path / "table.txt", columns, 100, "wrong", "mend it")
            return
        found = read_columns(tmp_path / "table.txt", columns, 100, "wrong", "mend it")
    for values, column, wanted in zip(found, columns, zip(*expected, strict=True), strict=True):
        assert values.dtype == np.dtype(column.dtype)
        assert list(map(repr, values.tolist())) == list(map(repr, wanted))  # −0.0 is not 0.0


def test_a_large_block_is_read_as_its_rows_are(tmp_path: Path) -> None:
    """pandas takes a block in parts of 256 KiB, whose ends fall anywhere: into a name, a number, a line's end."""
    rng = np.random.default_rng(0)
    names = ["é\ufeff😀x"[: n + 1] for n in rng.integers(0, 4, 100_000).tolist()]
    numbers = rng.normal(size=100_000).tolist()
    end = ["\n", "\r\n", "\t\n"]
    text = "x 0\n" + "".join(f"x{a} {b!r}{end[i % 3]}" for i, (a, b) in enumerate(zip(names, numbers, strict=True)))
    (tmp_path / "table.txt").write_bytes(text.encode())
    found = read_columns(tmp_path / "table.txt", [WORD, NUMBER], 1 << 20, "wrong", "mend it")
    assert found[0].tolist() == ["x", *(f"x{name}" for name in names)]
    assert found[1].tolist() == [0, *numbers]


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.txt"
    path.write_text("1\n" * 100)
    monkeypatch.setattr(tables, "BLOCK", 16)
    by_pandas = tables._Rows.read

    def meanwhile(rows: tables._Rows, numbered: tuple[int, bytes]) -> object:
        if numbered[0] == 1:
            path.write_text("1\n" * 99)
        return by_pandas(rows, numbered)

    monkeypatch.setattr(tables._Rows, "read", meanwhile)
    with pytest.raises(InputError, match=r"table\.txt: it changed while it was read; read it again"):
        read_columns(path, [WHOLE], 1000, "wrong", "mend it")


def test_pandas_is_imported_where_a_table_is_read() -> None:
    code = "import sys, elasticface.cli.main, elasticface.benchmarks.ijb.files; print('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
