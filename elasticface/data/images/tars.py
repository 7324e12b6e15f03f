"""The entries of plain tars, one at a time, whatever a stranger has made of them. Nothing is ever extracted."""

import tarfile
from collections.abc import Iterator
from pathlib import Path

from elasticface.base import files
from elasticface.base.errors import InputError
from elasticface.base.files import printable

_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}


def members(path: Path) -> Iterator[tarfile.TarInfo]:
    """The entries of an uncompressed tar: a list of all of them would take gigabytes for a set of millions.

    Raises:
        InputError: no file, a compressed tar, none at all, or a damaged one; before the first entry or after any.
        OSError: the file cannot be read.
    """
    label = printable(path)
    with files.opened(path) as file:
        head = file.read(8)
    if kind := next((kind for magic, kind in _COMPRESSED.items() if head.startswith(magic)), None):
        raise InputError(
            f"{label}: compressed with {kind}, so single photos cannot be read from it; "
            "unpack it, or pack it again as a plain tar"
        )
    try:
        yield from _members(path)
    # What tarfile raises on headers that are wrong in ways it does not look for.
    except (
        tarfile.TarError,
        ValueError,
        LookupError,
        OverflowError,
        EOFError,
        RecursionError,
        MemoryError,
    ) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{label}: not a tar, or a damaged one ({' '.join(str(error).split())}); fetch or pack it again"
        ) from error


def _members(path: Path) -> Iterator[tarfile.TarInfo]:
    with files.opened(path) as file, tarfile.open(fileobj=file, mode="r:", encoding="utf-8") as tar:
        last = -1
        while (member := tar.next()) is not None:
            if member.offset <= last or member.size < 0:  # a negative size sends older tarfiles round in a circle
                raise tarfile.ReadError(f"an impossible size in the entry at byte {member.offset}")
            last = member.offset
            tar.members = []  # type: ignore[attr-defined]
            yield member
        # tarfile takes any header that it cannot read for the end of the archive, and so would drop what follows.
        file.seek(tar.offset)
        end = file.read(tarfile.BLOCKSIZE)
        if end != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError(f"cut short or overwritten at byte {tar.offset}")
