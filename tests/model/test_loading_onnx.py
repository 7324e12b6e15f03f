"""load: .onnx embedders of any making, and the YAML beside them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from embedders import HALVES, faces, halves_longhand, prepared_longhand, refused
from onnx import TensorProto, helper

from elasticface.base.errors import InputError
from elasticface.model.encoder import Preprocessing
from elasticface.model.loading import load


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
    "an image out": (single_node(1, 3, 112, 112, output=[1, 3, 112, 112]), "its output embeddings is [1, 3, 112, 112] for 1 images"),
    "a list of boxes out": (
        single_node(1, 3, 112, 112, output=[1, 3, 12544], node="Flatten", axis=2),
        "embeddings is [3, 12544]",
    ),
    "three dimensions out": (
        single_node("batch", 3, 112, 112, output=["batch", 3, 112], node="ReduceMean", axes=[3], keepdims=0),
        "embeddings is [2, 3, 112]",
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
        ("size: 8\ngamma: 2.2\n", "gamma: no such field; preprocessing takes size, channels, scale, mean, std"),
        ("size: 8\n1: 2\n", "a key: expected str"),
        ("size: eight\n", "size is 'eight': expected int"),
        ("size: 8\nmean: [0.5, 0.5, .nan]\n", "mean[2] is nan: expected float"),
        ("size: [8\n", "not valid YAML"),
        ("size: 2001-99-99\n", "not valid YAML"),
        ("- 8\n", "expected object"),
        ("", "expected object"),
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
    assert "gamma: no such field" in refused(halves_onnx(tmp_path / "halves.onnx"), size=8, gamma=2.2)
