"""Files that are whole or not there: written beside their place, made durable, then moved in."""

import os
import tempfile
from pathlib import Path

from variate.errors import UserError

__all__ = ["make_folder", "write_atomic"]


def make_folder(path: Path) -> Path:
    """Create the folder with its parents; a ``UserError`` if the place cannot be written."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"the folder {path} cannot be made ({error.strerror}): choose another with --out."
        ) from None
    return path


def write_atomic(path: Path, content: bytes) -> None:
    """Replace the file by ``content``: after a crash at any instant the old or the new file is there, whole."""
    make_folder(path.parent)
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}): free some space or choose another place."
        ) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable (where folders can be opened: not on Windows)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
