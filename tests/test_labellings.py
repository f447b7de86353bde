"""Labels that z explains: every term of the loss against an oracle of its own, and what unlabelled rows are worth."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers_runs import data_of, run
from scipy import stats

import variate
from variate.base.errors import UserError
from variate.base.registry import registry
from variate.data.load import load
from variate.models import labellings
from variate.models.labellings import Classifier, Labelling
from variate.models.latents.flat import Flat
from variate.models.latents.latent import Draw, group
from variate.models.laws.normals import DiagonalNormal
from variate.models.posteriors.point import Point
from variate.models.priors.standard import Standard

REGISTRY = registry(labellings, Labelling)
CLASSES = (30, 60, 10)
OFF = {"reach": 0.0, "decisiveness": 0.0, "balance": 0.0, "rampup_steps": 0, "weight": 1.0}


@pytest.fixture
def draw() -> Draw:
    """Three samples of 40 rows from normals of unequal scales in two dimensions, in double precision."""
    mean, scale = torch.randn(40, 2).double(), torch.rand(40, 2).double() + 0.1
    q, p = DiagonalNormal(mean, scale), DiagonalNormal(torch.zeros(2).double(), torch.ones(2).double())
    z = (mean + scale * torch.randn(3, 40, 2)).requires_grad_()
    return Draw((group(q, p, z),), z)


def classifier(**keywords) -> Classifier:
    return Classifier((2,), CLASSES, hidden=(8,), **(OFF | keywords)).double()


def labels(known: int) -> torch.Tensor:
    found = torch.arange(40) % 3
    found[known:] = -1
    return found


def test_every_labelling_is_tested_here():
    assert set(REGISTRY) == {"classifier"}


@pytest.mark.parametrize("known", [40, 5, 1])
def test_known_labels_cost_their_cross_entropy(draw, known):
    """The mean over the labelled rows and the draws; torch's own cross-entropy is the oracle."""
    model = classifier(weight=3.0)
    logits = model(draw.code)[:, :known].flatten(0, 1)
    expected = 3 * F.cross_entropy(logits, labels(known)[:known].repeat(3))
    assert model.loss(draw, labels(known), 0).item() == pytest.approx(expected.item(), rel=1e-12)


def test_no_known_label_costs_nothing(draw):
    assert classifier().loss(draw, labels(0), 0).item() == 0


def test_entropy_and_balance_are_scipys(draw):
    p = torch.softmax(classifier_of(draw)[0](draw.code), -1).detach().numpy()
    model, plain = classifier_of(draw)
    with_entropy = classifier_of(draw, decisiveness=1.0)[0].loss(draw, labels(5), 0) - plain
    assert with_entropy.item() == pytest.approx(stats.entropy(p, axis=-1).mean(), rel=1e-9)
    frequencies = (np.array(CLASSES) + 1) / (sum(CLASSES) + 3)
    with_balance = classifier_of(draw, balance=1.0)[0].loss(draw, labels(5), 0) - plain
    assert with_balance.item() == pytest.approx(stats.entropy(p[:, 5:].mean((0, 1)), frequencies), rel=1e-6)


def classifier_of(draw: Draw, **keywords) -> tuple[Classifier, torch.Tensor]:
    """A classifier with always the same weights, and the loss of its plain cross-entropy."""
    torch.manual_seed(3)
    model = classifier(**keywords)
    torch.manual_seed(3)
    return model, classifier().loss(draw, labels(5), 0).detach()


def test_the_direction_found_is_the_worst_there_is(draw):
    """KL(p(z) ‖ p(z + reach·σ·r)) for every angle of r: the one found costs nearly as much as the worst one."""
    model, plain = classifier_of(draw, reach=0.05)
    found = (model.loss(draw, labels(5), 0) - plain).item()
    scale, p = draw.groups[0].q.stddev, model(draw.code).log_softmax(-1)
    angles = torch.linspace(0, 2 * math.pi, 73, dtype=torch.float64)
    ways = torch.stack([angles.cos(), angles.sin()], -1)
    costs = [(p.exp() * (p - model(draw.code + 0.05 * scale * way).log_softmax(-1))).sum(-1) for way in ways]
    worst, mean = torch.stack(costs).max(0).values.mean().item(), torch.stack(costs).mean().item()
    assert mean < 0.9 * worst < found <= worst * (1 + 1e-3)


def test_the_unlabelled_terms_warm_up(draw):
    parts = {"reach": 1.0, "decisiveness": 1.0, "balance": 1.0, "rampup_steps": 99}
    model, plain = classifier_of(draw, **parts)
    at = [(model.loss(draw, labels(5), step) - plain).item() for step in (0, 49, 99, 1000)]
    assert at[0] == pytest.approx(at[2] / 100) and at[1] == pytest.approx(at[2] / 2) and at[2] == pytest.approx(at[3])


def test_gradients_reach_the_code_and_every_weight(draw):
    model = classifier(reach=1.0, decisiveness=1.0, balance=1.0)
    model.loss(draw, labels(5), 0).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())
    assert (draw.code.grad.abs().sum(-1) > 0).all()


def test_a_deterministic_code_is_refused():
    latent = Flat(Point(3, 2), Standard(2, 0))
    draw = latent.infer(torch.zeros(4, 3), None, torch.zeros(1, 4, 2))
    with pytest.raises(UserError, match="posterior"):
        Classifier((2,), CLASSES).loss(draw, torch.zeros(4, dtype=torch.long), 0)


WRONG = [
    ({"hidden": (0,)}, "hidden"),
    ({"weight": -1.0}, "weight"),
    ({"reach": math.inf}, "reach"),
    ({"rows": -1}, "rows"),
]


@pytest.mark.parametrize(("keywords", "said"), WRONG, ids=lambda value: str(value))
def test_numbers_out_of_range_are_refused(keywords, said):
    with pytest.raises(UserError, match=said):
        Classifier((2,), CLASSES, **keywords)


# ---------------------------------------------------------------------------------------------------- end to end


@pytest.fixture(scope="module")
def few() -> np.ndarray:
    """Labels for ten digits of each class among scikit-learn's, −1 for all others."""
    truth = load("digits:train").labels.numpy()
    rng = np.random.default_rng(0)
    chosen = np.concatenate([rng.choice(np.flatnonzero(truth == label), 10, False) for label in range(10)])
    known = np.full(len(truth), -1)
    known[chosen] = truth[chosen]
    return known


@pytest.fixture(scope="module")
def trained(few, tmp_path_factory):
    quick = ["train.epochs=40", "train.least_steps=0", "latent.size=16", "encoder.name=mlp", "encoder.hidden=[128]"]
    return variate.fit(
        "digits:train", few, recipe="semi-supervised", overrides=quick, out=tmp_path_factory.mktemp("few") / "run"
    )


def error(model) -> float:
    found, _ = variate.classify(model, "digits")
    return float((found.astype(int) != load("digits:test").labels.numpy()).mean())


def test_unlabelled_rows_are_worth_having(trained, few):
    """The same model on the labelled rows alone makes at least a third more errors."""
    rows, labelled = load("digits:train"), np.flatnonzero(few >= 0)
    quick = ["train.epochs=300", "train.least_steps=0", "latent.size=16", "encoder.name=mlp", "encoder.hidden=[128]"]
    alone = variate.fit(
        rows.values.numpy()[labelled], few[labelled], levels=17, recipe="semi-supervised", overrides=quick
    )
    assert error(trained) < 0.75 * error(alone) and error(trained) < 0.12


def test_every_label_is_learned_from(trained):
    assert sum(trained.schema.class_counts) == 100 and trained.schema.class_names == tuple("0123456789")


def test_probabilities_are_of_the_row_alone_and_survive_the_file(trained):
    rows = load("digits:test")
    labels, p = variate.classify(trained, rows)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
    again, q = variate.classify(variate.load(trained.path), rows.rows(slice(10, 20)))
    np.testing.assert_array_equal(labels[10:20], again)
    np.testing.assert_allclose(p[10:20], q, atol=1e-5)


def test_a_model_without_a_labelling_predicts_none():
    with pytest.raises(UserError, match="semi-supervised"):
        variate.classify(run("plain"), data_of("plain"))
