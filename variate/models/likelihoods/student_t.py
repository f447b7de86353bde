"""Real numbers with outliers that are to cost little."""

import math

import torch
from torch import Tensor, distributions
from torch.distributions import Distribution

from variate.base.errors import UserError
from variate.data.schema import Field
from variate.models.likelihoods.location_scale import LocationScale

__all__ = ["StudentT"]

LEAST_DOF, FIRST_DOF, MOST_DOF = 2.1, 10.0, 100.0
FEWEST_DOF = 0.01  # that may be asked for: tails so heavy that half of what is drawn is beyond e^69


class StudentT(LocationScale):
    """p(x|z) = ∏ Γ((ν+1)/2) / (Γ(ν/2) √(νπ) sᵢ) (1 + ((xᵢ − μᵢ)/sᵢ)²/ν)^{−(ν+1)/2}: a density that forgives outliers.

    ``scale`` is s, as Laplace's. ``dof`` is ν: "learned" is one per column (else: per channel), kept within 2.1..100
    so that mean and variance exist and samples can be averaged (with more it is a Gaussian, to 2e-4 nats); a number up
    to 100 fixes it: 1 is Cauchy's law, which has neither. The point is μ in any case.

    >>> from variate.data.kinds import Reals
    >>> likelihood = StudentT((5,), Field(Reals(), (1,), "float32"), scale=1.0, dof=1.0)
    >>> round(likelihood.distribution(torch.zeros(1, 1)).log_prob(torch.zeros(1)).exp().item() * math.pi, 4)
    1.0
    """

    def __init__(
        self,
        features: tuple[int, ...],
        field: Field,
        *,
        scale: str | float = "learned",
        dof: str | float = "learned",
    ):
        if isinstance(dof, str) and dof != "learned" or not isinstance(dof, str) and not FEWEST_DOF <= dof <= MOST_DOF:
            raise UserError(f"likelihood.dof={dof!r}: give learned or a number from {FEWEST_DOF} up to {MOST_DOF:.0f}.")
        super().__init__(features, field, "scale", scale)
        self.dof = dof
        if dof == "learned":
            share = (FIRST_DOF - LEAST_DOF) / (MOST_DOF - LEAST_DOF)
            self.raw_dof = self._per_channel(math.log(share / (1 - share)))

    def values(self, parameters: Tensor) -> Distribution:
        location, scale = self._location_and_scale(parameters)
        dof = self.dof
        if isinstance(dof, str):
            dof = LEAST_DOF + (MOST_DOF - LEAST_DOF) * torch.sigmoid(self.raw_dof)
        return distributions.StudentT(dof, location, scale, validate_args=False)

    def _guess(self, parameters: Tensor) -> Tensor:
        return self._parts(parameters)[0]
