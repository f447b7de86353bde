"""How long a fit takes beside one busy process, against itself alone, and alone against another version.

    python benchmarks/busy.py
    python benchmarks/busy.py --before main~20 --reps 5 --only mlp
    python benchmarks/busy.py --before ../old --data digits --reps 1

The busy process is a loop in Python. Everything is a whole command of its own, interleaved: this version alone and
beside the loop, and, if it is named as a folder or a git revision, the version before, alone; with ``--before-beside``
beside the loop too, which may take ten times as long. Prints a JSON line for every run, then the medians and their
ratios. It says something on a quiet machine only.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
FITS = {"mlp": ["--recipe", "kingma-welling"], "conv": []}
LOOP = "while True: pass"


@contextmanager
def busy() -> Iterator[None]:
    loop = subprocess.Popen([sys.executable, "-c", LOOP])
    try:
        yield
    finally:
        loop.kill()
        loop.wait()


def unpacked(version: str, folder: Path) -> Path:
    """The folder of a version: itself, or what git has under that name."""
    if Path(version).is_dir():
        return Path(version).resolve()
    packed = subprocess.run(["git", "-C", HERE, "archive", version], capture_output=True, check=True).stdout
    tarfile.open(fileobj=io.BytesIO(packed)).extractall(folder, filter="data")
    return folder


def seconds(code: Path, fit: str, data: str, beside: bool) -> float:
    """Of the whole command, one epoch without a report."""
    with tempfile.TemporaryDirectory() as out, busy() if beside else nullcontext():
        command = [sys.executable, "-m", "variate", "fit", data, *FITS[fit], "--epochs", "1", "--no-report"]
        began = time.monotonic()
        done = subprocess.run(
            [*command, "--out", Path(out) / "run"],
            env=os.environ | {"PYTHONPATH": str(code)},
            cwd=out,
            capture_output=True,
            text=True,
        )
        took = time.monotonic() - began
    if done.returncode:
        raise RuntimeError(f"{done.args} failed:\n{done.stderr[-3000:]}")
    return took


def raced(fit: str, data: str, reps: int, before: Path | None, before_beside: bool) -> dict[str, float | str]:
    """The medians of all who run, one after the other, and their ratios."""
    who = {"alone": (HERE, False), "beside": (HERE, True)}
    if before is not None:
        who["alone before"] = (before, False)
        if before_beside:
            who["beside before"] = (before, True)
    told: dict[str, list[float]] = {name: [] for name in who}
    for rep in range(reps):
        for name, (code, beside) in who.items():
            told[name].append(seconds(code, fit, data, beside))
            print(json.dumps({"fit": fit, "who": name, "repetition": rep, "seconds": told[name][-1]}), flush=True)
    medians = {name: statistics.median(times) for name, times in told.items()}
    found: dict[str, float | str] = {"fit": fit} | medians
    found["beside / alone"] = medians["beside"] / medians["alone"]
    if before is not None:
        found["alone / before"] = medians["alone"] / medians["alone before"]
    if "beside before" in medians:
        found["beside / alone, before"] = medians["beside before"] / medians["alone before"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reps", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=FITS, default=list(FITS))
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--before", help="a folder or a git revision")
    parser.add_argument("--before-beside", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        before = unpacked(asked.before, Path(folder)) if asked.before else None
        for fit in asked.only:
            found = raced(fit, asked.data, asked.reps, before, asked.before_beside)
            print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in found.items()}), flush=True)


if __name__ == "__main__":
    main()
