"""What training rows say of every column by itself, before the first step."""

import numpy as np
import torch
from torch import Tensor

__all__ = ["by_column", "inverse_softplus", "middle", "shares"]

LEAST_SHARE = 1e-4  # of a level that the rows shown at the start happen not to have
NORMAL_QUARTILE = 0.674490  # of a standard normal's values a quarter is above
LEAST_SPREAD = 1e-30  # of a column's middle, in model units: what a float32 can be divided by


def by_column(rows: Tensor) -> Tensor:
    """Rows (B, C, …) → all values of a column or channel side by side, (C, B · places)."""
    return rows.transpose(0, 1).flatten(1)


def shares(rows: Tensor, levels: int) -> Tensor:
    """How often each level occurs in rows in model units: (levels,), sums to one."""
    counts = torch.bincount((rows * (levels - 1)).round().long().flatten().cpu(), minlength=levels)
    return counts.to(torch.float32) / counts.sum()


def middle(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The median of every column (else: channel) of rows (B, C, …), and the spread of its middle half: (C,) each.

    The spread is half the distance between the quartiles over that of a standard normal; where half of the values are
    one and the same, the mean distance from it; where all are, 1. In double precision.
    """
    columns = np.sort(by_column(rows).double().cpu().numpy(), axis=1)
    low, centre, high = np.quantile(columns, (0.25, 0.5, 0.75), axis=1)
    spread = (high - low) / (2 * NORMAL_QUARTILE)
    distance = np.abs(columns - centre[:, None]).mean(1)
    spread = np.where(spread > 0, spread, np.where(distance > 0, distance, 1.0))
    return torch.from_numpy(centre), torch.from_numpy(spread.clip(LEAST_SPREAD))


def inverse_softplus(y: Tensor) -> Tensor:
    return y + torch.log(-torch.expm1(-y))
