"""Whether draws have the law that they should have."""

import numpy as np
import scipy.stats
import torch


def frequencies_agree(sample: torch.Tensor, masses: np.ndarray) -> bool:
    """Pearson's chi-square at 0.1 %, with the levels that are expected fewer than 10 times as one."""
    counts = np.bincount((sample * (len(masses) - 1)).round().long().numpy(), minlength=len(masses))
    expected = masses * len(sample)
    rare = expected < 10
    seen, awaited = (np.append(each[~rare], each[rare].sum()) for each in (counts, expected))
    statistic = ((seen - awaited) ** 2 / awaited.clip(1e-9)).sum()
    return scipy.stats.chi2.sf(statistic, (~rare).sum()) > 1e-3
