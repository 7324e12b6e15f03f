"""load: weights files, public ones and hostile ones."""

import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from embedders import NOISE, faces, refused, trained_a_little
from safetensors.torch import save_file

from elasticface.model.encoder import Card, FaceEncoder
from elasticface.model.loading import load


def test_a_public_iresnet_loads_with_its_backbone_named(tmp_path: Path) -> None:
    network = trained_a_little("iresnet18", 8)
    path = tmp_path / "public.pth"
    torch.save(network.state_dict(), path)
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
    assert "gamma: no such field" in refused(path, backbone="tiny", gamma=2.2)


State = dict[str, Any]
CENTRES = torch.ones(5, 16)


def prefixed(prefix: str) -> Callable[[State], State]:
    return lambda state: {f"{prefix}{name}": value for name, value in state.items()}


FORMS: dict[str, Callable[[State], State]] = {
    "plain": lambda state: state,
    "DDP": prefixed("module."),
    "DDP around its blocks": prefixed("features.module."),
    "Lightning": prefixed("model."),
    "a module with a head": lambda state: {**prefixed("backbone.")(state), "head.weight": CENTRES},
    "compiled": prefixed("_orig_mod."),
    "compiled inside DDP": prefixed("module._orig_mod."),
    "DDP inside a compiled module": prefixed("_orig_mod.model.backbone.module."),
    "under state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "under state_dict_backbone": lambda state: {"state_dict_backbone": state, "state_dict_softmax_fc": {"w": CENTRES}},
    "under model": lambda state: {"model": state, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}},
    "in two dicts": lambda state: {"model": {"state_dict": prefixed("module.")(state)}},
    "before batches were counted": lambda state: {k: v for k, v in state.items() if "num_batches" not in k},
}


@pytest.mark.parametrize("form", FORMS)
def test_weights_load_under_the_names_they_are_passed_on_with(form: str, tmp_path: Path) -> None:
    network = trained_a_little()
    path = tmp_path / "public.pth"
    torch.save(FORMS[form](dict(network.state_dict())), path)
    found = load(path, "tiny", embedding_size=16)
    original = FaceEncoder(network, Card("public", "tiny", 16))
    assert np.array_equal(found.embed(faces(1, 112)), original.embed(faces(1, 112)))


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".pth.tar", ".safetensors", ".PTH", ".Pth.Tar"])
def test_a_weights_file_may_have_any_of_the_usual_suffixes(suffix: str, tmp_path: Path) -> None:
    state = {f"module.{name}": value.contiguous() for name, value in trained_a_little().state_dict().items()}
    path = tmp_path / f"net.v1{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(state, path)
    (tmp_path / "net.v1.yaml").write_text("channels: BGR\n")
    card = load(path, "tiny", embedding_size=16).card
    assert (card.name, card.preprocessing.channels) == ("net.v1", "BGR")


def changed(state: State) -> State:
    del state["features.bias"], state["features.weight"]
    return {**state, "fc.weight": state["fc.weight"][:3], "extra.a": CENTRES, "extra.b": CENTRES, "more.a": CENTRES}


def test_what_does_not_fit_is_counted_with_one_example_and_the_prefix_that_was_removed(tmp_path: Path) -> None:
    state = dict(trained_a_little().state_dict())
    path = tmp_path / "other.pth"
    torch.save(prefixed("module.model.")(changed(state)), path)
    message = refused(path, backbone="tiny", embedding_size=16)
    assert "does not fit tiny of size 16 (prefix module.model. removed): it has 31 layers where 29 are" in message
    assert "1 missing, 2 without a place, 1 of another shape; fc.weight is [3, 6272] where [16, 6272] is" in message


def test_a_whole_module_is_refused_without_advice_to_load_it_all_the_same(tmp_path: Path) -> None:
    for number, zipped in enumerate((True, False)):
        path = tmp_path / f"whole{number}.pth"
        torch.save(trained_a_little(), path, _use_new_zipfile_serialization=zipped)
        message = refused(path, backbone="tiny", embedding_size=16)
        assert "holds a Python object, elasticface.backbones.tiny.Tiny" in message
        assert "state_dict() alone" in message
        assert_is_ours(message)


def assert_is_ours(message: str) -> None:
    assert message.isprintable()
    assert not re.search("weights_only|arbitrary|trust|safe_globals|PyTorch 2", message)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\n<!DOCTYPE html>\x1b[31m<title>Sign in", "it is a web page"),
        (b"\xef\xbb\xbf<html>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "it is a Git LFS pointer"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_a_download_left_in_place_of_weights_is_named(
    content: bytes, told: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"net{suffix}"
    path.write_bytes(content)
    message = refused(path, backbone="tiny")
    assert told in message
    assert_is_ours(message)


def test_a_file_that_unpacks_to_more_than_it_is_is_refused_before_it_does(tmp_path: Path) -> None:
    plain, bomb = tmp_path / "plain.pth", tmp_path / "bomb.pth"
    torch.save({"fc.weight": torch.zeros(1 << 20)}, plain)
    with zipfile.ZipFile(plain) as archive, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in archive.namelist():
            packed.writestr(entry, archive.read(entry))
    assert bomb.stat().st_size < 100_000
    assert "unpacks to more than it is" in refused(bomb, backbone="tiny")


def test_tensors_that_are_not_plain_are_refused(tmp_path: Path) -> None:
    torch.save({"features.bias": torch.zeros(3).to_sparse()}, tmp_path / "odd.pth")
    assert "holds no state dict of tensors" in refused(tmp_path / "odd.pth", backbone="tiny")


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.pth"
    with path.open("wb") as file:
        file.truncate((1 << 35) + 1)
    assert "34,359,738,369 bytes, more than the 34,359,738,368 that are read" in refused(path, backbone="tiny")


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
