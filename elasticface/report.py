"""Figures in, something to look at out: a terminal table, a dictionary for JSON, one HTML page that stands alone.

The page loads nothing: its CSS, its plots (SVG) and its pictures (base64 JPEG) are inside it, and the same results give
the same bytes. Whatever comes from outside (model, benchmark and file names) is escaped by the template and never gets
into a plot. The plots take their colours from the page's CSS variables, so they follow light, dark and print.

matplotlib, jinja2 and cv2 are imported where they are needed: the command line imports this module and must start fast.
"""

import base64
import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from elasticface.files import write_text
from elasticface.metrics import tar_at_far

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

    from elasticface.benchmarks.pairs import PairResult

Picture = NDArray[np.uint8]
Floats = NDArray[np.float64]

FORMAT_VERSION = 1
RULES = {
    "at-most": "the largest TAR whose FAR does not exceed the target",
    "nearest": "the TAR at the observed FAR nearest to the target",
}
INTERVAL_LEVEL = 0.95  # of PairResult.intervals
HARDEST = 12  # pairs shown of each kind
MOST_POINTS = 500  # of one line in a plot: about one a pixel
BINS = 60  # of the score histogram
JPEG_QUALITY = 88
SERIES = 8  # distinct model colours, `--series-0` ... in the template
DASHES = ((), (5, 2), (1.5, 1.5))  # once round the colours, the next models are dashed

# What matplotlib writes for each of the template's CSS variables; `_plot` swaps them. Nothing else looks like these.
_NAMES = ("ink", "muted", "line", "accent", "genuine", "impostor", *(f"series-{i}" for i in range(SERIES)))
COLOUR = {name: f"#0000{i:02x}" for i, name in enumerate(_NAMES, start=1)}


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


def results_json(results: Sequence["PairResult"], environment: Mapping[str, Any]) -> dict[str, Any]:
    """Figures, protocol, rules, counts, models and versions, in plain types: None for NaN, no raw scores.

    Args:
        results: what the benchmarks gave.
        environment: versions and hardware, kept under ``"environment"``; its ``"versions"`` also stand by themselves.
    """
    figures = [
        {
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
        }
        for result in results
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


# ---------------------------------------------------------------------------------------------- the page


@dataclass(frozen=True)
class Series:
    """How one model's line looks, in the plots and in the legends."""

    name: str
    variable: str
    dash: tuple[float, ...] = ()


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
    series: Series
    best: bool
    strip: tuple[float, float, float] | None  # interval and accuracy on the benchmark's common axis, in %
    cosine_threshold: float
    histogram: "Markup"
    genuine: list[HardPair]  # lowest scores first
    impostor: list[HardPair]  # highest scores first
    false_rejections: int
    false_acceptances: int


def write_report(
    path: Path,
    results: Sequence["PairResult"],
    environment: Mapping[str, Any],
    pictures: Callable[["PairResult", str], Picture] | None,
    curves: Sequence[dict[str, Any]] | None = None,
) -> None:
    """One self-contained HTML page at ``path``, whole or not at all.

    Args:
        results: one or more; those of one benchmark are compared with each other.
        environment: versions and hardware; shown, and kept in the JSON to download.
        pictures: ``(result, image name) -> uint8 [112, 112, 3] RGB`` for the hardest pairs; None leaves the faces out.
        curves: the lines of ``metrics.jsonl``; None or none leaves the training section out.

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
    templates.filters |= {"percent": _percent, "power": _power, "interval": _interval}
    looks = _looks(result.model for result in results)
    page = templates.get_template("report.html").render(
        benchmarks=[
            _benchmark(number, rows, looks, pictures) for number, rows in enumerate(_by_benchmark(results).values())
        ],
        models=list(looks),
        fars=_fars(results),
        rules=RULES,
        nan=math.nan,
        training=_training(curves or ()),
        environment=list(_flat(_plain(environment))),
        json_uri=_data_uri("application/json", json.dumps(results_json(results, environment), indent=2).encode()),
        csv_uri=_data_uri("text/csv", _roc_csv(results).encode(errors="replace")),
    )
    # File names need not be UTF-8; what cannot be written is shown as "?".
    write_text(path, page.encode(errors="replace").decode())


def _benchmark(
    number: int,
    results: list["PairResult"],
    looks: Mapping[str, Series],
    pictures: Callable[["PairResult", str], Picture] | None,
) -> dict[str, Any]:
    """Everything the template needs for one benchmark."""
    strips = _strips(results)
    span = (min(float(r.scores.min()) for r in results), max(float(r.scores.max()) for r in results))
    histograms = [_histograms(result, span) for result in results]
    top = max(float(shares.max()) for _, *both in histograms for shares in both)
    entries: list[Entry] = []
    for result, strip, histogram in zip(results, strips, histograms, strict=True):
        threshold = _cosine_threshold(result)
        accepted = result.scores > threshold  # the protocol accepts a distance BELOW the threshold
        wrong = accepted != result.same
        entries.append(
            Entry(
                result=result,
                series=looks[result.model],
                best=_is_best(result, results),
                strip=strip,
                cosine_threshold=threshold,
                histogram=_histogram_plot(*histogram, top=top, threshold=threshold, salt=f"{number}/{len(entries)}"),
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
        "roc": _roc_plot(results, looks, salt=str(number)),
    }


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


# ---------------------------------------------------------------------------------------------- plots


def roc_steps(scores: NDArray[np.floating], same: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """The ROC by the rule "at-most" as at most 500 steps, evenly spread on a log axis.

    Args:
        scores: [P], higher is more alike.
        same: [P], True for genuine pairs.

    Returns:
        FARs, ascending from 0 (no impostor accepted) to 1, and the TAR at each; both [N]. Every FAR is a number of
        accepted impostors over all of them, so on a log axis nothing is lost that could be seen.
    """
    impostors = np.count_nonzero(~same)
    spread = np.unique(np.geomspace(1, impostors, MOST_POINTS - 1).round())
    fars = np.append(0, spread) / impostors
    return fars, tar_at_far(scores, same, fars, rule="at-most")


def _roc_plot(results: list["PairResult"], looks: Mapping[str, Series], salt: str) -> "Markup":
    with _plot("False accept rate", "True accept rate", f"roc/{salt}") as (axes, svg):
        left, bottom = 0.1, 1.0
        for result in results:
            fars, tars = roc_steps(result.scores, result.same)
            look = looks[result.model]
            axes.plot(fars[1:], tars[1:], color=COLOUR[look.variable], dashes=look.dash, drawstyle="steps-post")
            left, bottom = min(left, fars[1]), min(bottom, tars[1])
        bottom = min(0.99, max(0.0, 1.06 * bottom - 0.06))
        axes.set(xscale="log", xlim=(left, 1), ylim=(bottom, 1 + 0.03 * (1 - bottom)))
        axes.xaxis.set_major_formatter(lambda value, _: _power(value))
        axes.xaxis.set_minor_locator(_no_ticks())
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %" if value <= 1 else "")
        axes.grid(axis="x", visible=True)
    return svg()


def _histograms(result: "PairResult", span: tuple[float, float]) -> tuple[Floats, Floats, Floats]:
    """Bin edges [BINS + 1] and the share of genuine and of impostor pairs in each bin [BINS], in %."""
    edges = np.histogram_bin_edges(np.array(span), BINS)
    genuine, impostor = (
        np.histogram(result.scores[kind], edges)[0] * (100 / max(1, int(kind.sum())))
        for kind in (result.same, ~result.same)
    )
    return edges, genuine, impostor


def _histogram_plot(
    edges: Floats, genuine: Floats, impostor: Floats, *, top: float, threshold: float, salt: str
) -> "Markup":
    with _plot("Cosine similarity", "Share of pairs", f"scores/{salt}") as (axes, svg):
        for shares, name in ((impostor, "impostor"), (genuine, "genuine")):
            axes.stairs(shares, edges, fill=True, color=COLOUR[name], alpha=0.22, linewidth=0)
            axes.stairs(shares, edges, color=COLOUR[name], linewidth=1.4)
        axes.axvline(threshold, color=COLOUR["ink"], linewidth=1, dashes=(4, 3))
        axes.annotate(
            f"threshold {threshold:.3f}",
            (threshold, 1),
            xycoords=("data", "axes fraction"),
            xytext=(6 if threshold < edges.mean() else -6, -4),
            textcoords="offset points",
            ha="left" if threshold < edges.mean() else "right",
            va="top",
            color=COLOUR["ink"],
        )
        axes.set(xlim=(min(edges[0], threshold), max(edges[-1], threshold)), ylim=(0, 1.18 * top))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    return svg()


def _training(curves: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The training plots there is something to show for: title, SVG, legend, and what it says in words."""
    plots: list[dict[str, Any]] = []
    for key, title in (("loss", "Loss"), ("lr", "Learning rate")):
        steps, values = _bins(*_points(curves, key, None))
        if not len(steps):
            continue
        with _plot("Step", title, f"training/{key}") as (axes, svg):
            window = len(steps) // 25 if key == "loss" else 1
            if window > 1:
                axes.plot(steps, values, color=COLOUR["accent"], linewidth=0.7, alpha=0.35)
                steps, values = (np.convolve(line, np.ones(window) / window, "valid") for line in (steps, values))
            axes.plot(steps, values, color=COLOUR["accent"])
            if key == "lr" and values.min() > 0 and values.max() > 20 * values.min():
                axes.set_yscale("log")
                axes.yaxis.set_major_formatter(lambda value, _: _power(value))
                axes.yaxis.set_minor_locator(_no_ticks())
            axes.xaxis.set_major_formatter(_thousands)
        says = f"{title} over {int(steps[-1]):,} steps, {values[0]:.3g} at first and {values[-1]:.3g} at last"
        plots.append({"title": title, "svg": svg(), "legend": [], "says": says})

    looks = _looks(str(line["benchmark"]) for line in curves if line.get("benchmark") is not None)
    validated = {name: _points(curves, "accuracy", name) for name in looks}
    validated = {name: points for name, points in validated.items() if len(points[0])}
    if validated:
        with _plot("Step", "Accuracy", "training/accuracy") as (axes, svg):
            for name, (steps, values) in validated.items():
                look = looks[name]
                axes.plot(steps, values, color=COLOUR[look.variable], dashes=look.dash, marker="o", markersize=3.5)
            axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %")
            axes.xaxis.set_major_formatter(_thousands)
        last = "; ".join(f"{name} {_percent(values[-1])} % at last" for name, (_, values) in validated.items())
        legend = [looks[name] for name in validated]
        plots.append({"title": "Validation accuracy", "svg": svg(), "legend": legend, "says": last})
    return plots


def _points(curves: Iterable[dict[str, Any]], key: str, benchmark: str | None) -> tuple[Floats, Floats]:
    """Steps and finite values of one curve. A resumed run repeats a few steps: the last line about a step counts."""
    values = {
        line["step"]: float(line[key])
        for line in curves
        if line.get("benchmark") == benchmark and line.get(key) is not None and math.isfinite(line[key])
    }
    steps = sorted(values)
    return np.array(steps, dtype=np.float64), np.array([values[step] for step in steps], dtype=np.float64)


def _bins(steps: Floats, values: Floats) -> tuple[Floats, Floats]:
    """A long curve as the means of `MOST_POINTS` stretches of it."""
    if len(steps) <= MOST_POINTS:
        return steps, values
    starts = np.linspace(0, len(steps), MOST_POINTS, endpoint=False).astype(np.int64)
    sizes = np.diff(starts, append=len(steps))
    return np.add.reduceat(steps, starts) / sizes, np.add.reduceat(values, starts) / sizes


@contextmanager
def _plot(x: str, y: str, salt: str) -> Iterator[tuple["Axes", Callable[[], "Markup"]]]:
    """Axes to draw on, and a function that gives the SVG to put into the page once the body is through.

    ``salt`` names the plot within the page: SVG ids come from it and from the content, so they are unique and the same
    every time.
    """
    from markupsafe import Markup
    from matplotlib import style
    from matplotlib.figure import Figure

    finished: list[Markup] = []
    settings = {
        "svg.fonttype": "none",  # text stays text: small, readable aloud, in the page's own font
        "svg.hashsalt": salt,
        "font.size": 9.5,
        "text.color": COLOUR["muted"],
        "axes.labelcolor": COLOUR["muted"],
        "axes.edgecolor": COLOUR["line"],
        "axes.spines.left": False,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "grid.color": COLOUR["line"],
        "grid.linewidth": 0.7,
        "lines.linewidth": 1.7,
        "lines.solid_joinstyle": "round",
        "xtick.color": COLOUR["line"],
        "ytick.color": COLOUR["line"],
        "xtick.labelcolor": COLOUR["muted"],
        "ytick.labelcolor": COLOUR["muted"],
        "ytick.major.size": 0,
    }
    with style.context(["default", settings]):  # "default": a matplotlibrc of the user's does not change the report
        figure = Figure(figsize=(4.8, 3.2), layout="constrained")
        axes = figure.add_subplot(xlabel=x, ylabel=y)
        yield axes, lambda: finished[0]
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # names nobody refers to, the same in every plot
    text = re.sub(r' xmlns(:\w+)?="[^"]*"| width="[\d.]+pt"| height="[\d.]+pt"', "", text)
    for name, colour in COLOUR.items():
        text = text.replace(colour, f"var(--{name})")
    finished.append(Markup(text))


def _no_ticks() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()


def _thousands(value: float, _: object) -> str:
    return f"{value / 1000:g}k" if abs(value) >= 1000 else f"{value:g}"


# ---------------------------------------------------------------------------------------------- small parts


def _by_benchmark(results: Iterable["PairResult"]) -> dict[str, list["PairResult"]]:
    groups: dict[str, list[PairResult]] = {}
    for result in results:
        groups.setdefault(result.benchmark, []).append(result)
    return groups


def _is_best(result: "PairResult", rivals: Sequence["PairResult"]) -> bool:
    return len(rivals) > 1 and result.accuracy == max(rival.accuracy for rival in rivals)


def _looks(names: Iterable[str]) -> dict[str, Series]:
    return {
        name: Series(name, f"series-{i % SERIES}", DASHES[i // SERIES % len(DASHES)])
        for i, name in enumerate(dict.fromkeys(names))
    }


def _cosine_threshold(result: "PairResult") -> float:
    """The squared L2 distance of unit vectors is d = 2 − 2 cos, so cos = 1 − d / 2."""
    return 1 - result.threshold / 2


def _fars(results: Iterable["PairResult"]) -> list[str]:
    return sorted({far for result in results for rates in result.tar_at_far.values() for far in rates}, key=float)


def _roc_csv(results: Sequence["PairResult"]) -> str:
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["benchmark", "model", "far", "tar"])
    for result in results:
        for far, tar in zip(*roc_steps(result.scores, result.same), strict=True):
            rows.writerow([result.benchmark, result.model, f"{far:.9g}", f"{tar:.9g}"])
    return text.getvalue()


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f}" if math.isfinite(fraction) else "–"


def _interval(bounds: tuple[float, float]) -> str:
    return f"{_percent(bounds[0])} – {_percent(bounds[1])}"


def _power(value: str | float) -> str:
    """A rate as a power of ten, 0.001 as 10⁻³; what is no power of ten stays a plain number."""
    mantissa, exponent = f"{float(value):.6e}".split("e")
    if float(mantissa) != 1 or int(exponent) == 0:
        return f"{float(value):g}"
    return "10" + str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


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
