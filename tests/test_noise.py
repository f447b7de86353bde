"""Randomness is a pure function of its key, looks random, and never touches the user's own."""

import json
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers_runs import TINY, data_of, pixels, run
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import variate
from variate import noise

pytestmark = pytest.mark.bits

KEYS = st.tuples(st.integers(0, 2**40), st.text(max_size=8), st.integers(0, 2**40))
PAIRS = [((0, "a"), (1, "a")), ((0, "a"), (0, "b")), ((0, "a", 1), (0, "a", 11)), ((0, 12), (0, 1, 2)), ((1,), ("1",))]


@given(KEYS)
def test_the_same_key_gives_the_same_numbers(key):
    assert torch.equal(noise.normal(*key, shape=(7,)), noise.normal(*key, shape=(7,)))
    assert torch.equal(noise.permutation(*key, n=9), noise.permutation(*key, n=9))


@pytest.mark.parametrize("one,other", PAIRS, ids=str)
def test_different_keys_give_independent_numbers(one, other):
    a, b = (noise.normal(*key, shape=(10_000,)).numpy() for key in (one, other))
    assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(10_000)


@pytest.mark.parametrize("seed", range(3))
def test_normal_noise_is_normal(seed):
    assert stats.kstest(noise.normal(seed, "ks", shape=(20_000,)).numpy(), "norm").pvalue > 1e-3


def test_noise_of_consecutive_steps_is_normal_taken_together():
    """A generator that is seeded anew for each step must not repeat itself across steps."""
    drawn = torch.cat([noise.normal(0, "train", step, shape=(2,)) for step in range(5000)]).numpy()
    assert stats.kstest(drawn, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(drawn[:-2], drawn[2:])[0, 1]) < 4 / np.sqrt(len(drawn))


@given(KEYS, st.integers(1, 60))
def test_a_permutation_holds_every_number_once(key, n):
    assert sorted(noise.permutation(*key, n=n).tolist()) == list(range(n))


def test_permutations_are_uniform():
    """All 6 orders of 3 things come equally often: χ² over 3000 keys."""
    orders = [tuple(noise.permutation(0, "order", epoch, n=3).tolist()) for epoch in range(3000)]
    counts = [orders.count(order) for order in sorted(set(orders))]
    assert len(counts) == 6 and stats.chisquare(counts).pvalue > 1e-3


def rows_noise(rows: np.ndarray, samples: int = 3) -> torch.Tensor:
    return noise.row_normal(0, "p", noise.row_keys(torch.from_numpy(rows)), (samples, 4))


@given(st.permutations(range(12)), st.integers(1, 12))
def test_a_rows_noise_is_its_own_in_any_order_and_batch(order, kept):
    rows = np.random.default_rng(0).integers(0, 256, (12, 3, 3), np.uint8)
    chosen = list(order)[:kept]
    assert torch.equal(rows_noise(rows[chosen]), rows_noise(rows)[:, chosen])


def test_equal_rows_share_their_noise_and_different_rows_do_not():
    rows = np.array([[1, 2, 3], [1, 2, 4], [1, 2, 3]], np.uint8)
    drawn = rows_noise(rows, samples=2000)
    assert torch.equal(drawn[:, 0], drawn[:, 2])
    assert abs(np.corrcoef(drawn[:, 0].ravel(), drawn[:, 1].ravel())[0, 1]) < 4 / np.sqrt(8000)


def test_a_rows_noise_does_not_depend_on_how_the_row_lies_in_memory():
    rows = np.random.default_rng(0).normal(size=(6, 4))
    apart = torch.from_numpy(rows.repeat(2, axis=0))[::2]
    assert noise.row_keys(apart) == noise.row_keys(torch.from_numpy(rows))


def test_row_noise_is_normal_and_rows_are_independent():
    drawn = rows_noise(np.arange(5000).reshape(-1, 1), samples=2).numpy()
    assert stats.kstest(drawn.ravel(), "norm").pvalue > 1e-3
    assert np.abs(np.corrcoef(drawn.transpose(0, 2, 1).reshape(8, -1)) - np.eye(8)).max() < 4.5 / np.sqrt(5000)


@pytest.mark.parametrize("change", [{"seed": 1}, {"purpose": "q"}], ids=str)
def test_row_noise_depends_on_seed_and_purpose(change):
    keys = noise.row_keys(torch.arange(5).unsqueeze(1))
    same = {"seed": 0, "purpose": "p", "keys": keys, "shape": (2, 3)}
    assert not torch.equal(noise.row_normal(**same), noise.row_normal(**same | change))


def test_seeded_code_is_a_function_of_the_key():
    drawn = []
    for _ in range(2):
        torch.rand(5)  # somebody else's
        with noise.seeded(3, "weights"):
            drawn.append(torch.rand(4))
    assert torch.equal(*drawn)


def test_many_threads_see_the_same_row_noise():
    rows = np.random.default_rng(0).integers(0, 256, (50, 9), np.uint8)
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda _: rows_noise(rows), range(8)))
    assert all(torch.equal(d, drawn[0]) for d in drawn)


def global_states() -> list[bytes]:
    return [
        torch.get_rng_state().numpy().tobytes(),
        repr(np.random.get_state()).encode(),
        repr(random.getstate()).encode(),
    ]


CALLS = {
    "Autoencoder": lambda out: variate.Autoencoder(epochs=1, random_state=0).fit(pixels(40)).sample(2),
    "VAE": lambda out: variate.VAE(epochs=1, random_state=0).fit(pixels(40)).score_samples(pixels(5), samples=2),
    "classify": lambda out: variate.classify(run("labelled"), data_of("labelled").subset(20), samples=2),
    "doctor": lambda out: variate.doctor(),
    "embed": lambda out: variate.embed(run("plain"), "digits"),
    "evaluate": lambda out: variate.evaluate(run("conditional"), data_of("conditional"), samples=2, rows=20),
    "fit": lambda out: variate.fit(pixels(40), out=out, overrides=[*TINY, "data.binarize=dynamic"], epochs=1),
    "info": lambda out: variate.info(run("plain")),
    "load": lambda out: variate.load(run("plain").path),
    "reconstruct": lambda out: variate.reconstruct(run("plain"), "digits"),
    "report": lambda out: variate.report(run("plain"), data_of("plain").subset(40), samples=2, rows=10),
    "sample": lambda out: variate.sample(run("conditional"), 5),
    "score": lambda out: variate.score(run("conditional"), data_of("conditional").subset(20), samples=2),
}


LOOK = """
import json, random, sys, tempfile
from pathlib import Path
import numpy as np, torch
from test_noise import CALLS, global_states, run
run("plain"), run("conditional")  # trained before we look
for name, call in CALLS.items():
    torch.manual_seed(5), np.random.seed(6), random.seed(7)
    before = global_states()
    call(Path(tempfile.mkdtemp(dir=sys.argv[1])) / "run")
    print(json.dumps([name, [a == b for a, b in zip(before, global_states(), strict=True)]]))
"""


@pytest.fixture(scope="module")
def untouched(tmp_path_factory) -> dict[str, list[bool]]:
    """Name → whether torch's, NumPy's and Python's states are as before; apart, since beartype itself draws numbers."""
    command = [sys.executable, "-c", LOOK, str(tmp_path_factory.mktemp("calls"))]
    looked = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    assert looked.returncode == 0, looked.stderr
    return dict(json.loads(line) for line in looked.stdout.splitlines())


@pytest.mark.parametrize("name", sorted(set(variate.__all__) - {"UserError"}))
def test_no_public_function_touches_the_users_randomness(untouched, name):
    assert untouched[name] == [True, True, True]


@pytest.mark.parametrize("kind", ["plain", "conditional", "binary", "table"])
def test_a_sample_depends_on_seed_and_place_alone(kind):
    few, many = (variate.sample(run(kind), n, seed=4) for n in (3, 260))
    np.testing.assert_array_equal(few, many[:3])
    assert not np.array_equal(few, variate.sample(run(kind), 3, seed=5))


def test_results_ignore_the_users_seed():
    drawn = []
    for seed in (1, 2):
        torch.manual_seed(seed), np.random.seed(seed), random.seed(seed)
        drawn.append(variate.sample(run("plain"), 4))
    np.testing.assert_array_equal(*drawn)
