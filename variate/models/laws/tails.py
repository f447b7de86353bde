"""P(X ≤ x) and P(X > x) of laws of single values. Torch's laws are known here, ours are registered by their files.

Both are computed, neither as one minus the other where it is small: differences of it keep their digits in its tail.
"""

import math
from functools import singledispatch

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Laplace, NegativeBinomial, Normal, Poisson, StudentT
from torch.special import erfc, gammainc, gammaincc

from variate.models.laws.incomplete_beta import continued_fraction, regularized_beta

__all__ = ["lower_and_upper", "of_standard_normal", "tails", "whole"]

SINGLE = 2.5e-7  # relative: what a whole number may lose as a quotient and a product in single precision


def tails(law: Distribution, value: Tensor) -> tuple[Tensor, Tensor]:
    """(P(X ≤ value), P(X > value)) of every single value of a law, each to its own digits, in double precision.

    Shapes: ``value`` and the law's batch shape broadcast. ±∞ are values like others; what is no number gives none.
    ``NotImplementedError`` of a law that nobody has told how.

    >>> tails(Laplace(0.0, 1.0), torch.tensor([-math.inf, 0.0, 800.0]))[0].tolist()
    [0.0, 0.5, 1.0]
    >>> tails(Laplace(0.0, 1.0), torch.tensor(600.0))[1].item()
    1.3251...e-261
    """
    value = value.expand(np.broadcast_shapes(value.shape, law.batch_shape)).double()
    infinite = value.isinf()
    lower, upper = lower_and_upper(law, value.masked_fill(infinite, 0.0))
    above = (value > 0).double()
    return torch.where(infinite, above, lower), torch.where(infinite, 1 - above, upper)


@singledispatch
def lower_and_upper(law: Distribution, value: Tensor) -> tuple[Tensor, Tensor]:
    """What ``tails`` asks for finite values in double precision, of the whole shape; registered for every law."""
    raise NotImplementedError(f"no tails of {type(law).__name__}: register lower_and_upper for it")


def whole(x: Tensor, shift: Tensor | float = 0.0) -> Tensor:
    """⌊x + shift⌋ of numbers x in double precision that may have been in single precision: where the sum is a whole
    number but for the last digits of x, it is that number. There is no slope.

    >>> whole(torch.tensor([2.5, -0.5, 3 - 1e-7]).double()).tolist()
    [2.0, -1.0, 3.0]
    """
    x = x.detach()
    return (x + shift + (SINGLE * x.abs().clamp_min(4.0)).clamp_max(0.5)).floor()


def of_standard_normal(z: Tensor) -> tuple[Tensor, Tensor]:
    """Φ(z) and Φ(−z), as ½ erfc(∓z/√2): torch's ``ndtr`` is 0 from −8.3 on, where Φ is 5e-17."""
    far = z / math.sqrt(2)
    return erfc(-far) / 2, erfc(far) / 2


@lower_and_upper.register(Normal)
def _normal(law: Normal, value: Tensor) -> tuple[Tensor, Tensor]:
    return of_standard_normal((value - law.loc) / law.scale)


@lower_and_upper.register(Laplace)
def _laplace(law: Laplace, value: Tensor) -> tuple[Tensor, Tensor]:
    """½ e^{−|z|} on the side where the value is."""
    z = (value - law.loc) / law.scale
    left, right = z.clamp(max=0).exp() / 2, (-z).clamp(max=0).exp() / 2
    return torch.where(z < 0, left, 1 - right), torch.where(z < 0, 1 - left, right)


@lower_and_upper.register(StudentT)
def _student_t(law: StudentT, value: Tensor) -> tuple[Tensor, Tensor]:
    """½ I_w(ν/2, ½), w = ν/(ν + t²), of the side where t is; near the middle ½ ± ½ I_{1−w}(½, ν/2), which is odd in t
    and smooth. Both are w^{ν/2} (1−w)^½ / (2 B f), and only f differs."""
    half = law.df.double().expand(value.shape) / 2
    u = (value - law.loc) / law.scale / (2 * half).sqrt()
    length = torch.hypot(u, torch.ones_like(u))
    w, rest = length.reciprocal().square(), (u / length).square()
    middle = rest * (half + 2.5) < 1.5
    one_half = torch.full_like(half, 0.5)
    pairs = ((one_half, half), (half, one_half), (rest, w), (w, rest))
    a, b, x, y = (torch.where(middle, *pair) for pair in pairs)
    log_beta = half.lgamma() + math.log(math.pi) / 2 - (half + 0.5).lgamma()
    part = u / length * (-2 * half * length.log() - log_beta).exp() / (2 * continued_fraction(a, b, x, y))
    left, right = (torch.where(middle, 0.5 + sign * part, part.abs()) for sign in (1, -1))
    lower = torch.where(middle | (u < 0), left, 1 - left)
    return lower, torch.where(middle | (u > 0), right, 1 - right)


@lower_and_upper.register(Bernoulli)
def _bernoulli(law: Bernoulli, value: Tensor) -> tuple[Tensor, Tensor]:
    level, logits = whole(value), law.logits.double()
    lower = torch.where(level < 1, torch.sigmoid(-logits), 1.0) * (level >= 0)
    return lower, torch.where(level < 0, 1.0, torch.sigmoid(logits)) * (level < 1)


@lower_and_upper.register(Poisson)
def _poisson(law: Poisson, value: Tensor) -> tuple[Tensor, Tensor]:
    """Q(k + 1, λ), the regularised upper incomplete gamma function."""
    above, rate = whole(value) + 1, law.rate.double()
    return _from_nought(above, gammaincc(above.clamp_min(1), rate), gammainc(above.clamp_min(1), rate))


@lower_and_upper.register(NegativeBinomial)
def _negative_binomial(law: NegativeBinomial, value: Tensor) -> tuple[Tensor, Tensor]:
    """I_p(r, k + 1), p = r/(r + μ)."""
    above, logits = whole(value) + 1, law.logits.double()
    chances = torch.sigmoid(-logits), torch.sigmoid(logits)
    return _from_nought(above, *regularized_beta(law.total_count.double(), above.clamp_min(1), *chances))


def _from_nought(above: Tensor, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """Counts begin at 0: ``above`` is the first that is no longer at or below the value."""
    return torch.where(above < 1, 0.0, lower), torch.where(above < 1, 1.0, upper)
