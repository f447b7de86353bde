"""The distributions that torch lacks, against scipy, mpmath, numpy's closed forms and explicit sums."""

import itertools

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import torch
from helpers_draws import frequencies_agree
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal, Poisson

from variate.models.laws.counts import Counts
from variate.models.laws.grids import GridBetaBinomial, Levels
from variate.models.laws.normals import (
    DiagonalNormal,
    FullNormal,
    NormalMixture,
    PointMass,
    kl_by_draws,
    kl_of_marginals,
    kl_per_unit,
)

DIMS = 3
ROWS = 4
KINDS = ("diagonal", "full")


def moments(rng: np.random.Generator, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Random means (ROWS, d) and covariances (ROWS, d, d) of that kind."""
    factor = rng.normal(size=(ROWS, DIMS, DIMS)) + 2 * np.eye(DIMS)
    whole = factor @ factor.swapaxes(1, 2)
    return rng.normal(size=(ROWS, DIMS)), whole if kind == "full" else whole * np.eye(DIMS)


def normal(mean: np.ndarray, covariance: np.ndarray, kind: str) -> DiagonalNormal | FullNormal:
    if kind == "diagonal":
        scale = np.sqrt(covariance.diagonal(axis1=-2, axis2=-1))
        return DiagonalNormal(torch.from_numpy(mean), torch.from_numpy(scale))
    return FullNormal(torch.from_numpy(mean), torch.from_numpy(np.linalg.cholesky(covariance)))


def textbook_kl(q: tuple[np.ndarray, np.ndarray], p: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """½ [tr(P⁻¹Q) + Δᵀ P⁻¹ Δ − d + log det P − log det Q] per row."""
    (m, q_cov), (n, p_cov) = q, p
    inverse, shift = np.linalg.inv(p_cov), n - m
    trace = np.trace(inverse @ q_cov, axis1=1, axis2=2)
    quadratic = np.einsum("bi,bij,bj->b", shift, inverse, shift)
    return (trace + quadratic - DIMS + np.linalg.slogdet(p_cov)[1] - np.linalg.slogdet(q_cov)[1]) / 2


pairs = pytest.mark.parametrize(("of", "to"), list(itertools.product(KINDS, KINDS)))


@pytest.mark.parametrize("kind", KINDS)
class TestNormals:
    def test_log_prob_is_scipys(self, rng, kind):
        mean, covariance = moments(rng, kind)
        x = rng.normal(size=(ROWS, DIMS))
        expected = [scipy.stats.multivariate_normal.logpdf(*row) for row in zip(x, mean, covariance, strict=True)]
        np.testing.assert_allclose(normal(mean, covariance, kind).log_prob(torch.from_numpy(x)), expected, atol=1e-10)

    def test_a_sample_is_the_mean_plus_a_square_root_of_the_covariance_times_the_noise(self, rng, kind):
        """An affine map of ε with the right offset and J Jᵀ = Σ has the right law for every standard normal ε."""
        mean, covariance = moments(rng, kind)
        q = normal(mean, covariance, kind)
        basis = torch.eye(DIMS, dtype=torch.float64).unsqueeze(1).expand(DIMS, ROWS, DIMS)
        origin = q.rsample_from(torch.zeros(ROWS, DIMS, dtype=torch.float64))
        jacobian = (q.rsample_from(basis) - origin).numpy().transpose(1, 2, 0)
        np.testing.assert_allclose(origin, mean, atol=1e-12)
        np.testing.assert_allclose(jacobian @ jacobian.swapaxes(1, 2), covariance, atol=1e-10)
        noise = torch.from_numpy(rng.normal(size=(5, ROWS, DIMS)))
        straight = mean + np.einsum("bij,nbj->nbi", jacobian, noise.numpy())
        np.testing.assert_allclose(q.rsample_from(noise), straight, atol=1e-10)

    def test_mean_and_variance_are_the_laws(self, rng, kind):
        mean, covariance = moments(rng, kind)
        q = normal(mean, covariance, kind)
        np.testing.assert_allclose(q.mean, mean)
        np.testing.assert_allclose(q.variance, covariance.diagonal(axis1=1, axis2=2), rtol=1e-12)


@pairs
class TestKL:
    def test_is_the_textbook_form(self, rng, of, to):
        q, p = moments(rng, of), moments(rng, to)
        kl = kl_per_unit(normal(*q, of), normal(*p, to)).sum(-1)
        np.testing.assert_allclose(kl, textbook_kl(q, p), rtol=1e-9, atol=1e-10)

    def test_is_the_mean_log_ratio_of_many_samples(self, rng, of, to):
        q, p = moments(rng, of), moments(rng, to)
        kl = kl_per_unit(normal(*q, of), normal(*p, to)).sum(-1).numpy()
        for row in range(ROWS):
            law, other = (scipy.stats.multivariate_normal(mean[row], cov[row]) for mean, cov in (q, p))
            x = law.rvs(100_000, random_state=rng)
            ratio = law.logpdf(x) - other.logpdf(x)
            assert abs(ratio.mean() - kl[row]) < 4 * ratio.std() / len(ratio) ** 0.5

    def test_is_nought_between_equals(self, rng, of, to):
        both = moments(rng, "diagonal")
        kl = kl_per_unit(normal(*both, of), normal(*both, to))
        np.testing.assert_allclose(kl, 0, atol=1e-12)

    def test_takes_a_prior_without_rows(self, rng, of, to):
        q, p = moments(rng, of), moments(rng, to)
        shared = normal(p[0][0], p[1][0], to)
        repeated = tuple(np.repeat(part[:1], ROWS, 0) for part in p)
        np.testing.assert_allclose(kl_per_unit(normal(*q, of), shared).sum(-1), textbook_kl(q, repeated), rtol=1e-9)


def test_kl_of_diagonals_is_split_over_the_units(rng):
    q, p = moments(rng, "diagonal"), moments(rng, "diagonal")
    variance, other = (part[1].diagonal(axis1=1, axis2=2) for part in (q, p))
    each = (variance / other + (q[0] - p[0]) ** 2 / other - 1 - np.log(variance / other)) / 2
    np.testing.assert_allclose(kl_per_unit(normal(*q, "diagonal"), normal(*p, "diagonal")), each, atol=1e-12)


def test_kl_without_a_closed_form_is_none(rng):
    q = normal(*moments(rng, "full"), "full")
    mixture = MixtureSameFamily(Categorical(torch.ones(1)), MultivariateNormal(torch.zeros(1, DIMS), torch.eye(DIMS)))
    assert kl_per_unit(q, mixture) is None


COMPONENTS = 5


@pytest.mark.parametrize("shared", [True, False], ids=["one-for-all", "one-per-row"])
class TestNormalMixture:
    """Weights and means for all rows or for each; the covariances are shared in any case."""

    def parts(self, rng: np.random.Generator, shared: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(weights (…, K), means (…, K, d), covariances (K, d, d))."""
        rows = () if shared else (ROWS,)
        factor = rng.normal(size=(COMPONENTS, DIMS, DIMS)) + 2 * np.eye(DIMS)
        weights = scipy.special.softmax(rng.normal(size=(*rows, COMPONENTS)), -1)
        return weights, 3 * rng.normal(size=(*rows, COMPONENTS, DIMS)), factor @ factor.swapaxes(1, 2)

    def law(self, weights: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> NormalMixture:
        logits = np.log(weights) + 1.7  # a constant more changes nothing
        return NormalMixture(*(torch.from_numpy(p) for p in (logits, means, np.linalg.cholesky(covariances))))

    def test_log_prob_is_the_explicit_sum(self, rng, shared):
        weights, means, covariances = self.parts(rng, shared)
        x = 3 * rng.normal(size=(6, ROWS, DIMS))
        expected = np.empty((6, ROWS))
        for row in range(ROWS):
            w, m = (weights, means) if shared else (weights[row], means[row])
            each = [scipy.stats.multivariate_normal.pdf(x[:, row], *law) for law in zip(m, covariances, strict=True)]
            expected[:, row] = np.log(w @ np.array(each))
        law = self.law(weights, means, covariances)
        np.testing.assert_allclose(law.log_prob(torch.from_numpy(x)), expected, atol=1e-9)
        np.testing.assert_allclose(law.log_prob(torch.from_numpy(x[0])), expected[0], atol=1e-9)

    def test_mean_and_variance_are_those_of_the_samples(self, rng, shared):
        law = self.law(*self.parts(rng, shared))
        z = law.rsample_from(torch.randn(100_000, ROWS, DIMS + 1, dtype=torch.float64))
        mean, variance = law.mean.expand(ROWS, DIMS), law.variance.expand(ROWS, DIMS)
        squares = (z - mean) ** 2
        assert ((z.mean(0) - mean).abs() < 4.5 * (variance / len(z)) ** 0.5).all()
        assert ((squares.mean(0) - variance).abs() < 4.5 * squares.std(0) / len(z) ** 0.5).all()
        torch.testing.assert_close(law.stddev**2, law.variance)

    def test_the_last_normal_picks_a_component_and_the_others_move_it(self, rng, shared):
        weights, means, covariances = self.parts(rng, shared)
        noise = rng.normal(size=(500, ROWS, DIMS + 1))
        edges = np.broadcast_to(weights, (ROWS, COMPONENTS)).cumsum(-1)[:, :-1]
        pick = (scipy.stats.norm.cdf(noise[..., -1:]) > edges).sum(-1)
        assert len(np.unique(pick)) == COMPONENTS
        centre = np.broadcast_to(means, (ROWS, COMPONENTS, DIMS))[np.arange(ROWS), pick]
        moved = np.einsum("nbij,nbj->nbi", np.linalg.cholesky(covariances)[pick], noise[..., :-1])
        found = self.law(weights, means, covariances).rsample_from(torch.from_numpy(noise))
        np.testing.assert_allclose(found, centre + moved, atol=1e-9)

    def test_the_wildest_noise_finds_a_component(self, rng, shared):
        noise = torch.zeros(2, ROWS, DIMS + 1)
        noise[0, ..., -1], noise[1, ..., -1] = 40.0, -40.0
        law = self.law(*(part.astype(np.float32) for part in self.parts(rng, shared)))
        expected = law.means.expand(ROWS, COMPONENTS, DIMS)[:, [-1, 0]].movedim(1, 0)
        torch.testing.assert_close(law.rsample_from(noise), expected)


@pytest.mark.parametrize("shared", [True, False], ids=["one-for-all", "one-per-row"])
@pytest.mark.parametrize("kind", KINDS)
class TestKLByDraws:
    """KL to a mixture: the mean of a quantity that varies less than log q − log p."""

    def laws(self, rng: np.random.Generator, kind: str, shared: bool, components: int = COMPONENTS) -> tuple:
        """(q, p) whose parameters want gradients, and those parameters."""
        mean, covariance = moments(rng, kind)
        rows = () if shared else (ROWS,)
        factor = np.linalg.cholesky(moments(rng, "full")[1])[[0] * components]
        parts = [rng.normal(size=(*rows, components)), rng.normal(size=(*rows, components, DIMS)), factor]
        parts = [torch.from_numpy(part).requires_grad_() for part in parts]
        mean, scale = torch.from_numpy(mean).requires_grad_(), torch.from_numpy(np.linalg.cholesky(covariance))
        scale = scale.requires_grad_()
        q = FullNormal(mean, scale)
        if kind == "diagonal":
            q = DiagonalNormal(mean, scale.diagonal(dim1=-2, dim2=-1))
        return q, NormalMixture(*parts), [mean, scale, *parts]

    def test_mean_is_that_of_the_log_ratio_and_it_varies_less(self, rng, kind, shared):
        q, p, _ = self.laws(rng, kind, shared)
        z = q.rsample_from(torch.randn(50_000, ROWS, DIMS, dtype=torch.float64)).detach()
        plain, found = (q.log_prob(z) - p.log_prob(z)).detach(), kl_by_draws(q, p, z).detach()
        error = plain - found
        assert (error.mean(0).abs() < 4.5 * error.std(0) / len(z) ** 0.5).all()
        assert (found.std(0) < plain.std(0)).all()

    def test_its_gradient_has_the_same_mean_too(self, rng, kind, shared):
        """One batch of noise for both, a hundred times: the differences average to nothing."""
        q, p, parameters = self.laws(rng, kind, shared)
        differences = []
        for _ in range(100):
            z = q.rsample_from(torch.randn(200, ROWS, DIMS, dtype=torch.float64))
            plain, found = (q.log_prob(z) - p.log_prob(z)).mean(), kl_by_draws(q, p, z).mean()
            mean, scale, *weights_and_means, factor = torch.autograd.grad(plain - found, parameters, retain_graph=True)
            parts = [mean, scale.tril(), *weights_and_means, factor.tril()]  # above the diagonal nothing is read
            differences.append(torch.cat([part.flatten() for part in parts]))
        each = torch.stack(differences)
        assert (each.mean(0).abs() <= 5 * each.std(0) / len(each) ** 0.5 + 1e-12).all()

    def test_of_one_component_it_is_exact(self, rng, kind, shared):
        q, p, _ = self.laws(rng, kind, shared, components=1)
        mean, factor = p.means[..., 0, :].detach(), p.scale_tril[0].detach()
        exact = kl_per_unit(q, FullNormal(mean, factor)).sum(-1)
        z = q.rsample_from(torch.randn(7, ROWS, DIMS, dtype=torch.float64))
        torch.testing.assert_close(kl_by_draws(q, p, z), exact.expand(7, ROWS))


class TestPointMass:
    value = torch.tensor([[1.0, -2.0], [0.5, 3.0]])

    def test_every_sample_is_the_value_whatever_the_noise(self):
        assert torch.equal(PointMass(self.value).rsample_from(torch.randn(5, 2, 2)), self.value.expand(5, 2, 2))

    def test_mean_is_the_value_and_nothing_varies(self):
        point = PointMass(self.value)
        assert torch.equal(point.mean, self.value) and torch.equal(point.variance, torch.zeros(2, 2))

    def test_has_no_density(self):
        with pytest.raises(NotImplementedError):
            PointMass(self.value).log_prob(self.value)


@pytest.mark.parametrize("levels", [2, 3, 17, 256])
class TestLevels:
    def grid(self, levels: int) -> torch.Tensor:
        return torch.arange(levels, dtype=torch.float64) / (levels - 1)

    def logits(self, rng: np.random.Generator, levels: int) -> torch.Tensor:
        return torch.from_numpy(2 * rng.normal(size=levels))

    def test_masses_are_the_softmax_and_sum_to_one(self, rng, levels):
        logits = self.logits(rng, levels)
        log_mass = Levels(logits).log_prob(self.grid(levels))
        np.testing.assert_allclose(log_mass, scipy.special.log_softmax(logits.numpy()), atol=1e-12)
        assert abs(float(log_mass.exp().sum()) - 1) < 1e-10

    def test_stored_levels_are_found_in_single_precision(self, rng, levels):
        logits = self.logits(rng, levels)
        stored = torch.arange(levels, dtype=torch.float32) / (levels - 1)
        assert torch.equal(Levels(logits).log_prob(stored), Levels(logits).log_prob(self.grid(levels)))

    def test_mean_is_the_explicit_sum(self, rng, levels):
        logits = self.logits(rng, levels)
        expected = (scipy.special.softmax(logits.numpy()) * self.grid(levels).numpy()).sum()
        assert abs(float(Levels(logits).mean) - expected) < 1e-12

    def test_sample_frequencies_are_the_masses(self, rng, levels):
        logits = self.logits(rng, levels)
        drawn = Levels(logits).sample(torch.Size([100_000]))
        assert frequencies_agree(drawn, scipy.special.softmax(logits.numpy()))

    def test_values_of_many_samples_meet_parameters_of_one_row_each(self, rng, levels):
        logits = torch.stack([self.logits(rng, levels) for _ in range(4)])
        values = torch.from_numpy(rng.integers(0, levels, (5, 4))) / (levels - 1)
        each = [[float(Levels(logits[b]).log_prob(values[n, b])) for b in range(4)] for n in range(5)]
        np.testing.assert_allclose(Levels(logits).log_prob(values), each, atol=1e-12)


def test_counts_are_a_law_in_other_units():
    law = Counts(Poisson(torch.tensor([0.5, 20.0], dtype=torch.float64)), torch.tensor(0.0), torch.tensor([4.0, 0.3]))
    counts = torch.arange(60).unsqueeze(-1)
    units = counts / torch.tensor([4.0, 0.3])
    np.testing.assert_allclose(law.log_prob(units), scipy.stats.poisson([0.5, 20]).logpmf(counts), rtol=1e-6)
    np.testing.assert_allclose(law.mean, [0.5 / 4, 20 / 0.3], rtol=1e-6)
    np.testing.assert_allclose(law.variance, [0.5 / 16, 20 / 0.09], rtol=1e-6)
    drawn = law.sample(torch.Size([50_000]))
    assert drawn.dtype == law.mean.dtype == law.log_prob(units).dtype == torch.float32
    assert ((drawn.mean(0) - law.mean).abs() < 4.5 * (law.variance / 50_000) ** 0.5).all()


@pytest.mark.parametrize("levels", [2, 3, 256, 65536])
@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (0.3, 2.0), (40.0, 7.0), (1e-3, 2e-3), (3e4, 9e5), (1e-9, 5.0)])
class TestGridBetaBinomial:
    def law(self, a: float, b: float, levels: int) -> GridBetaBinomial:
        return GridBetaBinomial(*(torch.tensor(part, dtype=torch.float64) for part in (a, b)), levels)

    def log_masses(self, a: float, b: float, levels: int) -> torch.Tensor:
        return self.law(a, b, levels).log_prob(torch.arange(levels, dtype=torch.float64) / (levels - 1))

    def test_masses_sum_to_one(self, a, b, levels):
        assert abs(float(self.log_masses(a, b, levels).exp().sum()) - 1) < 1e-8

    def test_masses_are_scipys(self, a, b, levels):
        expected = scipy.stats.betabinom(levels - 1, a, b).logpmf(np.arange(levels))
        np.testing.assert_allclose(self.log_masses(a, b, levels), expected, rtol=1e-8, atol=1e-7)

    def test_mean_and_variance_are_explicit_sums(self, a, b, levels):
        law, mass = self.law(a, b, levels), self.log_masses(a, b, levels).exp().numpy()
        grid = np.arange(levels) / (levels - 1)
        mean = (mass * grid).sum()
        np.testing.assert_allclose(law.mean, mean, rtol=1e-6)
        np.testing.assert_allclose(law.variance, (mass * (grid - mean) ** 2).sum(), rtol=1e-6)

    def test_sample_frequencies_are_the_masses(self, a, b, levels):
        """Many levels are put together, at most 256 to a bin."""
        drawn = self.law(a, b, levels).sample(torch.Size([50_000]))
        mass = self.log_masses(a, b, levels).exp().numpy()
        if levels > 256:
            mass = mass.reshape(256, -1).sum(1)
            drawn = (drawn * (levels - 1) // 256) / 255
        assert frequencies_agree(drawn, mass)


def test_marginal_divergences_to_a_mixture_by_quadrature():
    """Against scipy's adaptive integration of every number's marginal."""
    torch.manual_seed(0)
    lower = torch.linalg.cholesky(torch.eye(3).double() + torch.full((3, 3), 0.4).double()).expand(4, 3, 3)
    p = NormalMixture(torch.randn(4).double(), 2 * torch.randn(4, 3).double(), lower)
    q = DiagonalNormal(torch.randn(2, 3).double(), torch.rand(2, 3).double() + 0.2)
    weights, means = p.logits.softmax(-1).numpy(), p.means.numpy()
    sd = lower[0].square().sum(-1).sqrt().numpy()
    for row, unit in np.ndindex(2, 3):
        own = scipy.stats.norm(float(q.mean[row, unit]), float(q.stddev[row, unit]))

        def integrand(x, own=own, unit=unit):
            return own.pdf(x) * (own.logpdf(x) - np.log(weights @ scipy.stats.norm.pdf(x, means[:, unit], sd[unit])))

        exact = scipy.integrate.quad(integrand, own.mean() - 9 * own.std(), own.mean() + 9 * own.std(), limit=200)[0]
        found = float(kl_of_marginals(q, p)[row, unit])
        assert found == pytest.approx(exact, abs=1e-4)
