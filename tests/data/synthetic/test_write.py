"""elasticface.data.synthetic.write: a folder with the same bytes however it came about, and what is left untouched."""

import csv
import errno
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import warnings

import numpy as np
import pytest

import elasticface
from elasticface.base import files
from elasticface.base.errors import InputError, Stopped
from elasticface.base.locks import locked
from elasticface.data import open_dataset
from elasticface.data.images.decoding import encode
from elasticface.data.synthetic import source, write
from elasticface.data.synthetic.scene import Variation
from elasticface.data.synthetic.source import SyntheticFaces
from elasticface.data.synthetic.studio import RENDERER_VERSION, Studio
from elasticface.data.synthetic.write import METADATA, RECORD, Summary, write_faces

SET = {"identities": 3, "images_per_identity": 4, "seed": 1, "first": 5}
NAMES = [f"person-00000{identity}/000{photo}.jpg" for identity in (5, 6, 7) for photo in range(4)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The set, made in one go by one process."""
    out = tmp_path_factory.mktemp("whole") / "faces"
    write_faces(out, **SET, workers=1)
    return out


@functools.cache
def image(seed, variation, identity, photo):
    return source.studio(seed, variation).image(identity, photo)


@pytest.fixture
def remembered(monkeypatch):
    """Images of this process are rendered once and remembered: what is tested is what becomes of them."""

    class Remembering(Studio):
        def image(self, identity, photo):
            return image(self.seed, self.variation, identity, photo)

    monkeypatch.setattr(write, "studio", Remembering)


@pytest.fixture
def copy(whole, tmp_path, remembered):
    """A copy of it to spoil."""
    return shutil.copytree(whole, tmp_path / "faces")


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def times(folder):
    """When each file and folder was last changed."""
    return {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


# ---------------------------------------------------------------------------------------------- what is written


def test_an_image_a_photo_a_folder_a_person(whole):
    assert sorted(content(whole)) == sorted([*NAMES, METADATA, RECORD])
    faces = SyntheticFaces(identities=3, images=4, seed=1, first=5, cache=False)
    for index, name in enumerate(NAMES):
        assert (whole / name).read_bytes() == encode(faces[index][0], ".jpg")


def test_the_folder_is_a_training_set_with_the_labels_of_the_description(whole):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder = open_dataset(whole)
    faces = open_dataset("synthetic:identities=3,images=4,seed=1,first=5", cache=False)
    assert folder.class_names == faces.class_names
    assert np.array_equal(folder.labels, faces.labels)
    image, rendered = folder[7][0].astype(float), faces[7][0].astype(float)
    assert image.shape == rendered.shape == (112, 112, 3)
    assert np.abs(image - rendered).mean() < np.abs(image - faces[0][0]).mean() / 2


def test_the_metadata_has_a_row_a_photo_with_what_the_studio_says(whole):
    studio = Studio(1, Variation())
    with (whole / METADATA).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == NAMES
    for row, (identity, photo) in zip(rows, [(i, k) for i in (5, 6, 7) for k in range(4)], strict=True):
        expected = {"identity": identity, "photo": photo, **studio.metadata(identity, photo)}
        assert row == {"file": row["file"], **{name: str(value) for name, value in expected.items()}}
    assert b"\r" not in (whole / METADATA).read_bytes()


def test_the_record_has_the_arguments_and_versions(whole):
    record = json.loads((whole / RECORD).read_text())
    assert record["arguments"] == {**SET, "heterogeneity": 0.5, "appearance": "varying"}
    assert record["renderer"] == RENDERER_VERSION
    assert record["versions"]["elasticface"] == elasticface.__version__
    assert {"python", "numpy"} <= record["versions"].keys()


def test_one_process_and_two_make_the_same_bytes(whole, tmp_path):
    summary = write_faces(tmp_path / "out", **SET, workers=2)
    assert content(tmp_path / "out") == content(whole)
    size = sum(len(data) for name, data in content(whole).items() if name in NAMES)
    assert summary == Summary(tmp_path / "out", 3, made=12, kept=0, bytes=size)


def test_the_chunks_make_no_difference(whole, tmp_path, monkeypatch, remembered):
    monkeypatch.setattr(write, "CHUNK", 3)
    write_faces(str(tmp_path / "deep" / "out"), **SET, workers=1)
    assert content(tmp_path / "deep" / "out") == content(whole)


def test_the_summary_is_told_in_lines(tmp_path):
    out = tmp_path / "out"
    rest = [str(out), str(out / METADATA), str(out / RECORD)]
    first = "faces: 1,000 people, 16,000 images of 112x112, 70.4 MB"
    assert Summary(out, 1000, 16_000, 0, 70_400_000).lines() == [first, *rest]
    told = [first, "made now: 6,000; kept from an earlier run: 10,000", *rest]
    assert Summary(out, 1000, 6000, 10_000, 70_400_000).lines() == told
    told = [first, "all of them were there already; nothing was changed", *rest]
    assert Summary(out, 1000, 0, 16_000, 70_400_000, changed=False).lines() == told


# ---------------------------------------------------------------------------------------------- again


def test_a_whole_folder_is_left_as_it_is(whole, monkeypatch):
    monkeypatch.setattr(write, "studio", None)
    monkeypatch.setattr(files, "room", lambda path: 0)
    before = times(whole)
    summary = write_faces(whole, **SET, workers=2)
    assert (summary.made, summary.kept, summary.changed) == (0, 12, False)
    assert times(whole) == before


def test_what_is_missing_is_made_and_the_rest_is_kept(whole, copy):
    shutil.rmtree(copy / "person-000006")
    (copy / NAMES[3]).unlink()
    (copy / NAMES[8]).write_bytes(b"")  # what a power cut can leave
    (copy / "person-000007" / ".0001.jpg.0123abcd.tmp").write_bytes(b"half")
    (copy / METADATA).unlink()
    kept = [copy / name for name in (*NAMES[:3], *NAMES[9:], RECORD)]
    before = [path.stat().st_mtime_ns for path in kept]
    summary = write_faces(copy, **SET, workers=1)
    assert (summary.made, summary.kept) == (6, 6)
    assert summary.bytes == sum((whole / name).stat().st_size for name in NAMES)
    assert content(copy) == content(whole)
    assert [path.stat().st_mtime_ns for path in kept] == before


def test_metadata_alone_is_written_anew_and_a_lost_image_leaves_it_alone(whole, copy):
    (copy / METADATA).unlink()
    assert write_faces(copy, **SET, workers=1).made == 0
    assert content(copy) == content(whole)
    (copy / NAMES[3]).unlink()
    before = (copy / METADATA).stat().st_mtime_ns
    assert write_faces(copy, **SET, workers=1).made == 1
    assert content(copy) == content(whole)
    assert (copy / METADATA).stat().st_mtime_ns == before


KILLED = f"""
import os, signal, sys
from elasticface.base import files
from elasticface.data.synthetic.write import write_faces

replace, calls = os.replace, []

def die_at_the_eighth(*names):  # the moment between the two names of a file
    calls.append(names)
    if len(calls) == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*names)

files.os.replace = die_at_the_eighth
write_faces(sys.argv[1], **{SET}, workers=1)
"""


def test_a_killed_run_goes_on_to_the_same_bytes(whole, tmp_path, remembered):
    out = tmp_path / "out"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", KILLED, out], env=environment, capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    left = content(out)
    assert len([name for name in left if name in NAMES]) == 6
    assert len([name for name in left if files.is_temporary(name.rpartition("/")[2])]) == 1
    assert METADATA not in left
    summary = write_faces(out, **SET, workers=1)
    assert (summary.made, summary.kept) == (6, 6)
    assert content(out) == content(whole)


def test_ctrl_c_leaves_nothing_half_made(whole, tmp_path, monkeypatch, remembered):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        calls = iter(range(10))

        def replace(source, target):
            if next(calls) == 5:
                raise KeyboardInterrupt
            os.rename(source, target)

        patch.setattr(files.os, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            write_faces(out, **SET, workers=1)
    assert sorted(content(out)) == sorted([*NAMES[:4], RECORD])
    write_faces(out, **SET, workers=1)
    assert content(out) == content(whole)


def test_a_run_that_was_killed_at_its_very_start_goes_on(whole, tmp_path, remembered):
    (tmp_path / ".synthetic.json.0123abcd.tmp").write_bytes(b"{")
    write_faces(tmp_path, **SET, workers=1)
    assert content(tmp_path) == content(whole)


def test_a_disk_that_gets_full_stops_the_run_with_one_line(whole, tmp_path, monkeypatch, remembered):
    real, calls = write.files.write_bytes, iter(range(100))

    def fill_up(path, data, sync=True):
        if next(calls) == 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, data, sync)

    with monkeypatch.context() as patch:
        patch.setattr(write.files, "write_bytes", fill_up)
        message = (
            r"out: No space left on device; what is there is good: make room, then give the same command to resume$"
        )
        with pytest.raises(Stopped, match=message):
            write_faces(tmp_path / "out", **SET, workers=1)
    write_faces(tmp_path / "out", **SET, workers=1)
    assert content(tmp_path / "out") == content(whole)


# ---------------------------------------------------------------------------------------------- refused


def refused(out, message, **changes):
    """Refused in one line, and nothing touched. A message in raw regex."""
    before = times(out) if out.exists() else None
    with pytest.raises(InputError, match=message) as error:
        write_faces(out, **{**SET, "workers": 1, **changes})
    assert "\n" not in str(error.value)
    assert (times(out) if out.exists() else None) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"identities": 0}, r"^identities must be 1 to 1,000,000, got 0"),
        ({"identities": -1}, r"^identities must be 1 to 1,000,000, got -1"),
        ({"identities": 10**30}, r"^identities must be 1 to 1,000,000, got 10000"),
        ({"images_per_identity": 0}, r"^images of each identity must be 1 to 10,000, got 0"),
        ({"images_per_identity": 10_001}, r"^images of each identity must be 1 to 10,000, got 10001"),
        (
            {"identities": 900_000, "images_per_identity": 900},
            r"^a set has at most 100,000,000 images, not 900,000 tim",
        ),
        ({"seed": -1}, r"^seed must be 0 to"),
        ({"first": -1}, r"^first must be 0 to 999,999, got -1"),
        ({"first": 999_999}, r"^first and identities together must be at most 1,000,000, got 999,999 \+ 3"),
        ({"workers": 0}, r"^workers must be 1 to 256, got 0"),
        ({"workers": 10**6}, r"^workers must be 1 to 256, got 1000000"),
        ({"variation": Variation(heterogeneity=-1.0)}, r"^heterogeneity must be 0 to 2, got -1.0"),
        ({"variation": Variation(appearance="odd")}, r"^appearance must be one of varying, frozen, redrawn, got 'odd'"),
    ],
)
def test_arguments_out_of_range_are_refused(changes, message, tmp_path):
    refused(tmp_path / "out", message, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"identities": 4}, r"identities 3 -> 4"),
        ({"images_per_identity": 5, "seed": 2}, r"images_per_identity 4 -> 5, seed 1 -> 2"),
        ({"first": 0}, r"first 5 -> 0"),
        ({"variation": Variation(heterogeneity=0.0)}, r"heterogeneity 0.5 -> 0.0"),
        ({"variation": Variation(appearance="frozen")}, r"appearance varying -> frozen"),
    ],
)
def test_faces_of_other_arguments_are_refused(changes, message, whole):
    refused(whole, rf"faces: holds faces of other arguments: {message}; give the same, or a new folder$", **changes)


def test_faces_of_another_renderer_are_refused(whole, monkeypatch):
    monkeypatch.setattr(write, "RENDERER_VERSION", RENDERER_VERSION + 1)
    refused(whole, rf"arguments: version of the renderer {RENDERER_VERSION} -> {RENDERER_VERSION + 1}; give the same")


def test_a_folder_that_is_not_ours_and_a_file_are_refused(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").touch()
    (tmp_path / "notes" / ".synthetic.json.0123abcd.tmp").touch()
    refused(tmp_path / "notes", r"notes: holds something that is no set of synthetic faces; give a new folder$")
    refused(tmp_path / "notes" / "mine.txt", r"mine.txt: cannot be used: Not a directory; give a new folder$")


@pytest.mark.parametrize("record", [b"", b"{", b"[]", b"3", b'{"arguments": 3}', b'{"arguments": {}}', b"\xff"])
def test_a_damaged_record_is_refused(record, copy):
    (copy / RECORD).write_bytes(record)
    refused(copy, r"faces/synthetic.json( is 3)?: .+; give a new folder$")


def test_more_than_the_disk_has_room_for_is_refused_with_the_figures(copy, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=files.RESERVE + 90_000)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage)
    message = (
        r"out: 12 images take about 98.3 kB, the disk has room for 90.0 kB with 1.1 GB left free; ask for fewer, or"
    )
    refused(tmp_path / "out", message)
    assert not (tmp_path / "out").exists()
    (copy / NAMES[0]).unlink()  # what is there takes no more room
    write_faces(copy, **SET, workers=1)


def test_a_folder_that_another_process_writes_is_refused(copy):
    (copy / NAMES[0]).unlink()
    with locked(copy):
        refused(copy, r"faces: another process \(pid \d+ on .*\) is writing to it; wait until that is done")
    assert write_faces(copy, **SET, workers=1).made == 1
