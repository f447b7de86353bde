"""How many threads train, and how they wait: the choice is the model's, and what is set is put back."""

import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers_runs import TINY, pixels, table

from variate.apps.doctor import _how_threads_wait
from variate.base import threads, waiting
from variate.data.load import load
from variate.training.fitting import Asked, trainer_for
from variate.training.processes import Processes
from variate.training.trainer import Trainer

SEEN = """
import time
import torch
from variate.base import waiting
from variate.apps.doctor import _how_threads_wait
torch.set_num_threads(2)
crowd = [False]
waiting.EVERY, waiting._is_crowded = 0.1, lambda others: crowd[0]
with waiting.considerate():
    for crowd[0] in (False, True, False):
        wanted = "asleep" if crowd[0] else "busily"
        for _ in range(30):  # another program may have the processor that a thread would be seen to use
            time.sleep(0.6)
            seen = _how_threads_wait()
            if seen == wanted:
                break
        print(seen)
"""


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def trainer(values: np.ndarray, *settings: str) -> Trainer:
    rows = load(values)
    asked = Asked(overrides=("train.epochs=1", "train.least_steps=0", *settings))
    return trainer_for(asked.settings(rows.split(0)[0], None), rows, 0, Processes(), None)


@pytest.mark.parametrize(
    "values, settings, expected",
    [(table(60), (), 1), (table(60), ("encoder.hidden=[3000,3000]",), 2), (pixels(40), (), 2)],
    ids=["small", "wide", "convolutions"],
)
def test_small_dense_networks_take_one_thread_and_others_all_there_are(
    two_threads, monkeypatch, values, settings, expected
):
    """While an epoch's steps are made, and while a stream is learned; afterwards the user's number is back."""
    seen, plain = [], Trainer._one_step
    monkeypatch.setattr(Trainer, "_one_step", lambda self, i: (seen.append(torch.get_num_threads()), plain(self, i))[1])
    learner = trainer(values, *settings)
    for _ in learner.epochs():
        assert torch.get_num_threads() == 2
    learner.learn_from(learner.train_data)
    assert set(seen) == {expected} and torch.get_num_threads() == 2


def test_the_choice_is_the_models_and_the_batchs():
    dense = [torch.zeros(1000, 1000), torch.zeros(1000)]
    assert [threads.worth(dense, rows) for rows in (1, 7, 9, 1000)] == [1, 1, math.inf, math.inf]
    shared = ("train.batch_size=500",)
    assert trainer(table(600), *shared).most_threads == math.inf
    assert trainer(table(600), *shared, "train.accumulate=4").most_threads == 1
    assert trainer(table(600), *shared, "objective.samples=20", "train.accumulate=4").most_threads == math.inf
    assert trainer(table(60), *TINY).most_threads == 1


def test_no_more_threads_than_there_were_and_as_many_afterwards(two_threads):
    with threads.at_most(7):
        assert torch.get_num_threads() == 2
    with pytest.raises(RuntimeError, match="inside"), threads.at_most(1):
        raise RuntimeError(f"inside: {torch.get_num_threads()}")
    assert torch.get_num_threads() == 2


# ---------------------------------------------------------------------------------------------------- how they wait


def watches() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("variate")]


def eventually(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + 10
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)
    return holds()


@pytest.fixture
def untold(monkeypatch):
    """An environment that says nothing, and no watch of the test before."""
    for name in waiting.TOLD:
        monkeypatch.delenv(name, raising=False)
    assert eventually(lambda: not watches())


def test_others_and_ours_beyond_the_processors_are_a_crowd(two_threads, monkeypatch):
    monkeypatch.setattr(waiting, "_processors", lambda: 4)
    assert [waiting._is_crowded(others) for others in (0.0, 2.0, 2.2, 2.4, 8.0)] == [False, False, False, True, True]
    torch.set_num_threads(1)
    assert not waiting._is_crowded(64.0), "one thread waits for no other"


def test_what_others_use_is_what_they_use(untold):
    """A loop in another process, and as much in this one, which is none of others."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as loop:
        try:
            clock, used, own = waiting._times()
            end, spent = time.monotonic() + 0.5, time.process_time()
            while time.monotonic() < end:
                pass
            took, work, mine = (b - a for a, b in zip((clock, used, own), waiting._times(), strict=True))
            ours = float(Path(f"/proc/{loop.pid}/stat").read_text().split()[13]) / os.sysconf("SC_CLK_TCK")
        finally:
            loop.kill()
    assert mine == pytest.approx(time.process_time() - spent, abs=0.1)
    assert work - mine > 0.5 * min(ours, took) > 0 and work <= took * os.cpu_count() + 0.1


def test_extra_threads_are_there_while_it_is_crowded(untold, two_threads, monkeypatch):
    """Blocks within blocks, and after an error, are one: nothing is left when the last has ended."""
    others = [9.0]
    monkeypatch.setattr(waiting, "EVERY", 0.01)
    monkeypatch.setattr(waiting, "_is_crowded", lambda _: others[0] > 1)
    with pytest.raises(RuntimeError), waiting.considerate():
        with waiting.considerate():
            assert eventually(lambda: "variate-asleep" in watches())
        assert watches().count("variate-watch") == 1
        others[0] = 0.0
        assert eventually(lambda: "variate-asleep" not in watches())
        others[0] = 9.0
        assert eventually(lambda: "variate-asleep" in watches())
        raise RuntimeError
    assert eventually(lambda: not watches())
    assert torch.get_num_threads() == 2


def test_threads_are_made_anew_after_a_step_of_one_thread(untold, two_threads, monkeypatch):
    """Made while one thread works they would share nothing, and be too few for what comes after it."""
    monkeypatch.setattr(waiting, "EVERY", 0.01)
    monkeypatch.setattr(waiting, "SHARE", -math.inf)
    monkeypatch.setattr(waiting, "_processors", lambda: 2)
    with waiting.considerate():
        with threads.at_most(1):
            time.sleep(0.1)
            assert "variate-asleep" not in watches()
        assert eventually(lambda: "variate-asleep" in watches())
        with threads.at_most(1):
            assert eventually(lambda: "variate-asleep" not in watches())


@pytest.mark.parametrize("name", waiting.TOLD)
def test_who_says_how_threads_wait_is_obeyed(untold, monkeypatch, name):
    monkeypatch.setenv(name, "ACTIVE" if name == "OMP_WAIT_POLICY" else "1000")
    with waiting.considerate():
        assert not waiting.adapts() and not watches()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two threads on one processor never wait busily")
def test_threads_wait_busily_when_alone_and_asleep_beside_others():
    """As is seen of threads that have shared a product: how long they use the processor afterwards."""
    environment = {name: value for name, value in os.environ.items() if name not in waiting.TOLD}
    done = subprocess.run([sys.executable, "-c", SEEN], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["busily", "asleep", "busily"]


def test_one_thread_waits_for_no_other():
    assert torch.get_num_threads() == 1 and _how_threads_wait() is None


LEFT = """
import itertools, time
import torch
from variate.base import waiting
torch.set_num_threads(2)
waiting.EVERY = 0.001
turn = itertools.count()
waiting._is_crowded = lambda others: next(turn) % 2 == 0  # threads are made and ended all the time
block = waiting.considerate()
block.__enter__()
time.sleep(0.3)
"""


def test_the_interpreters_end_finds_no_thread_at_work():
    """A block that nobody has left, as of a loop that is kept; else torch's code is torn down under a thread in it."""
    environment = {name: value for name, value in os.environ.items() if name not in waiting.TOLD}
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", LEFT], env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
