"""How a valid file becomes a wrong one: a few small changes from a keyed generator, so that a number names an input."""

import re
from collections.abc import Callable, Sequence

from numpy.random import Generator

MOST_BYTES = 1 << 20  # of an input; larger ones say nothing more and take longer
_NUMBER = re.compile(rb"-?\d+(\.\d+)?")
_NUMBERS = (
    b"0 1 -1 2 7 255 256 65536 2147483647 2147483648 4294967295 9223372036854775808 1e999 nan -inf 0x10 1_0".split()
)
_NUMBERS += [b"9" * 30, b"9" * 5000, "٣".encode(), b""]  # digits that are not ASCII are digits to Python
_INTEGERS = (0, 1, 127, 128, 255, 256, 32767, 32768, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)


def mutated(content: bytes, others: Sequence[bytes], words: Sequence[bytes], rng: Generator) -> bytes:
    """``content`` with one to about a dozen changes, mostly few.

    Args:
        content: a valid file.
        others: valid files of the kind, to take parts from.
        words: what means something in such a file.
        rng: draws everything.
    """
    data = bytearray(content)
    for _ in range(int(rng.geometric(0.5))):
        _CHANGES[rng.integers(len(_CHANGES))](data, others, words, rng)
        del data[MOST_BYTES:]
    return bytes(data)


Change = Callable[[bytearray, Sequence[bytes], Sequence[bytes], Generator], None]


def _span(data: bytearray, rng: Generator) -> slice:
    """A part of the file, mostly a short one."""
    start = int(rng.integers(len(data) + 1))
    length = int(rng.integers(1 << int(rng.integers(1, 12))))
    return slice(start, min(start + length, len(data)))


def _flip_bit(data: bytearray, _: Sequence[bytes], __: Sequence[bytes], rng: Generator) -> None:
    if data:
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))


def _set_byte(data: bytearray, _: Sequence[bytes], __: Sequence[bytes], rng: Generator) -> None:
    if data:
        data[rng.integers(len(data))] = int(rng.integers(256))


def _set_integer(data: bytearray, _: Sequence[bytes], __: Sequence[bytes], rng: Generator) -> None:
    width = int(rng.choice((1, 2, 4, 8)))
    value = _INTEGERS[rng.integers(len(_INTEGERS))] % (1 << (8 * width))
    start = int(rng.integers(len(data) + 1))
    data[start : start + width] = value.to_bytes(width, "little" if rng.random() < 0.5 else "big")


def _set_number(data: bytearray, _: Sequence[bytes], __: Sequence[bytes], rng: Generator) -> None:
    start = int(rng.integers(len(data) + 1))
    if found := _NUMBER.search(data, start):
        data[found.start() : found.end()] = _NUMBERS[rng.integers(len(_NUMBERS))]


def _cut_out(data: bytearray, _: Sequence[bytes], __: Sequence[bytes], rng: Generator) -> None:
    del data[_span(data, rng)]


def _cut_short(data: bytearray, _: Sequence[bytes], __: Sequence[bytes], rng: Generator) -> None:
    del data[int(rng.integers(len(data) + 1)) :]


def _repeat(data: bytearray, _: Sequence[bytes], __: Sequence[bytes], rng: Generator) -> None:
    span = _span(data, rng)
    data[span] = data[span] * int(rng.choice((2, 3, 10, 1000)))


def _move(data: bytearray, _: Sequence[bytes], __: Sequence[bytes], rng: Generator) -> None:
    span = _span(data, rng)
    part = data[span]
    del data[span]
    start = int(rng.integers(len(data) + 1))
    data[start:start] = part


def _splice(data: bytearray, others: Sequence[bytes], _: Sequence[bytes], rng: Generator) -> None:
    other = bytearray(others[rng.integers(len(others))])
    data[_span(data, rng)] = other[_span(other, rng)]


def _insert_word(data: bytearray, _: Sequence[bytes], words: Sequence[bytes], rng: Generator) -> None:
    start = int(rng.integers(len(data) + 1))
    data[start:start] = words[rng.integers(len(words))]


def _set_word(data: bytearray, _: Sequence[bytes], words: Sequence[bytes], rng: Generator) -> None:
    word = words[rng.integers(len(words))]
    start = int(rng.integers(len(data) + 1))
    data[start : start + len(word)] = word


def _noise(data: bytearray, _: Sequence[bytes], __: Sequence[bytes], rng: Generator) -> None:
    data[_span(data, rng)] = rng.bytes(int(rng.integers(1, 40)))


_CHANGES: tuple[Change, ...] = (
    _flip_bit,
    _set_byte,
    _set_integer,
    _set_number,
    _cut_out,
    _cut_short,
    _repeat,
    _move,
    _splice,
    _insert_word,
    _set_word,
    _noise,
)
