"""The intervals of the study of elastic margins, on runs whose differences are known; and what is told of them."""

import importlib
import itertools
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
STUDIES = ROOT / "studies"
SETS = ("rendered, heterogeneity 0", "LFW")
PEOPLE = 8
FIRST, SECOND = np.array([*[(one, one) for one in range(PEOPLE)] * 3, *itertools.combinations(range(PEOPLE), 2)]).T


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module; studies are programs beside the package, and import each other by name."""
    monkeypatch.syspath_prepend(STUDIES)
    before = {*sys.modules}
    yield importlib.import_module("elasticity_resampled")
    for name in {*sys.modules} - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == STUDIES:
            del sys.modules[name]


def stored(study: Any, right: dict[str, dict[int, Any]]) -> Any:
    """Runs that judge these pairs right, loss -> seed -> [P], the same on all sets."""
    common = sys.modules["common"]
    pairs = {"people": PEOPLE, "pairs": len(FIRST)}
    pairs |= {"first": common.pack(FIRST.astype(np.uint16)), "second": common.pack(SECOND.astype(np.uint16))}
    runs = [
        {"set": name, "loss": loss, "seed": seed, "accuracy": np.mean(bits), "correct": common.pack(np.packbits(bits))}
        for name in SETS
        for loss, of_seeds in right.items()
        for seed, bits in of_seeds.items()
    ]
    return study.Resampled({"sets": dict.fromkeys(SETS, pairs), "runs": runs})


def test_a_loss_that_is_always_right_leads_one_that_never_is_by_all(study: Any) -> None:
    all_right, none = np.ones(len(FIRST), bool), np.zeros(len(FIRST), bool)
    resampled = stored(study, {"one": {0: all_right, 1: all_right}, "other": {0: none, 1: none, 2: none}})
    of_seeds, means = resampled.difference(SETS, "one", "other")
    assert of_seeds.tolist() == [1.0, 1.0]  # of the seeds that both have
    assert means == pytest.approx(1.0)


def test_what_both_losses_share_cancels_in_every_resample(study: Any) -> None:
    rng = np.random.default_rng(0)
    bits = {seed: rng.random(len(FIRST)) < 0.7 for seed in range(4)}
    resampled = stored(study, {"one": bits, "other": bits})
    assert resampled.accuracy(SETS, "one", [0]).std() > 0.02
    assert not resampled.difference(SETS, "one", "other")[1].any()


def test_people_of_one_kind_of_set_are_drawn_alike_and_others_apart(study: Any) -> None:
    resampled = stored(study, {"one": {0: FIRST == 0}})
    rendered, real = (resampled.accuracy([name], "one", [0])[0] for name in SETS)
    assert np.corrcoef(rendered, real)[0, 1] < 0.1
    expected = resampled.people[SETS[0]].weights[:, FIRST == 0]
    assert np.corrcoef(rendered, expected.sum(1))[0, 1] > 0.8


def test_seeds_are_drawn_with_replacement(study: Any) -> None:
    means = study.over_seeds(np.repeat([[0.0], [1.0]], 2000, 1))
    counts = Counter(means.tolist())
    assert {*counts} == {0.0, 0.5, 1.0}
    assert counts[0.5] == pytest.approx(1000, abs=100)


def test_the_interval_over_seeds_is_students(study: Any) -> None:
    low, high = study.t_interval(np.array([0.0, 1.0, 2.0]))
    assert (low, high) == pytest.approx((1 - 4.302652729 / 3**0.5, 1 + 4.302652729 / 3**0.5))


def test_the_readme_tells_the_figures_of_the_page() -> None:
    answer = re.search(r"<!-- answer -->(.*)<!-- /answer -->", (ROOT / "docs/elasticity.md").read_text(), re.DOTALL)
    claim = re.search(
        r"\*\*The paper's claim, with error bars\.\*\*(.*?)\n- ", (ROOT / "README.md").read_text(), re.DOTALL
    )
    assert answer is not None
    assert claim is not None
    effect = r"[+−]\d\.\d\d \([+−]\d\.\d\d to [+−]\d\.\d\d\)"
    told = re.findall(effect, " ".join(claim[1].split()))
    assert len(told) == 4
    assert {*told} < {*re.findall(effect, " ".join(answer[1].split()))}
