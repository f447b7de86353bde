"""Levels as numbers of heads among tosses of a coin that is itself uncertain."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution

from variate.data.schema import Field
from variate.models.laws.grids import GridBetaBinomial
from variate.models.likelihoods.likelihood import Likelihood
from variate.models.likelihoods.marginals import LEAST_SHARE, by_column, mean_of, variance_of

__all__ = ["BetaBinomial"]


class BetaBinomial(Likelihood):
    """P(x=k|z) = ∏ᵢ C(n, kᵢ) B(kᵢ + aᵢ, n − kᵢ + bᵢ) / B(aᵢ, bᵢ) on L levels, n = L − 1 (Skellam 1948).

    n coins whose common probability of heads has a beta law with mean m and concentration c: a = m c, b = (1 − m) c.
    The decoder gives logit m and log c for every value. c → ∞ is the binomial law; c = 2, m = ½ is uniform.

    >>> from variate.data.kinds import Levels
    >>> likelihood = BetaBinomial((5,), Field(Levels(5), (2,), "uint8"))
    >>> uniform = torch.tensor([1.0, 2.0]).log().unsqueeze(-1).expand(2, 2)
    >>> round(likelihood.distribution(uniform).log_prob(torch.tensor([0.0, 0.75])).exp().item(), 6)
    0.04
    """

    def __init__(self, features: tuple[int, ...], field: Field):
        super().__init__(features, field, per_value=2)

    def start_at(self, rows: Tensor) -> None:
        """By the first two moments: the variance of k is n m (1 − m) (1 + (n − 1)/(c + 1))."""
        columns, trials = by_column(rows), self.levels - 1
        mean = mean_of(columns).clamp(LEAST_SHARE, 1 - LEAST_SHARE)
        excess = trials * variance_of(columns) / (mean * (1 - mean)) - 1
        alike = (excess / max(trials - 1, 1)).clamp(1e-3, 1 - 1e-3)  # 1/(c + 1): how far one coin tells the next
        self.head.set_bias(torch.stack([torch.logit(mean), -torch.logit(alike)]))

    def values(self, parameters: Tensor) -> Distribution:
        mean_logit, log_concentration = self._parts(parameters)
        mean_logit, log_concentration = mean_logit.clamp(-30, 30), log_concentration.clamp(-7, 14)
        a = torch.exp(log_concentration + F.logsigmoid(mean_logit))
        b = torch.exp(log_concentration + F.logsigmoid(-mean_logit))
        return GridBetaBinomial(a, b, self.levels)
