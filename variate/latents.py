"""The latent variable: posteriors q(z | x, c), priors p(z | c), and the Latent that pairs them.

A Latent answers four calls; nothing above it knows how many groups it has or how they depend on each other.

- ``infer(features, c, noise) → Draw``: n samples per row from q, with their log q, log p and exact KL.
- ``generate(c, noise) → code``: samples from p.
- ``embed(features, c) → (B, size)``: the posterior mean; for L groups the means of all groups side by side, each taken
  at the means of the groups before it.
- ``code_at(embedding, c) → code``: its inverse, what the decoder reads at those values of z.

``noise`` is standard normal, (n, B, noise_size): randomness is handed in, never drawn here.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from variate.distributions import DiagonalNormal, FullNormal, PointMass, kl_per_unit

__all__ = ["Diagonal", "Draw", "Flat", "Full", "Group", "Normal", "Point", "Posterior", "Prior", "Standard"]


class Group(NamedTuple):
    """One latent group of a draw.

    z: (n, B, d). log_q = log q(z|x,c) and log_p = log p(z|c): (n, B) in nats, ``None`` for a deterministic code.
    kl_nats: exact KL(q ‖ p), (1 or n, B, units), one entry per unit where both factorise; ``None`` if no closed form.
    log_q_detached: log q at z with the posterior's parameters held constant (Roeder et al. 2017).
    """

    z: Tensor
    log_q: Tensor | None
    log_p: Tensor | None
    kl_nats: Tensor | None
    log_q_detached: Callable[[], Tensor] | None


class Draw(NamedTuple):
    """n samples of every row: the groups in top-down order, and ``code`` (n, B, …), what the decoder reads."""

    groups: tuple[Group, ...]
    code: Tensor

    @property
    def deterministic(self) -> bool:
        return any(group.log_q is None for group in self.groups)

    def log_weight(self) -> Tensor:
        """log p(z|c) − log q(z|x,c), summed over the groups: (n, B) in nats."""
        return torch.stack([group.log_p - group.log_q for group in self.groups]).sum(0)

    def rates_nats(self) -> list[Tensor]:
        """KL(q ‖ p) per group, (B, units): exact where there is a closed form, else the n-sample estimate, one unit."""
        return [
            (group.log_q - group.log_p).mean(0).unsqueeze(-1)
            if group.kl_nats is None
            else group.kl_nats.mean(0)
            for group in self.groups
        ]


def group(q: Distribution, p: Distribution, z: Tensor, detached: Callable[[], Distribution]) -> Group:
    """The ``Group`` of samples z drawn from q, judged by q and p."""
    if isinstance(q, PointMass):
        return Group(z, None, None, None, None)
    kl = kl_per_unit(q, p)
    if kl is not None and kl.dim() == 2:  # q does not depend on a sample drawn above it
        kl = kl.unsqueeze(0)
    return Group(z, q.log_prob(z), p.log_prob(z), kl, lambda: detached().log_prob(z))


class Posterior(nn.Module):
    """features (B, F) → q(z | x, c). ``forward`` splits into ``parameters_of`` (a tensor) and ``distribution`` (pure)."""

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
        return DiagonalNormal(self.zero, torch.ones_like(self.zero))


class Normal(Prior):
    """p(z|c) = N(m(c), L(c) L(c)ᵀ), learned mean and covariance, linear in the context; starts as N(0, I)."""

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


class Flat(nn.Module):
    """One group: z ~ p(z|c), q(z|x,c) from the encoder's features. The code is z itself."""

    def __init__(self, posterior: Posterior, prior: Prior):
        super().__init__()
        self.posterior, self.prior = posterior, prior
        self.size = self.noise_size = self.code_size = posterior.size

    def infer(self, features: Tensor, context: Tensor | None, noise: Tensor) -> Draw:
        parameters = self.posterior.linear(features)
        q, p = self.posterior.distribution(parameters), self.prior(context)
        z = q.rsample_from(noise)
        return Draw((group(q, p, z, lambda: self.posterior.distribution(parameters.detach())),), z)

    def generate(self, context: Tensor | None, noise: Tensor) -> Tensor:
        return self.prior(context).rsample_from(noise)

    def marginals(self, features: Tensor, context: Tensor | None) -> list[tuple[Distribution, Distribution]]:
        """(q, p) of every group, at the means of the groups before it: for diagnostics."""
        return [(self.posterior(features), self.prior(context))]

    def embed(self, features: Tensor, context: Tensor | None) -> Tensor:
        return self.posterior(features).mean

    def code_at(self, embedding: Tensor, context: Tensor | None) -> Tensor:
        return embedding


def _bounded_exp(log_scale: Tensor) -> Tensor:
    """exp, with the exponent bent to stay within ±8: a wild early step cannot overflow, and gradients never vanish."""
    return torch.exp(8 * torch.tanh(log_scale / 8))


def _lower(flat: Tensor, size: int) -> Tensor:
    """(…, d(d+1)/2) → lower triangular (…, d, d) with a positive diagonal; zeros give the identity."""
    rows, columns = torch.tril_indices(size, size, device=flat.device)
    matrix = flat.new_zeros(*flat.shape[:-1], size, size)
    matrix[..., rows, columns] = flat
    diagonal = _bounded_exp(matrix.diagonal(dim1=-2, dim2=-1))
    return matrix.tril(-1) + torch.diag_embed(diagonal)
