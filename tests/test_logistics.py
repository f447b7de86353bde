"""The discretised logistic mixture against its definition with 60 digits, and autograd of the plain difference."""

import itertools
import math
from collections.abc import Callable

import mpmath
import numpy as np
import pytest
import scipy.stats
import torch
from helpers_draws import frequencies_agree
from torch.autograd import forward_ad

from variate.models.laws.logistics import DiscretizedLogisticMixture

pytestmark = pytest.mark.bits


def law_of(logits, mean, log_scale, levels: int, dim: int = -1, atoms=()) -> DiscretizedLogisticMixture:
    packed = torch.cat([mean, log_scale, logits], dim)
    return DiscretizedLogisticMixture(packed, mean.shape[dim], levels, dim, atoms)


def logistic_mixture(weights, mean, log_scale, *atoms, levels: int) -> DiscretizedLogisticMixture:
    parts = (torch.tensor(part, dtype=torch.float64) for part in (weights, mean, log_scale))
    return law_of(*parts, levels=levels, atoms=atoms)


def exact_numbers(weights, mean, log_scale, *atoms, levels: int) -> list:
    """The definition: log Σ_k π_k [F(upper edge) − F(lower edge)], outer edges at infinity, and atoms."""
    pi = [mpmath.e**w for w in weights]
    edges = [-mpmath.inf, *((mpmath.mpf(2 * j + 1)) / (2 * levels - 2) for j in range(levels - 1)), mpmath.inf]

    def below(edge, mu, s):
        return mpmath.mpf(0) if edge == -mpmath.inf else 1 / (1 + mpmath.exp(-(edge - mu) / s))

    def above(edge, mu, s):
        return mpmath.mpf(0) if edge == mpmath.inf else 1 / (1 + mpmath.exp((edge - mu) / s))

    def mass(low, high, mu, s):  # the tail on whose side both edges lie, so that nothing cancels
        return above(low, mu, s) - above(high, mu, s) if low > mu else below(high, mu, s) - below(low, mu, s)

    total = [
        sum(
            p * mass(low, high, mpmath.mpf(m), mpmath.exp(mpmath.mpf(t)))
            for p, m, t in zip(pi[: len(mean)], mean, log_scale, strict=True)
        )
        for low, high in itertools.pairwise(edges)
    ]
    for p, atom in zip(pi[len(mean) :], atoms, strict=True):
        total[atom] += p
    return [mpmath.log(mass / sum(pi)) for mass in total]


def exact_log_masses(weights, mean, log_scale, *atoms, levels: int) -> np.ndarray:
    """The definition with 60 digits."""
    with mpmath.workdps(60):
        return np.array(list(map(float, exact_numbers(weights, mean, log_scale, *atoms, levels=levels))))


MIXTURES = {
    "one component": ([0.0], [0.4], [-2.0]),
    "three components": ([0.3, -1.0, 0.5], [0.1, 0.5, 0.9], [-3.0, -1.0, -2.0]),
    "sharp": ([0.0, 0.2], [0.25, 0.7], [-7.5, -9.0]),
    "flat": ([0.0, 1.0], [0.5, 0.2], [4.0, 9.0]),
    "means far outside": ([0.0, 0.0], [-6.0, 11.0], [-1.0, -2.5]),
    "far, sharp and one-sided": ([0.0, -2.0], [3.0, 2.5], [-6.0, -7.5]),
    "with atoms": ([0.3, -1.0, 0.5, -0.4], [0.1, 0.8], [-3.0, -1.0], 0, 1),
    "with an atom in a desert": ([0.0, -3.0], [4.0], [-6.0], 0),
}
mixtures = pytest.mark.parametrize("mixture", MIXTURES.values(), ids=list(MIXTURES))
few_or_many = pytest.mark.parametrize("levels", [2, 3, 256])


@mixtures
@few_or_many
class TestDiscretizedLogisticMixture:
    def grid(self, levels: int, dtype=torch.float64) -> torch.Tensor:
        return torch.arange(levels, dtype=dtype) / (levels - 1)

    def log_masses(self, mixture, levels: int, dtype=torch.float64) -> torch.Tensor:
        """All levels' log-masses: the components along dim −1, a level per row."""
        parts = (torch.tensor(part, dtype=dtype).expand(levels, -1) for part in mixture[:3])
        return law_of(*parts, levels=levels, atoms=mixture[3:]).log_prob(self.grid(levels, dtype))

    def test_masses_sum_to_one(self, mixture, levels):
        assert abs(float(self.log_masses(mixture, levels).exp().sum()) - 1) < 1e-10

    def test_masses_are_differences_of_the_logistic_cdf(self, mixture, levels):
        np.testing.assert_allclose(
            self.log_masses(mixture, levels), exact_log_masses(*mixture, levels=levels), rtol=1e-9
        )

    def test_single_precision_keeps_five_digits_of_the_log_mass(self, mixture, levels):
        got = self.log_masses(mixture, levels, torch.float32)
        np.testing.assert_allclose(got, exact_log_masses(*mixture, levels=levels), rtol=3e-4, atol=3e-5)

    def test_mean_is_the_explicit_sum(self, mixture, levels):
        """Exact for few levels; of many, to the thousandth of a level that it promises."""
        expected = (np.exp(exact_log_masses(*mixture, levels=levels)) * self.grid(levels).numpy()).sum()
        allowed = 1e-10 if levels <= 32 else 1e-3 / (levels - 1)
        assert abs(float(logistic_mixture(*mixture, levels=levels).mean) - expected) < allowed

    def test_sample_frequencies_are_the_masses(self, mixture, levels):
        drawn = logistic_mixture(*mixture, levels=levels).sample(torch.Size([50_000]))
        assert frequencies_agree(drawn, np.exp(exact_log_masses(*mixture, levels=levels)))

    def test_gradients_stay_finite(self, mixture, levels):
        parts = [torch.tensor(part).repeat(levels, 1).requires_grad_() for part in mixture[:3]]
        law = law_of(*parts, levels=levels, atoms=mixture[3:])
        law.log_prob(self.grid(levels, torch.float32)).sum().backward()
        assert all(torch.isfinite(part.grad).all() for part in parts)


@few_or_many
@pytest.mark.parametrize("mixture", [MIXTURES["three components"], MIXTURES["with atoms"]], ids=["smooth", "atoms"])
def test_logistic_gradient_is_that_of_the_definition(mixture, levels):
    """Against autograd of the plain difference of cdfs, where double precision can afford it."""
    parts = [torch.tensor(part, dtype=torch.float64, requires_grad=True) for part in mixture[:3]]
    grid = torch.arange(levels, dtype=torch.float64) / (levels - 1)
    logits, mean, log_scale = parts
    inner = torch.sigmoid(((grid[1:] + grid[:-1]).unsqueeze(-1) / 2 - mean) / log_scale.exp())
    cdf = torch.cat([torch.zeros_like(inner[:1]), inner, torch.ones_like(inner[:1])])
    hits = torch.eye(levels, dtype=torch.float64)[:, list(mixture[3:])]
    naive = torch.log((logits.softmax(-1) * torch.cat([cdf[1:] - cdf[:-1], hits], -1)).sum(-1))
    weights = torch.randn(levels, dtype=torch.float64)
    wanted = torch.autograd.grad((naive * weights).sum(), parts)
    law = law_of(*(part.expand(levels, -1) for part in parts), levels=levels, atoms=mixture[3:])
    found = torch.autograd.grad((law.log_prob(grid) * weights).sum(), parts)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9)


def exact_curvature(mixture, levels: int) -> np.ndarray:
    """All second derivatives of every level's log-mass by differences, with 60 digits: (levels, P, P).

    The parameters in the order in which they are packed: means, log scales, logits.
    """
    logits, mean, log_scale, *atoms = mixture
    start, k = [*mean, *log_scale, *logits], len(mean)
    size, step = len(start), mpmath.mpf(10) ** -12

    def moved(*moves: tuple[int, int]) -> list:
        with mpmath.workdps(60):
            numbers = list(map(mpmath.mpf, start))
            for place, sign in moves:
                numbers[place] += sign * step
            return exact_numbers(numbers[2 * k :], numbers[:k], numbers[k : 2 * k], *atoms, levels=levels)

    found = np.empty((levels, size, size))
    for i, j in itertools.combinations_with_replacement(range(size), 2):
        corners = {signs: moved((i, signs[0]), (j, signs[1])) for signs in itertools.product((1, -1), repeat=2)}
        with mpmath.workdps(60):
            sums = (sum(a * b * corners[a, b][level] for a, b in corners) for level in range(levels))
            found[:, i, j] = found[:, j, i] = [float(total / (4 * step**2)) for total in sums]
    return found


@mixtures
@pytest.mark.parametrize("levels", [2, 3])
def test_second_derivatives_are_those_of_the_definition(mixture, levels):
    """At the ends of the grid, on atoms and between them, of sharp components and of those far out."""
    logits, mean, log_scale = (torch.tensor(part, dtype=torch.float64) for part in mixture[:3])
    grid = torch.arange(levels, dtype=torch.float64) / (levels - 1)

    def log_masses(parameters: torch.Tensor) -> torch.Tensor:
        law = DiscretizedLogisticMixture(parameters.expand(levels, -1), len(mean), levels, atoms=mixture[3:])
        return law.log_prob(grid)

    packed, exact = torch.cat([mean, log_scale, logits]), exact_curvature(mixture, levels)
    for level in range(levels):
        found = torch.autograd.functional.hessian(lambda p, level=level: log_masses(p)[level], packed)
        np.testing.assert_allclose(found, exact[level], rtol=1e-7, atol=1e-9 * max(1, np.abs(exact[level]).max()))


@pytest.mark.parametrize("dim, shape", [(-1, (2, 4, 8)), (-2, (2, 8, 4)), (-3, (8, 2, 4))])
@pytest.mark.parametrize("atoms", [(), (0, 3)], ids=["smooth", "atoms"])
def test_the_gradient_has_the_gradient_that_differences_give(dim, shape, atoms):
    """Weighted rows, components along any dimension, parameters beyond their bounds, values of several samples."""
    place = len(shape) + dim
    size = 6 + len(atoms)
    parameters = torch.randn(*shape[:place], size, *shape[place + 1 :], dtype=torch.float64)
    parameters.select(dim, 2).fill_(-9.0)  # a log scale beyond its bounds
    levels = torch.randint(0, 5, (3, *shape[:place], *shape[place + 1 :])).double() / 4

    def log_prob(p: torch.Tensor) -> torch.Tensor:
        return DiscretizedLogisticMixture(p, 2, 5, dim, atoms, (-7.0, 7.0)).log_prob(levels)

    parameters.requires_grad_()
    assert torch.autograd.gradcheck(log_prob, parameters)
    assert torch.autograd.gradgradcheck(log_prob, parameters)
    weights = torch.randn(levels.shape, dtype=torch.float64)
    once, twice = (
        torch.autograd.grad(log_prob(parameters), parameters, weights, create_graph=g) for g in (False, True)
    )
    torch.testing.assert_close(once[0], twice[0], rtol=1e-12, atol=1e-12)


def forward_mode(law: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    def differentiated(given: torch.Tensor) -> torch.Tensor:
        with forward_ad.dual_level():
            return law(forward_ad.make_dual(given, torch.ones_like(given)))

    return differentiated


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch's own
@pytest.mark.parametrize("transform", [torch.func.grad, torch.func.vmap, forward_mode])
def test_ways_of_differentiating_that_it_does_not_know_are_errors(transform):
    """Never a silent zero."""

    def log_prob(parameters: torch.Tensor) -> torch.Tensor:
        return DiscretizedLogisticMixture(parameters, 1, 3).log_prob(torch.tensor(0.5)).sum()

    with pytest.raises(RuntimeError, match="autograd.Function"):
        transform(log_prob)(torch.tensor([[0.5, -1.0, 0.0]] * 2))


@pytest.mark.parametrize(
    "mixture", [MIXTURES["three components"], MIXTURES["with atoms"], MIXTURES["far, sharp and one-sided"]]
)
def test_single_precision_keeps_three_digits_of_the_gradient(mixture):
    """The ends of the grid too, where a network learns black and white."""

    def gradient(dtype: torch.dtype) -> torch.Tensor:
        parts = [torch.tensor(part, dtype=dtype).repeat(256, 1).requires_grad_() for part in mixture[:3]]
        grid = torch.arange(256, dtype=dtype) / 255
        law_of(*parts, levels=256, atoms=mixture[3:]).log_prob(grid).sum().backward()
        return torch.cat([part.grad for part in parts], -1).double()

    torch.testing.assert_close(gradient(torch.float32), gradient(torch.float64), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("level", [0, 1, 40_000, 65_534, 65_535])
def test_sixteen_bits_know_their_ends(level):
    """Single precision tells the last of 65,536 levels from the one before."""
    law = logistic_mixture([0.0], [0.6], [-2.0], levels=65_536)
    single = law_of(*(torch.tensor([number]) for number in (0.0, 0.6, -2.0)), levels=65_536)
    edges = [-np.inf if level == 0 else level - 0.5, np.inf if level == 65_535 else level + 0.5]
    below = scipy.stats.logistic.cdf(np.array(edges) / 65_535, 0.6, np.exp(-2.0))
    exact = np.log(below[1] - below[0])
    np.testing.assert_allclose(law.log_prob(torch.tensor(level / 65_535, dtype=torch.float64)), exact, rtol=1e-9)
    np.testing.assert_allclose(single.log_prob(torch.tensor(level / 65_535)), exact, rtol=1e-5)


def test_log_scales_beyond_their_bounds_get_no_gradient():
    parameters = torch.tensor([0.2, 0.4, 0.6, -9.0, -2.0, 8.0, 0.1, 0.2, 0.3], requires_grad=True)
    law = DiscretizedLogisticMixture(parameters, 3, 256, bounds=(-7.0, 7.0))
    law.log_prob(torch.tensor(0.2)).backward()
    held = DiscretizedLogisticMixture(parameters.detach().clamp(-7, 7), 3, 256)
    torch.testing.assert_close(law.log_prob(torch.tensor(0.2)), held.log_prob(torch.tensor(0.2)))
    slope = parameters.grad
    assert slope[3] == slope[5] == 0 != slope[4]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("log_scale", [-30.0, -20.0, 20.0, 30.0])
@pytest.mark.parametrize("levels", [2, 256, 65_536])
def test_the_widest_and_the_narrowest_are_still_probabilities(log_scale, levels, dtype):
    """The mean on a level: scales far below a number's last digit cannot tell on which side of an edge it lies."""
    grid = torch.arange(levels).to(dtype) / (levels - 1)
    parameters = torch.tensor([grid[levels // 3], log_scale, 0.0], dtype=dtype).repeat(levels, 1).requires_grad_()
    masses = DiscretizedLogisticMixture(parameters, 1, levels).log_prob(grid)
    assert abs(float(masses.detach().double().exp().sum()) - 1) < (1e-5 if dtype == torch.float32 else 1e-10)
    masses.exp().sum().backward()
    assert torch.isfinite(parameters.grad).all()


@pytest.mark.parametrize("bounds", [(-math.inf, 7.0), (-7.0, 31.0), (2.0, 1.0)])
def test_bounds_beyond_the_widest_are_refused(bounds):
    with pytest.raises(ValueError, match="of log scales must lie within"):
        DiscretizedLogisticMixture(torch.zeros(3), 1, 256, bounds=bounds)


def test_nothing_changes_where_no_gradient_is_asked_for():
    parameters, values = torch.randn(50, 8, 3), torch.randint(0, 256, (50, 3)) / 255
    laws = [
        DiscretizedLogisticMixture(part, 2, 256, -2, (0, 255), (-7.0, 7.0))
        for part in (parameters, parameters.clone().requires_grad_())
    ]
    plain, learned = (law.log_prob(values) for law in laws)
    assert torch.equal(plain, learned.detach())


def test_components_may_lie_along_any_dimension(rng):
    """Images hold them before the places: (rows, components, places) with dim −2."""
    parts = [torch.from_numpy(rng.normal(size=(4, 3, 5)) + offset) for offset in (0, 0.5, -2)]
    values = torch.from_numpy(rng.integers(0, 16, (4, 5)) / 15)
    along = law_of(*parts, levels=16, dim=-2)
    last = law_of(*(part.movedim(1, -1) for part in parts), levels=16)
    torch.testing.assert_close(along.log_prob(values), last.log_prob(values))
    torch.testing.assert_close(along.mean, last.mean)
    assert along.sample(torch.Size([7])).shape == (7, 4, 5)
