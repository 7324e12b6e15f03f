"""elasticface.base.files: what is read stays within its bounds, and names are shown as one short line."""

import errno
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from special_files import SPECIAL, within

from elasticface.base import files
from elasticface.base.errors import InputError


def test_a_file_is_read_whole_or_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(range(256)) * 9000)
    assert (
        files.read_bytes(tmp_path / "x") == files.read_bytes(tmp_path / "x", most=1 << 30) == bytes(range(256)) * 9000
    )
    with pytest.raises(InputError, match=r"absent: cannot be read: No such file or directory$"):
        files.read_bytes(tmp_path / "absent")
    with pytest.raises(InputError, match=r"absent: cannot be read: No such file or directory; look elsewhere$"):
        files.read_text(tmp_path / "absent", "look elsewhere")
    with pytest.raises(InputError, match=r"cannot be read: Is a directory$"):
        files.read_text(tmp_path)


def test_a_file_beyond_the_bound_is_refused_though_its_size_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x" * 101)
    assert len(files.read_bytes(tmp_path / "x", most=101)) == 101
    with pytest.raises(InputError, match="x: more than 100 bytes; is it the right file"):
        files.read_bytes(tmp_path / "x", most=100)
    reading, writing = os.pipe()
    os.write(writing, b"x" * 101)
    os.close(writing)
    with pytest.raises(InputError, match="more than 100 bytes"):
        files.read_bytes(Path(f"/dev/fd/{reading}"), most=100)
    os.close(reading)


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("read", [files.read_bytes, files.read_text])
def test_what_is_no_file_is_refused_at_once_whatever_it_is(
    tmp_path: Path, kind: str, read: Callable[[Path], object]
) -> None:
    make, reason = SPECIAL[kind]
    make(tmp_path / "x")
    with within(10), pytest.raises(InputError, match=rf"x: cannot be read: {reason}$"):
        read(tmp_path / "x")


def test_a_link_to_a_pipe_of_the_shell_is_refused(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    (tmp_path / "x").symlink_to(f"/dev/fd/{reading}")
    with within(10), pytest.raises(InputError, match="is a named pipe, not a file"):
        files.read_bytes(tmp_path / "x")
    os.close(reading)
    os.close(writing)


def test_nothing_stays_open_of_what_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x")
    before = os.listdir("/proc/self/fd")
    for _ in range(10):
        with pytest.raises(OSError, match="named pipe"):
            files.opened(tmp_path / "x")
    assert os.listdir("/proc/self/fd") == before


def test_text_is_utf8_and_its_mark_is_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(b"\xef\xbb\xbfZo\xc3\xab\r\n")
    assert files.read_text(tmp_path / "x") == "Zoë\r\n"
    (tmp_path / "x").write_bytes(b"Zo\xeb")
    with pytest.raises(InputError, match=r"x: not UTF-8 text \(byte 2\); save it as UTF-8"):
        files.read_text(tmp_path / "x")
    monkeypatch.setattr(files, "MOST_TEXT", 2)
    with pytest.raises(InputError, match="x: more than 2 bytes"):
        files.read_text(tmp_path / "x")


def test_a_pipe_of_the_shell_is_read_as_a_file_is(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"10\t300\n")
    os.close(writing)
    assert files.read_text(Path(f"/dev/fd/{reading}")) == "10\t300\n"
    os.close(reading)


def test_names_are_shown_as_one_line_and_long_ones_without_their_middle() -> None:
    assert files.printable(Path("a/Zoë.jpg")) == "a/Zoë.jpg"
    assert files.printable("two\nlines\x1b[31m") == "two\\nlines\\x1b[31m"
    assert files.printable("x" * 1000) == "x" * 1000
    assert files.printable("a" * 500 + "b" * 500, 100) == "a" * 50 + "…" + "b" * 50


def test_what_killed_writers_left_is_removed_and_links_are_not_followed(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    for path in (folder / "a" / ".model.0123abcd.tmp", folder / ".model.0123abcd.old.tmp", elsewhere, folder / "kept"):
        path.mkdir(parents=True)
        (path / "file").write_text("x")
    (folder / ".x.json.89abcdef.tmp").write_text("x")
    (folder / ".link.89abcdef.tmp").symlink_to(elsewhere)
    (folder / "kept" / ".inner.89abcdef.tmp").symlink_to(elsewhere / "file")
    files.remove_temporaries(folder, older_than=1000.0)
    assert len(os.listdir(folder)) == 5
    files.remove_temporaries(folder)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "elsewhere",
        "elsewhere/file",
        "folder",
        "folder/a",
        "folder/kept",
        "folder/kept/file",
    ]


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "x" * 240 + "é" * 7, "\udceb" * 255])
def test_whatever_name_a_file_or_a_folder_can_have_it_can_be_replaced(name: str, tmp_path: Path) -> None:
    files.check_writable(tmp_path, name)
    for content in ("old", "new"):
        files.write_text(tmp_path / "file" / name, content)
        with files.replacing(tmp_path / name) as temporary:
            assert files.is_temporary(temporary.name)
            temporary.mkdir()
            (temporary / content).touch()
    assert (tmp_path / "file" / name).read_text() == "new"
    assert os.listdir(tmp_path / name) == ["new"]


def test_a_folder_is_tried_and_nothing_stays(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    for out in ("there", "link", "link/a", "a", "a/b", "a/../../b", "."):
        files.check_writable(tmp_path / out)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["link", "there"]
    assert not (tmp_path.parent / "b").exists()


def test_a_folder_that_cannot_be_made_or_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    for name, why in {
        "file": "Not a directory",
        "file/below": "Not a directory",
        "dangling": "dangling is no folder",
        "dangling/below": "dangling is no folder",
        "loop": "Too many levels of symbolic links",
        "x" * 300: "File name too long",
        f"a/{'x' * 300}/b": "File name too long",
    }.items():
        with pytest.raises(InputError, match=rf"{name}: cannot be written: .*{why}; give another$"):
            files.check_writable(tmp_path / name)
    with pytest.raises(InputError, match="cannot be written: File name too long"):
        files.check_writable(tmp_path, "x" * 256)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "file", "loop"]


def test_a_full_disk_is_no_wrong_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mkdir(path: Path, **_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(OSError, match="No space left on device"):
        files.check_writable(tmp_path)


def test_processes_that_try_a_folder_at_once_do_not_get_in_each_others_way(tmp_path: Path) -> None:
    def attempt(_: int) -> None:
        files.check_writable(tmp_path / "run" / "of" / "many")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(attempt, range(400)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("target", "what"), [("/dev/null", "device"), ("pipe", "named pipe")])
def test_a_device_or_a_pipe_is_not_replaced(tmp_path: Path, target: str, what: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "out").symlink_to(target)  # the device itself would be at stake where root tests
    for write in (lambda: files.write_text(tmp_path / "out", "x"), lambda: files.check_writable(tmp_path, "out")):
        with pytest.raises(InputError, match=rf"out: is a {what}, not a file; give the name of a file$"):
            write()
    assert sorted(os.listdir(tmp_path)) == ["out", "pipe"]
    assert (tmp_path / "out").is_symlink()


@pytest.mark.parametrize("leads_to", ["there", "nowhere"])
def test_a_folder_takes_the_place_of_a_link_and_not_of_what_it_leads_to(tmp_path: Path, leads_to: str) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "out").symlink_to(leads_to)
    with files.replacing(tmp_path / "out") as temporary:
        temporary.mkdir()
        (temporary / "x").write_text("x")
    assert sorted(os.listdir(tmp_path)) == ["out", "there"]
    assert not (tmp_path / "out").is_symlink()
    assert (os.listdir(tmp_path / "out"), os.listdir(tmp_path / "there")) == (["x"], [])


def test_a_folder_that_could_not_be_replaced_whole_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("disk", "full", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "mine").touch()
    (tmp_path / "link").symlink_to("empty")
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path).name == "disk")
    for name, why in {
        "disk": "a disk is mounted there; give a new folder on it",
        "full": "holds something already; give a new folder",
        "link": "is a link, which would be replaced; give the folder itself",
        "full/mine/out": "cannot be used: Not a directory; give a new folder",
    }.items():
        with pytest.raises(InputError, match=rf"{name}: {why}$"):
            files.check_new_folder(tmp_path / name)
    with pytest.raises(InputError, match="disk: a disk is mounted there"), files.replacing(tmp_path / "disk"):
        pass
    for name in ("empty", "new", "above/new"):
        files.check_new_folder(tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["disk", "empty", "full", "link"]


@pytest.mark.parametrize("name", [".", "..", "/"])
def test_what_has_no_name_of_its_own_is_not_replaced(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(InputError, match=rf"^{re.escape(name)}: cannot be replaced; give a new name"),
        files.replacing(Path(name)),
    ):
        pass
