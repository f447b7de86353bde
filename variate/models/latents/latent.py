"""The contract of a latent variable: cells, each with a posterior and a prior, and one walk through them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from variate.base.errors import UserError
from variate.base.once import once
from variate.models.latents.choosing import Drawn, Generated, Given, Points, held
from variate.models.laws.normals import DiagonalNormal, FullNormal, NormalMixture, PointMass, kl_by_draws, kl_per_unit

__all__ = ["Choose", "Draw", "Group", "Latent", "group", "mean_of_samples"]

Choose = Callable[[Distribution | None, Distribution], Tensor]  # (q or None, p) → z of a cell


@dataclass(frozen=True)
class Group:
    """One cell of a draw; the densities are computed when asked, once.

    z: (n, B, *event), drawn from q = q(z|x,c) and judged by p = p(z|c); a deterministic code has neither.
    kl_nats: KL(q ‖ p), (1 or n, B, units): exact, one entry per unit where both factorise; to a mixture an unbiased
    estimate from every sample, less noisy than log_q − log_p; ``None`` if there is neither.
    """

    z: Tensor
    q: Distribution | None = None
    p: Distribution | None = None
    kl_nats: Tensor | None = None

    @once
    def log_q(self) -> Tensor | None:
        """log q(z|x,c), (n, B) in nats."""
        return None if self.q is None else self.q.log_prob(self.z)

    @once
    def log_p(self) -> Tensor | None:
        """log p(z|c), (n, B) in nats."""
        return None if self.p is None else self.p.log_prob(self.z)

    def log_weight(self, detached: bool = False) -> Tensor:
        """log p(z|c) − log q(z|x,c), (n, B) in nats; a deterministic code has none and raises ``ValueError``."""
        if self.q is None or self.log_q is None or self.log_p is None:
            raise ValueError("a deterministic code has no density: its objective is reconstruction")
        return self.log_p - (held(self.q).log_prob(self.z) if detached else self.log_q)

    @property
    def size(self) -> int:
        """How many numbers one z is."""
        return math.prod(self.z.shape[2:])

    @property
    def rate_nats(self) -> Tensor:
        """KL(q ‖ p), (B, units): exact where there is a closed form, else an n-sample estimate as one unit."""
        if self.kl_nats is not None:
            return mean_of_samples(self.kl_nats)
        return -mean_of_samples(self.log_weight()).unsqueeze(-1)


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


def mean_of_samples(values: Tensor) -> Tensor:
    """(n, …) → (…); of a single sample nothing is computed, which most training steps draw."""
    return values.squeeze(0) if len(values) == 1 else values.mean(0)


def group(q: Distribution, p: Distribution, z: Tensor) -> Group:
    """The ``Group`` of samples z (n, B, *event) drawn from q, judged by q and p."""
    if isinstance(q, PointMass):
        return Group(z)
    if isinstance(p, NormalMixture) and isinstance(q, DiagonalNormal | FullNormal):
        return Group(z, q, p, kl_by_draws(q, p, z).unsqueeze(-1))
    kl = kl_per_unit(q, p)
    if kl is not None:
        rows = max(len(q.batch_shape), len(p.batch_shape))  # what is behind them is of the event, whatever its shape
        kl = kl.flatten(rows) if kl.dim() > rows + 1 else kl
        kl = kl.unsqueeze(0) if rows == 1 else kl  # q does not depend on a sample drawn above it
    return Group(z, q, p, kl)


class Latent(nn.Module):
    """What a model asks of its latent variable; nothing above knows how many cells it has or how they depend.

    ``cells``: the shape of every cell's z; ``code``: the shape of what the decoder reads. ``noise_sizes``: the normals
    that one draw of every cell takes, if not one for each of its numbers.
    ``size``: numbers in an embedding; ``noise_size``: normals per sample and row.
    """

    start: str = "random"
    has_density = True  # whether log q(z | x, c) is defined: not of a deterministic code

    def __init__(
        self, cells: tuple[tuple[int, ...], ...], code: tuple[int, ...], noise_sizes: tuple[int, ...] | None = None
    ):
        super().__init__()
        self.cells, self.code = cells, code
        self.sizes = tuple(math.prod(cell) for cell in cells)
        self.noise_sizes = noise_sizes or self.sizes
        self.size, self.noise_size = sum(self.sizes), sum(self.noise_sizes)

    def walk(self, choose: Choose, features: Tensor | None, context: Tensor | None) -> Tensor:
        """The code, after every cell in its order was given z = ``choose(q, p)``: the one method that a latent writes.

        features (B, F) are the encoder's, ``None`` where nothing was seen; q is ``None`` then. What was chosen above
        may be (n, B, …) or (B, …): q and p broadcast over the samples.
        """
        raise NotImplementedError

    def infer(self, features: Tensor, context: Tensor | None, noise: Tensor) -> Draw:
        """n samples of every row from q(z | x, c), with their log q, log p and exact KL."""
        choose = Drawn(iter(noise.split(self.noise_sizes, dim=-1)))
        code = self.walk(choose, features, context)
        return Draw(tuple(group(*chosen) for chosen in choose.chosen), code)

    def generate(self, context: Tensor | None, noise: Tensor) -> Tensor:
        """n samples of the code under p(z | c), (n, B, …)."""
        return self.walk(Generated(iter(noise.split(self.noise_sizes, dim=-1))), None, context)

    def marginals(self, features: Tensor, context: Tensor | None) -> list[tuple[Distribution, Distribution]]:
        """(q, p) of every cell, at the means of the cells before it: for diagnostics."""
        choose = Points()
        self.walk(choose, features, context)
        return choose.laws

    def embed(self, features: Tensor, context: Tensor | None) -> Tensor:
        """The posterior mean, (B, size); of several cells the means side by side, each at the means before it."""
        return torch.cat([q.mean.flatten(1) for q, _ in self.marginals(features, context)], dim=-1)

    def code_at(self, embedding: Tensor, context: Tensor | None) -> Tensor:
        """The inverse of ``embed``: the code that the decoder reads at these values of z."""
        parts = embedding.split(self.sizes, dim=-1)
        values = (part.unflatten(-1, cell) for part, cell in zip(parts, self.cells, strict=True))
        return self.walk(Given(iter(values)), None, context)

    def fit_prior(self, embeddings: Tensor, context: Tensor | None) -> None:
        """Fit p(z | c) to embeddings (n, size) that were trained without it, so that ``generate`` has their law."""
        raise UserError(f"latent {type(self).__name__} has no prior that is fitted afterwards: train it with elbo.")

    def start_linear(
        self, matrix: Tensor, offset: Tensor, codes: Tensor, context: Tensor | None, spread: float
    ) -> None:
        """The posterior mean starts as ``matrix`` f + ``offset``, f the last features, and the prior as the law of
        ``codes`` (n, size), known to within ``spread``."""
        raise NotImplementedError
