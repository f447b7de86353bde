"""Results as files: the extension of ``--out`` says how."""

import io
import math
from pathlib import Path

import numpy as np
from PIL import Image

from variate.data.schema import Schema
from variate.errors import UserError
from variate.files import write_atomic

__all__ = ["contact_sheet", "save_array"]


def contact_sheet(images: np.ndarray, columns: int | None = None, gap: int = 2) -> Image.Image:
    """uint8 images (n, H, W) or (n, H, W, C) in one picture, ``columns`` to a row (by default as square as it gets)."""
    n, height, width = images.shape[:3]
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, *images.shape[3:]), 255, np.uint8)
    for index, image in enumerate(images):
        top, left = (index // columns) * (height + gap) + gap, (index % columns) * (width + gap) + gap
        sheet[top : top + height, left : left + width] = image
    return Image.fromarray(sheet.squeeze())


def as_bytes(values: np.ndarray, schema: Schema) -> np.ndarray:
    """Raw images → uint8 for looking at: levels spread over 0..255, real numbers from their least to their greatest."""
    values = values.astype(np.float64)
    if schema.levels is not None:
        return (values * 255 / (schema.levels - 1)).round().astype(np.uint8)
    low, high = values.min(), values.max()
    return ((values - low) * 255 / (high - low or 1)).round().astype(np.uint8)


def save_array(path: Path, values: np.ndarray, schema: Schema, columns: int | None = None) -> None:
    """Write rows as .npy, .npz (key ``values``), .csv (one row a line) or .png (images side by side)."""
    writers = {".npy": _npy, ".npz": _npz, ".csv": _csv, ".png": _png}
    if path.suffix not in writers:
        raise UserError(f"--out {path} has no known extension: use one of {', '.join(writers)}.")
    write_atomic(path, writers[path.suffix](values, schema, columns))


def _npy(values: np.ndarray, schema: Schema, columns: int | None) -> bytes:
    np.save(buffer := io.BytesIO(), values, allow_pickle=False)
    return buffer.getvalue()


def _npz(values: np.ndarray, schema: Schema, columns: int | None) -> bytes:
    np.savez_compressed(buffer := io.BytesIO(), values=values)
    return buffer.getvalue()


def _csv(values: np.ndarray, schema: Schema, columns: int | None) -> bytes:
    form = "%.9g" if values.dtype.kind == "f" else "%d"
    np.savetxt(buffer := io.BytesIO(), values.reshape(len(values), -1), delimiter=",", fmt=form)
    return buffer.getvalue()


def _png(values: np.ndarray, schema: Schema, columns: int | None) -> bytes:
    if not schema.is_image:
        raise UserError(f"rows of {schema.describe()} are not images: give --out a .npy, .npz or .csv name.")
    contact_sheet(as_bytes(values, schema), columns).save(buffer := io.BytesIO(), format="PNG")
    return buffer.getvalue()
