"""Values by type hint: what is read, and the words in which the rest is refused."""

import math
from typing import Any, Literal

import pytest

from elasticface.base.errors import InputError
from elasticface.base.values import read

Order = Literal["paper", "release"]
Precision = Literal["32", "bf16"]


@pytest.mark.parametrize(
    ("value", "hint", "wanted"),
    [
        ("26", int, 26),
        (26, int, 26),
        ("-3", int, -3),
        ("5e-4", float, 5e-4),
        (64, float, 64.0),
        (True, bool, True),
        ("no", bool, False),
        ("faces", str, "faces"),
        (2020, str, "2020"),
        ("null", str | None, None),
        (None, int | None, None),
        ("7", int | None, 7),
        ("paper", Order, "paper"),
        (32, Precision, "32"),
        ("null", Order | None, None),
        ("7,13,19", list[float], [7.0, 13.0, 19.0]),
        ("[7,13]", list[float], [7.0, 13.0]),
        ([7, "13"], list[float], [7.0, 13.0]),
        (7, list[float], [7.0]),
        ("", list[float], []),
        ("0.5,0.5", list[float] | None, [0.5, 0.5]),
    ],
)
def test_values_are_read_as_their_hint_says(value: Any, hint: Any, wanted: Any) -> None:
    found = read(value, hint, "it")
    assert found == wanted
    assert type(found) is type(wanted)
    assert read(found, hint, "it") == wanted  # what was read once may be read again


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        ("many", int, "it must be a whole number, got 'many'"),
        ("1.5", int, "it must be a whole number, got '1.5'"),
        (8.0, int, "it must be a whole number, got 8.0"),
        (True, int, "it must be a whole number, got true"),
        (None, int, "it must be a whole number, got null"),
        ("9" * 5000, int, f"it must be a whole number, got '{'9' * 199}…"),
        ("", str | None, "it must be text or null, got ''"),
        ("a,,b", list[str], "it must be words separated by commas, got 'a,,b'"),
        ("fast", float | None, "it must be a number or null, got 'fast'"),
        ("nan", float, "it must be a number, got 'nan'"),
        (math.inf, float, "it must be a number, got .inf"),
        (10**400, float, "it must be a number, got 1000"),
        (False, float, "it must be a number, got false"),
        ("perhaps", bool, "it must be true or false, got 'perhaps'"),
        (1, bool, "it must be true or false, got 1"),
        ("a\0b", str, r"it must be text, got 'a\x00b'"),
        ([], str, "it must be text, got []"),
        (True, Order, "it must be one of paper, release, got true"),
        (16, Precision, "it must be one of 32, bf16, got 16"),
        ("Paper", Order | None, "it must be one of paper, release or null, got 'Paper'"),
        ("3,x", list[float], "it must be numbers separated by commas, got '3,x'"),
        ([[3]], list[float], "it must be numbers separated by commas, got [[3]]"),
        ({"a": 1}, list[float], "it must be numbers separated by commas, got {a: 1}"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(value: Any, hint: Any, message: str) -> None:
    with pytest.raises(InputError) as refusal:
        read(value, hint, "it")
    assert str(refusal.value).startswith(message)
    assert len(str(refusal.value)) < 300
