"""Small data and small trained runs that several test files share; each is made once per process."""

import atexit
import functools
import json
import shutil
import tempfile
from pathlib import Path

import hypothesis
import numpy as np
import torch

from variate.apps.fit import fit
from variate.data.dataset import Dataset
from variate.data.load import load
from variate.results.checkpoint import Run

# The same examples every time, and no clock: the machine may be busy.
hypothesis.settings.register_profile(
    "variate", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow], max_examples=60
)
hypothesis.settings.load_profile("variate")

TINY = [
    *("encoder.name=mlp", "decoder.name=mlp", "encoder.hidden=[16]", "decoder.hidden=[16]"),
    *("train.least_steps=0", "latent.size=2", "train.rampup_steps=5", "train.ema=0.9", "train.learning_rate=0.01"),
]
FLAGS = [argument for override in TINY for argument in ("--set", override)]


@functools.cache
def scratch() -> Path:
    """A folder that goes when the process does."""
    folder = Path(tempfile.mkdtemp(prefix="variate-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def table(n: int = 300, seed: int = 0) -> np.ndarray:
    """Correlated real numbers (n, 5), float64, far from zero mean and unit scale."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(n, 2)) @ np.array([[3.0, -1.0, 0.5, 0.0, 2.0], [0.0, 1.0, 1.0, -2.0, 0.3]])
    return 7.0 + 4.0 * (mixed + 0.3 * rng.normal(size=(n, 5)))


def bits(n: int = 240, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Binary rows (n, 6) of three classes in unequal numbers, which differ in their first three columns."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, size=n, p=[0.6, 0.3, 0.1])
    chance = np.full((n, 6), 0.4)
    chance[np.arange(n), labels] = 0.9
    return (rng.random((n, 6)) < chance).astype(np.uint8), labels


def pixels(n: int = 120, shape: tuple[int, ...] = (8, 8), seed: int = 0) -> np.ndarray:
    """uint8 images of a bright blob at a random place."""
    rng = np.random.default_rng(seed)
    far = sum(
        (axis - rng.random((n,) + (1,) * len(shape)) * size) ** 2
        for axis, size in zip(np.indices(shape), shape, strict=True)
    )
    return (255 * np.exp(-far / 8)).astype(np.uint8)


DATA = {
    "digits": lambda: ("digits", None),
    "table": lambda: (table(), None),
    "bits": bits,
    "pixels": lambda: (pixels(), None),
}
KINDS: dict[str, tuple[str, dict]] = {
    "plain": ("digits", {}),
    "conditional": ("digits", {"given": "label"}),
    "binary": ("digits", {"overrides": ["data.binarize=dynamic", "likelihood.name=bernoulli"]}),
    "autoencoder": ("digits", {"recipe": "autoencoder"}),
    "labelled": ("digits", {"recipe": "semi-supervised"}),
    "table": ("table", {"overrides": ["train.epochs=40", "train.batch_size=50"]}),
    "pixels": ("pixels", {}),
    "bits": ("bits", {"given": "label", "overrides": ["latent.size=1", "train.epochs=60", "train.batch_size=50"]}),
}


@functools.cache
def run(kind: str) -> Run:
    """A trained run, one for each of ``KINDS``."""
    data, options = KINDS[kind]
    values, labels = DATA[data]()
    overrides = [*TINY, "train.epochs=3", *options.get("overrides", [])]
    return fit(values, labels, out=scratch() / kind, **{"epochs": None, **options, "overrides": overrides})


def data_of(kind: str, part: str = "test") -> Dataset:
    """The rows that a run of that kind is applied to."""
    values, labels = DATA[KINDS[kind][0]]()
    return load(values, labels, part=part)


def model_bytes(folder: Path) -> bytes:
    return (Path(folder) / "model.safetensors").read_bytes()


def records(folder: Path) -> list[dict]:
    """metrics.jsonl without what the clock says."""
    lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    """The same names and, bit for bit, the same values."""
    assert set(a) == set(b)
    assert [name for name in a if not torch.equal(a[name], b[name])] == []
