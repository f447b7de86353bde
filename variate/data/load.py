"""Anything that people have → ``Dataset``: a named set, a file, a folder of images or shards, an array, a PyTorch
data set."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.utils import data as torch_data

from variate.base.console import say
from variate.base.errors import UserError
from variate.base.progress import track
from variate.base.surroundings import apart
from variate.data import named, sources, table
from variate.data.arrays import as_array, shareable
from variate.data.dataset import Dataset
from variate.data.infer import infer_schema, plain_schema
from variate.data.known import Known, class_name, infer_known
from variate.data.layout import MOST_COMPARED, seems_sequential
from variate.data.schema import Schema
from variate.data.shards import Shards
from variate.data.weights import weights_of

__all__ = ["load"]


@apart()
def load(
    data: object,
    labels: object = None,
    *,
    part: str = "train",
    levels: int | None = None,
    layout: str | None = None,
    resize: tuple[int, int] | None = None,
    names: object = None,
    schema: str | os.PathLike[str] | None = None,
    weight: object = None,
    like: Schema | None = None,
) -> Dataset:
    """A named set ("mnist", "mnist:test"), a path, an array, a tensor, a data frame or a PyTorch ``Dataset`` →
    ``Dataset``.

    ``labels``: one per row (whole numbers or words, also missing ones), real columns (n, k), or the path of a file that
    holds them: see ``known.infer_known``. ``part`` is the part of a named set that is meant when the name does not say.
    ``levels``, ``layout`` and ``resize`` (of a folder of images) override what is inferred. A .csv or .parquet file or
    a frame is a table, unless labels, levels or a layout are given with a frame of numbers; ``names`` are the columns'
    where a file has no heading, ``schema`` a TOML file that says what columns are. ``weight``: how much each row counts
    in training, (n,). ``like`` is a trained model's schema, which the rows must fit. Raises ``UserError`` for data that
    cannot be learned from.

    >>> load("digits:test").schema.describe()
    '8 × 8 HW uint8, whole numbers 0..16, 10 classes'
    """
    rows = _loaded(data, labels, part, (levels, layout, resize), (names, schema), like)
    return rows if weight is None else replace(rows, weights=weights_of(weight, len(rows)))


def _loaded(
    data: object,
    labels: object,
    part: str,
    read: tuple[int | None, str | None, tuple[int, int] | None],
    said: tuple[object, str | os.PathLike[str] | None],
    like: Schema | None,
) -> Dataset:
    """A table, what is a ``Dataset`` already, or an array."""
    plain = labels is None and read == (None, None, None)
    if isinstance(data, Dataset):
        if read != (None, None, None):
            raise UserError("a Dataset has its schema: give levels, layout and resize where it is loaded.")
        rows = data if labels is None else data.with_known(infer_known(_label_file(labels, part, data.values), like))
        return rows if like is None else rows.under(like)
    if plain and (like is None or like.table):
        rows = table.load(data, *said, like)
        if rows is not None:
            return rows
    if said != (None, None):
        raise UserError("names and schema are of tables, which these data are not: leave them out.")
    if like is not None and like.table:
        raise UserError(f"the model learned {like.describe()}: give a frame or a file with these columns.")
    return _of_array(data, labels, part, *read, like)


def _of_array(
    data: object,
    labels: object,
    part: str,
    levels: int | None,
    layout: str | None,
    resize: tuple[int, int] | None,
    like: Schema | None,
) -> Dataset:
    resized = False
    if isinstance(data, str) and _is_name(data):
        name, _, said = data.partition(":")
        if said not in ("", "train", "test"):
            raise UserError(f"{data!r} asks for a part {said!r}: a named set has the parts train and test.")
        arrays = named.load(name, said or part)
        labels = _label_file(labels, part, arrays.values)
        values, labels, levels = arrays.values, arrays.labels if labels is None else labels, levels or arrays.levels
        part = arrays.part
    elif isinstance(data, str | os.PathLike):
        found = _read(Path(data), labels, part, resize, like)
        values, name, part, resized = found.values, found.name, found.part, found.resized
        labels = found.labels if labels is None or isinstance(labels, str | os.PathLike) else labels
    else:
        values, labels = _rows(data, labels)
        labels = _label_file(labels, part, values)
        name, part = "array", "all"
    rows = _dataset(values, labels, class_name(name), part, levels, layout, like)
    if like is None and layout is None and rows.schema.x.layout == "F" and not rows.schema.x.kind.is_mass:
        if seems_sequential(rows.values[:MOST_COMPARED].numpy()):
            say("neighbouring columns resemble each other: if the rows are signals, say so with --layout L")
    return replace(rows, schema=rows.schema.with_field(replace(rows.schema.x, resized=True))) if resized else rows


def _label_file(labels: object, part: str, values: object) -> object:
    """The labels in a file, if it is a file that is named."""
    if not isinstance(labels, str | os.PathLike):
        return labels
    try:
        rows = len(values)  # pyright: ignore[reportArgumentType] (what has no length is refused later)
    except TypeError:
        rows = 0
    return sources.read_labels(Path(labels), part, rows)


def _read(path: Path, labels: object, part: str, resize: tuple[int, int] | None, like: Schema | None) -> sources.Found:
    """A file or a folder, read as the model wants it, if there is one; what was decided is told."""
    file = Path(labels) if isinstance(labels, str | os.PathLike) else None
    kind = None if like is None else (like.x.shape, like.x.dtype)
    if like is not None and like.x.resized:
        resize = (like.x.shape[0], like.x.shape[1])
    found = sources.read(path, labels=file, resize=resize, part=part, like=kind)
    for note in found.notes:
        say(note)
    return found


def _is_name(data: str) -> bool:
    """Whether a text names a data set rather than a file."""
    return data.partition(":")[0] in named.names() or not (Path(data).exists() or Path(data).suffix or os.sep in data)


def _dataset(
    values: object,
    labels: object,
    name: str,
    part: str,
    levels: int | None,
    layout: str | None,
    like: Schema | None,
) -> Dataset:
    array, dtype = (values, values.stored) if isinstance(values, Shards) else shareable(values)
    known = None if labels is None else infer_known(labels, like)
    if like is None:
        schema = infer_schema(array, known, levels, layout, dtype)
    else:  # what the model has settled is not inferred again
        schema = plain_schema(array, known, like.x.layout if array.ndim == 1 + len(like.x.layout) else None, dtype)
    known = known or Known()
    rows = Dataset(
        array if isinstance(array, Shards) else torch.from_numpy(array),
        None if known.labels is None else torch.from_numpy(known.labels),
        schema,
        name,
        part,
        None if known.columns is None else torch.from_numpy(known.columns),
        known.words,
    )
    return rows if like is None else rows.under(like)


def _rows(data: object, labels: object) -> tuple[object, object]:
    """A PyTorch data set as arrays, all examples in memory; anything else as it is."""
    if not isinstance(data, torch_data.Dataset):
        return data, labels
    if isinstance(data, torch_data.IterableDataset):
        raise UserError("an IterableDataset has no length: give a map-style Dataset, or list() of it.")
    try:
        length = len(data)  # pyright: ignore[reportArgumentType] (a map-style one has a length)
        items: list = [data[index] for index in track(range(length), "Reading", unit="rows")]
    except (TypeError, NotImplementedError, LookupError) as error:
        raise UserError(f"the Dataset cannot be read from 0 to its length ({error}): give one of map style.") from None
    if not items:
        raise UserError("the Dataset is empty: give at least 2 rows.")
    pairs = isinstance(items[0], tuple | list)
    for number, item in enumerate(items):
        _check_item(item, number, pairs)
    rows = _same_shape([_array(item[0] if pairs else item, number) for number, item in enumerate(items)])
    given = labels
    if labels is None and pairs and len(items[0]) > 1:
        given = [item[1] for item in items]
    return rows, given


def _check_item(item: object, number: int, pair: bool) -> None:
    """An item is an example, or an example with its label, as all others are."""
    if isinstance(item, Mapping):
        keys = ", ".join(repr(key)[:40] for key in list(item)[:8]) or "no keys"
        raise UserError(
            f"item {number} of the Dataset is a {type(item).__name__} with {keys}: let it give the example, or the "
            "example and its label, as in (item[KEY], item[KEY])."
        )
    if isinstance(item, tuple | list) != pair or isinstance(item, tuple | list) and not len(item):
        wanted = "an example and its label" if pair else "an example"
        raise UserError(
            f"item {number} of the Dataset is of type {type(item).__name__} and not {wanted}, as the first is: let it "
            "give the same for every row."
        )


def _array(example: object, number: int) -> np.ndarray:
    """One example of a data set."""
    if isinstance(example, Mapping | str | bytes) or example is None:
        raise UserError(
            f"the example in item {number} of the Dataset is of type {type(example).__name__}: let it give an array or "
            "an image, as in (item[KEY], label)."
        )
    if not isinstance(example, np.ndarray | torch.Tensor | list | tuple):
        example = np.asarray(example)  # an image, or a number
    return as_array(example, "data")


def _same_shape(rows: list[np.ndarray]) -> list[np.ndarray]:
    other = next((number for number, row in enumerate(rows) if row.shape != rows[0].shape), None)
    if other is not None:
        raise UserError(
            f"item {other} of the Dataset has an example of shape {rows[other].shape}, but item 0 of {rows[0].shape}: "
            "bring them to one shape."
        )
    if rows[0].ndim == 0:
        raise UserError("the Dataset gives a single number as the example: let it give an array, or (array, label).")
    return rows
