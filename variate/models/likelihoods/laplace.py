"""Real numbers whose absolute error is the cost."""

from torch import Tensor, distributions
from torch.distributions import Distribution

from variate.data.schema import Field
from variate.models.likelihoods.location_scale import LocationScale

__all__ = ["Laplace"]


class Laplace(LocationScale):
    """p(x|z) = ∏ exp(−|xᵢ − μᵢ| / bᵢ) / (2 bᵢ): a density whose −log is the absolute error. μ is mean and median.

    ``scale`` is b: "learned" is one per column (else: per channel), free of z; "predicted" is one for every value
    from the decoder; a number fixes it, in model units.

    >>> import torch
    >>> from variate.data.kinds import Reals
    >>> likelihood = Laplace((5,), Field(Reals(), (2,), "float32"), scale=0.5)
    >>> likelihood.distribution(torch.zeros(1, 2)).log_prob(torch.tensor([0.5, -1.0])).item()
    -3.0
    """

    def __init__(self, features: tuple[int, ...], field: Field, *, scale: str | float = "learned"):
        super().__init__(features, field, "scale", scale)

    def values(self, parameters: Tensor) -> Distribution:
        return distributions.Laplace(*self._location_and_scale(parameters), validate_args=False)
