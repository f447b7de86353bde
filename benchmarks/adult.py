"""A model of Adult against what needs no network, row by row of ``adult.test``, as masses of the same cells.

    VARIATE_DATA=folder python benchmarks/adult.py

Fits the default recipe to ``adult.data`` as it lies and prints −log P in nats per row, importance-weighted, and how
much more independent columns, a Chow–Liu tree and latent classes need, with the paired error over the rows. Numbers
are whole and their bins 1 wide for all of them.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import polars as pl
from tabular_baselines import ADULT, adult, baselines, mean_and_error

import variate
from variate.data.sources.tables import read_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--set", nargs="*", default=[])
    asked = parser.parse_args()
    folder, began = Path(os.environ["VARIATE_DATA"], "tabular"), time.perf_counter()
    run = variate.fit(str(folder / "adult.data"), names=ADULT, seed=0, overrides=asked.set)
    print(f"fit {time.perf_counter() - began:.0f} s, {run.info['step']:,} steps", flush=True)
    found = read_table(folder / "adult.test", ADULT)
    assert found is not None
    test = found.frame.with_columns(pl.col("income").str.strip_suffix("."))
    own = -variate.score(run, test, samples=asked.samples)["log_likelihood_nats"]
    print("variate: {:.3f} ± {:.3f} nats".format(*mean_and_error(own)), flush=True)
    for name, _, log_p in baselines(adult("data"), adult("test")):
        print("{}: {:+.3f} ± {:.3f} nats more".format(name, *mean_and_error(-np.asarray(log_p) - own)), flush=True)


if __name__ == "__main__":
    main()
