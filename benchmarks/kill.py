"""Kill training with SIGKILL, resume it, and compare the model file with an uninterrupted run's, byte by byte.

    python benchmarks/kill.py

Three kinds of instants: any time; inside a save (after the file is written, before and after it is renamed); and during
a resume. Networks: dense and convolutional, with and without averaged weights. Prints one JSON line per kill, and at
the end how many resumed runs were identical.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

NETWORKS = {
    "mlp": "encoder.name=mlp decoder.name=mlp encoder.hidden=[64] decoder.hidden=[64]",
    "conv": "encoder.channels=[4,8] decoder.channels=[8,4] encoder.hidden=32 decoder.hidden=32",
}
AVERAGES = {"with": "train.ema=0.99", "without": "train.ema=0"}
POINTS = ("written", "before rename", "after rename")
CHILD = """
import os, signal, sys
from variate import cli
point, number = sys.argv[1], int(sys.argv[2])
calls = {"n": 0}
def killing(plain, before):
    def call(*arguments):
        calls["n"] += 1
        if calls["n"] == number and before:
            os.kill(os.getpid(), signal.SIGKILL)
        result = plain(*arguments)
        if calls["n"] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call
if point == "written":
    os.fsync = killing(os.fsync, False)
elif point:
    os.replace = killing(os.replace, point == "before rename")
cli.main(sys.argv[3:])
"""


def command(folder: Path, network: str, average: str, epochs: int, *more: str) -> list[str]:
    settings = [*NETWORKS[network].split(), AVERAGES[average], "train.least_steps=0", "train.batch_size=20"]
    fit = ["fit", "digits", "--recipe", "vae", "--epochs", str(epochs), "--out", str(folder), "--no-report"]
    return [*fit, "--save-every", "0.05", *(word for said in settings for word in ("--set", said)), *more]


def run(arguments: list[str], point: str = "", number: int = 0, seconds: float | None = None) -> int:
    """The exit status of a fit that kills itself at the number-th such point, or is killed after so many seconds."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    child = [sys.executable, "-c", CHILD, point, str(number), *arguments]
    with subprocess.Popen(child, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        return process.returncode


def resuming(place: Path) -> list[str]:
    return ["--resume"] * (place / "state" / "state.safetensors").is_file()


def killed(
    place: Path, kind: tuple[str, str], epochs: int, seconds: float, times: int, dice: random.Random
) -> list[str]:
    """When a fit was killed, so many times one after the other; begun anew where it ended before its time had come."""
    while True:
        at, every = [], []
        for _ in range(times):
            point, after = dice.choice(POINTS) if dice.random() < 0.5 else "", dice.uniform(0.3, 0.95) * seconds
            arguments = command(place, *kind, epochs, *resuming(place))
            every.append(run(arguments, point, dice.randrange(1, 30), None if point else after))
            at.append(point or f"{after:.1f} s")
        if all(status == -signal.SIGKILL for status in every):
            return at
        shutil.rmtree(place)


def kills(folder: Path, n: int, epochs: int, seed: int) -> Iterator[dict]:
    dice = random.Random(seed)
    whole: dict[tuple[str, str], tuple[bytes, float]] = {}
    for number in range(n):
        kind = (("mlp", "conv")[number % 2], ("with", "without")[number // 2 % 2])
        if kind not in whole:
            started, place = time.monotonic(), folder / "-".join(kind)
            assert run(command(place, *kind, epochs)) == 0
            whole[kind] = (place / "model.safetensors").read_bytes(), time.monotonic() - started
        expected, seconds = whole[kind]
        place = folder / str(number)
        at = killed(place, kind, epochs, seconds, 1 + (number % 5 == 4), dice)  # every fifth again, while it resumes
        resume = resuming(place)
        status = run(command(place, *kind, epochs, *resume))
        found = (place / "model.safetensors").read_bytes() if status == 0 else b""
        yield {
            "network": kind[0],
            "average": kind[1],
            "killed": at,
            "resumed": bool(resume),
            "identical": found == expected,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    told = []
    with tempfile.TemporaryDirectory() as folder:
        for one in kills(Path(folder), asked.kills, asked.epochs, asked.seed):
            told.append(one)
            print(json.dumps(one), flush=True)
    inside = sum(any(at in POINTS for at in one["killed"]) for one in told)
    identical = sum(one["identical"] for one in told)
    print(json.dumps({"kills": len(told), "inside_a_save": inside, "identical": identical}))


if __name__ == "__main__":
    main()
