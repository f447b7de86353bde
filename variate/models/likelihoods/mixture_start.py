"""Where a mixture of logistic laws starts: at its maximum likelihood of every column by itself."""

import torch
import torch.nn.functional as F
from torch import Tensor

from variate.models.likelihoods.marginals import LEAST_SHARE, variance_of

__all__ = ["logistics_of"]

STEPS, MOST_VALUES = 50, 4000
TO_LOGISTIC = 0.5513  # √3/π: the scale of a logistic law of standard deviation 1
NARROWEST = 0.01  # of a component, in scales of the whole column


def logistics_of(columns: Tensor, components: int, least: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(weights, means, scales) of K logistics for every column (C, n), NaN where there is nothing: (K, C) each.

    By the steps of expectation and maximisation, from equal parts at the column's quantiles. log σ(z) σ(−z) is at least
    a parabola in z that touches it, of curvature tanh(z/2)/z (Jaakkola and Jordan 2000): no step makes it worse.
    Scales are at least ``least`` (C,). A column without values gets a scale of 1 at 0, one of a
    single value the ``least``. In double precision.
    """
    columns = columns.double().cpu()
    if columns.shape[1] > MOST_VALUES:  # some of every part of them
        columns = columns.sort(1).values[:, :: -(-columns.shape[1] // MOST_VALUES)]
    there = (~columns.isnan()).double()
    empty = there.sum(1) == 0
    x = columns.nan_to_num(0.0)
    whole = torch.where(empty, 1.0, TO_LOGISTIC * variance_of(columns).nan_to_num(0.0).sqrt())
    least = torch.maximum(least.double().cpu(), NARROWEST * whole)
    places = (torch.arange(components, dtype=x.dtype) + 0.5) / components
    means = columns.nanquantile(places, 1).nan_to_num(0.0)
    scales = torch.maximum(whole / components**0.5, least).expand_as(means)
    weights = torch.full_like(means, 1 / components)
    for _ in range(STEPS):
        z = (x - means.unsqueeze(-1)) / scales.unsqueeze(-1)  # (K, C, n)
        share = _log_density(z, scales, weights).softmax(0) * there
        pull = share * _curvature(z)
        total = share.sum(-1)
        weights = (total / total.sum(0).clamp_min(1)).clamp_min(LEAST_SHARE)
        means = torch.where(pull.sum(-1) > 0, (pull * x).sum(-1) / pull.sum(-1).clamp_min(1e-300), means)
        square = (pull * (x - means.unsqueeze(-1)).square()).sum(-1) / total.clamp_min(1e-300)
        scales = torch.maximum(torch.where(empty, 1.0, square.sqrt()), least)
    return weights, means, scales


def _log_density(z: Tensor, scales: Tensor, weights: Tensor) -> Tensor:
    return F.logsigmoid(z) + F.logsigmoid(-z) + (weights.log() - scales.log()).unsqueeze(-1)


def _curvature(z: Tensor) -> Tensor:
    """tanh(z/2)/z, ½ at 0."""
    safe = torch.where(z.abs() < 1e-6, 1.0, z)
    return torch.where(z.abs() < 1e-6, 0.5, torch.tanh(safe / 2) / safe)
