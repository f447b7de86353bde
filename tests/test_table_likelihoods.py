"""What the columns of tables are judged by: masses of bins with atoms, mixtures of logistics, and categories."""

import json
import math

import mpmath
import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from helpers_likelihoods import (
    ATOMS,
    BINS,
    CASES,
    CATEGORIES,
    FEATURES,
    REAL,
    REGISTRY,
    ROWS,
    VECTOR,
    build,
    on_grid,
    parameters_of,
    some_rows,
)
from torch import Tensor

from variate.base.errors import UserError
from variate.data.kinds import Binned, Categories, Counts, Kind, Levels, Reals
from variate.data.schema import Field
from variate.models.laws import categories as laws
from variate.models.laws.logistic_mixtures import BinnedLogisticMixture, Grid, LogisticMixture
from variate.models.likelihoods.categoricals import Categoricals
from variate.models.likelihoods.likelihood import Likelihood

REAL_COLUMNS = Field(Reals(**REAL), VECTOR, "float64")


def started(name: str, field: Field, rows: Tensor, **keywords: object) -> tuple[Likelihood, Tensor]:
    """A likelihood that has been shown the rows, and its parameters at features of 0."""
    torch.manual_seed(0)
    likelihood = REGISTRY[name]((FEATURES,), field, **keywords)
    likelihood.start_at(rows.float())
    return likelihood, likelihood(torch.zeros(1, FEATURES)).detach()


# ---------------------------------------------------------------------------------------------------- kinds

CENTS = Binned((12.3, 0.0), (250.0, 3.0), (0.01, 0.1), ((0.0, 99.99), ()))


@pytest.mark.parametrize("kind", [CENTS, Binned(), Categories((2, 7)), Counts(), Levels(3)])
def test_a_kind_comes_back_from_json(kind):
    again = Kind.from_json(json.loads(json.dumps(kind.to_json())))
    assert again == kind and hash(again) == hash(kind) and again.plausible(2)


@pytest.mark.parametrize(
    "kind",
    [
        Binned(step=(0.0,)),
        Binned(step=(-1.0,)),
        Binned(step=(math.nan,)),
        Binned(step=(1.0, 1.0, 1.0)),
        Binned(step=1.0),
        Binned(step=()),
        Binned(scale=(-1.0,)),
        Binned(atoms=((math.inf,),)),
        Binned(atoms=((1.0, 1.0),)),
        Binned(atoms=(tuple(map(float, range(17))),)),
        Binned(atoms=(1.0, 2.0)),
        Binned(atoms=((1,),)),
        Binned(atoms=((), (), ())),
        Binned(atoms=None),
        Categories((2,)),
        Categories((2, 1)),
        Categories((2, 2.0)),
        Categories((2, 1 << 20)),
        Categories([2, 2]),
        Categories(()),
    ],
)
def test_an_impossible_kind_is_not_plausible(kind):
    assert not kind.plausible(2)


def test_values_on_a_grid_come_back_exactly_from_single_precision(rng):
    """Decimal fractions as they are written, and atoms off the grid."""
    kind = Binned((12.3, 0.0, 5e4), (250.0, 3.0, 9e4), (0.01, 0.1, 1.0), ((0.0, 0.005), (), (99_999.5,)))
    raw = np.stack([rng.integers(-99_999, 99_999, 500) / 100, rng.integers(-99, 99, 500) / 10], 1)
    raw = np.column_stack([raw, rng.integers(0, 500_000, 500)])
    raw[0] = [0.005, 0.3, 99_999.5]
    raw[1, 1] = math.nan
    units = kind.units(torch.from_numpy(raw), torch.float32)
    np.testing.assert_array_equal(kind.raw(units.double().numpy()), raw)


def test_masses_have_no_volume_and_constants_do_not_vary():
    kind = Binned((7.0, 0.0), (0.0, 2.0))
    assert kind.log_volume_nats((2,)) == 0 and kind.varying_size((2,)) == 1
    assert kind.without_constants() == Binned((7.0, 0.0), (1.0, 2.0))
    assert Categories((2, 3)).log_volume_nats((2,)) == 0 and Categories((2, 3)).varying_size((2,)) == 2
    units = torch.tensor([[-1.0, 9.0], [0.6, 1.2]])
    assert Categories((2, 3)).raw(units.numpy()).tolist() == [[0, 2], [1, 1]]


# ---------------------------------------------------------------------------------------------------- masses of bins


def scipys_masses(likelihood: Likelihood, parameters: Tensor, x: np.ndarray) -> np.ndarray:
    """P(x) of rows x (n, ROWS, 3) in model units of ``BINS``, as the formula says it."""
    kind, k = likelihood.field.kind, likelihood.components
    logits, means, raw = (p.numpy() for p in parameters.split([parameters.shape[1] - 2 * k, k, k], 1))
    offset, scale, step = (np.array(each) for each in (kind.offset, kind.scale, kind.step))
    half = step / scale / 2
    least = np.float32(np.log(half)) - 3.0
    laws = [scipy.stats.logistic(means[:, i], np.exp(np.logaddexp(0, raw[:, i] - least) + least)) for i in range(k)]
    for column, atoms in enumerate(ATOMS):
        logits[:, len(atoms) : 2, column] = -np.inf
    weight = scipy.special.softmax(logits, 1)
    total = np.zeros(x.shape)
    for i, law in enumerate(laws):
        tail = np.where(x > means[:, i], law.sf(x - half) - law.sf(x + half), law.cdf(x + half) - law.cdf(x - half))
        total += weight[:, 2 + i] * tail
    for column, atoms in enumerate(ATOMS):
        for j, atom in enumerate(atoms):
            near = np.abs(x[..., column] * scale[column] + offset[column] - atom) < step[column] / 2
            total[..., column] += weight[:, j, column] * near
    return total


def test_masses_of_bins_are_scipys_and_atoms():
    likelihood = build(*CASES["bins with atoms"])
    parameters = parameters_of(likelihood)
    x = on_grid(BINS, torch.arange(-25, 26).reshape(-1, 1, 1).expand(-1, ROWS, 3))
    found = likelihood.values(parameters).log_prob(x)
    np.testing.assert_allclose(found, np.log(scipys_masses(likelihood, parameters, x.numpy())), atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("log_scale", [-3.0, -1.0, 2.0, 30.0])
def test_masses_of_the_widest_and_the_narrowest_are_exact(log_scale, dtype):
    """Against 60 digits, from the middle to far out."""
    k = torch.tensor([0, 1, -1, 5, -40, 10_000])
    grid = Grid(torch.tensor([2.0]).double(), torch.zeros(1), torch.zeros(0, 1), torch.zeros(0, 1))
    parts = torch.tensor([0.25], dtype=dtype), torch.tensor([log_scale], dtype=dtype), torch.zeros(1, dtype=dtype)
    law = BinnedLogisticMixture(*(part.unsqueeze(0) for part in parts), grid, dim=-2)
    found = law.log_prob(2.0 * k.unsqueeze(-1).to(dtype)).flatten()
    with mpmath.workdps(60):
        s = mpmath.exp(log_scale)
        edges = [[(mpmath.mpf(2 * int(n)) + side - 0.25) / s for side in (1, -1)] for n in k]
        masses = [mpmath.mpf(1) / (1 + mpmath.exp(-a)) - mpmath.mpf(1) / (1 + mpmath.exp(-b)) for a, b in edges]
        masses = [
            mass if mass > 1e-30 else mpmath.exp(-abs(edges[i][1])) - mpmath.exp(-abs(edges[i][0]))
            for i, mass in enumerate(masses)
        ]
        exact = [float(mpmath.log(abs(mass))) for mass in masses]
    np.testing.assert_allclose(found, exact, rtol=1e-5 if dtype == torch.float32 else 1e-12, atol=1e-9)


def test_bins_are_told_apart_in_single_precision():
    """A step that is small beside the spread: 1 in 100,000."""
    kind = Binned((40_000.0,), (100_000.0,), (1.0,), ((7.0, 999_999.0),))
    field = Field(kind, (1,), "float64")
    likelihood = REGISTRY["binned_logistics"]((FEATURES,), field)
    raw = torch.tensor([[6.0], [7.0], [8.0], [999_998.0], [999_999.0], [1_000_000.0]])
    law = likelihood.values(torch.tensor([8.0, 8.0, *[0.0] * 12]).reshape(1, -1, 1))
    log_mass = law.log_prob(kind.units(raw, torch.float32)).flatten()
    assert (log_mass[[1, 4]] > -1).all() and (log_mass[[0, 2, 3, 5]] < -10).all()
    parameters = torch.linspace(-1, 1, 14).reshape(1, -1, 1)
    values = (kind.units(raw, dtype) for dtype in (torch.float64, torch.float32))
    exact, stored = (likelihood.cumulative(parameters, value) for value in values)
    torch.testing.assert_close(exact, stored, rtol=0, atol=1e-6)


def test_samples_of_bins_have_their_masses_and_lie_on_the_grid_or_on_atoms():
    likelihood = build(*CASES["bins with atoms"])
    parameters = parameters_of(likelihood)[:1]
    law, kind = likelihood.values(parameters), BINS.kind
    drawn = law.sample(torch.Size([20_000]))[:, 0]
    k = torch.arange(-400, 401).reshape(-1, 1).expand(-1, 3)
    mass = law.log_prob(on_grid(BINS, k).unsqueeze(1)).exp()[:, 0]
    raw = drawn.numpy() * kind.scale + kind.offset
    for column, step in enumerate(kind.step):
        off = np.abs(raw[:, column] / step - (raw[:, column] / step).round()) > 1e-6
        assert set(raw[off, column].round(9)) <= set(ATOMS[column])
        counts = np.bincount((raw[:, column] / step).round().astype(int).clip(-400, 400) + 400, minlength=801)
        awaited = 20_000 * mass[:, column].numpy()
        often = awaited >= 10
        rest = 20_000 - counts[often].sum(), 20_000 - awaited[often].sum() + 1e-9
        statistic = ((counts - awaited)[often] ** 2 / awaited[often]).sum() + (rest[0] - rest[1]) ** 2 / rest[1]
        assert scipy.stats.chi2.sf(statistic, often.sum()) > 1e-4
    assert raw[:, 2].max() > 0 and np.isin(0.6, raw[:, 2].round(9))


def test_sample_means_of_bins_are_the_mean_of_the_law():
    likelihood = build(*CASES["bins with atoms"])
    law = likelihood.values(parameters_of(likelihood))
    drawn = law.sample(torch.Size([40_000]))
    half = torch.tensor(BINS.kind.half_widths)
    assert ((drawn.mean(0) - law.mean).abs() <= 4.5 * drawn.std(0) / 200 + half).all()


def test_the_point_is_the_atom_that_has_more_than_half_else_the_mean_of_the_others():
    likelihood = build("binned_logistics", {"components": 2}, BINS)
    parameters = torch.zeros(1, 2 + 6, 3).double()
    parameters[:, 4] = 1.0  # the first component's mean; the other's is 0
    half = torch.full((1, 3), 0.5).double()
    torch.testing.assert_close(likelihood.point(parameters), half)
    parameters[:, 1] = 2.0  # the second atom has 71 % of the first column; there is none in the others
    torch.testing.assert_close(likelihood.point(parameters), torch.tensor([[(3 - 0.5) / 2, 0.5, 0.5]]).double())
    parameters[:, 0] = 4.0
    found = likelihood.point(parameters)
    torch.testing.assert_close(found, torch.tensor([[-0.5 / 2, 0.5, 1.6]]).double())


# ---------------------------------------------------------------------------------------------------- densities


def test_the_density_of_a_mixture_is_scipys():
    likelihood = build("logistics", {"components": 3}, REAL_COLUMNS)
    parameters, x = parameters_of(likelihood), 5 * some_rows(REAL_COLUMNS, 50).unsqueeze(1)
    logits, means, raw = (part.numpy() for part in parameters.split(3, 1))
    each = scipy.stats.logistic(means, np.exp(np.logaddexp(0, raw + 12) - 12)).logpdf(x.unsqueeze(2))
    expected = scipy.special.logsumexp(scipy.special.log_softmax(logits, 1) + each, 2)
    np.testing.assert_allclose(likelihood.values(parameters).log_prob(x), expected, atol=1e-9)


def test_samples_of_a_mixture_are_distributed_as_it_says():
    law = LogisticMixture(torch.tensor([-3.0, 0.0, 4.0]), torch.tensor([-1.0, 0.5, 0.0]), torch.tensor([0.0, 1.0, 0.5]))
    weight, scales = scipy.special.softmax([0.0, 1.0, 0.5]), np.exp([-1.0, 0.5, 0.0])
    drawn = law.sample(torch.Size([20_000])).numpy()
    assert (
        scipy.stats.kstest(drawn, lambda x: scipy.stats.logistic.cdf(x[:, None], [-3, 0, 4], scales) @ weight).pvalue
        > 1e-3
    )


@pytest.mark.parametrize("name", ["logistics", "binned_logistics"])
@pytest.mark.parametrize("components", [0, 1001])
def test_impossible_components_are_refused(name, components):
    field = REAL_COLUMNS if name == "logistics" else BINS
    with pytest.raises(UserError, match="likelihood.components"):
        REGISTRY[name]((FEATURES,), field, components=components)


# ---------------------------------------------------------------------------------------------------- categories


def column_logits(likelihood: Categoricals, parameters: Tensor) -> list[Tensor]:
    """The K_i logits of every column, from where the layout says they are."""
    ends = zip(likelihood.first.tolist(), likelihood.sizes.tolist(), strict=True)
    return [parameters[..., 0, first : first + size] for first, size in ends]


def test_log_probabilities_of_categories_are_log_softmaxes():
    sizes = (2, 300, 2, 3, 5, 17, 2)
    likelihood = build("categoricals", {}, Field(Categories(sizes), (7,), "float64"))
    parameters = parameters_of(likelihood)
    rows = (torch.rand(40, 1, 7) * torch.tensor(sizes)).floor()
    found = likelihood.values(parameters).log_prob(rows)
    for column, logits in enumerate(column_logits(likelihood, parameters)):
        expected = logits.log_softmax(-1).gather(-1, rows[:, 0, column].long().expand(ROWS, -1)).T
        torch.testing.assert_close(found[..., column], expected)
        assert torch.equal(likelihood.point(parameters)[:, column], logits.argmax(-1).double())


def test_one_column_of_many_levels_makes_the_others_no_wider():
    sizes = (5000, *[2] * 20)
    assert len(laws.Ragged.of(sizes).padding) == sum(sizes)
    assert len(laws.Ragged.of(tuple(range(2, 100))).padding) < 2 * sum(range(2, 100))


@pytest.mark.parametrize("level", [-1.0, 5.0, 1e9])
def test_what_is_no_level_has_no_probability(level):
    likelihood = build("categoricals", {}, CATEGORIES)
    log_prob = likelihood.log_prob(parameters_of(likelihood), torch.tensor([0.0, level, 1.0]).double())
    assert (log_prob == -math.inf).all()


def test_categories_are_of_columns():
    with pytest.raises(UserError, match="3 columns"):
        Categoricals((FEATURES,), Field(Categories((2, 5, 3)), (4,), "float64"))


# ---------------------------------------------------------------------------------------------------- starts


def entropy(column: np.ndarray) -> float:
    share = np.unique(column[~np.isnan(column)], return_counts=True)[1] / (~np.isnan(column)).sum()
    return -(share * np.log(share)).sum()


def test_a_heaped_column_starts_at_its_marginal(rng):
    """Zeros and a cap beside numbers on a grid, two humps, few values; some cells are missing."""
    rows = 4000
    spread = rng.choice([0.0, 50.0], size=rows, p=[0.7, 0.3]) + rng.normal(0, 3, rows)
    heaped = np.where(rng.random(rows) < 0.6, 0.0, np.where(rng.random(rows) < 0.2, 99.0, rng.normal(40, 5, rows)))
    raw = np.stack([heaped, spread, rng.integers(1, 6, rows) / 10], 1)
    raw[:, :2] = raw[:, :2].round()
    raw[rng.random(raw.shape) < 0.1] = math.nan
    offset, scale = (tuple(f(raw, 0).tolist()) for f in (np.nanmean, np.nanstd))
    kind = Binned(offset, scale, (1.0, 1.0, 0.1), ((0.0, 99.0), (), ()))
    units = kind.units(torch.from_numpy(raw), torch.float32)
    likelihood, parameters = started("binned_logistics", Field(kind, (3,), "float64"), units)
    log_mass = likelihood.values(parameters).log_prob(units.nan_to_num(0.0)).numpy()
    found = -np.nanmean(np.where(np.isnan(raw), math.nan, log_mass), 0)
    np.testing.assert_allclose(found, [entropy(column) for column in raw.T], atol=0.05)


def test_a_mixture_of_logistics_starts_at_its_marginal(rng):
    columns = [rng.normal(-3, 0.5, 2000), rng.normal(2, 1, 2000)]
    x = np.where(rng.random(2000) < 0.6, *columns)
    exact = np.log(0.6 * scipy.stats.norm.pdf(x, -3, 0.5) + 0.4 * scipy.stats.norm.pdf(x, 2, 1)).mean()
    rows = torch.from_numpy(x).unsqueeze(-1)
    likelihood, parameters = started("logistics", Field(Reals(**REAL), (1,), "float64"), rows)
    assert abs(likelihood.log_prob(parameters, rows.float()).mean().item() - exact) < 0.03


def test_categories_start_at_their_frequencies(rng):
    raw = np.stack([rng.choice(size, 2000, p=rng.dirichlet(np.ones(size))) for size in (2, 5, 3)], 1).astype(float)
    raw[rng.random(raw.shape) < 0.2] = math.nan
    rows = torch.from_numpy(raw)
    likelihood, parameters = started("categoricals", CATEGORIES, rows)
    log_mass = likelihood.values(parameters).log_prob(rows.nan_to_num(0.0)).numpy()
    found = -np.nanmean(np.where(np.isnan(raw), math.nan, log_mass), 0)
    np.testing.assert_allclose(found, [entropy(column) for column in raw.T], atol=1e-3)


@pytest.mark.parametrize("case", CASES)
def test_missing_cells_are_left_out_of_a_start(case):
    """What is known starts where it would without the rows that are missing; of nothing known the start is finite."""
    name, keywords, field = CASES[case]
    known = some_rows(field, 60)
    holes = torch.cat([known, torch.full_like(known[:17], math.nan)])[torch.randperm(77)]
    found = [started(name, field, rows, **keywords) for rows in (holes, known)]
    log_prob = [likelihood.log_prob(parameters, known.float()).detach() for likelihood, parameters in found]
    torch.testing.assert_close(*log_prob, rtol=1e-4, atol=1e-4)
    holes[:, 0] = math.nan
    likelihood, parameters = started(name, field, holes, **keywords)
    assert torch.isfinite(parameters).all() and all(torch.isfinite(p).all() for p in likelihood.parameters())


def test_the_middle_of_johnsons_law_leaves_missing_cells_out():
    rows = torch.randn(200, 2, dtype=torch.float64)
    holes = torch.cat([rows, torch.full((50, 2), math.nan)])
    suited = REGISTRY["johnson_su"].suited
    assert suited(lambda: holes) == suited(lambda: rows)
    holes[:, 1] = math.nan
    assert suited(lambda: holes)["centre"][1] == 0 and suited(lambda: holes)["width"][1] == 3


def test_images_of_bins_share_the_numbers_of_their_channels():
    field = CASES["bins, image"][2]
    rows = some_rows(field, 300)
    likelihood, parameters = started("binned_logistics", field, rows)
    first, second = parameters.flatten(3).unbind(-1)
    assert first.shape == (1, 13, 2) and torch.equal(first, second)
    assert torch.isfinite(likelihood.log_prob(parameters, rows.float())).all()
