"""The arrays in a .npz file: which are the rows, which their labels; a zip bomb is not unpacked."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from variate.base.errors import UserError
from variate.data.sources.found import BOMB, PARTS, READABLE
from variate.data.sources.npy import read_npy
from variate.data.sources.places import listed

VALUE_NAMES = ("values", "x", "data", "images", "arr_0")  # in small letters
LABEL_NAMES = ("labels", "y", "targets", "label", "target")

_ZIP_ERRORS = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError, OSError, struct.error),
    *(NotImplementedError, RuntimeError, ValueError),
)


@contextmanager
def unpacking(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive; whatever goes wrong with it in this block is said in one sentence."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except UserError:
        raise
    except _ZIP_ERRORS as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path} cannot be unpacked ({why}): it is cut short or damaged; save it anew.") from None


def arrays(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    arrays = {info.filename.removesuffix(".npy"): info for info in archive.infolist() if info.filename.endswith(".npy")}
    if not arrays:
        raise UserError(f"{path} is a zip archive without arrays: unpack it; what is read are {READABLE}.")
    return arrays


def quoted(name: str, path: Path) -> str:
    return f"{name!r} in {path}"


def member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> np.ndarray:
    """One array of the archive, which cannot be longer than its directory says; a bomb is not unpacked."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise NotImplementedError("a compression that NumPy does not use")
    packed = min(info.compress_size, path.stat().st_size)
    size, ratio = BOMB
    if info.file_size > size and info.file_size > ratio * packed:
        raise UserError(
            f"{path} would unpack {packed:,} bytes to {info.file_size:,}, as a zip bomb does: if you trust it, "
            "save its arrays one by one with numpy.save."
        )
    with archive.open(info) as stream:
        return read_npy(stream, info.file_size, quoted(info.filename.removesuffix(".npy"), path))


def values_among(names: list[str], part: str, path: Path) -> str:
    """The array with the rows: the only one, or the one that is named so."""
    if len(names) == 1:
        found = names
    elif any(named(names, VALUE_NAMES, one) for one in PARTS):
        found = named(names, VALUE_NAMES, part)
        if not found:
            raise UserError(f"{path} has no {part} part, only the arrays {listed(names)}: add x_{part}.")
    else:
        labels = named(names, LABEL_NAMES)
        found = named(names, VALUE_NAMES) or [name for name in names if name not in labels]
    if len(found) != 1:
        raise UserError(
            f"{path} holds the arrays {listed(names)}: say which are the rows and their labels, as in "
            "numpy.savez(file, values=..., labels=...)."
        )
    return found[0]


def labels_among(names: list[str], part: str) -> list[str]:
    """The arrays that are named as labels, the likeliest first: those of the part, if any array names a part."""
    if any(named(names, VALUE_NAMES + LABEL_NAMES, one) for one in PARTS):
        return named(names, LABEL_NAMES, part)
    return named(names, LABEL_NAMES)


def named(names: list[str], wanted: tuple[str, ...], part: str | None = None) -> list[str]:
    """Those of the names that are wanted, in small letters or large, as in x_train or train_x if there is a part."""
    spelled = [(word,) if part is None else (f"{word}_{part}", f"{part}_{word}") for word in wanted]
    return [name for words in spelled for name in names if name.lower() in words]
