"""The contract of a posterior."""

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

__all__ = ["Posterior"]


class Posterior(nn.Module):
    """features (B, F) → q(z | x, c): ``linear`` gives the parameters, ``distribution`` is pure in them."""

    has_density = True  # whether log q(z | x, c) is defined

    def __init__(self, features: int, size: int, numbers: int):
        super().__init__()
        self.size = size
        self.linear = nn.Linear(features, numbers, dtype=torch.float32)

    def distribution(self, parameters: Tensor) -> Distribution:
        raise NotImplementedError

    def forward(self, features: Tensor) -> Distribution:
        return self.distribution(self.linear(features))

    @torch.no_grad()
    def start_linear(self, matrix: Tensor, offset: Tensor, spread: float) -> None:
        """The mean starts as W f + b, f the last features, W (size, d), b (size,); all rows start with one spread."""
        self.linear.weight.zero_()
        self.linear.weight[: self.size, -matrix.shape[1] :] = matrix
        self.linear.bias.copy_(torch.cat([offset, self.spread_parameters(spread).to(offset)]))

    def spread_parameters(self, spread: float) -> Tensor:
        """The parameters besides the mean that make every standard deviation ``spread``, without correlations."""
        raise NotImplementedError
