"""Results as files: the extension of ``--out`` says how."""

import io
from pathlib import Path

import numpy as np
import polars as pl

from variate.base.console import say
from variate.base.errors import UserError
from variate.base.files import check_writeable, write_atomic
from variate.data.schema import Schema
from variate.data.table import frame_of

__all__ = [
    "COLUMNS",
    "check",
    "check_rows",
    "save_array",
    "save_columns",
    "save_pairs",
    "save_rows",
    "spelled",
    "tell_gaps",
]

ARRAYS = (".npy", ".npz", ".csv", ".png")  # what rows of an array can be written as
TABLES = (".csv", ".parquet")  # those of a table
COLUMNS = (".npy", ".npz", ".csv")  # and results for each row


def check(path: Path, extensions: tuple[str, ...]) -> None:
    """That results can be written there, as far as can be known before there are any."""
    if path.suffix not in extensions:
        raise UserError(f"--out {path} has no known extension: use one of {', '.join(extensions)}.")
    check_writeable(path)


def check_rows(path: Path, schema: Schema) -> None:
    """The same of rows of this schema."""
    check(path, TABLES if schema.table else ARRAYS)
    if path.suffix == ".png":
        _drawable(schema)


def save_rows(path: Path, raw: np.ndarray, schema: Schema, columns: int | None = None) -> None:
    """Write raw rows: those of a table as a .csv with a heading, or .parquet, with the columns that it was learned
    from; those of an array as ``save_array`` does."""
    if not schema.table:
        return save_array(path, raw, schema, columns)
    check_rows(path, schema)
    frame = frame_of(raw, schema)
    write_atomic(path, _parquet(frame) if path.suffix == ".parquet" else frame.write_csv().encode())


def save_array(path: Path, values: np.ndarray, schema: Schema, columns: int | None = None) -> None:
    """Write rows as .npy, .npz (key ``values``), .csv (one row a line, every number to its last digit) or .png (images,
    middle slices of volumes or panels with signals, side by side)."""
    writers = {
        ".npy": lambda: _npy(values),
        ".npz": lambda: _npz({"values": values}),
        ".csv": lambda: _csv(values.reshape(len(values), -1)),
        ".png": lambda: _png(values, schema, columns),
    }
    check(path, ARRAYS)
    write_atomic(path, writers[path.suffix]())


def save_pairs(path: Path, originals: np.ndarray, copies: np.ndarray, schema: Schema) -> None:
    """Write the copies of rows as ``save_array`` does; .png shows them with their originals: images below them, some
    to a line, and signals as thin lines on pale ones."""
    if path.suffix != ".png":
        return save_array(path, copies, schema)
    from variate.show import pictures

    write_atomic(path, pictures.pairs_png(originals, copies, _drawable(schema)))


def save_columns(path: Path, values: np.ndarray, names: list[str], together: bool = False) -> None:
    """Write results (n, …): .npy as they are, .npz one array a column or, ``together``, all under ``values``, .csv
    (n, columns) with the names as its first line."""
    check(path, COLUMNS)
    flat = values.reshape(len(values), -1)
    if path.suffix == ".npy":
        content = _npy(values)
    elif path.suffix == ".npz":
        content = _npz({"values": values} if together else dict(zip(names, flat.T, strict=True)))
    else:
        content = (",".join(names) + "\n").encode() + _csv(flat)
    write_atomic(path, content)


def tell_gaps(out: Path, found: np.ndarray) -> None:
    """Say it where rows (n, …) hold what is no finite number."""
    gaps = ~np.isfinite(found.reshape(len(found), -1)).all(1)
    if gaps.any():
        told = f"{int(gaps.sum()):,} of {len(found):,} rows in {out} hold no finite number"
        say(f"{told}, the first of them is row {int(gaps.argmax())}")


def _npy(values: np.ndarray) -> bytes:
    np.save(buffer := io.BytesIO(), values, allow_pickle=False)
    return buffer.getvalue()


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    np.savez_compressed(buffer := io.BytesIO(), **arrays)  # pyright: ignore[reportArgumentType] (a stub's fault)
    return buffer.getvalue()


def _parquet(frame: pl.DataFrame) -> bytes:
    frame.write_parquet(buffer := io.BytesIO())
    return buffer.getvalue()


def _csv(flat: np.ndarray) -> bytes:
    return "".join(",".join(spelled(row)) + "\n" for row in flat).encode()


def spelled(numbers: np.ndarray) -> list[str]:
    """The shortest texts that read back to the same numbers of the same dtype, (n,); whole ones without a point.

    >>> spelled(np.array([1700057222.32, 0.1, -2.0, np.nan])), spelled(np.array([0.1], np.float32))
    (['1700057222.32', '0.1', '-2', 'nan'], ['0.1'])
    """
    if numbers.dtype.kind != "f":
        return list(map(str, numbers.astype(np.int64).tolist() if numbers.dtype.kind == "b" else numbers.tolist()))
    exact = numbers.dtype == np.float64  # others are spelled by NumPy, which knows how few digits they need
    return [text.removesuffix(".0") for text in map(repr if exact else str, numbers.tolist() if exact else numbers)]


def _png(values: np.ndarray, schema: Schema, columns: int | None) -> bytes:
    from variate.show import pictures

    return pictures.rows_png(values, _drawable(schema), columns)


def _drawable(schema: Schema) -> Schema:
    if not schema.x.axes.spatial:
        raise UserError(f"rows of {schema.describe()} are no images: give --out a .npy, .npz or .csv name.")
    return schema
