"""What is said of a comparison: in the terminal, as JSON, on the page."""

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from judged import judged
from made_results import ALL, ENVIRONMENT, NASTY, Page
from report.test_comparison import make
from rich.console import Console

from elasticface.report import csv as report_csv
from elasticface.report.comparison import Comparison, Contrast, Difference, compare
from elasticface.report.comparison_section import (
    cells,
    comparison_json,
    drawn,
    figure_name,
    headings,
    p_value,
    terminal_notes,
    terminal_tables,
)
from elasticface.report.page import write_report

AHEAD = Difference("accuracy", 0.98, 0.97, 0.01, (0.004, 0.0161), 0.0009, None)
BEHIND = Difference("0.001", 0.9, 0.95, -0.05, (-0.1, 0.0), 0.0512, None)
ERRORS = Difference("eer", 0.0181, 0.0212, -0.0031, (-0.0055, -0.0002), 0.031, None)
MADE = Comparison(
    ("[red]a", "b"),
    (
        Contrast("lfw", "[red]a", "b", "people", 2000, 6000, "pairs", (AHEAD, BEHIND, ERRORS)),
        Contrast("calfw", "[red]a", "b", "pairs", 1500, 6000, "pairs", (replace(AHEAD, mcnemar=0.25),)),
    ),
    {"b": 0.5, "[red]a": 1.5},
    ("lfw", "calfw"),
    2000,
    0,
    ("said",),
)


def test_terminal_shows_differences_in_bold_where_zero_is_left_out() -> None:
    tables = terminal_tables(MADE)
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
    assert terminal_notes(MADE) == [
        "lfw: drawn 2,000 times are people, by the folders or the names of their photos",
        "calfw: drawn 1,500 times are pairs: who is on the images is unknown, and no image is in two pairs",
        "said",
    ]


def large(rate: str, figure: str) -> Difference:
    return replace(AHEAD, figure=figure, rate=rate)


LARGE = replace(
    MADE,
    contrasts=(
        Contrast(
            "IJB-C 1:1", "a", "b", "subjects", 2000, 19557, "genuine pairs", (large("TAR at FAR, nearest", "0.0001"),)
        ),
        Contrast("MegaFace", "a", "b", None, 0, 153634, "ordered mate pairs", (large("rank", "1"),)),
    ),
    borda={},
    notes=(),
)


def test_terminal_shows_large_benchmarks_with_what_was_counted() -> None:
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(*terminal_tables(LARGE), sep="\n")
    lines = [" ".join(line.split()) for line in console.export_text().splitlines()]
    for line in (
        *("IJB-C 1:1, 19,557 genuine pairs", "MegaFace, 153,634 ordered mate pairs"),
        "TAR at 1e-4, nearest 98.00 97.00 +1.00 +0.40 to +1.61 < 0.001",
        "rank 1 98.00 97.00 +1.00 +0.40 to +1.61 < 0.001",
    ):
        assert line in lines
    assert terminal_notes(LARGE) == ["IJB-C 1:1: drawn 2,000 times are people, by the benchmark's own lists"]


def test_benchmarks_of_the_same_draws_are_named_together_and_others_apart() -> None:
    one, other = MADE.contrasts
    found = [one, replace(one, second="c"), replace(one, benchmark="cplfw"), replace(other, draws=2000), other]
    assert terminal_notes(replace(MADE, contrasts=tuple(found)))[:2] == [
        "lfw, cplfw: drawn 2,000 times are people, by the folders or the names of their photos",
        "calfw: drawn 2,000 times are pairs: who is on the images is unknown, and no image is in two pairs",
    ]


def test_where_nothing_could_be_drawn_nothing_is_said_of_draws() -> None:
    nothing = replace(MADE.contrasts[1], draws=0)
    assert drawn([nothing]) == ""
    assert drawn([*LARGE.contrasts[::-1]]).startswith("drawn 2,000 times are people")
    assert terminal_notes(replace(MADE, contrasts=(nothing,))) == ["said"]
    assert headings(nothing)[-1] == "McNemar"  # which needs no draws


@pytest.mark.parametrize(
    ("rate", "figure", "name"),
    [
        ("", "accuracy", "accuracy"),
        ("", "eer", "equal error rate"),
        ("", "0.001", "TAR at 1e-3"),
        ("TAR at FAR, at-most", "1e-06", "TAR at 1e-6, at-most"),
        ("TPIR at FPIR", "0.1", "TPIR at 1e-1"),
        ("rank", "10", "rank 10"),
    ],
)
def test_figures_are_named_by_their_rate_and_target(rate: str, figure: str, name: str) -> None:
    assert figure_name(large(rate, figure)) == name


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (1.0, "1.000"), (0.001, "0.001"), (0.00099, "< 0.001")])
def test_p_values_are_never_shown_as_zero(value: float | None, text: str) -> None:
    assert p_value(value) == text


def test_a_difference_without_an_interval_shows_none() -> None:
    assert cells(replace(AHEAD, interval=None, p_value=None)) == ("98.00", "97.00", "+1.00", "–", "–", "–")
    assert cells(replace(AHEAD, value=-1e-9))[2] == "0.00"


def test_json_holds_all_of_it() -> None:
    made = comparison_json(MADE)
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    assert (made["format_version"], made["draws"], made["seed"], made["borda"]["b"]) == (1, 2000, 0, 0.5)
    assert made["contrasts"][0]["differences"][1] == {
        "figure": "0.001",
        "first": 0.9,
        "second": 0.95,
        "value": -0.05,
        "interval": [-0.1, 0.0],
        "p_value": 0.0512,
        "mcnemar": None,
        "rate": "",
    }
    assert set(made["units"]) == {"people", "images", "pairs", "subjects", "templates"}
    found = comparison_json(LARGE)["contrasts"]
    assert [(c["units"], c["draws"], c["trials"], c["what"]) for c in found] == [
        ("subjects", 2000, 19557, "genuine pairs"),
        (None, 0, 153634, "ordered mate pairs"),
    ]
    assert found[1]["differences"][0]["rate"] == "rank"


def test_page_shows_the_differences_without_photos_and_harmlessly(tmp_path: Path) -> None:
    results = [make(NASTY, "pairs", 1), make("two", "pairs", 2)]
    results = [replace(result, first=(), second=()) for result in results]  # as they are read again
    comparison = compare(results, 60)
    for name in "ab":
        write_report(tmp_path / name, results, ENVIRONMENT, None, comparison=comparison)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    page = Page((tmp_path / "a").read_text())
    assert "150 pairs; drawn 60 times are pairs: who is on the images is unknown" in page.text
    assert "differences" in page.values("id")
    assert "#differences" in page.values("href")
    for difference in comparison.contrasts[0].differences:
        assert " ".join([figure_name(difference), *cells(difference)]) in page.text
    figures = {(r["figure"], r["target"]) for r in csv.DictReader(io.StringIO(page.download("figures.csv")))}
    rows = [(r["figure"], r["target"]) for r in csv.DictReader(io.StringIO(page.download("differences.csv")))]
    assert len(rows) == 4
    assert figures.issuperset(rows)
    assert "accuracy keeps the decisions of its folds" in page.text
    assert "McNemar" in page.text
    assert "Borda count" in page.text
    assert "Hardest pairs" not in page.text
    assert "<script" not in page.html
    assert all(header.get("scope") for header in page.all("th"))
    assert len(set(page.values("id"))) == len(page.values("id"))
    assert json.loads(page.download("comparison.json")) == comparison_json(comparison)
    assert not re.search(r"https?:|//cdn|@import|url\((?!#)", page.html)


def test_page_and_its_csv_show_large_benchmarks(tmp_path: Path) -> None:
    results = [replace(judged(result, seed), model=model) for result in ALL for seed, model in enumerate((NASTY, "b"))]
    results[-1] = replace(results[-1], samples=None)
    comparison = compare(results, 60)
    write_report(tmp_path / "page", results, ENVIRONMENT, None, comparison=comparison)
    page = Page((tmp_path / "page").read_text())
    for contrast in comparison.contrasts:
        for difference in contrast.differences:
            assert " ".join([figure_name(difference), *cells(difference)[:5]]) in page.text
    by_the_lists = "drawn 40 times are people, by the benchmark's own lists"
    for name, counted in (
        ("IJB-C 1:1", f"90 genuine pairs; {by_the_lists}"),
        ("IJB-C 1:N", f"90 searches of mated probes; {by_the_lists}"),
        ("MegaFace", f"90 ordered mate pairs; {by_the_lists}"),
        ("MegaFace (R)", "90 ordered mate pairs Figure A B"),
    ):
        assert f"{name} {counted}" in page.text
    assert "MegaFace (R): nobody was drawn for b, so differences have no intervals there" in page.text
    assert "the thresholds of TAR and TPIR found anew in each" in page.text
    assert "McNemar" not in page.text
    assert not page.all("script")
    rows = list(csv.DictReader(io.StringIO(page.download("differences.csv"))))
    assert len(rows) == sum(len(contrast.differences) for contrast in comparison.contrasts) == 12 + 5 + 2 + 2
    figures = list(csv.DictReader(io.StringIO(page.download("figures.csv"))))
    values = {(r["benchmark"], r["model"], r["figure"], r["target"]): r["value"] for r in figures}
    for row in rows:
        names = row["benchmark"], row["figure"], row["target"]
        for side in "ab":
            assert values[names[0], row[side], names[1], names[2]] == row[f"value of {side}"]
        assert (row["low"] == row["high"] == row["p"] == "") == (names[0] == "MegaFace (R)")
        assert row["mcnemar"] == ""


def test_csv_names_figures_of_pairs_as_the_others_do() -> None:
    rows = list(csv.DictReader(io.StringIO(report_csv.differences(MADE))))
    assert [(r["figure"], r["target"]) for r in rows] == [
        *(("accuracy", ""), ("TAR at FAR, at-most", "0.001"), ("equal error rate", "")),
        ("accuracy", ""),
    ]
    assert [rows[1][name] for name in ("a", "difference", "low", "high", "p")] == [
        "[red]a",
        "-0.05",
        "-0.1",
        "0",
        "0.0512",
    ]
    assert [row["mcnemar"] for row in rows] == ["", "", "", "0.25"]
