"""Verification packs: one `.bin` with the encoded images of all pairs, as the field passes LFW, AgeDB-30 and CFP on.

A pack is the pickle of (images, issame): 2·P encoded images, pair after pair, and P times whether the two show the same
person. Packs go from hand to hand, so nothing in one is run (:mod:`elasticface.data.formats.pickles`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from elasticface.base import files
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.data.formats.pickles import Array, read_plain


def read_pack(path: str | Path) -> tuple[list[bytes], NDArray[np.bool_]]:
    """The images and pairs of a pack, whichever Python and protocol wrote it.

    Images may be bytes, text (latin-1, what Python 3 makes of Python 2's str) or uint8 arrays; issame a list or tuple
    of booleans, of the numbers 0 and 1, of numpy's scalars, or an array of them.

    Args:
        path: the `.bin`.

    Returns:
        images: 2·P encoded images, as they are in the file: 2·i and 2·i + 1 are pair i. They are not decoded.
        same: bool [P], whether the two images of a pair show the same person.

    Raises:
        InputError: the file cannot be read, is cut short, asks for anything but images and booleans, or has other than
            two images a pair.
    """
    label = printable(path)
    content = read_plain(Path(path))
    if not isinstance(content, tuple | list) or len(content) != 2:
        raise InputError(f"{label}: holds {_kind(content)}, where a pack is a pair of images and booleans")
    images, same = _images(content[0], label), _same(content[1], label)
    if len(images) != 2 * len(same) or not images:
        raise InputError(
            f"{label}: {len(images):,} images and {len(same):,} pairs, where there must be two images a pair; "
            "fetch or pack it again"
        )
    return images, same


def write_pack(path: str | Path, images: Sequence[bytes], same: npt.ArrayLike) -> None:
    """A pack that everybody's reader takes: protocol 4, plain bytes and bools. The same content gives the same file.

    Args:
        path: where to write; the file is whole or absent.
        images: 2·P encoded images, pair after pair.
        same: bool [P].

    Raises:
        ValueError: other than two images a pair, or none; values in ``same`` that are neither 0 nor 1.
    """
    flags = np.asarray(same)
    if flags.ndim != 1 or len(images) != 2 * len(flags) or not len(flags) or not np.isin(flags, (0, 1)).all():
        raise ValueError(f"a pack has two images a pair and a bool [P], got {len(images)} images and {flags.shape}")
    # Written out, since pickle's own output depends on which of the objects are one and the same.
    with files.replacing(Path(path)) as temporary, temporary.open("wb") as file:
        file.write(b"\x80\x04](")  # protocol 4, a list, a mark
        for image in images:
            short = len(image) < 1 << 32
            file.write(b"B" + len(image).to_bytes(4, "little") if short else b"\x8e" + len(image).to_bytes(8, "little"))
            file.write(image)
        file.write(b"e](")  # what follows the mark goes into the list; the second list
        file.write(b"".join(b"\x88" if flag else b"\x89" for flag in flags))
        file.write(b"e\x86.")  # the same; a pair of the two; the end


def _images(value: Any, label: str) -> list[bytes]:
    if not isinstance(value, list | tuple):
        raise InputError(f"{label}: its images are {_kind(value)}, not a list")
    made: dict[int, bytes] = {}  # a text that is referred to a thousand times becomes bytes once
    found = []
    for number, image in enumerate(value):
        if isinstance(image, bytes):
            found.append(image)
        elif isinstance(image, Array):
            if image.dtype[1:] != "u1" or not image.is_flat:
                given = f"{image.dtype[1:]} {list(image.shape)}"
                raise InputError(f"{label}: image {number} is an array {given}, not encoded bytes (u1 [n])")
            found.append(image.data)
        elif isinstance(image, str):
            if id(image) not in made:
                try:
                    made[id(image)] = image.encode("latin-1")
                except UnicodeEncodeError as error:
                    raise InputError(f"{label}: image {number} is a text that is no bytes in latin-1") from error
            found.append(made[id(image)])
        else:
            raise InputError(f"{label}: image {number} is {_kind(image)}, not encoded bytes")
    return found


def _same(value: Any, label: str) -> NDArray[np.bool_]:
    if isinstance(value, Array):
        if not value.is_flat:
            raise InputError(f"{label}: whether pairs are the same person is an array {list(value.shape)}, not [P]")
        numbers: Any = value.flat()
    elif isinstance(value, list | tuple):
        for number, flag in enumerate(value):
            if not isinstance(flag, int):  # bools are
                raise InputError(
                    f"{label}: whether pair {number} is the same person is {_kind(flag)}, not true or false"
                )
        numbers = np.array([flag if flag in (0, 1) else 2 for flag in value], np.uint8)
    else:
        raise InputError(f"{label}: whether pairs are the same person is {_kind(value)}, not a list")
    odd = np.flatnonzero((numbers != 0) & (numbers != 1))
    if len(odd):
        raise InputError(f"{label}: whether pair {odd[0]} is the same person is neither 0 nor 1")
    return np.asarray(numbers, dtype=np.bool_)


def _kind(value: Any) -> str:
    """What a value is, in words that stay short whatever it holds."""
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value):,}"
    return "an array" if isinstance(value, Array) else "nothing" if value is None else f"of type {type(value).__name__}"
