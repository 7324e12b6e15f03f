"""What a process needs, moves, sends and saves in a step, in the letters that :mod:`.plan` explains."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from elasticface import backbones, heads
from elasticface.heads import chunks, vectors
from elasticface.planning.memory import footprint
from elasticface.training.config import TrainConfig
from elasticface.training.optim import piece_bytes

_IMAGE = 112  # side in pixels
_FLOAT, _INDEX = 4, 8


@dataclass(frozen=True)
class Item:
    """One thing that takes memory or is sent: its formula, and what that comes to in bytes."""

    what: str
    formula: str
    bytes: int


@dataclass(frozen=True)
class Moment:
    """A moment of a step, and what it needs beside that which is always there."""

    what: str
    items: tuple[Item, ...]

    @property
    def bytes(self) -> int:
        return total(self.items)


def total(items: Sequence[Item]) -> int:
    """Bytes of all."""
    return sum(item.bytes for item in items)


@dataclass(frozen=True)
class Sizes:
    """The letters of the formulas; images, embeddings and classes are counted."""

    network: nn.Module  # on the meta device
    processes: int  # N
    centres: int  # c, of a process
    images: int  # b, of a process and step
    images_at_once: int  # a
    embeddings: int  # A, in a head's loss
    sampled: int  # k, classes in a process's softmax
    embedding_size: int  # D
    itemsize: int  # i
    chunk: int  # classes whose logits are computed at once
    kept: int  # classes whose probabilities wait from forward to backward
    each: int  # K

    @classmethod
    def of(cls, config: TrainConfig, identities: int, processes: int, device: str) -> "Sizes":
        with torch.device("meta"):
            network = _network(config)
        images = -(-config.batch_size // processes)
        images_at_once = -(-images // config.accumulate)
        embeddings, centres = processes * images_at_once, -(-identities // processes)
        positives = min(images_at_once, centres)
        sampled = positives + math.ceil(config.sample_rate * (centres - positives))
        itemsize = vectors.wide_enough(torch.float32, config.scale, identities).itemsize
        size = config.embedding_size
        each = heads.create(config.loss, 2, 2, **config.head_options()).centres_per_class
        budget = config.max_logits_bytes
        chunk, kept = chunks.chunking(sampled, embeddings * each, size * each, itemsize, budget, device)
        return cls(
            network, processes, centres, images, images_at_once, embeddings, sampled, size, itemsize, chunk, kept, each
        )

    @property
    def row(self) -> int:
        """Numbers of a class in the weight: D, K times."""
        return self.each * self.embedding_size

    @property
    def k(self) -> str:
        """The factor K of formulas, where it is not 1."""
        return "K·" if self.each > 1 else ""

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.network.parameters())

    @property
    def trained(self) -> int:
        return sum(p.numel() for p in self.network.parameters() if p.requires_grad)

    @property
    def buffers(self) -> int:
        """Bytes."""
        return sum(buffer.numel() * buffer.element_size() for buffer in self.network.buffers())


def _network(config: TrainConfig) -> nn.Module:
    return backbones.find(config.backbone)(config.embedding_size, **config.backbone_options())


def always(config: TrainConfig, sizes: Sizes) -> tuple[Item, ...]:
    centres, momentum = _FLOAT * sizes.centres * sizes.row, config.optimizer_tensors
    average = (_FLOAT * sizes.parameters + sizes.buffers) * (config.ema is not None)
    twice = "2·" if momentum == 2 else ""
    return (
        Item("class centres", f"c·{sizes.k}D·4", centres),
        Item("their momentum", f"{twice}c·{sizes.k}D·4", centres * momentum),
        Item("backbone: parameters", "P·4", _FLOAT * sizes.parameters),
        Item("backbone: gradients, in the buckets that are sent", "T·4", _FLOAT * sizes.trained),
        Item("backbone: momentum", f"{twice}T·4", _FLOAT * sizes.trained * momentum),
        Item("backbone: moving average", "P·4 + buffers", average),
        Item("backbone: running statistics, and a copy of them", "2 × theirs", 2 * sizes.buffers),
        Item("images of this step and the next", "b·3·112²·(1 + 2·4)", sizes.images * 3 * _IMAGE**2 * (1 + 2 * _FLOAT)),
    )


def moments(config: TrainConfig, sizes: Sizes, device: str) -> tuple[Moment, ...]:
    """The head, the backbone's backward, the optimizer."""

    def make() -> nn.Module:
        network = _network(config)
        return backbones.checkpoint_activations(network) if config.checkpoint_activations else network

    activations = footprint(make, sizes.images_at_once, config.precision)
    sparse, i = sizes.sampled < sizes.centres, sizes.itemsize
    embedding = sizes.embedding_size * i
    row = _FLOAT * sizes.row + (_INDEX if sparse else 0)
    row_formula = f"({sizes.k}D·4 + 8)" if sparse else f"{sizes.k}D·4"
    # A batch in parts adds a part's gradient to that of the parts before it.
    rows = min(config.accumulate * sizes.sampled, sizes.centres)
    rows_formula = "k" if config.accumulate == 1 else "min(parts·k, c)"
    gradient = Item("gradient of the class centres", f"{rows_formula}·{row_formula}", rows * row)
    another = Item("the same of one part more", f"k·{row_formula}", sizes.sampled * row * (config.accumulate > 1))
    spare, logits = sizes.chunk if sizes.kept < sizes.sampled else 0, sizes.embeddings * sizes.each * i
    head = (
        Item("activations that wait for the head", "counted, at a images", activations.held),
        Item("probabilities from forward to backward", f"A·{sizes.kept:,}·{sizes.k}i", logits * sizes.kept),
        Item("a chunk of the others", f"A·{spare:,}·{sizes.k}i", logits * spare),
        Item("a chunk's centres at unit length", f"3·{sizes.chunk:,}·{sizes.k}D·i", 3 * sizes.chunk * sizes.row * i),
        Item("embeddings of all processes, and what is made of them", "8·A·D·i", 8 * sizes.embeddings * embedding),
        Item("lengths of the centres", f"k·{sizes.k}i", sizes.sampled * sizes.each * i),
        gradient,
    )
    worked_on = Item("rows of it that are worked on", "3 pieces", 3 * piece_bytes(device) * sparse)
    backward = (Item("activations at the worst moment", "counted, at a images", activations.peak), gradient)
    return (
        Moment("head", (*head, another) if another.bytes else head),
        Moment("backward of the backbone", backward),
        Moment("optimizer", (gradient, worked_on)),
    )


_ROW_BY_ROW = {0: 14, 1: 26, 2: 47}  # by the number of the optimizer's tensors


def moved(config: TrainConfig, sizes: Sizes) -> int:
    """Bytes that are read and written beside the products: passes over rows of centres, logits, the backbone's weights.

    As the operations stand in `heads/softmax.py` and `training/optim.py`, one reading or writing each:

        a row of centres      forward 7: two extremes 2, twice made shorter 2·2, its length 1
                              backward 11: made shorter 2, kept on the sphere 4 + 3 + 2
                              4 more, twice copied out, where k < c
        a logit               3: exp 2, summed 1; computed again in backward, exp 2
        a row of the update   dense 6: norm 1, fused reading 3 and writing 2; without momentum 2 less, with AdamW 2 more
                              row by row 26: norm 1, copied out and in 2·4, decay 3, momentum 2 + 3, update 3, the old
                              or the new one 2·3; without momentum 12 less, with AdamW 21 more
        the backbone's        8: as dense, and clipped 2
    """
    sparse, i, parts = sizes.sampled < sizes.centres, sizes.itemsize, config.accumulate
    row = sizes.row * i
    centres = parts * sizes.sampled * (18 + 4 * sparse) * row
    logits = parts * sizes.embeddings * sizes.each * (3 * sizes.sampled + 2 * (sizes.sampled - sizes.kept)) * i
    less = 1 - config.optimizer_tensors  # reading and writing of a tensor less, or more, than SGD's with momentum
    updated = min(parts * sizes.sampled, sizes.centres) * _FLOAT * sizes.row
    update = updated * (_ROW_BY_ROW[config.optimizer_tensors] if sparse else 6 - 2 * less)
    backbone = sizes.trained * _FLOAT * (8 - 2 * less)
    return centres + logits + update + backbone


def traffic(config: TrainConfig, sizes: Sizes) -> tuple[Item, ...]:
    """Of a process and step. A ring of N sends (N−1)/N of a whole that is gathered or scattered, twice that reduced."""
    n, parts, i = sizes.processes, config.accumulate, sizes.itemsize
    whole = sizes.embeddings * sizes.embedding_size * _FLOAT * parts

    def ring(bytes_: int, times: int = 1) -> int:
        return times * bytes_ * (n - 1) // n

    items = [
        Item("backbone: gradients, reduced", "2·(N−1)/N·T·4", ring(_FLOAT * sizes.trained, 2)),
        Item("embeddings, gathered", "(N−1)/N·B·D·4", ring(whole)),
        Item("their gradients, scattered", "(N−1)/N·B·D·i", ring(whole * i // _FLOAT)),
        Item("labels, gathered", "(N−1)/N·B·8", ring(sizes.embeddings * parts * _INDEX)),
        Item("target cosines, reduced", "2·(N−1)/N·B·i", ring(sizes.embeddings * parts * i, 2)),
        Item("sums of exponentials, reduced", "2·(N−1)/N·B·i", ring(sizes.embeddings * parts * i, 2)),
    ]
    if config.sync_batchnorm:
        # torch's own gathers mean, deviation and count, and reduces two sums; a block that is computed twice, twice.
        norms = [m.num_features for m in sizes.network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        gathered = n * sum(2 * channels + 1 for channels in norms) * _FLOAT * parts
        forward = 1 + config.checkpoint_activations
        sent = ring(gathered, forward) + ring(2 * sum(norms) * _FLOAT * parts, 2)
        formula = f"{forward}·(N−1)·Σ(2·channels + 1)·4 + 2·(N−1)/N·Σ(2·channels)·4"
        items.append(Item("statistics of the batch norms", formula, sent))
    return tuple(items)


def checkpoint(config: TrainConfig, sizes: Sizes, identities: int) -> int:
    """Parameters, buffers and momentum, once each, whatever N is: (P + T)·4 + buffers + 2·C·D·4.

    AdamW has two momenta. A moving average has P·4 + buffers once more.
    """
    momentum = config.optimizer_tensors
    averaged = 1 + (config.ema is not None)
    backbone = averaged * (_FLOAT * sizes.parameters + sizes.buffers) + _FLOAT * sizes.trained * momentum
    return backbone + (1 + momentum) * _FLOAT * identities * sizes.row
