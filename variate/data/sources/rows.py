"""The letters of a table → its cells, as words; rows of another length and open quotes are named by their line."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import polars as pl

from variate.base.errors import UserError
from variate.data.sources.separators import BLANKS, Sniffed, single_tabs

_CHUNK = 50_000  # rows with quotes that are made columns at a time


class Cut(NamedTuple):
    """first: the cells of the first row, which may be a heading. body: those of the others, in columns c1, c2, …"""

    first: list[str]
    body: pl.DataFrame
    notes: tuple[str, ...]


class Rows(Protocol):
    """What two readers have in common. widths, lines: of each row that is there, its cells and its line (from 1).
    blank: how many empty lines were left out before the last row."""

    widths: np.ndarray
    lines: np.ndarray
    blank: int

    def first(self) -> list[str]: ...
    def body(self, width: int) -> pl.DataFrame:
        """The cells of all rows but the first, which have this width."""
        ...


def cut(text: str, sniffed: Sniffed, path: Path) -> Cut:
    """The cells of the table; lines that are empty are no rows, except within a single column.

    Raises ``UserError``, naming the line, where a row has not as many cells as most, or a quote is never closed.
    """
    start = re.match(rf"(?:[^\r\n]*(?:\r\n|\r|\n|\Z)){{{sniffed.comments}}}", text)
    text = text[start.end() :] if start else text
    separator = sniffed.separator
    if separator == BLANKS:
        text, separator = single_tabs(text), "\t"
    rows: Rows = _Quoted(text, separator, sniffed.comments, path) if '"' in text else _Plain(text, separator)
    if not len(rows.widths):
        raise UserError(f"{path} holds no rows: give a table with one row on each line.")
    nameless = _is_nameless(rows.widths)
    width = _width(rows.widths[nameless:], rows.lines[nameless:] + sniffed.comments, sniffed.separator, path)
    first, body = rows.first(), rows.body(width)
    notes = (f"{rows.blank:,} empty lines are left out",) if rows.blank else ()
    if nameless:
        at_end = _is_empty(body[:, -1])
        first.insert(len(first) if at_end else 0, "")
    return Cut(first, body, notes)


def _is_nameless(widths: np.ndarray) -> bool:
    """Whether the first row is a heading without a name for the first column, as R writes, or for the last."""
    return len(widths) > 1 and widths[0] > 0 and bool((widths[1:] == widths[0] + 1).all())


def _is_empty(column: pl.Series) -> bool:
    return bool((column.fill_null("").str.strip_chars() == "").all())


def _width(widths: np.ndarray, lines: np.ndarray, separator: str | None, path: Path) -> int:
    """How many cells every row has."""
    most = int(np.bincount(widths).argmax())
    others = np.flatnonzero(widths != most)
    if len(others):
        bad, good = int(others[0]), int((widths == most).argmax())
        what = {"\t": "tab", BLANKS: "blank"}.get(separator or "", f"{separator!r}")
        raise UserError(
            f"{path} has {widths[bad]:,} cells on line {lines[bad]:,}, but {most:,} on line {lines[good]:,}: "
            f"mend that line, or quote the cells that hold a {what}."
        )
    return most


def _named(width: int) -> list[str]:
    return [f"c{number}" for number in range(1, width + 1)]


class _Plain:
    """Rows without a quote: each is a line."""

    def __init__(self, text: str, separator: str | None) -> None:
        self._content = text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").encode()
        self._separator = separator
        letters = np.frombuffer(self._content, np.uint8)
        ends = np.append(np.flatnonzero(letters == ord("\n")), len(letters))
        starts = np.append(0, ends[:-1] + 1)
        widths = 1 + (_counted(letters == ord(separator), starts, ends) if separator else np.zeros(len(ends), int))
        visible = (widths > 1) | (_counted(letters > ord(" "), starts, ends) > 0)
        there = _there(visible, separator)
        self.lines = np.flatnonzero(there) + 1
        self.widths = widths[there]
        self.blank = int(self.lines[-1] - len(self.lines)) if len(self.lines) else 0
        self._bounds = starts[there], ends[there]

    def first(self) -> list[str]:
        line = self._content[self._bounds[0][0] : self._bounds[1][0]].decode()
        return line.split(self._separator) if self._separator else [line]

    def body(self, width: int) -> pl.DataFrame:
        starts, ends = (bounds[1:] for bounds in self._bounds)
        if not len(starts):
            return pl.DataFrame(schema=dict.fromkeys(_named(width), pl.String))
        content = self._content[starts[0] : ends[-1]]
        if not self._separator:
            return pl.DataFrame({"c1": content.decode().split("\n")}, schema={"c1": pl.String})
        if (starts[1:] != ends[:-1] + 1).any():  # empty lines between them
            content = b"\n".join(self._content[one:end] for one, end in zip(starts, ends, strict=True))
        return pl.read_csv(
            content,
            has_header=False,
            new_columns=_named(width),
            infer_schema=False,
            separator=self._separator,
            quote_char=None,
        )


def _counted(mask: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """How many there are from each start up to its end."""
    places = np.flatnonzero(mask)
    return np.searchsorted(places, ends) - np.searchsorted(places, starts)


def _there(visible: np.ndarray, separator: str | None) -> np.ndarray:
    """Which lines are rows: those with something on them, and in a single column the empty ones between them."""
    if separator or not visible.any():
        return visible
    return np.maximum.accumulate(visible) & np.maximum.accumulate(visible[::-1])[::-1]


class _Quoted:
    """Rows with quotes somewhere, in which a cell may go over several lines."""

    def __init__(self, text: str, separator: str | None, skipped: int, path: Path) -> None:
        self._text = re.sub(r'("(?:[^"]|"")*") +(?=[\r\n]|\Z|' + re.escape(separator or "\n") + ")", r"\1", text)
        self._separator = separator or "\0"
        widths, lines, visible = _surveyed(self._reader(), skipped, path)
        self._there = _there(visible, separator)
        self.widths, self.lines = widths[self._there], lines[self._there]
        self.blank = int((~self._there[: np.flatnonzero(self._there).max(initial=-1) + 1]).sum())

    def _reader(self) -> Iterator[list[str]]:
        stream = io.StringIO(self._text, newline="")
        return csv.reader(stream, delimiter=self._separator, skipinitialspace=True, strict=True)

    def _rows(self) -> Iterator[list[str]]:
        return (row or [""] for row in itertools.compress(self._reader(), self._there))

    def first(self) -> list[str]:
        return next(self._rows())

    def body(self, width: int) -> pl.DataFrame:
        schema = dict.fromkeys(_named(width), pl.String)
        rows = itertools.islice(self._rows(), 1, None)
        pieces = [pl.DataFrame(schema=schema)]
        while chunk := list(itertools.islice(rows, _CHUNK)):
            pieces.append(pl.DataFrame(dict(zip(schema, zip(*chunk, strict=True), strict=True)), schema=schema))
        return pl.concat(pieces)


def _surveyed(reader: Iterator[list[str]], skipped: int, path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(cells, line, whether there is something) of every record."""
    widths, lines, visible = [], [], []
    line = 1
    try:
        for row in reader:
            widths.append(max(len(row), 1))
            lines.append(line)
            visible.append(len(row) > 1 or any(cell.strip() for cell in row))
            line = reader.line_num + 1  # type: ignore[attr-defined]
    except csv.Error as error:
        raise UserError(f"{path} {_fault(str(error))} on line {line + skipped:,}: {_REMEDY}.") from None
    return np.array(widths, int), np.array(lines, int), np.array(visible, bool)


_REMEDY = "close every quote, and double those inside a cell"


def _fault(error: str) -> str:
    if "expected after" in error:
        return "goes on behind a closing quote"
    limit = csv.field_size_limit()
    return (
        "opens a quote that is never closed" if "end of data" in error else f"begins a cell of over {limit:,} letters"
    )
