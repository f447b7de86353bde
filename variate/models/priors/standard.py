"""The law that knows nothing."""

import torch
from torch import Tensor
from torch.distributions import Distribution

from variate.models.laws.normals import StandardNormal
from variate.models.priors.prior import Prior

__all__ = ["Standard"]


class Standard(Prior):
    """p(z) = N(0, I)."""

    def __init__(self, size: int, context: int):
        super().__init__(size, context)
        self.register_buffer("zero", torch.zeros(size, dtype=torch.float32), persistent=False)

    def forward(self, context: Tensor | None) -> Distribution:
        return StandardNormal(self.get_buffer("zero"))
