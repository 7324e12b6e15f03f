"""What one step of training is made of: its images, its gradients, its learning rate."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from elasticface.base import keyed
from elasticface.base.errors import InputError
from elasticface.base.transfer import to_device
from elasticface.data.feed.transforms import RowsOfBatch, augment, change_surroundings, flip, relight, to_input
from elasticface.heads.row_sparse import coalesced, without_doubles
from elasticface.training.config import TrainConfig
from elasticface.training.guard import TOO_FEW_IMAGES, Outcome, norm_of, sums_dtype
from elasticface.training.state import TrainState

_MIN_MICRO_BATCH = 2  # a batch norm has no variance of one image


@dataclass(frozen=True)
class Batch:
    """One process's share of a global batch.

    Attributes:
        images: uint8 [b, H, W, 3], as they are read; after :func:`to_network_input` float [b, 3, H, W].
        labels: int64 [b], on the host.
        rows: int64 [b], where in the global batch these images stand.
        size: B, number of images of the global batch, those that cannot be read among them.
        counts: the b of every process.
        weights: float [b] in the mean loss; ``None`` weighs all alike.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor
    size: int
    counts: tuple[int, ...]
    weights: Tensor | None = None


def check_batch_size(config: TrainConfig, images: int, processes: int) -> None:
    """Raise an InputError where a batch of a set of so many images leaves a process too few for a micro-batch."""
    size = min(config.batch_size, images)
    if size // processes // config.accumulate < _MIN_MICRO_BATCH:
        raise InputError(
            f"a batch of {size} images in {config.accumulate} parts over {processes} processes leaves fewer than "
            f"{_MIN_MICRO_BATCH} images per part, which a batch norm cannot train on; give a larger --batch-size, a "
            "smaller --accumulate, or fewer processes"
        )


def to_network_input(batch: Batch, step: int, state: TrainState, config: TrainConfig) -> Batch:
    """The images in [-1, 1], on the device of the run, flipped and augmented by draws keyed by (seed, step)."""

    def draws_for(purpose: str) -> RowsOfBatch:
        return RowsOfBatch(keyed.generator(config.seed, purpose, step), batch.size, batch.rows.numpy())

    pixels = to_device(batch.images, state.world.device)
    images = augment(to_input(flip(pixels, draws_for("flip"))), draws_for("augment"), config.augment)
    images = relight(images, draws_for("relight"), config.relight)
    images = change_surroundings(images, draws_for("surroundings"), config.surroundings)
    images = images.to(state.dtype).contiguous(memory_format=torch.channels_last)
    weights = None if batch.weights is None else to_device(batch.weights.to(state.dtype), state.world.device)
    return replace(batch, images=images, weights=weights)


def set_learning_rate_and_margin(state: TrainState, config: TrainConfig) -> None:
    """Set the learning rate of this step, and what a warm-up multiplies its margins with."""
    state.lr = config.learning_rate(state.step, state.steps_per_epoch)
    state.head.margin_factor = config.margin_factor(state.step, state.steps_per_epoch)


def forward_backward(state: TrainState, batch: Batch, config: TrainConfig) -> Outcome:
    """Add up the gradients of the mean loss over the global batch, micro-batch by micro-batch.

    Nothing is read from the device: the host is free to queue what comes next. Where images could not be read there
    are fewer micro-batches than ``accumulate``, so that none is too small.
    """
    frozen = config.backbone_is_frozen(state.step, state.steps_per_epoch)
    state.backbone.train(not frozen)  # a hook may have embedded with it
    number = min(config.accumulate, min(batch.counts) // _MIN_MICRO_BATCH)
    if number == 0:
        return TOO_FEW_IMAGES
    torch.manual_seed(_dropout_seed(config.seed, state.step, state.world.rank))
    state.running_statistics.take_snapshot()
    # What is compiled is for the shapes of whole batches.
    network = state.compiled if state.compiled and sum(batch.counts) == batch.size else state.ddp
    loss, target_cosine = torch.zeros(2, dtype=sums_dtype(state.world.device), device=state.world.device)
    lengths = []
    for index, part in enumerate(_parts(state, batch, number), 1):
        with _no_sync_before(state, last=index == number):
            with (
                torch.set_grad_enabled(not frozen),
                torch.autocast(state.world.device.type, state.autocast_dtype, state.autocast_dtype is not None),
            ):
                embeddings = network(part.images)
            embeddings = embeddings.to(state.dtype)
            if state.world.size > 1 and embeddings.requires_grad:
                # DDP takes the mean of the processes' gradients; the loss is the mean over all images already.
                embeddings.register_hook(lambda gradient: gradient * state.world.size)
            given = {"counts": part.counts} | ({} if part.weights is None else {"weights": part.weights})
            part_loss = state.head(embeddings, part.labels, **given) * part.share_of_loss
            state.scaler.scale(part_loss).backward()
        centres = state.head.weight
        if centres.grad is not None and centres.grad.is_sparse:
            # Micro-batches have most of their rows in common: these are added up now, before they pile up.
            centres.grad = coalesced(centres.grad) if index > 1 else without_doubles(centres.grad)
        loss += part_loss.detach()
        target_cosine += part.share * state.head.target_cosine.to(target_cosine)
        lengths.append(torch.linalg.vector_norm(embeddings.detach().float(), dim=1))
    return Outcome(loss, target_cosine, batch.labels, torch.cat(lengths), sum(batch.counts))


def clip_gradients(state: TrainState, outcome: Outcome, config: TrainConfig) -> Tensor:
    """Clip the backbone's gradients to ``clip_norm``.

    Returns:
        Scalar on the device of the run: the norm of all gradients of all processes before that, NaN without any.
    """
    if not outcome.has_gradients:
        return torch.tensor(torch.nan)
    state.scaler.unscale_(state.optimizer)
    device = state.world.device
    backbone = torch.nn.utils.clip_grad_norm_(state.backbone.parameters(), config.clip_norm or math.inf)
    centres = norm_of([p.grad for p in state.head.parameters() if p.grad is not None], device)
    # The backbone's gradients are the same in all processes; the centres' are each process's own.
    of_all = state.world.sum_(centres.square())
    return of_all.add_(backbone.to(device, of_all.dtype, non_blocking=True).square()).sqrt_()


class _Part(NamedTuple):
    """One process's share of a micro-batch.

    Attributes:
        images: float [b, 3, H, W].
        labels: int64 [b], on the host.
        weights: float [b] in the mean loss; ``None`` weighs all alike.
        counts: the b of every process.
        share: of the global batch's images.
        share_of_loss: of the mean loss of the global batch.
    """

    images: Tensor
    labels: Tensor
    weights: Tensor | None
    counts: tuple[int, ...]
    share: float
    share_of_loss: float | Tensor


def _parts(state: TrainState, batch: Batch, number: int) -> Iterator[_Part]:
    """The micro-batches."""
    # As `tensor_split` cuts: the first count % number have one image more.
    counts = [tuple(count // number + (index < count % number) for count in batch.counts) for index in range(number)]
    shares = [sum(each) / sum(batch.counts) for each in counts]
    images, labels = batch.images.tensor_split(number), batch.labels.tensor_split(number)
    if batch.weights is None or number == 1:
        return map(_Part, images, labels, [batch.weights] * number, counts, shares, shares)
    weights = batch.weights.tensor_split(number)
    sums = state.world.sum_(torch.stack([own.sum(dtype=sums_dtype(state.world.device)) for own in weights]))
    return map(_Part, images, labels, weights, counts, shares, sums / sums.sum())


def _dropout_seed(seed: int, step: int, rank: int) -> int:
    """Another seed in each process, or all would drop the same features; the first has that of a single process."""
    return keyed.integer(seed, "dropout", step, *([rank] if rank else []))


def _no_sync_before(state: TrainState, last: bool) -> contextlib.AbstractContextManager[None]:
    """Gradients are averaged over the processes once a batch, after its last micro-batch."""
    if isinstance(state.ddp, DistributedDataParallel) and not last:
        return state.ddp.no_sync()
    return contextlib.nullcontext()
