"""The discretised logistic mixture: probabilities of the levels of grey that images are made of."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution

from variate.models.laws.tails import lower_and_upper, whole

__all__ = ["DiscretizedLogisticMixture"]

FAR = 1e20  # times half a step of the finest grid: many scales out, whatever the scale within WIDEST
WIDEST = (-30.0, 30.0)  # log scales
LEAST_LOG_SHARE = -40.0  # e^-40 of the largest is nothing, and its products no denormals, which a CPU is slow with


class DiscretizedLogisticMixture(Distribution):
    """P(u) = Σ_k π_k [σ((u + h/2 − μ_k)/s_k) − σ((u − h/2 − μ_k)/s_k)] + Σ_j π_{K+j} 1[u = atom_j]

    on the grid u ∈ {0, h, …, 1}, h = 1/(L−1). The first and the last level take the tails, so the masses sum to one
    exactly (Salimans et al. 2017, eq. 2). The J ``atoms`` are levels (0..L−1) with a mass of their own: 8-bit images
    are full of exact blacks and whites, which no smooth density can pay for.

    ``parameters`` holds K means, K log scales and K + J logits along ``dim`` (negative); the batch shape is the rest.
    Log scales are kept within ``bounds``, which must lie within ±30: else ``ValueError``.

    >>> one = DiscretizedLogisticMixture(torch.tensor([0.5, -1.0, 0.0]), components=1, levels=3)
    >>> round(one.log_prob(torch.tensor([0.0, 0.5, 1.0])).exp().sum().item(), 6)
    1.0
    """

    arg_constraints = {}  # pyright: ignore[reportAssignmentType]

    def __init__(
        self,
        parameters: Tensor,
        components: int,
        levels: int,
        dim: int = -1,
        atoms: tuple[int, ...] = (),
        bounds: tuple[float, float] = WIDEST,
    ):
        if not WIDEST[0] <= bounds[0] <= bounds[1] <= WIDEST[1]:
            raise ValueError(f"bounds {bounds} of log scales must lie within {WIDEST}")
        self.parameters, self.components, self.levels, self.dim = parameters, components, levels, dim
        self.atoms, self.bounds, self.step = atoms, bounds, 1 / (levels - 1)
        self.sizes = [components, components, components + len(atoms)]  # of the three parts along dim
        super().__init__(parameters.select(dim, 0).shape, validate_args=False)

    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """(means, log scales, logits) along ``dim``."""
        mean, log_scale, logits = self.parameters.split(self.sizes, self.dim)
        return mean, log_scale.clamp(*self.bounds), logits

    def log_prob(self, value: Tensor) -> Tensor:
        event = -self.dim - 1
        shape = np.broadcast_shapes(value.shape, self.batch_shape)
        lead, tail = shape[: len(shape) - event], shape[len(shape) - event :]
        parameters = self.parameters.expand(*lead, self.parameters.shape[self.dim], *tail)
        value = value.detach()  # levels are apart: there is no slope between them
        return _LogisticMixtureMass.apply(value.expand(shape).unsqueeze(self.dim), parameters, self)

    def differentiable_log_prob(self, u: Tensor) -> Tensor:
        """``log_prob``, of values with a dimension 1 at ``dim``, as autograd can differentiate it any number of times.

        Slower, and in several times the memory.
        """
        mean, log_scale, logits = self.parts()
        inverse, (up, down) = torch.exp(-log_scale), _reach(u, self.step)
        a, b, width = (u + up - mean) * inverse, (u - down - mean) * inverse, (up + down) * inverse
        log_mass = F.logsigmoid(a) + F.logsigmoid(-b) + torch.log(-torch.expm1(-width))
        log_weight = logits.log_softmax(self.dim)
        _, log_atom = _atom_mass(u, log_weight, self)
        each = log_mass + log_weight.narrow(self.dim, 0, self.components)
        return torch.cat([each, log_atom], self.dim).logsumexp(self.dim)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008 (torch's own signature)
        means, log_scales, logits = self.parts()
        shape = sample_shape + logits.shape
        pick = (logits + _gumbel(shape, logits)).argmax(self.dim, keepdim=True)
        smooth = pick.clamp(max=self.components - 1)
        mean, log_scale = (
            part.expand(*shape[: self.dim], self.components, *shape[self.dim :][1:]).gather(self.dim, smooth)
            for part in (means, log_scales)
        )
        uniform = torch.rand(mean.shape, dtype=mean.dtype, device=mean.device).clamp(1e-7, 1 - 1e-7)
        level = ((mean + log_scale.exp() * torch.logit(uniform)) / self.step).round().clamp(0, self.levels - 1)
        if self.atoms:
            atoms = torch.tensor(self.atoms, dtype=level.dtype, device=level.device)
            level = torch.where(pick < self.components, level, atoms[(pick - self.components).clamp_min(0)])
        return level.squeeze(self.dim) * self.step

    @property
    def mean(self) -> Tensor:
        """E[u] = h Σ_{j=1}^{L−1} P(u ≥ j h), the sum of the L−1 tail probabilities, to 1e-3 of a level."""
        means, log_scales, logits = self.parts()
        levels = _mean_level(means / self.step, log_scales.exp() / self.step, self.levels - 1)
        weights = logits.softmax(self.dim)
        expected = (weights.narrow(self.dim, 0, self.components) * levels).sum(self.dim)
        for index, level in enumerate(self.atoms):
            expected += weights.select(self.dim, self.components + index) * level
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

    The log-difference is log σ(a) + log σ(−b) + log(1 − e^{b−a}), which neither cancels nor underflows. At the ends of
    the grid a or b lies so far out that its terms vanish. With the responsibilities r the gradient is

    ∂/∂μ = r [σ(b) − σ(−a)]/s,   ∂/∂ log s = r [b σ(b) − a σ(−a) − (a−b)/(e^{a−b} − 1)],   ∂/∂ logit = r − π,

    made in the forward pass, because autograd would keep and revisit two dozen tensors of this size. Each pass over one
    costs its time: hence the operations in place, the exponentials used twice, and no masks, whose conversion from
    truth values takes longer than what they mask. To autograd that gradient would be a constant: where it is to be
    differentiated itself, it is made anew by what autograd knows.
    """

    @staticmethod
    def forward(ctx, u, parameters, mixture):  # noqa: ANN001, ANN205 (autograd's own signature)
        dim, k = mixture.dim, mixture.components
        mean, raw_log_scale, logits = parameters.split(mixture.sizes, dim)
        learns = ctx.needs_input_grad[1]
        gradient = torch.empty_like(parameters if learns else logits, memory_format=torch.contiguous_format)
        to_mean, to_log_scale, to_logits = gradient.split(mixture.sizes, dim) if learns else (gradient,) * 3
        log_scale = raw_log_scale.clamp(*mixture.bounds)
        inverse = torch.exp(-log_scale)
        minus_a, b, width = _edges(u, mean, inverse, mixture.step)
        upper, lower, inside = torch.sigmoid(minus_a), torch.sigmoid(b), torch.neg(width).expm1_().neg_()
        weight = torch.sub(logits, logits.amax(dim, keepdim=True), out=to_logits)  # log π, but for what makes Σ π = 1
        log_mass = _log_mass(minus_a, b, upper, lower, inside).add_(weight.narrow(dim, 0, k))
        place, log_atom = _atom_mass(u, weight, mixture)
        norm = weight.clamp_(min=LEAST_LOG_SHARE).exp_().sum(dim, keepdim=True)
        top = torch.maximum(log_mass.amax(dim, keepdim=True), log_atom)
        share, atom_share = (part.sub_(top).clamp_(min=LEAST_LOG_SHARE).exp_() for part in (log_mass, log_atom))
        total = share.sum(dim, keepdim=True).add_(atom_share)
        if learns:
            share.div_(total)
            torch.sub(lower, upper, out=to_mean).mul_(inverse).mul_(share)
            ends = width.mul_(1 - inside).div_(inside)
            torch.mul(lower, b, out=to_log_scale).addcmul_(upper, minus_a).sub_(ends).mul_(share)
            to_log_scale.mul_(torch.eq(raw_log_scale, log_scale, out=inverse))  # no gradient beyond the bounds
            weight.div_(-norm).narrow(dim, 0, k).add_(share)
            weight.scatter_add_(dim, place, atom_share.div_(total))
            ctx.save_for_backward(gradient, u, parameters)
            ctx.dim, ctx.said = dim, (k, mixture.levels, dim, mixture.atoms, mixture.bounds)
        return total.div_(norm).log_().add_(top).squeeze(dim)

    @staticmethod
    def backward(ctx, gradient):  # noqa: ANN001, ANN205
        slope, u, parameters = ctx.saved_tensors
        if not torch.is_grad_enabled():  # as it is with create_graph=True alone
            return None, gradient.unsqueeze(ctx.dim) * slope, None
        log_mass = DiscretizedLogisticMixture(parameters, *ctx.said).differentiable_log_prob(u)
        return None, torch.autograd.grad(log_mass, parameters, gradient, create_graph=True)[0], None


def _edges(u: Tensor, mean: Tensor, inverse: Tensor, step: float) -> tuple[Tensor, Tensor, Tensor]:
    """−a, b and a − b, in scales: how far the edges of u's interval are from the means."""
    up, down = _reach(u, step)
    centre = (mean - u).mul_(inverse)
    minus_a = torch.addcmul(centre, up, inverse, value=-1)
    b = centre.addcmul_(down, inverse).neg_()
    return minus_a, b, inverse * up.add_(down)


def _reach(u: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """How far u's interval reaches up and down from u: half a step, but far out at the ends of the grid."""
    up = u.sub(1 - step / 2).clamp_min_(0).mul_(FAR).add_(step / 2)
    down = torch.rsub(u, step / 2).clamp_min_(0).mul_(FAR).add_(step / 2)
    return up, down


def _log_mass(minus_a: Tensor, b: Tensor, upper: Tensor, lower: Tensor, inside: Tensor) -> Tensor:
    """log σ(a) + log σ(−b) + log ``inside`` from σ(−a) and σ(b), one logarithm for all three.

    log σ(−x) = log max(σ(x), 1 − σ(x)) − max(x, 0), and since b < a one of −a and b is negative.
    """
    above, below = (part.sub(0.5).abs_().add_(0.5) for part in (upper, lower))
    return above.mul_(below).mul_(inside).log_().sub_(torch.maximum(minus_a, b).clamp_min_(0))


def _atom_mass(u: Tensor, log_weight: Tensor, mixture: DiscretizedLogisticMixture) -> tuple[Tensor, Tensor]:
    """(which logit is the atom's at u, its log weight: −3e38 where u is on no atom, and the place means nothing)."""
    table = torch.zeros(mixture.levels, dtype=torch.long, device=u.device)
    table[list(mixture.atoms)] = torch.arange(len(mixture.atoms), device=u.device) + mixture.components
    level = (u * (mixture.levels - 1)).round_().long()
    place = table.index_select(0, level.flatten()).view(u.shape)
    nowhere = torch.eq(place, 0, out=torch.empty_like(u))
    return place, log_weight.gather(mixture.dim, place).sub_(nowhere.mul_(3e38))


def _gumbel(shape: torch.Size, like: Tensor) -> Tensor:
    exponential = torch.empty(shape, dtype=like.dtype, device=like.device).exponential_()
    return -exponential.clamp_min(1e-30).log()


@lower_and_upper.register(DiscretizedLogisticMixture)
def _tails(law: DiscretizedLogisticMixture, value: Tensor) -> tuple[Tensor, Tensor]:
    """Σ_k π_k σ(±(edge − μ_k)/s_k), the edge half a step above the level, and the atoms on that side of it."""
    mean, log_scale, logits = (part.double() for part in law.parts())
    level = whole(value * (law.levels - 1)).clamp(-1, law.levels - 1).unsqueeze(law.dim)
    z = ((level + 0.5) * law.step - mean) * torch.exp(-log_scale)
    smooth, atom = logits.softmax(law.dim).split([law.components, len(law.atoms)], law.dim)
    places = torch.tensor(law.atoms, dtype=level.dtype, device=level.device)
    passed = places.view(-1, *[1] * (-law.dim - 1)) <= level
    lower, upper = (
        (smooth * torch.sigmoid(side)).sum(law.dim) + torch.where(there, atom, 0.0).sum(law.dim)
        for side, there in ((z, passed), (-z, ~passed))
    )
    before, last = ((level == place).squeeze(law.dim) for place in (-1, law.levels - 1))  # these take the tails
    lower, upper = lower.masked_fill(before, 0.0).masked_fill(last, 1.0), upper.masked_fill(before, 1.0)
    return lower.clamp(max=1), upper.masked_fill(last, 0.0).clamp(max=1)
