"""A model as one .onnx file that says all about itself: what it takes, how it was trained and made.

The graph takes float32 [batch, 3, size, size], preprocessed, the batch free, and gives "embeddings" [batch, D].
Preprocessing stays outside, as it does in everybody's embedders, so that other programs and phones feed it as they feed
those; it stands in the metadata, whose entry "elasticface" is what `model.json` holds, and under "export" how the file
was made.
"""

import copy
import json
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from elasticface.base import environment, files
from elasticface.base.errors import InputError, first_line
from elasticface.base.files import printable
from elasticface.base.quiet import quiet
from elasticface.model.encoder import CARD_FORMAT, Card, FaceEncoder, Network
from elasticface.model.loading import load, read_sidecar
from elasticface.model.onnx import METADATA, OnnxNetwork
from elasticface.model.quantization_faces import Faces, read_quantization_faces
from elasticface.model.quantizing import check_quantisable, opset_of, quantised
from elasticface.model.storing import beside_model

if TYPE_CHECKING:
    from onnx import ModelProto

BATCHES = (1, 5)
"""Images at a time for which ONNX Runtime is compared with what it was made from."""

MOST_DIFFERENCE = 1e-4
"""The largest difference in any value of an embedding of unit length that is taken for rounding: float32 networks of
up to 200 layers were seen to differ by 1e-6."""

MOST_DIFFERENCE_INT8 = 0.02
"""The same between a face alone and among others in int8, where rounding may end one step further."""

LEAST_COSINE_INT8 = 0.95
"""To the float32 embedding, on average over faces that int8 was not calibrated on; usual are .98 to .995."""

_OUTPUT = "embeddings"
_SHARE_TO_COMPARE = 6  # every sixth face is kept for the comparison of int8 with float32


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: the file.
        precision: "float32" or "int8".
        size: bytes.
        source_size: bytes of the same in float32.
        difference: the largest one in any value of a unit-length embedding, float32 file against network.
        cosine: mean and least cosine of int8 to float32 over ``faces`` faces, or None.
        faces: of the comparison.
        lost_calibration: whether the thresholds of the model were left out, since they do not hold in int8.
    """

    path: Path
    precision: str
    size: int
    source_size: int
    difference: float
    cosine: tuple[float, float] | None = None
    faces: int = 0
    lost_calibration: bool = False

    def lines(self) -> list[str]:
        """For people."""
        closeness = f"to {self.difference:.1g} (unit length)" if self.difference else "exactly"
        checked = f"checked: ONNX Runtime gives the network's embeddings {closeness}"
        found = [f"{self.precision}, {self.size:,} bytes", checked]
        if self.cosine is not None:
            mean, least = self.cosine
            found[0] += f"; float32 has {self.source_size:,}"
            found.append(f"cosine to float32: mean {mean:.4f}, least {least:.4f} of {self.faces} faces held out")
        if self.lost_calibration:
            found.append("thresholds left out: they were calibrated in another precision; calibrate this file anew")
        return found


def export(
    model: FaceEncoder | str | Path,
    out: str | Path,
    *,
    int8: str | Path | None = None,
    opset: int | None = None,
    overwrite: bool = False,
) -> Exported:
    """A model as an .onnx file, whole or not at all, compared with the network before it gets its name.

    Args:
        model: an encoder whose network is an ``nn.Module``, ours or your own, or an .onnx; or what :func:`load` takes.
        out: the file, whose name ends in .onnx.
        int8: quantise, calibrated on these faces: "rendered", for people who never lived, or what
            :func:`elasticface.data.open_dataset` takes, or a .bin pack, of aligned faces.
        opset: version of ONNX's operators; torch's default unless given. An .onnx keeps its own.
        overwrite: take the place of a file that is there.

    Returns:
        What was written.

    Raises:
        InputError: a network that cannot be exported or quantised, or whose file gives other embeddings; a file that
            cannot be written, or is there; faces that do not fit.
    """
    encoder = model if isinstance(model, FaceEncoder) else load(model)
    out = Path(out)
    _metadata(encoder.card, {})  # that it can be written
    _check_out(out, encoder, overwrite)
    faces = None if int8 is None else read_quantization_faces(int8, encoder.card.preprocessing.size)
    network, proto, precision = _graph_of(encoder, opset)
    made: dict[str, Any] = {"precision": precision, "opset": opset_of(proto), "versions": environment.versions()}
    if faces is not None:
        check_quantisable(proto, encoder.card.name)
    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch, "float32.onnx")
        _write(proto, encoder.card, made, plain)
        embedder = OnnxNetwork(plain, encoder.card.preprocessing.size)
        if embedder.embedding_size != encoder.card.embedding_size:
            length, said = embedder.embedding_size, encoder.card.embedding_size
            raise InputError(f"{encoder.card.name}: gives embeddings of {length}, and its card says {said}; correct it")
        difference = _difference(network, embedder, encoder.card)
        source_size = plain.stat().st_size
        if faces is None:
            with files.replacing(out) as temporary:
                temporary.write_bytes(plain.read_bytes())
            return Exported(out, precision, source_size, source_size, difference)
        return _as_int8(embedder, encoder.card, made, faces, out, difference)


def _as_int8(
    embedder: OnnxNetwork, card: Card, made: dict[str, Any], faces: Faces, out: Path, difference: float
) -> Exported:
    kept = np.arange(len(faces.pixels)) % _SHARE_TO_COMPARE == 0
    proto = quantised(embedder, _inputs(card, faces.pixels[~kept]), card.name)
    lost = card.calibration is not None  # thresholds hold in the precision that they were measured in
    card = replace(card, name=f"{card.name} int8", calibration=None)
    with tempfile.TemporaryDirectory() as scratch:
        trial = Path(scratch, "int8.onnx")
        _write(proto, card, made, trial)
        network = OnnxNetwork(trial, card.preprocessing.size)
        _difference(network, network, card, MOST_DIFFERENCE_INT8)  # of a face alone and among others
        inputs = _inputs(card, faces.pixels[kept])
        cosines = (_unit(network, inputs) * _unit(embedder, inputs)).sum(1)
    mean, least = float(cosines.mean()), float(cosines.min())
    if not mean >= LEAST_COSINE_INT8:
        raise InputError(
            f"{card.name}: the embeddings of {faces.name} have a cosine of {mean:.3f} to those in float32 on average, "
            f"less than {LEAST_COSINE_INT8}: int8 does not suit this network; export it without"
        )
    made = {
        **made,
        "precision": "int8",
        "int8": {"faces": faces.name, "count": int((~kept).sum()), "cosine": [round(mean, 4), round(least, 4)]},
    }
    with files.replacing(out) as temporary:
        _write(proto, card, made, temporary)
    source_size = embedder.path.stat().st_size
    return Exported(
        out, "int8", out.stat().st_size, source_size, difference, (mean, least), int(kept.sum()), lost_calibration=lost
    )


def _check_out(out: Path, encoder: FaceEncoder, overwrite: bool) -> None:
    if out.suffix != ".onnx":
        raise InputError(f"{printable(out)}: the name of the file must end in .onnx")
    if out.is_dir():
        raise InputError(f"{printable(out)}: is a folder; give the name of a file")
    network = encoder.network
    if isinstance(network, OnnxNetwork) and out.exists() and out.samefile(network.path):
        raise InputError(f"{printable(out)}: is the model itself; give another name")
    if out.exists() and not overwrite:
        raise InputError(f"{printable(out)}: is there already; give another name, or --overwrite")
    if (other := beside_model(out)) and other.exists():
        raise InputError(f"{printable(other)}: the calibration of another file of that name; move or remove it")
    beside = read_sidecar(out)
    gives = network.output if isinstance(network, OnnxNetwork) else _OUTPUT
    told = beside.pop("output", gives), replace(encoder.card.preprocessing, **beside)
    if told != (gives, encoder.card.preprocessing):
        raise InputError(f"{printable(out.with_suffix('.yaml'))}: contradicts the model; remove it, it is not needed")
    files.check_writable(out.parent, out.name)


def _needs(package: str) -> InputError:
    return InputError(f"export needs {package}: pip install 'elasticface[export]'")


def _graph_of(encoder: FaceEncoder, opset: int | None) -> tuple[Network, "ModelProto", str]:
    """The network to compare with, its graph, and the precision of that."""
    network = encoder.network
    if isinstance(network, OnnxNetwork):
        if opset is not None:
            raise InputError(f"{printable(network.path)}: an .onnx keeps its opset; leave opset out")
        return network, _read_onnx(network), network.precision
    if isinstance(network, nn.Module):
        return *_from_torch(encoder, network, opset), "float32"
    raise InputError(f"{encoder.card.name}: only an nn.Module or an .onnx can be exported, not a function")


def _from_torch(encoder: FaceEncoder, network: nn.Module, opset: int | None) -> tuple[nn.Module, "ModelProto"]:
    """A copy of the network in float32 on the CPU, and its graph."""
    try:
        import onnx
        import onnxscript  # noqa: F401  (torch.onnx says in many lines that it is missing)
    except ImportError as error:
        raise _needs(str(error.name)) from error
    size = encoder.card.preprocessing.size
    try:
        network = copy.deepcopy(network).cpu().float().eval()
        with quiet("torch.onnx", "torch.export", "onnxscript", "onnx_ir"):
            program = torch.onnx.export(
                network,
                (torch.zeros(2, 3, size, size),),
                dynamo=True,
                input_names=["images"],
                output_names=[_OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                opset_version=opset,
                verbose=False,
            )
        assert program is not None
        proto: ModelProto = program.model_proto
        onnx.checker.check_model(proto)
    except Exception as error:  # of torch.export, of the exporter, of the network itself
        raise InputError(f"{encoder.card.name}: cannot be exported: {_reason(error)}") from error
    written = opset_of(proto)
    if opset is not None and written != opset:
        raise InputError(f"{encoder.card.name}: cannot be written with opset {opset}; leave opset out for {written}")
    _remove_traces(proto)
    return network, proto


def _reason(error: BaseException) -> str:
    """The first line of the first error: those around it speak of the exporter."""
    while error.__cause__ is not None:
        error = error.__cause__
    return printable(first_line(error) if isinstance(error, Exception) else str(error), 300)


def _remove_traces(proto: "ModelProto") -> None:
    """The exporter notes for each node from which line of which file it came: paths of the machine."""
    graphs = [proto.graph, *proto.functions]
    parts = [node for graph in graphs for node in graph.node]
    parts += [*proto.graph.input, *proto.graph.output, *proto.graph.value_info, *proto.graph.initializer]
    for part in [proto, *graphs, *parts]:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def _read_onnx(network: OnnxNetwork) -> "ModelProto":
    """The graph of a file, with the embedding as its only output."""
    try:
        import onnx
    except ImportError as error:
        raise _needs("onnx") from error
    try:
        proto = onnx.load(str(network.path))
    except Exception as error:  # it was read by ONNX Runtime; this is memory, or files beside it
        raise InputError(f"{printable(network.path)}: cannot be read: {first_line(error)}") from error
    chosen = [output for output in proto.graph.output if output.name == network.output]
    del proto.graph.output[:]
    proto.graph.output.extend(chosen)
    return proto


def _metadata(card: Card, made: dict[str, Any]) -> str:
    try:
        return json.dumps({"format": CARD_FORMAT, **asdict(card), "export": made}, allow_nan=False)
    except (TypeError, ValueError) as error:  # options or training of a card of one's own
        raise InputError(f"{card.name}: its card cannot be written as JSON: {first_line(error)}") from error


def _write(proto: "ModelProto", card: Card, made: dict[str, Any], path: Path) -> None:
    """The graph with what it says of itself."""
    others = [part for part in proto.metadata_props if part.key != METADATA]
    del proto.metadata_props[:]
    proto.metadata_props.extend(others)
    proto.metadata_props.add(key=METADATA, value=_metadata(card, made))
    try:
        data = proto.SerializeToString()
    except Exception as error:  # protobuf's own kinds
        raise InputError(f"{card.name}: more than the 2 GiB that an .onnx file holds: {first_line(error)}") from error
    path.write_bytes(data)


def _difference(network: Network, embedder: OnnxNetwork, card: Card, most: float = MOST_DIFFERENCE) -> float:
    """The largest difference between the embeddings of ``network``, one by one, and of ``embedder`` in batches.

    Raises:
        InputError: it is more than ``most``.
    """
    size = card.preprocessing.size
    pixels = np.random.default_rng(0).integers(0, 256, (max(BATCHES), size, size, 3), np.uint8)
    inputs = _inputs(card, pixels)
    with torch.inference_mode():
        expected = torch.cat([_unit(network, image[None]) for image in inputs])
    worst = 0.0
    for count in BATCHES:
        found = _unit(embedder, inputs[:count])
        if found.shape != expected[:count].shape:
            raise InputError(
                f"{card.name}: ONNX Runtime gives embeddings {list(found.shape)} for a batch of {count}, the network "
                f"{list(expected[:count].shape)}; nothing was written"
            )
        difference = float((found - expected[:count]).abs().max())
        if not difference <= most:  # NaN is a difference, too
            raise InputError(
                f"{card.name}: ONNX Runtime gives other embeddings than the network for a batch of {count}: they "
                f"differ by {difference:.2g} at unit length, more than {most:g}; nothing was written"
            )
        worst = max(worst, difference)
    return worst


def _inputs(card: Card, pixels: Any) -> torch.Tensor:
    return card.preprocessing(torch.from_numpy(pixels))


def _unit(network: Network, inputs: torch.Tensor) -> torch.Tensor:
    """Embeddings of unit length; those of zero stay zero. In float64, for a fresh network's squares leave float32."""
    with torch.inference_mode():
        return nn.functional.normalize(network(inputs).double())
