"""Columns of words → columns of the types that they spell: numbers, truth values, dates, moments, else words.

A type is taken only if every cell that is there spells it, so nothing of a column is ever lost.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import polars as pl

MISSING = ("", "?", "NA", "N/A", "#N/A", "<NA>", "nan", "NaN", "NaT", "null", "NULL", "None")
_DASHES = ("-", ".")  # missing too where all others are of a type that has no such word

_WHOLE = r"^[+-]?[0-9]+$"
_PADDED = r"^[+-]?0[0-9]"  # a code, not a number: its zeros mean something
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_MOMENT = rf"^({_DATE})[T ]([0-9]{{2}}:[0-9]{{2}})(:[0-5][0-9])?(\.[0-9]{{1,9}})?(Z|[+-][0-9]{{2}}:?[0-9]{{2}})?$"
_TRUTHS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_GAPS = " \u00a0\u202f'’"  # between thousands, whatever the decimal mark
_POWER = r"(?:[eE][+-]?[0-9]+)?"


class Mark(NamedTuple):
    """A decimal mark and what may stand between thousands beside it."""

    decimal: str
    groups: str

    @property
    def pattern(self) -> str:
        grouped = "|".join(rf"(?:{re.escape(gap)}[0-9]{{3}})+" for gap in self.groups)
        whole = rf"(?:[1-9][0-9]{{0,2}}(?:{grouped})|[0-9]+)"
        mark = re.escape(self.decimal)
        return rf"^[+-]?(?:(?:{whole}(?:{mark}[0-9]*)?|{mark}[0-9]+){_POWER}|(?i:inf(?:inity)?))$"

    def plain(self, column: pl.Series) -> pl.Series:
        """The words as every computer writes them."""
        bare = column.str.replace_all(f"[{re.escape(self.groups)}]", "").str.strip_prefix("+")
        return bare.str.replace(self.decimal, ".", literal=True)


POINT = Mark(".", "," + _GAPS)


def typed(words: pl.DataFrame, separator: str | None) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """(frame, notes): each column of Int64, Float64, Boolean, Date, Datetime or String, missing cells null.

    Blanks around words are dropped. ``separator``, of the file, tells what a comma among digits means.

    >>> frame, notes = typed(pl.DataFrame({"a": ["1", "?"], "b": ["0,5", "1.234,25"], "c": ["x", "-"]}), ";")
    >>> frame.rows(), notes
    ([(1, 0.5, 'x'), (None, 1234.25, '-')], ("a comma is the decimal mark in 'b'",))
    """
    columns = {name: known(words[name]) for name in words.columns}
    comma = Mark(",", _GAPS if separator == "," else "." + _GAPS)
    marks = _marks(columns, comma, separator)
    notes = []
    found = {}
    for name, column in columns.items():
        found[name] = _typed(column, marks.get(name))
        notes += _remarks(name, column, found[name], marks.get(name))
    return pl.DataFrame(list(found.values())), tuple(notes)


def known(column: pl.Series) -> pl.Series:
    """The words without blanks around them, null where one says that there is none."""
    bare = column.str.strip_chars()
    return bare.set(bare.is_in(list(MISSING)), None)


def _typed(column: pl.Series, mark: Mark | None) -> pl.Series:
    bare = column.set(column.is_in(list(_DASHES)).fill_null(False), None)
    if bare.null_count() == len(bare):
        return column
    makers: list[Callable[[pl.Series], pl.Series | None]] = [_truths, _dates, _moments]
    if mark is not None:
        return _numbers(bare, mark, column)
    return next((made for make in makers if (made := make(bare)) is not None), column)


# --- numbers


def _marks(columns: dict[str, pl.Series], comma: Mark, separator: str | None) -> dict[str, Mark]:
    """The columns that are numbers, and what is the decimal mark in them.

    ``1.234`` may be either. The file decides: the mark which more columns need is also that of the doubtful ones.
    """
    point, other, doubtful = [], [], []
    for name, column in columns.items():
        bare = column.set(column.is_in(list(_DASHES)).fill_null(False), None).drop_nulls()
        fits = [len(bare) > 0 and _all(bare, mark.pattern) for mark in (POINT, comma)]
        if any(fits):
            (doubtful if all(fits) else point if fits[0] else other).append(name)
    commas = separator == ";" and any(columns[name].str.contains(",", literal=True).any() for name in doubtful)
    decimal = comma if len(other) > len(point) or len(other) == len(point) and commas else POINT
    return {name: POINT for name in point} | {name: comma for name in other} | {name: decimal for name in doubtful}


def _all(column: pl.Series, pattern: str) -> bool:
    return bool(column.str.contains(pattern).all())


def _numbers(bare: pl.Series, mark: Mark, column: pl.Series) -> pl.Series:
    """Whole if all of them are, and within 64 bits; codes such as 007 stay words."""
    plain = mark.plain(bare)
    if not _all(plain.drop_nulls(), _WHOLE):
        return plain.cast(pl.Float64)
    if plain.str.contains(_PADDED).any():
        return column
    whole = plain.cast(pl.Int64, strict=False)
    return whole if whole.null_count() == bare.null_count() else column


def _remarks(name: str, column: pl.Series, found: pl.Series, mark: Mark | None) -> list[str]:
    if mark is None or found.dtype not in (pl.Int64, pl.Float64):
        return []
    if mark.decimal == "," and column.str.contains(",", literal=True).any():
        return [f"a comma is the decimal mark in {name!r}"]
    if column.str.contains(f"[{re.escape(mark.groups)}]").any():
        return [f"thousands are set apart in {name!r}"]
    return []


# --- truth values, dates, moments


def _truths(bare: pl.Series) -> pl.Series | None:
    if not bare.drop_nulls().is_in(list(_TRUTHS)).all():
        return None
    return bare.replace_strict(_TRUTHS, default=None, return_dtype=pl.Boolean)


def _dates(bare: pl.Series) -> pl.Series | None:
    if not _all(bare.drop_nulls(), f"^{_DATE}$"):
        return None
    return _whole_or_none(bare.str.to_date("%Y-%m-%d", strict=False), bare)


def _moments(bare: pl.Series) -> pl.Series | None:
    """Of microseconds, or of nanoseconds if some need them; those with an offset in UTC."""
    if not _all(bare.drop_nulls(), _MOMENT):
        return None
    part = [bare.str.extract(_MOMENT, group) for group in range(1, 6)]
    if 0 < part[4].null_count() - bare.null_count() < len(bare) - bare.null_count():
        return None  # with an offset here and none there, they are not of one time
    unit = "ns" if part[3].str.contains(r"^\.[0-9]{6}[0-9]*[1-9]").any() else "us"
    spelled = part[0] + " " + part[1] + part[2].fill_null(":00") + part[3].fill_null("")
    moments = spelled.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit=unit, strict=False)
    if part[4].null_count() < len(bare):
        moments = (moments - _offsets(part[4])).dt.replace_time_zone("UTC")
    return _whole_or_none(moments, bare)


def _offsets(zones: pl.Series) -> pl.Series:
    digits = zones.str.replace_all("[Z:+-]", "").replace("", "0000")
    minutes = digits.str.slice(0, 2).cast(pl.Int64) * 60 + digits.str.slice(2, 2).cast(pl.Int64)
    sign = zones.str.starts_with("-").cast(pl.Int64) * -2 + 1
    return (minutes * sign * 60_000_000).cast(pl.Duration("us"))


def _whole_or_none(made: pl.Series, bare: pl.Series) -> pl.Series | None:
    """The column, unless a cell is none of them, as 30 February is."""
    return made if made.null_count() == bare.null_count() else None
