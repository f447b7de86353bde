"""The contract of every posterior with every prior: densities, divergences, marginals, gradients and shapes."""

import itertools

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from variate import latents
from variate.config import registry
from variate.latents import Flat, Point, Posterior, Prior

POSTERIORS = {n: c for n, c in registry(latents, Posterior).items() if c is not Point}
PRIORS = registry(latents, Prior)
FEATURES, CONTEXT, SIZE, ROWS = 5, 2, 3, 4
MANY = 60_000


class Case:
    """A latent in double precision with random weights, and the features and context of a few rows."""

    def __init__(self, posterior: str, prior: str, context: int):
        prior_module = PRIORS[prior](SIZE, context)
        self.latent = Flat(POSTERIORS[posterior](FEATURES, SIZE), prior_module).double()
        for parameter in self.latent.parameters():
            nn.init.normal_(parameter, std=0.3)
        self.features = torch.randn(ROWS, FEATURES, dtype=torch.float64)
        self.context = torch.randn(ROWS, context, dtype=torch.float64) if context else None

    def noise(self, samples: int) -> Tensor:
        return torch.randn(samples, ROWS, self.latent.noise_size, dtype=torch.float64)

    def infer(self, samples: int) -> latents.Draw:
        return self.latent.infer(self.features, self.context, self.noise(samples))

    def infer_many(self) -> latents.Draw:
        with torch.no_grad():
            return self.infer(MANY)


@pytest.fixture(params=itertools.product(POSTERIORS, PRIORS, [0, CONTEXT]), ids=lambda p: f"{p[0]}-{p[1]}-{p[2]}")
def case(request) -> Case:
    return Case(*request.param)


def scipy_laws(distribution: Distribution) -> list:
    """The rows of a normal distribution as scipy's, from its mean and covariance."""
    mean = distribution.mean.detach().expand(ROWS, SIZE)
    spread = getattr(distribution, "covariance_matrix", None)
    spread = torch.diag_embed(distribution.variance) if spread is None else spread
    covariance = spread.detach().expand(ROWS, SIZE, SIZE)
    return [scipy.stats.multivariate_normal(m, c) for m, c in zip(mean.numpy(), covariance.numpy(), strict=True)]


def agree(sample: Tensor, expected: Tensor | np.ndarray) -> None:
    """The means over dimension 0 are the expected ones within 4.5 standard errors."""
    error = (sample.mean(0) - torch.as_tensor(expected)).abs()
    assert (error <= 4.5 * sample.std(0) / len(sample) ** 0.5).all()


@pytest.mark.parametrize("samples", [1, 7])
def test_shapes(case, samples):
    draw = case.infer(samples)
    (group,) = draw.groups
    assert draw.code.shape == group.z.shape == (samples, ROWS, SIZE)
    assert group.log_q.shape == group.log_p.shape == draw.log_weight().shape == (samples, ROWS)
    assert [rate.shape[0] for rate in draw.rates_nats()] == [ROWS]


def test_log_densities_are_scipys(case):
    (group,) = case.infer(6).groups
    q, p = scipy_laws(case.latent.posterior(case.features)), scipy_laws(case.latent.prior(case.context))
    for row in range(ROWS):
        z = group.z[:, row].detach()
        np.testing.assert_allclose(group.log_q[:, row].detach(), q[row].logpdf(z), atol=1e-9)
        np.testing.assert_allclose(group.log_p[:, row].detach(), p[row].logpdf(z), atol=1e-9)


def test_samples_have_the_posteriors_mean_and_covariance(case):
    z = case.infer_many().code
    for row, law in enumerate(scipy_laws(case.latent.posterior(case.features))):
        centred = z[:, row] - torch.from_numpy(law.mean)
        agree(z[:, row], law.mean)
        agree(centred.unsqueeze(-1) * centred.unsqueeze(-2), law.cov)


def test_generated_codes_have_the_priors_mean_and_covariance(case):
    with torch.no_grad():
        z = case.latent.generate(case.context, case.noise(MANY))
    assert z.shape == (MANY, ROWS, SIZE)
    for row, law in enumerate(scipy_laws(case.latent.prior(case.context))):
        centred = z[:, row] - torch.from_numpy(law.mean)
        agree(z[:, row], law.mean)
        agree(centred.unsqueeze(-1) * centred.unsqueeze(-2), law.cov)


def test_kl_is_the_mean_log_ratio(case):
    draw = case.infer_many()
    agree(-draw.log_weight(), draw.rates_nats()[0].sum(-1))


def test_kl_is_nowhere_negative(case):
    assert (case.infer(1).rates_nats()[0] >= 0).all()


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_kl_is_nought_where_the_posterior_is_the_prior(posterior):
    case = Case(posterior, "standard", 0)
    nn.init.zeros_(case.latent.posterior.linear.weight)
    nn.init.zeros_(case.latent.posterior.linear.bias)
    torch.testing.assert_close(case.infer(1).rates_nats()[0].sum(-1), torch.zeros(ROWS, dtype=torch.float64))


def test_embedding_is_the_mean_and_not_a_draw(case):
    embedding = case.latent.embed(case.features, case.context)
    assert embedding.shape == (ROWS, case.latent.size)
    agree(case.infer_many().code, embedding.detach())
    assert torch.equal(embedding, case.latent.embed(case.features, case.context))


def test_code_of_an_embedding_is_the_code_of_that_draw(case):
    embedding = case.latent.embed(case.features, case.context)
    at_mean = case.latent.infer(case.features, case.context, torch.zeros(1, ROWS, case.latent.noise_size).double())
    torch.testing.assert_close(case.latent.code_at(embedding, case.context), at_mean.code[0])


def test_marginals_have_the_means_and_variances_of_the_draws(case):
    ((q, p),) = case.latent.marginals(case.features, case.context)
    with torch.no_grad():
        drawn = case.infer_many().code, case.latent.generate(case.context, case.noise(MANY))
    for z, law in zip(drawn, (q, p), strict=True):
        mean, variance = law.mean.detach().expand(ROWS, SIZE), law.variance.detach().expand(ROWS, SIZE)
        agree(z, mean)
        agree((z - mean) ** 2, variance)


def test_rows_do_not_see_each_other(case):
    """Other features and another context in row 0 leave the draws and densities of the others as they were."""
    noise = case.noise(2)
    before = case.latent.infer(case.features, case.context, noise)
    case.features[0] += 1
    if case.context is not None:
        case.context[0] -= 1
    after = case.latent.infer(case.features, case.context, noise)
    assert torch.equal(before.code[:, 1:], after.code[:, 1:])
    assert torch.equal(before.log_weight()[:, 1:], after.log_weight()[:, 1:])
    assert not torch.equal(before.code[:, 0], after.code[:, 0])


def test_gradient_reaches_every_parameter(case):
    draw = case.infer(3)
    (draw.log_weight().sum() + sum(rate.sum() for rate in draw.rates_nats()) + draw.code.sum()).backward()
    for name, parameter in case.latent.named_parameters():
        assert parameter.grad is not None and (parameter.grad != 0).any(), name


class TestDetachedDensity:
    """Along z = μ + L ε the density log q(z) does not feel μ; with q held constant it does, by −L⁻ᵀ ε."""

    def mean_gradients(self, case: Case) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients with respect to the bias of μ of log q and of its detached twin, and −Σ L⁻ᵀ ε."""
        noise, bias = case.noise(5), case.latent.posterior.linear.bias
        (group,) = case.latent.infer(case.features, case.context, noise).groups
        torch.testing.assert_close(group.log_q_detached(), group.log_q)
        sums = (group.log_q.sum(), group.log_q_detached().sum())
        whole, detached = (torch.autograd.grad(s, bias, retain_graph=True)[0][:SIZE] for s in sums)
        covariance = [np.atleast_2d(law.cov) for law in scipy_laws(case.latent.posterior(case.features))]
        factors = np.linalg.cholesky(np.stack(covariance))
        expected = -np.einsum("bji,nbj->i", np.linalg.inv(factors), noise.numpy())
        return whole, detached, torch.from_numpy(expected)

    def test_has_the_gradient_along_the_sample_alone(self, case):
        whole, detached, expected = self.mean_gradients(case)
        torch.testing.assert_close(whole, torch.zeros_like(whole), rtol=0, atol=1e-9)
        torch.testing.assert_close(detached, expected)

    def test_has_no_gradient_when_the_sample_is_held_too(self, case):
        with torch.no_grad():
            noise = case.noise(2)
        (group,) = case.latent.infer(case.features.detach(), case.context, noise).groups
        along = torch.autograd.grad(group.log_q_detached().sum(), group.z, retain_graph=True)[0]
        through = torch.autograd.grad(group.z, case.latent.posterior.linear.weight, along, retain_graph=True)[0]
        all_of_it = torch.autograd.grad(group.log_q_detached().sum(), case.latent.posterior.linear.weight)[0]
        torch.testing.assert_close(all_of_it, through)


class TestContext:
    def test_a_normal_prior_depends_on_it(self):
        case = Case("diagonal", "normal", CONTEXT)
        p = case.latent.prior(case.context)
        assert p.mean.unique(dim=0).shape[0] == ROWS
        assert p.covariance_matrix.flatten(1).unique(dim=0).shape[0] == ROWS

    def test_the_standard_prior_does_not(self):
        case = Case("diagonal", "standard", CONTEXT)
        z = torch.randn(ROWS, SIZE, dtype=torch.float64)
        expected = scipy.stats.norm.logpdf(z).sum(-1)
        np.testing.assert_allclose(case.latent.prior(case.context).log_prob(z), expected)

    @pytest.mark.parametrize("context", [0, CONTEXT])
    @pytest.mark.parametrize("prior", PRIORS)
    def test_every_prior_starts_as_the_standard_normal(self, prior, context):
        fresh = PRIORS[prior](SIZE, context)
        z = torch.randn(ROWS, SIZE)
        found = fresh(torch.randn(ROWS, context) if context else None).log_prob(z)
        np.testing.assert_allclose(found.detach(), scipy.stats.norm.logpdf(z).sum(-1), rtol=1e-5)


@pytest.mark.parametrize("size", [10.0, 1e3])
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_wild_features_overflow_nothing(posterior, size):
    """Neither densities nor divergences nor their gradients become infinite or NaN when an encoder goes astray."""
    latent = Flat(POSTERIORS[posterior](FEATURES, SIZE), PRIORS["standard"](SIZE, 0))
    features = (size * torch.randn(ROWS, FEATURES)).requires_grad_()
    draw = latent.infer(features, None, torch.randn(2, ROWS, SIZE))
    numbers = [draw.code, draw.log_weight(), *draw.rates_nats()]
    sum(number.sum() for number in numbers).backward()
    assert all(torch.isfinite(number).all() for number in [*numbers, features.grad])


class TestPoint:
    latent = Flat(Point(FEATURES, SIZE), PRIORS["standard"](SIZE, 0))
    features = torch.randn(ROWS, FEATURES)

    def test_code_is_the_embedding_whatever_the_noise(self):
        draw = self.latent.infer(self.features, None, torch.randn(3, ROWS, SIZE))
        assert torch.equal(draw.code, self.latent.embed(self.features, None).expand(3, ROWS, SIZE))

    def test_claims_neither_density_nor_rate(self):
        draw = self.latent.infer(self.features, None, torch.randn(1, ROWS, SIZE))
        (group,) = draw.groups
        assert (group.log_q, group.log_p, group.kl_nats) == (None, None, None)
        for claim in (draw.log_weight, draw.rates_nats):
            with pytest.raises(ValueError, match="deterministic"):
                claim()


def test_rates_without_a_closed_form_are_estimated_from_the_draws():
    """rates_nats falls back to the mean of log q − log p, one entry per row."""
    log_q, log_p = torch.randn(2, 9, ROWS)
    group = latents.Group(torch.zeros(9, ROWS, SIZE), log_q, log_p, None, log_q.detach)
    (rate,) = latents.Draw((group,), group.z).rates_nats()
    np.testing.assert_allclose(rate, (log_q - log_p).numpy().mean(0)[:, None], rtol=1e-5)
