"""What is written is what InsightFace's scripts write and MXNet's readers take, byte for byte."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import records
from hypothesis import given, settings
from hypothesis import strategies as st
from records import MAGIC, insightface

from elasticface.data.formats.recordio import RecordIOSource
from elasticface.data.formats.recordio_writer import RecordIOWriter, _float

images = st.lists(st.sampled_from([MAGIC, b"abcd", b"x", b"\0"]), max_size=8).map(b"".join)


def longhand(faces: list[tuple[bytes, int]], identities: int) -> tuple[bytes, str]:
    """`train.rec` and `train.idx`. MXNet's `pack` gives a lone label no flag, as the writer does."""
    made = insightface([(image, float(label)) for image, label in faces], identities)
    content, rows = b"", ""
    for key, data in enumerate(made):
        rows += f"{key}\t{len(content)}\n"
        content += records.record(data)
    return content, rows


@settings(max_examples=25)
@given(st.lists(st.tuples(images, st.integers(0, 3)), min_size=1, max_size=8), st.data())
def test_files_are_the_longhands_however_often_writing_was_stopped(
    tmp_path_factory: pytest.TempPathFactory, faces: list[tuple[bytes, int]], data: st.DataObject
) -> None:
    faces = sorted(faces, key=lambda face: face[1])
    identities = sorted({label for _, label in faces})
    faces = [(image, identities.index(label)) for image, label in faces]  # none without an image
    stops = data.draw(st.lists(st.integers(0, len(faces)), max_size=3).map(sorted))
    folder = tmp_path_factory.mktemp("written")
    position, done = None, 0
    for stop in stops:
        with RecordIOWriter(folder, position) as writer:
            for image, label in faces[done:stop]:
                writer.write(image, label)
            position, done = writer.position(), stop
            writer.write(b"what a killed writer leaves behind", 3)
            writer.position()
    with RecordIOWriter(folder, position) as writer:
        for image, label in faces[done:]:
            writer.write(image, label)
        assert not (folder / "train.rec").exists()
        writer.finish(len(identities), 112)
    rec, idx = longhand(faces, len(identities))
    assert (folder / "train.rec").read_bytes() == rec
    assert (folder / "train.idx").read_text() == idx
    assert (folder / "property").read_text() == f"{len(identities)},112,112\n"
    assert sorted(path.name for path in folder.iterdir()) == ["property", "train.idx", "train.rec"]


def test_a_writer_goes_on_even_after_the_files_had_their_names(tmp_path: Path) -> None:
    with RecordIOWriter(tmp_path) as writer:
        writer.write(b"x", 0)
        position = writer.position()
        writer.finish(1, 112)
    before = (tmp_path / "train.rec").read_bytes()
    with RecordIOWriter(tmp_path, position) as writer:
        writer.finish(1, 112)
    assert (tmp_path / "train.rec").read_bytes() == before


def test_identities_without_images_have_empty_ranges(tmp_path: Path) -> None:
    with RecordIOWriter(tmp_path) as writer:
        for image, label in ((b"a", 1), (b"b", 1), (b"c", 3)):
            writer.write(image, label)
        writer.finish(5, 112)
    made = records.read_all((tmp_path / "train.rec").read_bytes())
    ranges = [np.frombuffer(data[24:], "<f4").tolist() for data in (made[0], *made[4:])]
    assert ranges == [[4, 9], [1, 1], [1, 3], [3, 3], [3, 4], [4, 4]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = RecordIOSource(tmp_path, cache=False)
    assert (source.labels.tolist(), source.num_classes) == ([1, 1, 3], 5)


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with RecordIOWriter(tmp_path) as writer:
        writer.write(b"x", 3)
        for label in (2, -1, 2**24):
            with pytest.raises(ValueError, match="labels must rise"):
                writer.write(b"x", label)
        with pytest.raises(ValueError, match="labels up to 3"):
            writer.finish(3, 112)


@pytest.mark.parametrize("number", [0, 1, 2**24, 2**24 + 1, 2**24 + 2, 17_091_658, 2**25 + 1, 2**25 + 3])
def test_numbers_beyond_what_float32_counts_are_rounded_down(number: int) -> None:
    value = _float(number)
    assert value == np.float32(value) <= number
    assert float(np.nextafter(np.float32(value), np.float32(np.inf))) > number
