"""Objectives against finite differences, closed forms and quadrature: what they optimise, and what they report."""

import inspect
import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from helpers_runs import table
from torch import Tensor

from variate import config
from variate.base.errors import UserError
from variate.base.registry import registry
from variate.data.batch import Batch, Record
from variate.data.kinds import Levels, Reals
from variate.data.load import load
from variate.data.schema import Field, Schema
from variate.models import objectives
from variate.models.objectives.elbo import Elbo
from variate.models.objectives.iwae import Iwae
from variate.models.objectives.objective import Objective, Scene, Terms
from variate.training.trainer import Step

REGISTRY = registry(objectives, Objective)
ROWS, VALUES = 5, 4
BINARY = Schema.of(Field(Levels(2), (VALUES,), "uint8"))
REAL = Schema.of(Field(Reals(offset=(0.0,) * VALUES, scale=(1.0,) * VALUES), (VALUES,), "float64"))
BENT = {"name": "mlp", "hidden": (3,), "activation": "tanh"}

MODELS = {
    "diagonal, standard": {"posterior": {"name": "diagonal"}, "prior": {"name": "standard"}},
    "full, normal": {"posterior": {"name": "full"}, "prior": {"name": "normal"}},
}
KEYWORDS = [
    ("elbo", {}),
    ("elbo", {"beta": 0.3}),
    ("elbo", {"warmup_steps": 10}),
    ("elbo", {"free_bits_nats": 0.2, "samples": 2}),
    ("iwae", {"k": 1}),
    ("iwae", {"k": 4}),
    ("reconstruction", {}),
]
ANOTHER = {  # a value of every keyword that is not its default
    ("elbo", "beta"): 2.0,
    ("elbo", "free_bits_nats"): 50.0,
    ("elbo", "warmup_steps"): 100,
    ("elbo", "samples"): 4,
    ("iwae", "k"): 3,
    ("iwae", "gradient"): "doubly_reparameterized",
}
STEP = 4  # where in training the losses are asked for: inside the warm-up


class Setup:
    """One model with an objective, and everything that its loss is a function of."""

    def __init__(self, tiny_model, objective: Objective, size: int = 2, **sections: dict):
        deterministic = objective.density is False
        if deterministic:
            sections = {"posterior": {"name": "point"}, "objective": {"name": "reconstruction"}}
        schema = REAL if deterministic else BINARY
        bent = {"encoder": BENT, "decoder": BENT, "latent": {"name": "flat", "size": size}}
        self.model = tiny_model(schema, **(bent | sections))
        self.objective, self.step = objective, Step(self.model, objective)
        generator = torch.Generator().manual_seed(0)
        self.x = (torch.rand(ROWS, VALUES, generator=generator) < 0.5).double()
        shape = objective.samples, ROWS, self.model.latent.noise_size
        self.noise = torch.randn(shape, generator=generator, dtype=torch.float64)

    def loss(self, x: Tensor | None = None, noise: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
        x = self.x if x is None else x
        return self.step(Batch.of(x)._replace(weight=weight), self.noise if noise is None else noise, STEP)[0]

    def value(self, **arguments: Tensor) -> float:
        with torch.no_grad():
            return float(self.loss(**arguments))

    def terms(self) -> Terms:
        return self.step(Batch.of(self.x), self.noise, STEP)[1]

    def gradients(self, **arguments: Tensor) -> dict[str, Tensor]:
        self.step.zero_grad()
        self.loss(**arguments).backward()
        return {name: p.grad.clone() for name, p in self.model.named_parameters() if p.grad is not None}


def named(name: str) -> Callable[[str], str]:
    return lambda message: f"{name}: {message}"


@pytest.fixture
def setup(tiny_model):
    return lambda objective, **keywords: Setup(tiny_model, objective, **keywords)


@pytest.fixture(params=MODELS.values(), ids=list(MODELS))
def sections(request) -> dict:
    return request.param


@pytest.fixture(params=KEYWORDS, ids=lambda case: f"{case[0]} {case[1]}")
def objective(request) -> Objective:
    name, keywords = request.param
    return REGISTRY[name](**keywords)


def test_every_objective_and_keyword_has_a_case():
    keywords = {(name, key) for name, cls in REGISTRY.items() for key in inspect.signature(cls).parameters}
    assert {name for name, _ in KEYWORDS} == set(REGISTRY)
    assert {case for case in keywords if case[1] not in ("args", "kwargs")} == set(ANOTHER)


def test_one_draw_serves_several_objectives(setup, sections):
    """What the first one leaves computed must not cost the second its gradient, in whichever order they ask."""
    case = setup(Iwae(k=4), **sections)
    both = [Iwae(k=4), Elbo(samples=4)]

    def gradients(*asked: Objective) -> list[Tensor]:
        draw, decoded = case.model(Batch.of(case.x), case.noise)
        losses = [objective(Scene(draw, decoded, STEP))[0] for objective in asked]
        return list(torch.autograd.grad(losses[-1].mean(), case.model.parameters(), allow_unused=True))

    for first, second in (both, both[::-1]):
        for found, alone in zip(gradients(first, second), gradients(second), strict=True):
            torch.testing.assert_close(found, alone)


def test_gradient_agrees_with_finite_differences(setup, sections, objective):
    case, h = setup(objective, **sections), 1e-6
    found = case.gradients()
    with torch.no_grad():
        for name, parameter in case.model.named_parameters():
            slope = torch.zeros_like(parameter).flatten()
            for index, value in enumerate(parameter.flatten().tolist()):
                sides = []
                for moved in (value + h, value - h):
                    parameter.view(-1)[index] = moved
                    sides.append(case.loss())
                parameter.view(-1)[index] = value
                slope[index] = (sides[0] - sides[1]) / (2 * h)
            gradient = found.get(name, torch.zeros_like(parameter))
            torch.testing.assert_close(
                gradient.flatten(), slope, rtol=1e-5, atol=1e-7, msg=lambda m, n=name: f"{n}: {m}"
            )


@pytest.mark.parametrize(("name", "keyword"), ANOTHER)
def test_every_keyword_changes_the_loss_or_its_gradient(setup, name, keyword):
    plain, other = setup(REGISTRY[name]()), setup(REGISTRY[name](**{keyword: ANOTHER[name, keyword]}))
    gradients = [torch.cat([g.flatten() for g in case.gradients().values()]) for case in (plain, other)]
    assert plain.value() != other.value() or not torch.allclose(*gradients)


def test_rows_of_weight_nought_do_not_count(setup, sections, objective):
    """They pad a last batch: the loss is that of the others, whatever stands in them."""
    case = setup(objective, **sections)
    padding = 30 * torch.ones(3, VALUES, dtype=torch.float64)
    weight = torch.tensor([1.0] * ROWS + [0.0] * len(padding), dtype=torch.float64)
    noise = torch.cat([case.noise, 9 * torch.ones(len(case.noise), len(padding), case.noise.shape[-1])], 1)
    torch.testing.assert_close(case.loss(torch.cat([case.x, padding]), noise, weight), case.loss())


def record(x: Tensor) -> Record:
    return Batch.of(x).input


def numpy_terms(case: Setup) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(distortion, rate, log-weights) per row by the textbook, for a diagonal posterior and a standard prior."""
    with torch.no_grad():
        q = case.model.latent.posterior(case.model.read(record(case.x), None))
        mean, scale, x, noise = q.mean.numpy(), q.stddev.numpy(), case.x.numpy(), case.noise.numpy()
        z = mean + scale * noise
        logits = case.model.decode(torch.from_numpy(z), None)["x"][:, :, 0].numpy()
    log_prob = (x * logits - np.logaddexp(0, logits)).sum(-1)
    rate = (mean**2 + scale**2 - 1 - 2 * np.log(scale)).sum(-1) / 2
    log_ratio = ((noise**2 - z**2) / 2 + np.log(scale)).sum(-1)
    return -log_prob.mean(0), rate, log_prob + log_ratio


def test_loss_is_the_textbooks(setup):
    case = setup(Elbo(samples=3))
    distortion, rate, _ = numpy_terms(case)
    assert math.isclose(case.value(), (distortion + rate).mean(), rel_tol=1e-10)


def test_iwae_loss_is_the_textbooks(setup):
    case = setup(Iwae(k=3))
    weights = np.exp(numpy_terms(case)[2])
    assert math.isclose(case.value(), -np.log(weights.mean(0)).mean(), rel_tol=1e-10)


@pytest.mark.parametrize(
    "surrogate",
    [Elbo(), Elbo(beta=0), Elbo(beta=7), Elbo(free_bits_nats=3), Elbo(warmup_steps=99), Elbo(samples=5), Iwae(k=6)],
    ids=lambda o: f"{type(o).__name__} {vars(o)['samples']}",
)
def test_terms_are_true_whatever_is_optimised(setup, surrogate):
    case = setup(surrogate)
    distortion, rate, log_weights = numpy_terms(case)
    terms = case.terms()
    bound = np.log(np.exp(log_weights).mean(0)) if isinstance(surrogate, Iwae) else -distortion - rate
    np.testing.assert_allclose(terms.distortion_nats, distortion, rtol=1e-10)
    np.testing.assert_allclose(terms.rate_nats, rate[:, None], rtol=1e-10)
    np.testing.assert_allclose(terms.elbo_nats, -distortion - rate, rtol=1e-10)
    np.testing.assert_allclose(terms.bound_nats, bound, rtol=1e-10)


def test_terms_carry_no_gradient(setup, objective):
    assert not any(term.requires_grad for term in setup(objective).terms().named().values())


def test_reconstruction_is_the_squared_error_and_claims_no_likelihood(setup):
    case = setup(REGISTRY["reconstruction"]())
    with torch.no_grad():
        code = case.model.latent.embed(case.model.read(record(case.x), None), None)
        copy = case.model.likelihood.point(case.model.decode(code.unsqueeze(0), None))["x"][0]
    expected = ((case.x - copy) ** 2).sum(-1)
    torch.testing.assert_close(case.loss(), expected.mean())
    torch.testing.assert_close(case.terms().squared_error, expected)
    assert list(case.terms().named()) == ["squared_error"]


class TestBetaAndFreeBits:
    """All against the rate and the distortion by the textbook."""

    @pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 4.0])
    def test_beta_multiplies_the_rate(self, setup, beta):
        case = setup(Elbo(beta=beta))
        distortion, rate, _ = numpy_terms(case)
        assert math.isclose(case.value(), (distortion + beta * rate).mean(), rel_tol=1e-10)

    @pytest.mark.parametrize(("step", "share"), [(0, 0.0), (5, 0.5), (10, 1.0), (1000, 1.0)])
    @pytest.mark.parametrize("as_tensor", [False, True])
    def test_warm_up_grows_from_nought_to_one(self, setup, step, share, as_tensor):
        case = setup(Elbo(warmup_steps=10, beta=3))
        distortion, rate, _ = numpy_terms(case)
        at = torch.tensor(step) if as_tensor else step
        loss, _ = case.step(Batch.of(case.x), case.noise, at)
        assert math.isclose(loss.detach(), (distortion + 3 * share * rate).mean(), rel_tol=1e-6)

    def test_free_bits_are_charged_in_full_and_give_the_encoder_no_rate_gradient(self, setup):
        generous, unpaid = setup(Elbo(free_bits_nats=50)), setup(Elbo(beta=0))
        assert math.isclose(generous.value(), unpaid.value() + 2 * 50, rel_tol=1e-10)
        for name, gradient in unpaid.gradients().items():
            torch.testing.assert_close(generous.gradients()[name], gradient)

    def test_free_bits_look_at_every_units_mean_over_the_batch(self, setup):
        """Of two units, with the free bits between their mean KLs, one pays its KL and the other the free bits."""
        case = setup(Elbo())
        draw, _ = case.model(Batch.of(case.x), case.noise)
        units = draw.rates_nats()[0].mean(0).detach().numpy()
        freed = setup(Elbo(free_bits_nats=float(units.mean())))
        distortion, _, _ = numpy_terms(case)
        assert math.isclose(freed.value(), distortion.mean() + units.max() + units.mean(), rel_tol=1e-10)

    def test_too_few_free_bits_change_nothing(self, setup):
        assert setup(Elbo(free_bits_nats=1e-9)).value() == setup(Elbo()).value()


@pytest.mark.parametrize(
    ("name", "keyword", "value"),
    [
        *itertools.product(["elbo"], ["beta", "free_bits_nats"], [-0.1, math.nan, math.inf]),
        ("elbo", "warmup_steps", -1),
        ("elbo", "samples", 0),
        ("iwae", "k", 0),
        ("iwae", "gradient", "triply_reparameterized"),
    ],
)
def test_impossible_settings_are_refused(name, keyword, value):
    with pytest.raises(UserError, match=keyword):
        REGISTRY[name](**{keyword: value})


class Expectation:
    """E over the noise of a k-sample loss on one row with one latent unit, by Gauss–Hermite quadrature: no sampling."""

    points = {1: 200, 2: 120, 3: 30}

    def __init__(self, case: Setup, quadrature):
        samples = case.objective.samples
        nodes, weights = quadrature(self.points[samples], samples)
        self.case, self.row = case, case.x[:1]
        self.arguments = {
            "x": self.row.expand(len(nodes), VALUES),
            "noise": nodes.T.unsqueeze(-1).contiguous(),
            "weight": weights,
        }

    def bound(self) -> float:
        return -self.case.value(**self.arguments)

    def gradients(self) -> dict[str, Tensor]:
        return self.case.gradients(**self.arguments)

    def exact(self) -> float:
        """log ∫ p(x|z) p(z) dz by the trapezoid rule."""
        z = torch.linspace(-12, 12, 20_001, dtype=torch.float64).reshape(-1, 1, 1)
        with torch.no_grad():
            likelihood = self.case.model.likelihood.log_prob(self.case.model.decode(z, None), record(self.row))
            prior = self.case.model.latent.prior(None).log_prob(z)
        return float(torch.logsumexp(likelihood + prior, 0)) + math.log(24 / 20_000)


@pytest.fixture
def expectation(setup, normal_quadrature):
    """``expectation(objective)`` on a model with one latent unit."""

    def make(objective: Objective, **sections: dict) -> Expectation:
        return Expectation(setup(objective, size=1, **sections), normal_quadrature)

    return make


class TestBounds:
    def test_every_bound_is_below_the_exact_log_likelihood_in_expectation(self, expectation, sections):
        for name in ("elbo", "iwae"):
            keywords = {"k": 2} if name == "iwae" else {}
            case = expectation(REGISTRY[name](**keywords), **sections)
            assert case.bound() < case.exact()

    def test_iwae_tightens_with_k(self, expectation, sections):
        elbo = expectation(Elbo(), **sections)
        bounds = [expectation(Iwae(k=k), **sections).bound() for k in (1, 2, 3)]
        assert math.isclose(elbo.bound(), bounds[0], rel_tol=1e-8)  # k = 1 is the ELBO
        assert bounds[0] < bounds[1] < bounds[2] < elbo.exact()

    def test_elbo_is_exact_less_the_divergence_to_the_true_posterior(self, expectation, sections):
        """log p(x) − ELBO = KL(q ‖ p(z|x)), the right side by the trapezoid rule."""
        case = expectation(Elbo(), **sections)
        model, x = case.case.model, case.row
        z = torch.linspace(-12, 12, 20_001, dtype=torch.float64).reshape(-1, 1, 1)
        with torch.no_grad():
            joint = model.likelihood.log_prob(model.decode(z, None), record(x)) + model.latent.prior(None).log_prob(z)
            log_q = model.latent.posterior(model.read(record(x), None)).log_prob(z)
            gap = float((log_q.exp() * (log_q - joint + case.exact())).sum() * 24 / 20_000)
        assert math.isclose(case.exact() - case.bound(), gap, rel_tol=1e-6)


def test_second_derivatives_are_differences_of_the_gradient(setup, objective, sections):
    """Along a random direction: of every weight of a whole step."""
    case, width = setup(objective, **sections), 1e-5
    weights = [p for p in case.model.parameters() if p.requires_grad]
    direction = [torch.randn_like(p) for p in weights]

    def gradient(create_graph: bool = False) -> list[Tensor]:
        loss = case.loss()
        return torch.autograd.grad(loss, weights, create_graph=create_graph, allow_unused=True, materialize_grads=True)

    def moved(by: float) -> None:
        with torch.no_grad():
            for weight, step in zip(weights, direction, strict=True):
                weight += by * step

    slope = sum((g * v).sum() for g, v in zip(gradient(create_graph=True), direction, strict=True))
    found = torch.autograd.grad(slope, weights, allow_unused=True, materialize_grads=True)
    moved(width)
    above = gradient()
    moved(-2 * width)
    for one, high, low in zip(found, above, gradient(), strict=True):
        torch.testing.assert_close(one, (high - low) / (2 * width), rtol=1e-5, atol=1e-7)


class TestDoublyReparameterized:
    kinds = ("reparameterized", "doubly_reparameterized")

    @pytest.mark.parametrize("part", ["encoder", "decoder"])
    def test_says_that_it_has_no_second_derivatives(self, setup, part):
        """Its weights are held constant: differentiated again, it would give wrong numbers."""
        case = setup(Iwae(k=4, gradient="doubly_reparameterized"))
        weights = list(getattr(case.model, part).parameters())
        once = torch.autograd.grad(case.loss(), weights)
        with pytest.raises(UserError, match="no second derivatives"):
            torch.autograd.grad(case.loss(), weights, create_graph=True)
        assert all(map(torch.equal, once, torch.autograd.grad(case.loss(), weights)))

    def test_has_the_value_of_the_plain_bound(self, setup, sections):
        plain, doubly = (
            setup(Iwae(k=4, gradient=g), **sections) for g in ("reparameterized", "doubly_reparameterized")
        )
        torch.testing.assert_close(plain.loss(), doubly.loss())

    @pytest.mark.parametrize("k", [1, 2])
    def test_has_the_plain_gradient_in_expectation(self, expectation, sections, k):
        plain, doubly = (expectation(Iwae(k=k, gradient=g), **sections).gradients() for g in self.kinds)
        assert set(plain) == set(doubly)
        for name in plain:
            torch.testing.assert_close(
                doubly[name], plain[name], rtol=1e-4, atol=5e-6, msg=lambda m, n=name: f"{n}: {m}"
            )

    def test_has_less_variance_on_the_encoder(self, setup, sections):
        """Where the posterior is near the true one, as after training; elsewhere nothing is promised."""
        totals = []
        for kind in self.kinds:
            case = setup(Iwae(k=8, gradient=kind), spread=0.1, **sections)
            draws = []
            for _ in range(60):
                gradients = case.gradients(noise=torch.randn_like(case.noise)).items()
                encoders = [g.flatten() for name, g in gradients if name.startswith(("encoder", "latent.posterior"))]
                draws.append(torch.cat(encoders))
            totals.append(float(torch.stack(draws).var(0).sum()))
        assert totals[1] < totals[0] / 2


@pytest.mark.parametrize("prior", ["standard", "normal"])
def test_as_much_is_free_where_the_rate_is_known_of_all_units_together(prior):
    """λ nats for each of 4 units: of a prior with a whole covariance 4 λ for the lot."""
    settings = ["latent.size=4", f"prior.name={prior}", "objective.free_bits_nats=50", "objective.beta=1"]
    data = load(table(30))
    model, objective, _ = config.build(config.resolve(config.load_recipe("vector", settings), data), data.schema)
    draw, decoded = model(data.batch(slice(0, 8)), torch.randn(1, 8, model.latent.noise_size))
    loss, terms = objective(Scene(draw, decoded, 10**9))
    torch.testing.assert_close(loss, terms.distortion_nats + 200)
