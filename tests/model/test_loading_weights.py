"""load: .pth files, public ones and hostile ones."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from embedders import NOISE, faces, refused, trained_a_little

from elasticface.model.encoder import Card, FaceEncoder
from elasticface.model.loading import load


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
    assert "gamma: no such field" in refused(path, backbone="tiny", gamma=2.2)


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
