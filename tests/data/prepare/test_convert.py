"""A conversion carries bytes over, keeps labels and pixels, is resumed where it was stopped, and is whole or absent."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import records
from hypothesis import given
from hypothesis import strategies as st

import elasticface
from elasticface.base.errors import InputError, Stopped
from elasticface.data import EncodedSource, Source, open_dataset
from elasticface.data.formats.shards import write_shard
from elasticface.data.images.decoding import encode
from elasticface.data.prepare import convert as convert_module
from elasticface.data.prepare.convert import convert, digest

FORMATS = ("folder", "recordio", "shards")


def face(number: int, suffix: str = ".jpg", side: int = 112) -> bytes:
    rng = np.random.default_rng(number)
    return encode(
        np.kron(rng.integers(0, 256, (side // 8, side // 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8)), suffix
    )


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten images of four people, JPEG and PNG, one of them twice."""
    root = tmp_path_factory.mktemp("people") / "faces"
    for number in range(10):
        path = root / f"person-{number % 4}" / f"{number}{'.png' if number % 3 else '.jpg'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(face(number % 9, path.suffix))
    return root


@pytest.fixture(autouse=True)
def _unexpected_warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def contents(source: Source) -> list[tuple[int, bytes]]:
    """Label and bytes of every image, sorted."""
    assert isinstance(source, EncodedSource)
    return sorted((label, data) for data, label in map(source.encoded, range(len(source))))


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("first", "second"), list(itertools.product(FORMATS, FORMATS)))
def test_from_any_format_to_any_other_all_bytes_and_labels_stay(
    first: str, second: str, people: Path, tmp_path: Path
) -> None:
    one = convert(people, tmp_path / "one", first, per_shard=4)
    two = convert(tmp_path / "one", tmp_path / "two", second, per_shard=3)
    before = contents(open_dataset(people))
    for name, summary in (("one", one), ("two", two)):
        assert contents(open_dataset(tmp_path / name)) == before
        assert (summary.images, summary.identities, summary.carried, summary.damaged) == (10, 4, 10, 0)
        assert json.loads((tmp_path / name / "convert.json").read_text())["checksum"] == summary.checksum
    assert one.checksum == two.checksum
    assert sorted(os.listdir(tmp_path)) == ["one", "two"]


def test_the_checksum_is_the_sum_over_labels_and_pixels(people: Path, tmp_path: Path) -> None:
    source = open_dataset(people)
    longhand = sum(digest(label, image) for image, label in map(source.__getitem__, range(10))) % 2**256
    assert convert(people, tmp_path / "x", "shards").checksum == f"{longhand:064x}"


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 3))
def test_a_digest_tells_labels_pixels_and_shapes_apart(a: int, b: int, label: int) -> None:
    image = np.zeros((4, 5, 3), np.uint8)
    changed = image.copy()
    changed.flat[a % 60] = b
    assert (digest(label, image) == digest(label, changed)) == (b == 0)
    assert digest(label, image) != digest(label + 1, image)


def test_the_layouts_are_those_that_others_read(people: Path, tmp_path: Path) -> None:
    for format in FORMATS:
        convert(people, tmp_path / format, format, per_shard=4)
    assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == [
        "convert.json",
        *(f"shard-00000{n}.tar" for n in range(3)),
    ]
    with tarfile.open(tmp_path / "shards" / "shard-000002.tar") as tar:
        assert len(tar.getnames()) == 2 * 2
    made = records.read_all((tmp_path / "recordio" / "train.rec").read_bytes())
    assert len(made) == 1 + 10 + 4
    assert (tmp_path / "recordio" / "property").read_text() == "4,112,112\n"
    assert list(open_dataset(tmp_path / "folder").class_names) == [f"person-{n}" for n in range(4)]
    convert(tmp_path / "recordio", tmp_path / "back", "folder")
    assert list(open_dataset(tmp_path / "back").class_names) == [f"{n:06}" for n in range(4)]


def test_shards_are_drawn_and_the_seed_draws_them(people: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        convert(people, tmp_path / name, "shards", per_shard=4, seed=seed)
    a, b, c = (open_dataset(tmp_path / name).labels.tolist() for name in "abc")
    assert a == b != c
    assert a != sorted(a)


def test_images_of_another_size_are_resized_once_and_keep_their_pixels(tmp_path: Path) -> None:
    for number, side in enumerate((112, 64)):
        (tmp_path / "faces" / str(number)).mkdir(parents=True)
        (tmp_path / "faces" / str(number) / "x.jpg").write_bytes(face(number, side=side))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = open_dataset(tmp_path / "faces")
        summary = convert(tmp_path / "faces", tmp_path / "made", "recordio")
        images = [before[index][0] for index in range(2)]
    after = open_dataset(tmp_path / "made")
    assert (summary.images, summary.carried) == (2, 1)
    assert after.encoded(0)[0] == face(0)
    for index in range(2):
        np.testing.assert_array_equal(after[index][0], images[index])
    assert any("encoded again, as PNG: 1" in line for line in summary.lines())


def test_rendered_faces_become_a_set(tmp_path: Path) -> None:
    spec = "synthetic:identities=2,images=2"
    summary = convert(spec, tmp_path / "made", "shards")
    assert (summary.images, summary.carried) == (4, 0)
    faces = open_dataset(spec)
    pixels = sorted(faces[index][0].tobytes() for index in range(4))
    made = open_dataset(tmp_path / "made")
    assert sorted(made[index][0].tobytes() for index in range(4)) == pixels


@pytest.mark.parametrize("to", FORMATS)
def test_damaged_images_are_named_and_left_out(to: str, people: Path, tmp_path: Path) -> None:
    faces = shutil.copytree(people, tmp_path / "faces")
    (faces / "person-1" / "5.png").write_bytes(face(5)[:-30])
    (faces / "person-3" / "7.png").write_bytes(b"")
    summary = convert(faces, tmp_path / "made", to)
    assert (summary.images, summary.damaged) == (8, 2)
    bad = [json.loads(line) for line in (tmp_path / "made" / "bad_items.jsonl").read_text().splitlines()]
    assert sorted(item["reason"].split(": ")[0].rpartition("/")[2] for item in bad) == ["5.png", "7.png"]
    source = open_dataset(faces)
    assert all(source.name(item["index"]) in item["reason"] for item in bad)
    assert len(open_dataset(tmp_path / "made")) == 8
    assert any("damaged and left out: 2" in line for line in summary.lines())


def test_a_set_of_nothing_but_damage_is_refused(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / "faces" / str(number)).mkdir(parents=True)
        (tmp_path / "faces" / str(number) / "x.jpg").write_bytes(b"")
    with pytest.raises(InputError, match="no image in it is good; 2 are damaged"):
        convert(tmp_path / "faces", tmp_path / "made", "recordio")
    assert os.listdir(tmp_path) == ["faces"]


# ---------------------------------------------------------------------------------------------- stopping


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("where", ["writing", "finishing", "verifying"])
def test_a_stopped_conversion_goes_on_to_the_same_bytes(
    to: str, where: str, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces = shutil.copytree(people, tmp_path / "faces")
    (faces / "person-0" / "0.jpg").write_bytes(b"")
    monkeypatch.setattr(convert_module, "CHUNK", 3)
    convert(faces, tmp_path / "unbroken", to, per_shard=3)
    with monkeypatch.context() as patch:
        calls = itertools.count()

        def stop(*arguments: object) -> None:
            if where != "writing" or next(calls) == 5:
                raise KeyboardInterrupt
            return original(*arguments)

        target, name = {
            "writing": (convert_module, "digest"),
            "finishing": (convert_module.targets.TARGETS[to], "finish"),
            "verifying": (convert_module, "_verify"),
        }[where]
        original = getattr(target, name)
        patch.setattr(target, name, stop)
        with pytest.raises(Stopped, match=r"stopped; resume, with the same settings, by: elasticface convert .* --res"):
            convert(faces, tmp_path / "made", to, per_shard=3)
    assert not (tmp_path / "made").exists()
    with pytest.raises(InputError, match="a conversion into it was stopped; add --resume, or remove "):
        convert(faces, tmp_path / "made", to, per_shard=3)
    if to == "shards":
        with pytest.raises(InputError, match=r"other settings \(per_shard 3 -> 5\)"):
            convert(faces, tmp_path / "made", to, per_shard=5, resume=True)
    convert(faces, tmp_path / "made", to, per_shard=3, resume=True)
    one, other = tree(tmp_path / "unbroken"), tree(tmp_path / "made")
    ours, theirs = (json.loads(found.pop("convert.json")) for found in (one, other))
    assert ours.pop("out") != theirs.pop("out")
    assert ours == theirs
    assert one == other
    assert sorted(os.listdir(tmp_path)) == ["faces", "made", "unbroken"]


def test_a_killed_conversion_goes_on(people: Path, tmp_path: Path) -> None:
    faces = tmp_path / "faces"
    for number in range(40):
        write = faces / str(number % 2) / f"{number}.png"
        write.parent.mkdir(parents=True, exist_ok=True)
        write.write_bytes(face(number, ".png"))
    program = (
        "import sys, time; from elasticface.data.prepare import convert as c; c.CHUNK = 2\n"
        "read = c.digest\ndef slow(*a):\n    time.sleep(0.02)\n    return read(*a)\n"
        "c.digest = slow\nc.convert(sys.argv[1], sys.argv[2], 'recordio')"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(elasticface.__file__).parent.parent)}
    process = subprocess.Popen([sys.executable, "-c", program, str(faces), str(tmp_path / "made")], env=environment)
    state = tmp_path / ".made.partial" / "state.json"
    try:
        while not state.exists():
            assert process.poll() is None
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "made").exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convert_module, "CHUNK", 2)
        convert(faces, tmp_path / "made", "recordio", resume=True)
        convert(faces, tmp_path / "unbroken", "recordio")
    for name in ("train.rec", "train.idx"):
        assert (tmp_path / "made" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes()


@pytest.mark.parametrize("to", FORMATS)
def test_what_is_read_back_otherwise_than_it_was_written_is_refused(
    to: str, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = convert_module._verify

    def damaged(source: Source, content: Path, *rest: object) -> None:
        path = max(content.rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
        data = path.read_bytes()
        at = data.find(face(1, ".png"))
        assert at >= 0 or to == "folder"
        other = face(2, ".png").ljust(len(face(1, ".png")), b"\0")[: len(face(1, ".png"))]
        if to == "folder":
            path.write_bytes(face(8, ".png") if data != face(8, ".png") else face(1, ".png"))
        else:
            path.write_bytes(data[:at] + other + data[at + len(other) :])
        real(source, content, *rest)

    monkeypatch.setattr(convert_module, "_verify", damaged)
    with pytest.raises((Stopped, InputError)):
        convert(people, tmp_path / "made", to)
    assert not (tmp_path / "made").exists()


# ---------------------------------------------------------------------------------------------- what is refused


def test_places_and_settings_that_cannot_be_used_are_refused(people: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for out, options, message in (
        ("there", {}, "is there already; give a new name"),
        ("new", {"size": 0}, "size must be 1 to 4096"),
        ("new", {"per_shard": 0}, "images a shard at least 1"),
        ("new", {"seed": -1}, "seed at least 0"),
    ):
        with pytest.raises(InputError, match=message):
            convert(people, tmp_path / out, "shards", **options)
    with pytest.raises(InputError, match="must be one of folder, recordio, shards, got zip"):
        convert(people, tmp_path / "new", "zip")  # type: ignore[arg-type]
    for nameless in (".", "", "/", "there/.."):
        with pytest.raises(InputError, match="cannot be replaced; give a new name"):
            convert(people, nameless, "shards")
    with pytest.raises(InputError, match="lies in the set that is converted"):
        convert(people, people / "made", "recordio")
    convert(people, tmp_path / "made", "recordio")
    with pytest.raises(InputError, match="is there already whole"):
        convert(people, tmp_path / "made", "recordio", resume=True)
    assert sorted(os.listdir(tmp_path)) == ["made", "there"]


def test_a_source_that_changed_meanwhile_is_refused(
    people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces = shutil.copytree(people, tmp_path / "faces")
    monkeypatch.setattr(convert_module, "CHUNK", 3)
    with monkeypatch.context() as patch:
        patch.setattr(convert_module, "_verify", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(Stopped):
            convert(faces, tmp_path / "made", "recordio")
    (faces / "person-0" / "0.jpg").unlink()
    with pytest.raises(InputError, match=r"other settings \(images 10 -> 9"):
        convert(faces, tmp_path / "made", "recordio", resume=True)
    state = tmp_path / ".made.partial" / "state.json"
    good = json.loads(state.read_text())
    for wrong, message in (
        ({}, "arguments"),
        ({**good, "steps": -1}, "steps is -1"),
        ({**good, "position": [True]}, r"position\[0\] is True"),
        ({**good, "summary": {**good["summary"], "checksum": "0x1"}}, r"summary\.checksum is '0x1'"),
    ):
        state.write_text(json.dumps(wrong))
        with pytest.raises(InputError, match=rf"state\.json: .*{message}.*; remove .*\.made\.partial and begin again$"):
            convert(faces, tmp_path / "made", "recordio", resume=True)


def test_labels_with_gaps_stay_as_they_are(tmp_path: Path) -> None:
    write_shard(tmp_path / "x.tar", [(str(n), "jpg", face(n), label) for n, label in enumerate((5, 0, 9, 5))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = contents(open_dataset(tmp_path / "x.tar"))
        convert(tmp_path / "x.tar", tmp_path / "rec", "recordio")
        convert(tmp_path / "rec", tmp_path / "folder", "folder")
        assert contents(open_dataset(tmp_path / "rec")) == before
    assert list(open_dataset(tmp_path / "folder").class_names) == ["000000", "000005", "000009"]


def test_identities_are_counted_by_the_images_that_were_written(tmp_path: Path) -> None:
    for name, image in (("a", face(1)), ("b", b""), ("c", face(2))):
        (tmp_path / "faces" / name).mkdir(parents=True)
        (tmp_path / "faces" / name / "x.jpg").write_bytes(image)
    for to, what in (("folder", "no folder, so the labels after them move up"), ("recordio", "the labels stay")):
        summary = convert(tmp_path / "faces", tmp_path / to, to)  # type: ignore[arg-type]
        assert f"{to}: 2 images of 2 identities" in summary.lines()
        assert f"identities without an image: 1; {what}" in summary.lines()


def test_only_what_every_reader_knows_is_carried_over(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    (tmp_path / "faces" / "a").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "faces" / "a" / "x.bmp"), np.zeros((112, 112, 3), np.uint8))
    assert convert(tmp_path / "faces", tmp_path / "made", "folder").carried == 0
    assert [path.suffix for path in (tmp_path / "made" / "a").iterdir()] == [".png"]


def test_a_kill_after_the_set_has_its_name_leaves_no_trap(
    people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename

    def last_of_all(*names: Path) -> None:
        rename(*names)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", last_of_all)
        with pytest.raises(Stopped):
            convert(people, tmp_path / "made", "recordio")
    (tmp_path / "made").rename(tmp_path / "first")
    convert(people, tmp_path / "made", "recordio", resume=True)
    assert tree(tmp_path / "made").keys() == tree(tmp_path / "first").keys()
    assert not (tmp_path / ".made.partial").exists()
