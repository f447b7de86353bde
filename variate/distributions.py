"""What ``torch.distributions`` lacks: Gaussians that take their noise, grids of levels, and exact KL between them."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import (
    Categorical,
    Distribution,
    Independent,
    MultivariateNormal,
    Normal,
    kl_divergence,
    register_kl,
)

__all__ = [
    "DiagonalNormal",
    "DiscretizedLogisticMixture",
    "FullNormal",
    "Levels",
    "PointMass",
    "kl_per_unit",
]


class DiagonalNormal(Independent):
    """N(x; μ, diag σ²) over the last ``event`` dimensions.

    ``rsample_from(noise)`` = μ + σ·ε (Kingma & Welling 2014, section 2.4). Shapes: mean and scale (…, *event).
    """

    def __init__(self, mean: Tensor, scale: Tensor, event: int = 1):
        super().__init__(Normal(mean, scale, validate_args=False), event, validate_args=False)

    def rsample_from(self, noise: Tensor) -> Tensor:
        return self.base_dist.loc + self.base_dist.scale * noise


class FullNormal(MultivariateNormal):
    """N(x; μ, L Lᵀ) with a whole covariance; ``rsample_from(noise)`` = μ + L ε. L: (…, d, d), lower, diagonal > 0."""

    def __init__(self, mean: Tensor, scale_tril: Tensor):
        super().__init__(mean, scale_tril=scale_tril, validate_args=False)

    def rsample_from(self, noise: Tensor) -> Tensor:
        return self.loc + torch.einsum("...ij,...j->...i", self._unbroadcasted_scale_tril, noise)


@register_kl(DiagonalNormal, FullNormal)
def _kl_diagonal_full(q: DiagonalNormal, p: FullNormal) -> Tensor:
    return kl_divergence(FullNormal(q.mean, torch.diag_embed(q.stddev)), p)


@register_kl(FullNormal, DiagonalNormal)
def _kl_full_diagonal(q: FullNormal, p: DiagonalNormal) -> Tensor:
    """½ Σᵢ [(Σ_ii + (μᵢ−mᵢ)²)/sᵢ² − 1 + 2 log sᵢ] − Σᵢ log L_ii: no solve is needed against a diagonal."""
    variance, scale = q.variance, p.stddev
    quadratic = (variance + (q.mean - p.mean) ** 2) / scale**2 - 1 + 2 * scale.log()
    log_determinant = q._unbroadcasted_scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return quadratic.sum(-1) / 2 - log_determinant


def kl_per_unit(q: Distribution, p: Distribution) -> Tensor | None:
    """KL(q ‖ p) in nats, (…, units): an entry per unit where both factorise, else one; None if no closed form."""
    if isinstance(q, DiagonalNormal) and isinstance(p, DiagonalNormal):
        return kl_divergence(q.base_dist, p.base_dist)
    try:
        return kl_divergence(q, p).unsqueeze(-1)
    except NotImplementedError:
        return None


class PointMass(Distribution):
    """A deterministic code: all mass on ``value`` (…, d). It has no density, so no rate and no likelihood."""

    arg_constraints = {}  # pyright: ignore[reportAssignmentType]

    def __init__(self, value: Tensor):
        self.value = value
        super().__init__(value.shape[:-1], value.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.value

    @property
    def variance(self) -> Tensor:
        return torch.zeros_like(self.value)

    def rsample_from(self, noise: Tensor) -> Tensor:
        return self.value.expand(noise.shape[:-1] + self.value.shape[-1:])


class Levels(Distribution):
    """P(u = k/(L−1)) = softmax(logits)_k on the grid of L levels; logits (…, L), batch shape (…)."""

    arg_constraints = {}  # pyright: ignore[reportAssignmentType]

    def __init__(self, logits: Tensor):
        self.logits = logits
        self.last = logits.shape[-1] - 1
        super().__init__(logits.shape[:-1], validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        level = (value * self.last).round().long()
        logits, level = torch.broadcast_tensors(self.logits, level.unsqueeze(-1))
        return logits.log_softmax(-1).gather(-1, level[..., :1]).squeeze(-1)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008 (torch's own signature)
        return Categorical(logits=self.logits, validate_args=False).sample(sample_shape) / self.last

    @property
    def mean(self) -> Tensor:
        grid = torch.arange(self.last + 1, device=self.logits.device, dtype=self.logits.dtype) / self.last
        return self.logits.softmax(-1) @ grid


class DiscretizedLogisticMixture(Distribution):
    """P(u) = Σ_k π_k [σ((u + h/2 − μ_k)/s_k) − σ((u − h/2 − μ_k)/s_k)] on the grid u ∈ {0, h, …, 1}, h = 1/(L−1).

    The first and the last level take the tails, so the masses sum to one exactly (Salimans et al. 2017, eq. 2).
    Logits, means and log scales hold the K components along ``dim`` (negative); the batch shape is the rest.
    With a = (u + h/2 − μ)/s and b = (u − h/2 − μ)/s the log-difference is taken as
    −softplus(−a) − softplus(b) + log(1 − e^{−h/s}), which neither cancels nor underflows.
    """

    arg_constraints = {}  # pyright: ignore[reportAssignmentType]

    def __init__(self, logits: Tensor, mean: Tensor, log_scale: Tensor, levels: int, dim: int = -1):
        self.logits, self.component_mean, self.log_scale = logits, mean, log_scale
        self.levels, self.step, self.dim = levels, 1 / (levels - 1), dim
        super().__init__(logits.select(dim, 0).shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        u, half = value.unsqueeze(self.dim), self.step / 2
        inverse = torch.exp(-self.log_scale)
        centred = (u - self.component_mean) * inverse
        width = half * inverse
        above_first, below_last = u > half, u < 1 - half
        inner = torch.log(-torch.expm1(-2 * width)) * (above_first & below_last)
        log_mass = inner - F.softplus(-(centred + width)) * below_last - F.softplus(centred - width) * above_first
        return torch.logsumexp(self.logits.log_softmax(self.dim) + log_mass, self.dim)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008 (torch's own signature)
        shape = sample_shape + self.logits.shape
        pick = (self.logits + _gumbel(shape, self.logits)).argmax(self.dim, keepdim=True)
        mean, log_scale = (
            part.expand(shape).gather(self.dim, pick).squeeze(self.dim)
            for part in (self.component_mean, self.log_scale)
        )
        uniform = torch.rand(mean.shape, dtype=mean.dtype, device=mean.device).clamp(1e-7, 1 - 1e-7)
        value = mean + log_scale.exp() * torch.logit(uniform)
        return (value / self.step).round().clamp(0, self.levels - 1) * self.step

    @property
    def mean(self) -> Tensor:
        """E[u] = h Σ_{j=1}^{L−1} P(u ≥ j h): exact, by summing the L−1 tail probabilities."""
        inverse = torch.exp(-self.log_scale)
        tails = torch.zeros_like(inverse)
        for edge in range(self.levels - 1):
            tails += torch.sigmoid((self.component_mean - (edge + 0.5) * self.step) * inverse)
        return (self.logits.softmax(self.dim) * tails).sum(self.dim) * self.step


def _gumbel(shape: torch.Size, like: Tensor) -> Tensor:
    exponential = torch.empty(shape, dtype=like.dtype, device=like.device).exponential_()
    return -exponential.clamp_min(1e-30).log()
