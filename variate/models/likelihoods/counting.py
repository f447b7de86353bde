"""Counts 0, 1, 2, … without end."""

import torch
import torch.nn.functional as F
from torch import Tensor, distributions
from torch.distributions import Distribution

from variate.data.kinds import spread_or_one
from variate.data.schema import Field
from variate.models.laws.counts import Counts
from variate.models.likelihoods.likelihood import Likelihood
from variate.models.likelihoods.marginals import LEAST_SHARE, by_column, inverse_softplus, mean_of, variance_of

__all__ = ["NegativeBinomial", "Poisson"]

LEAST_MEAN = 1e-8  # of a count, in model units: no count has probability 0
LEAST_DISPERSION = 1e-8  # a Poisson law to seven digits; below it, double precision cannot tell them apart


class Counting(Likelihood):
    """The base of the likelihoods of counts x = u · scale + offset: a mean μ for every value from the decoder.

    μ / scale is a softplus: small means move in proportion, and large ones, in a straight line, cannot overflow.
    """

    support = "counts"

    def __init__(self, features: tuple[int, ...], field: Field):
        super().__init__(features, field, per_value=1)
        for name, numbers in (("offset", field.kind.offset), ("scale", spread_or_one(field.kind.scale))):
            wide = torch.tensor(numbers, dtype=torch.float32).reshape(-1, *[1] * (self.event - 1))
            self.register_buffer(name, wide, persistent=False)

    def start_at(self, rows: Tensor) -> None:
        mean = mean_of(by_column(self._raw(rows))) / self.get_buffer("scale").flatten()
        self.head.set_bias(inverse_softplus(mean.clamp_min(LEAST_SHARE)).unsqueeze(0))

    def _raw(self, units: Tensor) -> Tensor:
        return units * self.get_buffer("scale") + self.get_buffer("offset")

    def _mean(self, parameters: Tensor) -> Tensor:
        """In counts and in double precision: log-masses of large counts are small differences of large numbers."""
        mean = F.softplus(self._parts(parameters)[0]) + LEAST_MEAN
        return (mean * self.get_buffer("scale")).double()

    def _in_units(self, law: Distribution) -> Distribution:
        return Counts(law, self.get_buffer("offset"), self.get_buffer("scale"))


class Poisson(Counting):
    """P(x|z) = ∏ λᵢ^{xᵢ} e^{−λᵢ} / xᵢ!, counts 0, 1, 2, …: mean and variance are λ.

    >>> from variate.data.kinds import Counts
    >>> likelihood = Poisson((5,), Field(Counts(), (1,), "int64"))
    >>> one = torch.ones(1, 1).expm1().log()  # the softplus of it is 1
    >>> round(likelihood.distribution(one).log_prob(torch.tensor([0.0])).item(), 4)
    -1.0
    """

    def values(self, parameters: Tensor) -> Distribution:
        return self._in_units(distributions.Poisson(self._mean(parameters), validate_args=False))


class NegativeBinomial(Counting):
    """P(x|z) = ∏ Γ(xᵢ + r)/(xᵢ! Γ(r)) (r/(r + μᵢ))^r (μᵢ/(r + μᵢ))^{xᵢ}, counts 0, 1, 2, …, with r = 1/α.

    The variance is μ + α μ²; the dispersion α is learned, one per column (else: per channel). α → 0 is Poisson's law.

    >>> from variate.data.kinds import Counts
    >>> likelihood = NegativeBinomial((5,), Field(Counts(), (1,), "int64"))
    >>> law = likelihood.distribution(torch.full((1, 1), 3.0))
    >>> mean, alpha = law.mean, F.softplus(likelihood.raw_dispersion)
    >>> torch.allclose(law.variance, mean + alpha * mean**2)
    True
    """

    def __init__(self, features: tuple[int, ...], field: Field):
        super().__init__(features, field)
        self.raw_dispersion = self._per_channel(0.0)

    def start_at(self, rows: Tensor) -> None:
        super().start_at(rows)
        counts = by_column(self._raw(rows))
        mean = mean_of(counts).clamp_min(LEAST_SHARE)
        dispersion = (variance_of(counts) / mean - 1) / mean
        start = inverse_softplus(dispersion.clamp(1e-3, 1e3))
        with torch.no_grad():
            self.raw_dispersion.copy_(start.view_as(self.raw_dispersion))

    def values(self, parameters: Tensor) -> Distribution:
        mean = self._mean(parameters)
        dispersion = F.softplus(self.raw_dispersion).double() + LEAST_DISPERSION
        logits = (mean * dispersion).log()
        return self._in_units(distributions.NegativeBinomial(1 / dispersion, logits=logits, validate_args=False))
