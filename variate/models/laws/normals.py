"""Gaussians that take their noise, mixtures of them, and the divergences between them."""

import math

import numpy as np
import torch
from numpy.polynomial.hermite import hermgauss
from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    MultivariateNormal,
    Normal,
    kl_divergence,
    register_kl,
)

__all__ = [
    "DiagonalNormal",
    "FullNormal",
    "NormalMixture",
    "PointMass",
    "StandardNormal",
    "kl_by_draws",
    "kl_of_marginals",
    "kl_per_unit",
]

QUADRATURE_NODES = 64


class DiagonalNormal(Independent):
    """N(x; μ, diag σ²) over the last ``event`` dimensions.

    ``rsample_from(noise)`` = μ + σ·ε (Kingma & Welling 2014, section 2.4). Shapes: mean and scale (…, *event).

    >>> DiagonalNormal(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 0.5])).rsample_from(torch.ones(2)).tolist()
    [2.0, 2.5]
    """

    def __init__(self, mean: Tensor, scale: Tensor, event: int = 1):
        super().__init__(Normal(mean, scale, validate_args=False), event, validate_args=False)

    @property
    def stddev(self) -> Tensor:  # torch's is the root of its square
        return self.base_dist.stddev

    def rsample_from(self, noise: Tensor) -> Tensor:
        return torch.addcmul(self.base_dist.loc, self.base_dist.scale, noise)


class StandardNormal(DiagonalNormal):
    """N(0, I), a ``DiagonalNormal`` to which the divergence is simple; ``zero``, (d,) or of any shape, says shape and
    device."""

    def __init__(self, zero: Tensor):
        super().__init__(zero, torch.ones_like(zero), event=zero.dim())


class FullNormal(MultivariateNormal):
    """N(x; μ, L Lᵀ) with a whole covariance; ``rsample_from(noise)`` = μ + L ε. L: (…, d, d), lower, diagonal > 0.

    >>> FullNormal(torch.zeros(2), torch.tensor([[1.0, 0.0], [3.0, 1.0]])).rsample_from(torch.ones(2)).tolist()
    [1.0, 4.0]
    """

    def __init__(self, mean: Tensor, scale_tril: Tensor):
        # not torch's own beginning, whose broadcast_shapes imports a computer algebra system: a second before step one
        shape = torch.Size(np.broadcast_shapes(mean.shape[:-1], scale_tril.shape[:-2]))
        self.loc = mean.expand(*shape, -1)
        self.scale_tril = scale_tril.expand(*shape, -1, -1)  # pyright: ignore[reportAttributeAccessIssue] (a stub's)
        self._unbroadcasted_scale_tril = scale_tril
        Distribution.__init__(self, shape, mean.shape[-1:], validate_args=False)

    def rsample_from(self, noise: Tensor) -> Tensor:
        return self.loc + torch.einsum("...ij,...j->...i", self._unbroadcasted_scale_tril, noise)


class NormalMixture(Distribution):
    """p(x) = Σ_k π_k N(x; m_k, L_k L_kᵀ), π = softmax(logits). Shapes: logits (…, K), means (…, K, d), L (K, d, d).

    ``rsample_from(noise)`` takes d + 1 normals: the last one picks the component, the k for which Φ(ε_{d+1}) falls
    into π_1 + … + π_k, and the sample is m_k + L_k ε. Its gradient does not know the weights. There is no closed form
    of a KL divergence to a mixture.

    >>> law = NormalMixture(torch.zeros(2), torch.tensor([[-3.0], [3.0]]), torch.ones(2, 1, 1))
    >>> law.rsample_from(torch.tensor([[0.5, -1.0], [0.5, 1.0]])).tolist(), law.mean.item(), law.variance.item()
    ([[-2.5], [3.5]], 0.0, 10.0)
    """

    arg_constraints = {}  # pyright: ignore[reportAssignmentType]

    def __init__(self, logits: Tensor, means: Tensor, scale_tril: Tensor):
        self.logits, self.means, self.scale_tril = logits, means, scale_tril
        self.noise_size = means.shape[-1] + 1
        super().__init__(logits.shape[:-1], means.shape[-1:], validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.log_joint(value).logsumexp(-1)

    def log_joint(self, value: Tensor) -> Tensor:
        """log π_k + log N(x; m_k, L_k L_kᵀ) of every component: (…, d) → (…, K).

        One solve per component against all rows, (K, d, rows), because the rows share the L_k.
        """
        centred = (value.unsqueeze(-2) - self.means).movedim(-2, 0)
        white = torch.linalg.solve_triangular(self.scale_tril, centred.flatten(1, -2).mT, upper=False)
        squared = white.square().sum(-2).unflatten(-1, centred.shape[1:-1]).movedim(0, -1)
        log_determinant = self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = math.log(2 * math.pi) * value.shape[-1] / 2
        return self.logits.log_softmax(-1) - squared / 2 - log_determinant - constant

    def rsample_from(self, noise: Tensor) -> Tensor:
        cumulated = self.logits.softmax(-1).cumsum(-1)
        pick = (cumulated < torch.special.ndtr(noise[..., -1:])).sum(-1).clamp(max=self.logits.shape[-1] - 1)
        each = self.means + torch.einsum("kij,...j->...ki", self.scale_tril, noise[..., :-1])
        return each.gather(-2, pick[..., None, None].expand(*pick.shape, 1, each.shape[-1])).squeeze(-2)

    def marginal_log_prob(self, value: Tensor) -> Tensor:
        """log p(x_j) of every number by itself: (…, d) → (…, d)."""
        scale = self.scale_tril.square().sum(-1).sqrt()
        each = Normal(self.means, scale, validate_args=False).log_prob(value.unsqueeze(-2))
        return (self.logits.log_softmax(-1).unsqueeze(-1) + each).logsumexp(-2)

    @property
    def mean(self) -> Tensor:
        return torch.einsum("...k,...kd->...d", self.logits.softmax(-1), self.means)

    @property
    def variance(self) -> Tensor:
        """E_k[Var] + Var_k[m]."""
        within, between = self.scale_tril.square().sum(-1), (self.means - self.mean.unsqueeze(-2)) ** 2
        return torch.einsum("...k,...kd->...d", self.logits.softmax(-1), within + between)


@register_kl(DiagonalNormal, FullNormal)
def _kl_diagonal_full(q: DiagonalNormal, p: FullNormal) -> Tensor:
    """½ [Σ_ij A_ij² σ_j² + ‖A (μ − m)‖² − d] − Σ log A_ii − Σ log σ_i, A = L⁻¹: one solve for all rows that share L."""
    lower = p._unbroadcasted_scale_tril
    inverse = torch.linalg.solve_triangular(
        lower, torch.eye(lower.shape[-1], dtype=lower.dtype, device=lower.device), upper=False
    )
    trace = (inverse.square().sum(-2) * q.variance).sum(-1)
    white = (inverse * (q.mean - p.loc).unsqueeze(-2)).sum(-1)  # no product, which may be one of bfloat16
    distance = white.square().sum(-1)
    log_determinant = inverse.diagonal(dim1=-2, dim2=-1).log().sum(-1) + q.stddev.log().sum(-1)
    return (trace + distance - lower.shape[-1]) / 2 - log_determinant


@register_kl(FullNormal, DiagonalNormal)
def _kl_full_diagonal(q: FullNormal, p: DiagonalNormal) -> Tensor:
    """½ Σᵢ [(Σ_ii + (μᵢ−mᵢ)²)/sᵢ² − 1 + 2 log sᵢ] − Σᵢ log L_ii: no solve is needed against a diagonal."""
    variance, scale = q.variance, p.stddev
    quadratic = (variance + (q.mean - p.mean) ** 2) / scale**2 - 1 + 2 * scale.log()
    log_determinant = q._unbroadcasted_scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return quadratic.sum(-1) / 2 - log_determinant


def kl_per_unit(q: Distribution, p: Distribution) -> Tensor | None:
    """KL(q ‖ p) in nats, (…, *event): an entry per unit where both factorise, else (…, 1); None if no closed form.

    >>> q, p = (DiagonalNormal(torch.tensor([m, 0.0]), torch.ones(2)) for m in (2.0, 0.0))
    >>> kl_per_unit(q, p).tolist()
    [2.0, 0.0]
    """
    if isinstance(q, DiagonalNormal) and isinstance(p, StandardNormal):
        mean, scale = q.mean, q.stddev  # ½ (μ² + σ² − 1) − log σ
        return -0.5 - torch.addcmul(torch.addcmul(scale.log(), mean, mean, value=-0.5), scale, scale, value=-0.5)
    if isinstance(q, DiagonalNormal) and isinstance(p, DiagonalNormal):
        return kl_divergence(q.base_dist, p.base_dist)
    try:
        return kl_divergence(q, p).unsqueeze(-1)
    except NotImplementedError:
        return None


def kl_by_draws(q: DiagonalNormal | FullNormal, p: NormalMixture, z: Tensor) -> Tensor:
    """An unbiased estimate of KL(q ‖ p) in nats from every draw z (n, B, d) of q: (n, B).

    −H(q) − log p(z) + Σ_k r_k [a_k(z) − E_q a_k], where a_k = log π_k + log N_k has an exact mean under q. The sum has
    mean 0 and moves with log p(z), to first order around q's mean if r are the responsibilities there: of one
    component the estimate is exact. Plain log q(z) − log p(z) is so noisy that a model trained by it learns far less.

    >>> q, z = DiagonalNormal(torch.tensor([[2.0]]), torch.ones(1, 1)), torch.randn(3, 1, 1)
    >>> kl_by_draws(q, NormalMixture(torch.zeros(1), torch.zeros(1, 1), torch.ones(1, 1, 1)), z).flatten().tolist()
    [2.0, 2.0, 2.0]
    """
    at_draw, at_mean = p.log_joint(z), p.log_joint(q.mean)
    precision = torch.cholesky_inverse(p.scale_tril)
    if isinstance(q, DiagonalNormal):
        trace = torch.einsum("...i,kii->...k", q.variance, precision)
    else:
        trace = torch.einsum("...ij,kij->...k", q.covariance_matrix, precision)
    share = at_mean.detach().softmax(-1)
    return (share * (at_draw - at_mean + trace / 2)).sum(-1) - at_draw.logsumexp(-1) - q.entropy()


def kl_of_marginals(q: Distribution, p: Distribution) -> Tensor:
    """KL(q_j ‖ p_j) in nats of every unit's marginal, (…, d), q normal: exact where p is normal too, to a mixture by
    Gauss-Hermite quadrature with 64 nodes.

    >>> q = DiagonalNormal(torch.tensor([3.0]), torch.tensor([0.1]))
    >>> p = NormalMixture(torch.zeros(2), torch.tensor([[-3.0], [3.0]]), torch.full((2, 1, 1), 0.1))
    >>> round(kl_of_marginals(q, p).item(), 4), round(math.log(2), 4)
    (0.6931, 0.6931)
    """
    if not isinstance(p, NormalMixture):
        ratio = q.variance / p.variance
        return (ratio + (q.mean - p.mean) ** 2 / p.variance - 1 - ratio.log()) / 2
    nodes, weights = (torch.from_numpy(numbers).to(q.mean) for numbers in hermgauss(QUADRATURE_NODES))
    at = q.mean + math.sqrt(2) * q.stddev * nodes.view(-1, *[1] * q.mean.dim())
    log_p = torch.einsum("n,n...->...", weights / math.sqrt(math.pi), p.marginal_log_prob(at))
    return -q.stddev.log() - math.log(2 * math.pi * math.e) / 2 - log_p


class PointMass(Distribution):
    """A deterministic code: all mass on ``value`` (…, *event). It has no density, so no rate and no likelihood.

    >>> PointMass(torch.tensor([1.0, 2.0])).rsample_from(torch.randn(2)).tolist()
    [1.0, 2.0]
    """

    arg_constraints = {}  # pyright: ignore[reportAssignmentType]

    def __init__(self, value: Tensor, event: int = 1):
        self.value = value
        super().__init__(value.shape[:-event], value.shape[-event:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.value

    @property
    def variance(self) -> Tensor:
        return torch.zeros_like(self.value)

    def rsample_from(self, noise: Tensor) -> Tensor:
        return self.value.expand(noise.shape[: -len(self.event_shape)] + self.event_shape)
