"""The exact margin softmax loss, and its gradients, without the memory of a second B×C tensor.

Where only the target logit differs from s·cos θ, the loss needs two numbers per sample: the target logit z and
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

A loss may also change its negatives, z_j = s·N(cos θ_j), or have several sub-centres a class, of which the nearest
counts. Neither has a bound known beforehand or a factor a sample alone. Then the cosines are kept in place of the
exponentials, r is a running logsumexp, and backward makes p_j·N' of the kept cosines, a chunk at a time.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from elasticface.distributed.communication import Group, Part
from elasticface.heads.row_sparse import row_sparse

Margin = Callable[[Tensor], tuple[Tensor, Tensor]]  # [B] target cosines -> ([B] value with margin, [B] derivative)
# ([B, k] cosines of negatives, [B, 1] target values) -> ([B, k] values, [B, k] derivative by the cosine)
Negatives = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Target(NamedTuple):
    """The target logits over s of a batch, and their derivatives, each [B].

    Attributes:
        value: in place of cos θ_y.
        by_cosine: derivative of ``value`` by cos θ_y.
        by_length: derivative of ``value`` by the embedding's length; ``None`` is 0.
        penalty: is added to a sample's loss; ``None`` is 0.
        penalty_by_length: derivative of ``penalty`` by the embedding's length.
        share: of a sample in the mean loss, they sum up to 1; ``None`` is 1/B. The head sets it.
    """

    value: Tensor
    by_cosine: Tensor
    by_length: Tensor | None = None
    penalty: Tensor | None = None
    penalty_by_length: Tensor | None = None
    share: Tensor | None = None

    def each(self, change: Callable[[Tensor], Tensor]) -> "Target":
        """With ``change`` made to all that there is."""
        return Target(*(t if t is None else change(t) for t in self))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Formula:
    """What a loss is beyond a margin on the target cosine.

    Attributes:
        target: ([B] target cosines, [B] lengths of the embeddings) of the whole batch -> :class:`Target`.
        negatives: what is in place of the cosines of other classes; ``None`` leaves them.
        sub_centres: K, centres of a class; a row of the weight has them one after the other, [K·D].
    """

    target: Callable[[Tensor, Tensor], Target]
    negatives: Negatives | None = None
    sub_centres: int = 1


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
    margin: Margin | Formula,
    scale: float,
    max_logits_bytes: int,
    classes: Tensor | None = None,
    part: Part | None = None,
) -> Tensor:
    """Mean cross-entropy over s·cos θ, with ``margin`` applied to the target cosine of every sample.

    L = 1/B Σ_i −log( e^{z_i} / (e^{z_i} + Σ_{j≠y_i} e^{s·cos θ_ij}) ),  z_i = s·margin(cos θ_{i,y_i})

    A ``Formula`` may give each sample another share of the mean than 1/B.

    Args:
        embeddings: [b, D] this process's rows of the batch, any length; a zero row has cosine 0 with everything and
            gradient 0.
        weight: [c, D] this process's class centres, any length, likewise; with K sub-centres [c, K·D].
        labels: [B] int64 in 0..C-1 of the whole batch.
        margin: the function of :mod:`.margins` to apply to the whole batch; called once, under no_grad. A ``Formula``
            may go by the embedding's length, too, change the negatives and take the nearest of several sub-centres.
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
    formula = margin if isinstance(margin, Formula) else Formula(lambda cosines, lengths: Target(*margin(cosines)))
    # Under autocast the products would be made in half precision: 5° off next to cos = 1 in bfloat16.
    with torch.autocast(embeddings.device.type, enabled=False):
        loss: Tensor = _MarginSoftmax.apply(  # type: ignore[no-untyped-call]
            embeddings, weight, labels, formula, scale, max_logits_bytes, classes, part, torch.is_grad_enabled()
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
    """The class centres, chunk by chunk: the one place that knows how large a chunk is and which rows are meant.

    Sub-centres are rows of their own here. Those of one class are never in two chunks.
    """

    def __init__(
        self, weight: Tensor, classes: Tensor | None, batch: int, dtype: torch.dtype, budget: int, each: int = 1
    ) -> None:
        self.weight, self.classes, self.each, self.dtype, self.batch = weight, classes, each, dtype, batch
        used, size, device = len(weight) if classes is None else len(classes), weight.shape[1], weight.device.type
        width, kept = chunking(used, batch * each, size, dtype.itemsize, budget, device)
        self.total, self.width, self.kept = used * each, width * each, kept * each

    def __iter__(self) -> Iterator[slice]:
        return (slice(start, min(start + self.width, self.total)) for start in range(0, self.total, self.width))

    def rows(self, chunk: slice) -> Tensor:
        """[k, D] centres of one chunk, of any length."""
        of_weight = slice(chunk.start // self.each, chunk.stop // self.each)
        if self.classes is None:
            rows = self.weight[of_weight].to(self.dtype)
        else:  # whole rows, several times as fast as by weight[…]
            rows = self.weight.index_select(0, self.classes[of_weight]).to(self.dtype)
        return sub_centres(rows, self.each)

    def memory(self, chunk: slice, kept: Tensor, spare: Tensor) -> Tensor:
        """Where the [B, k] exponentials or cosines of one chunk are, or go."""
        memory = kept[chunk.start * self.batch :] if chunk.stop <= len(kept) // self.batch else spare
        return memory[: (chunk.stop - chunk.start) * self.batch].view(self.batch, -1)


def sub_centres(rows: Tensor, each: int) -> Tensor:
    """[c, K·D] -> [c·K, D], one row a sub-centre."""
    return rows if each == 1 else rows.reshape(len(rows) * each, rows.shape[1] // each)


class _Others:
    """Logits of a chunk where not only the target's differs from s·cos θ, or only the nearest sub-centre counts.

    Args:
        formula: what the loss is.
        targets: [B] target values, over s.
        scale: s.
    """

    def __init__(self, formula: Formula, targets: Tensor, scale: float) -> None:
        self.negatives, self.each, self.targets, self.scale = formula.negatives, formula.sub_centres, targets, scale

    def logsumexp(self, cosines: Tensor, columns: Tensor) -> Tensor:
        """[B, k] cosines with the rows of a chunk, [B] the target's column -> [B] logsumexp of the others' logits."""
        nearest = self._nearest(cosines)[0]
        values, _ = self._values(nearest)
        return _set_at_targets(self.scale * values, self._of_class(columns), -torch.inf).logsumexp(1)

    def probabilities(self, cosines: Tensor, columns: Tensor, logsumexp: Tensor) -> Tensor:
        """[B, k] p_j·N'(cos θ_j), 0 at the target and at sub-centres that are not the nearest."""
        nearest, winners = self._nearest(cosines)
        values, slopes = self._values(nearest)
        probabilities = (self.scale * values).sub_(logsumexp[:, None]).exp_()
        if slopes is not None:
            probabilities *= slopes
        _set_at_targets(probabilities, self._of_class(columns), 0)
        if winners is None:
            return probabilities
        of_all = torch.zeros_like(cosines).view(*nearest.shape, -1)
        return of_all.scatter_(2, winners, probabilities[..., None]).flatten(1)

    def _nearest(self, cosines: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.each == 1:
            return cosines, None
        nearest, winners = cosines.view(len(cosines), -1, self.each).max(2, keepdim=True)
        return nearest[..., 0], winners

    def _values(self, cosines: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.negatives(cosines, self.targets[:, None]) if self.negatives else (cosines, None)

    def _of_class(self, columns: Tensor) -> Tensor:
        return columns if self.each == 1 else columns.div(self.each, rounding_mode="floor")


def _exponentials(scaled: Tensor, centres: Tensor, columns: Tensor, out: Tensor) -> Tensor:
    """e^{s·cos θ} of one chunk, 0 at the targets, written to ``out`` [B, c]."""
    return _set_at_targets(torch.mm(scaled, centres.T, out=out), columns, -torch.inf).exp_()


def _cosines(unit: Tensor, centres: Tensor, out: Tensor) -> Tensor:
    """cos θ of one chunk, written to ``out`` [B, k]."""
    return torch.mm(unit, centres.T, out=out).clamp_(-1, 1)  # against rounding


def _set_at_targets(matrix: Tensor, columns: Tensor, value: float) -> Tensor:
    """``matrix`` [B, k], in place, with ``value`` in the column of each row, where that is among the k."""
    at, inside = _within(columns, matrix.shape[1])
    # Without indexing by a mask: that would make a GPU wait for the host in every chunk.
    return matrix.scatter_(1, at[:, None], matrix.gather(1, at[:, None]).masked_fill(inside[:, None], value))


def _within(columns: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Columns brought into 0..width-1, and which of them were there: both [B]."""
    return columns.clamp(0, width - 1), (columns >= 0) & (columns < width)


def _columns(rows: Tensor, length: int, classes: Tensor | None, each: int) -> Tensor:
    """[B] sub-centres of ``length`` classes -> their places where only ``classes`` are; of one outside, outside."""
    if classes is None:
        return rows
    own, among = rows.div(each, rounding_mode="floor"), rows.remainder(each)
    return torch.where((own >= 0) & (own < length), torch.searchsorted(classes, own) * each + among, -1)


def _nearest_of_class(unit: Tensor, weight: Tensor, rows: Tensor, each: int) -> Tensor:
    """[B] the nearest sub-centre of each sample's class, a row of :func:`sub_centres`; ``rows`` [B] of the weight."""
    if each == 1:
        return rows
    all_of_class = rows[:, None] * each + torch.arange(each, device=rows.device)
    centres = target_centres(sub_centres(weight, each), all_of_class.flatten(), unit.dtype).view(len(rows), each, -1)
    nearest: Tensor = torch.linalg.vecdot(unit[:, None], centres).argmax(1)
    return rows * each + nearest


class _MarginSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        embeddings: Tensor,
        weight: Tensor,
        labels: Tensor,
        formula: Formula,
        scale: float,
        max_logits_bytes: int,
        classes: Tensor | None,
        part: Part,
        grad_enabled: bool,
    ) -> Tensor:
        result_dtype = compute_dtype(embeddings, weight)
        dtype = wide_enough(result_dtype, scale, part.num_classes)
        unit, inverse = normalize(part.group.gather_rows(embeddings, part.counts), dtype)  # (B, D), (B, 1)
        each, rows_of_all = formula.sub_centres, sub_centres(weight, formula.sub_centres)
        # Of rows_of_all; beyond its ends where another process has the target.
        rows = _nearest_of_class(unit, weight, labels - part.first_class, each)
        own = torch.linalg.vecdot(unit, target_centres(rows_of_all, rows, dtype)).clamp(-1, 1)  # against rounding
        lengths = torch.where(inverse == 0, 0, 1 / inverse)[:, 0]
        target = formula.target(part.group.sum_(own), lengths).each(lambda t: t.to(dtype))
        targets = scale * target.value
        others = _Others(formula, target.value, scale) if formula.negatives or each > 1 else None

        columns = _columns(rows, len(weight), classes, each)
        chunks = _Chunks(weight, classes, len(unit), dtype, max_logits_bytes, each)
        keep = grad_enabled and any(ctx.needs_input_grad)  # needs_input_grad alone ignores no_grad
        kept = unit.new_empty(chunks.kept * len(unit) if keep else 0)
        spare = unit.new_empty(chunks.width * len(unit) if len(kept) < chunks.total * len(unit) else 0)
        scaled, sums = unit * scale, unit.new_zeros(len(unit))
        logsumexp_others = torch.full_like(sums, -torch.inf)  # (B,): r
        # One tensor, not a list of pieces: small ones that stay keep the freed chunks between them from being reused.
        inverses = unit.new_empty(chunks.total, 1)
        for chunk in chunks:
            centres, inverses[chunk] = normalize(chunks.rows(chunk), dtype)  # (c, D), (c, 1)
            out = chunks.memory(chunk, kept, spare)
            if others is None:
                sums += _exponentials(scaled, centres, columns - chunk.start, out).sum(1)
            else:
                of_chunk = others.logsumexp(_cosines(unit, centres, out), columns - chunk.start)
                logsumexp_others = torch.logaddexp(logsumexp_others, of_chunk)
        if others is None:
            logsumexp_others = part.group.sum_(sums).log()
        else:
            of_processes = part.group.gather_rows(logsumexp_others[None], (1,) * part.group.size)
            logsumexp_others = of_processes.logsumexp(0)
        if keep:
            ctx.save_for_backward(
                unit, inverse, weight, rows, targets, logsumexp_others, inverses, kept, classes, *target[1:]
            )
            ctx.scale, ctx.max_logits_bytes, ctx.part = scale, max_logits_bytes, part
            ctx.others, ctx.each, ctx.embeddings_dtype = others, each, embeddings.dtype
        # softplus; torch's own is linear above a threshold, and overflows without one
        losses = torch.logaddexp(logsumexp_others - targets, torch.zeros_like(targets))
        losses = losses if target.penalty is None else losses + target.penalty
        return (losses.mean() if target.share is None else (losses * target.share).sum()).to(result_dtype)

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
    unit, inverse, weight, rows, targets, logsumexp_others, inverses, kept, classes, *slopes = ctx.saved_tensors
    by_cosine, by_length, _, penalty_by_length, share = slopes
    part: Part = ctx.part
    others: _Others | None = ctx.others

    def in_mean(gradient: Tensor) -> Tensor:
        return gradient / len(unit) if share is None else gradient * share

    per_cosine = in_mean(grad.to(unit.dtype) * ctx.scale)  # dL/dlogit -> dL/dcos, of all samples or (B,)
    # r − z once more gives 1 − p_y without the cancellation of 1 − p_y.
    per_target = -per_cosine * torch.sigmoid(logsumexp_others - targets)
    at_target = (per_target * by_cosine)[:, None]  # (B, 1) dL/dcos θ_y
    logsumexp = torch.logaddexp(logsumexp_others, targets)
    if others is None:
        # Other classes put the logsumexp at -s or above; with one class alone it has no bound, and nothing to multiply.
        factors = (per_cosine * (-logsumexp.clamp_min(-ctx.scale - 1)).exp())[:, None]  # (B, 1) exponentials -> dL/dcos
    else:
        factors = per_cosine.expand(len(unit))[:, None]  # probabilities -> dL/dcos

    columns = _columns(rows, len(weight), classes, ctx.each)
    chunks = _Chunks(weight, classes, len(unit), unit.dtype, ctx.max_logits_bytes, ctx.each)
    spare = unit.new_empty(chunks.width * len(unit) if chunks.kept < chunks.total else 0)
    scaled, weighted, towards_target = unit * ctx.scale, unit * factors, unit * at_target
    grad_unit = torch.zeros_like(unit)
    grad_weight = grad_rows = None
    if ctx.needs_input_grad[1]:
        grad_weight = weight.new_empty(chunks.total // ctx.each, weight.shape[1])
        grad_rows = sub_centres(grad_weight, ctx.each)
    in_place = grad_weight is not None and weight.dtype == unit.dtype

    for chunk in chunks:
        centres = chunks.rows(chunk) * inverses[chunk]  # (c, D)
        exponentials = chunks.memory(chunk, kept, spare)
        if others is None:
            if chunk.stop > chunks.kept:
                _exponentials(scaled, centres, columns - chunk.start, exponentials)
        else:
            if chunk.stop > chunks.kept:
                _cosines(unit, centres, exponentials)
            exponentials = others.probabilities(exponentials, columns - chunk.start, logsumexp)
        grad_unit.addmm_(exponentials, centres)
        if grad_rows is not None:
            grad_centres = torch.mm(exponentials.T, weighted, out=grad_rows[chunk] if in_place else None)  # (c, D)
            at, inside = _within(columns - chunk.start, len(centres))
            grad_centres.index_add_(0, at, towards_target * inside[:, None])
            _backward_of_normalize_(grad_centres, centres, inverses[chunk])
            if not in_place:
                grad_rows[chunk] = grad_centres.to(weight.dtype)
    if grad_weight is not None and classes is not None:
        grad_weight = row_sparse(classes, grad_weight, len(weight))

    targets_centres = target_centres(sub_centres(weight, ctx.each), rows, unit.dtype)
    grad_unit.mul_(factors).addcmul_(targets_centres, at_target)
    grad_own, own = part.group.sum_to_owners(grad_unit, part.counts), part.own_rows
    _backward_of_normalize_(grad_own, unit[own], inverse[own])
    if by_length is not None:
        grad_own.addcmul_(unit[own], (per_target * by_length)[own, None])
    if penalty_by_length is not None:
        grad_own.addcmul_(unit[own], (in_mean(grad.to(unit.dtype)) * penalty_by_length)[own, None])
    return grad_own.to(ctx.embeddings_dtype), grad_weight


def _backward_of_normalize_(grad: Tensor, unit: Tensor, inverse: Tensor) -> None:
    """From the gradient by unit rows to that by the rows themselves, in place: (g − u·(u·g)) / length."""
    grad.addcmul_(unit, torch.linalg.vecdot(unit, grad)[:, None], value=-1).mul_(inverse)


def wide_enough(dtype: torch.dtype, scale: float, num_classes: int) -> torch.dtype:
    """``dtype``, or float64 where e^{±s}, summed over the classes, comes near the ends of float32: s above 64 to 80."""
    largest = scale + math.log(num_classes) + _EXPONENT_MARGIN
    return dtype if largest < math.log(torch.finfo(dtype).max) else torch.float64
