"""A normal law with its whole covariance."""

import torch
from torch import Tensor
from torch.distributions import Distribution

from variate.models.laws.normals import FullNormal
from variate.models.posteriors.posterior import Posterior
from variate.models.scales import lower, packed

__all__ = ["Full"]


class Full(Posterior):
    """q(z|x) = N(μ(x), L(x) L(x)ᵀ): a multivariate normal with its whole covariance, d + d(d+1)/2 numbers per row."""

    def __init__(self, features: int, size: int):
        super().__init__(features, size, size + size * (size + 1) // 2)

    def distribution(self, parameters: Tensor) -> Distribution:
        return FullNormal(parameters[..., : self.size], lower(parameters[..., self.size :], self.size))

    def spread_parameters(self, spread: float) -> Tensor:
        return packed(spread * torch.eye(self.size, dtype=torch.float32))
