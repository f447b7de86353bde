"""Rows in memory as they were stored, and the batches made of them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from variate import noise
from variate.data import binarize as binarizations
from variate.data import named
from variate.data.batch import Batch
from variate.data.schema import MOST_CLASSES, Schema, infer_schema, standardisation
from variate.errors import UserError

__all__ = ["Dataset", "load"]

VALUES_AT_ONCE = 1000
VALIDATION_SHARE = 1 / 6  # 10,000 of MNIST's 60,000 training rows


@dataclass(frozen=True)
class Dataset:
    """n rows of one schema: ``values`` (n, *shape) in the stored dtype, ``labels`` (n,) int64 or ``None``."""

    values: Tensor
    labels: Tensor | None
    schema: Schema
    name: str = "array"
    part: str = "all"

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, index: Tensor | slice) -> "Dataset":
        return replace(self, values=self.values[index], labels=None if self.labels is None else self.labels[index])

    def to(self, device: torch.device | str) -> "Dataset":
        labels = None if self.labels is None else self.labels.to(device)
        return replace(self, values=self.values.to(device), labels=labels)

    def split(self, seed: int) -> tuple["Dataset", "Dataset"]:
        """(training part, validation part): a seeded sixth is held out.

        What the schema has learned from the data (offset, scale, label counts) is learned from the training part.
        """
        if len(self) < 2:
            raise UserError(f"{self.name} has {len(self)} row: give at least 2, one to learn from and one to validate.")
        order = noise.permutation(seed, "split", n=len(self))
        held_out = max(1, round(len(self) * VALIDATION_SHARE))
        train, valid = self.rows(order[held_out:].sort().values), self.rows(order[:held_out].sort().values)
        schema = self.schema
        if schema.levels is None:
            offset, scale = standardisation(train.values.numpy())
            schema = replace(schema, offset=offset, scale=scale)
        if train.labels is not None and schema.labels is not None:
            counts = torch.bincount(train.labels, minlength=len(schema.labels))
            schema = replace(schema, labels=tuple(counts.tolist()))
        return replace(train, schema=schema), replace(valid, schema=schema)

    def subset(self, rows: int | None, seed: int = 0) -> "Dataset":
        """A fixed, seeded subset of that many rows, in their order; everything when ``rows`` is None or large."""
        if rows is not None and rows < 1:
            raise UserError(f"--rows {rows}: ask for at least one row.")
        if rows is None or rows >= len(self):
            return self
        return self.rows(noise.permutation(seed, "subset", n=len(self))[:rows].sort().values)

    def batch(self, index: Tensor | slice, binarize: str = "none", *key: object) -> Batch:
        """The rows as a ``Batch`` on their device; a binarisation draws its bits from the key.

        With an empty key the bits are a function of each row's own bytes: the same row, the same bits.
        """
        raw = self.values[index]
        units = self.schema.to_tensor(raw)
        binarization = binarizations.get(binarize)
        if binarization is not None:
            units = binarization(units, _uniform(raw, units, key))
        return Batch(units, units, context=None if self.labels is None else self.labels[index])

    def binarized(self, name: str) -> "Dataset":
        """The same rows as 0 and 1, each row's bits a function of its own bytes; itself if ``name`` keeps grey."""
        if name in ("none", "expected"):
            return self
        bits = [batch.input for batch in self.batches(VALUES_AT_ONCE, name)]
        raw = replace(self.schema, levels=2, dtype="uint8")
        values = np.concatenate([raw.to_raw(part) for part in bits])
        return replace(self, values=torch.from_numpy(values), schema=raw)

    def batches(self, size: int, binarize: str = "none") -> Iterator[Batch]:
        """All rows in their order, ``size`` at a time."""
        for start in range(0, len(self), size):
            yield self.batch(slice(start, start + size), binarize)


def _uniform(raw: Tensor, units: Tensor, key: tuple) -> Tensor:
    if key:
        generator = noise.generator("binarize", *key, device=units.device)
        return torch.rand(units.shape, generator=generator, device=units.device)
    normal = noise.row_normal(0, "binarize", noise.row_keys(raw), (1, *units.shape[1:]))[0]
    return torch.special.ndtr(normal).to(units.device)


def load(data: object, labels: object = None, part: str = "train", levels: int | None = None) -> Dataset:
    """A named set ("mnist", "mnist:test"), a NumPy array or a tensor → ``Dataset``.

    ``part`` is the part of a named set that is meant when the name does not say. Raises ``UserError`` for data that
    cannot be learned from.

    >>> load("digits:test").schema.describe()
    '8 × 8 uint8, whole numbers 0..16, 10 classes'
    """
    if isinstance(data, Dataset):
        return data
    if isinstance(data, str):
        name, _, said = data.partition(":")
        if said not in ("", "train", "test"):
            raise UserError(f"{data!r} asks for a part {said!r}: a named set has the parts train and test.")
        arrays = named.load(name, said or part)
        schema = infer_schema(arrays.values, arrays.labels, arrays.levels)
        return Dataset(torch.from_numpy(arrays.values), torch.from_numpy(arrays.labels), schema, name, arrays.part)
    values = _array(data)
    known = None if labels is None else _label_array(labels)
    schema = infer_schema(values, known, levels)
    return Dataset(torch.from_numpy(values), None if known is None else torch.from_numpy(known), schema)


def _array(data: object) -> np.ndarray:
    """Any array-like as one that torch can share: contiguous, writeable, in this machine's byte order."""
    try:
        values = np.asarray(data)
    except ValueError as error:
        raise UserError(f"the data is not an array of rows of one shape ({error}).") from None
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind == "f" and size > 8:
        values = values.astype(np.float64)
    elif kind == "u" and size > 1:  # torch counts with signed numbers
        if values.size and int(values.max()) > np.iinfo(np.int64).max:
            raise UserError("the data holds whole numbers beyond 64 bits with a sign: divide them, or give floats.")
        values = values.astype(np.int64)
    return np.require(values, values.dtype.newbyteorder("="), ["C", "W"])


def _label_array(labels: object) -> np.ndarray:
    try:
        array = np.asarray(labels)
    except ValueError as error:
        raise UserError(f"the labels are not a list of whole numbers ({error}).") from None
    if array.ndim != 1 or array.dtype.kind not in "bui" or (len(array) and int(array.min()) < 0):
        raise UserError(f"labels of shape {array.shape} and dtype {array.dtype}: give one whole number >= 0 per row.")
    if len(array) and int(array.max()) >= MOST_CLASSES:
        raise UserError(
            f"the labels go up to {int(array.max())}: number the classes 0, 1, 2, … below {MOST_CLASSES:,}."
        )
    return array.astype(np.int64)
