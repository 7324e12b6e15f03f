"""Embeddings and class centres at unit length: the numbers they are computed in, and the centres of the targets."""

import math

import torch
from torch import Tensor

# Room for what exponentials are multiplied with: components of an embedding, 1/B, small gradients from above.
_EXPONENT_MARGIN = 8.0


def compute_dtype(*tensors: Tensor) -> torch.dtype:
    """float64 if any tensor is, else float32: what a head computes in whatever it is given."""
    return torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32


def wide_enough(dtype: torch.dtype, scale: float, num_classes: int) -> torch.dtype:
    """``dtype``, or float64 where e^{±s}, summed over the classes, comes near the ends of float32: s above 64 to 80."""
    largest = scale + math.log(num_classes) + _EXPONENT_MARGIN
    return dtype if largest < math.log(torch.finfo(dtype).max) else torch.float64


def normalize(vectors: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Rows at unit length.

    Returns:
        ([N, D] unit rows in ``dtype``, [N, 1] 1/length); both 0 for a row of zeros, NaN for one that is not finite.
    """
    rows = vectors.to(dtype)
    # By the largest component first: the squares of a float32 row of length 1e20 or 1e-20 are beyond float32.
    # As two extremes: vector_norm(…, inf) takes twenty times as long on a CPU.
    extremes = rows.detach().amax(1, keepdim=True), -rows.detach().amin(1, keepdim=True)
    by_largest = _inverse(torch.maximum(*extremes))
    rows = rows * by_largest
    by_length = _inverse(torch.linalg.vector_norm(rows, dim=1, keepdim=True))
    return rows * by_length, by_largest * by_length


def _inverse(lengths: Tensor) -> Tensor:
    """1 / length, with 0 for 0; NaN stays NaN. A length below `tiny`, which has no finite inverse, is 0."""
    positive = lengths > torch.finfo(lengths.dtype).tiny
    # The inner `where` keeps the derivative of the branch not taken finite.
    return torch.where(positive, 1 / torch.where(positive, lengths, 1), 0 * lengths)


def backward_of_normalize_(grad: Tensor, unit: Tensor, inverse: Tensor) -> None:
    """From the gradient by unit rows to that by the rows themselves, in place: (g − u·(u·g)) / length."""
    grad.addcmul_(unit, torch.linalg.vecdot(unit, grad)[:, None], value=-1).mul_(inverse)


def sub_centres(rows: Tensor, each: int) -> Tensor:
    """[c, K·D] -> [c·K, D], one row a sub-centre."""
    return rows if each == 1 else rows.reshape(len(rows) * each, rows.shape[1] // each)


def target_centres(weight: Tensor, rows: Tensor, dtype: torch.dtype) -> Tensor:
    """[B, D] unit class centres of the samples' targets, 0 where a target is not among these: [c, D], [B]."""
    if not len(weight):
        return weight.new_zeros(len(rows), weight.shape[1], dtype=dtype)
    at, inside = within(rows, len(weight))
    centres, _ = normalize(weight.index_select(0, at), dtype)
    return torch.where(inside[:, None], centres, 0)


def nearest_of_class(unit: Tensor, weight: Tensor, rows: Tensor, each: int) -> Tensor:
    """[B] the nearest sub-centre of each sample's class, a row of :func:`sub_centres`; ``rows`` [B] of the weight."""
    if each == 1:
        return rows
    all_of_class = rows[:, None] * each + torch.arange(each, device=rows.device)
    centres = target_centres(sub_centres(weight, each), all_of_class.flatten(), unit.dtype).view(len(rows), each, -1)
    nearest: Tensor = torch.linalg.vecdot(unit[:, None], centres).argmax(1)
    return rows * each + nearest


def within(columns: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Columns brought into 0..width-1, and which of them were there: both [B]."""
    return columns.clamp(0, width - 1), (columns >= 0) & (columns < width)
