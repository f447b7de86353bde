"""What one row is: its fields, each of one kind, and how their values lie."""

import json
import math
from dataclasses import asdict, dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from variate.base.errors import UserError
from variate.data.kinds import Category, Kind
from variate.data.layout import Layout, default_layout

__all__ = ["DTYPES", "Field", "Schema"]

DTYPES = ("bool", "uint8", "int8", "uint16", "int16", "int32", "int64", "float16", "float32", "float64")
MOST_CONDITIONS = 65_536
X, LABEL, COLUMNS = "x", "label", "columns"  # the values that are learned; what may be known of a row besides


@dataclass(frozen=True)
class Field:
    """Values of one kind: raw x (\\*shape) as they were given ↔ model units u (\\*tensor_shape), exactly invertible.

    ``shape`` is the raw shape of one example and ``layout`` says what its axes are: "F" a vector of features, "L" a
    signal, "HW" an image, "DHW" a volume, the last three also with a channel axis C first or last. A single number has
    no axes. ``resized``: the images of a folder were brought to ``shape``.

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

    def to_tensor(self, raw: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Raw rows (B, \\*shape) as stored → model units (B, \\*tensor_shape), on the device of ``raw``."""
        return self.kind.units(self.axes.to_tensor(raw), dtype)

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
        return f"{' × '.join(map(str, self.shape))}{axes} {self.dtype}, {self.kind.describe()}"

    def to_json(self) -> dict:
        return asdict(self) | {"kind": self.kind.to_json()}

    @classmethod
    def from_json(cls, said: object) -> "Field":
        """The inverse of ``to_json``; raises ``UserError`` for what no version of variate wrote."""
        if not isinstance(said, dict) or set(said) != {field.name for field in fields(cls)}:
            raise UserError("its schema has missing or unknown keys: it was not written by variate.")
        if bool(said["layout"]) != bool(said["shape"]):
            raise UserError("its schema is out of range: the file is damaged or hostile, do not use it.")
        shape = tuple(said["shape"]) if isinstance(said["shape"], list) else said["shape"]
        field = cls(**said | {"kind": Kind.from_json(said["kind"]), "shape": shape})
        if not _plausible(field):
            raise UserError("its schema is out of range: the file is damaged or hostile, do not use it.")
        return field


@dataclass(frozen=True)
class Schema:
    """The fields of a row: ``x``, the values that are learned, and what may be known besides, a class ("label") or
    real numbers ("columns").

    >>> from variate.data.kinds import Levels
    >>> schema = Schema.of(Field(Levels(2), (5,), "uint8"), Field(Category((3, 4)), (), "int64", name="label"))
    >>> schema.describe(), schema.class_counts
    ('5 uint8, whole numbers 0..1, 2 classes', (3, 4))
    """

    fields: tuple[Field, ...]

    @classmethod
    def of(cls, *fields: Field) -> "Schema":
        return cls(fields)

    def field(self, name: str) -> Field | None:
        """The field of that name, if there is one."""
        return next((field for field in self.fields if field.name == name), None)

    @property
    def x(self) -> Field:
        """What is learned."""
        return self.fields[0]

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
        return Schema(tuple(kept if self.field(field.name) else [*kept, field]))

    def with_kind(self, kind: Kind) -> "Schema":
        """The same with values of another kind."""
        return self.with_field(replace(self.x, kind=kind))

    def describe(self) -> str:
        """One line for people."""
        known = [f", {self.label.kind.describe()}"] if self.label else []
        known += [f", {self.columns.size} known columns"] if self.columns else []
        return self.x.describe() + "".join(known)

    def to_json(self) -> dict:
        return json.loads(json.dumps({"fields": [field.to_json() for field in self.fields]}))

    @classmethod
    def from_json(cls, data: object) -> "Schema":
        """The inverse of ``to_json``; raises ``UserError`` for a schema that no version of variate wrote."""
        fields = data.get("fields") if isinstance(data, dict) and set(data) == {"fields"} else None
        if not isinstance(fields, list) or not 1 <= len(fields) <= 3:
            raise UserError("its schema has missing or unknown keys: it was not written by variate.")
        schema = cls(tuple(map(Field.from_json, fields)))
        names = [field.name for field in schema.fields]
        if names[0] != X or not set(names[1:]) <= {LABEL, COLUMNS} or len(set(names)) < len(names):
            raise UserError("its schema is out of range: the file is damaged or hostile, do not use it.")
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
        and not (field.resized and len(shape) < 2)
        and _is_of_its_role(field)
        and field.kind.plausible(field.tensor_shape[0] if shape else 1)
    )


def _is_of_its_role(field: Field) -> bool:
    """A label is a single class, columns are real numbers that vary, x has axes and is no class."""
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
