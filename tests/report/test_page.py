"""The report: what it says, that it stands alone, that strangers' names are harmless, that the same gives the same."""

import base64
import csv
import io
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
import pytest
from made_results import ALL, ENVIRONMENT, NASTY, SLICES, Page, grey_face, make_result, megaface
from numpy.typing import NDArray

from elasticface.report import plots
from elasticface.report.files import figures_csv, results_json
from elasticface.report.page import Guide, write_report
from elasticface.report.plots import roc_steps

GUIDE = Guide(
    "Made-up people, one a row.",
    np.full((40, 90, 3), (200, 90, 40), dtype=np.uint8),
    "Five people & more",
    [("Align them:", "elasticface align 'a b' <out>"), ("Train:", "elasticface train faces")],
)


def make_curves(steps: int = 30) -> list[dict[str, Any]]:
    curves: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        curves.append({"step": step, "epoch": 0, "loss": 30 / step, "lr": 0.1, "images_per_second": 90.0})
        if step % 10 == 0:
            curves.append({"step": step, "epoch": 0, "benchmark": "lfw", "accuracy": 0.9 + 0.001 * step})
    return curves


@pytest.fixture
def report(tmp_path: Path) -> Callable[..., Page]:
    def write(
        results: list[Any],
        pictures: Any = grey_face,
        curves: Any = None,
        environment: Any = ENVIRONMENT,
        guide: Guide | None = None,
    ) -> Page:
        path = tmp_path / "report.html"
        write_report(path, results, environment, pictures, curves, guide)
        return Page(path.read_text(encoding="utf-8"))

    return write


def page_of(folder: Path, results: list[Any], curves: Any = None) -> Page:
    write_report(folder / "report.html", results, ENVIRONMENT, grey_face, curves)
    return Page((folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The least page: one model on one benchmark."""
    return page_of(tmp_path_factory.mktemp("one"), [make_result()])


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """Three models on two benchmarks, with curves."""
    results = [make_result(f"model {i}", benchmark) for i in range(3) for benchmark in ("lfw", "cplfw")]
    return page_of(tmp_path_factory.mktemp("many"), results, make_curves())


# ---------------------------------------------------------------------------------------------- the page


def test_page_loads_nothing_from_outside(many: Page) -> None:
    assert not re.search(r"https?:|//cdn|@import|url\((?!#)", many.html)
    assert {tag for tag, _ in many.tags}.isdisjoint({"script", "link", "iframe", "object", "embed", "base", "form"})
    assert many.values("src")
    assert all(source.startswith("data:image/jpeg;base64,") for source in many.values("src"))
    assert all(link.startswith(("#", "data:")) for link in many.values("href") + many.values("xlink:href"))


def test_names_of_strangers_are_harmless(report: Callable[..., Page]) -> None:
    result = make_result()
    names = tuple(f"{NASTY}/{i}" for i in range(len(result.scores)))
    result = replace(result, model=NASTY, benchmark=NASTY, protocol=NASTY, first=names, second=names)
    curves = [*make_curves(), {"step": 30, "benchmark": NASTY, "accuracy": 0.9}]
    plain = report([make_result()], curves=make_curves())
    page = report([result], curves=curves, environment={NASTY: NASTY})
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in plain.tags}
    assert not page.values("onerror")
    assert "<script" not in page.html
    assert "{{ 7 * 7 }}" in page.text
    # The only thing that may come into the plots from outside is numbers.
    assert "alert" not in "".join(re.findall(r"<svg.*?</svg>", page.html, flags=re.DOTALL))


def test_name_that_is_not_utf8_does_not_stop_the_report(report: Callable[..., Page]) -> None:
    result = make_result()
    name = b"\xff.jpg".decode(errors="surrogateescape")
    result = replace(result, model=name, benchmark=name, first=(name,) * 400, second=(name,) * 400)
    assert "?.jpg" in report([result]).text


def test_same_results_give_same_bytes(tmp_path: Path) -> None:
    results, curves = [make_result("one"), make_result("two"), *ALL], make_curves()
    settings = dict(matplotlib.rcParams)
    write_report(tmp_path / "a.html", results, ENVIRONMENT, grey_face, curves)
    assert dict(matplotlib.rcParams) == settings
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 20, "svg.hashsalt": None}):
        write_report(tmp_path / "b.html", results, ENVIRONMENT, grey_face, curves)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.html", "b.html"]


def test_every_section_is_there_and_linked(many: Page) -> None:
    sections = [section["id"] for section in many.all("section")]
    assert sections == ["figures", "published", "benchmark-1", "benchmark-2", "training", "method", "downloads"]
    assert [link["href"] for link in many.all("a")][: len(sections)] == [f"#{name}" for name in sections]
    for figure in ("98.25", "97.85 – 98.55", "0.31", "91.00", "89.00 – 93.00", "1.81", "1.500", "2.13.0", "threads"):
        assert figure in many.text
    assert "Validation accuracy" in many.text


@pytest.mark.parametrize("curves", [None, [], [{"step": 1, "epoch": 0}]])
def test_no_curves_no_training_section(report: Callable[..., Page], curves: Any) -> None:
    page = report([make_result()], curves=curves)
    assert "training" not in page.values("id")
    assert "#training" not in page.values("href")


def test_curves_without_validation_leave_it_out(report: Callable[..., Page]) -> None:
    page = report([make_result()], curves=[line for line in make_curves() if "loss" in line])
    assert "Learning rate" in page.text
    assert "Validation accuracy" not in page.text


def test_broken_and_repeated_curve_lines_are_survived(report: Callable[..., Page]) -> None:
    lines = [{"step": step, "loss": loss, "lr": 0.1} for step, loss in ((1, 9.0), (2, math.nan), (3, None), (3, 5.0))]
    page = report([make_result()], curves=[*lines, {"step": 1, "loss": 7.0, "lr": 0.0}])
    assert "Loss over 3 steps, 7 at first and 5 at last" in page.values("aria-label")


def test_pictures_are_those_of_the_hardest_pairs(report: Callable[..., Page]) -> None:
    result, asked = make_result(), []

    def picture(of: object, name: str) -> NDArray[np.uint8]:
        asked.append(name)
        return grey_face(of, name)

    page = report([result], pictures=picture)
    genuine = sorted(np.flatnonzero(result.same), key=lambda i: result.scores[i])[:12]
    impostor = sorted(np.flatnonzero(~result.same), key=lambda i: -result.scores[i])[:12]
    assert asked == [side[i] for i in [*genuine, *impostor] for side in (result.first, result.second)]
    assert len(page.all("img")) == 48
    for image, name in zip(page.all("img"), asked, strict=True):
        assert name in str(image["alt"])
    assert f"{result.scores[genuine[0]]:.3f}" in page.text
    jpeg = base64.b64decode(page.values("src")[0].partition("base64,")[2])
    shown = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None
    np.testing.assert_allclose(shown[56, 56, ::-1].astype(int), (200, 90, 40), atol=4)  # RGB stayed RGB


def test_without_pictures_the_names_stay(report: Callable[..., Page]) -> None:
    page = report([make_result()], pictures=None)
    assert not page.all("img")
    assert page.text.count(".jpg") == 48


def test_errors_are_counted_at_the_cosine_of_the_threshold(report: Callable[..., Page]) -> None:
    result = replace(make_result(), threshold=1.4)  # cos = 1 − 1.4 / 2 = 0.3
    rejected = int((result.scores[result.same] <= 0.3).sum())
    accepted = int((result.scores[~result.same] > 0.3).sum())
    assert rejected > 1
    page = report([result])
    assert f"Genuine: {rejected} pairs falsely rejected" in page.text
    assert ("none falsely accepted" in page.text) == (accepted == 0)
    assert f"{rejected + accepted} errors at threshold 0.300" in page.text


def test_all_correct_result_shows_the_closest_pairs_instead(report: Callable[..., Page]) -> None:
    same = make_result().same
    scores = np.where(same, 0.9, -0.1).astype(np.float32)
    perfect = dict.fromkeys(("0.001", "0.01", "0.1"), 1.0)
    result = replace(
        make_result(accuracy=1.0), scores=scores, eer=0.0, tar_at_far={"at-most": perfect, "nearest": perfect}
    )
    page = report([result])
    assert "no errors at threshold" in page.text
    assert "none falsely rejected; these come closest" in page.text
    assert "error" not in page.values("class")
    assert len(page.all("img")) == 48


def test_few_pairs_make_a_small_report(report: Callable[..., Page]) -> None:
    result = make_result(pairs=20)
    few = replace(result, scores=result.scores[:3], same=result.same[:3], intervals={}, eer=math.nan)
    page = report([few])
    assert len(page.all("img")) == 6
    assert "interval" not in page.text.partition("How it was measured")[0]


@pytest.mark.parametrize("models", [1, 2, 10])
def test_best_model_is_marked_among_several(report: Callable[..., Page], models: int) -> None:
    results = [make_result(f"model {i}", accuracy=0.95 + 0.001 * i, pairs=40) for i in range(models)]
    page = report(results, pictures=None)
    assert page.text.count(" highest") == (0 if models == 1 else 1) + page.text.count("the highest")
    assert page.text.count(f"model {models - 1}") >= 4


def test_skipped_pairs_are_said_aloud(one: Page, report: Callable[..., Page]) -> None:
    result = make_result()
    assert "pairs skipped." not in one.text
    skipping = replace(result, counts={**result.counts, "skipped_pairs": 3})
    text = report([skipping, replace(make_result("two"), counts=skipping.counts)]).text
    assert text.count("lfw 3 pairs skipped.") == 1
    assert "one: 3 pairs skipped." in report([skipping, make_result("two")]).text


@pytest.mark.parametrize("result", [make_result(), megaface()])
def test_a_remark_is_shown_as_it_is(result: Any, report: Callable[..., Page]) -> None:
    remarks = ("2 pairs listed before already, and counted again", "no MegaFace (R)")
    page = report([replace(result, notes=remarks)])
    assert '<p class="note">2 pairs listed before already, and counted again; no MegaFace (R).</p>' in page.html


def test_page_is_accessible(many: Page) -> None:
    assert many.all("html")[0]["lang"] == "en"
    assert all(header.get("scope") for header in many.all("th"))
    assert all(image.get("alt") for image in many.all("img"))
    pictures = [tag for tag in many.all("div") if tag.get("role") == "img"]
    assert len(pictures) == 2 * 2 + 6 + 3  # ROCs and DETs, histograms, curves
    assert all(picture.get("aria-label") for picture in pictures)
    assert len(set(many.values("id"))) == len(many.values("id"))
    for user in many.values("aria-labelledby") + [link[1:] for link in many.values("href") if link[0] == "#"]:
        assert user in many.values("id")
    referred = {link[1:] for link in many.values("xlink:href")} | set(re.findall(r"url\(#([^)]*)\)", many.html))
    assert referred <= set(many.values("id"))


def test_plots_take_their_colours_from_the_page(many: Page) -> None:
    used = set(re.findall(r"var\(--([\w-]+)\)", many.html))
    defined = set(re.findall(r"--([\w-]+):", many.html))
    assert {"ink", "muted", "line", "genuine", "impostor", "series-0", "series-1"} <= used <= defined
    assert not re.search(r"#0000[0-9a-f]{2}\b", many.html)


def test_downloads_are_the_figures_and_the_roc(report: Callable[..., Page]) -> None:
    results = [make_result("one"), make_result("two")]
    page = report(results)
    assert json.loads(page.download("results.json")) == results_json(results, ENVIRONMENT)
    assert page.download("figures.csv") == figures_csv(results)
    rows = list(csv.DictReader(io.StringIO(page.download("roc.csv"))))
    fars, tars = roc_steps(results[0].scores, results[0].same)
    mine = [(float(row["far"]), float(row["tar"])) for row in rows if row["model"] == "one"]
    np.testing.assert_allclose(mine, np.stack([fars, tars], axis=1), rtol=1e-8)
    rows = list(csv.DictReader(io.StringIO(page.download("det.csv"))))
    mine = [(float(row["fmr"]), float(row["fnmr"])) for row in rows if row["model"] == "two"]
    fars, tars = roc_steps(results[1].scores, results[1].same)
    np.testing.assert_allclose(mine, np.stack([fars, 1 - tars], axis=1), rtol=1e-8, atol=1e-9)


def test_roc_is_taken_once_a_result(report: Callable[..., Page], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(plots, "roc_steps", lambda *given: asked.append(given) or roc_steps(*given))
    report([make_result("one"), make_result("two")])
    assert len(asked) == 2


# ---------------------------------------------------------------------------------------------- slices


def test_slices_stand_in_plots_and_table_beside_each_other(report: Callable[..., Page]) -> None:
    results = [replace(make_result("one"), slices=SLICES), replace(make_result("two"), slices=SLICES[1:])]
    page = report(results, pictures=None)
    assert "Accuracy by what is in the photos" in page.text
    by_factor = [str(label) for label in page.values("aria-label") if str(label).startswith("Accuracy on lfw by ")]
    assert [label.removeprefix("Accuracy on lfw by ").split(",")[0] for label in by_factor] == ["pose", "occlusion"]
    assert "0–15° 1,111 99 95.12 94.01 – 96.02 91.12 1.23 – – –" in page.text
    assert "over 45° 88 0 82.12 72.01 – 88.02 82.12 – 82.12 72.01 – 88.02 82.12 –" in page.text
    assert all(header.get("scope") for header in page.all("th"))
    assert len(set(page.values("id"))) == len(page.values("id"))


def test_without_slices_nothing_is_said_of_them(one: Page) -> None:
    assert "what is in the photos" not in one.text


# ---------------------------------------------------------------------------------------------- a guide


def test_guide_tells_what_there_is_to_see_and_how_to_go_on(report: Callable[..., Page]) -> None:
    page = report([make_result()], guide=GUIDE)
    assert [section["id"] for section in page.all("section")][:4] == ["about", "figures", "published", "next"]
    assert {"#about", "#next"} <= set(page.values("href"))
    assert "Made-up people, one a row." in page.text
    assert "Align them: elasticface align 'a b' <out> Train: elasticface train faces" in page.text
    sheet = page.all("img")[0]
    assert (sheet["width"], sheet["height"], sheet["alt"]) == ("90", "40", "Five people & more")
    jpeg = base64.b64decode(str(sheet["src"]).partition("base64,")[2])
    shown = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None
    assert shown.shape == (40, 90, 3)
    np.testing.assert_allclose(shown[20, 45, ::-1].astype(int), (200, 90, 40), atol=4)
    assert not re.search(r"https?:|//cdn|@import|url\((?!#)", page.html)


def test_without_a_guide_there_is_none(one: Page) -> None:
    assert {"about", "next"}.isdisjoint(one.values("id"))
    assert not one.all("pre")


# ---------------------------------------------------------------------------------------------- what goes wrong


def test_failing_picture_leaves_the_old_report(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")

    def picture(result: object, name: str) -> NDArray[np.uint8]:
        raise OSError(name)

    with pytest.raises(OSError, match="jpg"):
        write_report(path, [make_result()], ENVIRONMENT, picture)
    assert path.read_text() == "old"


def test_no_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one result"):
        write_report(tmp_path / "report.html", [], ENVIRONMENT, None)
    assert not list(tmp_path.iterdir())


def test_importing_the_report_leaves_the_slow_libraries_alone() -> None:
    code = "import sys, elasticface.report.page; print(*{'matplotlib', 'jinja2', 'cv2', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


# ---------------------------------------------------------------------------------------------- table, JSON
