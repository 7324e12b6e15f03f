"""Every reader refuses what is no file, at once and by name, wherever the name came from."""

import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from special_files import SPECIAL, within

from elasticface.base.errors import InputError
from elasticface.benchmarks.megaface.files import read_matrix
from elasticface.benchmarks.pairwise import slices
from elasticface.benchmarks.reading import rows
from elasticface.benchmarks.reading.features import open_features
from elasticface.benchmarks.stored import read_results
from elasticface.data import open_dataset, read_pack
from elasticface.data.formats.folder import FolderSource
from elasticface.data.formats.shard_index import read_shard
from elasticface.data.images import decoding
from elasticface.data.images.decoding import DamagedImage, read
from elasticface.data.images.photos import Photos
from elasticface.faces.landmarks import read_landmarks
from elasticface.model.loading import load

READERS: dict[str, Callable[[Path], object]] = {
    "images/a/x.jpg": lambda path: read(path),
    "people/a/x.jpg": lambda path: FolderSource(path.parent.parent)[0],
    "photos/a/x.jpg": lambda path: Photos(path.parent.parent).read("a/x.jpg"),
    "photos/pairs.txt": lambda path: Photos(path.parent).read_text("pairs.txt"),
    "x.tar": Photos,
    "y.tar": read_shard,
    "shards/x.tar": lambda path: open_dataset(f"{path.parent}/*.tar"),
    "set/train.rec": lambda path: open_dataset(path.parent),
    "set/x.rec": open_dataset,
    "x.bin": read_pack,
    "points.csv": read_landmarks,
    "metadata.csv": lambda path: _not_none(slices.read_metadata(path, [])),
    "media.txt": rows.read_media,
    "features.npy": lambda path: open_features(path, 1, "a benchmark"),
    "image.png_suffix.bin": read_matrix,
    "x.pth": lambda path: load(path, "tiny"),
    "x.onnx": load,
    "model/model.safetensors": lambda path: (path.with_name("model.json").touch(), load(path.parent)),
    "results.json": read_results,
}


def _not_none(found: object) -> None:
    """Metadata that are no file are none: they are not asked for."""
    if found is None:
        raise InputError("metadata.csv: not there")


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("name", READERS)
def test_a_reader_refuses_it_by_name(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    SPECIAL[kind][0](path)
    if kind == "folder" and name in ("x.tar", "results.json"):
        pytest.skip("a folder is read, too")
    with within(20), pytest.raises(InputError, match="|".join([*Path(name).parts, "nothing"])):
        READERS[name](path)


@pytest.mark.parametrize("kind", SPECIAL)
def test_as_one_image_among_many_it_is_a_damaged_image_with_its_reason(tmp_path: Path, kind: str) -> None:
    make, reason = SPECIAL[kind]
    (tmp_path / "a").mkdir()
    make(tmp_path / "a" / "x.jpg")
    source = FolderSource(tmp_path)
    assert len(source) == 1
    with within(10), pytest.raises(DamagedImage, match=rf"a/x\.jpg: cannot be read: {reason}$"):
        source[0]
    if "device" not in kind:  # a link that leads out of the folder, and left out as such
        with within(10), pytest.raises(DamagedImage, match=rf"^a/x\.jpg: cannot be read: {reason}$"):
            Photos(tmp_path).read("a/x.jpg")


def test_an_image_with_more_bytes_than_any_photo_is_damaged_before_it_takes_the_memory(tmp_path: Path) -> None:
    with (tmp_path / "x.jpg").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DamagedImage, match=r"x\.jpg: 1,099,511,627,776 bytes, more than the 67,108,864 of an image"):
        read(tmp_path / "x.jpg")


def test_an_image_on_a_pipe_of_the_shell_is_read_to_its_end_unless_it_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "MAX_BYTES", 1000)
    for size in (0, 1, 1000, 1001):
        reading, writing = os.pipe()
        os.write(writing, bytes(size))
        os.close(writing)
        if size <= 1000:
            assert decoding.read(f"/dev/fd/{reading}") == bytes(size)
        else:
            with pytest.raises(DamagedImage, match="1,001 bytes, more than the 1,000 of an image"):
                decoding.read(f"/dev/fd/{reading}")
        os.close(reading)


def test_too_many_open_files_are_not_taken_for_a_damaged_image(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").touch()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            read(tmp_path / "x.jpg")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
