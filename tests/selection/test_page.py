"""The page of a selection: what it shows, that it stands alone, and that names are harmless."""

import base64
import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest
from made_results import Page
from made_selection import LEVELS, made_selection

from elasticface.selection.page import write_selection
from elasticface.selection.shown import remarks


def page_of(path: Path, **options: int) -> Page:
    write_selection(path, *made_selection(**options))
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page_of(tmp_path_factory.mktemp("page") / "report.html")


def test_it_shows_what_was_chosen_why_and_how_to_train_with_it(page: Page) -> None:
    selection, _ = made_selection()
    text = " ".join(page.text.split())
    for stage, name in ((selection.of_margin, "m ="), (selection.of_std, "σ =")):
        assert f"{name} {stage.chosen:g}" in text
        assert all(remark in text for remark in remarks(stage))
    assert selection.command == "elasticface train 'faces & more' --config choice/chosen.yaml --out choice/chosen"
    assert selection.command in text
    assert "10,572 identities with 490,623 images, 24 runs" in text


def test_it_has_every_accuracy_and_every_borda_count(page: Page) -> None:
    selection, record = made_selection()
    for stage in (selection.of_margin, selection.of_std):
        for one in stage.candidates:
            label = f"{one.value:g}{' (chosen)' if one.value == stage.chosen else ''}"
            row = re.search(rf'<th scope="row">{re.escape(label)}</th>(.*?)</tr>', page.html)
            assert row
            cells = re.findall(r"<td>([\d.]+)(?:<small>([\d.]+) points?</small>)?</td>", row[1])
            assert cells[: len(LEVELS)] == [
                (f"{100 * one.accuracy[name]:.2f}", f"{one.points[name]:g}") for name in LEVELS
            ]
            assert cells[-1][0] == f"{one.borda:g}"
    assert '<th scope="row">0 (fixed)</th>' in page.html
    assert page.html.count('<th scope="row">runs/') == len(record.runs)


def test_it_has_a_plot_of_each_parameter_with_a_line_for_every_benchmark_and_the_mean(page: Page) -> None:
    assert page.html.count("<figure") == page.html.count("<svg viewBox") + page.html.count("<svg version") == 2
    for caption in re.findall(r"<figcaption.*?</figcaption>", page.html, re.DOTALL):
        assert re.findall(r"</svg>(.*?)</span>", caption) == ["lfw", "agedb_30", "&lt;b&gt;&amp;cplfw", "mean"]


def test_it_stands_alone_and_names_are_harmless(page: Page) -> None:
    assert not re.search(r"https?:|//cdn|@import|url\((?!#)", page.html)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "b"})
    assert all(link.startswith(("#", "data:")) for link in page.values("href") + page.values("xlink:href"))


def test_the_figures_can_be_taken_away(page: Page) -> None:
    (found,) = (link for link in page.values("href") if link.startswith("data:application/json;base64,"))
    assert json.loads(base64.b64decode(found.partition(",")[2])) == asdict(made_selection()[1])


def test_one_seed_one_candidate_and_the_same_page_every_time(tmp_path: Path) -> None:
    one, again = (page_of(tmp_path / f"{i}.html", margins=1, stds=1, seeds=1) for i in range(2))
    assert one.html == again.html
    assert "m = 0.45 is the only candidate." in one.text
    assert "a small dot is a seed" not in one.text
