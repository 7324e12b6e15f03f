"""The large benchmarks in the report: a table a kind of figure, beside what is said of pairs and without it."""

import csv
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from judged import judged
from made_results import (
    ALL,
    ENVIRONMENT,
    NASTY,
    Page,
    grey_face,
    identification,
    make_result,
    megaface,
    verification,
)

from elasticface.benchmarks.hardest import Hardest, HardTrial
from elasticface.report.page import write_report


def page(path: Path, results: list[Any]) -> Page:
    write_report(path, results, ENVIRONMENT, grey_face)
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def of_all(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page(tmp_path_factory.mktemp("large") / "report.html", ALL)


@pytest.mark.parametrize("with_pairs", [True, False])
def test_every_figure_is_on_the_page_with_its_interval(tmp_path: Path, of_all: Page, with_pairs: bool) -> None:
    found = page(tmp_path / "report.html", [make_result(), *ALL]) if with_pairs else of_all
    for result in ALL:
        assert result.benchmark in found.text
        assert result.protocol in found.text
        for group in result.groups():
            for target, rate in group.rates.items():
                assert f"{100 * rate:.2f}" in found.text
                if target in group.intervals:
                    low, high = group.intervals[target]
                    assert f"{100 * low:.2f} – {100 * high:.2f}" in found.text
    assert ("Verification accuracy" in found.text) == with_pairs
    assert len(found.values("id")) == len(set(found.values("id")))
    assert {f"#large-{i}" for i in (1, 2, 3, 4)} <= set(found.values("href"))
    assert ("#figures" in found.values("href")) == with_pairs


def test_sections_say_what_their_rates_are_shares_of(tmp_path: Path) -> None:
    one, two = (replace(verification(model), counts={"genuine": 60}) for model in ("one", "two"))
    assert "IJB 1:1 verification. Rates are shares of 60 genuine pairs." in page(tmp_path / "a.html", [one, two]).text
    fewer = replace(two, counts={"genuine": 59})
    said = page(tmp_path / "b.html", [one, fewer, megaface()]).text
    assert "Rates are shares of genuine pairs." in said
    assert "TAR at FAR, nearest the TAR at the observed FAR nearest to the target; in %" in said
    assert "Rank share of mated searches that find the mate within the rank; in %" in said


def test_the_page_says_what_is_not_as_published(of_all: Page) -> None:
    said = of_all.text
    assert "1,234 images where IJB-C has 469,375" in said
    assert "2 images missing or damaged; 17 pairs skipped." in said


def test_the_page_says_how_intervals_were_found(tmp_path: Path) -> None:
    pairs = [make_result("one"), replace(make_result("two"), intervals_by="none, too few people")]
    alone = replace(make_result("one", "calfw"), intervals_by="")
    said = page(tmp_path / "report.html", [*pairs, alone, *ALL, judged(verification("other"))]).text
    for line in (
        "95 % intervals: bootstrap over 57 people, 2,000 draws (one)",
        "95 % intervals: none, too few people (two)",
        "95 % intervals: bootstrap over 3,531 people, 2,000 draws",
        "95 % intervals: made up",
    ):
        assert line in said
    assert said.count("95 % intervals: ") == 4


def test_ranks_are_plain_numbers_and_rates_powers_of_ten(of_all: Page) -> None:
    headings = re.findall(r'<th scope="col">([^<]*)</th>', of_all.html)
    assert {"1", "5", "10", "10⁻²", "10⁻¹", "10⁻⁶"} <= set(headings)
    assert "10¹" not in headings


def test_models_are_compared_and_the_best_is_marked(tmp_path: Path) -> None:
    results = [verification("one"), verification("two", shift=0.001), verification("two", "IJB-B 1:1")]
    html = page(tmp_path / "report.html", results).html
    assert html.count('<td class="highest">') == html.count('<span class="unseen"> highest</span>') == 12  # on IJB-C
    highest = [line for line in html.splitlines() if '<td class="highest">' in line]
    assert len(highest) == 2  # one row of either rule
    assert all("<span>two</span>" in row for row in highest)


def test_how_models_were_measured_is_said_once_where_it_is_alike(tmp_path: Path) -> None:
    alike = [verification("one"), verification("two")]
    said = page(tmp_path / "a.html", alike).text.partition("How it was measured")[2]
    assert said.count("mean over each template and medium.") == 1
    assert "(one" not in said
    said = page(tmp_path / "b.html", [*alike, replace(verification("three"), protocol="norm removed")]).text
    assert "mean over each template and medium. (one, two) 95 % intervals" in said
    assert "norm removed. (three)" in said


def test_names_from_outside_stay_text(tmp_path: Path) -> None:
    found = page(tmp_path / "report.html", [verification(NASTY), replace(megaface(NASTY), benchmark=NASTY)])
    assert not found.all("script")
    assert all(source.startswith("data:") for source in found.values("src"))
    assert NASTY in found.text


def test_the_roc_can_be_downloaded(of_all: Page) -> None:
    rows = [row for row in csv.reader(io.StringIO(of_all.download("roc.csv"))) if row and row[0] == "IJB-C 1:1"]
    assert [(model, float(far), float(tar)) for _, model, far, tar in rows] == [
        ("one", 0, 0.1),
        ("one", 1e-4, 0.5),
        ("one", 1e-2, 0.9),
        ("one", 1, 1),
    ]


def test_each_benchmark_has_its_curves_and_their_points_to_download(tmp_path: Path, of_all: Page) -> None:
    found = of_all
    labels = " ".join(found.values("aria-label"))
    for benchmark in ("IJB-C 1:1", "MegaFace", "MegaFace (R)"):
        assert f"ROC of {benchmark}: " in labels
        assert f"DET of {benchmark}: " in labels
    assert "CMC of IJB-C 1:N: " in labels
    assert "Open set of IJB-C 1:N: " in labels
    assert "0.9634" in found.download("cmc.csv")
    assert "0.8645" in found.download("open_set.csv")
    assert found.download("roc.csv").count("MegaFace (R)") == 4
    alone = page(tmp_path / "pairs.html", [make_result()])
    assert {"cmc.csv", "open_set.csv"}.isdisjoint(alone.values("download"))
    searches = page(tmp_path / "searches.html", [identification()])
    assert "roc.csv" not in searches.values("download")


HARD = (
    Hardest("Genuine: 1 of 2 pairs", "rejected", ("", ""), (HardTrial((0.125,), ("a/<b>.jpg", "c.jpg"), True),)),
    Hardest(
        "2 of 3 searches", "not first", ("probe", "mate", "other"), (HardTrial((0.25, 0.5), ("p", "m", "o"), False),)
    ),
)


@pytest.mark.parametrize("there", [True, False])
def test_hardest_trials_are_shown_with_the_faces_that_there_are(tmp_path: Path, there: bool) -> None:
    def pictures(result: Any, name: str) -> Any:
        assert result.benchmark in ("IJB-C 1:1", "IJB-C 1:N")
        return grey_face(result, name) if there and name != "o" else None

    one, many = replace(verification(), hardest=HARD[:1]), replace(identification(), hardest=HARD[1:])
    path = tmp_path / "report.html"
    write_report(path, [one, many], ENVIRONMENT, pictures)
    found = Page(path.read_text(encoding="utf-8"))
    assert "Genuine: 1 of 2 pairs" in found.text
    assert "0.125rejected" in "".join(found.text.split())
    assert "0.250 · 0.500" in found.text
    assert "probe: p" in found.text
    assert "a/<wbr>&lt;b&gt;.jpg" in found.html
    faces = [source for source in found.values("src") if source.startswith("data:image/jpeg")]
    assert len(faces) == (2 if there else 0)  # of the search one is missing: names alone


def test_results_that_were_read_again_have_nothing_to_look_at(of_all: Page) -> None:
    assert "Hardest" not in of_all.text
