"""Mixtures of normals fitted to codes by expectation maximisation."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from variate.base.hushed import hushed
from variate.models.priors.moments import moments, ridge_of

if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture

__all__ = ["Fitted", "gaussian_mixture", "held_out_mixture"]

HELD_OUT, ROWS_PER_COMPONENT = 6, 20  # every sixth row; so many for each component, at least
MOST_STEPS = 10_000  # of expectation maximisation, which ends where one adds less than 1e-3 nats
Fitted = tuple[Tensor, Tensor, Tensor, Tensor]  # weights (K,), means (K, d), covariances (K, d, d), shares (n, K)


def gaussian_mixture(codes: Tensor, components: int) -> Fitted:
    """Fitted to codes (n, d): weights, means, covariances and every row's responsibilities."""
    from sklearn import config_context  # a slow import that few runs need
    from sklearn.mixture import GaussianMixture

    distinct = min(components, len(codes))
    ridge = ridge_of(codes.var(0, correction=0))
    with hushed(), config_context(array_api_dispatch=False):  # which its k-means does not know
        found = GaussianMixture(distinct, reg_covar=ridge, random_state=0).fit(codes.numpy())
        shares = found.predict_proba(codes.numpy())
    parts = (found.weights_, found.means_, found.covariances_, shares)
    return _spread_over(components, parts)


def held_out_mixture(codes: Tensor, components: int, ridge: float) -> Fitted:
    """The same with at most that many different components: of all of them, a half, a quarter, … those that every sixth
    row, held out, is likeliest under. ``ridge`` is added to every variance.
    """
    most = min(components, len(codes) // ROWS_PER_COMPONENT)
    held = torch.arange(len(codes)) % HELD_OUT == HELD_OUT - 1
    numbers = sorted({most >> halvings for halvings in range(most.bit_length())})
    if len(numbers) > 1:
        chances = [_by_em(codes[~held], number, ridge).score(codes[held].numpy()) for number in numbers]
        found = _by_em(codes, numbers[int(np.argmax(chances))], ridge)
        shares = found.predict_proba(codes.numpy())
        return _spread_over(components, (found.weights_, found.means_, found.covariances_, shares))
    mean, covariance = moments(codes)
    widened = covariance + ridge * torch.eye(len(mean), dtype=mean.dtype)
    shares = np.ones((len(codes), 1))
    return _spread_over(components, (np.ones(1), mean.unsqueeze(0).numpy(), widened.unsqueeze(0).numpy(), shares))


def _by_em(codes: Tensor, components: int, ridge: float) -> "GaussianMixture":
    """A mixture fitted to codes (n, d) until it improves no more, so that there is nothing to warn of: filters of
    warnings belong to all threads. Not begun by k-means, whose threads sum in an order of their own."""
    from sklearn import config_context  # a slow import that few runs need
    from sklearn.mixture import GaussianMixture

    with config_context(array_api_dispatch=False):
        mixture = GaussianMixture(
            components, reg_covar=ridge, max_iter=MOST_STEPS, init_params="k-means++", random_state=0
        )
        return mixture.fit(codes.numpy())


def _spread_over(components: int, parts: tuple) -> Fitted:
    """What was fitted with fewer components, as so many: some are the same and share a weight."""
    weights, means, covariances, shares = (torch.from_numpy(part) for part in parts)
    place = torch.arange(components) % len(weights)
    times = torch.bincount(place)[place]
    return weights[place] / times, means[place], covariances[place], shares[:, place] / times
