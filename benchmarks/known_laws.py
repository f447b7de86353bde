"""How far below known laws the default recipe stays, in one and two dimensions, beside a Gaussian mixture.

    python benchmarks/known_laws.py
    python benchmarks/known_laws.py --laws ring cauchy --seeds 1

5,000 rows of every law are fitted as ``variate fit`` fits them without options, and 20,000 fresh ones are scored by
``variate.results.estimate`` with 1,000 samples each. A gap is the mean of the true log-density minus the estimate, both
on the fresh rows, in nats; its error is the paired standard error. A mixture of normals with whole covariances, fitted
to the same rows by scikit-learn with the number of components (up to 20) that has the least BIC, is scored beside it.

The bar, for every seed: at most 0.05 nats, or that mixture's gap and 0.01 where this is more; not below the law's own
mean by more than three paired errors; a fit within 60 s.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import stats
from sklearn.mixture import GaussianMixture

import variate
from variate.base.console import silent
from variate.data.load import load
from variate.results import estimate

TRAINING_ROWS, COMPONENTS = 5000, 20
BAR, MORE_THAN_MIXTURE, ERRORS, SECONDS = 0.05, 0.01, 3, 60
RADIUS, THICKNESS = 3.0, 0.2
CORRELATED = stats.multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]])
CORNERS = 4 * np.stack([np.cos(2 * np.pi * np.arange(5) / 5), np.sin(2 * np.pi * np.arange(5) / 5)], axis=1)


class Law(NamedTuple):
    """Rows (n, d) by a generator, and the exact log-density of rows."""

    sample: Callable[[int, np.random.Generator], np.ndarray]
    log_density: Callable[[np.ndarray], np.ndarray]


class Gap(NamedTuple):
    """Of one law and one seed, in nats but for the seconds that the fit took."""

    gap: float
    paired_error: float
    mixture_gap: float
    seconds: float

    @property
    def meets_the_bar(self) -> bool:
        most = max(BAR, self.mixture_gap + MORE_THAN_MIXTURE)
        return -ERRORS * self.paired_error <= self.gap <= most and self.seconds <= SECONDS


def of_one(law: stats.rv_continuous) -> Law:
    """scipy's law of one number."""
    return Law(lambda n, rng: law.rvs(size=(n, 1), random_state=rng), lambda x: law.logpdf(x).sum(1))


def of_normals(means: np.ndarray, spread: float, weights: np.ndarray) -> Law:
    """Σ_k w_k N(m_k, spread² I), means (K, d)."""

    def sample(n: int, rng: np.random.Generator) -> np.ndarray:
        chosen = rng.choice(len(means), size=n, p=weights)
        return means[chosen] + spread * rng.normal(size=(n, means.shape[1]))

    def log_density(x: np.ndarray) -> np.ndarray:
        each = stats.norm.logpdf(x[:, None], means, spread).sum(-1) + np.log(weights)
        return np.logaddexp.reduce(each, axis=1)

    return Law(sample, log_density)


def ring(n: int, rng: np.random.Generator) -> np.ndarray:
    """A radius ~ N(3, 0.2²) in a uniform direction."""
    radius, angle = rng.normal(RADIUS, THICKNESS, size=n), rng.uniform(0, 2 * np.pi, size=n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def ring_log_density(x: np.ndarray) -> np.ndarray:
    """log [N(r) + N(−r)] − log 2πr: a point lies in the direction drawn, or against it where the radius is negative."""
    r = np.hypot(x[:, 0], x[:, 1])
    radial = np.logaddexp(*(stats.norm.logpdf(sign * r, RADIUS, THICKNESS) for sign in (1, -1)))
    return radial - np.log(2 * np.pi * r)


def square_log_density(x: np.ndarray) -> np.ndarray:
    return np.where(((x >= 0) & (x <= 1)).all(1), 0.0, -np.inf)


LAWS = {
    "uniform": of_one(stats.uniform()),
    "exponential": of_one(stats.expon()),
    "log-normal": of_one(stats.lognorm(1)),
    "t3": of_one(stats.t(3)),
    "cauchy": of_one(stats.cauchy()),
    "three-normals": of_normals(np.array([[-4.0], [0.0], [5.0]]), 0.5, np.array([0.5, 0.3, 0.2])),
    "ring": Law(ring, ring_log_density),
    "five-normals": of_normals(CORNERS, 0.5, np.full(5, 0.2)),
    "correlated": Law(lambda n, rng: CORRELATED.rvs(size=n, random_state=rng), CORRELATED.logpdf),
    "square": Law(lambda n, rng: rng.uniform(size=(n, 2)), square_log_density),
}


def by_bic(rows: np.ndarray) -> GaussianMixture:
    fitted = (GaussianMixture(count, random_state=0).fit(rows) for count in range(1, COMPONENTS + 1))
    return min(fitted, key=lambda mixture: mixture.bic(rows))


def gap_to(law: Law, seed: int, test_rows: int, samples: int) -> Gap:
    rng = np.random.default_rng(seed)
    train, test = law.sample(TRAINING_ROWS, rng), law.sample(test_rows, rng)
    true = law.log_density(test)
    with silent():
        began = time.perf_counter()
        run = variate.fit(train, seed=seed)
        seconds = time.perf_counter() - began
        gaps = true - estimate.log_likelihood(run, load(test, like=run.schema), samples).nats.numpy()
    mixture_gap = float((true - by_bic(train).score_samples(test)).mean())
    return Gap(float(gaps.mean()), float(gaps.std() / math.sqrt(len(gaps))), mixture_gap, seconds)


def line(name: str, gaps: list[Gap]) -> str:
    mean = Gap(*(float(np.mean(column)) for column in zip(*gaps, strict=True)))
    each = ", ".join(f"{gap.gap:.4f}" for gap in gaps)
    met = "yes" if all(gap.meets_the_bar for gap in gaps) else "NO"
    return (
        f"| {name} | {mean.gap:.4f} ({each}) | {mean.mixture_gap:.4f} | {mean.paired_error:.4f} | {mean.seconds:.1f} "
        f"| {met} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--laws", nargs="+", choices=LAWS, default=list(LAWS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--test-rows", type=int, default=20_000)
    parser.add_argument("--samples", type=int, default=1000)
    arguments = parser.parse_args()
    print("| law | gap in nats: mean (every seed) | mixture's gap | paired error | seconds | bar met |")
    print("|---|---|---|---|---|---|", flush=True)
    figures = {}
    for name in arguments.laws:
        law, seeds = LAWS[name], range(arguments.seeds)
        gaps = [gap_to(law, seed, arguments.test_rows, arguments.samples) for seed in seeds]
        print(line(name, gaps), flush=True)
        figures[name] = [gap._asdict() for gap in gaps]
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
