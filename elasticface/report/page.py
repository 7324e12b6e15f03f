"""One HTML page that stands alone, from figures. Its sections are the modules beside this one.

The page loads nothing: its CSS, its plots (SVG) and its pictures (base64 JPEG) are inside it, and the same results give
the same bytes. Whatever comes from outside (names of models, benchmarks, files and groups) is escaped by the
template, and in plots by matplotlib.

cv2 is imported where it is needed: the command line imports this module and must start fast.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from elasticface.benchmarks.results import TemplateIdentification
from elasticface.report import comparison_section, files, large, pairs, plots, published_table, training
from elasticface.report.figures import RULES, Results, apart, by_benchmark, counted, fars_of, interval, percent
from elasticface.report.page_templates import templates_of, write_page
from elasticface.report.pictures import Picture, Pictures, data_uri, jpeg

if TYPE_CHECKING:
    from elasticface.report.comparison import Comparison


@dataclass(frozen=True)
class Guide:
    """What the page tells someone who sees one for the first time."""

    about: str  # a paragraph: what was done, and what there is to see
    faces: Picture  # [H, W, 3] RGB: a sheet of faces that the model was trained on
    faces_show: str  # what is on the sheet, in words
    steps: Sequence[tuple[str, str]]  # what to do next: what for, and the command


def write_report(
    path: Path,
    results: Results,
    environment: Mapping[str, Any],
    pictures: Pictures | None,
    curves: Sequence[dict[str, Any]] | None = None,
    guide: Guide | None = None,
    comparison: "Comparison | None" = None,
) -> None:
    """One self-contained HTML page at ``path``, whole or not at all.

    Args:
        results: one or more; those of one benchmark are compared with each other.
        environment: versions and hardware; shown, and kept in the JSON to download.
        pictures: of the hardest pairs and searches; None leaves the faces out.
        curves: the lines of ``metrics.jsonl``; None or none leaves the training section out.
        guide: what to say before the figures, and what to do next after them.
        comparison: of the results' models, to be shown beside the figures.

    Raises:
        ValueError: there is no result.
    """
    if not results:
        raise ValueError("a report needs at least one result")
    templates = templates_of("elasticface.report")
    templates.filters |= {"percent": percent, "power": plots.power, "interval": interval, "counted": counted}
    looks = plots.looks(result.model for result in results)
    of_pairs, of_large = apart(results)
    benchmarks = [
        pairs.section(number, rows, looks, pictures) for number, rows in enumerate(by_benchmark(of_pairs).values())
    ]
    rocs = [
        *((e.result.benchmark, e.result.model, *e.roc) for benchmark in benchmarks for e in benchmark["entries"]),
        *((r.benchmark, r.model, np.array(r.roc.fars), np.array(r.roc.tars)) for r in of_large if r.roc),
    ]
    page = templates.get_template("report.html").render(
        benchmarks=benchmarks,
        large=large.sections(of_large, looks, pictures),
        looks=looks,
        fars=fars_of(of_pairs),
        rules=RULES,
        nan=math.nan,
        training=training.training(curves or ()),
        guide=guide,
        faces_uri=jpeg(guide.faces) if guide else None,
        environment=list(_flat(files.plain(environment))),
        published=published_table.table(results),
        comparison=comparison,
        words=comparison_section,
        downloads=[
            (name, title, data_uri(kind, text.encode(errors="replace")))
            for name, title, kind, text in _downloads(results, environment, rocs, comparison)
        ],
    )
    write_page(path, page)


def _downloads(
    results: Results,
    environment: Mapping[str, Any],
    rocs: Sequence[tuple[str, str, pairs.Floats, pairs.Floats]],
    comparison: "Comparison | None",
) -> Iterator[tuple[str, str, str, str]]:
    """File name, title, type and content of what the page holds to be taken away.

    ``rocs`` are benchmark, model, FARs and TARs.
    """
    as_json, as_csv = "application/json", "text/csv"
    yield "results.json", "Figures as JSON", as_json, json.dumps(files.results_json(results, environment), indent=2)
    yield "figures.csv", "Figures as CSV", as_csv, files.figures_csv(results)
    if rocs:
        dets = [(benchmark, model, fars, 1 - tars) for benchmark, model, fars, tars in rocs]
        yield "roc.csv", "ROC points as CSV", as_csv, files.curves_csv(("far", "tar"), rocs)
        yield "det.csv", "DET points as CSV", as_csv, files.curves_csv(("fmr", "fnmr"), dets)
    if searches := [result for result in results if isinstance(result, TemplateIdentification)]:
        yield "cmc.csv", "CMC points as CSV", as_csv, files.cmc_csv(searches)
        yield "open_set.csv", "TPIR over FPIR as CSV", as_csv, files.open_set_csv(searches)
    if comparison:
        compared = json.dumps(files.comparison_json(comparison), indent=2)
        yield "comparison.json", "Differences as JSON", as_json, compared
        yield "differences.csv", "Differences as CSV", as_csv, files.differences_csv(comparison)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key} · ")
        else:
            items = value if isinstance(value, list) else [value]
            yield prefix + key, ", ".join(str(item) for item in items if item is not None) or "–"
