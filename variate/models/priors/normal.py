"""A normal law that is learned."""

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from variate.models.laws.normals import FullNormal
from variate.models.priors.moments import classes_of, moments, moments_of_classes, normal_parameters, off_line
from variate.models.priors.prior import Prior
from variate.models.scales import lower

__all__ = ["Normal"]


class Normal(Prior):
    """p(z|c) = N(m(c), L(c) L(c)ᵀ), learned mean and covariance, linear in the context; starts as N(0, I).

    >>> Normal(2, context=0)(None).covariance_matrix.tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    def __init__(self, size: int, context: int):
        super().__init__(size, context)
        parameters = size + size * (size + 1) // 2
        self.start = nn.Parameter(torch.zeros(parameters, dtype=torch.float32))
        if context:
            self.shift = nn.Linear(context, parameters, bias=False, dtype=torch.float32)
            nn.init.zeros_(self.shift.weight)

    def forward(self, context: Tensor | None) -> Distribution:
        parameters = self.start if context is None else self.start + self.shift(context)
        return FullNormal(parameters[..., : self.size], lower(parameters[..., self.size :], self.size))

    def start_at(self, codes: Tensor, context: Tensor | None, spread: float) -> None:
        """``fit``, with what the codes' own spread adds to their variance."""
        self._fit(codes, context, spread**2)

    def fit(self, codes: Tensor, context: Tensor | None) -> None:
        """Maximum likelihood, but for a ridge of 1e-6 of the mean variance.

        Classes (one-hot contexts) get a mean and a covariance each; one row's worth of the covariance within all
        classes is in it, so that a few rows suffice. A class without rows, and no class, get what all rows say.
        In any other context the mean is the least-squares line, and the covariance that of the residuals.
        """
        self._fit(codes, context, 0.0)

    @torch.no_grad()
    def _fit(self, codes: Tensor, context: Tensor | None, added: float) -> None:
        codes, context = codes.double().cpu(), None if context is None else context.double().cpu()
        shift = codes.new_zeros(len(self.start), self.context)
        classes = None if context is None else classes_of(context)
        if context is not None and classes is None:
            codes, slope = off_line(codes, context)
            shift[: self.size] = slope.T
        start = normal_parameters(*moments(codes), added)
        for label, own in moments_of_classes(codes, classes or {}).items():
            shift[:, label] = normal_parameters(*own, added) - start
        self.start.copy_(start)
        if self.context:
            self.shift.weight.copy_(shift)
