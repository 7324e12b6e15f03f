"""The plots: what their lines show, that they take the page's colours, that the same gives the same."""

import functools
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from html import escape
from itertools import pairwise
from statistics import NormalDist

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from elasticface.report import plots
from elasticface.report.plots import DASHES, MOST_POINTS, SERIES, looks, power, roc_steps, thin, trend

Floats = NDArray[np.float64]

quarters = st.integers(-4, 4).map(lambda i: i / 4)
some_scores = hnp.arrays(np.float32, st.integers(1, 30), elements=quarters)


POINTS = [(0.8, 0.7, 0.85), None]


def make_scores(seed: int = 0, pairs: int = 400) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    random = np.random.default_rng(seed)
    same = np.arange(pairs) % 2 == 0
    scores = np.where(same, random.normal(0.5, 0.12, pairs), random.normal(0.0, 0.1, pairs))
    return scores.clip(-1, 1).astype(np.float32), same


def noisy_curve(points: int) -> tuple[Floats, Floats]:
    steps = np.arange(1.0, points + 1)
    return steps, 1 + (steps * 7919 % 101) / 99


@functools.cache
def all_plots() -> dict[str, str]:
    one, two = looks(["one", "two"]).values()
    scores, same = make_scores()
    first, second = plots.histograms([(scores, same, 0.25), (*make_scores(1), 0.3)], "0")
    steps, values = noisy_curve(200)
    return {
        "roc": plots.roc([(one, *roc_steps(scores, same)), (two, *roc_steps(*make_scores(1)))], "0"),
        "cmc": plots.cmc([(one, np.array([0.7, 0.8, 0.85])), (two, np.array([0.6, 0.9]))], "0"),
        "open set": plots.roc([(one, *roc_steps(scores, same))], "open/0", axes_of=("FPIR", "TPIR")),
        "det": plots.det([(one, *roc_steps(scores, same)), (two, *roc_steps(*make_scores(1)))], "0"),
        "first histogram": first,
        "second histogram": second,
        "loss": plots.loss(steps, values),
        "learning rate": plots.learning_rate(steps, 0.1 / steps),
        "accuracy": plots.accuracy([(one, steps[:3], values[:3] / 3), (two, steps[:1], values[:1] / 3)]),
        "candidates": plots.candidates(
            "m", ["0.45", "0.5"], [(one, values[:6].reshape(2, 3)), (two, values[:2, None])], "0"
        ),
        "slices": plots.slices(["few", "many"], [(one, [(0.9, 0.8, 1), (0.7, 0.6, 0.8)]), (two, POINTS)], 0.5, "0"),
    }


def words(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def curves_in(svg: str, colour: str) -> list[str]:
    """The path data of the lines in one colour."""
    return re.findall(rf'<path d="([^"]*)"[^>]*stroke: var\(--{colour}\)', svg)


# ---------------------------------------------------------------------------------------------- what a line shows


@given(genuine=some_scores, impostor=some_scores)
def test_roc_is_the_largest_tar_within_each_far(genuine: NDArray[np.float32], impostor: NDArray[np.float32]) -> None:
    scores = np.concatenate([genuine, impostor])
    fars, tars = roc_steps(scores, np.arange(len(scores)) < len(genuine))
    assert fars.tolist() == [k / len(impostor) for k in range(len(impostor) + 1)]
    thresholds = [*np.unique(scores), np.inf]
    for far, tar in zip(fars, tars, strict=True):
        allowed = [(genuine >= t).mean() for t in thresholds if (impostor >= t).mean() <= far]
        assert tar == max(allowed)


def test_thinned_roc_looks_the_same_on_a_log_axis() -> None:
    random = np.random.default_rng(0)
    genuine, impostor = random.normal(0.4, 0.15, 5_000), random.normal(0, 0.1, 200_000)
    scores = np.concatenate([genuine, impostor])
    fars, tars = roc_steps(scores, np.arange(len(scores)) < len(genuine))
    assert len(fars) <= MOST_POINTS
    descending, ascending = np.sort(impostor)[::-1], np.sort(genuine)

    def exact(far: Floats) -> Floats:
        limit = descending[np.minimum(np.floor(far * len(impostor)).astype(int), len(impostor) - 1)]
        return np.asarray(1 - np.searchsorted(ascending, limit, side="right") / len(genuine))

    asked = np.geomspace(1 / len(impostor), 0.99, 3_001)
    drawn = tars[np.searchsorted(fars, asked, side="right") - 1]
    pixel = 10 ** (np.log10(len(impostor)) / 400)  # of a plot 400 pixels wide
    assert np.all(drawn <= exact(asked) + 1e-12)
    assert np.all(drawn >= exact(np.maximum(asked / pixel, 1 / len(impostor))) - 1e-12)


@pytest.mark.parametrize("points", [1, MOST_POINTS])
def test_short_curve_is_not_thinned(points: int) -> None:
    curve = noisy_curve(points)
    np.testing.assert_array_equal(thin(*curve), curve)


@pytest.mark.parametrize("points", [MOST_POINTS + 1, 20_000])
def test_thinned_curve_holds_the_means_of_its_stretches(points: int) -> None:
    steps, values = noisy_curve(points)
    thinned = thin(steps, values)
    bounds = [int(i * points / MOST_POINTS) for i in range(MOST_POINTS + 1)]
    for line, means in zip((steps, values), thinned, strict=True):
        longhand = [line[a:b].mean() for a, b in pairwise(bounds)]
        np.testing.assert_allclose(means, longhand, rtol=1e-12)


@pytest.mark.parametrize(("points", "window"), [(1, 1), (49, 1), (50, 2), (120, 4)])
def test_trend_is_the_mean_over_a_window_that_moves(points: int, window: int) -> None:
    curve = noisy_curve(points)
    for line, means in zip(curve, trend(*curve), strict=True):
        longhand = [line[i : i + window].mean() for i in range(points - window + 1)]
        np.testing.assert_allclose(means, longhand, rtol=1e-12)


# ---------------------------------------------------------------------------------------------- the plots


def test_plot_is_one_element_that_loads_nothing() -> None:
    for name, svg in all_plots().items():
        assert ET.fromstring(svg.replace("xlink:href", "href")).tag == "svg", name
        assert not re.search(r"https?:|url\((?!#)|href=\"(?!#)", svg), name


def test_all_colours_are_variables_of_the_page() -> None:
    svg = "".join(all_plots().values())
    used = set(re.findall(r"var\(--([\w-]+)\)", svg))
    assert used == {"ink", "muted", "line", "accent", "genuine", "impostor", "series-0", "series-1"}
    assert not re.search(r"#[0-9a-f]{6}\b", svg)


def test_same_arrays_give_same_bytes() -> None:
    settings = dict(matplotlib.rcParams)
    first = all_plots()
    assert dict(matplotlib.rcParams) == settings
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 20, "svg.hashsalt": None}):
        assert all_plots.__wrapped__() == first


def test_no_two_plots_share_an_id() -> None:
    scores, same = make_scores()
    (look,) = looks(["one"]).values()
    svgs = [
        *(plots.roc([(look, *roc_steps(scores, same))], salt) for salt in ("0", "1")),
        *(svg for salt in ("0", "1") for svg in plots.histograms([(scores, same, 0.25)] * 2, salt)),
        plots.loss(*noisy_curve(200)),
        plots.learning_rate(*noisy_curve(200)),
        plots.accuracy([(look, *noisy_curve(3))]),
        *(plots.slices(["few", "many"], [(look, POINTS)], 0.5, salt) for salt in ("0", "1")),
    ]
    ids = [re.findall(r' id="([^"]*)"', svg) for svg in svgs]
    assert all(ids)
    assert len({name for names in ids for name in names}) == sum(map(len, ids))
    for svg, names in zip(svgs, ids, strict=True):
        assert set(re.findall(r'(?:href="|url\()#([^")]*)', svg)) <= set(names)


def test_failing_plot_leaves_the_settings_alone() -> None:
    settings = dict(matplotlib.rcParams)
    with pytest.raises(KeyError):
        plots.accuracy([(plots.Look("x", "no such colour"), *noisy_curve(3))])
    assert dict(matplotlib.rcParams) == settings


def test_each_roc_line_has_its_look() -> None:
    many = list(looks(f"model {i}" for i in range(SERIES + 1)).values())
    svg = plots.roc([(look, *roc_steps(*make_scores(i))) for i, look in enumerate(many)], "0")
    assert [len(curves_in(svg, f"series-{i}")) for i in range(SERIES)] == [2, *[1] * (SERIES - 1)]
    dashed = re.findall(r'style="([^"]*stroke-dasharray[^"]*)"', svg)
    assert len(dashed) == 1
    assert "var(--series-0)" in dashed[0]


def test_roc_rises_in_steps_not_slopes() -> None:
    (look,) = looks(["one"]).values()
    (path,) = curves_in(plots.roc([(look, *roc_steps(*make_scores()))], "0"), "series-0")
    points = [tuple(map(float, pair)) for pair in re.findall(r"[ML] (\S+) (\S+)", path)]
    assert len(points) > 2
    assert all(a[0] == b[0] or a[1] == b[1] for a, b in pairwise(points))


def test_a_roc_that_ends_early_fills_its_axes() -> None:
    (look,) = looks(["one"]).values()
    svg = plots.roc([(look, np.array([0, 1e-9, 1e-6, 2e-5]), np.array([0.4, 0.6, 0.9, 0.95]))], "0")
    assert "10⁻⁹" in words(svg)
    assert not {"10⁻⁴", "10⁻³", "1"} & set(words(svg))


def test_cmc_has_a_point_a_rank_and_names_each_fifth() -> None:
    (look,) = looks(["one"]).values()
    svg = plots.cmc([(look, np.linspace(0.8, 0.95, 20))], "0")
    assert [word for word in words(svg) if word.isdecimal()] == ["1", "5", "10", "15", "20"]
    assert "100 %" in words(svg)
    (line,) = [curve for curve in curves_in(svg, look.variable) if curve.count("L") == 19]
    assert line.count("M") == 1


def test_perfect_and_useless_verifier_have_a_roc() -> None:
    same = np.arange(40) % 2 == 0
    (look,) = looks(["one"]).values()
    for scores in (np.where(same, 0.9, 0.1), np.where(same, 0.1, 0.9), np.zeros(40)):
        assert curves_in(plots.roc([(look, *roc_steps(scores, same))], "0"), "series-0")


def test_histograms_of_a_benchmark_have_the_same_axes() -> None:
    scores, same = make_scores()
    first, second = plots.histograms([(scores, same, 0.25), (scores / 2, same, 0.25)], "0")
    assert words(first) == words(second)
    assert words(first) != words(plots.histograms([(scores / 2, same, 0.25)], "0")[0])


@pytest.mark.parametrize("threshold", [-0.95, 0.25, 0.99])
def test_threshold_is_drawn_wherever_it_is(threshold: float) -> None:
    (svg,) = plots.histograms([(*make_scores(), threshold)], "0")
    assert f"threshold {threshold:.3f}" in words(svg)
    (line,) = curves_in(svg, "ink")
    _, _, width, _ = map(float, re.findall(r'viewBox="([^"]*)"', svg)[0].split())
    assert 0 < float(line.split()[1]) < width


@pytest.mark.parametrize("kind", [True, False])
def test_histogram_of_one_kind_alone_is_drawn(kind: bool) -> None:
    scores, _ = make_scores()
    (svg,) = plots.histograms([(scores, np.full(len(scores), kind), 0.25)], "0")
    assert "Cosine similarity" in words(svg)
    assert "nan" not in svg


def test_long_curve_makes_a_small_plot() -> None:
    for draw in (plots.loss, plots.learning_rate):
        assert max(map(len, curves_in(draw(*noisy_curve(20_000)), "accent"))) < 40 * MOST_POINTS


@pytest.mark.parametrize(("points", "lines"), [(1, 1), (49, 1), (50, 2), (2_000, 2)])
def test_measured_loss_shows_behind_a_trend_that_differs(points: int, lines: int) -> None:
    assert len(curves_in(plots.loss(*noisy_curve(points)), "accent")) == lines


def test_learning_rate_that_varies_widely_has_a_log_axis() -> None:
    steps = np.arange(1.0, 101)
    assert "10⁻²" in words(plots.learning_rate(steps, 0.1 / steps))
    for rates in (0.1 - 0.0005 * steps, 0.1 - 0.001 * steps, np.full(100, 0.1)):  # narrow, down to 0, constant
        assert not any("⁻" in word for word in words(plots.learning_rate(steps, rates)))


def test_accuracy_is_in_percent() -> None:
    (look,) = looks(["one"]).values()
    svg = plots.accuracy([(look, np.array([1000.0, 2000.0]), np.array([0.5, 0.75]))])
    assert {"50 %", "75 %"} <= set(words(svg))
    assert {"1k", "2k"} <= set(words(svg))


def test_slices_of_a_benchmark_have_one_scale_and_models_stand_side_by_side() -> None:
    one, two = looks(["one", "two"]).values()
    first = plots.slices(["few", "many"], [(one, POINTS), (two, [(0.8, 0.7, 0.85), (0.9, 0.8, 1.0)])], 0.5, "0")
    second = plots.slices(["few", "many"], [(one, [(1.0, 0.9, 1.0), (0.6, 0.5, 0.7)])], 0.5, "1")
    assert words(first) == words(second)
    assert {"few", "many", "100 %", "Accuracy"} <= set(words(first))
    lines = {colour: curves_in(first, colour) for colour in ("series-0", "series-1")}
    starts = {colour: [float(path.split()[1]) for path in paths] for colour, paths in lines.items()}
    assert starts["series-0"][0] < starts["series-1"][0] < starts["series-1"][1]


def test_names_of_groups_are_text_and_neither_mathematics_nor_markup() -> None:
    (look,) = looks(["one"]).values()
    names = ["$x^2$", "<b>Black/African</b> & $"]
    svg = plots.slices(names, [(look, POINTS)], 0.5, "0")
    assert all(f">{escape(name, quote=False)}</text>" in svg for name in names)


def test_a_model_without_slices_leaves_its_place_empty() -> None:
    one, two = looks(["one", "two"]).values()
    svg = plots.slices(["few", "many"], [(one, [None, None]), (two, POINTS)], 0.5, "0")
    assert not curves_in(svg, "series-0")
    assert curves_in(svg, "series-1")


# ---------------------------------------------------------------------------------------------- looks, labels


def test_looks_differ_as_long_as_there_are_colours_and_dashes() -> None:
    names = [f"model {i}" for i in range(SERIES * len(DASHES))]
    made = looks([*names, *names])
    assert list(made) == [look.name for look in made.values()] == names
    assert len({(look.variable, look.dash) for look in made.values()}) == len(names)
    assert not any(look.dash for look in list(made.values())[:SERIES])


@pytest.mark.parametrize(
    ("value", "label"),
    [("0.001", "10⁻³"), (1e-10, "10⁻¹⁰"), ("1e-06", "10⁻⁶"), (100.0, "10²"), (1, "1"), ("0.005", "0.005"), (0, "0")],
)
def test_power_of_ten_is_written_as_one(value: str | float, label: str) -> None:
    assert power(value) == label


def test_importing_the_plots_leaves_matplotlib_alone() -> None:
    late = "{'matplotlib', 'torch', 'elasticface.report.page'}"
    code = f"import sys, elasticface.report.plots; print(*{late} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


# ---------------------------------------------------------------------------------------------- DET


def det_points(svg: str, colour: str) -> Floats:
    """The corners of a line, x and y of its path."""
    (path,) = curves_in(svg, colour)
    return np.array([[float(number) for number in pair] for pair in re.findall(r"[ML] ([\d.-]+) ([\d.-]+)", path)])


def test_normal_scores_make_a_straight_det() -> None:
    (look,) = looks(["one"]).values()
    normal = NormalDist()
    fars = np.append(0, np.geomspace(1e-4, 1, 400))
    tars = np.array([1 - normal.cdf(normal.inv_cdf(1 - far) - 3) if 0 < far < 1 else far for far in fars])
    x, y = det_points(plots.det([(look, fars, tars)], "0"), "series-0").T
    assert len(x) > 200
    straight = np.polyfit(x, y, 1)
    # Steps leave the line by up to one of them.
    assert np.abs(np.polyval(straight, x) - y).max() < 6
    assert straight[0] > 0  # down to the right, where y grows downwards


@pytest.mark.parametrize("tars", [[1.0, 1.0, 1.0], [0.0, 0.0, 1.0], [0.5, 0.999999999, 1.0]])
def test_det_survives_rates_that_have_no_place_on_it(tars: list[float]) -> None:
    (look,) = looks(["one"]).values()
    for fars in ([0.0, 0.5, 1.0], [0.0, 1e-12, 1.0], [0.0, 1.0, 1.0]):
        svg = plots.det([(look, np.array(fars), np.array(tars))], "0")
        assert not re.search(r"nan|inf\b", svg)
