"""Several normal laws, one of which it is."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from variate.base.errors import UserError
from variate.models.laws.normals import NormalMixture
from variate.models.priors.expectation import Fitted, gaussian_mixture, held_out_mixture
from variate.models.priors.moments import classes_of, off_line
from variate.models.priors.prior import Prior
from variate.models.scales import lower, packed

__all__ = ["Mixture"]

START_SPREAD = 0.5  # of the means of a mixture, whose components start apart
MOST_FITTED = 20_000  # rows that a mixture is fitted to


class Mixture(Prior):
    """p(z|c) = Σ_k π_k(c) N(m_k(c), L_k L_kᵀ): ``components`` normals with whole covariances, all of it learned.

    The log weights and the means are linear in the context. It starts with equal weights, unit covariances and means
    drawn around 0. A KL divergence to it is estimated from the draws.

    >>> prior = Mixture(2, context=0, components=3)
    >>> prior(None).rsample_from(torch.zeros(5, 3)).shape  # one normal more than z has numbers: it picks the component
    torch.Size([5, 2])
    """

    def __init__(self, size: int, context: int, *, components: int = 10):
        if not 1 <= components <= 1000:
            raise UserError(f"prior.components={components} must be within 1..1000.")
        super().__init__(size, context, noise_size=size + 1)
        self.components = components
        self.logits = nn.Parameter(torch.zeros(components, dtype=torch.float32))
        self.means = nn.Parameter(START_SPREAD * torch.randn(components, size, dtype=torch.float32))
        self.lower = nn.Parameter(torch.zeros(components, size * (size + 1) // 2, dtype=torch.float32))
        if context:
            self.shift = nn.Linear(context, components * (1 + size), bias=False, dtype=torch.float32)
            nn.init.zeros_(self.shift.weight)

    def forward(self, context: Tensor | None) -> Distribution:
        logits, means = self.logits, self.means
        if context is not None:
            shift = self.shift(context).unflatten(-1, (self.components, 1 + self.size))
            logits, means = logits + shift[..., 0], means + shift[..., 1:]
        return NormalMixture(logits, means, lower(self.lower, self.size))

    def fit(self, codes: Tensor, context: Tensor | None) -> None:
        """Expectation maximisation by scikit-learn, on at most 20,000 rows, evenly spaced; a component per row at most.

        Classes (one-hot contexts) share the components and get weights of their own: their rows' mean
        responsibilities, with one row's worth of the weights of all. In any other context all means move along the
        least-squares line.
        """
        self._fit(codes, context, gaussian_mixture)

    def start_at(self, codes: Tensor, context: Tensor | None, spread: float) -> None:
        """``fit``, with as many different components as every sixth row says, held out; none narrower than ``spread``.

        Several of those that learn on are then one and the same component.
        """
        self._fit(codes, context, partial(held_out_mixture, ridge=spread**2))

    @torch.no_grad()
    def _fit(self, codes: Tensor, context: Tensor | None, fitted: Callable[[Tensor, int], Fitted]) -> None:
        kept = min(len(codes), MOST_FITTED)
        chosen = torch.arange(kept) * len(codes) // kept
        codes, context = codes.double().cpu()[chosen], None if context is None else context.double().cpu()[chosen]
        shift = codes.new_zeros(self.components, 1 + self.size, self.context)
        classes = None if context is None else classes_of(context)
        if context is not None and classes is None:
            codes, slope = off_line(codes, context)
            shift[:, 1:] = slope.T
        weights, means, covariances, shares = fitted(codes, self.components)
        for label, rows in (classes or {}).items():
            shift[:, 0, label] = ((shares[rows].sum(0) + weights) / (rows.sum() + 1)).log() - weights.log()
        self.logits.copy_(weights.log())
        self.means.copy_(means)
        self.lower.copy_(packed(torch.linalg.cholesky(covariances)))
        if self.context:
            self.shift.weight.copy_(shift.flatten(0, 1))
