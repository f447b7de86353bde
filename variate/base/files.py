"""Files that are whole or not there: written beside their place, made durable, then moved in."""

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from variate.base import locks
from variate.base.errors import DiskFull, UserError

__all__ = ["atomic_file", "check_writeable", "keep_as", "make_folder", "opened", "write_atomic"]


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A binary file to write; it appears at `path`, whole and on the disk, when the block ends well.

    On any error, Ctrl-C included, nothing is left behind and an older file at `path` stays as it was; what processes
    that were killed have left of it is cleared. Missing folders are made. Raises OSError as `open` does.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear(path)
    partial, file = _begun(path)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if not locks.HAVE_LOCKS:
                file.close()  # Windows moves no open file
            os.replace(partial, path)  # locked until it is there, so that nobody takes it for one that was left
        _sync_folder(path.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _begun(path: Path) -> tuple[Path, IO[bytes]]:
    """A new file beside the place, locked as long as it is open."""
    while True:
        partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        file = partial.open("xb")
        if locks.take(file.fileno()) is not False and locks.is_at(file.fileno(), partial):
            return partial, file
        file.close()  # before it was locked, another process took it for one that was left, and cleared it


def _clear(path: Path) -> None:
    """Remove what was begun for this place by processes that are no more: what nobody holds locked."""
    begun = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.part")
    with suppress(OSError):  # what cannot be cleared does no harm
        for name in filter(begun.fullmatch, os.listdir(path.parent)):
            descriptor = os.open(path.with_name(name), os.O_RDWR)
            try:
                if locks.take(descriptor):
                    path.with_name(name).unlink()
            finally:
                os.close(descriptor)


def write_atomic(path: Path, content: bytes) -> None:
    """Replace the file by ``content``, as ``atomic_file`` does; a ``UserError`` says why when it cannot be written."""
    with _told(path), atomic_file(path) as file:
        file.write(content)


def keep_as(file: Path, kept: Path) -> None:
    """A second name for a file, in the place of an older one; a copy where a file can have one name only."""
    fresh = kept.with_name(f".{kept.name}.part")
    try:
        fresh.unlink(missing_ok=True)
        os.link(file, fresh)
    except OSError:
        with opened(file) as stream:
            write_atomic(kept, stream.read())
    else:
        try:
            with _told(kept):
                os.replace(fresh, kept)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What the system says against writing a file, as a ``UserError``."""
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        why = f"{path} cannot be written ({_why(error)})"
        raise (DiskFull if full else UserError)(f"{why}: free some space or choose another place.") from None


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def make_folder(path: Path) -> list[Path]:
    """Create the folder with its parents; those that were missing. A ``UserError`` if the place cannot be written."""
    missing = [place for place in (path, *path.parents) if not os.path.lexists(place)]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise UserError(f"the folder {path} cannot be made ({_why(error)}): choose another with --out.") from None
    return missing


def check_writeable(path: Path, option: str = "--out") -> None:
    """That a file can be put there, as far as can be known without doing so; said before any work for it is done."""
    above = next(place for place in (*path.parents, Path("/")) if os.path.lexists(place))
    why = None
    if os.path.isdir(path):
        why = "it is a folder"
    elif not os.path.isdir(above):
        why = f"{above} is no folder"
    elif not os.access(above, os.W_OK | os.X_OK):
        why = f"{above} is not writeable"
    if why:
        raise UserError(f"{option} {path} cannot be written, since {why}: choose another place.")


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
