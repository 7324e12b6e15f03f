"""What is said of a comparison, and how the page shows it."""

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from judged import judged
from made_comparison import AHEAD, large
from made_results import ALL, ENVIRONMENT, NASTY, Page
from report.test_comparison import make

from elasticface.report.comparison import compare
from elasticface.report.comparison_section import (
    cells,
    figure_name,
    p_value,
)
from elasticface.report.files import comparison_json
from elasticface.report.page import write_report


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


def test_page_shows_the_differences_without_photos_and_harmlessly(tmp_path: Path) -> None:
    results = [make(NASTY, "pairs", 1), make("two", "pairs", 2)]
    results = [replace(result, first=(), second=()) for result in results]  # as they are read again
    comparison = compare(results, 60)
    for name in "ab":
        write_report(tmp_path / name, results, ENVIRONMENT, None, comparison=comparison)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    page = Page((tmp_path / "a").read_text())
    assert "150 pairs; 60 bootstrap resamples over pairs, since the people on the images are unknown" in page.text
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
    by_the_lists = "40 bootstrap resamples over people, by the benchmark's own lists"
    for name, counted in (
        ("IJB-C 1:1", f"90 genuine pairs; {by_the_lists}"),
        ("IJB-C 1:N", f"90 searches of mated probes; {by_the_lists}"),
        ("MegaFace", f"90 ordered mate pairs; {by_the_lists}"),
        ("MegaFace (R)", "90 ordered mate pairs Figure A B"),
    ):
        assert f"{name} {counted}" in page.text
    assert "MegaFace (R): no resamples are stored for b, so their differences have no intervals" in page.text
    assert "the thresholds of TAR and TPIR are recomputed in each" in page.text
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
