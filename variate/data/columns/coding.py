"""A frame → the codes of its columns, float64, and back, exactly."""

from collections.abc import Iterable
from typing import Any, NoReturn

import numpy as np
import polars as pl

from variate.base.errors import UserError, suggest
from variate.data.columns.column import EXACT, Column
from variate.data.columns.dtypes import family, steps_of, with_steps
from variate.data.columns.grids import on_grid

__all__ = ["cells_of", "code_of", "codes", "codes_of", "frame", "inside", "spelled"]

LARGEST = 1e300


def codes(frame: pl.DataFrame, columns: Iterable[Column]) -> np.ndarray:
    """(n, W) float64: one code a cell of the learned columns, in their order; NaN where a cell is missing.

    Columns of the frame that are not among ``columns`` are ignored. ``UserError`` for a column that is not there, a
    level that was never seen, another type, another value than a constant's, infinity, and numbers out of range.

    >>> sex = Column("sex", "String", "category", levels=("Female", "Male"))
    >>> age = Column("age", "Int64", "binned", base=17, step=1.0, grid=True)
    >>> codes(pl.DataFrame({"age": [39, None], "sex": ["Male", "Female"]}), [sex, age]).tolist()
    [[1.0, 22.0], [0.0, nan]]
    """
    made = [codes_of(_found(frame, column), column) for column in columns if column.measure != "left out"]
    learned = [column for column in made if column is not None]
    return np.stack(learned, 1) if learned else np.empty((len(frame), 0))


def frame(codes: np.ndarray, columns: Iterable[Column]) -> pl.DataFrame:
    """The inverse of ``codes``: the same names, order and types. A constant is put back into every row.

    Codes between the steps of a grid become the nearest whole step, in the shortest decimals; whole numbers too large
    for their type become the largest.
    """
    learned = iter(np.asarray(codes, np.float64).T)
    kept = [column for column in columns if column.measure != "left out"]
    made = [cells_of(next(learned), column) if column.is_learned else _constants(len(codes), column) for column in kept]
    return pl.DataFrame({column.name: series for series, column in zip(made, kept, strict=True)})


def code_of(column: Column, value: object) -> float:
    """The code of one value, as people write it."""
    return float(codes(pl.DataFrame({column.name: [value]}), [column])[0, 0])


def codes_of(series: pl.Series, column: Column) -> np.ndarray | None:
    """The codes (n,) of one column's cells; of a constant column ``None``, after looking at every cell."""
    given = inside(series, column)
    if column.measure == "constant":
        other = given != column.value
        return _refuse(given, other, column, f"but only {column.value!r} was seen in training") if other.any() else None
    if column.measure == "category":
        return _level_codes(given, column)
    return (_float_codes if column.family == "float" else _whole_codes)(given, column)


def cells_of(codes: np.ndarray, column: Column) -> pl.Series:
    """The cells of one learned column whose codes (n,) are given."""
    if column.measure == "category":
        index = np.nan_to_num(np.rint(codes)).clip(0, len(column.levels) - 1).astype(np.uint32)
        return spelled(column.levels, column.type).gather(pl.Series(index).set(pl.Series(np.isnan(codes)), None))
    return (_float_cells if column.family == "float" else _whole_cells)(codes, column)


def spelled(values: Iterable, dtype: pl.DataType) -> pl.Series:
    """Levels or constants as cells of that type."""
    values = list(values)
    if family(dtype) in ("time", "decimal", "whole"):
        return with_steps(pl.Series(values, dtype=pl.Int128), dtype)
    return pl.Series(values, dtype=pl.Boolean if family(dtype) == "truth" else None).cast(dtype)


def _constants(rows: int, column: Column) -> pl.Series:
    return spelled([column.value], column.type).new_from_index(0, rows)


def _found(frame: pl.DataFrame, column: Column) -> pl.Series:
    if column.name not in frame.columns:
        raise UserError(
            f"column {column.name!r} is missing from the table{suggest(column.name, frame.columns)}: it was there in "
            "training; add it, empty if nothing is known of it."
        )
    return frame[column.name]


# ---- cells as they come → Int128 steps, float64, words or truth values ----


def inside(series: pl.Series, column: Column) -> pl.Series:
    """The cells as the column's own family of types: Int128 of what has steps, Float64, String, Boolean."""
    target, source = column.family, family(series.dtype)
    if series.null_count() == len(series):
        return pl.Series([None] * len(series), dtype=_INSIDE[target])
    if (source, target) not in _WAYS:
        raise UserError(
            f"column {column.name!r} has the type {series.dtype}, but in training it was {column.dtype}: convert it."
        )
    made = _WAYS[source, target](series, column.type)
    lost = made.is_null() & series.is_not_null()
    if source == "float":
        lost &= ~series.is_nan().fill_null(False)
    if lost.any():
        _refuse(series, lost, column, f"which is no {column.dtype} as the column was in training: correct it")
    return made


def _as_floats(series: pl.Series, dtype: pl.DataType) -> pl.Series:
    return series.cast(pl.Float64, strict=False).fill_nan(None)


def _as_whole(series: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Numbers that are whole; null of others."""
    whole = series.cast(pl.Int128, strict=False)
    exact = whole.cast(pl.Float64) == series.cast(pl.Float64)
    return whole.set(~exact.fill_null(False), None)


def _words_as_whole(series: pl.Series, dtype: pl.DataType) -> pl.Series:
    said = series.cast(pl.String)
    whole = said.cast(pl.Int128, strict=False)
    return whole.fill_null(_as_whole(said.cast(pl.Float64, strict=False), dtype))


def _as_decimals(series: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Numbers → whole steps of the decimals; null of what has more places."""
    wide = series.cast(pl.Decimal(38, dtype.scale), strict=False)  # pyright: ignore[reportAttributeAccessIssue]
    exact = wide.cast(pl.Float64) == series.cast(pl.Float64, strict=False)
    return steps_of(wide).set(~exact.fill_null(False), None)


def _as_times(series: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Dates or times of another resolution → steps of this one; null of what does not lie on them."""
    if series.dtype == dtype:
        return steps_of(series)
    if _clock(series.dtype) != _clock(dtype):
        return pl.Series([None] * len(series), dtype=pl.Int128)
    made = series.cast(dtype, strict=False)
    return steps_of(made).set((made.cast(series.dtype, strict=False) != series).fill_null(True), None)


def _clock(dtype: pl.DataType) -> tuple[str, bool]:
    """What can be compared: days and moments with each other, with a time zone or without."""
    moments = isinstance(dtype, pl.Date | pl.Datetime)
    return "moment" if moments else str(type(dtype)), getattr(dtype, "time_zone", None) is not None


def _words_as_times(series: pl.Series, dtype: pl.DataType) -> pl.Series:
    said = series.cast(pl.String)
    if isinstance(dtype, pl.Datetime):
        made = said.str.to_datetime(time_unit=dtype.time_unit, time_zone=dtype.time_zone, strict=False)
    elif isinstance(dtype, pl.Date):
        made = said.str.to_date(strict=False)
    else:
        made = said.str.to_time(strict=False) if isinstance(dtype, pl.Time) else said.cast(pl.Null, strict=False)
    return steps_of(made)


def _words_as_truth(series: pl.Series, dtype: pl.DataType) -> pl.Series:
    lower = series.cast(pl.String).str.to_lowercase()
    return lower.replace_strict(["false", "true"], [False, True], default=None, return_dtype=pl.Boolean)


_NUMBERS = ("whole", "float", "decimal")
_INSIDE = {"whole": pl.Int128, "float": pl.Float64, "decimal": pl.Int128, "time": pl.Int128}
_INSIDE |= {"words": pl.String, "truth": pl.Boolean}
_WAYS = {
    **{(source, "float"): _as_floats for source in (*_NUMBERS, "words")},
    **{(source, "whole"): _as_whole for source in ("float", "decimal")},
    **{(source, "decimal"): _as_decimals for source in ("whole", "float", "words")},
    ("whole", "whole"): lambda series, _: steps_of(series),
    ("words", "whole"): _words_as_whole,
    ("decimal", "decimal"): _as_decimals,
    ("time", "time"): _as_times,
    ("words", "time"): _words_as_times,
    ("words", "words"): lambda series, _: series.cast(pl.String),
    ("truth", "truth"): lambda series, _: series,
    ("words", "truth"): _words_as_truth,
}


# ---- inside: family by family, there and back ----


def _level_codes(given: pl.Series, column: Column) -> np.ndarray:
    levels = pl.Series(list(column.levels)).cast(given.dtype)
    index = pl.Series(np.arange(len(levels)), dtype=pl.Float64)
    made = given.replace_strict(levels, index, default=None, return_dtype=pl.Float64)
    unknown = made.is_null() & given.is_not_null()
    if unknown.any():
        names = [str(level) for level in column.levels]
        near = suggest(str(given.filter(unknown)[0]), names)
        shown = ", ".join(repr(name) for name in names[:10]) + ", …" * (len(names) > 10)
        _refuse(given, unknown, column, f"which was never seen in training{near} (it knows {shown})")
    return made.to_numpy().astype(np.float64)


def _whole_codes(given: pl.Series, column: Column) -> np.ndarray:
    reach = EXACT * column.unit
    far = (given > _int128(column.base + reach - 1)) | (given < _int128(column.base - reach + 1))
    if far.any():
        _refuse(given, far, column, f"too far from {column.base} to be kept exactly: leave the row or the column out")
    distance = given - _int128(column.base)
    if column.unit == 1:
        return _floats(distance)
    unit = _int128(column.unit)
    made = _floats(distance // unit) + _floats(distance % unit) / column.unit
    lost = _steps(made, column) != given
    if lost.any():
        _refuse(given, lost, column, "finer than the column was in training, and too far away to be kept exactly")
    return made


def _whole_cells(codes: np.ndarray, column: Column) -> pl.Series:
    return with_steps(_steps(_on_grid(codes, column), column), column.type)


def _steps(codes: np.ndarray, column: Column) -> pl.Series:
    """base + code · unit, in whole numbers throughout."""
    limited = np.nan_to_num(codes, nan=0.0, posinf=2.0**62, neginf=-(2.0**62)).clip(-(2.0**62), 2.0**62)
    whole = np.floor(limited) if column.unit > 1 else np.rint(limited)
    rest = np.rint((limited - whole) * column.unit)
    steps = _wide(whole) * _int128(column.unit) + _wide(rest) + _int128(column.base)
    return steps.set(pl.Series(np.isnan(codes)), None)


def _float_codes(given: pl.Series, column: Column) -> np.ndarray:
    beyond = ~(given.abs() <= LARGEST)
    if beyond.any():
        _refuse(given, beyond, column, f"which is beyond {LARGEST:g}: remove or correct the row")
    raw = given.to_numpy().astype(np.float64)
    made = raw - column.base
    if not column.grid or column.dtype == "Float64":
        return made
    snapped = _on_grid(made, column)  # of 12.3 stored in 32 bits the code is 12.3, not 12.300000190734863
    narrow = {"Float32": np.float32, "Float16": np.float16}[column.dtype]
    return np.where((snapped + column.base).astype(narrow) == raw, snapped, made)


def _float_cells(codes: np.ndarray, column: Column) -> pl.Series:
    raw = _on_grid(codes, column) + column.base
    return pl.Series(raw).fill_nan(None).cast(column.type)


def _on_grid(codes: np.ndarray, column: Column) -> np.ndarray:
    return on_grid(codes, column.step) if column.grid else codes


def _int128(number: int | float) -> pl.Series:
    return pl.Series([int(number)], dtype=pl.Int128)


def _wide(whole: np.ndarray) -> pl.Series:
    return pl.Series(whole.astype(np.int64)).cast(pl.Int128)


def _floats(whole: pl.Series) -> np.ndarray:
    return whole.cast(pl.Float64).to_numpy().astype(np.float64)


def _refuse(series: pl.Series, wrong: pl.Series, column: Column, why: str) -> NoReturn:
    row = int(wrong.fill_null(False).arg_max() or 0)
    cell: Any = series[row]
    raise UserError(f"row {row} of column {column.name!r} holds {cell!r}, {why}.")
