"""The contract of every posterior with every prior: densities, divergences, marginals, gradients and shapes."""

import itertools

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn
from torch.distributions import Distribution

from variate.base.errors import UserError
from variate.base.registry import registry
from variate.models import posteriors, priors
from variate.models.latents.choosing import held
from variate.models.latents.flat import Flat
from variate.models.latents.latent import Draw, Group
from variate.models.laws.normals import NormalMixture
from variate.models.posteriors.point import Point
from variate.models.posteriors.posterior import Posterior
from variate.models.priors.mixture import Mixture
from variate.models.priors.normal import Normal
from variate.models.priors.prior import Prior

POSTERIORS = {n: c for n, c in registry(posteriors, Posterior).items() if c is not Point}
PRIORS = registry(priors, Prior)
CLOSED = [name for name in PRIORS if name != "mixture"]  # those with an exact KL divergence
FEATURES, CONTEXT, SIZE, ROWS = 5, 2, 3, 4
MANY = 60_000


class Case:
    """A latent in double precision with random weights, and the features and context of a few rows."""

    def __init__(self, posterior: str, prior: str, context: int):
        prior_module = PRIORS[prior](SIZE, context, **({"components": 3} if prior == "mixture" else {}))
        self.latent = Flat(POSTERIORS[posterior](FEATURES, SIZE), prior_module).double()
        for parameter in self.latent.parameters():
            nn.init.normal_(parameter, std=0.3)
        self.features = torch.randn(ROWS, FEATURES, dtype=torch.float64)
        self.context = torch.randn(ROWS, context, dtype=torch.float64) if context else None

    def noise(self, samples: int) -> Tensor:
        return torch.randn(samples, ROWS, self.latent.noise_size, dtype=torch.float64)

    def infer(self, samples: int) -> Draw:
        return self.latent.infer(self.features, self.context, self.noise(samples))

    def infer_many(self) -> Draw:
        with torch.no_grad():
            return self.infer(MANY)


@pytest.fixture(params=itertools.product(POSTERIORS, PRIORS, [0, CONTEXT]), ids=lambda p: f"{p[0]}-{p[1]}-{p[2]}")
def case(request) -> Case:
    return Case(*request.param)


class ScipyMixture:
    """Σ_k w_k N(m_k, C_k) with its log-density, mean and covariance."""

    def __init__(self, weights: np.ndarray, means: np.ndarray, covariances: np.ndarray):
        self.weights = weights
        self.laws = [scipy.stats.multivariate_normal(*law) for law in zip(means, covariances, strict=True)]
        self.mean = weights @ means
        outer = np.einsum("kd,ke->kde", means - self.mean, means - self.mean)
        self.cov = np.einsum("k,kde->de", weights, covariances + outer)

    def logpdf(self, z: Tensor) -> np.ndarray:
        each = np.stack([np.atleast_1d(law.logpdf(z)) for law in self.laws])
        return scipy.special.logsumexp(each + np.log(self.weights)[:, None], 0)


def scipy_mixtures(p: NormalMixture) -> list[ScipyMixture]:
    weights = scipy.special.softmax(p.logits.detach().expand(ROWS, -1).numpy(), -1)
    means, factors = p.means.detach().expand(ROWS, -1, SIZE).numpy(), p.scale_tril.detach().numpy()
    return [ScipyMixture(w, m, factors @ factors.swapaxes(1, 2)) for w, m in zip(weights, means, strict=True)]


def scipy_laws(distribution: Distribution) -> list:
    """The rows of a normal distribution as scipy's, from its mean and covariance; of a mixture from its parts."""
    if isinstance(distribution, NormalMixture):
        return scipy_mixtures(distribution)
    mean = distribution.mean.detach().expand(ROWS, SIZE)
    spread = getattr(distribution, "covariance_matrix", None)
    spread = torch.diag_embed(distribution.variance) if spread is None else spread
    covariance = spread.detach().expand(ROWS, SIZE, SIZE)
    return [scipy.stats.multivariate_normal(m, c) for m, c in zip(mean.numpy(), covariance.numpy(), strict=True)]


def agree(sample: Tensor, expected: Tensor | np.ndarray) -> None:
    """The means over dimension 0 are the expected ones within 4.5 standard errors."""
    error = (sample.mean(0) - torch.as_tensor(expected)).abs()
    assert (error <= 4.5 * sample.std(0) / len(sample) ** 0.5).all()


@pytest.fixture(params=itertools.product(POSTERIORS, CLOSED, [0, CONTEXT]), ids=lambda p: f"{p[0]}-{p[1]}-{p[2]}")
def closed(request) -> Case:
    return Case(*request.param)


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
    agree(-draw.log_weight() - draw.groups[0].kl_nats.sum(-1), torch.zeros(ROWS))


def test_kl_is_nowhere_negative(closed):
    assert (closed.infer(1).rates_nats()[0] >= 0).all()


@pytest.mark.parametrize("context", [0, CONTEXT])
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_the_rate_to_a_mixture_is_estimated_as_one_unit(posterior, context):
    draw = Case(posterior, "mixture", context).infer(7)
    (group,), (rate,) = draw.groups, draw.rates_nats()
    assert group.kl_nats.shape == (7, ROWS, 1) and torch.equal(rate, group.kl_nats.mean(0))


@pytest.mark.parametrize(("prior", "more"), [("standard", 0), ("normal", 0), ("mixture", 1)])
def test_a_mixture_takes_one_normal_more_which_the_posterior_leaves_alone(prior, more):
    case = Case("diagonal", prior, CONTEXT)
    assert (case.latent.noise_size, case.latent.prior.noise_size) == (SIZE + more, SIZE + more)
    noise = case.noise(50)
    other = torch.cat([noise[..., :SIZE], -noise[..., SIZE:]], dim=-1)
    drawn = [case.latent.infer(case.features, case.context, each).code for each in (noise, other)]
    made_up = [case.latent.generate(case.context, each) for each in (noise, other)]
    assert torch.equal(*drawn) and torch.equal(*made_up) == (more == 0)


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
        torch.testing.assert_close(held(group.q).log_prob(group.z), group.log_q)
        sums = (group.log_q.sum(), held(group.q).log_prob(group.z).sum())
        whole, detached = (torch.autograd.grad(s, bias, retain_graph=True)[0][:SIZE] for s in sums)
        covariance = [np.atleast_2d(law.cov) for law in scipy_laws(case.latent.posterior(case.features))]
        factors = np.linalg.cholesky(np.stack(covariance))
        expected = -np.einsum("bji,nbj->i", np.linalg.inv(factors), noise[..., :SIZE].numpy())
        return whole, detached, torch.from_numpy(expected)

    def test_has_the_gradient_along_the_sample_alone(self, case):
        whole, detached, expected = self.mean_gradients(case)
        torch.testing.assert_close(whole, torch.zeros_like(whole), rtol=0, atol=1e-9)
        torch.testing.assert_close(detached, expected)

    def test_has_no_gradient_when_the_sample_is_held_too(self, case):
        with torch.no_grad():
            noise = case.noise(2)
        (group,) = case.latent.infer(case.features.detach(), case.context, noise).groups
        along = torch.autograd.grad(held(group.q).log_prob(group.z).sum(), group.z, retain_graph=True)[0]
        through = torch.autograd.grad(group.z, case.latent.posterior.linear.weight, along, retain_graph=True)[0]
        all_of_it = torch.autograd.grad(held(group.q).log_prob(group.z).sum(), case.latent.posterior.linear.weight)[0]
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
    @pytest.mark.parametrize("prior", CLOSED)
    def test_every_prior_of_one_normal_starts_as_the_standard_normal(self, prior, context):
        fresh = PRIORS[prior](SIZE, context)
        z = torch.randn(ROWS, SIZE)
        found = fresh(torch.randn(ROWS, context) if context else None).log_prob(z)
        np.testing.assert_allclose(found.detach(), scipy.stats.norm.logpdf(z).sum(-1), rtol=1e-5)

    def test_the_parts_of_a_mixture_depend_on_it(self):
        p = Case("diagonal", "mixture", CONTEXT).latent.prior(torch.randn(ROWS, CONTEXT, dtype=torch.float64))
        assert p.logits.unique(dim=0).shape[0] == p.means.unique(dim=0).shape[0] == ROWS


class TestMixtureStart:
    @pytest.mark.parametrize("context", [0, CONTEXT])
    def test_components_are_apart_alike_and_heard_equally_in_every_context(self, context):
        p = Mixture(SIZE, context, components=7)(torch.randn(ROWS, context) if context else None)
        means = p.means.expand(ROWS, 7, SIZE)
        assert torch.equal(means, means[:1].expand_as(means)) and torch.pdist(means[0]).min() > 0.05
        assert torch.equal(p.scale_tril, torch.eye(SIZE).expand(7, SIZE, SIZE))
        assert torch.equal(p.logits, torch.zeros_like(p.logits))

    def test_is_a_function_of_the_seed(self):
        with_seed = []
        for _ in range(2):
            torch.manual_seed(5)
            with_seed.append(Mixture(SIZE, 0).means)
        assert torch.equal(*with_seed) and with_seed[0].shape == (10, SIZE)

    @pytest.mark.parametrize("components", [0, -1, 1001])
    def test_an_impossible_number_of_components_is_refused(self, components):
        with pytest.raises(UserError, match="components"):
            Mixture(SIZE, 0, components=components)


@pytest.mark.parametrize("size", [10.0, 1e3])
@pytest.mark.parametrize("prior", ["standard", "mixture"])
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_wild_features_overflow_nothing(posterior, prior, size):
    """Neither densities nor divergences nor their gradients become infinite or NaN when an encoder goes astray."""
    latent = Flat(POSTERIORS[posterior](FEATURES, SIZE), PRIORS[prior](SIZE, 0))
    features = (size * torch.randn(ROWS, FEATURES)).requires_grad_()
    draw = latent.infer(features, None, torch.randn(2, ROWS, latent.noise_size))
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
    """Where there is nothing better: the mean of log q − log p, one entry per row."""
    z = torch.randn(9, ROWS, 1)
    q, p = torch.distributions.Laplace(0.0, 1.0), torch.distributions.Cauchy(0.0, 1.0)
    group = Group(z.squeeze(-1), q, p)
    (rate,) = Draw((group,), z).rates_nats()
    expected = scipy.stats.laplace.logpdf(group.z) - scipy.stats.cauchy.logpdf(group.z)
    np.testing.assert_allclose(rate, expected.mean(0)[:, None], rtol=1e-4)


def one_hot(labels: Tensor, classes: int) -> Tensor:
    return nn.functional.one_hot(labels, classes).float()


class TestFit:
    """Priors fitted to the codes of a model that was trained without one."""

    def codes(self, rows: int = 900, scale: float = 1.0) -> Tensor:
        """Two curved, unequal clouds with correlated units, far from standard."""
        z = torch.randn(rows, SIZE) @ torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.7, -0.4], [0.0, 0.0, 0.2]])
        z[: rows // 3] += torch.tensor([4.0, -2.0, 0.0])
        z[:, 2] += 0.3 * z[:, 0] ** 2
        return scale * (z + 1)

    @pytest.mark.parametrize("prior", ["normal", "mixture"])
    @pytest.mark.parametrize("scale", [1e-2, 1.0, 1e2])
    def test_what_is_generated_has_the_mean_and_covariance_of_the_codes(self, prior, scale):
        codes = self.codes(scale=scale)
        latent = Flat(Point(FEATURES, SIZE), PRIORS[prior](SIZE, 0)).requires_grad_(False)
        latent.fit_prior(codes, None)
        drawn = latent.generate(None, torch.randn(MANY, 1, latent.noise_size))[:, 0]
        agree(drawn, codes.mean(0))
        centred, other = drawn - codes.mean(0), codes - codes.mean(0)
        agree(centred.unsqueeze(-1) * centred.unsqueeze(-2), (other.T @ other / len(codes)).detach())

    def test_normal_is_the_maximum_likelihood_estimate(self):
        codes, fresh = self.codes(), self.codes(50)
        prior = Normal(SIZE, 0).requires_grad_(False)
        prior.fit(codes, None)
        law = scipy.stats.multivariate_normal(*scipy.stats.multivariate_normal.fit(codes.double()))
        np.testing.assert_allclose(prior(None).log_prob(fresh), law.logpdf(fresh), rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("components", [1, 4])
    def test_mixture_is_scikit_learns(self, components):
        codes, fresh = self.codes(), self.codes(50)
        prior = Mixture(SIZE, 0, components=components).requires_grad_(False)
        prior.fit(codes, None)
        ridge = 1e-6 * float(codes.double().numpy().var(0).mean())
        theirs = GaussianMixture(components, reg_covar=ridge, random_state=0).fit(codes.double())
        np.testing.assert_allclose(prior(None).log_prob(fresh), theirs.score_samples(fresh), rtol=1e-4, atol=1e-4)

    def test_classes_of_a_normal_are_fitted_one_by_one(self):
        """With one row's worth of the covariance within classes; class 3 has no row and is what all rows are."""
        labels = torch.tensor([0] * 600 + [1] * 299 + [2])
        codes, fresh = self.codes(), self.codes(50)
        prior = Normal(SIZE, 4).requires_grad_(False)
        prior.fit(codes, one_hot(labels, 4))
        own = [np.cov(codes[labels == label].double().T, bias=True) for label in (0, 1)]
        within = (600 * own[0] + 299 * own[1]) / 900
        expected = [
            (600 * own[0] + within) / 601,
            (299 * own[1] + within) / 300,
            within / 2,
            np.cov(codes.T, bias=True),
        ]
        for label, covariance in enumerate(expected):
            mean = codes[labels == label].mean(0) if label < 3 else codes.mean(0)
            found = prior(one_hot(torch.tensor([label]), 4)).log_prob(fresh)
            law = scipy.stats.multivariate_normal(mean, covariance)
            np.testing.assert_allclose(found, law.logpdf(fresh), rtol=1e-3, atol=1e-3)

    def test_rows_without_a_class_count_for_all_only(self):
        codes = self.codes()
        context = one_hot(torch.arange(900) % 2, 2)
        context[::5] = 0
        prior = Normal(SIZE, 2).requires_grad_(False)
        prior.fit(codes, context)
        torch.testing.assert_close(prior(torch.zeros(1, 2)).mean[0], codes.mean(0))
        own = codes[(context[:, 1] == 1)]
        torch.testing.assert_close(prior(torch.tensor([[0.0, 1.0]])).mean[0], own.mean(0))

    def test_a_normal_follows_real_numbers_in_a_line(self):
        """Against statsmodels' textbook: least squares, and the covariance of the residuals."""
        known = torch.randn(400, 2)
        slope = torch.tensor([[1.0, -2.0, 0.0], [0.5, 0.0, 3.0]])
        codes = 7 + known @ slope + 0.3 * torch.randn(400, SIZE)
        prior = Normal(SIZE, 2).requires_grad_(False)
        prior.fit(codes, known)
        design = np.column_stack([np.ones(400), known])
        line, *_ = np.linalg.lstsq(design, codes.double().numpy(), rcond=None)
        residuals = codes.double().numpy() - design @ line
        p = prior(torch.tensor([[1.5, -0.5]]))
        np.testing.assert_allclose(p.mean[0], np.array([1, 1.5, -0.5]) @ line, rtol=1e-4)
        np.testing.assert_allclose(p.covariance_matrix[0], residuals.T @ residuals / 400, rtol=1e-3, atol=1e-5)

    def test_classes_of_a_mixture_weigh_its_components(self):
        """Three clouds far apart, a class each but for the last tenth of class 0: every class finds its own."""
        labels = torch.arange(600) % 3
        home = labels.clone()
        home[540:] = torch.where(labels[540:] == 0, 1, home[540:])
        centres = torch.tensor([[9.0, 0.0, 0.0], [0.0, 9.0, 0.0], [0.0, 0.0, 9.0]])
        codes = centres[home] + 0.5 * torch.randn(600, SIZE)
        prior = Mixture(SIZE, 4, components=3).requires_grad_(False)
        prior.fit(codes, one_hot(labels, 4))
        p = prior(torch.eye(4))
        order = (p.means[0].unsqueeze(0) - centres.unsqueeze(1)).norm(dim=-1).argmin(1)
        expected = torch.tensor([[0.9, 0.1, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.3, 0.3667, 0.3333]])
        torch.testing.assert_close(p.logits.softmax(-1)[:, order], expected, rtol=0, atol=5e-3)

    def test_the_means_of_a_mixture_follow_real_numbers_in_a_line(self):
        """Two clouds, mirrored in 0 so that least squares finds the very slope, moved along it."""
        known, cloud = torch.randn(300, 2), torch.randn(300, SIZE) + torch.tensor([8.0, 0.0, 0.0])
        slope = torch.tensor([[1.0, -2.0, 0.0], [0.5, 0.0, 3.0]])
        known, cloud = torch.cat([known, known]), torch.cat([cloud, -cloud])
        prior = Mixture(SIZE, 2, components=2).requires_grad_(False)
        prior.fit(cloud + known @ slope, known)
        plain = Mixture(SIZE, 0, components=2).requires_grad_(False)
        plain.fit(cloud, None)
        new = torch.randn(50, 2)
        found = prior(new).log_prob(cloud[:50] + new @ slope)
        torch.testing.assert_close(found, plain(None).log_prob(cloud[:50]), rtol=1e-3, atol=1e-3)

    @pytest.mark.parametrize("prior", ["normal", "mixture"])
    def test_without_contexts_what_the_shift_had_learned_is_forgotten(self, prior):
        codes, context = self.codes(), torch.randn(900, 2)
        fitted, plain = (PRIORS[prior](SIZE, wide).requires_grad_(False) for wide in (2, 0))
        nn.init.normal_(fitted.shift.weight)
        fitted.fit(codes, None)
        plain.fit(codes, None)
        torch.testing.assert_close(fitted(context).log_prob(codes), plain(None).log_prob(codes))

    @pytest.mark.parametrize("prior", ["normal", "mixture"])
    def test_a_unit_that_never_varies_leaves_a_density(self, prior):
        codes = self.codes()
        codes[:, 1] = 2.0
        fitted = PRIORS[prior](SIZE, 0).requires_grad_(False)
        fitted.fit(codes, None)
        p = fitted(None)
        assert torch.isfinite(p.log_prob(codes)).all() and torch.isfinite(p.variance).all()
        np.testing.assert_allclose(p.mean[1], 2.0, atol=1e-4)

    def test_many_rows_are_thinned_evenly(self):
        """Sorted rows, the first half far from the second: both halves are seen."""
        codes = torch.randn(50_000, 1)
        codes[25_000:] += 20
        prior = Mixture(1, 0, components=2).requires_grad_(False)
        prior.fit(codes, None)
        torch.testing.assert_close(prior(None).mean, codes.mean(0), rtol=0.01, atol=0)
        torch.testing.assert_close(prior(None).logits.softmax(-1), torch.tensor([0.5, 0.5]), rtol=1e-3, atol=0)

    def test_priors_without_parameters_say_so(self):
        with pytest.raises(UserError, match="prior.name=normal"):
            PRIORS["standard"](SIZE, 0).fit(self.codes(), None)

    def test_fewer_rows_than_components_share_them(self):
        """Nine components on four rows are the density of four on four rows."""
        codes = self.codes(4).double()
        nine, four = (Mixture(SIZE, 0, components=k).double() for k in (9, 4))
        for prior in (nine, four):
            prior.fit(codes, None)
        z = torch.randn(50, SIZE, dtype=torch.float64)
        torch.testing.assert_close(nine(None).log_prob(z), four(None).log_prob(z))
