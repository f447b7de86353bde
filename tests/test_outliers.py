"""A validation row without a finite bound costs that row, not the model."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from helpers_runs import TINY, model_bytes, table

import variate
from variate import noise
from variate.apps.fit import fit
from variate.data.load import load
from variate.models.objectives.objective import Scene, Terms
from variate.results.folder import RunFolder
from variate.training.fitting import Asked, trainer_for
from variate.training.keeper import Keeping
from variate.training.processes import Processes
from variate.training.trainer import Trainer

QUICK = [*TINY, "train.batch_size=10"]
RECIPES = {"vae": (None, []), "autoencoder": ("autoencoder", []), "iwae": (None, ["objective.name=iwae"])}


def with_outlier(rows: int = 360, places: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """(rows of which so many that are held out for validation hold 1e25, which rows those are)."""
    values = table(rows)
    held_out = np.sort(noise.permutation(0, "split", n=rows)[: round(rows / 6)].numpy())
    values[held_out[:places], 2] = 1e25
    return values, held_out[:places]


def strict(line: str) -> dict:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(line, parse_constant=refuse)


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_outlier_among_the_validation_rows_does_not_lose_the_model(tmp_path, capsys, recipe):
    values, _ = with_outlier()
    name, more = RECIPES[recipe]
    trained = fit(values, out=tmp_path / "run", recipe=name, epochs=3, overrides=[*QUICK, *more])
    told = capsys.readouterr().err
    what = "squared error" if recipe == "autoencoder" else "log p"
    assert f"1 of 60 validation rows has no finite {what} (one holds 1e+25): the epochs were compared by" in told
    records = [strict(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [record["validation"]["left_out"] for record in records] == [1, 1, 1]
    shown = [record["validation"] for record in records]
    watched = [part["bound_nats"] if "bound_nats" in part else -part["squared_error"] for part in shown]
    assert trained.info["epoch"] == 1 + int(np.argmax(watched)) and all(map(math.isfinite, watched))
    assert trained.info["bound"] == max(watched)
    assert variate.load(tmp_path / "run").info == trained.info
    assert all(np.isfinite(column).all() for column in variate.score(trained, table(20), samples=2).values())


def test_what_is_recorded_is_the_mean_of_the_other_rows():
    """Against the same rows without the outlier, under the same noise."""
    values, _ = with_outlier()
    rows = load(values)
    settings = Asked(overrides=tuple(QUICK)).settings(rows.split(0)[0], None)
    learner = trainer_for(settings, rows, 0, Processes(), None)
    found, left_out = learner._validated()
    bounds = []
    objective, valid = learner.step_module.objective, learner.valid_data
    draws = noise.normal(0, "validation", 0, shape=(1, len(valid), learner.model.latent.noise_size))
    with torch.no_grad():
        terms = objective(Scene(*learner.average(valid.batch(slice(None)), draws)))[1]
    bounds = terms.bound_nats.double().numpy()
    assert left_out == 1 == (~np.isfinite(bounds)).sum()
    expected = bounds[np.isfinite(bounds)].mean() + rows.split(0)[0].schema.x.log_volume_nats
    assert found["bound_nats"] == pytest.approx(expected, rel=1e-5)


def trainer(monkeypatch, bounds: list[list[float]]) -> Trainer:
    """One whose validation rows, of which there are three, have these bounds, epoch by epoch."""
    rows = load(table(18))
    settings = Asked(epochs=len(bounds), overrides=(*TINY, "train.patience=0")).settings(rows.split(0)[0], None)
    learner, epochs = trainer_for(settings, rows, 0, Processes(), None), iter(bounds)
    plain = learner.step_module.objective.forward

    def forged(scene):
        loss, terms = plain(scene)
        if not torch.is_inference_mode_enabled():
            return loss, terms
        bound = torch.tensor(next(epochs))
        return loss, Terms(-bound, torch.zeros(3, 1), bound * 0)

    monkeypatch.setattr(learner.step_module.objective, "forward", forged)
    return learner


INF, NAN = math.inf, math.nan
ORDERS = {  # the bounds of three rows in every epoch → the epoch that is kept
    "the mean, where all are finite": ([[-3, -3, -3], [-1, -1, -1], [-2, -2, -2]], 2),
    "fewer rows without one come first": ([[-1, -INF, -INF], [-9, -9, -INF], [-1, NAN, -INF]], 2),
    "a whole epoch before all others": ([[-1, -1, -INF], [-99, -99, -99], [-1, -1, NAN]], 2),
    "then the mean of the rest": ([[-3, -3, -INF], [-2, -INF, -2], [NAN, -1, -4]], 2),
    "plus infinity is no bound": ([[INF, -5, -5], [-6, -6, -6], [INF, -4, -4]], 2),
    "the last, where no row has one": ([[-INF] * 3, [NAN] * 3, [-INF, NAN, INF]], 3),
    "any row before none": ([[-INF] * 3, [-8, NAN, NAN], [-INF] * 3], 2),
    "finite ones that overflow together": ([[-3e38] * 3, [-2e38] * 3, [-1e38, -INF, -1e38]], 2),
}


@pytest.mark.parametrize("name", ORDERS)
def test_epochs_are_ranked_by_rows_without_a_bound_and_then_by_their_mean(monkeypatch, name):
    bounds, kept = ORDERS[name]
    learner = trainer(monkeypatch, bounds)
    records = list(learner.epochs())
    improved = [record["epoch"] for record in records if record["improved"]]
    assert improved[0] == 1 and learner.best_epoch == improved[-1] == kept
    assert learner.best_left_out == sum(not math.isfinite(bound) for bound in bounds[kept - 1])


def test_a_run_whose_validation_rows_all_lack_a_bound_ends_with_a_model(tmp_path, capsys):
    values, places = with_outlier(12, 2)
    assert len(places) == 2
    trained = fit(values, out=tmp_path / "run", epochs=3, overrides=QUICK)
    assert "2 of 2 validation rows have no finite log p" in capsys.readouterr().err
    assert trained.info["epoch"] == 3 and trained.info["bound"] is None
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [strict(line)["validation"]["elbo_nats"] for line in lines] == [None] * 3
    assert RunFolder(tmp_path / "run").read_metrics() == [strict(line) for line in lines]
    assert variate.report(trained, table(30), out=tmp_path / "page", samples=2, rows=10).is_file()


def test_a_run_with_an_outlier_resumes_to_the_same_bytes(tmp_path):
    values, copies = with_outlier()[0], []

    def copied(what: dict) -> None:
        copies.append(shutil.copytree(tmp_path / "whole", tmp_path / str(len(copies))))

    fit(values, out=tmp_path / "whole", epochs=3, overrides=QUICK, keeping=Keeping(callbacks={"save": copied}))
    for place in copies[:2]:
        fit(values, out=place, resume=True)
        assert model_bytes(place) == model_bytes(tmp_path / "whole")


def test_a_run_that_stops_within_an_epoch_keeps_the_better_one(monkeypatch):
    """What the minutes cut off in the middle is worse than the epoch before it: that one's weights are kept."""
    rows = load(table(240))
    asked = Asked(epochs=9, overrides=(*TINY, "train.batch_size=5"))
    learner = trainer_for(asked.settings(rows.split(0)[0], None), rows, 0, Processes(), None)
    bounds = iter([-1.0, -2.0])
    monkeypatch.setattr(learner, "_validated", lambda: (dict.fromkeys(("bound_nats", "elbo_nats"), next(bounds)), 0))
    epochs = learner.epochs(minutes=1e9)
    assert next(epochs)["improved"]
    monkeypatch.setattr("variate.training.stopping.Clock.is_over", lambda self: True)
    (last,) = epochs
    assert (last["epoch"], last["step"], last["improved"], learner.best) == (1, 60, False, -1.0)
