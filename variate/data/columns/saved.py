"""Columns as JSON and back, where nothing is assumed of what is read."""

from dataclasses import asdict, fields
from typing import Any

import numpy as np
import polars as pl

from variate.base.errors import UserError
from variate.data.columns.coding import LARGEST, frame
from variate.data.columns.column import EXACT, LEVELS_OF, LONGEST_NAME, MOST_COLUMNS, MOST_LEVELS, Column, units
from variate.data.columns.dtypes import steps_range
from variate.data.columns.grids import COARSEST, FINEST

__all__ = ["from_json", "to_json"]

_KEYS = {field.name for field in fields(Column)}
_FARTHEST, _LONGEST_DTYPE = 1 << 120, 1 << 26


def to_json(columns: tuple[Column, ...]) -> list[dict[str, Any]]:
    """Columns as what ``json`` can write: whole numbers beyond 2^53 stay exact there."""
    return [asdict(column) | {"levels": list(column.levels)} for column in columns]


def from_json(said: object) -> tuple[Column, ...]:
    """The inverse of ``to_json``; raises ``UserError`` for what no version of variate wrote."""
    if not isinstance(said, list) or not all(isinstance(entry, dict) and set(entry) == _KEYS for entry in said):
        raise UserError("its schema has missing or unknown keys: it was not written by variate.")
    columns = tuple(Column(**entry | {"levels": _listed(entry["levels"])}) for entry in said)
    if not 1 <= len(columns) <= MOST_COLUMNS or not all(map(_plausible, columns)):
        raise _hostile()
    if len({column.name for column in columns}) < len(columns):
        raise _hostile()
    return columns


def _hostile() -> UserError:
    return UserError("its schema is out of range: the file is damaged or hostile, do not use it.")


def _listed(levels: object) -> Any:
    return tuple(levels) if isinstance(levels, list) else None


def _plausible(column: Column) -> bool:
    """Whether every part has the type and the range that this package gives it."""
    try:
        return _is_whole(column) and _IS[column.measure](column)
    except Exception:  # a type that is none, levels that it cannot hold: whatever it is, it is no column
        return False


def _is_whole(column: Column) -> bool:
    """What holds of every column, whatever its measure."""
    return (
        _is_text(column.name, LONGEST_NAME)
        and _is_text(column.dtype, _LONGEST_DTYPE)
        and isinstance(column.measure, str)
        and column.measure in _IS
        and _is_text(column.reason, LONGEST_NAME)
        and isinstance(column.levels, tuple)
        and type(column.grid) is bool
        and type(column.unit) is int
        and type(column.step) is float
        and type(column.base) in (int, float)
        and bool(column.reason) == (column.measure == "left out")
        and (column.measure == "constant" or column.value is None)
        and (column.measure == "category" or not column.levels)
        and (column.measure == "binned" or not column.step and not column.grid)
    )


def _is_number(column: Column) -> bool:
    stepped = column.family in ("whole", "time", "decimal")
    farthest = _FARTHEST if stepped else EXACT
    sizes = tuple(units(column.type).values()) if column.family == "time" else (1,)
    return (
        (stepped or column.family == "float")
        and (type(column.base) is int or not stepped and column.base == 0.0)
        and abs(column.base) <= farthest
        and column.unit in sizes
        and _bounded(column)
        and _can_be_made(column)
    )


def _is_binned(column: Column) -> bool:
    return FINEST <= column.step <= COARSEST and _is_number(column)


def _is_count(column: Column) -> bool:
    known = column.family in ("whole", "float") and column.base == 0
    return known and _is_number(column) and (column.low or 0.0) >= 0


def _is_category(column: Column) -> bool:
    levels, kind = column.levels, LEVELS_OF[column.family]
    return (
        1 <= len(levels) <= MOST_LEVELS
        and all(type(level) is kind and _fits(column, level) for level in levels)
        and len(set(levels)) == len(levels)
        and (column.base, column.unit) == (0, 1)
        and _bounded(column)
        and _can_be_made(column)
    )


def _is_constant(column: Column) -> bool:
    kind = {**LEVELS_OF, "float": float, "time": int, "decimal": int}[column.family]
    return (
        type(column.value) is kind
        and _fits(column, column.value)
        and (column.base, column.unit, column.low, column.high) == (0, 1, None, None)
        and _can_be_made(column)
    )


def _fits(column: Column, value: Any) -> bool:
    """Whether a level or a constant can be a cell of the column."""
    if isinstance(value, str):
        return _is_text(value, LONGEST_NAME)
    if column.family == "float":
        return abs(value) <= (LARGEST if isinstance(value, float) else EXACT)
    low, high = (0, 1) if column.family == "truth" else steps_range(column.type)
    return low <= value <= high


def _bounded(column: Column) -> bool:
    low, high = column.low, column.high
    return type(low) is float and type(high) is float and -2 * LARGEST <= low <= high <= 2 * LARGEST


def _can_be_made(column: Column) -> bool:
    """Whether a cell of that type can be made: a last look at time zones, places of decimals and words of an Enum."""
    if isinstance(column.type, pl.Decimal) and not 1 <= column.type.precision >= column.type.scale:
        return False
    made = frame(np.zeros((1, int(column.is_learned))), [column])
    return made.schema[column.name] == column.type and made.rows() != []


def _is_text(said: object, longest: int) -> bool:
    return isinstance(said, str) and len(said) <= longest and not any("\ud800" <= letter <= "\udfff" for letter in said)


_IS = {
    "real": _is_number,
    "binned": _is_binned,
    "count": _is_count,
    "category": _is_category,
    "constant": _is_constant,
    "left out": lambda column: not column.base and column.unit == 1 and column.low is column.high is None,
}
