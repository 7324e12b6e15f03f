"""The paper's parameter selection (section 4.1): m and σ of an elastic loss, by training and judging candidates."""

from typing import TYPE_CHECKING

from elasticface.base.lazy import exports

if TYPE_CHECKING:
    from elasticface.selection.choice import Candidate, Stage, choose
    from elasticface.selection.record import Grid, Selection
    from elasticface.selection.selecting import select

__all__ = ["Candidate", "Grid", "Selection", "Stage", "choose", "select"]

__getattr__ = exports(
    __name__,
    dict.fromkeys(("Candidate", "Stage", "choose"), "choice")
    | {"Grid": "record", "Selection": "record", "select": "selecting"},
)
