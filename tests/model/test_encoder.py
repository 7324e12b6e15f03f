"""FaceEncoder: what embed computes, and what load makes of good, foreign and hostile files."""

import errno
import json
import math
import os
import pickle
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import elasticface
from elasticface import backbones
from elasticface.base.errors import InputError
from elasticface.data.images import decoding
from elasticface.model.encoder import Card, FaceEncoder, Preprocessing, load

Faces = NDArray[np.uint8]
NOISE = np.random.default_rng(5).bytes(4096)
HALVES = 6  # length of an embedding of `halves`


def faces(count: int, size: int = 8, seed: int = 0) -> Faces:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def halves(inputs: Tensor) -> Tensor:
    """[B, 3, S, S] -> [B, 6]: each channel's mean over the left and over the right half, so a mirror image differs."""
    return torch.cat(
        [inputs[..., : inputs.shape[3] // 2].mean((2, 3)), inputs[..., inputs.shape[3] // 2 :].mean((2, 3))], 1
    )


def halves_longhand(pictures: Faces, expects: Preprocessing) -> NDArray[np.float64]:
    """The same from pixels, [N, 6], without the mirror image and not normalised."""
    x = prepared_longhand(pictures, expects)
    middle = x.shape[3] // 2
    return np.concatenate([x[..., :middle].mean((2, 3)), x[..., middle:].mean((2, 3))], 1)


def prepared_longhand(pictures: Faces, expects: Preprocessing) -> NDArray[np.float64]:
    """(x / scale − mean) / std in the order of the channels, float64 [N, 3, S, S]."""
    prepared = np.empty((len(pictures), 3, *pictures.shape[1:3]))
    for position, letter in enumerate(expects.channels):
        channel = pictures[..., "RGB".index(letter)].astype(np.float64)
        prepared[:, position] = (channel / expects.scale - expects.mean[position]) / expects.std[position]
    return prepared


def encoder(network: Callable[[Tensor], Tensor] = halves, size: int = 8, **expects: Any) -> FaceEncoder:
    return FaceEncoder(network, Card("made up", embedding_size=HALVES, preprocessing=Preprocessing(size, **expects)))


def refused(path: Path, **options: Any) -> str:
    """The one line with which a file is refused; it names the file."""
    with pytest.raises(InputError) as error:
        load(path, **options)
    message = str(error.value)
    assert message.count(str(path)) >= 1
    assert len(message.splitlines()) == 1
    assert len(message) < 1000
    return message


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


@pytest.mark.parametrize(
    "wrong",
    [faces(1, 9)[0], faces(1)[0, :7], faces(1)[0].astype(np.float32), faces(1)[0, :, :, 0], faces(1)[0, :, :, :2]],
    ids=["size", "not square", "type", "grey", "two channels"],
)
def test_an_array_of_another_size_or_type_is_refused(wrong: NDArray[Any]) -> None:
    with pytest.raises(InputError, match=r"image: .*uint8 \[8, 8, 3\].*elasticface align"):
        encoder().embed([*faces(2), wrong])


def test_a_file_of_another_size_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(decoding.encode(faces(1, 9)[0], ".png"))
    with pytest.raises(InputError, match=r"large\.png: uint8 \[9, 9, 3\]"):
        encoder().embed([tmp_path / "large.png"])


def test_a_damaged_or_absent_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "words.jpg").write_text("no picture")
    with pytest.raises(InputError, match=r"words\.jpg"):
        encoder().embed([tmp_path / "words.jpg"])
    with pytest.raises(InputError, match=r"absent\.jpg: cannot be read"):
        encoder().embed([str(tmp_path / "absent.jpg")])


# ---------------------------------------------------------------------------------------------- model folders


def trained_a_little(name: str = "tiny", embedding_size: int = 16) -> nn.Module:
    """A network whose batch norms have seen something, so that none of its state is as it began."""
    torch.manual_seed(1)
    network = backbones.create(name, embedding_size).to(memory_format=torch.channels_last)
    network.train()(torch.randn(3, 3, 112, 112))
    return network.eval()


@pytest.fixture(scope="module")
def tiny() -> FaceEncoder:
    expects = Preprocessing(channels="BGR", scale=128.0, mean=(0.1, 0.2, 0.3), std=(0.7, 0.8, 0.9))
    training = {"loss": "elastic-arc+", "milestones": [7, 13], "m": None}
    return FaceEncoder(trained_a_little(), Card("Zwölf", "tiny", 16, preprocessing=expects, training=training))


@pytest.fixture
def folder(tiny: FaceEncoder, tmp_path: Path) -> Path:
    tiny.save(tmp_path / "model")
    return tmp_path / "model"


def test_saved_and_loaded_gives_the_same_bits(tiny: FaceEncoder, folder: Path) -> None:
    pictures = faces(3, 112)
    loaded = load(folder)
    assert loaded.card == tiny.card
    assert np.array_equal(loaded.embed(pictures), tiny.embed(pictures))
    assert {file.name for file in folder.iterdir()} == {"model.safetensors", "model.json"}
    assert elasticface.load is load


def test_saved_again_it_is_the_same_file(folder: Path, tmp_path: Path) -> None:
    load(folder).save(tmp_path / "again")
    for name in ("model.safetensors", "model.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_a_run_folder_is_loaded_through_its_model(tiny: FaceEncoder, folder: Path) -> None:
    run = folder.parent
    (run / "config.yaml").write_text("backbone: tiny\n")
    assert load(run).card == tiny.card


def test_options_of_the_backbone_come_along(tmp_path: Path) -> None:
    card = Card("dropping", "iresnet18", 4, options={"dropout": 0.4})
    FaceEncoder(backbones.create("iresnet18", 4, dropout=0.4), card).save(tmp_path / "model")
    network = load(tmp_path / "model").network
    assert isinstance(network, nn.Module)
    assert network.get_submodule("dropout").p == 0.4
    (tmp_path / "model" / "model.safetensors").unlink()  # 45 MB


def test_a_model_folder_takes_the_place_of_an_older_one(folder: Path) -> None:
    newer = FaceEncoder(trained_a_little(embedding_size=8), Card("newer", "tiny", 8))
    newer.save(folder)
    assert load(folder).card.name == "newer"
    assert [file.name for file in folder.parent.iterdir()] == ["model"]


def test_saving_that_fails_leaves_the_older_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {file.name: file.read_bytes() for file in folder.iterdir()}

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("elasticface.base.files.write_json", full)
    with pytest.raises(OSError, match="no space"):
        FaceEncoder(trained_a_little(embedding_size=8), Card("newer", "tiny", 8)).save(folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert [file.name for file in folder.parent.iterdir()] == ["model"]


def test_a_model_that_finds_no_room_says_what_the_system_says(tiny: FaceEncoder, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            tiny.save(tmp_path / "model")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(tmp_path / "model"))
    assert os.listdir(tmp_path) == []


def test_a_network_that_is_no_backbone_of_ours_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="made up: only our own backbones"):
        encoder().save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def with_preprocessing(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda card: {**card, "preprocessing": {**card["preprocessing"], **changes}}


def without(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda card: {name: value for name, value in card.items() if name != key}


HOSTILE_CARDS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a list": (lambda card: [card], "format"),
    "null": (lambda card: None, "format"),
    "another format": (lambda card: {**card, "format": 2}, "format 1"),
    "no format": (without("format"), "format 1"),
    "no name": (without("name"), "name is missing"),
    "no backbone": (without("backbone"), "backbone is missing"),
    "no embedding size": (without("embedding_size"), "embedding_size is missing"),
    "no preprocessing": (without("preprocessing"), "preprocessing is missing"),
    "a name that is a number": (lambda card: {**card, "name": 7}, "name"),
    "backbone null": (lambda card: {**card, "backbone": None}, "backbone"),
    "backbone a list": (lambda card: {**card, "backbone": ["tiny"]}, "backbone"),
    "an unknown backbone": (lambda card: {**card, "backbone": "os.system"}, "unknown backbone"),
    "embedding size negative": (lambda card: {**card, "embedding_size": -16}, "embedding_size -16"),
    "embedding size zero": (lambda card: {**card, "embedding_size": 0}, "embedding_size 0"),
    "embedding size enormous": (lambda card: {**card, "embedding_size": 10**9}, "embedding_size 1000000000"),
    "embedding size of 4,000 digits": (lambda card: {**card, "embedding_size": 10**4000}, "embedding_size"),
    "embedding size a text": (lambda card: {**card, "embedding_size": "16"}, "embedding_size '16'"),
    "embedding size a fraction": (lambda card: {**card, "embedding_size": 16.0}, "embedding_size 16.0"),
    "another embedding size": (lambda card: {**card, "embedding_size": 8}, "does not fit tiny of size 8"),
    "another backbone": (lambda card: {**card, "backbone": "mobilefacenet"}, "does not fit mobilefacenet"),
    "an option that the backbone lacks": (lambda card: {**card, "options": {"depth": 4}}, "no option depth"),
    "an option that is none": (lambda card: {**card, "options": {"embedding_size": 16}}, "options"),
    "options a list": (lambda card: {**card, "options": ["dropout"]}, "options must be an object"),
    "training a text": (lambda card: {**card, "training": "long"}, "training must be an object"),
    "preprocessing null": (lambda card: {**card, "preprocessing": None}, "preprocessing must be an object"),
    "a preprocessing key too many": (with_preprocessing(gamma=2.2), "no 'gamma'"),
    "mean NaN": (with_preprocessing(mean=[math.nan, 0.5, 0.5]), "mean must be three numbers"),
    "mean infinite": (with_preprocessing(mean=[math.inf, 0.5, 0.5]), "mean must be three numbers"),
    "mean of 400 digits": (with_preprocessing(mean=[10**400, 0.5, 0.5]), "mean must be three numbers"),
    "mean of a million numbers": (with_preprocessing(mean=[0.5] * 100_000), "mean must be three numbers"),
    "mean nested": (with_preprocessing(mean=[[0.5], 0.5, 0.5]), "mean must be three numbers"),
    "std zero": (with_preprocessing(std=[0, 0, 0]), "std must be above 0"),
    "scale a text": (with_preprocessing(scale="255"), "scale must be a number above 0"),
    "channels unknown": (with_preprocessing(channels="YUV"), "channels"),
    "size enormous": (with_preprocessing(size=10**6), "size must be"),
    "a size that the backbone does not take": (with_preprocessing(size=64), "takes images of 112 pixels"),
}


@pytest.mark.parametrize("what", HOSTILE_CARDS)
def test_a_hostile_card_is_refused_in_one_line(what: str, folder: Path) -> None:
    change, message = HOSTILE_CARDS[what]
    source = folder / "model.json"
    source.write_text(json.dumps(change(json.loads(source.read_text()))))
    assert message in refused(folder)


@pytest.mark.parametrize("option", [{"dropout": "much"}, {"dropout": [0.5]}, {"dropout": 2}, {"name": "tiny"}], ids=str)
def test_an_option_of_the_wrong_type_or_range_is_refused(option: dict[str, Any], folder: Path) -> None:
    source = folder / "model.json"
    source.write_text(json.dumps({**json.loads(source.read_text()), "backbone": "iresnet18", "options": option}))
    refused(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON"),
        (b"backbone: tiny", "not valid JSON"),
        (b'{"format": 1, "name": "cut sho', "not valid JSON"),
        (b'{"format": 1, "name": "\xff"}', "not valid JSON"),
        (b"[" * 500_000, "not valid JSON"),
        (b'{"format": 1, "embedding_size": ' + b"9" * 10_000 + b"}", "not valid JSON"),
        (b" " * (1 << 20) + b"{}", "too much for a model card"),
    ],
    ids=["empty", "YAML", "cut short", "not UTF-8", "nested", "a number of 10,000 digits", "huge"],
)
def test_a_card_that_is_no_json_is_refused(content: bytes, message: str, folder: Path) -> None:
    (folder / "model.json").write_bytes(content)
    assert message in refused(folder)


@pytest.mark.parametrize("missing", ["model.json", "model.safetensors"])
def test_half_a_model_folder_is_refused(missing: str, folder: Path) -> None:
    (folder / missing).unlink()
    assert "model.json and model.safetensors belong in it" in refused(folder)


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.01, 0.5, 0.9999])
def test_truncated_weights_are_refused(share: float, folder: Path) -> None:
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: int(share * len(content))])
    assert "model.safetensors: damaged weights" in refused(folder)


@pytest.mark.parametrize(
    "content",
    [b"\xff" * 8 + b"{}", (1 << 40).to_bytes(8, "little") + b"{}", NOISE, b"\x02" + bytes(7) + b"[]"],
)
def test_weights_with_a_lying_header_are_refused(content: bytes, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(content)
    assert "damaged weights" in refused(folder)


def reshaped(state: dict[str, Tensor]) -> None:
    state["features.weight"] = state["features.weight"].view(8, 2)


WRONG_WEIGHTS: dict[str, tuple[Callable[[dict[str, Tensor]], Any], str]] = {
    "another shape": (reshaped, "features.weight is [8, 2] where [16] is needed"),
    "one missing": (lambda state: state.pop("features.bias"), "the file lacks features.bias"),
    "one too many": (lambda state: state.update(extra=torch.zeros(3)), "tiny has no place for extra"),
    "none": (lambda state: state.clear(), "the file lacks"),
    "another kind of number": (
        lambda state: state.update({"fc.weight": state["fc.weight"].to(torch.int32)}),
        "fc.weight holds torch.int32",
    ),
}


@pytest.mark.parametrize("what", WRONG_WEIGHTS)
def test_weights_that_do_not_fit_are_refused(what: str, folder: Path) -> None:
    change, message = WRONG_WEIGHTS[what]
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")
    found = refused(folder)
    assert message in found
    assert "model.safetensors" in found


def test_weights_in_half_precision_are_computed_in_float32(tiny: FaceEncoder, folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    save_file(
        {name: value.half() if value.is_floating_point() else value for name, value in state.items()},
        folder / "model.safetensors",
    )
    pictures = faces(2, 112)
    cosines = (load(folder).embed(pictures) * tiny.embed(pictures)).sum(1)
    assert (cosines > 0.999).all()


def test_a_model_folder_takes_no_options(folder: Path) -> None:
    for options in ({"backbone": "tiny"}, {"embedding_size": 16}, {"channels": "BGR"}):
        assert "says itself what it is" in refused(folder, **options)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    assert "no such model" in refused(tmp_path / "absent")
    assert "no such model" in refused(tmp_path / "absent.onnx")
    assert "not a model folder" in refused(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    assert "not a model" in refused(tmp_path / "notes.txt")


@pytest.mark.parametrize("device", ["cuda:77", "abacus"])
def test_a_device_that_is_not_there_is_refused(device: str, folder: Path) -> None:
    with pytest.raises(InputError, match=f"no device '{device}'"):
        load(folder, device=device)


# ---------------------------------------------------------------------------------------------- .pth files


@pytest.mark.parametrize("form", ["plain", "module.", "state_dict"])
def test_a_public_iresnet_loads_with_its_backbone_named(form: str, tmp_path: Path) -> None:
    network = trained_a_little("iresnet18", 8)
    state: dict[str, Any] = dict(network.state_dict())
    if form == "module.":
        state = {f"module.{name}": value for name, value in state.items()}
    elif form == "state_dict":
        state = {"state_dict": state, "epoch": 3}
    path = tmp_path / "public.pth"
    torch.save(state, path)
    assert "give the backbone" in refused(path)
    assert "does not fit iresnet18 of size 512" in refused(path, backbone="iresnet18")
    assert "does not fit iresnet34" in refused(path, backbone="iresnet34", embedding_size=8)
    loaded = load(path, backbone="iresnet18", embedding_size=8)
    path.unlink()  # 45 MB
    original = FaceEncoder(network, Card("public", "iresnet18", 8))
    assert loaded.card == original.card
    assert np.array_equal(loaded.embed(faces(1, 112)), original.embed(faces(1, 112)))


def test_a_weights_file_takes_preprocessing_and_says_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "small.pth"
    torch.save(trained_a_little().state_dict(), path)
    assert load(path, "tiny", embedding_size=16, channels="BGR").card.preprocessing.channels == "BGR"
    assert "unknown backbone 'huge'" in refused(path, backbone="huge")
    assert "no 'gamma'" in refused(path, backbone="tiny", gamma=2.2)


class Evil:
    """A pickle that runs a command when it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch '{self.marker}'",)


@pytest.mark.parametrize("wrapped", [False, True], ids=["alone", "among weights"])
@pytest.mark.parametrize("way", ["torch.save", "torch.save, legacy", "pickle"])
def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(way: str, wrapped: bool, tmp_path: Path) -> None:
    marker, path = tmp_path / "ran", tmp_path / "evil.pth"
    content = {"fc.weight": torch.zeros(3), "more": Evil(marker)} if wrapped else Evil(marker)
    if way == "pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=way == "torch.save")
    assert "not a file of weights alone" in refused(path, backbone="tiny")
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no weights", bytes(1000), NOISE])
def test_bytes_that_are_no_weights_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "garbage.pth").write_bytes(content)
    assert "not a file of weights alone" in refused(tmp_path / "garbage.pth", backbone="tiny")


@pytest.mark.parametrize("content", [torch.zeros(3), [torch.zeros(3)], {"epoch": 3}, {"state_dict": 7}], ids=str)
def test_a_file_of_something_else_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pth")
    assert "holds no state dict" in refused(tmp_path / "other.pth", backbone="tiny")


# ---------------------------------------------------------------------------------------------- .onnx files


def write_onnx(
    path: Path, shape: list[int | str | None], nodes: list[onnx.NodeProto], output: list[int | str | None]
) -> Path:
    """A model from "faces" of ``shape`` to "embeddings"."""
    graph = helper.make_graph(
        nodes,
        "embedder",
        [helper.make_tensor_value_info("faces", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, output)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def halves_onnx(path: Path, layout: str = "NCHW", batch: int | str = "batch", size: int | str = 8) -> Path:
    """`halves` of 8×8 pixels as a file: the mean over a window of 8×4 pixels, twice."""
    shape: list[int | str | None] = [batch, 3, size, size] if layout == "NCHW" else [batch, size, size, 3]
    nodes = [
        helper.make_node("Transpose", ["faces"], ["planes"], perm=[0, 3, 1, 2])
        if layout == "NHWC"
        else helper.make_node("Identity", ["faces"], ["planes"]),
        helper.make_node("AveragePool", ["planes"], ["pooled"], kernel_shape=[8, 4], strides=[8, 4]),  # [B, 3, 1, 2]
        helper.make_node("Transpose", ["pooled"], ["sides"], perm=[0, 3, 1, 2]),  # left before right, as in `halves`
        helper.make_node("Flatten", ["sides"], ["embeddings"], axis=1),
    ]
    return write_onnx(path, shape, nodes, [batch, HALVES])


@pytest.mark.parametrize("batch", [1, 4, "batch"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_an_onnx_embedder_is_used_whatever_its_layout_and_batch(layout: str, batch: int | str, tmp_path: Path) -> None:
    path = halves_onnx(tmp_path / "halves.onnx", layout, batch)
    expects = {"size": 8, "channels": "BGR", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    loaded = load(path, **expects)
    assert (loaded.card.name, loaded.card.embedding_size) == ("halves", HALVES)
    pictures = faces(7)
    found = loaded.embed(pictures, normalize=False, batch_size=5)
    expected = sum(halves_longhand(p, loaded.card.preprocessing) for p in (pictures, pictures[:, :, ::-1]))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_file_that_leaves_its_size_open_gets_the_size_it_is_told(tmp_path: Path) -> None:
    path = halves_onnx(tmp_path / "open.onnx", size="side")
    assert load(path, size=8).embed(faces(2)).shape == (2, HALVES)


def test_the_map_that_a_global_pooling_leaves_is_an_embedding(tmp_path: Path) -> None:
    pooling = [helper.make_node("GlobalAveragePool", ["faces"], ["embeddings"])]
    path = write_onnx(tmp_path / "pool.onnx", ["batch", 3, 112, 112], pooling, ["batch", 3, 1, 1])
    pictures = faces(3, 112)
    expected = prepared_longhand(pictures, Preprocessing()).mean((2, 3))
    found = load(path).embed(pictures, flip=False, normalize=False)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_an_onnx_file_says_that_it_takes_another_size(tmp_path: Path) -> None:
    assert "takes images of 8 pixels, not 112; give size" in refused(halves_onnx(tmp_path / "small.onnx"))


def two_inputs(path: Path) -> Path:
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 112, 112]) for name in ("left", "right")]
    output = helper.make_tensor_value_info("sum", TensorProto.FLOAT, [1, 3, 112, 112])
    graph = helper.make_graph([helper.make_node("Add", ["left", "right"], ["sum"])], "two", infos, [output])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def single_node(
    *shape: int | str, output: list[int | str | None], node: str = "Identity", **attributes: Any
) -> Callable:
    return lambda path: write_onnx(
        path, list(shape), [helper.make_node(node, ["faces"], ["embeddings"], **attributes)], output
    )


NO_EMBEDDERS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "two inputs": (two_inputs, "it takes left tensor(float) [1, 3, 112, 112], right"),
    "a text model": (single_node(1, 77, output=[1, 77]), "it takes faces tensor(float) [1, 77]"),
    "a grey image": (single_node(1, 1, 112, 112, output=[1, 1, 112, 112]), "not one float image batch"),
    "an image out": (single_node(1, 3, 112, 112, output=[1, 3, 112, 112]), "first output is [1, 3, 112, 112]"),
    "a list of boxes out": (
        single_node(1, 3, 112, 112, output=[1, 3, 12544], node="Flatten", axis=2),
        "first output is [3, 12544]",
    ),
    "three dimensions out": (
        single_node("batch", 3, 112, 112, output=["batch", 3, 112], node="ReduceMean", axes=[3], keepdims=0),
        "first output is [2, 3, 112]",
    ),
    "one row for all images": (
        single_node("batch", 3, 112, 112, output=[1, "n"], node="Flatten", axis=0),
        "for 2 images",
    ),
    "not square": (
        single_node("batch", 3, 112, 96, output=["batch", 3, 1, 1], node="GlobalAveragePool"),
        "cannot embed images of 112x112 pixels",
    ),
}


@pytest.mark.parametrize("what", NO_EMBEDDERS)
def test_an_onnx_model_that_is_no_face_embedder_is_refused(what: str, tmp_path: Path) -> None:
    write, message = NO_EMBEDDERS[what]
    assert message in refused(write(tmp_path / "other.onnx"))


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"no model", bytes(1000)])
def test_bytes_that_are_no_onnx_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "garbage.onnx").write_bytes(content)
    assert "not a readable ONNX model" in refused(tmp_path / "garbage.onnx")


def test_a_yaml_beside_gives_the_preprocessing_and_keywords_go_over_it(tmp_path: Path) -> None:
    path = halves_onnx(tmp_path / "halves.onnx")
    (tmp_path / "halves.yaml").write_text("size: 8\nchannels: BGR\nmean: [0.1, 0.2, 0.3]\n")
    assert load(path).card.preprocessing == Preprocessing(8, "BGR", mean=(0.1, 0.2, 0.3))
    over = load(path, channels="RGB", std=[0.25, 0.25, 0.25]).card.preprocessing
    assert over == Preprocessing(8, "RGB", mean=(0.1, 0.2, 0.3), std=(0.25, 0.25, 0.25))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("size: 8\ngamma: 2.2\n", "no 'gamma'; it takes size, channels, scale, mean, std"),
        ("size: 8\n1: 2\n", "preprocessing has no 1"),
        ("size: eight\n", "size must be"),
        ("size: 8\nmean: [0.5, 0.5, .nan]\n", "mean must be three numbers"),
        ("size: [8\n", "not valid YAML"),
        ("size: 2001-99-99\n", "not valid YAML"),
        ("- 8\n", "must give size, channels"),
        ("", "must give size, channels"),
        ("size: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
    ],
)
def test_a_wrong_yaml_beside_is_refused_by_its_name(content: str, message: str, tmp_path: Path) -> None:
    path = halves_onnx(tmp_path / "halves.onnx")
    sidecar = tmp_path / "halves.yaml"
    sidecar.write_text(content)
    with pytest.raises(InputError) as error:
        load(path)
    assert str(error.value).startswith(f"{sidecar}: ")
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_an_unknown_keyword_is_named(tmp_path: Path) -> None:
    assert "no 'gamma'" in refused(halves_onnx(tmp_path / "halves.onnx"), size=8, gamma=2.2)
