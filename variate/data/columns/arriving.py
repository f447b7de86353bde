"""Cells as they come → Int128 steps, float64, words or truth values, or a refusal that names the row."""

from typing import NoReturn

import polars as pl

from variate.base.errors import UserError
from variate.data.columns.column import Column
from variate.data.columns.dtypes import family, shown, steps_of

__all__ = ["inside", "refuse"]


def refuse(series: pl.Series, wrong: pl.Series, column: Column, why: str) -> NoReturn:
    """Raises the ``UserError`` about the first cell that is wrong, as it came."""
    row = int(wrong.fill_null(False).arg_max() or 0)
    raise UserError(f"row {row} of column {column.name!r} holds {shown(series.slice(row, 1))}, {why}.")


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
        refuse(series, lost, column, f"which is no {column.dtype} as the column was in training: correct it")
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
