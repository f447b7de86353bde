"""Calls of ``sample``, ``score`` and ``fit`` mixed in a pool of threads, and each again in one thread alone.

    python benchmarks/threads.py

Fits are of dense, convolutional and one's own networks (with dropout), in float32 and in the machine's fast products;
another thread, the user's, draws from torch's global generator all the while. Prints how many calls gave other bytes
than one thread's, whether the user's numbers were those of his seed, and which of his settings had changed.
"""

import argparse
import hashlib
import json
import random
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import nn

import variate
from variate.data.load import load
from variate.results.checkpoint import Run

BRIEF = ["train.epochs=1", "train.least_steps=0", "latent.size=2"]
DENSE = ["encoder.hidden=[16]", "decoder.hidden=[16]"]
CONV = ["encoder.channels=[4,4]", "decoder.channels=[4,4]", "encoder.hidden=16", "decoder.hidden=16"]
SEED = 5  # of the user's own generator


def digest(*arrays: np.ndarray) -> str:
    return hashlib.blake2b(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays), digest_size=8).hexdigest()


def weights(run: Run) -> str:
    return digest(*(value.numpy() for value in run.model.state_dict().values()))


def calls() -> dict[str, Callable[[int], str]]:
    """Name → what is called with a seed, and gives a digest of its result."""
    table = np.random.default_rng(0).normal(size=(300, 5))
    digits = load("digits").subset(300)
    dense = variate.VAE(epochs=2, random_state=0, overrides=[*DENSE, "latent.size=2"]).fit(table)
    conv = variate.fit(digits, recipe="vae", overrides=[*BRIEF, *CONV])

    def own(seed: int) -> str:
        dense = [nn.Linear(size, 8, device="meta").to_empty(device="cpu") for size in (5, 2)]  # draws nothing
        part = [nn.Sequential(layer, nn.Dropout(0.3), nn.SiLU()) for layer in dense]
        with torch.no_grad():
            for number, weight in enumerate(p for each in part for p in each.parameters()):
                weight.copy_(torch.linspace(-1, 1, weight.numel()).roll(number).view_as(weight))
        modules = dict(zip(("encoder", "decoder"), part, strict=True))
        return weights(variate.fit(table, seed=seed, modules=modules, overrides=BRIEF))

    exact = [*BRIEF, *DENSE, "train.precision=highest"]
    return {
        "sample": lambda seed: digest(variate.sample(conv, 300, seed=seed)),
        "sample of an estimator": lambda seed: digest(dense.sample(300, seed=seed)),
        "score": lambda seed: digest(*variate.score(conv, digits.subset(60), samples=4, seed=seed).values()),
        "score of an estimator": lambda seed: digest(dense.score_samples(table[seed : seed + 50], samples=4)),
        "fit": lambda seed: weights(variate.fit(digits, seed=seed, recipe="vae", overrides=[*BRIEF, *CONV])),
        "fit, exact products": lambda seed: weights(variate.fit(table, seed=seed, overrides=exact)),
        "fit, own networks": own,
        "fit of an estimator": lambda seed: digest(
            variate.Autoencoder(epochs=1, random_state=seed, overrides=DENSE).fit_transform(table)
        ),
    }


def settings() -> dict[str, object]:
    backends = torch.backends
    places = (backends.mkldnn.matmul, backends.mkldnn.conv, backends.cuda.matmul, backends.cudnn.conv)
    return {
        "generator": torch.get_rng_state().tolist(),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "precision": [place.fp32_precision for place in places],
        "threads": torch.get_num_threads(),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "warnings": list(warnings.filters),
    }


class Bystander(threading.Thread):
    """A thread of the user's that draws from the global generator until it is told to stop."""

    def __init__(self):
        super().__init__(daemon=True)
        self.over, self.drawn = threading.Event(), list[float]()

    def run(self) -> None:
        while not self.over.wait(1e-3):
            self.drawn.append(torch.rand(()).item())

    def saw_his_own(self) -> bool:
        self.over.set()
        self.join()
        generator = torch.Generator().manual_seed(SEED)
        return self.drawn == [torch.rand((), generator=generator).item() for _ in self.drawn]


def raced(n: int, threads: int, seeds: int) -> dict:
    known, dice = calls(), random.Random(0)
    asked = [(dice.choice(list(known)), dice.randrange(seeds)) for _ in range(n)]
    alone = {one: known[one[0]](one[1]) for one in sorted(set(asked))}
    torch.manual_seed(SEED)
    before = settings()
    bystander = Bystander()
    bystander.start()
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(lambda one: known[one[0]](one[1]), asked))
    saw_his_own, drawn = bystander.saw_his_own(), len(bystander.drawn)
    after = settings()
    torch.manual_seed(SEED)
    for _ in range(drawn):
        torch.rand(())
    before["generator"] = torch.get_rng_state().tolist()
    return {
        "calls": n,
        "different": sum(alone[one] != each for one, each in zip(asked, found, strict=True)),
        "drawn_by_the_user": drawn,
        "users_numbers_are_of_his_seed": saw_his_own,
        "changed_settings": [name for name, value in before.items() if after[name] != value],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=12)
    asked = parser.parse_args()
    print(json.dumps(raced(asked.calls, asked.threads, asked.seeds)))


if __name__ == "__main__":
    main()
