"""Make up new examples: z from the prior, x from the decoder."""

import reprlib
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from cyclopts import Parameter
from torch import Tensor

from variate import options
from variate.base.console import say
from variate.base.errors import UserError, count_number, seed_number, suggest
from variate.base.surroundings import apart
from variate.data.known import class_name, infer_known, ordered
from variate.data.schema import Schema
from variate.results import checkpoint, inference
from variate.results.checkpoint import Run
from variate.show import outputs
from variate.show.outputs import save_array, tell_gaps

__all__ = ["sample"]


@apart()
def sample(run: Run, n: int = 64, *, condition: object = None, mean: bool = False, seed: int = 0) -> np.ndarray:
    """n examples x ~ p(x | z, c), z ~ p(z | c), in the data's own shape and dtype; ``mean`` gives E[x | z, c].

    ``condition``: a class, several, or "0..9", all classes from the one to the other, by their values where all are
    whole numbers; or the values of the known columns, (k,) or (m, k). The n rows go through them in turn. A model
    conditional on labels that is not told draws them by their frequency. Raises ``UserError`` for an unknown class or a
    model without a prior.
    """
    seed, n = seed_number(seed), count_number(n, "n")
    context = None
    if condition is not None:
        asked = parse_condition(run, condition)
        context = asked.repeat(-(-n // len(asked)), *[1] * (asked.dim() - 1))[:n]
    return inference.sample(run, n, context, seed, mean)


def parse_condition(run: Run, condition: object) -> Tensor:
    """What the user asks for → context (m,) or (m, k) that the model knows."""
    if not run.conditional:
        raise UserError("the model is not conditional, so it takes no --condition: train one with fit --conditional.")
    return _classes(run.schema, condition) if run.labelled else _columns(run.schema, condition)


def _classes(schema: Schema, condition: object) -> Tensor:
    """A class, "1,3,5", "0..9" or a list of classes → their indices."""
    names = schema.class_names
    if isinstance(condition, str):
        asked = class_name(condition) if condition not in names else condition
        words = [asked] if asked in names else [word for part in asked.split(",") for word in _span(part, names)]
    else:  # as they may stand in the labels that a model is trained with
        known = infer_known(_several(condition), schema)
        labels: list[int] = [] if known.labels is None else known.labels.tolist()
        words = [known.names[label] if label >= 0 else "" for label in labels]
    strangers = [word for word in words if word not in names]
    if strangers or not words:
        listed = ordered(names)
        numbered = listed == [str(index) for index in range(len(names))]
        shown = f"0..{len(names) - 1}" if numbered else ", ".join(listed[:20]) + (", …" if len(names) > 20 else "")
        hint = suggest(strangers[0], names) if strangers else ""
        raise UserError(
            f"--condition {_short(condition)} asks for a class that the model does not know{hint}: it has {shown}."
        )
    return torch.tensor([names.index(word) for word in words])


def _several(condition: object) -> object:
    """One class as a list of one."""
    single = not isinstance(condition, list | tuple) and np.ndim(condition) == 0  # pyright: ignore[reportArgumentType]
    return [condition] if single else condition


def _short(condition: object) -> str:
    """What was asked for, in a line."""
    return reprlib.repr(condition.tolist() if isinstance(condition, np.ndarray) else condition)


def _span(part: str, names: tuple[str, ...]) -> list[str]:
    """ "0..9" → the classes from the one to the other, in their order; any other word is itself, a range backwards too.

    The order is that of numbers where all classes are whole numbers, however the model's file has them.
    """
    ends = [end.strip() for end in part.split("..")]
    if len(ends) != 2 or not all(end in names for end in ends):
        return [part.strip()]
    listed = ordered(names)
    return listed[listed.index(ends[0]) : listed.index(ends[1]) + 1] or [part.strip()]


def _columns(schema: Schema, condition: object) -> Tensor:
    """ "0.5,2" or numbers (k,) or (m, k), of one column (m,) too → (m, k) float64; rows of a text end in ";"."""
    wanted, values = schema.columns.size if schema.columns else 0, condition
    try:
        if isinstance(condition, str):
            values = [[float(number) for number in row.split(",")] for row in condition.split(";")]
        values = np.asarray(values, np.float64)
        values = values.reshape(-1, 1) if wanted == 1 and values.ndim < 2 else np.atleast_2d(values)
    except (ValueError, TypeError):
        values = np.empty((0, 0))
    if values.ndim != 2 or values.shape[1] != wanted or not len(values) or not np.isfinite(values).all():
        raise UserError(
            f"--condition {_short(condition)} must be {wanted} numbers, as in {','.join(['0.5'] * wanted)}."
        )
    return torch.from_numpy(values)


def command(
    run: options.RunPlace,
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
    n
        how many.
    out
        .png, .npy, .npz or .csv.
    condition
        a class, a list 1,3,5 or a range 0..9 that the rows go through in turn; or the values of the known columns.
    mean
        the mean of p(x | z) instead of a draw from it.
    seed
        of z and of the draw.
    """
    trained = checkpoint.load(run)
    outputs.check(out, outputs.ARRAYS, trained.schema)
    values = sample(trained, n, condition=condition, mean=mean, seed=seed)
    columns = len(parse_condition(trained, condition)) if condition is not None else 0
    save_array(out, values, trained.schema, columns if columns > 1 else None)
    say(f"{n} {'means' if mean else 'draws'} in {out}")
    tell_gaps(out, values)
