"""Tables in memory, of polars, pandas or whoever speaks Arrow → polars, and back to what they came as.

What a frame is of is told by where its class was defined: no library is imported that the user has not.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from variate.base.errors import UserError

__all__ = ["as_polars", "is_frame", "like", "nan_as_null"]


def is_frame(data: object) -> bool:
    """Whether it is a table of polars (a lazy one too), of pandas, or of a library with the Arrow interface.

    >>> is_frame(pl.DataFrame({"a": [1]})), is_frame(pl.Series([1])), is_frame([[1]])
    (True, False, False)
    """
    return _library(data) is not None


def _library(data: object) -> str | None:
    for base in type(data).__mro__:
        library, name = base.__module__.split(".")[0], base.__name__
        if library == "polars" and name in ("DataFrame", "LazyFrame") or library == "pandas" and name == "DataFrame":
            return library
    if isinstance(data, type):
        return None
    if hasattr(data, "__dataframe__") and hasattr(data, "__arrow_c_stream__"):  # pyarrow's tables, and others
        return type(data).__module__.split(".")[0]
    return None


def as_polars(data: Any) -> pl.DataFrame:
    """The same table as a frame of polars: missing cells null, NaN among them; of pandas without its index.

    Columns of float32 stay so; categories of words become an ``Enum`` in their order, other categories what they are;
    objects what they have in common, else words. Raises ``UserError`` for what is no frame, or has a name twice.

    >>> as_polars(pl.LazyFrame({"a": [1.0, float("nan")]})).rows()
    [(1.0,), (None,)]
    """
    library = _library(data)
    if library is None:
        raise UserError(f"a {type(data).__name__} is no table: give a frame of polars, pandas or Arrow.")
    if library == "pandas":
        return nan_as_null(_from_pandas(data))
    if library == "polars":
        return nan_as_null(data.lazy().collect())
    return nan_as_null(pl.DataFrame(data))


def nan_as_null(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with NaN as a missing cell."""
    return frame.with_columns(pl.selectors.float().fill_nan(None))


# --- pandas → polars


def _from_pandas(data: Any) -> pl.DataFrame:
    names = [str(name) for name in data.columns]
    for name, times in Counter(names).items():
        if times > 1:
            raise UserError(f"the frame has {times} columns called {name!r}: rename all but one.")
    return pl.DataFrame([_column(name, data.iloc[:, i]) for i, name in enumerate(names)])


def _column(name: str, column: Any) -> pl.Series:
    """One column: its values where there are some, null elsewhere."""
    if hasattr(column.dtype, "pyarrow_dtype"):
        return pl.Series(name, column.array.__arrow_array__())
    missing = np.asarray(column.isna(), dtype=bool)
    if hasattr(column.dtype, "categories"):
        values = _categories(column.cat)
    elif column.dtype.kind in _READERS:
        values = _READERS[column.dtype.kind](column, missing)
    else:
        values = _objects(column.tolist(), missing)
    return values.alias(name).set(pl.Series(missing), None)


def _numbers(column: Any, missing: np.ndarray) -> pl.Series:
    dtype = np.dtype(str(getattr(column.dtype, "numpy_dtype", None) or getattr(column.dtype, "subtype", column.dtype)))
    filled = column.to_numpy(dtype, na_value=dtype.type(0)) if missing.any() else column.to_numpy(dtype)
    return pl.Series(filled.astype(np.float32) if dtype == np.float16 else np.ascontiguousarray(filled))


def _moments(column: Any, _: np.ndarray) -> pl.Series:
    """Dates with their times, those with a time zone in it if it has a name, else in UTC."""
    zone = getattr(column.dtype, "tz", None)
    if zone is None:
        return _steps(column.to_numpy(), pl.Datetime)
    values = _steps(column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(), pl.Datetime)
    values = values.dt.replace_time_zone("UTC")
    name = getattr(zone, "key", None) or getattr(zone, "zone", None)
    return values.dt.convert_time_zone(name) if name else values


def _spans(column: Any, _: np.ndarray) -> pl.Series:
    return _steps(column.to_numpy(), pl.Duration)


def _steps(values: np.ndarray, kind: Callable[[Any], Any]) -> pl.Series:
    """NumPy's steps of time as the same steps; seconds, which polars has not, as milliseconds."""
    unit = np.datetime_data(values.dtype)[0]
    if unit == "s":
        values, unit = values.astype(f"{values.dtype.kind}8[ms]"), "ms"
    return pl.Series(values.view(np.int64)).cast(kind(unit))


_READERS = {"b": _numbers, "i": _numbers, "u": _numbers, "f": _numbers, "M": _moments, "m": _spans}


def _categories(column: Any) -> pl.Series:
    levels = _objects(column.categories.tolist(), np.zeros(len(column.categories), bool))
    codes = pl.Series(np.asarray(column.codes), dtype=pl.Int64)
    values = levels.gather(codes.set(codes < 0, None))
    return values.cast(pl.Enum(levels)) if levels.dtype == pl.String else values


def _objects(values: list[Any], missing: np.ndarray) -> pl.Series:
    """Python's objects as what they have in common; as words, if that is nothing that polars knows."""
    cells = [None if gone else value for value, gone in zip(values, missing, strict=True)]
    kinds = {type(cell) for cell in cells} - {type(None)}
    numbers = bool not in kinds and all(issubclass(kind, int | float | np.number) for kind in kinds)
    if kinds and (len(kinds) == 1 or numbers):
        try:
            made = pl.Series(cells, strict=not numbers)
        except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
            made = pl.Series(dtype=pl.Object)
        if made.dtype not in (pl.Object, pl.Int128) and made.null_count() == missing.sum():
            return made
    return pl.Series([None if cell is None else str(cell) for cell in cells], dtype=pl.String)


# --- back


def like(frame: pl.DataFrame, original: Any) -> Any:
    """The frame as one of the library of the original, its columns of the types that those of the same name have there.

    Whole numbers and truth values of pandas that miss cells are of its nullable types, whose digits stay.

    >>> like(pl.DataFrame({"a": [1, 2]}), pl.DataFrame({"a": [5]}, schema={"a": pl.Int8})).dtypes
    [Int8]
    """
    library = _library(original)
    if library == "polars":
        return _like_polars(frame, original)
    if library == "pandas":
        return _like_pandas(frame, original)
    if library == "pyarrow":
        table = frame.to_arrow()
        known = {field.name: field for field in original.schema}
        pyarrow = importlib.import_module("pyarrow")
        return table.cast(pyarrow.schema([known.get(field.name, field) for field in table.schema]))
    return frame


def _like_polars(frame: pl.DataFrame, original: Any) -> Any:
    types = original.collect_schema()
    cast = frame.with_columns(pl.col(name).cast(types[name]) for name in frame.columns if name in types)
    return cast if isinstance(original, pl.DataFrame) else cast.lazy()


def _like_pandas(frame: pl.DataFrame, original: Any) -> Any:
    pandas = importlib.import_module("pandas")
    known = {str(name): (name, dtype) for name, dtype in zip(original.columns, original.dtypes, strict=True)}
    columns = {}
    for series in frame:
        name, dtype = known.get(series.name, (series.name, _numpy_type(series.dtype)))
        columns[name] = _pandas_column(pandas, series, dtype)
    return pandas.DataFrame(columns)


def _numpy_type(dtype: pl.DataType) -> np.dtype | None:
    """The type of NumPy for a column that the original has not; ``None`` leaves it to pandas."""
    if dtype.is_numeric() and not dtype.is_decimal() or dtype == pl.Boolean:
        return pl.Series(dtype=dtype).to_numpy().dtype
    return None


def _pandas_column(pandas: Any, series: pl.Series, dtype: Any) -> Any:
    if hasattr(dtype, "pyarrow_dtype"):
        return pandas.Series(pandas.arrays.ArrowExtensionArray(series.to_arrow().cast(dtype.pyarrow_dtype)))
    kind = getattr(dtype, "kind", "O")
    if hasattr(dtype, "categories") or kind not in _READERS:
        return pandas.Series(series.to_list(), dtype=dtype)
    if kind in "Mm":
        return _pandas_moments(pandas, series, dtype)
    if kind == "f":
        return pandas.Series(series.cast(pl.Float64).to_numpy()).astype(dtype)
    if series.null_count() == 0:
        return pandas.Series(series.to_numpy()).astype(dtype)
    array = pandas.arrays.BooleanArray if kind == "b" else pandas.arrays.IntegerArray
    filled = series.fill_null(False if kind == "b" else 0).to_numpy()
    column = pandas.Series(array(filled.copy(), series.is_null().to_numpy().copy()))
    return column.astype(dtype) if hasattr(dtype, "numpy_dtype") else column


def _pandas_moments(pandas: Any, series: pl.Series, dtype: Any) -> Any:
    """Dates with times, or spans, in the steps of the type; NaT where there is none."""
    unit = dtype.unit if hasattr(dtype, "tz") else np.datetime_data(dtype)[0]
    finer = "ms" if unit == "s" else unit
    zone = getattr(series.dtype, "time_zone", None)
    steps = series.cast(pl.Duration(finer) if dtype.kind == "m" else pl.Datetime(finer, zone))
    numbers = steps.to_physical().fill_null(np.iinfo(np.int64).min).to_numpy()
    column = pandas.Series(numbers.copy().view(f"{dtype.kind}8[{finer}]"))
    return column.dt.tz_localize("UTC").astype(dtype) if hasattr(dtype, "tz") else column.astype(dtype)
