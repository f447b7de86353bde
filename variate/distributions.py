"""What ``torch.distributions`` lacks: Gaussians that take their noise, grids of levels, and exact KL between them."""

import math

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
    """P(u) = Σ_k π_k [σ((u + h/2 − μ_k)/s_k) − σ((u − h/2 − μ_k)/s_k)] + Σ_j π_{K+j} 1[u = atom_j]

    on the grid u ∈ {0, h, …, 1}, h = 1/(L−1). The first and the last level take the tails, so the masses sum to one
    exactly (Salimans et al. 2017, eq. 2). The J ``atoms`` are levels (0..L−1) with a mass of their own: 8-bit images
    are full of exact blacks and whites, which no smooth density can pay for. Means and log scales hold the K
    components along ``dim`` (negative), logits hold K + J; the batch shape is the rest.
    """

    arg_constraints = {}  # pyright: ignore[reportAssignmentType]

    def __init__(
        self, logits: Tensor, mean: Tensor, log_scale: Tensor, levels: int, dim: int = -1, atoms: tuple[int, ...] = ()
    ):
        self.logits, self.component_mean, self.log_scale = logits, mean, log_scale
        self.levels, self.step, self.dim, self.atoms = levels, 1 / (levels - 1), dim, atoms
        super().__init__(logits.select(dim, 0).shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        event = -self.dim - 1
        shape = torch.broadcast_shapes(value.shape, self.batch_shape)
        lead, tail = shape[: len(shape) - event], shape[len(shape) - event :]
        logits, mean, log_scale = (
            part.expand(*lead, part.shape[self.dim], *tail)
            for part in (self.logits, self.component_mean, self.log_scale)
        )
        return _LogisticMixtureMass.apply(value.unsqueeze(self.dim), logits, mean, log_scale, self)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008 (torch's own signature)
        shape = sample_shape + self.logits.shape
        pick = (self.logits + _gumbel(shape, self.logits)).argmax(self.dim, keepdim=True)
        components = self.component_mean.shape[self.dim]
        smooth = pick.clamp(max=components - 1)
        mean, log_scale = (
            part.expand(*shape[: self.dim], components, *shape[self.dim :][1:]).gather(self.dim, smooth)
            for part in (self.component_mean, self.log_scale)
        )
        uniform = torch.rand(mean.shape, dtype=mean.dtype, device=mean.device).clamp(1e-7, 1 - 1e-7)
        level = ((mean + log_scale.exp() * torch.logit(uniform)) / self.step).round().clamp(0, self.levels - 1)
        if self.atoms:
            atoms = torch.tensor(self.atoms, dtype=level.dtype, device=level.device)
            level = torch.where(pick < components, level, atoms[(pick - components).clamp_min(0)])
        return level.squeeze(self.dim) * self.step

    @property
    def mean(self) -> Tensor:
        """E[u] = h Σ_{j=1}^{L−1} P(u ≥ j h), the sum of the L−1 tail probabilities, to 1e-3 of a level."""
        levels = _mean_level(self.component_mean / self.step, self.log_scale.exp() / self.step, self.levels - 1)
        weights = self.logits.softmax(self.dim)
        components = levels.shape[self.dim]
        expected = (weights.narrow(self.dim, 0, components) * levels).sum(self.dim)
        for index, level in enumerate(self.atoms):
            expected += weights.select(self.dim, components + index) * level
        return expected * self.step


def _mean_level(mean: Tensor, scale: Tensor, edges: int) -> Tensor:
    """Σ_{j=1}^{edges} σ((mean − j + ½)/scale), everything in levels, without summing them all.

    Few edges are summed. Of many, where the logistic is wide the sum is its integral with the first Euler–Maclaurin
    term, and where it is narrow only the twelve edges around the mean are neither 0 nor 1.
    """
    if edges <= 32:
        return torch.stack([torch.sigmoid((mean - edge - 0.5) / scale) for edge in range(edges)]).sum(0)
    top, bottom = (mean - edges) / scale, mean / scale
    slope = torch.sigmoid(bottom) * torch.sigmoid(-bottom) - torch.sigmoid(top) * torch.sigmoid(-top)
    wide = scale * (F.softplus(bottom) - F.softplus(top)) - slope / (24 * scale)
    narrow = below = (mean.floor() - 5).clamp(0, edges)
    for place in range(1, 13):
        edge = below + place
        narrow = narrow + torch.sigmoid((mean - edge + 0.5) / scale) * (edge <= edges)
    return torch.where(scale >= 0.7, wide, narrow)


class _LogisticMixtureMass(torch.autograd.Function):
    """log Σ_k π_k [σ(a_k) − σ(b_k)] + …, a = (u + h/2 − μ)/s, b = (u − h/2 − μ)/s, with the gradient written out.

    The log-difference is taken as log σ(a) + log σ(−b) + log(1 − e^{−h/s}), which neither cancels nor underflows; at
    the ends of the grid the term that reaches into the tail is left out. With the responsibilities r the gradient is

    ∂/∂μ = r [σ(b) − σ(−a)]/s,   ∂/∂ log s = r [b σ(b) − a σ(−a) − (h/s)/(e^{h/s} − 1)],   ∂/∂ logit = r − π,

    made in the forward pass, because autograd would keep and revisit two dozen tensors of this size. Masks multiply:
    that is several times faster than ``where`` on a CPU.
    """

    @staticmethod
    def forward(ctx, u, logits, mean, log_scale, mixture):  # noqa: ANN001, ANN205 (autograd's own signature)
        dim, step, components = mixture.dim, mixture.step, mean.shape[mixture.dim]
        not_first, not_last = (u > step / 2).to(u.dtype), (u < 1 - step / 2).to(u.dtype)
        inverse = torch.exp(-log_scale)
        centred = (u - mean).mul_(inverse)
        width = inverse * step
        a, b = centred + width / 2, centred - width / 2
        log_weight = logits.log_softmax(dim)
        log_mass = torch.log(-torch.expm1(-width)).mul_(not_first * not_last)
        log_mass -= F.softplus(-a).mul_(not_last)
        log_mass -= F.softplus(b).mul_(not_first)
        log_mass += log_weight.narrow(dim, 0, components)
        log_atom, hits = _atom_mass(u, log_weight, mixture, components)
        top = torch.maximum(log_mass.amax(dim, keepdim=True), log_atom)
        # e^-80 of the largest is nothing, and stops short of the denormals that a CPU is slow with
        share, atom_share = log_mass.sub_(top).clamp_(min=-80).exp_(), log_atom.sub_(top).exp_()
        total = share.sum(dim, keepdim=True).add_(atom_share)
        if any(ctx.needs_input_grad):
            share, atom_share = share.div_(total), atom_share.div_(total)
            lower, upper = torch.sigmoid(b).mul_(not_first), torch.sigmoid(-a).mul_(not_last)
            to_mean = (lower - upper).mul_(inverse).mul_(share)
            ends = width.div(torch.expm1(width)).mul_(not_first * not_last)
            to_log_scale = lower.mul_(b).sub_(upper.mul_(a)).sub_(ends).mul_(share)
            parts = [share, *(atom_share * hit for hit in hits)]
            ctx.save_for_backward(torch.cat(parts, dim).sub_(log_weight.exp_()), to_mean, to_log_scale)
            ctx.dim = dim
        return total.log_().add_(top).squeeze(dim)

    @staticmethod
    def backward(ctx, gradient):  # noqa: ANN001, ANN205
        gradient = gradient.unsqueeze(ctx.dim)
        return None, *(gradient * part for part in ctx.saved_tensors), None


def _atom_mass(
    u: Tensor, log_weight: Tensor, mixture: DiscretizedLogisticMixture, components: int
) -> tuple[Tensor, list[Tensor]]:
    """(log of the weight of the atom at u, −∞ where there is none; for every atom, 1 where u is on it)."""
    level = u * (mixture.levels - 1)
    hits = [((level - atom).abs() < 0.5).to(u.dtype) for atom in mixture.atoms]
    shape = log_weight.narrow(mixture.dim, 0, 1).shape
    if not hits:
        return u.new_full(shape, -math.inf), hits
    weight = torch.zeros(shape, dtype=u.dtype, device=u.device)
    for index, hit in enumerate(hits):
        weight += hit * log_weight.narrow(mixture.dim, components + index, 1)
    missing = 1 - torch.stack(hits).sum(0)
    return weight - missing.mul_(3e38), hits


def _gumbel(shape: torch.Size, like: Tensor) -> Tensor:
    exponential = torch.empty(shape, dtype=like.dtype, device=like.device).exponential_()
    return -exponential.clamp_min(1e-30).log()
