"""export: the file's graph, what it says of itself, int8, and that a wrong file gets no name."""

import copy
import json
import os
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from compared import made_up
from embedders import encoder, faces, halves, refused, trained_a_little
from torch import Tensor, nn

from elasticface.base.errors import InputError
from elasticface.data.formats.packs import write_pack
from elasticface.data.images import decoding
from elasticface.model import Card, FaceEncoder, Preprocessing, export, exporting, load
from elasticface.model.onnx import METADATA, OnnxNetwork
from elasticface.recognition.conditions import conditions_of


class Halves(nn.Module):
    """A user's own network."""

    def forward(self, inputs: Tensor) -> Tensor:
        return halves(inputs)


class Small(nn.Module):
    """The least that has what int8 quantises: a convolution, a depthwise one, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 16)),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        result: Tensor = self.layers(inputs)
        return result


def small(size: int = 16) -> FaceEncoder:
    torch.manual_seed(0)
    return FaceEncoder(Small(), Card("small", embedding_size=16, preprocessing=Preprocessing(size)))


def metadata(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads({p.key: p.value for p in onnx.load(path).metadata_props}[METADATA])
    return found


def write_metadata(source: Path, path: Path, content: Any) -> Path:
    """``source`` with something else in its metadata."""
    model = onnx.load(source)
    (entry,) = (part for part in model.metadata_props if part.key == METADATA)
    entry.value = content if isinstance(content, str) else json.dumps(content)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[FaceEncoder, Path]:
    """A trained encoder in a preprocessing of its own, and its file."""
    expects = Preprocessing(channels="BGR", mean=(0.4, 0.5, 0.6), std=(0.3, 0.25, 0.2))
    card = Card("mine", "tiny", 16, preprocessing=expects, training={"loss": "elastic-arc", "m": None})
    made = FaceEncoder(trained_a_little(), card)
    path = tmp_path_factory.mktemp("exported") / "tiny.onnx"
    export(made, path)
    return made, path


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "small.onnx"
    export(small(), path)
    return path


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """Thirty faces of 16 pixels."""
    path = tmp_path / "faces.bin"
    write_pack(path, [decoding.encode(face, ".png") for face in faces(30, 16)], [True, False, True] * 5)
    return path


# ---------------------------------------------------------------------------------------------- the file


def test_a_file_gives_the_networks_embeddings_with_nothing_beside_it(tiny: tuple[FaceEncoder, Path]) -> None:
    made, path = tiny
    assert os.listdir(path.parent) == ["tiny.onnx"]
    loaded = load(path)
    assert loaded.card == made.card
    for count in (1, 3):
        pictures = faces(count, 112)
        np.testing.assert_allclose(loaded.embed(pictures), made.embed(pictures), rtol=0, atol=1e-5)


def test_the_graph_has_a_free_batch_called_batch_and_no_paths_of_the_machine(tiny: tuple[FaceEncoder, Path]) -> None:
    _, path = tiny
    graph = onnx.load(path).graph
    shapes = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*graph.input, *graph.output)]
    assert shapes == [["batch", 3, 112, 112], ["batch", 16]]
    assert [graph.input[0].name, graph.output[0].name] == ["images", "embeddings"]
    assert b".py" not in path.read_bytes()


def test_the_metadata_say_how_the_file_was_made(tiny: tuple[FaceEncoder, Path]) -> None:
    made = metadata(tiny[1])["export"]
    assert made["precision"] == "float32"
    assert {"torch", "onnxruntime", "elasticface"} <= made["versions"].keys()


def test_a_network_of_ones_own_in_half_precision_is_exported_in_float32(tmp_path: Path) -> None:
    mine = small()
    half = copy.deepcopy(mine)
    half.network.to(torch.float16)  # type: ignore[attr-defined]
    made = export(half, tmp_path / "half.onnx", opset=18)
    assert made.difference < exporting.MOST_DIFFERENCE
    loaded = load(tmp_path / "half.onnx")
    np.testing.assert_allclose(loaded.embed(faces(2, 16)), mine.embed(faces(2, 16)), rtol=0, atol=1e-2)
    assert next(part.version for part in onnx.load(tmp_path / "half.onnx").opset_import if not part.domain) == 18
    assert next(half.network.parameters()).dtype == torch.float16  # type: ignore[attr-defined]


def test_an_onnx_from_elsewhere_gets_its_metadata_and_loses_its_other_outputs(small_file: Path, tmp_path: Path) -> None:
    bare = onnx.load(small_file)
    del bare.metadata_props[:]
    bare.graph.output.append(onnx.helper.make_tensor_value_info(bare.graph.node[0].output[0], 1, None))
    onnx.save(bare, tmp_path / "bare.onnx")
    export(load(tmp_path / "bare.onnx", size=16, scale=200), tmp_path / "full.onnx")
    loaded = load(tmp_path / "full.onnx")
    assert loaded.card.preprocessing == Preprocessing(16, scale=200)
    assert len(onnx.load(tmp_path / "full.onnx").graph.output) == 1


# ---------------------------------------------------------------------------------------------- refused


class Otherwise(nn.Module):
    """Computes one thing when it is exported, another when it is called."""

    def forward(self, inputs: Tensor) -> Tensor:
        return halves(inputs) + (3 * inputs[:, :1, 0, 0] if torch.compiler.is_exporting() else 0)


class OtherwiseAndHuge(Otherwise):
    """Its squares leave float32."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) * 1e25


class Branches(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return halves(inputs) if inputs.sum() > 0 else -halves(inputs)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Otherwise(), "gives other embeddings than the network for a batch of 1"),
        (OtherwiseAndHuge(), "gives other embeddings than the network for a batch of 1"),
        (Branches(), "cannot be exported"),
        (halves, "only an nn.Module or an .onnx can be exported, not a function"),
    ],
    ids=["differs", "huge", "branches", "function"],
)
def test_what_is_not_the_same_in_onnx_leaves_no_file(network: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "old.onnx").write_text("old")
    with pytest.raises(InputError, match=message) as error:
        export(encoder(network), tmp_path / "old.onnx", overwrite=True)
    assert len(str(error.value).splitlines()) == 1
    assert os.listdir(tmp_path) == ["old.onnx"]
    assert (tmp_path / "old.onnx").read_text() == "old"


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (Card("x", embedding_size=7), "gives embeddings of 6, and its card says 7"),
        (Card("x", embedding_size=6, training={"loss": float("nan")}), "cannot be written as JSON"),
        (Card("x", embedding_size=6, training={"loss": halves}), "cannot be written as JSON"),
    ],
    ids=["length", "nan", "function"],
)
def test_a_card_that_could_not_be_read_again_is_refused(card: Card, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        export(FaceEncoder(Halves(), card), tmp_path / "x.onnx")
    assert os.listdir(tmp_path) == []


def test_a_name_that_will_not_do_is_refused_before_the_work(
    small_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.onnx, "export", None)
    (tmp_path / "there.onnx").write_text("old")
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "beside.yaml").write_text("size: 8\n")
    (tmp_path / "output.yaml").write_text("output: fc1\n")
    for name, message in {
        "model.bin": "must end in .onnx",
        "there.onnx": "is there already",
        "folder.onnx": "is a folder",
        "there.onnx/x.onnx": "cannot be written",
        "beside.onnx": r"beside\.yaml: contradicts the model",
        "output.onnx": r"output\.yaml: contradicts the model",
    }.items():
        with pytest.raises(InputError, match=message):
            export(small(), tmp_path / name)
    with pytest.raises(InputError, match="is the model itself"):
        export(small_file, small_file, overwrite=True)
    with pytest.raises(InputError, match="keeps its opset"):
        export(small_file, tmp_path / "new.onnx", opset=18)


def test_an_opset_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"opset 999|cannot be exported"):
        export(encoder(Halves()), tmp_path / "x.onnx", opset=999)
    assert os.listdir(tmp_path) == []


# ---------------------------------------------------------------------------------------------- metadata, read


def test_options_and_a_yaml_that_contradict_the_file_are_refused_others_are_not(
    small_file: Path, tmp_path: Path
) -> None:
    assert load(small_file, size=16, scale=255).card.preprocessing == Preprocessing(16)
    assert "says itself what its input is" in refused(small_file, channels="BGR")
    path = tmp_path / "small.onnx"
    path.write_bytes(small_file.read_bytes())
    (tmp_path / "small.yaml").write_text("mean: [0.5, 0.5, 0.4]\n")
    assert "mean (0.5, 0.5, 0.5) -> (0.5, 0.5, 0.4)" in refused(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "not a model card of format 1"),
        ({"name": 3}, "name is 3: expected str"),
        ({"embedding_size": "16"}, "embedding_size is '16': expected int"),
        ({"embedding_size": 17}, "embedding_size is 17, but it gives 16"),
        ({"embedding_size": 10**9}, "embedding_size"),
        ({"preprocessing": None}, "preprocessing"),
        ({"preprocessing": {"size": 112}}, "takes images of 16 pixels, not 112"),
        ({"preprocessing": {"mean": [0, 0]}}, "preprocessing.mean"),
        ({"training": []}, "training"),
        ({"more": 1}, "more: no such field"),
    ],
    ids=str,
)
def test_a_wrong_entry_in_the_metadata_is_refused(
    change: dict[str, Any], message: str, small_file: Path, tmp_path: Path
) -> None:
    content = {**metadata(small_file), **change}
    assert message in refused(write_metadata(small_file, tmp_path / "x.onnx", content))


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "[" * 100_000, '"' + "x" * 2_000_000, "{}"])
def test_metadata_that_are_no_card_are_refused(content: str, small_file: Path, tmp_path: Path) -> None:
    assert "metadata: " in refused(write_metadata(small_file, tmp_path / "x.onnx", content))


# ---------------------------------------------------------------------------------------------- int8


def test_int8_is_near_float32_and_says_what_it_is(pack: Path, tmp_path: Path) -> None:
    made = export(small(), tmp_path / "small8.onnx", int8=pack)
    assert made.precision == "int8"
    assert made.cosine is not None
    assert made.cosine[0] > 0.99
    assert made.faces == 5
    loaded = load(tmp_path / "small8.onnx")
    assert loaded.card.name == "small int8"
    assert (conditions_of(loaded).precision, conditions_of(small()).precision) == ("int8", "float32")
    assert loaded.card.preprocessing == Preprocessing(16)
    assert metadata(tmp_path / "small8.onnx")["export"]["int8"] == {
        "faces": "faces.bin",
        "count": 25,
        "cosine": [round(value, 4) for value in made.cosine],
    }
    cosines = (loaded.embed(faces(9, 16, 1)) * small().embed(faces(9, 16, 1))).sum(1)
    assert cosines.min() > 0.98
    weights = [t for t in onnx.load(tmp_path / "small8.onnx").graph.initializer if t.data_type == t.INT8 and t.dims]
    assert sorted(np.prod(t.dims) for t in weights if len(t.dims) > 1) == [72, 216, 512]  # all three layers
    with pytest.raises(InputError, match="is quantised already"):
        export(tmp_path / "small8.onnx", tmp_path / "again.onnx", int8=pack)


def test_an_onnx_of_fixed_batch_is_quantised(small_file: Path, pack: Path, tmp_path: Path) -> None:
    fixed = onnx.load(small_file)
    for value in (*fixed.graph.input, *fixed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(fixed, tmp_path / "fixed.onnx")
    assert export(tmp_path / "fixed.onnx", tmp_path / "int8.onnx", int8=pack).precision == "int8"


def test_int8_that_does_not_suit_a_network_leaves_no_file(
    small_file: Path, pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "LEAST_COSINE_INT8", 1.1)
    with pytest.raises(InputError, match="int8 does not suit this network"):
        export(small_file, tmp_path / "small8.onnx", int8=pack)
    assert os.listdir(tmp_path) == ["faces.bin"]


def test_faces_that_will_not_do_are_refused_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.onnx, "export", None)
    write_pack(tmp_path / "few.bin", [decoding.encode(face, ".png") for face in faces(4, 16)], [True, False])
    write_pack(tmp_path / "large.bin", [decoding.encode(face, ".png") for face in faces(20, 17)], [True] * 10)
    for number, photo in enumerate(np.zeros((20, 24, 20, 3), np.uint8)):
        (tmp_path / f"photos/{number}").mkdir(parents=True)
        (tmp_path / f"photos/{number}/a.png").write_bytes(decoding.encode(photo, ".png"))
    for name, message in {
        "few.bin": "4 faces; int8 needs 12",
        "large.bin": "large.bin: image 0: 17x17 is no aligned face of 16x16; align it first",
        "photos": "photos: 0/a.png: 20x24 is no aligned face of 16x16; align it first",
        "absent": "absent",
    }.items():
        with pytest.raises(InputError, match=message):
            export(small(), tmp_path / "x.onnx", int8=tmp_path / name)


def test_rendered_faces_are_resized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from elasticface.model import quantization_faces

    specs = []

    def opened(spec: str) -> list[tuple[np.ndarray, int]]:
        specs.append(spec)
        return [(face, 0) for face in faces(20, 112)]

    monkeypatch.setattr(quantization_faces, "open_dataset", opened)
    found = quantization_faces.read_quantization_faces("rendered", 16)
    assert (found.name, found.pixels.shape) == ("rendered", (20, 16, 16, 3))
    assert specs == ["synthetic:identities=300,images=1,seed=20261129"]


def test_no_two_neighbouring_products_leave_int16() -> None:
    from elasticface.model.quantizing import unsaturated_limits

    weights = np.random.default_rng(0).standard_cauchy((50, 16, 3, 3)).astype(np.float32)
    limits = unsaturated_limits(weights)
    quantised = np.round(weights / (limits / 127)[:, None, None, None])
    assert np.abs(quantised).max() <= 127
    pairs = np.abs(quantised[:, 1:]) + np.abs(quantised[:, :-1])
    assert pairs.max() * 255 < 2**15
    depthwise = weights[:, :1]
    np.testing.assert_array_equal(unsaturated_limits(depthwise), np.abs(depthwise).max((1, 2, 3)))


def test_thresholds_go_into_a_float32_file_and_are_left_out_of_int8(
    pack: Path, small_file: Path, tmp_path: Path
) -> None:
    content = {**metadata(small_file), "calibration": asdict(made_up())}
    calibrated = write_metadata(small_file, tmp_path / "calibrated.onnx", content)
    assert not export(calibrated, tmp_path / "float32.onnx").lost_calibration
    assert load(tmp_path / "float32.onnx").card.calibration == made_up()
    made = export(calibrated, tmp_path / "int8.onnx", int8=pack)
    assert made.lost_calibration
    assert "thresholds left out" in made.lines()[-1]
    assert load(tmp_path / "int8.onnx").card.calibration is None


# ---------------------------------------------------------------------------------------------- copies


def test_an_onnx_encoder_can_be_copied_and_pickled(small_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small_file.parent)
    made = load(small_file.name)
    packed = pickle.dumps(made)
    monkeypatch.chdir("/")
    for again in (copy.deepcopy(made), pickle.loads(packed)):
        assert isinstance(again.network, OnnxNetwork)
        assert np.array_equal(again.embed(faces(2, 16)), made.embed(faces(2, 16)))
