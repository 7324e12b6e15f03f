"""The exact margin softmax loss, and its gradients, without the memory of a second B×C tensor.

Only the target logit of a sample differs from s·cos θ, so the loss needs two numbers per sample: the target logit z and
r, the logsumexp of all other logits. It is softplus(r − z), and its gradient by cosine j is s·(p_j − 1[j = y]·…): the
matrix of probabilities P is all that forward and backward share. Forward and backward work chunk by chunk of classes:

    forward    per chunk: one product e·Wᵀ, then exp and sum in place; P is kept while the byte budget lasts
    backward   per chunk: P (kept, or by the same product again), then two products, dW = Pᵀ·e and de += P·W

The exponentials e^{s·cos θ} are kept and never changed: one factor a sample turns them into probabilities, and is
multiplied into the B×D operands of the products instead. So backward makes no pass over B×C but the products
themselves, and a second backward through a retained graph finds everything as it was. No maximum is taken off before
exp: |s·cos θ| ≤ s is known beforehand, and e^{±64}, summed over ten million classes, lies inside float32.

The classes may lie on several processes, each with some of them and with a part of the batch. Then a process goes
through its own classes for the whole batch, and they tell each other no more than rows of the batch:

    forward    embeddings gathered; target cosines [B], known where the target's centre is, and Σ exp [B] summed
    backward   de [B, D] summed, each process keeping its own rows of the batch; dW is a process's own
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from elasticface.distributed.communication import Group, Part
from elasticface.heads.row_sparse import row_sparse

Margin = Callable[[Tensor], tuple[Tensor, Tensor]]  # [B] target cosines -> ([B] value with margin, [B] derivative)

# A chunk of logits is worked on several times; on a CPU it should stay in the last-level cache meanwhile, on a GPU it
# must be large enough to fill the device.
_CHUNK_BYTES = {"cpu": 4 << 20}
_CHUNK_BYTES_ELSEWHERE = 64 << 20

# Room for what exponentials are multiplied with: components of an embedding, 1/B, small gradients from above.
_EXPONENT_MARGIN = 8.0


def margin_softmax_loss(
    embeddings: Tensor,
    weight: Tensor,
    labels: Tensor,
    margin: Margin,
    scale: float,
    max_logits_bytes: int,
    classes: Tensor | None = None,
    part: Part | None = None,
) -> Tensor:
    """Mean cross-entropy over s·cos θ, with ``margin`` applied to the target cosine of every sample.

    L = 1/B Σ_i −log( e^{z_i} / (e^{z_i} + Σ_{j≠y_i} e^{s·cos θ_ij}) ),  z_i = s·margin(cos θ_{i,y_i})

    Args:
        embeddings: [b, D] this process's rows of the batch, any length; a zero row has cosine 0 with everything and
            gradient 0.
        weight: [c, D] this process's class centres, any length, likewise.
        labels: [B] int64 in 0..C-1 of the whole batch.
        margin: the function of :mod:`.margins` to apply to the whole batch; called once, under no_grad.
        scale: s.
        max_logits_bytes: memory for probabilities kept from forward to backward together with the working chunk; what
            does not fit is computed again in backward. At least one class at a time is worked on.
        classes: [K] distinct sorted rows of ``weight`` to use instead of all, every label that lies here among them.
            The gradient by ``weight`` is then a sparse COO tensor of these rows.
        part: what this process has of batch and classes; ``None`` is one process, which has all: b = B, c = C.

    Returns:
        The scalar loss of the whole batch, float32, or float64 if embeddings or weight are; the same in all processes.
        Its backward is collective, and gives each process the gradients of this one loss by what it has.

    Raises:
        RuntimeError: in backward with ``create_graph=True``: there is no second derivative.
    """
    part = part or Part(Group(), (len(embeddings),), 0, len(weight))
    # Under autocast the products would be made in half precision: 5° off next to cos = 1 in bfloat16.
    with torch.autocast(embeddings.device.type, enabled=False):
        loss: Tensor = _MarginSoftmax.apply(  # type: ignore[no-untyped-call]
            embeddings, weight, labels, margin, scale, max_logits_bytes, classes, part, torch.is_grad_enabled()
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


def target_centres(weight: Tensor, rows: Tensor, dtype: torch.dtype) -> Tensor:
    """[B, D] unit class centres of the samples' targets, 0 where a target is not among these: [c, D], [B]."""
    if not len(weight):
        return weight.new_zeros(len(rows), weight.shape[1], dtype=dtype)
    at, inside = _within(rows, len(weight))
    centres, _ = normalize(weight.index_select(0, at), dtype)
    return torch.where(inside[:, None], centres, 0)


def chunking(total: int, batch: int, size: int, itemsize: int, budget: int, device: str) -> tuple[int, int]:
    """The chunks of ``total`` classes: (classes of a chunk, classes whose probabilities are kept).

    Args:
        total: the classes of one process that a step uses.
        batch: B, of all processes.
        size: D.
        itemsize: bytes of a number: 4, or 8 where the head computes in float64.
        budget: ``max_logits_bytes``.
        device: "cpu", "cuda", …
    """
    # A chunk has [batch, width] logits and [width, D] centres; neither may be large.
    chunk_bytes = min(_CHUNK_BYTES.get(device, _CHUNK_BYTES_ELSEWHERE), budget)
    widest = max(chunk_bytes // (max(batch, size) * itemsize), 1)
    width = max(min(widest, total), 1)  # a process may have no class at all
    # Where not all are kept, one chunk of the budget is the working memory of the rest.
    fits = budget // (batch * itemsize)
    return width, total if total <= fits else max(fits - width, 0) // width * width


class _Chunks:
    """The class centres, chunk by chunk: the one place that knows how large a chunk is and which rows are meant."""

    def __init__(self, weight: Tensor, classes: Tensor | None, batch: int, dtype: torch.dtype, budget: int) -> None:
        self.weight, self.classes, self.dtype, self.batch = weight, classes, dtype, batch
        self.total = len(weight) if classes is None else len(classes)
        size, device = weight.shape[1], weight.device.type
        self.width, self.kept = chunking(self.total, batch, size, dtype.itemsize, budget, device)

    def __iter__(self) -> Iterator[slice]:
        return (slice(start, min(start + self.width, self.total)) for start in range(0, self.total, self.width))

    def rows(self, chunk: slice) -> Tensor:
        """[c, D] class centres of one chunk, of any length."""
        if self.classes is None:
            return self.weight[chunk].to(self.dtype)
        rows = self.weight.index_select(0, self.classes[chunk])  # whole rows, several times as fast as by weight[…]
        return rows.to(self.dtype)

    def memory(self, chunk: slice, kept: Tensor, spare: Tensor) -> Tensor:
        """Where the [B, c] exponentials of one chunk are, or go."""
        memory = kept[chunk.start * self.batch :] if chunk.stop <= len(kept) // self.batch else spare
        return memory[: (chunk.stop - chunk.start) * self.batch].view(self.batch, -1)


def _exponentials(scaled: Tensor, centres: Tensor, columns: Tensor, out: Tensor) -> Tensor:
    """e^{s·cos θ} of one chunk, 0 at the targets, written to ``out`` [B, c]."""
    logits = torch.mm(scaled, centres.T, out=out)
    at, inside = _within(columns, logits.shape[1])
    # Without indexing by a mask: that would make a GPU wait for the host in every chunk.
    logits.scatter_(1, at[:, None], logits.gather(1, at[:, None]).masked_fill(inside[:, None], -torch.inf))
    return logits.exp_()


def _within(columns: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Columns brought into 0..width-1, and which of them were there: both [B]."""
    return columns.clamp(0, width - 1), (columns >= 0) & (columns < width)


def _columns(rows: Tensor, length: int, classes: Tensor | None) -> Tensor:
    """[B] rows of a weight of ``length`` -> their places in ``classes``; a row outside the weight gets one outside."""
    if classes is None:
        return rows
    return torch.where((rows >= 0) & (rows < length), torch.searchsorted(classes, rows), -1)


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
        part: Part,
        grad_enabled: bool,
    ) -> Tensor:
        result_dtype = compute_dtype(embeddings, weight)
        dtype = wide_enough(result_dtype, scale, part.num_classes)
        unit, inverse = normalize(part.group.gather_rows(embeddings, part.counts), dtype)  # (B, D), (B, 1)
        rows = labels - part.first_class  # of weight; beyond its ends where another process has the target
        own = torch.linalg.vecdot(unit, target_centres(weight, rows, dtype)).clamp(-1, 1)  # against rounding
        value, slope = margin(part.group.sum_(own))  # (B,), (B,)
        targets = scale * value.to(dtype)

        columns = _columns(rows, len(weight), classes)
        chunks = _Chunks(weight, classes, len(unit), dtype, max_logits_bytes)
        keep = grad_enabled and any(ctx.needs_input_grad)  # needs_input_grad alone ignores no_grad
        kept = unit.new_empty(chunks.kept * len(unit) if keep else 0)
        spare = unit.new_empty(chunks.width * len(unit) if len(kept) < chunks.total * len(unit) else 0)
        scaled, sums = unit * scale, unit.new_zeros(len(unit))
        # One tensor, not a list of pieces: small ones that stay keep the freed chunks between them from being reused.
        inverses = unit.new_empty(chunks.total, 1)
        for chunk in chunks:
            centres, inverses[chunk] = normalize(chunks.rows(chunk), dtype)  # (c, D), (c, 1)
            out = chunks.memory(chunk, kept, spare)
            sums += _exponentials(scaled, centres, columns - chunk.start, out).sum(1)
        logsumexp_others = part.group.sum_(sums).log()  # (B,): r
        if keep:
            ctx.save_for_backward(
                unit, inverse, weight, rows, slope.to(dtype), targets, logsumexp_others, inverses, kept, classes
            )
            ctx.scale, ctx.max_logits_bytes, ctx.part = scale, max_logits_bytes, part
            ctx.embeddings_dtype = embeddings.dtype
        # softplus; torch's own is linear above a threshold, and overflows without one
        return torch.logaddexp(logsumexp_others - targets, torch.zeros_like(targets)).mean().to(result_dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "the margin softmax has no second derivative: call backward or torch.autograd.grad without create_graph"
            )
        with torch.autocast(grad.device.type, enabled=False):
            return (*_gradients(ctx, grad), None, None, None, None, None, None, None)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:
    """The gradients by embeddings and weight, from what :class:`_MarginSoftmax` has saved."""
    unit, inverse, weight, rows, slope, targets, logsumexp_others, inverses, kept, classes = ctx.saved_tensors
    part: Part = ctx.part
    per_cosine = grad.to(unit.dtype) * ctx.scale / len(unit)  # dL/dlogit -> dL/dcos
    # r − z once more gives 1 − p_y without the cancellation of 1 − p_y.
    at_target = (-per_cosine * torch.sigmoid(logsumexp_others - targets) * slope)[:, None]  # (B, 1) dL/dcos θ_y
    # Other classes put the logsumexp at -s or above; with one class alone it has no bound, and nothing to multiply.
    logsumexp = torch.logaddexp(logsumexp_others, targets).clamp_min(-ctx.scale - 1)
    factors = (per_cosine * (-logsumexp).exp())[:, None]  # (B, 1) exponentials -> dL/dcos

    columns = _columns(rows, len(weight), classes)
    chunks = _Chunks(weight, classes, len(unit), unit.dtype, ctx.max_logits_bytes)
    spare = unit.new_empty(chunks.width * len(unit) if chunks.kept < chunks.total else 0)
    scaled, weighted, towards_target = unit * ctx.scale, unit * factors, unit * at_target
    grad_unit = torch.zeros_like(unit)
    grad_weight = None
    if ctx.needs_input_grad[1]:
        grad_weight = weight.new_empty(chunks.total, weight.shape[1])
    in_place = grad_weight is not None and weight.dtype == unit.dtype

    for chunk in chunks:
        centres = chunks.rows(chunk) * inverses[chunk]  # (c, D)
        exponentials = chunks.memory(chunk, kept, spare)
        if chunk.stop > chunks.kept:
            _exponentials(scaled, centres, columns - chunk.start, exponentials)
        grad_unit.addmm_(exponentials, centres)
        if grad_weight is not None:
            grad_centres = torch.mm(exponentials.T, weighted, out=grad_weight[chunk] if in_place else None)  # (c, D)
            at, inside = _within(columns - chunk.start, len(centres))
            grad_centres.index_add_(0, at, towards_target * inside[:, None])
            _backward_of_normalize_(grad_centres, centres, inverses[chunk])
            if not in_place:
                grad_weight[chunk] = grad_centres.to(weight.dtype)
    if grad_weight is not None and classes is not None:
        grad_weight = row_sparse(classes, grad_weight, len(weight))

    grad_unit.mul_(factors).addcmul_(target_centres(weight, rows, unit.dtype), at_target)
    grad_own, own = part.group.sum_to_owners(grad_unit, part.counts), part.own_rows
    _backward_of_normalize_(grad_own, unit[own], inverse[own])
    return grad_own.to(ctx.embeddings_dtype), grad_weight


def _backward_of_normalize_(grad: Tensor, unit: Tensor, inverse: Tensor) -> None:
    """From the gradient by unit rows to that by the rows themselves, in place: (g − u·(u·g)) / length."""
    grad.addcmul_(unit, torch.linalg.vecdot(unit, grad)[:, None], value=-1).mul_(inverse)


def wide_enough(dtype: torch.dtype, scale: float, num_classes: int) -> torch.dtype:
    """``dtype``, or float64 where e^{±s}, summed over the classes, comes near the ends of float32: s above 64 to 80."""
    largest = scale + math.log(num_classes) + _EXPONENT_MARGIN
    return dtype if largest < math.log(torch.finfo(dtype).max) else torch.float64
