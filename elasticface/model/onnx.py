"""An .onnx embedder of anybody's making, called like a network of ours."""

import mmap
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elasticface.base import files, records
from elasticface.base.errors import InputError, first_line
from elasticface.base.files import printable
from elasticface.base.limits import LONGEST_EMBEDDING

METADATA = "elasticface"
"""The entry of a file's `metadata_props` in which we say what it is: :mod:`elasticface.model.exporting`."""

_TYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16}
_EXPORTED = ("float32", "float16", "int8")
_MOST_PIXELS = 1 << 26  # of a fixed batch, .8 GB as float32
_PROBES = 2  # images with which a file is tried that leaves its batch open
_MOST_SHOWN = 8  # outputs, in a message


class OnnxNetwork:
    """An .onnx embedder as a network, whatever its layout (NCHW or NHWC), float32 or float16, and however its batch is
    fixed. It can be copied and pickled as long as the file stays where it is.

    Args:
        path: the file.
        size: side of the images where the file leaves it open.
        output: the name of the embedding where the file has several outputs that may be it.
        device: where to compute, cpu or cuda.

    Attributes:
        size: side of the images where the file fixes it.
        output: the name of the output that is the embedding.
        embedding_size: D.
        metadata: what the file says of itself under ``METADATA``, as it stands there, or None.

    Raises:
        InputError: onnxruntime is missing or cannot compute there, the file cannot be read, it isn't one image in, one
            embedding out, or several of its outputs may be the embedding.
    """

    def __init__(
        self, path: Path, size: int = 112, output: str | None = None, device: str | torch.device = "cpu"
    ) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError(f"{path}: .onnx models need onnxruntime: pip install 'elasticface[export]'") from error
        providers = _providers(torch.device(device), onnxruntime.get_available_providers())
        try:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4  # what is wrong comes as an exception
            self.session = onnxruntime.InferenceSession(str(path), options, providers=providers)
            self.metadata: str | None = self.session.get_modelmeta().custom_metadata_map.get(METADATA)
        except Exception as error:  # onnxruntime's errors have no common base but Exception
            raise InputError(f"{path}: not a readable ONNX model: {first_line(error)}") from error
        inputs = self.session.get_inputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        if len(shape) != 4 or 3 not in (shape[1], shape[3]) or inputs[0].type not in _TYPES:
            given = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
            raise InputError(f"{path}: not a face embedder: it takes {given}, not one float image batch")
        self._found_at, self._side = Path(path).absolute(), size  # the working folder may be another one later
        self._device = str(device)
        self.path, self.input, self.dtype = path, inputs[0].name, _TYPES[inputs[0].type]
        self.channels_last = shape[1] != 3
        self.batch = shape[0] if isinstance(shape[0], int) else None
        sides = shape[1:3] if self.channels_last else shape[2:4]
        self.size = sides[0] if isinstance(sides[0], int) else None
        # Dimensions may be left open in the file, or named and not kept; what comes out is what counts.
        side = self.size or size
        if not 0 < (self.batch or _PROBES) * side**2 <= _MOST_PIXELS:
            raise InputError(f"{path}: takes {shape} at a time, more than {_MOST_PIXELS:,} pixels, or none")
        probe = self.array(torch.zeros(self.batch or _PROBES, 3, side, side))
        try:
            outputs = self.session.run(None, {self.input: probe})
        except Exception as error:  # as above
            raise InputError(f"{path}: cannot embed images of {side}x{side} pixels: {first_line(error)}") from error
        names = [output.name for output in self.session.get_outputs()]
        found = dict(zip(names, outputs, strict=True))
        self.output = self._chosen(found, output, len(probe))
        self.embedding_size: int = found[self.output].shape[1]

    def __call__(self, inputs: Tensor) -> Tensor:
        """float [B, 3, size, size] -> float32 [B, D]."""
        step = self.batch or len(inputs)
        return torch.cat([self._run(inputs[start : start + step]) for start in range(0, len(inputs), step)])

    def __deepcopy__(self, memo: dict[int, Any]) -> "OnnxNetwork":
        return self  # nothing in it changes

    def __reduce__(self) -> tuple[Any, ...]:  # a session cannot be pickled
        return OnnxNetwork, (self._found_at, self.size or self._side, self.output, self._device)

    @property
    def precision(self) -> str:
        """The type that the network computes in: what the file says of itself, else the type of its input."""
        said = records.parse_object(self.metadata, f"{self.path}: metadata") if self.metadata is not None else {}
        made = said.get("export")
        precision = made.get("precision") if isinstance(made, dict) else None
        return precision if precision in _EXPORTED else str(self.dtype).removeprefix("torch.")

    def array(self, inputs: Tensor) -> NDArray[Any]:
        """[B, 3, size, size] in the layout and of the type that the file takes."""
        ordered = inputs.permute(0, 2, 3, 1) if self.channels_last else inputs
        array: NDArray[Any] = ordered.contiguous().cpu().to(self.dtype).numpy()
        return array

    def _run(self, part: Tensor) -> Tensor:
        missing = (self.batch or len(part)) - len(part)  # a file of fixed batch takes no less
        full = torch.cat([part, part[-1:].expand(missing, -1, -1, -1)]) if missing else part
        found = self.session.run([self.output], {self.input: self.array(full)})[0]
        if _embedding_length(found, len(full)) != self.embedding_size:
            raise InputError(
                f"{self.path}: not a face embedder: its output {_shown(self.output, found)} for {len(full)} images, "
                f"not [B, {self.embedding_size}]"
            )
        return torch.from_numpy(found.reshape(len(full), -1)[: len(part)].astype(np.float32, copy=False))

    def _chosen(self, found: dict[str, Any], output: str | None, images: int) -> str:
        """The name of the embedding among ``found``, the outputs for so many images."""
        path = self.path
        shown = ", ".join(_shown(name, value) for name, value in list(found.items())[:_MOST_SHOWN])
        if output is not None:
            if output not in found:
                raise InputError(f"{path}: has no output {printable(output, 60)}; there are: {shown}")
            if not _embedding_length(found[output], images):
                raise InputError(f"{path}: its output {_shown(output, found[output])} for {images} images, not [B, D]")
            return output
        # A norm, a quality or a class of two, as networks give beside the embedding, is one number an image.
        may_be = [name for name, value in found.items() if _embedding_length(value, images) > 1]
        if not may_be:
            what = "its output" if len(found) == 1 else "none of its outputs is one:"
            raise InputError(f"{path}: not a face embedder: {what} {shown} for {images} images, not [B, D]")
        if len(may_be) > 1:
            raise InputError(
                f"{path}: several outputs may be the embedding: {shown}; name the one (--output {printable(may_be[0])}"
                ", output in Python, or in the YAML beside the file)"
            )
        return may_be[0]


def external_files(path: Path) -> list[str]:
    """Where an .onnx that can be loaded keeps weights outside itself: names of files below its folder, sorted."""
    with files.opened(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(b"location") < 0:  # the key under which it would name them
            return []
    try:
        import onnx
    except ImportError as error:
        raise InputError(f"{path}: may keep weights in other files: pip install 'elasticface[export]'") from error
    from onnx.external_data_helper import ExternalDataInfo, _get_all_tensors, uses_external_data

    tensors = _get_all_tensors(onnx.load(str(path), load_external_data=False))
    return sorted({ExternalDataInfo(tensor).location for tensor in tensors if uses_external_data(tensor)})


def _providers(device: torch.device, there: list[str]) -> list[Any]:
    """ONNX Runtime's names for a device: of cuda without TF32, which rounds to 10 bits."""
    cpu = "CPUExecutionProvider"
    if device.type == "cpu":
        return [cpu]
    if device.type != "cuda" or "CUDAExecutionProvider" not in there:
        raise InputError(
            f"ONNX Runtime here cannot compute on {device}, only on {', '.join(there)}: give --device cpu, or for cuda "
            "pip install onnxruntime-gpu in place of onnxruntime"
        )
    return [("CUDAExecutionProvider", {"device_id": device.index or 0, "use_tf32": 0}), cpu]


def _embedding_length(value: Any, images: int) -> int:
    """D of what may be embeddings of so many images, or 0."""
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or value.ndim < 2 or len(value) != images:
        return 0
    if value.ndim != 2 and value.shape[2:] != (1, 1):  # the map that a global pooling leaves
        return 0
    return value.shape[1] if value.shape[1] <= LONGEST_EMBEDDING else 0


def _shown(name: str, value: Any) -> str:
    return f"{printable(name, 60)} is {list(value.shape) if isinstance(value, np.ndarray) else type(value).__name__}"
