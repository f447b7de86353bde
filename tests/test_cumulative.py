"""P(X ≤ value) of every likelihood and of the laws below it: sums, integrals, SciPy; in both tails and at the ends."""

import math
from dataclasses import replace

import helpers_runs  # noqa: F401 (how many examples Hypothesis makes)
import mpmath
import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from helpers_likelihoods import (
    CASES,
    COUNTS,
    FEATURES,
    LAWS,
    REAL,
    ROWS,
    VECTOR,
    build,
    law_of,
    learned,
    levels_of,
    on_grid,
    parameters_of,
    some_rows,
    unit_of,
)
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Cauchy, Laplace, NegativeBinomial, Normal, Poisson, StudentT

from variate.base.errors import UserError
from variate.data import kinds
from variate.data.kinds import Counts, Reals
from variate.data.schema import Field
from variate.models.laws.grids import GridBetaBinomial, Levels
from variate.models.laws.incomplete_beta import regularized_beta
from variate.models.laws.johnson import JohnsonSU
from variate.models.laws.logistics import DiscretizedLogisticMixture
from variate.models.laws.tails import tails
from variate.models.likelihoods.likelihood import Likelihood

NODES, WEIGHTS = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(300))


@pytest.fixture(params=CASES)
def likelihood(request) -> Likelihood:
    return build(*CASES[request.param])


def cases(wanted) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", [name for name, (law, _, field) in CASES.items() if wanted(law, field)])


masses = cases(lambda law, field: field.kind.is_mass and field.kind.support != "bins")
binned = cases(lambda law, field: field.kind.support == "bins")
densities = cases(lambda law, field: not field.kind.is_mass)


def ladder(likelihood: Likelihood, length: int) -> Tensor:
    """The values −1, 0, 1, … in model units, for every value: (length, 1, *shape)."""
    field = likelihood.field
    steps = torch.arange(-1.0, length - 1).double().reshape(-1, *[1] * len(field.tensor_shape))
    return (steps * unit_of(field)).expand(length, *field.tensor_shape).unsqueeze(1)


def both(likelihood: Likelihood, parameters: Tensor, value: Tensor) -> tuple[np.ndarray, np.ndarray]:
    return likelihood.cumulative(parameters, value).numpy(), likelihood.survival(parameters, value).numpy()


# ---------------------------------------------------------------------------------------------------- the contract


@masses
def test_of_masses_it_is_the_sum_of_those_up_to_the_value(case):
    likelihood = build(*CASES[case])
    parameters = parameters_of(likelihood)
    value = ladder(likelihood, 1500 if likelihood.field.kind.is_count else max(levels_of(likelihood.field)) + 1)
    mass = likelihood.values(parameters).log_prob(value[1:]).exp()
    lower, upper = both(likelihood, parameters, value)
    assert (lower[0] == 0).all() and (upper[0] == 1).all()
    np.testing.assert_allclose(lower[1:], mass.cumsum(0), rtol=1e-8)
    below_last = mass.flip(0).cumsum(0).flip(0)[1:]  # what is above all but the last
    np.testing.assert_allclose(upper[1:-1], below_last, rtol=1e-8, atol=1e-150)
    np.testing.assert_allclose(upper[-1], 0, atol=1e-15)


@binned
def test_of_bins_it_is_the_sum_of_those_up_to_the_value(case):
    """From far below, and from far above."""
    likelihood = build(*CASES[case])
    parameters, shape = parameters_of(likelihood), likelihood.field.tensor_shape
    k = torch.arange(-3000, 3001).reshape(-1, 1, *[1] * len(shape)).expand(-1, 1, *shape)
    value = on_grid(likelihood.field, k)
    mass = likelihood.values(parameters).log_prob(value).exp()
    lower, upper = both(likelihood, parameters, value)
    assert (lower[0] < 1e-5).all() and (upper[-1] < 1e-5).all()
    np.testing.assert_allclose(lower[1:], lower[0] + mass[1:].cumsum(0).numpy(), rtol=1e-8, atol=1e-200)
    np.testing.assert_allclose(
        upper[:-1], upper[-1] + mass.flip(0).cumsum(0).flip(0)[1:].numpy(), rtol=1e-8, atol=1e-200
    )


@binned
def test_between_bins_the_greatest_value_below_counts(case):
    likelihood = build(*CASES[case])
    parameters, field = parameters_of(likelihood), likelihood.field
    k = torch.arange(-8, 9).reshape(-1, 1, *[1] * len(field.tensor_shape)).expand(-1, 1, *field.tensor_shape)
    expected = both(likelihood, parameters, on_grid(field, k))
    for share in (0.001, 0.1, 0.9, 0.999):
        for found, wanted in zip(both(likelihood, parameters, on_grid(field, k + share)), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


@densities
def test_of_densities_it_is_their_integral(case):
    """By Gauss and Legendre's rule along x = point ± (e^t − 1) from the point, where kinks are, to the value."""
    likelihood = build(*CASES[case])
    parameters = parameters_of(likelihood)
    law, point = likelihood.values(parameters), likelihood.point(parameters)
    at_point = both(likelihood, parameters, point)
    for reach in (0.01, 0.3, 2.0, 50.0, 1e9):
        t = (NODES + 1) / 2 * math.log1p(reach)
        weight = (WEIGHTS / 2 * math.log1p(reach) * t.exp()).reshape(-1, *[1] * point.dim())
        for sign in (-1, 1):
            x = point + sign * t.expm1().reshape(weight.shape)
            mass = sign * (law.log_prob(x).exp() * weight).sum(0)
            lower, upper = both(likelihood, parameters, point + sign * reach)
            np.testing.assert_allclose(lower - at_point[0], mass, rtol=0, atol=1e-6)
            np.testing.assert_allclose(upper - at_point[1], -mass, rtol=0, atol=1e-6)


def gaussian(likelihood: Likelihood, parts: list[np.ndarray]):
    return scipy.stats.norm(parts[0], likelihood.values(torch.from_numpy(np.stack(parts, 1))).stddev)


def bernoulli(likelihood: Likelihood, parts: list[np.ndarray]):
    return scipy.stats.bernoulli(scipy.special.expit(parts[0]))


SCIPYS = LAWS | {"gaussian": gaussian, "bernoulli": bernoulli}


@cases(lambda law, field: law in SCIPYS)
def test_it_is_scipys(case):
    likelihood = build(*CASES[case])
    parameters, field = parameters_of(likelihood), likelihood.field
    value = 3 * some_rows(field, 100 * ROWS).unflatten(0, (100, ROWS)) - 2 * unit_of(field)
    raw = (value / unit_of(field)).round().numpy() if field.kind.is_mass else value.numpy()
    law = law_of(likelihood, parameters, SCIPYS)
    lower, upper = both(likelihood, parameters, value)
    np.testing.assert_allclose(lower, law.cdf(raw), rtol=1e-8, atol=1e-200)
    np.testing.assert_allclose(upper, law.sf(raw), rtol=1e-8, atol=1e-200)


@cases(lambda law, field: law == "discretized_logistic")
def test_a_mixture_of_logistics_is_that_of_scipys_and_of_steps(case):
    name, keywords, field = CASES[case]
    likelihood = build(name, keywords, field)
    parameters, k = parameters_of(likelihood), keywords.get("components", 1)
    mean, log_scale, logits = (part.numpy() for part in parameters.split([k, k, parameters.shape[1] - 2 * k], 1))
    weight = scipy.special.softmax(logits, 1)
    for level in range(field.kind.levels - 1):
        edge = (level + 0.5) / (field.kind.levels - 1)
        smooth = scipy.stats.logistic.cdf(edge, mean, np.exp(log_scale.clip(-7, 7)))
        steps = [weight[:, k + i] * (atom <= level) for i, atom in enumerate(keywords.get("atoms", ()))]
        lower = likelihood.cumulative(parameters, torch.tensor(level / (field.kind.levels - 1)))
        np.testing.assert_allclose(lower, (weight[:, :k] * smooth).sum(1) + sum(steps), atol=1e-10)


def test_it_never_falls_and_ends_at_one(likelihood):
    parameters = parameters_of(likelihood)
    inner = torch.cat([torch.linspace(-3, 3, 400), torch.logspace(-8, 12, 100), -torch.logspace(-8, 12, 100)])
    value = torch.cat([torch.tensor([-math.inf]), inner.sort().values, torch.tensor([math.inf])]).double()
    value = value.reshape(-1, *[1] * (parameters.dim() - 1))
    lower, upper = both(likelihood, parameters, value)
    assert lower.shape == upper.shape == (len(value), ROWS, *likelihood.field.tensor_shape)
    assert (np.diff(lower, axis=0) >= -1e-14).all() and (np.diff(upper, axis=0) <= 1e-14).all()
    assert (lower[0] == 0).all() and (upper[0] == 1).all() and (lower[-1] == 1).all() and (upper[-1] == 0).all()
    np.testing.assert_allclose(lower + upper, 1, atol=1e-12)


@masses
def test_off_the_grid_the_greatest_level_below_counts(case):
    likelihood = build(*CASES[case])
    parameters, unit = parameters_of(likelihood), unit_of(likelihood.field)
    value = ladder(likelihood, 8)
    expected = both(likelihood, parameters, value)
    for share in (0.001, 0.5, 0.999):
        for found, wanted in zip(both(likelihood, parameters, value + share * unit), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("levels", [2, 17, 256, 65536])
@pytest.mark.parametrize("name", ["beta_binomial", "discretized_logistic"])
def test_levels_stored_in_single_precision_are_themselves(name, levels):
    field = Field(kinds.Levels(levels), (1,), "uint16")
    likelihood = build(name, {}, field)
    parameters = torch.zeros(1, 3, 1).double() if name == "discretized_logistic" else torch.zeros(1, 2, 1).double()
    level = torch.arange(levels)[:: max(1, levels // 1000)].reshape(-1, 1, 1)
    exact, stored = level.double() / (levels - 1), level.float() / (levels - 1)
    assert torch.equal(likelihood.cumulative(parameters, stored), likelihood.cumulative(parameters, exact))


@pytest.mark.parametrize("name", ["poisson", "negative_binomial"])
def test_large_counts_stored_in_single_precision_are_themselves(name):
    field = Field(Counts(scale=(1234.567,)), (1,), "int64")
    likelihood = build(name, {}, field).float()
    counts = torch.tensor([0, 1, 99_999, 100_003, 999_983, 1_000_000, 1_000_999]).reshape(-1, 1)
    parameters = torch.tensor([10.0, 81.0, 810.0]).reshape(-1, 1, 1)
    law = law_of(likelihood, parameters.double())
    value, raw = field.to_tensor(counts).unsqueeze(1), counts.unsqueeze(1).numpy()
    lower, upper = both(likelihood, parameters, value)
    np.testing.assert_allclose(lower, law.cdf(raw), rtol=0, atol=1e-3)  # the mean itself is in single precision
    np.testing.assert_allclose(upper, law.sf(raw), rtol=0, atol=1e-3)
    mass = likelihood.values(parameters).log_prob(value).exp()
    one_less = likelihood.cumulative(parameters, field.to_tensor(counts - 1).unsqueeze(1))
    np.testing.assert_allclose(lower - one_less.numpy(), mass, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(
    "case", ["gaussian, learned, image", "student t, learned", "poisson, vector", "laplace, fixed"]
)
def test_a_constant_is_a_step_at_nought(case):
    name, keywords, field = CASES[case]
    channels = field.tensor_shape[0]
    scale = (0.0, *[2.0] * (channels - 1))
    there = build(name, keywords, replace(field, kind=replace(field.kind, offset=(0.0,) * channels, scale=scale)))
    parameters = parameters_of(there)
    for value, below in ((-math.inf, 0), (-1e-3, 0), (0.0, 1), (0.7, 1), (math.inf, 1)):
        at = torch.tensor(value).double()
        lower, upper = both(there, parameters, at)
        assert (lower[:, 0] == below).all() and (upper[:, 0] == 1 - below).all()
        others = [part[:, 1:] for part in tails(there.values(parameters), at)]
        np.testing.assert_array_equal(lower[:, 1:], others[0])
        np.testing.assert_array_equal(upper[:, 1:], others[1])


@densities
def test_the_slope_is_the_density(case):
    likelihood = build(*CASES[case])
    parameters = parameters_of(likelihood)
    value = (3 * torch.randn(50, *likelihood.point(parameters).shape)).double().requires_grad_()
    density = likelihood.values(parameters).log_prob(value).exp().detach()
    for method, sign in ((likelihood.cumulative, 1), (likelihood.survival, -1)):
        slope = torch.autograd.grad(method(parameters, value).sum(), value)[0]
        torch.testing.assert_close(sign * slope, density, rtol=1e-8, atol=1e-12)


def test_gradients_are_finite_differences(likelihood):
    likelihood.requires_grad_()
    parameters, value = parameters_of(likelihood).detach().requires_grad_(), some_rows(likelihood.field)
    inputs = [parameters, *learned(likelihood)]
    for method in (likelihood.cumulative, likelihood.survival):
        assert torch.autograd.gradcheck(lambda *_, method=method: method(parameters, value), inputs)


@pytest.mark.parametrize("size", [30.0, 200.0, 1e4])
def test_wild_parameters_give_probabilities(likelihood, size):
    wild = size * torch.sign(parameters_of(likelihood)).float()
    value = (
        torch.cat([some_rows(likelihood.field, 30), torch.zeros(1, *likelihood.field.tensor_shape)])
        .float()
        .unsqueeze(1)
    )
    for part in both(likelihood.float(), wild, value):
        assert part.dtype == np.float64 and ((part >= 0) & (part <= 1)).all()


def test_values_that_depend_on_each_other_have_none():
    class Chained(type(build(*CASES["gaussian, fixed"]))):
        factorised = False

    likelihood = Chained((FEATURES,), Field(Reals(**REAL), VECTOR, "float64"))
    for method in (likelihood.cumulative, likelihood.survival):
        with pytest.raises(UserError, match="Chained.*independent"):
            method(torch.zeros(1, 1, 3), torch.zeros(3))


def test_a_law_that_nobody_has_told_is_an_error():
    with pytest.raises(NotImplementedError, match="Cauchy"):
        tails(Cauchy(0.0, 1.0), torch.zeros(()))


# ---------------------------------------------------------------------------------------------------- far out

WIDE = st.floats(-30, 30).map(math.exp)
PLACES = np.concatenate([np.sinh(np.linspace(-40, 40, 201)), [0.0]])  # in scales


def double(number: object) -> Tensor:
    return torch.as_tensor(number, dtype=torch.float64)


def assert_tails(law, scipys, value: np.ndarray, raw: np.ndarray | None = None, rtol: float = 1e-7) -> None:
    """Both tails to the seventh digit, wherever a number of double precision has it."""
    raw = value if raw is None else raw
    for found, wanted in zip(tails(law, double(value)), (scipys.cdf(raw), scipys.sf(raw)), strict=True):
        assert found.dtype == torch.float64
        np.testing.assert_allclose(found, wanted, rtol=rtol, atol=1e-280)


@given(location=st.floats(-1e6, 1e6), scale=WIDE)
def test_tails_of_normal_and_laplace(location, scale):
    value = location + scale * PLACES[np.abs(PLACES) < 30]
    assert_tails(Normal(double(location), double(scale)), scipy.stats.norm(location, scale), value)
    assert_tails(Laplace(double(location), double(scale)), scipy.stats.laplace(location, scale), value)


@given(dof=st.one_of(st.sampled_from([0.01, 1.0, 2.1, 100.0]), st.floats(0.01, 100)), scale=WIDE)
def test_tails_of_students_law(dof, scale):
    assert_tails(StudentT(double(dof), 0.0, double(scale)), scipy.stats.t(dof, 0, scale), PLACES * scale, rtol=1e-9)


@given(location=st.floats(-20, 20), scale=st.floats(-5, 3).map(math.exp), width=WIDE)
def test_tails_of_johnsons_law(location, scale, width):
    """Within ten scales of its middle: scipy's arcsinh is less exact at −1e17 than what is asked here."""
    law = JohnsonSU(double(location), double(scale), double(0.5), double(width))
    value = 0.5 + width * np.sinh(location + scale * np.linspace(-10, 10, 41))
    z = (np.arcsinh((value - 0.5) / width) - location) / scale
    assert_tails(law, scipy.stats.norm, value, z)


@given(rate=st.floats(-18, 14).map(math.exp))
def test_tails_of_poissons_law(rate):
    counts = np.unique(np.r_[0:5, rate + np.sqrt(rate) * np.arange(-12, 13), 1e6].round().clip(0))
    assert_tails(Poisson(double(rate)), scipy.stats.poisson(rate), counts)


@given(mean=st.floats(-10, 14).map(math.exp), dispersion=st.floats(-18, 5).map(math.exp))
def test_tails_of_the_negative_binomial(mean, dispersion):
    size = 1 / dispersion
    counts = np.unique(
        np.r_[0:5, mean + np.sqrt(mean + dispersion * mean**2) * np.arange(-12, 13), 1e6].round().clip(0)
    )
    law = NegativeBinomial(double(size), logits=double(mean * dispersion).log())
    lower, upper = scipys_incomplete_beta(size, counts + 1, 1 / (1 + mean * dispersion), mean / (size + mean))
    for found, wanted in zip(tails(law, double(counts)), (lower, upper), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-12)


def scipys_incomplete_beta(a, b, x, y) -> tuple[np.ndarray, np.ndarray]:
    """I_x(a, b) and its complement, from the smaller of x and y = 1 − x: the other has lost its digits."""
    by_x, by_y = (scipy.special.betainc(a, b, x), scipy.special.betaincc(b, a, y))
    other_x, other_y = (scipy.special.betaincc(a, b, x), scipy.special.betainc(b, a, y))
    return np.where(x < y, by_x, by_y), np.where(x < y, other_x, other_y)


@given(
    levels=st.sampled_from([2, 3, 17, 256, 5000]),
    a=st.floats(-15, 12).map(math.exp),
    b=st.floats(-15, 12).map(math.exp),
)
def test_tails_of_the_beta_binomial(levels, a, b):
    level = np.unique(np.linspace(-1, levels - 1, 40).round())
    law = scipy.stats.betabinom(levels - 1, a, b)
    mass = np.exp(law.logpmf(np.arange(levels)))
    lower, upper = np.r_[0, mass.cumsum()] / mass.sum(), np.r_[mass[::-1].cumsum()[::-1], 0] / mass.sum()
    found = tails(GridBetaBinomial(double(a), double(b), levels), double(level / (levels - 1)))
    for part, wanted in zip(found, (lower, upper), strict=True):
        np.testing.assert_allclose(part, wanted[level.astype(int) + 1], rtol=1e-6, atol=1e-280)
    np.testing.assert_allclose(found[0][::8], law.cdf(level[::8]), atol=1e-6)


def test_tails_of_a_beta_binomial_with_many_levels():
    """More than are summed at a time, of many values."""
    a, b = double([[0.3], [3e4]]), double([2.0, 9e5])
    level = np.array([-1, 0, 3000, 40_000, 65_535]).reshape(-1, 1, 1)
    found = tails(GridBetaBinomial(*torch.broadcast_tensors(a, b), 65_536), double(level / 65_535))[0]
    np.testing.assert_allclose(found, scipy.stats.betabinom(65_535, a, b).cdf(level), atol=1e-6)


@pytest.mark.parametrize("levels", [2, 3, 17, 1000])
def test_tails_of_levels(rng, levels):
    mass = scipy.special.softmax(20 * rng.normal(size=levels))
    lower, upper = tails(Levels(double(np.log(mass))), double(np.arange(levels) / (levels - 1)))
    np.testing.assert_allclose(lower, mass.cumsum(), rtol=1e-12)
    np.testing.assert_allclose(upper[:-1], mass[::-1].cumsum()[::-1][1:], rtol=1e-12)


@pytest.mark.parametrize("log_scale", [-30.0, -7.0, 0.0, 7.0, 30.0])
@pytest.mark.parametrize("levels", [2, 256, 65536])
def test_tails_of_the_widest_and_the_narrowest_logistics(levels, log_scale):
    law = DiscretizedLogisticMixture(double([0.3, log_scale, 0.0]), 1, levels)
    level = np.unique(np.linspace(0, levels - 2, 50).round())
    edge = (level + 0.5) / (levels - 1)
    assert_tails(law, scipy.stats.logistic(0.3, math.exp(log_scale)), level / (levels - 1), edge, rtol=1e-6)


@given(a=st.floats(-9, 18).map(math.exp), b=st.floats(-9, 18).map(math.exp), z=st.floats(-9, 9))
def test_the_incomplete_beta_function(a, b, z):
    """z standard deviations of the logit from its middle."""
    logit = math.log(a / b) + z * min(1 / math.sqrt(a) + 1 / math.sqrt(b), 3)
    x, y = scipy.special.expit(logit), scipy.special.expit(-logit)
    found = [part.item() for part in regularized_beta(double(a), double(b), double(x), double(y))]
    np.testing.assert_allclose(found, scipys_incomplete_beta(a, b, x, y), rtol=1e-6, atol=1e-280)


@pytest.mark.parametrize(("a", "b"), [(2.5, 0.5), (50.0, 0.5), (0.005, 0.5), (3e3, 2e3), (1e5, 40.0)])
def test_the_incomplete_beta_function_to_many_digits(a, b):
    """Against sums with 40 digits, at both ends and around the middle."""
    with mpmath.workdps(40):
        for shift in (-0.5, -0.01, 0.0, 0.01, 0.5):
            odds = mpmath.mpf(a) / b * mpmath.exp(shift)
            x, y = odds / (1 + odds), 1 / (1 + odds)
            exact = [mpmath.betainc(*pair, 0, end, regularized=True) for pair, end in (((a, b), x), ((b, a), y))]
            found = regularized_beta(double(a), double(b), double(float(x)), double(float(y)))
            np.testing.assert_allclose([float(part) for part in exact], found, rtol=1e-10, atol=1e-280)


def test_the_mass_of_an_interval_keeps_its_digits_in_the_upper_tail():
    """What lies between 30 and 31 σ above: of ``cumulative`` alone the difference would be nothing."""
    likelihood = build("gaussian", {"sigma": 1.0}, Field(Reals(**REAL), (1,), "float64"))
    at = torch.zeros(1, 1, 1).double()
    survival = [likelihood.survival(at, double([number])).item() for number in (30.0, 31.0)]
    np.testing.assert_allclose(survival[0] - survival[1], scipy.stats.norm.cdf(-30) - scipy.stats.norm.cdf(-31))
    assert likelihood.cumulative(at, double([30.0])).item() == 1


def test_counts_are_in_model_units():
    likelihood = build("poisson", {}, COUNTS)
    parameters = parameters_of(likelihood)
    law = law_of(likelihood, parameters)
    value = double(3.0) * unit_of(COUNTS)
    np.testing.assert_allclose(likelihood.cumulative(parameters, value), law.cdf(3), rtol=1e-9)
