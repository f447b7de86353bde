"""A toy: one cell of channels and places, (C, H, W)."""

import math

import torch
from torch import Tensor, nn

from variate.models.latents.latent import Choose, Latent
from variate.models.laws.normals import DiagonalNormal, StandardNormal
from variate.models.scales import bounded_exp

__all__ = ["Grid"]


class Grid(Latent):
    """z ~ N(0, I), (C, H, W); q(z|x) = N(μ(x), diag σ²(x)). The code is z itself."""

    def __init__(self, features: int, *, channels: int = 2, height: int = 4, width: int = 4):
        shape = (channels, height, width)
        super().__init__((shape,), shape)
        self.linear = nn.Linear(features, 2 * math.prod(shape))
        self.register_buffer("zero", torch.zeros(shape), persistent=False)

    def walk(self, choose: Choose, features: Tensor | None, context: Tensor | None) -> Tensor:
        return choose(None if features is None else self.law(features), StandardNormal(self.get_buffer("zero")))

    def law(self, features: Tensor) -> DiagonalNormal:
        mean, log_scale = self.linear(features).unflatten(-1, (2, *self.code)).unbind(-4)
        return DiagonalNormal(mean, bounded_exp(log_scale), event=3)
