"""Embeddings on disk: a stopped evaluation goes on to the same bits, and no embeddings of another model are used."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from large import patch_encoder, patches
from numpy.typing import NDArray
from own_parts import Pooled
from torch import nn

from elasticface.base.errors import InputError
from elasticface.benchmarks.reading.features import (
    FEATURES,
    PROGRESS,
    Features,
    _Cache,
    embed_to,
    open_features,
)
from elasticface.benchmarks.reading.npy import map_floats
from elasticface.data.images.decoding import DamagedImage
from elasticface.model.encoder import Card, FaceEncoder, Preprocessing

COUNT, BLOCK = 23, 6
NAMES = [f"{i}.jpg" for i in range(COUNT)]
DAMAGED = (4, 11, 12)


def face(row: int) -> NDArray[np.uint8]:
    if row in DAMAGED:
        raise DamagedImage(f"{row}.jpg: broken")
    return np.random.default_rng(row).integers(0, 256, (112, 112, 3)).astype(np.uint8)


def small(seed: int = 0, **card: object) -> FaceEncoder:
    torch.manual_seed(seed)
    return FaceEncoder(Pooled(8, 0.0).eval(), Card("small", embedding_size=8, **card))  # type: ignore[arg-type]


def embedded(
    folder: Path,
    encoder: FaceEncoder | None = None,
    look: Callable[[int], NDArray[np.uint8]] = face,
    flip: bool = True,
    names: list[str] = NAMES,
    what: bytes = b"",
) -> Features:
    return embed_to(folder, encoder or small(), names, look, [what], flip=flip, title="embedding", block=BLOCK)


def cache_of(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


def untouched(row: int) -> NDArray[np.uint8]:
    assert row in DAMAGED, "the cache has it"
    return face(row)


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
        (alone,) = small().embed([face(row)], flip=flip, normalize=False)
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
    assert {*looked} == {*range(stop - stop % BLOCK, COUNT), *DAMAGED}  # a block is lost at most


def test_a_cache_that_another_process_fills_is_refused(tmp_path: Path) -> None:
    """It would begin the file anew under the other's hands, whose first rows then were zeros."""
    refusals: list[str] = []

    def with_a_second(row: int) -> NDArray[np.uint8]:
        if row == 0:
            with pytest.raises(InputError, match=r"another process .* is writing to it") as caught:
                embedded(tmp_path)
            refusals.append(str(caught.value))
        return face(row)

    found = embedded(tmp_path, look=with_a_second)
    assert len(refusals) == 1
    assert found.rows.tobytes() == embedded(tmp_path / "alone").rows.tobytes()


def test_killed_between_the_rows_and_their_note_the_block_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = embedded(tmp_path / "whole")

    def killed(self: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("elasticface.benchmarks.reading.features._Cache._note", killed)
        with pytest.raises(Killed):
            embedded(tmp_path / "cut")
    assert not (cache_of(tmp_path / "cut") / PROGRESS).exists()
    assert embedded(tmp_path / "cut").rows.tobytes() == whole.rows.tobytes()


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    first, again = embedded(tmp_path), embedded(tmp_path, look=untouched)
    assert first.rows.tobytes() == again.rows.tobytes()
    assert (first.damaged, first.usable.tolist()) == (again.damaged, again.usable.tolist())


OTHERS: dict[str, Callable[[Path], Features]] = {
    "weights": lambda folder: embedded(folder, small(1)),
    "input": lambda folder: embedded(folder, small(preprocessing=Preprocessing(mean=(0.4, 0.5, 0.5)))),
    "name": lambda folder: embedded(folder, small(options={"x": 1})),
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
def test_the_block_of_a_row_that_changed_on_the_disk_is_made_again_and_no_other(tmp_path: Path, row: int) -> None:
    whole = embedded(tmp_path, look=noting(DAMAGED)[1])
    rows = np.load(cache_of(tmp_path) / FEATURES, mmap_mode="r+")
    rows[row, 3] += 1
    rows.flush()
    looked, look = noting(DAMAGED)
    found = embedded(tmp_path, look=look)
    assert found.rows.tobytes() == whole.rows.tobytes()
    assert found.damaged == whole.damaged
    assert {*looked} == {*block_of(row), *DAMAGED}


# ---------------------------------------------------------------------------------------------- put right


def noting(damaged: tuple[int, ...]) -> tuple[list[int], Callable[[int], NDArray[np.uint8]]]:
    """The faces, but for ``damaged`` ones; and which were asked for."""
    looked: list[int] = []

    def look(row: int) -> NDArray[np.uint8]:
        looked.append(row)
        if row in damaged:
            raise DamagedImage(f"{row}.jpg: still broken")
        return np.random.default_rng(row).integers(0, 256, (112, 112, 3)).astype(np.uint8)

    return looked, look


def block_of(row: int) -> range:
    return range(row - row % BLOCK, min(row - row % BLOCK + BLOCK, COUNT))


@pytest.mark.parametrize("mended", [{4}, {11}, {12}, {4, 12}, {4, 11, 12}])
def test_an_image_put_right_gives_the_bits_of_a_run_that_had_it_at_once(tmp_path: Path, mended: set[int]) -> None:
    embedded(tmp_path / "late")
    left = tuple(row for row in DAMAGED if row not in mended)
    whole = embedded(tmp_path / "at once", look=noting(left)[1])
    looked, look = noting(left)
    found = embedded(tmp_path / "late", look=look)
    assert found.rows.tobytes() == whole.rows.tobytes()
    assert np.array_equal(found.usable, whole.usable)
    assert found.damaged == whole.damaged
    assert {*looked} == {*DAMAGED}.union(*map(block_of, mended))
    notes = [json.loads((cache_of(tmp_path / run) / PROGRESS).read_text()) for run in ("late", "at once")]
    assert notes[0] == notes[1]
    assert embedded(tmp_path / "late", look=noting(left)[1]).rows.tobytes() == whole.rows.tobytes()


def test_what_is_wrong_with_an_image_is_said_as_it_is_now(tmp_path: Path) -> None:
    embedded(tmp_path)
    for _ in range(2):
        looked, look = noting(DAMAGED)
        assert embedded(tmp_path, look=look).damaged == {f"{row}.jpg": f"{row}.jpg: still broken" for row in DAMAGED}
        assert sorted(looked) == list(DAMAGED)


@pytest.mark.parametrize("stop", [0, 6, 7])
def test_killed_while_a_block_is_made_anew_no_other_block_is_lost(
    tmp_path: Path, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = embedded(tmp_path / "at once", look=noting(())[1])
    embedded(tmp_path / "late")

    def torn(path: Path, mode: str = "r") -> NDArray[np.float32]:
        """The array; when it is written, a kill comes after the first ``stop`` bytes."""
        rows = map_floats(path, mode)  # type: ignore[arg-type]
        if mode == "r+":
            rows.reshape(-1).view(np.uint8)[:stop] = 255
            rows.flush()
            raise Killed
        return rows

    with monkeypatch.context() as patch:
        patch.setattr("elasticface.benchmarks.reading.features.map_floats", torn)
        with pytest.raises(Killed):
            embedded(tmp_path / "late", look=noting((11, 12))[1])
    looked, look = noting(())
    assert embedded(tmp_path / "late", look=look).rows.tobytes() == whole.rows.tobytes()
    assert {*looked} == {*range(18)}  # the blocks of 4, 11 and 12


def test_what_comes_before_the_first_face_is_done_once_and_only_where_there_is_one(tmp_path: Path) -> None:
    done: list[str] = []

    def look(row: int) -> NDArray[np.uint8]:
        done.append("face")
        return noting(())[1](row)

    def run() -> list[str]:
        done.clear()
        arguments = {"flip": True, "title": "", "block": BLOCK, "before": lambda: done.append("before")}
        embed_to(tmp_path, small(), NAMES, look, [], **arguments)  # type: ignore[arg-type]
        return done

    assert run() == ["before", *["face"] * COUNT]
    assert run() == []


# ---------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 1}', "null", "[" * 9999])
def test_a_note_that_cannot_be_read_counts_for_nothing(tmp_path: Path, text: str) -> None:
    whole = embedded(tmp_path).rows.tobytes()
    (cache_of(tmp_path) / PROGRESS).write_text(text)
    assert embedded(tmp_path).rows.tobytes() == whole


@pytest.mark.parametrize(
    "change",
    [
        *({"key": "0"}, {"shape": [COUNT, 9]}, {"block": 5}, {"format": 2}),
        *({"checksums": wrong} for wrong in ("x", [], {}, [None], ["1"] * 9, 3)),
        *(
            {"unusable": wrong}
            for wrong in ("x", [[1]], [["1", "a", "b"]], [[1.5, "a", "b"]], [[True, None, 5]], [[0.0, "", ""]], 3)
        ),
    ],
)
def test_a_note_about_something_else_counts_for_nothing(tmp_path: Path, change: dict[str, object]) -> None:
    whole = embedded(tmp_path).rows.tobytes()
    note = cache_of(tmp_path) / PROGRESS
    note.write_text(json.dumps({**json.loads(note.read_text()), **change}))
    assert embedded(tmp_path).rows.tobytes() == whole


@pytest.mark.parametrize("row", [-1, COUNT, 10**9])
def test_a_note_of_a_row_that_there_is_not_is_passed_over(tmp_path: Path, row: int) -> None:
    whole = embedded(tmp_path)
    path = cache_of(tmp_path) / PROGRESS
    note = json.loads(path.read_text())
    path.write_text(json.dumps({**note, "unusable": [*note["unusable"], [row, "a", "b"]]}))
    found = embedded(tmp_path, look=untouched)
    assert (found.damaged, found.usable.tolist()) == (whole.damaged, whole.usable.tolist())


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-100],
        lambda data: b"",
        lambda data: data.replace(b"(23, 8)", b"((3, 8)"),
        lambda data: data.replace(b"'<f4'", b"'<f4\n"),
        lambda data: data.replace(b"'shape'", b"'"),
        lambda data: data[:9] + b"\xff" + data[10:],
    ],
)
def test_a_file_that_was_damaged_is_made_again(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    whole = embedded(tmp_path).rows.tobytes()
    path = cache_of(tmp_path) / FEATURES
    assert damage(path.read_bytes()) != path.read_bytes()
    path.write_bytes(damage(path.read_bytes()))
    assert embedded(tmp_path).rows.tobytes() == whole


def test_a_broken_model_leaves_nothing_that_would_be_used(tmp_path: Path) -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return patches(x) * torch.nan

    with pytest.raises(InputError, match="broken: its embeddings hold NaN or infinity"):
        embedded(tmp_path, FaceEncoder(Broken(), Card("broken", embedding_size=48)))
    assert not (cache_of(tmp_path) / PROGRESS).exists()


def test_without_room_it_is_said_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elasticface.base.files.room", lambda path: 100)
    with pytest.raises(InputError, match="no room for"):
        embedded(tmp_path, look=untouched)


# ---------------------------------------------------------------------------------------------- ready-made


NUMPY_1 = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }"
"""What numpy 1 and 2 both write; between versions, and between save and open_memmap, the blanks after it differ."""


def with_header(header: bytes, version: bytes = b"\1\0", rows: bytes = bytes(48)) -> bytes:
    width = 2 if version == b"\1\0" else 4
    return b"\x93NUMPY" + version + len(header).to_bytes(width, "little") + header + rows


@pytest.mark.parametrize("version", [None, (1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_ready_features_are_mapped_whichever_way_numpy_writes_them(
    tmp_path: Path, version: tuple[int, int] | None, order: Literal["C", "F"]
) -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4, order=order)
    with (tmp_path / "f.npy").open("wb") as file:
        np.lib.format.write_array(file, values, version)
    found = open_features(tmp_path / "f.npy", 3, "IJB-C")
    assert isinstance(found, np.memmap)
    assert np.array_equal(found, values)
    np.lib.format.open_memmap(tmp_path / "m.npy", "w+", np.float32, (3, 4), order == "F", version)[:] = values
    assert np.array_equal(open_features(tmp_path / "m.npy", 3, "IJB-C"), values)


@pytest.mark.parametrize("version", [b"\1\0", b"\2\0", b"\3\0"])
@pytest.mark.parametrize("blanks", [0, 17, 57])
def test_the_blanks_of_a_header_may_be_any_number(tmp_path: Path, version: bytes, blanks: int) -> None:
    values = np.arange(12, dtype="<f4").reshape(3, 4)
    (tmp_path / "f.npy").write_bytes(with_header(NUMPY_1 + b" " * blanks + b"\n", version, values.tobytes()))
    assert np.array_equal(open_features(tmp_path / "f.npy", 3, "IJB-C"), values)


@given(data=st.data())
def test_a_header_with_bytes_changed_is_refused_in_one_line_or_is_still_float32(data: st.DataObject) -> None:
    content = bytearray(with_header(NUMPY_1.ljust(117) + b"\n"))
    words = [b"(", b"[", b"'", b'"', b"{", b",", b"\n", b"\\", b"\0", b"9" * 20, b"-1", b"3L", b'"""', b"\xc3", b"<f8"]
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, 127))
        word = data.draw(st.sampled_from(words) | st.binary(min_size=1, max_size=2))
        content[at : at + len(word)] = word
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "f.npy"
        path.write_bytes(content)
        refused = ""
        try:
            found = open_features(path, 3, "IJB-C")
        except InputError as error:
            refused = str(error)
        assert ("\n" not in refused and len(refused) < 400) if refused else found.shape == (3, 4)


class Pickled:
    def __reduce__(self) -> tuple[object, ...]:
        return (exit, (3,))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((3, 4), np.int8), r"int8 \[3, 4\]; features are"),
        (np.zeros((3, 4, 5), np.float32), r"float32 \[3, 4, 5\]; features are"),
        (np.float32(3), r"float32 \[\]; features are"),
        (np.zeros((3, 4), "f4,f4"), "not an array that can be mapped"),
        (np.zeros((3, 4)), r"float64 \[3, 4\]; features are float32 \[N, D\]"),
        (np.zeros(3, np.float32), r"float32 \[3\]; features are"),
        (np.zeros((3, 0), np.float32), r"float32 \[3, 0\]; features are"),
        (np.zeros((0, 4), np.float32), r"float32 \[0, 4\]; features are"),
        (np.zeros((3, 4), ">f4"), r">f4 \[3, 4\]; features are float32"),
        (np.zeros((2, 4), np.float32), "2 rows where IJB-C has 3 images"),
        (np.array([[Pickled()]] * 3, dtype=object), "not an array that can be mapped"),
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


def test_a_file_with_more_than_its_header_says_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f.npy").write_bytes(with_header(NUMPY_1 + b"\n", rows=bytes(52)))
    with pytest.raises(InputError, match=r"f\.npy: .*: 122 bytes where \[3, 4\] takes 118; make the file again"):
        open_features(tmp_path / "f.npy", 3, "IJB-C")


def test_a_header_that_claims_more_than_there_is_is_refused(tmp_path: Path) -> None:
    header = NUMPY_1.replace(b"4)", b"999999999999)").ljust(117) + b"\n"
    (tmp_path / "f.npy").write_bytes(with_header(header, rows=b""))
    with pytest.raises(InputError, match="not an array that can be mapped"):
        open_features(tmp_path / "f.npy", 3, "IJB-C")


def test_a_cache_takes_all_of_its_room_at_once(tmp_path: Path) -> None:
    """A full disk is then an error; of a page that is written later through the map it would be SIGBUS."""
    _Cache(tmp_path, "key", (1000, 512), 100)
    assert (tmp_path / FEATURES).stat().st_blocks * 512 >= 1000 * 512 * 4
    assert np.load(tmp_path / FEATURES).shape == (1000, 512)
