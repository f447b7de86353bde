"""Tables in Parquet: one file, or a folder of them, at once or a few row groups at a time."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from variate.base.errors import UserError
from variate.data.shards import Stamp
from variate.data.sources.footer import row_groups
from variate.data.sources.found import TableFound
from variate.data.sources.frames import nan_as_null
from variate.data.sources.places import existing

__all__ = ["ParquetRows", "parquet_files", "read_parquet_table"]

KEPT_BYTES = 1 << 28  # of row groups that were read last


def read_parquet_table(path: str | os.PathLike[str]) -> TableFound:
    """All rows of a Parquet file, or of those in a folder, one after the other in the order of their names.

    Columns have the types that they have there; NaN is a missing cell. Raises ``UserError``, naming the file, where one
    is damaged, has other columns than the first, or all are too large for memory.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pl.DataFrame({"a": [1, None], "b": ["x", "y"]}).write_parquet(f"{folder}/mine.parquet")
    ...     read_parquet_table(folder).frame.rows()
    [(1, 'x'), (None, 'y')]
    """
    rows = ParquetRows(path)
    try:
        return TableFound(rows.all(), rows.notes, rows.name)
    except MemoryError:
        raise UserError(f"{path} does not fit into this machine's memory: give fewer rows or columns.") from None


def parquet_files(folder: Path) -> list[Path]:
    """The Parquet files right in a folder, but for hidden ones."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror}): check its permissions.") from None
    return [folder / name for name in names if name.endswith((".parquet", ".pq")) and not name.startswith((".", "_"))]


class _Place(NamedTuple):
    """Where a row group is: the file, its first row in there, its rows, its bytes, what the file was when opened."""

    file: Path
    start: int
    rows: int
    size: int


class ParquetRows:
    """The rows of Parquet files too large for memory: row groups are read when rows of theirs are asked for, and those
    that were read last are kept, up to 256 MiB of cells.

    bounds: the first row of every group, and the number of all rows; rows near to one another are read fastest.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pl.DataFrame({"a": range(10)}).write_parquet(f"{folder}/mine.parquet", row_group_size=4)
    ...     rows = ParquetRows(folder)
    ...     rows.take(np.array([9, 0]))["a"].to_list(), [len(piece) for piece in rows.pieces(6)]
    ([9, 0], [6, 4])
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        place = existing(path)
        files = parquet_files(place) if place.is_dir() else [place]
        if not files:
            raise UserError(f"{place} holds no Parquet files: give a folder with files called ….parquet.")
        self.name = place.resolve().name
        self.notes = (f"{len(files):,} files",) if len(files) > 1 else ()
        self._groups = [group for file in files for group in _groups_of(file)]
        self.bounds = np.cumsum([0, *(group.rows for group in self._groups)])
        self.schema = _common_schema(files)
        self._stamps = {file: Stamp.of(file) for file in files}
        self._kept: OrderedDict[int, pl.DataFrame] = OrderedDict()
        if not len(self):
            raise UserError(f"{place} holds no rows: give a table with some.")

    def __len__(self) -> int:
        return int(self.bounds[-1])

    def all(self) -> pl.DataFrame:
        """All rows, in memory."""
        return pl.concat([self._read(file) for file in self._stamps])

    def take(self, index: np.ndarray) -> pl.DataFrame:
        """The rows with these numbers, in this order."""
        index = np.asarray(index, np.int64)
        if len(index) and not (0 <= index.min() and index.max() < len(self)):
            raise IndexError(f"row {index.min() if index.min() < 0 else index.max()} of {len(self)}")
        groups = np.searchsorted(self.bounds, index, side="right") - 1
        order = np.argsort(groups, kind="stable")
        pieces = [pl.DataFrame(schema=self.schema)]
        for group in np.unique(groups):
            inside = index[order[groups[order] == group]] - self.bounds[group]
            pieces.append(self._group(int(group))[inside])
        return pl.concat(pieces)[np.argsort(order, kind="stable")]

    def pieces(self, rows: int) -> Iterator[pl.DataFrame]:
        """All rows in their order, so many at a time; the last piece may have fewer."""
        for start in range(0, len(self), rows):
            yield self.take(np.arange(start, min(start + rows, len(self))))

    def _group(self, number: int) -> pl.DataFrame:
        """One row group, and it is the last to be forgotten."""
        found = self._kept.pop(number, None)
        if found is None:
            place = self._groups[number]
            found = self._read(place.file, place.start, place.rows)
        self._kept[number] = found
        while len(self._kept) > 1 and sum(self._groups[kept].size for kept in self._kept) > KEPT_BYTES:
            self._kept.popitem(last=False)
        return found

    def _read(self, file: Path, start: int = 0, rows: int | None = None) -> pl.DataFrame:
        self._stamps[file].check(file)
        with _damage_told(file):
            return nan_as_null(_scan(file).slice(start, rows).collect())

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_kept": OrderedDict()}  # another process reads its own


def _groups_of(file: Path) -> list[_Place]:
    places, start = [], 0
    for rows, size in row_groups(file):
        if rows:
            places.append(_Place(file, start, rows, size))
        start += rows
    return places


def _common_schema(files: list[Path]) -> pl.Schema:
    schemas = []
    for file in files:
        with _damage_told(file):
            schemas.append(_scan(file).collect_schema())
        if schemas[-1] != schemas[0] or list(schemas[-1]) != list(schemas[0]):
            raise UserError(f"{file} has other columns than {files[0].name}: give each folder files of one table.")
    return schemas[0]


def _scan(file: Path) -> pl.LazyFrame:
    return pl.scan_parquet(file, glob=False, hive_partitioning=False)


@contextmanager
def _damage_told(file: Path) -> Iterator[None]:
    """What polars says against the file, as a ``UserError``; its readers panic on some."""
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        why = " ".join(str(error).split())[:200]
        raise UserError(f"{file} cannot be read as Parquet ({why}): it is damaged; write it anew.") from None
