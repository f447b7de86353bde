"""Make up new examples: z from the prior, x from the decoder."""

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from cyclopts import Parameter
from torch import Tensor

from variate import options
from variate.base.console import say
from variate.base.errors import UserError, count_number, seed_number, suggest
from variate.base.surroundings import apart
from variate.data.conditions import CHOOSING, COLUMNS, LABEL, Condition, Span, of_mapping, parse
from variate.data.known import class_name, infer_known, ordered
from variate.data.schema import Schema
from variate.data.table import outward
from variate.data.telling import allowed, told_codes
from variate.results import checkpoint, inference
from variate.results.checkpoint import Run
from variate.results.conditioned import sample_where
from variate.show import outputs
from variate.show.outputs import save_rows, tell_gaps

__all__ = ["sample"]


@apart()
def sample(run: Run, n: int = 64, *, given: object = None, mean: bool = False, seed: int = 0) -> Any:
    """n examples x ~ p(x | z, c), z ~ p(z | c), in the data's own shape and dtype; ``mean`` gives E[x | z, c].

    ``given``, c: a class, several, or "0..9", all classes from the one to the other, by their values where all are
    whole numbers; or the values of the known columns, (k,) or (m, k); or either under its name, {"label": …} or
    {"columns": …}; of a table conditions on its columns, "sex=Female,age>=40" or {"sex": "Female", "age": ">=40"},
    for which rows are weighted and drawn anew. The n rows go through classes and columns in turn; a table gives a
    frame. A model given labels that is not told draws them by their
    frequency. Raises ``UserError`` for an unknown class or a model without a prior.
    """
    seed, n = seed_number(seed), count_number(n, "n")
    return outward(_drawn(run, n, given, mean, seed), run.schema)


def _drawn(run: Run, n: int, given: object, mean: bool, seed: int) -> np.ndarray:
    """Raw rows."""
    if run.schema.table:
        return _of_table(run, n, given, mean, seed)
    context = None
    if given is not None:
        asked = parse_given(run, given)
        context = asked.repeat(-(-n // len(asked)), *[1] * (asked.dim() - 1))[:n]
    return inference.sample(run, n, context, seed, mean)


def _of_table(run: Run, n: int, given: object, mean: bool, seed: int) -> np.ndarray:
    """Rows under conditions: of columns that the model is told of, and of others."""
    schema = run.schema
    conditions = () if given is None else _conditions(given, schema.code_names)
    names = {schema.code_names[at] for field in schema.given for at in field.at}
    told = told_codes(tuple(one for one in conditions if one.name in names), schema)
    wanted = allowed(tuple(one for one in conditions if one.name not in names), schema)
    if wanted and mean:
        raise UserError("means are of whole rows: ask for draws under these conditions, without --mean.")
    if wanted:
        return sample_where(run, n, wanted, told, seed)
    return inference.sample(run, n, None if told is None else told.expand(n, -1), seed, mean)


def _conditions(given: object, names: tuple[str, ...]) -> tuple[Condition, ...]:
    if isinstance(given, str):
        return parse(given, names)
    if isinstance(given, Mapping):
        return of_mapping(given, names)
    raise UserError("given says conditions on columns, as in 'sex=Female,age>=40' or {'sex': 'Female'}.")


def parse_given(run: Run, given: object) -> Tensor:
    """What the user says is given → context (m,) or (m, k) that the model knows."""
    if run.schema.table:
        return _told(run, given)
    if not run.conditional:
        raise UserError("the model is told nothing, so it takes no --given: train one with fit --given label.")
    if isinstance(given, Mapping):
        given = _under_its_name(given, LABEL if run.labelled else COLUMNS)
    return _classes(run.schema, given) if run.labelled else _columns(run.schema, given)


def _told(run: Run, given: object) -> Tensor:
    """The codes (1, W) of the columns that a model of a table is told of."""
    told = told_codes(_conditions(given, run.schema.code_names), run.schema)
    if told is None:
        raise UserError("the model is told nothing of its codes: leave out what is given.")
    return told


def _under_its_name(given: Mapping, name: str) -> object:
    """The value of {name: value}."""
    if set(given) != {name}:
        raise UserError(f"the model is given {name} and nothing else, but not {_short(list(given))}: {{{name!r}: …}}.")
    return given[name]


def _classes(schema: Schema, given: object) -> Tensor:
    """A class, "1,3,5", "0..9" or a list of classes → their indices."""
    names = schema.class_names
    if isinstance(given, str):
        words = _named(given, names)
    else:  # as they may stand in the labels that a model is trained with
        known = infer_known(_several(given), schema)
        labels: list[int] = [] if known.labels is None else known.labels.tolist()
        words = [known.names[label] if label >= 0 else "" for label in labels]
    strangers = [word for word in words if word not in names]
    if strangers or not words:
        listed = ordered(names)
        numbered = listed == [str(index) for index in range(len(names))]
        shown = f"0..{len(names) - 1}" if numbered else ", ".join(listed[:20]) + (", …" if len(names) > 20 else "")
        hint = suggest(strangers[0], names) if strangers else ""
        raise UserError(f"--given {_short(given)} asks for a class that the model does not know{hint}: it has {shown}.")
    return torch.tensor([names.index(word) for word in words])


def _named(text: str, names: tuple[str, ...]) -> list[str]:
    """A class as it is called, or a condition on the label → the classes that are asked for."""
    asked = text if text in names else class_name(text)
    if asked in names or not asked.strip():
        return [asked]
    condition, *more = parse(asked, [LABEL])
    if more or condition.op not in CHOOSING:
        raise UserError(f"--given {_short(text)} compares labels: say which with =, as in label=a|b.")
    chosen = (_within(item, names) if isinstance(item, Span) else [item] for item in condition.items)
    return [word for words in chosen for word in words]


def _several(given: object) -> object:
    """One class as a list of one."""
    single = not isinstance(given, list | tuple) and np.ndim(given) == 0  # pyright: ignore[reportArgumentType]
    return [given] if single else list(given) if isinstance(given, range) else given


def _short(given: object) -> str:
    """What was asked for, in a line."""
    return reprlib.repr(given.tolist() if isinstance(given, np.ndarray) else given)


def _within(span: Span, names: tuple[str, ...]) -> list[str]:
    """The classes from the one to the other, in their order; what is no range of classes is a word, a backward one too.

    The order is that of numbers where all classes are whole numbers, however the model's file has them.
    """
    word, listed = [f"{span.low}..{span.high}"], ordered(names)
    if not set(span) <= set(names):
        return word
    return listed[listed.index(span.low) : listed.index(span.high) + 1] or word


def _columns(schema: Schema, given: object) -> Tensor:
    """ "0.5,2" or numbers (k,) or (m, k), of one column (m,) too → (m, k) float64; rows of a text end in ";"."""
    wanted, values = schema.columns.size if schema.columns else 0, given
    try:
        if isinstance(given, str):
            rows = given.strip().removeprefix(f"{COLUMNS}=").split(";")
            values = [[float(number) for number in row.split(",")] for row in rows]
        values = np.asarray(values, np.float64)
        values = values.reshape(-1, 1) if wanted == 1 and values.ndim < 2 else np.atleast_2d(values)
    except (ValueError, TypeError):
        values = np.empty((0, 0))
    if values.ndim != 2 or values.shape[1] != wanted or not len(values) or not np.isfinite(values).all():
        raise UserError(f"--given {_short(given)} must be {wanted} numbers, as in {','.join(['0.5'] * wanted)}.")
    return torch.from_numpy(values)


def command(
    run: options.RunPlace,
    *,
    n: Annotated[int, Parameter(name=["-n", "--n"])] = 64,
    out: Path,
    given: str | None = None,
    mean: bool = False,
    seed: int = 0,
    condition: options.FormerText = None,
) -> None:
    """Make up new examples: z from the prior, x from the decoder.

    Parameters
    ----------
    n
        how many.
    out
        .png, .npy, .npz or .csv; of a table .csv or .parquet.
    given
        a class, a list 1,3,5 or a range 0..9 that the rows go through in turn, label=0..9 too; the values of the
        known columns; or conditions on a table's columns, as in "sex=Female,age>=40".
    mean
        the mean of p(x | z) instead of a draw from it.
    seed
        of z and of the draw.
    """
    if condition is not None:
        raise UserError("--condition is now --given, as in --given 0..9.")
    trained = checkpoint.load(run)
    outputs.check_rows(out, trained.schema)
    with apart():
        values = _drawn(trained, count_number(n, "n"), given, mean, seed_number(seed))
    columns = len(parse_given(trained, given)) if given is not None and not trained.schema.table else 0
    save_rows(out, values, trained.schema, columns if columns > 1 else None)
    say(f"{n} {'means' if mean else 'draws'} in {out}")
    if not trained.schema.table:
        tell_gaps(out, values)
