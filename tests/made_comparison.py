"""Comparisons of models that were never measured."""

from dataclasses import replace

from elasticface.report.comparison import Comparison, Contrast, Difference

AHEAD = Difference("accuracy", 0.98, 0.97, 0.01, (0.004, 0.0161), 0.0009, None)
BEHIND = Difference("0.001", 0.9, 0.95, -0.05, (-0.1, 0.0), 0.0512, None)
ERRORS = Difference("eer", 0.0181, 0.0212, -0.0031, (-0.0055, -0.0002), 0.031, None)
MADE = Comparison(
    ("[red]a", "b"),
    (
        Contrast("lfw", "[red]a", "b", "people", 2000, 6000, "pairs", (AHEAD, BEHIND, ERRORS)),
        Contrast("calfw", "[red]a", "b", "pairs", 1500, 6000, "pairs", (replace(AHEAD, mcnemar=0.25),)),
    ),
    {"b": 0.5, "[red]a": 1.5},
    ("lfw", "calfw"),
    2000,
    0,
    ("said",),
)


def large(rate: str, figure: str) -> Difference:
    return replace(AHEAD, figure=figure, rate=rate)


LARGE = replace(
    MADE,
    contrasts=(
        Contrast(
            "IJB-C 1:1", "a", "b", "subjects", 2000, 19557, "genuine pairs", (large("TAR at FAR, nearest", "0.0001"),)
        ),
        Contrast("MegaFace", "a", "b", None, 0, 153634, "ordered mate pairs", (large("rank", "1"),)),
    ),
    borda={},
    notes=(),
)
