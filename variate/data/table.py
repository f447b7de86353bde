"""Tables: a frame ↔ the codes of its columns (n, W), which are the values of a ``Dataset``."""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from variate.base.console import say
from variate.base.errors import UserError, suggest
from variate.data import columns as framed
from variate.data.dataset import Dataset
from variate.data.measures import table_schema
from variate.data.schema import Schema
from variate.data.sources import frames
from variate.data.sources.tables import TableFound, read_table

__all__ = ["frame_of", "load", "outward", "rows_of", "told"]


def load(
    data: object, names: object = None, schema: str | os.PathLike[str] | None = None, like: Schema | None = None
) -> Dataset | None:
    """A frame of any library, a .csv or .parquet file → ``Dataset``; ``None`` for what is no table."""
    if frames.is_frame(data):
        found = TableFound(frames.as_polars(data), (), "frame")
    elif isinstance(data, str | os.PathLike) and Path(data).exists():
        found = read_table(Path(data), _listed(names))
    else:
        return None
    if found is None:
        return None
    for note in found.notes:
        say(note)
    if like is not None:
        found = found._replace(frame=_named_as_before(found.frame, like))
    said = None if schema is None else framed.from_toml(Path(schema))
    return rows_of(found.frame, found.name, said, like)


def _listed(names: Any) -> Any:
    """The columns' names in "a,b,c", unless that is a file."""
    if isinstance(names, str) and "," in names and not Path(names).exists():
        return [name.strip() for name in names.split(",")]
    return names


def _named_as_before(frame: pl.DataFrame, like: Schema) -> pl.DataFrame:
    """A table without a heading has the columns of the one that was learned, if it has as many."""
    names = [column.name for column in like.table]
    without = frame.columns == [f"c{place}" for place in range(1, len(names) + 1)]
    return frame.rename(dict(zip(frame.columns, names, strict=True))) if without else frame


def rows_of(frame: pl.DataFrame, name: str, said: dict[str, dict] | None = None, like: Schema | None = None) -> Dataset:
    """A frame → ``Dataset``: its columns as they are found, as the user has ``said`` they are, or ``like`` a trained
    model's. Raises ``UserError`` where there is nothing to learn from, or a cell that the model cannot hold."""
    if not len(frame):
        raise UserError(f"{name} has no rows: give some.")
    columns = framed.infer_columns(frame, said) if like is None else like.table
    values = framed.codes(frame, columns)
    schema = table_schema(values, columns) if like is None else like
    return Dataset(torch.from_numpy(values), None, schema, name)


def frame_of(raw: np.ndarray, schema: Schema) -> pl.DataFrame:
    """Codes (n, W) → a frame with the table's columns, in their order and of their types."""
    return framed.frame(raw, schema.table)


def told(rows: Dataset, names: Iterable[str]) -> Dataset:
    """The rows for a model that is told of these columns, instead of explaining them."""
    wanted, known = list(names), [column.name for column in rows.schema.table if column.is_learned]
    for name in wanted:
        if name not in known:
            raise UserError(f"--given {name}: there is no such column to be told of{suggest(name, known)}.")
    if set(wanted) == set(known):
        raise UserError("--given names every column: leave at least one to be learned.")
    return replace(rows, schema=table_schema(rows.some().values.numpy(), rows.schema.table, frozenset(wanted)))


def outward(raw: np.ndarray, schema: Schema) -> Any:
    """Raw rows as the user has them: an array, or a frame."""
    return frame_of(raw, schema) if schema.table else raw
