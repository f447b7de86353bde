"""The training loop: it learns, repeats itself, survives interruptions and bad batches, and reports what it did."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from helpers_runs import FLAGS, TINY, assert_same, model_bytes, pixels, records, scratch, table
from safetensors.torch import load_file

from variate import cli, config
from variate.apps.fit import fit
from variate.base.errors import UserError
from variate.config import Training
from variate.data import named
from variate.data.batch import Record
from variate.data.dataset import Dataset
from variate.data.load import load
from variate.training import state
from variate.training.keeper import Keeping
from variate.training.processes import Processes
from variate.training.trainer import Interrupted, Step, Trainer

pytestmark = pytest.mark.bits

SETTINGS = {"batch_size": 20, "least_steps": 0, "rampup_steps": 5, "learning_rate": 0.01, "schedule": "constant"}


def trainer(rows: Dataset | None = None, valid: Dataset | None = None, *overrides: str, **settings) -> Trainer:
    """A tiny model on 60 rows of real numbers: three steps to an epoch, or one with ``batch_size=60``."""
    rows = load(table(60)) if rows is None else rows
    valid = replace(rows, values=torch.from_numpy(table(20, seed=1))) if valid is None else valid
    model, objective, _ = config.build(described(rows, *overrides), rows.schema)
    return Trainer(Step(model, objective), Training(**SETTINGS | settings), rows, valid)


def described(rows: Dataset, *overrides: str) -> dict:
    return config.resolve(config.load_recipe("vector", [*TINY, *overrides]), rows)


def tensors(trained: Trainer) -> dict[str, torch.Tensor]:
    return state.capture(trained)["tensors"]


def added(record: Record, addend: float) -> Record:
    return {name: cells._replace(units=cells.units + addend) for name, cells in record.items()}


@dataclass(frozen=True)
class Watched(Dataset):
    """Rows that call ``hook(step)`` for every training batch; what it returns is added to the input and the target."""

    hook: Callable[[int], float] = field(default=lambda step: 0.0)

    def batch(self, index, binarize="none", *key, part=slice(None)):
        batch = super().batch(index, binarize, *key, part=part)
        addend = self.hook(key[1]) if key else 0.0
        return batch._replace(input=added(batch.input, addend), target=added(batch.target, addend))


def watched(hook: Callable[[int], float], n: int = 60) -> Watched:
    plain = load(table(n))
    return Watched(plain.values, plain.labels, plain.schema, hook=hook)


def poison(*steps: int, times: int = 1, value: float = math.inf) -> Callable[[int], float]:
    """A non-finite batch at each of the steps, the first ``times`` times that it comes."""
    left = dict.fromkeys(steps, times)

    def hook(step: int) -> float:
        left[step] = left.get(step, 0) - 1
        return value if left[step] >= 0 else 0.0

    return hook


# ---------------------------------------------------------------------------------------------------- learning


def test_a_step_in_ones_own_loop_learns():
    rows = load(table(200))
    model, objective, _ = config.build(described(rows), rows.schema)
    step = Step(model, objective)
    optimizer = torch.optim.Adam(step.parameters(), lr=0.01)
    batch, losses = rows.batch(slice(None)), []
    for number in range(60):
        loss, _ = step(batch, torch.randn(objective.samples, len(rows), model.latent.noise_size), number)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 1


def test_a_steps_loss_is_the_weighted_mean_over_rows():
    """Rows of weight 0 count for nothing: the loss is that of the others alone."""
    rows = load(table(8))
    model, objective, _ = config.build(described(rows), rows.schema)
    step, draws = Step(model, objective), torch.randn(1, 8, 2)
    weight = torch.tensor([1.0, 1, 1, 1, 1, 0, 0, 0])
    weighted, _ = step(rows.batch(slice(None))._replace(weight=weight), draws, 0)
    alone, _ = step(rows.batch(slice(0, 5)), draws[:, :5], 0)
    torch.testing.assert_close(weighted, alone)


def test_training_improves_the_validation_bound():
    bounds = [r["validation"]["bound_nats"] for r in trainer(epochs=30).epochs()]
    assert bounds[-1] > bounds[0] + 1


@pytest.mark.parametrize("given", [None, "label"])
def test_the_same_seed_gives_the_same_bytes(tmp_path, given):
    values, labels = pixels(60), np.arange(60) % 3
    torch.manual_seed(9)  # the user's, which must not matter
    for name, seed in [("a", 3), ("b", 3), ("c", 4)]:
        fit(values, labels, out=tmp_path / name, epochs=2, seed=seed, overrides=TINY, given=given)
        torch.rand(7)
    assert model_bytes(tmp_path / "a") == model_bytes(tmp_path / "b") != model_bytes(tmp_path / "c")
    assert records(tmp_path / "a") == records(tmp_path / "b")


def test_a_run_file_names_no_place_and_no_time(tmp_path):
    fit(pixels(40), out=tmp_path / "somewhere-special", epochs=1, overrides=TINY)
    content = model_bytes(tmp_path / "somewhere-special")
    header = content[8 : 8 + int.from_bytes(content[:8], "little")]  # the weights hold any few letters by chance
    assert b"somewhere" not in content and b"second" not in content and os.uname().nodename.encode() not in header


# ---------------------------------------------------------------------------------------------------- interruption

LONG = ["digits", *FLAGS, "--set", "train.batch_size=3", "--epochs", "3", "--no-report"]
STEPS = 1197 // 3  # to an epoch: five sixths of the 1437 training rows


def variate(*arguments: str) -> subprocess.Popen:
    """The command in a process of its own, with as many threads as this one (other sums would round otherwise)."""
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-m", "variate", *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


@pytest.fixture(scope="module")
def stopped():
    """(folder, exit status, what it said, its step) of a fit that got SIGINT in the middle of its second epoch."""
    folder = scratch() / "stopped"
    with variate("fit", *LONG, "--out", str(folder)) as process:
        said = ""
        while not said.splitlines()[-1:] or not said.splitlines()[-1].startswith("epoch 1/"):
            said += process.stderr.readline() or pytest.fail(f"the fit ended by itself: {said}")
        time.sleep(0.2)  # well into the second epoch
        process.send_signal(signal.SIGINT)
        said += process.communicate(timeout=60)[1]
    state = folder / "state" / "state.safetensors"
    with open(state, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return folder, process.returncode, said, json.loads(header["__metadata__"]["variate"])["numbers"]["step"]


def test_ctrl_c_exits_with_130_and_one_sentence(stopped):
    _, status, said, _ = stopped
    assert status == 130
    assert "Traceback" not in said and said.splitlines()[-1].startswith("variate: ")


def test_interrupted_and_resumed_equals_uninterrupted(stopped):
    folder, _, _, step = stopped
    assert STEPS < step < 3 * STEPS and step % STEPS, "the signal came too late: nothing was tested"
    cli.main(["fit", *LONG, "--out", str(folder), "--resume"])
    whole = scratch() / "whole"
    cli.main(["fit", *LONG, "--out", str(whole)])
    assert model_bytes(folder) == model_bytes(whole)
    assert records(folder) == records(whole)


CONV = ["encoder.name=conv", "decoder.name=conv", "encoder.channels=[3,4]", "decoder.channels=[4,3]"]
KINDS = {
    "table": lambda: (table(240), []),
    "dynamic": lambda: (pixels(240), ["data.binarize=dynamic"]),
    "static": lambda: (pixels(240), ["data.binarize=static"]),
    "optimal sigma": lambda: (table(240), ["likelihood.name=gaussian", "likelihood.sigma=optimal"]),
    "warm-up": lambda: (table(240), ["objective.name=elbo", "objective.warmup_steps=60"]),
    "iwae": lambda: (table(240), ["objective.name=iwae", "objective.k=3"]),
    "convolutions": lambda: (pixels(240), [*CONV, "encoder.hidden=16", "decoder.hidden=16"]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", [1, 50])
def test_a_run_stopped_anywhere_resumes_to_the_same_bytes(tmp_path, monkeypatch, kind, at):
    values, overrides = KINDS[kind]()
    options = {"epochs": 2, "overrides": [*TINY, "train.batch_size=5", *overrides]}
    fit(values, out=tmp_path / "whole", **options)
    plain, steps = Trainer._one_step, []

    def interrupting(self, index):
        steps.append(self.step)
        if len(steps) == at:
            signal.raise_signal(signal.SIGINT)
        return plain(self, index)

    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        patched.setattr(Trainer, "_one_step", interrupting)
        fit(values, out=tmp_path / "parts", **options)
    fit(values, out=tmp_path / "parts", resume=True)
    assert model_bytes(tmp_path / "parts") == model_bytes(tmp_path / "whole")
    assert records(tmp_path / "parts") == records(tmp_path / "whole")


@pytest.mark.parametrize("steps", [1, 2, 10, 20, 40])
def test_ctrl_c_stops_training_however_many_steps_an_epoch_has(steps):
    def interrupt(step: int) -> float:
        if step == 3:
            signal.raise_signal(signal.SIGINT)
        return 0.0

    trained = trainer(watched(interrupt, 80), batch_size=80 // steps, epochs=240 // steps)
    saved = []
    with pytest.raises(Interrupted):
        list(trained.epochs(lambda: saved.append(trained.step)))
    assert saved == [trained.step] and trained.step <= 60


def test_the_signal_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    list(trainer(epochs=1).epochs())
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_finished_run_resumes_to_itself(tmp_path):
    fit(table(60), out=tmp_path, epochs=1, overrides=TINY)
    before = model_bytes(tmp_path), records(tmp_path)
    fit(table(60), out=tmp_path, resume=True)
    assert (model_bytes(tmp_path), records(tmp_path)) == before


@pytest.mark.parametrize("other", [table(60)[:, :4], table(60) * 2, pixels(60)], ids=["shape", "scale", "kind"])
def test_other_data_do_not_resume_a_run(tmp_path, other):
    fit(table(60), out=tmp_path, epochs=1, overrides=TINY)
    with pytest.raises(UserError):
        fit(other, out=tmp_path, resume=True)


def test_a_folder_with_a_run_is_not_overwritten(tmp_path):
    fit(table(60), out=tmp_path, epochs=1, overrides=TINY)
    before = model_bytes(tmp_path)
    with pytest.raises(UserError, match="resume"):
        fit(table(60), out=tmp_path, epochs=2, overrides=TINY)
    assert model_bytes(tmp_path) == before


def test_nothing_to_resume_is_refused(tmp_path):
    with pytest.raises(UserError, match="resume"):
        fit(table(60), out=tmp_path / "nothing", resume=True)


# ---------------------------------------------------------------------------------------------------- bad batches


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_non_finite_batch_changes_nothing_and_is_counted(value):
    """One step to an epoch, the second poisoned: weights, moments, their step counts and averages stay bit-equal."""
    trained = trainer(watched(poison(1, value=value)), batch_size=60, epochs=3)
    states, skipped = [], []
    for record in trained.epochs():
        states.append(tensors(trained))
        skipped.append(record["skipped"])
    assert_same(states[0], states[1])
    assert not torch.equal(
        states[1]["model.encoder.layers.layers.0.weight"], states[2]["model.encoder.layers.layers.0.weight"]
    )
    assert skipped == [0, 1, 1]


def test_a_dropped_batch_does_not_spoil_the_records():
    for record in trainer(watched(poison(1, 4)), epochs=3).epochs():
        numbers = [*record["train"].values(), *record["validation"].values()]
        assert all(math.isfinite(number) for number in numbers)


def test_a_rows_missing_from_a_dropped_batch_do_not_count_in_the_means():
    """With a zero learning rate in effect, the mean over the good steps is that of a run without the bad one."""
    bounds = []
    for steps in [(), (2,)]:
        slow = trainer(watched(poison(*steps)), epochs=1, learning_rate=1e-12)
        bounds.append(next(slow.epochs())["train"]["bound_nats"])
    assert bounds[1] == pytest.approx(bounds[0], rel=0.2)


def test_an_epoch_of_skipped_steps_has_no_mean(tmp_path, monkeypatch, capsys):
    """Three steps to an epoch, those of the second poisoned: null in strict JSON, an empty cell, and a line says so."""
    hook, plain, told = poison(3, 4, 5), Dataset.batch, []

    def poisoned(self, index, binarize="none", *key, part=slice(None)):
        batch = plain(self, index, binarize, *key, part=part)
        return batch._replace(target=added(batch.target, hook(key[1]))) if key else batch

    monkeypatch.setattr(Dataset, "batch", poisoned)
    keeping = Keeping(logs=("csv",), callbacks={"steps": told.append})
    fit(table(72), out=tmp_path, epochs=3, overrides=[*TINY, "train.batch_size=20"], keeping=keeping)
    text = (tmp_path / "metrics.jsonl").read_text()
    assert "NaN" not in text and "Infinity" not in text
    means = [json.loads(line)["train"] for line in text.splitlines()]
    assert set(means[1].values()) == {None} and means[1].keys() == means[0].keys()
    assert all(math.isfinite(mean) for each in (means[0], means[2]) for mean in each.values())
    first, _, names = ({k for k in each if k != "step"} for each in told)
    assert first == names == means[0].keys() - {"improved"}
    assert [told[1][name] for name in names] == [None] * len(names)
    columns, *lines = [line.split(",") for line in (tmp_path / "metrics.csv").read_text().splitlines()]
    assert [line[columns.index("train.elbo_nats")] == "" for line in lines] == [False, True, False]
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("epoch")]
    assert ["train ELBO unknown" in line for line in said] == [False, True, False]
    assert ["3 steps" in line for line in said] == [False, True, True]


class Pretended(Processes):
    """One of several processes, without the others: what it finds is its own part."""

    def wrap(self, step, unused):
        step.no_sync = nullcontext
        return step

    def total(self, numbers):
        return numbers


@pytest.mark.parametrize("count, pieces", [(1, 1), (1, 3), (2, 2)])
def test_figures_are_of_the_epochs_own_rows(count, pieces):
    """Labelled rows, drawn beside every batch, are far from the others; the exact KL is a mean over each row once."""
    values = table(60)
    values[::12] += 60
    labels = np.where(np.arange(60) % 12, -1, np.arange(60) // 12 % 2)
    data = load(values, labels)
    settings = [*TINY, "likelihood.name=gaussian", "prior.name=standard", "labelling.rows=15"]
    chosen = config.resolve(config.load_recipe("semi-supervised", settings), data)
    training = Training(**SETTINGS | {"learning_rate": 1e-12, "accumulate": pieces, "batch_size": 25})
    sums, rows = 0.0, 0.0
    for rank in range(count):
        model, objective, _ = config.build(chosen, data.schema)
        group = Pretended(rank, count)
        learner = Trainer(Step(model, objective), training, data, data, group=group)
        order = data.order(0, 0)
        for index in order.split(25):
            fresh = learner.tally.add([learner._one_step(*learner._with_labelled(index))], group)
            sums, rows = sums + fresh["rate_nats"], rows + fresh["rows"]
    batch = data.batch(slice(None))
    with torch.no_grad():
        draw = model.infer(batch.input, None, torch.zeros(1, 60, model.latent.noise_size))
    each = draw.rates_nats()[0].sum(-1)
    assert rows == 60
    assert sums / rows == pytest.approx(float(each.mean()), rel=1e-4)
    assert abs(float(each[::12].mean() / each.mean()) - 1) > 0.5, "the labelled rows must be unlike the others"


def test_bad_batches_in_a_row_roll_back_with_a_lower_rate():
    """Ten steps to an epoch; the last five of the second go bad once: back to its start, at half the rate."""
    trained = trainer(watched(poison(*range(15, 20)), 200), epochs=3)
    epochs = trained.epochs()
    first = next(epochs)
    good = tensors(trained)
    event = next(epochs)
    assert (event["event"], event["step"]) == ("rollback", first["step"] == 10 and 10)
    assert event["learning_rate"] == pytest.approx(0.5 * SETTINGS["learning_rate"])
    assert_same(tensors(trained), good)
    after = list(epochs)
    assert [record["step"] for record in after] == [20, 30]
    assert all(record["skipped"] == 5 for record in after), "the five dropped batches must stay counted"


def test_training_that_never_stays_finite_is_given_up_with_advice():
    with pytest.raises(UserError, match="learning_rate"):
        list(trainer(watched(poison(*range(20), times=1000), 200), epochs=2).epochs())


def test_a_rollback_is_told_and_recorded(tmp_path, monkeypatch, capsys):
    hook, plain = poison(*range(15, 20)), Dataset.batch

    def poisoned(self, index, binarize="none", *key, part=slice(None)):
        batch = plain(self, index, binarize, *key, part=part)
        return batch._replace(target=added(batch.target, hook(key[1]))) if key else batch

    monkeypatch.setattr(Dataset, "batch", poisoned)
    fit(table(240), out=tmp_path, epochs=2, overrides=[*TINY, "train.batch_size=20"])
    assert "learning rate" in capsys.readouterr().err
    assert ["event" in record for record in records(tmp_path)] == [False, True, False]


# ---------------------------------------------------------------------------------------------------- the schedule


@pytest.mark.parametrize("patience", [1, 3])
def test_early_stopping_waits_as_long_as_it_is_told(patience):
    """Training rows of ones, validation rows of zeros: every epoch is worse than the first."""
    ones, zeros = (load(np.full((60, 5), value, np.uint8), levels=2) for value in (1, 0))
    trained = trainer(ones, zeros, patience=patience, epochs=20)
    done = list(trained.epochs())
    assert [record["improved"] for record in done] == [True] + patience * [False]
    assert trained.best == done[0]["validation"]["bound_nats"]


def test_no_patience_means_all_epochs():
    ones, zeros = (load(np.full((60, 5), value, np.uint8), levels=2) for value in (1, 0))
    assert len(list(trainer(ones, zeros, patience=0, epochs=6).epochs())) == 6


@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_the_average_is_the_exponential_one(decay):
    """mean ← decay · mean + (1 − decay) · weights after each step, computed by hand in float64."""
    trained = trainer(batch_size=60, epochs=6, ema=decay)
    by_hand = {k: v.double() for k, v in tensors(trained).items() if k.startswith("average.")}
    for _ in trained.epochs():
        state = tensors(trained)
        for name, mean in by_hand.items():
            by_hand[name] = decay * mean + (1 - decay) * state[name.replace("average", "model", 1)].double()
            torch.testing.assert_close(state[name].double(), by_hand[name], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("bad", [(), (3, 7)])
def test_the_average_over_many_steps_uses_each_step_s_decay(bad):
    """θ̄ ← Πd θ̄ + (1 − Πd) θ at the end of an epoch of ten steps, with a d for each that was not skipped."""
    trained = trainer(watched(poison(*bad), 200), ema=0.9, epochs=1, rampup_steps=0)
    before = tensors(trained)
    next(trained.epochs())
    decay = math.prod(min(0.9, (1 + count) / (10 + count)) for count in range(1 + len(bad), 11))
    assert trained.step == 10 and trained.tally.skipped == len(bad)
    for name, value in tensors(trained).items():
        if name.startswith("average."):
            expected = decay * before[name] + (1 - decay) * tensors(trained)[name.replace("average", "model", 1)]
            torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-7)


def test_a_long_average_forgets_its_first_steps():
    """With a decay near one, the share of the old average grows from step to step, and never above the decay."""
    trained = trainer(batch_size=60, epochs=12, ema=0.4)
    before, shares = tensors(trained), []
    for _ in trained.epochs():
        after, name = tensors(trained), "encoder.layers.layers.0.weight"
        moved = after[f"average.{name}"] - before[f"average.{name}"]
        distance = after[f"model.{name}"] - before[f"average.{name}"]
        shares.append(1 - float((moved * distance).sum() / distance.square().sum()))
        before = after
    assert shares[0] < 0.25 and shares[-1] == pytest.approx(0.4, abs=1e-4)
    assert all(a <= b + 1e-4 for a, b in zip(shares, shares[1:], strict=False))


def test_validation_judges_the_averaged_weights():
    trained = trainer(batch_size=60, epochs=3, ema=0.9)
    last = list(trained.epochs())[-1]
    trained.model.load_state_dict(trained.average.state_dict())
    assert trained.validate() == pytest.approx(last["validation"])
    with torch.no_grad():
        trained.average.decoder.layers.layers[0].weight.add_(1.0)
    assert trained.validate() != pytest.approx(last["validation"])


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_the_learning_rate_follows_its_formula(schedule):
    trained = trainer(epochs=10, rampup_steps=8, schedule=schedule)
    for trained.step in range(30):
        expected = 0.01 * min(1, (trained.step + 1) / 8)
        if schedule == "cosine":
            expected *= 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * trained.step / 30))
        if schedule == "linear":
            expected *= 1 - 0.99 * trained.step / 30
        assert trained.learning_rate() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("rampup", [1, 4])
def test_the_learning_rate_is_what_the_optimiser_uses(rampup):
    """Adam's first step moves every weight that has a gradient by the learning rate itself."""
    trained = trainer(batch_size=60, epochs=1, rampup_steps=rampup)
    before = tensors(trained)
    next(trained.epochs())
    name = "model.likelihood.x.head.linear.bias"
    moved = (tensors(trained)[name] - before[name]).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.01 / rampup), rtol=1e-3, atol=0)


def test_clipping_bounds_the_gradient():
    """Adam forgets a gradient's scale, but for ε: with a norm of 1e-12 the weights hardly move."""
    moved = []
    for clip_norm in (0.0, 1e-12):
        trained = trainer(batch_size=60, epochs=1, clip_norm=clip_norm)
        before = tensors(trained)["model.likelihood.x.head.linear.bias"]
        next(trained.epochs())
        moved.append(float((tensors(trained)["model.likelihood.x.head.linear.bias"] - before).abs().max()))
    assert moved[1] < 0.01 * moved[0]


# ---------------------------------------------------------------------------------------------------- records


@pytest.fixture(scope="module")
def recorded():
    fit(table(120), out=scratch() / "recorded", epochs=4, overrides=[*TINY, "train.batch_size=20"])
    return records(scratch() / "recorded")


def test_every_epoch_is_recorded(recorded):
    assert [record["epoch"] for record in recorded] == [1, 2, 3, 4]
    assert [record["step"] for record in recorded] == [5, 10, 15, 20]
    assert all(record["skipped"] == 0 and record["learning_rate"] > 0 for record in recorded)


@pytest.mark.parametrize("part", ["train", "validation"])
def test_recorded_terms_add_up(recorded, part):
    for terms in (record[part] for record in recorded):
        assert terms["elbo_nats"] == pytest.approx(-terms["distortion_nats"] - terms["rate_nats"], rel=1e-5)
        assert terms["rate_nats"] >= 0


def test_improved_marks_the_records_of_the_bound(recorded):
    bounds = [record["validation"]["bound_nats"] for record in recorded]
    assert [record["improved"] for record in recorded] == [
        b > max([-math.inf, *bounds[:i]]) for i, b in enumerate(bounds)
    ]


def test_an_autoencoder_records_no_likelihood(tmp_path):
    fit(pixels(60), out=tmp_path, epochs=1, recipe="autoencoder", overrides=TINY)
    assert set(records(tmp_path)[0]["train"]) == {"squared_error"}


def test_the_model_file_holds_the_averages_of_the_best_epoch(tmp_path):
    fit(table(120), out=tmp_path, epochs=2, overrides=[*TINY, "train.batch_size=20"])
    assert records(tmp_path)[-1]["improved"]
    last = load_file(tmp_path / "state" / "state.safetensors")
    averages = {k.removeprefix("average."): v for k, v in last.items() if k.startswith("average.")}
    assert_same(load_file(tmp_path / "model.safetensors"), averages)


# ---------------------------------------------------------------------------------------------------- honesty


def disturbed(values: np.ndarray) -> np.ndarray:
    """The same rows, but one that the split holds out is replaced by another that is as legal."""
    held_out = {row.tobytes() for row in load(values).split(0)[1].values.numpy()}
    place = next(i for i, row in enumerate(values) if row.tobytes() in held_out)
    changed = values.copy()
    changed[place] = values[place][::-1]
    return changed


@pytest.mark.parametrize("values", [pixels(60), table(60)], ids=["pixels", "table"])
def test_validation_rows_never_influence_the_weights(tmp_path, values):
    states = []
    for name, rows in [("a", values), ("b", disturbed(values))]:
        fit(rows, out=tmp_path / name, epochs=2, overrides=[*TINY, "train.batch_size=10"])
        states.append(load_file(tmp_path / name / "state" / "state.safetensors"))
    validated = [[r["validation"] for r in records(tmp_path / name)] for name in "ab"]
    assert validated[0] != validated[1], "the changed row was not looked at"
    assert_same(*states)


def test_the_test_part_of_a_named_set_is_never_opened(tmp_path, monkeypatch):
    asked, plain = [], named.load
    monkeypatch.setattr(named, "load", lambda name, part: asked.append(part) or plain(name, part))
    fit("digits", out=tmp_path, epochs=1, overrides=TINY)
    assert set(asked) == {"train"}


def test_validation_is_the_same_every_time():
    trained = trainer()
    assert trained.validate() == trained.validate()


def test_a_state_of_before_skipped_steps_left_the_sums_resumes():
    """The means that come after it are those of the run that went on."""
    plain, older = (trainer(epochs=1) for _ in range(2))
    for learner in (plain, older):
        learner._settle([learner._one_step(learner.train_data.order(0, 0)[:20])])
    captured = state.capture(older)
    captured["numbers"]["sums"]["skipped"] = 3.0
    state.restore(older, captured)
    resumed, straight = (list(learner.epochs())[0]["train"] for learner in (older, plain))
    assert resumed == straight


def test_captured_state_is_a_copy():
    trained = trainer(batch_size=60, epochs=2)
    epochs = trained.epochs()
    next(epochs)
    captured = state.capture(trained)
    kept = {name: value.clone() for name, value in captured["tensors"].items()}
    next(epochs)
    assert_same(captured["tensors"], kept)
    state.restore(trained, captured)
    assert_same(tensors(trained), kept)
    assert trained.step == 1
