"""The known law of a table is a law: its parts sum to one, marginals are sums of joints, rows come from it."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import known_table as law  # noqa: E402

PROBES = 3


def probability(columns, observed=None):
    return np.exp(law.log_prob(columns, observed))


def only(n, *names):
    return np.tile(np.isin(law.NAMES, names), (n, 1))


def repeated(row, n, **changes):
    """One row n times, but for the columns given."""
    return {name: np.full(n, value) for name, value in row.items()} | changes


@pytest.fixture(params=range(PROBES))
def row(request):
    return {name: column[request.param] for name, column in law.rows(PROBES, seed=request.param).items()}


def test_shares_sum_to_one():
    np.testing.assert_allclose(law.SHARE_A.sum(), 1)
    np.testing.assert_allclose(law.SHARE_B.sum(1), 1)
    assert law.RATE.min() == 1 and law.RATE.max() == 20


def whole(name):
    """Every level of a column that has masses alone, or all that the law can reach of it."""
    levels = {"a": law.A, "b": law.B, "visits": np.arange(100.0), "grade": np.arange(-20, 20, law.STEP)}
    return levels[name]


@pytest.mark.parametrize("name", ["a", "b", "visits", "grade"])
def test_a_sum_over_one_column_leaves_the_marginal_of_the_rest(row, name):
    levels = whole(name)
    summed = probability(repeated(row, len(levels), **{name: levels})).sum()
    rest = probability(repeated(row, 1), only(1, *(set(law.NAMES) - {name})))
    np.testing.assert_allclose(summed, rest[0], rtol=1e-9)


@pytest.mark.parametrize("name", ["amount", "size"])
@pytest.mark.parametrize("others", [(), ("grade",), ("a", "visits"), ("grade", "size", "amount", "b")])
def test_an_integral_over_one_column_leaves_the_marginal_of_the_rest(row, name, others):
    points = np.linspace(-30, 50, 16_001) + 1e-5  # never on the heap
    columns, others = repeated(row, len(points), **{name: points}), set(others) - {name}
    integral = np.trapezoid(probability(columns, only(len(points), name, *others)), points)
    if name == "amount":
        integral += probability(repeated(row, 1, amount=np.zeros(1)), only(1, name, *others))[0]
    np.testing.assert_allclose(integral, probability(repeated(row, 1), only(1, *others))[0], rtol=1e-6)


def test_the_numbers_agree_with_scipys_normal(row):
    """Given both categories: a whole density, and the mass of an interval as a difference of two normal CDFs."""
    a, b = np.flatnonzero(law.A == row["a"])[0], np.flatnonzero(law.B == row["b"])[0]
    mean, scale = law.MEAN_A[a] + law.MEAN_B[b], law.SCALE[a]
    covariance = np.outer(scale, scale) * (law.CORRELATION + (1 - law.CORRELATION) * np.eye(3))
    columns = repeated(row, 1, amount=np.array([mean[0] + 0.3]))
    fine = np.linspace(row["grade"] - law.STEP / 2, row["grade"] + law.STEP / 2, 2001)
    at = np.stack([np.full(2001, mean[0] + 0.3), fine, np.full(2001, row["size"])], axis=1)
    interval = np.trapezoid(stats.multivariate_normal(mean, covariance).pdf(at), fine)
    expected = law.SHARE_A[a] * law.SHARE_B[a, b] * stats.poisson.pmf(row["visits"], law.RATE[a, b]) * 0.6 * interval
    np.testing.assert_allclose(probability(columns), expected, rtol=1e-6)


def test_nothing_observed_is_certain():
    np.testing.assert_allclose(law.log_prob(law.rows(5, 0), only(5)), 0, atol=1e-12)


def test_what_is_not_observed_does_not_count(row):
    hidden = repeated(row, 1, amount=np.full(1, np.nan), a=np.array(["?"]), visits=np.full(1, np.nan))
    seen = only(1, "b", "grade", "size")
    np.testing.assert_array_equal(law.log_prob(hidden, seen), law.log_prob(repeated(row, 1), seen))


def test_far_out_masses_do_not_vanish(row):
    far = law.log_prob(repeated(row, 2, grade=np.array([-80.0, 80.0])))
    assert np.isfinite(far).all() and (far < -1000).all()


@pytest.mark.parametrize("pair", [("a", "b"), ("a", "grade"), ("b", "visits")])
def test_rows_fall_where_the_law_says(pair):
    """χ² of two columns' levels; those expected less than five times are left together."""
    n, sampled = 50_000, law.rows(50_000, seed=1)
    levels = [np.sort(whole(name)) for name in pair]
    first, second = (grid.ravel() for grid in np.meshgrid(*levels, indexing="ij"))
    columns = {name: np.zeros(len(first)) for name in law.NAMES} | {pair[0]: first, pair[1]: second}
    expected = n * probability(columns, only(len(first), *pair))
    found = np.zeros([len(level) for level in levels])
    np.add.at(found, tuple(np.searchsorted(level, sampled[name]) for level, name in zip(levels, pair, strict=True)), 1)
    often = expected >= 5
    counted, told = found.ravel()[often], expected[often]
    if not often.all():
        counted, told = np.append(counted, n - counted.sum()), np.append(told, n - told.sum())
    assert stats.chisquare(counted, told).pvalue > 1e-3


@pytest.mark.parametrize("name", ["amount", "size"])
def test_rows_have_the_laws_numbers_given_all_the_rest(name):
    """F(number | rest), by integrals up to where the row has it, is uniform over rows."""
    points, sampled = np.linspace(-30, 50, 1601) + 1e-5, law.rows(300, seed=1)
    places = []
    for index in np.flatnonzero(sampled[name] != 0):
        row = {each: column[index] for each, column in sampled.items()}
        up_to = np.cumsum(probability(repeated(row, len(points), **{name: points})))
        places.append(np.interp(row[name], points, up_to / up_to[-1]))
    assert stats.kstest(places, "uniform").pvalue > 1e-3


def test_seeds_are_kept_apart():
    same, other = law.rows(100, 0), law.rows(100, 1)
    assert all((law.rows(100, 0)[name] == same[name]).all() for name in law.NAMES)
    assert (same["size"] != other["size"]).all()
    assert set(np.unique(same["grade"] % law.STEP)) == {0.0} and 0.2 < (same["amount"] == 0).mean() < 0.6
