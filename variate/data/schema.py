"""What one example is, and the exact way between raw values and model units."""

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from variate.errors import UserError

__all__ = ["Schema", "infer_schema", "standardisation"]

DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
MOST_CLASSES = 65_536


@dataclass(frozen=True)
class Schema:
    """Raw values x ↔ model units u = (x − offset) / scale, exactly invertible.

    ``shape`` is the raw shape of one example: ``(d,)`` a vector, ``(H, W)`` an image, ``(H, W, C)`` with channels.
    ``levels`` L says that the values are whole numbers 0..L−1 (then u = x / (L−1) lies on a grid in [0, 1] and
    likelihoods are probability masses); ``None`` says real numbers (u is standardised per column and likelihoods
    are densities: log p(x) = log p(u) + ``log_volume_nats``). ``labels`` counts the training rows of each class.

    >>> schema = Schema((2, 2), "uint8", levels=256)
    >>> schema.to_tensor(torch.full((1, 2, 2), 255)).shape, schema.size, schema.log_volume_nats
    (torch.Size([1, 1, 2, 2]), 4, 0.0)
    """

    shape: tuple[int, ...]
    dtype: str
    levels: int | None = None
    offset: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)
    labels: tuple[int, ...] | None = None

    @property
    def is_image(self) -> bool:
        return len(self.shape) in (2, 3)

    @property
    def tensor_shape(self) -> tuple[int, ...]:
        """The shape of one example in model units: channels first for images, ``(d,)`` for vectors."""
        if not self.is_image:
            return self.shape
        height, width, *channels = self.shape
        return (channels[0] if channels else 1, height, width)

    @property
    def size(self) -> int:
        """D, the number of values in one example: the "dim" of bits/dim."""
        return math.prod(self.shape)

    @property
    def log_volume_nats(self) -> float:
        """What a log-density in model units lacks to be one in raw units: −Σ log scale; 0 for masses."""
        if self.levels is not None:
            return 0.0
        return -float(np.log(np.broadcast_to(np.asarray(self.scale), self.shape)).sum())

    def to_tensor(self, raw: Tensor) -> Tensor:
        """Raw rows (B, \\*shape) as stored → float32 model units (B, \\*tensor_shape), on the device of ``raw``."""
        if self.levels is not None:
            units = raw.to(torch.float32) / (self.levels - 1)
        else:
            offset, scale = (torch.tensor(v, dtype=torch.float64, device=raw.device) for v in (self.offset, self.scale))
            units = ((raw.to(torch.float64) - offset) / scale).to(torch.float32)
        if not self.is_image:
            return units
        return units.movedim(-1, 1) if len(self.shape) == 3 else units.unsqueeze(1)

    def to_raw(self, units: Tensor) -> np.ndarray:
        """Model units (B, \\*tensor_shape) → raw rows (B, \\*shape) in the data's own dtype; levels are rounded."""
        units = units.detach().to("cpu", torch.float64)
        if self.is_image:
            units = units.movedim(1, -1) if len(self.shape) == 3 else units.squeeze(1)
        if self.levels is not None:
            return (units * (self.levels - 1)).round().clamp(0, self.levels - 1).numpy().astype(self.dtype)
        raw = units.numpy() * np.asarray(self.scale) + np.asarray(self.offset)
        if np.dtype(self.dtype).kind in "iu":  # whole numbers come back whole, within what their dtype can hold
            bounds = np.iinfo(self.dtype)
            raw = raw.round().clip(bounds.min, bounds.max)
        return raw.astype(self.dtype)

    def describe(self) -> str:
        """One line for people."""
        values = f"whole numbers 0..{self.levels - 1}" if self.levels else "real numbers"
        classes = f", {len(self.labels)} classes" if self.labels else ""
        return f"{' × '.join(map(str, self.shape))} {self.dtype}, {values}{classes}"

    def to_json(self) -> dict:
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_json(cls, data: object) -> "Schema":
        """The inverse of ``to_json``; raises ``UserError`` for a schema that no version of variate wrote."""
        known = {f.name for f in fields(cls)}
        if not isinstance(data, dict) or not {"shape", "dtype"} <= set(data) <= known:
            raise UserError("its schema has missing or unknown keys: it was not written by variate.")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        schema = cls(**values)
        if not _plausible(schema):
            raise UserError("its schema is out of range: the file is damaged or hostile, do not use it.")
        return schema


def _plausible(schema: Schema) -> bool:
    """Whether every field has the type and the range that ``infer_schema`` can give it; nothing is assumed of them."""
    shape, levels, labels = schema.shape, schema.levels, schema.labels
    if not _whole(shape, 1, 1 << 24) or not 1 <= len(shape) <= 3 or math.prod(shape) >= 1 << 28:
        return False
    if not isinstance(schema.dtype, str) or schema.dtype not in DTYPES:
        return False
    if levels is not None and not _whole((levels,), 2, 65536):
        return False
    if labels is not None and not (_whole(labels, 0, 1 << 53) and 0 < len(labels) <= MOST_CLASSES):
        return False
    lengths = {1, shape[0]} if len(shape) == 1 else {1}
    return all(
        isinstance(numbers, tuple)
        and len(numbers) in lengths
        and all(isinstance(n, float) and math.isfinite(n) for n in numbers)
        for numbers in (schema.offset, schema.scale)
    ) and all(n > 0 for n in schema.scale)


def _whole(numbers: object, low: int, high: int) -> bool:
    return isinstance(numbers, tuple) and all(type(n) is int and low <= n <= high for n in numbers)


def infer_schema(values: np.ndarray, labels: np.ndarray | None = None, levels: int | None = None) -> Schema:
    """The schema of rows (n, …): uint8 → 256 levels, 0 and 1 → 2 levels, other numbers → standardised per column.

    ``levels`` overrides. Raises ``UserError`` for empty, non-numeric or non-finite data.
    """
    if str(values.dtype) not in DTYPES:
        raise UserError(f"the data has dtype {values.dtype}: give numbers ({', '.join(DTYPES)}).")
    if not 2 <= values.ndim <= 4 or 0 in values.shape:
        raise UserError(f"the data has shape {values.shape}: give rows of vectors or images, at least one of them.")
    counts = None
    if labels is not None:
        if len(labels) != len(values):
            raise UserError(f"there are {len(labels)} labels for {len(values)} rows: give one label per row.")
        counts = tuple(int(n) for n in np.bincount(labels))
    shape, dtype = values.shape[1:], str(values.dtype)
    if levels is None and values.dtype.kind != "f" and int(values.min()) >= 0:
        levels = 2 if int(values.max()) <= 1 else 256 if dtype == "uint8" else None
    if levels is None:
        return Schema(shape, dtype, None, *standardisation(values), counts)
    whole = values.dtype.kind != "f" or (np.isfinite(values).all() and (values == np.round(values)).all())
    if not whole or int(values.min()) < 0 or int(values.max()) >= levels:
        raise UserError(
            f"the data are not whole numbers 0..{levels - 1}, as levels={levels} says: mend the one or the other."
        )
    return Schema(shape, dtype, levels=levels, labels=counts)


def standardisation(values: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(offset, scale): mean and standard deviation, per column of vectors, one for all pixels of images."""
    if not np.isfinite(values).all():
        row = int(np.argwhere(~np.isfinite(values).reshape(len(values), -1).all(1))[0, 0])
        raise UserError(f"row {row} of the data holds NaN or infinity: remove or fill such rows.")
    exact = values.astype(np.float64)
    axis = 0 if values.ndim == 2 else None
    with np.errstate(over="ignore", invalid="ignore"):
        offset, spread = np.atleast_1d(exact.mean(axis)), np.atleast_1d(exact.std(axis))
    if not np.isfinite(spread).all():
        column = int(np.argwhere(~np.isfinite(spread))[0, 0])
        raise UserError(f"column {column} of the data holds numbers too large to square: divide it by a power of ten.")
    return tuple(offset.tolist()), tuple(np.where(spread > 0, spread, 1.0).tolist())
