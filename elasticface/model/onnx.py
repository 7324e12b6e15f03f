"""An .onnx embedder of anybody's making, called like a network of ours."""

from pathlib import Path

import torch
from torch import Tensor

from elasticface.base.errors import InputError, first_line


class OnnxNetwork:
    """An .onnx embedder as a network, whatever its layout (NCHW or NHWC) and however its batch is fixed.

    Args:
        path: the file.
        size: side of the images where the file leaves it open.

    Raises:
        InputError: onnxruntime is missing, the file cannot be read, or it isn't one image in, one embedding out.
    """

    def __init__(self, path: Path, size: int = 112) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError(f"{path}: .onnx models need onnxruntime: pip install 'elasticface[export]'") from error
        try:
            self.session = onnxruntime.InferenceSession(str(path), providers=onnxruntime.get_available_providers())
        except Exception as error:  # onnxruntime's errors have no common base but Exception
            raise InputError(f"{path}: not a readable ONNX model: {first_line(error)}") from error
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        if len(shape) != 4 or 3 not in (shape[1], shape[3]) or inputs[0].type != "tensor(float)":
            given = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
            raise InputError(f"{path}: not a face embedder: it takes {given}, not one float image batch")
        self.path, self.input, self.output = path, inputs[0].name, outputs[0].name
        self.channels_last = shape[1] != 3
        self.batch = shape[0] if isinstance(shape[0], int) else None
        sides = shape[1:3] if self.channels_last else shape[2:4]
        self.size = sides[0] if isinstance(sides[0], int) else None
        # Dimensions may be left open in the file, or named and not kept; what comes out is what counts.
        side = self.size or size
        try:
            self.embedding_size = self(torch.zeros(2, 3, side, side)).shape[1]
        except InputError:
            raise
        except Exception as error:  # as above, and whatever an output that is no array of numbers leads to
            raise InputError(f"{path}: cannot embed images of {side}x{side} pixels: {first_line(error)}") from error

    def __call__(self, inputs: Tensor) -> Tensor:
        array = inputs.permute(0, 2, 3, 1) if self.channels_last else inputs
        array, step = array.contiguous().cpu(), self.batch or len(array)
        return torch.cat([self._run(array[start : start + step]) for start in range(0, len(array), step)])

    def _run(self, part: Tensor) -> Tensor:
        missing = (self.batch or len(part)) - len(part)  # a file of fixed batch takes no less
        full = torch.cat([part, part[-1:].expand(missing, -1, -1, -1)]) if missing else part
        outputs = torch.from_numpy(self.session.run([self.output], {self.input: full.numpy()})[0])
        if outputs.shape[2:] == (1, 1):  # the map that a global pooling leaves
            outputs = outputs.flatten(1)
        if outputs.ndim != 2 or len(outputs) != len(full):
            found = f"{list(outputs.shape)} for {len(full)} images"
            raise InputError(f"{self.path}: not a face embedder: its first output is {found}, not [B, D]")
        return outputs[: len(part)]
