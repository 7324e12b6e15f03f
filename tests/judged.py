"""Results of the large benchmarks with made-up outcomes, and the figures that these give."""

from dataclasses import replace

import numpy as np

from elasticface.benchmarks.outcomes import Outcomes
from elasticface.benchmarks.results import DistractorSearch, LargeResult, TemplateIdentification, TemplateVerification


def judged(result: LargeResult, seed: int = 0, ease: float = 0.7, people: int = 12, trials: int = 90) -> LargeResult:
    """``result`` with outcomes: trials are the same for each seed, of which the harder people fail more."""
    lists = np.random.default_rng(7)
    several = isinstance(result, TemplateIdentification)
    units = np.append(np.arange(people), lists.integers(0, people, trials - people)).astype(np.int32)
    groups = (np.arange(trials) % 3 == 0).astype(np.uint8) * several
    rng = np.random.default_rng(seed)
    chance = np.clip(ease + lists.normal(0, 0.2, people), 0, 1)[units]
    keys = [(group.name, target) for group in result.groups() for target in group.rates]
    hits = rng.random((len(keys), trials)) < chance
    outcomes = Outcomes(hits, units, groups, "subjects", "0" * 64)
    shares = outcomes.shares()
    rates: dict[str, dict[str, float]] = {}
    for (name, target), share in zip(keys, shares.mean(axis=0).tolist(), strict=True):
        rates.setdefault(name, {})[target] = share
    if isinstance(result, TemplateVerification):
        tars = {rule: rates[f"TAR at FAR, {rule}"] for rule in ("nearest", "at-most")}
        counts = {**result.counts, "genuine": trials}
        return replace(result, tar_at_far=tars, counts=counts, outcomes=outcomes)
    if isinstance(result, DistractorSearch):
        tars = {"at-most": rates["TAR at FAR, at-most"]}
        counts = {**result.counts, "mate_pairs": trials}
        return replace(result, rank=rates["rank"], tar_at_far=tars, counts=counts, outcomes=outcomes)
    galleries = tuple(
        replace(
            result.galleries[0],
            name=f"G{number + 1}",
            rank=dict(zip(result.rank, row, strict=False)),
            tpir_at_fpir=dict(zip(result.tpir_at_fpir, row[len(result.rank) :], strict=True)),
            counts={"mated": int((groups == number).sum())},
        )
        for number, row in enumerate(shares.tolist())
    )
    return replace(
        result, rank=rates["rank"], tpir_at_fpir=rates["TPIR at FPIR"], galleries=galleries, outcomes=outcomes
    )
