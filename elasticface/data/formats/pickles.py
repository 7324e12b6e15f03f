"""Plain values out of a pickle: bytes, text, numbers, lists, tuples and numpy arrays. Nothing is ever unpickled.

A pickle is a program for a stack machine, and Python's own machine calls whatever the program names. This one only
knows the opcodes that plain values are written with, by Python 2 and 3 in protocols 0 to 5, and the names in
``_NAMES``, each of which stands for a few lines of this file. Any other opcode or name ends the reading.

A restricted ``pickle.Unpickler`` is not used: it allocates what a length or a place in the memo claims before it reads
(10 GB for 13 bytes). :mod:`pickletools`, which could look over the opcodes first, takes Python 2's text for ASCII.

Memory stays in proportion to the file: a length is checked against the bytes that are left before it is read; what a
pickle refers to again is the same object; what it computes again is charged to a budget of the file's own size.
"""

import codecs
import enum
import math
import os
import pickletools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from elasticface.base import files
from elasticface.base.errors import InputError
from elasticface.base.files import printable

MOST_STEPS = 1_200_000
"""Opcodes that are followed, in half a second, with up to 200 bytes an object.

The largest packs, of 7,000 pairs, take 35,051 with bytes and bools, and 595,067 in the costliest way there is: images
as uint8 arrays [1, n] and flags as numpy's numbers, in protocol 0.
"""

_LONGEST_NUMBER = 8  # bytes; and _LONGEST_LINE characters in protocol 0, of a name too
_LONGEST_LINE = 200
_MOST_DIMENSIONS = 32  # of numpy's arrays
_ZIP = b"PK\x03\x04"  # how torch's weights begin, which are called .bin too; P is the opcode PERSID


@dataclass
class Array:
    """A numpy array as the pickle describes it; complete arrays have as many bytes as shape and type say."""

    dtype: str = "|u1"  # numpy's name: byte order, kind (b, i or u) and bytes a value
    shape: tuple[int, ...] = (0,)
    data: bytes = b""

    def flat(self) -> NDArray[Any]:
        """The values in the order of memory [n], without a copy; booleans as the bytes they are."""
        return np.frombuffer(self.data, np.dtype(self.dtype.replace("b", "u")))

    @property
    def is_flat(self) -> bool:
        """Whether at most one side is longer than 1, so that ``flat`` has the order of the array."""
        return sum(side != 1 for side in self.shape) <= 1


@dataclass
class _Dtype:
    code: str  # "u1"
    order: str = "<"

    @property
    def name(self) -> str:
        return self.order + self.code


class _Name(enum.Enum):
    """What the names in a pickle stand for."""

    ENCODE = enum.auto()
    BYTES = enum.auto()
    BYTEARRAY = enum.auto()
    NDARRAY = enum.auto()
    DTYPE = enum.auto()
    RECONSTRUCT = enum.auto()
    FROM_BUFFER = enum.auto()
    SCALAR = enum.auto()


_NAMES = {
    ("_codecs", "encode"): _Name.ENCODE,  # how Python 3 writes bytes in protocols 0 to 2
    ("__builtin__", "bytes"): _Name.BYTES,  # and no bytes
    ("builtins", "bytes"): _Name.BYTES,
    ("__builtin__", "bytearray"): _Name.BYTEARRAY,
    ("builtins", "bytearray"): _Name.BYTEARRAY,
    ("numpy", "ndarray"): _Name.NDARRAY,
    ("numpy", "dtype"): _Name.DTYPE,
    ("numpy.core.multiarray", "_reconstruct"): _Name.RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _Name.RECONSTRUCT,  # numpy 2
    ("numpy.core.numeric", "_frombuffer"): _Name.FROM_BUFFER,  # protocol 5
    ("numpy._core.numeric", "_frombuffer"): _Name.FROM_BUFFER,
    ("numpy.core.multiarray", "scalar"): _Name.SCALAR,
    ("numpy._core.multiarray", "scalar"): _Name.SCALAR,
}
_DTYPES = frozenset("b1 i1 i2 i4 i8 u1 u2 u4 u8".split())
_ORDERS = frozenset("<>|=")


def read_plain(path: Path) -> Any:
    """The value in a pickle of plain values.

    Args:
        path: the file, uncompressed. What follows the pickle in it is not looked at.

    Returns:
        None, bool, int, str, bytes (also for bytearray, and for Python 2's str), :class:`Array`, and lists and tuples
        of such. What the pickle holds once and refers to again is one object here too; lists may hold themselves.

    Raises:
        InputError: the file cannot be read, is cut short, or asks for anything else; the message names that.
    """
    label = printable(path)
    try:
        with files.opened(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in Python 2's text that mean nothing
            return _Machine(file, os.fstat(file.fileno()).st_size).run()
    except _Wrong as wrong:
        raise InputError(f"{label}: {wrong}") from None
    except OSError as error:
        raise InputError(f"{label}: cannot be read: {error.strerror}") from error


class _Wrong(Exception):
    """What is wrong with the pickle, for the caller to make a sentence with its name."""


class _Machine:
    """The stack machine, in the pickle module's terms: a stack, marks in it, and a memo of what came before."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size, self.at = file, size, 0
        self.budget = size  # bytes that may be computed from others
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        for _ in range(MOST_STEPS):
            if self.at == self.size:
                raise _Wrong("ends before the pickle does; it is empty or cut short, fetch it again")
            code = self.take(1)
            if code == b".":
                value = self.pop()
                if self.stack or self.marks:
                    raise _Wrong("a damaged pickle: it ends with values left over")
                return value
            step = _STEPS.get(code)
            if step is None:
                name = next((name for name, other in _CODES.items() if other == code), None)
                if self.at == 1 and (name is None or code + self.file.read(3) == _ZIP):
                    raise _Wrong("not a pickle, which a pack is; is it the right file?")
                raise self.refused(f"the opcode {name or 'that nobody knows'} ({code.hex()})")
            step(self)
        raise _Wrong(f"more than {MOST_STEPS:,} opcodes; no pack of images and pairs needs so many")

    # ------------------------------------------------------------------------------------------ reading

    def take(self, count: int) -> bytes:
        left = self.size - self.at
        if count > left:
            raise _Wrong(f"cut short or damaged: {count:,} bytes should follow byte {self.at:,}, there are {left:,}")
        data = self.file.read(count)
        if len(data) != count:
            raise _Wrong("became shorter while it was read")
        self.at += count
        return data

    def number(self, width: int, signed: bool = False) -> int:
        return int.from_bytes(self.take(width), "little", signed=signed)

    def line(self, longest: int = _LONGEST_LINE) -> bytes:
        data = self.file.readline(longest + 1)
        if not data.endswith(b"\n"):
            raise _Wrong(f"damaged: the line at byte {self.at:,} has no end")
        self.at += len(data)
        return data[:-1]

    def decimal(self) -> int:
        text = self.line()
        try:
            return int(text)
        except ValueError:
            raise _Wrong(f"damaged: no number in the line that ends at byte {self.at:,}") from None

    # ------------------------------------------------------------------------------------------ the stack

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        self.need(1)
        return self.stack.pop()

    def need(self, count: int) -> None:
        if len(self.stack) - (self.marks[-1] if self.marks else 0) < count:
            raise _Wrong(f"a damaged pickle: no value to work on at byte {self.at:,}")

    def pop_to_mark(self) -> list[Any]:
        if not self.marks:
            raise _Wrong(f"a damaged pickle: no mark at byte {self.at:,}")
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def push_tuple(self, count: int) -> None:
        self.need(count)
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def append(self, items: list[Any]) -> None:
        self.need(1)
        target = self.stack[-1]
        if not isinstance(target, list):
            raise _Wrong(f"a damaged pickle: a value is added to what is no list at byte {self.at:,}")
        target += items

    def put(self, place: int) -> None:
        self.need(1)
        self.memo[place] = self.stack[-1]

    def get(self, place: int) -> None:
        if place not in self.memo:
            raise _Wrong(f"a damaged pickle: it refers to what is not there at byte {self.at:,}")
        self.push(self.memo[place])

    # ------------------------------------------------------------------------------------------ values

    def integer(self) -> None:
        """INT and LONG: a line of digits, 00 and 01 being the booleans of protocol 0 and 1."""
        text = self.line()
        if text in (b"00", b"01"):
            self.push(text == b"01")
            return
        digits = text.removesuffix(b"L")
        try:
            value = int(digits)
        except ValueError:
            value = 1 << 64
        if not -(1 << 63) <= value < 1 << 64:
            raise _Wrong(f"damaged: no number of 64 bits in the line that ends at byte {self.at:,}")
        self.push(value)

    def long(self, width: int) -> None:
        count = self.number(width)
        if count > _LONGEST_NUMBER + 1:  # the sign may take a byte more
            raise self.refused(f"a number of {count:,} bytes")
        self.push(self.number(count, signed=True))

    def quoted(self) -> None:
        """STRING: Python 2's str in protocol 0, as Python's source code would have it."""
        text = self.line(self.size)
        if len(text) < 2 or text[0] not in b"'\"" or text[0] != text[-1]:
            raise _Wrong(f"damaged: no quotes around the text that ends at byte {self.at:,}")
        try:
            self.push(codecs.escape_decode(text[1:-1])[0])
        except ValueError:
            raise _Wrong(f"damaged: no text of Python 2 before byte {self.at:,}") from None

    def text(self, data: bytes, encoding: str = "utf-8") -> None:
        try:
            self.push(data.decode(encoding))
        except UnicodeDecodeError:
            raise _Wrong(f"damaged: no text in {encoding} before byte {self.at:,}") from None

    # ------------------------------------------------------------------------------------------ names

    def name(self, module: str, name: str) -> _Name:
        found = _NAMES.get((module, name))
        if found is None:
            raise self.refused(printable(f"{module}.{name}"[:_LONGEST_LINE]))
        return found

    def named_by_lines(self) -> None:
        """GLOBAL: two lines. INST is the same with a call, and no plain value is written with it."""
        module, name = (self.line().decode("utf-8", "backslashreplace") for _ in range(2))
        self.push(self.name(module, name))

    def named_by_stack(self) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(module, str) or not isinstance(name, str):
            raise _Wrong(f"a damaged pickle: a name that is no text at byte {self.at:,}")
        self.push(self.name(module[:_LONGEST_LINE], name[:_LONGEST_LINE]))

    def reduce(self) -> None:
        """REDUCE: what the call of one of the names comes to."""
        arguments, called = self.pop(), self.pop()
        match called, arguments:
            case (_Name.ENCODE, (str() as text, "latin1")) | (_Name.BYTEARRAY, (str() as text, "latin-1")):
                self.push(self.latin1(text))
            case (_Name.BYTES | _Name.BYTEARRAY, ()):
                self.push(b"")
            case (_Name.BYTEARRAY, (bytes() as data,)):
                self.push(data)
            case (_Name.DTYPE, (str() | bytes() as code, _, _)):
                self.push(_Dtype(self.dtype_code(code)))
            case (_Name.RECONSTRUCT, (_Name.NDARRAY, (0,), b"b" | "b")):
                self.push(Array())
            case (_Name.FROM_BUFFER, (bytes() as data, _Dtype() as dtype, tuple() as shape, "C" | "F")):
                self.fill(array := Array(), shape, dtype, data)
                self.push(array)
            case (_Name.SCALAR, (_Dtype() as dtype, bytes() as data)):
                self.fill(array := Array(), (1,), dtype, data)
                self.push(array.flat()[0].item())
            case (_Name(), _):
                raise self.refused(f"numpy or bytes with other arguments ({called.name.lower()})")
            case _:
                raise self.refused("a call of what is no function")

    def build(self) -> None:
        """BUILD: the state of the numpy object below it."""
        state = self.pop()
        self.need(1)
        match self.stack[-1], state:
            case (_Dtype() as dtype, (_, str() | bytes() as order, None, None, None, _, _, _)):
                sign = order if isinstance(order, str) else order.decode("latin-1")
                if sign not in _ORDERS:
                    raise self.refused("a numpy type with an unknown byte order")
                dtype.order = sign
            case (Array() as array, (_, tuple() as shape, _Dtype() as dtype, _, bytes() as data)):
                self.fill(array, shape, dtype, data)
            case _:
                raise self.refused("an object with a state (BUILD)")

    def latin1(self, text: str) -> bytes:
        self.budget -= len(text)
        if self.budget < 0:
            raise _Wrong("refused: it would become much larger than the file is")
        try:
            return text.encode("latin-1")
        except UnicodeEncodeError:
            raise _Wrong(f"damaged: bytes that are none before byte {self.at:,}") from None

    def dtype_code(self, code: str | bytes) -> str:
        text = code if isinstance(code, str) else code.decode("latin-1")
        if text not in _DTYPES:
            raise self.refused(f"numpy values of type {printable(repr(text[:20]))}")
        return text

    def fill(self, array: Array, shape: tuple[Any, ...], dtype: _Dtype, data: bytes) -> None:
        if len(shape) > _MOST_DIMENSIONS or not all(isinstance(side, int) and side >= 0 for side in shape):
            raise _Wrong(f"damaged: a numpy array of an impossible shape before byte {self.at:,}")
        size = math.prod(shape) * int(dtype.code[1])
        if size != len(data):
            sides = printable(str(shape)[:60])
            raise _Wrong(f"damaged: a numpy array of {sides} {dtype.code} has {len(data):,} bytes, not {size:,}")
        array.dtype, array.shape, array.data = dtype.name, shape, data

    def refused(self, what: str) -> _Wrong:
        return _Wrong(
            f"refused: it asks for {what} before byte {self.at:,}; a pack holds lists of encoded images and booleans, "
            "and nothing else of it is read or run"
        )


def _instance(machine: _Machine) -> None:
    machine.named_by_lines()
    raise machine.refused("the opcode INST (69)")


def _version(machine: _Machine) -> None:
    version = machine.number(1)
    if version > 5:
        raise machine.refused(f"protocol {version} of pickle, where 5 is the latest known")


def _frame(machine: _Machine) -> None:
    """A frame says how many bytes follow, for reading ahead; here only that must be true."""
    count, left = machine.number(8), machine.size - machine.at
    if count > left:
        raise _Wrong(f"cut short or damaged: {count:,} bytes should follow byte {machine.at:,}, there are {left:,}")


_CODES = {opcode.name: opcode.code.encode("latin-1") for opcode in pickletools.opcodes}  # name -> one byte
_STEPS_BY_NAME: dict[str, Callable[[_Machine], object]] = {
    "PROTO": _version,
    "FRAME": _frame,
    "MARK": lambda m: m.marks.append(len(m.stack)),
    "NONE": lambda m: m.push(None),
    "NEWTRUE": lambda m: m.push(True),
    "NEWFALSE": lambda m: m.push(False),
    "INT": _Machine.integer,
    "LONG": _Machine.integer,
    "BININT": lambda m: m.push(m.number(4, signed=True)),
    "BININT1": lambda m: m.push(m.number(1)),
    "BININT2": lambda m: m.push(m.number(2)),
    "LONG1": lambda m: m.long(1),
    "LONG4": lambda m: m.long(4),
    "STRING": _Machine.quoted,
    "SHORT_BINSTRING": lambda m: m.push(m.take(m.number(1))),
    "BINSTRING": lambda m: m.push(m.take(m.number(4))),
    "SHORT_BINBYTES": lambda m: m.push(m.take(m.number(1))),
    "BINBYTES": lambda m: m.push(m.take(m.number(4))),
    "BINBYTES8": lambda m: m.push(m.take(m.number(8))),
    "BYTEARRAY8": lambda m: m.push(m.take(m.number(8))),
    "UNICODE": lambda m: m.text(m.line(m.size), "raw-unicode-escape"),
    "SHORT_BINUNICODE": lambda m: m.text(m.take(m.number(1))),
    "BINUNICODE": lambda m: m.text(m.take(m.number(4))),
    "BINUNICODE8": lambda m: m.text(m.take(m.number(8))),
    "EMPTY_LIST": lambda m: m.push([]),
    "LIST": lambda m: m.push(m.pop_to_mark()),
    "APPEND": lambda m: m.append([m.pop()]),
    "APPENDS": lambda m: m.append(m.pop_to_mark()),
    "EMPTY_TUPLE": lambda m: m.push(()),
    "TUPLE": lambda m: m.push(tuple(m.pop_to_mark())),
    "TUPLE1": lambda m: m.push_tuple(1),
    "TUPLE2": lambda m: m.push_tuple(2),
    "TUPLE3": lambda m: m.push_tuple(3),
    "PUT": lambda m: m.put(m.decimal()),
    "BINPUT": lambda m: m.put(m.number(1)),
    "LONG_BINPUT": lambda m: m.put(m.number(4)),
    "MEMOIZE": lambda m: m.put(len(m.memo)),
    "GET": lambda m: m.get(m.decimal()),
    "BINGET": lambda m: m.get(m.number(1)),
    "LONG_BINGET": lambda m: m.get(m.number(4)),
    "GLOBAL": _Machine.named_by_lines,
    "STACK_GLOBAL": _Machine.named_by_stack,
    "INST": _instance,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
}
_STEPS = {_CODES[name]: step for name, step in _STEPS_BY_NAME.items()}
