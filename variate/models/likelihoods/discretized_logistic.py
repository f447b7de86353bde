"""Levels of grey, by logistic laws cut into bins."""

import torch
from torch import Tensor
from torch.distributions import Distribution

from variate.base.errors import UserError
from variate.data.schema import Field
from variate.models.laws.logistics import DiscretizedLogisticMixture
from variate.models.likelihoods.likelihood import Likelihood
from variate.models.likelihoods.marginals import LEAST_SHARE, shares

__all__ = ["DiscretizedLogistic"]


class DiscretizedLogistic(Likelihood):
    """P(x|z) = ∏ᵢ Σ_k π_ik [F((xᵢ+½−μ_ik)/s_ik) − F((xᵢ−½−μ_ik)/s_ik)] + Σ_j π_ij 1[xᵢ = atom_j] on L levels.

    F is the logistic function. ``components`` = 1 is the plain discretised logistic (Kingma et al. 2016), more is the
    mixture of Salimans et al. (2017). ``atoms`` are levels with a probability of their own, for data that repeat some
    values exactly (black background, saturated white); likelihood "auto" takes the training rows' most frequent ones.

    >>> from variate.data.kinds import Levels
    >>> likelihood = DiscretizedLogistic((5,), Field(Levels(256), (3,), "uint8"), components=2, atoms=(0, 255))
    >>> likelihood(torch.zeros(4, 5)).shape  # two means, two log scales, four weights for every value
    torch.Size([4, 8, 3])
    """

    def __init__(self, features: tuple[int, ...], field: Field, *, components: int = 1, atoms: tuple[int, ...] = ()):
        if not 1 <= components <= 1000:
            raise UserError(f"likelihood.components={components} must be within 1..1000.")
        super().__init__(features, field, per_value=3 * components + len(atoms))
        self.components, self.atoms = components, atoms
        if any(not 0 <= atom < self.levels for atom in atoms) or len(set(atoms)) < len(atoms):
            raise UserError(f"likelihood.atoms={list(atoms)} must be different levels within 0..{self.levels - 1}.")
        self._start(torch.zeros(components + len(atoms), dtype=torch.float32))

    def _start(self, logits: Tensor) -> None:
        """Wide components side by side, weighted by the logits."""
        means = torch.linspace(0, 1, self.components + 2, dtype=torch.float32)[1:-1]
        start = torch.cat([means, torch.full_like(means, -1.5), logits])
        self.head.set_bias(start.unsqueeze(-1).expand(-1, self.field.tensor_shape[0]))

    def start_at(self, rows: Tensor) -> None:
        atoms = shares(rows, self.levels)[list(self.atoms)].clamp_min(LEAST_SHARE)
        rest = (1 - atoms.sum()).clamp_min(LEAST_SHARE) / self.components
        self._start(torch.cat([rest.expand(self.components), atoms]).log())

    def values(self, parameters: Tensor) -> Distribution:
        dim = -(self.event + 1)
        return DiscretizedLogisticMixture(parameters, self.components, self.levels, dim, self.atoms, (-7.0, 7.0))
