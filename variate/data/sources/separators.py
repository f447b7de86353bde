"""What separates the cells of a table in text: sniffed from its first lines."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from typing import NamedTuple

BLANKS = " "  # runs of blanks and tabs
SEPARATORS = ("\t", ";", "|", ",", BLANKS)  # of equals, the first
COMMENTS = ("|", "#", "%")  # what a line before the table may begin with

_SAMPLE = 1 << 16  # letters that are looked at
_AGREE, _MOST = 0.5, 0.8  # of the rows, such a part at least has as many cells as most: at all, and surely
_NONE = (False, False, False, 0.0, 0.0)
_VALUE = re.compile(
    r"[+-]?([0-9]+|[0-9]{1,3}([.,][0-9]{3})+)?([.,][0-9]*)?([eE][+-]?[0-9]+)?|[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:.]+)?"
)


class Sniffed(NamedTuple):
    """separator: ``None`` if there is one column alone. comments: lines before the table that are none of it."""

    separator: str | None
    comments: int


def sniffed(text: str) -> Sniffed:
    """What separates the cells of this table.

    Of the separators that give (nearly) all rows one number of cells, the one with the most numbers and dates as cells.

    >>> sniffed("|1x3 Cross validator\\n25, Private, 11th\\n38, Private, HS-grad\\n")
    Sniffed(separator=',', comments=1)
    """
    sample = text[:_SAMPLE]
    if len(text) > _SAMPLE:
        sample = sample[: max(sample.rfind("\n"), sample.rfind("\r")) + 1] or sample
    lines = lines_of(sample)
    if lines and (told := re.fullmatch(r"sep=(.)", lines[0])):  # as Excel writes
        return Sniffed(told[1], 1)
    begun = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith(COMMENTS)), 0)
    scores = {candidate: _score("\n".join(lines[begun:]), candidate) for candidate in SEPARATORS}
    separator = max(scores, key=scores.__getitem__)
    separator = separator if max(scores.values()) > _NONE else None
    return Sniffed(separator, _comments(lines[: begun + 1], separator))


def _score(sample: str, separator: str) -> tuple[bool, bool, bool, float, float]:
    """What is greatest for the likeliest: whether (nearly) all rows below the first have one number of cells, whether
    the first has it, whether it is no wild guess, what part of the cells that are there are numbers or dates, what part
    of the rows agree."""
    first, *others = [row for row in _rows(sample, separator) if any(cell.strip() for cell in row)] or [[""]]
    rows = others or [first]
    width, agree = Counter(map(len, rows)).most_common(1)[0]
    share = agree / len(rows)
    if width < 2 or share < (_MOST if separator == BLANKS else _AGREE):
        return _NONE
    cells = [bare for row in rows if len(row) == width for cell in row if (bare := cell.strip())]
    values = sum(_VALUE.fullmatch(cell) is not None for cell in cells)
    usual = separator != BLANKS or share == 1  # blanks are in words too, and runs of tabs may be missing cells
    return share >= _MOST, len(first) == width, usual, values / max(len(cells), 1), share


def _rows(sample: str, separator: str) -> list[list[str]]:
    if separator == BLANKS:
        sample, separator = single_tabs(sample), "\t"
    try:
        return list(csv.reader(io.StringIO(sample, newline=""), delimiter=separator, skipinitialspace=True))
    except csv.Error:
        return []


def _comments(lines: list[str], separator: str | None) -> int:
    """How many of the lines, of which the last begins the table, are before it: not so a heading that begins with #."""
    width = width_of(lines[-1], separator) if lines else 0
    for number, line in enumerate(lines):
        if line.strip() and (not line.startswith(COMMENTS) or width_of(line, separator) == width > 1):
            return number
    return 0


def width_of(line: str, separator: str | None) -> int:
    """The number of cells on one line."""
    return 1 if separator is None else max(map(len, _rows(line, separator)), default=0)


def lines_of(text: str) -> list[str]:
    """The lines, whatever ends them; unlike ``str.splitlines``, at nothing that may stand inside a cell."""
    return re.split(r"\r\n|\r|\n", text)


def single_tabs(text: str) -> str:
    """Runs of blanks outside quotes as one tab, and none around a line."""
    pieces = re.compile(r'("(?:[^"]|"")*")|[ \t]*(\r\n|\r|\n)[ \t]*|[ \t]+')
    return pieces.sub(lambda match: match[1] or match[2] or "\t", text.strip(" \t"))
