"""How much each row counts in training."""

import numpy as np
import torch
from torch import Tensor

from variate.base.errors import UserError

__all__ = ["weights_of"]


def weights_of(said: object, rows: int) -> Tensor:
    """Numbers at least 0, one for each row, not all of them 0 → (n,) float32.

    A row of weight 2 counts as two equal rows, one of weight 0 as none; only their ratios matter.
    """
    try:
        weights = np.asarray(said, np.float64)
    except (TypeError, ValueError):
        weights = np.empty(0)
    if weights.shape != (rows,) or not np.isfinite(weights).all() or (weights < 0).any() or not weights.sum() > 0:
        raise UserError(f"weight must be {rows:,} finite numbers, at least 0 and not all of them 0: one for each row.")
    return torch.from_numpy((weights / weights.mean()).astype(np.float32))
