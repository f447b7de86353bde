"""Say what a run is: data, model, training, size."""

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from variate import checkpoint
from variate.checkpoint import Run

__all__ = ["info"]


def info(run: Run) -> dict:
    """What the model file knows of itself: data, schema, recipe, number of weights, where training stood."""
    weights = sum(p.numel() for p in run.model.parameters())
    return {
        "path": str(run.path),
        "format": checkpoint.FORMAT,
        "weights": weights,
        **run.info,
        "schema": run.schema.to_json(),
        "config": run.config,
    }


def command(run: Path, *, json_: Annotated[bool, Parameter(name="--json", negative="")] = False) -> None:
    """Say what a run is: data, model, training, size.

    Parameters
    ----------
    run
        the folder that fit wrote, or its model file.
    json_
        print one JSON object.
    """
    trained = checkpoint.load(run)
    known = info(trained)
    if json_:
        print(json.dumps(known, sort_keys=True))
        return
    print(f"{known['path']}: model format {known['format']}, {known['weights']:,} weights")
    print(f"data: {known['data']}, {trained.schema.describe()}")
    print(f"trained for {known['epoch']} epochs ({known['step']:,} steps), seed {known['seed']}")
    for section, values in trained.config.items():
        print(f"{section}: " + ", ".join(f"{key} = {value}" for key, value in values.items()))
