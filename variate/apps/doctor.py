"""Say what this machine offers, and check that variate works on it."""

import json
import math
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from variate import options
from variate.apps.fit import fit
from variate.apps.sample import sample
from variate.base import waiting
from variate.base.console import silent
from variate.base.errors import UserError
from variate.base.surroundings import applying
from variate.data import named
from variate.data.load import load
from variate.results import checkpoint, estimate
from variate.results.checkpoint import Run

__all__ = ["doctor"]

OK = "ok"
LEARNED = np.random.default_rng(0).normal(size=(12, 2)) @ np.array([[2.0, 0.0], [1.5, 0.5]]) + 10
TINY = [
    *("encoder.name=mlp", "decoder.name=mlp", "encoder.hidden=[8]", "decoder.hidden=[8]", "latent.size=1"),
    *("likelihood.name=gaussian", "prior.name=standard", "train.least_steps=0"),
]
SAMPLES, NODES = 1000, 40  # of the importance sampling, and of the quadrature that it is compared to
TOLERATED = 6  # standard errors between the two
WATCHED, BUSY = 0.03, 0.001  # seconds: of watching threads that wait, and of processor time that tells a busy one
ADAPTS = "threads wait for one another busily while the machine is free, asleep while other programs need it"
WAITS = {
    "asleep": "threads wait for one another asleep, which other programs do no harm",
    "busily": "threads wait for one another busily, whatever else runs: training beside another program may take ten "
    "times as long, unless OMP_WAIT_POLICY=PASSIVE is set before Python starts or torch.set_num_threads(1) is called",
}


def doctor() -> dict:
    """What is installed, what the machine has, where data sets are looked for, and whether everything works.

    ``checks`` has "ok" or the reason of its failure for each of them, ``works`` whether all are ok. Takes seconds,
    leaves nothing behind and asks nothing of the network.
    """
    checks = _checks()
    return {
        "versions": _versions(),
        "machine": _machine(),
        "devices": _devices(),
        "data": _data(),
        "checks": checks,
        "works": set(checks.values()) == {OK},
    }


# --- what is there


def _versions() -> dict[str, str | None]:
    """Of variate, Python and everything that variate needs; ``None`` for what is missing."""
    needed = [text for text in metadata.requires("variate") or [] if "extra ==" not in text]
    names = [re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in needed]
    return {"variate": _version("variate"), "python": platform.python_version()} | {n: _version(n) for n in names}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _machine() -> dict:
    """Memory in bytes, ``None`` where the system does not tell."""
    cpu = _table("/proc/cpuinfo")
    memory = _table("/proc/meminfo")
    flags = set(" ".join(cpu.get("flags", cpu.get("Features", [""]))[:1]).split())
    return {
        "system": platform.platform(),
        "processor": cpu.get("model name", [platform.processor() or platform.machine()])[0],
        "cores": _cores(cpu),
        "threads": torch.get_num_threads(),
        "threads_wait": _how_threads_wait(),
        "threads_adapt": waiting.adapts(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "bfloat16": bool(flags & {"avx512_bf16", "amx_bf16", "bf16"}),
        "precision": str(torch.get_default_dtype()).removeprefix("torch."),
        "memory": _bytes(memory.get("MemTotal")),
        "memory_free": _bytes(memory.get("MemAvailable")),
    }


def _how_threads_wait() -> str | None:
    """ "asleep" or "busily", as it is seen to be now; ``None`` for a thread that waits for no other.

    After a product that threads share, those that wait busily for the next one still use the processor for a while,
    if another program does not take it from them, as may happen in most of the looks.
    """
    if torch.get_num_threads() == 1:
        return None
    shared = torch.ones(1 << 20)
    used = []
    for _ in range(9):
        shared.add_(1)
        before = time.process_time()
        time.sleep(WATCHED)
        used.append(time.process_time() - before)
    return "busily" if sorted(used)[-2] > BUSY else "asleep"


def _table(path: str) -> dict[str, list[str]]:
    """The values of every key of one of Linux's tables; nothing on other systems."""
    table: dict[str, list[str]] = {}
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return {}
    for line in lines:
        key, _, value = line.partition(":")
        table.setdefault(key.strip(), []).append(value.strip())
    return table


def _cores(cpu: dict[str, list[str]]) -> int | None:
    """Physical ones, where the system tells them from logical ones."""
    pairs = set(zip(cpu.get("physical id", []), cpu.get("core id", []), strict=False))
    return len(pairs) or os.cpu_count()


def _bytes(values: list[str] | None) -> int | None:
    return int(values[0].removesuffix(" kB")) * 1024 if values else None


def _devices() -> list[dict]:
    """The accelerators that torch can use; memory in bytes."""
    found = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(index)
        found.append({"device": f"cuda:{index}", "name": properties.name, "memory": properties.total_memory})
    if torch.backends.mps.is_available():
        found.append({"device": "mps", "name": "Apple GPU", "memory": None})
    return found


def _data() -> dict:
    """Where named sets are looked for first; which of them the cache has."""
    cache = named.cache_folder()
    there = next(place for place in (cache, *cache.parents) if os.path.exists(place))
    files = [path for path in cache.rglob("*") if path.is_file()]
    folders = {path.parent.name.replace("_", "-") for path in files}
    mine = os.environ.get("VARIATE_DATA")
    return {
        "VARIATE_DATA": mine,
        "VARIATE_DATA_exists": bool(mine) and Path(mine).expanduser().is_dir(),
        "cache": str(cache),
        "cached": [name for name in named.names() if name in folders],
        "cache_bytes": sum(path.stat().st_size for path in files),
        "disk_free": shutil.disk_usage(there).free,
        "cache_writeable": _is_writeable(there),
    }


def _is_writeable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


# --- whether it works


def _checks() -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder, silent():
        trial = _Trial(Path(folder))
        checks: dict[str, Callable[[], None]] = {
            "two training steps": trial.train,
            "the same seed gives the same bytes": trial.repeat,
            "a model file is read and written unchanged": trial.reload,
            "samples": trial.sample,
            "log p(x) agrees with its integral": trial.likelihood,
        }
        for device in _devices():
            if device["device"].startswith("cuda"):
                checks[f"two training steps on {device['device']}"] = lambda name=device["device"]: trial.on(name)
        return {name: _outcome(check) for name, check in checks.items()}


def _outcome(check: Callable[[], None]) -> str:
    try:
        check()
    except Exception as error:  # whatever it is, it is what the user has to know
        return f"FAILED {' '.join(f'{type(error).__name__}: {error}'.split())[:300]}"
    return OK


class _Trial:
    """A tiny model in a folder that goes away; each check raises what is wrong."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.trained: Run | None = None

    @property
    def run(self) -> Run:
        if self.trained is None:
            raise RuntimeError("not tried, since nothing was trained")
        return self.trained

    def train(self) -> None:
        self.trained = fit(LEARNED, out=self.folder / "run", epochs=2, overrides=TINY, device="cpu")

    def repeat(self) -> None:
        again = fit(LEARNED, out=self.folder / "again", epochs=2, overrides=TINY, device="cpu")
        _same_bytes(self.run.path, again.path)

    def reload(self) -> None:
        run = checkpoint.load(self.run.path)
        copy = self.folder / "copy.safetensors"
        checkpoint.save_model(copy, run)
        _same_bytes(run.path, copy)

    def sample(self) -> None:
        made = sample(self.run, 5)
        if made.shape != (5, 2) or not np.isfinite(made).all():
            raise ArithmeticError(f"{made.tolist()} are no 5 points of the plane")

    def likelihood(self) -> None:
        """log ∫ p(x|z) p(z) dz by Gauss–Hermite quadrature, exact for one latent, against importance sampling."""
        run, rows = self.run, load(LEARNED, like=self.run.schema)
        nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
        codes = torch.from_numpy(nodes).to(torch.float32).reshape(-1, 1, 1).expand(-1, len(rows), 1)
        with applying():
            judged = run.model.judge(codes, None, rows.batch(slice(None)))
            joint = judged.log_prob.double() + torch.from_numpy(np.log(weights / weights.sum())).unsqueeze(-1)
        exact = torch.logsumexp(joint, 0) + run.schema.log_volume_nats
        found = estimate.log_likelihood(run, rows, SAMPLES)
        errors = (found.nats - exact).abs() / found.mc_se.clamp_min(1e-4)
        if not float(errors.max()) < TOLERATED:  # NaN is not
            raise ArithmeticError(f"{float(found.nats.mean()):.4f} nats, where {float(exact.mean()):.4f} is exact")

    def on(self, device: str) -> None:
        fit(LEARNED, out=self.folder / device.replace(":", "-"), epochs=2, overrides=TINY, device=device)


def _same_bytes(one: Path, other: Path) -> None:
    if one.read_bytes() != other.read_bytes():
        raise ArithmeticError("two model files that should be the same differ")


# --- for people


def _lines(found: dict) -> list[str]:
    machine, data = found["machine"], found["data"]
    versions = [f"{name} {version or 'is MISSING'}" for name, version in found["versions"].items()]
    bfloat16 = "with" if machine["bfloat16"] else "without"
    memory, free = (_size(machine[name]) for name in ("memory", "memory_free"))
    mine = data["VARIATE_DATA"]
    missing = "" if data["VARIATE_DATA_exists"] else " (which does not exist)"
    devices = [f"{one['device']} ({one['name']}, {_size(one['memory'])})" for one in found["devices"]]
    return [
        ", ".join(versions),
        f"system: {machine['system']}",
        f"processor: {machine['processor']}, {machine['cores']} physical cores, {machine['threads']} threads in use, "
        f"{machine['instructions']} {bfloat16} bfloat16",
        *_waiting(machine),
        f"memory: {memory}, {free} of it free",
        f"devices: {', '.join(devices) or 'only the processor'}; computed in {machine['precision']}",
        f"data sets are looked for in {mine}{missing} (VARIATE_DATA)" if mine else "VARIATE_DATA names no folder",
        f"cache: {data['cache']} with {', '.join(data['cached']) or 'no set'} ({_size(data['cache_bytes'])}), "
        f"{_size(data['disk_free'])} free, {'' if data['cache_writeable'] else 'NOT '}writeable",
        *(f"{name}: {outcome}" for name, outcome in found["checks"].items()),
    ]


def _waiting(machine: dict) -> list[str]:
    if machine["threads_wait"] is None:
        return []
    return [ADAPTS if machine["threads_adapt"] else WAITS[machine["threads_wait"]]]


def _size(count: int | None) -> str:
    if count is None:
        return "an unknown amount"
    power = min(int(math.log(max(count, 1), 1000)), 4)
    return f"{count / 1000**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def command(*, json_: options.AsJson = False) -> None:
    """Say what this machine offers, and check that variate works on it.

    Ends with status 2 if a check fails.
    """
    found = doctor()
    print(json.dumps(found, sort_keys=True) if json_ else "\n".join(_lines(found)))
    failed = [name for name, outcome in found["checks"].items() if outcome != OK]
    if failed:
        raise UserError(
            f"variate does not work here (FAILED: {', '.join(failed)}): install it into a fresh environment, and if "
            "that does not help, report what `variate doctor --json` prints."
        )
