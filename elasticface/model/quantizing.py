"""int8 by ONNX Runtime's static quantisation: weights per channel, activations per tensor, their ranges from faces.

Of a public MobileFaceNet one scale a tensor gives a cosine of .933 to the float32 embedding, one a channel .994, so
that only the latter is offered (docs/export.md).

Processors without VNNI multiply unsigned by signed bytes in pairs and add the two in int16, which saturates: 2·255·127
is 64,770. There the same file gives .984 instead, and .989 with all weights halved, ONNX Runtime's ``reduce_range``.
Here each channel's scale is as fine as lets no two neighbouring weights overflow, and depthwise convolutions, which are
computed otherwise, keep the full range: .994 on any processor.
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from elasticface.base.errors import InputError, first_line
from elasticface.base.quiet import quiet
from elasticface.model.onnx import OnnxNetwork

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_LEAST_OPSET = 13  # from which on a scale may be one a channel
_BATCH = 8


def opset_of(proto: "ModelProto") -> int:
    """The version of ONNX's operators, 0 where the graph has none of them."""
    return next((part.version for part in proto.opset_import if part.domain in ("", "ai.onnx")), 0)


def check_quantisable(proto: "ModelProto", name: str) -> None:
    """Refuse what cannot be made int8 before the faces are read.

    Raises:
        InputError: a graph that is int8 or float16 already, or has too old an opset.
    """
    if any("QuantizeLinear" in node.op_type or node.op_type.startswith("QLinear") for node in proto.graph.node):
        raise InputError(f"{name}: is quantised already; give the float32 model")
    if any(tensor.data_type == tensor.FLOAT16 for tensor in proto.graph.initializer):
        raise InputError(f"{name}: is in float16; int8 is made from a float32 model")
    if opset_of(proto) < _LEAST_OPSET:
        raise InputError(f"{name}: has opset {opset_of(proto)}; int8 per channel needs {_LEAST_OPSET} or later")


def quantised(network: OnnxNetwork, inputs: Tensor, name: str) -> "ModelProto":
    """The graph of ``network`` in int8.

    Args:
        network: of float32, from a file of its own.
        inputs: faces as the network takes them, float32 [N, 3, size, size].
        name: of the model, for messages.

    Raises:
        InputError: a network that ONNX Runtime cannot quantise.
    """
    import onnx
    import torch
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self.batches = iter(torch.split(inputs, network.batch or _BATCH))

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            batch = next(self.batches, None)
            if batch is None or (network.batch is not None and len(batch) < network.batch):
                return None
            return {network.input: network.array(batch)}

    with tempfile.TemporaryDirectory() as scratch, quiet(""):
        prepared, out = Path(scratch, "prepared.onnx"), Path(scratch, "int8.onnx")
        try:
            quant_pre_process(str(network.path), str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared),
                str(out),
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                extra_options={"TensorQuantOverrides": _weight_ranges(onnx.load(str(prepared)))},
            )
            return onnx.load(str(out))
        except Exception as error:  # onnxruntime's own kinds, and what its Python raises on graphs it does not know
            raise InputError(f"{name}: cannot be quantised: {first_line(error)}") from error


def _weight_ranges(proto: "ModelProto") -> dict[str, list[dict[str, Any]]]:
    """The range of each channel's weights, by the name of the tensor, for ``quantize_static``."""
    from onnx import numpy_helper
    from onnxruntime.quantization import QuantType

    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    found: dict[str, list[dict[str, Any]]] = {}
    for node in proto.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or len(node.input) < 2 or node.input[1] not in constants:
            continue
        weights = numpy_helper.to_array(constants[node.input[1]])
        axis = _channel_axis(node)
        if weights.dtype != np.float32 or weights.ndim < 2:
            continue
        limits = unsaturated_limits(np.moveaxis(weights, axis, 0))
        ranges: list[dict[str, Any]] = [
            {"quant_type": QuantType.QInt8, "symmetric": True, "rmin": np.float32(-limit), "rmax": np.float32(limit)}
            for limit in limits
        ]
        ranges[0]["axis"] = axis
        found[node.input[1]] = ranges
    return found


def unsaturated_limits(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """For each channel the weight that becomes 127, so that no sum of two neighbours' products leaves int16.

    Args:
        weights: [outputs, inputs, ...]; neighbours are so along the inputs, place by place, as they lie when computed.

    Returns:
        float32 [outputs], at least each channel's largest |weight|.
    """
    largest = np.abs(weights).reshape(len(weights), -1).max(1)
    if weights.shape[1] > 1:  # else it is a depthwise convolution
        rows = np.abs(np.moveaxis(weights, 1, -1)).reshape(len(weights), -1)
        # A sum of 127 is 128 at most once both are rounded, and 128 · 255 is below 2¹⁵.
        largest = np.maximum(largest, (rows[:, 1:] + rows[:, :-1]).max(1))
    limits: NDArray[np.float32] = np.maximum(largest, np.finfo(np.float32).tiny).astype(np.float32)
    return limits


def _channel_axis(node: "NodeProto") -> int:
    """Which axis of the weights counts the outputs."""
    if node.op_type == "Conv":
        return 0
    is_transposed = node.op_type == "Gemm" and any(part.name == "transB" and part.i for part in node.attribute)
    return 0 if is_transposed else 1
