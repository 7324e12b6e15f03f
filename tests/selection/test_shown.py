"""What is said of a selection: the rule that decided, chance, and the tables."""

import io
from dataclasses import replace

import pytest
from made_selection import LEVELS, made_selection
from rich.console import Console

from elasticface.selection.choice import choose
from elasticface.selection.shown import remarks, tables

ONE = ["lfw"]


def test_the_borda_count_is_said_with_the_most_that_there_could_be() -> None:
    stage = choose("margin", [0.45, 0.5, 0.55], [[[0.8, 0.7]], [[0.9, 0.6]], [[0.7, 0.5]]], ["lfw", "cplfw"])
    assert remarks(stage)[0] == (
        "m = 0.45 has the highest Borda count, 3 of at most 4, as 0.5 has; with the same mean accuracy the smaller "
        "value is taken."
    )
    assert remarks(choose("margin", [0.45, 0.5], [[[0.8]], [[0.9]]], ONE))[0] == (
        "m = 0.5 has the highest Borda count, 1 of at most 1."
    )
    assert remarks(choose("std", [0.05], [[[0.8]]], ONE))[0] == "σ = 0.05 is the only candidate."


def test_a_tie_that_mean_accuracy_decides_is_said() -> None:
    stage = choose("std", [0.01, 0.05], [[[0.9, 0.8]], [[0.8, 0.95]]], ["lfw", "cplfw"])
    assert remarks(stage)[0].endswith("1 of at most 2, as 0.01 has; its mean accuracy is higher.")


def test_differences_smaller_than_those_between_seeds_are_called_chance() -> None:
    runs = [[[0.90], [0.94]], [[0.91], [0.945]]]
    said = remarks(choose("std", [0.01, 0.05], runs, ONE, reference=[[0.93], [0.91]]))
    assert said[1:] == [
        "Mean accuracies differ by at most 0.75 percentage points, and the runs of one candidate by 2.66 over the "
        "seeds (standard deviation): that is no more than chance (p 0.804).",
        "σ = 0.05 is 0.75 percentage points above σ = 0, the fixed margin: no more than chance (p 0.945).",
    ]


def test_differences_far_above_those_between_seeds_are_more_than_chance() -> None:
    runs = [[[0.90], [0.901], [0.902]], [[0.95], [0.951], [0.952]]]
    said = remarks(choose("std", [0.01, 0.05], runs, ONE, reference=[[0.98], [0.981], [0.982]]))
    assert "that is more than chance (p < 0.001)" in said[1]
    assert said[2] == "σ = 0.05 is 3.00 percentage points below σ = 0, the fixed margin: more than chance (p < 0.001)."


def test_with_one_seed_chance_is_not_known_and_the_way_to_know_is_said() -> None:
    said = remarks(choose("std", [0.01, 0.05], [[[0.9]], [[0.8]]], ONE, reference=[[0.7]]))
    assert "With one seed it is not known" in said[1]
    assert "--seeds 3" in said[1]
    assert said[2] == "σ = 0.01 is 20.00 percentage points above σ = 0, the fixed margin."


@pytest.mark.parametrize("seeds", [1, 3])
def test_tables_have_a_row_for_every_candidate_and_the_fixed_margin(seeds: int) -> None:
    selection, _ = made_selection(margins=2, stds=2, seeds=seeds)
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(*tables(selection))
    lines = console.export_text().splitlines()
    assert any("m, with the margin fixed (arcface)" in line for line in lines)
    of_std = lines[next(i for i, line in enumerate(lines) if line.startswith("σ, with elastic-arc+")) :]
    assert all(name in of_std[2] for name in LEVELS)
    values = [line.split()[0] for line in of_std[4:] if line.strip()]
    assert values == ["0", "0.0125", "0.015"]
    assert sum("(chosen)" in line for line in of_std) == sum("(fixed)" in line for line in of_std) == 1
    fixed = selection.of_std.reference
    assert fixed is not None
    row = next(line for line in of_std if "(fixed)" in line).split()
    assert row[2:6] == [f"{100 * figure:.2f}" for figure in (*fixed.accuracy.values(), fixed.mean)]
    assert (row[6] == "–") == (seeds == 1)


def test_names_in_brackets_are_shown_as_they_are() -> None:
    selection, _ = made_selection(seeds=1)
    stage = choose("margin", [0.5], [[[0.9]]], ["[red]pack"])
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(*tables(replace(selection, of_margin=stage)))
    assert "[red]pack" in console.export_text()
