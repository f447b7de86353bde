"""What one row is: its fields, each of one kind, and how their values lie."""

import json
import math
from collections import Counter
from dataclasses import asdict, dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from variate.base.errors import UserError
from variate.data import columns as framed
from variate.data.batch import Cells, Record
from variate.data.columns import Column
from variate.data.kinds import Category, Kind, spread_or_one
from variate.data.layout import Layout, default_layout

__all__ = ["DTYPES", "Field", "Schema"]

DTYPES = ("bool", "uint8", "int8", "uint16", "int16", "int32", "int64", "float16", "float32", "float64")
MOST_CONDITIONS, MOST_FIELDS, MOST_COLUMNS = 65_536, 64, 10_000
OUT_OF_RANGE = "its schema is out of range: the file is damaged or hostile, do not use it."
X, LABEL, COLUMNS = "x", "label", "columns"  # the values that are learned; what may be known of a row besides


@dataclass(frozen=True)
class Field:
    """Values of one kind: raw x (\\*shape) as they were given ↔ model units u (\\*tensor_shape), exactly invertible.

    ``shape`` is the raw shape of one example and ``layout`` says what its axes are: "F" a vector of features, "L" a
    signal, "HW" an image, "DHW" a volume, the last three also with a channel axis C first or last. A single number has
    no axes. ``resized``: the images of a folder were brought to ``shape``. ``at``: of a table, which of its columns of
    codes these are. ``missing``: whether cells may be missing, NaN in raw values. ``given``: the model is told of them
    instead of explaining them.

    >>> from variate.data.kinds import Levels
    >>> field = Field(Levels(256), (2, 2), "uint8")
    >>> field.layout, field.to_tensor(torch.full((1, 2, 2), 255)).shape, field.size, field.log_volume_nats
    ('HW', torch.Size([1, 1, 2, 2]), 4, 0.0)
    """

    kind: Kind
    shape: tuple[int, ...]
    dtype: str
    layout: str = ""
    name: str = X
    resized: bool = False
    at: tuple[int, ...] = ()
    missing: bool = False
    given: bool = False

    def __post_init__(self) -> None:
        if not self.layout and self.shape:
            object.__setattr__(self, "layout", default_layout(len(self.shape)))

    @property
    def axes(self) -> Layout:
        return Layout(self.layout)

    @property
    def is_image(self) -> bool:
        return self.axes.spatial == 2

    @property
    def tensor_shape(self) -> tuple[int, ...]:
        """The shape of one example in model units: (d,) for vectors, channels first for everything else."""
        return self.axes.tensor_shape(self.shape)

    @property
    def size(self) -> int:
        """D, the number of values in one example: the "dim" of bits/dim."""
        return math.prod(self.shape)

    @property
    def varying_size(self) -> int:
        """How many of the values are no constants."""
        return self.kind.varying_size(self.tensor_shape)

    @property
    def log_volume_nats(self) -> float:
        """What a log-density in model units lacks to be one in raw units: −Σ log scale; 0 for masses and constants."""
        return self.kind.log_volume_nats(self.tensor_shape)

    @property
    def log_volumes_nats(self) -> np.ndarray:
        """The same of every value, (\\*tensor_shape)."""
        if self.kind.is_mass:
            return np.zeros(self.tensor_shape)
        scale = np.reshape(spread_or_one(self.kind.scale), (-1, *[1] * (len(self.tensor_shape) - 1)))
        return -np.log(np.broadcast_to(scale, self.tensor_shape))

    def to_tensor(self, raw: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Raw rows (B, \\*shape) as stored → model units (B, \\*tensor_shape), on the device of ``raw``."""
        return self.kind.units(self.axes.to_tensor(raw), dtype)

    def cells(self, raw: Tensor, dtype: torch.dtype = torch.float32) -> Cells:
        """Raw rows (B, …) → this field's cells, with what is missing of them.

        >>> from variate.data.kinds import Reals
        >>> field = Field(Reals((1.0, 2.0), (2.0, 1.0)), (2,), "float64", at=(2, 0), missing=True)
        >>> units, observed = field.cells(torch.tensor([[2.0, 0.0, torch.nan]]))
        >>> units.tolist(), observed.tolist()
        ([[0.0, 0.0]], [[False, True]])
        """
        chosen = raw[:, list(self.at)] if self.at else raw
        if not self.missing:
            return Cells(self.to_tensor(chosen, dtype))
        observed = ~chosen.isnan()
        units = self.to_tensor(torch.where(observed, chosen, torch.zeros_like(chosen)), dtype)
        observed = self.axes.to_tensor(observed)
        return Cells(torch.where(observed, units, torch.zeros_like(units)), observed)

    def to_raw(self, units: Tensor) -> np.ndarray:
        """Model units (B, \\*tensor_shape) → raw rows (B, \\*shape) in the data's own dtype; levels are rounded."""
        exact = self.kind.raw(units.detach().to("cpu", torch.float64).numpy())
        raw = self.axes.to_raw(torch.from_numpy(exact)).numpy()
        if np.dtype(self.dtype).kind in "iu":  # whole numbers come back whole, within what their dtype can hold
            bounds = np.iinfo(self.dtype)
            raw = raw.round().clip(bounds.min, bounds.max)
        return raw.astype(self.dtype)

    def canonical(self, raw: Tensor) -> Tensor:
        """Raw rows (B, \\*shape) → the values that they stand for: equal values have equal bytes, however stored.

        >>> from variate.data.kinds import Reals
        >>> field = Field(Reals(), (2,), "float32")
        >>> one, other = (field.canonical(torch.tensor([row])) for row in ([0, 1], [-0.0, 1.0]))
        >>> one.numpy().tobytes() == other.numpy().tobytes()
        True
        """
        return self.kind.canonical(raw)

    def describe(self) -> str:
        """One line for people."""
        axes = "" if self.layout == "F" else f" {self.layout}"
        holes = ", some missing" if self.missing else ""
        return f"{' × '.join(map(str, self.shape))}{axes} {self.dtype}, {self.kind.describe()}{holes}"

    def to_json(self) -> dict:
        return asdict(self) | {"kind": self.kind.to_json()}

    @classmethod
    def from_json(cls, said: object) -> "Field":
        """The inverse of ``to_json``; raises ``UserError`` for what no version of variate wrote."""
        if not isinstance(said, dict) or set(said) != {field.name for field in fields(cls)}:
            raise UserError("its schema has missing or unknown keys: it was not written by variate.")
        if bool(said["layout"]) != bool(said["shape"]):
            raise UserError(OUT_OF_RANGE)
        listed = {key: tuple(said[key]) for key in ("shape", "at") if isinstance(said[key], list)}
        field = cls(**said | listed | {"kind": Kind.from_json(said["kind"])})
        if not _plausible(field):
            raise UserError(OUT_OF_RANGE)
        return field


@dataclass(frozen=True)
class Schema:
    """The fields of a row: those that are explained, and those that may be given.

    Of an array ``x``, the values that are learned, and what may be known besides, a class ("label") or real numbers
    ("columns"). Of a table the columns of one measure each, and ``table``, what the columns of the frame are.

    >>> from variate.data.kinds import Levels
    >>> schema = Schema.of(Field(Levels(2), (5,), "uint8"), Field(Category((3, 4)), (), "int64", name="label"))
    >>> schema.describe(), schema.class_counts
    ('5 uint8, whole numbers 0..1, 2 classes', (3, 4))
    """

    fields: tuple[Field, ...]
    table: tuple[Column, ...] = ()

    @classmethod
    def of(cls, *fields: Field) -> "Schema":
        return cls(fields)

    def field(self, name: str) -> Field | None:
        """The field of that name, if there is one."""
        return next((field for field in self.fields if field.name == name), None)

    @property
    def x(self) -> Field:
        """What is learned of an array."""
        return self.fields[0]

    @property
    def explained(self) -> tuple[Field, ...]:
        """What is learned: what the encoder reads and the likelihood judges."""
        return tuple(field for field in self.fields if not field.given)

    @property
    def given(self) -> tuple[Field, ...]:
        """What a model may be told."""
        return tuple(field for field in self.fields if field.given)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one raw row, as it is stored: of a table, of its codes."""
        return (sum(field.size for field in self.fields),) if self.table else self.x.shape

    @property
    def code_names(self) -> tuple[str, ...]:
        """The names of a table's columns that have codes, in their order."""
        return tuple(column.name for column in self.table if column.is_learned)

    @property
    def dtype(self) -> str:
        """Of raw rows."""
        return self.x.dtype

    @property
    def are_vectors(self) -> bool:
        """Whether rows have no places."""
        return self.x.layout == "F"

    @property
    def size(self) -> int:
        """D, the values that are explained of a row: the "dim" of bits/dim."""
        return sum(field.size for field in self.explained)

    @property
    def varying_size(self) -> int:
        """How many of them are no constants."""
        return sum(field.varying_size for field in self.explained)

    @property
    def log_volume_nats(self) -> float:
        """What a log-density of all of them in model units lacks to be one in raw units."""
        return sum(field.log_volume_nats for field in self.explained)

    def log_volumes_nats(self, target: Record) -> Tensor:
        """The same of every row's observed cells, (B,), in double precision."""
        found = []
        for field in self.explained:
            units, observed = target[field.name]
            whole = torch.full((len(units),), field.log_volume_nats, dtype=torch.float64, device=units.device)
            if observed is not None and not field.kind.is_mass:
                each = torch.from_numpy(field.log_volumes_nats).to(units.device)
                whole = (observed * each).flatten(1).sum(1)
            found.append(whole)
        return torch.stack(found).sum(0)

    def told(self, known: Tensor | None, dtype: torch.dtype = torch.float32) -> Record | None:
        """What is given, as it is kept, → a record: classes (n,), real columns (n, k), or codes of a table (n, W)."""
        if known is None or not self.given:
            return None
        if self.table:
            return {field.name: field.cells(known, dtype) for field in self.given}
        return {field.name: Cells(field.kind.units(known, torch.float64)) for field in self.given}

    def to_raw(self, units: dict[str, Tensor]) -> np.ndarray:
        """Model units of some fields → raw rows (B, \\*shape); NaN in a table's columns that are not among them."""
        if not self.table:
            return self.x.to_raw(units[self.x.name])
        rows = np.full((len(next(iter(units.values()))), *self.shape), np.nan)
        for name, values in units.items():
            field = self.field(name)
            if field is not None:
                rows[:, list(field.at)] = field.to_raw(values)
        return rows

    def canonical(self, raw: Tensor) -> Tensor:
        """Raw rows → the values that they stand for: equal rows have equal bytes, however stored."""
        if not self.table and not self.x.missing:
            return self.x.canonical(raw)
        exact = raw.to(torch.float64) + 0.0  # −0.0 too becomes 0.0
        return exact.where(~exact.isnan(), torch.nan)  # one NaN of many

    @property
    def columns(self) -> Field | None:
        """The real numbers that are known of every row."""
        return self.field(COLUMNS)

    @property
    def label(self) -> Field | None:
        """The class of every row."""
        return self.field(LABEL)

    @property
    def class_counts(self) -> tuple[int, ...]:
        """The training rows of each class; empty without labels."""
        return self.label.kind.frequencies if self.label else ()  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the classes are called, in the order of ``class_counts``; empty without labels."""
        return self.label.kind.names if self.label else ()  # pyright: ignore[reportAttributeAccessIssue]

    def with_field(self, field: Field) -> "Schema":
        """The same with this field in the place of the one of its name, or added."""
        kept = [field if other.name == field.name else other for other in self.fields]
        return replace(self, fields=tuple(kept if self.field(field.name) else [*kept, field]))

    def with_kind(self, kind: Kind) -> "Schema":
        """The same with values of another kind."""
        return self.with_field(replace(self.x, kind=kind))

    def describe(self) -> str:
        """One line for people."""
        if self.table:
            return _described_table(self)
        known = [f", {self.label.kind.describe()}"] if self.label else []
        known += [f", {self.columns.size} known columns"] if self.columns else []
        return self.x.describe() + "".join(known)

    def to_json(self) -> dict:
        columns = framed.to_json(self.table)
        return json.loads(json.dumps({"fields": [field.to_json() for field in self.fields], "table": columns}))

    @classmethod
    def from_json(cls, data: object) -> "Schema":
        """The inverse of ``to_json``; raises ``UserError`` for a schema that no version of variate wrote."""
        known = isinstance(data, dict) and set(data) == {"fields", "table"}
        fields, columns = (data["fields"], data["table"]) if known else (None, None)  # pyright: ignore[reportIndexIssue]
        if not isinstance(fields, list) or not 1 <= len(fields) <= MOST_FIELDS or not isinstance(columns, list):
            raise UserError("its schema has missing or unknown keys: it was not written by variate.")
        schema = cls(tuple(map(Field.from_json, fields)), framed.from_json(columns) if columns else ())
        if not (_is_table(schema) if columns else _is_array(schema)):
            raise UserError(OUT_OF_RANGE)
        return schema


def _plausible(field: Field) -> bool:
    """Whether every part has the type and the range that this package gives it; nothing is assumed of them."""
    shape = field.shape
    return (
        isinstance(shape, tuple)
        and len(shape) <= 4
        and all(type(n) is int and 1 <= n <= 1 << 24 for n in shape)
        and math.prod(shape) < 1 << 28
        and isinstance(field.layout, str)
        and (field.axes.fits(shape) if shape else field.layout == "")
        and isinstance(field.dtype, str)
        and field.dtype in DTYPES
        and type(field.resized) is bool
        and type(field.missing) is bool
        and type(field.given) is bool
        and not (field.resized and len(shape) < 2)
        and _is_of_its_role(field)
        and field.kind.plausible(field.tensor_shape[0] if shape else 1)
    )


def _is_of_its_role(field: Field) -> bool:
    """A label is a single class, columns are real numbers that vary, what is explained has axes and is no class; of a
    table every value has a column of codes."""
    if field.at:
        whole = isinstance(field.at, tuple) and all(type(at) is int and 0 <= at < MOST_COLUMNS for at in field.at)
        return whole and field.layout == "F" and field.shape == (len(field.at),) and field.dtype == "float64"
    if field.name == LABEL:
        return isinstance(field.kind, Category) and not field.shape
    if field.name == COLUMNS:
        return (
            field.kind.support == "reals"
            and len(field.shape) == 1
            and field.size <= MOST_CONDITIONS
            and min(field.kind.scale) > 0
        )
    return field.name == X and bool(field.shape) and not isinstance(field.kind, Category)


def _is_array(schema: Schema) -> bool:
    """One field that is explained, and at most one of each that may be given."""
    names = [field.name for field in schema.fields]
    first, *others = schema.fields
    told = all(field.given and not field.at and not field.missing for field in others)
    return (
        names[0] == X
        and set(names[1:]) <= {LABEL, COLUMNS}
        and len(set(names)) == len(names)
        and told
        and (not first.given and not first.at)
    )


def _is_table(schema: Schema) -> bool:
    """Every column of codes belongs to one field, of the measure that the column has."""
    learned = [column for column in schema.table if column.is_learned]
    at = sorted(place for field in schema.fields for place in field.at)
    names = [field.name for field in schema.fields]
    proper = all(isinstance(name, str) and name.isidentifier() and len(name) < 100 for name in names)
    return (
        at == list(range(len(learned)))
        and len(set(names)) == len(names)
        and proper
        and bool(schema.explained)
        and not schema.explained[0].given
        and all(field.at and field.missing for field in schema.fields)
        and len({column.name for column in schema.table}) == len(schema.table)
    )


def _described_table(schema: Schema) -> str:
    """How many columns of which measure."""
    counts = Counter(column.measure for column in schema.table)
    parts = ", ".join(f"{count} {measure}" for measure, count in counts.items())
    told = sum(field.size for field in schema.given)
    return f"a table of {len(schema.table):,} columns ({parts})" + (f", {told} of them given" if told else "")
