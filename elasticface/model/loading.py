"""Encoders from files: a model folder, a run or a checkpoint of it, public weights, any .onnx embedder.

Models come from strangers: no code in a file is ever run, and what does not fit is refused by its name.
"""

import reprlib
import warnings
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from elasticface import backbones
from elasticface.backbones.own import create_own, name_of
from elasticface.base import files, own_parts, records
from elasticface.base.errors import InputError, first_line
from elasticface.base.files import printable
from elasticface.data.images.alignment import SIZE
from elasticface.model import checkpoint_folder, shipped, weights
from elasticface.model.encoder import CARD_FORMAT, Card, FaceEncoder, Preprocessing
from elasticface.model.input_range import warn_if_unlikely, warn_if_unstated
from elasticface.model.onnx import OnnxNetwork
from elasticface.model.storing import CARD, WEIGHTS, calibration_beside

_TAKES = f"preprocessing takes {', '.join(part.name for part in fields(Preprocessing))}"


def load(
    path: str | Path,
    backbone: str | None = None,
    *,
    checkpoint: str | int | None = None,
    device: str | torch.device = "cpu",
    network: Callable[..., nn.Module] | None = None,
    embedding_size: int | None = None,
    output: str | None = None,
    **preprocessing: Any,
) -> FaceEncoder:
    """The encoder at ``path``, whatever it is stored as.

    Args:
        path: "default", the model that comes with the package; a model folder, a run folder that holds one, public
            weights (with ``backbone``; ``.pth``, ``.pt``,
            ``.ckpt``, ``.pth.tar`` or ``.safetensors``), or any ``.onnx`` embedder. Beside the last two a YAML of the
            same name may give the preprocessing, and ``output``. An .onnx that :func:`elasticface.model.export` wrote
            says itself what it is. So may a ``PATH.calibration.json``, which `elasticface calibrate` writes.
        backbone: the architecture of public weights, one of ``elasticface.backbones.names()``; or the user's own
            function, ``package.module:function``, which is imported: of weights, or of a model that was trained with
            one. Such a model names it, but no code is ever run because a file names it.
        checkpoint: of a run folder, instead of the model that the run ended with: "best" by validation, "last", or the
            number of a step.
        device: where to compute.
        network: that function itself, in place of its name.
        embedding_size: of public weights; 512 unless said otherwise.
        output: the name of the embedding in an .onnx with several outputs that may be it.
        preprocessing: fields of :class:`Preprocessing` that go over the YAML's; not for a model folder, which knows.

    Warns:
        UserWarning: a preprocessing whose values are far from what networks are trained on; a newer checkpoint than the
            last whole one, which is damaged.

    Raises:
        InputError: nothing there, something that is no model (which file, and what is wrong), no such device, or an
            .onnx that says of itself other things than the YAML beside it or the options. Neither goes over the other:
            what a network was trained on is a fact, and one of the two is wrong.
    """
    path = shipped.located(path)
    _check_device(device)
    own = _given(backbone, network)
    if path.is_dir() or checkpoint is not None:
        of_weights = None if own else backbone
        if preprocessing or any(option is not None for option in (of_weights, embedding_size, output)):
            raise InputError(f"{path}: a model folder says itself what it is; leave the other options out")
        if checkpoint is not None:
            folder = path / "checkpoints"
            chosen = checkpoint_folder.chosen(folder, checkpoint, lambda told: warnings.warn(told, stacklevel=4))
            return _load_checkpoint(chosen, device, own)
        _check_finished(path)
        return _load_folder(path / "model" if (path / "model" / CARD).exists() else path, device, own)
    if not path.is_file():
        raise InputError(f"{path}: {'not a file' if path.exists() else 'no such model'}")
    given = {**read_sidecar(path), **preprocessing}
    if path.suffix.lower() == ".onnx":
        if backbone is not None or own is not None or embedding_size is not None:
            raise InputError(f"{path}: an .onnx file has its own architecture; leave backbone and embedding_size out")
        named = given.pop("output", None)
        encoder = _load_onnx(path, named if output is None else output, given, device)
        return _with_calibration(encoder, path)
    if output is not None or "output" in given:
        raise InputError(f"{path}: output is for .onnx files; leave it out")
    expects = records.convert(given, Preprocessing, str(path), _TAKES)
    suffix = weights.suffix_of(path)
    if suffix is None:
        kinds = ", ".join(weights.SUFFIXES)
        raise InputError(f"{path}: not a model: give a model folder, a run folder, an .onnx, or weights ({kinds})")
    named = name_of(own) if own is not None and backbone is None else backbone
    if named is None:
        raise InputError(f"{path}: a weights file doesn't say its architecture; give the backbone, e.g. iresnet100")
    warn_if_unlikely(expects, path)
    size = 512 if embedding_size is None else embedding_size
    card = Card(path.name.removesuffix(suffix), named, size, preprocessing=expects)
    filled = _filled(_empty(card, path, own), card, weights.read(path), path)
    return _with_calibration(FaceEncoder(filled.to(device), card, device), path)


def _with_calibration(encoder: FaceEncoder, path: Path) -> FaceEncoder:
    calibration = calibration_beside(path) or encoder.card.calibration
    encoder.card = replace(encoder.card, calibration=calibration)
    return encoder


def _load_onnx(path: Path, output: str | None, given: dict[str, Any], device: str | torch.device) -> FaceEncoder:
    expects = records.convert(given, Preprocessing, str(path), _TAKES)
    network = OnnxNetwork(path, expects.size, output, device)
    if network.metadata is not None:
        card = card_of_onnx(network, given)
    else:
        card = Card(path.stem, None, network.embedding_size, preprocessing=expects)
        if not given.keys() & {"channels", "scale", "mean", "std"}:
            warn_if_unstated(expects, path, stacklevel=4)
        warn_if_unlikely(expects, path, stacklevel=4)
    size = card.preprocessing.size
    if network.size is not None and network.size != size:
        raise InputError(f"{path}: takes images of {network.size} pixels, not {size}; give size")
    return FaceEncoder(network, card)


def card_of_onnx(network: OnnxNetwork, given: dict[str, Any]) -> Card:
    """What the file says of itself, which ``given``, from the YAML beside it and from options, must not contradict."""
    assert network.metadata is not None
    where = f"{network.path}: metadata"
    content = records.parse_object(network.metadata, where)
    content.pop("export", None)  # how the file was made, for people to read
    card = _card(content, where)
    if card.embedding_size != network.embedding_size:
        raise InputError(f"{where}: embedding_size is {card.embedding_size}, but it gives {network.embedding_size}")
    says = asdict(card.preprocessing)
    differences = records.changes(says, asdict(replace(card.preprocessing, **given)))
    if differences:
        raise InputError(
            f"{network.path}: says itself what its input is, and the options or the YAML beside it say otherwise: "
            f"{', '.join(differences)}; leave them out"
        )
    return card


def _load_checkpoint(
    path: Path, device: str | torch.device, own: Callable[..., nn.Module] | None = None
) -> FaceEncoder:
    # It imports a third of what torch has, which other models need not wait for.
    from elasticface.model.checkpoint_weights import read_tensors

    source = path / CARD
    if not source.is_file():
        raise InputError(f"{source}: missing: an older version's checkpoint; use the run's final model, or train on")
    card = _read_card(source)
    card = replace(card, name=f"{card.name} step {checkpoint_folder.step_of(path)}")
    kept = "average." if card.training.get("ema") is not None else "backbone."  # what the run validates and keeps
    state = read_tensors(path, kept)
    return FaceEncoder(_filled(_empty(card, source, own), card, state, path).to(device), card, device)


def _check_finished(run: Path) -> None:
    """Raise an InputError where a folder is that of a run which has no model yet."""
    if (run / "model").exists() or (run / CARD).exists() or not (run / "config.yaml").exists():
        return
    how = "resume it with --resume"
    if checkpoint_folder.newest_first(run / "checkpoints"):
        how = f'use a checkpoint of it (--checkpoint last or best; checkpoint="last" in Python), or {how}'
    raise InputError(f"{run}: a run that is not finished, so there is no {run / 'model'} yet; {how}")


def _given(backbone: str | None, network: Callable[..., nn.Module] | None) -> Callable[..., nn.Module] | None:
    """The function of the user's own that makes the network, where the caller gave one; else None."""
    if network is not None and backbone is not None:
        raise InputError(f"give backbone, {printable(backbone, 120)}, or network, not both")
    if network is not None:
        return network
    return own_parts.find(backbone, "--backbone") if backbone and own_parts.is_reference(backbone) else None


def _load_folder(folder: Path, device: str | torch.device, own: Callable[..., nn.Module] | None) -> FaceEncoder:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    source, tensors = folder / CARD, folder / WEIGHTS
    if not source.is_file() or not tensors.is_file():
        raise InputError(f"{folder}: not a model folder: model.json and model.safetensors belong in it")
    card = _read_card(source)
    network = _empty(card, source, own)
    try:
        state = load_file(tensors)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{tensors}: damaged weights: {first_line(error)}") from error
    return FaceEncoder(_filled(network, card, state, tensors).to(device), card, device)


def _card(content: dict[str, Any], where: str) -> Card:
    """The card in a record that ``where`` holds."""
    if content.pop("format", None) != CARD_FORMAT:
        raise InputError(f"{where}: not a model card of format {CARD_FORMAT}, the one this version reads")
    for part in fields(Card):  # those with a default too: the writer's may have been another
        if part.name not in content and part.name != "calibration":  # which older cards do not have
            raise InputError(f"{where}: {part.name} is missing")
    return records.convert(content, Card, where)


def _read_card(path: Path) -> Card:
    card = _card(records.read_object(path), str(path))
    if card.backbone is None:
        raise InputError(f"{path}: backbone is missing: a model folder holds one of ours")
    return card


def read_sidecar(path: Path) -> dict[str, Any]:
    """What a YAML beside the model gives: its preprocessing, e.g. `mean: [0.485, 0.456, 0.406]`, and its `output`."""
    import yaml

    suffix = weights.suffix_of(path) or path.suffix
    source = path.with_name(f"{path.name.removesuffix(suffix)}.yaml")
    if not source.exists():
        return {}
    text = files.read_text(source, most=records.MOST)
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # an impossible date is a ValueError
        raise InputError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from error
    content = records.convert(content, dict[str, Any], str(source), _TAKES)
    if not isinstance(content.get("output", ""), str):
        raise InputError(f"{source}: output is {reprlib.repr(content['output'])}: expected the name of an output")
    records.convert({k: v for k, v in content.items() if k != "output"}, Preprocessing, str(source), _TAKES)
    return content


def _empty(card: Card, source: Path, own: Callable[..., nn.Module] | None) -> nn.Module:
    """The card's backbone without weights, or with fresh ones; by ``own`` where that is a function of the user's."""
    assert card.backbone is not None
    if card.preprocessing.size != SIZE:
        raise InputError(f"{source}: {printable(card.backbone, 120)} takes images of {SIZE} pixels")
    is_own = own_parts.is_reference(card.backbone)
    if is_own and own is None:
        raise InputError(
            f"{source}: trained with a backbone that is not ours, {printable(card.backbone, 120)}, and no code is run "
            "because a file names it: if you know it, give it yourself, by --backbone, or by load(…, backbone=…)"
        )
    if own is not None and not is_own:
        raise InputError(f"{source}: its backbone is {printable(card.backbone, 120)}; leave the other one out")
    try:
        if own is not None:  # not on the meta device, for which the user's code need not be made
            return create_own(own, card.embedding_size, **card.options)
        with torch.device("meta"):  # the fresh weights would only be thrown away
            return backbones.create(card.backbone, card.embedding_size, **card.options)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    except (TypeError, ValueError) as error:  # an option of the wrong type
        raise InputError(f"{source}: options {reprlib.repr(card.options)} don't suit {card.backbone}") from error


def _filled(network: nn.Module, card: Card, state: dict[str, Tensor], source: Path) -> nn.Module:
    """The card's backbone with these weights, every name and shape of which must fit."""
    fitted = weights.fitted(state, network, source, f"{card.backbone} of size {card.embedding_size}")
    network.load_state_dict(fitted, assign=True)
    return network.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload,no-any-return]


def _check_device(device: str | torch.device) -> None:
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"no device {str(device)!r} here: {first_line(error)}") from error
