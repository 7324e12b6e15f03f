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

MIN_IMAGES_PER_PART = 2  # a batch norm has no variance of one image


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
    """The images in [-1, 1], on the device of the run, flipped and augmented by draws keyed by (seed, step)."""

    def draws_for(purpose: str) -> RowsOfBatch:
        return RowsOfBatch(keyed.generator(config.seed, purpose, state.step), batch.size, batch.rows.numpy())

    pixels, labels = (t.to(state.world.device, non_blocking=True) for t in (batch.images, batch.labels))
    images = augment(flip(to_input(pixels), draws_for("flip")), draws_for("augment"), config.augment)
    images = images.to(state.dtype).contiguous(memory_format=torch.channels_last)
    return replace(batch, images=images, labels=labels)


def set_learning_rate_and_margin(state: TrainState, config: TrainConfig) -> None:
    """Set the learning rate of this step, and what a warm-up multiplies its margins with."""
    state.lr = config.learning_rate(state.step, state.steps_per_epoch)
    state.head.margin_factor = config.margin_factor(state.step, state.steps_per_epoch)


def forward_backward(state: TrainState, batch: Batch, config: TrainConfig) -> Outcome:
    """Add up the gradients of the mean loss over the global batch, part by part, each by its share of the images."""
    parts = min(config.accumulate, min(batch.counts) // MIN_IMAGES_PER_PART)
    if parts == 0:
        return TOO_FEW_IMAGES
    torch.manual_seed(_dropout_seed(config.seed, state.step, state.world.rank))
    state.running_statistics.keep()
    loss, target_cosine, lengths = 0.0, 0.0, []
    parts_of_batch = zip(batch.images.tensor_split(parts), batch.labels.tensor_split(parts), strict=True)
    # As `tensor_split` cuts: the first count % parts have one image more.
    sizes = [sum(count // parts + (part < count % parts) for count in batch.counts) for part in range(parts)]
    for part, (images, labels) in enumerate(parts_of_batch):
        share = sizes[part] / sum(sizes)
        with _gradients_sent_after_the_last_part(state, part == parts - 1):
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
        if centres.grad is not None and centres.grad.is_sparse:
            # The parts of a batch have most of their rows in common: added up now, before they pile up.
            centres.grad = coalesced(centres.grad)
        loss += part_loss.item()
        target_cosine += share * state.head.target_cosine.item()
        lengths.append(torch.linalg.vector_norm(embeddings.detach().float(), dim=1))
    return Outcome(loss, target_cosine, batch.labels, torch.cat(lengths), sum(batch.counts))


def clip_gradients(state: TrainState, config: TrainConfig) -> None:
    """Clip the backbone's gradients to ``clip_norm``; set ``state.gradient_norm``, of all gradients before that."""
    centre_gradients = [p.grad for p in state.head.parameters() if p.grad is not None]
    if not centre_gradients:  # no backward pass was made
        state.gradient_norm = math.nan
        return
    state.scaler.unscale_(state.optimizer)
    backbone = float(torch.nn.utils.clip_grad_norm_(state.backbone.parameters(), config.clip_norm or math.inf))
    norms = state.world.gather(backbone, norm_of(centre_gradients))
    # The backbone's gradients are the same in all processes; the centres' are each process's own.
    state.gradient_norm = math.hypot(norms[0][0], *(centres for _, centres in norms))


def _dropout_seed(seed: int, step: int, rank: int) -> int:
    """A seed per process, or all would drop the same of their images. The first has that of a single process."""
    return keyed.integer(seed, "dropout", step, *([rank] if rank else []))


def _gradients_sent_after_the_last_part(state: TrainState, last: bool) -> contextlib.AbstractContextManager[None]:
    if isinstance(state.replica, DistributedDataParallel) and not last:
        return state.replica.no_sync()
    return contextlib.nullcontext()
