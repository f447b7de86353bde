"""A known law of a table with mixed columns: its rows, and the exact log-probability of whatever is observed of a row.

P(a) P(b | a) Poisson(visits; λ_ab) times three numbers with the means m_ab, the scales s_a and the correlation 0.8:

- ``amount`` is set to exactly 0 with probability 0.4, whatever the rest (a heap in a density),
- ``grade`` is rounded to a grid of 0.5, half its scale at the middle level of a,
- ``size`` is left as it is.

Categories, ``visits``, ``grade`` and the heap at 0 have masses, the rest of ``amount`` and ``size`` have densities.

    python benchmarks/known_table.py --seeds 3

fits the default recipe to 6,000 rows and prints how far its log p of 20,000 other rows is below the truth, complete and
with 30 % of the cells missing at random in both. A model that scores ``amount`` by bins gets log p − log step there.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from scipy import special, stats

import variate

TRAINING_ROWS, TEST_ROWS = 6000, 20_000
NAMES = ("a", "b", "visits", "amount", "grade", "size")
A, B = np.array(["low", "middle", "high"]), np.array(list("ABCDEFGHIJKL"))
CORRELATION, HEAP, STEP = 0.8, 0.4, 0.5

# Everything below has a row for every level of a and, where there are two dimensions, a column for every level of b.
SHARE_A = np.array([0.5, 0.3, 0.2])
SHARE_B = np.array(
    [
        [0.25, 0.20, 0.15, 0.10, 0.08, 0.06, 0.05, 0.04, 0.03, 0.02, 0.01, 0.01],
        [0.02, 0.03, 0.05, 0.10, 0.20, 0.25, 0.15, 0.08, 0.05, 0.04, 0.02, 0.01],
        [0.01, 0.01, 0.02, 0.02, 0.03, 0.05, 0.06, 0.10, 0.15, 0.20, 0.25, 0.10],
    ]
)
RATE = np.array(
    [
        [1, 3, 2, 5, 8, 4, 6, 10, 7, 12, 9, 14],
        [2, 4, 3, 7, 11, 6, 9, 13, 10, 15, 12, 17],
        [4, 6, 5, 9, 14, 8, 11, 16, 13, 18, 15, 20],
    ]
)
# Of amount, grade and size: what a and what b adds to the mean, and the scale.
MEAN_A = np.array([[3.0, -1.0, 10.0], [5.0, 0.0, 14.0], [9.0, 2.0, 20.0]])
MEAN_B = np.array(
    [
        [0.0, 0.0, 0.0],
        [1.0, -0.5, 2.0],
        [-1.0, 1.0, 1.0],
        [2.0, 1.5, -2.0],
        [0.5, -1.5, 3.0],
        [-0.5, 0.5, -3.0],
        [1.5, 2.0, 0.0],
        [-1.5, -1.0, 4.0],
        [0.0, 1.0, -1.0],
        [2.5, 0.0, 2.5],
        [-2.0, -2.0, -2.5],
        [1.0, 2.5, 5.0],
    ]
)
SCALE = np.array([[1.0, 0.8, 2.0], [1.5, 1.0, 3.0], [2.5, 1.3, 4.0]])


class Given(NamedTuple):
    """What is known of the three standardised numbers: how many, and their sum, which is all that counts of them."""

    count: np.ndarray
    total: np.ndarray

    def law_of_next(self) -> tuple[np.ndarray, np.ndarray]:
        """(mean, scale) given k with equal correlations: ρ Σz / (1 + (k−1)ρ) and the root of 1 − kρ²/(1 + (k−1)ρ)."""
        slope = CORRELATION / (1 + (self.count - 1) * CORRELATION)
        return slope * self.total, np.sqrt(1 - self.count * CORRELATION * slope)

    def and_also(self, value: np.ndarray, known: np.ndarray) -> "Given":
        return Given(self.count + known, self.total + np.where(known, value, 0))


def rows(n: int, seed: int) -> dict[str, np.ndarray]:
    """n rows: a and b as words, the rest as float64."""
    rng = np.random.default_rng(seed)
    a = rng.choice(len(A), size=n, p=SHARE_A)
    b = (rng.random((n, 1)) > SHARE_B.cumsum(1)[a, :-1]).sum(1)
    root = np.linalg.cholesky(CORRELATION + (1 - CORRELATION) * np.eye(3))
    amount, grade, size = (MEAN_A[a] + MEAN_B[b] + SCALE[a] * (rng.normal(size=(n, 3)) @ root.T)).T
    return {
        "a": A[a],
        "b": B[b],
        "visits": rng.poisson(RATE[a, b]).astype(np.float64),
        "amount": np.where(rng.random(n) < HEAP, 0.0, amount),
        "grade": np.round(grade / STEP) * STEP + 0.0,  # no −0.0
        "size": size,
    }


def log_prob(columns: dict[str, np.ndarray], observed: np.ndarray | None = None) -> np.ndarray:
    """log Σ_ab P(a) P(b | a) p(what is observed | a, b) of every row: (n,) in nats.

    ``observed`` (n, 6) says which cells count, in the order of ``NAMES``: all where it is left out. What stands in the
    others means nothing. A row of which nothing is observed has 0.
    """
    if observed is None:
        observed = np.ones((len(columns["a"]), len(NAMES)), dtype=bool)
    seen = dict(zip(NAMES, observed.T, strict=True))
    each = [_log_joint(columns, seen, a, b) for a in range(len(A)) for b in range(len(B))]
    return np.logaddexp.reduce(each, axis=0)


def _log_joint(columns: dict[str, np.ndarray], seen: dict[str, np.ndarray], a: int, b: int) -> np.ndarray:
    """log P(a) P(b | a) p(what is observed | a, b)."""
    with np.errstate(divide="ignore"):  # log 0 of the other levels
        log_p = np.where(seen["a"], np.log(columns["a"] == A[a]), 0) + np.where(
            seen["b"], np.log(columns["b"] == B[b]), 0
        )
    log_p = log_p + np.log(SHARE_A[a] * SHARE_B[a, b])
    log_p += np.where(seen["visits"], stats.poisson.logpmf(columns["visits"], RATE[a, b]), 0)
    return log_p + _log_numbers(columns, seen, MEAN_A[a] + MEAN_B[b], SCALE[a])


def _log_numbers(
    columns: dict[str, np.ndarray], seen: dict[str, np.ndarray], mean: np.ndarray, scale: np.ndarray
) -> np.ndarray:
    """The three numbers one after the other: amount, size given it, and what grade's interval holds given both.

    A heaped amount tells nothing of the other two: it was set to 0 whatever it had been.
    """
    amount, grade, size = ((columns[name] - m) / s for name, m, s in zip(NAMES[3:], mean, scale, strict=True))
    heaped = seen["amount"] & (columns["amount"] == 0)
    drawn = seen["amount"] & ~heaped
    log_p = np.where(heaped, np.log(HEAP), 0) + np.where(drawn, np.log1p(-HEAP) + stats.norm.logpdf(amount), 0)
    log_p -= np.log(scale[0]) * drawn + np.log(scale[2]) * seen["size"]
    given = Given(np.zeros(len(amount)), np.zeros(len(amount))).and_also(amount, drawn)
    log_p += np.where(seen["size"], stats.norm.logpdf(size, *given.law_of_next()), 0)
    centre, width = given.and_also(size, seen["size"]).law_of_next()
    half = STEP / (2 * scale[1])
    return log_p + np.where(seen["grade"], _log_interval((grade - centre) / width, half / width), 0)


def _log_interval(middle: np.ndarray, half: np.ndarray) -> np.ndarray:
    """log [Φ(middle + half) − Φ(middle − half)], taken on the left of 0, where Φ does not round to 1."""
    upper, lower = special.log_ndtr(half - np.abs(middle)), special.log_ndtr(-half - np.abs(middle))
    return upper + np.log1p(-np.exp(lower - upper))


def frame(columns: dict[str, np.ndarray], observed: np.ndarray) -> pl.DataFrame:
    """The rows as people would have them: null where a cell is not observed."""
    series = []
    for (name, values), seen in zip(columns.items(), observed.T, strict=True):
        plain = values.astype(str).tolist() if values.dtype.kind == "U" else values.tolist()
        series.append(pl.Series(name, [value if there else None for value, there in zip(plain, seen, strict=True)]))
    return pl.DataFrame(series)


def measure(missing: float, seed: int, samples: int, test_rows: int, overrides: list[str]) -> None:
    """One fit: the mean difference truth − model in nats, its paired error, and how long it took."""
    rng = np.random.default_rng(1000 + seed)
    train, test = rows(TRAINING_ROWS, seed), rows(test_rows, 10_000 + seed)
    seen, seen_test = (rng.random((len(part["a"]), len(NAMES))) >= missing for part in (train, test))
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        frame(train, seen).write_parquet(Path(folder, "train.parquet"))
        run = variate.fit(str(Path(folder, "train.parquet")), seed=seed, overrides=overrides)
        seconds = time.perf_counter() - began
        scores = variate.score(run, frame(test, seen_test), samples=samples)
    log_p = scores["log_likelihood_nats"].astype(np.float64)
    for column in run.schema.table:
        if column.name == "amount" and column.measure == "binned":
            log_p -= np.log(column.step) * (seen_test[:, 3] & (test["amount"] != 0))
    gap = log_prob(test, seen_test) - log_p
    error = gap.std() / np.sqrt(len(gap))
    print(
        f"{missing:.0%} missing, seed {seed}: {gap.mean():.4f} ± {error:.4f} nats below the truth, {samples} samples, "
        f"{len(gap):,} rows; fit {seconds:.0f} s, {run.info['step']:,} steps",
        flush=True,
    )
    print(json.dumps({"missing": missing, "seed": seed, "below_nats": gap.mean(), "error": error}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--rows", type=int, default=TEST_ROWS)
    parser.add_argument("--missing", type=float, nargs="*", default=[0.0, 0.3])
    parser.add_argument("--set", nargs="*", default=[])
    asked = parser.parse_args()
    for missing in asked.missing:
        for seed in range(asked.seeds):
            measure(missing, seed, asked.samples, asked.rows, asked.set)


if __name__ == "__main__":
    main()
