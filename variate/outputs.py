"""Results as files: the extension of ``--out`` says how."""

import io
import math
from pathlib import Path

import numpy as np
from PIL import Image

from variate.data.schema import Schema
from variate.errors import UserError
from variate.files import write_atomic

__all__ = ["as_bytes", "contact_sheet", "save_array", "save_columns"]


def contact_sheet(images: np.ndarray, columns: int | None = None, gap: int = 2) -> Image.Image:
    """uint8 images (n, H, W) or (n, H, W, C) in one picture, ``columns`` to a row (by default as square as it gets)."""
    n, height, width = images.shape[:3]
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, *images.shape[3:]), 255, np.uint8)
    for index, image in enumerate(images):
        top, left = (index // columns) * (height + gap) + gap, (index % columns) * (width + gap) + gap
        sheet[top : top + height, left : left + width] = image
    return Image.fromarray(sheet[..., 0] if sheet.ndim == 3 and sheet.shape[-1] == 1 else sheet)


def as_bytes(values: np.ndarray, schema: Schema) -> np.ndarray:
    """Raw images → uint8 (n, H, W) or (n, H, W, C) for looking at: levels spread over 0..255, real numbers from their
    least to their greatest; of more than four channels the first three, of two the first."""
    values = values.astype(np.float64)
    if schema.layout == "CHW":
        values = np.moveaxis(values, 1, -1)
    if values.ndim == 4 and values.shape[-1] not in (1, 3, 4):
        values = values[..., :3] if values.shape[-1] > 4 else values[..., 0]
    if schema.levels is not None:
        return (values * schema.divisor * 255 / (schema.levels - 1)).round().astype(np.uint8)
    low, high = values.min(), values.max()
    return ((values - low) * 255 / (high - low or 1)).round().astype(np.uint8)


def save_array(path: Path, values: np.ndarray, schema: Schema, columns: int | None = None) -> None:
    """Write rows as .npy, .npz (key ``values``), .csv (one row a line) or .png (images side by side)."""
    writers = {
        ".npy": lambda: _npy(values),
        ".npz": lambda: _npz({"values": values}),
        ".csv": lambda: _csv(values.reshape(len(values), -1)),
        ".png": lambda: _png(values, schema, columns),
    }
    if path.suffix not in writers:
        raise UserError(f"--out {path} has no known extension: use one of {', '.join(writers)}.")
    write_atomic(path, writers[path.suffix]())


def save_columns(path: Path, values: np.ndarray, names: list[str]) -> None:
    """Write results (n, …): .npy as they are, .npz under their names, or under ``values`` where they are not one a
    column, .csv (n, columns) with the names as its first line."""
    flat = values.reshape(len(values), -1)
    if path.suffix == ".npy":
        content = _npy(values)
    elif path.suffix == ".npz":
        columns = dict(zip(names, flat.T, strict=True)) if values.ndim == 2 and len(names) < 4 else {"values": values}
        content = _npz(columns)
    elif path.suffix == ".csv":
        content = (",".join(names) + "\n").encode() + _csv(flat)
    else:
        raise UserError(f"--out {path} has no known extension: use one of .npy, .npz, .csv.")
    write_atomic(path, content)


def _npy(values: np.ndarray) -> bytes:
    np.save(buffer := io.BytesIO(), values, allow_pickle=False)
    return buffer.getvalue()


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    np.savez_compressed(buffer := io.BytesIO(), **arrays)  # pyright: ignore[reportArgumentType] (a stub's fault)
    return buffer.getvalue()


def _csv(flat: np.ndarray) -> bytes:
    form = "%.9g" if flat.dtype.kind == "f" else "%d"
    np.savetxt(buffer := io.BytesIO(), flat, delimiter=",", fmt=form)
    return buffer.getvalue()


def _png(values: np.ndarray, schema: Schema, columns: int | None) -> bytes:
    if not schema.is_image:
        raise UserError(f"rows of {schema.describe()} are not images: give --out a .npy, .npz or .csv name.")
    contact_sheet(as_bytes(values, schema), columns).save(buffer := io.BytesIO(), format="PNG")
    return buffer.getvalue()
