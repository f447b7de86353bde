"""Start two fits into one folder, the second a random moment after the first, and see that nothing is lost or mixed.

    python benchmarks/pairs.py

One wins: it ends with status 0 and leaves the very model, metrics and state that it would have left alone. The other
ends with status 2 and one sentence, and has not trained. In every third pair both go on with one run that was stopped.
Prints one JSON line per pair, and at the end how many went so.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

EPOCHS = 60
SETTINGS = "encoder.name=mlp decoder.name=mlp encoder.hidden=[64] decoder.hidden=[64] train.least_steps=0"
STOPPED = """
import sys
from variate.apps.fit import fit
from variate.training.keeper import Keeping
def stop(record):
    if record["epoch"] == 2:
        raise SystemExit
keeping = Keeping(callbacks={"epoch": stop})
fit("digits", out=sys.argv[1], epochs=int(sys.argv[2]), overrides=sys.argv[3:], keeping=keeping)
"""


def command(folder: Path, seed: int, epochs: int, resume: bool) -> list[str]:
    fit = [sys.executable, "-m", "variate", "fit", "digits", "--epochs", str(epochs), "--out", str(folder)]
    said = [word for setting in SETTINGS.split() for word in ("--set", setting)]
    return [*fit, "--no-report", *said, *(["--resume"] if resume else ["--seed", str(seed)])]


def begun(arguments: list[str]) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kept(place: Path) -> dict[str, str | bytes]:
    """What a run leaves, without what the clock says; of the states, that they are there."""
    records = [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]
    found = {str(path.relative_to(place)): b"" for path in place.rglob("*") if path.is_file()}
    told = json.dumps([{name: value for name, value in record.items() if name != "seconds"} for record in records])
    return found | {"model.safetensors": (place / "model.safetensors").read_bytes(), "metrics.jsonl": told}


def pair(place: Path, resume: bool, offset: float, epochs: int) -> tuple[list[int], list[str]]:
    """(exit statuses, standard errors) of two fits, the second of which starts so many seconds after the first."""
    first = begun(command(place, 0, epochs, resume))
    try:
        first.wait(offset)
    except subprocess.TimeoutExpired:
        pass
    second = begun(command(place, 1, epochs, resume))
    said = [process.communicate()[1] for process in (first, second)]
    return [first.returncode, second.returncode], said


class Alone:
    """What fits leave that nobody disturbs, each made when it is first asked for."""

    def __init__(self, folder: Path, epochs: int):
        self.folder, self.epochs = folder, epochs

    def kept(self, seed: int) -> dict[str, str | bytes]:
        place = self.folder / f"alone-{seed}"
        if not place.exists():
            begun(command(place, seed, self.epochs, resume=False)).communicate()
        return kept(place)

    def stopped(self) -> Path:
        """A run, of seed 0, that is not complete."""
        place = self.folder / "stopped"
        if not place.exists():
            begun([sys.executable, "-c", STOPPED, str(place), str(self.epochs), *SETTINGS.split()]).communicate()
        return place


def pairs(folder: Path, n: int, epochs: int, seed: int) -> Iterator[dict]:
    dice, alone = random.Random(seed), Alone(folder, epochs)
    for number in range(n):
        resume, place, offset = number % 3 == 2, folder / str(number), dice.choice([0.0, 0.1, 0.5, 2.0]) * dice.random()
        if resume:
            shutil.copytree(alone.stopped(), place)
        statuses, said = pair(place, resume, offset, epochs)
        won = statuses.index(0) if sorted(statuses) == [0, 2] else None
        loser = "" if won is None else said[1 - won]
        refusal = [line for line in loser.splitlines() if line.startswith("variate: ")]
        yield {
            "resume": resume,
            "offset": round(offset, 3),
            "statuses": statuses,
            "refused": len(refusal) == 1 and "Traceback" not in loser and "epoch " not in loser,
            "whole": won is not None and kept(place) == alone.kept(0 if resume else won),
            "sentence": refusal[-1].replace(str(folder), "") if refusal else loser[-300:],
        }
        shutil.rmtree(place)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    told = []
    with tempfile.TemporaryDirectory() as folder:
        for one in pairs(Path(folder), asked.pairs, asked.epochs, asked.seed):
            told.append(one)
            print(json.dumps(one), flush=True)
    one_won = sum(sorted(one["statuses"]) == [0, 2] for one in told)
    refused, whole = (sum(one[name] for one in told) for name in ("refused", "whole"))
    print(json.dumps({"pairs": len(told), "one_won": one_won, "refused": refused, "whole": whole}))


if __name__ == "__main__":
    main()
