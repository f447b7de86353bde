"""A toy: two groups, the second beneath the first, small enough to be integrated exactly."""

import torch
from torch import Tensor, nn

from variate.models.latents.latent import Choose, Latent
from variate.models.laws.normals import DiagonalNormal, StandardNormal

__all__ = ["Ladder"]


class Ladder(Latent):
    """z₁ ~ N(0, I), z₂ | z₁ ~ N(A z₁ + a, S²); q(z₁|x) q(z₂|z₁, x) walks the same top-down state, h = B z₁ + C z₂."""

    def __init__(self, features: int, *, top: int = 2, bottom: int = 1, state: int = 3):
        super().__init__(((top,), (bottom,)), (state,))
        self.first = nn.Linear(features, 2 * top)
        self.second = nn.Linear(features + state, 2 * bottom)
        self.descend = nn.Linear(top, state, bias=False)
        self.prior = nn.Linear(state, 2 * bottom)
        self.merge = nn.Linear(bottom, state, bias=False)
        self.register_buffer("zero", torch.zeros(top), persistent=False)

    def walk(self, choose: Choose, features: Tensor | None, context: Tensor | None) -> Tensor:
        above = None if features is None else normal(self.first(features))
        state = self.descend(choose(above, StandardNormal(self.get_buffer("zero"))))
        below = None if features is None else normal(self.second(beside(features, state)))
        return state + self.merge(choose(below, normal(self.prior(state))))


def normal(parameters: Tensor) -> DiagonalNormal:
    mean, log_scale = parameters.chunk(2, -1)
    return DiagonalNormal(mean, log_scale.exp())


def beside(features: Tensor, state: Tensor) -> Tensor:
    return torch.cat([features.expand(*state.shape[:-1], features.shape[-1]), state], -1)
