"""Encoders from files: a model folder, the weights of a public iresnet, any .onnx embedder.

Models come from strangers: nothing is ever unpickled, and what does not fit is refused by its name.
"""

import reprlib
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from elasticface import backbones
from elasticface.base import files, records
from elasticface.base.errors import InputError, first_line
from elasticface.base.files import printable
from elasticface.data.images.alignment import SIZE
from elasticface.model.encoder import FORMAT, Card, FaceEncoder, Preprocessing
from elasticface.model.onnx import OnnxNetwork

_TAKES = f"preprocessing takes {', '.join(part.name for part in fields(Preprocessing))}"


def load(
    path: str | Path,
    backbone: str | None = None,
    *,
    device: str | torch.device = "cpu",
    embedding_size: int | None = None,
    **preprocessing: Any,
) -> FaceEncoder:
    """The encoder at ``path``, whatever it is stored as.

    Args:
        path: a model folder, a run folder that holds one, a public iresnet ``.pth`` (with ``backbone``), or any
            ``.onnx`` embedder. Beside the last two a YAML of the same name may give the preprocessing.
        backbone: the architecture of a ``.pth``, one of ``elasticface.backbones.names()``.
        device: where to compute.
        embedding_size: of a ``.pth``; 512 unless said otherwise.
        preprocessing: fields of :class:`Preprocessing` that go over the YAML's; not for a model folder, which knows.

    Raises:
        InputError: nothing there, something that is no model (which file, and what is wrong), or no such device.
    """
    path = Path(path)
    _check_device(device)
    if path.is_dir():
        folder = path / "model" if (path / "model" / "model.json").exists() else path
        if preprocessing or backbone or embedding_size:
            raise InputError(f"{path}: a model folder says itself what it is; leave the other options out")
        return _load_folder(folder, device)
    if not path.is_file():
        raise InputError(f"{path}: {'not a file' if path.exists() else 'no such model'}")
    given = _sidecar(path)
    expects = records.convert({**given, **preprocessing}, Preprocessing, str(path), _TAKES)
    if path.suffix == ".onnx":
        if backbone or embedding_size:
            raise InputError(f"{path}: an .onnx file has its own architecture; leave backbone and embedding_size out")
        embedder = OnnxNetwork(path, expects.size)
        if embedder.size is not None and embedder.size != expects.size:
            raise InputError(f"{path}: takes images of {embedder.size} pixels, not {expects.size}; give size")
        return FaceEncoder(embedder, Card(path.stem, None, embedder.embedding_size, preprocessing=expects))
    if path.suffix in (".pth", ".pt"):
        if backbone is None:
            raise InputError(f"{path}: a weights file doesn't say its architecture; give the backbone, e.g. iresnet100")
        card = Card(path.stem, backbone, embedding_size or 512, preprocessing=expects)
        network = _filled(_empty(card, path), card, _read_weights(path), path)
        return FaceEncoder(network.to(device), card, device)
    raise InputError(f"{path}: not a model: give a model folder, a run folder, a .pth or an .onnx file")


def _load_folder(folder: Path, device: str | torch.device) -> FaceEncoder:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    source, weights = folder / "model.json", folder / "model.safetensors"
    if not source.is_file() or not weights.is_file():
        raise InputError(f"{folder}: not a model folder: model.json and model.safetensors belong in it")
    card = _read_card(source)
    network = _empty(card, source)
    try:
        state = load_file(weights)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{weights}: damaged weights: {first_line(error)}") from error
    return FaceEncoder(_filled(network, card, state, weights).to(device), card, device)


def _read_card(path: Path) -> Card:
    content = records.read_object(path)
    if content.pop("format", None) != FORMAT:
        raise InputError(f"{path}: not a model card of format {FORMAT}, the one this version reads")
    for part in fields(Card):  # those with a default too: the writer's may have been another
        if part.name not in content and part.name != "calibration":  # which older cards do not have
            raise InputError(f"{path}: {part.name} is missing")
    card = records.convert(content, Card, str(path))
    if card.backbone is None:
        raise InputError(f"{path}: backbone is missing: a model folder holds one of ours")
    return card


def _sidecar(path: Path) -> dict[str, Any]:
    """The preprocessing that a YAML beside the model gives, e.g. `mean: [0.485, 0.456, 0.406]`."""
    import yaml

    source = path.with_suffix(".yaml")
    if not source.exists():
        return {}
    text = files.read_text(source, most=records.MOST)
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # an impossible date is a ValueError
        raise InputError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from error
    records.convert(content, Preprocessing, str(source), _TAKES)
    return dict(content)


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what torch.load raises on a file that is not its own differs by the file
        raise InputError(f"{path}: not a file of weights alone: {first_line(error)}") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"{path}: holds no state dict of tensors")
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def _empty(card: Card, source: Path) -> nn.Module:
    """The card's backbone without weights."""
    assert card.backbone is not None
    if card.preprocessing.size != SIZE:
        raise InputError(f"{source}: {card.backbone} takes images of {SIZE} pixels")
    try:
        with torch.device("meta"):  # the fresh weights would only be thrown away
            return backbones.create(card.backbone, card.embedding_size, **card.options)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    except (TypeError, ValueError) as error:  # an option of the wrong type
        raise InputError(f"{source}: options {reprlib.repr(card.options)} don't suit {card.backbone}") from error


def _filled(network: nn.Module, card: Card, state: dict[str, Tensor], source: Path) -> nn.Module:
    """The card's backbone with these weights, every name and shape of which must fit."""
    wanted = network.state_dict()
    for name in wanted.keys() | state.keys():
        if name not in state or name not in wanted:
            lacks = "lacks" if name not in state else "has no place for"
            owner = "the file" if name not in state else card.backbone
            raise InputError(f"{source}: does not fit {card.backbone}: {owner} {lacks} {printable(name, 120)}")
        if wanted[name].shape != state[name].shape:
            shapes = f"{list(state[name].shape)} where {list(wanted[name].shape)} is needed"
            raise InputError(
                f"{source}: does not fit {card.backbone} of size {card.embedding_size}: {name} is {shapes}"
            )
        if wanted[name].is_floating_point() != state[name].is_floating_point():
            raise InputError(f"{source}: does not fit {card.backbone}: {name} holds {state[name].dtype}")
    network.load_state_dict({name: value.to(wanted[name].dtype) for name, value in state.items()}, assign=True)
    return network.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload,no-any-return]


def _check_device(device: str | torch.device) -> None:
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"no device {str(device)!r} here: {first_line(error)}") from error
