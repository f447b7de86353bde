"""A latent with several cells, one with places, an objective that learns a critic: one file each, named in a recipe."""

import math
import signal

import numpy as np
import pytest
import torch
from helpers_runs import TINY, assert_same, model_bytes, records, table
from torch.distributions import Normal, kl_divergence
from toys.latents.grid import Grid

from variate import config
from variate.apps.evaluate import evaluate
from variate.apps.fit import fit
from variate.base.errors import UserError
from variate.data.load import load
from variate.results import checkpoint, estimate, inference
from variate.training.trainer import Interrupted, Trainer

RECIPES = {
    "ladder": ('[latent]\nname = "ladder"\ntop = 3\nstate = 4', 4),
    "grid": ('[latent]\nname = "grid"\nheight = 2\nwidth = 3', 12),
    "critic": ('[latent]\nsize = 2\n[objective]\nname = "critic"\nhidden = 5', 2),
    "critic of a grid": ('[latent]\nname = "grid"\n[objective]\nname = "critic"', 32),
}
QUICK = [text for text in TINY if not text.startswith("latent.")]
pytestmark = pytest.mark.usefixtures("toys")


@pytest.fixture(params=RECIPES)
def recipe(request, tmp_path) -> tuple[str, int]:
    """(a recipe's file, how many numbers an embedding has)."""
    text, size = RECIPES[request.param]
    path = tmp_path / "toy.toml"
    path.write_text(f'{text}\n[train]\nbatch_size = 50\n[encoder]\nname = "mlp"\nhidden = [16]\n')
    return str(path), size


def options(recipe: tuple[str, int]) -> dict:
    return {"recipe": recipe[0], "epochs": 3, "overrides": QUICK}


def test_a_recipe_that_names_them_fits_scores_embeds_draws_and_is_saved(recipe, tmp_path):
    values, out = table(240), tmp_path / "run"
    fit(values, out=out, **options(recipe))
    run, rows = checkpoint.load(out), load(values)
    assert evaluate(run, rows, samples=5, rows=50)["log_likelihood_nats"] < 0
    code, _ = inference.codes(run, rows)
    assert code.shape == (240, recipe[1])
    copies = inference.reconstruct(run, rows)
    np.testing.assert_allclose(inference.decode(run, code), copies, rtol=1e-4)
    assert inference.sample(run, 7).shape == (7, 5)
    parts = estimate.elbo_parts(run, rows)
    assert parts.unit_nats.shape == (recipe[1],) and (parts.rate_nats >= 0).all()
    assert_same(checkpoint.unpack(checkpoint.pack(run)).tensors(), run.tensors())


@pytest.mark.parametrize("at", [1, 7])
def test_a_run_of_them_stopped_anywhere_resumes_to_the_same_bytes(recipe, tmp_path, monkeypatch, at):
    fit(table(240), out=tmp_path / "whole", **options(recipe))
    plain, steps = Trainer._one_step, []

    def interrupting(self, index):
        steps.append(self.step)
        if len(steps) == at:
            signal.raise_signal(signal.SIGINT)
        return plain(self, index)

    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        patched.setattr(Trainer, "_one_step", interrupting)
        fit(table(240), out=tmp_path / "parts", **options(recipe))
    fit(table(240), out=tmp_path / "parts", resume=True)
    assert model_bytes(tmp_path / "parts") == model_bytes(tmp_path / "whole")
    assert records(tmp_path / "parts") == records(tmp_path / "whole")


def test_the_rate_of_a_cell_with_places_is_summed_over_all_of_them():
    """KL(q ‖ p) of (4, 2, 4, 4) numbers, by torch's own laws of single numbers."""
    latent = Grid(5).double()
    features = 3 * torch.randn(4, 5).double()
    draw = latent.infer(features, None, torch.randn(3, 4, 32).double())
    q = latent.law(features)
    expected = kl_divergence(Normal(q.mean, q.stddev), Normal(torch.zeros(()).double(), 1.0))
    (rate,) = draw.rates_nats()
    assert draw.code.shape == (3, 4, 2, 4, 4) and rate.shape == (4, 32)
    torch.testing.assert_close(rate, expected.flatten(1))
    ratio = Normal(q.mean, q.stddev).log_prob(draw.code) - Normal(0.0, 1.0).log_prob(draw.code)
    torch.testing.assert_close(-draw.log_weight(), ratio.sum((-1, -2, -3)))


class TestCritic:
    """An objective's own weights."""

    def fitted(self, tmp_path, seed: int = 0, *overrides: str) -> checkpoint.Run:
        out = tmp_path / f"{seed} {len(overrides)}"
        named = ["objective.name=critic", *TINY, *overrides]
        return fit(table(240), out=out, recipe="vector", epochs=2, seed=seed, overrides=named)

    def test_are_seeded_and_leave_the_models_as_they_were(self):
        rows = load(table(20))
        settings = config.resolve(config.load_recipe("vector", TINY), rows)
        model, _, _ = config.build(settings, rows.schema)
        with_critic = settings | {"objective": {"name": "critic"}}
        (one, first, _), (_, again, _), (_, other, _) = (config.build(with_critic, rows.schema, s) for s in (0, 0, 1))
        assert_same(one.state_dict(), model.state_dict())
        assert_same(first.state_dict(), again.state_dict())
        assert not torch.equal(first.guess[0].weight, other.guess[0].weight)

    def test_learn_are_saved_and_come_back(self, tmp_path):
        run = self.fitted(tmp_path)
        start = config.build(run.config, run.schema, 0)[1]
        assert not torch.equal(run.objective.guess[0].weight, start.guess[0].weight)
        loaded = checkpoint.load(run.path)
        assert_same(loaded.objective.state_dict(), run.objective.state_dict())
        assert math.isfinite(records(run.path.parent)[-1]["train"]["critic_loss"])

    def test_go_on_at_a_rate_of_their_own(self, tmp_path):
        """With a factor of nought the critic stays where it was."""
        run = self.fitted(tmp_path, 0, "objective.rate_factor=0.0")
        start = config.build(run.config, run.schema, 0)[1]
        assert_same(run.objective.state_dict(), start.state_dict())

    @pytest.mark.parametrize("change", ["missing", "shape", "NaN"])
    def test_a_file_that_lacks_them_is_damaged(self, tmp_path, change):
        run = self.fitted(tmp_path)
        tensors, described = checkpoint.read_file(run.path)
        name = "objective.guess.0.weight"
        other = {"missing": None, "shape": torch.zeros(2, 2), "NaN": torch.full_like(tensors[name], math.nan)}[change]
        tensors = {n: t for n, t in (tensors | {name: other}).items() if t is not None}
        run.path.write_bytes(checkpoint.model_file(tensors, described))
        with pytest.raises(UserError, match=r"objective\.guess\.0\.weight"):
            checkpoint.load(run.path)


class Tied(torch.nn.Module):
    """A network in which one matrix is used twice, and a part of it a third time."""

    def __init__(self):
        super().__init__()
        self.one = torch.nn.Linear(5, 5)
        self.two = torch.nn.Linear(5, 5)
        self.two.weight = self.one.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.two(torch.tanh(self.one(x)))


def test_tied_weights_are_stored_once_and_come_back_tied(tmp_path):
    run = fit(table(240), out=tmp_path, epochs=2, overrides=QUICK, modules={"encoder": Tied()})
    loaded = checkpoint.load(tmp_path, modules={"encoder": Tied()})
    assert_same(loaded.tensors(), run.tensors())
    stored, described = checkpoint.read_file(run.path)
    assert described["aliases"] == {"encoder.module.two.weight": "encoder.module.one.weight"}
    assert loaded.model.encoder.module.two.weight is loaded.model.encoder.module.one.weight
    assert stored["encoder.module.two.weight"] is stored["encoder.module.one.weight"]
    assert_same(checkpoint.unpack(checkpoint.pack(run), {"encoder": Tied()}).tensors(), run.tensors())


@pytest.mark.parametrize("aliases", [[], "x", {"a": "b"}, {"a": ["b"]}, {"a": {}}, 3])
def test_aliases_that_are_none_are_refused(tmp_path, aliases):
    described = {"aliases": aliases, "config": {}, "schema": {}, "info": {}}
    path = tmp_path / "model.safetensors"
    path.write_bytes(checkpoint.model_file({"weight": torch.zeros(2)}, described))
    with pytest.raises(UserError, match="damaged|valid|schema"):
        checkpoint.load(path)
