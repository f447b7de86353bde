"""A run folder belongs to one fit at a time, from before it reads its data until it ends, however it ends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from variate import locks
from variate.console import say
from variate.errors import UserError
from variate.files import make_folder
from variate.folder import RunFolder

__all__ = ["LOCK", "claimed"]

LOCK = ".variate.lock"
LITTER = ("Thumbs.db", "desktop.ini")  # of Windows; that of other systems is hidden, as nothing of a run is
UNFINISHED = ("model.safetensors", "metrics.jsonl", "metrics.csv", "tensorboard", "state")
SHOWN = 3  # names of what is in the way


@contextmanager
def claimed(folder: RunFolder, resume: bool, restarted: bool = False) -> Iterator[None]:
    """Inside this block no other fit gets the folder, which is made if it is not there.

    Raises ``UserError`` if another fit has it, if there is no state to ``resume``, or else if there is anything in it,
    but for hidden files and for what a fit left that was ``restarted`` or killed before its first save: its lock file
    tells, which fits that end in order take away. Where the file system has no locks, as some network ones and all on
    Windows, nobody is kept out, and that is said.
    """
    if resume:
        folder.check_resumable()
    made = [] if resume else make_folder(folder.path)
    try:
        descriptor, killed = _locked(folder)
        unfinished = killed
        try:
            if not resume:
                _check_free(folder, killed or restarted)
            unfinished = True
            yield
        finally:
            if descriptor is not None:
                with suppress(OSError, UserError):  # somebody has taken the folder away
                    if not unfinished or folder.has_state or not _names(folder.path):
                        (folder.path / LOCK).unlink()  # while it is ours: afterwards it is another's
                os.close(descriptor)
    finally:
        for place in made:
            with suppress(OSError):  # something is in it
                place.rmdir()


def _locked(folder: RunFolder) -> tuple[int | None, bool]:
    """(the lock file, open and locked, or ``None`` where there are no locks; whether a killed fit had left it)."""
    place = folder.path / LOCK
    while True:
        there = os.path.lexists(place)
        try:
            descriptor = os.open(place, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except FileNotFoundError:  # a fit that was refused has just removed the folder that it had made
            make_folder(folder.path)
            continue
        except OSError as error:
            raise UserError(f"{folder.path} cannot be written ({error.strerror}): choose another --out.") from None
        got = locks.take(descriptor)
        if got and locks.is_at(descriptor, place):
            with suppress(OSError):  # it only tells who
                os.truncate(descriptor, 0)
                os.write(descriptor, str(os.getpid()).encode())
            return descriptor, there
        holder = os.read(descriptor, 20).decode(errors="replace").strip()
        os.close(descriptor)
        if got is None:
            place.unlink(missing_ok=True)
            say(f"the file system of {folder.path} has no locks: take care that no other fit learns into it.")
            return None, False
        if got is False:
            who = f"process {holder}" if holder.isdecimal() else "another process"
            raise UserError(f"{who} is learning into {folder.path}: wait until it ends, or choose another --out.")


def _check_free(folder: RunFolder, killed: bool) -> None:
    if folder.has_state:
        raise UserError(f"{folder.path} already holds a run: go on with --resume, or choose another --out.")
    names = _names(folder.path)
    if killed:  # before its first state was whole: what there is, is made anew
        names = [name for name in names if name not in UNFINISHED]
    elif folder.model.name in names:
        raise UserError(
            f"{folder.path} already holds a model, without a state to go on from: choose another --out, or delete it."
        )
    if names:
        shown = ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
        raise UserError(f"{folder.path} is neither empty nor a run (it holds {shown}): choose another --out.")


def _names(path: Path) -> list[str]:
    """What is in a folder and counts."""
    try:
        found = sorted(os.listdir(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): choose another --out.") from None
    return [name for name in found if not name.startswith(".") and name not in LITTER]
