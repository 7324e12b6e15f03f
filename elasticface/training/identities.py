"""Which identities the class centres of a checkpoint belong to, so that a resumed run cannot mix them up."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributed.checkpoint.stateful import Stateful

from elasticface.base import records
from elasticface.base.files import printable
from elasticface.data import Source
from elasticface.data.formats.encoded import NumberNames
from elasticface.data.joined import MIXED
from elasticface.training.state import TrainState

IDENTITIES = "identities.json"

_MOST_BYTES = 1 << 32  # a record of some hundred million names


@dataclass(frozen=True)
class Identities:
    """The people of a data set, in the order of their labels.

    Attributes:
        names: [C].
        counts: [C] images of each.
        digest: SHA-256 of the names and of every image's label, in order.
        population: within what equal names are the same person; None for names that people gave.
    """

    names: tuple[str, ...]
    counts: tuple[int, ...]
    digest: str
    population: str | None = None

    @classmethod
    def of(cls, source: Source) -> "Identities":
        labels = np.ascontiguousarray(source.labels, dtype="<i8")
        names = tuple(map(str, source.class_names))
        digest = hashlib.sha256(json.dumps(names).encode())
        digest.update(labels.tobytes())
        counts = np.bincount(labels, minlength=source.num_classes).tolist()
        population = getattr(source, "population", None)
        if isinstance(source.class_names, NumberNames) or population == MIXED:  # they mean nothing in another set
            population = digest.hexdigest()
        return cls(names, tuple(counts), digest.hexdigest(), population)

    @property
    def images(self) -> int:
        return sum(self.counts)

    @classmethod
    def of_checkpoint(cls, path: Path) -> "Identities":
        """The identities that a checkpoint was trained on, or those of a run's `classes/`.

        Raises:
            InputError: it does not say.
        """
        return records.read(path / IDENTITIES, cls, "train into another folder", _MOST_BYTES)

    def first_difference(self, now: "Identities") -> str | None:
        """A sentence on what first differs between these and ``now``; ``None`` where they are the same."""
        if self.digest == now.digest:
            return None
        for label, (before, after) in enumerate(zip(self.names, now.names, strict=False)):
            if before != after:
                return f"identity {label} was {printable(before)}, and is {printable(after)}"
        if len(self.names) != len(now.names):
            return f"there were {len(self.names):,} identities, and are {len(now.names):,}"
        for name, had, has in zip(self.names, self.counts, now.counts, strict=True):
            if had != has:
                return f"{printable(name)} had {had:,} images, and has {has:,}"
        return "its images have another order"


class ByName(Stateful):
    """A state whose checkpoint is of other identities: centres and their momentum are matched by name.

    Those of new people stay as they were drawn, and those of people who are gone are dropped. Every process reads the
    centres of all people of the checkpoint.

    Args:
        state: of the identities ``now``.
        before: names [C'] of the checkpoint's identities, in the order of their labels.
        now: names [C].
    """

    def __init__(self, state: TrainState, before: Sequence[str], now: Sequence[str]) -> None:
        self.state, self._length = state, len(before)
        self._rows, self._rows_before = _matched(now[state.head.own_classes], before)

    def state_dict(self) -> dict[str, Tensor]:
        whole = {
            name: torch.empty(self._length, *rows.shape[1:], dtype=rows.dtype)
            for name, rows in self.state.centre_tensors().items()
        }
        return self.state.state_dict() | whole

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, rows in self.state.centre_tensors().items():
            rows[self._rows.to(rows.device)] = state_dict[name][self._rows_before].to(rows.device)
        tensors = self.state.state_dict()
        self.state.load_state_dict(state_dict | {name: tensors[name] for name in self.state.centre_tensors()})


def take_centres(state: TrainState, now: Identities, there: Identities, centres: Tensor) -> int:
    """Give this process's class centres of people who are in both runs the values of the other; the rest stay.

    Args:
        state: of the identities ``now``, C of them.
        now: of this run.
        there: of the other run, C' of them.
        centres: [C', D], theirs.

    Returns:
        How many of the C have centres of the other run. None has, where its centres are of another kind than these, or
        where equal names are no sign of the same person: numbers of two sets, rendered people of two seeds.
    """
    weight, own = state.head.weight.detach(), now.names[state.head.own_classes]
    if len(centres) != len(there.names) or len(weight) != len(own) or centres.shape[1:] != weight.shape[1:]:
        return 0
    if now.population != there.population:
        return 0
    rows, rows_there = _matched(own, there.names)
    weight[rows.to(weight.device)] = centres[rows_there].to(weight)
    return len(set(now.names) & set(there.names))


def _matched(own: Sequence[str], there: Sequence[str]) -> tuple[Tensor, Tensor]:
    """The rows of ``own`` whose names are also ``there``, and their rows there."""
    row_there = {name: row for row, name in enumerate(there)}
    rows = [row for row, name in enumerate(own) if name in row_there]
    return torch.tensor(rows, dtype=torch.int64), torch.tensor([row_there[own[row]] for row in rows], dtype=torch.int64)
