"""The contract of every likelihood: it is normalised, samples what it says, and marginalises what is missing."""

import itertools
import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from torch import Tensor, nn

from variate import likelihoods
from variate.config import registry
from variate.data.schema import Schema
from variate.errors import UserError
from variate.likelihoods import Likelihood

REGISTRY = registry(likelihoods, Likelihood)
FEATURES = 4
ROWS = 3
VECTOR, IMAGE = (3,), (2, 1, 2)  # raw shapes: three values, and height × width × channels
REAL = {"offset": (0.0,), "scale": (1.0,)}

CASES = {
    "bernoulli, vector": ("bernoulli", {}, Schema(VECTOR, "uint8", levels=2)),
    "bernoulli, image": ("bernoulli", {}, Schema(IMAGE, "uint8", levels=2)),
    "categorical, vector": ("categorical", {}, Schema(VECTOR, "uint8", levels=4)),
    "categorical, image": ("categorical", {}, Schema(IMAGE, "uint8", levels=3)),
    "discretized logistic": ("discretized_logistic", {}, Schema(VECTOR, "uint8", levels=5)),
    "mixture of logistics": ("discretized_logistic", {"components": 3}, Schema(IMAGE, "uint8", levels=3)),
    "mixture with atoms": (
        "discretized_logistic",
        {"components": 2, "atoms": (0, 2)},
        Schema(IMAGE, "uint8", levels=3),
    ),
    "gaussian, learned": ("gaussian", {}, Schema(VECTOR, "float64", **REAL)),
    "gaussian, learned, image": ("gaussian", {}, Schema(IMAGE, "float64", **REAL)),
    "gaussian, predicted": ("gaussian", {"sigma": "predicted"}, Schema(IMAGE, "float64", **REAL)),
    "gaussian, optimal": ("gaussian", {"sigma": "optimal"}, Schema(VECTOR, "float64", **REAL)),
    "gaussian, fixed": ("gaussian", {"sigma": 0.3}, Schema(VECTOR, "float64", **REAL)),
}


def build(name: str, keywords: dict, schema: Schema) -> Likelihood:
    """In double precision, with every parameter moved off its start."""
    likelihood = REGISTRY[name]((FEATURES,), schema, **keywords).double().requires_grad_(False)
    for parameter in likelihood.parameters():
        nn.init.normal_(parameter, std=0.4)
    return likelihood


def parameters_of(likelihood: Likelihood) -> Tensor:
    return likelihood(torch.randn(ROWS, FEATURES, dtype=torch.float64))


@pytest.fixture(params=CASES.values(), ids=list(CASES))
def likelihood(request) -> Likelihood:
    return build(*request.param)


@pytest.fixture(params=[case for case in CASES.values() if case[2].levels], ids=[n for n in CASES if "gauss" not in n])
def discrete(request) -> Likelihood:
    return build(*request.param)


@pytest.fixture(params=[n for n in CASES if "gauss" in n])
def gaussian(request) -> Likelihood:
    return build(*CASES[request.param])


def every_example(schema: Schema) -> Tensor:
    """All L^D examples in model units, (L^D, *tensor_shape)."""
    levels = np.arange(schema.levels) / (schema.levels - 1)
    table = np.array(list(itertools.product(levels, repeat=schema.size)))
    return torch.from_numpy(table).reshape(-1, *schema.tensor_shape)


def table(likelihood: Likelihood, parameters: Tensor) -> tuple[Tensor, Tensor]:
    """(all examples, their log-probabilities (L^D, ROWS))."""
    examples = every_example(likelihood.schema)
    wide = examples.unsqueeze(1).expand(-1, len(parameters), *examples.shape[1:])
    return wide, likelihood.log_prob(parameters, wide)


def log_integral(likelihood: Likelihood, parameters: Tensor, cell: tuple, others: Tensor) -> Tensor:
    """log ∫ p(x) dx_cell by the trapezoid rule, the other cells held at ``others``: (ROWS,)."""
    grid = torch.linspace(-40, 40, 40_001, dtype=torch.float64)
    targets = others.expand(len(grid), *others.shape).clone()
    targets[(slice(None), slice(None), *cell)] = grid.unsqueeze(-1)
    return torch.logsumexp(likelihood.log_prob(parameters, targets), 0) + math.log(80 / 40_000)


def masks(schema: Schema) -> list[Tensor]:
    """Every pattern of observed cells."""
    patterns = itertools.product([False, True], repeat=schema.size)
    return [torch.tensor(pattern).reshape(schema.tensor_shape) for pattern in patterns]


def test_every_likelihood_has_a_case():
    assert {name for name, _, _ in CASES.values()} == set(REGISTRY)


def test_shapes_say_which_dimensions_are_rows_and_which_an_example(likelihood):
    parameters = parameters_of(likelihood)
    p = likelihood.distribution(parameters)
    shape = torch.Size(likelihood.schema.tensor_shape)
    assert (p.batch_shape, p.event_shape) == ((ROWS,), shape)
    assert parameters.shape == (ROWS, parameters.shape[1], *shape)
    assert likelihood.point(parameters).shape == (ROWS, *shape)
    assert likelihood.log_prob(parameters.expand(5, *parameters.shape), torch.zeros(shape)).shape == (5, ROWS)


def test_probabilities_of_all_examples_sum_to_one(discrete):
    _, log_mass = table(discrete, parameters_of(discrete))
    np.testing.assert_allclose(log_mass.exp().sum(0), 1, atol=1e-10)


def test_density_is_a_product_of_densities_that_integrate_to_one(gaussian):
    """Σᵢ log [p(x) / ∫ p(x) dxᵢ] is log p(x) for a normalised product, and for nothing else that factorises."""
    parameters = parameters_of(gaussian)
    x = torch.randn(ROWS, *gaussian.schema.tensor_shape, dtype=torch.float64)
    log_prob = gaussian.log_prob(parameters, x)
    each = [log_prob - log_integral(gaussian, parameters, cell, x) for cell in np.ndindex(x.shape[1:])]
    torch.testing.assert_close(sum(each), log_prob, rtol=0, atol=1e-8)


def test_missing_cells_are_summed_out(discrete):
    parameters = parameters_of(discrete)
    examples, log_mass = table(discrete, parameters)
    for observed in masks(discrete.schema):
        wanted = examples[len(examples) // 2, 0]
        same = ((examples[:, 0] == wanted) | ~observed).flatten(1).all(-1)
        expected = torch.logsumexp(log_mass[same], 0)
        got = discrete.log_prob(parameters, wanted.expand(ROWS, *wanted.shape), observed)
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)


def test_missing_cells_are_integrated_out(gaussian):
    parameters = parameters_of(gaussian)
    x = torch.randn(ROWS, *gaussian.schema.tensor_shape, dtype=torch.float64)
    for cell in np.ndindex(x.shape[1:]):
        observed = torch.ones(x.shape[1:], dtype=torch.bool)
        observed[cell] = False
        expected = log_integral(gaussian, parameters, cell, x)
        torch.testing.assert_close(gaussian.log_prob(parameters, x, observed), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("filler", [math.nan, math.inf, -1e30])
def test_what_stands_in_a_missing_cell_changes_neither_value_nor_gradient(likelihood, filler):
    observed = torch.zeros(likelihood.schema.tensor_shape, dtype=torch.bool)
    observed.view(-1)[0] = True
    results = []
    for value in (0.0, filler):
        parameters = parameters_of(likelihood).zero_().add_(0.1).requires_grad_()
        target = torch.where(observed, torch.ones(()), torch.tensor(value)).double().expand(ROWS, *observed.shape)
        log_prob = likelihood.log_prob(parameters, target, observed)
        results.append((log_prob.detach(), torch.autograd.grad(log_prob.sum(), parameters)[0]))
    for one, other in zip(*results, strict=True):
        assert torch.isfinite(one).all() and torch.equal(one, other)


def test_point_is_the_probability_weighted_mean(discrete):
    parameters = parameters_of(discrete)
    examples, log_mass = table(discrete, parameters)
    expected = torch.einsum("nb,nb...->b...", log_mass.exp(), examples)
    torch.testing.assert_close(discrete.point(parameters), expected, rtol=0, atol=1e-10)


def test_point_is_where_the_gaussian_is_densest(gaussian):
    target = torch.zeros(ROWS, *gaussian.schema.tensor_shape, dtype=torch.float64)
    parameters = parameters_of(gaussian)
    point = gaussian.point(parameters).requires_grad_()
    slope = torch.autograd.grad(gaussian.log_prob(parameters, point).sum(), point)[0]
    torch.testing.assert_close(slope, target, rtol=0, atol=1e-10)


def test_sample_means_are_the_point(likelihood):
    parameters = parameters_of(likelihood)
    drawn = likelihood.distribution(parameters).sample(torch.Size([40_000]))
    error = (drawn.mean(0) - likelihood.point(parameters)).abs()
    assert (error <= 4.5 * drawn.std(0) / len(drawn) ** 0.5 + 5 / len(drawn)).all()


def test_sample_frequencies_are_the_probabilities(discrete):
    """Pearson's chi-square over all examples of one row, with those expected fewer than 10 times as one."""
    parameters = parameters_of(discrete)[:1]
    examples, log_mass = table(discrete, parameters)
    drawn = discrete.distribution(parameters).sample(torch.Size([50_000])).flatten(1)
    place = torch.tensor([discrete.schema.levels**i for i in reversed(range(discrete.schema.size))])
    code = ((drawn * (discrete.schema.levels - 1)).round().long() * place).sum(-1)
    counts, expected = np.bincount(code, minlength=len(examples)), 50_000 * log_mass[:, 0].exp().numpy()
    rare = expected < 10
    seen, awaited = (np.append(each[~rare], each[rare].sum()) for each in (counts, expected))
    statistic = ((seen - awaited) ** 2 / awaited.clip(1e-9)).sum()
    assert scipy.stats.chi2.sf(statistic, (~rare).sum()) > 1e-3


def test_gaussian_samples_are_normal_with_its_density(gaussian):
    """Kolmogorov–Smirnov against the scipy normal that the reported log-density, a parabola, belongs to."""
    parameters = parameters_of(gaussian)[:1]
    drawn = gaussian.distribution(parameters).sample(torch.Size([20_000]))
    for cell in np.ndindex(gaussian.schema.tensor_shape):
        at = torch.zeros(3, 1, *gaussian.schema.tensor_shape, dtype=torch.float64)
        at[(slice(None), 0, *cell)] = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
        low, middle, high = gaussian.log_prob(parameters, at)[:, 0].tolist()
        variance = 1 / (2 * middle - low - high)
        law = scipy.stats.norm(variance * (high - low) / 2, variance**0.5)
        assert scipy.stats.kstest(drawn[(slice(None), 0, *cell)].numpy(), law.cdf).pvalue > 1e-4


@pytest.mark.parametrize("size", [30.0, 200.0, 1e4])
def test_wild_parameters_never_give_nan(likelihood, size):
    """A decoder gone astray costs an enormous number of nats; the number is still one."""
    parameters = (size * torch.sign(parameters_of(likelihood))).float()
    target = torch.ones(ROWS, *likelihood.schema.tensor_shape)
    assert not torch.isnan(likelihood.float().log_prob(parameters, target)).any()


class TestBernoulli:
    def test_grey_targets_score_the_expected_log_probability_of_their_binarisations(self):
        """E_b[log p(b)], b ~ Bernoulli(x), by summing over all b: what binarize = expected optimises."""
        likelihood = build(*CASES["bernoulli, image"])
        parameters = parameters_of(likelihood)
        grey = torch.rand(likelihood.schema.tensor_shape, dtype=torch.float64)
        bits, log_mass = table(likelihood, parameters)
        chance = torch.where(bits[:, 0] == 1, grey, 1 - grey).flatten(1).prod(-1)
        expected = (chance.unsqueeze(-1) * log_mass).sum(0)
        torch.testing.assert_close(likelihood.log_prob(parameters, grey.expand(ROWS, *grey.shape)), expected)

    @pytest.mark.parametrize("levels", [3, 256, None])
    def test_grey_data_is_refused_with_the_remedy(self, levels):
        with pytest.raises(UserError, match="binaris"):
            likelihoods.Bernoulli((FEATURES,), Schema(VECTOR, "uint8", levels=levels))


@pytest.mark.parametrize("name", [name for name, _, schema in CASES.values() if schema.levels])
def test_real_numbers_are_refused_by_every_discrete_likelihood(name):
    with pytest.raises(UserError):
        REGISTRY[name]((FEATURES,), Schema(VECTOR, "float64", **REAL))


def test_a_categorical_over_too_many_levels_is_refused():
    with pytest.raises(UserError, match="discretized_logistic"):
        likelihoods.Categorical((FEATURES,), Schema(VECTOR, "uint16", levels=65536))


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
        assert sigma[0].unique().numel() == likelihood.schema.tensor_shape[0]

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
            likelihoods.Gaussian((FEATURES,), CASES["gaussian, fixed"][2], sigma=sigma)


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
        likelihoods.DiscretizedLogistic((FEATURES,), Schema(VECTOR, "uint8", levels=5), atoms=atoms)


def test_features_with_places_are_read_place_by_place():
    """Features (F, H, W): what stands at one place decides the parameters of that place alone."""
    likelihood = likelihoods.Bernoulli((FEATURES, 2, 3), Schema((2, 3), "uint8", levels=2))
    features = torch.randn(1, FEATURES, 2, 3)
    moved = features.clone()
    moved[0, :, 1, 2] += 1
    changed = likelihood(features) != likelihood(moved)
    assert changed.flatten().tolist() == [False] * 5 + [True]
