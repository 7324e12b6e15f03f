"""FaceEncoder: a network together with everything needed to use it, as one thing that is saved, loaded and called.

A model on disk is a folder: `model.safetensors` (the weights) and `model.json` (architecture, embedding size, input,
and how it was trained); :mod:`elasticface.model.loading` reads it.
"""

import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray
from torch import Tensor, nn

from elasticface.base import files, records
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.base.limits import LONGEST_EMBEDDING
from elasticface.data.images.pixels import to_pixels
from elasticface.model import adapting
from elasticface.model.calibration import LONGEST_TEXT, Calibration
from elasticface.model.storing import CARD, WEIGHTS, writing_tensors

CARD_FORMAT = 1
_LARGEST = 1e12  # of scale, mean and std: far beyond any model's, and nothing made of them leaves float32

Network = Callable[[Tensor], Tensor]  # [B, 3, size, size], float32 or of its parameters' type -> [B, D]
Image = Any  # a path, the bytes of a file, a PIL image or an array: what `to_pixels` takes
_TAKEN = "an array, uint8 [N, H, W, 3], or a list of paths, bytes, PIL images and arrays"
_ADAPTED = ", adapted"  # after the name
# Of the trainer's words those that an adapted model makes untrue: what was measured before, and that its statistics
# hold no photo of anyone.
_UNTRUE = ("figures", "faces")
_Mean = Annotated[float, Meta(ge=-_LARGEST, le=_LARGEST)]
_Positive = Annotated[float, Meta(ge=1 / _LARGEST, le=_LARGEST)]


@dataclass(frozen=True)
class Preprocessing:
    """From uint8 RGB pixels to what a network was trained on: (x / scale − mean) / std, a value a channel.

    Raises:
        InputError: a value of another type or out of its range.
    """

    size: Annotated[int, Meta(ge=1, le=4096)] = 112  #: side of the square input in pixels
    channels: Literal["RGB", "BGR"] = "RGB"  #: mean and std are given in this order
    scale: _Positive = 255.0
    mean: tuple[_Mean, _Mean, _Mean] = (0.5, 0.5, 0.5)
    std: tuple[_Positive, _Positive, _Positive] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(Preprocessing, include_extras=True).items():
            object.__setattr__(self, name, records.convert(getattr(self, name), kind, name))

    def __call__(self, pixels: Tensor) -> Tensor:
        """uint8 [B, size, size, 3] RGB -> float32 [B, 3, size, size], channels-last as it comes."""
        if self.channels == "BGR":
            pixels = pixels.flip(3)
        factor = torch.tensor(self.std, device=pixels.device).mul_(self.scale).reciprocal_()
        offset = torch.tensor(self.mean, device=pixels.device) / torch.tensor(self.std, device=pixels.device)
        return pixels.to(torch.float32).mul_(factor).sub_(offset).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Card:
    """What `model.json` says about a model.

    Raises:
        InputError: a name of more than 500 characters.
    """

    name: str  #: to show
    #: Of elasticface.backbones, the user's package.module:function, or None for a network that came ready-made.
    backbone: str | None = None
    embedding_size: Annotated[int, Meta(ge=1, le=LONGEST_EMBEDDING)] = 512
    options: dict[str, Any] = field(default_factory=dict)  #: of the backbone
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    training: dict[str, Any] = field(default_factory=dict)  #: how it was trained, in the trainer's words
    calibration: Calibration | None = None  #: what its similarities mean, where that was measured

    def __post_init__(self) -> None:
        if len(self.name) > LONGEST_TEXT:
            raise InputError(
                f"the name of a model must have at most {LONGEST_TEXT} characters, and not {len(self.name):,}"
            )


class FaceEncoder:
    """Faces in, embeddings out.

    Args:
        network: [B, 3, size, size], float32 or of the type that the network's parameters have -> [B, D].
        card: what it is and what it expects.
        device: where ``network`` computes.
    """

    def __init__(self, network: Network, card: Card, device: str | torch.device = "cpu") -> None:
        self.network, self.card, self.device = network, card, torch.device(device)

    def embed(
        self, images: Iterable[Image] | Image, flip: bool = True, normalize: bool = True, batch_size: int = 64
    ) -> NDArray[np.float32]:
        """One embedding an image.

        Args:
            images: uint8 [N, size, size, 3] RGB, aligned; or any iterable, lazy ones too, of aligned faces, each a
                path, the bytes of a file, a PIL image or an array, uint8 [size, size, 3] RGB; or one such face.
            flip: add the embedding of the mirror image, as the verification protocols do.
            normalize: to unit length. A zero embedding stays zero.
            batch_size: images computed at a time.

        Returns:
            float32 [N, D].

        Raises:
            InputError: an image of another size or type, or a damaged file; it is named by its path, or by its place
                among ``images``, from 0: "image 3". A ``batch_size`` below 1, and embeddings that are no numbers.
        """
        found = [self._embed_batch(pixels, flip) for pixels in self._batches(images, batch_size)]
        if not found:
            return np.zeros((0, self.card.embedding_size), np.float32)
        embeddings = np.concatenate(found)
        if not np.isfinite(embeddings).all():
            raise InputError(f"{self.card.name}: its embeddings hold NaN or infinity; the model is broken")
        if normalize:
            lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
            embeddings /= np.where(lengths > 0, lengths, 1)
        return embeddings

    def adapted_to(self, faces: Iterable[Image] | Image, batch_size: int = 64) -> "FaceEncoder":
        """This model adapted to faces like those that it is to be used on, without labels.

        The mean of the network's last batch norm becomes that of these faces and their mirror images (AdaBN of the last
        layer, Li et al. 2016). It helps a model of rendered faces, or of another camera's, which maps all faces of a
        new kind to one side: docs/fine-tuning.md. What the faces have in common is removed, so they should be of many
        people, of no one many times.

        Args:
            faces: as :meth:`embed` takes them, 10 or more; 50 are enough.
            batch_size: images computed at a time.

        Returns:
            Another encoder, whose embeddings are not to be compared with those of this one. Its card says of how many
            photos it is; figures and thresholds of this one, which do not hold for it, are left out.

        Raises:
            InputError: as :meth:`embed`; fewer than 10 faces; a network whose last layer is not a batch norm over the
                embedding, such as an .onnx.
        """
        size = self.card.preprocessing.size
        black = self._inputs(np.zeros((2, size, size, 3), np.uint8))
        inputs = map(self._inputs, self._batches(faces, batch_size))
        network, count = adapting.with_mean_over(self.network, black, inputs, self.card.name)
        told = {key: value for key, value in self.card.training.items() if key not in _UNTRUE}
        card = replace(
            self.card,
            name=self.card.name.removesuffix(_ADAPTED) + _ADAPTED,  # no trace of an earlier adaptation is left
            training={**told, "adapted": {"photos": count, "what": "mean of the last batch norm"}},
            calibration=None,
        )
        return FaceEncoder(network, card, self.device)

    def save(self, path: str | Path, *, half: bool = False) -> None:
        """The model folder at ``path``, whole or not at all; an older model there is replaced.

        Args:
            path: the folder.
            half: store matrices and kernels in float16, half as large; vectors, statistics among them, stay as they
                are. Who loads it computes in the network's own precision all the same.

        Raises:
            InputError: a network that is none of our backbones (an .onnx file is its own storage), a value beyond the
                range of float16 (``half``), or a folder that holds more than a model, which would be lost.
            OSError: it cannot be written: the disk is full, say.
        """
        from safetensors.torch import save_file, save_model

        if not isinstance(self.network, nn.Module) or self.card.backbone is None:
            raise InputError(f"{self.card.name}: only our own backbones can be saved as a model folder")
        path = Path(path)
        if files.holds_something(path, beside=(CARD, WEIGHTS)):
            raise InputError(f"{printable(path)}: holds more than a model, and would be replaced; give another folder")
        halved = _halved(self.network, self.card.name) if half else None
        with files.replacing(path) as folder:
            folder.mkdir()
            file = folder / WEIGHTS
            with writing_tensors(file, path):
                if halved is not None:
                    save_file(halved, file)
                else:
                    save_model(self.network, str(file))
            files.write_json(folder / CARD, {"format": CARD_FORMAT, **asdict(self.card)})

    @torch.inference_mode()
    def _embed_batch(self, pixels: NDArray[np.uint8], flip: bool) -> NDArray[np.float32]:
        inputs = self._inputs(pixels)
        if isinstance(self.network, nn.Module):
            self.network.eval()
        embeddings = self.network(inputs).float()
        if flip:
            embeddings = embeddings + self.network(inputs.flip(3)).float()
        result: NDArray[np.float32] = embeddings.cpu().numpy()
        return result

    def _inputs(self, pixels: NDArray[np.uint8]) -> Tensor:
        """What the network is given for uint8 [B, size, size, 3] RGB."""
        inputs = self.card.preprocessing(torch.from_numpy(pixels).to(self.device))
        if isinstance(self.network, nn.Module):
            inputs = inputs.to(next((p.dtype for p in self.network.parameters()), inputs.dtype))
        return inputs

    def _batches(self, images: Iterable[Image] | Image, batch_size: int) -> Iterator[NDArray[np.uint8]]:
        """uint8 [B, size, size, 3] RGB, B at most ``batch_size``; valid until the next one is asked for."""
        if _is_one_image(images):
            images = [images]
        elif not isinstance(images, Iterable):
            raise InputError(f"{type(images).__name__} where images are needed: {_TAKEN}")
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, not {batch_size}")
        size = self.card.preprocessing.size
        pixels = np.empty((batch_size, size, size, 3), np.uint8)  # of one batch after the other
        for batch in _in_lists(map(self._checked, images, itertools.count()), batch_size):
            yield np.stack(batch, out=pixels[: len(batch)])

    def _checked(self, image: Image, number: int) -> NDArray[np.uint8]:
        name = f"image {number}"
        pixels = to_pixels(image, name)
        size = self.card.preprocessing.size
        if pixels.shape != (size, size, 3):
            name = printable(os.fspath(image)) if isinstance(image, str | os.PathLike) else name
            raise InputError(
                f"{name}: {pixels.shape[1]}x{pixels.shape[0]} pixels where the model takes aligned faces of "
                f"{size}x{size}; align it first (elasticface align, or elasticface.align_faces)"
            )
        return pixels


def _halved(network: nn.Module, model: str) -> dict[str, Tensor]:
    """Its state, with all floating tensors of two dimensions and more in float16."""
    halved = {}
    for name, value in network.state_dict().items():
        is_matrix = value.is_floating_point() and value.ndim > 1
        halved[name] = (value.half() if is_matrix else value).contiguous()
        if is_matrix and not torch.equal(halved[name].isfinite(), value.isfinite()):
            raise InputError(f"{printable(model)}: {name} has values beyond the range of float16; save it without half")
    return halved


def _is_one_image(images: Any) -> bool:
    if isinstance(images, np.ndarray):
        return images.ndim == 3
    pil = sys.modules.get("PIL.Image")
    return isinstance(images, str | os.PathLike | bytes | bytearray | memoryview) or (
        pil is not None and isinstance(images, pil.Image)
    )


def _in_lists(items: Iterable[NDArray[np.uint8]], size: int) -> Iterator[list[NDArray[np.uint8]]]:
    batch: list[NDArray[np.uint8]] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
