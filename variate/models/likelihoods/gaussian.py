"""Real numbers whose errors are normal."""

import math

from torch import Tensor, distributions
from torch.distributions import Distribution

from variate.data.schema import Field
from variate.models.likelihoods.location_scale import LEAST_LOG_SCALE, LocationScale

__all__ = ["Gaussian"]


class Gaussian(LocationScale):
    """p(x|z) = ∏ N(xᵢ; μᵢ, σᵢ²): a density. With σ fixed, −log p is the squared error / (2σ²) plus a constant.

    ``sigma``: "learned" is one σ per column (else: per channel), free of z; "predicted" is a σ for every value from
    the decoder; "optimal" is one σ kept at its maximum-likelihood value, σ² = the training rows' mean (x−μ)²
    (Rybkin et al. 2021, eq. 5, over the last steps rather than one batch, so that no row's density depends on
    another row); a number fixes σ in model units.

    >>> import torch
    >>> from variate.data.kinds import Reals
    >>> likelihood = Gaussian((5,), Field(Reals(), (2,), "float32"), sigma=0.5)
    >>> likelihood.point(likelihood(torch.zeros(3, 5))).shape
    torch.Size([3, 2])
    """

    def __init__(self, features: tuple[int, ...], field: Field, *, sigma: str | float = "learned"):
        super().__init__(features, field, "sigma", sigma, ("learned", "predicted", "optimal"))

    def values(self, parameters: Tensor) -> Distribution:
        return distributions.Normal(*self._location_and_scale(parameters), validate_args=False)

    @property
    def wants_residuals(self) -> bool:
        return self.mode == "optimal"

    def start_at(self, rows: Tensor) -> None:
        """Real numbers are standardised: their mean and variance are where it starts anyway."""

    def refit(self, mse_per_dim: float) -> None:
        log_sigma = math.log(mse_per_dim) / 2 if mse_per_dim > 0 else -math.inf
        self.get_buffer("log_sigma").fill_(max(log_sigma, LEAST_LOG_SCALE))
