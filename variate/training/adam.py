"""Adam, by torch's fused kernel."""

import torch
from torch import Tensor, nn

from variate.base.errors import UserError

__all__ = ["Adam"]

EPSILON = 1e-8
LEAST = 1e-30  # of a moment: with an ε of 1e-8, less moves a weight by 1e-22 of the learning rate
NAMES = ("exp_avg", "exp_avg_sq", "step")


class Adam:
    """m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², θ ← θ − η m̂ / (√v̂ + 10⁻⁸)   (Kingma & Ba 2015, algorithm 1).

    m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ). What ``torch.optim.Adam(fused=True)`` does, without importing torch's
    compiler, as making one of those does: 2 seconds and 100 MB that nothing here needs. ``factors``: of the learning
    rate η, one for each weight, 1 if nothing is said.

    >>> weight = nn.Parameter(torch.ones(1))
    >>> weight.grad = torch.full((1,), 5.0)
    >>> Adam([weight]).step(learning_rate=0.25, skipped=torch.zeros(()))
    >>> weight.item()  # the first step is as long as the learning rate, whatever the gradient
    0.75
    """

    def __init__(
        self,
        parameters: list[nn.Parameter],
        betas: tuple[float, float] = (0.9, 0.999),
        factors: list[float] | None = None,
    ):
        self.parameters, self.betas = parameters, betas
        self.moments = {  # m, v and t of each that is learned
            place: (torch.zeros_like(p), torch.zeros_like(p), torch.zeros((), dtype=torch.float32, device=p.device))
            for place, p in enumerate(parameters)
            if p.requires_grad
        }
        alike: dict[float, list[int]] = {}  # factor → the places of the weights that have it
        for place in self.moments:
            alike.setdefault(1.0 if factors is None else factors[place], []).append(place)
        self.alike = alike

    @torch.no_grad()
    def step(self, learning_rate: float, skipped: Tensor) -> None:
        """One step down the gradients; if ``skipped``, a number on the device, is 1, nothing changes."""
        for factor, places in self.alike.items():
            self._step(places, factor * learning_rate, skipped)

    def _step(self, places: list[int], learning_rate: float, skipped: Tensor) -> None:
        weights = ((place, self.parameters[place]) for place in places)
        rows = [(p, p.grad, *self.moments[place]) for place, p in weights if p.grad is not None]
        if not rows:
            return
        weights, gradients, means, squares, counts = map(list, zip(*rows, strict=True))
        # not torch.optim's function around these two, whose numbers become a tensor for every weight at every step
        torch._foreach_add_(counts, 1 - skipped)  # pyright: ignore[reportPrivateImportUsage]
        torch._fused_adam_(  # pyright: ignore[reportPrivateImportUsage]
            weights,
            gradients,
            means,
            squares,
            [],
            counts,
            lr=learning_rate,
            beta1=self.betas[0],
            beta2=self.betas[1],
            weight_decay=0.0,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
            found_inf=skipped,
        )

    @torch.no_grad()
    def forget_traces(self) -> None:
        """Moments below 1e-30 become 0; to be called every few steps.

        The moments of a weight that gets no gradient any more, such as those of a dead unit, shrink to denormal
        numbers and then stay, by rounding. They change nothing, but a processor takes ten times as long for each.
        """
        for mean, square, _ in self.moments.values():
            for moment in (mean, square):
                torch.hardshrink(moment, LEAST, out=moment)

    def state(self) -> dict[str, Tensor]:
        """The moments, as "0.exp_avg", "0.exp_avg_sq", "0.step", "1.exp_avg", …: the names that torch's Adam has."""
        named = {place: zip(NAMES, row, strict=True) for place, row in self.moments.items()}
        return {f"{place}.{name}": value for place, row in named.items() for name, value in row}

    def load(self, state: dict[str, Tensor]) -> None:
        """The inverse of ``state``; every tensor keeps its order in memory, which the fused kernel goes by.

        Torch's Adam has no moments of weights that never had a gradient: those are 0. Raises ``UserError`` for any
        that are not known here.
        """
        own = self.state()
        if not state.keys() <= own.keys():
            raise UserError("the saved moments of the optimiser are of another version or model: start anew.")
        for name, value in own.items():
            value.copy_(state.get(name, torch.zeros_like(value)))
