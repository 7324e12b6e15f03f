"""What is said of a comparison: in the terminal, as JSON, on the page."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from test_comparison import make
from test_report import ENVIRONMENT, NASTY, Page

from elasticface.comparison import Comparison, Contrast, Difference, compare
from elasticface.report import write_report
from elasticface.report_comparison import cells, comparison_json, p_value, terminal_notes, terminal_tables

AHEAD = Difference("accuracy", 0.98, 0.97, 0.01, (0.004, 0.0161), 0.0009, None)
BEHIND = Difference("0.001", 0.9, 0.95, -0.05, (-0.1, 0.0), 0.0512, None)
MADE = Comparison(
    ("[red]a", "b"),
    (
        Contrast("lfw", "[red]a", "b", "people", 6000, (AHEAD, BEHIND)),
        Contrast("calfw", "[red]a", "b", "pairs", 6000, (replace(AHEAD, mcnemar=0.25),)),
    ),
    {"b": 0.5, "[red]a": 1.5},
    ("lfw", "calfw"),
    2000,
    0,
    ("said",),
)


def test_terminal_shows_differences_in_bold_where_zero_is_left_out() -> None:
    tables = terminal_tables(MADE)
    assert [[row.style for row in table.rows] for table in tables] == [["bold", None], ["bold"], ["bold", None]]
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(*tables, sep="\n")
    lines = [" ".join(line.split()) for line in console.export_text().splitlines()]
    for line in (
        *("lfw, 6,000 pairs", "A: [red]a", "B: b", "Figure A B A − B 95 % interval p"),
        "accuracy 98.00 97.00 +1.00 +0.40 to +1.61 < 0.001",
        "TAR at 1e-3 90.00 95.00 −5.00 −10.00 to 0.00 0.051",
        "accuracy 98.00 97.00 +1.00 +0.40 to +1.61 < 0.001 0.250",
        *("Borda count of accuracy, over lfw, calfw", "[red]a 1.5", "b 0.5"),
    ):
        assert line in lines
    assert terminal_notes(MADE) == [
        "lfw: drawn 2,000 times with replacement are people, by the folders of their photos",
        "calfw: drawn 2,000 times with replacement are pairs: who is on the images is unknown, "
        "and no image is in two pairs",
        "said",
    ]


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
    }
    assert set(made["units"]) == {"people", "images", "pairs"}


def test_page_shows_the_differences_without_photos_and_harmlessly(tmp_path: Path) -> None:
    results = [make(NASTY, "pairs", 1), make("two", "pairs", 2)]
    results = [replace(result, first=(), second=()) for result in results]  # as they are read again
    comparison = compare(results, 60)
    for name in "ab":
        write_report(tmp_path / name, results, ENVIRONMENT, None, comparison=comparison)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    page = Page((tmp_path / "a").read_text())
    assert "differences" in page.values("id")
    assert "#differences" in page.values("href")
    for difference in comparison.contrasts[0].differences:
        assert " ".join(cells(difference)) in page.text
    assert "McNemar" in page.text
    assert "Borda count" in page.text
    assert "Hardest pairs" not in page.text
    assert "<script" not in page.html
    assert all(header.get("scope") for header in page.all("th"))
    assert len(set(page.values("id"))) == len(page.values("id"))
    assert json.loads(page.download("comparison.json")) == comparison_json(comparison)
    assert not re.search(r"https?:|//cdn|@import|url\((?!#)", page.html)
