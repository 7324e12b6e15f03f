"""The terminal: every figure in a table, the best in bold, names from outside as they are, and the notes beside."""

import io
import math
from dataclasses import replace
from typing import Any

from made_comparison import LARGE, MADE
from made_results import ALL, identification, make_result, verification
from rich.console import Console

from elasticface.benchmarks.units import UNITS
from elasticface.report.comparison_section import drawn, headings
from elasticface.report.terminal import (
    comparison_notes,
    comparison_tables,
    terminal_notes,
    terminal_table,
    terminal_tables,
)


def test_table_has_a_row_a_result_and_the_best_in_bold() -> None:
    results = [make_result("[red]one"), make_result("two", accuracy=0.99), make_result("[red]one", "agedb_30")]
    results[0] = replace(results[0], eer=0.0179)
    table = terminal_table(results)
    bold = [[str(cell.style) for cell in column.cells] for column in table.columns]  # type: ignore[union-attr]
    assert bold[2:4] == [["", "bold", ""], ["bold", "", ""]]  # accuracy; equal error rate
    assert bold[4:] == [["bold", "bold", ""]] * 3  # the same TARs
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(table)
    lines = [line.split() for line in console.export_text().splitlines()]
    assert ["lfw", "[red]one", "98.25", "±", "0.31", "1.79", "91.00", "95.00", "99.00"] in lines
    assert ["two", "99.00", "±", "0.31", "1.81", "91.00", "95.00", "99.00"] in lines
    assert ["1e-3", "1e-2", "1e-1"] in [line[-3:] for line in lines]


def test_names_of_a_stranger_do_not_control_the_terminal() -> None:
    results = [replace(one, model="a\x1b[2Jb", notes=("c\x1b[2Jd",)) for one in (make_result(), verification())]
    assert "\x1b" not in "".join([*terminal_notes(results), terminal(results)])


def terminal(results: list[Any]) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    for table in terminal_tables(results):
        console.print(table)
    return console.export_text()


def styles(results: list[Any]) -> dict[tuple[str, str], list[str]]:
    """(title of the table, model) -> the style of each figure, in the terminal."""
    found = {}
    for table in terminal_tables(results):
        columns = [list(column.cells) for column in table.columns]
        for cells in zip(*columns, strict=True):
            found[str(table.title), str(cells[1])] = [str(cell.style) for cell in cells[2:]]  # type: ignore[union-attr]
    return found


def test_the_best_of_each_column_is_bold_and_all_of_equals() -> None:
    behind = replace(identification("two"), rank={"1": 0.96, "5": 0.97, "10": 0.9823}, tpir_at_fpir={"0.01": math.nan})
    found = styles([identification("one"), behind])
    title = "IJB 1:N identification: {}, in %"
    assert found[title.format("rank"), "one"] == ["", "bold", "bold"]
    assert found[title.format("rank"), "two"] == ["bold", "", "bold"]
    assert found[title.format("TPIR at FPIR"), "one"] == ["", ""]  # of nobody else is there a figure
    assert found[title.format("TPIR at FPIR"), "two"] == ["", ""]
    assert not any(any(cells) for cells in styles([*ALL, make_result()]).values())


def test_terminal_tables_have_every_figure() -> None:
    said = terminal([make_result(), *ALL])
    assert "98.25 ± 0.31" in said
    for result in ALL:
        for group in result.groups():
            assert f"{result.KIND}: {group.name}, in %" in said
            assert all(f"{100 * rate:.2f}" in said for rate in group.rates.values())
    assert "Accuracy" not in terminal(ALL)


def test_a_name_in_brackets_is_no_markup() -> None:
    assert "[red]" in terminal([verification("[red]")])


def test_terminal_shows_differences_in_bold_where_zero_is_left_out() -> None:
    tables = comparison_tables(MADE)
    assert [[row.style for row in table.rows] for table in tables] == [["bold", None, "bold"], ["bold"], ["bold", None]]
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(*tables, sep="\n")
    lines = [" ".join(line.split()) for line in console.export_text().splitlines()]
    for line in (
        *("lfw, 6,000 pairs", "A: [red]a", "B: b", "Figure A B A − B 95 % interval p"),
        "accuracy 98.00 97.00 +1.00 +0.40 to +1.61 < 0.001",
        "TAR at 1e-3 90.00 95.00 −5.00 −10.00 to 0.00 0.051",
        "equal error rate 1.81 2.12 −0.31 −0.55 to −0.02 0.031",
        "McNemar's exact test of the accuracy: p 0.250",
        *("Borda count of accuracy, over lfw, calfw", "[red]a 1.5", "b 0.5"),
    ):
        assert line in lines
    assert comparison_notes(MADE) == [
        "lfw: 2,000 bootstrap resamples over people, by the folders or the names of their photos",
        "calfw: 1,500 bootstrap resamples over " + UNITS["pairs"],
        "said",
    ]


def test_terminal_shows_large_benchmarks_with_what_was_counted() -> None:
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(*comparison_tables(LARGE), sep="\n")
    lines = [" ".join(line.split()) for line in console.export_text().splitlines()]
    for line in (
        *("IJB-C 1:1, 19,557 genuine pairs", "MegaFace, 153,634 ordered mate pairs"),
        "TAR at 1e-4, nearest 98.00 97.00 +1.00 +0.40 to +1.61 < 0.001",
        "rank 1 98.00 97.00 +1.00 +0.40 to +1.61 < 0.001",
    ):
        assert line in lines
    assert comparison_notes(LARGE) == ["IJB-C 1:1: 2,000 bootstrap resamples over people, by the benchmark's own lists"]


def test_benchmarks_of_the_same_draws_are_named_together_and_others_apart() -> None:
    one, other = MADE.contrasts
    found = [one, replace(one, second="c"), replace(one, benchmark="cplfw"), replace(other, draws=2000), other]
    assert comparison_notes(replace(MADE, contrasts=tuple(found)))[:2] == [
        "lfw, cplfw: 2,000 bootstrap resamples over people, by the folders or the names of their photos",
        "calfw: 2,000 bootstrap resamples over " + UNITS["pairs"],
    ]


def test_where_nothing_could_be_drawn_nothing_is_said_of_draws() -> None:
    nothing = replace(MADE.contrasts[1], draws=0)
    assert drawn([nothing]) == ""
    assert drawn([*LARGE.contrasts[::-1]]).startswith("2,000 bootstrap resamples over people")
    assert comparison_notes(replace(MADE, contrasts=(nothing,))) == ["said"]
    assert headings(nothing)[-1] == "McNemar"  # which needs no draws


def test_what_all_models_share_is_said_once_and_the_rest_with_their_names() -> None:
    a, b, c = (replace(verification(model), departures=("fewer",), notes=("other",), counts={}) for model in "abc")
    other = replace(verification("b", "IJB-B 1:1"), departures=("fewer",), counts={})
    assert terminal_notes([a, b, c]) == ["IJB-C 1:1: fewer; other"]
    damaged = [replace(one, counts={"damaged_images": 2, "skipped_pairs": 3}) for one in (a, c)]
    assert terminal_notes([damaged[0], b, damaged[1], other, make_result("b")]) == [
        "IJB-C 1:1: fewer; other",
        "IJB-C 1:1: a, c: 2 images missing or damaged; 3 pairs skipped",
        "IJB-B 1:1: fewer",
    ]


def test_pairs_that_were_skipped_are_said_too() -> None:
    result = make_result()
    result = replace(result, counts={**result.counts, "skipped_pairs": 3})
    assert terminal_notes([result]) == ["lfw: 3 pairs skipped"]
