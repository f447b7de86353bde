"""How long and how fast a model is trained."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from variate.base.errors import UserError, suggest
from variate.base.precision import PRECISIONS
from variate.data.parting import check_split

__all__ = ["SCHEDULES", "Training"]


LAST_RATE = 0.01  # of the highest learning rate is left at the end
SCHEDULES: dict[str, Callable[[float], float]] = {  # the part of training that is done → a factor of the learning rate
    "cosine": lambda done: LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * done)) / 2,
    "linear": lambda done: LAST_RATE + (1 - LAST_RATE) * (1 - done),
    "constant": lambda done: 1.0,
}


@dataclass(frozen=True, kw_only=True)
class Training:
    """How long and how fast. Small data are gone through more often than ``epochs``, for ``least_steps`` in all.

    ``learning_rate`` rises over ``rampup_steps``, then follows ``schedule``: to 1 % of it along a half cosine
    ("cosine") or a straight line ("linear"), or stays ("constant"). A batch of ``batch_size`` rows goes through the
    network in ``accumulate`` pieces, one after the other: less memory, the same mean gradient (what looks at a batch
    as a whole, as free bits do, looks at each piece). ``ema`` averages weights; ``patience`` epochs, and a third of
    ``least_steps``, without a better validation bound end the run (0: never). ``clip_norm`` bounds the gradient's
    norm (0: no bound). ``precision``: see ``variate.base.precision``; ``split``: see ``variate.data.parting``."""

    epochs: int = 10
    least_steps: int = 1500
    batch_size: int = 128
    accumulate: int = 1
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    schedule: str = "cosine"
    rampup_steps: int = 200
    clip_norm: float = 0.0
    ema: float = 0.998
    precision: str = "auto"
    patience: int = 0
    split: str = "random"

    def __post_init__(self) -> None:
        at_least = {"epochs": 1, "least_steps": 0, "batch_size": 1, "accumulate": 1, "rampup_steps": 0}
        at_least |= {"clip_norm": 0, "patience": 0}
        for name, least in at_least.items():
            if not getattr(self, name) >= least:
                raise UserError(f"train.{name}={getattr(self, name)} must be at least {least}.")
        if not 0 < self.learning_rate < 10:
            raise UserError(f"train.learning_rate={self.learning_rate} must be above 0 and below 10.")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise UserError(f"train.betas={self.betas}: Adam's two decay rates must be at least 0 and below 1.")
        if not 0 <= self.ema < 1:
            raise UserError(f"train.ema={self.ema} must be at least 0 and below 1.")
        check_split(self.split)
        for name, known in (("schedule", SCHEDULES), ("precision", PRECISIONS)):
            value = getattr(self, name)
            if value not in known:
                raise UserError(f"train.{name}={value!r} is not one of {', '.join(known)}{suggest(value, known)}.")

    def steps_per_epoch(self, rows: int) -> int:
        """Of that many training rows; rows that do not fill a last batch are left out of the epoch."""
        return rows // min(self.batch_size, rows)

    def total_epochs(self, rows: int) -> int:
        return max(self.epochs, -(-self.least_steps // self.steps_per_epoch(rows)))
