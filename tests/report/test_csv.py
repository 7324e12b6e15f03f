"""All figures as CSV: each kind of result, with the intervals where there are some."""

import csv
import io

from made_results import ALL, NASTY, make_result

from elasticface.benchmarks.results import TemplateIdentification
from elasticface.report import csv as report_csv


def test_every_figure_is_a_row_with_its_interval() -> None:
    rows = list(csv.DictReader(io.StringIO(report_csv.figures([make_result(NASTY), *ALL]))))
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
    cmc = [*csv.DictReader(io.StringIO(report_csv.cmc(searches)))]
    assert [(row["rank"], row["rate"]) for row in cmc] == [("1", "0.9512"), ("2", "0.9634"), ("3", "0.9688")]
    open_set = [*csv.DictReader(io.StringIO(report_csv.open_set(searches)))]
    assert [(row["fpir"], row["tpir"]) for row in open_set][:2] == [("0", "0.5"), ("0.01", "0.8645")]
    assert {(row["benchmark"], row["model"]) for row in [*cmc, *open_set]} == {("IJB-C 1:N", "one")}
