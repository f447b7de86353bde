"""Say how likely every row is."""

from pathlib import Path

import numpy as np

from variate import options
from variate.base.console import say
from variate.base.errors import count_number, seed_number
from variate.base.surroundings import apart
from variate.data.load import load
from variate.results import checkpoint, estimate, inference
from variate.results.checkpoint import Run
from variate.show import outputs
from variate.show.outputs import save_columns, tell_gaps

__all__ = ["score"]


@apart()
def score(run: Run, data: object, labels: object = None, *, samples: int = 64, seed: int = 0) -> dict[str, np.ndarray]:
    """Per row, each (n,): ``log_likelihood_nats``, its Monte-Carlo error ``mc_se_nats``, ``effective_samples`` of
    ``samples``, and ``bits_per_dim``. Where few samples are effective, log p(x) is too low and the error too small.

    log p(x), a label that the model is given summed out; log p(x|c) if the model is given columns. Importance
    weighting with ``samples`` draws (Burda et al. 2016, eq. 8); the same row has the same score in any batch and any
    order. A deterministic autoencoder has no likelihood: it gets ``mse_per_dim``, its squared error per value in model
    units. Raises ``UserError`` for rows that are not of the model's kind.
    """
    seed, samples = seed_number(seed), count_number(samples, "samples")
    rows = load(data, labels, part="test", like=run.schema)
    if run.deterministic:
        return {"mse_per_dim": inference.squared_errors(run, rows).numpy()}
    found = estimate.log_likelihood(run, rows, samples, seed, marginal=True)
    return {
        "log_likelihood_nats": found.nats.numpy(),
        "mc_se_nats": found.mc_se.numpy(),
        "effective_samples": found.effective_samples.numpy(),
        "bits_per_dim": np.array([estimate.bits_per_dim(nats, run) for nats in found.nats.tolist()]),
    }


def command(
    run: options.RunPlace,
    data: options.Data,
    *,
    out: Path,
    labels: options.Known = None,
    samples: int = 64,
    seed: options.ScoringSeed = 0,
) -> None:
    """Say how likely every row is.

    Parameters
    ----------
    out
        .csv (one row an example), .npz (one array a column) or .npy (n, columns).
    samples
        draws per row; more are tighter and slower.
    """
    trained = checkpoint.load(run)
    outputs.check(out, outputs.COLUMNS)
    scores = score(trained, data, labels, samples=samples, seed=seed)
    save_columns(out, np.stack(list(scores.values()), axis=1), list(scores))
    found = next(iter(scores.values()))
    # of a row that the model holds impossible no sample would tell more
    few = int(((scores.get("effective_samples", np.inf) < estimate.FEW_EFFECTIVE) & np.isfinite(found)).sum())
    if few:
        say(
            f"{few:,} rows rest on fewer than {estimate.FEW_EFFECTIVE} effective samples: their log p(x) is too low, "
            f"and its error larger than it says; raise --samples above {samples}"
        )
    say(f"{len(found):,} scores in {out}: {', '.join(scores)}")
    tell_gaps(out, found)
