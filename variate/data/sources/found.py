"""What was found where the users keep their data: rows as arrays, or a table as a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import polars as pl

    from variate.data.shards import Shards

Like = tuple[tuple[int, ...], np.dtype | str]  # the raw shape and the dtype of what a trained model knows

READABLE = "IDX files (gzipped or not), .npy, .npz, and folders of images or of .npy shards"
PARTS = ("train", "test")
BOMB = 1 << 30, 200  # bytes, and how many times those of what is packed, from which on it is not unpacked


class Found(NamedTuple):
    """Rows as they were stored, and what was decided on the way.

    values: (n, …), contiguous, writeable, in native byte order; or ``Shards``, if they are too large for memory.
    labels: (n,) whole numbers or words, ``None`` if there are none; also real columns (n, k) from a file that was named
    for them; see ``read_labels``. name: the file's or the folder's. notes: remarks for people. resized: whether images
    had to be. part: "train" or "test" where both may be there, else "all".
    """

    values: np.ndarray | Shards
    labels: np.ndarray | None
    name: str
    notes: tuple[str, ...]
    resized: bool = False
    part: str = "all"


class TableFound(NamedTuple):
    """A table as it was stored, every column of the type that its cells spell, and what was decided on the way.

    frame: missing cells are null. notes: remarks for people. name: the file's or the folder's.
    """

    frame: pl.DataFrame
    notes: tuple[str, ...]
    name: str
