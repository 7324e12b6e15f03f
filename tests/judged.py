"""Results of the large benchmarks with made-up samples, and the figures and intervals that go with these."""

from dataclasses import replace

import numpy as np

from elasticface.benchmarks.results import DistractorSearch, LargeResult, TemplateIdentification, TemplateVerification
from elasticface.benchmarks.samples import Intervals, Rates, Samples


def judged(result: LargeResult, seed: int = 0, ease: float = 0.7, draws: int = 40, trials: int = 90) -> LargeResult:
    """``result`` with samples: the draws are the same for each seed, of which the harder ones are harder for all."""
    rng = np.random.default_rng(seed)
    keys = [(group.name, target) for group in result.groups() for target in group.rates]
    hardness = np.random.default_rng(7).normal(0, 0.05, (draws, 1))
    figures = np.clip(ease + rng.normal(0, 0.04, len(keys)), 0, 1)
    drawn = np.clip(figures - hardness + rng.normal(0, 0.02, (draws, len(keys))), 0, 1)
    rates: dict[str, Rates] = {}
    intervals: dict[str, Intervals] = {}
    ends = np.quantile(drawn, [0.025, 0.975], axis=0)
    for (name, target), figure, low, high in zip(keys, figures.tolist(), *ends.tolist(), strict=True):
        rates.setdefault(name, {})[target] = figure
        intervals.setdefault(name, {})[target] = (low, high)
    more = {"intervals_by": "made up", "samples": Samples(drawn, "subjects", "0" * 64)}
    if isinstance(result, TemplateVerification):
        names = {rule: f"TAR at FAR, {rule}" for rule in ("nearest", "at-most")}
        return replace(
            result,
            tar_at_far={rule: rates[name] for rule, name in names.items()},
            intervals={rule: intervals[name] for rule, name in names.items()},
            counts={**result.counts, "genuine": trials},
            **more,
        )
    if isinstance(result, DistractorSearch):
        return replace(
            result,
            rank=rates["rank"],
            tar_at_far={"at-most": rates["TAR at FAR, at-most"]},
            intervals={"rank": intervals["rank"], "at-most": intervals["TAR at FAR, at-most"]},
            counts={**result.counts, "mate_pairs": trials},
            **more,
        )
    assert isinstance(result, TemplateIdentification)
    mated = {"G1": trials - trials // 3, "G2": trials // 3}
    galleries = [replace(result.galleries[0], name=name, counts={"mated": count}) for name, count in mated.items()]
    return replace(
        result,
        rank=rates["rank"],
        tpir_at_fpir=rates["TPIR at FPIR"],
        intervals={"rank": intervals["rank"], "tpir_at_fpir": intervals["TPIR at FPIR"]},
        galleries=tuple(galleries),
        **more,
    )
