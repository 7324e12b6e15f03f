"""What one step of training is made of: its images, its gradients, and what all processes make of them."""

import contextlib
import math
import signal
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule, _FabricOptimizer
from torch import Tensor, nn

from elasticface.base import keyed
from elasticface.data.feed.transforms import RowsOfBatch, augment, flip, to_input
from elasticface.training import guard, processes
from elasticface.training.config import TrainConfig
from elasticface.training.guard import Evidence


def prepare(pixels: Tensor, config: TrainConfig, step: int, rows: Tensor, count: int) -> Tensor:
    """uint8 [b, H, W, 3] -> the network's input of this step: in [-1, 1], flipped and augmented.

    Args:
        pixels: one process's share of the batch.
        config: the run's.
        step: which step it is.
        rows: int64 [b], where in the global batch these images stand.
        count: images in the global batch.
    """

    def draws(purpose: str) -> RowsOfBatch:
        return RowsOfBatch(keyed.generator(config.seed, purpose, step), count, rows.numpy())

    images = augment(flip(to_input(pixels), draws("flip")), draws("augment"), config.augment)
    return images.contiguous(memory_format=torch.channels_last)


def forward_backward(
    fabric: Fabric,
    backbone: nn.Module,
    head: nn.Module,
    images: Tensor,
    labels: Tensor,
    parts: int,
    counts: Sequence[int],
) -> Evidence:
    """Gradients of the mean loss over the global batch, computed in ``parts``: each counts by its share of the images.

    Args:
        fabric: of the run.
        backbone: as fabric has set it up.
        head: its loss is the mean over the images of all processes.
        images: [b, 3, H, W], one process's share.
        labels: [b].
        parts: 1 to b, the same in every process.
        counts: the b of every process.
    """
    loss, lengths = 0.0, []
    pairs = list(zip(images.tensor_split(parts), labels.tensor_split(parts), strict=True))
    # As `tensor_split` cuts them: the first parts have one more.
    totals = [sum(count // parts + (number < count % parts) for count in counts) for number in range(parts)]
    for number, (part, part_labels) in enumerate(pairs):
        with _without_sync(fabric, backbone, number < parts - 1):
            embeddings = backbone(part)
            if fabric.world_size > 1 and embeddings.requires_grad:
                # DDP takes the mean of the processes' gradients; the loss is the mean over all images already.
                embeddings.register_hook(lambda gradient: gradient * fabric.world_size)
            part_loss = head(embeddings, part_labels) * (totals[number] / sum(totals))
            fabric.backward(part_loss)
        loss += part_loss.item()
        lengths.append(torch.linalg.vector_norm(embeddings.detach().float(), dim=1))
    return Evidence(loss, labels, torch.cat(lengths))


def dropout_seed(seed: int, step: int, rank: int) -> int:
    """Of the backbone's dropout: another one for every process, lest all drop the same of their images."""
    return keyed.integer(seed, "dropout", step, *([rank] if rank else []))


def clip(fabric: Fabric, backbone: nn.Module, head: nn.Module, sgd: _FabricOptimizer, most: float) -> float:
    """The norm of all gradients, those of this process's centres among them; the backbone's are cut to ``most``."""
    # Not `fabric.clip_gradients`, which clips whatever the optimizer has: the centres, too.
    fabric.strategy.precision.unscale_gradients(sgd.optimizer)
    centres = guard.norm_of([p.grad for p in head.parameters() if p.grad is not None])
    norm = torch.nn.utils.clip_grad_norm_(backbone.parameters(), most or math.inf)
    return math.hypot(centres, float(norm))


def agree(
    fabric: Fabric, signal_number: int, loss_not_finite: bool, norm: float, config: TrainConfig
) -> tuple[signal.Signals | None, bool]:
    """What all processes do next: end the run by the signal that any has had, and skip a step not finite in any."""
    # Half precision overflows now and then; its scaler skips the step and scales less.
    overflow = not math.isfinite(norm) and config.precision != "fp16"
    seen = processes.all_counts(fabric, signal_number, int(loss_not_finite or overflow)).amax(0).tolist()
    return signal.Signals(seen[0]) if seen[0] else None, bool(seen[1])


def _without_sync(fabric: Fabric, backbone: nn.Module, skip: bool) -> AbstractContextManager[None]:
    """Without sending gradients round after this part, where another one follows."""
    if fabric.world_size == 1 or not skip:
        return contextlib.nullcontext()
    return fabric.no_backward_sync(cast(_FabricModule, backbone))
