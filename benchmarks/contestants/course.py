"""Who races: processes that run when they are told to, and commands that are started anew every time."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
# of the same threads, whoever makes them
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def environment(threads: int) -> dict[str, str]:
    return os.environ | dict.fromkeys(THREADS, str(threads))


@dataclass(frozen=True)
class Track:
    """What all contestants are given."""

    rows: Path
    threads: int


class Contestant:
    """A process that is ready once this is made; ``run`` gives what it prints of one repetition."""

    def __init__(self, python: Path | str, script: str, workload: str, precision: str, track: Track):
        self.errors = tempfile.TemporaryFile("w+")
        arguments = [workload, track.rows, precision, str(track.threads)]
        self.process = subprocess.Popen(
            [python, HERE / f"{script}.py", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=environment(track.threads),
        )
        self.facts = self._read()

    def run(self) -> dict:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._read()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.errors.close()

    def _read(self) -> dict:
        """Its next line of figures; whatever else it prints is passed over."""
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        self.errors.seek(0)
        raise RuntimeError(f"{self.process.args} ended:\n{self.errors.read()[-3000:]}")


class Command:
    """A command that is started anew for every repetition; its arguments may name a folder that is not there yet."""

    facts: dict = {}

    def __init__(self, arguments: Callable[[Path], list], threads: int):
        self.arguments, self.threads = arguments, threads

    def run(self) -> dict:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, *self.arguments(Path(folder) / "run")]
            start = time.monotonic()
            said = subprocess.run(command, capture_output=True, text=True, env=environment(self.threads))
            seconds = time.monotonic() - start
        if said.returncode:
            raise RuntimeError(f"{command} failed:\n{said.stderr[-3000:]}")
        told = [json.loads(line) for line in said.stdout.splitlines() if line.startswith("{")]
        return {"seconds": seconds, "started": start} | (told[-1] if told else {})

    def close(self) -> None:
        pass


def race(contestants: dict[str, Contestant | Command], reps: int) -> dict[str, list[dict]]:
    """Every contestant once, one after the other, and so on: name → what it printed of every repetition."""
    told: dict[str, list[dict]] = {name: [] for name in contestants}
    for rep in range(reps):
        for name, contestant in contestants.items():
            told[name].append(contestant.run())
            shown = {key: value for key, value in told[name][-1].items() if not isinstance(value, dict)}
            print(json.dumps({"who": name, "repetition": rep} | shown), flush=True)
    for contestant in contestants.values():
        contestant.close()
    return told
