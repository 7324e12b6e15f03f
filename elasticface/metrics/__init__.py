"""Scores in, figures out: how verifiers and identifiers are measured.

Each figure is what the field's evaluation scripts compute, number for number, at the size of the field's benchmarks.
Arrays in, plain numbers or small dataclasses out. The bootstrap over people is `elasticface.metrics.resampling`.
"""

from elasticface.metrics.distractors import DistractorSearch, DistractorTally, distractor_search
from elasticface.metrics.identification import (
    NEVER,
    Searches,
    closed_set_rank,
    mean_over_galleries,
    open_set_rates,
    rank_rates,
    search_templates,
    searches,
    tpir_at_fpir,
)
from elasticface.metrics.intervals import binomial_interval, mcnemar
from elasticface.metrics.ranking import borda_count
from elasticface.metrics.roc import Eer, Roc, equal_error_rate, operating_points, roc, spread_fars, tar_at_far
from elasticface.metrics.templates import pair_scores, pool_templates, template_rows
from elasticface.metrics.verification import Verification, accuracy_from_distances, verification_accuracy

__all__ = [
    "NEVER",
    "DistractorSearch",
    "DistractorTally",
    "Eer",
    "Roc",
    "Searches",
    "Verification",
    "accuracy_from_distances",
    "binomial_interval",
    "borda_count",
    "closed_set_rank",
    "distractor_search",
    "equal_error_rate",
    "mcnemar",
    "mean_over_galleries",
    "open_set_rates",
    "operating_points",
    "pair_scores",
    "pool_templates",
    "rank_rates",
    "roc",
    "search_templates",
    "searches",
    "spread_fars",
    "tar_at_far",
    "template_rows",
    "tpir_at_fpir",
    "verification_accuracy",
]
