"""elasticface.faces.align_folder: every photo comes out aligned, or by name with the reason why it did not."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from elasticface.base import files, processes
from elasticface.base.errors import InputError, Stopped
from elasticface.data.images.alignment import TEMPLATE
from elasticface.data.images.decoding import decode, encode
from elasticface.data.images.photos import Photos
from elasticface.faces import align_folder as module
from elasticface.faces.align_folder import align_photos
from elasticface.faces.aligned import Summary
from elasticface.faces.detector import Face

JPEG = encode(np.random.default_rng(0).integers(0, 256, (120, 130, 3), dtype=np.uint8), ".jpg")


def put(root, name, data=JPEG):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(data)


def folder_of(root, names):
    for name in names:
        put(root, name)
    return Photos(root)


def content(folder):
    """Every file below a folder, hidden ones too, but not the summary and the settings: name -> bytes."""
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for name in ("align.json", "settings.json"):
        found.pop(name, None)
    return found


@pytest.fixture
def photos(tmp_path):
    return folder_of(tmp_path / "photos", ["Ann/a.jpg", "Ann/b.jpeg", "Bob/c.PNG", "d.jpg"])


def landmarks_for(names):
    return {name: np.add(TEMPLATE, [number % 7, 3]) for number, name in enumerate(names)}


def test_landmarks_on_the_template_give_the_photo_itself(tmp_path):
    face = np.random.default_rng(1).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    put(tmp_path / "photos", "Ann/a.png", encode(face, ".png"))
    align_photos(Photos(tmp_path / "photos"), tmp_path / "out", {"Ann/a.png": TEMPLATE}, format="png", workers=1)
    np.testing.assert_array_equal(decode((tmp_path / "out/Ann/a.png").read_bytes(), "a"), face)


def test_names_keep_their_folders_and_get_the_formats_suffix(photos, tmp_path):
    points = landmarks_for(photos)
    summary = align_photos(photos, str(tmp_path / "jpg"), points, workers=1)
    assert sorted(content(tmp_path / "jpg")) == ["Ann/a.jpg", "Ann/b.jpg", "Bob/c.jpg", "d.jpg"]
    assert summary == Summary(112, "jpg", aligned=4)
    align_photos(photos, tmp_path / "png", points, size=64, format="png", workers=1)
    images = content(tmp_path / "png")
    assert sorted(images) == ["Ann/a.png", "Ann/b.png", "Bob/c.png", "d.png"]
    assert all(decode(data, name).shape == (64, 64, 3) and data[1:4] == b"PNG" for name, data in images.items())


def test_one_process_and_two_make_the_same_bytes(tmp_path):
    names = [f"{number % 10}/{number}.jpg" for number in range(module.CHUNK * 2 + 5)]
    photos = folder_of(tmp_path / "photos", names)
    put(tmp_path / "photos", names[70], b"not an image")
    points = landmarks_for(names)
    one, two = (align_photos(photos, tmp_path / str(n), points, workers=n) for n in (1, 2))
    assert one == two
    assert one.aligned == len(names) - 1
    assert content(tmp_path / "1") == content(tmp_path / "2")
    assert (tmp_path / "1" / "align.json").read_bytes() == (tmp_path / "2" / "align.json").read_bytes()


def test_what_cannot_be_aligned_is_skipped_and_named_with_the_reason(photos, tmp_path):
    root = photos.path
    put(root, "Eve/cut.jpg", JPEG[:-500])
    put(root, "Eve/text.jpg", b"<html>not found</html>")
    put(root, "Eve/empty.jpg", b"")
    for name in ("one place", "absurd", "fractions", "outside"):
        put(root, f"Eve/{name}.jpg")
    (root / "Eve/away.jpg").symlink_to("/etc/passwd")
    photos = Photos(root)
    points = landmarks_for(photos) | {
        "Eve/one place.jpg": np.full((5, 2), 50.0),
        "Eve/absurd.jpg": TEMPLATE * 1e300,
        "Eve/fractions.jpg": TEMPLATE / 112,
        "Eve/outside.jpg": TEMPLATE + 500,
        "Eve/away.jpg": TEMPLATE,
    }
    summary = align_photos(photos, tmp_path / "out", points, workers=1)
    assert summary.aligned == 4
    assert list(summary.skipped) == sorted(summary.skipped)
    reasons = {name.removeprefix("Eve/"): reason for name, reason in summary.skipped.items()}
    assert reasons.keys() == {path.name for path in (root / "Eve").iterdir()}
    assert reasons["cut.jpg"] == f"the image is cut short after {len(JPEG) - 500} bytes; put it right or remove it"
    assert reasons["text.jpg"].startswith("not an image")
    assert reasons["empty.jpg"] == "the image is empty (0 bytes); put it right or remove it"
    assert reasons["one place.jpg"] == "the landmarks span less than two pixels; they must be in pixels of the photo"
    assert reasons["fractions.jpg"] == reasons["one place.jpg"]
    assert reasons["absurd.jpg"] == "the landmarks lie outside the photo, which has 130x120 pixels"
    assert reasons["outside.jpg"] == "the landmarks lie outside the photo, which has 130x120 pixels"
    assert reasons["away.jpg"] == "a link that leads out of the folder"
    assert not (tmp_path / "out" / "Eve").exists()
    assert summary.without_photo == []


def test_landmarks_that_are_far_from_the_photo_are_skipped(photos, tmp_path):
    points = landmarks_for(photos)
    points["d.jpg"] = np.add(TEMPLATE, [[1e200, 0], *[[0, 0]] * 4])
    assert align_photos(photos, tmp_path / "out", points, workers=1).skipped == {
        "d.jpg": "the landmarks lie outside the photo, which has 130x120 pixels"
    }


def test_a_long_name_is_aligned_and_of_too_long_a_one_the_face_is_skipped(tmp_path):
    names = ["x" * 251 + ".jpg", "a.jpg"]
    photos = folder_of(tmp_path / "photos", names)
    points = {name: [Face(np.zeros(4), 0.9, TEMPLATE)] * 2 for name in names}
    for resume in (False, True):
        summary = align_photos(photos, tmp_path / "out", points, workers=1, faces="all", resume=resume)
        assert summary.skipped == {f"{names[0]} (face 2)": "a longer name than a file has"}
        assert sorted(content(tmp_path / "out")) == ["a.jpg", "a_face2.jpg", names[0]]


@pytest.mark.parametrize("ours", ["faces.csv", "align.json", "settings.json"])
def test_a_folder_of_photos_that_is_called_as_a_file_of_ours_is_refused(photos, tmp_path, ours):
    (tmp_path / "odd" / ours).mkdir(parents=True)
    (tmp_path / "odd" / ours / "a.jpg").write_bytes(photos.read("d.jpg"))
    with pytest.raises(InputError, match=rf"{ours}/a.jpg: would lie where {ours} is to be; rename its folder"):
        align_photos(Photos(tmp_path / "odd"), tmp_path / "out", landmarks_for([f"{ours}/a.jpg"]), workers=1)


def test_photos_without_landmarks_and_landmarks_without_photo_are_named(photos, tmp_path):
    points = landmarks_for(["./Ann/a.jpg", "Zoe/z.jpg", "Ann/A.jpg"])
    summary = align_photos(photos, tmp_path / "out", points, workers=1)
    assert summary.aligned == 1
    assert summary.without_landmarks == ["Ann/b.jpeg", "Bob/c.PNG", "d.jpg"]
    assert summary.without_photo == ["Ann/A.jpg", "Zoe/z.jpg"]


def test_only_restricts_everything_to_the_identities_asked_for(photos, tmp_path):
    put(photos.path, "Bob/damaged.jpg", b"")
    photos = Photos(photos.path)
    points = landmarks_for(["Ann/a.jpg", "Bob/c.PNG", "Bob/damaged.jpg", "Ann/gone.jpg", "Bob/gone.jpg"])
    summary = align_photos(photos, tmp_path / "out", points, only=["Ann", "Cy", "Di"], workers=1)
    assert list(content(tmp_path / "out")) == ["Ann/a.jpg"]
    assert summary == Summary(
        112,
        "jpg",
        aligned=1,
        without_landmarks=["Ann/b.jpeg"],
        without_photo=["Ann/gone.jpg"],
        missing_identities=["Cy", "Di"],
    )


def test_the_summary_is_written_beside_the_faces_and_told_in_lines(photos, tmp_path):
    for number in range(7):
        put(photos.path, f"Eve/{number}.jpg")
    put(photos.path, "Ann/new\nline.jpg", b"")
    photos = Photos(photos.path)
    points = landmarks_for(["Ann/a.jpg", "Ann/new\nline.jpg"])
    summary = align_photos(photos, tmp_path / "out", points, workers=1)
    written = json.loads((tmp_path / "out" / "align.json").read_text())
    assert Summary(**written) == summary
    assert written["size"] == 112
    assert summary.lines() == [
        "faces aligned to 112x112 jpg: 1",
        "photos skipped: 1",
        "  Ann/new\\nline.jpg: the image is empty (0 bytes); put it right or remove it",
        "photos without landmarks: 10",
        "  Ann/b.jpeg",
        "  Bob/c.PNG",
        "  Eve/0.jpg",
        "  Eve/1.jpg",
        "  Eve/2.jpg",
        "  …",
    ]
    more = Summary(224, "png", kept=13_233, without_photo=["x.jpg"], missing_identities=["Cy"])
    assert more.lines() == [
        "faces aligned to 224x224 png: 0",
        "faces aligned before and kept: 13,233",
        "landmarks without a photo: 1",
        "  x.jpg",
        "identities without a photo: 1",
        "  Cy",
    ]


# Output that is there already, and runs that end early.


def test_what_is_there_is_refused_or_with_resume_kept(photos, tmp_path):
    out, points = tmp_path / "out", landmarks_for(photos)
    out.mkdir()
    align_photos(photos, out, points, workers=1)
    whole = content(out)
    with pytest.raises(InputError, match=r"out: holds something already; resume, or give a new folder"):
        align_photos(photos, out, points, workers=1)
    (out / "Ann" / "a.jpg").unlink()
    (out / "Ann" / "b.jpg").write_bytes(b"")  # what a power cut can leave
    (out / "Ann" / ".b.jpg.0123abcd.tmp").write_bytes(b"half")
    before = (out / "d.jpg").stat().st_mtime_ns
    summary = align_photos(photos, out, points, workers=1, resume=True)
    assert summary == Summary(112, "jpg", aligned=2, kept=2)
    assert content(out) == whole
    assert (out / "d.jpg").stat().st_mtime_ns == before
    assert align_photos(photos, out, points, workers=1, resume=True) == Summary(112, "jpg", kept=4)
    assert align_photos(photos, tmp_path / "new", points, workers=1, resume=True) == Summary(112, "jpg", aligned=4)


def test_resuming_with_other_settings_is_an_error(photos, tmp_path):
    out, points = tmp_path / "out", landmarks_for(photos)
    align_photos(photos, out, points, workers=1)
    before = content(out)
    for settings, words in (
        ({"size": 96}, "size"),
        ({"format": "png"}, "format"),
        ({"faces": "all", "only": ["Ann"]}, "identities, faces"),
        ({"landmarks": None}, "detector, landmarks"),
        ({"landmarks": points | {"d.jpg": TEMPLATE}}, "landmarks"),
    ):
        arguments = {"landmarks": points} | settings
        with pytest.raises(
            InputError, match=rf"out: was begun with other settings: {words} \(see settings.json there\)"
        ):
            align_photos(photos, out, workers=1, resume=True, **arguments)
    with pytest.raises(InputError, match="other settings: photos"):
        align_photos(folder_of(tmp_path / "others", ["a.jpg"]), out, points, workers=1, resume=True)
    assert content(out) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.jpg").write_bytes(b"mine")
    with pytest.raises(InputError, match="mine: holds something else; give a new folder"):
        align_photos(photos, tmp_path / "mine", points, workers=1, resume=True)


def test_a_run_that_is_stopped_leaves_nothing_half_made_and_can_be_resumed(tmp_path, monkeypatch):
    names = [f"{number % 10}/{number}.jpg" for number in range(module.CHUNK * 2)]
    photos, points = folder_of(tmp_path / "photos", names), landmarks_for(names)
    align_photos(photos, tmp_path / "whole", points, workers=1)
    with monkeypatch.context() as patch:
        calls = iter(range(10))

        def replace(source, target):  # the moment between the two names of a file
            if next(calls) == 6:  # the settings come first
                raise KeyboardInterrupt
            os.rename(source, target)

        patch.setattr(files.os, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            align_photos(photos, tmp_path / "out", points, workers=1)
    assert len(content(tmp_path / "out")) == 5
    assert not (tmp_path / "out" / "align.json").exists()
    assert align_photos(photos, tmp_path / "out", points, workers=1, resume=True).kept == 5
    assert content(tmp_path / "out") == content(tmp_path / "whole")


PROGRAM = """
import signal, sys
from elasticface.data.images.alignment import TEMPLATE
from elasticface.faces.align_folder import align_photos
from elasticface.data.images.photos import Photos

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which is ignored where the tests run in the background
    photos = Photos(sys.argv[1])
    try:
        align_photos(photos, sys.argv[2], {name: TEMPLATE for name in photos}, workers=2)
    except KeyboardInterrupt:
        sys.exit(77)
"""


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "killed parent"])
def test_workers_end_with_the_run(tmp_path, kind):
    big = encode(np.random.default_rng(0).integers(0, 256, (600, 600, 3), dtype=np.uint8), ".jpg")
    put(tmp_path / "photos", "0.jpg", big)
    for number in range(1, 6000):
        (tmp_path / "photos" / f"{number}.jpg").hardlink_to(tmp_path / "photos" / "0.jpg")
    (tmp_path / "program.py").write_text(PROGRAM)
    out = tmp_path / "out"
    run = subprocess.Popen(
        [sys.executable, tmp_path / "program.py", tmp_path / "photos", out],
        start_new_session=True,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        wait_until(lambda: out.exists() and len(os.listdir(out)) > 10)
        if kind == signal.SIGINT:
            os.killpg(run.pid, kind)  # as the terminal does: to every process
        else:
            run.kill()
        messages = run.communicate(timeout=120)[1].decode()  # returns once every worker has closed stderr too
        wait_until(lambda: not is_running(run.pid))
    finally:
        if is_running(run.pid):
            os.killpg(run.pid, signal.SIGKILL)
    if kind == signal.SIGINT:
        assert run.returncode == 77, messages
        assert "Traceback" not in messages
        assert not [name for name in os.listdir(out) if name.startswith(".")]
    assert 10 < len(os.listdir(out)) < 6000


def is_running(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(condition, seconds: float = 30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_killed_worker_stops_the_run_with_one_line(tmp_path, monkeypatch):
    names = [f"{number}.jpg" for number in range(module.CHUNK + 1)]
    monkeypatch.setattr(processes, "_start_worker", os._exit)  # called with a job, it raises, which ends the worker
    with pytest.raises(Stopped, match=r"a worker process was killed, .*out is good: resume with fewer work"):
        align_photos(folder_of(tmp_path / "photos", names), tmp_path / "out", landmarks_for(names))


# Input that is refused before anything is written.


def refused(tmp_path, names, message, **options):
    photos = folder_of(tmp_path / "photos", names)
    with pytest.raises(InputError, match=message):
        align_photos(photos, tmp_path / "out", options.pop("landmarks", landmarks_for(names)), workers=1, **options)
    assert not (tmp_path / "out").exists()


def test_two_photos_that_would_become_one_file_are_refused(tmp_path):
    refused(tmp_path, ["x/0.jpg", "x/a.jpg", "x/a.png"], r"^x/a.jpg and x/a.png would both become x/a.jpg; rename or r")


def test_a_photo_that_would_become_anothers_folder_is_refused(tmp_path):
    names = ["x/a.jpg/b.jpg", "x/a.png"]
    refused(tmp_path, names, r"^x/a.png would become x/a.jpg, which is the folder of x/a.jpg/b.jpg; rename one")


def test_only_photos_with_landmarks_clash(tmp_path):
    photos = folder_of(tmp_path / "photos", ["a.jpg", "a.png"])
    assert align_photos(photos, tmp_path / "out", landmarks_for(["a.png"]), workers=1).aligned == 1


def test_nothing_to_align_is_an_error_that_says_why(tmp_path):
    names = ["Ann/a.jpg"]
    refused(
        tmp_path,
        names,
        r"photos: no photo could be aligned: 1 photos \(1 of them asked for\), 1 rows of landmarks for these; photos "
        r"have names like Ann/a.jpg, landmarks like lfw/Ann/a.jpg; make them the same",
        landmarks=landmarks_for(["lfw/Ann/a.jpg"]),
    )
    refused(tmp_path, names, r"0 rows of landmarks for these; see that the folder or tar, the landmarks", landmarks={})
    refused(tmp_path, names, r"1 photos \(0 of them asked for\), 0 rows", only={"Bob"})
    put(tmp_path / "photos", "Ann/a.jpg", b"")
    with pytest.raises(InputError, match=r"; 1 could not be used, such as Ann/a.jpg: the image is empty"):
        align_photos(Photos(tmp_path / "photos"), tmp_path / "out", landmarks_for(names), workers=1)
    assert not (tmp_path / "out").exists()


def test_settings_out_of_range_are_refused(tmp_path):
    for options in ({"size": 0}, {"size": 4097}, {"format": "bmp"}):
        refused(tmp_path, ["a.jpg"], r"size must be 1 to 4096, workers at least 1 and format jpg or png, ", **options)
    with pytest.raises(InputError, match="workers 0"):
        align_photos(Photos(tmp_path / "photos"), tmp_path / "out", {}, workers=0)


def test_an_output_among_the_photos_or_in_a_files_place_is_refused(photos, tmp_path):
    for out in (photos.path, photos.path / "new", tmp_path / "x" / ".." / "photos"):
        with pytest.raises(InputError, match=r": lies where the photos are; give a folder outside .*photos"):
            align_photos(photos, out, landmarks_for(photos), workers=1, resume=True)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file: cannot be written: Not a directory; give another"):
        align_photos(photos, tmp_path / "file", landmarks_for(photos), workers=1)
