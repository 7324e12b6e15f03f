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

from typing import Any

import torch
from torch import Tensor

from elasticface.distributed.communication import Group, Part
from elasticface.heads.chunks import Chunks, columns_of, set_at_targets
from elasticface.heads.expectation import over_draws
from elasticface.heads.formula import Formula, Margin, Target
from elasticface.heads.others import Others
from elasticface.heads.products import HeadProducts, Products, problem_with
from elasticface.heads.row_sparse import row_sparse
from elasticface.heads.vectors import (
    backward_of_normalize_,
    compute_dtype,
    nearest_of_class,
    normalize,
    sub_centres,
    target_centres,
    wide_enough,
    within,
)


def margin_softmax_loss(
    embeddings: Tensor,
    weight: Tensor,
    labels: Tensor,
    margin: Margin | Formula,
    scale: float,
    max_logits_bytes: int,
    classes: Tensor | None = None,
    part: Part | None = None,
    head_products: HeadProducts = "float32",
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
        head_products: operands of the large products; see :mod:`.products`.

    Returns:
        The scalar loss of the whole batch, float32, or float64 if embeddings or weight are; the same in all processes.
        Its backward is collective, and gives each process the gradients of this one loss by what it has.

    Raises:
        ValueError: ``head_products`` that this device or float64 does not have.
        RuntimeError: in backward with ``create_graph=True``: there is no second derivative.
    """
    problem = problem_with(head_products, embeddings.device, compute_dtype(embeddings, weight))
    if problem:
        raise ValueError(problem)
    part = part or Part(Group(), (len(embeddings),), 0, len(weight))
    formula = margin if isinstance(margin, Formula) else Formula(lambda cosines, lengths: Target(*margin(cosines)))
    # Under autocast the products would be made in half precision: 5° off next to cos = 1 in bfloat16.
    with torch.autocast(embeddings.device.type, enabled=False):
        loss: Tensor = _MarginSoftmax.apply(  # type: ignore[no-untyped-call]
            embeddings,
            weight,
            labels,
            formula,
            scale,
            max_logits_bytes,
            classes,
            part,
            Products(head_products, embeddings.device),
            torch.is_grad_enabled(),
        )
    return loss


def _exponentials(logits: Tensor, columns: Tensor) -> Tensor:
    """e^{s·cos θ} of the [B, c] logits of one chunk, in place; 0 at the targets."""
    return set_at_targets(logits, columns, -torch.inf).exp_()


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
        products: Products,
        grad_enabled: bool,
    ) -> Tensor:
        result_dtype = compute_dtype(embeddings, weight)
        dtype = wide_enough(result_dtype, scale, part.num_classes)
        unit, inverse = normalize(part.group.gather_rows(embeddings, part.counts), dtype)  # (B, D), (B, 1)
        each, rows_of_all = formula.sub_centres, sub_centres(weight, formula.sub_centres)
        # Of rows_of_all; beyond its ends where another process has the target.
        rows = nearest_of_class(unit, weight, labels - part.first_class, each)
        own = torch.linalg.vecdot(unit, target_centres(rows_of_all, rows, dtype)).clamp(-1, 1)  # against rounding
        lengths = torch.where(inverse == 0, 0, 1 / inverse)[:, 0]
        target = formula.target(part.group.sum_(own), lengths).each(lambda t: t.to(dtype))
        targets = scale * target.value
        others = Others(formula, target.value, scale) if formula.negatives or each > 1 else None

        columns = columns_of(rows, len(weight), classes, each)
        chunks = Chunks(weight, classes, len(unit), dtype, max_logits_bytes, each)
        keep = grad_enabled and any(ctx.needs_input_grad)  # needs_input_grad alone ignores no_grad
        kept = unit.new_empty(chunks.kept * len(unit) if keep else 0)
        spare = unit.new_empty(chunks.width * len(unit) if len(kept) < chunks.total * len(unit) else 0)
        multiplied = products.embeddings(unit * scale if others is None else unit)
        sums = unit.new_zeros(len(unit))
        logsumexp_others = torch.full_like(sums, -torch.inf)  # (B,): r
        # One tensor, not a list of pieces: small ones that stay keep the freed chunks between them from being reused.
        inverses = unit.new_empty(chunks.total, 1)
        for chunk in chunks:
            centres, inverses[chunk] = normalize(chunks.rows(chunk), dtype)  # (c, D), (c, 1)
            logits = products.logits(multiplied, centres, chunks.memory(chunk, kept, spare))  # (B, c)
            if others is None:
                sums += _exponentials(logits, columns - chunk.start).sum(1)
            else:
                of_chunk = others.logsumexp(logits.clamp_(-1, 1), columns - chunk.start)  # cosines, against rounding
                logsumexp_others = torch.logaddexp(logsumexp_others, of_chunk)
        if others is None:
            logsumexp_others = part.group.sum_(sums).log()
        else:
            of_processes = part.group.gather_rows(logsumexp_others[None], (1,) * part.group.size)
            logsumexp_others = of_processes.logsumexp(0)
        if target.chances is None:
            # softplus; torch's own is linear above a threshold, and overflows without one
            losses = torch.logaddexp(logsumexp_others - targets, torch.zeros_like(targets))
        else:
            losses, targets, target = over_draws(target, logsumexp_others, scale)
        if keep:
            ctx.save_for_backward(
                unit, inverse, weight, rows, targets, logsumexp_others, inverses, kept, classes, *target[1:6]
            )
            ctx.scale, ctx.max_logits_bytes, ctx.part = scale, max_logits_bytes, part
            ctx.others, ctx.each, ctx.embeddings_dtype, ctx.products = others, each, embeddings.dtype, products
        losses = losses if target.penalty is None else losses + target.penalty
        return (losses.mean() if target.share is None else (losses * target.share).sum()).to(result_dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "the margin softmax has no second derivative: call backward or torch.autograd.grad without create_graph"
            )
        with torch.autocast(grad.device.type, enabled=False):
            return (*_gradients(ctx, grad), *(None,) * 8)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:
    """The gradients by embeddings and weight, from what :class:`_MarginSoftmax` has saved."""
    unit, inverse, weight, rows, targets, logsumexp_others, inverses, kept, classes, *slopes = ctx.saved_tensors
    by_cosine, by_length, _, penalty_by_length, share = slopes
    part: Part = ctx.part
    others: Others | None = ctx.others
    products: Products = ctx.products

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

    columns = columns_of(rows, len(weight), classes, ctx.each)
    chunks = Chunks(weight, classes, len(unit), unit.dtype, ctx.max_logits_bytes, ctx.each)
    spare = unit.new_empty(chunks.width * len(unit) if chunks.kept < chunks.total else 0)
    multiplied = products.embeddings(unit * ctx.scale if others is None else unit)
    weighted, towards_target = products.rounded(unit * factors), unit * at_target
    grad_unit = torch.zeros_like(unit)
    grad_weight = grad_rows = None
    if ctx.needs_input_grad[1]:
        grad_weight = weight.new_empty(chunks.total // ctx.each, weight.shape[1])
        grad_rows = sub_centres(grad_weight, ctx.each)
    in_place = grad_weight is not None and weight.dtype == unit.dtype

    for chunk in chunks:
        centres = chunks.rows(chunk) * inverses[chunk]  # (c, D)
        exponentials = chunks.memory(chunk, kept, spare)
        again = chunk.stop > chunks.kept
        if again:
            products.logits(multiplied, centres, exponentials)
        if others is None:
            if again:
                _exponentials(exponentials, columns - chunk.start)
        else:
            if again:
                exponentials.clamp_(-1, 1)
            exponentials = others.probabilities(exponentials, columns - chunk.start, logsumexp)
        exponentials = products.rounded(exponentials)
        products.add_product_(grad_unit, exponentials, products.rounded(centres))
        if grad_rows is not None:
            grad_centres = products.product(exponentials.T, weighted, grad_rows[chunk] if in_place else None)  # (c, D)
            at, inside = within(columns - chunk.start, len(centres))
            grad_centres.index_add_(0, at, towards_target * inside[:, None])
            backward_of_normalize_(grad_centres, centres, inverses[chunk])
            if not in_place:
                grad_rows[chunk] = grad_centres.to(weight.dtype)
    if grad_weight is not None and classes is not None:
        grad_weight = row_sparse(classes, grad_weight, len(weight))

    targets_centres = target_centres(sub_centres(weight, ctx.each), rows, unit.dtype)
    grad_unit.mul_(factors).addcmul_(targets_centres, at_target)
    grad_own, own = part.group.sum_to_owners(grad_unit, part.counts), part.own_rows
    backward_of_normalize_(grad_own, unit[own], inverse[own])
    if by_length is not None:
        grad_own.addcmul_(unit[own], (per_target * by_length)[own, None])
    if penalty_by_length is not None:
        grad_own.addcmul_(unit[own], (in_mean(grad.to(unit.dtype)) * penalty_by_length)[own, None])
    return grad_own.to(ctx.embeddings_dtype), grad_weight
