"""Every benchmark still runs: on as little as it takes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SMALL = {
    "adult": "--help",  # its data may not be at hand
    "busy": "--data digits --reps 1 --only mlp",
    "codes_against_pca": "--data digits --sizes 2 --epochs 1",
    "conditional_samples": "--help",  # its classifier is made for 28 × 28
    "few_labels": "--data digits --labels 20 --seeds 0 --set train.epochs=1 train.least_steps=9",
    "kill": "--kills 5 --epochs 4 --seed 1",
    "larger_than_memory": "--gigabytes 0.02 --kind images --side 32",
    "known_table": "--samples 5 --rows 100 --missing 0.3 --set train.least_steps=20 train.epochs=1",
    "known_laws": "--laws three-normals --seeds 1 --samples 5 --test-rows 200",
    "linear_gaussian": "--samples 5 --seeds 0",
    "pairs": "--pairs 1 --epochs 20",
    "precision": "--data digits --epochs 1 --seeds 1",
    "speed": "--noise 768 --reps 1 --threads 1 --only mlp conv --no-peers --out -",
    "tabular_baselines": "--help",  # its data may not be at hand
    "threads": "--calls 60 --seeds 2",
}


@pytest.mark.parametrize("place", sorted(BENCHMARKS.glob("*.py")), ids=lambda place: place.stem)
def test_it_runs_and_prints_its_figures(place):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, place, *SMALL[place.stem].split()]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    figures = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert figures or "--help" in command
    if place.stem == "threads":
        told = figures[-1]
        assert (told["different"], told["changed_settings"]) == (0, []) and told["users_numbers_are_of_his_seed"]
    if place.stem == "kill":
        assert figures[-1]["kills"] == figures[-1]["identical"] == 5 and figures[-1]["inside_a_save"] >= 2
    if place.stem == "pairs":
        assert figures[-1] == {"pairs": 1, "one_won": 1, "refused": 1, "whole": 1}
