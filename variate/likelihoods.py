"""p(x | z, c): from a decoder's features to a distribution over data space.

A likelihood owns the last layer. ``forward(features)`` gives the *parameters*, one tensor (N, P, *shape) that a file
codec may quantise; ``distribution(parameters)`` is pure: same parameters, same distribution. ``point`` is the named
best guess in data space. ``factorised`` says that values are independent given z, so that missing cells may be
marginalised by leaving their terms out.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, distributions, nn
from torch.distributions import Distribution, Independent

from variate.data.schema import Schema, spread_or_one
from variate.data.shards import Shards, pieces
from variate.distributions import Counts, GridBetaBinomial, JohnsonSU, Levels
from variate.errors import UserError
from variate.logistics import DiscretizedLogisticMixture
from variate.networks.layers import PerValueHead, ShowArcsinh

__all__ = [
    "Bernoulli",
    "BetaBinomial",
    "Categorical",
    "DiscretizedLogistic",
    "Gaussian",
    "JohnsonSu",
    "Laplace",
    "Likelihood",
    "NegativeBinomial",
    "Poisson",
    "StudentT",
]


MOST_ATOMS = 6
OF_ROWS = ("atoms", "centre", "width")  # keywords that "auto" takes from the rows themselves
LEAST_SHARE = 1e-4  # of a level that the rows shown at the start happen not to have
LEAST_LOG_SCALE, MOST_LOG_SCALE = -6.0, 30.0
LEAST_MEAN = 1e-8  # of a count, in model units: no count has probability 0
LEAST_DISPERSION = 1e-8  # a Poisson law to seven digits; below it, double precision cannot tell them apart
NORMAL_QUARTILE = 0.674490  # of a standard normal's values a quarter is above
WIDTHS = 3.0  # spreads within which Johnson's law is about a Gaussian
LEAST_SPREAD = 1e-30  # of a column's middle, in model units: what a float32 can be divided by
FAR = 10.0  # spreads from the middle, where a Gaussian's values never are
LEAST_DOF, FIRST_DOF, MOST_DOF = 2.1, 10.0, 100.0
FEWEST_DOF = 0.01  # that may be asked for: tails so heavy that half of what is drawn is beyond e^69


class Likelihood(nn.Module):
    """The base of the likelihoods: P parameters per value, made from features (N, F) or (N, F, *spatial).

    ``support`` says what the values must be: "levels" (k of L), "counts" (0, 1, 2, … without end) or "reals".
    """

    support: str = "levels"
    factorised = True
    has_location = False  # whether its first parameter is where the values lie
    wants_residuals = False
    varies: Tensor | None  # where values are no constants, if any are

    def __init__(self, features: tuple[int, ...], schema: Schema, per_value: int):
        super().__init__()
        self._check_support(schema)
        self.schema, self.event, self.per_value = schema, len(schema.tensor_shape), per_value
        self.levels = schema.levels or 0
        widths = torch.tensor(schema.scale, dtype=torch.float64).reshape(-1, *[1] * (self.event - 1))
        self.register_buffer("varies", widths > 0 if 0.0 in schema.scale else None, persistent=False)
        self.head = PerValueHead(features, schema.tensor_shape, per_value)

    def _check_support(self, schema: Schema) -> None:
        """A density may be asked for levels too, as if they were real numbers in [0, 1]; of counts it means nothing."""
        found = "counts" if schema.counts else "reals" if schema.levels is None else "levels"
        if found == self.support or (self.support, found) == ("reals", "levels"):
            return
        wanted = {"levels": "whole-number levels", "counts": "counts", "reals": "real numbers"}
        remedy = {"levels": "beta_binomial", "counts": "negative_binomial", "reals": "gaussian"}
        raise UserError(
            f"likelihood {type(self).__name__} needs {wanted[self.support]} but the data holds {wanted[found]}: "
            f"use likelihood.name={remedy[found]}."
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
        wide = (self.schema.tensor_shape[0],) + (1,) * (self.event - 1)
        return nn.Parameter(torch.full(wide, start, dtype=torch.float32))


class Bernoulli(Likelihood):
    """P(x|z) = ∏ pᵢ^{xᵢ} (1−pᵢ)^{1−xᵢ}, binary values; −log P is the binary cross-entropy.

    Grey data is refused unless the recipe names a binarisation (``data.binarize``).

    >>> likelihood = Bernoulli((5,), Schema((3,), "uint8", levels=2))
    >>> likelihood.distribution(torch.zeros(1, 3)).log_prob(torch.ones(3)).exp().item()
    0.125
    """

    def __init__(self, features: tuple[int, ...], schema: Schema):
        if schema.levels != 2:
            raise UserError(
                "likelihood Bernoulli needs binary data: name a binarisation, for example data.binarize=dynamic."
            )
        super().__init__(features, schema, per_value=1)

    def start_at(self, rows: Tensor) -> None:
        mean = rows.mean().clamp(LEAST_SHARE, 1 - LEAST_SHARE)
        self.head.set_bias(torch.logit(mean).expand(1, self.schema.tensor_shape[0]))

    def values(self, parameters: Tensor) -> Distribution:
        return distributions.Bernoulli(logits=self._parts(parameters)[0], validate_args=False)


class Categorical(Likelihood):
    """P(x|z) = ∏ softmax(logitsᵢ)_{xᵢ} over the L levels; −log P is the softmax cross-entropy.

    >>> likelihood = Categorical((5,), Schema((2,), "uint8", levels=4))
    >>> likelihood.distribution(torch.zeros(4, 2)).log_prob(torch.tensor([0.0, 1.0])).exp().item()
    0.0625
    """

    def __init__(self, features: tuple[int, ...], schema: Schema):
        levels = schema.levels or 0
        if levels > 1024:
            raise UserError(f"likelihood Categorical over {levels} levels is too wide: use discretized_logistic.")
        super().__init__(features, schema, per_value=levels)

    def start_at(self, rows: Tensor) -> None:
        share = _shares(rows, self.levels).clamp_min(LEAST_SHARE)
        self.head.set_bias(share.log().unsqueeze(-1).expand(-1, self.schema.tensor_shape[0]))

    def values(self, parameters: Tensor) -> Distribution:
        return Levels(parameters.movedim(-(self.event + 1), -1))


class DiscretizedLogistic(Likelihood):
    """P(x|z) = ∏ᵢ Σ_k π_ik [F((xᵢ+½−μ_ik)/s_ik) − F((xᵢ−½−μ_ik)/s_ik)] + Σ_j π_ij 1[xᵢ = atom_j] on L levels.

    F is the logistic function. ``components`` = 1 is the plain discretised logistic (Kingma et al. 2016), more is the
    mixture of Salimans et al. (2017). ``atoms`` are levels with a probability of their own, for data that repeat some
    values exactly (black background, saturated white); likelihood "auto" takes the training rows' most frequent ones.

    >>> likelihood = DiscretizedLogistic((5,), Schema((3,), "uint8", levels=256), components=2, atoms=(0, 255))
    >>> likelihood(torch.zeros(4, 5)).shape  # two means, two log scales, four weights for every value
    torch.Size([4, 8, 3])
    """

    def __init__(self, features: tuple[int, ...], schema: Schema, *, components: int = 1, atoms: tuple[int, ...] = ()):
        if not 1 <= components <= 1000:
            raise UserError(f"likelihood.components={components} must be within 1..1000.")
        super().__init__(features, schema, per_value=3 * components + len(atoms))
        self.components, self.atoms = components, atoms
        if any(not 0 <= atom < self.levels for atom in atoms) or len(set(atoms)) < len(atoms):
            raise UserError(f"likelihood.atoms={list(atoms)} must be different levels within 0..{self.levels - 1}.")
        self._start(torch.zeros(components + len(atoms), dtype=torch.float32))

    def _start(self, logits: Tensor) -> None:
        """Wide components side by side, weighted by the logits."""
        means = torch.linspace(0, 1, self.components + 2, dtype=torch.float32)[1:-1]
        start = torch.cat([means, torch.full_like(means, -1.5), logits])
        self.head.set_bias(start.unsqueeze(-1).expand(-1, self.schema.tensor_shape[0]))

    def start_at(self, rows: Tensor) -> None:
        atoms = _shares(rows, self.levels)[list(self.atoms)].clamp_min(LEAST_SHARE)
        rest = (1 - atoms.sum()).clamp_min(LEAST_SHARE) / self.components
        self._start(torch.cat([rest.expand(self.components), atoms]).log())

    def values(self, parameters: Tensor) -> Distribution:
        dim = -(self.event + 1)
        return DiscretizedLogisticMixture(parameters, self.components, self.levels, dim, self.atoms, (-7.0, 7.0))


class BetaBinomial(Likelihood):
    """P(x=k|z) = ∏ᵢ C(n, kᵢ) B(kᵢ + aᵢ, n − kᵢ + bᵢ) / B(aᵢ, bᵢ) on L levels, n = L − 1 (Skellam 1948).

    n coins whose common probability of heads has a beta law with mean m and concentration c: a = m c, b = (1 − m) c.
    The decoder gives logit m and log c for every value. c → ∞ is the binomial law; c = 2, m = ½ is uniform.

    >>> likelihood = BetaBinomial((5,), Schema((2,), "uint8", levels=5))
    >>> uniform = torch.tensor([0.0, math.log(2)]).unsqueeze(-1).expand(2, 2)
    >>> round(likelihood.distribution(uniform).log_prob(torch.tensor([0.0, 0.75])).exp().item(), 6)
    0.04
    """

    def __init__(self, features: tuple[int, ...], schema: Schema):
        super().__init__(features, schema, per_value=2)

    def start_at(self, rows: Tensor) -> None:
        """By the first two moments: the variance of k is n m (1 − m) (1 + (n − 1)/(c + 1))."""
        columns, trials = _columns(rows), self.levels - 1
        mean = columns.mean(1).clamp(LEAST_SHARE, 1 - LEAST_SHARE)
        excess = trials * columns.var(1, correction=0) / (mean * (1 - mean)) - 1
        alike = (excess / max(trials - 1, 1)).clamp(1e-3, 1 - 1e-3)  # 1/(c + 1): how far one coin tells the next
        self.head.set_bias(torch.stack([torch.logit(mean), -torch.logit(alike)]))

    def values(self, parameters: Tensor) -> Distribution:
        mean_logit, log_concentration = self._parts(parameters)
        mean_logit, log_concentration = mean_logit.clamp(-30, 30), log_concentration.clamp(-7, 14)
        a = torch.exp(log_concentration + F.logsigmoid(mean_logit))
        b = torch.exp(log_concentration + F.logsigmoid(-mean_logit))
        return GridBetaBinomial(a, b, self.levels)


class _Counting(Likelihood):
    """The base of the likelihoods of counts x = u · scale + offset: a mean μ for every value from the decoder.

    μ / scale is a softplus: small means move in proportion, and large ones, in a straight line, cannot overflow.
    """

    support = "counts"

    def __init__(self, features: tuple[int, ...], schema: Schema):
        super().__init__(features, schema, per_value=1)
        for name, numbers in (("offset", schema.offset), ("scale", spread_or_one(schema.scale))):
            wide = torch.tensor(numbers, dtype=torch.float32).reshape(-1, *[1] * (self.event - 1))
            self.register_buffer(name, wide, persistent=False)

    def start_at(self, rows: Tensor) -> None:
        mean = _columns(self._raw(rows)).mean(1) / self.get_buffer("scale").flatten()
        self.head.set_bias(_inverse_softplus(mean.clamp_min(LEAST_SHARE)).unsqueeze(0))

    def _raw(self, units: Tensor) -> Tensor:
        return units * self.get_buffer("scale") + self.get_buffer("offset")

    def _mean(self, parameters: Tensor) -> Tensor:
        """In counts and in double precision: log-masses of large counts are small differences of large numbers."""
        mean = F.softplus(self._parts(parameters)[0]) + LEAST_MEAN
        return (mean * self.get_buffer("scale")).double()

    def _in_units(self, law: Distribution) -> Distribution:
        return Counts(law, self.get_buffer("offset"), self.get_buffer("scale"))


class Poisson(_Counting):
    """P(x|z) = ∏ λᵢ^{xᵢ} e^{−λᵢ} / xᵢ!, counts 0, 1, 2, …: mean and variance are λ.

    >>> likelihood = Poisson((5,), Schema((1,), "int64", counts=True))
    >>> one = torch.tensor(math.log(math.expm1(1.0))).reshape(1, 1)  # the softplus of it is 1
    >>> round(likelihood.distribution(one).log_prob(torch.tensor([0.0])).item(), 4)
    -1.0
    """

    def values(self, parameters: Tensor) -> Distribution:
        return self._in_units(distributions.Poisson(self._mean(parameters), validate_args=False))


class NegativeBinomial(_Counting):
    """P(x|z) = ∏ Γ(xᵢ + r)/(xᵢ! Γ(r)) (r/(r + μᵢ))^r (μᵢ/(r + μᵢ))^{xᵢ}, counts 0, 1, 2, …, with r = 1/α.

    The variance is μ + α μ²; the dispersion α is learned, one per column (else: per channel). α → 0 is Poisson's law.

    >>> likelihood = NegativeBinomial((5,), Schema((1,), "int64", counts=True))
    >>> law = likelihood.distribution(torch.full((1, 1), 3.0))
    >>> mean, alpha = law.mean, F.softplus(likelihood.raw_dispersion)
    >>> torch.allclose(law.variance, mean + alpha * mean**2)
    True
    """

    def __init__(self, features: tuple[int, ...], schema: Schema):
        super().__init__(features, schema)
        self.raw_dispersion = self._per_channel(0.0)

    def start_at(self, rows: Tensor) -> None:
        super().start_at(rows)
        counts = _columns(self._raw(rows))
        mean = counts.mean(1).clamp_min(LEAST_SHARE)
        dispersion = (counts.var(1, correction=0) / mean - 1) / mean
        start = _inverse_softplus(dispersion.clamp(1e-3, 1e3))
        with torch.no_grad():
            self.raw_dispersion.copy_(start.view_as(self.raw_dispersion))

    def values(self, parameters: Tensor) -> Distribution:
        mean = self._mean(parameters)
        dispersion = F.softplus(self.raw_dispersion).double() + LEAST_DISPERSION
        logits = (mean * dispersion).log()
        return self._in_units(distributions.NegativeBinomial(1 / dispersion, logits=logits, validate_args=False))


class _LocationScale(Likelihood):
    """The base of the densities f((x − μ)/s)/s of real numbers: a location μ for every value from the decoder.

    s as the keyword ``key`` says: "learned" is one per column (else: per channel), free of z; "predicted" is one for
    every value from the decoder; a number fixes it, in model units.
    """

    support = "reals"
    has_location = True

    def __init__(
        self,
        features: tuple[int, ...],
        schema: Schema,
        key: str,
        scale: str | float,
        modes: tuple[str, ...] = ("learned", "predicted"),
    ):
        if isinstance(scale, str) and scale not in modes or not isinstance(scale, str) and not 0 < scale < math.inf:
            raise UserError(f"likelihood.{key}={scale!r}: give {', '.join(modes)} or a number above 0.")
        super().__init__(features, schema, per_value=2 if scale == "predicted" else 1)
        self.mode, self.log_key = scale, f"log_{key}"
        if scale == "learned":
            self.register_parameter(self.log_key, self._per_channel(0.0))
        elif scale != "predicted":
            start = 0.0 if isinstance(scale, str) else math.log(scale)
            self.register_buffer(self.log_key, torch.tensor(start, dtype=torch.float32))

    def start_at(self, rows: Tensor) -> None:
        """The location at the median and the scale at the mean distance from it, which outliers move little."""
        columns = _columns(rows)
        location = columns.median(1).values
        distance = (columns - location.unsqueeze(1)).abs().mean(1)
        log_scale = self._unbounded(distance.log())
        self.head.set_bias(torch.stack([location, log_scale])[: self.head.per_value])
        if self.mode == "learned":
            with torch.no_grad():
                stored = self.get_parameter(self.log_key)
                stored.copy_(log_scale.view_as(stored))

    @torch.no_grad()
    def start_linear(self, matrix: Tensor, offset: Tensor, spread: float) -> None:
        """μ starts as W f + b, f the last features, W (values, d), b (values,); s, unless fixed, at ``spread``."""
        values, weight, bias = len(matrix), self.head.linear.weight, self.head.linear.bias
        log_scale = float(self._unbounded(torch.tensor(spread, dtype=torch.float32).log()))
        weight.zero_()
        weight[:values, -matrix.shape[1] :] = matrix
        bias.fill_(log_scale)[:values] = offset
        if self.mode == "learned":
            self.get_parameter(self.log_key).fill_(log_scale)
        elif self.mode == "optimal":
            self.get_buffer(self.log_key).fill_(math.log(spread))

    def _unbounded(self, log_scale: Tensor) -> Tensor:
        """What ``_location_and_scale`` takes log s from."""
        return _inverse_softplus(log_scale.clamp_min(LEAST_LOG_SCALE + 1) - LEAST_LOG_SCALE) + LEAST_LOG_SCALE

    def _location_and_scale(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        parts = self._parts(parameters)
        log_scale = parts[1] if self.mode == "predicted" else getattr(self, self.log_key)
        if self.mode in ("learned", "predicted"):  # a constant column would buy an infinite density: s > e^-6
            log_scale = F.softplus(log_scale - LEAST_LOG_SCALE) + LEAST_LOG_SCALE
            log_scale = log_scale.clamp(max=MOST_LOG_SCALE)
        return parts[0], log_scale.exp().expand_as(parts[0])


class Gaussian(_LocationScale):
    """p(x|z) = ∏ N(xᵢ; μᵢ, σᵢ²): a density. With σ fixed, −log p is the squared error / (2σ²) plus a constant.

    ``sigma``: "learned" is one σ per column (else: per channel), free of z; "predicted" is a σ for every value from
    the decoder; "optimal" is one σ kept at its maximum-likelihood value, σ² = the training rows' mean (x−μ)²
    (Rybkin et al. 2021, eq. 5, over the last steps rather than one batch, so that no row's density depends on
    another row); a number fixes σ in model units.

    >>> likelihood = Gaussian((5,), Schema((2,), "float32"), sigma=0.5)
    >>> likelihood.point(likelihood(torch.zeros(3, 5))).shape
    torch.Size([3, 2])
    """

    def __init__(self, features: tuple[int, ...], schema: Schema, *, sigma: str | float = "learned"):
        super().__init__(features, schema, "sigma", sigma, ("learned", "predicted", "optimal"))

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


class JohnsonSu(_LocationScale):
    """p(x|z) = ∏ N(yᵢ; μᵢ, σᵢ²) / (w √(1 + ((xᵢ − c)/w)²)), yᵢ = arcsinh((xᵢ − c)/w): Johnson's S_U law (Johnson 1949).

    A Gaussian of x within w of c, and of log |x − c| far from there: for values whose outliers would leave the others
    no room. ``sigma`` is as the Gaussian's, of y. ``centre`` c and ``width`` w, one per column (else: per channel) in
    model units, stay what they are: where a recipe is silent, the median of the training rows and three times the
    spread of their middle half, by a normal law's measure. The encoder is shown y. The point is the mean.

    >>> likelihood = JohnsonSu((5,), Schema((1,), "float32"), sigma=1.0, centre=(2.0,), width=(0.1,))
    >>> round(likelihood.point(torch.ones(1, 1, 1)).item(), 4), round(2 + 0.1 * math.exp(0.5) * math.sinh(1), 4)
    (2.1938, 2.1938)
    """

    def __init__(
        self,
        features: tuple[int, ...],
        schema: Schema,
        *,
        sigma: str | float = "learned",
        centre: tuple[float, ...] = (0.0,),
        width: tuple[float, ...] = (1.0,),
    ):
        super().__init__(features, schema, "sigma", sigma)
        for name, numbers in (("centre", centre), ("width", width)):
            if len(numbers) not in (1, schema.tensor_shape[0]) or name == "width" and not min(numbers) > 0:
                raise UserError(
                    f"likelihood.{name}={list(numbers)}: give one number{' above 0' * (name == 'width')}, or one for "
                    f"each of the {schema.tensor_shape[0]} columns or channels."
                )
            wide = torch.tensor(numbers, dtype=torch.float32).reshape(-1, *[1] * (self.event - 1))
            self.register_buffer(name, wide, persistent=False)

    @classmethod
    def suited(cls, rows: Callable[[], Tensor]) -> dict:
        centre, spread = middle(rows())
        return {"centre": centre.tolist(), "width": (WIDTHS * spread).tolist()}

    def shown(self, encoder: nn.Module) -> nn.Module:
        return ShowArcsinh(encoder, self.get_buffer("centre"), self.get_buffer("width"))

    def straight(self, x: Tensor) -> Tensor:
        return torch.asinh((x - self.get_buffer("centre")) / self.get_buffer("width"))

    def start_at(self, rows: Tensor) -> None:
        super().start_at(self.straight(rows))

    def values(self, parameters: Tensor) -> Distribution:
        places = self.get_buffer("centre"), self.get_buffer("width")
        return JohnsonSU(*self._location_and_scale(parameters), *places)


class Laplace(_LocationScale):
    """p(x|z) = ∏ exp(−|xᵢ − μᵢ| / bᵢ) / (2 bᵢ): a density whose −log is the absolute error. μ is mean and median.

    ``scale`` is b: "learned" is one per column (else: per channel), free of z; "predicted" is one for every value
    from the decoder; a number fixes it, in model units.

    >>> likelihood = Laplace((5,), Schema((2,), "float32"), scale=0.5)
    >>> likelihood.distribution(torch.zeros(1, 2)).log_prob(torch.tensor([0.5, -1.0])).item()
    -3.0
    """

    def __init__(self, features: tuple[int, ...], schema: Schema, *, scale: str | float = "learned"):
        super().__init__(features, schema, "scale", scale)

    def values(self, parameters: Tensor) -> Distribution:
        return distributions.Laplace(*self._location_and_scale(parameters), validate_args=False)


class StudentT(_LocationScale):
    """p(x|z) = ∏ Γ((ν+1)/2) / (Γ(ν/2) √(νπ) sᵢ) (1 + ((xᵢ − μᵢ)/sᵢ)²/ν)^{−(ν+1)/2}: a density that forgives outliers.

    ``scale`` is s, as Laplace's. ``dof`` is ν: "learned" is one per column (else: per channel), kept within 2.1..100
    so that mean and variance exist and samples can be averaged (with more it is a Gaussian, to 2e-4 nats); a number up
    to 100 fixes it: 1 is Cauchy's law, which has neither. The point is μ in any case.

    >>> likelihood = StudentT((5,), Schema((1,), "float32"), scale=1.0, dof=1.0)
    >>> round(likelihood.distribution(torch.zeros(1, 1)).log_prob(torch.zeros(1)).exp().item() * math.pi, 4)
    1.0
    """

    def __init__(
        self,
        features: tuple[int, ...],
        schema: Schema,
        *,
        scale: str | float = "learned",
        dof: str | float = "learned",
    ):
        if isinstance(dof, str) and dof != "learned" or not isinstance(dof, str) and not FEWEST_DOF <= dof <= MOST_DOF:
            raise UserError(f"likelihood.dof={dof!r}: give learned or a number from {FEWEST_DOF} up to {MOST_DOF:.0f}.")
        super().__init__(features, schema, "scale", scale)
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


def _columns(rows: Tensor) -> Tensor:
    """Rows (B, C, …) → all values of a column or channel side by side, (C, B · places)."""
    return rows.transpose(0, 1).flatten(1)


def middle(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The median of every column (else: channel) of rows (B, C, …), and the spread of its middle half: (C,) each.

    The spread is half the distance between the quartiles over that of a standard normal; where half of the values are
    one and the same, the mean distance from it; where all are, 1. In double precision.
    """
    columns = np.sort(_columns(rows).double().cpu().numpy(), axis=1)
    low, centre, high = np.quantile(columns, (0.25, 0.5, 0.75), axis=1)
    spread = (high - low) / (2 * NORMAL_QUARTILE)
    distance = np.abs(columns - centre[:, None]).mean(1)
    spread = np.where(spread > 0, spread, np.where(distance > 0, distance, 1.0))
    return torch.from_numpy(centre), torch.from_numpy(spread.clip(LEAST_SPREAD))


def default_of_principal(rows: Tensor) -> dict:
    """The likelihood section that suits real rows (n, *shape), in model units, whose code starts at their components.

    Johnson's law, where some value is further from its column's middle than 10 of its spreads: of a normal law none
    ever is, and the others are to have room.
    """
    columns = _columns(rows).double().cpu()
    centre, spread = middle(rows)
    far = ((columns - centre.unsqueeze(1)).abs() > FAR * spread.unsqueeze(1)).any()
    return {"name": "johnson_su" if far else "gaussian", "sigma": "predicted"}


def _inverse_softplus(y: Tensor) -> Tensor:
    return y + torch.log(-torch.expm1(-y))


def _shares(rows: Tensor, levels: int) -> Tensor:
    """How often each level occurs in rows in model units: (levels,), sums to one."""
    counts = torch.bincount((rows * (levels - 1)).round().long().flatten().cpu(), minlength=levels)
    return counts.to(torch.float32) / counts.sum()


def may_be_default(section: dict, schema: Schema, starts_principal: bool) -> bool:
    """Whether "auto" means this section for some rows of the schema."""
    said = {key: value for key, value in section.items() if key not in OF_ROWS}
    if starts_principal:
        return said in [{"name": name, "sigma": "predicted"} for name in ("gaussian", "johnson_su")]
    return said == _default_of(schema)


def _default_of(schema: Schema) -> dict:
    """The likelihood section that suits rows of the schema, but for what the rows themselves say."""
    if schema.counts:
        return {"name": "negative_binomial"}
    if schema.levels is None:
        return {"name": "gaussian"}
    if schema.levels == 2:
        return {"name": "bernoulli"}
    return {"name": "categorical"} if schema.levels <= 32 else {"name": "discretized_logistic", "components": 2}


def default_for(schema: Schema, values: Tensor | Shards) -> dict:
    """The likelihood section that suits the training rows: what "auto" means."""
    section = _default_of(schema)
    if schema.levels is None or section["name"] != "discretized_logistic":
        return section
    counts = torch.zeros(schema.levels, dtype=torch.int64)
    for part in pieces(values, "Counting levels"):
        levels = part if part.dtype == torch.uint8 and schema.divisor == 1 else schema.to_levels(part)  # a copy saved
        counts += torch.bincount(levels.flatten(), minlength=schema.levels)
    atoms = counts.argsort(descending=True, stable=True)[:MOST_ATOMS].tolist()
    return section | {"atoms": atoms}
