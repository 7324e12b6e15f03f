"""What one step of training is made of: its images, its gradients, its learning rate."""

import contextlib
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from elasticface.base import keyed
from elasticface.data.feed.transforms import RowsOfBatch, augment, flip, to_input
from elasticface.heads.row_sparse import coalesced
from elasticface.training.config import TrainConfig
from elasticface.training.guard import TOO_FEW_IMAGES, Outcome, norm_of
from elasticface.training.state import TrainState

LEAST_IMAGES = 2  # of a part: a batch norm cannot train on one


@dataclass(frozen=True)
class Batch:
    """One process's share of a global batch.

    Attributes:
        images: as they are read, uint8 [b, H, W, 3]; once prepared the network's input, float [b, 3, H, W].
        labels: int64 [b].
        rows: int64 [b], where in the global batch these images stand.
        size: B, images of the global batch, those that cannot be read among them.
        counts: the b of every process.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor
    size: int
    counts: tuple[int, ...]


def prepare(batch: Batch, state: TrainState, config: TrainConfig) -> Batch:
    """The images in [-1, 1], flipped and augmented as this step has it, on the device of the run."""

    def draws(purpose: str) -> RowsOfBatch:
        return RowsOfBatch(keyed.generator(config.seed, purpose, state.step), batch.size, batch.rows.numpy())

    pixels, labels = (t.to(state.world.device, non_blocking=True) for t in (batch.images, batch.labels))
    images = augment(flip(to_input(pixels), draws("flip")), draws("augment"), config.augment)
    images = images.to(state.dtype).contiguous(memory_format=torch.channels_last)
    return replace(batch, images=images, labels=labels)


def set_learning_rate(state: TrainState, config: TrainConfig) -> None:
    """The learning rate of this step, and the share of their size that margins have in a warm-up."""
    state.lr = config.learning_rate(state.step, state.steps_per_epoch)
    state.head.margin_factor = config.margin_factor(state.step, state.steps_per_epoch)


def forward_backward(state: TrainState, batch: Batch, config: TrainConfig) -> Outcome:
    """Gradients of the mean loss over the global batch, computed in parts: each counts by its share of the images."""
    parts = min(config.accumulate, min(batch.counts) // LEAST_IMAGES)
    if parts == 0:
        return TOO_FEW_IMAGES
    torch.manual_seed(_dropout_seed(config.seed, state.step, state.world.rank))
    state.running_statistics.keep()
    loss, target_cosine, lengths = 0.0, 0.0, []
    pairs = list(zip(batch.images.tensor_split(parts), batch.labels.tensor_split(parts), strict=True))
    # As `tensor_split` cuts them: the first parts have one more.
    totals = [sum(count // parts + (number < count % parts) for count in batch.counts) for number in range(parts)]
    for number, (images, labels) in enumerate(pairs):
        share = totals[number] / sum(totals)
        with _gradients_sent_after_the_last_part(state, number == parts - 1):
            with torch.autocast(
                state.world.device.type, state.autocast_dtype, enabled=state.autocast_dtype is not None
            ):
                embeddings = state.replica(images)
            embeddings = embeddings.to(state.dtype)
            if state.world.size > 1 and embeddings.requires_grad:
                # DDP takes the mean of the processes' gradients; the loss is the mean over all images already.
                embeddings.register_hook(lambda gradient: gradient * state.world.size)
            part_loss = state.head(embeddings, labels) * share
            state.scaler.scale(part_loss).backward()
        centres = state.head.weight
        if (
            centres.grad is not None and centres.grad.is_sparse
        ):  # the parts of a batch have most of their rows in common
            centres.grad = coalesced(centres.grad)
        loss += part_loss.item()
        target_cosine += share * state.head.target_cosine.item()
        lengths.append(torch.linalg.vector_norm(embeddings.detach().float(), dim=1))
    return Outcome(loss, target_cosine, batch.labels, torch.cat(lengths), sum(batch.counts))


def clip_gradients(state: TrainState, config: TrainConfig) -> None:
    """Cut the norm of the backbone's gradients to ``clip_norm``, and note that of all gradients of all processes."""
    centres = [p.grad for p in state.head.parameters() if p.grad is not None]
    if not centres:  # no backward pass was made
        state.gradient_norm = math.nan
        return
    state.scaler.unscale_(state.optimizer)
    backbone = float(torch.nn.utils.clip_grad_norm_(state.backbone.parameters(), config.clip_norm or math.inf))
    everyones = state.world.gather(backbone, norm_of(centres))
    # The backbone's gradients are the same in all processes; the centres' are each process's own.
    state.gradient_norm = math.hypot(everyones[0][0], *(own for _, own in everyones))


def _dropout_seed(seed: int, step: int, rank: int) -> int:
    """Of the backbone's dropout: another one for every process, lest all drop the same of their images."""
    return keyed.integer(seed, "dropout", step, *([rank] if rank else []))


def _gradients_sent_after_the_last_part(state: TrainState, last: bool) -> contextlib.AbstractContextManager[None]:
    if isinstance(state.replica, DistributedDataParallel) and not last:
        return state.replica.no_sync()
    return contextlib.nullcontext()
