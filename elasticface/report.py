"""Figures in, something to look at out: a terminal table, a dictionary for JSON, one HTML page that stands alone.

The page loads nothing: its CSS, its plots (SVG) and its pictures (base64 JPEG) are inside it, and the same results give
the same bytes. Whatever comes from outside (model, benchmark and file names) is escaped by the template and never gets
into a plot.

jinja2 and cv2 are imported where they are needed: the command line imports this module and must start fast.
"""

import base64
import csv
import dataclasses
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from elasticface import plots, report_large
from elasticface.benchmarks.results import LargeResult, as_dictionary
from elasticface.benchmarks.slices import FACTORS, Slice
from elasticface.files import write_text

if TYPE_CHECKING:
    from markupsafe import Markup

    from elasticface.benchmarks.pairs import PairResult

Picture = NDArray[np.uint8]
Results = Sequence["PairResult | LargeResult"]
Floats = NDArray[np.float64]

FORMAT_VERSION = 1
RULES = {
    "at-most": "the largest TAR whose FAR does not exceed the target",
    "nearest": "the TAR at the observed FAR nearest to the target",
}
INTERVAL_LEVEL = 0.95  # of PairResult.intervals
HARDEST = 12  # pairs shown of each kind
JPEG_QUALITY = 88


# ---------------------------------------------------------------------------------------------- terminal and JSON


def terminal_table(results: Sequence["PairResult"]) -> Table:
    """One row a benchmark and model: accuracy ± standard deviation over the folds, EER, TAR at each FAR; all in %.

    TAR follows the rule "at-most". Where a benchmark has several models, the one with the highest accuracy is bold.
    """
    fars = _fars(results)
    table = Table(caption=f"All in %. TAR at FAR: {RULES['at-most']}.", caption_justify="left", box=SIMPLE_HEAD)
    table.add_column("Benchmark")
    table.add_column("Model", overflow="fold")
    for heading in ("Accuracy", "EER", *(f"TAR at\n{_scientific(far)}" for far in fars)):
        table.add_column(heading, justify="right", no_wrap=True)
    for benchmark, rows in _by_benchmark(results).items():
        for i, result in enumerate(rows):
            tars = (result.tar_at_far.get("at-most", {}).get(far, math.nan) for far in fars)
            accuracy = f"{_percent(result.accuracy)} ± {_percent(result.accuracy_std)}"
            cells = (benchmark if i == 0 else "", result.model, accuracy, *map(_percent, (result.eer, *tars)))
            table.add_row(
                *(Text(cell) for cell in cells),  # Text: a name in [brackets] is not markup
                style="bold" if _is_best(result, rows) else None,
                end_section=i == len(rows) - 1,
            )
    return table


def terminal_tables(results: Results) -> list[Table]:
    """A table of the results on pairs, where there are any, and one for each kind of figure of the large benchmarks."""
    pairs, large = _apart(results)
    return [*([terminal_table(pairs)] if pairs else []), *report_large.terminal_tables(large)]


def results_json(results: Results, environment: Mapping[str, Any]) -> dict[str, Any]:
    """Figures, protocol, rules, counts, models and versions, in plain types: None for NaN, no raw scores.

    Each result says its ``"kind"``, on which its figures depend.

    Args:
        results: what the benchmarks gave.
        environment: versions and hardware, kept under ``"environment"``; its ``"versions"`` also stand by themselves.
    """
    figures = [
        as_dictionary(result) if isinstance(result, report_large.LARGE) else _pair_figures(result) for result in results
    ]
    plain: dict[str, Any] = _plain(
        {
            "format_version": FORMAT_VERSION,
            "rules": RULES,
            "interval_level": INTERVAL_LEVEL,
            "results": figures,
            "versions": environment.get("versions", environment),
            "environment": environment,
        }
    )
    return plain


def _pair_figures(result: "PairResult") -> dict[str, Any]:
    return {
        "kind": "pairs",
        "model": result.model,
        "benchmark": result.benchmark,
        "protocol": result.protocol,
        "counts": result.counts,
        "accuracy": result.accuracy,
        "accuracy_std": result.accuracy_std,
        "per_fold": result.per_fold,
        "threshold": result.threshold,  # on squared L2 distance
        "threshold_cosine": _cosine_threshold(result),
        "eer": result.eer,
        "tar_at_far": result.tar_at_far,
        "intervals": result.intervals,
        "slices": [dataclasses.asdict(piece) for piece in result.slices],
    }


def _apart(results: Results) -> tuple[list["PairResult"], list[LargeResult]]:
    """The results on pairs, and those of the large benchmarks."""
    pairs: list[PairResult] = []
    large: list[LargeResult] = []
    for result in results:
        if isinstance(result, report_large.LARGE):
            large.append(result)
        else:
            pairs.append(result)
    return pairs, large


# ---------------------------------------------------------------------------------------------- the page


@dataclass(frozen=True)
class HardPair:
    """One pair of the page's gallery; ``pictures`` are two data URIs, or None without pictures."""

    score: float
    names: tuple[str, str]
    pictures: tuple[str, str] | None
    wrong: bool  # on the wrong side of the decision threshold


@dataclass(frozen=True)
class Entry:
    """What the page shows of one result."""

    result: "PairResult"
    look: plots.Look
    best: bool
    roc: tuple[Floats, Floats]  # FARs and the TAR at each
    strip: tuple[float, float, float] | None  # interval and accuracy on the benchmark's common axis, in %
    cosine_threshold: float
    histogram: "Markup"
    genuine: list[HardPair]  # lowest scores first
    impostor: list[HardPair]  # highest scores first
    false_rejections: int
    false_acceptances: int


@dataclass(frozen=True)
class Factor:
    """What the page shows of the pairs grouped by one factor."""

    name: str
    about: str
    svg: "Markup"
    groups: dict[str, list[Slice | None]]  # name -> a slice a model


@dataclass(frozen=True)
class Curve:
    """One plot of the training section."""

    title: str
    svg: "Markup"
    says: str  # what it shows, in words
    legend: list[plots.Look]


@dataclass(frozen=True)
class Guide:
    """What the page tells someone who sees one for the first time."""

    about: str  # a paragraph: what was done, and what there is to see
    faces: Picture  # [H, W, 3] RGB: a sheet of faces that the model was trained on
    faces_show: str  # what is on the sheet, in words
    steps: Sequence[tuple[str, str]]  # how to go on: what for, and the command


def write_report(
    path: Path,
    results: Results,
    environment: Mapping[str, Any],
    pictures: Callable[["PairResult", str], Picture] | None,
    curves: Sequence[dict[str, Any]] | None = None,
    guide: Guide | None = None,
) -> None:
    """One self-contained HTML page at ``path``, whole or not at all.

    Args:
        results: one or more; those of one benchmark are compared with each other.
        environment: versions and hardware; shown, and kept in the JSON to download.
        pictures: ``(result, image name) -> uint8 [112, 112, 3] RGB`` for the hardest pairs; None leaves the faces out.
        curves: the lines of ``metrics.jsonl``; None or none leaves the training section out.
        guide: what to say before the figures and how to go on after them.

    Raises:
        ValueError: there is no result.
    """
    if not results:
        raise ValueError("a report needs at least one result")
    import jinja2

    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("elasticface", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"percent": _percent, "power": plots.power, "interval": _interval}
    looks = plots.looks(result.model for result in results)
    pairs, large = _apart(results)
    benchmarks = [
        _benchmark(number, rows, looks, pictures) for number, rows in enumerate(_by_benchmark(pairs).values())
    ]
    page = templates.get_template("report.html").render(
        benchmarks=benchmarks,
        large=report_large.sections(large, looks),
        models=list(looks),
        fars=_fars(pairs),
        rules=RULES,
        nan=math.nan,
        training=_training(curves or ()),
        guide=guide,
        faces_uri=_jpeg(guide.faces) if guide else None,
        environment=list(_flat(_plain(environment))),
        json_uri=_data_uri("application/json", json.dumps(results_json(results, environment), indent=2).encode()),
        csv_uri=_data_uri("text/csv", _roc_csv(benchmarks, large).encode(errors="replace")),
    )
    # File names need not be UTF-8; what cannot be written is shown as "?".
    write_text(path, page.encode(errors="replace").decode())


def _benchmark(
    number: int,
    results: list["PairResult"],
    looks: Mapping[str, plots.Look],
    pictures: Callable[["PairResult", str], Picture] | None,
) -> dict[str, Any]:
    """Everything the template needs for one benchmark."""
    strips = _strips(results)
    histograms = plots.histograms([(r.scores, r.same, _cosine_threshold(r)) for r in results], salt=str(number))
    entries: list[Entry] = []
    for result, strip, histogram in zip(results, strips, histograms, strict=True):
        threshold = _cosine_threshold(result)
        accepted = result.scores > threshold  # the protocol accepts a distance BELOW the threshold
        wrong = accepted != result.same
        entries.append(
            Entry(
                result=result,
                look=looks[result.model],
                best=_is_best(result, results),
                roc=plots.roc_steps(result.scores, result.same),
                strip=strip,
                cosine_threshold=threshold,
                histogram=histogram,
                genuine=_hardest(result, result.same, result.scores, wrong, pictures),
                impostor=_hardest(result, ~result.same, -result.scores, wrong, pictures),
                false_rejections=int((wrong & result.same).sum()),
                false_acceptances=int((wrong & ~result.same).sum()),
            )
        )
    return {
        "name": results[0].benchmark,
        "entries": entries,
        "folds": max(len(result.per_fold) for result in results),
        "roc": plots.roc([(entry.look, *entry.roc) for entry in entries], salt=str(number)),
        "factors": _factors(results, looks, salt=str(number)),
    }


def _factors(results: list["PairResult"], looks: Mapping[str, plots.Look], salt: str) -> list[Factor]:
    """The slices of all models, by factor and group."""
    factors: dict[str, dict[str, list[Slice | None]]] = {}
    for i, result in enumerate(results):
        for piece in result.slices:
            groups = factors.setdefault(piece.factor, {})
            groups.setdefault(piece.name, [None] * len(results))[i] = piece
    low = min((piece.interval[0] for result in results for piece in result.slices), default=0)
    made = []
    for factor, groups in factors.items():
        lines = [
            (looks[result.model], [(p.accuracy, *p.interval) if p else None for p in models])
            for result, models in zip(results, zip(*groups.values(), strict=True), strict=True)
        ]
        svg = plots.slices(list(groups), lines, low, f"slices/{salt}/{factor}")
        made.append(Factor(factor, FACTORS[factor][2], svg, groups))
    return made


def _hardest(
    result: "PairResult",
    among: NDArray[np.bool_],
    easiness: NDArray[np.float32],
    wrong: NDArray[np.bool_],
    pictures: Callable[["PairResult", str], Picture] | None,
) -> list[HardPair]:
    candidates = np.flatnonzero(among)
    order = np.argsort(easiness[candidates], kind="stable")[:HARDEST]
    pairs = []
    for i in candidates[order]:
        names = (result.first[i], result.second[i])
        shown = (_jpeg(pictures(result, names[0])), _jpeg(pictures(result, names[1]))) if pictures else None
        pairs.append(HardPair(float(result.scores[i]), names, shown, bool(wrong[i])))
    return pairs


def _strips(results: list["PairResult"]) -> list[tuple[float, float, float] | None]:
    """Accuracy and its interval on one axis for all models, in % of its width; None without anything to compare."""
    points = [(*result.intervals.get("accuracy", (math.nan, math.nan)), result.accuracy) for result in results]
    low, high = np.min(points), np.max(points)  # NaN if any is missing
    if len(results) < 2 or not high > low:
        return [None] * len(results)
    margin = 4  # % on either side, so that the dots stay inside
    scaled = margin + (100 - 2 * margin) * (np.array(points) - low) / (high - low)
    return [(round(float(a), 2), round(float(b), 2), round(float(c), 2)) for a, b, c in scaled]


def _jpeg(picture: Picture) -> str:
    import cv2

    done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise ValueError(f"an array of shape {picture.shape} and type {picture.dtype} cannot be written as JPEG")
    return _data_uri("image/jpeg", data.tobytes())


def _training(lines: Sequence[dict[str, Any]]) -> list[Curve]:
    """The training plots there is something to show for."""
    curves = []
    for title, key, draw, drawn in (
        ("Loss", "loss", plots.loss, plots.trend),
        ("Learning rate", "lr", plots.learning_rate, plots.thin),
    ):
        points = _points(lines, key)
        if len(points[0]):
            steps, values = drawn(*points)
            says = f"{title} over {int(steps[-1]):,} steps, {values[0]:.3g} at first and {values[-1]:.3g} at last"
            curves.append(Curve(title, draw(*points), says, []))

    looks = plots.looks(str(line["benchmark"]) for line in lines if line.get("benchmark") is not None)
    validated = [(look, *_points(lines, "accuracy", name)) for name, look in looks.items()]
    validated = [(look, steps, values) for look, steps, values in validated if len(steps)]
    if validated:
        says = "; ".join(f"{look.name} {_percent(values[-1])} % at last" for look, _, values in validated)
        legend = [look for look, _, _ in validated]
        curves.append(Curve("Validation accuracy", plots.accuracy(validated), says, legend))
    return curves


def _points(lines: Iterable[dict[str, Any]], key: str, benchmark: str | None = None) -> tuple[Floats, Floats]:
    """Steps and finite values of one curve. A resumed run repeats a few steps: the last line about a step counts."""
    values = {
        line["step"]: float(line[key])
        for line in lines
        if line.get("benchmark") == benchmark and line.get(key) is not None and math.isfinite(line[key])
    }
    steps = sorted(values)
    return np.array(steps, dtype=np.float64), np.array([values[step] for step in steps], dtype=np.float64)


# ---------------------------------------------------------------------------------------------- small parts


def _by_benchmark(results: Iterable["PairResult"]) -> dict[str, list["PairResult"]]:
    groups: dict[str, list[PairResult]] = {}
    for result in results:
        groups.setdefault(result.benchmark, []).append(result)
    return groups


def _is_best(result: "PairResult", rivals: Sequence["PairResult"]) -> bool:
    return len(rivals) > 1 and result.accuracy == max(rival.accuracy for rival in rivals)


def _cosine_threshold(result: "PairResult") -> float:
    """The squared L2 distance of unit vectors is d = 2 − 2 cos, so cos = 1 − d / 2."""
    return 1 - result.threshold / 2


def _fars(results: Iterable["PairResult"]) -> list[str]:
    return sorted({far for result in results for rates in result.tar_at_far.values() for far in rates}, key=float)


def _roc_csv(benchmarks: Iterable[dict[str, Any]], large: Iterable[LargeResult]) -> str:
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["benchmark", "model", "far", "tar"])
    for entry in (entry for benchmark in benchmarks for entry in benchmark["entries"]):
        for far, tar in zip(*entry.roc, strict=True):
            rows.writerow([entry.result.benchmark, entry.result.model, f"{far:.9g}", f"{tar:.9g}"])
    for benchmark, model, far, tar in report_large.roc_rows(large):
        rows.writerow([benchmark, model, f"{far:.9g}", f"{tar:.9g}"])
    return text.getvalue()


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f}" if math.isfinite(fraction) else "–"


def _interval(bounds: tuple[float, float]) -> str:
    return f"{_percent(bounds[0])} – {_percent(bounds[1])}"


def _scientific(far: str) -> str:
    """A rate as a terminal shows it, 0.001 as 1e-3."""
    mantissa, exponent = f"{float(far):e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _plain(value: Any) -> Any:
    """``value`` in the types JSON has. What is not finite becomes None, what JSON does not know becomes its text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key} · ")
        else:
            items = value if isinstance(value, list) else [value]
            yield prefix + key, ", ".join(str(item) for item in items if item is not None) or "–"
