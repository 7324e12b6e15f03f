"""The page of a selection: tables and plots, in the report's looks."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from elasticface.report import plots
from elasticface.report.figures import counted, percent
from elasticface.report.page_templates import templates_of, write_page
from elasticface.report.pictures import data_uri
from elasticface.selection import shown
from elasticface.selection.choice import Stage
from elasticface.selection.record import RECORD, Record, Selection
from elasticface.training.config import to_yaml

_MEAN = plots.Look("mean", "ink")


def write_selection(path: Path, selection: Selection, record: Record) -> None:
    """Write one self-contained HTML page, whole or not at all.

    Args:
        path: the file.
        selection: what it shows.
        record: all runs, for the page to hold.
    """
    templates = templates_of("elasticface.selection")
    templates.filters |= {"percent": percent, "counted": counted}
    stages = [selection.of_margin, selection.of_std]
    page = templates.get_template("selection.html").render(
        selection=selection,
        record=record,
        stages=[(stage, shown.title_of(selection, stage), _plot(selection, stage)) for stage in stages],
        settings=to_yaml(selection.config),
        shown=shown,
        download=data_uri("application/json", json.dumps(asdict(record), indent=2).encode(errors="replace")),
        name=RECORD,
    )
    write_page(path, page)


def _plot(selection: Selection, stage: Stage) -> plots.Plot:
    rows, name, looks = shown.rows_of(stage), shown.NAMES[stage.parameter], plots.looks(stage.winner.accuracy)
    runs = np.array(  # [N, S, B]
        [[[run.accuracy[one] for one in looks] for run in selection.runs_of(stage, row)] for row in rows]
    )
    lines = [(look, runs[:, :, i]) for i, look in enumerate(looks.values())]
    if len(lines) > 1:
        lines.append((_MEAN, runs.mean(axis=2)))
    means = "; ".join(f"{name} {shown.label(stage, one)}: {percent(one.mean)} %" for one in rows)
    names = [shown.label(stage, one).replace(" ", "\n") for one in rows]
    svg = plots.candidates(name, names, lines, f"selection/{stage.parameter}")
    about = "in percentage points" + ("; a small dot is a seed" if stage.seeds > 1 else "")
    legend = [look for look, _ in lines]
    return plots.Plot(f"Accuracy over {name}", f"Mean accuracies: {means}", svg, legend, about)
