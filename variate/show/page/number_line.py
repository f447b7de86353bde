"""Where the codes of a table's column lie on an axis that people read."""

from typing import NamedTuple

import polars as pl

from variate.data.columns import Column
from variate.data.columns.column import units

__all__ = ["Line", "of"]


class Line(NamedTuple):
    """value = offset + scale · code. ``dates``: days since 1970, as Matplotlib counts them. ``unit``: of times."""

    offset: float
    scale: float
    dates: bool = False
    unit: str = ""


def of(column: Column) -> Line:
    """
    >>> of(Column("age", "Int64", "binned", base=17, step=1.0, grid=True))
    Line(offset=17.0, scale=1.0, dates=False, unit='')
    >>> of(Column("day", "Date", "binned", base=365, step=1.0, grid=True))
    Line(offset=365.0, scale=1.0, dates=True, unit='')
    """
    if column.family == "time":
        return _of_times(column)
    if column.family == "decimal":
        one = 10.0**column.type.scale  # pyright: ignore[reportAttributeAccessIssue]
        return Line(column.base / one, column.unit / one)
    return Line(float(column.base), float(column.unit))


def _of_times(column: Column) -> Line:
    sizes = units(column.type)
    if isinstance(column.type, pl.Date | pl.Datetime):
        return Line(column.base / sizes["day"], column.unit / sizes["day"], dates=True)
    if isinstance(column.type, pl.Time):
        return Line(column.base / sizes["hour"], column.unit / sizes["hour"], unit="hours")
    name = next(name for name, size in sizes.items() if size == column.unit)
    return Line(column.base / column.unit, 1.0, unit=f"{name}s")
