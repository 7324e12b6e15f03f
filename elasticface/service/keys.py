"""The API key: made once, shown once, kept as its hash."""

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from elasticface.base import files, homes
from elasticface.base.errors import InputError
from elasticface.base.locks import locked

FILE = "api-key.sha256"

_MOST = 1000  # bytes of the file
_WAIT = 10.0  # seconds for another process to make a key, which takes it milliseconds
_BYTES = 32  # of randomness in a key: no one guesses it, so a hash without salt and rounds is enough


@dataclass(frozen=True)
class Key:
    """What a client's key is compared with: SHA-256 of the right one."""

    digest: bytes

    def matches(self, given: bytes) -> bool:
        """Whether ``given`` is the key; the time that it takes says nothing about how much of it is right."""
        return hmac.compare_digest(hashlib.sha256(given).digest(), self.digest)


def default_folder() -> Path:
    """Where the hash lies unless the user says otherwise: below ``XDG_DATA_HOME`` or ``~/.local/share``.

    Raises:
        InputError: this user has no home.
    """
    return homes.data_folder("service", "the API key", "--key-folder FOLDER")


def new_key(folder: Path) -> tuple[Key, str]:
    """Make a key, which replaces the one that is there.

    Returns:
        What to compare with, and the key itself, which nothing keeps.

    Raises:
        InputError: the folder cannot be used, or others may enter it.
    """
    _private(folder)
    with locked(folder, _WAIT):
        return _made(folder)


def open_key(folder: Path) -> tuple[Key, str | None]:
    """The key of a service, which is made where there is none. Of services that start at the same time one makes it.

    Returns:
        What to compare with, and the key itself where it was made now; else None: nothing keeps it.

    Raises:
        InputError: the folder cannot be used, others may enter it, or the file is damaged.
    """
    _private(folder)
    path = folder / FILE
    if not path.exists():  # a key that is there is read without the lock: the folder may be read-only
        with locked(folder, _WAIT):
            if not path.exists():
                return _made(folder)
    text = files.read_text(path, "make a new key with --new-key", _MOST).strip()
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(digest) != hashlib.sha256().digest_size:
        raise InputError(f"{files.printable(path)}: not the hash of a key; make a new one with --new-key")
    return Key(digest), None


def _made(folder: Path) -> tuple[Key, str]:
    text = secrets.token_urlsafe(_BYTES)
    key = Key(hashlib.sha256(text.encode()).digest())
    with files.replacing(folder / FILE) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{key.digest.hex()}\n")
    return key, text


def _private(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = folder.stat().st_mode
    except OSError as error:
        raise InputError(f"{files.printable(folder)}: cannot be used: {error.strerror}; give another folder") from error
    if mode & 0o077:
        raise InputError(f"{files.printable(folder)}: others may enter it; chmod 700 it, or give another folder")
