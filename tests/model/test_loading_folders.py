"""load: a model folder saved and read again, and what is made of hostile ones."""

import copy
import errno
import json
import math
import os
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from embedders import (
    NOISE,
    encoder,
    faces,
    refused,
    trained_a_little,
)
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import elasticface
from elasticface import backbones
from elasticface.base.errors import InputError
from elasticface.base.limits import LONGEST_EMBEDDING
from elasticface.model.encoder import Card, FaceEncoder, Preprocessing
from elasticface.model.loading import load


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


@pytest.mark.parametrize("half", [False, True])
def test_who_may_read_the_card_may_read_the_weights(half: bool, tiny: FaceEncoder, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        tiny.save(tmp_path / "model", half=half)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "model").iterdir()} == {0o640}


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
    "a list": (lambda card: [card], "expected object"),
    "null": (lambda card: None, "expected object"),
    "another format": (lambda card: {**card, "format": 2}, "format 1"),
    "no format": (without("format"), "format 1"),
    "no name": (without("name"), "name is missing"),
    "no backbone": (without("backbone"), "backbone is missing"),
    "no embedding size": (without("embedding_size"), "embedding_size is missing"),
    "no preprocessing": (without("preprocessing"), "preprocessing is missing"),
    "a name that is a number": (lambda card: {**card, "name": 7}, "name"),
    "backbone null": (lambda card: {**card, "backbone": None}, "backbone"),
    "backbone a list": (lambda card: {**card, "backbone": ["tiny"]}, "backbone"),
    "an endless backbone": (lambda card: {**card, "backbone": "tin\n" * 50_000}, "unknown backbone 'tin"),
    "an endless option": (lambda card: {**card, "options": {"dep\nth" * 50_000: 1}}, "tiny has no option dep"),
    "a backbone that is code": (lambda card: {**card, "backbone": "antigravity:fly"}, "no code is run because a file"),
    "an endless backbone that is code": (lambda card: {**card, "backbone": "a:" + "b" * 50_000}, "unknown backbone"),
    "an unknown backbone": (lambda card: {**card, "backbone": "os.system"}, "unknown backbone"),
    "embedding size negative": (lambda card: {**card, "embedding_size": -16}, "embedding_size is -16"),
    "embedding size zero": (lambda card: {**card, "embedding_size": 0}, "embedding_size is 0"),
    "embedding size enormous": (lambda card: {**card, "embedding_size": 10**9}, "embedding_size is 1000000000"),
    "embedding size of 4,000 digits": (lambda card: {**card, "embedding_size": 10**4000}, "embedding_size"),
    "embedding size a text": (lambda card: {**card, "embedding_size": "16"}, "embedding_size is '16'"),
    "embedding size a fraction": (lambda card: {**card, "embedding_size": 16.0}, "embedding_size is 16.0"),
    "another embedding size": (lambda card: {**card, "embedding_size": 8}, "does not fit tiny of size 8"),
    "another backbone": (lambda card: {**card, "backbone": "mobilefacenet"}, "does not fit mobilefacenet"),
    "an option that the backbone lacks": (lambda card: {**card, "options": {"depth": 4}}, "no option depth"),
    "an option that is none": (lambda card: {**card, "options": {"embedding_size": 16}}, "options"),
    "options a list": (lambda card: {**card, "options": ["dropout"]}, "options: expected object"),
    "training a text": (lambda card: {**card, "training": "long"}, "training is 'long': expected object"),
    "preprocessing null": (lambda card: {**card, "preprocessing": None}, "preprocessing: expected object"),
    "a preprocessing key too many": (with_preprocessing(gamma=2.2), "preprocessing.gamma: no such field"),
    "mean NaN": (with_preprocessing(mean=[math.nan, 0.5, 0.5]), "not valid JSON"),
    "mean infinite": (with_preprocessing(mean=[math.inf, 0.5, 0.5]), "not valid JSON"),
    "mean of 400 digits": (with_preprocessing(mean=[10**400, 0.5, 0.5]), "preprocessing.mean[0] is 1000"),
    "mean of a million numbers": (
        with_preprocessing(mean=[0.5] * 100_000),
        "preprocessing.mean: expected array",
    ),
    "mean nested": (with_preprocessing(mean=[[0.5], 0.5, 0.5]), "preprocessing.mean[0]: expected float"),
    "std zero": (with_preprocessing(std=[0, 0, 0]), "preprocessing.std[0] is 0: expected float >= 1e-12"),
    "scale a text": (with_preprocessing(scale="255"), "preprocessing.scale is '255': expected float"),
    "channels unknown": (with_preprocessing(channels="YUV"), "preprocessing.channels is 'YUV'"),
    "size enormous": (with_preprocessing(size=10**6), "preprocessing.size is 1000000: expected int <= 4096"),
    "a size that the backbone does not take": (with_preprocessing(size=64), "takes images of 112 pixels"),
}


@pytest.mark.parametrize("what", HOSTILE_CARDS)
def test_a_hostile_card_is_refused_in_one_line(what: str, folder: Path) -> None:
    change, message = HOSTILE_CARDS[what]
    source = folder / "model.json"
    source.write_text(json.dumps(change(json.loads(source.read_text()))))
    found = refused(folder)
    assert message in found
    assert ("model.json" in found) == ("does not fit" not in found)


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
        (b" " * (1 << 20) + b"{}", "more than 1,048,576 bytes"),
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
    "one missing": (lambda state: state.pop("features.bias"), "1 missing; features.bias [16] is missing"),
    "one too many": (lambda state: state.update(extra=torch.zeros(3)), "1 without a place; extra [3] has no place"),
    "an endless name": (lambda state: state.update({"x\n" * 50_000: torch.zeros(3)}), "1 without a place; x\\nx"),
    "none": (lambda state: state.clear(), "it has 0 layers where 29 are needed: 29 missing; stem.0.weight"),
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


def test_the_longest_embedding_that_a_card_takes_is_the_longest_that_a_backbone_has(folder: Path) -> None:
    source = folder / "model.json"
    card = json.loads(source.read_text())
    for size, message in (
        (LONGEST_EMBEDDING, "does not fit"),
        (LONGEST_EMBEDDING + 1, "65537: "),
    ):
        source.write_text(json.dumps({**card, "embedding_size": size}))
        assert message in refused(folder)


def test_a_model_has_no_name_that_a_record_of_it_would_not_take(folder: Path, tiny: FaceEncoder) -> None:
    source, longest = folder / "model.json", "x" * 500
    card = json.loads(source.read_text())
    source.write_text(json.dumps({**card, "name": longest}))
    assert load(folder).card.name == longest
    source.write_text(json.dumps({**card, "name": f"{longest}x"}))
    assert "model.json: the name of a model must have at most 500 characters, and not 501" in refused(folder)
    with pytest.raises(InputError, match="at most 500 characters, and not 506"):
        replace(tiny.card, name=f"{longest}, int8")


def test_a_model_of_another_precision_is_saved_and_loaded(tiny: FaceEncoder, tmp_path: Path) -> None:
    assert isinstance(tiny.network, nn.Module)
    double = FaceEncoder(copy.deepcopy(tiny.network).double(), tiny.card)
    double.save(tmp_path / "model")
    assert np.array_equal(load(tmp_path / "model").embed(faces(2, 112)), tiny.embed(faces(2, 112)))


def test_a_model_folder_takes_no_options(folder: Path) -> None:
    for options in ({"backbone": "tiny"}, {"embedding_size": 16}, {"channels": "BGR"}):
        assert "says itself what it is" in refused(folder, **options)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    assert "no such model" in refused(tmp_path / "absent")
    assert "no such model" in refused(tmp_path / "absent.onnx")
    assert "not a model folder" in refused(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    assert "not a model" in refused(tmp_path / "notes.txt")
    os.mkfifo(tmp_path / "pipe.onnx")
    assert "not a file" in refused(tmp_path / "pipe.onnx")
    os.mkfifo(tmp_path / "model.json")
    (tmp_path / "model.safetensors").touch()
    assert "not a model folder" in refused(tmp_path)


@pytest.mark.parametrize("device", ["cuda:77", "abacus"])
def test_a_device_that_is_not_there_is_refused(device: str, folder: Path) -> None:
    with pytest.raises(InputError, match=f"no device '{device}'"):
        load(folder, device=device)
