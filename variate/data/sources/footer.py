"""Where the row groups of a Parquet file are: its footer, as far as that.

The footer is a struct of Thrift's compact protocol. polars reads the rows, but does not say how they are grouped, and
reading a part of a group costs as much as all of it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from variate.base.errors import UserError
from variate.base.files import opened

_MAGIC = b"PAR1"
_DEEPEST = 16  # structs inside one another; Parquet's go no deeper than half of it
_GROUPS, _GROUP_BYTES, _GROUP_ROWS = 4, 2, 3  # numbers of fields
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)


class Group(NamedTuple):
    """rows, and the bytes that their cells take."""

    rows: int
    size: int


def row_groups(path: Path) -> list[Group]:
    """The row groups of the file in their order; ``UserError`` if it is no Parquet file, or damaged."""
    with opened(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 8, 0))
        tail = file.read(8)
        length = int.from_bytes(tail[:4], "little")
        if size < 12 or tail[4:] != _MAGIC or length > size - 12:
            raise UserError(f"{path} is cut short, or no Parquet file: write it anew.")
        file.seek(size - 8 - length)
        footer = file.read(length)
    try:
        groups = _Reader(footer).struct()[_GROUPS]
        found = [Group(group[_GROUP_ROWS], group[_GROUP_BYTES]) for group in groups]
    except (KeyError, IndexError, TypeError, ValueError):
        found = [Group(-1, 0)]
    if any(not isinstance(number, int) or number < 0 for group in found for number in group):
        raise UserError(f"{path} has a damaged footer: write it anew.")
    return found


class _Reader:
    """Thrift's compact protocol; whatever it cannot be is a ``ValueError`` or an ``IndexError``."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._place = 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """The fields by their numbers."""
        if depth > _DEEPEST:
            raise ValueError
        fields: dict[int, Any] = {}
        number = 0
        while (head := self._byte()) != 0:
            number = number + (head >> 4) if head >> 4 else self._signed()
            kind = head & 15
            fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (_I16, _I32, _I64):
            return self._signed()
        if kind in (_TRUE, _FALSE, _BYTE):  # inside a list
            return self._byte()
        if kind in (_DOUBLE, _BINARY):
            return self._bytes(8 if kind == _DOUBLE else self._unsigned())
        if kind in (_LIST, _SET):
            return self._list(depth)
        if kind == _STRUCT:
            return self.struct(depth + 1)
        raise ValueError  # maps, which no footer has

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._unsigned()
        if count > len(self._content) - self._place:  # each takes a byte at least
            raise ValueError
        return [self._value(head & 15, depth) for _ in range(count)]

    def _byte(self) -> int:
        self._place += 1
        return self._content[self._place - 1]

    def _bytes(self, count: int) -> bytes:
        self._place += count
        return self._content[self._place - count : self._place]

    def _unsigned(self) -> int:
        number = shift = 0
        while (byte := self._byte()) & 128:
            number |= (byte & 127) << shift
            shift += 7
            if shift > 63:
                raise ValueError
        return number | byte << shift

    def _signed(self) -> int:
        number = self._unsigned()
        return (number >> 1) ^ -(number & 1)
