"""elasticface.faces.detect_folder: every photo is in the file, or named with the reason why it is not."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest

from elasticface.base.errors import InputError
from elasticface.base.locks import locked
from elasticface.data.images.alignment import TEMPLATE
from elasticface.data.images.decoding import decode, encode
from elasticface.data.images.photos import Photos
from elasticface.faces import Detections, Face, FaceFinder, aligned, begun, detect_folder, sheet
from elasticface.faces.align_folder import align_photos
from elasticface.faces.detect_folder import detect_photos
from elasticface.faces.landmarks import DETECTED_COLUMNS, read_faces, read_landmarks
from elasticface.faces.sheet import write_sheet


@pytest.fixture
def photos(tmp_path, rendered, photo_of):
    def put(name, image):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(image, ".png"))

    for number, face in enumerate(rendered):
        put(f"p{number}/0.png", photo_of(200, 220, (face, 150, 20, 30)))
    put("p0/two.png", photo_of(200, 400, (rendered[0], 110, 130, 40), (rendered[1], 160, 240, 20)))
    put("p1/none.png", photo_of(100, 100))
    (tmp_path / "photos/p2/bad.jpg").write_bytes(b"nothing")
    return Photos(tmp_path / "photos")


def test_the_file_has_a_line_a_face_and_one_for_a_photo_without(photos, tmp_path):
    out = tmp_path / "faces.csv"
    found = detect_photos(photos, out, workers=1)
    lines = out.read_text().splitlines()
    assert lines[0] == ",".join(DETECTED_COLUMNS)
    assert [line.split(",")[0] for line in lines[1:]] == [
        *["p0/0.png", "p0/two.png", "p0/two.png", "p1/0.png", "p1/none.png", "p2/0.png", "p2/bad.jpg", "p3/0.png"]
    ]
    assert lines[5] == "p1/none.png" + "," * 16
    assert [line.split(",")[-1] for line in lines[2:4]] == ["1", "2"]
    assert (found.photos, found.faces, found.without_face) == (6, 6, ["p1/none.png"])
    assert list(found.damaged) == ["p2/bad.jpg"]
    assert lines[7] == "p2/bad.jpg" + "," * 16 + f'"{found.damaged["p2/bad.jpg"]}"'
    assert found.damaged["p2/bad.jpg"].startswith("not an image")
    assert found.lines()[:3] == [
        "faces found in 5 of 6 photos: 6",
        "photos without a face (16.67%): 1",
        "  p1/none.png",
    ]
    assert not (tmp_path / "faces.csv.partial").exists()


def test_what_is_written_is_what_was_found(photos, tmp_path):
    detect_photos(photos, tmp_path / "faces.csv", workers=1)
    listed = read_faces(tmp_path / "faces.csv")
    assert listed["p1/none.png"] == []
    assert "p2/bad.jpg" not in listed
    assert listed.damaged.keys() == {"p2/bad.jpg"}
    assert listed.from_detector
    photo = decode(photos.read("p0/two.png"), "two")
    for told, face in zip(listed["p0/two.png"], FaceFinder().find(photo), strict=True):
        np.testing.assert_allclose(told.points, face.points, atol=0.006)
        np.testing.assert_allclose(told.box, face.box, atol=0.006)
        assert told.score == pytest.approx(face.score, abs=1e-4)
    landmarks = read_landmarks(tmp_path / "faces.csv")
    assert "p1/none.png" not in landmarks
    np.testing.assert_array_equal(landmarks["p0/two.png"], listed["p0/two.png"][0].points)


def test_two_processes_write_the_same_file(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(detect_folder, "CHUNK", 2)
    for workers in (1, 2):
        detect_photos(photos, tmp_path / f"{workers}.csv", workers=workers)
    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()


class Stopping(FaceFinder):
    """Is interrupted at its n-th photo."""

    def __init__(self, photos):
        super().__init__()
        self.left = photos

    def find(self, photo):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return super().find(photo)


def test_a_stopped_run_is_resumed_to_the_same_bytes(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(detect_folder, "CHUNK", 1)
    detect_photos(photos, tmp_path / "whole.csv", workers=1)
    out = tmp_path / "faces.csv"
    with pytest.raises(KeyboardInterrupt):
        detect_photos(photos, out, Stopping(4), workers=1)
    rows = tmp_path / "faces.csv.partial" / "rows.csv"
    rows.write_bytes(rows.read_bytes()[:-7])  # a kill can cut the last line short
    with pytest.raises(InputError, match=r"faces.csv.partial: an unfinished run; resume it"):
        detect_photos(photos, out, workers=1)
    with pytest.raises(InputError, match="was begun with other settings: detector"):
        detect_photos(photos, out, FaceFinder(smallest=50), workers=1, resume=True)
    looked = Stopping(100)
    detect_photos(photos, out, looked, workers=1, resume=True)
    assert looked.left > 100 - 6  # not all again
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    with pytest.raises(InputError, match=r"faces.csv: is there already"):
        detect_photos(photos, out, workers=1, resume=True)


def test_only_the_identities_that_are_asked_for(photos, tmp_path):
    assert detect_photos(photos, tmp_path / "a.csv", workers=1, only=["p3"]).photos == 1
    with pytest.raises(InputError, match="no photo to look at, of 7"):
        detect_photos(photos, tmp_path / "b.csv", workers=1, only=["nobody"])


def test_aligning_without_landmarks_finds_the_faces(photos, tmp_path):
    summary = align_photos(photos, tmp_path / "out", workers=1)
    assert (summary.aligned, summary.without_face) == (5, ["p1/none.png"])
    assert summary.without_landmarks == []
    assert summary.skipped["p2/bad.jpg"].startswith("not an image")
    detect_photos(photos, tmp_path / "faces.csv", workers=1)
    assert (tmp_path / "out/faces.csv").read_bytes() == (tmp_path / "faces.csv").read_bytes()
    again = align_photos(photos, tmp_path / "again", read_faces(tmp_path / "faces.csv"), workers=1)
    assert replace(again, detector=summary.detector) == summary
    for path in (tmp_path / "out").rglob("*.jpg"):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(tmp_path / "out")).read_bytes()


def test_all_faces_of_a_photo_get_a_name_each_and_the_central_one_is_by_its_place(photos, tmp_path):
    align_photos(photos, tmp_path / "all", workers=1, faces="all")
    assert sorted(path.name for path in (tmp_path / "all/p0").iterdir()) == ["0.jpg", "two.jpg", "two_face2.jpg"]
    assert align_photos(photos, tmp_path / "all", workers=1, faces="all", resume=True).kept == 6
    images = {}
    for faces in ("largest", "central"):
        align_photos(photos, tmp_path / faces, workers=1, faces=faces)
        images[faces] = (tmp_path / faces / "p0/two.jpg").read_bytes()
    assert images["largest"] == (tmp_path / "all/p0/two.jpg").read_bytes()
    assert images["largest"] != images["central"]


class Everywhere:
    """Finds a face in the middle, in any picture."""

    upright_score = 0.5

    def __init__(self, name="everywhere", score=0.9):
        self.name, self.score = name, score

    def find(self, image):
        middle = np.array(image.shape[1::-1]) / 2
        points = (TEMPLATE / 112 - 0.5) * 50 + middle
        return Detections(np.array([[*middle - 25, *middle + 25]]), np.array([self.score]), points[None])


def test_who_found_the_faces_is_who_began_the_folder(photos, tmp_path):
    one, other = FaceFinder(Everywhere("one")), FaceFinder(Everywhere("other"))
    out = tmp_path / "out"
    whole = align_photos(photos, out, workers=1, finder=one)
    with pytest.raises(InputError, match=r"out: was begun with other settings: detector \(see settings.json there\)"):
        align_photos(photos, out, workers=1, finder=other, resume=True)
    with pytest.raises(InputError, match="other settings: identities"):
        align_photos(photos, out, workers=1, finder=one, resume=True, only=["p0", "p1"])
    (out / "p0/0.jpg").unlink()
    assert aligned.read(out) == whole  # what was refused has changed nothing
    again = align_photos(photos, out, workers=1, finder=one, resume=True)
    assert (again.detector, again.aligned, again.kept) == (one.name, 1, 5)
    assert again.skipped == whole.skipped != {}


def test_of_photos_that_were_added_or_renamed_only_those_are_looked_at(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(detect_folder, "CHUNK", 1)
    out = tmp_path / "out"
    align_photos(photos, out, workers=1)
    (photos.path / "p3/1.png").write_bytes(photos.read("p3/0.png"))
    (photos.path / "p1/none.png").rename(photos.path / "p1/empty.png")
    more = Photos(photos.path)
    with pytest.raises(KeyboardInterrupt):
        align_photos(more, out, workers=1, finder=Stopping(1), resume=True)
    summary = align_photos(more, out, workers=1, finder=Stopping(2), resume=True)
    assert (summary.aligned, summary.kept, summary.without_face) == (1, 5, ["p1/empty.png"])
    assert (summary.without_photo, list(summary.skipped)) == ([], ["p2/bad.jpg"])
    detect_photos(more, tmp_path / "faces.csv", workers=1)
    assert (out / "faces.csv").read_bytes() == (tmp_path / "faces.csv").read_bytes()
    assert not (out / "faces.csv.partial").exists()


def test_photos_that_would_become_one_file_are_refused_before_faces_are_looked_for(photos, tmp_path):
    (photos.path / "p3/0.jpg").write_bytes(photos.read("p3/0.png"))
    with pytest.raises(InputError, match=r"p3/0.jpg and p3/0.png would both become p3/0.jpg"):
        align_photos(Photos(photos.path), tmp_path / "out", workers=1, finder=Stopping(0))
    assert not (tmp_path / "out").exists()


def test_a_detection_that_was_stopped_while_aligning_is_resumed_too(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(detect_folder, "CHUNK", 1)
    whole = align_photos(photos, tmp_path / "whole", workers=1)
    with pytest.raises(KeyboardInterrupt):
        align_photos(photos, tmp_path / "out", workers=1, finder=Stopping(4))
    assert not (tmp_path / "out/align.json").exists()
    assert align_photos(photos, tmp_path / "out", workers=1, finder=FaceFinder(), resume=True) == whole
    names = [sorted(path.name for path in (tmp_path / out).iterdir()) for out in ("out", "whole")]
    assert names[0] == names[1]


@pytest.mark.parametrize(
    ("work", "made", "message"),
    [
        (align_photos, "out/faces.csv", "out: holds something already"),
        (detect_photos, "out", "out: is there already"),
        (detect_photos, "out.partial/rows.csv", "out.partial: an unfinished run"),
    ],
)
def test_what_is_there_is_looked_at_once_the_folder_is_held(work, made, message, photos, tmp_path, monkeypatch):
    """Another process may have been at it until then."""

    @contextlib.contextmanager
    def locked_after_another(folder):
        with locked(folder):
            (tmp_path / made).parent.mkdir(exist_ok=True)
            (tmp_path / made).touch()
            yield

    monkeypatch.setattr(begun, "locked", locked_after_another)
    with pytest.raises(InputError, match=message):
        work(photos, tmp_path / "out", workers=1)


@pytest.mark.parametrize("cut", [0, 1, 7, 40, 200, 400])
def test_wherever_a_kill_cuts_the_rows_what_is_before_is_kept(cut, photos, tmp_path, monkeypatch):
    """Names hold what makes reading lines hard."""
    for number, name in enumerate(["p0/0.png", "p0/two.png", "p1/0.png"]):
        (photos.path / name).rename(photos.path / f'p{number}/é, "a"\r\nb{number}.png')
    photos = Photos(photos.path)
    monkeypatch.setattr(detect_folder, "CHUNK", 1)
    detect_photos(photos, tmp_path / "whole.csv", workers=1)
    with pytest.raises(KeyboardInterrupt):
        detect_photos(photos, tmp_path / "faces.csv", Stopping(5), workers=1)
    rows = tmp_path / "faces.csv.partial" / "rows.csv"
    rows.write_bytes(rows.read_bytes()[: -cut or None])
    found = detect_photos(photos, tmp_path / "faces.csv", workers=1, resume=True)
    assert (tmp_path / "faces.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert (found.photos, found.faces, found.without_face) == (6, 6, ["p1/none.png"])


def test_a_photo_that_was_put_right_is_looked_at_on_resume(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(detect_folder, "CHUNK", 1)
    with pytest.raises(KeyboardInterrupt):
        detect_photos(photos, tmp_path / "faces.csv", Stopping(5), workers=1)  # after the damaged one
    (photos.path / "p2/bad.jpg").write_bytes(photos.read("p2/0.png"))
    found = detect_photos(photos, tmp_path / "faces.csv", workers=1, resume=True)
    assert (found.photos, found.damaged) == (7, {})


def test_a_name_that_is_not_utf8_is_left_out_of_all_that_is_written(photos, tmp_path):
    (photos.path / "p3/Zo\udceb.png").write_bytes(photos.read("p3/0.png"))
    photos = Photos(photos.path)
    left_out = {"p3/Zo\\xeb.png": "a name that is not UTF-8"}
    assert detect_photos(photos, tmp_path / "faces.csv", workers=1).left_out == left_out
    summary = align_photos(photos, tmp_path / "out", workers=1, only=["p3"])
    assert summary.skipped == left_out
    assert aligned.read(tmp_path / "out") == summary
    assert align_photos(photos, tmp_path / "out", workers=1, only=["p3"], resume=True).kept == 1


def test_what_was_left_out_is_of_the_identities_that_are_asked_for(photos, tmp_path):
    for name in ("p0/raw.cr2", "p3/raw.cr2"):
        (photos.path / name).write_bytes(b"raw")
    found = detect_photos(Photos(photos.path), tmp_path / "faces.csv", workers=1, only=["p3"])
    assert list(found.left_out) == ["p3/raw.cr2"]


def test_names_are_the_same_in_all_forms_of_unicode(tmp_path):
    composed, decomposed = "Jos\u00e9/0.png", "Jose\u0301/0.png"
    path = tmp_path / "photos" / decomposed
    path.parent.mkdir(parents=True)
    path.write_bytes(encode(np.zeros((112, 112, 3), np.uint8), ".png"))
    for number, only in enumerate((None, ["Jos\u00e9"], ["Jose\u0301"])):
        out = tmp_path / str(number)
        summary = align_photos(Photos(tmp_path / "photos"), out, {composed: TEMPLATE}, workers=1, only=only)
        assert (summary.aligned, summary.without_photo, summary.without_landmarks) == (1, [], [])
        assert summary.missing_identities == []


def test_a_sheet_shows_the_doubtful_first(photos, tmp_path):
    detect_photos(photos, tmp_path / "faces.csv", workers=1)
    write_sheet(tmp_path / "sheet.png", photos, read_faces(tmp_path / "faces.csv"), "all")
    picture = decode((tmp_path / "sheet.png").read_bytes(), "sheet")
    assert picture.shape[1] > 4 * picture.shape[0] / 2
    red = (picture[..., 0] == 200) & (picture[..., 1] == 30)
    assert red.any()
    assert np.flatnonzero(red.any(axis=0)).max() < picture.shape[1] / 4  # in the first column alone


def test_a_sheet_is_sorted_by_the_face_that_it_shows(photos, tmp_path, monkeypatch):
    """The largest face of p0/two.png is doubtful, the central one is not; and of p0 the sheet shows no other."""
    shown: list[str] = []
    monkeypatch.setattr(sheet, "_drawn", lambda tiles, title: shown.extend(tile.label for tile in tiles) or b"")
    middle, side = np.add(TEMPLATE, [144, 44]), np.add(TEMPLATE, [20, 40])
    found = {
        "p0/0.png": [Face(np.zeros(4), 0.8, TEMPLATE + 30)],
        "p0/two.png": [Face(np.zeros(4), 0.7, side), Face(np.zeros(4), 0.9, middle)],
        "p1/none.png": [],
        "p3/0.png": [Face(np.zeros(4), 0.1, TEMPLATE + 30)],
    }
    for choice, scores in (("largest", [0.7, 0.8]), ("central", [0.8, 0.9]), ("all", [0.7, 0.9, 0.8])):
        shown.clear()
        write_sheet(tmp_path / "sheet.png", photos, found, choice, only=["p0"])
        assert [float(label.split("\n")[1]) for label in shown] == scores


def test_a_sheet_shows_the_faces_that_are_skipped_before_the_lowest_scores(photos, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(sheet, "_drawn", lambda tiles, title: drawn.append(([t.label for t in tiles], title)) or b"")
    swapped = TEMPLATE[[1, 0, 2, 4, 3]]
    found = {
        "p0/0.png": [Face(np.zeros(4), 0.1, TEMPLATE + 30)],
        "p1/none.png": [],
        "p1/0.png": [Face(np.zeros(4), 0.99, swapped)],
        "p3/0.png": [Face(np.zeros(4), 0.9, TEMPLATE + 500)],  # outside the photo
    }
    write_sheet(tmp_path / "sheet.png", photos, found)
    labels, title = drawn[0]
    assert labels == ["none.png", "0.png\nskipped", "0.png\n0.10", "0.png\nskipped"]
    assert title.startswith("2 photos with a face, 1 without, 1 skipped for their landmarks (red). Shown: 4,")


def test_no_face_at_all_is_said(tmp_path, photo_of):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.png").write_bytes(encode(photo_of(50, 50), ".png"))
    with pytest.raises(InputError, match=r"no photo could be aligned: 1 photos .* no face was found in 1 of them"):
        align_photos(Photos(tmp_path / "photos"), tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()


def test_another_detector_plugs_in(photos, tmp_path):
    found = detect_photos(photos, tmp_path / "faces.csv", FaceFinder(Everywhere()), workers=1)
    assert (found.photos, found.faces, found.without_face) == (6, 6, [])
