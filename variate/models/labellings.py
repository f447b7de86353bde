"""The label as one more cell that z explains: p(x, y) = ∫ p(z) p(x|z) p(y|z) dz, learned from rows that may lack it.

Where y is missing it is summed out exactly: Σ_y p(y|z) = 1 adds nothing to the bound, and the row still shapes z.
What is then read off is q(y|x) = E_q(z|x) p(y|z).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution

from variate.base.errors import UserError
from variate.models.latents.latent import Draw

__all__ = ["Classifier", "Labelling"]

PROBE = 0.1  # the length of the first guess at the worst direction, in posterior standard deviations


class Labelling(nn.Module):
    """The base of the labellings: code (…, d) → logits of p(y|z), (…, classes). ``rows``: labelled rows that are drawn
    beside every batch, where most rows have no label."""

    rows: int = 0

    def forward(self, code: Tensor) -> Tensor:
        raise NotImplementedError

    def loss(self, draw: Draw, labels: Tensor, step: Tensor | int) -> Tensor:
        """What is minimised besides the objective, (): labels (B,) int64, −1 where missing."""
        raise NotImplementedError


class Classifier(Labelling):
    """p(y|z) = softmax(h(z))_y, h a dense network; minimises, with w growing from 0 to 1 over ``rampup_steps``,

    weight · { −log p(y|z) over the labelled rows
    + w [ KL(p(·|z) ‖ p(·|z + reach·σ·r)), r the unit vector that changes p(·|z) most, by one power iteration
    + decisiveness · H(p(·|z)) − balance · H(p̄) relative to the known labels' frequencies ] over all rows }

    The second line is virtual adversarial training (Miyato et al. 2018, eq. 5 to 12) in the latent space, in units of
    the posterior's own standard deviation σ, so that x may be anything; the third is the entropy term of Grandvalet &
    Bengio (2004), kept from calling all rows the same by p̄, the batch's mean of p(·|z).

    >>> Classifier((2,), (50, 50))(torch.zeros(7, 4, 2)).shape
    torch.Size([7, 4, 2])
    """

    def __init__(
        self,
        code: tuple[int, ...],
        counts: tuple[int, ...],
        *,
        hidden: tuple[int, ...] = (256, 256),
        weight: float = 8.0,
        reach: float = 3.0,
        decisiveness: float = 1.5,
        balance: float = 0.5,
        rampup_steps: int = 1500,
        rows: int = 25,
    ):
        super().__init__()
        numbers = {"weight": weight, "reach": reach, "decisiveness": decisiveness, "balance": balance}
        for name, number in (numbers | {"rampup_steps": rampup_steps, "rows": rows}).items():
            if not (math.isfinite(number) and number >= 0):
                raise UserError(f"labelling.{name}={number} must be a finite number, at least 0.")
        if any(width < 1 for width in hidden):
            raise UserError(f"labelling.hidden={list(hidden)}: every layer needs at least one unit.")
        widths = (math.prod(code), *hidden)
        layers = [layer for a, b in zip(widths, hidden, strict=False) for layer in (_dense(a, b), nn.ReLU())]
        self.layers = nn.Sequential(*layers, _dense(widths[-1], len(counts)))
        frequencies = torch.tensor(counts, dtype=torch.float32) + 1
        self.register_buffer("log_frequencies", (frequencies / frequencies.sum()).log(), persistent=False)
        self.weight, self.reach, self.decisiveness, self.balance = weight, reach, decisiveness, balance
        self.rampup_steps, self.rows = rampup_steps, rows

    def forward(self, code: Tensor) -> Tensor:
        return self.layers(code.flatten(2))

    def loss(self, draw: Draw, labels: Tensor, step: Tensor | int) -> Tensor:
        z, q = _places(draw)
        log_p = self(z).log_softmax(-1)
        known = labels >= 0
        nats = -log_p.gather(-1, labels.clamp_min(0).expand(len(z), -1).unsqueeze(-1)).squeeze(-1).mean(0)
        supervised = (nats * known).sum() / known.sum().clamp_min(1)
        warmth = torch.clamp((torch.as_tensor(step, dtype=torch.float32) + 1) / (self.rampup_steps + 1), max=1.0)
        return self.weight * (supervised + warmth * self._unsupervised(z, q, log_p, known))

    def _unsupervised(self, z: Tensor, q: Distribution, log_p: Tensor, known: Tensor) -> Tensor:
        p = log_p.exp()
        entropy = -(p * log_p).sum(-1).mean()
        free = ~known | known.all()
        mean = (p * free.unsqueeze(-1)).sum((0, 1)) / (free.sum() * len(z))
        imbalance = (mean * (mean.clamp_min(1e-9).log() - self.get_buffer("log_frequencies"))).sum()
        return self._roughness(z, q, log_p) + self.decisiveness * entropy + self.balance * imbalance

    def _roughness(self, z: Tensor, q: Distribution, log_p: Tensor) -> Tensor:
        """KL(p(·|z) ‖ p(·|z + reach·σ·r)), p(·|z) held constant; the search for r starts at the draw's own noise."""
        if self.reach == 0:
            return z.new_zeros(())
        held, p = log_p.detach(), log_p.detach().exp()
        start, scale = z.detach(), q.stddev.detach()
        guess = F.normalize((start - q.mean.detach()) / scale, dim=-1).mul(PROBE).requires_grad_()
        (slope,) = torch.autograd.grad(-(p * self(start + scale * guess).log_softmax(-1)).sum(), guess)
        moved = self(z + self.reach * scale * F.normalize(slope, dim=-1)).log_softmax(-1)
        return (p * (held - moved)).sum(-1).mean()


def _dense(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, dtype=torch.float32)


def _places(draw: Draw) -> tuple[Tensor, Distribution]:
    """(z, its posterior) of a latent of one group."""
    group, *others = draw.groups
    if others or group.q is None:
        raise UserError("labelling.name=classifier needs one latent group with a density: not posterior.name=point.")
    return draw.code, group.q
