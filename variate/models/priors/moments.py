"""Means and covariances of codes, of all of them and of classes."""

import torch
from torch import Tensor

from variate.models.scales import packed

__all__ = ["classes_of", "moments", "moments_of_classes", "normal_parameters", "off_line", "ridge_of"]

RIDGE = 1e-6  # of the mean variance, added to a covariance that is estimated


def moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The mean (d,) and the maximum-likelihood covariance (d, d) of rows (n, d)."""
    mean = rows.mean(0)
    return mean, (rows - mean).T @ (rows - mean) / len(rows)


def ridge_of(variances: Tensor) -> float:
    return float(RIDGE * variances.mean() + RIDGE**2)  # above 0 even where nothing varies


def moments_of_classes(codes: Tensor, classes: dict[int, Tensor]) -> dict[int, tuple[Tensor, Tensor]]:
    """The moments of every class, its covariance mixed with one row's worth of the covariance within classes."""
    found = {label: (int(rows.sum()), *moments(codes[rows])) for label, rows in classes.items()}
    within = sum(rows * own for rows, _, own in found.values()) / max(1, sum(rows for rows, _, _ in found.values()))
    return {label: (mean, (rows * own + within) / (rows + 1)) for label, (rows, mean, own) in found.items()}


def normal_parameters(mean: Tensor, covariance: Tensor, added: float) -> Tensor:
    """The parameters of a ``Normal`` with this mean and covariance, whose variances get the ridge and ``added``."""
    ridge = ridge_of(covariance.diagonal()) + added
    factor = torch.linalg.cholesky(covariance + ridge * torch.eye(len(mean), dtype=mean.dtype))
    return torch.cat([mean, packed(factor)])


def classes_of(context: Tensor) -> dict[int, Tensor] | None:
    """One-hot contexts (n, C) → which rows a class has, if any; ``None`` for contexts that are not one-hot.

    A row of zeros is one whose class is not known.
    """
    if not ((context == 0) | (context == 1)).all() or (context.sum(-1) > 1).any():
        return None
    return {label: rows for label, rows in enumerate(context.T == 1) if rows.any()}


def off_line(codes: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    """The codes (n, d) without what moves with the contexts (n, C) in a line, and its slope (C, d): least squares."""
    design = torch.cat([torch.ones_like(context[:, :1]), context], dim=1)
    slope = (torch.linalg.pinv(design, rtol=1e-6) @ codes)[1:]  # columns that differ by rounding count as one
    return codes - context @ slope, slope
