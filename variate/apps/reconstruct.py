"""Encode and decode rows: what survives the latent space."""

from pathlib import Path
from typing import Any

from variate import options
from variate.base.console import say
from variate.base.surroundings import apart
from variate.data.dataset import Dataset
from variate.data.load import load
from variate.data.table import outward
from variate.results import checkpoint, inference
from variate.results.checkpoint import Run
from variate.show import outputs
from variate.show.outputs import save_pairs, save_rows, tell_gaps

__all__ = ["reconstruct"]


@apart()
def reconstruct(run: Run, data: object, labels: object = None) -> Any:
    """E[x | z = E q(z|x)] for every row, in the data's own shape and dtype; of a table a frame, filled."""
    return outward(inference.reconstruct(run, load(data, labels, part="test", like=run.schema)), run.schema)


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
    outputs.check_rows(out, trained.schema)
    chosen: Dataset = load(data, labels, part="test", like=trained.schema).subset(rows)
    with apart():
        values = inference.reconstruct(trained, chosen)
    if trained.schema.table:
        save_rows(out, values, trained.schema)
    else:
        save_pairs(out, chosen.values.numpy(), values, trained.schema)
        tell_gaps(out, values)
    say(f"{len(chosen)} reconstructions in {out}")
