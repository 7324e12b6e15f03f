"""Figures as files: JSON holds all of a result but its raw scores; CSV has each figure with its interval."""

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from judged import judged
from made_comparison import LARGE, MADE
from made_results import ALL, ENVIRONMENT, NASTY, SLICES, make_result

from elasticface.benchmarks.results import LargeResult, TemplateIdentification
from elasticface.report.files import (
    cmc_csv,
    comparison_json,
    differences_csv,
    figures_csv,
    open_set_csv,
    results_json,
)


def test_every_figure_is_a_row_with_its_interval() -> None:
    rows = list(csv.DictReader(io.StringIO(figures_csv([make_result(NASTY), *ALL]))))
    found = {(r["kind"], r["benchmark"], r["figure"], r["target"]): (r["value"], r["low"], r["high"]) for r in rows}
    assert len(found) == len(rows) == 3 + 6 + 12 + 5 + 2 * 2
    assert rows[0]["model"] == NASTY
    assert found["pairs", "lfw", "accuracy", ""] == ("0.9825", "0.9785", "0.9855")
    assert found["pairs", "lfw", "TAR at FAR, at-most", "0.001"] == ("0.91", "0.89", "0.93")
    assert found["pairs", "lfw", "equal error rate", ""] == ("0.0181", "0.0141", "0.0232")
    assert found["pairs", "lfw", "accuracy, standard deviation over folds", ""] == ("0.0031", "", "")
    assert found["pairs", "lfw", "TAR at FAR, nearest", "0.001"] == ("0.91", "0.88", "0.94")
    assert found["IJB 1:1 verification", "IJB-C 1:1", "TAR at FAR, nearest", "1e-06"] == ("0.8912", "0.8812", "0.9012")
    assert found["IJB 1:N identification", "IJB-C 1:N", "rank", "5"] == ("0.9734", "0.9633", "0.9811")
    assert found["IJB 1:N identification", "IJB-C 1:N", "rank", "1"] == ("0.9512", "", "")
    assert found["MegaFace", "MegaFace", "rank", "1"] == ("0.9789", "0.97", "0.99")


def test_curves_of_searches_are_rows() -> None:
    searches = [result for result in ALL if isinstance(result, TemplateIdentification)]
    cmc = [*csv.DictReader(io.StringIO(cmc_csv(searches)))]
    assert [(row["rank"], row["rate"]) for row in cmc] == [("1", "0.9512"), ("2", "0.9634"), ("3", "0.9688")]
    open_set = [*csv.DictReader(io.StringIO(open_set_csv(searches)))]
    assert [(row["fpir"], row["tpir"]) for row in open_set][:2] == [("0", "0.5"), ("0.01", "0.8645")]
    assert {(row["benchmark"], row["model"]) for row in [*cmc, *open_set]} == {("IJB-C 1:N", "one")}


def test_json_holds_the_slices() -> None:
    made = results_json([replace(make_result(), slices=SLICES), make_result("two")], ENVIRONMENT)
    first, second = made["results"]
    assert second["slices"] == []
    assert len(first["slices"]) == 4
    assert first["slices"][1] == {
        "factor": "pose",
        "name": "over 45°",
        "genuine": 88,
        "impostor": 0,
        "accuracy": 0.8212,
        "interval": [0.7201, 0.8802],
        "tar": 0.8212,
        "far": None,
    }


def test_json_holds_the_figures_and_neither_nan_nor_scores() -> None:
    result = replace(make_result(), eer=math.nan, accuracy=np.float64(0.5), per_fold=(np.float64(0.5), math.inf))
    environment = {
        "versions": {"torch": "2.13.0"},
        "where": Path("a/b"),
        "seeds": np.arange(2),
        "lr": np.float32(math.nan),
    }
    made = results_json([result], environment)
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    (figures,) = made["results"]
    assert made["format_version"] == 2
    assert made["versions"] == {"torch": "2.13.0"}
    assert made["environment"] == {"versions": {"torch": "2.13.0"}, "where": "a/b", "seeds": [0, 1], "lr": None}
    assert set(made["rules"]) == set(figures["tar_at_far"]) == {"at-most", "nearest"}
    assert (figures["model"], figures["benchmark"], figures["eer"]) == ("one", "lfw", None)
    assert (figures["accuracy"], figures["per_fold"]) == (0.5, [0.5, None])
    assert (figures["threshold"], figures["threshold_cosine"]) == (1.5, 0.25)
    assert figures["counts"]["pairs"] == 400
    assert (figures["intervals"]["tar@0.001"], figures["intervals"]["eer"]) == ([0.89, 0.93], [0.0141, 0.0232])
    assert figures["intervals_by"] == "bootstrap over 57 people, 2,000 draws"
    assert figures.keys().isdisjoint({"scores", "same", "accepted", "units", "first", "second"})


def test_json_says_each_results_kind_and_all_of_it() -> None:
    made = results_json([make_result(), *ALL], ENVIRONMENT)
    kinds = [result["kind"] for result in made["results"]]
    assert kinds == ["pairs", "IJB 1:1 verification", "IJB 1:N identification", "MegaFace", "MegaFace"]
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    one, many, search = made["results"][1], made["results"][2], made["results"][3]
    assert one["tar_at_far"]["nearest"]["0.0001"] == ALL[0].tar_at_far["nearest"]["0.0001"]  # type: ignore[union-attr]
    assert one["options"] == {"keep_norm": True}
    assert one["departures"] == ["1,234 images where IJB-C has 469,375"]
    assert one["intervals_by"] == "bootstrap over 3,531 people, 2,000 draws"
    assert many["intervals"] == {"rank": {"5": [0.9633, 0.9811]}, "tpir_at_fpir": {}}
    assert many["galleries"][0]["intervals"]["rank"]["1"] == [0.94, 0.96]
    assert (search["rank"]["1"], search["tar_at_far"]["at-most"]["1e-06"]) == (0.9789, 0.9811)


@pytest.mark.parametrize("result", ALL, ids=lambda result: result.benchmark)
def test_json_holds_no_samples(result: LargeResult) -> None:
    known = judged(result)
    (made,) = results_json([known], ENVIRONMENT)["results"]
    assert "samples" not in made
    assert made["intervals_by"] == "made up"
    (without,) = results_json([replace(known, samples=None)], ENVIRONMENT)["results"]
    assert made == without


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


def test_csv_names_figures_of_pairs_as_the_others_do() -> None:
    rows = list(csv.DictReader(io.StringIO(differences_csv(MADE))))
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
