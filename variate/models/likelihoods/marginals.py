"""What training rows say of every column by itself, before the first step. Missing cells are NaN, and left out."""

import numpy as np
import torch
from torch import Tensor

__all__ = ["by_column", "inverse_softplus", "mean_of", "middle", "shares", "variance_of"]

LEAST_SHARE = 1e-4  # of a level that the rows shown at the start happen not to have
NORMAL_QUARTILE = 0.674490  # of a standard normal's values a quarter is above
LEAST_SPREAD = 1e-30  # of a column's middle, in model units: what a float32 can be divided by


def by_column(rows: Tensor) -> Tensor:
    """Rows (B, C, …) → all values of a column or channel side by side, (C, B · places).

    A column of which nothing is known is 0 all the way.
    """
    columns = rows.transpose(0, 1).flatten(1)
    unknown = columns.isnan().all(1, keepdim=True)
    return columns.masked_fill(unknown, 0.0)


def mean_of(columns: Tensor) -> Tensor:
    """The mean of every column (C, n): (C,)."""
    unknown = columns.isnan()
    return columns.masked_fill(unknown, 0.0).sum(1) / (~unknown).sum(1)


def variance_of(columns: Tensor) -> Tensor:
    """The mean square distance from the mean, of every column (C, n): (C,)."""
    return mean_of((columns - mean_of(columns).unsqueeze(1)).square())


def shares(rows: Tensor, levels: int) -> Tensor:
    """How often each level occurs in rows in model units: (levels,), sums to one, unless there is nothing: then 0."""
    known = rows[~rows.isnan()]
    counts = torch.bincount((known * (levels - 1)).round().long().cpu(), minlength=levels)
    return counts.to(torch.float32) / counts.sum().clamp_min(1)


def middle(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The median of every column (else: channel) of rows (B, C, …), and the spread of its middle half: (C,) each.

    The spread is half the distance between the quartiles over that of a standard normal; where half of the values are
    one and the same, the mean distance from it; where all are, 1. In double precision.
    """
    columns = np.sort(by_column(rows).double().cpu().numpy(), axis=1)
    low, centre, high = np.nanquantile(columns, (0.25, 0.5, 0.75), axis=1)
    spread = (high - low) / (2 * NORMAL_QUARTILE)
    distance = np.nanmean(np.abs(columns - centre[:, None]), axis=1)
    spread = np.where(spread > 0, spread, np.where(distance > 0, distance, 1.0))
    return torch.from_numpy(centre), torch.from_numpy(spread.clip(LEAST_SPREAD))


def inverse_softplus(y: Tensor) -> Tensor:
    return y + torch.log(-torch.expm1(-y))
