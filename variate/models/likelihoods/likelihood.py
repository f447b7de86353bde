"""p(x | z, c): from a decoder's features to a distribution over data space.

A likelihood owns the last layer. ``forward(features)`` gives the *parameters*, one tensor (N, P, *shape) that a file
codec may quantise; ``distribution(parameters)`` is pure: same parameters, same distribution. ``point`` is the named
best guess in data space. ``factorised`` says that values are independent given z, so that missing cells may be
marginalised by leaving their terms out.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from variate.base.errors import UserError
from variate.data.schema import Field
from variate.models.laws.tails import tails
from variate.models.networks.layers import PerValueHead

__all__ = ["Likelihood"]

SUPPORTS = {  # what values may be → (what people call them, the likelihood that suits them)
    "levels": ("whole-number levels", "beta_binomial"),
    "counts": ("counts", "negative_binomial"),
    "reals": ("real numbers", "gaussian"),
    "bins": ("real numbers in bins", "binned_logistics"),
    "categories": ("categories", "categoricals"),
}


class Likelihood(nn.Module):
    """The base of the likelihoods: P parameters per value, made from features (N, F) or (N, F, *spatial).

    ``support`` says what the values must be: "levels" (k of L), "counts" (0, 1, 2, … without end), "reals",
    "bins" (real numbers on a grid) or "categories" (levels without an order, of every column its own).
    """

    support: str = "levels"
    factorised = True
    has_location = False  # whether its first parameter is where the values lie
    wants_residuals = False
    varies: Tensor | None  # where values are no constants, if any are

    def __init__(
        self, features: tuple[int, ...], field: Field, per_value: int, parameter_shape: tuple[int, ...] | None = None
    ):
        """``parameter_shape`` where the parameters are no P for every value: then they are (N, P, *parameter_shape)."""
        super().__init__()
        self._check_support(field)
        self.field, self.event, self.per_value = field, len(field.tensor_shape), per_value
        self.levels = field.kind.levels or 0
        widths = torch.tensor(field.kind.scale, dtype=torch.float64).reshape(-1, *[1] * (self.event - 1))
        self.register_buffer("varies", widths > 0 if 0.0 in field.kind.scale else None, persistent=False)
        self.head = PerValueHead(features, parameter_shape or field.tensor_shape, per_value)

    def _check_support(self, field: Field) -> None:
        """A density may be asked for levels too, as if they were real numbers in [0, 1]; of counts it means nothing."""
        found = field.kind.support
        if found == self.support or (self.support, found) == ("reals", "levels"):
            return
        (wanted, _), (held, remedy) = SUPPORTS[self.support], SUPPORTS[found]
        raise UserError(
            f"likelihood {type(self).__name__} needs {wanted} but the data holds {held}: use likelihood.name={remedy}."
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, *features) → parameters (N, P, *shape)."""
        return self.head(features)

    def beside(self, features: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        """``forward(features)`` and values (…, *shape), their places alike in whatever order: for sums over them.

        Whoever overrides ``forward`` overrides this too.
        """
        return self.head.beside(features, *values) if self.factorised else (self(features), *values)

    def values(self, parameters: Tensor) -> Distribution:
        """Parameters (…, P, *shape) → the distribution of every single value, batch shape (…, *shape)."""
        raise NotImplementedError

    def distribution(self, parameters: Tensor) -> Distribution:
        """Parameters (…, P, *shape) → p(x | z) with batch shape (…) and event shape *shape, in model units."""
        return Independent(self.values(parameters), self.event, validate_args=False)

    def log_prob(self, parameters: Tensor, target: Tensor, observed: Tensor | None = None) -> Tensor:
        """log p(target | z) in nats, (…); unobserved cells are marginalised, which only a factorised one can do.

        A constant, which is no matter of a law, is itself with probability 1.
        """
        if self.varies is None:
            return self._log_prob(parameters, target, observed)
        there = self.varies.expand_as(target) if observed is None else self.varies & observed
        broken = (target != 0) & ~self.varies & (True if observed is None else observed)
        known = self._log_prob(parameters, target, there)
        return known.masked_fill(broken.flatten(-self.event).any(-1), -math.inf)

    def _log_prob(self, parameters: Tensor, target: Tensor, observed: Tensor | None) -> Tensor:
        if observed is None:
            return self.distribution(parameters).log_prob(target)
        if not self.factorised:
            raise UserError(f"likelihood {type(self).__name__} cannot leave out missing cells: fill them first.")
        terms = self.values(parameters).log_prob(torch.where(observed, target, torch.zeros_like(target)))
        return torch.where(observed, terms, torch.zeros_like(terms)).flatten(-self.event).sum(-1)

    def point(self, parameters: Tensor) -> Tensor:
        """The best guess of p(x | z), (…, *shape), in model units, in which constants are 0."""
        guess = self._guess(parameters)
        return guess if self.varies is None else torch.where(self.varies, guess, torch.zeros_like(guess))

    def _guess(self, parameters: Tensor) -> Tensor:
        """The mean of p(x | z), unless a law has none."""
        return self.distribution(parameters).mean

    def cumulative(self, parameters: Tensor, value: Tensor) -> Tensor:
        """P(X_i ≤ value_i | z) of every single value by itself: parameters (…, P, *shape), value in model units and
        anything that broadcasts with (…, *shape) → (…, *shape), in 0..1 and in double precision.

        Of masses it includes the one at the value, which may lie off the grid: then the greatest level below it counts,
        below the first one none and above the last one all. ±∞ are values too. A constant is a step at 0. The mass of
        an interval is a difference of two, in the upper tail one of ``survival``, and so is its precision. Raises
        ``UserError`` of a likelihood that does not factorise.

        A new likelihood has this as soon as ``variate.models.laws.tails`` knows the law of its ``values``.
        """
        return self._tails(parameters, value)[0]

    def survival(self, parameters: Tensor, value: Tensor) -> Tensor:
        """P(X_i > value_i | z) = 1 − ``cumulative``, with all its digits where it is small."""
        return self._tails(parameters, value)[1]

    def _tails(self, parameters: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        if not self.factorised:
            raise UserError(
                f"likelihood {type(self).__name__} has no law of a single value by itself: use one whose values are "
                f"independent given z."
            )
        lower, upper = tails(self.values(parameters), value)
        if self.varies is None:
            return lower, upper
        above = (value >= 0).to(lower.dtype)
        return torch.where(self.varies, lower, above), torch.where(self.varies, upper, 1 - above)

    def start_at(self, rows: Tensor) -> None:
        """Told some training rows (B, *shape) before the first step: lets every value start at its marginal."""

    def straight(self, x: Tensor) -> Tensor:
        """x (…, *shape) where the first parameter lives, of a law that has a location."""
        return x

    def start_linear(self, matrix: Tensor, offset: Tensor, spread: float) -> None:
        """The location starts as ``matrix`` f + ``offset``, f the last features; the scale, unless fixed, at
        ``spread``."""
        raise NotImplementedError

    def refit(self, mse_per_dim: float) -> None:
        """Told now and then, while training, the mean of (x − point)²: for parameters with a closed-form optimum."""

    @classmethod
    def suited(cls, rows: Callable[[], Tensor]) -> dict:
        """The keywords that suit training rows (n, *shape) in model units, where the recipe is silent about them."""
        return {}

    def shown(self, encoder: nn.Module) -> nn.Module:
        """An encoder of ours, told of x what this law sees of it."""
        return encoder

    def _parts(self, parameters: Tensor) -> tuple[Tensor, ...]:
        dim = -(self.event + 1)
        if parameters.shape[dim] == 1:  # not unbind, whose gradient is a copy
            return (parameters.squeeze(dim),)
        return parameters.unbind(dim)

    def _per_channel(self, start: float) -> nn.Parameter:
        """A learned number for every column of vectors, or channel of everything else, (C, 1, …)."""
        wide = (self.field.tensor_shape[0],) + (1,) * (self.event - 1)
        return nn.Parameter(torch.full(wide, start, dtype=torch.float32))
