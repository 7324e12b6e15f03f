"""One's own rows under the paper's: by the benchmark's name, best in bold, nothing where there is nothing."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import made_results
import pytest
from made_results import ENVIRONMENT, NASTY, Page, identification

from elasticface.benchmarks.pairwise.pairs import PROTOCOL
from elasticface.benchmarks.published import COLUMNS, ROWS
from elasticface.benchmarks.results import DistractorSearch, TemplateVerification
from elasticface.report.figures import Results
from elasticface.report.page import write_report
from elasticface.report.published_table import PublishedTable, table

make_result = partial(made_results.make_result, pairs=6000)  # as published


def verification(model: str = "one", benchmark: str = "IJB-C 1:1") -> TemplateVerification:
    return replace(made_results.verification(model, benchmark), counts={"pairs": 15_658_489}, departures=())


def megaface(model: str = "one", benchmark: str = "MegaFace") -> DistractorSearch:
    counts = {"probes": 3_000, "noisy_probes": 530, "distractors": 999_000, "noisy_distractors": 1_000}
    return replace(made_results.megaface(model, benchmark), counts=counts)


def made(results: Results) -> PublishedTable | None:
    return table(results)


def test_own_figures_stand_in_the_columns_of_their_benchmarks() -> None:
    found = made([make_result("a"), make_result("a", "AgeDB-30", 0.9), verification("b"), make_result("b", "heldout")])
    assert found is not None
    rows = {model: [cell.text for cell in cells] for model, cells in found.own}
    assert rows == {"a": ["98.25", "90.00", "", "", "", "", ""], "b": ["", "", "", "", "", "", "93.34"]}
    (_, cells), _ = found.own
    assert cells[0].interval == (0.9825 - 0.004, 0.9825 + 0.003)


def test_megaface_has_both_figures_and_columns_of_its_own_alone() -> None:
    found = made([megaface("a"), megaface("a", "MegaFace (R)"), replace(megaface("b"), rank={"1": 0.98})])
    assert found is not None
    assert found.headings[-3:] == [("IJB-C", 1), ("MegaFace", 2), ("MegaFace (R)", 2)]
    rows = {model: cells[7:] for model, cells in found.own}
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
    best = {(model, COLUMNS[i].title) for model, cells in found.own for i, cell in enumerate(cells) if cell.best}
    leads = {(model, COLUMNS[i].title) for model, cells in found.own for i, cell in enumerate(cells) if cell.leads}
    assert best == {("b", "LFW")}
    assert leads == {("b", "LFW"), ("b", "CPLFW")}  # LFW as far as it is printed, together with MagFace
    of_all = {(name, COLUMNS[i].title) for name, cells in found.published for i, cell in enumerate(cells) if cell.leads}
    assert {("MagFace", "LFW"), ("CurricularFace", "CALFW"), ("ElasticFace-Cos+", "IJB-C")} <= of_all
    assert not any(title == "CPLFW" for _, title in of_all)


NO_MIRROR = PROTOCOL.format(images="image alone", folds=10)
FIVE_FOLDS = PROTOCOL.format(images="image and mirror image added", folds=5)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"counts": {"pairs": 140, "genuine": 70}}, "140 pairs where LFW has 6,000"),
        ({"counts": {"pairs": 6000, "genuine": 70}}, "70 genuine where LFW has 3,000"),
        (
            {"counts": {"pairs": 5998, "genuine": 2999, "skipped_pairs": 2}},
            "5,998 pairs where LFW has 6,000; 2 pairs skipped",
        ),
        ({"protocol": NO_MIRROR}, "image alone"),
        ({"protocol": FIVE_FOLDS, "per_fold": (0.9,) * 5}, "5 folds"),
        ({"protocol": "squared L2"}, "measured in another way"),
    ],
)
def test_pairs_not_measured_as_published_are_marked_and_neither_best_nor_lead(
    changed: dict[str, Any], said: str
) -> None:
    altered = replace(make_result("altered", accuracy=0.9999), **changed)
    for others in ([], [make_result("b")], [make_result("b"), make_result("c", accuracy=0.97)]):
        found = made([altered, *others])
        assert found is not None
        ((_, (cell, *_)), *rest) = found.own
        assert (cell.text, cell.marked, cell.best, cell.leads) == ("99.99", True, False, False)
        assert found.marks == [("LFW", f"altered: {said}" if others else said)]
        assert [cells[0].best for _, cells in rest] == [len(others) > 1, False][: len(others)]
        assert not any(cells[0].marked for _, cells in rest)
        assert [name for name, cells in found.published if cells[0].leads] == ["MagFace"]


def test_other_counts_of_cfp_are_its_own() -> None:
    found = made([made_results.make_result("a", "cfp_fp", pairs=7000), make_result("b", "cfp_fp")])
    assert found is not None
    assert [cells[4].marked for _, cells in found.own] == [False, True]
    assert found.marks == [("CFP-FP", "b: 6,000 pairs where CFP-FP has 7,000")]


def test_large_benchmarks_not_measured_as_published_are_marked() -> None:
    plain, options = verification("a"), {"keep_norm": False, "weigh_by_detector_score": False}
    altered = replace(plain, model="b", departures=("few images",), counts={"damaged_images": 2}, options=options)
    alone = replace(megaface("b"), options={"add_mirror_image": False})
    few = replace(megaface("b", "MegaFace (R)"), counts={"probes": 90, "noisy_probes": 2, "distractors": 1_000_000})
    results = [plain, altered, megaface("a"), alone, megaface("a", "MegaFace (R)"), few]
    found = made(results)
    assert found is not None
    (_, of_a), (_, of_b) = found.own
    assert [cell.marked for cell in of_a[6:]] == [False] * 5
    assert [cell.marked for cell in of_b[6:]] == [True] * 5
    assert not any(cell.best or cell.leads for cell in [*of_a, *of_b])
    assert found.marks == [
        ("IJB-C", "b: few images; 2 images missing or damaged; norm removed; not weighted by detector score"),
        ("MegaFace", "b: image alone"),
        ("MegaFace (R)", "b: 92 probes with the noisy ones where MegaFace (R) has 3,530"),
    ]


def test_remarks_are_no_departures() -> None:
    remarks = ("2 pairs listed before already, and counted again", "no MegaFace (R)")
    found = made([replace(one, notes=remarks) for one in (make_result(), megaface(), verification())])
    assert found is not None
    assert not any(cell.marked for _, cells in found.own for cell in cells)
    assert found.marks == []


def test_what_is_not_as_published_is_said_in_a_line_a_benchmark() -> None:
    small = [made_results.make_result(model, pairs=140) for model in "ab"]
    found = made([small[0], replace(small[1], protocol=NO_MIRROR)])
    assert found is not None
    assert found.marks == [("LFW", "140 pairs where LFW has 6,000. b: image alone")]


def test_page_says_below_the_table_what_the_marks_are_for(tmp_path: Path) -> None:
    small = [made_results.make_result(model, "CALFW", pairs=140) for model in (NASTY, "two")]
    write_report(tmp_path / "a.html", small, ENVIRONMENT, None)
    text = Page((tmp_path / "a.html").read_text()).text
    assert "† CALFW: 140 pairs where CALFW has 6,000." in text
    assert text.count("98.25 †") == 2
    write_report(tmp_path / "b.html", [make_result()], ENVIRONMENT, None)
    assert "†" not in (tmp_path / "b.html").read_text()


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
