"""How fast variate trains on this machine's processor, beside others and beside the floor, in one run.

    python benchmarks/speed.py

Raced, interleaved, on MNIST in batches of 128, everybody with the same architecture: a plain eager PyTorch loop with a
``DataLoader``; pythae's own trainer; JAX, jitted (an epoch of dense networks as one scan, convolutional ones step by
step), with fp32 and with bf16 products; and the floor, which is the matrix products and convolutions of forward and
backward alone, each by the fastest library. Beside them: the command line, its start, its memory, and the seconds to a
given test ELBO. Ours is always one configuration: a recipe as it comes, with grey values as probabilities of bits
where networks are dense. The peers get a virtual environment of their own. One JSON line per figure, a table at the
end, and all of it in benchmarks/RESULTS.md.

What is not in a time: imports, reading the data, making the networks, and compilation, of everybody; "whole call" is
``variate.fit`` of five epochs with a run folder against pythae's ``TrainingPipeline`` call, both of which validate
after every epoch and save the best model.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from contestants import course, peers
from contestants.course import HERE, Command, Contestant, Track
from contestants.race import ATOMS, BATCH, EPOCHS, LEVELS, SIDE

import variate
from variate.base.precision import products
from variate.data.load import load

RESULTS = Path(__file__).parent / "RESULTS.md"
CONV_STEPS = 30  # of an "epoch" of convolutional networks
GREY = ["--recipe", "kingma-welling", "--set", "data.binarize=expected"]
MEMORY_MINUTES = "0.2"

# Kingma & Welling's model to a test value of −ELBO
BOUND_SETTINGS = ["train.learning_rate=1e-2", "train.schedule=linear", "train.ema=0.99"]
BOUND_EPOCHS = 6
BOUND_NATS, BOUND_SEEDS = 104.5, (0, 1, 2)

Told = dict[str, list[dict]]


@dataclass(frozen=True)
class Row:
    """A line of the table: what was measured, and what it has to be. ``values``: one for every repetition."""

    bar: str
    limit: float
    at_least: bool
    measured: str
    values: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def line(self) -> str:
        met = self.median >= self.limit if self.at_least else self.median <= self.limit
        sign = "≥" if self.at_least else "≤"
        cells = (self.bar, f"{sign} {self.limit:g}", self.measured, spread(self.values), "yes" if met else "NO")
        return f"| {' | '.join(cells)} |"


@dataclass(frozen=True)
class Ground:
    """Where the races are held: the data for both kinds of networks, their name on the command line, the peers."""

    data: str
    dense: Track
    conv: Track
    peers: Path | None
    precision: str
    reps: int


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3g} ({min(values):.3g}–{max(values):.3g})"


def seconds(told: Told, name: str, scale: float = 1.0) -> str:
    return spread([each["seconds"] * scale for each in told[name]])


@dataclass(frozen=True)
class Comparison:
    """The rows that compare ours with others in one race, in a unit of ``scale`` per second."""

    told: Told
    ours: str
    scale: float
    unit: str

    def faster(self, bar: str, limit: float, theirs: str, beside: str = "") -> Row:
        """How many times as fast as theirs ours is, repetition by repetition."""
        return Row(bar, limit, True, self._both(theirs) + beside, self._ratios(theirs, self.ours))

    def floor(self, bar: str, limit: float, floor: str) -> Row:
        """How many times the floor's time ours takes."""
        mean, large = (
            statistics.median(each[name] for each in self.told[floor]) for name in ("gflops", "large_gflops")
        )
        beside = f"; {mean:.0f} GFLOP/s, of large products {large:.0f}"
        return Row(bar, limit, False, self._both(floor) + beside, self._ratios(self.ours, floor))

    def _both(self, theirs: str) -> str:
        ours, theirs = (seconds(self.told, name, self.scale) for name in (self.ours, theirs))
        return f"{ours} {self.unit} against {theirs} {self.unit}"

    def _ratios(self, above: str, below: str) -> list[float]:
        return [a["seconds"] / b["seconds"] for a, b in zip(self.told[above], self.told[below], strict=True)]


def dense_runners(ground: Ground) -> dict[str, Contestant | Command]:
    track, exact = ground.dense, ground.precision
    runners: dict[str, Contestant | Command] = {
        "variate, whole call": Contestant(sys.executable, "in_variate", "fit", exact, track),
        "variate, command line": Command(lambda out: command_line(ground, out), track.threads),
        "variate, epoch": Contestant(sys.executable, "in_variate", "mlp", exact, track),
        "eager PyTorch, epoch": Contestant(sys.executable, "in_eager", "mlp", "fp32", track),
        "floor, epoch": Contestant(sys.executable, "in_floor", "mlp", exact, track),
    }
    if ground.peers:
        runners["pythae, whole call"] = Contestant(ground.peers, "in_pythae", "fit", "fp32", track)
    return runners | in_jax(ground, "mlp", "epoch", track)


def in_jax(ground: Ground, workload: str, unit: str, track: Track) -> dict[str, Contestant | Command]:
    return {
        f"JAX {precision}, {unit}": Contestant(ground.peers, "in_jax", workload, precision, track)
        for precision in ("fp32", "bf16")
        if ground.peers
    }


def dense_race(ground: Ground) -> tuple[Told, list[Row], dict]:
    runners = dense_runners(ground)
    facts, told = same_weights(runners), course.race(runners, ground.reps)
    rows = []
    epoch = Comparison(told, "variate, epoch", 1.0, "s")
    if ground.peers:
        beside = f"; command line {seconds(told, 'variate, command line')} s"
        call = Comparison(told, "variate, whole call", 1.0, "s")
        rows.append(call.faster("784-400-20, five epochs: times as fast as pythae", 5, "pythae, whole call", beside))
        jax = f"JAX {ground.precision}, epoch"
        rows.append(epoch.faster("784-400-20, epoch: times as fast as JAX's scan", 0.8, jax))
    return told, [*rows, epoch.floor("784-400-20, epoch: times the floor", 2.0, "floor, epoch")], facts


def conv_runners(ground: Ground) -> dict[str, Contestant | Command]:
    track, exact = ground.conv, ground.precision
    runners: dict[str, Contestant | Command] = {
        "variate, conv": Contestant(sys.executable, "in_variate", "conv", exact, track),
        "eager PyTorch, conv": Contestant(sys.executable, "in_eager", "conv", "fp32", track),
        "floor, conv": Contestant(sys.executable, "in_floor", "conv", exact, track),
    }
    return runners | in_jax(ground, "conv", "conv", track)


def conv_race(ground: Ground) -> tuple[Told, list[Row], dict]:
    runners = conv_runners(ground)
    facts, told = same_weights(runners), course.race(runners, ground.reps)
    step = Comparison(told, "variate, conv", 1e3 / runners["floor, conv"].facts["steps"], "ms a step")
    rows = [step.faster("convolutional VAE: times as fast as eager PyTorch", 2.5, "eager PyTorch, conv")]
    if ground.peers:
        rows.append(step.faster("convolutional VAE: times as fast as JAX", 4.0, f"JAX {ground.precision}, conv"))
    return told, [*rows, step.floor("convolutional VAE: times the floor", 1.4, "floor, conv")], facts


def same_weights(runners: dict[str, Contestant | Command]) -> dict:
    """The versions that they tell; networks of another size would be another race."""
    counts = {name: runner.facts["weights"] for name, runner in runners.items() if "weights" in runner.facts}
    assert len(set(counts.values())) == 1, counts
    versions = {}
    for runner in runners.values():
        versions |= runner.facts.get("versions", {})
    return {"versions": versions, "weights": next(iter(counts.values()))}


def command_line(ground: Ground, out: Path) -> list:
    return ["-m", "variate", "fit", ground.data, *GREY, "--epochs", str(EPOCHS), "--no-report", "--out", out]


def start(ground: Ground) -> tuple[Told, list[Row], dict]:
    command = Command(
        lambda out: [HERE / "first_step.py", "fit", ground.data, "--no-report", "--out", out], ground.dense.threads
    )
    told = course.race({"start": command}, ground.reps)
    values = [each["first_step"] - each["started"] for each in told["start"]]
    bar = "`variate fit mnist`: seconds from Enter to the end of the first step"
    return told, [Row(bar, 3, False, f"{spread(values)} s", values)], {}


def memory(ground: Ground) -> tuple[Told, list[Row], dict]:
    fit = [HERE / "memory.py", "fit", ground.data, "--minutes", MEMORY_MINUTES]
    commands = {
        "memory, training": Command(lambda out: [*fit, "--no-report", "--out", out], ground.dense.threads),
        "memory, with the report": Command(lambda out: [*fit, "--out", out], ground.dense.threads),
    }
    told = course.race(commands, 1)
    alone, drawn = (told[name][0] for name in commands)
    both = f"{alone['megabytes']:.0f} MB above {alone['imported']:.0f} MB; with the report {drawn['megabytes']:.0f} MB"
    bar = "`variate fit mnist`: peak memory in MB above the libraries"
    return told, [Row(bar, 400, False, both, [alone["megabytes"]])], {}


def bound(ground: Ground) -> tuple[Told, list[Row], dict]:
    told: Told = {"bound": []}
    for seed in BOUND_SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            said = [word for setting in BOUND_SETTINGS for word in ("--set", setting)]
            fit = ["-m", "variate", "fit", ground.data, *GREY, *said, "--epochs", str(BOUND_EPOCHS)]
            fit += ["--seed", str(seed), "--no-report", "--out", Path(folder, "run")]
            took = Command(lambda _: fit, ground.dense.threads).run()["seconds"]  # noqa: B023 (called at once)
            figures = variate.evaluate(variate.load(Path(folder, "run")), ground.data, samples=1, rows=1)
        told["bound"].append({"seed": seed, "seconds": took, "minus_elbo": -figures["elbo_nats"], "n": figures["n"]})
        print(json.dumps({"who": "bound"} | told["bound"][-1]), flush=True)
    reached = all(each["minus_elbo"] <= BOUND_NATS for each in told["bound"])
    values = [each["seconds"] if reached else float("inf") for each in told["bound"]]
    both = "; ".join(f"{each['seconds']:.1f} s to {each['minus_elbo']:.2f}" for each in told["bound"])
    bar = f"784-400-20: the slowest of three seeds, seconds from Enter to a test −ELBO ≤ {BOUND_NATS}"
    return told, [Row(bar, 20, False, both, [max(values)])], {}


RACES = {"mlp": dense_race, "conv": conv_race, "start": start, "memory": memory, "bound": bound}


def noise(rows: int) -> np.ndarray:
    """Images with MNIST's most frequent levels and nothing else to learn: for a trial run."""
    dice = np.random.default_rng(0)
    return dice.choice([*ATOMS, *range(LEVELS)], (rows, SIDE, SIDE)).astype(np.uint8)


def prepared(asked: argparse.Namespace, folder: Path) -> Ground:
    """The rows, as files that everybody can read: variate's own division into training and validation part."""
    name = "mnist"
    if asked.noise:
        name = str(folder / "noise.npy")
        np.save(name, noise(asked.noise))
    whole = load(name if asked.noise else "mnist:train")
    train, valid = (part.values.numpy().reshape(-1, SIDE, SIDE) for part in whole.split(0))
    rows = min(CONV_STEPS * BATCH, len(train) // BATCH * BATCH)
    tracks = []
    for kind, n in (("dense", len(train)), ("conv", rows)):
        np.savez(folder / f"{kind}.npz", train=train[:n], valid=valid[: n // 5])
        tracks.append(Track(folder / f"{kind}.npz", asked.threads))
    python = None if asked.no_peers else peers.python(asked.peers)
    return Ground(name, *tracks, python, picked(), asked.reps)


def picked() -> str:
    """The precision of the products that variate trains with on this processor."""
    with products("auto"):
        asked = torch.backends.mkldnn.matmul.fp32_precision == "bf16"
    # oneDNN may have been told to do without, as by ONEDNN_MAX_CPU_ISA
    return "bf16" if asked and torch.ops.mkldnn._is_mkldnn_bf16_supported() else "fp32"


def machine(threads: int) -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    models = [line.split(": ", 1)[1] for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    return f"{(models or [platform.processor()])[0]}, {threads} threads, {memory:.0f} GB, {platform.platform()}"


def table(rows: list[Row]) -> Iterator[str]:
    yield "| | bar | measured: median (least–most) | ratio or figure: median (least–most) | met |"
    yield "|---|---|---|---|---|"
    yield from (row.line() for row in rows)


def document(asked: argparse.Namespace, told: Told, rows: list[Row], facts: list[dict]) -> Iterator[str]:
    versions = {"python": platform.python_version(), "variate": version("variate")}
    for fact in facts:
        versions |= fact.get("versions", {})
    yield "# Speed\n\nMade by `benchmarks/speed.py`, whose first lines say what is raced.\n"
    said = f"--reps {asked.reps} --threads {asked.threads} --only {' '.join(asked.only)}"
    yield f"- Command: `python benchmarks/speed.py {said}`"
    yield f"- Machine: {machine(asked.threads)}"
    yield f"- Versions: {', '.join(f'{name} {number}' for name, number in versions.items())}"
    data = "noise" if asked.noise else "MNIST"
    yield f"- {data}, batches of {BATCH}, {asked.reps} interleaved repetitions; ours in {picked()}\n"
    yield from table(rows)
    yield "\n## Every figure\n\n| who | seconds: median (least–most) | loss at the end, nats |\n|---|---|---|"
    for name, each in told.items():
        loss = each[-1].get("loss")
        yield f"| {name} | {seconds(told, name)} | {'' if loss is None else f'{loss:.2f}'} |"
    for name in (name for name in told if name.startswith("floor")):
        yield f"\n## Last repetition of the {name}\n\n| product | by the fastest |\n|---|---|"
        yield from (f"| {product} | {how} |" for product, how in told[name][-1]["each"].items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reps", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=RACES, default=list(RACES))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--peers", type=Path, default=peers.FOLDER, help="their virtual environment")
    parser.add_argument("--no-peers", action="store_true", help="without pythae and JAX")
    parser.add_argument("--noise", type=int, help="so many rows of noise instead of MNIST, to try it out")
    parser.add_argument("--out", default=str(RESULTS), help="- writes no file")
    asked = parser.parse_args()
    told: Told = {}
    rows, facts = [], []
    with tempfile.TemporaryDirectory() as folder:
        ground = prepared(asked, Path(folder))
        for name in asked.only:
            found, lines, fact = RACES[name](ground)
            told, rows, facts = told | found, rows + lines, [*facts, fact]
            for row in lines:
                print(json.dumps({"bar": row.bar, "limit": row.limit, "values": row.values}), flush=True)
    if asked.out != "-":
        Path(asked.out).write_text("\n".join(document(asked, told, rows, facts)) + "\n", encoding="utf-8")
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
