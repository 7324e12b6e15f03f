"""The exact margin softmax loss, and its gradients, without the memory of a second B×C tensor.

Only the target logit of a sample differs from s·cos θ, so the loss needs two numbers per sample: the target logit z and
r, the logsumexp of all other logits. It is softplus(r − z), and its gradient by cosine j is s·(p_j − 1[j = y]·…): the
matrix of probabilities P is all that forward and backward share. Classes are gone through in chunks:

    forward    per chunk: one product e·Wᵀ, then exp and sum in place; P is kept while the byte budget lasts
    backward   per chunk: P (kept, or by the same product again), then two products, dW = Pᵀ·e and de += P·W

Kept are the chunk's exp(z_ij − max_i), never touched afterwards: what turns them into probabilities is one factor per
(sample, chunk), which is folded into the B×D operand of the products. So no pass over B×C is made in backward but the
products themselves, and a second backward through a retained graph finds everything as it was.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Margin = Callable[[Tensor], tuple[Tensor, Tensor]]  # [B] target cosines -> ([B] value with margin, [B] derivative)

# A chunk of logits is worked on several times; on a CPU it should stay in the last-level cache meanwhile, on a GPU it
# must be large enough to fill the device.
_CHUNK_BYTES = {"cpu": 4 << 20}
_CHUNK_BYTES_ELSEWHERE = 64 << 20


def margin_softmax_loss(
    embeddings: Tensor,
    weight: Tensor,
    labels: Tensor,
    margin: Margin,
    scale: float,
    max_logits_bytes: int,
    classes: Tensor | None = None,
) -> Tensor:
    """Mean cross-entropy over s·cos θ, with ``margin`` applied to the target cosine of every sample.

    L = 1/B Σ_i −log( e^{z_i} / (e^{z_i} + Σ_{j≠y_i} e^{s·cos θ_ij}) ),  z_i = s·margin(cos θ_{i,y_i})

    Args:
        embeddings: [B, D], any length; a zero row has cosine 0 with everything and gradient 0.
        weight: [C, D] class centres, any length, likewise.
        labels: [B] int64 in 0..C-1.
        margin: the function of :mod:`elasticface.margins` to apply; called once, under no_grad.
        scale: s.
        max_logits_bytes: memory for probabilities kept from forward to backward together with the working chunk; what
            does not fit is computed again in backward. At least one class at a time is worked on.
        classes: [K] distinct sorted rows of ``weight`` to use instead of all, every label among them.

    Returns:
        The scalar loss, float32, or float64 if embeddings or weight are.

    Raises:
        RuntimeError: in backward with ``create_graph=True``: there is no second derivative.
    """
    # Under autocast the products would be made in half precision: 5° off next to cos = 1 in bfloat16.
    with torch.autocast(embeddings.device.type, enabled=False):
        loss: Tensor = _MarginSoftmax.apply(  # type: ignore[no-untyped-call]
            embeddings, weight, labels, margin, scale, max_logits_bytes, classes, torch.is_grad_enabled()
        )
    return loss


def compute_dtype(*tensors: Tensor) -> torch.dtype:
    """float64 if any tensor is, else float32: what a head computes in whatever it is given."""
    return torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32


def normalize(vectors: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Rows at unit length.

    Returns:
        ([N, D] unit rows in ``dtype``, [N, 1] 1/length); both 0 for a row of zeros, NaN for one that is not finite.
    """
    rows = vectors.to(dtype)
    # By the largest component first: the squares of a float32 row of length 1e20 or 1e-20 are beyond float32.
    by_largest = _inverse(torch.linalg.vector_norm(rows.detach(), torch.inf, dim=1, keepdim=True))
    rows = rows * by_largest
    by_length = _inverse(torch.linalg.vector_norm(rows, dim=1, keepdim=True))
    return rows * by_length, by_largest * by_length


def _inverse(lengths: Tensor) -> Tensor:
    """1 / length, with 0 for 0; NaN stays NaN. A length below `tiny`, which has no finite inverse, is 0."""
    positive = lengths > torch.finfo(lengths.dtype).tiny
    # The inner `where` keeps the derivative of the branch not taken finite.
    return torch.where(positive, 1 / torch.where(positive, lengths, 1), 0 * lengths)


def target_cosines(unit: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """[B] cos θ_y: unit embeddings [B, D] with their own class centres, kept within [-1, 1] against rounding."""
    centres, _ = normalize(weight[labels], unit.dtype)
    cosines: Tensor = torch.linalg.vecdot(unit, centres).clamp(-1, 1)
    return cosines


class _Chunks:
    """The class centres, chunk by chunk: the one place that knows how large a chunk is and which rows are meant."""

    def __init__(self, weight: Tensor, classes: Tensor | None, batch: int, dtype: torch.dtype, budget: int) -> None:
        self.weight, self.classes, self.dtype = weight, classes, dtype
        self.total = len(weight) if classes is None else len(classes)
        # A chunk has [batch, width] logits and [width, D] centres; neither may be large.
        chunk_bytes = min(_CHUNK_BYTES.get(weight.device.type, _CHUNK_BYTES_ELSEWHERE), budget)
        self.width = min(max(chunk_bytes // (max(batch, weight.shape[1]) * dtype.itemsize), 1), self.total)
        # One chunk of the budget is the working memory of those that are not kept.
        fits = budget // (batch * dtype.itemsize)
        self.kept = self.total if self.total <= fits else max(fits - self.width, 0) // self.width * self.width

    def __iter__(self) -> Any:
        return ((start, min(start + self.width, self.total)) for start in range(0, self.total, self.width))

    def centres(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """([c, D] unit centres, [c, 1] 1/length) of one chunk."""
        rows = self.weight[start:stop] if self.classes is None else self.weight[self.classes[start:stop]]
        return normalize(rows, self.dtype)


def _exponentials(
    unit: Tensor, centres: Tensor, columns: Tensor, scale: float, out: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """exp(s·cos θ − max) of one chunk, 0 at the targets, written to ``out`` [B, c]; and its maxima and sums [B]."""
    logits = torch.mm(unit, centres.T, out=out).mul_(scale)
    inside = (columns >= 0) & (columns < logits.shape[1])
    at = columns.clamp(0, logits.shape[1] - 1)[:, None]
    # Without indexing by a mask: that would make a GPU wait for the host in every chunk.
    logits.scatter_(1, at, logits.gather(1, at).masked_fill(inside[:, None], -torch.inf))
    maxima = logits.amax(1).clamp_min(torch.finfo(logits.dtype).min)  # finite even if the target is the only class
    sums = logits.sub_(maxima[:, None]).exp_().sum(1)
    return logits, maxima, sums


class _MarginSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        embeddings: Tensor,
        weight: Tensor,
        labels: Tensor,
        margin: Margin,
        scale: float,
        max_logits_bytes: int,
        classes: Tensor | None,
        grad_enabled: bool,
    ) -> Tensor:
        dtype = compute_dtype(embeddings, weight)
        unit, inverse = normalize(embeddings, dtype)  # (B, D), (B, 1)
        cosines = target_cosines(unit, weight, labels)  # (B,)
        value, slope = margin(cosines)
        targets = scale * value.to(dtype)

        columns = labels if classes is None else torch.searchsorted(classes, labels)
        chunks = _Chunks(weight, classes, len(unit), dtype, max_logits_bytes)
        keep = grad_enabled and any(ctx.needs_input_grad)  # needs_input_grad alone ignores no_grad
        kept = unit.new_empty(chunks.kept * len(unit) if keep else 0)
        spare = unit.new_empty(chunks.width * len(unit) if not keep or chunks.kept < chunks.total else 0)
        maxima, sums = [], []
        for start, stop in chunks:
            memory = kept[start * len(unit) : stop * len(unit)] if keep and stop <= chunks.kept else spare
            out = memory[: (stop - start) * len(unit)].view(len(unit), stop - start)
            centres, _ = chunks.centres(start, stop)
            _, most, total = _exponentials(unit, centres, columns - start, scale, out)
            maxima.append(most)
            sums.append(total)
        shifts = torch.stack(maxima, 1)  # (B, chunks)
        others = torch.logsumexp(shifts + torch.stack(sums, 1).log(), 1)  # (B,): r
        if keep:
            ctx.save_for_backward(
                unit, inverse, weight, labels, slope.to(dtype), targets, others, shifts, kept, classes
            )
            ctx.scale, ctx.max_logits_bytes, ctx.dtypes = scale, max_logits_bytes, (embeddings.dtype, weight.dtype)
        # softplus; torch's own is linear above a threshold, and overflows without one
        return torch.logaddexp(others - targets, torch.zeros_like(targets)).mean()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "the margin softmax has no second derivative: call backward or torch.autograd.grad without create_graph"
            )
        with torch.autocast(grad.device.type, enabled=False):
            return _backward(ctx, grad)


def _backward(ctx: Any, grad: Tensor) -> Any:
    unit, inverse, weight, labels, slope, targets, others, shifts, kept, classes = ctx.saved_tensors
    embeddings_dtype, weight_dtype = ctx.dtypes
    batch = len(unit)
    per_cosine = grad.to(unit.dtype) * ctx.scale / batch  # dL/dlogit -> dL/dcos
    # r − z once more gives 1 − p_y without the cancellation of 1 − p_y.
    logsumexp = torch.logaddexp(others, targets)
    at_target = -per_cosine * torch.sigmoid(others - targets) * slope  # (B,) dL/dcos θ_y
    factors = per_cosine * (shifts - logsumexp[:, None]).exp()  # (B, chunks): kept exponentials -> dL/dcos

    columns = labels if classes is None else torch.searchsorted(classes, labels)
    chunks = _Chunks(weight, classes, batch, unit.dtype, ctx.max_logits_bytes)
    spare = unit.new_empty(chunks.width * batch if chunks.kept < chunks.total else 0)
    by_unit = torch.zeros_like(unit)
    by_weight = None
    if ctx.needs_input_grad[1]:
        by_weight = weight.new_empty(weight.shape) if classes is None else weight.new_zeros(weight.shape)

    for number, (start, stop) in enumerate(chunks):
        centres, inverse_lengths = chunks.centres(start, stop)  # (c, D), (c, 1)
        if stop <= chunks.kept:
            exponentials = kept[start * batch : stop * batch].view(batch, stop - start)
        else:
            out = spare[: (stop - start) * batch].view(batch, stop - start)
            exponentials, _, _ = _exponentials(unit, centres, columns - start, ctx.scale, out)
        factor = factors[:, number, None]
        by_unit.addcmul_(torch.mm(exponentials, centres), factor)
        if by_weight is not None:
            by_centres = torch.mm(exponentials.T, unit * factor)  # (c, D)
            inside = (columns >= start) & (columns < stop)
            at = (columns - start).clamp(0, stop - start - 1)
            by_centres.index_add_(0, at, unit * (at_target * inside)[:, None])
            _off_the_sphere_(by_centres, centres, inverse_lengths)
            where = slice(start, stop) if classes is None else classes[start:stop]
            by_weight[where] = by_centres.to(weight_dtype)

    own, _ = normalize(weight[labels], unit.dtype)
    by_unit.addcmul_(own, at_target[:, None])
    _off_the_sphere_(by_unit, unit, inverse)
    return by_unit.to(embeddings_dtype), by_weight, None, None, None, None, None, None


def _off_the_sphere_(grad: Tensor, unit: Tensor, inverse: Tensor) -> None:
    """From the gradient by unit rows to that by the rows themselves, in place: (g − u·(u·g)) / length."""
    grad.addcmul_(unit, torch.linalg.vecdot(unit, grad)[:, None], value=-1).mul_(inverse)
