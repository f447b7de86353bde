"""What is minimised, row by row, and what is truly reported whatever is minimised.

An objective is called as ``objective(draw, decoded, step) → (loss, Terms)`` with ``loss`` (B,): the mean over the
rows is taken in one place, ``train.Step``. ``samples`` is the number n of draws of z that it asks for.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from variate.errors import UserError
from variate.latents import Draw, Group, mean_of_samples
from variate.model import Decoded

__all__ = ["Elbo", "Iwae", "Objective", "Reconstruction", "Terms"]


class Terms(NamedTuple):
    """The truth per row, (B,) and detached, in nats: no beta, no free bits. ``None`` where it does not exist.

    bound_nats: the lower bound on log p(x|c) that the objective stands for. elbo_nats = −distortion_nats − Σ rates.
    rate_nats: (B, groups). squared_error: ‖x − point‖² in model units.
    """

    bound_nats: Tensor | None
    elbo_nats: Tensor | None
    distortion_nats: Tensor | None
    rate_nats: Tensor | None
    squared_error: Tensor | None


class Objective(nn.Module):
    """The base of the objectives. ``is_bound``: whether −loss, at its neutral settings, bounds log p(x|c)."""

    samples: int = 1
    is_bound: bool = True

    def forward(self, draw: Draw, decoded: Decoded, step: Tensor | int) -> tuple[Tensor, Terms]:
        raise NotImplementedError


def _terms(draw: Draw, decoded: Decoded, bound: Tensor | None = None) -> Terms:
    # nothing is computed under no_grad: what is cached may be asked for again by a loss
    distortion = decoded.distortion_nats.detach()
    rates = torch.stack([rate.detach().sum(-1) for rate in draw.rates_nats()], dim=-1)
    elbo = -distortion - rates.sum(-1)
    error = mean_of_samples(decoded.squared_error.detach()) if decoded.likelihood.wants_residuals else None
    return Terms(elbo if bound is None else bound.detach(), elbo, distortion, rates, error)


class Reconstruction(Objective):
    """loss = ‖x − f(g(x))‖²: the deterministic autoencoder. Not a bound on any likelihood."""

    is_bound = False

    def forward(self, draw: Draw, decoded: Decoded, step: Tensor | int) -> tuple[Tensor, Terms]:
        loss = mean_of_samples(decoded.squared_error)
        return loss, Terms(None, None, None, None, loss.detach())


class Elbo(Objective):
    """log p(x|c) ≥ E_q[log p(x|z,c)] − KL(q(z|x,c) ‖ p(z|c))   (Kingma & Welling 2014, eq. 3 and 10).

    loss = distortion + β·w(step)·Σ_units max(KL_unit, free_bits_nats), where w grows from 0 to 1 over ``warmup_steps``
    (Bowman et al. 2016) and the maximum looks at the batch's mean KL (Kingma et al. 2016, eq. 15). Units whose KL is
    known together only, since posterior or prior does not factorise, are free together. The KL is exact where a
    closed form exists. ``samples`` draws of z per row.

    >>> Elbo(beta=4.0, warmup_steps=1000).samples
    1
    """

    def __init__(self, *, beta: float = 1.0, free_bits_nats: float = 0.0, warmup_steps: int = 0, samples: int = 1):
        super().__init__()
        numbers = {"beta": beta, "free_bits_nats": free_bits_nats, "warmup_steps": warmup_steps, "samples": samples - 1}
        for name, number in numbers.items():
            if not (math.isfinite(number) and number >= 0):
                raise UserError(f"objective.{name} must be a finite number, at least {1 if name == 'samples' else 0}.")
        self.beta, self.free_bits_nats = beta, free_bits_nats
        self.warmup_steps, self.samples = warmup_steps, samples

    def forward(self, draw: Draw, decoded: Decoded, step: Tensor | int) -> tuple[Tensor, Terms]:
        loss = decoded.distortion_nats
        weight = self.beta * self._warmth(step)
        for group in draw.groups:
            loss = torch.add(loss, self._freed(group).sum(-1), alpha=weight)
        return loss, _terms(draw, decoded)

    def _freed(self, group: Group) -> Tensor:
        """Units below the free bits cost a constant and get no gradient."""
        rate = group.rate_nats
        if self.free_bits_nats == 0:
            return rate
        free = self.free_bits_nats * group.z.shape[-1] / rate.shape[-1]
        paid = rate.detach().mean(0, keepdim=True) > free
        return torch.where(paid, rate, torch.full_like(rate, free))

    def _warmth(self, step: Tensor | int) -> float:
        return min(1.0, float(step) / self.warmup_steps) if self.warmup_steps else 1.0


class Iwae(Objective):
    """log p(x|c) ≥ E[log 1/k Σ_i p(x, z_i|c) / q(z_i|x,c)], z_i ~ q   (Burda et al. 2016, eq. 8); ≥ the ELBO.

    ``gradient``: "reparameterized" differentiates the bound as it stands; "doubly_reparameterized" gives the
    encoder the lower-variance gradient of Tucker et al. (2019, eq. 8), in which weight i enters squared.

    >>> Iwae(k=5, gradient="doubly_reparameterized").samples
    5
    """

    def __init__(self, *, k: int = 10, gradient: str = "reparameterized"):
        super().__init__()
        if k < 1 or gradient not in ("reparameterized", "doubly_reparameterized"):
            raise UserError(
                f"objective iwae: k={k} must be >= 1 and gradient={gradient!r} either reparameterized or "
                "doubly_reparameterized."
            )
        self.samples, self.doubly = k, gradient == "doubly_reparameterized"

    def forward(self, draw: Draw, decoded: Decoded, step: Tensor | int) -> tuple[Tensor, Terms]:
        log_weight = decoded.log_prob + draw.log_weight()
        bound = torch.logsumexp(log_weight, 0) - math.log(self.samples)
        terms = _terms(draw, decoded, bound)
        if not self.doubly:
            return -bound, terms
        return self._doubly_reparameterized(draw, decoded, bound), terms

    def _doubly_reparameterized(self, draw: Draw, decoded: Decoded, bound: Tensor) -> Tensor:
        """The value of −bound whose gradient uses w̃ᵢ for the decoder and prior, and w̃ᵢ² along the path through z.

        In a ladder the lower posteriors depend on the upper z too, and this would be biased (Bauer & Mnih 2021). Both
        are held constant: what autograd would call the gradient's own derivative is none, and raises ``UserError``.
        """
        if len(draw.groups) > 1:
            raise UserError(
                "objective.gradient=doubly_reparameterized holds for one latent group: use reparameterized."
            )
        log_weight = decoded.log_prob + draw.log_weight(detached=True)
        share = log_weight.detach().softmax(0)
        z = draw.code  # of one group, the code is z itself
        if z.requires_grad:  # the path z = μ + σε reaches only the encoder: scale what flows back along it
            z.register_hook(lambda gradient: share.unsqueeze(-1) * gradient)
        surrogate = (share * log_weight).sum(0)
        loss = -(surrogate - surrogate.detach() + bound.detach())
        if loss.requires_grad:
            loss.register_hook(_refuse_to_be_differentiated)
        return loss


def _refuse_to_be_differentiated(gradient: Tensor) -> None:
    if torch.is_grad_enabled():  # as it is with create_graph=True alone
        raise UserError(
            "objective.gradient=doubly_reparameterized has no second derivatives: use reparameterized, or leave out "
            "create_graph."
        )
