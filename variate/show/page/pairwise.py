"""How strongly any two columns of a table go together, from 0 to 1, whatever they hold."""

import numpy as np
from scipy.stats import rankdata

__all__ = ["correlation_ratio", "cramers_v", "matrix", "spearman"]


def matrix(codes: np.ndarray, categories: np.ndarray) -> np.ndarray:
    """(W, W) of codes (n, W), NaN where a cell is missing; ``categories`` (W,) says which columns have levels.

    Cramér's V of two categories, the absolute rank correlation of two numbers, the correlation ratio of a number's
    ranks between the levels of a category. Of every pair the rows that have both. A column that does not vary goes with
    none, 0; NaN on the diagonal.
    """
    width = codes.shape[1]
    found = np.full((width, width), np.nan)
    for i in range(width):
        for j in range(i):
            found[i, j] = found[j, i] = _pair(codes[:, i], codes[:, j], bool(categories[i]), bool(categories[j]))
    return found


def _pair(a: np.ndarray, b: np.ndarray, a_has_levels: bool, b_has_levels: bool) -> float:
    there = ~(np.isnan(a) | np.isnan(b))
    a, b = a[there], b[there]
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    if a_has_levels and b_has_levels:
        return cramers_v(a, b)
    if not a_has_levels and not b_has_levels:
        return abs(spearman(a, b))
    return correlation_ratio(a, b) if a_has_levels else correlation_ratio(b, a)


def cramers_v(a: np.ndarray, b: np.ndarray) -> float:
    """√(χ² / n / (levels − 1)) of the column with fewer levels; only pairs of levels that occur take memory."""
    (a, of_a), (b, of_b) = (np.unique(side, return_inverse=True, return_counts=True)[1:] for side in (a, b))
    pairs, counts = np.unique(a * len(of_b) + b, return_counts=True)
    expected = of_a[pairs // len(of_b)] * of_b[pairs % len(of_b)].astype(float)
    chi2_by_n = (counts.astype(float) ** 2 / expected).sum() - 1
    return float(np.sqrt(max(chi2_by_n, 0.0) / (min(len(of_a), len(of_b)) - 1)))


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """The correlation of the ranks."""
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def correlation_ratio(levels: np.ndarray, numbers: np.ndarray) -> float:
    """√(variance between levels / variance) of the numbers' ranks."""
    ranks = rankdata(numbers)
    _, at, counts = np.unique(levels, return_inverse=True, return_counts=True)
    means = np.bincount(at, ranks) / counts
    between = (counts * (means - ranks.mean()) ** 2).sum() / len(ranks)
    return float(np.sqrt(min(between / ranks.var(), 1.0)))
