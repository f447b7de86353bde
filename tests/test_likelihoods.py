"""The contract of every likelihood: it is normalised, samples what it says, and marginalises what is missing."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from helpers_likelihoods import (
    BINS,
    CASES,
    CATEGORIES,
    COUNT_IMAGES,
    COUNTS,
    FEATURES,
    IMAGE,
    LAWS,
    REAL,
    REGISTRY,
    ROWS,
    VECTOR,
    build,
    law_of,
    learned,
    levels_of,
    mean_count,
    on_grid,
    parameters_of,
    some_rows,
    unit_of,
)
from torch import Tensor, nn

from variate.base.errors import UserError
from variate.data.kinds import Counts, Levels, Reals
from variate.data.load import load
from variate.data.schema import Field
from variate.models.likelihoods.bernoulli import Bernoulli
from variate.models.likelihoods.categorical import Categorical
from variate.models.likelihoods.defaults import default_for
from variate.models.likelihoods.discretized_logistic import DiscretizedLogistic
from variate.models.likelihoods.gaussian import Gaussian
from variate.models.likelihoods.johnson_su import JohnsonSu
from variate.models.likelihoods.likelihood import Likelihood
from variate.models.likelihoods.student_t import StudentT

SKEWED = ("johnson_su", "logistics")


@pytest.fixture(params=CASES.values(), ids=list(CASES))
def likelihood(request) -> Likelihood:
    return build(*request.param)


def fixture_of(wanted: Callable[[str], bool]) -> Callable[..., Likelihood]:
    """A fixture that runs over the cases with the names wanted."""

    @pytest.fixture(params=[name for name in CASES if wanted(name)])
    def built(request) -> Likelihood:
        return build(*CASES[request.param])

    return built


discrete = fixture_of(lambda name: CASES[name][2].kind.levels is not None or name == "categories")
ordered = fixture_of(lambda name: CASES[name][2].kind.levels is not None)
symmetric = fixture_of(lambda name: not CASES[name][2].kind.is_mass and CASES[name][0] not in SKEWED)
unbounded = fixture_of(lambda name: CASES[name][2].kind.levels is None and name != "categories")
averaging = fixture_of(lambda name: CASES[name][2].kind.support not in ("bins", "categories"))
counting = fixture_of(lambda name: CASES[name][2].kind.is_count)
gaussian = fixture_of(lambda name: "gaussian" in name)
known = fixture_of(lambda name: CASES[name][0] in LAWS)


def every_example(field: Field) -> Tensor:
    """All L^D examples in model units, (L^D, *tensor_shape)."""
    table = np.array(list(itertools.product(*map(range, levels_of(field)))))
    return torch.from_numpy(table / ((field.kind.levels or 2) - 1)).reshape(-1, *field.tensor_shape)


def table(likelihood: Likelihood, parameters: Tensor) -> tuple[Tensor, Tensor]:
    """(all examples, their log-probabilities (L^D, ROWS))."""
    examples = every_example(likelihood.field)
    wide = examples.unsqueeze(1).expand(-1, len(parameters), *examples.shape[1:])
    return wide, likelihood.log_prob(parameters, wide)


def log_total(likelihood: Likelihood, parameters: Tensor, cell: tuple, others: Tensor) -> Tensor:
    """log ∫ p(x) dx_cell, or log Σ P(x) over its counts or bins, the other cells held at ``others``: (ROWS,).

    Integrals by Simpson's rule along x = point ± (e^t − 1), which meets kinks at its ends and reaches heavy tails.
    """
    if likelihood.field.kind.is_count:
        unit = unit_of(likelihood.field).expand(others.shape[1:])[cell]
        grid, log_weight = (torch.arange(4000).double() * unit).unsqueeze(-1), torch.zeros(4000, 1)
    elif likelihood.field.kind.support == "bins":
        k = torch.arange(-5000, 5001).reshape(-1, *[1] * (others.dim() - 1)).expand(-1, *others.shape[1:])
        grid, log_weight = on_grid(likelihood.field, k)[(slice(None), *cell)].unsqueeze(-1), torch.zeros(10_001, 1)
    else:
        t = torch.linspace(0, 25, 20_001, dtype=torch.float64)
        simpson = torch.tensor([2.0, 4.0]).double().repeat(10_001)[:-1]
        simpson[[0, -1]] = 1
        point = likelihood.point(parameters)[(slice(None), *cell)]
        grid = torch.cat([point + t.expm1().unsqueeze(-1), point - t.expm1().unsqueeze(-1)])
        log_weight = ((simpson * t[1] / 3).log() + t).repeat(2).unsqueeze(-1)
    targets = others.expand(len(grid), *others.shape).clone()
    targets[(slice(None), slice(None), *cell)] = grid
    return torch.logsumexp(likelihood.log_prob(parameters, targets) + log_weight, 0)


def masks(field: Field) -> list[Tensor]:
    """Every pattern of observed cells."""
    patterns = itertools.product([False, True], repeat=field.size)
    return [torch.tensor(pattern).reshape(field.tensor_shape) for pattern in patterns]


def test_every_likelihood_has_a_case():
    assert {name for name, _, _ in CASES.values()} == set(REGISTRY)


def test_shapes_say_which_dimensions_are_rows_and_which_an_example(likelihood):
    parameters = parameters_of(likelihood)
    p = likelihood.distribution(parameters)
    shape = torch.Size(likelihood.field.tensor_shape)
    assert (p.batch_shape, p.event_shape) == ((ROWS,), shape)
    places = shape if likelihood.support != "categories" else (10,)  # one for every level of every column
    assert parameters.shape == (ROWS, parameters.shape[1], *places)
    assert likelihood.point(parameters).shape == (ROWS, *shape)
    assert likelihood.log_prob(parameters.expand(5, *parameters.shape), torch.zeros(shape)).shape == (5, ROWS)


def test_probabilities_of_all_examples_sum_to_one(discrete):
    _, log_mass = table(discrete, parameters_of(discrete))
    np.testing.assert_allclose(log_mass.exp().sum(0), 1, atol=1e-10)


def test_density_is_a_product_of_densities_that_integrate_to_one(unbounded):
    """Σᵢ log [p(x) / ∫ p(x) dxᵢ] is log p(x) for a normalised product, and for nothing else that factorises."""
    parameters = parameters_of(unbounded)
    x = some_rows(unbounded.field)
    log_prob = unbounded.log_prob(parameters, x)
    each = [log_prob - log_total(unbounded, parameters, cell, x) for cell in np.ndindex(x.shape[1:])]
    torch.testing.assert_close(sum(each), log_prob, rtol=0, atol=1e-8)


def test_masses_and_densities_are_scipys(known):
    parameters, field = parameters_of(known), known.field
    x = some_rows(field, 50 * ROWS).unflatten(0, (50, ROWS))
    law = law_of(known, parameters)
    each = law.logpmf((x / unit_of(field)).round()) if field.kind.is_mass else law.logpdf(x)
    np.testing.assert_allclose(known.log_prob(parameters, x), each.reshape(50, ROWS, -1).sum(-1), atol=1e-9)


def test_missing_cells_are_summed_out(discrete):
    parameters = parameters_of(discrete)
    examples, log_mass = table(discrete, parameters)
    for observed in masks(discrete.field):
        wanted = examples[len(examples) // 2, 0]
        same = ((examples[:, 0] == wanted) | ~observed).flatten(1).all(-1)
        expected = torch.logsumexp(log_mass[same], 0)
        got = discrete.log_prob(parameters, wanted.expand(ROWS, *wanted.shape), observed)
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)


def test_missing_cells_are_integrated_out(unbounded):
    parameters = parameters_of(unbounded)
    x = some_rows(unbounded.field)
    for cell in np.ndindex(x.shape[1:]):
        observed = torch.ones(x.shape[1:], dtype=torch.bool)
        observed[cell] = False
        expected = log_total(unbounded, parameters, cell, x)
        torch.testing.assert_close(unbounded.log_prob(parameters, x, observed), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("filler", [math.nan, math.inf, -1e30])
def test_what_stands_in_a_missing_cell_changes_neither_value_nor_gradient(likelihood, filler):
    observed = torch.zeros(likelihood.field.tensor_shape, dtype=torch.bool)
    observed.view(-1)[0] = True
    results = []
    for value in (0.0, filler):
        parameters = parameters_of(likelihood).zero_().add_(0.1).requires_grad_()
        target = torch.where(observed, torch.ones(()), torch.tensor(value)).double().expand(ROWS, *observed.shape)
        log_prob = likelihood.log_prob(parameters, target, observed)
        results.append((log_prob.detach(), torch.autograd.grad(log_prob.sum(), parameters)[0]))
    for one, other in zip(*results, strict=True):
        assert torch.isfinite(one).all() and torch.equal(one, other)


def test_point_is_the_probability_weighted_mean(ordered):
    parameters = parameters_of(ordered)
    examples, log_mass = table(ordered, parameters)
    expected = torch.einsum("nb,nb...->b...", log_mass.exp(), examples)
    torch.testing.assert_close(ordered.point(parameters), expected, rtol=0, atol=1e-10)


def test_point_is_where_a_symmetric_density_is_densest(symmetric):
    target = torch.zeros(ROWS, *symmetric.field.tensor_shape, dtype=torch.float64)
    parameters = parameters_of(symmetric)
    point = symmetric.point(parameters).requires_grad_()
    slope = torch.autograd.grad(symmetric.log_prob(parameters, point).sum(), point)[0]
    torch.testing.assert_close(slope, target, rtol=0, atol=1e-10)


def test_mean_and_variance_are_scipys(known):
    parameters, unit = parameters_of(known), unit_of(known.field).numpy()
    p, law = known.distribution(parameters), law_of(known, parameters)
    shape = p.mean.shape
    np.testing.assert_allclose(p.mean, np.broadcast_to(law.mean() * unit, shape))
    np.testing.assert_allclose(p.variance, np.broadcast_to(law.var() * unit**2, shape))


def test_sample_means_are_the_point(averaging):
    parameters = parameters_of(averaging)
    drawn = averaging.distribution(parameters).sample(torch.Size([40_000]))
    error = (drawn.mean(0) - averaging.point(parameters)).abs()
    assert (error <= 4.5 * drawn.std(0) / len(drawn) ** 0.5 + 5 / len(drawn)).all()


def test_sample_frequencies_are_the_probabilities(discrete):
    """Pearson's chi-square over all examples of one row, with those expected fewer than 10 times as one."""
    parameters = parameters_of(discrete)[:1]
    examples, log_mass = table(discrete, parameters)
    drawn = discrete.distribution(parameters).sample(torch.Size([50_000])).flatten(1)
    level = (drawn / unit_of(discrete.field)).round().long().unbind(-1)
    code = np.ravel_multi_index(tuple(each.numpy() for each in level), levels_of(discrete.field))
    counts, expected = np.bincount(code, minlength=len(examples)), 50_000 * log_mass[:, 0].exp().numpy()
    rare = expected < 10
    seen, awaited = (np.append(each[~rare], each[rare].sum()) for each in (counts, expected))
    statistic = ((seen - awaited) ** 2 / awaited.clip(1e-9)).sum()
    assert scipy.stats.chi2.sf(statistic, (~rare).sum()) > 1e-3


def test_gaussian_samples_are_normal_with_its_density(gaussian):
    """Kolmogorov–Smirnov against the scipy normal that the reported log-density, a parabola, belongs to."""
    parameters = parameters_of(gaussian)[:1]
    drawn = gaussian.distribution(parameters).sample(torch.Size([20_000]))
    for cell in np.ndindex(gaussian.field.tensor_shape):
        at = torch.zeros(3, 1, *gaussian.field.tensor_shape, dtype=torch.float64)
        at[(slice(None), 0, *cell)] = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
        low, middle, high = gaussian.log_prob(parameters, at)[:, 0].tolist()
        variance = 1 / (2 * middle - low - high)
        law = scipy.stats.norm(variance * (high - low) / 2, variance**0.5)
        assert scipy.stats.kstest(drawn[(slice(None), 0, *cell)].numpy(), law.cdf).pvalue > 1e-4


def test_samples_are_distributed_as_scipys(known):
    """Densities by Kolmogorov–Smirnov; masses by Pearson's chi-square, with those rarer than 10 times as one."""
    parameters = parameters_of(known)[:1]
    drawn = (known.distribution(parameters).sample(torch.Size([20_000])) / unit_of(known.field)).numpy()
    law, grid = law_of(known, parameters), np.arange(400).reshape(-1, *[1] * (drawn.ndim - 1))
    if not known.field.kind.is_mass:
        uniform = law.cdf(drawn).reshape(20_000, -1).T
        assert min(scipy.stats.kstest(each, "uniform").pvalue for each in uniform) > 1e-4
        return
    np.testing.assert_allclose(drawn, drawn.round(), atol=1e-6)
    masses = np.broadcast_to(law.pmf(grid), (400, *drawn.shape[1:])).reshape(400, -1).T
    for seen, mass in zip(drawn.reshape(20_000, -1).T.round().astype(int), masses, strict=True):
        frequent = 20_000 * mass >= 10
        counts, awaited = np.bincount(seen, minlength=400)[:400][frequent], 20_000 * mass[frequent]
        rest = 20_000 - counts.sum(), 20_000 - awaited.sum() + 1e-9
        statistic = ((counts - awaited) ** 2 / awaited).sum() + (rest[0] - rest[1]) ** 2 / rest[1]
        assert scipy.stats.chi2.sf(statistic, frequent.sum()) > 1e-4


@pytest.mark.parametrize("size", [30.0, 200.0, 1e4])
def test_wild_parameters_give_numbers_and_gradients(likelihood, size):
    """A decoder gone astray costs an enormous number of nats; the number is still one, and says where to turn."""
    values = some_rows(likelihood.field, 40 * ROWS).unflatten(0, (40, ROWS))
    target = torch.cat([values, torch.zeros_like(values[:1]), torch.ones_like(values[:1])]).float()
    signs = torch.sign(parameters_of(likelihood)).float()
    likelihood.float().requires_grad_()
    for wild in (size * signs, size * torch.randn_like(signs)):
        log_prob = likelihood.log_prob(wild.requires_grad_(), target)
        gradients = torch.autograd.grad(log_prob.sum(), [wild, *learned(likelihood)])
        assert torch.isfinite(log_prob).all() and all(torch.isfinite(gradient).all() for gradient in gradients)


def test_gradients_are_finite_differences(likelihood):
    likelihood.requires_grad_()
    parameters, target = parameters_of(likelihood).detach().requires_grad_(), some_rows(likelihood.field)
    inputs = [parameters, *learned(likelihood)]
    assert torch.autograd.gradcheck(lambda *_: likelihood.log_prob(parameters, target), inputs)
    assert torch.autograd.gradgradcheck(lambda *_: likelihood.log_prob(parameters, target), inputs)


class TestBernoulli:
    def test_grey_targets_score_the_expected_log_probability_of_their_binarisations(self):
        """E_b[log p(b)], b ~ Bernoulli(x), by summing over all b: what binarize = expected optimises."""
        likelihood = build(*CASES["bernoulli, image"])
        parameters = parameters_of(likelihood)
        grey = torch.rand(likelihood.field.tensor_shape, dtype=torch.float64)
        bits, log_mass = table(likelihood, parameters)
        chance = torch.where(bits[:, 0] == 1, grey, 1 - grey).flatten(1).prod(-1)
        expected = (chance.unsqueeze(-1) * log_mass).sum(0)
        torch.testing.assert_close(likelihood.log_prob(parameters, grey.expand(ROWS, *grey.shape)), expected)

    @pytest.mark.parametrize("levels", [3, 256, None])
    def test_grey_data_is_refused_with_the_remedy(self, levels):
        with pytest.raises(UserError, match="binaris"):
            Bernoulli((FEATURES,), Field(Levels(levels), VECTOR, "uint8"))


KINDS = {
    "levels": Field(Levels(2), VECTOR, "uint8"),
    "counts": COUNTS,
    "reals": Field(Reals(**REAL), VECTOR, "float64"),
    "bins": BINS,
    "categories": CATEGORIES,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", REGISTRY)
def test_values_of_another_kind_are_refused_with_a_remedy(name, kind):
    """Only a density of levels, as if they were real numbers, is let pass."""
    if REGISTRY[name].support == kind or (REGISTRY[name].support, kind) == ("reals", "levels"):
        REGISTRY[name]((FEATURES,), KINDS[kind])
        return
    with pytest.raises(UserError, match="use likelihood.name=|binaris") as caught:
        REGISTRY[name]((FEATURES,), KINDS[kind])
    if name != "bernoulli":
        remedy = str(caught.value).rpartition("=")[2].strip(".")
        REGISTRY[remedy]((FEATURES,), KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_the_default_suits_the_data(kind):
    section = default_for(KINDS[kind], torch.zeros(10, *VECTOR, dtype=torch.uint8))
    REGISTRY[section.pop("name")]((FEATURES,), KINDS[kind], **section)


def started(name: str, field: Field, rows: Tensor, **keywords: object):
    """p(x | z) of one row at features of 0, after the likelihood has been shown the rows."""
    likelihood = REGISTRY[name]((FEATURES,), field, **keywords)
    likelihood.start_at(rows.float())
    return likelihood, likelihood(torch.zeros(1, FEATURES)).detach()


class TestStart:
    """Columns and channels with different laws: each starts at its own marginal."""

    @pytest.mark.parametrize("field", [COUNTS, COUNT_IMAGES], ids=["vector", "image"])
    @pytest.mark.parametrize("name", ["poisson", "negative_binomial"])
    def test_of_counts(self, name, field):
        channels = (-1,) + (1,) * (len(field.tensor_shape) - 1)
        rate = torch.tensor([0.5, 6.0, 60.0])[: field.tensor_shape[0]].reshape(channels)
        mixed = rate * torch.distributions.Gamma(2.0, 2.0).sample((500, *field.tensor_shape))
        rows = torch.poisson(mixed) * unit_of(field).float()
        likelihood, parameters = started(name, field, rows)
        p = likelihood.distribution(parameters)
        columns = rows.transpose(0, 1).flatten(1)
        place = (0, slice(None)) + (0,) * (len(field.tensor_shape) - 1)
        torch.testing.assert_close(p.mean[place], columns.mean(1), rtol=1e-4, atol=0)
        if name == "negative_binomial":
            torch.testing.assert_close(p.variance[place].detach(), columns.var(1, correction=0), rtol=1e-3, atol=0)

    @pytest.mark.parametrize("scale", ["learned", "predicted"])
    @pytest.mark.parametrize("name", ["laplace", "student_t"])
    @pytest.mark.parametrize("shape", [VECTOR, IMAGE], ids=["vector", "image"])
    def test_of_real_numbers(self, name, scale, shape):
        field = Field(Reals(**REAL), shape, "float64")
        channels = (-1,) + (1,) * (len(field.tensor_shape) - 1)
        spread = torch.tensor([0.1, 1.0, 20.0])[: field.tensor_shape[0]].reshape(channels)
        rows = spread * (1 + torch.distributions.Laplace(0.0, 1.0).sample((999, *field.tensor_shape)))
        likelihood, parameters = started(name, field, rows, scale=scale)
        columns = rows.transpose(0, 1).flatten(1)
        law = likelihood.values(parameters)
        place = (0, slice(None)) + (0,) * (len(field.tensor_shape) - 1)
        torch.testing.assert_close(law.loc[place], columns.quantile(0.5, 1), rtol=1e-2, atol=1e-6)
        distance = (columns - law.loc[place].unsqueeze(1)).abs().mean(1)
        torch.testing.assert_close(law.scale.detach()[place], distance, rtol=1e-4, atol=0)

    @pytest.mark.parametrize("levels", [2, 11, 256])
    def test_of_levels(self, levels):
        field = Field(Levels(levels), VECTOR, "uint8")
        chance = torch.distributions.Beta(torch.tensor([0.5, 2.0, 9.0]), torch.tensor([1.0, 3.0, 2.0])).sample((2000,))
        rows = torch.distributions.Binomial(levels - 1, chance).sample() / (levels - 1)
        likelihood, parameters = started("beta_binomial", field, rows)
        p = likelihood.distribution(parameters)
        torch.testing.assert_close(p.mean[0], rows.mean(0), rtol=1e-4, atol=0)
        torch.testing.assert_close(p.variance[0], rows.var(0, correction=0), rtol=1e-3, atol=0)

    def test_of_values_far_out(self):
        rows = torch.distributions.Cauchy(torch.tensor([1.0, -2.0, 0.0]), torch.tensor([1.0, 0.1, 9.0])).sample((999,))
        places = JohnsonSu.suited(lambda: rows)
        field = Field(Reals(**REAL), VECTOR, "float64")
        likelihood, parameters = started("johnson_su", field, rows, **{k: tuple(v) for k, v in places.items()})
        below = (rows < likelihood.point(parameters)).double().mean(0)
        np.testing.assert_allclose(below, 0.5, atol=0.01)

    def test_of_columns_that_never_vary(self, likelihood):
        """All rows equal, at the least value there is: what starts there is finite."""
        likelihood.start_at(torch.zeros(20, *likelihood.field.tensor_shape, dtype=torch.float64))
        features = torch.zeros(1, FEATURES, dtype=torch.float64)
        log_prob = likelihood.log_prob(likelihood(features), torch.zeros(likelihood.field.tensor_shape).double())
        assert torch.isfinite(log_prob).all()


class TestCounts:
    @pytest.mark.parametrize("name", ["poisson", "negative_binomial"])
    def test_large_counts_keep_their_digits_in_single_precision(self, name):
        field = Field(Counts(scale=(1234.5,)), (1,), "int64")
        likelihood = REGISTRY[name]((FEATURES,), field).requires_grad_(False)
        counts = np.array([[0], [1], [99_000], [100_003], [1_000_001]])
        rows = field.to_tensor(torch.from_numpy(counts))
        parameters = torch.full((1, 1, 1), 100_000 / 1234.5)
        law = law_of(likelihood, parameters.double())
        np.testing.assert_allclose(likelihood.log_prob(parameters, rows), law.logpmf(counts)[..., 0].ravel(), rtol=1e-5)

    def test_a_dispersion_of_nought_is_poissons_law(self):
        likelihood = build("negative_binomial", {}, COUNTS)
        nn.init.constant_(likelihood.raw_dispersion, -1e4)
        likelihood.requires_grad_()
        parameters = parameters_of(likelihood)
        x = some_rows(COUNTS, 30 * ROWS).unflatten(0, (30, ROWS))
        log_prob = likelihood.log_prob(parameters, x)
        poisson = scipy.stats.poisson(mean_count(likelihood, [parameters[:, 0].detach().numpy()]))
        np.testing.assert_allclose(
            log_prob.detach(), poisson.logpmf((x / unit_of(COUNTS)).round()).sum(-1), rtol=0, atol=1e-5
        )
        log_prob.sum().backward()
        assert all(torch.isfinite(parameter.grad).all() for parameter in likelihood.parameters())

    def test_samples_and_points_are_in_model_units(self, counting):
        parameters = parameters_of(counting)
        raw = counting.field.to_raw(counting.distribution(parameters).sample().float())
        again = counting.field.to_tensor(torch.from_numpy(raw.astype(np.int64)))
        assert (raw >= 0).all() and raw.max() > 0
        assert torch.isfinite(counting.log_prob(parameters, again)).all()


class TestStudentT:
    field = Field(Reals(**REAL), VECTOR, "float64")

    @pytest.mark.parametrize("raw", [-1e4, 0.0, 1e4])
    def test_learned_degrees_of_freedom_leave_a_mean_and_a_variance(self, raw):
        likelihood = build("student_t", {}, self.field)
        nn.init.constant_(likelihood.raw_dof, raw)
        assert torch.isfinite(likelihood.distribution(parameters_of(likelihood)).variance).all()

    def test_the_point_of_cauchys_law_is_its_location(self):
        likelihood = build("student_t", {"dof": 1.0}, self.field)
        parameters = parameters_of(likelihood)
        assert torch.equal(likelihood.point(parameters), parameters[:, 0])

    @pytest.mark.parametrize("dof", [0.0, -1.0, math.nan, 101.0, 1e-320, "fixed"])
    def test_impossible_degrees_of_freedom_are_refused(self, dof):
        with pytest.raises(UserError, match="dof"):
            StudentT((FEATURES,), self.field, dof=dof)

    @pytest.mark.parametrize("name", ["student_t", "laplace"])
    def test_impossible_scales_are_refused(self, name):
        for scale in (0.0, -1.0, math.nan, math.inf, "optimal"):
            with pytest.raises(UserError, match="scale"):
                REGISTRY[name]((FEATURES,), self.field, scale=scale)


class TestJohnsonSu:
    field = Field(Reals(**REAL), VECTOR, "float64")

    def test_far_out_it_is_exact_in_single_precision(self):
        """On both sides of the middle, also where a float32's square is infinite: there arcsinh t is ± log |2t|."""
        likelihood = JohnsonSu((FEATURES,), Field(Reals(), (1,), "float32"), sigma=1.0, width=(1e-3,))
        x = torch.tensor([-5.0, 0.0, 1e-9, 5.0, -1e25, 1e25]).reshape(-1, 1)
        found = likelihood.log_prob(torch.full((6, 1, 1), 0.5), x)
        near = scipy.stats.johnsonsu(-0.5, 1, 0, 1e-3).logpdf(x[:4].double())
        far = scipy.stats.norm.logpdf(np.array([-1, 1]) * np.log(2e28), 0.5) - np.log(1e25)
        np.testing.assert_allclose(found, [*near.ravel(), *far], rtol=1e-5)

    def test_a_predicted_sigma_differs_from_value_to_value(self):
        likelihood = build("johnson_su", {"sigma": "predicted", "width": (0.5, 1.0, 2.0)}, self.field)
        parameters = torch.randn(50, 2, 3, dtype=torch.float64)
        x = torch.randn(50, 3, dtype=torch.float64)
        each = law_of(likelihood, parameters).logpdf(x)
        np.testing.assert_allclose(likelihood.log_prob(parameters, x), each.sum(-1), atol=1e-9)

    def test_centre_and_width_are_by_the_quartiles_of_the_rows(self, rng):
        rows = torch.from_numpy(
            scipy.stats.cauchy.rvs(size=(500, 3), random_state=rng) * [1.0, 20.0, 0.01] + [0, 5, -3]
        )
        found = JohnsonSu.suited(lambda: rows)
        low, centre, high = np.quantile(rows, (0.25, 0.5, 0.75), axis=0)
        np.testing.assert_allclose(found["centre"], centre)
        np.testing.assert_allclose(found["width"], 3 * (high - low) / (2 * scipy.stats.norm.ppf(0.75)), rtol=1e-6)

    def test_a_width_is_never_nothing(self):
        """Of columns whose middle half, or all of them, are one value."""
        rows = torch.zeros(100, 2)
        rows[:4, 0] = torch.tensor([8.0, -8.0, 2.0, 2.0])
        np.testing.assert_allclose(JohnsonSu.suited(lambda: rows)["width"], [3 * 0.2, 3.0])

    @pytest.mark.parametrize(
        "keywords",
        [{"width": (0.0,)}, {"width": (1.0, 2.0)}, {"centre": ()}, {"width": (math.nan,)}, {"sigma": "optimal"}],
    )
    def test_impossible_places_are_refused(self, keywords):
        with pytest.raises(UserError, match=next(iter(keywords))):
            JohnsonSu((FEATURES,), self.field, **keywords)


def test_a_categorical_over_too_many_levels_is_refused():
    with pytest.raises(UserError, match="discretized_logistic"):
        Categorical((FEATURES,), Field(Levels(65536), VECTOR, "uint16"))


class TestGaussianSigma:
    target = torch.linspace(-2, 2, 150, dtype=torch.float64).reshape(50, 3)

    def log_prob(self, sigma: object, parameters: Tensor) -> Tensor:
        return build("gaussian", {"sigma": sigma}, CASES["gaussian, fixed"][2]).log_prob(parameters, self.target)

    def test_a_fixed_sigma_is_that_number_in_model_units(self):
        parameters = torch.randn(50, 1, 3, dtype=torch.float64)
        expected = scipy.stats.norm(parameters[:, 0], 0.37).logpdf(self.target).sum(-1)
        np.testing.assert_allclose(self.log_prob(0.37, parameters), expected, rtol=1e-6)  # stored in single precision

    def test_a_predicted_sigma_differs_from_value_to_value(self):
        parameters = torch.randn(50, 2, 3, dtype=torch.float64)
        likelihood = build("gaussian", {"sigma": "predicted"}, CASES["gaussian, fixed"][2])
        sigma = likelihood.distribution(parameters).stddev
        assert sigma.unique().numel() == sigma.numel()
        expected = scipy.stats.norm(parameters[:, 0], sigma).logpdf(self.target).sum(-1)
        np.testing.assert_allclose(likelihood.log_prob(parameters, self.target), expected)

    @pytest.mark.parametrize("case", ["gaussian, learned", "gaussian, learned, image"])
    def test_a_learned_sigma_belongs_to_a_column_or_a_channel_and_not_to_z(self, case):
        likelihood = build(*CASES[case])
        sigma = likelihood.distribution(parameters_of(likelihood)).stddev
        assert torch.equal(sigma, sigma[:1].expand_as(sigma))
        assert sigma[0].unique().numel() == likelihood.field.tensor_shape[0]

    def test_an_optimal_sigma_maximises_the_likelihood_of_the_residuals_it_was_told(self):
        likelihood = build("gaussian", {"sigma": "optimal"}, CASES["gaussian, fixed"][2])
        parameters = torch.randn(50, 1, 3, dtype=torch.float64)
        residuals = self.target - parameters[:, 0]
        likelihood.refit(float((residuals**2).mean()))
        best = scipy.stats.norm.fit(residuals.numpy().ravel(), floc=0)[1]
        expected = scipy.stats.norm(0, best).logpdf(residuals).sum(-1)
        np.testing.assert_allclose(likelihood.log_prob(parameters, self.target), expected, rtol=1e-6)

    @pytest.mark.parametrize("sigma", ["learned", "predicted", "optimal"])
    def test_a_constant_column_buys_no_infinite_density(self, sigma):
        likelihood = build("gaussian", {"sigma": sigma}, CASES["gaussian, fixed"][2])
        likelihood.refit(0.0) if sigma == "optimal" else None
        if sigma == "learned":
            nn.init.constant_(likelihood.log_sigma, -100.0)
        parameters = torch.zeros(50, 2 if sigma == "predicted" else 1, 3, dtype=torch.float64)
        parameters[:, 1:] = -100.0
        per_value = likelihood.log_prob(parameters, torch.zeros_like(self.target)) / 3
        assert (per_value <= 6 - math.log(2 * math.pi) / 2 + 1e-6).all()

    @pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf, "smallest"])
    def test_impossible_sigmas_are_refused(self, sigma):
        with pytest.raises(UserError, match="sigma"):
            Gaussian((FEATURES,), CASES["gaussian, fixed"][2], sigma=sigma)


def test_one_component_is_the_plain_discretised_logistic():
    """The logit of the probability to lie below an edge is a straight line in the edge, for a logistic law alone."""
    likelihood = build(*CASES["discretized logistic"])
    examples, log_mass = table(likelihood, parameters_of(likelihood))
    first = torch.stack([log_mass[examples[:, 0, 0] == level / 4].exp().sum(0) for level in range(5)])
    below = scipy.special.logit(first.cumsum(0)[:-1].numpy())
    np.testing.assert_allclose(np.diff(below, 2, axis=0), 0, atol=1e-7)
    assert (np.diff(below, axis=0) > 0).all()


@pytest.mark.parametrize("atoms", [(-1,), (5,), (2, 2)])
def test_atoms_must_be_different_levels_of_the_data(atoms):
    with pytest.raises(UserError, match="atoms"):
        DiscretizedLogistic((FEATURES,), Field(Levels(5), VECTOR, "uint8"), atoms=atoms)


def test_features_with_places_are_read_place_by_place():
    """Features (F, H, W): what stands at one place decides the parameters of that place alone."""
    likelihood = Bernoulli((FEATURES, 2, 3), Field(Levels(2), (2, 3), "uint8"))
    features = torch.randn(1, FEATURES, 2, 3)
    moved = features.clone()
    moved[0, :, 1, 2] += 1
    changed = likelihood(features) != likelihood(moved)
    assert changed.flatten().tolist() == [False] * 5 + [True]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_atoms_are_levels_whatever_the_values_are_divided_by(dtype):
    """The same images as bytes and as fractions get the same likelihood; white is an atom of both."""
    images = np.repeat(np.array([0, 255, 71, 199, 132, 3, 90, 17], np.uint8), [90, 60, 50, 40, 30, 20, 6, 4])
    images = np.random.default_rng(0).permutation(images).reshape(3, 10, 10)
    as_bytes, as_parts = (load(values) for values in (images, (images / 255).astype(dtype)))
    chosen = default_for(as_parts.schema.x, as_parts.values)
    assert chosen == default_for(as_bytes.schema.x, as_bytes.values)
    assert chosen["atoms"] == [0, 255, 71, 199, 132, 3]


def test_a_constant_is_itself_with_probability_one(unbounded):
    """log p is that of the other values alone, −∞ where the constant is another, and the point is the constant."""
    field = unbounded.field
    channels = field.tensor_shape[0]
    scale = tuple(0.0 if channel == 0 else 2.0 for channel in range(channels))
    name = next(name for name, cls in REGISTRY.items() if cls is type(unbounded))
    keywords = {unbounded.log_key.removeprefix("log_"): unbounded.mode} if hasattr(unbounded, "log_key") else {}
    there = build(name, keywords, replace(field, kind=replace(field.kind, offset=(7.0,) * channels, scale=scale)))
    parameters = parameters_of(there)
    target = some_rows(field)
    target[:, 0] = 0
    each = there.values(parameters).log_prob(target)
    expected = each[:, 1:].flatten(1).sum(1)
    torch.testing.assert_close(there.log_prob(parameters, target), expected)
    some = torch.ones_like(target, dtype=torch.bool)
    some[:, 1] = False
    torch.testing.assert_close(there.log_prob(parameters, target, some), each[:, 2:].flatten(1).sum(1))
    assert (there.point(parameters)[:, 0] == 0).all() and (there.point(parameters)[:, 1] != 0).any()
    other = target.index_fill(1, torch.tensor([0]), 1.0)
    assert (there.log_prob(parameters, other) == -math.inf).all()
    unseen = some.index_fill(1, torch.tensor([0]), False)
    torch.testing.assert_close(there.log_prob(parameters, other, unseen), each[:, 2:].flatten(1).sum(1))
