"""Estimates against exact answers: linear-Gaussian models, small discrete models, and the law that data came from."""

import itertools
import math
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from torch import Tensor

import variate
from variate.data.batch import Cells
from variate.data.dataset import Dataset
from variate.data.infer import label_field
from variate.data.kinds import Levels, Reals
from variate.data.load import load
from variate.data.schema import Field, Schema
from variate.models.posteriors.diagonal import Diagonal
from variate.models.scales import BEND, packed
from variate.results import estimate
from variate.results.checkpoint import Run

pytestmark = pytest.mark.bits

SIZE, VALUES, ROWS, SIGMA = 2, 5, 40, 0.5
COUNTS = (50, 30, 20)  # training rows per class
LINEAR = {
    "standard prior": {},
    "normal prior": {"prior": {"name": "normal"}},
    "standard prior, conditional": {"labels": COUNTS},
    "normal prior, conditional": {"labels": COUNTS, "prior": {"name": "normal"}},
    "full posterior": {"posterior": {"name": "full"}, "prior": {"name": "normal"}},
    "full posterior, conditional": {"labels": COUNTS, "posterior": {"name": "full"}, "prior": {"name": "normal"}},
}


class Given(NamedTuple):
    """What a label says, in model units: u = bias + weight z + σ ε, z ~ N(mean, factor factorᵀ)."""

    weight: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    factor: np.ndarray

    def law(self, offset: np.ndarray, scale: np.ndarray) -> Any:
        """p(x|c) = N(b + W m, W S Wᵀ + σ² I) in raw units."""
        wide = self.weight @ self.factor
        covariance = wide @ wide.T + SIGMA**2 * np.eye(VALUES)
        mean = offset + scale * (self.bias + self.weight @ self.mean)
        return scipy.stats.multivariate_normal(mean, covariance * np.outer(scale, scale))

    def posterior(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(matrix, offset, covariance) of p(z|u,c) = N(matrix u + offset, covariance)."""
        prior = np.linalg.inv(self.factor @ self.factor.T)
        covariance = np.linalg.inv(prior + self.weight.T @ self.weight / SIGMA**2)
        matrix = covariance @ self.weight.T / SIGMA**2
        return matrix, covariance @ prior @ self.mean - matrix @ self.bias, covariance


def exact_parts(run: Run) -> list[Given]:
    """One for each label, from probing the decoder with unit codes."""
    model, parts = run.model.float(), []
    for label in range(len(run.schema.class_counts or (0,))):
        c = model.encode_context({"label": Cells(torch.tensor([label]))})
        codes = torch.cat([torch.zeros(1, SIZE), torch.eye(SIZE)]).unsqueeze(1)
        out = model.likelihood.point(model.decode(codes, c))["x"][:, 0].double().numpy()
        prior = model.latent.prior(c)
        mean = prior.mean.reshape(-1, SIZE)[0].double().numpy()
        factor = getattr(prior, "scale_tril", torch.eye(SIZE)).reshape(-1, SIZE, SIZE)[0].double().numpy()
        parts.append(Given((out[1:] - out[0]).T, out[0], mean, factor))
    return parts


class Beside(torch.nn.Module):
    """An encoder that hands on what it reads."""

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        return x if context is None else torch.cat([x, context], -1)


class NearThePosterior(torch.nn.Module):
    """In the place of a posterior's linear layer: the parameters of p(z|u,c) itself, but half as wide again.

    A diagonal one is twice as wide as the bound's own optimum: weights of one that is narrower than the true one, under
    whatever label is tried with a row, would have no variance. Nothing is learned, which processors do unlike.
    """

    def __init__(self, parts: list[Given], diagonal: bool):
        super().__init__()
        matrices, offsets, covariances = (np.stack(each) for each in zip(*[p.posterior() for p in parts], strict=True))
        lower = torch.from_numpy(1.5 * np.linalg.cholesky(covariances))
        deviation = 2 / np.sqrt(np.diagonal(np.linalg.inv(covariances), axis1=1, axis2=2))
        spread = BEND * torch.atanh(torch.from_numpy(deviation).log() / BEND) if diagonal else packed(lower)
        for name, tensor in (("matrix", torch.from_numpy(matrices)), ("offset", torch.from_numpy(offsets))):
            self.register_buffer(name, tensor.float())
        self.register_buffer("spread", spread.float())

    def forward(self, features: Tensor) -> Tensor:
        u, c = features.split([VALUES, features.shape[-1] - VALUES], -1)
        label = c.argmax(-1) if c.shape[-1] else torch.zeros(len(u), dtype=torch.long)
        mean = (self.matrix[label] @ u.unsqueeze(-1)).squeeze(-1) + self.offset[label]
        return torch.cat([mean, self.spread[label]], -1)


class LinearGaussian:
    """An assembled model, rows drawn from it, its exact log p(x|c) and log p(x), and a posterior near the true one."""

    def __init__(self, run: Run):
        parts, latent = exact_parts(run), run.model.latent
        self.run, self.laws = (
            run,
            [part.law(np.array(run.schema.x.kind.offset), np.array(run.schema.x.kind.scale)) for part in parts],
        )
        run.model.encoder = Beside()
        latent.posterior.linear = NearThePosterior(parts, isinstance(latent.posterior, Diagonal))
        rng = np.random.default_rng(1)
        classes = len(self.laws)
        labels = rng.integers(0, classes, ROWS)
        values = np.stack([self.laws[label].rvs(random_state=rng) for label in labels])
        self.data = Dataset(torch.from_numpy(values), torch.from_numpy(labels) if classes > 1 else None, run.schema)
        each = np.stack([law.logpdf(values) for law in self.laws])  # (classes, ROWS)
        self.conditional = each[labels, np.arange(ROWS)]
        shares = np.log(np.array(COUNTS[:classes]) / sum(COUNTS[:classes]))
        self.marginal = scipy.special.logsumexp(each + shares[:, None], axis=0)


@pytest.fixture(scope="module", params=LINEAR.values(), ids=list(LINEAR))
def linear(request, tiny_run) -> LinearGaussian:
    """Weights of its own, a schema with offsets and scales, and a posterior near the true one."""
    sections = dict(request.param)
    offset, scale = (3.0, -1.0, 0.0, 100.0, -7.0), (0.1, 2.0, 1.0, 30.0, 5.0)
    schema = Schema.of(
        Field(Reals(offset=offset, scale=scale), (VALUES,), "float64"),
        *([label_field(sections.pop("labels"))] if "labels" in sections else []),
    )
    run = tiny_run(schema, likelihood={"name": "gaussian", "sigma": SIGMA}, **sections)
    run.model.requires_grad_(False)
    return LinearGaussian(run)


class TestLinearGaussian:
    def test_importance_weighting_finds_the_exact_log_likelihood_in_raw_units(self, linear):
        result = estimate.log_likelihood(linear.run, linear.data, samples=1500)
        gap = result.nats.numpy() - linear.conditional
        assert abs(gap.mean()) <= 0.01 + 3 * result.mean_mc_se
        assert (np.abs(gap) <= 0.01 + 5 * result.mc_se.numpy()).all()
        assert result.mean_mc_se < 0.05

    def test_an_array_is_read_in_the_units_that_the_model_learned(self, linear):
        """Rows that come without the model's schema are not to be standardised by their own mean and scale."""
        values, labels = linear.data.values.numpy(), linear.data.labels
        again = load(values, None if labels is None else labels.numpy())
        found = estimate.log_likelihood(linear.run, again, samples=3)
        expected = estimate.log_likelihood(linear.run, linear.data, samples=3)
        torch.testing.assert_close(found.nats, expected.nats)

    def test_estimate_is_never_far_above_the_truth(self, linear):
        """Few samples: below in expectation, so above only by its own error."""
        result = estimate.log_likelihood(linear.run, linear.data, samples=5)
        assert (result.nats.numpy() - linear.conditional).mean() <= 3 * result.mean_mc_se

    def test_elbo_is_below_the_exact_log_likelihood(self, linear):
        elbos = [estimate.elbo_parts(linear.run, linear.data, seed=seed).elbo_nats.numpy() for seed in range(20)]
        gaps = np.stack(elbos).mean(1) - linear.conditional.mean()
        assert gaps.mean() <= 3 * gaps.std() / len(gaps) ** 0.5
        assert gaps.mean() > -3  # the posterior is near the true one

    def test_standard_errors_are_calibrated_row_by_row(self, linear):
        """Over seeds the estimates of the middling row scatter as far as their own standard errors say."""
        results = [estimate.log_likelihood(linear.run, linear.data, samples=100, seed=seed) for seed in range(30)]
        scatter = torch.stack([result.nats for result in results]).var(0)
        claimed = torch.stack([result.mc_se for result in results]).square().mean(0)
        assert 0.8 < float((scatter / claimed).sqrt().median()) < 1.25

    def test_label_is_summed_out_with_the_training_frequencies(self, linear):
        """log p(x) = logsumexp_c [log p(c) + log p(x|c)]; without labels there is nothing to sum."""
        result = estimate.log_likelihood(linear.run, linear.data, samples=1000, marginal=True)
        gap = result.nats.numpy() - linear.marginal
        assert abs(gap.mean()) <= 0.01 + 3 * result.mean_mc_se


DISCRETE = {
    "bernoulli": (2, {"name": "bernoulli"}),
    "categorical": (3, {"name": "categorical"}),
    "discretized logistic": (3, {"name": "discretized_logistic"}),
    "mixture of logistics": (3, {"name": "discretized_logistic", "components": 2}),
    "mixture with atoms": (3, {"name": "discretized_logistic", "components": 2, "atoms": (0, 1)}),
}


class TestDiscrete:
    """2 × 3 images under a model with one latent unit: p(x) by quadrature over z, for all L⁶ images."""

    @pytest.fixture(params=DISCRETE.values(), ids=list(DISCRETE))
    def run(self, request, tiny_run) -> Run:
        levels, likelihood = request.param
        schema = Schema.of(Field(Levels(levels), (2, 3), "uint8"))
        run = tiny_run(schema, latent={"name": "flat", "size": 1}, likelihood=likelihood)
        posterior = run.model.latent.posterior.linear
        torch.nn.init.normal_(posterior.weight, std=0.1)  # near the prior and wider: no heavy tails
        torch.nn.init.constant_(posterior.bias, 0.1)
        run.model.requires_grad_(False).float()
        return run

    @pytest.fixture
    def images(self, run) -> Dataset:
        levels = run.schema.x.kind.levels
        table = np.array(list(itertools.product(range(levels), repeat=6)), np.uint8)
        return Dataset(torch.from_numpy(table.reshape(-1, 2, 3)), None, run.schema)

    def exact(self, run: Run, images: Dataset, quadrature) -> Tensor:
        z, weights = quadrature(80, 1)
        given = run.model.decode(z.float().unsqueeze(1), None)
        return torch.logsumexp(
            run.model.likelihood.only.log_prob(given["x"], run.schema.x.to_tensor(images.values).unsqueeze(0))
            + weights.log()[:, None],
            0,
        )

    def test_exact_probabilities_of_all_images_sum_to_one(self, run, images, normal_quadrature):
        assert abs(float(self.exact(run, images, normal_quadrature).exp().sum()) - 1) < 1e-5

    def test_importance_weighting_finds_the_exact_log_likelihood(self, run, images, normal_quadrature):
        result = estimate.log_likelihood(run, images, samples=2000)
        gap = result.nats - self.exact(run, images, normal_quadrature)
        assert abs(float(gap.mean())) <= 0.001 + 3 * result.mean_mc_se
        assert (gap.abs() <= 0.002 + 5.5 * result.mc_se).all()

    def test_elbo_is_below_it(self, run, images, normal_quadrature):
        parts = estimate.elbo_parts(run, images)
        assert float(parts.elbo_nats.mean()) < float(self.exact(run, images, normal_quadrature).mean())


@pytest.fixture(scope="module")
def gaps(tmp_path_factory) -> tuple[np.ndarray, float]:
    """log p(x) of a default fit less that of the law, per fresh row, and the Monte-Carlo error of the mean.

    n = 6,000 rows of 12 columns with three factors; fresh rows to judge the fit on, handed over as an array.
    """
    rng = np.random.default_rng(0)
    loadings, noise = rng.normal(size=(12, 3)), rng.uniform(0.3, 1, 12)
    law = scipy.stats.multivariate_normal(3 * rng.normal(size=12), loadings @ loadings.T + np.diag(noise**2))
    run = variate.fit(law.rvs(6000, random_state=rng), out=tmp_path_factory.mktemp("law") / "run")
    fresh = law.rvs(1000, random_state=rng)
    result = estimate.log_likelihood(run, load(fresh), samples=100)
    return result.nats.numpy() - law.logpdf(fresh), result.mean_mc_se


class TestKnownLaw:
    def test_a_default_fit_comes_within_a_tenth_of_a_nat(self, gaps):
        assert gaps[0].mean() >= -0.1

    def test_a_fit_is_never_better_than_the_truth(self, gaps):
        assert gaps[0].mean() <= 3 * math.hypot(gaps[0].std() / len(gaps[0]) ** 0.5, gaps[1])

    def test_its_density_integrates_to_one(self, gaps):
        """E over the law of p_model / p_law is ∫ p_model = 1."""
        ratio = np.exp(gaps[0])
        assert abs(ratio.mean() - 1) <= 4 * ratio.std() / len(ratio) ** 0.5
