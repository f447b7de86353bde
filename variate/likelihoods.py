"""p(x | z, c): from a decoder's features to a distribution over data space.

A likelihood owns the last layer. ``forward(features)`` gives the *parameters*, one tensor (N, P, *shape) that a file
codec may quantise; ``distribution(parameters)`` is pure: same parameters, same distribution. ``point`` is the named
best guess in data space. ``factorised`` says that values are independent given z, so that missing cells may be
marginalised by leaving their terms out.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, distributions, nn
from torch.distributions import Distribution, Independent

from variate.data.schema import Schema
from variate.distributions import DiscretizedLogisticMixture, Levels
from variate.errors import UserError
from variate.networks.layers import PerValueHead

__all__ = ["Bernoulli", "Categorical", "DiscretizedLogistic", "Gaussian", "Likelihood"]


MOST_ATOMS = 6
LEAST_SHARE = 1e-4  # of a level that the rows shown at the start happen not to have


class Likelihood(nn.Module):
    """The base of the likelihoods: P parameters per value, made from features (N, F) or (N, F, *spatial)."""

    factorised = True
    wants_residuals = False

    def __init__(self, features: tuple[int, ...], schema: Schema, per_value: int):
        super().__init__()
        self.schema, self.event = schema, len(schema.tensor_shape)
        self.head = PerValueHead(features, schema.tensor_shape, per_value)

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, *features) → parameters (N, P, *shape)."""
        return self.head(features)

    def values(self, parameters: Tensor) -> Distribution:
        """Parameters (…, P, *shape) → the distribution of every single value, batch shape (…, *shape)."""
        raise NotImplementedError

    def distribution(self, parameters: Tensor) -> Distribution:
        """Parameters (…, P, *shape) → p(x | z) with batch shape (…) and event shape *shape, in model units."""
        return Independent(self.values(parameters), self.event, validate_args=False)

    def log_prob(self, parameters: Tensor, target: Tensor, observed: Tensor | None = None) -> Tensor:
        """log p(target | z) in nats, (…); unobserved cells are marginalised, which only a factorised one can do."""
        if observed is None:
            return self.distribution(parameters).log_prob(target)
        if not self.factorised:
            raise UserError(f"likelihood {type(self).__name__} cannot leave out missing cells: fill them first.")
        terms = self.values(parameters).log_prob(torch.where(observed, target, torch.zeros_like(target)))
        return torch.where(observed, terms, torch.zeros_like(terms)).flatten(-self.event).sum(-1)

    def point(self, parameters: Tensor) -> Tensor:
        """The mean of p(x | z), (…, *shape), in model units."""
        return self.distribution(parameters).mean

    def start_at(self, rows: Tensor) -> None:
        """Told some training rows (B, *shape) before the first step: lets every value start at its marginal."""

    def refit(self, mse_per_dim: float) -> None:
        """Told now and then, while training, the mean of (x − point)²: for parameters with a closed-form optimum."""

    def _levels(self) -> int:
        if self.schema.levels is None:
            raise UserError(
                f"likelihood {type(self).__name__} needs whole-number levels but the data holds real numbers: "
                "use likelihood.name=gaussian."
            )
        return self.schema.levels

    def _parts(self, parameters: Tensor) -> tuple[Tensor, ...]:
        return parameters.unbind(-(self.event + 1))


class Bernoulli(Likelihood):
    """P(x|z) = ∏ pᵢ^{xᵢ} (1−pᵢ)^{1−xᵢ}, binary values; −log P is the binary cross-entropy.

    Grey data is refused unless the recipe names a binarisation (``data.binarize``).

    >>> likelihood = Bernoulli((5,), Schema((3,), "uint8", levels=2))
    >>> likelihood.distribution(torch.zeros(1, 3)).log_prob(torch.ones(3)).exp().item()
    0.125
    """

    def __init__(self, features: tuple[int, ...], schema: Schema):
        super().__init__(features, schema, per_value=1)
        if schema.levels != 2:
            raise UserError(
                "likelihood Bernoulli needs binary data: name a binarisation, for example data.binarize=dynamic."
            )

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
        super().__init__(features, schema, per_value=max(levels, 1))
        if self._levels() > 1024:
            raise UserError(f"likelihood Categorical over {levels} levels is too wide: use discretized_logistic.")

    def start_at(self, rows: Tensor) -> None:
        share = _shares(rows, self._levels()).clamp_min(LEAST_SHARE)
        self.head.set_bias(share.log().unsqueeze(-1).expand(-1, self.schema.tensor_shape[0]))

    def values(self, parameters: Tensor) -> Distribution:
        return Levels(parameters.movedim(-(self.event + 1), -1))


class DiscretizedLogistic(Likelihood):
    """P(x|z) = ∏ᵢ Σ_k π_ik [F((xᵢ+½−μ_ik)/s_ik) − F((xᵢ−½−μ_ik)/s_ik)] + Σ_j π_ij 1[xᵢ = atom_j] on L levels.

    F is the logistic function. ``components`` = 1 is the plain discretised logistic (Kingma et al. 2016), more is the
    mixture of Salimans et al. (2017). ``atoms`` are levels with a probability of their own, for data that repeat some
    values exactly (black background, saturated white): "auto" takes the most frequent levels of the training rows.

    >>> likelihood = DiscretizedLogistic((5,), Schema((3,), "uint8", levels=256), components=2, atoms=(0, 255))
    >>> likelihood(torch.zeros(4, 5)).shape  # two means, two log scales, four weights for every value
    torch.Size([4, 8, 3])
    """

    def __init__(self, features: tuple[int, ...], schema: Schema, *, components: int = 1, atoms: tuple[int, ...] = ()):
        if not 1 <= components <= 1000:
            raise UserError(f"likelihood.components={components} must be within 1..1000.")
        super().__init__(features, schema, per_value=3 * components + len(atoms))
        self.components, self.atoms = components, atoms
        levels = self._levels()
        if any(not 0 <= atom < levels for atom in atoms) or len(set(atoms)) < len(atoms):
            raise UserError(f"likelihood.atoms={list(atoms)} must be different levels within 0..{levels - 1}.")
        self._start(torch.zeros(components + len(atoms)))

    def _start(self, logits: Tensor) -> None:
        """Wide components side by side, weighted by the logits."""
        means = torch.linspace(0, 1, self.components + 2)[1:-1]
        start = torch.cat([means, torch.full((self.components,), -1.5), logits])
        self.head.set_bias(start.unsqueeze(-1).expand(-1, self.schema.tensor_shape[0]))

    def start_at(self, rows: Tensor) -> None:
        atoms = _shares(rows, self._levels())[list(self.atoms)].clamp_min(LEAST_SHARE)
        rest = (1 - atoms.sum()).clamp_min(LEAST_SHARE) / self.components
        self._start(torch.cat([rest.expand(self.components), atoms]).log())

    def values(self, parameters: Tensor) -> Distribution:
        dim = -(self.event + 1)
        return DiscretizedLogisticMixture(parameters, self.components, self._levels(), dim, self.atoms, (-7.0, 7.0))


class Gaussian(Likelihood):
    """p(x|z) = ∏ N(xᵢ; μᵢ, σᵢ²): a density. With σ fixed, −log p is the squared error / (2σ²) plus a constant.

    ``sigma``: "learned" is one σ per column (images: per channel), free of z; "predicted" is a σ for every value from
    the decoder; "optimal" is one σ kept at its maximum-likelihood value, σ² = the training rows' mean (x−μ)²
    (Rybkin et al. 2021, eq. 5, over the last steps rather than one batch, so that no row's density depends on
    another row); a number fixes σ in model units.

    >>> likelihood = Gaussian((5,), Schema((2,), "float32"), sigma=0.5)
    >>> likelihood.point(likelihood(torch.zeros(3, 5))).shape
    torch.Size([3, 2])
    """

    def __init__(self, features: tuple[int, ...], schema: Schema, *, sigma: str | float = "learned"):
        modes = ("learned", "predicted", "optimal")
        super().__init__(features, schema, per_value=2 if sigma == "predicted" else 1)
        if isinstance(sigma, str) and sigma not in modes or not isinstance(sigma, str) and not 0 < sigma < math.inf:
            raise UserError(f"likelihood.sigma={sigma!r}: give {', '.join(modes)} or a number above 0.")
        self.sigma = sigma
        if sigma == "learned":
            self.log_sigma = nn.Parameter(torch.zeros((schema.tensor_shape[0],) + (1,) * (self.event - 1)))
        elif sigma != "predicted":
            start = 0.0 if isinstance(sigma, str) else math.log(sigma)
            self.register_buffer("log_sigma", torch.tensor(start))

    def values(self, parameters: Tensor) -> Distribution:
        parts = self._parts(parameters)
        log_sigma = parts[1] if self.sigma == "predicted" else self.log_sigma
        if self.sigma in (
            "learned",
            "predicted",
        ):  # a constant column would buy an infinite density: σ > e^-6
            log_sigma = F.softplus(log_sigma + 6) - 6
        return distributions.Normal(parts[0], log_sigma.exp().expand_as(parts[0]), validate_args=False)

    @property
    def wants_residuals(self) -> bool:
        return self.sigma == "optimal"

    def start_at(self, rows: Tensor) -> None:
        """Told some training rows (B, *shape) before the first step: lets every value start at its marginal."""

    def refit(self, mse_per_dim: float) -> None:
        self.log_sigma.fill_(max(math.log(mse_per_dim) / 2, -6.0) if mse_per_dim > 0 else -6.0)


def _shares(rows: Tensor, levels: int) -> Tensor:
    """How often each level occurs in rows in model units: (levels,), sums to one."""
    counts = torch.bincount((rows * (levels - 1)).round().long().flatten().cpu(), minlength=levels)
    return counts / counts.sum()


def default_for(schema: Schema, values: Tensor) -> dict:
    """The likelihood section that suits the training rows: what "auto" means."""
    if schema.levels is None:
        return {"name": "gaussian"}
    if schema.levels == 2:
        return {"name": "bernoulli"}
    if schema.levels <= 32:
        return {"name": "categorical"}
    counts = torch.bincount(values.flatten().int(), minlength=schema.levels)
    atoms = counts.argsort(descending=True, stable=True)[:MOST_ATOMS].tolist()
    return {"name": "discretized_logistic", "components": 2, "atoms": atoms}
