"""Encode and decode rows: what survives the latent space."""

from pathlib import Path

import numpy as np

from variate import options
from variate.base.console import say
from variate.base.surroundings import apart
from variate.data.dataset import Dataset
from variate.data.load import load
from variate.results import checkpoint, inference
from variate.results.checkpoint import Run
from variate.show import outputs
from variate.show.outputs import save_pairs, tell_gaps

__all__ = ["reconstruct"]


@apart()
def reconstruct(run: Run, data: object, labels: object = None) -> np.ndarray:
    """E[x | z = E q(z|x)] for every row, in the data's own shape and dtype."""
    return inference.reconstruct(run, load(data, labels, part="test", like=run.schema))


def command(
    run: options.RunPlace, data: options.Data, *, out: Path, labels: options.Known = None, rows: int | None = None
) -> None:
    """Encode and decode rows: what survives the latent space.

    Parameters
    ----------
    out
        .png shows originals over reconstructions; .npy, .npz and .csv hold the reconstructions.
    rows
        a fixed, seeded subset of that many.
    """
    trained = checkpoint.load(run)
    outputs.check(out, outputs.ARRAYS, trained.schema)
    chosen: Dataset = load(data, labels, part="test", like=trained.schema).subset(rows)
    values = reconstruct(trained, chosen)
    save_pairs(out, chosen.values.numpy(), values, trained.schema)
    say(f"{len(chosen)} reconstructions in {out}")
    tell_gaps(out, values)
