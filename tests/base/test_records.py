"""Records read back: what was written is given, and anything else is refused in one line that names file and field."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from elasticface.base import files, records
from elasticface.base.errors import InputError

Share = Annotated[float, Meta(ge=0, le=1)]


@dataclasses.dataclass(frozen=True)
class Part:
    side: Annotated[int, Meta(ge=1, le=4096)] = 112
    order: Literal["RGB", "BGR"] = "RGB"
    ends: tuple[Share, Share] = (0.25, 0.75)

    def __post_init__(self) -> None:
        if self.ends[0] > self.ends[1]:
            raise ValueError("ends must rise")


@dataclasses.dataclass(frozen=True)
class Record:
    name: str
    part: Part = dataclasses.field(default_factory=Part)
    rates: dict[str, Share] = dataclasses.field(default_factory=dict)
    parts: list[Part] = dataclasses.field(default_factory=list)
    rest: dict[str, Any] = dataclasses.field(default_factory=dict)
    good: bool = True
    missing: float | None = None


GOOD = Record("Zwölf", Part(96, "BGR", (0.0, 1.0)), {"1e-4": 0.5}, [Part(), Part(7)], {"m": None, "steps": [7, 13]})

parts = st.builds(Part, st.integers(1, 4096), st.sampled_from(["RGB", "BGR"]), st.just((0.125, 0.5)))
plain = st.recursive(st.none() | st.booleans() | st.floats(-9, 9) | st.text(max_size=3), st.lists, max_leaves=5)


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as error:
        records.read(path, Record, **options)
    message = str(error.value)
    assert message.startswith(str(path))
    assert message.isprintable()
    assert len(message) < len(str(path)) + 500
    return message.removeprefix(str(path))


@given(
    st.builds(
        Record,
        st.text(st.characters(codec="utf-8")),
        parts,
        st.dictionaries(st.text(max_size=4), st.floats(0, 1), max_size=3),
        st.lists(parts, max_size=3),
        st.dictionaries(st.text(max_size=4), plain, max_size=3),
        st.booleans(),
        st.none() | st.floats(-9, 9),
    )
)
def test_what_was_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, record: Record) -> None:
    path = tmp_path_factory.mktemp("records") / "record.json"
    files.write_json(path, dataclasses.asdict(record))
    assert records.read(path, Record) == record


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a missing field": ({"name": ...}, "name"),
    "an unknown field": ({"colour": 1}, "colour: no such field"),
    "an unknown field within": ({"part": {"gamma": 2.2}}, "part.gamma: no such field"),
    "an unknown field in a list": ({"parts": [{}, {"gamma": 2.2}]}, "parts[1].gamma: no such field"),
    "a number for a text": ({"name": 7}, "name is 7: expected str"),
    "null for a text": ({"name": None}, "name is None: expected str"),
    "true for a number": ({"part": {"side": True}}, "part.side is True: expected int"),
    "1 for true": ({"good": 1}, "good is 1: expected bool"),
    "a float for a count": ({"part": {"side": 112.0}}, "part.side is 112.0: expected int"),
    "a text for a number": ({"part": {"side": "112"}}, "part.side is '112': expected int"),
    "a number below": ({"part": {"side": 0}}, "part.side is 0: expected int >= 1"),
    "a number beyond int64": ({"part": {"side": 10**100}}, "part.side is 1000"),
    "a number beyond float64": ({"missing": 10**400}, "missing is 1000"),
    "another choice": ({"part": {"order": "YUV"}}, "part.order is 'YUV': invalid enum value"),
    "a choice of many lines": ({"part": {"order": "a\nb" * 10_000}}, "part.order"),
    "too few": ({"part": {"ends": [0.5]}}, "part.ends: expected array of length 2"),
    "one of a list": ({"part": {"ends": [0.5, 2]}}, "part.ends[1] is 2: expected float <= 1.0"),
    "one of a dict": ({"rates": {"1e-4": 2}}, "rates[...]: expected float <= 1.0"),
    "a list for an object": ({"part": [1]}, "part: expected object"),
    "two fields that disagree": ({"part": {"ends": [0.75, 0.25]}}, "part: ends must rise"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_field_is_named_with_its_value(what: str, tmp_path: Path) -> None:
    change, message = WRONG[what]
    content = {"name": "made up"} | change
    path = tmp_path / "record.json"
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not ...}))
    assert message in refused(path)
    assert refused(path, advice="run it anew").endswith("; run it anew")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"name: made up",
        b'{"name": "cut sho',
        b'{"name": "\xff"}',
        b'{"name": "\\ud800"}',
        b'{"name": "a", "missing": NaN}',
        b'{"name": "a", "missing": 1e999}',
        b'{"name": "a"} {"name": "b"}',
        b'{"name": "a", "rest": {"x": ' + b"9" * 10_000 + b"}}",
        b"[" * 500_000,
        b'{"name": "a", "rest": ' + b'{"x":' * 50_000 + b"0" + b"}" * 50_001,
    ],
    ids=lambda content: content[:32].decode("latin-1"),
)
def test_what_is_no_json_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(content)
    assert "not valid JSON" in refused(path)


@pytest.mark.parametrize("content", ["null", "[]", "7", '"a"'])
def test_what_is_no_object_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(content)
    assert "expected object" in refused(path)
    with pytest.raises(InputError, match="expected object"):
        records.read_object(path)


def test_a_file_that_is_absent_or_too_large_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in refused(tmp_path / "absent.json")
    path = tmp_path / "record.json"
    path.write_text(json.dumps({"name": "a" * 100}))
    assert "more than 50 bytes" in refused(path, most=50)


def test_values_that_are_no_json_are_checked_alike() -> None:
    found = records.convert({"side": 7, "ends": [0, 1]}, Part, "beside.yaml")
    assert found == Part(7, ends=(0.0, 1.0))
    assert isinstance(found.ends[0], float)
    with pytest.raises(InputError, match=r"^beside\.yaml: ends\[1\] is nan: expected float"):
        records.convert({"ends": [0, math.nan]}, Part, "beside.yaml")
    with pytest.raises(InputError, match=r"^beside\.yaml: a key: expected str"):
        records.convert({1: 2}, Part, "beside.yaml")
    with pytest.raises(InputError, match=r"^side is '112': expected int"):
        records.convert("112", int, "side")


def test_an_object_is_read_before_its_version_is_known(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    files.write_json(path, {"format": 2, "shape": "unheard of"})
    assert records.read_object(path)["format"] == 2
