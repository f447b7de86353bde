"""Baselines against formulas written down independently of scikit-learn's estimators."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers_runs import pixels, table
from scipy import stats

from variate.data.dataset import Dataset
from variate.data.kinds import Counts
from variate.data.load import load
from variate.results.baselines import likelihood_baselines, pca_mse_per_dim

LATENT = 2


def real() -> tuple[np.ndarray, np.ndarray]:
    return table(1200), table(800, seed=1)


def grey() -> tuple[np.ndarray, np.ndarray]:
    """3 x 4 images of 256 levels whose pixels go together."""
    return pixels(3000, (3, 4)), pixels(2000, (3, 4), seed=1)


def scores(pair: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
    return likelihood_baselines(*(load(values) for values in pair), LATENT)


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, float]]:
    return {"real": scores(real()), "grey": scores(grey())}


def score_of(train: Dataset, row: Dataset, name: str) -> float:
    """One row's log-likelihood; given twice, since a mean over two rows asks no more of an estimator than one row."""
    return likelihood_baselines(train, row.rows(torch.tensor([0, 0])), 1)[name]


def dequantised(values: np.ndarray) -> np.ndarray:
    """x + u with numbers of our own; real numbers as they are."""
    flat = values.reshape(len(values), -1).astype(np.float64)
    return flat + np.random.default_rng(99).random(flat.shape) if values.dtype == np.uint8 else flat


def normal_score(pair: tuple[np.ndarray, np.ndarray]) -> float:
    train, test = map(dequantised, pair)
    covariance = (train - train.mean(0)).T @ (train - train.mean(0)) / len(train)
    return stats.multivariate_normal(train.mean(0), covariance).logpdf(test).mean()


def ppca_score(pair: tuple[np.ndarray, np.ndarray]) -> float:
    """C = U_q (Λ_q − σ²) U_qᵀ + σ² I with σ² the mean of the other eigenvalues (Tipping & Bishop 1999, eq. 7, 8)."""
    train, test = map(dequantised, pair)
    values, vectors = np.linalg.eigh((train - train.mean(0)).T @ (train - train.mean(0)) / len(train))
    noise, leading = values[:-LATENT].mean(), vectors[:, -LATENT:]
    covariance = leading * (values[-LATENT:] - noise) @ leading.T + noise * np.eye(len(values))
    return stats.multivariate_normal(train.mean(0), covariance).logpdf(test).mean()


CLOSED = {"multivariate normal": normal_score, f"probabilistic PCA, {LATENT}": ppca_score}


@pytest.mark.parametrize("name", CLOSED)
def test_gaussians_of_real_numbers_are_their_closed_forms(found, name):
    assert found["real"][name] == pytest.approx(CLOSED[name](real()), abs=2e-3)


@pytest.mark.parametrize("name", CLOSED)
def test_gaussians_of_levels_are_their_closed_forms_on_dequantised_rows(found, name):
    """The uniform noise differs, so the two agree within its effect on a mean over 2000 rows."""
    assert found["grey"][name] == pytest.approx(CLOSED[name](grey()), abs=0.1)


def test_independent_values_by_hand():
    """Two columns of three levels, counted on paper, with one pseudo-count spread over the levels."""
    train = load(np.array([[0, 2], [0, 1], [1, 2]], np.uint8), levels=3)
    test = load(np.array([[0, 2], [2, 0]], np.uint8), levels=3)
    first = {0: 7 / 12, 1: 4 / 12, 2: 1 / 12}
    second = {0: 1 / 12, 1: 4 / 12, 2: 7 / 12}
    expected = np.log([first[0] * second[2], first[2] * second[0]]).mean()
    assert likelihood_baselines(train, test, 1)["independent values"] == pytest.approx(expected)


def test_independent_values_are_a_distribution():
    """Over all rows of two columns with four levels the probabilities sum to one."""
    rng = np.random.default_rng(0)
    train = load(rng.integers(0, 4, (30, 2), np.uint8), levels=4)
    rows = np.array(list(np.ndindex(4, 4)), np.uint8)
    log_p = [score_of(train, load(row.reshape(1, 2), levels=4), "independent values") for row in rows]
    assert np.exp(log_p).sum() == pytest.approx(1)


def test_real_numbers_have_no_independent_levels(found):
    assert "independent values" not in found["real"]


def test_the_mixture_finds_two_clusters():
    """Two well separated normals: within reach of the true density, and never above it by more than its error."""
    rng = np.random.default_rng(0)
    place = rng.integers(0, 2, 3000)[:, None] * np.array([20.0, -30.0])
    values = place + rng.normal(size=(3000, 2))
    train, test = values[:2000], values[2000:]
    means = [stats.multivariate_normal(m, np.eye(2)).logpdf(test) for m in ([0, 0], [20, -30])]
    true = np.logaddexp(*means) - np.log(2)
    found = likelihood_baselines(load(train), load(test), 1)["normal mixture, diagonal"]
    assert true.mean() - 0.1 < found < true.mean() + 3 * true.std() / np.sqrt(len(test))


def test_the_mixture_is_a_density():
    """∫ p = 1 by the trapezoid rule over a line that holds all the mass: one row at a time is scored."""
    train = load(np.random.default_rng(0).gamma(3, size=(40, 1)))
    grid = np.linspace(-6, 22, 141).reshape(-1, 1)
    log_p = [score_of(train, load(x.reshape(1, 1), like=train.schema), "normal mixture, diagonal") for x in grid]
    assert np.trapezoid(np.exp(log_p), grid[:, 0]) == pytest.approx(1, abs=0.01)


def test_a_singular_covariance_still_has_a_density():
    values, rest = (np.repeat(part[:, :3], 2, axis=1) for part in real())
    assert all(np.isfinite(list(scores((values, rest)).values())))


@pytest.mark.parametrize("latent", [1, 2, 5, 40])
def test_pca_error_is_that_of_the_svd(latent):
    train, test = (values.reshape(len(values), -1) / 255 for values in grey())
    mean = train.mean(0)
    basis = np.linalg.svd(train - mean, full_matrices=False)[2][:latent]
    left = (test - mean) - (test - mean) @ basis.T @ basis
    found = pca_mse_per_dim(*(load(values) for values in grey()), latent)
    assert found == pytest.approx((left**2).mean(), rel=1e-3, abs=1e-9)


def test_pca_error_of_real_numbers_is_in_the_training_rows_standard_deviations():
    """Both parts are measured with one yardstick, that of the training rows, also when they are loaded apart."""
    train, test = real()
    scaled_train, scaled = ((values - train.mean(0)) / train.std(0) for values in (train, test * 3))
    basis = np.linalg.svd(scaled_train, full_matrices=False)[2][:LATENT]
    found = pca_mse_per_dim(load(train), load(test * 3), LATENT)
    assert found == pytest.approx(((scaled - scaled @ basis.T @ basis) ** 2).mean(), rel=1e-3)


def test_the_baselines_are_the_same_every_time_and_leave_the_random_state_alone():
    np.random.seed(3)
    torch.manual_seed(3)
    before = repr(np.random.get_state()), torch.get_rng_state().tolist()
    pair = (real()[0][:200], real()[1][:100])
    assert scores(pair) == scores(pair)
    assert (repr(np.random.get_state()), torch.get_rng_state().tolist()) == before


@pytest.mark.parametrize("dtype, divisor", [(np.float32, 255), (np.float64, 255), (np.float16, 255), (np.float32, 256)])
def test_the_same_images_score_the_same_however_they_are_stored(found, dtype, divisor):
    """A density of levels, whether they came as bytes or divided by 255."""
    train, test = ((values / divisor).astype(dtype) for values in grey())
    assert scores((train, test)) == pytest.approx(found["grey"], rel=1e-6)


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, np.float32])
def test_bits_of_every_dtype(kind):
    """Independent values: the mean Bernoulli log-likelihood at the training shares, but for one pseudo-count."""
    train, test = ((pixels(500, (3, 4), seed) > 60) for seed in (0, 1))
    share = (train.mean(0) * 500 + 0.5) / 501
    exact = stats.bernoulli(share).logpmf(test.astype(int)).sum((1, 2)).mean()
    assert scores((train.astype(kind), test.astype(kind)))["independent values"] == pytest.approx(exact)


def test_no_baseline_gives_counts_more_than_all_probability():
    """log P of a count is at most the exact mean, −entropy; a density at the whole numbers would exceed it."""
    law = stats.poisson(0.03)
    rows = [load(law.rvs((4000, 4), random_state=seed)) for seed in (0, 1)]
    counts = [
        replace(one, schema=one.schema.with_kind(Counts(one.schema.x.kind.offset, one.schema.x.kind.scale)))
        for one in rows
    ]
    assert all(score < -4 * law.entropy() + 0.05 for score in likelihood_baselines(*counts, 2).values())


def test_columns_that_repeat_each_other_or_never_change():
    """Singular data have a finite score, as many latents as there may be."""
    values = np.column_stack([table(300), table(300)[:, 0], np.full(300, 3.0)])
    found = likelihood_baselines(load(values[:200]), load(values[200:]), 8)
    assert np.isfinite(list(found.values())).all()
