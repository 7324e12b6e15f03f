"""What a model without learning reaches: whitened PCA of the pixels, to be shown beside a trained one."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from elasticface.base import keyed, progress
from elasticface.base.errors import InputError
from elasticface.data.feed.transforms import to_input
from elasticface.data.sources import Source
from elasticface.model.encoder import Card, FaceEncoder

_SIDE = 56  # pixels; half the resolution of an aligned face, where the components still are faces
_IMAGES = 3000  # to fit on, at most
_RANK = 1e-9  # of the largest variance; what is below is rounding, and whitening would blow it up


def whitened_pca(source: Source, components: int = 200, seed: int = 0) -> FaceEncoder:
    """Whitened PCA (Turk and Pentland's eigenfaces, each component at unit variance) as an encoder.

    Args:
        source: aligned faces to fit on, at most 3,000 of them, drawn by ``seed``.
        components: length of an embedding; fewer where there are fewer different images.
        seed: of the choice of images.

    Raises:
        InputError: not two different images, or a damaged one.
    """
    chosen = keyed.generator(seed, "pca").permutation(len(source))[:_IMAGES]
    with progress.status(f"fitting whitened PCA on {len(chosen):,} faces"):
        rows = torch.cat([_pixels(to_input(torch.from_numpy(source[int(i)][0])[None])) for i in chosen])
        mean = rows.mean(0)
        # The images are fewer than the pixels: their Gram matrix is the small one.
        values, vectors = torch.linalg.eigh((rows - mean) @ (rows - mean).T)
    count = min(components, int((values > _RANK * values[-1]).sum()))
    if not count:
        raise InputError("whitened PCA needs at least two different images")
    values, vectors = values[-count:], vectors[:, -count:]
    projection = (rows - mean).T @ vectors / values * np.sqrt(len(rows))

    def network(images: Tensor) -> Tensor:
        embeddings: Tensor = (_pixels(images) - mean) @ projection
        return embeddings

    return FaceEncoder(network, Card("whitened PCA", embedding_size=count))


def _pixels(images: Tensor) -> Tensor:
    """[B, 3, H, W] -> [B, 3·56·56] float64."""
    return functional.interpolate(images, size=_SIDE, mode="area").flatten(1).double()
