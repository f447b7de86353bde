"""The contract of an objective: what it sees, what it says, and the truth that is reported beside it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from variate.base.once import once
from variate.data.batch import Batch
from variate.models.latents.latent import Draw, mean_of_samples
from variate.models.model import Decoded, Model

__all__ = ["Objective", "Scene", "Terms", "true_terms"]


class Scene(NamedTuple):
    """All that an objective may look at, in one step.

    draw: the samples of z, their q and p. decoded: p(x | z, c), judged on the batch. step: optimiser steps so far.
    model, batch and noise, (samples, B, ``noise_size``) standard normal, the objective's own, are there whenever a
    ``Step`` asks; rows, of the training set, where they are known.
    """

    draw: Draw
    decoded: Decoded
    step: Tensor | int = 0
    model: Model = None  # pyright: ignore[reportAssignmentType] (only where it is asked by hand)
    batch: Batch = None  # pyright: ignore[reportAssignmentType]
    noise: Tensor = None  # pyright: ignore[reportAssignmentType]
    rows: int | None = None


@dataclass(frozen=True)
class Terms:
    """The truth per row, (B,) and detached, in nats: no beta, no free bits. ``None`` where it does not exist.

    rate_nats: (B, groups). squared_error: ‖x − point‖² in model units. tighter_nats: a lower bound on log p(x|c) that
    the objective stands for, if it is not the ELBO. others: what only this objective knows, by name.
    """

    distortion_nats: Tensor | None = None
    rate_nats: Tensor | None = None
    squared_error: Tensor | None = None
    tighter_nats: Tensor | None = None
    others: dict[str, Tensor] = field(default_factory=dict)

    @once
    def elbo_nats(self) -> Tensor | None:
        """−distortion − Σ rates."""
        if self.distortion_nats is None or self.rate_nats is None:
            return None
        return -self.distortion_nats - self.rate_nats.sum(-1)

    @property
    def bound_nats(self) -> Tensor | None:
        """The lower bound on log p(x|c) that the objective stands for."""
        return self.elbo_nats if self.tighter_nats is None else self.tighter_nats

    def named(self) -> dict[str, Tensor]:
        """All that exist, by name."""
        names = ("bound_nats", "elbo_nats", "distortion_nats", "rate_nats", "squared_error")
        found = {name: getattr(self, name) for name in names}
        return {name: value for name, value in found.items() if value is not None} | self.others

    def changed(self, change: Callable[[Tensor], Tensor]) -> "Terms":
        """The same with every tensor as ``change`` makes it."""
        known = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        changed = {name: change(value) for name, value in known.items() if name != "elbo_nats"}
        return Terms(**changed, others={name: change(value) for name, value in self.others.items()})


class Objective(nn.Module):
    """The base of the objectives: ``objective(scene) → (loss, Terms)``, loss (B,); the mean over the rows is taken in
    one place, ``trainer.Step``.

    ``samples``: draws of z for every row. ``noise_size``: standard normals of its own, for every draw and row.
    ``density``: whether it needs a posterior with a density (True), one without (False), or takes either (``None``).
    ``rate_factor``: of the learning rate, for what it learns itself, as a critic does.
    """

    samples: int = 1
    noise_size: int = 0
    density: bool | None = True
    rate_factor: float = 1.0

    def forward(self, scene: Scene) -> tuple[Tensor, Terms]:
        raise NotImplementedError


def true_terms(scene: Scene, tighter: Tensor | None = None) -> Terms:
    """The terms of a draw from a posterior with a density; ``tighter`` (B,): a bound above the ELBO."""
    # nothing is computed under no_grad: what is cached may be asked for again by a loss
    decoded = scene.decoded
    rates = torch.stack([rate.detach().sum(-1) for rate in scene.draw.rates_nats()], dim=-1)
    error = mean_of_samples(decoded.squared_error.detach()) if decoded.likelihood.wants_residuals else None
    bound = None if tighter is None else tighter.detach()
    return Terms(decoded.distortion_nats.detach(), rates, error, bound)
