"""What a loss is: its target logit, its other logits and its centres a class, as formulas with their derivatives."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

Margin = Callable[[Tensor], tuple[Tensor, Tensor]]  # [B] target cosines -> ([B] value with margin, [B] derivative)
# ([B, k] cosines of negatives, [B, 1] target values) -> ([B, k] values, [B, k] derivative by the cosine)
Negatives = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Target(NamedTuple):
    """The target logits over s of a batch, and their derivatives, each [B].

    The first three may be [B, Q], values at Q nodes of a quadrature: then the loss is the mean over them.

    Attributes:
        value: in place of cos θ_y.
        by_cosine: derivative of ``value`` by cos θ_y.
        by_length: derivative of ``value`` by the embedding's length; ``None`` is 0.
        penalty: is added to a sample's loss; ``None`` is 0.
        penalty_by_length: derivative of ``penalty`` by the embedding's length.
        share: of a sample in the mean loss, they sum up to 1; ``None`` is 1/B. The head sets it.
        chances: [Q] of the nodes, they sum up to 1; ``None`` where there are none.
    """

    value: Tensor
    by_cosine: Tensor
    by_length: Tensor | None = None
    penalty: Tensor | None = None
    penalty_by_length: Tensor | None = None
    share: Tensor | None = None
    chances: Tensor | None = None

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
