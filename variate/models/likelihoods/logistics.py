"""Real numbers of any shape: mixtures of logistic laws."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution

from variate.base.errors import UserError
from variate.data.schema import Field
from variate.models.laws.logistic_mixtures import LogisticMixture
from variate.models.likelihoods.likelihood import Likelihood
from variate.models.likelihoods.marginals import by_column, inverse_softplus
from variate.models.likelihoods.mixture_start import logistics_of

__all__ = ["Logistics"]

MOST_COMPONENTS, LEAST_LOG_SCALE, MOST_LOG_SCALE = 1000, -12.0, 30.0


class Logistics(Likelihood):
    """p(x|z) = ∏ᵢ Σ_k π_ik f((xᵢ − μ_ik)/s_ik)/s_ik, f(t) = 1/(4 cosh²(t/2)): ``components`` logistics for every value.

    The decoder gives the K logits, means and log scales of every value; s is above e^−12 model units. The tails of a
    logistic law are those of Laplace's, its middle is a normal one. The point is the mean.

    >>> from variate.data.kinds import Reals
    >>> likelihood = Logistics((5,), Field(Reals(), (2,), "float32"), components=3)
    >>> likelihood(torch.zeros(4, 5)).shape  # three logits, three means, three log scales
    torch.Size([4, 9, 2])
    """

    support = "reals"

    def __init__(self, features: tuple[int, ...], field: Field, *, components: int = 4):
        super().__init__(features, field, per_value=3 * checked(components))
        self.components = components

    def start_at(self, rows: Tensor) -> None:
        columns = by_column(rows)
        least = torch.full((len(columns),), LEAST_LOG_SCALE + 1).exp()
        weights, means, scales = logistics_of(columns, self.components, least)
        log_scales = unbounded(scales.log(), LEAST_LOG_SCALE)
        self.head.set_bias(torch.cat([weights.log(), means, log_scales]))

    def values(self, parameters: Tensor) -> Distribution:
        dim = -(self.event + 1)
        logits, means, log_scales = parameters.split(self.components, dim)
        return LogisticMixture(means, bounded(log_scales, LEAST_LOG_SCALE), logits, dim)


def checked(components: int) -> int:
    if not 1 <= components <= MOST_COMPONENTS:
        raise UserError(f"likelihood.components={components} must be within 1..{MOST_COMPONENTS}.")
    return components


def bounded(log_scales: Tensor, least: Tensor | float) -> Tensor:
    """Log scales between ``least`` and 30, smoothly at the lower end: no scale that is too small is stuck there."""
    return (F.softplus(log_scales - least) + least).clamp(max=MOST_LOG_SCALE)


def unbounded(log_scales: Tensor, least: Tensor | float) -> Tensor:
    """What ``bounded`` makes log scales of, that are above ``least``."""
    return inverse_softplus(log_scales - least) + least
