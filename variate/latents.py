"""The latent variable: posteriors q(z | x, c), priors p(z | c), and the Latent that pairs them.

Randomness is handed in, never drawn here: ``noise`` is standard normal, (n, B, noise_size).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from variate.errors import UserError, suggest
from variate.hushed import hushed
from variate.models.laws.normals import (
    DiagonalNormal,
    FullNormal,
    NormalMixture,
    PointMass,
    StandardNormal,
    kl_by_draws,
    kl_per_unit,
)
from variate.once import once

if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture

__all__ = [
    "Diagonal",
    "Draw",
    "Flat",
    "Full",
    "Group",
    "Latent",
    "Mixture",
    "Normal",
    "Point",
    "Posterior",
    "Prior",
    "Standard",
]

BEND = 8.0  # log scales stay within ±8
START_SPREAD = 0.5  # of the means of a mixture, whose components start apart
HELD_OUT, ROWS_PER_COMPONENT = 6, 20  # every sixth row; so many for each component, at least
MOST_STEPS = 10_000  # of expectation maximisation, which ends where one adds less than 1e-3 nats
RIDGE = 1e-6  # of the mean variance, added to a covariance that is estimated
STARTS = ("random", "principal")
MOST_FITTED = 20_000  # rows that a mixture is fitted to


@dataclass(frozen=True)
class Group:
    """One latent group of a draw; the densities are computed when asked, once.

    z: (n, B, d), drawn from q = q(z|x,c) and judged by p = p(z|c); a deterministic code has neither.
    kl_nats: KL(q ‖ p), (1 or n, B, units): exact, one entry per unit where both factorise; to a mixture an unbiased
    estimate from every sample, less noisy than log_q − log_p; ``None`` if there is neither.
    held: q with its parameters held constant (Roeder et al. 2017).
    """

    z: Tensor
    q: Distribution | None = None
    p: Distribution | None = None
    kl_nats: Tensor | None = None
    held: Callable[[], Distribution] | None = None

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
        if self.log_q is None or self.log_p is None or self.held is None:
            raise ValueError("a deterministic code has no density: its objective is reconstruction")
        return self.log_p - (self.held().log_prob(self.z) if detached else self.log_q)

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


def group(q: Distribution, p: Distribution, z: Tensor, held: Callable[[], Distribution]) -> Group:
    """The ``Group`` of samples z drawn from q, judged by q and p."""
    if isinstance(q, PointMass):
        return Group(z)
    if isinstance(p, NormalMixture) and isinstance(q, DiagonalNormal | FullNormal):
        kl = kl_by_draws(q, p, z).unsqueeze(-1)
    else:
        kl = kl_per_unit(q, p)
    if kl is not None and kl.dim() == 2:  # q does not depend on a sample drawn above it
        kl = kl.unsqueeze(0)
    return Group(z, q, p, kl, held)


class Posterior(nn.Module):
    """features (B, F) → q(z | x, c): ``linear`` gives the parameters, ``distribution`` is pure in them."""

    def __init__(self, features: int, size: int, per_unit: int):
        super().__init__()
        self.size = size
        self.linear = nn.Linear(features, per_unit, dtype=torch.float32)

    def distribution(self, parameters: Tensor) -> Distribution:
        raise NotImplementedError

    def forward(self, features: Tensor) -> Distribution:
        return self.distribution(self.linear(features))

    @torch.no_grad()
    def start_linear(self, matrix: Tensor, offset: Tensor, spread: float) -> None:
        """The mean starts as W f + b, f the last features, W (size, d), b (size,); all rows start with one spread."""
        self.linear.weight.zero_()
        self.linear.weight[: self.size, -matrix.shape[1] :] = matrix
        self.linear.bias.copy_(torch.cat([offset, self.spread_parameters(spread).to(offset)]))

    def spread_parameters(self, spread: float) -> Tensor:
        """The parameters besides the mean that make every standard deviation ``spread``, without correlations."""
        raise NotImplementedError


class Point(Posterior):
    """q(z|x) = δ(z − g(x)): the deterministic autoencoder. It has no density, hence no rate."""

    def __init__(self, features: int, size: int):
        super().__init__(features, size, size)

    def distribution(self, parameters: Tensor) -> Distribution:
        return PointMass(parameters)

    def spread_parameters(self, spread: float) -> Tensor:
        return torch.zeros(0, dtype=torch.float32)


class Diagonal(Posterior):
    """q(z|x) = N(μ(x), diag σ²(x)) (Kingma & Welling 2014, eq. 9)."""

    def __init__(self, features: int, size: int):
        super().__init__(features, size, 2 * size)

    def distribution(self, parameters: Tensor) -> Distribution:
        mean, log_scale = parameters.chunk(2, dim=-1)
        return DiagonalNormal(mean, _bounded_exp(log_scale))

    def spread_parameters(self, spread: float) -> Tensor:
        return _flat(torch.tensor([[spread]], dtype=torch.float32)).expand(self.size)


class Full(Posterior):
    """q(z|x) = N(μ(x), L(x) L(x)ᵀ): a multivariate normal with its whole covariance, d + d(d+1)/2 numbers per row."""

    def __init__(self, features: int, size: int):
        super().__init__(features, size, size + size * (size + 1) // 2)

    def distribution(self, parameters: Tensor) -> Distribution:
        return FullNormal(parameters[..., : self.size], _lower(parameters[..., self.size :], self.size))

    def spread_parameters(self, spread: float) -> Tensor:
        return _flat(spread * torch.eye(self.size, dtype=torch.float32))


class Prior(nn.Module):
    """c (B, C) or None → p(z | c), batch shape (B,) or (). ``noise_size``: normals that one draw takes."""

    def __init__(self, size: int, context: int, noise_size: int | None = None):
        super().__init__()
        self.size, self.context = size, context
        self.noise_size = size if noise_size is None else noise_size

    def forward(self, context: Tensor | None) -> Distribution:
        raise NotImplementedError

    def fit(self, codes: Tensor, context: Tensor | None) -> None:
        """Set the parameters to what codes (n, d) and their contexts (n, C) say (Ghosh et al. 2020, section 4).

        For codes that were trained without a prior. Their standard deviations may be any within e^±7.
        """
        raise UserError(f"prior {type(self).__name__} has nothing to fit: use prior.name=normal or prior.name=mixture.")

    def start_at(self, codes: Tensor, context: Tensor | None, spread: float) -> None:
        """Told codes (n, d) and contexts (n, C) of training rows before the first step, where codes have a law by then:
        lets it start there. The codes are known to within ``spread``."""


class Standard(Prior):
    """p(z) = N(0, I)."""

    def __init__(self, size: int, context: int):
        super().__init__(size, context)
        self.register_buffer("zero", torch.zeros(size, dtype=torch.float32), persistent=False)

    def forward(self, context: Tensor | None) -> Distribution:
        return StandardNormal(self.get_buffer("zero"))


class Normal(Prior):
    """p(z|c) = N(m(c), L(c) L(c)ᵀ), learned mean and covariance, linear in the context; starts as N(0, I).

    >>> Normal(2, context=0)(None).covariance_matrix.tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    def __init__(self, size: int, context: int):
        super().__init__(size, context)
        parameters = size + size * (size + 1) // 2
        self.start = nn.Parameter(torch.zeros(parameters, dtype=torch.float32))
        if context:
            self.shift = nn.Linear(context, parameters, bias=False, dtype=torch.float32)
            nn.init.zeros_(self.shift.weight)

    def forward(self, context: Tensor | None) -> Distribution:
        parameters = self.start if context is None else self.start + self.shift(context)
        return FullNormal(parameters[..., : self.size], _lower(parameters[..., self.size :], self.size))

    def start_at(self, codes: Tensor, context: Tensor | None, spread: float) -> None:
        """``fit``, with what the codes' own spread adds to their variance."""
        self._fit(codes, context, spread**2)

    def fit(self, codes: Tensor, context: Tensor | None) -> None:
        """Maximum likelihood, but for a ridge of 1e-6 of the mean variance.

        Classes (one-hot contexts) get a mean and a covariance each; one row's worth of the covariance within all
        classes is in it, so that a few rows suffice. A class without rows, and no class, get what all rows say.
        In any other context the mean is the least-squares line, and the covariance that of the residuals.
        """
        self._fit(codes, context, 0.0)

    @torch.no_grad()
    def _fit(self, codes: Tensor, context: Tensor | None, added: float) -> None:
        codes, context = codes.double().cpu(), None if context is None else context.double().cpu()
        shift = codes.new_zeros(len(self.start), self.context)
        classes = None if context is None else _classes(context)
        if context is not None and classes is None:
            codes, slope = _off_line(codes, context)
            shift[: self.size] = slope.T
        start = _packed(*_moments(codes), added)
        for label, moments in _moments_of_classes(codes, classes or {}).items():
            shift[:, label] = _packed(*moments, added) - start
        self.start.copy_(start)
        if self.context:
            self.shift.weight.copy_(shift)


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
        return NormalMixture(logits, means, _lower(self.lower, self.size))

    def fit(self, codes: Tensor, context: Tensor | None) -> None:
        """Expectation maximisation by scikit-learn, on at most 20,000 rows, evenly spaced; a component per row at most.

        Classes (one-hot contexts) share the components and get weights of their own: their rows' mean
        responsibilities, with one row's worth of the weights of all. In any other context all means move along the
        least-squares line.
        """
        self._fit(codes, context, _gaussian_mixture)

    def start_at(self, codes: Tensor, context: Tensor | None, spread: float) -> None:
        """``fit``, with as many different components as every sixth row says, held out; none narrower than ``spread``.

        Several of those that learn on are then one and the same component.
        """
        self._fit(codes, context, partial(_held_out_mixture, ridge=spread**2))

    @torch.no_grad()
    def _fit(self, codes: Tensor, context: Tensor | None, fitted: Callable[[Tensor, int], "_Fitted"]) -> None:
        kept = min(len(codes), MOST_FITTED)
        chosen = torch.arange(kept) * len(codes) // kept
        codes, context = codes.double().cpu()[chosen], None if context is None else context.double().cpu()[chosen]
        shift = codes.new_zeros(self.components, 1 + self.size, self.context)
        classes = None if context is None else _classes(context)
        if context is not None and classes is None:
            codes, slope = _off_line(codes, context)
            shift[:, 1:] = slope.T
        weights, means, covariances, shares = fitted(codes, self.components)
        for label, rows in (classes or {}).items():
            shift[:, 0, label] = ((shares[rows].sum(0) + weights) / (rows.sum() + 1)).log() - weights.log()
        self.logits.copy_(weights.log())
        self.means.copy_(means)
        self.lower.copy_(_flat(torch.linalg.cholesky(covariances)))
        if self.context:
            self.shift.weight.copy_(shift.flatten(0, 1))


class Latent(nn.Module):
    """What a model asks of its latent variable; nothing above knows how many groups it has or how they depend.

    ``size``: numbers in an embedding; ``noise_size``: normals per sample and row; ``code_size``: numbers in a code.
    """

    start: str = "random"

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

    def fit_prior(self, embeddings: Tensor, context: Tensor | None) -> None:
        """Fit p(z | c) to embeddings (n, size) that were trained without it, so that ``generate`` has their law."""
        raise NotImplementedError

    def start_linear(
        self, matrix: Tensor, offset: Tensor, codes: Tensor, context: Tensor | None, spread: float
    ) -> None:
        """The posterior mean starts as ``matrix`` f + ``offset``, f the last features, and the prior as the law of
        ``codes`` (n, size), known to within ``spread``."""
        raise NotImplementedError


class Flat(Latent):
    """One group: z ~ p(z|c), q(z|x,c) from the encoder's features. The code is z itself.

    ``start``: "random", or "principal": see ``variate.start``.

    >>> latent = Flat(Diagonal(features=5, size=2), Standard(size=2, context=0))
    >>> draw = latent.infer(torch.zeros(3, 5), None, noise=torch.zeros(7, 3, 2))
    >>> draw.code.shape, draw.log_weight().shape, draw.rates_nats()[0].shape
    (torch.Size([7, 3, 2]), torch.Size([7, 3]), torch.Size([3, 2]))
    """

    def __init__(self, posterior: Posterior, prior: Prior, *, start: str = "random"):
        super().__init__(posterior.size, max(posterior.size, prior.noise_size), posterior.size)
        if start not in STARTS:
            raise UserError(f"latent.start={start!r} is not one of {', '.join(STARTS)}{suggest(start, STARTS)}.")
        self.posterior, self.prior, self.start = posterior, prior, start

    def infer(self, features: Tensor, context: Tensor | None, noise: Tensor) -> Draw:
        parameters = self.posterior.linear(features)
        q, p = self.posterior.distribution(parameters), self.prior(context)
        z = rsample_from(q, noise[..., : self.size])
        return Draw((group(q, p, z, lambda: self.posterior.distribution(parameters.detach())),), z)

    def generate(self, context: Tensor | None, noise: Tensor) -> Tensor:
        return rsample_from(self.prior(context), noise[..., : self.prior.noise_size])

    def marginals(self, features: Tensor, context: Tensor | None) -> list[tuple[Distribution, Distribution]]:
        return [(self.posterior(features), self.prior(context))]

    def embed(self, features: Tensor, context: Tensor | None) -> Tensor:
        return self.posterior(features).mean

    def code_at(self, embedding: Tensor, context: Tensor | None) -> Tensor:
        return embedding

    def fit_prior(self, embeddings: Tensor, context: Tensor | None) -> None:
        self.prior.fit(embeddings, context)

    def start_linear(
        self, matrix: Tensor, offset: Tensor, codes: Tensor, context: Tensor | None, spread: float
    ) -> None:
        self.posterior.start_linear(matrix, offset, spread)
        self.prior.start_at(codes, context, spread)


def rsample_from(distribution: Distribution, noise: Tensor) -> Tensor:
    """A sample that is a differentiable function of standard normal noise (n, B, d)."""
    return distribution.rsample_from(noise)  # pyright: ignore[reportAttributeAccessIssue] (torch's have no such method)


def _bounded_exp(log_scale: Tensor) -> Tensor:
    """exp, with the exponent bent to stay within ±8: a wild early step can neither overflow nor collapse."""
    return torch.exp(BEND * torch.tanh(log_scale / BEND))


def _lower(flat: Tensor, size: int) -> Tensor:
    """(…, d(d+1)/2) → lower triangular (…, d, d) with a positive diagonal; zeros give the identity."""
    rows, columns = torch.tril_indices(size, size, device=flat.device)
    matrix = flat.new_zeros(*flat.shape[:-1], size, size)
    matrix[..., rows, columns] = flat
    diagonal = _bounded_exp(matrix.diagonal(dim1=-2, dim2=-1))
    return matrix.tril(-1) + torch.diag_embed(diagonal)


def _flat(lower: Tensor) -> Tensor:
    """The inverse of ``_lower``; a diagonal that it cannot give is brought to the nearest that it can."""
    log_diagonal = lower.diagonal(dim1=-2, dim2=-1).log() / BEND
    bent = BEND * torch.atanh(log_diagonal.clamp(-0.99, 0.99))
    rows, columns = torch.tril_indices(*lower.shape[-2:], device=lower.device)
    return (lower.tril(-1) + torch.diag_embed(bent))[..., rows, columns]


def _moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The mean (d,) and the maximum-likelihood covariance (d, d) of rows (n, d)."""
    mean = rows.mean(0)
    return mean, (rows - mean).T @ (rows - mean) / len(rows)


def _ridge(variances: Tensor) -> float:
    return float(RIDGE * variances.mean() + RIDGE**2)  # above 0 even where nothing varies


def _moments_of_classes(codes: Tensor, classes: dict[int, Tensor]) -> dict[int, tuple[Tensor, Tensor]]:
    """The moments of every class, its covariance mixed with one row's worth of the covariance within classes."""
    found = {label: (int(rows.sum()), *_moments(codes[rows])) for label, rows in classes.items()}
    within = sum(rows * own for rows, _, own in found.values()) / max(1, sum(rows for rows, _, _ in found.values()))
    return {label: (mean, (rows * own + within) / (rows + 1)) for label, (rows, mean, own) in found.items()}


def _packed(mean: Tensor, covariance: Tensor, added: float) -> Tensor:
    """The parameters of a ``Normal`` with this mean and covariance, whose variances get the ridge and ``added``."""
    ridge = _ridge(covariance.diagonal()) + added
    factor = torch.linalg.cholesky(covariance + ridge * torch.eye(len(mean), dtype=mean.dtype))
    return torch.cat([mean, _flat(factor)])


def _classes(context: Tensor) -> dict[int, Tensor] | None:
    """One-hot contexts (n, C) → which rows a class has, if any; ``None`` for contexts that are not one-hot.

    A row of zeros is one whose class is not known.
    """
    if not ((context == 0) | (context == 1)).all() or (context.sum(-1) > 1).any():
        return None
    return {label: rows for label, rows in enumerate(context.T == 1) if rows.any()}


def _off_line(codes: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    """The codes (n, d) without what moves with the contexts (n, C) in a line, and its slope (C, d): least squares."""
    design = torch.cat([torch.ones_like(context[:, :1]), context], dim=1)
    slope = (torch.linalg.pinv(design, rtol=1e-6) @ codes)[1:]  # columns that differ by rounding count as one
    return codes - context @ slope, slope


_Fitted = tuple[Tensor, Tensor, Tensor, Tensor]  # weights (K,), means (K, d), covariances (K, d, d), shares (n, K)


def _gaussian_mixture(codes: Tensor, components: int) -> _Fitted:
    """Fitted to codes (n, d): weights, means, covariances and every row's responsibilities."""
    from sklearn import config_context  # a slow import that few runs need
    from sklearn.mixture import GaussianMixture

    distinct = min(components, len(codes))
    ridge = _ridge(codes.var(0, correction=0))
    with hushed(), config_context(array_api_dispatch=False):  # which its k-means does not know
        found = GaussianMixture(distinct, reg_covar=ridge, random_state=0).fit(codes.numpy())
        shares = found.predict_proba(codes.numpy())
    parts = (found.weights_, found.means_, found.covariances_, shares)
    return _spread_over(components, parts)


def _held_out_mixture(codes: Tensor, components: int, ridge: float) -> _Fitted:
    """The same with at most that many different components: of all of them, a half, a quarter, … those that every sixth
    row, held out, is likeliest under. ``ridge`` is added to every variance.
    """
    most = min(components, len(codes) // ROWS_PER_COMPONENT)
    held = torch.arange(len(codes)) % HELD_OUT == HELD_OUT - 1
    numbers = sorted({most >> halvings for halvings in range(most.bit_length())})
    if len(numbers) > 1:
        chances = [_by_em(codes[~held], number, ridge).score(codes[held].numpy()) for number in numbers]
        found = _by_em(codes, numbers[int(np.argmax(chances))], ridge)
        shares = found.predict_proba(codes.numpy())
        return _spread_over(components, (found.weights_, found.means_, found.covariances_, shares))
    mean, covariance = _moments(codes)
    widened = covariance + ridge * torch.eye(len(mean), dtype=mean.dtype)
    shares = np.ones((len(codes), 1))
    return _spread_over(components, (np.ones(1), mean.unsqueeze(0).numpy(), widened.unsqueeze(0).numpy(), shares))


def _by_em(codes: Tensor, components: int, ridge: float) -> "GaussianMixture":
    """A mixture fitted to codes (n, d) until it improves no more, so that there is nothing to warn of: filters of
    warnings belong to all threads. Not begun by k-means, whose threads sum in an order of their own."""
    from sklearn import config_context  # a slow import that few runs need
    from sklearn.mixture import GaussianMixture

    with config_context(array_api_dispatch=False):
        mixture = GaussianMixture(
            components, reg_covar=ridge, max_iter=MOST_STEPS, init_params="k-means++", random_state=0
        )
        return mixture.fit(codes.numpy())


def _spread_over(components: int, parts: tuple) -> _Fitted:
    """What was fitted with fewer components, as so many: some are the same and share a weight."""
    weights, means, covariances, shares = (torch.from_numpy(part) for part in parts)
    place = torch.arange(components) % len(weights)
    times = torch.bincount(place)[place]
    return weights[place] / times, means[place], covariances[place], shares[:, place] / times
