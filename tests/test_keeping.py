"""What training leaves behind: states, metrics, logs, callbacks, and what happens when there is no space for them."""

import csv
import json
import math
import os
import resource
import shutil
import time

import numpy as np
import pytest
from helpers_runs import TINY, model_bytes, table

import variate
from variate.apps.fit import fit
from variate.base.errors import DiskFull, UserError
from variate.results.folder import RunFolder
from variate.training import keeper, logs
from variate.training.keeper import Keeping

pytestmark = pytest.mark.bits

QUICK = [*TINY, "train.batch_size=5"]  # 40 steps an epoch
PLAIN = Keeping()
ALWAYS = 1e-9  # seconds between saves


def quick(folder, keeping=PLAIN, epochs=2, **options):
    return fit(table(240), out=folder, epochs=epochs, overrides=QUICK, keeping=keeping, **options)


def records(folder) -> list[dict]:
    """Without the clock."""
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in record.items() if name != "seconds"} for record in found]


# ---------------------------------------------------------------------------------------------------- states


def test_saving_often_changes_nothing(tmp_path):
    quick(tmp_path / "seldom")
    quick(tmp_path / "often", Keeping(every_seconds=ALWAYS))
    assert model_bytes(tmp_path / "seldom") == model_bytes(tmp_path / "often")
    assert records(tmp_path / "seldom") == records(tmp_path / "often")


def test_every_state_on_the_way_leads_to_the_same_end(tmp_path):
    """Also where the metrics and the model are ahead of the state, as after a kill between two files."""
    states = []

    def copied(what: dict) -> None:
        states.append(tmp_path / str(len(states)))
        shutil.copytree(tmp_path / "whole", states[-1])

    quick(tmp_path / "whole", Keeping(every_seconds=ALWAYS, callbacks={"save": copied}))
    assert len(states) == 4
    for place in states:
        for name in ("metrics.jsonl", "model.safetensors"):
            shutil.copy(tmp_path / "whole" / name, place / name)
        fit(table(240), out=place, resume=True)
        assert model_bytes(place) == model_bytes(tmp_path / "whole")
        assert records(place) == records(tmp_path / "whole")


def test_a_roll_back_after_a_resume_goes_where_it_would_have_gone(tmp_path, monkeypatch):
    """To the start of the epoch, though the run was resumed in the middle of it."""
    plain, states = variate.training.trainer.Trainer._one_step, []

    def diverging(self, index):
        """From step 65 of the first attempt on, no gradient is finite."""
        totals = plain(self, index)
        if self.rollbacks == 0 and self.step > 65:
            self.tally.bad_run = self.tally.bad_run + 1
            self.tally.worst_run = self.tally.bad_run + 10
        return totals

    def copied(what: dict) -> None:
        states.append((what["step"], tmp_path / str(what["step"])))
        shutil.copytree(tmp_path / "whole", states[-1][1], dirs_exist_ok=True)

    monkeypatch.setattr(variate.training.trainer.Trainer, "_one_step", diverging)
    quick(tmp_path / "whole", Keeping(every_seconds=ALWAYS, callbacks={"save": copied}))
    assert any(record.get("event") == "rollback" and record["step"] == 40 for record in records(tmp_path / "whole"))
    middle = next(place for step, place in states if step == 60)
    fit(table(240), out=middle, resume=True)
    assert model_bytes(middle) == model_bytes(tmp_path / "whole")


# ---------------------------------------------------------------------------------------------------- the end


def test_minutes_end_training_in_order(tmp_path):
    started = time.monotonic()
    run = quick(tmp_path, Keeping(minutes=0.02), epochs=100_000)
    assert time.monotonic() - started < 30
    assert run.info["step"] > 0 and variate.load(tmp_path).info == run.info
    assert np.isfinite(variate.score(run, table(20), samples=2)["log_likelihood_nats"]).all()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"every_seconds": 0}, "save_every"),
        ({"minutes": -1}, "minutes"),
        ({"minutes": math.nan}, "minutes"),
        ({"on_disk_full": "panic"}, "on_disk_full"),
        ({"logs": ("cvs",)}, "did you mean 'csv'"),
        ({"callbacks": {"epochs": print}}, "did you mean 'epoch'"),
    ],
)
def test_what_cannot_be_is_refused(wrong, named):
    with pytest.raises(UserError, match=named):
        Keeping(**wrong)


# ---------------------------------------------------------------------------------------------------- logs, callbacks


def test_every_event_is_told(tmp_path):
    told = {event: [] for event in keeper.EVENTS}
    quick(tmp_path, Keeping(every_seconds=ALWAYS, callbacks={event: told[event].append for event in told}))
    assert [record["epoch"] for record in told["epoch"]] == [1, 2]
    assert [what["step"] for what in told["steps"]] == [20, 40, 60, 80]
    assert [what["step"] for what in told["save"]] == [20, 40, 60, 80]
    assert all(what.keys() == told["epoch"][0]["train"].keys() | {"step"} for what in told["steps"])
    means = [what["elbo_nats"] for what in told["steps"]]
    assert np.mean(means[:2]) == pytest.approx(told["epoch"][0]["train"]["elbo_nats"])


def read_csv(folder) -> list[float]:
    with open(folder / "metrics.csv") as file:
        return [float(line["validation.elbo_nats"]) for line in csv.DictReader(file)]


def read_tensorboard(folder) -> list[float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [event.value for event in events.Scalars("validation/elbo_nats")]


READERS = {"csv": read_csv, "tensorboard": read_tensorboard}


@pytest.mark.parametrize("name", logs.__all__)
def test_a_log_says_what_the_metrics_say(tmp_path, name):
    keeping = Keeping(logs=(name,))
    quick(tmp_path, keeping)
    told = [record["validation"]["elbo_nats"] for record in records(tmp_path)]
    assert READERS[name](tmp_path) == pytest.approx(told)


# ---------------------------------------------------------------------------------------------------- a full disk


@pytest.fixture
def little_space():
    """No file may grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_stops_training_and_loses_nothing(tmp_path, little_space, capsys):
    quick(tmp_path / "whole", epochs=3)

    def fill(record: dict) -> None:
        if record["epoch"] == 1:
            little_space(1000)

    with pytest.raises(DiskFull, match=r"cannot be written \(File too large\)"):
        quick(tmp_path / "full", Keeping(callbacks={"epoch": fill}), epochs=3)
    little_space(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    assert not [name for _, _, names in os.walk(tmp_path / "full") for name in names if name.endswith(".part")]
    fit(table(240), out=tmp_path / "full", resume=True)
    assert model_bytes(tmp_path / "full") == model_bytes(tmp_path / "whole")


def test_training_goes_on_without_space_if_asked(tmp_path, little_space, capsys):
    """The best model is written at the end, when there is space again; the state before is whole all the while."""

    def fill(record: dict) -> None:
        little_space(1000 if record["epoch"] < 3 else resource.getrlimit(resource.RLIMIT_FSIZE)[1])

    quick(tmp_path / "whole", epochs=3)
    quick(tmp_path / "full", Keeping(callbacks={"epoch": fill}, on_disk_full="continue"), epochs=3)
    assert "Training goes on" in capsys.readouterr().err
    assert model_bytes(tmp_path / "full") == model_bytes(tmp_path / "whole")
    assert RunFolder(tmp_path / "full").load_state()[0]["numbers"]["step"] == 40
