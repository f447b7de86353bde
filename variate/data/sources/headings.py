"""The names of a table's columns: its first row, where that is a heading, or what was told."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from variate.base.errors import UserError
from variate.data.sources.cells import MISSING, typed
from variate.data.sources.letters import text_in
from variate.data.sources.places import existing, listed
from variate.data.sources.separators import lines_of

Names = Sequence[str] | str | os.PathLike[str]  # the names, or a file with them

_LOOKED_AT = 1000  # rows whose types tell whether the first is one of them
_ATTRIBUTE = re.compile(r"\s*([^:]+?)\s*:\s*(\S.*)")  # of a .names file


def has_heading(first: list[str], body: pl.DataFrame, separator: str | None, strict: bool = False) -> bool:
    """Whether the first row names the columns.

    So it is, if a column below it is of another type (``strict``: only then), or none of its words is a cell below; not
    if any of its cells is a number or date, missing in the place of a word, or there twice.
    """
    below = body.head(_LOOKED_AT)
    if not body.height:
        return not strict and all(_is_word(cell, separator) for cell in first)
    if _counts_up(first):
        return True
    columns = range(len(first))
    words = [_is_word(cell, separator) for cell in first]
    kinds = typed(below, separator)[0].dtypes
    values = [kind != pl.String for kind in kinds]
    if any(values[i] and not words[i] and first[i].strip() not in MISSING for i in columns):
        return False
    again = any(words[i] and not values[i] and _is_in(first[i], body[:, i]) for i in columns)
    if again or any(not words[i] and first[i].strip() for i in columns):
        return False
    if any(values[i] and words[i] for i in columns):
        return True
    return not strict and all(words) and len(set(first)) == len(first)


def _is_word(cell: str, separator: str | None) -> bool:
    return cell.strip() not in MISSING and typed(pl.DataFrame({"c": [cell]}), separator)[0].dtypes == [pl.String]


def _is_in(cell: str, column: pl.Series) -> bool:
    return bool((column.str.strip_chars() == cell.strip()).any())


def _counts_up(first: list[str]) -> bool:
    """Whether it is the heading 0, 1, 2, … of a frame without names, with or without one above its row numbers."""
    cells = [cell.strip() for cell in first]
    numbers = cells[1:] if cells[0] == "" else cells
    return len(numbers) > 2 and numbers == [str(number) for number in range(len(numbers))]


def columns_named(first: list[str], path: Path, line: int) -> tuple[list[str], tuple[str, ...]]:
    """(names, notes) that the heading gives; a column without one is called by its place."""
    names = [cell.strip() for cell in first]
    if re.match("# *", names[0]):
        names[0] = re.sub("^#+ +", "", names[0])  # as numpy.savetxt writes
    empty = [number for number, name in enumerate(names, 1) if not name]
    names = [name or f"c{number}" for number, name in enumerate(names, 1)]
    for name, times in Counter(names).items():
        if times > 1:
            raise UserError(f"{path} has {times} columns called {name!r} on line {line:,}: rename all but one.")
    called = listed(f"c{number}" for number in empty)
    return names, (f"columns without a name are called {called}",) if empty else ()


def names_given(names: Names, width: int, path: Path) -> list[str]:
    """The names that were told, one for each column."""
    told = isinstance(names, str | os.PathLike)
    where = str(names) if told else "names"
    found = [str(name).strip() for name in (names_in_file(names, width) if told else names)]
    if len(found) != width:
        raise UserError(f"{where} gives {len(found):,} names, but {path} has {width:,} columns: give one for each.")
    for name, times in Counter(found).items():
        if times > 1 or not name:
            raise UserError(f"{where} gives the name {name!r} to {times} columns: give each one of its own.")
    return found


def names_in_file(path: str | os.PathLike[str], width: int) -> list[str]:
    """The names in a file: one a line, or on one line with commas between them, or a .names file of the UCI archive.

    The latter has ``name: values.`` for each column, remarks behind |, and, ahead of them, the classes of a last column
    without a name of its own: it is called ``class``, if there are ``width`` columns only with it.
    """
    place = existing(path)
    if place.is_dir():
        raise UserError(f"{place} is a folder: give a file with the names of the columns.")
    lines = [line.strip() for line in lines_of(text_in(place)[0])]
    lines = [bare for line in lines if (bare := line.split("|")[0].strip())]
    if not any(":" in line for line in lines):
        return next(csv.reader(lines), []) if len(lines) == 1 else lines
    found = _attributes(lines, place)
    return [*found, "class"] if len(found) == width - 1 and ":" not in lines[0] else found


def _attributes(lines: list[str], place: Path) -> list[str]:
    """The names before the colons; what follows them ends with a full stop, maybe some lines later."""
    found, going_on = [], ":" not in lines[0]
    for line in lines:
        if going_on:
            going_on = not line.endswith(".")
        elif match := _ATTRIBUTE.fullmatch(line):
            found.append(match[1])
            going_on = match[2].endswith(",")
        else:
            raise UserError(f"{place} has the line {line[:40]!r}, which names no column: write one name on each line.")
    return found
