"""Laws of the levels of a grid in [0, 1]."""

import math

import torch
from torch import Tensor
from torch.distributions import Binomial, Categorical, Distribution, Gamma

from variate.models.laws.tails import lower_and_upper, whole

__all__ = ["GridBetaBinomial", "Levels"]

MOST_MASSES = 1 << 20  # of levels, at a time


class Levels(Distribution):
    """P(u = k/(L−1)) = softmax(logits)_k on the grid of L levels; logits (…, L), batch shape (…).

    >>> Levels(torch.tensor([0.0, 1.0, 0.0])).mean.item()
    0.5
    """

    arg_constraints = {}  # pyright: ignore[reportAssignmentType]

    def __init__(self, logits: Tensor):
        self.logits = logits
        self.last = logits.shape[-1] - 1
        super().__init__(logits.shape[:-1], validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        level = (value * self.last).round().long()
        logits, level = torch.broadcast_tensors(self.logits, level.unsqueeze(-1))
        return logits.log_softmax(-1).gather(-1, level[..., :1]).squeeze(-1)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008 (torch's own signature)
        return Categorical(logits=self.logits, validate_args=False).sample(sample_shape) / self.last

    @property
    def mean(self) -> Tensor:
        grid = torch.arange(self.last + 1, device=self.logits.device, dtype=self.logits.dtype) / self.last
        return self.logits.softmax(-1) @ grid


class GridBetaBinomial(Distribution):
    """P(u = k/n) = C(n, k) B(k + a, n − k + b) / B(a, b) on the grid of L = n + 1 levels; a, b > 0 of shape (…).

    k heads in n tosses of a coin whose probability of heads is Beta(a, b) (Skellam 1948). Log-gammas are taken in
    double precision: their differences are small.

    >>> law = GridBetaBinomial(torch.tensor(1.0), torch.tensor(1.0), levels=4)
    >>> law.log_prob(torch.tensor([0.0, 1 / 3, 1.0])).exp(), law.mean
    (tensor([0.2500, 0.2500, 0.2500]), tensor(0.5000))
    """

    arg_constraints = {}  # pyright: ignore[reportAssignmentType]

    def __init__(self, a: Tensor, b: Tensor, levels: int):
        self.a, self.b, self.trials = a, b, levels - 1
        super().__init__(a.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        a, b = self.a.double(), self.b.double()
        heads = (value.double() * self.trials).round()
        tails = self.trials - heads
        log_ways = -math.log(self.trials + 1) - _log_beta(heads + 1, tails + 1)  # C(n, k) = 1/((n+1) B(k+1, n−k+1))
        return (log_ways + _log_beta(heads + a, tails + b) - _log_beta(a, b)).to(self.a.dtype)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008 (torch's own signature)
        log_odds = _log_gamma_sample(self.a, sample_shape) - _log_gamma_sample(self.b, sample_shape)
        heads = Binomial(self.trials, probs=torch.sigmoid(log_odds), validate_args=False).sample()
        return (heads / self.trials).to(self.a.dtype)

    @property
    def mean(self) -> Tensor:
        return self.a / (self.a + self.b)

    @property
    def variance(self) -> Tensor:
        total = self.a + self.b
        return self.a * self.b * (total + self.trials) / (total**2 * (total + 1) * self.trials)


def _log_beta(a: Tensor, b: Tensor) -> Tensor:
    return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)


def _log_gamma_sample(shape: Tensor, sample_shape: torch.Size) -> Tensor:
    """log g, g ~ Gamma(shape), as log g' + (log U)/shape with g' ~ Gamma(shape + 1): no shape is too small for it."""
    above = Gamma(shape.double() + 1, torch.ones((), dtype=torch.float64, device=shape.device), validate_args=False)
    gamma = above.sample(sample_shape)
    return gamma.log() - torch.empty_like(gamma).exponential_() / shape.double()


@lower_and_upper.register(Levels)
def _tails_of_levels(law: Levels, value: Tensor) -> tuple[Tensor, Tensor]:
    """Running sums of the masses from either end."""
    mass = law.logits.double().softmax(-1)
    nothing, all_of_it = torch.zeros_like(mass[..., :1]), torch.ones_like(mass[..., :1])
    lower = torch.cat([nothing, mass[..., :-1].cumsum(-1), all_of_it], -1)
    upper = torch.cat([all_of_it, mass[..., 1:].flip(-1).cumsum(-1).flip(-1), nothing], -1)
    place = (whole(value * law.last).clamp(-1, law.last) + 1).long().unsqueeze(-1)
    each = (table.expand(*value.shape, -1).gather(-1, place).squeeze(-1) for table in (lower, upper))
    below, above = (part.clamp(max=1) for part in each)
    return below, above


@lower_and_upper.register(GridBetaBinomial)
def _tails_of_beta_binomial(law: GridBetaBinomial, value: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of the masses, each from the one before: P(k) = P(k − 1) (n − k + 1)(k − 1 + a) / (k (n − k + b)).

    They are divided by their sum, so that P(0) may be of any precision. A logarithm for each, where a log-gamma costs
    ten times as much.
    """
    a, b, n = law.a.double(), law.b.double(), law.trials
    level = whole(value * n).clamp(-1, n)
    log_mass = _log_beta(a, b + n) - _log_beta(a, b)
    first = log_mass.exp()
    below, above = torch.where(level < 0, 0.0, first), torch.where(level < 0, first, 0.0)
    heads = torch.arange(1, n + 1, dtype=level.dtype, device=level.device).view(-1, *[1] * level.dim())
    for k in heads.split(max(1, MOST_MASSES // max(1, level.numel()))):
        growth = ((n - k + 1) / k * ((k - 1 + a) / (n - k + b))).log()
        each = log_mass + growth.cumsum(0)
        log_mass, mass = each[-1], each.exp()
        below = below + torch.where(k <= level, mass, 0.0).sum(0)
        above = above + torch.where(k > level, mass, 0.0).sum(0)
    return below / (below + above), above / (below + above)
