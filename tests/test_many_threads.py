"""Threads: what one of them computes is what it would alone, and the process is as it was when all are done."""

import itertools
import random
import sys
import threading
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from helpers_runs import TINY, pixels, run, table
from PIL import Image
from test_precision import settings
from torch import nn

import variate
from variate.base import console, precision, progress
from variate.base.hushed import hushed
from variate.base.shared import Shared
from variate.training import memory

LONG = 30  # seconds that nothing here takes, unless it hangs
BRIEF = [*TINY, "train.epochs=2"]


@pytest.fixture(autouse=True)
def restless():
    """Threads change places as often as Python lets them, so that what can go wrong between two lines does."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def together(*calls) -> list:
    """What the calls give, each in a thread of its own, begun at the same instant."""
    ready = threading.Barrier(len(calls))

    def begun(call):
        ready.wait(LONG)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [each.result(LONG) for each in [pool.submit(begun, call) for call in calls]]


# --- settings of the process


class Place:
    """A setting that notices when somebody else's value is there."""

    def __init__(self):
        self.value, self.history = "as it was", []
        self.shared = Shared(self.put)

    def put(self, value):
        before, self.value = self.value, value
        self.history.append(value)
        return lambda: setattr(self, "value", before)


def test_equal_wishes_share_a_setting_and_others_wait():
    place, inside, leave = Place(), threading.Barrier(3), threading.Event()
    entered = []

    def hold():
        with place.shared.set_to("a"):
            inside.wait(LONG)
            leave.wait(LONG)

    def want():
        with place.shared.set_to("b"):
            entered.append(place.value)

    holders = [threading.Thread(target=hold, daemon=True) for _ in range(2)]
    other = threading.Thread(target=want, daemon=True)
    for thread in holders:
        thread.start()
    inside.wait(LONG)  # both are in at once
    other.start()
    other.join(0.2)
    assert other.is_alive() and entered == [] and place.value == "a"
    leave.set()
    other.join(LONG)
    assert entered == ["b"] and place.history == ["a", "b"] and place.value == "as it was"


def test_who_waits_is_not_overtaken_for_ever():
    """Two threads that hand a value to each other without a gap do not keep a third one out."""
    place, over = Place(), threading.Event()

    def again_and_again():
        while not over.is_set():
            with place.shared.set_to("a"):
                time.sleep(1e-3)

    chain = [threading.Thread(target=again_and_again, daemon=True) for _ in range(3)]
    for thread in chain:
        thread.start()
    started = time.monotonic()
    with place.shared.set_to("b"):
        took = time.monotonic() - started
    over.set()
    assert took < LONG / 3


@pytest.mark.parametrize("seed", range(3))
def test_nested_blocks_of_many_threads_neither_mix_nor_hang(seed):
    """Brute force: whatever is nested in whatever, the value is one's own inside a block and in the end the old one."""
    place = Place()

    def nest(dice, depth):
        value = dice.choice("abc")
        with place.shared.set_to(value):
            for _ in range(dice.randrange(3)):
                seen.append(place.value == value)
                time.sleep(dice.random() * 1e-4)
                if depth < 3:
                    nest(dice, depth + 1)
                seen.append(place.value == value)

    seen, threads = [], []
    for number in range(5):
        dice = random.Random(seed * 10 + number)
        threads.append(threading.Thread(target=lambda d=dice: [nest(d, 0) for _ in range(25)], daemon=True))
        threads[-1].start()
    for thread in threads:
        thread.join(LONG)
    assert not any(thread.is_alive() for thread in threads)
    assert len(seen) > 500 and all(seen) and place.value == "as it was"


def test_a_block_that_fails_or_is_interrupted_leaves_nothing():
    place = Place()
    with pytest.raises(ZeroDivisionError), place.shared.set_to("a"), place.shared.set_to("b"):
        _ = 1 / 0
    assert place.value == "as it was"

    def refuses(value):
        raise OSError

    broken = Shared(refuses)
    for _ in range(2):  # the second does not wait for the first
        with pytest.raises(OSError), broken.set_to("a"):
            pass


def test_precision_is_ones_own_and_comes_back(monkeypatch):
    """As after six threaded fits: blocks that overlap without being nested, exact and fast ones."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    before, expected = settings(), {"auto": "bf16", "highest": "ieee"}

    def ask(name):
        for _ in range(20):
            with precision.products(name):
                time.sleep(1e-4)
                assert settings()["mkldnn.matmul"] == expected[name]

    together(*[lambda name=name: ask(name) for name in ["auto", "highest"] * 3])
    assert settings() == before


def test_a_callback_may_ask_for_exact_products_inside_fast_ones(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})

    def nest():
        with precision.products("auto"):
            with precision.products("highest"):
                inner = settings()["mkldnn.matmul"]
            return inner, settings()["mkldnn.matmul"]

    assert together(nest, nest, nest) == [("ieee", "bf16")] * 3


def test_how_many_threads_share_a_product_is_ones_own_and_comes_back():
    """Small models take one of torch's threads, larger ones all, at the same time: sums depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:

        def ask(most):
            seen = []
            for _ in range(20):
                with precision.products("highest", most):
                    seen.append(torch.get_num_threads())
                    if most == 1:  # as in a callback
                        with precision.products("highest"):
                            seen.append(torch.get_num_threads() - 2)
                        seen.append(torch.get_num_threads())
            return set(seen), torch.get_num_threads()

        found = together(*[lambda most=most: ask(most) for most in (1, float("inf"), 2) * 2])
        assert found == [({1}, 3), ({3}, 3), ({2}, 3)] * 2
        assert together(torch.get_num_threads) == [3] and torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_memory_is_kept_until_the_last_one_leaves(monkeypatch):
    calls = []

    class Library:
        def mallopt(self, *what):
            calls.append(what)
            return 1

        def malloc_trim(self, pad):
            calls.append("trim")

    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: Library())
    first, second = memory.kept(), memory.kept()
    first.__enter__()
    second.__enter__()  # as in two threads: begun in turn, ended in turn
    first.__exit__(None, None, None)
    assert "trim" not in calls
    second.__exit__(None, None, None)
    assert calls.count("trim") == 1


def test_a_training_given_up_in_another_thread_gives_memory_back(monkeypatch):
    """A generator may be closed by the thread that collects garbage."""
    place = Place()
    block = place.shared.set_to("a")
    block.__enter__()
    together(lambda: block.__exit__(None, None, None))
    assert place.value == "as it was"
    with place.shared.set_to("b"):
        assert place.value == "b"


def test_warnings_are_shown_as_before_when_all_threads_are_done(tmp_path):
    """Pillow's are hidden while images are read; a thread that ends last must not leave the others' filters."""
    for number in range(3):
        Image.new("L", (6, 4), number).save(tmp_path / f"{number}.png")
    before = list(warnings.filters)
    from variate.data.sources.images import images

    together(*[lambda: [images(tmp_path) for _ in range(10)]] * 4)
    assert warnings.filters == before
    with hushed(), pytest.warns(UserWarning, match="of the user"):
        warnings.warn("of the user's own", stacklevel=1)


# --- what is said


def test_one_thread_does_not_hush_another(capsys):
    said, inside = threading.Event(), threading.Event()

    def hush():
        with console.silent():
            console.say("nobody reads this")
            inside.set()
            said.wait(LONG)

    def speak():
        inside.wait(LONG)
        console.say("heard")
        said.set()

    together(hush, speak)
    console.say("and afterwards")
    assert capsys.readouterr().err == "heard\nand afterwards\n"


def test_one_bar_at_a_time(monkeypatch):
    """rich refuses a second live display, and nobody could read two."""
    shown, most = Counter(), []

    class View:
        interval = 0.0

        def __init__(self, *_):
            shown["now"] += 1
            most.append(shown["now"])

        def show(self, *_):
            time.sleep(1e-5)

        def close(self, *_):
            shown["now"] -= 1

    monkeypatch.setattr(progress, "_view", View)

    def work():
        for _ in range(100):
            with progress.Progress("Working", 2) as bar:
                bar.advance()

    together(*[work] * 4)
    assert max(most) == 1 and progress._silenced == 0


# --- what is computed


def test_a_sample_is_the_same_in_any_thread():
    """As the first report of it had it, in small: no sample of several threads was what one thread gives."""
    made = run("conditional")
    alone = variate.sample(made, 600, seed=1)
    torch.manual_seed(8)
    before = torch.get_rng_state()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: variate.sample(made, 600, seed=1), range(12)))
    assert all(np.array_equal(each, alone) for each in found)
    assert torch.equal(torch.get_rng_state(), before)


class Noisy(nn.Module):
    """Draws in its own ways, some of which know no generator."""

    def __init__(self, inputs):
        super().__init__()
        self.linear, self.lstm = nn.Linear(inputs, 6), nn.LSTM(6, 6, 2, dropout=0.4)

    def forward(self, x):
        h = self.lstm(nn.functional.dropout(self.linear(x), 0.2).unsqueeze(0))[0][0]
        return torch.native_dropout(h, 0.1, True)[0] + 0.1 * torch.randn_like(h)


@pytest.mark.parametrize("kind", ["own", "wide"])
def test_a_fit_is_the_same_in_any_thread(kind):
    torch.manual_seed(0)
    own = {"modules": {"encoder": Noisy(5), "decoder": Noisy(2)}, "overrides": BRIEF[4:]}
    wide = {"overrides": [*BRIEF[4:], "encoder.hidden=[300,300]", "decoder.hidden=[300,300]"]}

    def fit(seed):
        model = variate.fit(table(60), seed=seed, **{"own": own, "wide": wide}[kind]).model
        return [value.numpy().tobytes() for value in model.state_dict().values()]

    alone = [fit(seed) for seed in range(6)]
    before = torch.get_rng_state(), settings()
    found = together(*[lambda seed=seed: fit(seed) for seed in range(6)])
    assert [a == b for a, b in zip(found, alone, strict=True)] == [True] * 6
    assert torch.equal(torch.get_rng_state(), before[0]) and settings() == before[1]


def test_the_users_own_draws_meanwhile_are_those_of_his_seed():
    """His thread trains something with dropout while variate fits and samples in others."""
    over = threading.Event()

    def bystander():
        drawn = []
        while not over.is_set():
            drawn.append(torch.rand(()).item())
            time.sleep(1e-4)
        return drawn

    def busy():
        try:
            for seed in range(3):
                variate.sample(run("plain"), 300, seed=seed)
                variate.fit(pixels(30), seed=seed, overrides=[*TINY, "train.epochs=1"])
        finally:
            over.set()

    run("plain")
    torch.manual_seed(3)
    drawn, _ = together(bystander, busy)
    generator = torch.Generator().manual_seed(3)
    assert drawn == [torch.rand((), generator=generator).item() for _ in drawn] and len(drawn) > 20


def test_settings_of_one_thread_stay_there():
    """no_grad, inference_mode and a default device belong to a thread: each gets the same bytes under his own."""
    made = run("plain")
    contexts = [torch.no_grad, torch.inference_mode, lambda: torch.device("meta"), torch.enable_grad]

    def under(context):
        with context():
            return variate.sample(made, 40, seed=2).tobytes(), torch.is_grad_enabled(), torch.get_default_device()

    found = together(*[lambda context=context: under(context) for context in contexts])
    assert len({drawn for drawn, _, _ in found}) == 1
    assert [grad for _, grad, _ in found] == [False, False, True, True]
    assert [device.type for _, _, device in found] == ["cpu", "cpu", "meta", "cpu"]


def test_two_orders_of_threads_give_one_result():
    """Scores and fits that want other products alternate; who comes first does not show in a bit."""
    made, rows = run("plain"), pixels(30)

    def score():
        return variate.sample(made, 30, seed=1).tobytes()

    def fit():
        model = variate.fit(rows, overrides=[*TINY, "train.epochs=1"]).model
        return b"".join(value.numpy().tobytes() for value in model.state_dict().values())

    alone = score(), fit()
    for order in itertools.permutations([0, 1, 0]):
        assert together(*[(score, fit)[which] for which in order]) == [alone[which] for which in order]
