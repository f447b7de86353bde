"""The one entry for tables: text and Parquet → frames."""

from __future__ import annotations

import os

from variate.data.sources.found import TableFound
from variate.data.sources.headings import Names
from variate.data.sources.places import existing
from variate.data.sources.signatures import head_of, is_table_text
from variate.data.sources.text import read_text_table

__all__ = ["read_table"]


def read_table(path: str | os.PathLike[str], names: Names | None = None) -> TableFound | None:
    """The table there, ``None`` if what is there is none: IDX, .npy and .npz files, images, folders of them."""
    place = existing(path)
    if place.is_dir():
        return None
    return read_text_table(place, names) if is_table_text(head_of(place)) else None
