"""The evidence lower bound."""

import math

import torch
from torch import Tensor

from variate.base.errors import UserError
from variate.models.latents.latent import Group
from variate.models.objectives.objective import Objective, Scene, Terms, true_terms

__all__ = ["Elbo"]


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

    def forward(self, scene: Scene) -> tuple[Tensor, Terms]:
        loss = scene.decoded.distortion_nats
        weight = self.beta * self._warmth(scene.step)
        for group in scene.draw.groups:
            loss = torch.add(loss, self._freed(group).sum(-1), alpha=weight)
        return loss, true_terms(scene)

    def _freed(self, group: Group) -> Tensor:
        """Units below the free bits cost a constant and get no gradient."""
        rate = group.rate_nats
        if self.free_bits_nats == 0:
            return rate
        free = self.free_bits_nats * group.size / rate.shape[-1]
        paid = rate.detach().mean(0, keepdim=True) > free
        return torch.where(paid, rate, torch.full_like(rate, free))

    def _warmth(self, step: Tensor | int) -> float:
        return min(1.0, float(step) / self.warmup_steps) if self.warmup_steps else 1.0
