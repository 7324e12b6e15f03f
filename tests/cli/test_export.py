"""`elasticface export`."""

import shutil
import warnings
from pathlib import Path

import onnx
import pytest
import torch
from command_line import done, refused, run

from elasticface.data.formats.packs import write_pack
from elasticface.data.images import decoding
from elasticface.model import load


@pytest.fixture(scope="module")
def exported(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What is said of an export, and its file, in a folder that was empty."""
    path = tmp_path_factory.mktemp("exported") / "small.onnx"
    return done("export", model, path, "--opset", "20"), path


def test_a_model_is_exported_and_evaluated_like_the_model(
    exported: tuple[str, Path], model: Path, people: Path
) -> None:
    told, path = exported
    assert told.startswith("float32, ")
    assert "checked: ONNX Runtime gives the network's embeddings" in told
    assert told.endswith("small.onnx\n")
    assert load(path).card == load(model).card
    assert sorted(path.name for path in path.parent.iterdir()) == ["small.onnx"]
    shutil.copy(path, "small.onnx")
    done("evaluate", "small.onnx", people, "--out", "results")
    assert "is there already" in refused("export", model, "small.onnx")

    faces = [
        decoding.encode(decoding.decode(path.read_bytes(), "x"), ".png") for path in sorted(people.glob("*/*.png"))
    ]
    write_pack(Path("faces.bin"), faces[:30], [True] * 15)
    told = done("export", "small.onnx", "small8.onnx", "--int8", "faces.bin")
    assert told.startswith("int8, ")
    assert "cosine to float32: mean " in told
    assert load("small8.onnx").card.name == "small int8"


def test_an_export_cannot_be_adapted_and_its_photos_are_not_looked_at(exported: tuple[str, Path], people: Path) -> None:
    line = refused("adapt", exported[1], people, "--out", "adapted")
    assert "not an .onnx; adapt the model folder, run or weights that it was exported from" in line


def test_a_checkpoint_and_public_weights_are_exported(trained: Path) -> None:
    done("export", trained, "step.onnx", "--checkpoint", "2")
    assert load("step.onnx").card == load(trained, checkpoint=2).card
    network = load(trained).network
    assert isinstance(network, torch.nn.Module)
    torch.save({"state_dict": {f"module.{name}": value for name, value in network.state_dict().items()}}, "net.ckpt")
    assert "does not fit tiny of size 512 (prefix module. removed)" in refused(
        "export", "net.ckpt", "net.onnx", "--backbone", "tiny"
    )
    done("export", "net.ckpt", "net.onnx", "--backbone", "tiny", "--embedding-size", "8")
    assert load("net.onnx").card.embedding_size == 8
    for wrong in ("0", "many"):
        assert "must be" in refused("export", "net.ckpt", "x.onnx", "--backbone", "tiny", "--embedding-size", wrong)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("absent out.onnx", "absent: no such model"),
        ("MODEL out.pt", "must end in .onnx"),
        ("MODEL out.onnx --mean 0.5,0.5,0.5", "a model folder says itself what it is"),
        ("MODEL out.onnx --int8 absent", "absent"),
    ],
)
def test_what_cannot_be_exported_is_refused(arguments: str, message: str, model: Path) -> None:
    words = [model if word == "MODEL" else word for word in arguments.split()]
    assert message in refused("export", *words)


def test_an_unlikely_preprocessing_is_a_line_on_stderr(exported: tuple[str, Path]) -> None:
    bare = onnx.load(exported[1])
    del bare.metadata_props[:]
    onnx.save(bare, "bare.onnx")
    with warnings.catch_warnings():
        code, _, err = run("export", "bare.onnx", "x.onnx", "--mean", "127.5,127.5,127.5")
    assert code == 0
    assert "Probably meant: --scale 1 --mean 127.5,127.5,127.5 --std 127.5,127.5,127.5" in err
