"""Locks on open files that die with their process, so that nobody has to clear up after a kill."""

import errno
import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ["HAVE_LOCKS", "is_at", "take"]

HAVE_LOCKS = fcntl is not None
TAKEN = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES)


def take(descriptor: int) -> bool | None:
    """Whether the lock of this open file, which is one holder's alone, is ours now; until the file is closed or the
    process ends, however it ends. ``None`` where there are no locks: on Windows and on some network file systems.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError as error:
        return False if error.errno in TAKEN else None


def is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file is still the one of that name: nobody has removed or replaced it."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except OSError:
        return False
