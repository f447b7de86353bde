"""Where a model starts: at laws that are known exactly, so near that of few columns that a short fit finds it."""

import numpy as np
import pytest
import torch
from scipy import stats

from variate import VAE, config
from variate.base.errors import UserError
from variate.config.recipes import parse_override
from variate.data.dataset import Dataset
from variate.data.kinds import Levels, Reals
from variate.data.load import load
from variate.data.schema import Field, Schema
from variate.models import start
from variate.results import estimate
from variate.results.checkpoint import Run

SPREAD = 0.05  # of what is decoded at the start
HUMPS, WEIGHTS = np.array([-4.0, 0.0, 5.0]), np.array([0.5, 0.3, 0.2])


def three_normals(rows: int, rng: np.random.Generator) -> np.ndarray:
    return (rng.choice(HUMPS, size=rows, p=WEIGHTS) + 0.5 * rng.normal(size=rows))[:, None]


def log_three_normals(x: np.ndarray) -> np.ndarray:
    return np.log((WEIGHTS * stats.norm.pdf(x, HUMPS, 0.5)).sum(-1))


def started(values: np.ndarray, *overrides: str, labels: np.ndarray | None = None) -> Run:
    """The model of few columns as it is before its first step, as a run."""
    rows = load(values, labels)
    settings = config.resolve(config.load_recipe("few-columns", list(overrides)), rows)
    model = config.build(settings, rows.schema)[0]
    start.start_at(model, rows)
    return Run(model.requires_grad_(False).eval(), rows.schema, settings, {}, start.__file__)


def estimated(run: Run, values: np.ndarray, samples: int = 200) -> np.ndarray:
    return estimate.log_likelihood(run, load(values, like=run.schema), samples).nats.numpy()


def columns(rng: np.random.Generator, rows: int = 300) -> np.ndarray:
    """Correlated normal rows (n, 3) far from zero mean and unit scale."""
    return 5 + rng.normal(size=(rows, 3)) @ np.array([[3.0, 1.0, 0.0], [0.0, 0.5, -0.4], [0.1, 0.0, 2.0]])


@pytest.mark.parametrize("prior", ["prior.name=normal", "prior.components=1"])
@pytest.mark.parametrize("posterior", ["full", "diagonal"])
@pytest.mark.parametrize("size", [3, 5])
def test_with_one_component_it_starts_as_the_rows_normal_law(rng, size, posterior, prior):
    """N(mean, C), wider by the spread of the codes and by that of the values."""
    values = columns(rng)
    run = started(values, f"latent.size={size}", f"posterior.name={posterior}", prior)
    scale = values.std(0)
    covariance = np.cov(values.T, ddof=0) + 2 * SPREAD**2 * np.diag(scale**2)
    exact = stats.multivariate_normal(values.mean(0), covariance).logpdf(values[:50])
    found = estimate.log_likelihood(run, load(values[:50], like=run.schema), 200)
    assert (np.abs(found.nats.numpy() - exact) <= 5 * found.mc_se.numpy() + 1e-3).all() and found.mean_mc_se < 0.003


def test_outliers_are_seen_at_the_distance_of_their_logarithm(rng):
    """One component in y = arcsinh((x − c)/w), c and w by the quartiles: exact by the change of variables."""
    values = stats.cauchy.rvs(size=(2000, 1), random_state=rng) + 7
    run = started(values, "prior.components=1")
    assert run.config["likelihood"]["name"] == "johnson_su"
    low, centre, high = np.quantile(values, (0.25, 0.5, 0.75))
    width = 3 * (high - low) / (2 * stats.norm.ppf(0.75))
    y = np.arcsinh((values[:, 0] - centre) / width)
    law = stats.norm(y.mean(), np.sqrt(y.var() + 2 * SPREAD**2))
    exact = law.logpdf(y) - np.log(width) - np.log(np.cosh(y))
    farthest = np.argsort(np.abs(y))[::-40]
    np.testing.assert_allclose(estimated(run, values[farthest]), exact[farthest], atol=0.05)


def test_it_has_as_many_components_as_rows_that_are_held_out_say(rng):
    rows = {"one": rng.normal(size=(600, 2)), "three": three_normals(600, rng), "few rows": three_normals(30, rng)}
    priors = {name: started(values).model.latent.prior for name, values in rows.items()}
    different = {name: len(set(prior.logits.tolist())) for name, prior in priors.items()}
    assert different["one"] == 1 and 3 <= different["three"] <= 10 and different["few rows"] == 1


def test_a_class_starts_at_its_own_hump(rng):
    labels = np.arange(600) % 3
    values = HUMPS[labels, None] + 0.5 * rng.normal(size=(600, 1))
    run = started(values, "context.name=label", labels=labels)
    found = estimate.log_likelihood(run, load(values, labels, like=run.schema), 50).nats.numpy()
    exact = stats.norm(HUMPS[labels], 0.5).logpdf(values[:, 0])
    assert abs((exact - found).mean()) < 0.1


def test_it_starts_at_the_same_bytes(rng):
    values = three_normals(500, rng)
    one, other = (started(values).model.state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("likelihood", ["laplace", "student_t", "gaussian", "johnson_su"])
def test_every_law_with_a_location_starts_there(rng, likelihood):
    """Each decodes what it encodes, from the first step on."""
    values = columns(rng)
    run = started(values, f"likelihood.name={likelihood}")
    rows = load(values, like=run.schema).batch(slice(0, 20))
    code = run.model.latent.embed(run.model.read(rows.input, None), None).unsqueeze(0)
    point = run.model.likelihood.point(run.model.decode(code, None))
    torch.testing.assert_close(point["x"].squeeze(0), rows.target["x"].units, rtol=1e-2, atol=1e-2)


def test_three_humps_are_found_by_a_short_fit(rng):
    """One normal each for a code of half as many numbers stayed 0.45 nats below the truth."""
    train, test = three_normals(1200, rng), three_normals(2000, rng)
    gap = log_three_normals(test) - VAE(epochs=8, random_state=0).fit(train).score_samples(test, samples=50)
    assert -3 * gap.std() / len(gap) ** 0.5 < gap.mean() < 0.05


# ---------------------------------------------------------------------------------------------------- what is "auto"


def resolved(shape: tuple[int, ...], *overrides: str, wild: bool = False, dtype: str = "float64") -> dict[str, dict]:
    values = torch.linspace(-1, 1, 40, dtype=torch.float64).reshape(40, *[1] * len(shape)).expand(40, *shape).clone()
    values[0] = 1e6 if wild else -1
    schema = Schema.of(Field(Levels(256) if dtype == "uint8" else Reals(), shape, dtype))
    rows = Dataset(values.abs().to(getattr(torch, dtype)), None, schema)
    return config.resolve(config.load_recipe(config.default_recipe(schema), list(overrides)), rows)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_few_columns_get_a_latent_each_and_a_start(size):
    found = resolved((size,))
    assert found["latent"] == {"name": "flat", "size": size, "start": "principal"}
    assert found["prior"]["name"] == "mixture" and found["objective"]["warmup_steps"] == 0
    assert found["likelihood"] == {"name": "gaussian", "sigma": "predicted"}


@pytest.mark.parametrize(("shape", "dtype"), [((5,), "float64"), ((2,), "uint8"), ((4, 2), "float64")])
def test_more_columns_levels_and_signals_keep_what_they_had(shape, dtype):
    found = resolved(shape, dtype=dtype)
    assert found["latent"] == {"name": "flat", "size": 8} and found["prior"] == {"name": "standard"}


def test_values_far_out_get_johnsons_law():
    assert resolved((2,), wild=True)["likelihood"]["name"] == "johnson_su"
    assert resolved((5,), wild=True)["likelihood"] == {"name": "gaussian"}


@pytest.mark.parametrize(
    ("override", "started_at"),
    [
        ("latent.size=3", "principal"),
        ("latent.size=1", "random"),
        ("latent.start=random", "random"),
        ("prior.name=standard", "random"),
        ("encoder.skip=false", "random"),
        ("decoder.name=own", "random"),
        ("likelihood.name=poisson", "random"),
        ("likelihood.name=laplace", "principal"),
        ("objective.warmup_steps=7", "principal"),
        ("likelihood.sigma=0.3", "principal"),
    ],
)
def test_what_is_said_wins(override, started_at):
    """And where a start is not possible with it, none is tried."""
    found = resolved((2,), override)
    section, key, value = parse_override(override)
    assert found[section][key] == value and found["latent"]["start"] == started_at
    assert (found["objective"]["warmup_steps"] == 0) == (started_at == "principal" and "warmup" not in override)


@pytest.mark.parametrize(
    "override", ["encoder.skip=false", "prior.name=standard", "posterior.name=point", "latent.size=1"]
)
def test_an_impossible_start_is_refused(rng, override):
    with pytest.raises(UserError, match=r"use latent\.start=random"):
        started(columns(rng), "latent.start=principal", override)


def test_an_unknown_start_is_refused():
    with pytest.raises(UserError, match=r"latent\.start='prinicpal' is not one of random, principal"):
        started(np.random.default_rng(0).normal(size=(30, 2)), "latent.start=prinicpal")


@pytest.mark.parametrize("rows", [2, 3, 39])
def test_of_hardly_any_rows_it_starts_at_one_component(rows):
    """Two rows, of which one is learned from; or rows that are all the same."""
    values = np.random.default_rng(0).normal(size=(rows, 2))
    for some in (values, np.ones((rows, 2)) * [1.0, 0.5]):
        scores = VAE(epochs=1, random_state=0).fit(some).score_samples(some)
        assert np.isfinite(scores).all()


def test_what_saw_outliers_is_loaded_as_it_was(rng, tmp_path):
    values = stats.cauchy.rvs(size=(200, 2), random_state=rng)
    vae = VAE(epochs=1, random_state=0).fit(values)
    vae.save(tmp_path / "model")
    loaded = VAE.load(tmp_path / "model")
    assert loaded.run_.config["likelihood"]["name"] == "johnson_su"
    np.testing.assert_array_equal(loaded.score_samples(values), vae.score_samples(values))
