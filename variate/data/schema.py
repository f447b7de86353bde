"""What one example is, and the exact way between raw values and model units."""

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from variate.errors import UserError

__all__ = ["Schema", "infer_schema"]


@dataclass(frozen=True)
class Schema:
    """Raw values x ↔ model units u = (x − offset) / scale, exactly invertible.

    ``shape`` is the raw shape of one example: ``(d,)`` a vector, ``(H, W)`` an image, ``(H, W, C)`` with channels.
    ``levels`` L says that the values are whole numbers 0..L−1 (then u = x / (L−1) lies on a grid in [0, 1] and
    likelihoods are probability masses); ``None`` says real numbers (u is standardised per column and likelihoods
    are densities: log p(x) = log p(u) + ``log_volume_nats``). ``labels`` counts the training rows of each class.
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
            offset, scale = (
                torch.tensor(v, dtype=torch.float64, device=raw.device) for v in (self.offset, self.scale)
            )
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
        return (units.numpy() * np.asarray(self.scale) + np.asarray(self.offset)).astype(self.dtype)

    def describe(self) -> str:
        """One line for people."""
        values = f"whole numbers 0..{self.levels - 1}" if self.levels else "real numbers"
        classes = f", {len(self.labels)} classes" if self.labels else ""
        return f"{' × '.join(map(str, self.shape))} {self.dtype}, {values}{classes}"

    def to_json(self) -> dict:
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_json(cls, data: dict) -> "Schema":
        """The inverse of ``to_json``; raises ``UserError`` for a schema that no version of variate wrote."""
        known = {f.name for f in fields(cls)}
        if not isinstance(data, dict) or not {"shape", "dtype"} <= set(data) <= known:
            raise UserError(
                "the model file's schema has missing or unknown keys: it was not written by variate."
            )
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        schema = cls(**values)
        valid = (
            all(isinstance(n, int) and 0 < n < 1 << 24 for n in schema.shape)
            and 1 <= len(schema.shape) <= 3
            and schema.size < 1 << 28
            and (schema.levels is None or (isinstance(schema.levels, int) and 2 <= schema.levels <= 65536))
            and np.dtype(schema.dtype).kind in "buif"
            and all(isinstance(s, float) and math.isfinite(s) for s in (*schema.offset, *schema.scale))
            and (schema.labels is None or all(isinstance(n, int) and n >= 0 for n in schema.labels))
        )
        if not valid:
            raise UserError(
                "the model file's schema is out of range: the file is damaged or hostile; do not use it."
            )
        return schema


def infer_schema(values: np.ndarray, labels: np.ndarray | None = None, levels: int | None = None) -> Schema:
    """The schema of rows (n, …): uint8 → 256 levels, bool → 2, floats → standardised per column with float64.

    ``levels`` overrides. Raises ``UserError`` for empty, non-numeric or non-finite data.
    """
    if values.dtype.kind not in "buif":
        raise UserError(f"the data has dtype {values.dtype}: give numbers (bool, integers or floats).")
    if values.ndim < 2 or values.ndim > 4 or 0 in values.shape:
        raise UserError(
            f"the data has shape {values.shape}: give rows of vectors or images, at least one of them."
        )
    counts = None
    if labels is not None:
        if len(labels) != len(values):
            raise UserError(f"there are {len(labels)} labels for {len(values)} rows: give one label per row.")
        counts = tuple(int(n) for n in np.bincount(labels))
    shape, dtype = values.shape[1:], str(values.dtype)
    if levels is None and values.dtype.kind != "f":
        levels = 2 if int(values.max()) <= 1 else 256 if values.dtype == np.uint8 else None
    if levels is not None:
        return Schema(shape, dtype, levels=levels, labels=counts)
    if not np.isfinite(values).all():
        row = int(np.argwhere(~np.isfinite(values).reshape(len(values), -1).all(1))[0, 0])
        raise UserError(f"row {row} of the data holds NaN or infinity: remove or fill such rows.")
    exact = values.astype(np.float64)
    if len(shape) > 1:  # an image's pixels share one unit
        offset, scale = (float(exact.mean()),), (float(exact.std()) or 1.0,)
    else:
        spread = exact.std(axis=0)
        offset = tuple(exact.mean(axis=0).tolist())
        scale = tuple(np.where(spread > 0, spread, 1.0).tolist())
    return Schema(shape, dtype, offset=offset, scale=scale, labels=counts)
