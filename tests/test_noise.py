"""Randomness is a pure function of its key, looks random, and never touches the user's own."""

import functools
import json
import random
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers_runs import TINY, bits, data_of, pixels, run
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import variate
from variate import config, noise
from variate.base.errors import UserError
from variate.training.fitting import trainer_for
from variate.training.processes import Processes

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


ONE, WIDE = torch.full((40,), 0.4), torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
TALL = WIDE[0].reshape(3, 8, 8)
RANDOM: dict[str, Callable[[], Tensor]] = {  # by the names of torch's own operations
    "alpha_dropout": lambda: F.alpha_dropout(ONE, 0.5, training=True),
    "bernoulli": lambda: torch.bernoulli(ONE),
    "bernoulli_": lambda: torch.empty(40).bernoulli_(0.3),
    "binomial": lambda: torch.binomial(9 * torch.ones(40), ONE),
    "cauchy_": lambda: torch.empty(40).cauchy_(),
    "dropout": lambda: F.dropout(ONE, 0.5),
    "exponential_": lambda: torch.empty(40).exponential_(),
    "feature_alpha_dropout": lambda: F.feature_alpha_dropout(WIDE, 0.5, training=True),
    "feature_dropout": lambda: F.dropout2d(WIDE, 0.5),
    "geometric_": lambda: torch.empty(40).geometric_(0.2),
    "gru": lambda: nn.GRU(8, 4, 2, dropout=0.5)(TALL)[0].detach(),
    "log_normal_": lambda: torch.empty(40).log_normal_(),
    "lstm": lambda: nn.LSTM(8, 4, 2, dropout=0.5)(TALL)[0].detach(),
    "multinomial": lambda: torch.multinomial(ONE, 9),
    "native_dropout": lambda: torch.native_dropout(ONE, 0.5, True)[0],
    "normal": lambda: torch.cat([torch.normal(ONE, 2.0), torch.normal(0.0, ONE), torch.normal(0.0, 1.0, (3,))]),
    "normal_": lambda: torch.empty(40).normal_(),
    "normal_functional": lambda: torch.ops.aten.normal_functional(ONE),
    "poisson": lambda: torch.poisson(9 * ONE),
    "rand": lambda: torch.rand(40, dtype=torch.float64),
    "rand_like": lambda: torch.rand_like(ONE),
    "randint": lambda: torch.cat([torch.randint(9, (9,)), torch.randint(5, 9, (9,))]),
    "randint_like": lambda: torch.cat([torch.randint_like(ONE, 9), torch.randint_like(ONE, 5, 9)]),
    "randn": lambda: torch.randn(40),
    "randn_like": lambda: torch.randn_like(ONE),
    "random": lambda: torch.ops.aten.random(ONE),
    "random_": lambda: torch.cat([torch.empty(9).random_(), torch.empty(9).random_(9), torch.empty(9).random_(2, 9)]),
    "randperm": lambda: torch.randperm(40),
    "rnn_relu": lambda: nn.RNN(8, 4, 2, nonlinearity="relu", dropout=0.5)(TALL)[0].detach(),
    "rnn_tanh": lambda: nn.RNN(8, 4, 2, dropout=0.5)(TALL)[0].detach(),
    "rrelu": lambda: F.rrelu(-ONE, training=True),
    "rrelu_with_noise": lambda: torch.ops.aten.rrelu_with_noise(-ONE, torch.empty(40), training=True),
    "scaled_dot_product_attention": lambda: F.scaled_dot_product_attention(TALL, TALL, TALL, dropout_p=0.5),
    "rrelu_with_noise_functional": lambda: torch.ops.aten.rrelu_with_noise_functional(-ONE, 0 * ONE, training=True)[0],
    "_sample_dirichlet": lambda: torch._sample_dirichlet(ONE),
    "_standard_gamma": lambda: torch._standard_gamma(ONE),
    "uniform": lambda: torch.ops.aten.uniform(ONE),
    "uniform_": lambda: torch.empty(40).uniform_(),
    # made of those, in ways of their own
    "an attention layer": lambda: nn.MultiheadAttention(8, 2, dropout=0.5)(TALL, TALL, TALL)[0].detach(),
    "a low-rank factorisation": lambda: torch.svd_lowrank(TALL[0], 2)[1],
    "gumbel_softmax": lambda: F.gumbel_softmax(ONE),
    "layers": lambda: torch.cat([nn.Linear(4, 5).weight.detach().ravel(), nn.Conv2d(2, 3, 3).weight.detach().ravel()]),
    "orthogonal_": lambda: nn.init.orthogonal_(torch.empty(6, 6)),
    "out": lambda: torch.rand(40, out=torch.empty(40)),
    "pooling": lambda: F.fractional_max_pool2d(WIDE, 2, output_size=4),
    "trunc_normal_": lambda: nn.init.trunc_normal_(torch.empty(40)),
    "a given generator": lambda: torch.rand(4, generator=torch.Generator().manual_seed(2)),
}


def random_operations() -> set[str]:
    """Which operations are random, by torch's own tags; those of other devices, and the insides of attention, aside."""
    names = [name.removeprefix("aten::") for name in torch._C._dispatch_get_all_op_names() if name.startswith("aten::")]
    found = set()
    for name in names:
        base, _, overload = name.partition(".")
        tags = getattr(getattr(torch.ops.aten, base), overload or "default").tags
        if torch.Tag.nondeterministic_seeded in tags:
            found.add(base)
    elsewhere = re.compile("cudnn|miopen|mps|triton|mem_eff|_attention_|_attention$|_nested_|_fused_")
    return {name for name in found if name == "scaled_dot_product_attention" or not elsewhere.search(name)}


def test_no_random_operation_of_torch_is_forgotten():
    bases = {name.rstrip("_") for name in RANDOM}
    assert sorted(name for name in random_operations() if name.rstrip("_") not in bases) == []


@pytest.mark.parametrize("inferring", [False, True])
@pytest.mark.parametrize("name", RANDOM)
def test_a_seeded_block_draws_what_torch_would_under_that_seed(name, inferring, monkeypatch):
    """To the bit, twice in a row, and without the global generator."""

    def call():
        with torch.inference_mode(inferring):
            return RANDOM[name]().detach().clone()

    torch.manual_seed(noise._hash(4, "block"))
    expected = [call(), call()]
    torch.manual_seed(5)
    before = torch.get_rng_state()
    monkeypatch.setattr(noise, "_lent", None)  # not even borrowed, on a processor
    with noise.seeded(4, "block"):
        found = [call(), call()]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_what_takes_no_generator_borrows_the_global_one():
    """As the fused operations of GPUs have to."""
    torch.manual_seed(5)
    before, mine = torch.get_rng_state(), torch.Generator().manual_seed(6)
    with noise._lent(mine):
        found = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    again = torch.Generator().manual_seed(6)
    assert torch.equal(found, torch.rand(3, generator=again))
    assert torch.equal(torch.rand(3, generator=mine), torch.rand(3, generator=again))  # and its stream has gone on


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("train", [True, False])
def test_dropout_is_torchs_own(p, train):
    x = torch.linspace(-3, 3, 500, requires_grad=True)
    torch.manual_seed(noise._hash("drop"))
    expected = torch.native_dropout(x, p, train)
    with noise.seeded("drop"):
        found = torch.native_dropout(x, p, train)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    slopes = [torch.autograd.grad(out[0].sum(), x)[0] for out in (found, expected)]
    assert torch.equal(*slopes)


def test_a_block_inside_a_block_has_its_own_stream_and_the_outer_goes_on():
    def draw():
        return torch.native_dropout(torch.ones(30), 0.5, True)[0], torch.rand(3)

    with noise.seeded("outer"):
        alone = [*draw(), *draw()]
    with noise.seeded("inner"):
        inner = draw()
    with noise.seeded("outer"):
        first = draw()
        with noise.seeded("inner"):
            nested = draw()
        second = draw()
    assert all(torch.equal(a, b) for a, b in zip((*first, *second, *nested), (*alone, *inner), strict=True))


def test_a_block_ends_where_it_ends():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with pytest.raises(ZeroDivisionError), noise.seeded("block"):
        torch.native_dropout(torch.ones(3), 0.5, True)
        _ = 1 / 0
    assert torch.equal(torch.rand(3), expected)


def test_shapes_without_memory_draw_nothing():
    with noise.seeded("block"):
        assert torch.rand(3, device="meta").device.type == "meta"
        assert nn.Linear(3, 4, device="meta").weight.is_meta


class Recomputed(nn.Module):
    def __init__(self, inputs: int):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(inputs, 4), nn.Dropout(0.5))

    def forward(self, x):
        return checkpoint(self.inner, x, use_reentrant=False)


def test_numbers_that_would_be_drawn_twice_are_refused():
    """A second pass in the backward one would drop others than the first: gradients of nothing that was computed."""
    modules = {"encoder": Recomputed(6), "decoder": nn.Linear(2, 6)}
    with pytest.raises(UserError, match="inside torch.utils.checkpoint"):
        variate.fit(bits(40)[0], modules=modules, epochs=1, overrides=TINY[4:])
    modules["encoder"].inner[1] = nn.SiLU()
    variate.fit(bits(40)[0], modules=modules, epochs=1, overrides=TINY[4:])


def test_networks_that_draw_when_they_are_applied_leave_the_users_generator_alone():
    class Draws(nn.Module):
        def __init__(self, inputs):
            super().__init__()
            self.linear = nn.Linear(inputs, 4)

        def forward(self, x):
            return self.linear(x) + 0.1 * torch.randn(4)

    modules = {"encoder": Draws(6), "decoder": Draws(2)}
    before = torch.get_rng_state()
    made = variate.fit(bits(40)[0], modules=modules, epochs=2, overrides=TINY[4:])
    scores = [variate.score(made, bits(40)[0], samples=3)["log_likelihood_nats"] for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(*scores)


GOOD = {"an int": 3, "NumPy's": np.uint16(3), "an array of one": np.array(3), "negative": -3, "long": 2**127}
BAD = {
    "a float": 1.0,
    "a word": "1",
    "a truth value": True,
    "NumPy's truth value": np.True_,
    "torch's truth value": torch.tensor(True),
    "RandomState": np.random.RandomState(0),
    "a Generator": np.random.default_rng(0),
    "nothing": None,
    "two": (1, 2),
    "a fraction": np.float64(2),
    "too long": 10**6000,
}
SEEDED = {
    "fit": lambda seed: variate.fit(bits(30)[0], seed=seed, epochs=1, overrides=TINY).model,
    "sample": lambda seed: variate.sample(run("plain"), 3, seed=seed),
    "mean": lambda seed: variate.sample(run("plain"), 3, seed=seed, mean=True),
    "score": lambda seed: variate.score(run("bits"), bits(9)[0], samples=2, seed=seed),
    "score of an autoencoder": lambda seed: variate.score(run("autoencoder"), "digits", seed=seed),
    "evaluate": lambda seed: variate.evaluate(run("bits"), *bits(9), samples=2, seed=seed),
    "an estimator's sample": lambda seed: estimator().sample(2, seed=seed),
    "split": lambda seed: data_of("bits").split(seed),
    "subset": lambda seed: data_of("bits").subset(3, seed),
    "the whole subset": lambda seed: data_of("bits").subset(None, seed),
    "order": lambda seed: data_of("bits").order(seed, 0),
    "build": lambda seed: config.build(run("bits").config, run("bits").schema, seed),
    "trainer": lambda seed: trainer_for(run("plain").config, data_of("plain"), seed, Processes(), None),
}


@functools.cache
def estimator() -> variate.VAE:
    return variate.VAE(epochs=1, random_state=0).fit(pixels(20))


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", SEEDED)
def test_a_seed_is_a_whole_number(name, bad):
    with pytest.raises(UserError, match="seed.* (must be a whole number|is too long)"):
        SEEDED[name](BAD[bad])


@pytest.mark.parametrize("good", GOOD)
def test_any_whole_number_is_a_seed(good):
    drawn = variate.sample(run("plain"), 3, seed=GOOD[good])
    np.testing.assert_array_equal(drawn, variate.sample(run("plain"), 3, seed=int(GOOD[good])))
    SEEDED["fit"](GOOD[good])


@pytest.mark.parametrize("bad", ["a truth value", "NumPy's truth value", "a float", "a word"])
def test_random_state_is_scikit_learns_and_no_truth_value(bad):
    with pytest.raises(ValueError, match="random_state|seed"):
        variate.VAE(epochs=1, random_state=BAD[bad]).fit(pixels(20))


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
