"""Adam, by torch's fused kernel."""

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

__all__ = ["Adam"]

EPSILON = 1e-8


class Adam:
    """m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², θ ← θ − η m̂ / (√v̂ + 10⁻⁸)   (Kingma & Ba 2015, algorithm 1).

    m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ). What ``torch.optim.Adam(fused=True)`` does, without importing torch's
    compiler, as making one of those does: 2 seconds and 100 MB that nothing here needs.

    >>> weight = nn.Parameter(torch.ones(1))
    >>> weight.grad = torch.full((1,), 5.0)
    >>> Adam([weight]).step(learning_rate=0.25, skipped=torch.zeros(()))
    >>> weight.item()  # the first step is as long as the learning rate, whatever the gradient
    0.75
    """

    def __init__(self, parameters: list[nn.Parameter], betas: tuple[float, float] = (0.9, 0.999)):
        self.parameters, self.betas = parameters, betas
        self.moments = [  # m, v and t of each
            (torch.zeros_like(p), torch.zeros_like(p), torch.zeros((), device=p.device)) for p in parameters
        ]

    @torch.no_grad()
    def step(self, learning_rate: float, skipped: Tensor) -> None:
        """One step down the gradients; if ``skipped``, a number on the device, is 1, nothing changes."""
        learned = [(p, p.grad, *moments) for p, moments in zip(self.parameters, self.moments, strict=True)]
        weights, gradients, means, squares, counts = (
            list(column) for column in zip(*(row for row in learned if row[1] is not None), strict=True)
        )
        adam(
            weights,
            gradients,
            means,
            squares,
            [],
            counts,
            fused=True,
            found_inf=skipped,
            amsgrad=False,
            maximize=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=learning_rate,
            eps=EPSILON,
            weight_decay=0.0,
        )

    def state(self) -> dict[str, Tensor]:
        """The moments, as "0.mean", "0.square", "0.steps", "1.mean", …"""
        named = (zip(("mean", "square", "steps"), row, strict=True) for row in self.moments)
        return {f"{place}.{name}": value for place, row in enumerate(named) for name, value in row}

    def load(self, state: dict[str, Tensor]) -> None:
        """The inverse of ``state``; every tensor keeps its order in memory, which the fused kernel goes by."""
        for name, value in self.state().items():
            value.copy_(state[name])
