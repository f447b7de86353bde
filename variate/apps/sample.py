"""Make up new examples: z from the prior, x from the decoder."""

import re
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from cyclopts import Parameter

from variate import checkpoint, inference
from variate.checkpoint import Run
from variate.console import say
from variate.errors import UserError
from variate.outputs import save_array

__all__ = ["sample"]


def sample(
    run: Run, n: int = 64, *, condition: str | list[int] | None = None, mean: bool = False, seed: int = 0
) -> np.ndarray:
    """n examples x ~ p(x | z, c), z ~ p(z | c), in the data's own shape and dtype; ``mean`` gives E[x | z, c].

    ``condition``: a class, several, or "0..9"; the n rows go through them in turn. A conditional model that is not
    told draws classes by their frequency. Raises ``UserError`` for an unknown class or a model without a prior.
    """
    if n < 1:
        raise UserError(f"-n {n}: ask for at least one example.")
    labels = None
    if condition is not None:
        classes = parse_condition(run, condition)
        labels = torch.tensor(classes).repeat(-(-n // len(classes)))[:n]
    return inference.sample(run, n, labels, seed, mean)


def parse_condition(run: Run, condition: str | list[int]) -> list[int]:
    """ "3", "0..9", "1,3,5" or a list → classes that the model knows."""
    if not run.conditional:
        raise UserError("the model is not conditional, so it takes no --condition: train one with fit --conditional.")
    known = len(run.schema.labels or ())
    if isinstance(condition, str):
        if not re.fullmatch(r"\d+(\.\.\d+)?(,\d+(\.\.\d+)?)*", condition):
            raise UserError(f"--condition {condition!r} is not a class, a list as in 1,3,5 or a range as in 0..9.")
        spans = [part.split("..") for part in condition.split(",")]
        condition = [c for span in spans for c in range(int(span[0]), min(int(span[-1]), known) + 1)]
    if not condition or max(condition) >= known or min(condition) < 0:
        raise UserError(
            f"--condition asks for a class that the model does not know: it has the classes 0..{known - 1}."
        )
    return list(condition)


def command(
    run: Path,
    *,
    n: Annotated[int, Parameter(name=["-n", "--n"])] = 64,
    out: Path,
    condition: str | None = None,
    mean: bool = False,
    seed: int = 0,
) -> None:
    """Make up new examples: z from the prior, x from the decoder.

    Parameters
    ----------
    run
        the folder that fit wrote, or its model file.
    n
        how many.
    out
        .png, .npy, .npz or .csv.
    condition
        a class, a list 1,3,5 or a range 0..9 that the rows go through in turn.
    mean
        the mean of p(x | z) instead of a draw from it.
    seed
        of z and of the draw.
    """
    trained = checkpoint.load(run)
    values = sample(trained, n, condition=condition, mean=mean, seed=seed)
    columns = len(parse_condition(trained, condition)) if condition else 0
    save_array(out, values, trained.schema, columns if columns > 1 else None)
    say(f"{n} {'means' if mean else 'draws'} in {out}")
