"""What a column of a frame is: how its cells become codes, and one line about it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import polars as pl

from variate.data.columns.dtypes import family, parsed, with_steps

__all__ = ["LEARNED", "MEASURES", "Column", "describe"]

LEARNED = ("real", "binned", "count", "category")  # those with codes
MEASURES = (*LEARNED, "constant", "left out")
MOST_COLUMNS, MOST_LEVELS, LONGEST_NAME = 10_000, 65_536, 1000
EXACT = 1 << 53  # whole numbers below are exact in float64
Level = str | int | bool
LEVELS_OF = {"words": str, "truth": bool, "whole": int, "float": int}  # families of types that have categories


@dataclass(frozen=True)
class Column:
    """code = (x − base) / unit, exactly invertible; of a category the index of its level.

    ``dtype``: the frame's type as text. ``measure``: what the codes are, or that there are none: "constant" (``value``
    everywhere) or "left out" (for a ``reason``). ``unit``: of dates and times, how many of the type's own steps are one
    code (a day's microseconds, say); else 1. ``step``: the width of the bins in codes, 0 for none; if ``grid``, codes
    are whole steps. ``levels``: words, whole numbers or truth values of a category. ``low``, ``high``: the least and
    greatest code seen. The base, and the value of a constant, are whole steps of dates, times and decimals.
    """

    name: str
    dtype: str
    measure: str
    base: int | float = 0
    unit: int = 1
    step: float = 0.0
    grid: bool = False
    levels: tuple[Level, ...] = ()
    value: str | int | float | None = None
    reason: str = ""
    low: float | None = None
    high: float | None = None

    @property
    def is_learned(self) -> bool:
        return self.measure in LEARNED

    @property
    def type(self) -> pl.DataType:
        return parsed(self.dtype)

    @property
    def family(self) -> str:
        return family(self.type)


_UNITS_NS = {"day": 86_400_000_000_000, "hour": 3_600_000_000_000, "minute": 60_000_000_000, "second": 1_000_000_000}
_UNITS_NS |= {"millisecond": 1_000_000, "microsecond": 1000, "nanosecond": 1}
_STEP_NS = {"ns": 1, "us": 1000, "ms": 1_000_000}


def units(dtype: pl.DataType) -> dict[str, int]:
    """The units of dates and times, coarsest first: how many of the type's own steps each is."""
    if isinstance(dtype, pl.Date):
        return {"day": 1}
    own = _STEP_NS[getattr(dtype, "time_unit", "ns")]
    return {name: size // own for name, size in _UNITS_NS.items() if size >= own}


def describe(column: Column) -> str:
    """One line for people.

    >>> describe(Column("age", "Int64", "binned", base=17, step=1.0, grid=True, low=0.0, high=73.0))
    'age: whole numbers 17..90, bins of 1'
    >>> describe(Column("sex", "String", "category", levels=("Female", "Male")))
    'sex: 2 levels (Female, Male)'
    """
    return f"{column.name}: {_ABOUT[column.measure](column)}"


def _about_levels(column: Column) -> str:
    shown = ", ".join(str(level)[:40] for level in column.levels[:5]) + ", …" * (len(column.levels) > 5)
    return f"{len(column.levels):,} level{'s' * (len(column.levels) != 1)} ({shown})"


def _about_numbers(column: Column) -> str:
    what = _NAMES.get(type(column.type), "real numbers")
    if column.family == "whole" or column.family == "float" and type(column.base) is int:
        what = "whole numbers"
    if column.low is None or column.high is None:
        return what
    return f"{what} {_shown(column, column.low)}..{_shown(column, column.high)}"


_NAMES = {pl.Date: "dates", pl.Datetime: "times", pl.Time: "times of day", pl.Duration: "durations"}
_NAMES |= {pl.Decimal: "decimals"}


def _shown(column: Column, code: float) -> str:
    """The value whose code is given."""
    if column.family == "float":
        return f"{column.base + code:.6g}" if type(column.base) is float else f"{column.base + code:.0f}"
    steps = int(column.base) + int(Fraction(code) * column.unit)
    if isinstance(column.type, pl.Duration):
        return f"{steps / column.unit:g}"
    return str(steps) if column.family == "whole" else _stepped(column, steps)


def _stepped(column: Column, steps: int) -> str:
    """A date, time, duration or decimal of so many steps."""
    cell = with_steps(pl.Series([steps], dtype=pl.Int128), column.type)
    if isinstance(column.type, pl.Datetime):
        whole_days = steps % units(column.type)["day"] == 0
        return cell.dt.strftime("%Y-%m-%d" if whole_days else "%Y-%m-%d %H:%M:%S").item()
    return str(cell.item()) if isinstance(column.type, pl.Duration) else cell.cast(pl.String).item()


def _about_bins(column: Column) -> str:
    return f"{_about_numbers(column)}, bins of {_width(column)}"


def _width(column: Column) -> str:
    if column.family == "decimal":
        return f"{column.step / 10**column.type.scale:g}"  # pyright: ignore[reportAttributeAccessIssue]
    if column.family != "time":
        return f"{column.step:g}"
    unit = next(name for name, size in units(column.type).items() if size == column.unit)
    return f"{column.step:g} {unit}" + "s" * (column.step != 1)


def _about_constant(column: Column) -> str:
    value = _stepped(column, column.value) if column.family in ("time", "decimal") else column.value  # pyright: ignore
    return f"{str(value)[:40]} in every row"


_ABOUT = {
    "real": _about_numbers,
    "binned": _about_bins,
    "count": lambda column: f"counts 0, 1, 2, … seen up to {column.high or 0:.0f}",
    "category": _about_levels,
    "constant": _about_constant,
    "left out": lambda column: f"left out, {column.reason}",
}
