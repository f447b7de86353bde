"""Johnson's law of real numbers, with tails as heavy as wanted."""

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from variate.models.laws.tails import lower_and_upper, of_standard_normal

__all__ = ["JohnsonSU"]


class JohnsonSU(Distribution):
    """x = c + w sinh(y), y ~ N(μ, σ²): Johnson's S_U law (Johnson 1949), a normal one near c and as heavy as wanted far
    from it. Its tails fall like a power of x times e^{−log² |x|}; mean and variance exist. Shapes: all broadcast.

    >>> law = JohnsonSU(torch.zeros(1), torch.ones(1), centre=torch.tensor([5.0]), width=torch.tensor([0.1]))
    >>> law.mean.tolist(), law.log_prob(torch.tensor([5.0])).item(), -np.log(0.1 * np.sqrt(2 * np.pi)).item()
    ([5.0], 1.3836..., 1.3836...)
    """

    arg_constraints = {}  # pyright: ignore[reportAssignmentType]

    def __init__(self, location: Tensor, scale: Tensor, centre: Tensor, width: Tensor):
        self.loc, self.scale, self.centre, self.width = location, scale, centre, width
        super().__init__(torch.Size(np.broadcast_shapes(location.shape, centre.shape)), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        straight = (value - self.centre) / self.width
        stretch = torch.hypot(straight, torch.ones_like(straight)) * self.width  # dx/dy
        return Normal(self.loc, self.scale, validate_args=False).log_prob(torch.asinh(straight)) - stretch.log()

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008 (torch's own signature)
        return self.centre + self.width * Normal(self.loc, self.scale, validate_args=False).sample(sample_shape).sinh()

    @property
    def mean(self) -> Tensor:
        return self.centre + self.width * (self.scale.square() / 2).exp() * self.loc.sinh()

    @property
    def variance(self) -> Tensor:
        square = self.scale.square()
        return self.width.square() / 2 * square.expm1() * (square.exp() * (2 * self.loc).cosh() + 1)


@lower_and_upper.register(JohnsonSU)
def _tails(law: JohnsonSU, value: Tensor) -> tuple[Tensor, Tensor]:
    return of_standard_normal((torch.asinh((value - law.centre) / law.width) - law.loc) / law.scale)
