"""The one entry for tables: text and Parquet → frames."""

from __future__ import annotations

import os

from variate.data.sources.found import TableFound
from variate.data.sources.headings import Names
from variate.data.sources.parquet import parquet_files, read_parquet_table
from variate.data.sources.places import existing
from variate.data.sources.signatures import PARQUET, head_of, is_table_text
from variate.data.sources.text import read_text_table

__all__ = ["read_table"]


def read_table(path: str | os.PathLike[str], names: Names | None = None) -> TableFound | None:
    """The table there, ``None`` if what is there is none: IDX, .npy and .npz files, images, folders of them.

    ``names`` are for text: see ``read_text_table``. A folder is a table if there are Parquet files in it.

    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "mine.txt")
    ...     written = path.write_text("1 2.5\\n3 ?\\n")
    ...     read_table(path, ["a", "b"]).frame.rows()
    [(1, 2.5), (3, None)]
    """
    place = existing(path)
    if place.is_dir():
        return read_parquet_table(place) if parquet_files(place) else None
    head = head_of(place)
    if head.startswith(PARQUET):
        return read_parquet_table(place)
    return read_text_table(place, names) if is_table_text(head) else None
