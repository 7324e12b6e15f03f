"""One's own rows under the paper's: by the benchmark's name, best in bold, nothing where there is nothing."""

from dataclasses import replace
from pathlib import Path

from test_report import ENVIRONMENT, NASTY, Page, make_result
from test_report_large import identification, megaface, verification

from elasticface import plots
from elasticface.benchmarks.published import COLUMNS, ROWS
from elasticface.report import write_report
from elasticface.report_figures import Results
from elasticface.report_published import PublishedTable, table


def made(results: Results) -> PublishedTable | None:
    return table(results, plots.looks(result.model for result in results))


def test_own_figures_stand_in_the_columns_of_their_benchmarks() -> None:
    found = made([make_result("a"), make_result("a", "AgeDB-30", 0.9), verification("b"), make_result("b", "heldout")])
    assert found is not None
    rows = {look.name: [cell.text for cell in cells] for look, cells in found.own}
    assert rows == {"a": ["98.25", "90.00", "", "", "", "", ""], "b": ["", "", "", "", "", "", "93.34"]}
    (_, cells), _ = found.own
    assert cells[0].interval == (0.9825 - 0.004, 0.9825 + 0.003)


def test_megaface_has_both_figures_and_columns_of_its_own_alone() -> None:
    found = made([megaface("a"), megaface("a", "MegaFace (R)"), replace(megaface("b"), rank={"1": 0.98})])
    assert found is not None
    assert found.headings[-3:] == [("IJB-C", 1), ("MegaFace", 2), ("MegaFace (R)", 2)]
    rows = {look.name: cells[7:] for look, cells in found.own}
    texts = {name: [cell.text for cell in cells] for name, cells in rows.items()}
    assert texts == {"a": ["97.89", "98.11", "97.89", "98.11"], "b": ["98.00", "98.11", "", ""]}
    assert [cell.interval for cell in rows["a"]] == [(0.97, 0.99), None, (0.97, 0.99), None]
    assert [(cell.best, cell.leads) for cell in rows["b"][:2]] == [(True, True), (True, True)]
    assert not any(cell.best or cell.leads for cell in rows["a"][2:])  # of nobody else is there a figure
    assert not any(cell.text for _, cells in found.published for cell in cells[7:])


def test_columns_that_nobody_has_a_figure_for_are_left_out() -> None:
    found = made([make_result()])
    assert found is not None
    assert found.columns == COLUMNS[:7]
    found = made([megaface(benchmark="MegaFace (R)")])
    assert found is not None
    assert found.columns == COLUMNS[:7] + COLUMNS[9:]


def test_published_rows_are_as_printed_and_empty_where_unknown() -> None:
    found = made([make_result()])
    assert found is not None
    assert {name: tuple(cell.text or None for cell in cells) for name, cells in found.published} == {
        name: row[:7] for name, row in ROWS.items()
    }


def test_best_of_ones_own_is_marked_among_several_and_the_leader_of_all() -> None:
    found = made([make_result("a"), make_result("b", accuracy=0.99834), make_result("b", "cplfw", 0.99)])
    assert found is not None
    best = {(look.name, COLUMNS[i].title) for look, cells in found.own for i, cell in enumerate(cells) if cell.best}
    leads = {(look.name, COLUMNS[i].title) for look, cells in found.own for i, cell in enumerate(cells) if cell.leads}
    assert best == {("b", "LFW")}
    assert leads == {("b", "LFW"), ("b", "CPLFW")}  # LFW as far as it is printed, together with MagFace
    of_all = {(name, COLUMNS[i].title) for name, cells in found.published for i, cell in enumerate(cells) if cell.leads}
    assert {("MagFace", "LFW"), ("CurricularFace", "CALFW"), ("ElasticFace-Cos+", "IJB-C")} <= of_all
    assert not any(title == "CPLFW" for _, title in of_all)


def test_other_benchmarks_and_other_figures_have_no_table() -> None:
    assert made([make_result(benchmark="lfw-deepfunneled"), identification()]) is None
    others = [make_result(benchmark="ijbc"), make_result(benchmark="megaface"), verification(benchmark="lfw")]
    assert made([replace(identification(), benchmark="IJB-C"), *others]) is None


def test_page_has_the_table_with_its_source_and_names_are_harmless(tmp_path: Path) -> None:
    write_report(tmp_path / "a.html", [make_result(NASTY), make_result("two", accuracy=0.99)], ENVIRONMENT, None)
    page = Page((tmp_path / "a.html").read_text())
    assert "Table III" in page.text
    assert "MagFace+ 94.51 95.97 ElasticFace-Arc " in page.text
    assert page.text.count("best of the measured") == 1
    assert "<script" not in page.html
    assert all(header.get("scope") for header in page.all("th"))
    write_report(tmp_path / "c.html", [megaface(NASTY), megaface("two")], ENVIRONMENT, None)
    assert [h for h in Page((tmp_path / "c.html").read_text()).all("th") if h.get("scope") == "colgroup"]
    write_report(tmp_path / "b.html", [make_result(benchmark="heldout")], ENVIRONMENT, None)
    assert "Table III" not in (tmp_path / "b.html").read_text()
