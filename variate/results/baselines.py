"""Maximum-likelihood models that need no network, fitted to the same rows: what a model must beat.

Densities of whole-number data are those of x + u, u uniform on [0, 1), whose mean log-density bounds the
log-probability of the levels from below (Theis et al. 2016, section 3.1); so every figure is comparable with a
discrete likelihood, in nats per example of the raw data.
"""

from dataclasses import replace

import numpy as np
import torch
from sklearn.covariance import EmpiricalCovariance, LedoitWolf
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from variate.base.hushed import hushed
from variate.base.progress import track
from variate.data.dataset import Dataset

__all__ = ["likelihood_baselines", "pca_mse_per_dim"]

MOST_ROWS = 10_000  # the mixture is fitted on a fixed subset: EM on everything costs minutes and gains little
MIXTURE_COMPONENTS = 20


def likelihood_baselines(train: Dataset, test: Dataset, latent: int) -> dict[str, float]:
    """Name → mean test log-likelihood in nats per example, all fitted on the training rows alone."""
    if train.schema.table or train.schema.x.missing or test.schema.x.missing:
        return {}  # these know no holes
    levels, test = train.schema.x.kind.levels, replace(test, schema=train.schema)
    if not train.schema.x.kind.is_mass and not train.schema.x.varying_size:
        return {}
    fits = {
        "multivariate normal": _normal,
        f"probabilistic PCA, {latent}": _ppca,
        "normal mixture, diagonal": _mixture,
    }
    if levels is not None:
        fits = {"independent values": _independent} | fits
    scores = {}
    for name, fit in track(fits.items(), "Fitting baselines", total=len(fits)):
        scores[name] = float(fit(train, test, latent))
    return scores


def _raw(data: Dataset) -> torch.Tensor:
    return torch.from_numpy(data.values.numpy())


def _levels(data: Dataset) -> np.ndarray:
    """(n, D) int64: the whole numbers that the values stand for."""
    return data.schema.x.kind.whole(_raw(data)).numpy().reshape(len(data), -1)


def _continuous(data: Dataset) -> np.ndarray:
    """(n, D) float64: real numbers about their mean, without constants; whole numbers with noise of a fixed seed."""
    if not data.schema.x.kind.is_mass:
        axes, shape = data.schema.x.axes, data.schema.x.shape
        scale = np.broadcast_to(axes.along_channels(data.schema.x.kind.scale), shape).flatten()
        offset = np.broadcast_to(axes.along_channels(data.schema.x.kind.offset), shape).flatten()
        return (data.values.numpy().reshape(len(data), -1).astype(np.float64) - offset)[:, scale > 0]
    levels = _levels(data)
    return levels + np.random.default_rng(0).random(levels.shape)


def _independent(train: Dataset, test: Dataset, latent: int) -> float:
    """Each value its own categorical, with one pseudo-count spread over the levels."""
    levels = train.schema.x.kind.levels or 1
    fitted, scored = _levels(train), _levels(test)
    total = 0.0
    for column in range(fitted.shape[1]):
        counts = np.bincount(fitted[:, column], minlength=levels)
        log_mass = np.log((counts + 1 / levels) / (len(fitted) + 1))
        total += log_mass[scored[:, column]].mean()
    return total


def _normal(train: Dataset, test: Dataset, latent: int) -> float:
    """The whole covariance; shrunk by Ledoit & Wolf's rule where the plain one is singular and has no density."""
    values = _continuous(train)
    plain = EmpiricalCovariance().fit(values)
    singular = np.linalg.matrix_rank(plain.covariance_, hermitian=True) < values.shape[1]
    return (LedoitWolf().fit(values) if singular else plain).score(_continuous(test))


def _ppca(train: Dataset, test: Dataset, latent: int) -> float:
    """x = W z + m + ε with the model's own latent size (Tipping & Bishop 1999); fewer where nothing is left for ε."""
    values = _continuous(train)
    rank = np.linalg.matrix_rank(values - values.mean(0))
    return _pca(values, latent if rank == values.shape[1] else min(latent, max(rank - 1, 0))).score(_continuous(test))


def _mixture(train: Dataset, test: Dataset, latent: int) -> float:
    values, scored = _continuous(train.subset(MOST_ROWS)), _continuous(test)
    # what is added to the variances is in units of the levels, or of a real column's spread
    spread = np.ones(values.shape[1]) if train.schema.x.kind.is_mass else values.std(0)
    components = min(MIXTURE_COMPONENTS, len(values) // 10 + 1)
    model = GaussianMixture(components, covariance_type="diag", reg_covar=1e-3, max_iter=50, random_state=0)
    with hushed():  # 50 rounds of EM are enough for a baseline, converged or not
        return model.fit(values / spread).score(scored / spread) - np.log(spread).sum()


def _pca(values: np.ndarray, latent: int) -> PCA:
    return PCA(min(latent, *values.shape), random_state=0).fit(values)


def pca_mse_per_dim(train: Dataset, test: Dataset, latent: int) -> float:
    """Mean squared error per value of PCA's reconstruction with as many components as the model has latents.

    In model units: [0, 1] for whole-number levels, standard deviations for real numbers.
    """
    fitted, scored = (train.schema.x.to_tensor(_raw(data)).flatten(1).numpy() for data in (train, test))
    pca = _pca(fitted, latent)
    return float(((scored - pca.inverse_transform(pca.transform(scored))) ** 2).mean())
