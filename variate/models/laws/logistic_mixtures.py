"""Mixtures of logistic laws of real numbers: a density, and masses of bins of a grid with atoms."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution

from variate.models.laws.tails import lower_and_upper, whole

__all__ = ["BinnedLogisticMixture", "Grid", "LogisticMixture", "bins"]


class LogisticMixture(Distribution):
    """p(x) = Σ_k π_k σ(z_k) σ(−z_k) / s_k, z_k = (x − μ_k)/s_k, π = softmax(logits).

    Means, log scales and logits have their K components along ``dim`` (negative); the batch shape is the rest.

    >>> law = LogisticMixture(*torch.tensor([[[-2.0, 4.0]], [[0.0, 0.0]], [[0.0, 0.0]]]), dim=-1)
    >>> law.mean.tolist(), round(law.log_prob(torch.tensor([-2.0])).exp().item(), 3)
    ([1.0], 0.126)
    """

    arg_constraints = {}  # pyright: ignore[reportAssignmentType]

    def __init__(self, means: Tensor, log_scales: Tensor, logits: Tensor, dim: int = -1):
        self.means, self.log_scales, self.logits, self.dim = means, log_scales, logits, dim
        super().__init__(means.select(dim, 0).shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        z = (value.unsqueeze(self.dim) - self.means) * torch.exp(-self.log_scales)
        each = F.logsigmoid(z) + F.logsigmoid(-z) - self.log_scales
        return (self.logits.log_softmax(self.dim) + each).logsumexp(self.dim)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008 (torch's own signature)
        pick = _pick(self.logits, sample_shape, self.dim)
        return _draw(self.means, self.log_scales, pick, self.dim).squeeze(self.dim)

    @property
    def mean(self) -> Tensor:
        return (self.logits.softmax(self.dim) * self.means).sum(self.dim)


class Grid(NamedTuple):
    """Bins in model units, to be broadcast against (…, *shape): the value of bin k is u = (k − anchor) · step.

    ``atoms`` (J, *shape) have a mass of their own, ``places`` are their bins: NaN where a column has no such atom.
    """

    step: Tensor
    anchor: Tensor
    atoms: Tensor
    places: Tensor


def bins(u: Tensor, step: Tensor, anchor: Tensor) -> Tensor:
    """The whole numbers k of the bins that values lie in, in double precision."""
    return (u.detach().double() / step + anchor).round()


class BinnedLogisticMixture(Distribution):
    """P(x) = Σ_j π_j 1[x = a_j] + Σ_k π_{J+k} (σ((x + h − μ_k)/s_k) − σ((x − h − μ_k)/s_k)) on the bins of a grid.

    h is half a bin. A value is the bin that it lies in, and is an atom if that lies there too: the masses of all bins
    sum to one. Means and log scales have K entries along ``dim`` (negative), the logits J + K with the atoms first; the
    batch shape is the rest. The mean is exact to half a bin.

    >>> grid = Grid(step=torch.ones(1), anchor=torch.zeros(1), atoms=torch.zeros(1, 1), places=torch.zeros(1, 1))
    >>> law = BinnedLogisticMixture(torch.zeros(1, 1), torch.zeros(1, 1), torch.zeros(2, 1), grid, dim=-2)
    >>> round(law.log_prob(torch.arange(-40.0, 41.0).unsqueeze(-1)).exp().sum().item(), 5)
    1.0
    """

    arg_constraints = {}  # pyright: ignore[reportAssignmentType]

    def __init__(self, means: Tensor, log_scales: Tensor, logits: Tensor, grid: Grid, dim: int = -1):
        self.means, self.log_scales, self.grid, self.dim = means, log_scales, grid, dim
        self.atoms, self.components = len(grid.atoms), means.shape[dim]
        padding = grid.places.isnan()
        unmasked = logits.narrow(dim, 0, self.atoms).masked_fill(padding, -torch.inf)
        self.logits = torch.cat([unmasked, logits.narrow(dim, self.atoms, self.components)], dim)
        super().__init__(means.select(dim, 0).shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """The mass of a bin is σ(t + h/s) σ(h/s − t) (1 − e^{−2h/s}), t = (x − μ)/s: no difference of like numbers."""
        grid, inverse = self.grid, torch.exp(-self.log_scales)
        place = bins(value, grid.step, grid.anchor)
        x = ((place - grid.anchor) * grid.step).to(inverse.dtype).unsqueeze(self.dim)
        half = (grid.step / 2).to(inverse.dtype)
        t, reach = (x - self.means) * inverse, half * inverse
        each = F.logsigmoid(reach + t) + F.logsigmoid(reach - t) + torch.log(-torch.expm1(-2 * reach))
        there = place.unsqueeze(self.dim) == grid.places
        atoms, smooth = self.logits.log_softmax(self.dim).split([self.atoms, self.components], self.dim)
        return torch.cat([torch.where(there, atoms, -torch.inf), smooth + each], self.dim).logsumexp(self.dim)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008 (torch's own signature)
        pick = _pick(self.logits, sample_shape, self.dim)
        drawn = _draw(self.means, self.log_scales, (pick - self.atoms).clamp_min(0), self.dim)
        grid = self.grid
        on_grid = (bins(drawn, grid.step, grid.anchor) - grid.anchor) * grid.step
        if self.atoms:
            atoms = grid.atoms.expand(*pick.shape[: self.dim], self.atoms, *pick.shape[self.dim :][1:])
            atom = atoms.gather(self.dim, pick.clamp_max(self.atoms - 1))
            on_grid = torch.where(pick < self.atoms, atom, on_grid)
        return on_grid.squeeze(self.dim).to(self.means.dtype)

    @property
    def mean(self) -> Tensor:
        """Σ_j π_j a_j + Σ_k π_{J+k} μ_k."""
        atoms, smooth = self.logits.softmax(self.dim).split([self.atoms, self.components], self.dim)
        atoms = atoms * self.grid.atoms.to(atoms.dtype)
        return atoms.sum(self.dim) + (smooth * self.means).sum(self.dim)

    @property
    def guess(self) -> Tensor:
        """The largest atom, if it has more than half of the mass; else the mean of what is no atom."""
        atoms, smooth = self.logits.softmax(self.dim).split([self.atoms, self.components], self.dim)
        mean = (smooth / smooth.sum(self.dim, keepdim=True) * self.means).sum(self.dim)
        for mass, atom in zip(atoms.unbind(self.dim), self.grid.atoms, strict=True):
            mean = torch.where(mass > 0.5, atom.to(mean.dtype), mean)
        return mean


def _pick(logits: Tensor, sample_shape: torch.Size, dim: int) -> Tensor:
    """Which entry along ``dim`` each draw is of, with a dimension 1 there."""
    exponential = torch.empty(sample_shape + logits.shape, dtype=logits.dtype, device=logits.device).exponential_()
    return (logits - exponential.clamp_min(1e-30).log()).argmax(dim, keepdim=True)


def _draw(means: Tensor, log_scales: Tensor, pick: Tensor, dim: int) -> Tensor:
    """A draw of the logistic picked along ``dim``."""
    lead = pick.shape[: pick.dim() - means.dim()]
    mean, log_scale = (part.expand(*lead, *part.shape).gather(dim, pick) for part in (means, log_scales))
    uniform = torch.rand(mean.shape, dtype=mean.dtype, device=mean.device).clamp(1e-7, 1 - 1e-7)
    return mean + log_scale.exp() * torch.logit(uniform)


def _smooth_tails(law: LogisticMixture | BinnedLogisticMixture, edge: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
    """(Σ_k w_k σ(z_k), Σ_k w_k σ(−z_k)) at edges (…, *shape), the weights w given."""
    z = (edge.unsqueeze(law.dim) - law.means.double()) * torch.exp(-law.log_scales.double())
    return tuple((weights * torch.sigmoid(side)).sum(law.dim) for side in (z, -z))


@lower_and_upper.register(LogisticMixture)
def _tails(law: LogisticMixture, value: Tensor) -> tuple[Tensor, Tensor]:
    lower, upper = _smooth_tails(law, value, law.logits.double().softmax(law.dim))
    return lower.clamp(max=1), upper.clamp(max=1)


@lower_and_upper.register(BinnedLogisticMixture)
def _tails_of_bins(law: BinnedLogisticMixture, value: Tensor) -> tuple[Tensor, Tensor]:
    """The smooth part up to the upper edge of the last bin whose value is at or below, and the atoms so far.

    An atom is passed at its own value or at that of its bin, whichever comes first: sums of masses are exact.
    """
    grid, dim = law.grid, law.dim
    edge = (whole(value / grid.step, grid.anchor) + 0.5 - grid.anchor) * grid.step
    atoms, smooth = law.logits.double().softmax(dim).split([law.atoms, law.components], dim)
    first = torch.minimum(grid.atoms / grid.step, grid.places - grid.anchor)  # NaN where there is none
    passed = whole((value / grid.step).unsqueeze(dim), -first) >= 0
    lower, upper = _smooth_tails(law, edge, smooth)
    lower = lower + torch.where(passed, atoms, 0.0).sum(dim)
    upper = upper + torch.where(passed, 0.0, atoms).sum(dim)
    return lower.clamp(max=1), upper.clamp(max=1)
