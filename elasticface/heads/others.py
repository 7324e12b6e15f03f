"""Logits of other classes that are not s·cos θ, or of which only those of the nearest sub-centres count."""

import torch
from torch import Tensor

from elasticface.heads.chunks import set_at_targets
from elasticface.heads.formula import Formula


class Others:
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
        return set_at_targets(self.scale * values, self._of_class(columns), -torch.inf).logsumexp(1)

    def probabilities(self, cosines: Tensor, columns: Tensor, logsumexp: Tensor) -> Tensor:
        """[B, k] p_j·N'(cos θ_j), 0 at the target and at sub-centres that are not the nearest."""
        nearest, winners = self._nearest(cosines)
        values, slopes = self._values(nearest)
        probabilities = (self.scale * values).sub_(logsumexp[:, None]).exp_()
        if slopes is not None:
            probabilities *= slopes
        set_at_targets(probabilities, self._of_class(columns), 0)
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
