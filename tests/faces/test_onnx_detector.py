"""elasticface.faces.onnx_detector: SCRFD's and RetinaFace's outputs to faces, against their papers' formulas."""

import pickle
from unittest import mock

import numpy as np
import pytest

from elasticface.base.errors import InputError
from elasticface.faces.installed import open_detector
from elasticface.faces.onnx_detector import OnnxDetector

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

SIDE = 64


def constant_network(path, outputs, side=SIDE):
    """A network that takes an image and gives ``outputs`` (name -> array) whatever it shows."""
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "no"], ["0"]),
    ]
    nodes += [helper.make_node("Add", [f"constant {name}", "0"], [name]) for name in outputs]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape) for name, array in outputs.items()],
        [numpy_helper.from_array(array.astype(np.float32), f"constant {name}") for name, array in outputs.items()]
        + [numpy_helper.from_array(np.zeros((), np.float32), "no")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return path


@pytest.fixture
def scrfd(tmp_path):
    """Two anchors a cell; of stride 16 the cell in row 2, column 3 sees a face, and its second anchor the same."""
    outputs = {}
    for kind, width in (("score", 1), ("box", 4), ("points", 10)):
        for stride in (8, 16, 32):
            outputs[f"{kind}{stride}"] = np.zeros(((SIDE // stride) ** 2 * 2, width))
    row = (2 * (SIDE // 16) + 3) * 2
    for anchor, score in ((0, 0.9), (1, 0.7)):
        outputs["score16"][row + anchor] = score
        outputs["box16"][row + anchor] = [1, 1.25, 0.5, 1.5]
        outputs["points16"][row + anchor] = [-0.5, -0.25, 0.5, -0.25, 0, 0.25, -0.5, 0.75, 0.5, 0.75]
    return constant_network(tmp_path / "scrfd.onnx", outputs)


@pytest.fixture
def retinaface(tmp_path):
    """The second prior of stride 16's cell in row 1, column 2 sees a face."""
    cells = sum((SIDE // stride) ** 2 * 2 for stride in (8, 16, 32))
    boxes, classes, points = np.zeros((1, cells, 4)), np.zeros((1, cells, 2)), np.zeros((1, cells, 10))
    row = (SIDE // 8) ** 2 * 2 + (1 * (SIDE // 16) + 2) * 2 + 1
    boxes[0, row] = [0.5, -0.25, np.log(0.5) / 0.2, 0]
    classes[0, row] = [0.2, 0.8]
    points[0, row] = np.arange(10) / 10
    return constant_network(tmp_path / "retina.onnx", {"loc": boxes, "conf": classes, "landms": points})


def test_scrfd_measures_in_strides_from_its_cells(scrfd):
    found = OnnxDetector(scrfd).find(np.zeros((SIDE, SIDE, 3), np.uint8))
    x, y = 3 * 16, 2 * 16
    np.testing.assert_allclose(found.scores, [0.9], rtol=1e-6)  # the other anchor's box is the same one
    np.testing.assert_allclose(found.boxes, [[x - 16, y - 20, x + 8, y + 24]])
    np.testing.assert_allclose(
        found.points[0], [[x - 8, y - 4], [x + 8, y - 4], [x, y + 4], [x - 8, y + 12], [x + 8, y + 12]]
    )


def test_retinaface_measures_from_prior_boxes(retinaface):
    found = OnnxDetector(retinaface).find(np.zeros((SIDE, SIDE, 3), np.uint8))
    x, y, side = 2.5 * 16, 1.5 * 16, 128
    centre = np.array([x + 0.05 * side, y - 0.025 * side])
    half = np.array([side / 4, side / 2])
    np.testing.assert_allclose(found.boxes, [[*centre - half, *centre + half]], rtol=1e-5)
    np.testing.assert_allclose(found.scores, [0.8], rtol=1e-6)
    expected = np.array([x, y]) + 0.1 * side * np.arange(10).reshape(5, 2) / 10
    np.testing.assert_allclose(found.points[0], expected, rtol=1e-5)


@pytest.mark.parametrize(("height", "width", "factor"), [(128, 128, 2), (128, 32, 2), (32, 64, 1), (16, 32, 0.5)])
def test_a_photo_of_another_size_is_brought_to_the_network(scrfd, height, width, factor):
    found = OnnxDetector(scrfd).find(np.zeros((height, width, 3), np.uint8))
    # Pixels are squares, centred on their coordinates: the first one of many is (factor - 1) / 2 from the corner's.
    np.testing.assert_allclose(found.points[0, 2] + 0.5, [48.5 * factor, 36.5 * factor])


def test_it_is_pickled_and_named_by_its_content(scrfd):
    detector = pickle.loads(pickle.dumps(OnnxDetector(scrfd)))
    assert detector.name.startswith("scrfd ")
    assert len(detector.name) == len("scrfd ") + 12


def test_what_is_no_detector_is_refused(tmp_path, retinaface):
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(InputError, match=r"text.onnx: not a network"):
        OnnxDetector(tmp_path / "text.onnx")
    with pytest.raises(InputError, match=r"none.onnx"):
        OnnxDetector(tmp_path / "none.onnx")
    embedder = constant_network(tmp_path / "embedder.onnx", {"embedding": np.zeros((1, 512))})
    with pytest.raises(InputError, match="its outputs, 512 wide, are neither SCRFD's"):
        OnnxDetector(embedder)
    blind = helper.make_graph(
        [],
        "blind",
        [],
        [helper.make_tensor_value_info("loc", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(np.zeros((1, 4), np.float32), "loc")],
    )
    onnx.save(
        helper.make_model(blind, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "blind.onnx"
    )
    with pytest.raises(InputError, match=r"blind.onnx: has 0 inputs, not one for an image"):
        OnnxDetector(tmp_path / "blind.onnx")
    short = constant_network(
        tmp_path / "short.onnx", {k: np.zeros((1, 7, n)) for k, n in (("a", 4), ("b", 2), ("c", 10))}
    )
    with pytest.raises(InputError, match=r"short.onnx: its rows are not those of a grid of 64x64 pixels"):
        OnnxDetector(short).find(np.zeros((SIDE, SIDE, 3), np.uint8))


@pytest.mark.parametrize(
    ("shape", "element"),
    [
        ([1, 3, 200_000, 200_000], TensorProto.FLOAT),
        ([2, 3, 64, 64], TensorProto.FLOAT),
        ([1, 64, 64, 3], TensorProto.FLOAT),
        ([1, 3, 64, 64], TensorProto.FLOAT16),
    ],
)
def test_what_takes_no_picture_or_too_large_a_one_is_refused(tmp_path, scrfd, shape, element):
    model = onnx.load(str(scrfd))
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", element, shape))
    if element == TensorProto.FLOAT16:
        model.graph.node.insert(0, helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT))
        model.graph.node[1].input[0] = "pixels"
    onnx.save(model, str(tmp_path / "odd.onnx"))
    with pytest.raises(InputError, match=r"odd.onnx: takes tensor\(float.*, not one float image \[1, 3, "):
        OnnxDetector(tmp_path / "odd.onnx")


@pytest.mark.parametrize("batch", ["batch", None, 1])
def test_a_network_may_leave_the_size_of_its_batch_free(tmp_path, scrfd, batch):
    model = onnx.load(str(scrfd))
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, SIDE, SIDE]))
    onnx.save(model, str(tmp_path / "free.onnx"))
    assert len(OnnxDetector(tmp_path / "free.onnx").find(np.zeros((SIDE, SIDE, 3), np.uint8))) == 1


def test_rows_that_are_no_numbers_are_no_faces(tmp_path):
    outputs = {}
    for kind, width in (("score", 1), ("box", 4), ("points", 10)):
        for stride in (8, 16, 32):
            outputs[f"{kind}{stride}"] = np.full(((SIDE // stride) ** 2 * 2, width), 1 if kind == "score" else np.nan)
    network = constant_network(tmp_path / "nan.onnx", outputs)
    assert len(OnnxDetector(network).find(np.zeros((SIDE, SIDE, 3), np.uint8))) == 0


def test_a_network_that_fails_on_a_picture_is_refused(scrfd, monkeypatch):
    detector = OnnxDetector(scrfd)
    session = mock.Mock(run=mock.Mock(side_effect=RuntimeError("no memory\nat all")))
    monkeypatch.setattr(detector, "_session", session)
    with pytest.raises(InputError, match=r"scrfd.onnx: cannot look at 64x64 pixels: no memory$"):
        detector.find(np.zeros((SIDE, SIDE, 3), np.uint8))


def test_detectors_are_opened_by_name_and_their_licence_is_said(scrfd, capsys):
    assert open_detector("yunet").name == "yunet-2023mar"
    assert "licence" not in capsys.readouterr().err
    assert open_detector(str(scrfd)).name.startswith("scrfd ")
    assert "the licence of scrfd.onnx is its authors'" in capsys.readouterr().err
    with pytest.raises(InputError, match="insightface is not installed: pip install insightface"):
        open_detector("insightface")
    with pytest.raises(InputError, match="no detector 'mtcnn': give yunet, insightface, uniface"):
        open_detector("mtcnn")


def test_pixels_are_normalised_as_each_was_trained(scrfd, retinaface):
    image = np.full((2, 2, 3), [200, 100, 50], np.uint8)
    assert OnnxDetector(scrfd)._normalised(image)[0, :, 0, 0] == pytest.approx([72.5 / 128, -27.5 / 128, -77.5 / 128])
    assert OnnxDetector(retinaface)._normalised(image)[0, :, 0, 0] == pytest.approx([50 - 104, 100 - 117, 200 - 123])
