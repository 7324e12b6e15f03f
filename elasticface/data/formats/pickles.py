"""Plain values out of a pickle: bytes, text, numbers, lists, tuples and numpy arrays. Nothing in it is run.

A pickle is a program for a stack machine, and Python's own machine calls whatever the program names. This is that
machine, the standard library's in pure Python, with the opcodes alone that plain values are written with, by Python 2
and 3 in protocols 0 to 5. Of names it knows those in ``_NAMES``, which are neither looked up nor called: what a call
of one comes to is said in this file. Any other opcode or name ends the reading.

The machine in C (``pickle.Unpickler``) would allocate what a length or a place in the memo claims (10 GB for 13 bytes).

Memory stays in proportion to the file: a length is checked against the bytes that are left before it is read; what a
pickle refers to again is the same object; what it computes again is charged to a budget of the file's own size.
"""

import math
import os
import pickle
import pickletools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
from numpy.typing import NDArray

from elasticface.base import files
from elasticface.base.errors import InputError
from elasticface.base.files import printable

MOST_STEPS = 1_500_000
"""Opcodes that are followed, an argument of one byte being counted like one. An object takes up to 200 bytes.

The largest packs, of 7,000 pairs, take 21,010 as ``write_pack`` has them, and 714,368 in the costliest way there is:
images as uint8 arrays [1, n] and flags as numpy's numbers, in protocol 1.
"""

_LONGEST_LINE = 200  # characters of a number or name in protocol 0
_MOST_DIMENSIONS = 32  # of numpy's arrays
_ZIP = b"PK\x03\x04"  # how torch's weights begin, which are called .bin too; P is the opcode PERSID
_DTYPES = frozenset("b1 i1 i2 i4 i8 u1 u2 u4 u8".split())
_NAMES = {
    "encode": ("_codecs",),  # how Python 3 writes bytes in protocols 0 to 2
    "bytes": ("builtins", "__builtin__"),  # and no bytes
    "bytearray": ("builtins", "__builtin__"),
    "ndarray": ("numpy",),
    "dtype": ("numpy",),
    "_reconstruct": ("numpy.core.multiarray", "numpy._core.multiarray"),  # numpy 1 and 2
    "_frombuffer": ("numpy.core.numeric", "numpy._core.numeric"),  # protocol 5
    "scalar": ("numpy.core.multiarray", "numpy._core.multiarray"),
}
_OPCODES = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}
_STANDARD = """
    MARK STOP NONE NEWTRUE NEWFALSE INT LONG BININT BININT1 BININT2 LONG1 STRING SHORT_BINSTRING BINSTRING
    SHORT_BINBYTES BINBYTES BINBYTES8 UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 EMPTY_LIST LIST APPEND APPENDS
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET GLOBAL STACK_GLOBAL
""".split()  # opcodes that are followed as the standard library follows them


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
            return _Unpickler(_Source(file, os.fstat(file.fileno()).st_size)).load()
    except _Wrong as wrong:
        raise InputError(f"{label}: {wrong}") from None
    except OSError as error:
        raise InputError(f"{label}: cannot be read: {error.strerror}") from error


class _Wrong(Exception):
    """What is wrong with the pickle, for the caller to make a sentence with its name."""


class _Source:
    """The file as the machine reads it: not beyond its end, not for ever, and with the place for messages."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size, self.at, self.steps, self.last = file, size, 0, 0, b""

    def read(self, count: int) -> bytes:
        self.expect(count)
        self.steps += count == 1
        if self.steps > MOST_STEPS:
            raise _Wrong(f"more than {MOST_STEPS:,} opcodes; no pack of images and pairs needs so many")
        self.last = self.file.read(count)
        if len(self.last) != count:
            raise _Wrong("became shorter while it was read")
        self.at += count
        return self.last

    def expect(self, count: int) -> None:
        left = self.size - self.at
        if count > left:
            raise _Wrong(
                f"ends before the pickle does: {count:,} bytes should follow byte {self.at:,}, there are {left:,}; "
                "it is empty, cut short or damaged, fetch it again"
            )

    def readline(self) -> bytes:
        of_text = self.last in (b"S", b"V")  # the opcode: STRING, UNICODE
        line = self.file.readline(self.size if of_text else _LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise _Wrong(f"damaged: the line at byte {self.at:,} has no end")
        self.at += len(line)
        return line


@dataclass
class _Name:
    """A name that the pickle may use. It is only compared: nothing is called, and no attribute set."""

    name: str


@dataclass
class _Dtype:
    code: str  # "u1"
    order: str = "<"


class _Unpickler(pickle._Unpickler):
    """The standard machine without the steps that import, call or build anything."""

    stack: list[Any]  # the values since the last mark
    metastack: list[list[Any]]  # those before each mark
    read: Callable[[int], bytes]

    def __init__(self, source: _Source) -> None:
        super().__init__(source, encoding="bytes")
        self.source = source
        self.budget = source.size  # bytes that may be computed from others

    def load(self) -> Any:
        try:
            value = super().load()
        except KeyError as error:  # of the dispatch
            raise self.unknown(error.args[0]) from None
        except (pickle.UnpicklingError, IndexError, ValueError, TypeError, AttributeError) as error:
            what = printable(str(error), 100)
            raise _Wrong(f"a damaged pickle before byte {self.source.at:,}, fetch it again ({what})") from error
        if self.stack or self.metastack:
            raise _Wrong("a damaged pickle: it ends with values left over")
        return value

    def unknown(self, code: int) -> _Wrong:
        name = _OPCODES.get(code)
        if self.source.at == 1 and (name is None or bytes([code]) + self.source.file.read(3) == _ZIP):
            return _Wrong("not a pickle, which a pack is; is it the right file?")
        return self.refused(f"the opcode {name or 'that nobody knows'} ({code:02x})")

    def refused(self, what: str) -> _Wrong:
        return _Wrong(
            f"refused: it asks for {what} before byte {self.source.at:,}; a pack holds lists of encoded images and "
            "booleans, and nothing else of it is read or run"
        )

    def find_class(self, module: str, name: str) -> _Name:
        if module not in _NAMES.get(name, ()):
            raise self.refused(printable(f"{module}.{name}", 200))
        return _Name(name)

    def load_proto(self) -> None:
        version = self.read(1)[0]
        if version > 5:
            raise self.refused(f"protocol {version} of pickle, where 5 is the latest known")

    def load_frame(self) -> None:
        """A frame says how many bytes follow, for reading ahead; here only that must be true."""
        self.source.expect(int.from_bytes(self.read(8), "little"))

    def load_reduce(self) -> None:
        """What the call of a name comes to."""
        arguments = self.stack.pop()
        match self.stack.pop(), arguments:
            case (_Name("encode"), (str() as text, "latin1")) | (_Name("bytearray"), (str() as text, "latin-1")):
                self.budget -= len(text)
                if self.budget < 0:
                    raise _Wrong("refused: it would become much larger than the file is")
                value: Any = text.encode("latin-1")
            case _Name("bytes" | "bytearray"), ():
                value = b""
            case _Name("bytearray"), (bytes() as value,):
                pass
            case _Name("dtype"), (str() | bytes() as code, _, _):
                value = _Dtype(_text(code))
                if value.code not in _DTYPES:
                    raise self.refused(f"numpy values of type {printable(repr(value.code[:20]))}")
            case _Name("_reconstruct"), (_Name("ndarray"), (0,), b"b" | "b"):
                value = Array()
            case _Name("_frombuffer"), (bytes() as data, _Dtype() as dtype, tuple() as shape, "C" | "F"):
                value = self.filled(Array(), shape, dtype, data)
            case _Name("scalar"), (_Dtype() as dtype, bytes() as data):
                value = self.filled(Array(), (1,), dtype, data).flat()[0].item()
            case _Name(name), _:
                raise self.refused(f"numpy or bytes with other arguments ({name})")
            case _:
                raise self.refused("a call of what is no function")
        self.stack.append(value)

    def load_build(self) -> None:
        """The state of the numpy object below it."""
        state = self.stack.pop()
        match self.stack[-1], state:
            case _Dtype() as dtype, (_, str() | bytes() as order, None, None, None, _, _, _):
                dtype.order = _text(order)
                if dtype.order not in ("<", ">", "|", "="):
                    raise self.refused("a numpy type with an unknown byte order")
            case Array() as array, (_, tuple() as shape, _Dtype() as dtype, _, bytes() as data):
                self.filled(array, shape, dtype, data)
            case _:
                raise self.refused("an object with a state (BUILD)")

    def filled(self, array: Array, shape: tuple[Any, ...], dtype: _Dtype, data: bytes) -> Array:
        if len(shape) > _MOST_DIMENSIONS or not all(isinstance(side, int) and 0 <= side < 1 << 63 for side in shape):
            raise _Wrong(f"damaged: a numpy array of an impossible shape before byte {self.source.at:,}")
        size = math.prod(shape) * int(dtype.code[1])
        if size != len(data):
            sides = printable(str(shape)[:60])
            raise _Wrong(f"damaged: a numpy array of {sides} {dtype.code} has {len(data):,} bytes, not {size:,}")
        array.dtype, array.shape, array.data = dtype.order + dtype.code, shape, data
        return array

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **{code: pickle._Unpickler.dispatch[code] for code, name in _OPCODES.items() if name in _STANDARD},
        pickle.BYTEARRAY8[0]: pickle._Unpickler.dispatch[pickle.BINBYTES8[0]],  # its own would allocate first
        pickle.PROTO[0]: load_proto,
        pickle.FRAME[0]: load_frame,
        pickle.REDUCE[0]: load_reduce,
        pickle.BUILD[0]: load_build,
    }


def _text(word: str | bytes) -> str:
    return word if isinstance(word, str) else word.decode("latin-1")
