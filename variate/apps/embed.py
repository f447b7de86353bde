"""Map rows to their place in the latent space."""

from pathlib import Path
from typing import Annotated

import numpy as np
from cyclopts import Parameter

from variate import options
from variate.base.console import say
from variate.base.surroundings import apart
from variate.data.load import load
from variate.results import checkpoint, inference
from variate.results.checkpoint import Run
from variate.show import outputs
from variate.show.outputs import save_columns, tell_gaps

__all__ = ["embed"]


@apart()
def embed(run: Run, data: object, labels: object = None, *, spread: bool = False) -> np.ndarray:
    """E q(z | x, c) of every row, (n, size) float32; with ``spread`` also its standard deviation, (n, 2, size).

    The same row has the same embedding in any batch. A deterministic autoencoder's code has the spread 0.
    """
    rows = load(data, labels, part="test", like=run.schema)
    means, spreads = inference.codes(run, rows)
    found = np.stack([means.numpy(), spreads.numpy()], axis=1) if spread else means.numpy()
    return found.astype(np.float32)


def command(
    run: options.RunPlace,
    data: options.Data,
    *,
    out: Path,
    labels: options.Known = None,
    spread: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Map rows to their place in the latent space.

    Parameters
    ----------
    out
        .npy, .npz (key values) or .csv.
    spread
        also the posterior's standard deviation along every unit: .npy (n, 2, size), .csv columns z0_sd, z1_sd, ….
    """
    trained = checkpoint.load(run)
    outputs.check(out, outputs.COLUMNS)
    found = embed(trained, data, labels, spread=spread)
    size = found.shape[-1]
    columns = [f"z{unit}{end}" for end in (["", "_sd"] if spread else [""]) for unit in range(size)]
    save_columns(out, found, columns, together=True)
    say(f"{len(found):,} embeddings of {size} numbers in {out}")
    tell_gaps(out, found)
