"""Binary values."""

import torch
from torch import Tensor, distributions
from torch.distributions import Distribution

from variate.base.errors import UserError
from variate.data.schema import Field
from variate.models.likelihoods.likelihood import Likelihood
from variate.models.likelihoods.marginals import LEAST_SHARE, by_column, mean_of

__all__ = ["Bernoulli"]


class Bernoulli(Likelihood):
    """P(x|z) = ∏ pᵢ^{xᵢ} (1−pᵢ)^{1−xᵢ}, binary values; −log P is the binary cross-entropy.

    Grey data is refused unless the recipe names a binarisation (``data.binarize``).

    >>> from variate.data.kinds import Levels
    >>> likelihood = Bernoulli((5,), Field(Levels(2), (3,), "uint8"))
    >>> likelihood.distribution(torch.zeros(1, 3)).log_prob(torch.ones(3)).exp().item()
    0.125
    """

    def __init__(self, features: tuple[int, ...], field: Field):
        if field.kind.levels != 2:
            raise UserError(
                "likelihood Bernoulli needs binary data: name a binarisation, for example data.binarize=dynamic."
            )
        super().__init__(features, field, per_value=1)

    def start_at(self, rows: Tensor) -> None:
        mean = mean_of(by_column(rows.reshape(-1, 1))).clamp(LEAST_SHARE, 1 - LEAST_SHARE)
        self.head.set_bias(torch.logit(mean).expand(1, self.field.tensor_shape[0]))

    def values(self, parameters: Tensor) -> Distribution:
        return distributions.Bernoulli(logits=self._parts(parameters)[0], validate_args=False)
