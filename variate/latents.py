"""The latent variable: posteriors q(z | x, c), priors p(z | c), and the Latent that pairs them.

Randomness is handed in, never drawn here: ``noise`` is standard normal, (n, B, noise_size).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from variate.distributions import DiagonalNormal, FullNormal, PointMass, kl_per_unit

__all__ = ["Diagonal", "Draw", "Flat", "Full", "Group", "Latent", "Normal", "Point", "Posterior", "Prior", "Standard"]


class Group(NamedTuple):
    """One latent group of a draw.

    z: (n, B, d). log_q = log q(z|x,c) and log_p = log p(z|c): (n, B) in nats, ``None`` for a deterministic code.
    kl_nats: exact KL(q ‖ p), (1 or n, B, units), one entry per unit where both factorise; ``None`` if no closed form.
    log_q_detached: log q at z with the posterior's parameters held constant (Roeder et al. 2017).
    """

    z: Tensor
    log_q: Tensor | None = None
    log_p: Tensor | None = None
    kl_nats: Tensor | None = None
    log_q_detached: Callable[[], Tensor] | None = None

    def log_weight(self, detached: bool = False) -> Tensor:
        """log p(z|c) − log q(z|x,c), (n, B) in nats; a deterministic code has none and raises ``ValueError``."""
        if self.log_q is None or self.log_p is None or self.log_q_detached is None:
            raise ValueError("a deterministic code has no density: its objective is reconstruction")
        return self.log_p - (self.log_q_detached() if detached else self.log_q)

    @property
    def rate_nats(self) -> Tensor:
        """KL(q ‖ p), (B, units): exact where there is a closed form, else the n-sample estimate as one unit."""
        return -self.log_weight().mean(0).unsqueeze(-1) if self.kl_nats is None else self.kl_nats.mean(0)


class Draw(NamedTuple):
    """n samples of every row: the groups in top-down order, and ``code`` (n, B, …), what the decoder reads."""

    groups: tuple[Group, ...]
    code: Tensor

    def log_weight(self, detached: bool = False) -> Tensor:
        """log p(z|c) − log q(z|x,c), summed over the groups: (n, B) in nats.

        ``detached`` holds q's parameters constant, so that gradients reach the encoder through z alone.
        """
        return torch.stack([group.log_weight(detached) for group in self.groups]).sum(0)

    def rates_nats(self) -> list[Tensor]:
        """KL(q ‖ p) of every group, (B, units) each."""
        return [group.rate_nats for group in self.groups]


def group(q: Distribution, p: Distribution, z: Tensor, detached: Callable[[], Distribution]) -> Group:
    """The ``Group`` of samples z drawn from q, judged by q and p."""
    if isinstance(q, PointMass):
        return Group(z)
    kl = kl_per_unit(q, p)
    if kl is not None and kl.dim() == 2:  # q does not depend on a sample drawn above it
        kl = kl.unsqueeze(0)
    return Group(z, q.log_prob(z), p.log_prob(z), kl, lambda: detached().log_prob(z))


class Posterior(nn.Module):
    """features (B, F) → q(z | x, c): ``linear`` gives the parameters, ``distribution`` is pure in them."""

    def __init__(self, features: int, size: int, per_unit: int):
        super().__init__()
        self.size = size
        self.linear = nn.Linear(features, per_unit)

    def distribution(self, parameters: Tensor) -> Distribution:
        raise NotImplementedError

    def forward(self, features: Tensor) -> Distribution:
        return self.distribution(self.linear(features))


class Point(Posterior):
    """q(z|x) = δ(z − g(x)): the deterministic autoencoder. It has no density, hence no rate."""

    def __init__(self, features: int, size: int):
        super().__init__(features, size, size)

    def distribution(self, parameters: Tensor) -> Distribution:
        return PointMass(parameters)


class Diagonal(Posterior):
    """q(z|x) = N(μ(x), diag σ²(x)) (Kingma & Welling 2014, eq. 9)."""

    def __init__(self, features: int, size: int):
        super().__init__(features, size, 2 * size)

    def distribution(self, parameters: Tensor) -> Distribution:
        mean, log_scale = parameters.chunk(2, dim=-1)
        return DiagonalNormal(mean, _bounded_exp(log_scale))


class Full(Posterior):
    """q(z|x) = N(μ(x), L(x) L(x)ᵀ): a multivariate normal with its whole covariance, d + d(d+1)/2 numbers per row."""

    def __init__(self, features: int, size: int):
        super().__init__(features, size, size + size * (size + 1) // 2)

    def distribution(self, parameters: Tensor) -> Distribution:
        return FullNormal(parameters[..., : self.size], _lower(parameters[..., self.size :], self.size))


class Prior(nn.Module):
    """c (B, C) or None → p(z | c), batch shape (B,) or ()."""

    def __init__(self, size: int, context: int):
        super().__init__()
        self.size, self.context = size, context

    def forward(self, context: Tensor | None) -> Distribution:
        raise NotImplementedError


class Standard(Prior):
    """p(z) = N(0, I)."""

    def __init__(self, size: int, context: int):
        super().__init__(size, context)
        self.register_buffer("zero", torch.zeros(size), persistent=False)

    def forward(self, context: Tensor | None) -> Distribution:
        return DiagonalNormal(self.get_buffer("zero"), torch.ones_like(self.get_buffer("zero")))


class Normal(Prior):
    """p(z|c) = N(m(c), L(c) L(c)ᵀ), learned mean and covariance, linear in the context; starts as N(0, I).

    >>> Normal(2, context=0)(None).covariance_matrix.tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    def __init__(self, size: int, context: int):
        super().__init__(size, context)
        parameters = size + size * (size + 1) // 2
        self.start = nn.Parameter(torch.zeros(parameters))
        if context:
            self.shift = nn.Linear(context, parameters, bias=False)
            nn.init.zeros_(self.shift.weight)

    def forward(self, context: Tensor | None) -> Distribution:
        parameters = self.start if context is None else self.start + self.shift(context)
        return FullNormal(parameters[..., : self.size], _lower(parameters[..., self.size :], self.size))


class Latent(nn.Module):
    """What a model asks of its latent variable; nothing above knows how many groups it has or how they depend.

    ``size``: numbers in an embedding; ``noise_size``: normals per sample and row; ``code_size``: numbers in a code.
    """

    def __init__(self, size: int, noise_size: int, code_size: int):
        super().__init__()
        self.size, self.noise_size, self.code_size = size, noise_size, code_size

    def infer(self, features: Tensor, context: Tensor | None, noise: Tensor) -> Draw:
        """n samples of every row from q(z | x, c), with their log q, log p and exact KL."""
        raise NotImplementedError

    def generate(self, context: Tensor | None, noise: Tensor) -> Tensor:
        """n samples of the code under p(z | c), (n, B, …)."""
        raise NotImplementedError

    def marginals(self, features: Tensor, context: Tensor | None) -> list[tuple[Distribution, Distribution]]:
        """(q, p) of every group, at the means of the groups before it: for diagnostics."""
        raise NotImplementedError

    def embed(self, features: Tensor, context: Tensor | None) -> Tensor:
        """The posterior mean, (B, size); for L groups the means of all side by side, each at the means before it."""
        raise NotImplementedError

    def code_at(self, embedding: Tensor, context: Tensor | None) -> Tensor:
        """The inverse of ``embed``: the code that the decoder reads at these values of z."""
        raise NotImplementedError


class Flat(Latent):
    """One group: z ~ p(z|c), q(z|x,c) from the encoder's features. The code is z itself.

    >>> latent = Flat(Diagonal(features=5, size=2), Standard(size=2, context=0))
    >>> draw = latent.infer(torch.zeros(3, 5), None, noise=torch.zeros(7, 3, 2))
    >>> draw.code.shape, draw.log_weight().shape, draw.rates_nats()[0].shape
    (torch.Size([7, 3, 2]), torch.Size([7, 3]), torch.Size([3, 2]))
    """

    def __init__(self, posterior: Posterior, prior: Prior):
        super().__init__(posterior.size, posterior.size, posterior.size)
        self.posterior, self.prior = posterior, prior

    def infer(self, features: Tensor, context: Tensor | None, noise: Tensor) -> Draw:
        parameters = self.posterior.linear(features)
        q, p = self.posterior.distribution(parameters), self.prior(context)
        z = rsample_from(q, noise)
        return Draw((group(q, p, z, lambda: self.posterior.distribution(parameters.detach())),), z)

    def generate(self, context: Tensor | None, noise: Tensor) -> Tensor:
        return rsample_from(self.prior(context), noise)

    def marginals(self, features: Tensor, context: Tensor | None) -> list[tuple[Distribution, Distribution]]:
        return [(self.posterior(features), self.prior(context))]

    def embed(self, features: Tensor, context: Tensor | None) -> Tensor:
        return self.posterior(features).mean

    def code_at(self, embedding: Tensor, context: Tensor | None) -> Tensor:
        return embedding


def rsample_from(distribution: Distribution, noise: Tensor) -> Tensor:
    """A sample that is a differentiable function of standard normal noise (n, B, d)."""
    return distribution.rsample_from(noise)  # pyright: ignore[reportAttributeAccessIssue] (torch's have no such method)


def _bounded_exp(log_scale: Tensor) -> Tensor:
    """exp, with the exponent bent to stay within ±8: a wild early step can neither overflow nor collapse."""
    return torch.exp(8 * torch.tanh(log_scale / 8))


def _lower(flat: Tensor, size: int) -> Tensor:
    """(…, d(d+1)/2) → lower triangular (…, d, d) with a positive diagonal; zeros give the identity."""
    rows, columns = torch.tril_indices(size, size, device=flat.device)
    matrix = flat.new_zeros(*flat.shape[:-1], size, size)
    matrix[..., rows, columns] = flat
    diagonal = _bounded_exp(matrix.diagonal(dim1=-2, dim2=-1))
    return matrix.tril(-1) + torch.diag_embed(diagonal)
