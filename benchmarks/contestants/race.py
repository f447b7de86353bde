"""What every contestant shares: it gets ready, says so, and runs once more whenever it is told to.

One process per contestant, all alive at once, only one running: so the repetitions can be interleaved, and a machine
that slows down slows all of them down.

Workloads: "mlp", one epoch of a 784-400-20 VAE on grey values as probabilities of bits; "fit", five of them in one
call, with what else that call does; "conv", one epoch of the default convolutional VAE (``variate/recipes/vae.toml``).
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

BATCH = 128
LEARNING_RATE = 1e-3
EPOCHS = 5  # of a "fit"
SIDE = 28
HIDDEN, LATENT = 400, 20  # of the dense networks

# of the convolutional ones: what the recipe "vae" resolves to for MNIST
LEVELS = 256
ATOMS = (0, 251, 252, 253, 254, 255)
COMPONENTS = 2
PER_VALUE = 3 * COMPONENTS + len(ATOMS)
NARROW, WIDE, DENSE, CONV_LATENT = (16, 32), (48, 24), 256, 32
QUARTER = SIDE // 4
BETA = 2.0
FIRST_MEANS = tuple((k + 1) / (COMPONENTS + 1) for k in range(COMPONENTS))
FIRST_LOG_SCALE = -1.5
LOG_SCALES = 7.0  # within ± of it
BEND = 8.0  # log standard deviations stay within ± of it


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("workload", choices=["mlp", "fit", "conv"])
    parser.add_argument("rows", type=Path, help="an .npz with train and valid: uint8 images of 28 × 28")
    parser.add_argument("precision", choices=["fp32", "bf16"])
    parser.add_argument("threads", type=int)
    return parser.parse_args()


def images(path: Path, part: str) -> np.ndarray:
    with np.load(path) as archive:
        return archive[part]


def serve(run: Callable[[], dict | None], **facts: object) -> None:
    """Run once to warm up; then, for every line on stdin, run and print how many seconds it took.

    What ``run`` gives is printed too; "seconds" among it are those of a run that has measured itself.
    """
    run()
    print(json.dumps({"ready": True} | facts), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        found = run() or {}
        print(json.dumps({"seconds": time.perf_counter() - start} | found), flush=True)
