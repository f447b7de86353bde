"""The .npy format: whole arrays into memory, or single rows of files that stay on the disk.

Like all that is read here, a file cannot run code, and its header is believed only as far as the bytes behind it go.
"""

from __future__ import annotations

import ast
import math
import os
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from variate.base.errors import UserError
from variate.base.files import opened
from variate.base.hushed import hushed
from variate.data.shards import Stamp
from variate.data.sources.idx import check_promise, read_values

__all__ = ["MAGIC", "NpyFiles", "check_rows", "read_npy", "read_npy_file"]

MAGIC = b"\x93NUMPY"
SHARD_BYTES = 1 << 26  # a single file is cut into shards of so many
SKIPPED_BYTES = 8192  # reading so many that nobody asked for costs no more than reading twice
SPAN_BYTES = 1 << 24  # that are read at once
REMEDY = "save it anew with numpy.save"

_LONGEST_HEADER = 10_000  # characters: more is an attack on the parser (NumPy has the same limit)


class Header(NamedTuple):
    """What a file says of its array; ``start``: the byte at which its values begin."""

    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool
    start: int


class NpyFiles:
    """The rows of one or more .npy files, numbered through; they are read when they are asked for.

    ``bounds``: where the shards begin, the first at 0. A shard is a file, or, of a single file, some 64 MiB of it.
    Raises ``UserError``, naming the file, for one that is cut short, is in Fortran's order, or has rows of another
    shape or type than the first.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name, rows in (("a", [[1, 2], [3, 4]]), ("b", [[5, 6]])):
    ...         np.save(f"{folder}/{name}.npy", np.array(rows, np.uint8))
    ...     files = NpyFiles([Path(folder, "a.npy"), Path(folder, "b.npy")], "mine")
    ...     files.read(np.array([2, 0])).tolist(), files.bounds.tolist()
    ([[5, 6], [1, 2]], [0, 2])
    """

    def __init__(self, paths: Sequence[Path], name: str):
        self.stamps = [Stamp.of(path) for path in paths]  # before their headers: what comes later is a change
        headers = [_stored(path) for path in paths]
        self.paths, self.name, self.starts = list(paths), name, [header.start for header in headers]
        self.stored, self.shape = headers[0].dtype, headers[0].shape[1:]
        self.dtype = self.stored.newbyteorder("=")
        for path, header in zip(paths, headers, strict=True):
            if (header.dtype, header.shape[1:]) != (self.stored, self.shape):
                raise UserError(
                    f"{path} holds rows of {_rows(header)}, but {paths[0]} rows of {_rows(headers[0])}: give shards "
                    "whose rows are of one shape and type."
                )
        ends = np.cumsum([header.shape[0] for header in headers])
        self.rows = int(ends[-1])
        self.row_bytes = math.prod(self.shape) * self.stored.itemsize
        self.firsts = np.concatenate([[0], ends[:-1]])
        whole = len(paths) == 1
        self.bounds = np.arange(0, self.rows, max(1, SHARD_BYTES // self.row_bytes)) if whole else self.firsts

    def __len__(self) -> int:
        return self.rows

    @property
    def sizes(self) -> list[int]:
        return [stamp.size for stamp in self.stamps]

    def read(self, index: np.ndarray) -> np.ndarray:
        """The rows with these numbers, in their order: (len(index), \\*shape), in this machine's byte order."""
        values = np.empty((len(index), *self.shape), self.stored)
        content = values.reshape(len(index), math.prod(self.shape)).view(np.uint8)
        order = np.argsort(index, kind="stable")
        files = np.searchsorted(self.firsts, index[order], side="right") - 1
        for file in np.unique(files).tolist():
            places = order[files == file]
            self._read_file(file, index[places] - self.firsts[file], places, content)
        if self.stored.kind == "b":
            return values.view(np.uint8) != 0  # as in ``read_npy``
        return values.astype(self.dtype, copy=False)

    def _read_file(self, file: int, rows: np.ndarray, places: np.ndarray, content: np.ndarray) -> None:
        """The rows of a file, whose numbers rise, into these places of ``content`` (n, row_bytes)."""
        starts = rows * self.row_bytes
        apart = (np.diff(starts) > self.row_bytes + SKIPPED_BYTES) | (np.diff(starts // SPAN_BYTES) > 0)
        ends, begins = [*(np.flatnonzero(apart) + 1).tolist(), len(rows)], starts.tolist()
        with opened(self.paths[file], buffering=0) as stream:
            for first, end in zip([0, *ends], ends, strict=False):
                start, span = begins[first], begins[end - 1] - begins[first] + self.row_bytes
                stream.seek(self.starts[file] + start)
                found = np.frombuffer(stream.read(span), np.uint8)
                if len(found) < span:
                    raise UserError(f"{self.paths[file]} has become shorter since it was opened: {REMEDY}.")
                if end == first + 1:  # as far apart as the rows of a shuffled batch are
                    content[places[first]] = found
                else:
                    content[places[first:end]] = found.reshape(-1, self.row_bytes)[rows[first:end] - rows[first]]
        self.stamps[file].check(self.paths[file])  # afterwards: what was read is what was there before


def _rows(header: Header) -> str:
    return f"{' x '.join(map(str, header.shape[1:])) or '1'} {header.dtype}"


def _stored(path: Path) -> Header:
    """The header of a file whose rows can be read one by one, and which holds what it says."""
    with opened(path) as stream:
        header = _header(stream, str(path))
        size = os.fstat(stream.fileno()).st_size
    check_promise(header.dtype, header.shape, size - header.start, str(path), REMEDY)
    check_rows(len(header.shape), header.dtype, str(path))
    if header.fortran:
        raise UserError(
            f"{path} is stored column by column, so that its rows cannot be read one by one: save it with "
            "numpy.save(file, numpy.ascontiguousarray(array))."
        )
    return header


def check_rows(axes: int, dtype: np.dtype, name: str) -> None:
    """That an array can be data: rows of numbers."""
    if axes == 0:
        raise UserError(f"{name} holds a single value: give an array with one row per example.")
    if dtype.kind == "c":
        raise UserError(f"{name} holds complex numbers: save their real and imaginary parts as separate columns.")
    if dtype.kind not in "biuf":
        raise UserError(f"{name} holds values of type {dtype}: save numbers, as in array.astype(float).")


def read_npy_file(path: Path) -> np.ndarray:
    with opened(path) as file:
        return read_npy(file, os.fstat(file.fileno()).st_size, str(path))


def read_npy(stream: IO[bytes], most: int, name: str) -> np.ndarray:
    """The array in a stream of the .npy format that cannot be longer than ``most`` bytes."""
    dtype, shape, fortran, start = _header(stream, name)
    body = read_values(stream, dtype, shape, most - start, name, REMEDY)
    flat = np.frombuffer(body, dtype)
    if dtype.kind == "b":
        flat = flat.view(np.uint8) != 0  # a byte of 2 would be a truth value that no library expects
    array = flat.reshape(shape, order="F" if fortran else "C")
    return array.astype(array.dtype.newbyteorder("="), order="C", copy=False)


def _header(stream: IO[bytes], name: str) -> Header:
    """What the file begins with, in versions 1 to 3 of the format."""

    def fault(why: str) -> UserError:
        return UserError(f"{name} has a header that is not NumPy's ({why}): save it anew with numpy.save.")

    start = stream.read(8)
    length = {1: "<H", 2: "<I", 3: "<I"}.get(start[6]) if len(start) == 8 and start.startswith(MAGIC) else None
    if length is None:
        raise fault(f"it begins with the bytes '{start.hex(' ')}'")
    size = stream.read(struct.calcsize(length))
    characters = struct.unpack(length, size)[0] if len(size) == struct.calcsize(length) else 0
    if not 0 < characters <= _LONGEST_HEADER:
        raise fault(f"of {characters:,} characters")
    text = stream.read(characters)
    try:
        described = _literal(text.decode("utf-8" if start[6] == 3 else "latin1"))
        descr, shape, fortran = described["descr"], described["shape"], described["fortran_order"]
    except (ValueError, KeyError, TypeError) as error:
        raise fault(" ".join(str(error).split())[:80]) from None
    whole = isinstance(shape, tuple) and all(type(n) is int and 0 <= n < 1 << 63 for n in shape)
    if not whole or len(shape) > 64 or type(fortran) is not bool:
        raise fault("its shape is no list of lengths")
    return Header(_dtype(descr, name), shape, fortran, 8 + len(size) + len(text))


def _literal(text: str) -> dict:
    """The dictionary that the text spells, as Python 2 or 3 would; ``ValueError`` for anything else."""
    try:
        with hushed():
            return dict(ast.literal_eval(re.sub(r"\b(\d+)L\b", r"\1", text.strip())))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"not a dictionary: {error}") from None


def _dtype(descr: object, name: str) -> np.dtype:
    if isinstance(descr, list):
        remedy = "save plain ones, with numpy.lib.recfunctions.structured_to_unstructured"
        raise UserError(f"{name} holds rows of named columns: {remedy}.")
    if isinstance(descr, str) and re.fullmatch(r"[<>|=]?O\d*", descr):
        raise UserError(
            f"{name} holds Python objects, which could run code when they are read: save numbers or words, as in "
            "numpy.save(file, numpy.stack(list_of_rows)) or array.astype(str)."
        )
    if isinstance(descr, str) and re.fullmatch(r"[<>|=]?[biufcSUVmM]\d{1,9}(\[\w+\])?", descr):
        try:
            return np.dtype(descr)
        except (TypeError, ValueError):
            pass
    raise UserError(f"{name} holds values of no known type ({str(descr)[:40]!r}): save numbers, array.astype(float).")
