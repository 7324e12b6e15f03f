"""FaceEncoder: a network together with everything needed to use it, as one thing that is saved, loaded and called.

A model on disk is a folder: `model.safetensors` (the weights) and `model.json` (architecture, embedding size, input,
and how it was trained). Nothing in it is ever unpickled, so it can come from a stranger.
"""

import contextlib
import json
import os
import re
import reprlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from elasticface import backbones
from elasticface.base import files
from elasticface.base.errors import InputError, first_line
from elasticface.data.images import decoding
from elasticface.data.images.alignment import SIZE
from elasticface.model.onnx import OnnxNetwork

FORMAT = 1
_MAX_CARD_BYTES = 1 << 20
_MAX_EMBEDDING_SIZE = 1 << 16
_LARGEST = 1e12  # of scale, mean and std: far beyond any model's, and nothing made of them leaves float32

Network = Callable[[Tensor], Tensor]  # float32 [B, 3, size, size] -> [B, D]
Image = NDArray[np.uint8] | str | Path


@dataclass(frozen=True)
class Preprocessing:
    """From uint8 RGB pixels to what a network was trained on: (x / scale − mean) / std, a value a channel.

    Raises:
        InputError: a value out of its range.
    """

    size: int = 112  # side of the square input in pixels
    channels: str = "RGB"  # or "BGR"; mean and std are given in this order
    scale: float = 255.0
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        size_fits = isinstance(self.size, int) and 1 <= self.size <= 4096
        _require(size_fits, f"size must be 1 to 4096, got {reprlib.repr(self.size)}")
        _require(self.channels in ("RGB", "BGR"), f'channels must be "RGB" or "BGR", got {reprlib.repr(self.channels)}')
        for name in ("mean", "std"):
            values = getattr(self, name)
            numbers = isinstance(values, list | tuple) and len(values) == 3 and all(map(_is_number, values))
            _require(numbers, f"{name} must be three numbers, got {reprlib.repr(values)}")
            object.__setattr__(self, name, tuple(float(v) for v in values))
        scale_fits = _is_number(self.scale) and self.scale > 1 / _LARGEST
        _require(scale_fits, f"scale must be a number above 0, got {reprlib.repr(self.scale)}")
        _require(min(self.std) > 1 / _LARGEST, f"std must be above 0, got {self.std}")

    def __call__(self, pixels: Tensor) -> Tensor:
        """uint8 [B, size, size, 3] RGB -> float32 [B, 3, size, size], channels-last as it comes."""
        if self.channels == "BGR":
            pixels = pixels.flip(3)
        factor = torch.tensor(self.std, device=pixels.device).mul_(self.scale).reciprocal_()
        offset = torch.tensor(self.mean, device=pixels.device) / torch.tensor(self.std, device=pixels.device)
        return pixels.to(torch.float32).mul_(factor).sub_(offset).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Card:
    """What `model.json` says about a model."""

    name: str  # to show
    backbone: str | None = None  # of elasticface.backbones, or None for a network that came ready-made
    embedding_size: int = 512
    options: dict[str, Any] = field(default_factory=dict)  # of the backbone
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    training: dict[str, Any] = field(default_factory=dict)  # how it was trained, in the trainer's words


class FaceEncoder:
    """Faces in, embeddings out.

    Args:
        network: float32 [B, 3, size, size] -> [B, D].
        card: what it is and what it expects.
        device: where ``network`` computes.
    """

    def __init__(self, network: Network, card: Card, device: str | torch.device = "cpu") -> None:
        self.network, self.card, self.device = network, card, torch.device(device)

    def embed(
        self, images: Iterable[Image], flip: bool = True, normalize: bool = True, batch_size: int = 64
    ) -> NDArray[np.float32]:
        """One embedding an image.

        Args:
            images: uint8 [N, size, size, 3] RGB, aligned; or any iterable, lazy ones too, of such images and of paths.
            flip: add the embedding of the mirror image, as the verification protocols do.
            normalize: to unit length. A zero embedding stays zero.
            batch_size: images computed at a time.

        Returns:
            float32 [N, D].

        Raises:
            InputError: an image of another size or type, or a damaged file.
        """
        size = self.card.preprocessing.size
        pixels = np.empty((batch_size, size, size, 3), np.uint8)  # of one batch after the other
        found = [
            self._embed_batch(np.stack(batch, out=pixels[: len(batch)]), flip)
            for batch in _batches(map(self._checked, images), batch_size)
        ]
        if not found:
            return np.zeros((0, self.card.embedding_size), np.float32)
        embeddings = np.concatenate(found)
        if normalize:
            lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
            embeddings /= np.where(lengths > 0, lengths, 1)
        return embeddings

    def save(self, path: str | Path) -> None:
        """The model folder at ``path``, whole or not at all; an older one there is replaced.

        Raises:
            InputError: a network that is none of our backbones (an .onnx file is its own storage).
            OSError: it cannot be written: the disk is full, say.
        """
        from safetensors import SafetensorError
        from safetensors.torch import save_model

        if not isinstance(self.network, nn.Module) or self.card.backbone is None:
            raise InputError(f"{self.card.name}: only our own backbones can be saved as a model folder")
        with files.replacing(Path(path)) as folder:
            folder.mkdir()
            try:
                save_model(self.network, str(folder / "model.safetensors"))
            except SafetensorError as error:  # which says in words alone what the system said
                number = re.search(r"\(os error (\d+)\)", str(error))
                if number is None:
                    raise
                raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
            files.write_json(folder / "model.json", {"format": FORMAT, **asdict(self.card)})

    @torch.inference_mode()
    def _embed_batch(self, pixels: NDArray[np.uint8], flip: bool) -> NDArray[np.float32]:
        if isinstance(self.network, nn.Module):
            self.network.eval()
        inputs = self.card.preprocessing(torch.from_numpy(pixels).to(self.device))
        embeddings = self.network(inputs)
        if flip:
            embeddings = embeddings + self.network(inputs.flip(3))
        result: NDArray[np.float32] = embeddings.to("cpu", torch.float32).numpy()
        return result

    def _checked(self, image: Image) -> NDArray[np.uint8]:
        name = "image"
        if isinstance(image, str | Path):
            name = str(image)
            image = decoding.decode(files.read_bytes(Path(image)), name)
        size = self.card.preprocessing.size
        if image.dtype != np.uint8 or image.shape != (size, size, 3):
            raise InputError(
                f"{name}: {image.dtype} {list(image.shape)} where the model takes aligned faces, uint8 "
                f"[{size}, {size}, 3]; align it first (elasticface align)"
            )
        return image


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
    with _naming(path):
        expects = Preprocessing(**{**given, **_known(preprocessing)})
    if path.suffix == ".onnx":
        network = OnnxNetwork(path, expects.size)
        if network.size is not None and network.size != expects.size:
            raise InputError(f"{path}: takes images of {network.size} pixels, not {expects.size}; give size")
        return FaceEncoder(network, Card(path.stem, None, network.embedding_size, preprocessing=expects))
    if path.suffix in (".pth", ".pt"):
        if backbone is None:
            raise InputError(f"{path}: a weights file doesn't say its architecture; give the backbone, e.g. iresnet100")
        card = Card(path.stem, backbone, embedding_size or 512, preprocessing=expects)
        return FaceEncoder(_filled(card, _read_weights(path), path).to(device), card, device)
    raise InputError(f"{path}: not a model: give a model folder, a run folder, a .pth or an .onnx file")


def _load_folder(folder: Path, device: str | torch.device) -> FaceEncoder:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    source, weights = folder / "model.json", folder / "model.safetensors"
    if not source.is_file() or not weights.is_file():
        raise InputError(f"{folder}: not a model folder: model.json and model.safetensors belong in it")
    card = _read_card(source)
    try:
        state = load_file(weights)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{weights}: damaged weights: {error}") from error
    return FaceEncoder(_filled(card, state, weights).to(device), card, device)


def _read_card(path: Path) -> Card:
    if path.stat().st_size > _MAX_CARD_BYTES:
        raise InputError(f"{path}: {path.stat().st_size} bytes is too much for a model card")
    try:
        content = json.loads(files.read_bytes(path).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path}: not a model card of format {FORMAT}, the one this version reads")
    with _naming(path):
        for part in fields(Card):
            _require(part.name in content, f"{part.name} is missing")
        size = content["embedding_size"]
        size_fits = isinstance(size, int) and 1 <= size <= _MAX_EMBEDDING_SIZE
        _require(size_fits, f"embedding_size {reprlib.repr(size)} is out of range")
        for name in ("backbone", "name"):
            _require(isinstance(content[name], str), f"{name} must be a text")
        for name in ("options", "preprocessing", "training"):
            _require(isinstance(content[name], dict), f"{name} must be an object")
        preprocessing = Preprocessing(**_known(content["preprocessing"]))
        return Card(**{part.name: content[part.name] for part in fields(Card)} | {"preprocessing": preprocessing})


def _sidecar(path: Path) -> dict[str, Any]:
    """The preprocessing that a YAML beside the model gives, e.g. `mean: [0.485, 0.456, 0.406]`."""
    import yaml

    source = path.with_suffix(".yaml")
    if not source.exists():
        return {}
    try:
        content = yaml.safe_load(files.read_bytes(source).decode("utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # an impossible date is a ValueError
        raise InputError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InputError(f"{source}: must give {', '.join(f.name for f in fields(Preprocessing))} by name")
    with _naming(source):
        Preprocessing(**_known(content))
    return content


def _known(given: dict[str, Any]) -> dict[str, Any]:
    names = [f.name for f in fields(Preprocessing)]
    for name in given:
        _require(name in names, f"preprocessing has no {reprlib.repr(name)}; it takes {', '.join(names)}")
    return given


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what torch.load raises on a file that is not its own differs by the file
        raise InputError(f"{path}: not a file of weights alone: {first_line(error)}") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"{path}: holds no state dict of tensors")
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def _filled(card: Card, state: dict[str, Tensor], source: Path) -> nn.Module:
    """The card's backbone with these weights, every name and shape of which must fit."""
    assert card.backbone is not None
    with _naming(source), torch.device("meta"):  # the fresh weights would only be thrown away
        _require(card.preprocessing.size == SIZE, f"{card.backbone} takes images of {SIZE} pixels")
        try:
            network = backbones.create(card.backbone, card.embedding_size, **card.options)
        except InputError:
            raise
        except (TypeError, ValueError) as error:  # an option of the wrong type
            raise InputError(f"options {reprlib.repr(card.options)} don't suit {card.backbone}") from error
    wanted = network.state_dict()
    for name in wanted.keys() | state.keys():
        if name not in state or name not in wanted:
            lacks = "lacks" if name not in state else "has no place for"
            owner = "the file" if name not in state else card.backbone
            raise InputError(f"{source}: does not fit {card.backbone}: {owner} {lacks} {name}")
        if wanted[name].shape != state[name].shape:
            shapes = f"{list(state[name].shape)} where {list(wanted[name].shape)} is needed"
            raise InputError(
                f"{source}: does not fit {card.backbone} of size {card.embedding_size}: {name} is {shapes}"
            )
        if wanted[name].is_floating_point() != state[name].is_floating_point():
            raise InputError(f"{source}: does not fit {card.backbone}: {name} holds {state[name].dtype}")
    network.load_state_dict({name: value.to(wanted[name].dtype) for name, value in state.items()}, assign=True)
    return network.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload,no-any-return]


def _batches(items: Iterable[NDArray[np.uint8]], size: int) -> Iterator[list[NDArray[np.uint8]]]:
    batch: list[NDArray[np.uint8]] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _check_device(device: str | torch.device) -> None:
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"no device {str(device)!r} here: {first_line(error)}") from error


@contextlib.contextmanager
def _naming(source: Path) -> Iterator[None]:
    """What is wrong in the body, said of the file it is in."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message)
