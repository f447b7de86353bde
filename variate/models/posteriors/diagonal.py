"""A normal law whose numbers are independent of each other."""

import torch
from torch import Tensor
from torch.distributions import Distribution

from variate.models.laws.normals import DiagonalNormal
from variate.models.posteriors.posterior import Posterior
from variate.models.scales import bounded_exp, packed

__all__ = ["Diagonal"]


class Diagonal(Posterior):
    """q(z|x) = N(μ(x), diag σ²(x)) (Kingma & Welling 2014, eq. 9)."""

    def __init__(self, features: int, size: int):
        super().__init__(features, size, 2 * size)

    def distribution(self, parameters: Tensor) -> Distribution:
        mean, log_scale = parameters.chunk(2, dim=-1)
        return DiagonalNormal(mean, bounded_exp(log_scale))

    def spread_parameters(self, spread: float) -> Tensor:
        return packed(torch.tensor([[spread]], dtype=torch.float32)).expand(self.size)
