"""Tables in text: CSV and its kin, as people and programs write them → frames with typed columns."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl

from variate.base.errors import UserError
from variate.data.sources.cells import known, typed
from variate.data.sources.found import TableFound
from variate.data.sources.headings import Names, columns_named, has_heading, names_given
from variate.data.sources.letters import text_in
from variate.data.sources.places import existing
from variate.data.sources.rows import Cut, cut
from variate.data.sources.separators import Sniffed, sniffed
from variate.data.sources.signatures import head_of, is_table_text, looks_like

__all__ = ["read_text_table"]


def read_text_table(path: str | os.PathLike[str], names: Names | None = None) -> TableFound:
    """The table in a file of text, gzipped or not: separated by commas, semicolons, tabs, bars or blanks.

    The first row is a heading if it is not like the rows below; without one the columns are called c1, c2, …, or what
    ``names`` says: a list, or a file with one name a line, with commas between them, or a .names file of the UCI
    archive. Whole numbers keep all their digits; decimal commas and separated thousands are numbers too; true and
    false are truth values; dates and times are in ISO format, in UTC if they have an offset. Missing are cells that
    are empty, ?, NA, N/A, nan, null or None, and - or . in a column of anything but words. A column in which one cell
    spells none of this is one of words, without the blanks around them. Raises ``UserError``, naming file and line.

    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "mine.csv")
    ...     written = path.write_text("height;born;name\\n1,80;1990-02-28;Ann\\n?;1985-12-01;Bo\\n")
    ...     found = read_text_table(path)
    >>> found.frame.rows()
    [(1.8, datetime.date(1990, 2, 28), 'Ann'), (None, datetime.date(1985, 12, 1), 'Bo')]
    >>> found.notes
    ("a comma is the decimal mark in 'height'",)
    """
    place = existing(path)
    if place.is_dir():
        raise UserError(f"{place} is a folder: give one file with a table.")
    if not is_table_text(head := head_of(place)):
        raise UserError(f"{place} is {looks_like(head)}, not a table in text: save it as CSV.")
    text, remarks = text_in(place)
    form = sniffed(text)
    pieces = cut(text, form, place)
    words, notes = _headed(pieces, names, form, place)
    frame, types = typed(words, form.separator)
    return TableFound(frame, (*remarks, *_skipped(form), *pieces.notes, *notes, *types), place.name)


def _skipped(form: Sniffed) -> tuple[str, ...]:
    if not form.comments:
        return ()
    what = "the first line is" if form.comments == 1 else f"the first {form.comments} lines are"
    return (f"{what} not part of the table",)


def _headed(pieces: Cut, names: Names | None, form: Sniffed, place: Path) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """(the words of the rows under their columns' names, notes)."""
    first, body, notes = pieces.first, pieces.body, ()
    given = None if names is None else names_given(names, len(first), place)
    found = first == given or has_heading(first, body, form.separator, strict=given is not None)
    if not found:
        body = pl.concat([pl.DataFrame([[cell] for cell in first], schema=body.schema), body])
        if given is None:
            notes = (f"no heading: the columns are called {_range(body.columns)}",)
    elif not body.height:
        raise UserError(f"{place} has a heading and no rows: add rows, each on a line of its own.")
    elif given is None:
        if not first[-1].strip() and len(first) > 1 and known(body[:, -1]).null_count() == body.height:
            first, body, notes = first[:-1], body[:, :-1], ("the last column, without a name and cells, is left out",)
        given, unnamed = columns_named(first, place, form.comments + 1)
        notes += unnamed
    elif first != given:
        notes = ("the names given stand in the place of those in its heading",)
    return body.rename(dict(zip(body.columns, given or body.columns, strict=True))), notes


def _range(columns: list[str]) -> str:
    return columns[0] if len(columns) == 1 else f"{columns[0]} … {columns[-1]}"
