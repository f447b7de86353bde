"""Children forked after, or while, their parent worked: they work too, and give what he gives."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
LONG = 60  # seconds: a child that waits for threads it does not have waits for ever

BEGIN = """
import multiprocessing, sys, threading, warnings
from pathlib import Path
import numpy as np
import torch
import variate
from helpers_runs import TINY, pixels, table
from test_precision import settings

pool = multiprocessing.get_context("fork").Pool
"""


def forked(script: str, folder: Path, threads: int = 2) -> list[str]:
    """What the script printed, run in a process of its own that may use so many threads, warnings being errors."""
    strict = ["-W", "error"] if sys.version_info < (3, 12) else []  # later ones warn of any fork beside threads
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    place = Path(__file__).parent
    with subprocess.Popen(
        [sys.executable, *strict, "-c", BEGIN + textwrap.dedent(script), str(folder)],
        **{"cwd": place, "env": environment, "text": True, "start_new_session": True},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            out, err = process.communicate(timeout=LONG)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)  # its children wait as well
            pytest.fail(f"it hangs, after {process.communicate()[0]!r}")
    assert process.returncode == 0, err
    return out.splitlines()


def test_images_are_decoded_in_children_too(tmp_path):
    script = """
    from PIL import Image
    from variate.data import shards
    from variate.data.sources.images import images

    shards.IN_MEMORY_BYTES = 0  # so that a batch decodes its images when it asks for them
    for number, row in enumerate(pixels(24)):
        Image.fromarray(row).save(f"{sys.argv[1]}/{number:02}.png")
    values = images(sys.argv[1]).values

    def read(first):
        return values[slice(first, first + 4)].numpy()

    alone = [read(first) for first in range(0, 24, 4)]
    with pool(2) as children:
        again = children.map(read, range(0, 24, 4))
    print(np.array_equal(alone, pixels(24).reshape(6, 4, 8, 8)), np.array_equal(again, alone))
    """
    assert forked(script, tmp_path, threads=1) == ["True True"]


def test_a_model_is_applied_and_learned_in_children_too(tmp_path):
    """With as many threads as there are processors, which OpenMP does not give a child."""
    script = """
    wide = ["encoder.hidden=[300]", "decoder.hidden=[300]", *TINY[4:], "train.epochs=2"]
    rows = np.random.default_rng(0).normal(size=(600, 40))
    made = variate.fit(rows, overrides=wide)

    def ask(verb):
        if verb == "fit":
            return [value.numpy().tobytes() for value in variate.fit(rows, overrides=wide).model.state_dict().values()]
        if verb == "sample":
            return variate.sample(made, 500, seed=1).tobytes()
        return variate.score(made, rows, samples=5)["log_likelihood_nats"].tobytes()

    verbs = ["sample", "score", "fit"]
    for threads in (2, 1):  # the numbers of threads differ in the last bits
        torch.set_num_threads(threads)
        alone = [ask(verb) for verb in verbs]
    torch.set_num_threads(2)
    with pool(2) as children:
        again = children.map(ask, verbs)
    print([a == b for a, b in zip(alone, again)], torch.get_num_threads())
    """
    assert forked(script, tmp_path) == ["[True, True, True] 2"]


def test_a_prior_is_fitted_in_children_too(tmp_path):
    """scikit-learn has OpenMP threads of its own."""
    script = """
    def ask(seed):
        model = variate.fit(table(100), recipe="autoencoder", seed=seed, overrides=[*TINY, "train.epochs=1"]).model
        return [value.numpy().tobytes() for value in model.state_dict().values()]

    alone = [ask(0), ask(1)]
    with pool(2) as children:
        print(children.map(ask, [0, 1]) == alone)
    """
    assert forked(script, tmp_path) == ["True"]


def test_a_child_of_a_process_that_is_learning_in_another_thread(tmp_path):
    """Whatever lock the other thread held at that instant is free, and what it had set is as it was before."""
    script = """
    import os, time
    torch.cpu.get_capabilities = lambda: {"avx512_bf16": True}  # so that fits set something
    made = variate.fit(pixels(30), overrides=[*TINY, "train.epochs=1"])
    alone, before, filters = variate.sample(made, 30, seed=1).tobytes(), settings(), list(warnings.filters)
    over, errors = threading.Event(), []

    class Drops(torch.nn.Module):  # borrows torch's global generator
        def __init__(self, inputs):
            super().__init__()
            self.linear = torch.nn.Linear(inputs, 4)

        def forward(self, x):
            return torch.native_dropout(self.linear(x), 0.5, True)[0]

    def learn():
        while not over.is_set():
            own = {"modules": {"encoder": Drops(5), "decoder": Drops(2)}, "overrides": [*TINY[4:], "train.epochs=3"]}
            variate.fit(table(60), **own)
            variate.fit(pixels(30), overrides=[*TINY, "train.epochs=3"])

    others = [threading.Thread(target=learn, daemon=True) for _ in range(2)]
    for other in others:
        other.start()
    good = 0
    for _ in range(15):
        time.sleep(0.01)
        child = os.fork()
        if child == 0:
            fine = settings() == before and variate.sample(made, 30, seed=1).tobytes() == alone
            own = {"modules": {"encoder": Drops(5), "decoder": Drops(2)}, "overrides": [*TINY[4:], "train.epochs=1"]}
            variate.fit(table(20), **own)
            os._exit(0 if fine and settings() == before and warnings.filters == filters else 1)
        good += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    over.set()
    for other in others:
        other.join()
    print(good, settings() == before)
    """
    assert forked(script, tmp_path, threads=1) == ["15 True"]


def test_a_child_forked_in_the_middle_of_training(tmp_path):
    """As the workers of a data set of one's own are: it inherits its own thread's part in what is set, no other's."""
    script = """
    import os
    from variate.base.precision import products
    torch.cpu.get_capabilities = lambda: {"avx512_bf16": True}
    before = settings()
    with products("auto"):
        inside = settings()
        child = os.fork()
        still = settings() == inside
        with products("highest"):
            other = settings()["mkldnn.matmul"] == "ieee"
        still = still and settings() == inside
    fine = still and other and settings() == before
    if child == 0:
        os._exit(0 if fine else 1)
    print(fine, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    assert forked(script, tmp_path, threads=1) == ["True 0"]
