"""What one example is, and the exact way between raw values and model units."""

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from variate.data.layout import Layout, default_layout
from variate.errors import UserError

__all__ = ["DTYPES", "MOST_CLASSES", "Schema", "spread_or_one"]

DTYPES = ("bool", "uint8", "int8", "uint16", "int16", "int32", "int64", "float16", "float32", "float64")
MOST_CLASSES = 65_536
MOST_CONDITIONS = 65_536
LONGEST_NAME = 1000


@dataclass(frozen=True)
class Schema:
    """Raw values x ↔ model units u, exactly invertible.

    ``shape`` is the raw shape of one example and ``layout`` says what its axes are: "F" a vector of features, "L" a
    signal, "HW" an image, "DHW" a volume, the last three also with a channel axis C first or last.

    - ``levels`` L: the values are k / ``divisor`` for whole k in 0..L−1; u = k / (L−1) lies on a grid in [0, 1] and
      likelihoods are probability masses.
    - ``counts``: the values are whole numbers 0, 1, 2, … without end; u = (x − offset) / scale; masses too.
    - neither: real numbers; u = (x − offset) / scale, per column of vectors, per channel of everything else, and
      likelihoods are densities: log p(x) = log p(u) + ``log_volume_nats``.

    Of counts and real numbers a scale of 0 says that they are a constant, the offset: u is 0 there, and 1 for any other
    value, which has probability 0.

    ``labels`` counts the training rows of each class and ``classes`` names them (None: "0", "1", …).
    ``condition_offset`` and ``condition_scale`` standardise the columns that a model is conditional on, if those are
    real numbers. ``resized``: the images of a folder were brought to ``shape``.

    >>> schema = Schema((2, 2), "uint8", levels=256)
    >>> schema.layout, schema.to_tensor(torch.full((1, 2, 2), 255)).shape, schema.size, schema.log_volume_nats
    ('HW', torch.Size([1, 1, 2, 2]), 4, 0.0)
    """

    shape: tuple[int, ...]
    dtype: str
    levels: int | None = None
    offset: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)
    labels: tuple[int, ...] | None = None
    layout: str = ""
    counts: bool = False
    divisor: int = 1
    classes: tuple[str, ...] | None = None
    condition_offset: tuple[float, ...] = ()
    condition_scale: tuple[float, ...] = ()
    resized: bool = False

    def __post_init__(self) -> None:
        if not self.layout:
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
    def is_mass(self) -> bool:
        """Whether likelihoods are probabilities rather than densities."""
        return self.levels is not None or self.counts

    @property
    def varying_size(self) -> int:
        """How many of the values are no constants."""
        return int(np.count_nonzero(np.broadcast_to(self.axes.along_channels(self.scale), self.shape)))

    @property
    def log_volume_nats(self) -> float:
        """What a log-density in model units lacks to be one in raw units: −Σ log scale; 0 for masses and constants."""
        if self.is_mass:
            return 0.0
        scale = np.broadcast_to(self.axes.along_channels(self.scale), self.shape)
        return -float(np.log(scale[scale > 0]).sum())

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the classes are called, in the order of ``labels``; empty without labels."""
        return self.classes or tuple(str(index) for index in range(len(self.labels or ())))

    def to_levels(self, raw: Tensor) -> Tensor:
        """Raw values of a schema with ``levels`` or ``counts`` → the whole numbers k that they stand for, int64."""
        if self.divisor == 1 and not raw.is_floating_point():
            return raw.to(torch.int64)
        return (raw.to(torch.float64) * self.divisor).round().to(torch.int64)

    def canonical(self, raw: Tensor) -> Tensor:
        """Raw rows (B, \\*shape) → the values that they stand for: equal values have equal bytes, however stored.

        >>> one, other = (Schema((2,), "float32").canonical(torch.tensor([row])) for row in ([0, 1], [-0.0, 1.0]))
        >>> one.numpy().tobytes() == other.numpy().tobytes()
        True
        """
        if not self.is_mass:
            return raw.to(torch.float64) + 0.0  # −0.0 too becomes 0.0
        level = self.to_levels(raw)
        return level.to(torch.uint8) if self.levels is not None and self.levels <= 256 else level

    def to_tensor(self, raw: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Raw rows (B, \\*shape) as stored → model units (B, \\*tensor_shape), on the device of ``raw``."""
        if self.levels is None:
            exact = self.to_levels(raw) if self.counts else raw
            return self.axes.to_tensor(self._standardised(exact.to(torch.float64)).to(dtype))
        level = raw.to(dtype) if self.divisor == 1 else raw.to(dtype) * self.divisor
        return self.axes.to_tensor((level.round() if raw.is_floating_point() else level) / (self.levels - 1))

    def _standardised(self, raw: Tensor) -> Tensor:
        columns = (self.axes.along_channels(numbers) for numbers in (self.offset, self.scale))
        offset, scale = (torch.from_numpy(numbers).to(raw.device) for numbers in columns)
        if 0.0 not in self.scale:
            return (raw - offset) / scale
        other = (raw != offset).to(raw.dtype)
        return torch.where(scale == 0, other, (raw - offset) / torch.where(scale == 0, 1.0, scale))

    def to_raw(self, units: Tensor) -> np.ndarray:
        """Model units (B, \\*tensor_shape) → raw rows (B, \\*shape) in the data's own dtype; levels are rounded."""
        exact = self.axes.to_raw(units.detach().to("cpu", torch.float64)).numpy()
        if self.levels is not None:
            level = (exact * (self.levels - 1)).round().clip(0, self.levels - 1)
            return (level / self.divisor).astype(self.dtype)
        scale, offset = (self.axes.along_channels(numbers) for numbers in (self.scale, self.offset))
        raw = np.where(scale == 0, 0.0, exact) * scale + offset
        if self.counts:
            raw = raw.round().clip(0)
        if np.dtype(self.dtype).kind in "iu":  # whole numbers come back whole, within what their dtype can hold
            bounds = np.iinfo(self.dtype)
            raw = raw.round().clip(bounds.min, bounds.max)
        return raw.astype(self.dtype)

    def describe(self) -> str:
        """One line for people."""
        values = "counts 0, 1, 2, …" if self.counts else "real numbers"
        if self.levels:
            values = f"whole numbers 0..{self.levels - 1}" + (f" divided by {self.divisor}" * (self.divisor > 1))
        axes = "" if self.layout == "F" else f" {self.layout}"
        classes = f", {len(self.labels)} classes" if self.labels else ""
        given = f", {len(self.condition_scale)} known columns" if self.condition_scale else ""
        return f"{' × '.join(map(str, self.shape))}{axes} {self.dtype}, {values}{classes}{given}"

    def to_json(self) -> dict:
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_json(cls, data: object) -> "Schema":
        """The inverse of ``to_json``; raises ``UserError`` for a schema that no version of variate wrote."""
        known = {f.name for f in fields(cls)}
        if not isinstance(data, dict) or not {"shape", "dtype"} <= set(data) <= known:
            raise UserError("its schema has missing or unknown keys: it was not written by variate.")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        if not (_whole(values["shape"], 1, 1 << 24) and 1 <= len(values["shape"]) <= 4 and _plausible(cls(**values))):
            raise UserError("its schema is out of range: the file is damaged or hostile, do not use it.")
        return cls(**values)


def spread_or_one(scale: tuple[float, ...]) -> tuple[float, ...]:
    """The scales of what may be divided by them: a constant is as wide as 1."""
    return tuple(number or 1.0 for number in scale)


def _plausible(schema: Schema) -> bool:
    """Whether every field has the type and the range that this package gives it; nothing is assumed of them."""
    shape, levels, labels = schema.shape, schema.levels, schema.labels
    return (
        math.prod(shape) < 1 << 28
        and isinstance(schema.layout, str)
        and schema.axes.fits(shape)
        and isinstance(schema.dtype, str)
        and schema.dtype in DTYPES
        and (levels is None or _whole((levels,), 2, 65536))
        and (schema.divisor == 1 or schema.divisor in (255, 256))
        and all(type(flag) is bool for flag in (schema.counts, schema.resized))
        and not (schema.resized and len(shape) < 2)
        and not (schema.counts and levels)
        and (labels is None or _whole(labels, 0, 1 << 53) and 0 < len(labels) <= MOST_CLASSES)
        and _plausible_names(schema)
        and all(_real(v) and len(v) in (1, schema.axes.channels(shape)) for v in (schema.offset, schema.scale))
        and all(_real(v) and len(v) <= MOST_CONDITIONS for v in (schema.condition_offset, schema.condition_scale))
        and len(schema.condition_offset) == len(schema.condition_scale)
        and min(schema.scale) >= 0
        and min((*schema.condition_scale, *(schema.scale if levels else ())), default=1.0) > 0
    )


def _plausible_names(schema: Schema) -> bool:
    names = schema.classes
    return names is None or (
        isinstance(names, tuple)
        and len(names) == len(schema.labels or ())
        and all(isinstance(name, str) and len(name) <= LONGEST_NAME for name in names)
        and len(set(names)) == len(names)
    )


def _whole(numbers: object, low: int, high: int) -> bool:
    return isinstance(numbers, tuple) and all(type(n) is int and low <= n <= high for n in numbers)


def _real(numbers: object) -> bool:
    return isinstance(numbers, tuple) and all(isinstance(n, float) and math.isfinite(n) for n in numbers)
