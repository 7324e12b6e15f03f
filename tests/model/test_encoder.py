"""FaceEncoder: what preprocessing and embed compute."""

import copy
import math
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from embedders import HALVES, Faces, encoder, faces, halves, halves_longhand, prepared_longhand, trained_a_little
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from elasticface import backbones
from elasticface.base.errors import InputError
from elasticface.data.images import decoding
from elasticface.model.encoder import Card, FaceEncoder, Preprocessing

# ---------------------------------------------------------------------------------------------- preprocessing

three = st.tuples(*[st.floats(-2, 2, width=32)] * 3)
three_above_0 = st.tuples(*[st.floats(0.0625, 5, width=32)] * 3)


@given(
    channels=st.sampled_from(["RGB", "BGR"]), scale=st.sampled_from([1.0, 127.5, 255.0]), mean=three, std=three_above_0
)
def test_preprocessing_is_the_longhand_formula(
    channels: str, scale: float, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> None:
    expects = Preprocessing(8, channels, scale, mean, std)
    found = expects(torch.from_numpy(faces(2)))
    assert found.dtype == torch.float32
    bound = 1e-6 * (255 / scale + np.abs(mean).max()) / min(std)
    np.testing.assert_allclose(found.numpy(), prepared_longhand(faces(2), expects), rtol=1e-5, atol=bound)


def test_preprocessing_leaves_the_pixels_alone() -> None:
    pixels = torch.from_numpy(faces(1))
    before = pixels.clone()
    Preprocessing(8, "BGR")(pixels)
    assert torch.equal(pixels, before)


def test_the_default_preprocessing_is_that_of_training() -> None:
    from elasticface.data.feed.transforms import to_input

    pixels = torch.from_numpy(faces(2))
    torch.testing.assert_close(Preprocessing(8)(pixels), to_input(pixels), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 0},
        {"size": 5000},
        {"size": "112"},
        {"channels": "GBR"},
        {"channels": ["RGB"]},
        {"scale": 0},
        {"scale": math.inf},
        {"scale": "255"},
        {"scale": 10**400},
        {"mean": [0.5, 0.5]},
        {"mean": 0.5},
        {"mean": [0.5, 0.5, math.nan]},
        {"mean": [0.5, 0.5, 1e300]},
        {"mean": [0.5, 0.5, True]},
        {"std": [0.5, 0.5, 0]},
        {"std": [1e-300, 0.5, 0.5]},
    ],
    ids=str,
)
def test_preprocessing_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Preprocessing(**wrong)


# ---------------------------------------------------------------------------------------------- embed


def test_flip_adds_the_mirror_images_embedding() -> None:
    pictures = faces(5)
    embed = encoder().embed
    expected = halves_longhand(pictures, Preprocessing(8)) + halves_longhand(pictures[:, :, ::-1], Preprocessing(8))
    np.testing.assert_allclose(embed(pictures, normalize=False), expected, rtol=1e-4, atol=1e-6)
    alone = embed(pictures, flip=False, normalize=False)
    np.testing.assert_allclose(alone, halves_longhand(pictures, Preprocessing(8)), rtol=1e-4, atol=1e-6)


def test_normalized_embeddings_have_unit_length_and_the_same_direction() -> None:
    unit, plain = (encoder().embed(faces(5), normalize=normalize).astype(np.float64) for normalize in (True, False))
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(unit, plain / np.linalg.norm(plain, axis=1, keepdims=True), rtol=1e-5, atol=1e-7)


def test_a_zero_embedding_stays_zero() -> None:
    found = encoder(lambda inputs: torch.zeros(len(inputs), HALVES)).embed(faces(2))
    assert np.array_equal(found, np.zeros((2, HALVES), np.float32))


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 8, 100])
def test_batches_do_not_matter(batch_size: int) -> None:
    found = encoder().embed(faces(7), batch_size=batch_size)
    assert found.shape == (7, HALVES)
    np.testing.assert_allclose(found, encoder().embed(faces(7), batch_size=7), rtol=1e-6, atol=1e-7)


def test_lists_generators_and_files_are_embedded_alike(tmp_path: Path) -> None:
    pictures = faces(3)
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for file, picture in zip(files, pictures, strict=True):
        file.write_bytes(decoding.encode(picture, ".png"))
    expected = encoder().embed(pictures)
    for given_as in (
        list(pictures),
        (picture for picture in pictures),
        files,
        map(str, files),
        [pictures[0], *files[1:]],
    ):
        assert np.array_equal(encoder().embed(given_as), expected)


def test_nothing_to_embed_gives_no_rows_of_the_right_length() -> None:
    for nothing in ([], iter(()), np.zeros((0, 8, 8, 3), np.uint8)):
        found = encoder().embed(nothing)
        assert found.shape == (0, HALVES)
        assert found.dtype == np.float32


def test_no_more_than_a_batch_is_held_of_a_lazy_input() -> None:
    made = 0
    most_ahead = 0
    done = 0

    def network(inputs: Tensor) -> Tensor:
        nonlocal done, most_ahead
        most_ahead = max(most_ahead, made - done)
        done += len(inputs)
        return halves(inputs)

    def lazily() -> Iterator[Faces]:
        nonlocal made
        for picture in faces(10):
            made += 1
            yield picture

    encoder(network).embed(lazily(), flip=False, batch_size=3)
    assert (done, most_ahead) == (10, 3)


def test_paths_bytes_pil_images_and_arrays_are_embedded_alike_and_mixed(tmp_path: Path) -> None:
    picture = faces(1)[0]
    png = decoding.encode(picture, ".png")
    (tmp_path / "a.png").write_bytes(png)
    mixed = [picture, tmp_path / "a.png", str(tmp_path / "a.png"), png, bytearray(png), PIL.Image.fromarray(picture)]
    found = encoder().embed(mixed)
    assert np.array_equal(found, np.repeat(encoder().embed(picture[None]), len(mixed), axis=0))
    for one in mixed:
        assert np.array_equal(encoder().embed(one), found[:1])


@pytest.mark.parametrize("wrong", [faces(1, 9)[0], faces(1)[0, :7]], ids=["size", "not square"])
def test_a_face_of_another_size_is_refused_by_its_place_and_told_to_be_aligned(wrong: Faces) -> None:
    for given_as in (wrong, decoding.encode(wrong, ".png"), PIL.Image.fromarray(wrong)):
        with pytest.raises(
            InputError, match=r"image 2: .* faces of 8x8; .*elasticface align.*elasticface\.align_faces"
        ):
            encoder().embed([*faces(2), given_as])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (faces(1)[0].astype(np.float32), "float32"),
        (faces(1)[0, :, :, 0], r"uint8 \[8, 8\]"),
        (faces(1)[0, :, :, :2], r"uint8 \[8, 8, 2\]"),
        (None, "NoneType is no image"),
        (3, "int is no image"),
        (torch.zeros(8, 8, 3), "Tensor is no image"),
        (b"no picture", "not an image"),
        (b"", "no bytes|empty|not an image"),
    ],
    ids=str,
)
def test_what_is_no_image_is_refused_by_its_place(wrong: Any, said: str) -> None:
    with pytest.raises(InputError, match=f"image 2: .*({said})"):
        encoder().embed([*faces(2), wrong])


@pytest.mark.parametrize("wrong", [None, 3, 0.5])
def test_what_holds_no_images_is_refused(wrong: Any) -> None:
    with pytest.raises(InputError, match=f"{type(wrong).__name__} where images are needed"):
        encoder().embed(wrong)


def test_a_file_of_another_size_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(decoding.encode(faces(1, 9)[0], ".png"))
    with pytest.raises(InputError, match=r"large\.png: 9x9 pixels where .*elasticface align"):
        encoder().embed([tmp_path / "large.png"])


def test_a_damaged_or_absent_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "words.jpg").write_text("no picture")
    with pytest.raises(InputError, match=r"words\.jpg"):
        encoder().embed([tmp_path / "words.jpg"])
    with pytest.raises(InputError, match=r"absent\.jpg: cannot be read"):
        encoder().embed([str(tmp_path / "absent.jpg")])


# ---------------------------------------------------------------------------------------------- precision


@pytest.mark.parametrize(
    ("dtype", "closeness"), [(torch.float64, 1e-6), (torch.float16, 5e-3), (torch.bfloat16, 4e-2)], ids=str
)
def test_a_network_of_another_precision_is_fed_in_its_own(dtype: torch.dtype, closeness: float) -> None:
    network = trained_a_little()
    card = Card("tiny", "tiny", 16)
    expected = FaceEncoder(network, card).embed(faces(3, 112))
    found = FaceEncoder(copy.deepcopy(network).to(dtype), card).embed(faces(3, 112))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=closeness)


# ---------------------------------------------------------------------------------------------- copies


def test_a_copied_or_pickled_encoder_computes_the_same() -> None:
    made = FaceEncoder(trained_a_little(), Card("tiny", "tiny", 16))
    for again in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert again.card == made.card
        assert np.array_equal(again.embed(faces(2, 112)), made.embed(faces(2, 112)))


def test_a_folder_that_holds_more_than_a_model_is_not_replaced(tmp_path: Path) -> None:
    own = FaceEncoder(backbones.create("tiny", 8), Card("a", "tiny", 8))
    own.save(tmp_path / "model")
    own.save(tmp_path / "model")
    (tmp_path / "model" / "photo.jpg").write_bytes(b"dear")
    with pytest.raises(InputError, match="holds more than a model"):
        own.save(tmp_path / "model")
    with pytest.raises(InputError, match=r"photo\.jpg: cannot be used"):
        own.save(tmp_path / "model" / "photo.jpg")
    assert (tmp_path / "model" / "photo.jpg").read_bytes() == b"dear"


def test_what_float16_cannot_hold_is_refused(tmp_path: Path) -> None:
    own = FaceEncoder(backbones.create("tiny", 8), Card("a", "tiny", 8))
    with torch.no_grad():
        own.network.fc.weight[0, 0] = 1e5
    with pytest.raises(InputError, match=r"a: fc.weight has values beyond the range of float16"):
        own.save(tmp_path / "model", half=True)
    own.save(tmp_path / "model")
