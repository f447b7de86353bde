"""Rows as they were stored, in memory or in shards, and the batches made of them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from variate import noise
from variate.base.errors import UserError, count_number, seed_number
from variate.data import binarize as binarizations
from variate.data.batch import Batch, Cells, Record
from variate.data.infer import (
    COARSE_TOLERANCE,
    GRID_TOLERANCE,
    columns_field,
    count_units,
    infer_schema,
    known_fields,
    standardisation,
)
from variate.data.kinds import Levels
from variate.data.known import Known, known_as
from variate.data.measures import table_schema
from variate.data.parting import held_out
from variate.data.schema import Field, Schema
from variate.data.shards import Shards, pieces

__all__ = ["Dataset"]

VALUES_AT_ONCE = 1000
FARTHEST = 1e9  # standard deviations, that an encoder reads
FLOATS = (torch.float16, torch.float32, torch.float64)


@dataclass(frozen=True)
class Dataset:
    """n rows of one schema: ``values`` (n, *shape) in the stored dtype, and what is known of them besides.

    Of a table the values are its codes, NaN where a cell is missing. Values that do not fit into memory are ``Shards``;
    labels, columns and weights always are in memory.
    ``labels`` (n,) int64, −1 where the class is not known; or ``columns`` (n, k) float64, real numbers that a model
    may be conditional on; ``None`` where there is no such thing. ``words``: the labels were words, if only to look at.
    """

    values: Tensor | Shards
    labels: Tensor | None
    schema: Schema
    name: str = "array"
    part: str = "all"
    columns: Tensor | None = None
    words: bool = False
    weights: Tensor | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def given(self) -> Record | None:
        """What a conditional model is told of every row, if something is known."""
        return self._given(slice(None), torch.float32)

    @property
    def known(self) -> Tensor | Shards | None:
        """The same as it is kept: classes (n,), real columns (n, k), or the codes of a table (n, W)."""
        if self.schema.table:
            return self.values
        return self.labels if self.columns is None else self.columns

    def _given(self, index: Tensor | slice, dtype: torch.dtype) -> Record | None:
        if self.known is None or not self.schema.given:
            return None
        return self.schema.told(_chosen(self.known, index), dtype)

    @property
    def streams(self) -> bool:
        """Whether its values are read when they are asked for."""
        return isinstance(self.values, Shards)

    def rows(self, index: Tensor | slice) -> "Dataset":
        known = {name: value[index] for name, value in self._known().items()}
        values = self.values.choose(index) if isinstance(self.values, Shards) else _chosen(self.values, index)
        return replace(self, values=values, **known)

    def some(self) -> "Dataset":
        """Itself, or a fixed, seeded subset that fits into memory, for what looks at all values at once."""
        return self.subset(self.values.few) if isinstance(self.values, Shards) else self

    def order(self, seed: int, epoch: int) -> Tensor:
        """The order of an epoch: a permutation of 0..n−1 (int64), a function of (seed, epoch) alone.

        Of values in shards it goes from shard to shard: see ``Shards.order``.
        """
        if isinstance(self.values, Shards):
            return self.values.order(seed_number(seed), "order", epoch)
        return noise.permutation(seed_number(seed), "order", epoch, n=len(self))

    def to(self, device: torch.device | str) -> "Dataset":
        known = {name: value.to(device) for name, value in self._known().items()}
        return replace(self, values=self.values.to(device), **known)

    def _known(self) -> dict[str, Tensor]:
        known = {"labels": self.labels, "columns": self.columns, "weights": self.weights}
        return {name: value for name, value in known.items() if value is not None}

    def split(self, seed: int, split: str = "random") -> tuple["Dataset", "Dataset"]:
        """(training part, validation part): a sixth is held out, as ``parting`` says.

        What the schema has learned from the data (offset, scale, label counts) is learned from the training part.
        """
        if len(self) < 2:
            raise UserError(
                f"{self.name} has {len(self)} row (n_samples = 1): give at least 2, one to learn from and one to "
                "validate."
            )
        chosen = held_out(len(self), seed_number(seed), split, self.schema, self.values, self.labels)
        rest = torch.ones(len(self), dtype=torch.bool)
        rest[chosen] = False
        return self.rows(rest.nonzero().flatten()).beside(self.rows(chosen))

    def beside(self, valid: "Dataset") -> tuple["Dataset", "Dataset"]:
        """(itself to learn from, the others to validate), under a schema that is learned from itself alone."""
        schema = _learned(self)
        return replace(self, schema=schema), replace(valid, schema=schema, part="validation")

    @property
    def mean_log_volume_nats(self) -> float:
        """What the mean log-density of these rows in model units lacks to be one in raw units."""
        if not any(field.missing and not field.kind.is_mass for field in self.schema.explained):
            return self.schema.log_volume_nats
        parts = [self.schema.log_volumes_nats(batch.target) for batch in self.batches(VALUES_AT_ONCE)]
        return float(torch.cat(parts).mean())

    @property
    def mean_weight(self) -> float:
        """Of a row, 1 without weights."""
        return 1.0 if self.weights is None else float(self.weights.double().mean())

    def subset(self, rows: int | None, seed: int = 0) -> "Dataset":
        """A fixed, seeded subset of that many rows, in their order; everything when ``rows`` is None or large."""
        seed = seed_number(seed)
        if rows is None or count_number(rows, "rows") >= len(self):
            return self
        return self.rows(noise.permutation(seed, "subset", n=len(self))[:rows].sort().values)

    def batch(
        self,
        index: Tensor | slice,
        binarize: str = "none",
        *key: object,
        part: slice = slice(None),
        dtype: torch.dtype = torch.float32,
    ) -> Batch:
        """The rows as a ``Batch`` on their device; a binarisation draws its bits from the key.

        With an empty key the bits are a function of each row's own values: the same row, the same bits. Of an index
        that is a tensor ``part`` may be taken, with the bits that it has in the whole. An encoder reads real numbers
        up to ±1e9 standard deviations: what lies farther out is judged as it is, from a place that can be computed.
        """
        rows = 0 if isinstance(index, slice) else len(index)
        index = index if isinstance(index, slice) else index[part]
        raw = _chosen(self.values, index)
        target = {field.name: field.cells(raw, dtype) for field in self.schema.explained}
        binarization = binarizations.get(binarize)
        if binarization is not None:
            ((name, (grey, observed)),) = target.items()
            bits = binarization(grey, lambda: self._uniform(raw, grey, key, rows or len(raw), part))
            target = {name: Cells(bits, observed)}
        read = {field.name: _within_reach(field, target[field.name]) for field in self.schema.explained}
        weight = None if self.weights is None else _chosen(self.weights, index)
        return Batch(read, target, self._given(index, dtype), weight)

    def keys(self, index: Tensor | slice) -> list[bytes]:
        """A key for every row, for noise that is its own: equal rows have equal keys, whatever they were stored as."""
        return noise.row_keys(self.schema.canonical(_chosen(self.values, index)))

    def _uniform(self, raw: Tensor, units: Tensor, key: tuple, rows: int, part: slice) -> Tensor:
        """One number per value: from the key for that many rows, of which a part is wanted, or from the rows' own."""
        if key:
            generator = noise.generator("binarize", *key, device=units.device)
            shape, place = (rows, *units.shape[1:]), units.device
            return torch.rand(shape, generator=generator, device=place, dtype=torch.float32)[part]
        keys = noise.row_keys(self.schema.canonical(raw))
        normal = noise.row_normal(0, "binarize", keys, (1, *units.shape[1:]))[0]
        return torch.special.ndtr(normal).to(units.device)

    def binarized(self, name: str) -> "Dataset":
        """The same rows as 0 and 1, each row's bits a function of its own values; itself if ``name`` keeps grey."""
        if name in ("none", "expected"):
            return self
        raw = Schema.of(replace(self.schema.x, kind=Levels(2), dtype="uint8"), *self.schema.fields[1:])

        def bits(values: Tensor) -> Tensor:
            rows = Dataset(values, None, self.schema)
            found = (batch.target[raw.x.name].units for batch in rows.batches(VALUES_AT_ONCE, name))
            parts = [raw.x.to_raw(units) for units in found]
            return torch.from_numpy(np.concatenate(parts))

        values = self.values.changed(bits, np.dtype("u1")) if isinstance(self.values, Shards) else bits(self.values)
        return replace(self, values=values, schema=raw)

    def batches(self, size: int, binarize: str = "none") -> Iterator[Batch]:
        """All rows in their order, ``size`` at a time."""
        for start in range(0, len(self), size):
            yield self.batch(slice(start, start + size), binarize)

    def under(self, wanted: Schema) -> "Dataset":
        """The rows under a trained model's schema: what they are was settled then, not by these rows.

        Raises ``UserError`` for rows of another shape, values that the model cannot hold, or classes unknown to it.
        """
        if self.schema == wanted:
            return self
        if self.schema.table or wanted.table:
            if self.schema.table == wanted.table:  # codes of the same columns
                return replace(self, schema=wanted)
            raise UserError(
                f"{self.name} holds {self.schema.describe()}, but the model was trained on {wanted.describe()}."
            )
        if self.schema.x.shape != wanted.x.shape:
            raise UserError(f"{self.name} holds {self._described()}, but the model was trained on {wanted.describe()}.")
        self._check_values(wanted)
        labels, columns = self.labels, None if wanted.columns is None else self.columns
        if labels is not None and wanted.class_counts:
            known = known_as(labels.numpy(), self.schema.class_names, wanted.class_names, self.name)
            labels = torch.from_numpy(known)
        if columns is not None and wanted.columns is not None and columns.shape[1] != wanted.columns.size:
            raise UserError(
                f"{self.name} comes with {columns.shape[1]} known columns, but the model was trained with "
                f"{wanted.columns.size}."
            )
        if self.schema.x.missing and not wanted.x.missing:  # whose holes an encoder takes for the mean
            wanted = wanted.with_field(replace(wanted.x, missing=True))
        return replace(self, schema=wanted, labels=labels, columns=columns)

    def _check_values(self, wanted: Schema) -> None:
        """That each row by itself, whatever the others are, holds what the schema knows."""
        first = 0
        for part in pieces(self.values):
            strange = _strange(wanted, part)
            if bool(strange.any()):
                row = int(strange.nonzero()[0])
                raise UserError(
                    f"{self.name} holds {self._described()}, but the model was trained on {wanted.describe()}: row "
                    f"{first + row} {_why_strange(wanted, part[row])}."
                )
            first += len(part)

    def _described(self) -> str:
        """What the rows would be taken for by themselves."""
        values = self.values if isinstance(self.values, Shards) else self.values.numpy()
        try:
            return infer_schema(values, layout=self.schema.x.layout, dtype=self.schema.x.dtype).describe()
        except UserError:  # nothing that could be learned from
            return self.schema.describe()

    def with_known(self, known: Known) -> "Dataset":
        """The rows with other labels or columns."""
        labels, columns = (None if a is None else torch.from_numpy(a) for a in (known.labels, known.columns))
        schema = Schema.of(self.schema.x, *known_fields(known, len(self)))
        return replace(self, labels=labels, columns=columns, schema=schema, words=known.words)


def _learned(train: Dataset) -> Schema:
    """The schema with what was inferred from all rows inferred from the training rows alone."""
    schema, x = train.schema, train.schema.x
    if schema.table:
        told = {schema.code_names[place] for field in schema.given for place in field.at}
        return table_schema(train.some().values.cpu().numpy(), schema.table, frozenset(told))
    if x.kind.levels is None:
        offset, scale = (count_units if x.kind.is_count else standardisation)(train.values, x.layout)
        if any(wide and not narrow for narrow, wide in zip(scale, x.kind.scale, strict=True)):
            whole = np.broadcast_to(x.kind.offset, len(scale)).tolist(), x.kind.scale
            columns = zip(np.broadcast_to(offset, len(scale)).tolist(), scale, *whole, strict=True)
            # what varies in the validation rows alone is no constant
            chosen = [(at, narrow) if narrow else (all_at, wide) for at, narrow, all_at, wide in columns]
            offset, scale = zip(*chosen, strict=True)
        schema = schema.with_kind(replace(x.kind, offset=offset, scale=scale))
    if train.columns is not None:
        schema = schema.with_field(columns_field(train.columns))
    if train.labels is not None and schema.label is not None:
        classes = len(schema.class_counts)
        counts = torch.bincount(train.labels[train.labels >= 0], minlength=classes)
        schema = schema.with_field(
            replace(schema.label, kind=replace(schema.label.kind, frequencies=tuple(counts.tolist())))
        )
    return schema


def _within_reach(field: Field, cells: Cells) -> Cells:
    """Real numbers as far out as an encoder reads them."""
    return cells if field.kind.is_mass else cells._replace(units=cells.units.clamp(-FARTHEST, FARTHEST))


def _strange(schema: Schema, values: Tensor) -> Tensor:
    """Which rows cannot be what the schema says: (n,) bool."""
    rows = values.flatten(1)
    if not schema.x.kind.is_mass:
        return torch.zeros(len(rows), dtype=torch.bool)
    return _impossible(schema, rows).any(1) | _seem_fractions(schema, rows)


def _impossible(schema: Schema, values: Tensor) -> Tensor:
    """Which values are no levels, or no counts, of the schema."""
    most = math.inf if schema.x.kind.levels is None else schema.x.kind.levels - 1
    if not values.is_floating_point():
        level = values if schema.x.kind.divisor == 1 else values.to(torch.int64) * schema.x.kind.divisor
        return (level < 0) | (level > most)
    level = values.double() * schema.x.kind.divisor
    tolerance = COARSE_TOLERANCE if values.dtype == torch.float16 else GRID_TOLERANCE
    return ((level - level.round()).abs() > tolerance) | (level < -0.5) | (level > most + 0.5)


def _seem_fractions(schema: Schema, rows: Tensor) -> Tensor:
    """Which rows (n, D) are black and white, 1 being white, where the schema knows 1 as the next to darkest of many."""
    if schema.x.kind.divisor > 1 or (schema.x.kind.levels or 0) <= 2 or rows.dtype not in (torch.bool, *FLOATS):
        return torch.zeros(len(rows), dtype=torch.bool)
    if rows.dtype == torch.bool:
        return torch.ones(len(rows), dtype=torch.bool)
    return (rows.amax(1) == 1) & (schema.x.axes.spatial > 0)


def _why_strange(schema: Schema, row: Tensor) -> str:
    """A predicate for a row that is ``_strange``."""
    flat = row.flatten()
    wrong = _impossible(schema, flat).nonzero()
    if len(wrong):
        return f"has {flat[int(wrong[0])].item():.6g} as value {int(wrong[0])}"
    top = (schema.x.kind.levels or 2) - 1
    return f"has 0 and 1 alone, as if 1 were white: multiply by {top}, or give such dark images as integers"


def _chosen(rows: Tensor | Shards, index: Tensor | slice) -> Tensor:
    """``rows[index]``, eight times as fast for an index of whole images."""
    return rows[index] if isinstance(index, slice) else rows.index_select(0, index)
