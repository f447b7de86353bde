"""Several processes learn what one would: the same gradients, the same curve, one run folder, and no loss by a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from variate.base.errors import UserError
from variate.data import shards
from variate.data.load import load
from variate.training import trainer as train
from variate.training.fitting import Asked, trainer_for
from variate.training.processes import Processes, joined

pytestmark = pytest.mark.bits

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
STEPS = 100
MODELS = {  # dense with bits drawn at every step; convolutions, and a prior with weights; weights without a gradient
    "mlp": ("kingma-welling", "encoder.hidden=[32]", "decoder.hidden=[32]"),
    "conv": ("vae", "encoder.channels=[4,8]", "decoder.channels=[8,4]", "encoder.hidden=16", "decoder.hidden=16"),
    "autoencoder": ("autoencoder",),
}
CURVE = """
import sys
import torch
sys.path.insert(0, sys.argv[1])
from tests import test_processes
from variate.training.processes import joined
torch.manual_seed(0)
with joined("cpu") as group:
    found = test_processes.curve(group, sys.argv[2], int(sys.argv[3]), data=sys.argv[5])
    if group.rank == 0:
        torch.save(found, sys.argv[4])
"""
PARTING = """
import gc, sys
gc.disable()  # what frees the group must not be chance
sys.path.insert(0, sys.argv[1])
import torch
from tests import test_processes
from variate.training.processes import joined
with joined("cpu") as group:
    step = group.wrap(torch.nn.Linear(3, 1), lambda: False)
    step(torch.ones(2, 3)).sum().backward()
    assert test_processes.talkers()
    del step
until = test_processes.time.monotonic() + 10  # a thread that was waited for may be listed a moment longer
while test_processes.talkers():
    assert test_processes.time.monotonic() < until, test_processes.talkers()
"""


def torchrun(count: int, *arguments: object, restarts: int = 0) -> list[str]:
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    return [*start, f"--max-restarts={restarts}", *map(str, arguments)]


def trainer(group: Processes, model: str, batch_size: int, *more: str, data: str = "digits") -> train.Trainer:
    recipe, *settings = MODELS[model]
    settings += [f"train.batch_size={batch_size}", "train.epochs=1000", "train.rampup_steps=0", *more]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "IN_MEMORY_BYTES", 0)  # files stay where they are
        rows = load(data)
    assert rows.streams == (data != "digits")
    asked = Asked(recipe, overrides=tuple(settings))
    return trainer_for(asked.settings(rows.split(0)[0], None), rows, 0, group, None)


def curve(group: Processes, model: str, batch_size: int, *more: str, data: str = "digits") -> dict[str, torch.Tensor]:
    """The gradient of the first step, and the mean bound (or error) of every step's batch."""
    learner = trainer(group, model, batch_size, *more, data=data)
    gradients, values = {}, []
    step = learner.optimizer.step

    def first_gradients(*arguments: object) -> None:
        if not gradients:
            named = learner.step_module.named_parameters()
            gradients.update({name: p.grad.clone() for name, p in named if p.grad is not None})
        step(*arguments)

    learner.optimizer.step = first_gradients
    order = learner.train_data.order(3, 0)
    for number in range(STEPS):
        index = order.roll(number * batch_size)[:batch_size]
        sums = learner.tally.add([learner._one_step(index)], learner.group)
        values.append(sums.get("bound_nats", sums.get("squared_error")) / sums["rows"])
        assert sums["rows"] == batch_size and learner.tally.skipped == 0
    return gradients | {"curve": torch.tensor(values, dtype=torch.float64)}


def assert_alike(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], steps: int = STEPS) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if name == "curve":
            torch.testing.assert_close(found[name][:steps], value[:steps], rtol=1e-4, atol=0)
        else:
            largest = float(value.abs().max())
            torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-6 * max(1.0, largest))


def learned_by_two(model: str, batch_size: int, place: Path, data: str = "digits") -> dict[str, torch.Tensor]:
    script = place / "curve.py"
    script.write_text(CURVE)
    root = Path(__file__).parent.parent
    command = torchrun(2, script, root, model, batch_size, place / "found.pt", data)
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return torch.load(place / "found.pt")


@pytest.mark.parametrize(("model", "batch_size"), [("mlp", 32), ("mlp", 25), ("conv", 25), ("autoencoder", 25)])
def test_two_processes_learn_what_one_does(model, batch_size, tmp_path):
    """25 rows are 13 and 12: an even mean of the two means would be another gradient."""
    assert_alike(learned_by_two(model, batch_size, tmp_path), curve(Processes(), model, batch_size))


def test_two_processes_each_read_their_part_of_shards(tmp_path):
    """They learn what one process learns, of rows that none of them has in memory."""
    folder = tmp_path / "digits"
    folder.mkdir()
    for number, part in enumerate(load("digits").values.split(400)):
        np.save(folder / f"{number}.npy", part.numpy())
    found = learned_by_two("mlp", 25, tmp_path, str(folder))
    assert_alike(found, curve(Processes(), "mlp", 25, data=str(folder)))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("pieces", [2, 7])
def test_a_batch_in_pieces_has_the_gradient_of_the_whole(model, pieces):
    """25 rows in 7 pieces are of two sizes. Rounding grows from step to step, the more the smaller the pieces are."""
    found, expected = (curve(Processes(), model, 25, f"train.accumulate={n}") for n in (pieces, 1))
    assert_alike(found, expected, steps=10)


def test_every_row_of_a_batch_is_in_one_part():
    for rows, count, pieces in [(10, 3, 1), (10, 2, 3), (7, 4, 1), (3, 2, 4), (1, 1, 5)]:
        parts = [part for rank in range(count) for part in Processes(rank, count).parts(rows, pieces)]
        held = [row for part in parts for row in range(rows)[part]]
        assert sorted(held) == list(range(rows)) and all(range(rows)[part] for part in parts)


def talkers() -> list[str]:
    """The threads of this process that talk to the others."""
    found = []
    for place in Path("/proc/self/task").glob("*/comm"):
        with suppress(OSError):  # it has ended meanwhile
            found.append(place.read_text().strip())
    return [name for name in found if "gloo" in name]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the threads under /proc")
def test_no_thread_of_the_group_is_left_when_processes_have_parted(tmp_path):
    """One that outlives the interpreter may abort it: now and then, on a busy machine."""
    script = tmp_path / "parting.py"
    script.write_text(PARTING)
    command = torchrun(2, script, Path(__file__).parent.parent)
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_a_batch_smaller_than_its_parts_is_refused():
    with pytest.raises(UserError, match=r"4 rows cannot be parted among 1 processes in 5 pieces"):
        trainer(Processes(), "mlp", 4, "train.accumulate=5")


def test_processes_that_nobody_brought_together_are_refused(monkeypatch):
    """As under a scheduler that sets only some of what torchrun does."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(UserError, match="lacks LOCAL_RANK, MASTER_ADDR, MASTER_PORT: start them with torchrun"):
        with joined("cpu"):
            pass


def test_a_device_that_is_not_there_is_named():
    with (
        pytest.raises(UserError, match="--device toaster is not to be had here: use auto, cpu, cuda or mps"),
        joined("toaster"),
    ):
        pass


def fit(out: Path, *more: str) -> list[str]:
    settings = [*MODELS["mlp"][1:], "train.least_steps=0", "train.batch_size=20"]
    said = [word for setting in settings for word in ("--set", setting)]
    return [
        "fit",
        "digits",
        "--recipe",
        "kingma-welling",
        "--out",
        str(out),
        "--no-report",
        "--save-every",
        "0.2",
        *said,
        *more,
    ]


def test_the_command_line_learns_in_two_processes_and_writes_one_run(tmp_path):
    """Validation is parted too: what it finds is what one process finds."""
    runs = {}
    for name, start in {"two": torchrun(2), "one": [sys.executable]}.items():
        command = [*start, "-m", "variate", *fit(tmp_path / name, "--epochs", "3")]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("epoch 3/3") == 1 and done.stdout == ""
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        runs[name] = [json.loads(line) for line in lines]
    files = [{path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("*")} for name in runs]
    assert files[0] == files[1]
    for two, one in zip(runs["two"], runs["one"], strict=True):
        assert two["validation"]["elbo_nats"] == pytest.approx(one["validation"]["elbo_nats"], rel=1e-4)
        assert two["train"]["elbo_nats"] == pytest.approx(one["train"]["elbo_nats"], rel=1e-4)


def workers(of: int) -> list[int]:
    """The processes that this one has started, and is still running."""
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = place.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        if int(fields[1]) == of and fields[0] != "Z":
            found.append(int(place.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the processes under /proc")
def test_a_killed_process_costs_no_more_than_one_interval_of_saving(tmp_path):
    """The second of two is killed after the first save: torchrun starts both again, and the model is the same."""
    whole = subprocess.run(
        torchrun(2, "-m", "variate", *fit(tmp_path / "whole", "--epochs", "12")), env=ENVIRONMENT, timeout=300
    )
    assert whole.returncode == 0
    out = tmp_path / "killed"
    command = torchrun(2, "-m", "variate", *fit(out, "--epochs", "12"), restarts=1)
    running = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    state = out / "state" / "state.safetensors"
    until = time.monotonic() + 120
    while not state.exists():
        assert running.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    os.kill(workers(running.pid)[-1], signal.SIGKILL)
    _, said = running.communicate(timeout=300)
    assert running.returncode == 0, said
    assert "resumed after step" in said
    expected, found = (load_file(place / "model.safetensors") for place in (tmp_path / "whole", out))
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
