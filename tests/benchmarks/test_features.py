"""Embeddings on disk: a stopped evaluation goes on to the same bits, and no embeddings of another model are used."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from large import patch_encoder, patches
from numpy.typing import NDArray
from torch import nn

from elasticface import backbones
from elasticface.benchmarks.features import FEATURES, PROGRESS, Features, embed_to, open_features
from elasticface.data.images import DamagedImage
from elasticface.errors import InputError
from elasticface.model import Card, FaceEncoder, Preprocessing

COUNT, BLOCK = 23, 6
NAMES = [f"{i}.jpg" for i in range(COUNT)]
DAMAGED = (4, 11, 12)


def face(row: int) -> NDArray[np.uint8]:
    if row in DAMAGED:
        raise DamagedImage(f"{row}.jpg: broken")
    return np.random.default_rng(row).integers(0, 256, (112, 112, 3)).astype(np.uint8)


def tiny(seed: int = 0, **card: object) -> FaceEncoder:
    torch.manual_seed(seed)
    return FaceEncoder(backbones.create("tiny", 8).eval(), Card("tiny", "tiny", 8, **card))  # type: ignore[arg-type]


def embedded(
    folder: Path,
    encoder: FaceEncoder | None = None,
    look: Callable[[int], NDArray[np.uint8]] = face,
    flip: bool = True,
    names: list[str] = NAMES,
    what: bytes = b"",
) -> Features:
    return embed_to(folder, encoder or tiny(), names, look, [what], flip=flip, title="embedding", block=BLOCK)


def cache_of(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


def untouched(row: int) -> NDArray[np.uint8]:
    raise AssertionError("the cache has it")


class Killed(BaseException):
    pass


@pytest.mark.parametrize("flip", [True, False])
def test_rows_are_what_the_encoder_gives_without_normalising(tmp_path: Path, flip: bool) -> None:
    found = embedded(tmp_path, flip=flip)
    assert (found.rows.shape, found.rows.dtype) == ((COUNT, 8), np.float32)
    assert np.flatnonzero(~found.usable).tolist() == list(DAMAGED)
    assert found.damaged == {f"{row}.jpg": f"{row}.jpg: broken" for row in DAMAGED}
    assert not found.rows[list(DAMAGED)].any()
    for row in np.flatnonzero(found.usable):
        (alone,) = tiny().embed([face(row)], flip=flip, normalize=False)
        np.testing.assert_allclose(found.rows[row], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stop", [0, 5, 6, 13, 22])
def test_killed_anywhere_it_goes_on_to_the_same_bits(tmp_path: Path, stop: int) -> None:
    whole = embedded(tmp_path / "whole")
    looked: list[int] = []

    def until(row: int) -> NDArray[np.uint8]:
        looked.append(row)
        if row == stop:
            raise Killed
        return face(row)

    with pytest.raises(Killed):
        embedded(tmp_path / "cut", look=until)
    looked.clear()

    def rest(row: int) -> NDArray[np.uint8]:
        looked.append(row)
        return face(row)

    found = embedded(tmp_path / "cut", look=rest)
    assert found.rows.tobytes() == whole.rows.tobytes()
    assert np.array_equal(found.usable, whole.usable)
    assert found.damaged == whole.damaged
    assert min(looked) == stop - stop % BLOCK  # a block is lost at most


def test_killed_between_the_rows_and_their_note_the_block_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = embedded(tmp_path / "whole")

    def killed(self: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("elasticface.benchmarks.features._Cache._note", killed)
        with pytest.raises(Killed):
            embedded(tmp_path / "cut")
    assert not (cache_of(tmp_path / "cut") / PROGRESS).exists()
    assert embedded(tmp_path / "cut").rows.tobytes() == whole.rows.tobytes()


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    first, again = embedded(tmp_path), embedded(tmp_path, look=untouched)
    assert first.rows.tobytes() == again.rows.tobytes()
    assert (first.damaged, first.usable.tolist()) == (again.damaged, again.usable.tolist())


OTHERS: dict[str, Callable[[Path], Features]] = {
    "weights": lambda folder: embedded(folder, tiny(1)),
    "input": lambda folder: embedded(folder, tiny(preprocessing=Preprocessing(mean=(0.4, 0.5, 0.5)))),
    "name": lambda folder: embedded(folder, tiny(options={"x": 1})),
    "flip": lambda folder: embedded(folder, flip=False),
    "images": lambda folder: embedded(folder, names=[*NAMES[:-1], "other.jpg"]),
    "fewer images": lambda folder: embedded(folder, names=NAMES[:-1]),
    "landmarks": lambda folder: embedded(folder, what=b"others"),
    "no module": lambda folder: embedded(folder, patch_encoder()),
}


@pytest.mark.parametrize("other", OTHERS)
def test_embeddings_of_anything_else_are_kept_apart(tmp_path: Path, other: str) -> None:
    mine = embedded(tmp_path).rows.tobytes()
    OTHERS[other](tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    assert embedded(tmp_path, look=untouched).rows.tobytes() == mine


def test_functions_are_told_apart_by_what_they_give(tmp_path: Path) -> None:
    for factor in (1, 2):
        embedded(tmp_path, FaceEncoder(lambda x, k=factor: k * patches(x), Card("f", embedding_size=48)))
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("row", [0, 7, 22])
def test_rows_that_changed_on_the_disk_are_made_again(tmp_path: Path, row: int) -> None:
    whole = embedded(tmp_path).rows.tobytes()
    rows = np.load(cache_of(tmp_path) / FEATURES, mmap_mode="r+")
    rows[row, 3] += 1
    rows.flush()
    assert embedded(tmp_path).rows.tobytes() == whole


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 1}', "null"])
def test_a_note_that_cannot_be_read_counts_for_nothing(tmp_path: Path, text: str) -> None:
    whole = embedded(tmp_path).rows.tobytes()
    (cache_of(tmp_path) / PROGRESS).write_text(text)
    assert embedded(tmp_path).rows.tobytes() == whole


@pytest.mark.parametrize(
    "change", [{"key": "0"}, {"shape": [COUNT, 9]}, {"block": 5}, {"checksums": "x"}, {"format": 2}]
)
def test_a_note_about_something_else_counts_for_nothing(tmp_path: Path, change: dict[str, object]) -> None:
    whole = embedded(tmp_path).rows.tobytes()
    note = cache_of(tmp_path) / PROGRESS
    note.write_text(json.dumps({**json.loads(note.read_text()), **change}))
    assert embedded(tmp_path).rows.tobytes() == whole


def test_a_file_that_was_cut_short_is_made_again(tmp_path: Path) -> None:
    whole = embedded(tmp_path).rows.tobytes()
    path = cache_of(tmp_path) / FEATURES
    path.write_bytes(path.read_bytes()[:-100])
    assert embedded(tmp_path).rows.tobytes() == whole


def test_a_broken_model_leaves_nothing_that_would_be_used(tmp_path: Path) -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return patches(x) * torch.nan

    with pytest.raises(InputError, match="broken: its embeddings hold NaN or infinity"):
        embedded(tmp_path, FaceEncoder(Broken(), Card("broken", embedding_size=48)))
    assert not (cache_of(tmp_path) / PROGRESS).exists()


def test_without_room_it_is_said_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elasticface.files.room", lambda path: 100)
    with pytest.raises(InputError, match="no room for"):
        embedded(tmp_path, look=untouched)


# ---------------------------------------------------------------------------------------------- ready-made


def test_ready_features_are_mapped(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.save(tmp_path / "f.npy", values)
    assert np.array_equal(open_features(tmp_path / "f.npy", 3, "IJB-C"), values)


class Pickled:
    def __reduce__(self) -> tuple[object, ...]:
        return (exit, (3,))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((3, 4)), r"float64 \[3, 4\]; features are float32 \[N, D\]"),
        (np.zeros(3, np.float32), r"float32 \[3\]; features are"),
        (np.zeros((3, 0), np.float32), "features are|mapped"),
        (np.zeros((3, 4), ">f4"), "features are float32"),
        (np.zeros((2, 4), np.float32), "2 rows where IJB-C has 3 images"),
        (np.array([[Pickled()]] * 3, dtype=object), "cannot be|not an array that can be mapped"),
    ],
)
def test_features_of_another_kind_are_refused(tmp_path: Path, values: NDArray[np.generic], message: str) -> None:
    np.save(tmp_path / "f.npy", values, allow_pickle=True)
    with pytest.raises(InputError, match=rf"f\.npy: .*({message})") as caught:
        open_features(tmp_path / "f.npy", 3, "IJB-C")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("length", [0, 3, 9, 40, 127, 130])
def test_a_file_of_features_that_is_cut_short_is_refused(tmp_path: Path, length: int) -> None:
    np.save(tmp_path / "whole.npy", np.zeros((3, 4), np.float32))
    (tmp_path / "f.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:length])
    with pytest.raises(InputError, match=r"f\.npy: not an array that can be mapped"):
        open_features(tmp_path / "f.npy", 3, "IJB-C")
    with pytest.raises(InputError, match=r"absent\.npy: cannot be read"):
        open_features(tmp_path / "absent.npy", 3, "IJB-C")


def test_a_header_that_claims_more_than_there_is_is_refused(tmp_path: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 999999999999), }".ljust(117) + b"\n"
    (tmp_path / "f.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(InputError, match="not an array that can be mapped"):
        open_features(tmp_path / "f.npy", 3, "IJB-C")
