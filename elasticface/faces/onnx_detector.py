"""SCRFD and RetinaFace as they are passed on: `.onnx` files, told apart by what they put out.

SCRFD (Guo et al., ICLR 2022, arXiv 2105.04714), as InsightFace exports it: for each stride scores [N, 1], distances to
the four sides [N, 4] and to five points [N, 10], in strides, from the centres of a grid's cells. RetinaFace (Deng et
al., CVPR 2020, arXiv 1905.00641), as its PyTorch ports export it: boxes [P, 4], classes [P, 2] and points [P, 10]
relative to prior boxes, with SSD's variances of 0.1 and 0.2.
"""

import hashlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticface.base import files
from elasticface.base.errors import InputError, first_line
from elasticface.base.files import printable
from elasticface.data.images.decoding import cv2
from elasticface.faces.detector import SURE, Detections, Floats
from elasticface.faces.overlap import without_overlaps

_LEAST_SCORE = 0.5
_SIDE = 640  # of the input, where the network takes any
_MULTIPLE = 32  # that a side is padded to
_LONGEST_SIDE = 4096  # of the input, where the network takes one alone
_MOST_BYTES = 1 << 30
_MOST = 5000  # candidates of an image: some surround each face
_PRIOR_SIDES = {8: (16, 32), 16: (64, 128), 32: (256, 512)}  # RetinaFace's, by stride
_VARIANCES = (0.1, 0.2)
_MOST_GROWTH = 10.0  # natural logarithm of a box over its prior: no box is larger, and e^x stays finite


class OnnxDetector:
    """A detector from a file. Its weights have a licence of their own, often for research only.

    Args:
        path: a SCRFD with five points, or a RetinaFace.

    Raises:
        InputError: no such file, no network, or one with other outputs.
    """

    upright_score = SURE

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        data = files.read_bytes(self.path, "give an .onnx detector", _MOST_BYTES)
        self.name = f"{printable(self.path.stem)} {hashlib.sha256(data).hexdigest()[:12]}"
        try:
            import onnxruntime
        except ImportError:
            raise InputError("an .onnx detector needs onnxruntime: pip install elasticface[export]") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # photos come many at a time, from several processes
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own kinds
            raise InputError(f"{printable(self.path)}: not a network: {first_line(error)}") from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise InputError(f"{printable(self.path)}: has {len(inputs)} inputs, not one for an image: no detector")
        self._input = inputs[0]
        widths = [str(output.shape[-1:]).strip("[]") for output in self._session.get_outputs()]
        strides, rest = divmod(len(widths), 3)
        self._is_scrfd = strides > 1 and not rest and sorted(widths) == sorted(["1", "4", "10"] * strides)
        is_known = self._is_scrfd or sorted(widths) == ["10", "2", "4"]
        if not is_known:
            raise InputError(
                f"{printable(self.path)}: its outputs, {', '.join(widths)} wide, are neither SCRFD's (1, 4 "
                "and 10 for each stride) nor RetinaFace's (4, 2 and 10): no detector with five points"
            )
        batch, channels, *sides = self._input.shape if len(self._input.shape) == 4 else (0, 0)
        fixed = [side for side in sides if isinstance(side, int)]
        if (
            self._input.type != "tensor(float)"
            or channels != 3
            or (isinstance(batch, int) and batch > 1)  # not where it is free: a name, or None
            or any(not 0 < side <= _LONGEST_SIDE for side in fixed)
        ):
            raise InputError(
                f"{printable(self.path)}: takes {self._input.type} {self._input.shape}, not one float image "
                f"[1, 3, height, width] of at most {_LONGEST_SIDE:,} pixels a side"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        return OnnxDetector, (self.path,)

    def find(self, image: NDArray[np.uint8]) -> Detections:
        """The faces in an image, uint8 [H, W, 3] RGB."""
        height, width = image.shape[:2]
        rows, columns = (side if isinstance(side, int) else 0 for side in self._input.shape[2:])
        rows, columns = rows or _padded(min(height, _SIDE)), columns or _padded(min(width, _SIDE))
        scale = min(rows / height, columns / width)
        size = max(int(width * scale), 1), max(int(height * scale), 1)
        shrunk = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        canvas = np.zeros((rows, columns, 3), np.uint8)
        canvas[: size[1], : size[0]] = shrunk
        inputs = self._normalised(canvas)
        try:
            outputs = self._session.run(None, {self._input.name: inputs})
        except Exception as error:  # onnxruntime's own kinds
            raise InputError(
                f"{printable(self.path)}: cannot look at {columns}x{rows} pixels: {first_line(error)}"
            ) from error
        outputs = [np.asarray(output, np.float64).reshape(-1, output.shape[-1]) for output in outputs]
        decode = _scrfd if self._is_scrfd else _retinaface
        found = decode(outputs, rows, columns)
        if found is None:
            raise InputError(f"{printable(self.path)}: its rows are not those of a grid of {columns}x{rows} pixels")
        boxes, scores, points = found
        finite = np.isfinite(np.hstack([boxes, points.reshape(len(points), -1)])).all(axis=1)
        scores = np.where(finite, scores, 0)
        likely = np.argsort(-scores, kind="stable")[:_MOST]
        likely = likely[scores[likely] >= _LEAST_SCORE]
        factors = np.array([width / size[0], height / size[1]])
        half = (factors - 1) / 2  # pixels are squares, centred on their coordinates
        boxes = (boxes[likely].reshape(-1, 2, 2) * factors + half).reshape(-1, 4)
        return without_overlaps(Detections(boxes, scores[likely], points[likely] * factors + half))

    def _normalised(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self._is_scrfd:
            return np.asarray(cv2.dnn.blobFromImage(image, 1 / 128, mean=(127.5, 127.5, 127.5)))
        return np.asarray(cv2.dnn.blobFromImage(image, mean=(104, 117, 123), swapRB=True))  # BGR, less the mean


Decoded = tuple[Floats, Floats, Floats]


def _scrfd(outputs: list[Floats], rows: int, columns: int) -> Decoded | None:
    """Boxes [N, 4], scores [N] and points [N, 5, 2] of all strides; None where the outputs are another grid's."""
    by_width = {width: [output for output in outputs if output.shape[1] == width] for width in (1, 4, 10)}
    parts = []
    strides = (8, 16, 32, 64, 128)
    for stride, scores, sides, points in zip(strides, by_width[1], by_width[4], by_width[10], strict=False):
        cells = -(-rows // stride) * -(-columns // stride)
        anchors, rest = divmod(len(scores), cells)
        if rest or not anchors or not len(scores) == len(sides) == len(points):
            return None
        y, x = np.divmod(np.arange(cells), -(-columns // stride))
        centres = np.repeat(np.stack([x, y], axis=1) * float(stride), anchors, axis=0)
        boxes = np.hstack([centres - sides[:, :2] * stride, centres + sides[:, 2:] * stride])
        parts.append((boxes, scores[:, 0], centres[:, None] + points.reshape(-1, 5, 2) * stride))
    boxes, scores, points = (np.concatenate(part) for part in zip(*parts, strict=True))
    return boxes, scores, points


def _retinaface(outputs: list[Floats], rows: int, columns: int) -> Decoded | None:
    """As :func:`_scrfd`."""
    by_width = {output.shape[1]: output for output in outputs}
    priors = _priors(rows, columns)
    if any(len(output) != len(priors) for output in outputs):
        return None
    middle, side = priors[:, :2], priors[:, 2:]
    centres = middle + by_width[4][:, :2] * _VARIANCES[0] * side
    half = side * np.exp(np.clip(by_width[4][:, 2:] * _VARIANCES[1], None, _MOST_GROWTH)) / 2
    points = middle[:, None] + by_width[10].reshape(-1, 5, 2) * _VARIANCES[0] * side[:, None]
    return np.hstack([centres - half, centres + half]), by_width[2][:, 1], points


def _priors(rows: int, columns: int) -> Floats:
    """RetinaFace's prior boxes [P, 4] in pixels: centre x, y, and sides."""
    found = []
    for stride, sides in _PRIOR_SIDES.items():
        for y, x in itertools.product(range(-(-rows // stride)), range(-(-columns // stride))):
            found += [((x + 0.5) * stride, (y + 0.5) * stride, side, side) for side in sides]
    return np.array(found, np.float64)


def _padded(side: int) -> int:
    return -(-side // _MULTIPLE) * _MULTIPLE
