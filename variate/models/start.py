"""Where a model starts, told some training rows before its first step.

Every value starts at its marginal. Where the latent's ``start`` is "principal", the whole model starts at what can be
said without learning: the code is the rows' principal components, all of them, the decoder turns them back, and the
prior is the law of the codes. With a mixture as the prior that is a Gaussian mixture, which the networks then bend.
"""

import torch
from torch import Tensor

from variate.data.batch import Batch
from variate.data.dataset import Dataset
from variate.models.model import Model

__all__ = ["some_of", "start_at"]

MARGINAL_ROWS, JOINT_ROWS, VALUES = 1000, 20_000, 1 << 24  # at most, that a model is shown
FIRST_SPREAD = 0.05  # of codes, and of values around what is decoded, in model units; what is narrower is learned


@torch.no_grad()
def start_at(model: Model, rows: Dataset) -> None:
    """Set the parameters of a model on the CPU in place."""
    model.likelihood.start_at(some_of(rows, MARGINAL_ROWS).target)
    if model.latent.start == "principal":
        _start_at_components(model, some_of(rows, JOINT_ROWS))


def some_of(rows: Dataset, most: int = JOINT_ROWS) -> Batch:
    """Training rows in model units, few enough to be looked at in one piece."""
    return rows.subset(max(1, min(most, VALUES // rows.schema.size))).batch(slice(None))


def _start_at_components(model: Model, rows: Batch) -> None:
    """z = Wᵀ(x − b) + s ε and x = W z + b + s ε', W orthogonal; rows of Wᵀ beyond the number of columns are zeros."""
    likelihood, (target,) = model.likelihood.only, rows.target.values()
    x = likelihood.straight(target.units).flatten(1).double()
    mean, axes = _principal(x, model.latent.size)
    likelihood.start_linear(axes, mean, FIRST_SPREAD)
    codes, context = (x - mean) @ axes, model.encode_context(rows.given)
    model.latent.start_linear(axes.T, -mean @ axes, codes, context, FIRST_SPREAD)


def _principal(x: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The mean (d,) of rows (n, d) and their principal axes as columns (d, size), d of them with their largest entries
    positive and the others zero."""
    mean = x.mean(0)
    axes = torch.linalg.eigh((x - mean).T @ (x - mean)).eigenvectors.flip(-1)
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    return mean, torch.cat([axes, axes.new_zeros(len(axes), size - axes.shape[1])], dim=1)
