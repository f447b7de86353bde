"""Laws of whole numbers, in the units that a model sees."""

import torch
from torch import Tensor
from torch.distributions import Distribution

from variate.models.laws.tails import lower_and_upper

__all__ = ["Counts"]


class Counts(Distribution):
    """P(u) = P_law(x), x = u · scale + offset: a law of whole numbers, seen in model units.

    A probability stays what it is, so there is no volume term. ``law`` may be in double precision, which large counts
    need; what comes out has the precision of ``scale``. Shapes: offset and scale broadcast against law's batch shape.

    >>> law = Counts(torch.distributions.Poisson(torch.tensor([8.0])), torch.zeros(1), torch.tensor([4.0]))
    >>> law.mean.tolist(), law.variance.tolist(), round(law.log_prob(torch.tensor([0.0])).item(), 4)
    ([2.0], [0.5], -8.0)
    """

    arg_constraints = {}  # pyright: ignore[reportAssignmentType]

    def __init__(self, law: Distribution, offset: Tensor, scale: Tensor):
        self.law, self.offset, self.scale = law, offset, scale
        super().__init__(law.batch_shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        x = (value.double() * self.scale + self.offset).round()
        return self.law.log_prob(x).to(self.scale.dtype)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008 (torch's own signature)
        return self._in_units(self.law.sample(sample_shape))

    @property
    def mean(self) -> Tensor:
        return self._in_units(self.law.mean)

    @property
    def variance(self) -> Tensor:
        return (self.law.variance / self.scale**2).to(self.scale.dtype)

    def _in_units(self, x: Tensor) -> Tensor:
        return ((x - self.offset) / self.scale).to(self.scale.dtype)


@lower_and_upper.register(Counts)
def _tails(law: Counts, value: Tensor) -> tuple[Tensor, Tensor]:
    return lower_and_upper(law.law, value * law.scale + law.offset)
