"""Arrays in, SVG out: the plots of the report, to be put into its page as they are.

Colours are the page's CSS variables (``var(--ink)``, ``var(--series-0)`` …), so a plot follows light, dark and print.
Names of groups alone get into a plot from outside; they are text there, neither markup nor mathematics. The same arrays
give the same bytes whatever the user's matplotlibrc says.

matplotlib is imported where it is needed: the command line imports this module and must start fast.
"""

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from elasticface.metrics import spread_fars, tar_at_far

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
Scores = NDArray[np.floating]
Bools = NDArray[np.bool_]

MOST_POINTS = 500  # of one line: about one a pixel
BINS = 60  # of the score histogram
SMOOTHING = 25  # the loss is averaged over this part of its points
WIDE = 20  # a learning rate that varies by more than this factor gets a log axis
SERIES = 8  # distinct line colours, `--series-0` ... in the page
_DET_TICKS = (1e-7, 1e-6, 1e-5, 1e-4, 0.001, 0.01, 0.05, 0.2, 0.4)
_LEAST_RATE, _MOST_RATE = 1e-10, 0.5  # of a DET's axes
DASHES = ((), (5, 2), (1.5, 1.5))  # once round the colours, the next lines are dashed

# What matplotlib is told for each of the page's CSS variables; `_svg` swaps them. Nothing else looks like these.
_NAMES = ("ink", "muted", "line", "accent", "genuine", "impostor", *(f"series-{i}" for i in range(SERIES)))
_COLOUR = {name: f"#0000{i:02x}" for i, name in enumerate(_NAMES, start=1)}

_STYLE = {
    "svg.fonttype": "none",  # text stays text: small, readable aloud, in the page's own font
    "text.parse_math": False,  # "$" in a name from outside is that character
    "font.size": 9.5,
    "text.color": _COLOUR["muted"],
    "axes.labelcolor": _COLOUR["muted"],
    "axes.edgecolor": _COLOUR["line"],
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": _COLOUR["line"],
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.7,
    "lines.solid_joinstyle": "round",
    "xtick.color": _COLOUR["line"],
    "ytick.color": _COLOUR["line"],
    "xtick.labelcolor": _COLOUR["muted"],
    "ytick.labelcolor": _COLOUR["muted"],
    "ytick.major.size": 0,
}


@dataclass(frozen=True)
class Look:
    """How the line of one name looks, in the plots and in their legends."""

    name: str
    variable: str  # CSS variable of its colour, without the dashes
    dash: tuple[float, ...] = ()


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A look for each distinct name, in their order: SERIES colours, then the same ones dashed."""
    return {
        name: Look(name, f"series-{i % SERIES}", DASHES[i // SERIES % len(DASHES)])
        for i, name in enumerate(dict.fromkeys(names))
    }


@dataclass(frozen=True)
class Plot:
    """A plot as the page shows it."""

    title: str
    says: str  # what it shows, for those who do not see it
    svg: "Markup"
    legend: Sequence[Look] = ()
    about: str = ""  # beside the title


def curves(title: str, shows: str, benchmark: str, svg: "Markup", legend: Sequence[Look]) -> Plot:
    """A plot with one line a model."""
    says = f"{title} of {benchmark}: {shows}, one line a model; the tables have the figures."
    return Plot(title, says, svg, legend)


def roc_and_det(lines: Sequence[tuple[Look, Floats, Floats]], benchmark: str, salt: str) -> list[Plot]:
    """Both plots of the same lines, as ``roc`` and ``det`` take them."""
    legend = [look for look, *_ in lines]
    tar, fnmr = "true accept rate over false accept rate", "false non-match rate over false match rate"
    return [
        curves("ROC", f"{tar} on a logarithmic axis", benchmark, roc(lines, salt), legend),
        curves("DET", f"{fnmr} on normal-deviate axes", benchmark, det(lines, salt), legend),
    ]


# ---------------------------------------------------------------------------------------------- what a line shows


def roc_steps(scores: Scores, same: Bools, enrolled: Bools | None = None) -> tuple[Floats, Floats]:
    """The ROC by the rule "at-most" as at most 500 steps, evenly spread on a log axis.

    The whole curve of ``metrics.roc`` has a point per distinct score, millions on the large benchmarks: too many for a
    page, and most of them where a log axis has no room.

    Args:
        scores: [P], higher is more alike.
        same: [P], True for genuine pairs.
        enrolled: [P], False for pairs that no threshold accepts; None: there are none.

    Returns:
        FARs, ascending from 0 (no impostor accepted) to 1, or to where all who were enrolled are accepted, and the TAR
        at each; both [N]. Every FAR is a number of
        accepted impostors over all of them, so on a log axis nothing is lost that could be seen.
    """
    accepted = None if enrolled is None else int(np.count_nonzero(~same & enrolled))
    fars = spread_fars(int(np.count_nonzero(~same)), MOST_POINTS, accepted)
    return fars, tar_at_far(scores, same, fars, rule="at-most", enrolled=enrolled)


def thin(steps: Floats, values: Floats) -> tuple[Floats, Floats]:
    """A curve of more than MOST_POINTS points as the means of that many stretches of it."""
    if len(steps) <= MOST_POINTS:
        return steps, values
    starts = np.linspace(0, len(steps), MOST_POINTS, endpoint=False).astype(np.int64)
    sizes = np.diff(starts, append=len(steps))
    return np.add.reduceat(steps, starts) / sizes, np.add.reduceat(values, starts) / sizes


def trend(steps: Floats, values: Floats) -> tuple[Floats, Floats]:
    """The moving mean of the thinned curve; a curve of less than two windows of points stays as it is."""
    steps, values = thin(steps, values)
    window = max(1, len(steps) // SMOOTHING)
    kernel = np.ones(window) / window
    return np.convolve(steps, kernel, "valid"), np.convolve(values, kernel, "valid")


# ---------------------------------------------------------------------------------------------- the plots


def roc(
    lines: Iterable[tuple[Look, Floats, Floats]],
    salt: str,
    axes_of: tuple[str, str] = ("False accept rate", "True accept rate"),
) -> "Markup":
    """TAR over FAR on a log axis.

    Args:
        lines: a look and the two of ``roc_steps`` for each model; they may end before 1.
        salt: what sets this plot apart from others on the page: SVG ids come from it and from the content, so they are
            unique there and the same every time.
        axes_of: what the two rates are called.
    """
    with _axes(*axes_of, f"roc/{salt}") as (figure, axes):
        left, bottom, right = 1.0, 1.0, 0.0
        for look, fars, tars in lines:
            axes.plot(fars[1:], tars[1:], color=_COLOUR[look.variable], dashes=look.dash, drawstyle="steps-post")
            left, bottom, right = min(left, fars[1]), min(bottom, tars[1]), max(right, fars[-1])
        axes.set(xscale="log", xlim=(min(left, 0.1 * right), right))
        _label_powers(axes.xaxis)
        _shares_up_to_1(axes, bottom)
        axes.grid(axis="x", visible=True)
        return _svg(figure)


def cmc(lines: Iterable[tuple[Look, Floats]], salt: str) -> "Markup":
    """The rate of searches with their mate among the first k, over k: a look and the rates [K] for each model."""
    with _axes("Rank", "Identification rate", f"cmc/{salt}") as (figure, axes):
        bottom, last = 1.0, 1
        for look, rates in lines:
            ranks = np.arange(1, len(rates) + 1)
            axes.plot(ranks, rates, color=_COLOUR[look.variable], dashes=look.dash, marker="o", markersize=3)
            bottom, last = min(bottom, rates[0]), max(last, len(rates))
        axes.set_xticks([rank for rank in range(1, last + 1) if rank == 1 or rank % 5 == 0])
        _shares_up_to_1(axes, bottom)
        return _svg(figure)


def det(lines: Iterable[tuple[Look, Floats, Floats]], salt: str) -> "Markup":
    """False non-match rate over false match rate on normal-deviate axes, where normal scores make straight lines.

    A rate of 0 has no place on such an axis: false match rates of 0 and 1 are left out, and where no genuine pair is
    lost the line runs along the lower edge.

    Args:
        lines: a look and the two of ``roc_steps`` for each model.
        salt: what sets this plot apart from others on the page, as in ``roc``.

    Source: Martin et al., "The DET curve in assessment of detection task performance" (1997).
    """
    curves = []
    for look, fars, tars in lines:
        inside = (fars > 0) & (fars < 1)
        curves.append((look, fars[inside], 1 - tars[inside]))
    rates = np.concatenate([rates for _, *both in curves for rates in both] or [np.zeros(0)])
    rates = rates[rates > 0]
    low = max(_LEAST_RATE, 0.7 * rates.min(initial=0.1))
    with _axes("False match rate", "False non-match rate", f"det/{salt}") as (figure, axes):
        for look, matches, losses in curves:
            x, y = _deviates(np.clip(matches, low, 1 - low)), _deviates(np.clip(losses, low, 1 - low))
            axes.plot(x, y, color=_COLOUR[look.variable], dashes=look.dash, drawstyle="steps-post")
        ends = _deviates(np.array([low, _MOST_RATE]))
        axes.plot(ends, ends, color=_COLOUR["line"], linewidth=1, dashes=(4, 3))  # equal error rates
        axes.set(xlim=ends, ylim=ends)
        shown = [rate for rate in _DET_TICKS if low <= rate <= _MOST_RATE]
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(_deviates(np.array(shown)), [power(r) if r < 0.001 else _share(r) for r in shown])
        axes.grid(axis="x", visible=True)
        return _svg(figure)


def _shares_up_to_1(axes: "Axes", lowest: float) -> None:
    """A vertical axis of shares, from a little below the lowest to 1."""
    bottom = min(0.99, max(0.0, 1.06 * lowest - 0.06))
    axes.set_ylim(bottom, 1 + 0.03 * (1 - bottom))
    axes.yaxis.set_major_formatter(lambda value, _: _share(value) if value <= 1 else "")


def _deviates(rates: Floats) -> Floats:
    """Rates in (0, 1) as quantiles of the normal distribution."""
    return np.array([NormalDist().inv_cdf(float(rate)) for rate in rates])


def histograms(models: Sequence[tuple[Scores, Bools, float]], salt: str) -> list["Markup"]:
    """The scores of genuine and of impostor pairs, one plot a model: the same bins and the same height in all.

    Args:
        models: of each, cosines [P], True for genuine pairs [P], and the cosine above which a pair is accepted.
        salt: what sets these plots apart from others on the page, as in ``roc``.
    """
    edges = np.histogram_bin_edges([[float(scores.min()), float(scores.max())] for scores, _, _ in models], BINS)
    shares = [(_in_bins(scores[~same], edges), _in_bins(scores[same], edges)) for scores, same, _ in models]
    top = float(np.max(shares))
    return [
        _histogram(edges, *pair, top, threshold, f"scores/{salt}/{i}")
        for i, (pair, (*_, threshold)) in enumerate(zip(shares, models, strict=True))
    ]


def _in_bins(scores: Scores, edges: Floats) -> Floats:
    """The share of the scores in each bin, in %; zeros without scores."""
    return np.histogram(scores, edges)[0] * (100 / max(1, len(scores)))


def _histogram(edges: Floats, impostor: Floats, genuine: Floats, top: float, threshold: float, salt: str) -> "Markup":
    with _axes("Cosine similarity", "Share of pairs", salt) as (figure, axes):
        for shares, name in ((impostor, "impostor"), (genuine, "genuine")):
            axes.stairs(shares, edges, fill=True, color=_COLOUR[name], alpha=0.22, linewidth=0)
            axes.stairs(shares, edges, color=_COLOUR[name], linewidth=1.4)
        axes.axvline(threshold, color=_COLOUR["ink"], linewidth=1, dashes=(4, 3))
        on_the_left = threshold < edges.mean()
        axes.annotate(
            f"threshold {threshold:.3f}",
            (threshold, 1),
            xycoords=("data", "axes fraction"),
            xytext=(6 if on_the_left else -6, -4),
            textcoords="offset points",
            ha="left" if on_the_left else "right",
            va="top",
            color=_COLOUR["ink"],
        )
        axes.set(xlim=(min(edges[0], threshold), max(edges[-1], threshold)), ylim=(0, 1.18 * top))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")
        return _svg(figure)


def slices(
    names: Sequence[str],
    lines: Sequence[tuple[Look, Sequence[tuple[float, float, float] | None]]],
    low: float,
    salt: str,
) -> "Markup":
    """The accuracy in each group of pairs as a point with its interval; models stand side by side.

    Args:
        names: of the G groups; they may be a stranger's.
        lines: of each model its look, and for each group [G] the accuracy and the two ends of its interval, or None.
        low: where the axis begins, for the plots of a benchmark to have one scale.
        salt: what sets this plot apart from others on the page, as in ``roc``.
    """
    with _axes("", "Accuracy", salt) as (figure, axes):
        apart = min(0.14, 0.7 / len(lines))
        for i, (look, points) in enumerate(lines):
            known = [(x, *point) for x, point in enumerate(points) if point is not None]
            if not known:
                continue
            x, middles, lows, highs = np.array(known).T
            x += (i - (len(lines) - 1) / 2) * apart
            axes.vlines(x, lows, highs, color=_COLOUR[look.variable], linewidth=2.5, alpha=0.45)
            axes.plot(x, middles, color=_COLOUR[look.variable], marker="o", markersize=5, linestyle="none")
        axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(low - 0.04 * (1 - low), 1 + 0.04 * (1 - low)))
        axes.set_xticks(range(len(names)), names)
        axes.tick_params(axis="x", length=0)
        axes.yaxis.set_major_formatter(lambda value, _: _share(value) if value <= 1 else "")
        return _svg(figure)


def candidates(parameter: str, names: Sequence[str], lines: Sequence[tuple[Look, Floats]], salt: str) -> "Markup":
    """How far each candidate is from the mean of all: a line through the means over its seeds, and a dot each seed.

    Args:
        parameter: what the candidates are values of.
        names: of the N candidates.
        lines: of each benchmark its look, and the accuracies [N, S] of S seeds, in 0..1.
        salt: what sets this plot apart from others on the page, as in ``roc``.
    """
    with _axes(parameter, "Accuracy, from the mean of all", salt) as (figure, axes):
        apart = min(0.08, 0.4 / len(lines))
        for i, (look, runs) in enumerate(lines):
            x = np.arange(len(names)) + (i - (len(lines) - 1) / 2) * apart
            points, colour = 100 * (runs - runs.mean()), _COLOUR[look.variable]
            axes.plot(x, points.mean(axis=1), color=colour, dashes=look.dash, marker="o", markersize=5)
            if runs.shape[1] > 1:
                axes.plot(x, points, color=colour, marker="o", markersize=3, linestyle="none", alpha=0.5)
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.set_xticks(range(len(names)), names)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:+.4g}".replace("-", "−") if value else "0")
        return _svg(figure)


def loss(steps: Floats, values: Floats) -> "Markup":
    """The loss over the steps, both [N], N >= 1: its trend, and faint behind it what was measured."""
    with _axes("Step", "Loss", "training/loss") as (figure, axes):
        measured, mean = thin(steps, values), trend(steps, values)
        if len(mean[0]) < len(measured[0]):
            axes.plot(*measured, color=_COLOUR["accent"], linewidth=0.7, alpha=0.35)
        axes.plot(*mean, color=_COLOUR["accent"])
        axes.xaxis.set_major_formatter(_thousands)
        return _svg(figure)


def learning_rate(steps: Floats, values: Floats) -> "Markup":
    """The learning rate over the steps, both [N], N >= 1; on a log axis if it varies widely."""
    with _axes("Step", "Learning rate", "training/lr") as (figure, axes):
        steps, values = thin(steps, values)
        axes.plot(steps, values, color=_COLOUR["accent"])
        if values.min() > 0 and values.max() > WIDE * values.min():
            axes.set_yscale("log")
            _label_powers(axes.yaxis)
        axes.xaxis.set_major_formatter(_thousands)
        return _svg(figure)


def accuracy(lines: Iterable[tuple[Look, Floats, Floats]]) -> "Markup":
    """Validation accuracy: a look, the steps and the accuracies there, fractions in [0, 1], for each benchmark."""
    with _axes("Step", "Accuracy", "training/accuracy") as (figure, axes):
        for look, steps, values in lines:
            axes.plot(steps, values, color=_COLOUR[look.variable], dashes=look.dash, marker="o", markersize=3.5)
        axes.yaxis.set_major_formatter(lambda value, _: _share(value))
        axes.xaxis.set_major_formatter(_thousands)
        return _svg(figure)


# ---------------------------------------------------------------------------------------------- matplotlib


@contextmanager
def _axes(x: str, y: str, salt: str) -> Iterator[tuple["Figure", "Axes"]]:
    """A figure with axes to draw on, in our style until the end of the block: `_svg` belongs inside it."""
    from matplotlib import style
    from matplotlib.figure import Figure

    # "default": a matplotlibrc of the user's does not change the report
    with style.context(["default", {**_STYLE, "svg.hashsalt": salt}]):
        figure = Figure(figsize=(4.8, 3.2), layout="constrained")
        yield figure, figure.add_subplot(xlabel=x, ylabel=y)


def _svg(figure: "Figure") -> "Markup":
    from markupsafe import Markup

    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # names nobody refers to, the same in every plot
    text = re.sub(r' xmlns(:\w+)?="[^"]*"| width="[\d.]+pt"| height="[\d.]+pt"', "", text)
    for name, colour in _COLOUR.items():
        text = text.replace(colour, f"var(--{name})")
    return Markup(text)


# ---------------------------------------------------------------------------------------------- labels


def power(value: str | float) -> str:
    """A rate as a power of ten, 0.001 as 10⁻³; what is no power of ten stays a plain number."""
    mantissa, exponent = f"{float(value):.6e}".split("e")
    if float(mantissa) != 1 or int(exponent) == 0:
        return f"{float(value):g}"
    return "10" + str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _label_powers(axis: "Axis") -> None:
    from matplotlib.ticker import NullLocator

    axis.set_major_formatter(lambda value, _: power(value))
    axis.set_minor_locator(NullLocator())


def _share(fraction: float) -> str:
    return f"{100 * fraction:.4g} %"


def _thousands(value: float, _: object) -> str:
    return f"{value / 1000:g}k" if abs(value) >= 1000 else f"{value:g}"
