"""Where a model starts, told some training rows before its first step.

Every value starts at its marginal. Where the latent's ``start`` is "principal", the whole model starts at what can be
said without learning: the code is the rows' principal components, the decoder turns them back, the prior is the law of
the codes. With a normal prior that is probabilistic principal component analysis (Tipping & Bishop 1999); with a
mixture, and as many latents as columns, a Gaussian mixture.
"""

import torch
from torch import Tensor

from variate.data.batch import Batch
from variate.data.dataset import Dataset
from variate.model import Model

__all__ = ["some_of", "start_at"]

MARGINAL_ROWS, JOINT_ROWS, VALUES = 1000, 20_000, 1 << 24  # at most, that a model is shown
FIRST_SPREAD = 0.05  # of what is decoded around each value, in model units; what is narrower is learned


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
    """z = Wᵀ(x − b) + s ε and x = W z + b + s ε', each column's ε' as large as what the components leave of it."""
    latent, likelihood = model.latent, model.likelihood
    x = likelihood.straight(rows.target).flatten(1).double()
    mean, axes = _principal(x, latent.size)
    codes = (x - mean) @ axes
    left = (x - mean - codes @ axes.T).square().mean(0).sqrt()
    latent.posterior.start_linear(axes.T, -mean @ axes, FIRST_SPREAD)
    likelihood.start_linear(axes, mean, left.clamp_min(FIRST_SPREAD))
    latent.prior.start_at(codes, model.encode_context(rows.context), FIRST_SPREAD)


def _principal(x: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The mean (d,) of rows (n, d) and their first principal axes as columns (d, size), their largest entries positive;
    axes of zeros where there are fewer than ``size``."""
    mean = x.mean(0)
    axes = torch.linalg.eigh((x - mean).T @ (x - mean)).eigenvectors.flip(-1)[:, :size]
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    return mean, torch.cat([axes, axes.new_zeros(len(axes), size - axes.shape[1])], dim=1)
