"""Files and folders that people have → plain arrays: what is there is told by its content."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from variate.base.errors import UserError
from variate.data.shards import Shards, is_large
from variate.data.sources.found import PARTS, READABLE, Found, Like
from variate.data.sources.idx import read_idx
from variate.data.sources.labels import classes, one_per_row, read_labels
from variate.data.sources.npy import MAGIC, NpyFiles, check_rows, read_npy_file
from variate.data.sources.npz import VALUE_NAMES, arrays, labels_among, member, named, quoted, unpacking, values_among
from variate.data.sources.places import existing, listed, names_in
from variate.data.sources.signatures import ZIP, head_of, is_idx, looks_like

_PART_FOLDERS = {*PARTS, "val", "valid", "validation"}


def read(
    path: str | os.PathLike[str],
    *,
    labels: str | os.PathLike[str] | None = None,
    resize: tuple[int, int] | None = None,
    part: str = "train",
    like: Like | None = None,
) -> Found:
    """The rows in an IDX, .npy or .npz file or a folder of images or of .npy shards, and their labels if there are any.

    ``labels`` names a file with one label per row; without it they come from the .npz itself, from the file beside
    ``…images…`` that is called ``…labels…`` or from the names of sub-folders. ``part``, "train" or "test", chooses
    among x_train and x_test of a .npz or the sub-folders train and test. ``resize`` (height, width) and ``like`` are
    for folders: see ``images``. Raises ``UserError``, naming the file, for whatever cannot be read.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/mine.npz", x=np.eye(3, dtype=np.float32), y=np.array([4, 5, 6]))
    ...     found = read(f"{folder}/mine.npz")
    >>> found.values.shape, found.labels.tolist(), found.notes
    ((3, 3), [4, 5, 6], ("values from 'x'", "labels from 'y'"))
    """
    place = existing(path)
    if resize is not None and not place.is_dir():
        raise UserError(f"{place} is not a folder of images, and only those are resized: leave --resize out.")
    try:
        found = _folder(place, resize, part, like) if place.is_dir() else _file(place, part)
    except MemoryError:
        raise UserError(f"{place} does not fit into this machine's memory: give fewer rows or smaller ones.") from None
    if labels is None:
        return found
    known = one_per_row(read_labels(labels, part, len(found.values)), len(found.values), labels)
    notes = [note for note in found.notes if not note.startswith("labels")]  # about those that were found unasked
    return found._replace(labels=known, notes=(*notes, f"labels from {Path(labels).name}"))


def _folder(path: Path, resize: tuple[int, int] | None, part: str, like: Like | None) -> Found:
    from variate.data.sources.images import holds_images, images  # here: it imports Pillow

    place = path / part if _has_parts(path) else path
    shards = _shard_names(place)
    if shards and not holds_images(place):
        if resize is not None:
            raise UserError(f"{place} is a folder of .npy shards, and only images are resized: leave --resize out.")
        found = _shards(place, shards)
    else:
        found = images(place, resize, like)
    if place == path:
        return found
    notes = (f"read from the sub-folder {part}", *found.notes)
    return found._replace(name=path.resolve().name, notes=notes, part=part)


def _shard_names(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith(".npy") and not name.startswith("."))
    except OSError:  # which looking for images explains
        return []


def _shards(folder: Path, names: list[str]) -> Found:
    """The rows of all these files, one after the other."""
    name = folder.resolve().name
    values, notes = _rows_of(NpyFiles([existing(folder / name) for name in names], name))
    return Found(values, None, name, (f"{len(names):,} shards", *notes))


def _rows_of(files: NpyFiles) -> tuple[np.ndarray | Shards, tuple[str, ...]]:
    """(rows, notes): in memory, or where they are, if they are too large for that."""
    if is_large(len(files), files.shape, files.dtype):
        return Shards(files), ("too large for memory: rows are read when they are needed",)
    return files.read(np.arange(len(files))), ()


def _has_parts(path: Path) -> bool:
    """Whether its sub-folders are train and test, and nothing that could be a class."""
    if not all(os.path.isdir(path / part) for part in PARTS):
        return False
    return all(
        name in _PART_FOLDERS or name.startswith(".") or not os.path.isdir(path / name) for name in names_in(path)
    )


def _file(path: Path, part: str) -> Found:
    head = head_of(path)
    if head.startswith(ZIP):
        return _npz(path, part)
    rest: tuple[str, ...] = ()
    if head.startswith(MAGIC) and is_large(path.stat().st_size, (), "uint8"):
        values, rest = _rows_of(NpyFiles([path], path.name))
    elif head.startswith(MAGIC):
        values = _numbers(read_npy_file(path), str(path))
    elif is_idx(head):
        values = read_idx(path)
    else:
        raise UserError(f"{path} is {looks_like(head)}, which is not read as data: {_remedy(looks_like(head))}.")
    labels, notes = _labels_beside(path, len(values))
    return Found(values, labels, path.name, (*rest, *notes))


def _remedy(what: str) -> str:
    if what.endswith(" image"):
        return "give the folder that it lies in"
    if "CSV" in what or "Parquet" in what:
        return "it is a table, which variate.data.sources.tables.read_table reads"
    if "gzip" in what or "archive" in what:
        return "unpack it, and give what is in it"
    return f"what is read are {READABLE}"


def _labels_beside(path: Path, rows: int) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """(labels, notes) from the file that is named like this one, but for "labels" in the place of "images"."""
    if "images" not in path.name:
        return None, ()
    name = re.sub(r"idx\d", "idx1", path.name.replace("images", "labels"))
    for place in (path.with_name(name), path.with_name(name.removesuffix(".gz")), path.with_name(name + ".gz")):
        if place.is_file():
            try:
                labels = classes(read_labels(place, rows=rows), str(place))
                return one_per_row(labels, rows, place), (f"labels from {place.name}",)
            except UserError as error:
                return None, (f"labels beside {path.name} are not used: {error}",)
    return None, ()


def _numbers(values: np.ndarray, name: str) -> np.ndarray:
    """The same array, if it can be data."""
    check_rows(values.ndim, values.dtype, name)
    return values


def _npz(path: Path, part: str) -> Found:
    with unpacking(path) as archive:
        members = arrays(archive, path)
        chosen = values_among(list(members), part, path)
        values = _numbers(member(archive, members[chosen], path), quoted(chosen, path))
        known = [name for name in labels_among(list(members), part) if name != chosen][:1]
        labels, notes = None, [f"values from {chosen!r}"] if len(members) > 1 else []
        if known:
            try:
                array = classes(member(archive, members[known[0]], path), quoted(known[0], path))
                labels = one_per_row(array, len(values), quoted(known[0], path))
                notes.append(f"labels from {known[0]!r}")
            except UserError as error:
                notes.append(f"labels are not used: {error}")
    unused = [name for name in members if name not in (chosen, *known)]
    if unused:
        notes.append(f"not used: {listed(unused)}")
    read_part = next((one for one in PARTS if named([chosen], VALUE_NAMES, one)), "all")
    return Found(values, labels, path.name, tuple(notes), part=read_part)
