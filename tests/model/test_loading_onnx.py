"""load: .onnx embedders of any making, and the YAML beside them."""

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from embedders import HALVES, faces, halves_longhand, prepared_longhand, refused
from onnx import TensorProto, helper, numpy_helper

from elasticface.base.errors import InputError
from elasticface.benchmarks.reading.features import model_bytes
from elasticface.model.encoder import Preprocessing
from elasticface.model.exporting import export
from elasticface.model.loading import load
from elasticface.model.onnx import OnnxNetwork, external_files


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
    "an image out": (
        single_node(1, 3, 112, 112, output=[1, 3, 112, 112]),
        "its output embeddings is [1, 3, 112, 112] for 1 images",
    ),
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


# ---------------------------------------------------------------------------------------------- several outputs


def heads_onnx(path: Path, *, images: int | str = "batch", element: int = TensorProto.FLOAT, also: str = "") -> Path:
    """Two outputs of 8×8 pixels, the norm before the embedding [B, 6]; with ``also`` a third [B, 3], called so."""
    nodes = [
        helper.make_node("AveragePool", ["faces"], ["pooled"], kernel_shape=[8, 4], strides=[8, 4]),
        helper.make_node("Transpose", ["pooled"], ["sides"], perm=[0, 3, 1, 2]),
        helper.make_node("Flatten", ["sides"], ["features"], axis=1),
        helper.make_node("ReduceL2", ["features"], ["norm"], axes=[1], keepdims=1),
        helper.make_node("GlobalAveragePool", ["faces"], ["means"]),
        helper.make_node("Flatten", ["means"], [also or "unused"], axis=1),
    ]
    outputs = [helper.make_tensor_value_info("norm", element, [images, 1])]
    outputs += [helper.make_tensor_value_info("features", element, [images, HALVES])]
    outputs += [helper.make_tensor_value_info(also, element, [images, 3])] if also else []
    graph = helper.make_graph(
        nodes, "heads", [helper.make_tensor_value_info("faces", element, [images, 3, 8, 8])], outputs
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize("images", [1, 4, "batch"])
def test_the_embedding_is_taken_and_not_the_norm(images: int | str, tmp_path: Path) -> None:
    loaded = load(heads_onnx(tmp_path / "two.onnx", images=images), size=8)
    expected = halves_longhand(faces(3), Preprocessing(8))
    np.testing.assert_allclose(loaded.embed(faces(3), flip=False, normalize=False), expected, rtol=1e-4, atol=1e-5)


def test_a_file_with_a_norm_alone_is_no_embedder(tmp_path: Path) -> None:
    model = onnx.load(heads_onnx(tmp_path / "two.onnx"))
    del model.graph.output[1]
    onnx.save(model, tmp_path / "norm.onnx")
    assert "its output norm is [2, 1] for 2 images" in refused(tmp_path / "norm.onnx", size=8)


def test_of_several_that_may_be_the_embedding_one_must_be_named(tmp_path: Path) -> None:
    path = heads_onnx(tmp_path / "three.onnx", also="logits")
    message = refused(path, size=8)
    assert "several outputs may be the embedding: norm is [2, 1], features is [2, 6], logits is [2, 3]" in message
    assert "--output features" in message
    assert load(path, size=8, output="logits").card.embedding_size == 3
    (tmp_path / "three.yaml").write_text("size: 8\noutput: features\n")
    assert load(path).card.embedding_size == HALVES
    assert load(path, output="logits").card.embedding_size == 3
    assert "has no output fc; there are: norm is [2, 1]" in refused(path, output="fc")


def test_output_is_for_onnx_files_and_a_name(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("output: 3\n")
    (tmp_path / "x.onnx").write_bytes(b"")
    with pytest.raises(InputError, match=r"x\.yaml: output is 3: expected the name of an output"):
        load(tmp_path / "x.onnx")
    (tmp_path / "y.pth").write_bytes(b"")
    assert "output is for .onnx files" in refused(tmp_path / "y.pth", backbone="iresnet18", output="x")


def test_float16_inputs_are_given_as_such(tmp_path: Path) -> None:
    loaded = load(heads_onnx(tmp_path / "half.onnx", element=TensorProto.FLOAT16), size=8)
    found = loaded.embed(faces(3), flip=False, normalize=False)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, halves_longhand(faces(3), Preprocessing(8)), rtol=0, atol=2e-3)


def test_a_fixed_batch_beyond_memory_is_refused_before_it_is_tried(tmp_path: Path) -> None:
    said = "takes .* at a time, more than 67,108,864 pixels"
    with pytest.raises(InputError, match=said):
        load(halves_onnx(tmp_path / "many.onnx", batch=1 << 40))
    with pytest.raises(InputError, match=said):
        load(halves_onnx(tmp_path / "large.onnx", size=1 << 20))


def test_a_float16_file_stays_one_when_it_is_exported(tmp_path: Path) -> None:
    heads_onnx(tmp_path / "half.onnx", element=TensorProto.FLOAT16)
    made = export(load(tmp_path / "half.onnx", size=8), tmp_path / "again.onnx")
    again = load(tmp_path / "again.onnx")
    assert (made.precision, again.network.precision) == ("float16", "float16")  # type: ignore[attr-defined]


def test_an_onnx_is_computed_where_one_says_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = halves_onnx(tmp_path / "halves.onnx")
    asked: list[Any] = []
    session = onnxruntime.InferenceSession

    def spy(*arguments: Any, providers: Any) -> Any:
        asked.append(providers)
        return session(*arguments, providers=["CPUExecutionProvider"])

    there = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "InferenceSession", spy)
    OnnxNetwork(path, 8)
    with pytest.raises(InputError, match=r"cannot compute on cuda, only on .*CPUExecutionProvider.*onnxruntime-gpu"):
        OnnxNetwork(path, 8, device="cuda")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: there)
    pickle.loads(pickle.dumps(OnnxNetwork(path, 8, device="cuda:1")))
    on_gpu = [("CUDAExecutionProvider", {"device_id": 1, "use_tf32": 0}), "CPUExecutionProvider"]
    assert asked == [["CPUExecutionProvider"], on_gpu, on_gpu]


# ---------------------------------------------------------------------------------------------- likely preprocessing


@pytest.mark.parametrize(
    ("expects", "message"),
    [
        (
            {"mean": [127.5] * 3},
            "from -255 to -253.* meant: --scale 1 --mean 127.5,127.5,127.5 --std 127.5,127.5,127.5",
        ),
        ({"mean": [127.5] * 3, "std": [128] * 3}, "from -0.9961 to -0.9883.* --scale 1 .*--std 128,128,128"),
        ({"scale": 1}, "from -1 to 509.* meant: --scale 255 --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5"),
        ({"scale": 1, "mean": [0] * 3, "std": [1] * 3}, "from 0 to 255.* --scale 255 --mean 0,0,0 --std 1,1,1"),
        ({"mean": [9, 70, 800], "std": [1e-3] * 3}, "Right only where the network itself scales its input"),
    ],
    ids=str,
)
def test_a_preprocessing_far_from_what_networks_see_is_warned_of(
    expects: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.warns(UserWarning, match=message) as caught:
        load(halves_onnx(tmp_path / "halves.onnx"), size=8, **expects)
    assert len(caught) == 1


@pytest.mark.parametrize(
    "expects",
    [
        {"channels": "RGB"},
        {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
        {"scale": 1, "mean": [127.5] * 3, "std": [127.5] * 3},
        {"mean": [0] * 3, "std": [1] * 3},
        {"std": [0.25] * 3},
    ],
    ids=str,
)
def test_a_usual_preprocessing_is_not_warned_of(expects: dict[str, Any], tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(halves_onnx(tmp_path / "halves.onnx"), size=8, **expects)


def test_weights_in_other_files_are_part_of_what_a_model_is(tmp_path: Path) -> None:
    digests = []
    for folder, weight in (("a", 1.0), ("b", 2.0), ("c", 2.0)):
        (tmp_path / folder).mkdir()
        path = write_onnx(
            tmp_path / folder / "net.onnx",
            ["batch", 3, 8, 8],
            [
                helper.make_node("Flatten", ["faces"], ["flat"]),
                helper.make_node("Mul", ["flat", "gain"], ["scaled"]),
                helper.make_node("Constant", [], ["offset"], value=numpy_helper.from_array(np.ones(192, np.float32))),
                helper.make_node("Add", ["scaled", "offset"], ["embeddings"]),
            ],
            ["batch", 192],
        )
        model = onnx.load(path)
        model.graph.initializer.append(numpy_helper.from_array(np.full(192, weight, np.float32), "gain"))
        onnx.save(
            model, path, save_as_external_data=True, location="net.data", size_threshold=0, convert_attribute=True
        )
        assert external_files(path) == ["net.data"]
        digests.append(model_bytes(load(path, size=8)))
    assert (tmp_path / "a/net.onnx").read_bytes() == (tmp_path / "b/net.onnx").read_bytes()
    assert digests[0] != digests[1] == digests[2]
    assert external_files(halves_onnx(tmp_path / "location.onnx")) == []


def test_a_preprocessing_that_nobody_states_is_warned_of_until_a_yaml_does(tmp_path: Path) -> None:
    path = halves_onnx(tmp_path / "halves.onnx")
    said = r"taken for RGB, \(x / 255 - mean\) / std, with mean 0.5,0.5,0.5 .* in halves.yaml beside it as mean: \[0.5"
    with pytest.warns(UserWarning, match=said):
        load(path, size=8)
    (tmp_path / "halves.yaml").write_text("mean: [0.5,0.5,0.5]\nsize: 8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(path)
