"""What is said of a selection, on the terminal and on its page."""

from typing import TYPE_CHECKING

from elasticface.report.comparison_section import p_value
from elasticface.report.figures import percent
from elasticface.selection.choice import Candidate, Stage
from elasticface.selection.record import FIXED, Selection

if TYPE_CHECKING:
    from rich.table import Table

NAMES = {"margin": "m", "std": "σ"}
_LEVEL = 0.05  # a probability above is called chance
_TIE_BREAKERS = {
    "mean accuracy": "its mean accuracy is higher",
    "smaller value": "with the same mean accuracy the smaller value is taken",
}


def tables(selection: Selection) -> "list[Table]":
    """Of m and of σ: a row a candidate, its accuracies in %."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    made = []
    for stage in (selection.of_margin, selection.of_std):
        title = title_of(selection, stage)
        table = Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD, min_width=min(len(title), 76))
        table.add_column(NAMES[stage.parameter], no_wrap=True)
        for heading in (*stage.winner.accuracy, "mean", "± seeds", "Borda"):
            table.add_column(Text(heading), justify="right", overflow="fold")
        for one in rows_of(stage):
            accuracies = map(percent, [*one.accuracy.values(), one.mean])
            cells = (*accuracies, *("–" if x is None else x for x in (spread(one), borda(one))))
            table.add_row(label(stage, one), *cells, style="bold" if is_chosen(stage, one) else None)
        made.append(table)
    return made


def title_of(selection: Selection, stage: Stage) -> str:
    """What was tried, with which loss."""
    seeds = "one seed" if stage.seeds == 1 else f"{stage.seeds} seeds"
    if stage.parameter == "margin":
        return f"m, with the margin fixed ({FIXED[selection.config.loss]}), {seeds}; accuracy in %"
    return f"σ, with {selection.config.loss} and m {selection.of_margin.chosen:g}, {seeds}; accuracy in %"


def rows_of(stage: Stage) -> list[Candidate]:
    """The reference, where there is one, and the candidates."""
    return [*([stage.reference] if stage.reference else []), *stage.candidates]


def is_chosen(stage: Stage, one: Candidate) -> bool:
    return one.borda is not None and one.value == stage.chosen


def label(stage: Stage, one: Candidate) -> str:
    """The value, and what it is."""
    told = " (fixed)" if one.borda is None else " (chosen)" if is_chosen(stage, one) else ""
    return f"{one.value:g}{told}"


def spread(one: Candidate) -> str | None:
    return None if one.spread is None else f"{100 * one.spread:.2f}"


def borda(one: Candidate) -> str | None:
    return None if one.borda is None else f"{one.borda:g}"


def remarks(stage: Stage) -> list[str]:
    """How the value was chosen, and whether the differences are more than chance; a sentence each."""
    name = NAMES[stage.parameter]
    said = [_choice(name, stage)]
    if stage.seeds == 1:
        said.append(
            "With one seed it is not known how much of the differences is chance: the same command with --seeds 3 "
            "keeps these runs and adds the others."
        )
    elif stage.chance is not None:
        said.append(
            f"Mean accuracies differ by at most {_points(stage.difference)}, and the runs of one candidate by "
            f"{100 * (stage.spread or 0.0):.2f} over the seeds (standard deviation): that is {_judged(stage.chance)}."
        )
    if stage.gain is not None:
        ahead = "above" if stage.gain >= 0 else "below"
        told = f"{name} = {stage.chosen:g} is {_points(abs(stage.gain))} {ahead} σ = 0, the fixed margin"
        said.append(f"{told}{': ' + _judged(stage.gain_chance) if stage.gain_chance is not None else ''}.")
    return said


def _choice(name: str, stage: Stage) -> str:
    winner, most = stage.winner, (len(stage.candidates) - 1) * len(stage.winner.points)
    if not most:
        return f"{name} = {stage.chosen:g} is the only candidate."
    told = f"{name} = {stage.chosen:g} has the highest Borda count, {winner.borda:g} of at most {most}"
    if stage.tied:
        told += f", as {' and '.join(f'{value:g}' for value in stage.tied)} has; {_TIE_BREAKERS[stage.decided_by]}"
    return f"{told}."


def _judged(chance: float) -> str:
    return f"{'no more' if chance > _LEVEL else 'more'} than chance (p {p_value(chance)})"


def _points(fraction: float) -> str:
    return f"{100 * fraction:.2f} percentage points"
