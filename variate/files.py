"""Files that are whole or not there: written beside their place, made durable, then moved in."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from variate.errors import DiskFull, UserError

__all__ = ["atomic_file", "make_folder", "opened", "write_atomic"]


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A binary file to write; it appears at `path`, whole and on the disk, when the block ends well.

    On any error, Ctrl-C included, nothing is left behind and an older file at `path` stays as it was. Missing
    folders are made. Raises OSError as `open` does.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        _sync_folder(path.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_atomic(path: Path, content: bytes) -> None:
    """Replace the file by ``content``, as ``atomic_file`` does; a ``UserError`` says why when it cannot be written."""
    try:
        with atomic_file(path) as file:
            file.write(content)
    except OSError as error:
        kind = DiskFull if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else UserError
        why = f"{path} cannot be written ({error.strerror})"
        raise kind(f"{why}: free some space or choose another place.") from None


def make_folder(path: Path) -> Path:
    """Create the folder with its parents; a ``UserError`` if the place cannot be written."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the folder {path} cannot be made ({error.strerror}): choose another with --out.") from None
    return path


@contextmanager
def opened(path: Path, buffering: int = -1) -> Iterator[IO[bytes]]:
    """A file to read; a ``UserError`` says why when it cannot be, also where that happens in this block."""
    try:
        with path.open("rb", buffering) as file:
            yield file
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}): check its permissions.") from None


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable (where folders can be opened: not on Windows)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
