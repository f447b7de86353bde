"""Rows that do not fit into memory: they stay where they are, in shards, and are read when a batch asks for them."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from variate import noise
from variate.base.errors import UserError
from variate.base.progress import track
from variate.data.arrays import shareable

__all__ = ["Changed", "Shards", "Source", "Stamp", "is_large", "pieces"]

IN_MEMORY_BYTES = 1 << 30  # larger data are read from where they are
CHOSEN_SHARE = 4  # rows chosen from them are read at once, if they take no more than such a part of it
LOOKED_AT_BYTES = 1 << 26  # of rows that are looked at all at once
PIECE_BYTES = 1 << 22  # that a pass through all rows reads at a time


def is_large(rows: int, shape: tuple[int, ...], dtype: np.dtype | str) -> bool:
    """Whether so many rows of this shape and type are to be left where they are."""
    return rows * math.prod(shape) * np.dtype(dtype).itemsize > IN_MEMORY_BYTES


class Stamp(NamedTuple):
    """What changes when somebody writes into a file or puts another in its place: its bytes, when it was written."""

    size: int
    nanoseconds: int

    @classmethod
    def of(cls, path: Path) -> "Stamp":
        try:
            found = path.stat()
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}): check its permissions.") from None
        return cls(found.st_size, found.st_mtime_ns)

    def check(self, path: Path) -> None:
        """That the file is still as it was: rows that were read from another would be learned as garbage."""
        if Stamp.of(path) != self:
            raise UserError(
                f"{path} has changed since the data were opened: leave their files alone while they are used, and "
                "start again."
            )


class Source(Protocol):
    """Where n rows of one shape and type lie. ``bounds``: the first row of every shard, or ``None`` where each row is
    a shard of its own. ``sizes``: of the files, in bytes."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype: ...
    @property
    def bounds(self) -> np.ndarray | None: ...
    @property
    def sizes(self) -> list[int]: ...
    def __len__(self) -> int: ...
    def read(self, index: np.ndarray) -> np.ndarray:
        """The rows with these numbers, (len(index), \\*shape)."""
        ...


@dataclass(frozen=True)
class Changed:
    """The rows of another source as ``change`` makes them, of another type, whenever they are read."""

    source: Source
    change: Callable[[Tensor], Tensor]
    dtype: np.dtype

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.shape

    @property
    def bounds(self) -> np.ndarray | None:
        return self.source.bounds

    @property
    def sizes(self) -> list[int]:
        return self.source.sizes

    def __len__(self) -> int:
        return len(self.source)

    def read(self, index: np.ndarray) -> np.ndarray:
        return self.change(torch.from_numpy(shareable(self.source.read(index))[0])).numpy()


class Shards:
    """Rows of a source, all of them or those in ``index``, as far as a ``Dataset`` treats them like a tensor (n, …).

    Choosing rows composes indices: of every row 8 bytes are in memory. ``shards[index]`` reads, and gives a tensor on
    the ``device``. ``dtype``: NumPy's, of what is read; ``stored``: the name of the one in the files, where torch needs
    a wider one. Reading raises ``UserError``, naming the file, where one cannot be read.
    """

    def __init__(self, source: Source, index: Tensor | None = None, device: torch.device | str = "cpu"):
        self.source, self.index, self.device = source, index, torch.device(device)
        none, self.stored = shareable(np.empty(0, source.dtype))
        self.dtype, self.shape = none.dtype, (len(source) if index is None else len(index), *source.shape)
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """What all rows would take in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        if self.index is not None:
            chosen = self.index[index.cpu() if isinstance(index, Tensor) else index].numpy()
        elif isinstance(index, slice):
            chosen = np.arange(*index.indices(len(self)))
        else:
            chosen = index.cpu().numpy()
        return torch.from_numpy(shareable(self.source.read(chosen))[0]).to(self.device)

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """As of a tensor, along its first axis."""
        assert dim == 0
        return self[index]

    def choose(self, index: Tensor | slice) -> "Tensor | Shards":
        """Some of the rows: read at once if they are few, else left where they are."""
        everything = torch.arange(len(self)) if self.index is None else self.index
        chosen = Shards(self.source, everything[index], self.device)
        return chosen[:] if chosen.nbytes <= IN_MEMORY_BYTES // CHOSEN_SHARE else chosen

    def to(self, device: torch.device | str) -> "Shards":
        """The rows as tensors on another device; they stay where they are."""
        return Shards(self.source, self.index, device)

    def changed(self, change: Callable[[Tensor], Tensor], dtype: np.dtype) -> "Shards":
        """The rows as ``change``, a function of each row alone, makes them."""
        return Shards(Changed(self.source, change, dtype), self.index, self.device)

    @property
    def few(self) -> int:
        """How many rows may be looked at all at once."""
        most = min(LOOKED_AT_BYTES, IN_MEMORY_BYTES // CHOSEN_SHARE)
        return max(1, most * len(self) // self.nbytes)

    def numpy(self) -> np.ndarray:
        """Refuses: ``UserError``. What needs all values at once is not done with data that are larger than memory."""
        raise UserError(
            f"{self.source.name} holds {len(self):,} rows, which this would need in memory all at once: give fewer."
        )

    def order(self, *key: object) -> Tensor:
        """A permutation of 0..n−1 that goes from shard to shard: one of the shards, and one within each.

        A function of the key, and of how many rows there are in which shard, alone; nothing is buffered.
        """
        index = np.arange(len(self)) if self.index is None else self.index.numpy()
        if self.source.bounds is None:
            return noise.permutation(*key, n=len(self))
        shard = np.searchsorted(self.source.bounds, index, side="right")
        places = torch.from_numpy(np.argsort(shard, kind="stable"))
        parts = places.split(np.unique(shard, return_counts=True)[1].tolist())
        shuffled = noise.permutation(*key, "shards", n=len(parts)).tolist()
        return torch.cat([parts[i][noise.permutation(*key, "shard", i, n=len(parts[i]))] for i in shuffled])


def pieces(values: Tensor | Shards, doing: str = "") -> Iterator[Tensor]:
    """All rows in their order, some at a time; where they are read from shards, and it is said what for, with progress.

    >>> [len(piece) for piece in pieces(torch.zeros(5, PIECE_BYTES // 8))]
    [2, 2, 1]
    """
    at_once = max(1, PIECE_BYTES * len(values) // max(1, values.nbytes))
    starts = range(0, len(values), at_once)
    for start in track(starts, doing, unit="pieces") if doing and isinstance(values, Shards) else starts:
        yield values[start : start + at_once]
