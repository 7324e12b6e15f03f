"""Which of several candidates is the best over several benchmarks: the Borda count."""

import numpy as np
import numpy.typing as npt


def borda_count(figures: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The sum over benchmarks of how many other candidates each one beats; those that tie get half a point each.

    So the best of S has S − 1 points on a benchmark, the last none, and candidates that share places share their
    points. The candidate with the highest count is chosen.

    Args:
        figures: [S, B], of S candidates on B benchmarks, higher is better.

    Returns:
        float64 [S], in 0..(S − 1)·B; multiples of ½, which sum up to B·S·(S − 1)/2.

    Raises:
        ValueError: figures that are not [S, B], or NaN.

    Source: Boutros et al., "ElasticFace" (arXiv 2109.09416), section 4, which so chooses m and σ by the sum over LFW,
    AgeDB-30, CALFW, CPLFW and CFP-FP; Borda, "Mémoire sur les élections au scrutin" (1784).
    """
    values = np.asarray(figures, np.float64)
    if values.ndim != 2 or np.isnan(values).any():
        raise ValueError(f"figures must be [S, B] without NaN, got shape {values.shape}")
    mine, others = values[:, None], values[None]  # [S, 1, B], [1, S, B]
    beaten = np.count_nonzero(mine > others, axis=(1, 2))
    tied = np.count_nonzero(mine == others, axis=(1, 2)) - values.shape[1]  # not with itself
    return np.asarray(beaten + tied / 2)
