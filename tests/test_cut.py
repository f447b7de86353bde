"""The proof of the cut: a two-group ladder and an autoregressive likelihood, made here, run through all of it.

Both are small enough to be summed or integrated exactly.
"""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution
from toys.latents.ladder import Ladder

from variate import config
from variate.base.errors import UserError
from variate.data.batch import Batch, Record
from variate.data.dataset import Dataset
from variate.data.kinds import Levels, Reals
from variate.data.schema import Field, Schema
from variate.models.latents.flat import Flat
from variate.models.likelihoods.gaussian import Gaussian
from variate.models.likelihoods.joint import Joint
from variate.models.likelihoods.likelihood import Likelihood
from variate.models.model import Model
from variate.models.networks import mlp
from variate.models.objectives.elbo import Elbo
from variate.models.objectives.iwae import Iwae
from variate.models.posteriors.diagonal import Diagonal
from variate.models.priors.standard import Standard
from variate.models.readers import reader_of
from variate.results import estimate, inference
from variate.results.checkpoint import Run
from variate.training.trainer import Step

TOP, BOTTOM, VALUES, STATE, BITS, ROWS = 2, 1, 4, 3, 6, 5
SIGMA = 0.6
REAL = Field(Reals(offset=(0.0,) * VALUES, scale=(1.0,) * VALUES), (VALUES,), "float32")
BINARY = Field(Levels(2), (BITS,), "uint8")
every_objective = pytest.mark.parametrize("objective", [Elbo(), Elbo(samples=3), Iwae(k=4)], ids=["1", "3", "iwae"])


class _Sequential(Distribution):
    """P(x) = ∏ᵢ Bernoulli(xᵢ; logitᵢ + Σ_{j<i} W_ij x_j): ``log_prob`` in one pass, ``sample`` value by value."""

    arg_constraints = {}

    def __init__(self, logits: Tensor, weight: Tensor):
        self.logits, self.weight = logits, weight.tril(-1)
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        return Bernoulli(logits=self.logits + value @ self.weight.T, validate_args=False).log_prob(value).sum(-1)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008 (torch's own signature)
        x = torch.zeros(sample_shape + self.logits.shape, dtype=self.logits.dtype)
        for i in range(x.shape[-1]):
            x[..., i] = torch.bernoulli(torch.sigmoid(self.logits[..., i] + x @ self.weight[i]))
        return x

    @property
    def mean(self) -> Tensor:
        raise NotImplementedError


class Autoregressive(Likelihood):
    """A likelihood whose values depend on each other given z; the greedy walk is its point."""

    factorised = False

    def __init__(self, features: tuple[int, ...], field: Field):
        super().__init__(features, field, per_value=1)
        self.weight = nn.Parameter(torch.zeros(field.size, field.size))

    def distribution(self, parameters: Tensor) -> Distribution:
        return _Sequential(parameters.squeeze(-2), self.weight)

    def point(self, parameters: Tensor) -> Tensor:
        logits = parameters.squeeze(-2)
        x = torch.zeros_like(logits)
        for i in range(x.shape[-1]):
            x[..., i] = (logits[..., i] + x @ self.weight.tril(-1)[i] > 0).to(x.dtype)
        return x


def model_of(encoder: nn.Module, latent: nn.Module, decoder: nn.Module, likelihood: Likelihood) -> Model:
    field = likelihood.field
    return Model(reader_of((field,)), encoder, latent, decoder, Joint({field.name: likelihood}), None)


def record(x: Tensor) -> Record:
    return Batch.of(x).input


def first_sample(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: numbers[0] for name, numbers in parameters.items()}


def randomised(model: Model, *posteriors: nn.Linear) -> Model:
    """Random weights, with posteriors near the prior and a little wider: importance weights then have no heavy tail."""
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    for linear in posteriors:
        nn.init.normal_(linear.weight, std=0.05)
        nn.init.constant_(linear.bias[len(linear.bias) // 2 :], 0.1)
    return model.double()


@pytest.fixture
def ladder() -> Model:
    """Linear maps and Gaussians everywhere, in double precision; the conditional scale of z₂ is a constant."""
    encoder, decoder = mlp.Encoder((VALUES,), 0, hidden=()), mlp.Decoder((STATE,), (VALUES,), 0, hidden=())
    latent = Ladder(VALUES, top=TOP, bottom=BOTTOM, state=STATE)
    model = model_of(encoder, latent, decoder, Gaussian(decoder.features, REAL, sigma=SIGMA))
    randomised(model, latent.first, latent.second)
    nn.init.zeros_(latent.prior.weight[BOTTOM:])
    nn.init.constant_(latent.prior.bias[BOTTOM:], -0.1)
    return model


@pytest.fixture
def sequential() -> Model:
    encoder, decoder = mlp.Encoder((BITS,), 0, hidden=()), mlp.Decoder((1,), (BITS,), 0, hidden=())
    latent = Flat(Diagonal(BITS, 1), Standard(1, 0))
    model = model_of(encoder, latent, decoder, Autoregressive(decoder.features, BINARY))
    return randomised(model, latent.posterior.linear)


@pytest.fixture(params=["ladder", "sequential"])
def model(request) -> Model:
    return request.getfixturevalue(request.param)


def as_run(model: Model, tmp_path) -> Run:
    """The model as the verbs know it; the configuration names the defaults, which nothing here reads further."""
    return Run(
        model.requires_grad_(False), Schema.of(model.likelihood.only.field), config.DEFAULTS, {"seed": 0}, tmp_path
    )


def rows(model: Model, n: int = ROWS) -> Tensor:
    schema = Schema.of(model.likelihood.only.field)
    drawn = torch.randn(n, schema.x.size, dtype=torch.float64)
    return drawn if schema.x.kind.levels is None else (drawn > 0).double()


def every_bit_vector() -> Tensor:
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=BITS)), dtype=torch.float64)


def dataset(model: Model, values: Tensor) -> Dataset:
    schema = Schema.of(model.likelihood.only.field)
    return Dataset(values.to(getattr(torch, schema.x.dtype)), None, schema)


def ladder_law(model: Model) -> scipy.stats.multivariate_normal:
    """p(x): push mean and covariance of (z₁, z₂) through the linear maps, by numpy alone."""
    with torch.no_grad():
        parts = {name: p.numpy() for name, p in model.latent.named_parameters()}
        head = model.likelihood.only.head.linear
        weight, bias = head.weight.numpy(), head.bias.numpy()
    descend, merge, prior = parts["descend.weight"], parts["merge.weight"], parts["prior.weight"][:BOTTOM]
    offset, scale = parts["prior.bias"][:BOTTOM], np.exp(parts["prior.bias"][BOTTOM:])
    through = weight @ (descend + merge @ prior @ descend)  # x = through z₁ + own ε₂ + offsets
    own = weight @ merge * scale
    covariance = through @ through.T + own @ own.T + SIGMA**2 * np.eye(VALUES)
    return scipy.stats.multivariate_normal(bias + weight @ merge @ offset, covariance)


@every_objective
def test_step_trains(model, objective):
    """The loss, its Terms and a gradient for every parameter, through Model and Step as they are."""
    x = rows(model)
    noise = torch.randn(objective.samples, ROWS, model.latent.noise_size, dtype=torch.float64)
    loss, terms = Step(model, objective)(Batch.of(x), noise, 0)
    loss.backward()
    assert terms.rate_nats.shape == (ROWS, len(model.latent.marginals(model.encoder(x, None), None)))
    torch.testing.assert_close(terms.elbo_nats, -terms.distortion_nats - terms.rate_nats.sum(-1))
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


def test_every_verb_accepts_them(model, tmp_path):
    """Scores, parts, units, embeddings, reconstructions, decodings and samples keep their shapes."""
    run, data = as_run(model.float(), tmp_path), dataset(model, rows(model))
    shape = (ROWS, model.likelihood.only.field.size)
    assert estimate.log_likelihood(run, data, samples=4).nats.shape == (ROWS,)
    assert estimate.elbo_parts(run, data).unit_nats.shape == (model.latent.size,)
    assert estimate.active_units(run, data).shape == (model.latent.size,)
    embedding = inference.code_means(run, data)
    assert embedding.shape == (ROWS, model.latent.size)
    assert inference.reconstruct(run, data).shape == inference.decode(run, embedding).shape == shape
    for mean in (True, False):
        assert inference.sample(run, ROWS, mean=mean).shape == shape


class TestLadder:
    def test_importance_weighted_log_likelihood_is_the_gaussian_marginals(self, ladder):
        x, samples = rows(ladder, 20), 20_000
        with torch.no_grad():
            draw, decoded = ladder(Batch.of(x), torch.randn(samples, 20, TOP + BOTTOM, dtype=torch.float64))
            log_weights = decoded.log_prob + draw.log_weight()
        found = torch.logsumexp(log_weights, 0) - math.log(samples)
        error = (log_weights - found).exp().std(0) / samples**0.5
        expected = torch.from_numpy(ladder_law(ladder).logpdf(x))
        assert ((found - expected).abs() <= 0.01 + 4 * error).all()
        assert (error < 0.1).all()

    def test_estimate_is_the_gaussian_marginals(self, ladder, tmp_path):
        run, x = as_run(ladder.float(), tmp_path), rows(ladder, 50)
        result = estimate.log_likelihood(run, dataset(ladder, x), samples=2000)
        gap = result.nats.numpy() - ladder_law(ladder).logpdf(x)
        assert abs(gap.mean()) <= 0.01 + 3 * result.mean_mc_se

    def test_generated_rows_have_the_marginals_mean_and_covariance(self, ladder, tmp_path):
        law = ladder_law(ladder)
        drawn = inference.sample(as_run(ladder.float(), tmp_path), 20_000).astype(np.float64)
        standard = np.linalg.solve(np.linalg.cholesky(law.cov), (drawn - law.mean).T).T
        assert np.abs(standard.mean(0)).max() < 4 / 20_000**0.5
        assert np.abs(np.cov(standard.T) - np.eye(VALUES)).max() < 4 * (2 / 20_000) ** 0.5
        assert scipy.stats.kstest(standard.ravel(), "norm").pvalue > 1e-3

    def test_elbo_is_below_the_marginal(self, ladder, tmp_path):
        run, x = as_run(ladder.float(), tmp_path), rows(ladder, 200)
        parts = estimate.elbo_parts(run, dataset(ladder, x))
        assert float(parts.elbo_nats.mean()) < ladder_law(ladder).logpdf(x).mean()

    def test_rates_are_the_mean_log_ratios_of_their_groups(self, ladder):
        """KL(q₁‖p₁), and E_{q₁} KL(q₂‖p₂) of the group below, against many samples."""
        x = rows(ladder)
        with torch.no_grad():
            draw = ladder.infer(record(x), None, torch.randn(100_000, ROWS, TOP + BOTTOM, dtype=torch.float64))
        for one, rate in zip(draw.groups, draw.rates_nats(), strict=True):
            ratio = one.log_q - one.log_p
            error = 4.5 * ratio.std(0) / len(ratio) ** 0.5
            assert ((ratio.mean(0) - rate.sum(-1)).abs() <= error).all()

    def test_code_of_an_embedding_is_the_code_without_noise(self, ladder):
        x = rows(ladder)
        features = ladder.encoder(x, None)
        still = ladder.infer(record(x), None, torch.zeros(1, ROWS, TOP + BOTTOM, dtype=torch.float64))
        torch.testing.assert_close(ladder.latent.code_at(ladder.latent.embed(features, None), None), still.code[0])

    def test_doubly_reparameterized_gradient_is_right_in_expectation_or_refused(self, ladder):
        """For every parameter, within 5 standard errors of the plain one over 80,000 draws of two samples.

        The lower group's posterior leans on the upper sample, where scaling every path's gradient once is an art
        (Bauer & Mnih 2021, section 5).
        """
        nn.init.normal_(ladder.latent.second.weight, std=0.7)
        x, draws, chunks = rows(ladder, 1).expand(4000, VALUES), 4000, 20
        differences = []
        for _ in range(chunks):
            noise, pair = torch.randn(2, draws, TOP + BOTTOM, dtype=torch.float64), []
            for kind in ("reparameterized", "doubly_reparameterized"):
                ladder.zero_grad()
                try:
                    Step(ladder, Iwae(k=2, gradient=kind))(Batch.of(x), noise, 0)[0].backward()
                except UserError:
                    assert kind == "doubly_reparameterized"
                    return
                pair.append(torch.cat([p.grad.flatten() for p in ladder.parameters()]))
            differences.append(pair[1] - pair[0])
        table = torch.stack(differences)
        assert (table.mean(0).abs() <= 5 * table.std(0) / chunks**0.5 + 1e-9).all()


class TestAutoregressive:
    def test_probabilities_given_z_sum_to_one(self, sequential):
        parameters = first_sample(sequential.decode(torch.randn(1, 3, 1, dtype=torch.float64), None))
        log_prob = sequential.likelihood.log_prob(parameters, record(every_bit_vector().unsqueeze(1)))
        np.testing.assert_allclose(log_prob.exp().sum(0).detach(), 1, atol=1e-12)

    def test_samples_have_the_teacher_forced_probabilities(self, sequential):
        with torch.no_grad():
            parameters = first_sample(sequential.decode(torch.zeros(1, 1, 1, dtype=torch.float64), None))
            expected = 50_000 * sequential.likelihood.log_prob(parameters, record(every_bit_vector())).exp().numpy()
            drawn = sequential.likelihood.only.distribution(parameters["x"]).sample(torch.Size([50_000]))[:, 0].numpy()
        counts = np.bincount((drawn @ 2 ** np.arange(BITS)[::-1]).astype(int), minlength=2**BITS)
        statistic = ((counts - expected) ** 2 / expected).sum()
        assert scipy.stats.chi2.sf(statistic, 2**BITS - 1) > 1e-3

    def test_importance_weighted_probabilities_of_all_rows_sum_to_one(self, sequential, tmp_path):
        run, data = as_run(sequential.float(), tmp_path), dataset(sequential, every_bit_vector())
        result = estimate.log_likelihood(run, data, samples=1000)
        masses = result.nats.exp()
        assert abs(float(masses.sum()) - 1) <= 4 * float((masses * result.mc_se).square().sum().sqrt()) + 1e-5

    def test_estimate_is_the_integral_over_z(self, sequential, tmp_path, normal_quadrature):
        z, weights = normal_quadrature(100, 1)
        x = every_bit_vector()
        with torch.no_grad():
            parameters, every = sequential.decode(z.unsqueeze(1), None), record(x.unsqueeze(1).unsqueeze(1))
            given = sequential.likelihood.log_prob(parameters, every)
        exact = torch.logsumexp(given.squeeze(-1) + weights.log(), -1)
        result = estimate.log_likelihood(as_run(sequential.float(), tmp_path), dataset(sequential, x), samples=1000)
        assert ((result.nats - exact).abs() <= 0.001 + 4.5 * result.mc_se).all()

    def test_missing_cells_are_refused(self, sequential):
        parameters = torch.zeros(ROWS, 1, BITS, dtype=torch.float64)
        with pytest.raises(UserError, match="Autoregressive"):
            sequential.likelihood.only.log_prob(parameters, rows(sequential), torch.ones(ROWS, BITS, dtype=torch.bool))
