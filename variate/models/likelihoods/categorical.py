"""Levels without an order."""

from torch import Tensor
from torch.distributions import Distribution

from variate.base.errors import UserError
from variate.data.schema import Field
from variate.models.laws.grids import Levels
from variate.models.likelihoods.likelihood import Likelihood
from variate.models.likelihoods.marginals import LEAST_SHARE, shares

__all__ = ["Categorical"]


class Categorical(Likelihood):
    """P(x|z) = ∏ softmax(logitsᵢ)_{xᵢ} over the L levels; −log P is the softmax cross-entropy.

    >>> import torch
    >>> from variate.data.kinds import Levels
    >>> likelihood = Categorical((5,), Field(Levels(4), (2,), "uint8"))
    >>> likelihood.distribution(torch.zeros(4, 2)).log_prob(torch.tensor([0.0, 1.0])).exp().item()
    0.0625
    """

    def __init__(self, features: tuple[int, ...], field: Field):
        levels = field.kind.levels or 0
        if levels > 1024:
            raise UserError(f"likelihood Categorical over {levels} levels is too wide: use discretized_logistic.")
        super().__init__(features, field, per_value=levels)

    def start_at(self, rows: Tensor) -> None:
        share = shares(rows, self.levels).clamp_min(LEAST_SHARE)
        self.head.set_bias(share.log().unsqueeze(-1).expand(-1, self.field.tensor_shape[0]))

    def values(self, parameters: Tensor) -> Distribution:
        return Levels(parameters.movedim(-(self.event + 1), -1))
