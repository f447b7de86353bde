"""A code without a law of its own."""

import torch
from torch import Tensor
from torch.distributions import Distribution

from variate.models.laws.normals import PointMass
from variate.models.posteriors.posterior import Posterior

__all__ = ["Point"]


class Point(Posterior):
    """q(z|x) = δ(z − g(x)): the deterministic autoencoder. It has no density, hence no rate."""

    has_density = False

    def __init__(self, features: int, size: int):
        super().__init__(features, size, size)

    def distribution(self, parameters: Tensor) -> Distribution:
        return PointMass(parameters)

    def spread_parameters(self, spread: float) -> Tensor:
        return torch.zeros(0, dtype=torch.float32)
