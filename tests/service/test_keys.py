"""The API key: shown once, kept as its hash where nobody else may look."""

import hashlib
import hmac
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from elasticface.base.errors import InputError
from elasticface.service import keys
from elasticface.service.keys import FILE, default_folder, new_key, open_key


def test_the_first_start_makes_a_key_and_later_ones_know_it(tmp_path):
    folder = tmp_path / "a" / "keys"
    key, text = open_key(folder)
    assert len(text) >= 43
    assert key.matches(text.encode())
    assert open_key(folder) == (key, None)
    assert not any(text in path.read_text() for path in folder.iterdir())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == [FILE]


def test_a_new_key_replaces_the_old_one(tmp_path):
    old = open_key(tmp_path / "keys")[1]
    new = new_key(tmp_path / "keys")[1]
    key, _ = open_key(tmp_path / "keys")
    assert key.matches(new.encode())
    for wrong in (old, "", new[:-1], f"{new} "):
        assert not key.matches(wrong.encode())


def test_of_services_that_start_together_one_makes_the_key(tmp_path):
    folder, begin = tmp_path / "keys", threading.Barrier(4)

    def start(_):
        begin.wait()
        return open_key(folder)

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(start, range(4)))
    assert len({key for key, _ in found}) == 1
    (text,) = (text for _, text in found if text is not None)
    assert found[0][0].matches(text.encode())


def test_a_key_is_compared_in_constant_time(tmp_path, monkeypatch):
    key, text = new_key(tmp_path / "keys")
    compared = []
    monkeypatch.setattr(hmac, "compare_digest", lambda *digests: compared.append(digests) or True)
    assert key.matches(b"anything")
    assert compared == [(hashlib.sha256(b"anything").digest(), hashlib.sha256(text.encode()).digest())]


def test_a_key_is_read_from_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    key, _ = open_key(tmp_path)
    monkeypatch.setattr(keys, "locked", None)
    assert open_key(tmp_path) == (key, None)


def test_a_folder_that_others_may_enter_and_a_damaged_file_are_refused(tmp_path):
    folder = tmp_path / "keys"
    open_key(folder)
    (folder / FILE).write_text("abc")
    with pytest.raises(InputError, match="not the hash of a key; make a new one with --new-key"):
        open_key(folder)
    folder.chmod(0o755)
    with pytest.raises(InputError, match="others may enter it; chmod 700 it"):
        open_key(folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be used"):
        open_key(tmp_path / "file")


def test_the_folder_is_among_the_users_data(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "elasticface" / "service"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".local/share/elasticface/service"


def test_a_user_without_a_home_is_told_what_to_give(monkeypatch):
    def none():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(Path, "home", none)
    with pytest.raises(InputError, match="no home folder for the API key; set HOME, or give --key-folder"):
        default_folder()
