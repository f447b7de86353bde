"""What a table's model must beat: independent columns, a Chow–Liu tree and latent classes, as masses, on Adult.

    VARIATE_DATA=folder python benchmarks/tabular_baselines.py

Columns are words, or whole numbers, whose step is 1: every value has a mass, and figures are −log P in nats per row of
``adult.test``. Missing cells are summed over. A whole number's mass is that of its bin, shared evenly by the whole
numbers in the bin. Bins lie between 20 quantiles, and a number that one training row in 1000 has is a bin alone. Beyond
the least and the largest lies a bin as wide as all the rest, so that values somewhat farther out are unlikely, not
impossible; so is a word that no training row has.

Shares are smoothed with pseudo-rows that follow the column's own shares. How many, and the number of latent classes,
is what does best on a tenth of the training rows when fitted to the rest; the final fit is to all.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

from variate.base.errors import UserError

ADULT = """age workclass fnlwgt education education-num marital-status occupation relationship race sex capital-gain
capital-loss hours-per-week native-country income""".split()
NUMBERS = {"age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week"}
QUANTILES, HEAP = 20, 0.001
PSEUDO_ROWS = (1.0, 3.0, 10.0, 30.0, 100.0)
CLASSES = (50, 100, 200)
ITERATIONS, HELD_OUT = 100, 10  # steps of EM; one row in ten is held out

Columns = dict[str, np.ndarray]  # words ("" is missing) or float64 (nan is missing)


class Coded(NamedTuple):
    """A table as bins: codes (n, D), −1 where missing, and the log-share of each row's numbers within their bins (n,).

    ``sizes`` are the numbers of bins of the D columns.
    """

    codes: np.ndarray
    log_within: np.ndarray
    sizes: tuple[int, ...]

    def __getitem__(self, rows: np.ndarray) -> "Coded":
        return Coded(self.codes[rows], self.log_within[rows], self.sizes)

    def one_hot(self) -> csr_array:
        """(n, Σ sizes): a 1 for every cell that is not missing."""
        row, column = np.nonzero(self.codes >= 0)
        place = np.cumsum((0, *self.sizes[:-1]))[column] + self.codes[row, column]
        return csr_array((np.ones(len(row)), (row, place)), shape=(len(self.codes), sum(self.sizes)))


def adult(part: str) -> Columns:
    """The "data" (training) or "test" part of Adult, as its authors wrote it, from the folder in VARIATE_DATA."""
    name, root = f"adult.{part}", Path(os.environ.get("VARIATE_DATA", ".")).expanduser()
    found = [folder / name for folder in (root, root / "tabular", root / "adult") if (folder / name).is_file()]
    if not found:
        raise UserError(f"there is no {name} in {root}: put it into a folder and name that folder in VARIATE_DATA")
    lines = found[0].read_text().splitlines()
    cells = np.array([line.rstrip(".").split(", ") for line in lines if line.count(", ") == len(ADULT) - 1])
    cells = np.where(cells == "?", "", cells)
    return {name: _numbers(column) if name in NUMBERS else column for name, column in zip(ADULT, cells.T, strict=True)}


def _numbers(words: np.ndarray) -> np.ndarray:
    return np.where(words == "", "nan", words).astype(np.float64)


def edges(values: np.ndarray) -> np.ndarray:
    """Bins of whole numbers: bin i holds edges[i] ≤ v < edges[i + 1]. See above."""
    levels, counts = np.unique(values[~np.isnan(values)], return_counts=True)
    least, beyond = levels[0], levels[-1] + 1
    heaps = levels[counts >= HEAP * counts.sum()]
    quantiles = np.nanquantile(values, np.arange(1, QUANTILES) / QUANTILES, method="lower")
    reach = beyond - least
    return np.unique([least - reach, least, *heaps, *heaps + 1, *quantiles, beyond, beyond + reach])


def coder(train: Columns) -> Callable[[Columns], Coded]:
    """How columns like those of ``train`` become bins. A word that is new has the last code of its column."""
    known = {name: edges(v) if v.dtype.kind == "f" else np.unique(v[v != ""]) for name, v in train.items()}

    def code(columns: Columns) -> Coded:
        codes, log_within, sizes = [], 0.0, []
        for name, values in columns.items():
            if values.dtype.kind == "f":
                place = np.searchsorted(known[name], values, side="right") - 1
                inside = (place >= 0) & (place < len(known[name]) - 1)
                missing, width = np.isnan(values), np.diff(known[name])[np.where(inside, place, 0)]
                log_within = log_within - np.where(missing, 0, np.where(inside, np.log(width), np.inf))
                sizes.append(len(known[name]) - 1)
            else:
                missing, place = values == "", np.searchsorted(known[name], values)
                new = known[name][place.clip(max=len(known[name]) - 1)] != values
                place = np.where(new, len(known[name]), place)
                sizes.append(len(known[name]) + 1)
            codes.append(np.where(missing, -1, place.clip(0, sizes[-1] - 1)))
        return Coded(np.stack(codes, axis=1), np.broadcast_to(log_within, len(codes[0])), tuple(sizes))

    return code


def shares(train: Coded) -> list[np.ndarray]:
    """Of every column: (n_v + ½) / Σ_v (n_v + ½)."""
    counts = (
        np.bincount(column[column >= 0], minlength=k) + 0.5
        for column, k in zip(train.codes.T, train.sizes, strict=True)
    )
    return [count / count.sum() for count in counts]


class LatentClasses:
    """P(x) = Σ_c π_c Π_j θ_cj(x_j), by EM; θ_cjv = (n_cjv + α p_jv) / (n_cj + α). One class: independent columns."""

    def __init__(self, train: Coded, pseudo_rows: float, classes: int = 1, seed: int = 0):
        one_hot, self.sizes = train.one_hot(), train.sizes
        prior, rng = np.concatenate(shares(train)), np.random.default_rng(seed)
        belongs = rng.dirichlet(np.full(classes, 0.1), size=len(train.codes))
        for _ in range(ITERATIONS if classes > 1 else 1):
            self._learn((one_hot.T @ belongs).T, belongs.sum(0), prior, pseudo_rows)
            joint = self._joint(one_hot)
            belongs = np.exp(joint - np.logaddexp.reduce(joint, axis=1, keepdims=True))

    def _learn(self, counts: np.ndarray, of_class: np.ndarray, prior: np.ndarray, pseudo_rows: float) -> None:
        starts = np.cumsum((0, *self.sizes[:-1]))
        of_column = np.repeat(np.add.reduceat(counts, starts, axis=1), self.sizes, axis=1)
        self.log_theta = np.log((counts + pseudo_rows * prior) / (of_column + pseudo_rows))
        self.log_pi = np.log((of_class + 1) / (of_class + 1).sum())

    def _joint(self, one_hot: csr_array) -> np.ndarray:
        return one_hot @ self.log_theta.T + self.log_pi

    def log_prob(self, rows: Coded) -> np.ndarray:
        return np.logaddexp.reduce(self._joint(rows.one_hot()), axis=1) + rows.log_within


class ChowLiu:
    """P(x) = P(x_root) Π_j P(x_j | x_parent(j)), over the tree with the most mutual information (Chow and Liu 1968).

    P(v | u) = (n_uv + α p_v) / (n_u + α), of the rows that have both cells. Missing cells are summed over from the
    leaves to the root.
    """

    def __init__(self, train: Coded, pseudo_rows: float):
        self.shares, d = shares(train), len(train.sizes)
        pairs = {(i, j): _pair_counts(train, i, j) for i in range(d) for j in range(i)}
        weight = np.zeros((d, d))
        for (i, j), counts in pairs.items():
            weight[i, j] = -mutual_information(counts) - 1e-12  # an entry of 0 would be no edge
        self.order, self.parents = breadth_first_order(minimum_spanning_tree(weight), 0, directed=False)
        self.given = {}
        for child in self.order[1:]:
            parent = self.parents[child]
            counts = pairs[child, parent].T if child > parent else pairs[parent, child]
            smoothed = counts + pseudo_rows * self.shares[child]
            self.given[child] = smoothed / smoothed.sum(1, keepdims=True)

    def log_prob(self, rows: Coded) -> np.ndarray:
        """Messages up the tree: each column's evidence, times what its children say, summed over it."""
        belief = [_evidence(column, k) for column, k in zip(rows.codes.T, rows.sizes, strict=True)]
        for child in self.order[:0:-1]:
            belief[self.parents[child]] *= belief[child] @ self.given[child].T
        root = self.order[0]
        return np.log(belief[root] @ self.shares[root]) + rows.log_within


def _evidence(codes: np.ndarray, size: int) -> np.ndarray:
    """(n, size): 1 where the cell is that code, or anything where it is missing."""
    return ((codes[:, None] == np.arange(size)) | (codes[:, None] < 0)).astype(np.float64)


def _pair_counts(train: Coded, i: int, j: int) -> np.ndarray:
    """n_uv (K_i, K_j) over the rows that have both cells."""
    counts, both = np.zeros((train.sizes[i], train.sizes[j])), (train.codes[:, i] >= 0) & (train.codes[:, j] >= 0)
    np.add.at(counts, (train.codes[both, i], train.codes[both, j]), 1)
    return counts


def mutual_information(counts: np.ndarray) -> float:
    """Σ_uv p_uv log (p_uv / p_u p_v) in nats."""
    p = counts / counts.sum()
    alone, some = np.outer(p.sum(1), p.sum(0)), p > 0
    return float((p[some] * np.log(p[some] / alone[some])).sum())


def _candidates() -> dict[str, dict[str, Callable[[Coded], ChowLiu | LatentClasses]]]:
    """Every baseline with the settings that it chooses from."""
    return {
        "independent columns": {"": lambda rows: LatentClasses(rows, 1.0)},
        "Chow-Liu tree": {f"{a} pseudo-rows": lambda rows, a=a: ChowLiu(rows, a) for a in PSEUDO_ROWS},
        "latent classes": {
            f"{k} classes, {a} pseudo-rows": lambda rows, a=a, k=k: LatentClasses(rows, a, k)
            for k in CLASSES
            for a in PSEUDO_ROWS[2:4]
        },
    }


def baselines(train: Columns, test: Columns, seed: int = 0) -> Iterator[tuple[str, str, np.ndarray]]:
    """(name, the settings chosen, log P of every test row), one baseline at a time."""
    code = coder(train)
    rows, scored = code(train), code(test)
    held_out = np.random.default_rng(seed).permutation(len(rows.codes)) < len(rows.codes) // HELD_OUT
    for name, fits in _candidates().items():
        told = {said: fit(rows[~held_out]).log_prob(rows[held_out]).mean() for said, fit in fits.items()}
        best = max(told, key=lambda said: told[said])
        yield name, best, fits[best](rows).log_prob(scored)


def mean_and_error(nats: np.ndarray) -> tuple[float, float]:
    """The mean and its standard error."""
    return float(nats.mean()), float(nats.std() / np.sqrt(len(nats)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, help="only the first training and test rows")
    asked = parser.parse_args()
    train, test = ({name: v[: asked.rows] for name, v in adult(part).items()} for part in ("data", "test"))
    print("| model | chosen | −log P in nats per row | its error | more than the tree, paired error |", flush=True)
    print("|---|---|---|---|---|")
    nats, chosen = {}, {}
    for name, chosen[name], log_p in baselines(train, test):
        nats[name] = -log_p
    for name, values in nats.items():
        mean, error = mean_and_error(values)
        more, paired = mean_and_error(values - nats["Chow-Liu tree"])
        print(f"| {name} | {chosen[name]} | {mean:.3f} | {error:.3f} | {more:+.3f} ± {paired:.3f} |", flush=True)
    print(json.dumps({name: mean_and_error(values) for name, values in nats.items()}))


if __name__ == "__main__":
    main()
