"""A run folder belongs to one fit at a time, from before it reads its data until it ends, however it ends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from variate.base import locks
from variate.base.console import say
from variate.base.errors import UserError
from variate.base.files import make_folder
from variate.results.folder import RunFolder

__all__ = ["LOCK", "claimed"]

LOCK = ".variate.lock"
LITTER = ("Thumbs.db", "desktop.ini")  # of Windows; that of other systems is hidden, as nothing of a run is
UNFINISHED = ("model.safetensors", "metrics.jsonl", "metrics.csv", "tensorboard", "state")
SHOWN = 3  # names of what is in the way
WHO = 20  # the lock file's first bytes: its holder; beyond: a byte for every folder that one made who came too late


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
        descriptor, killed = _locked(folder, made)
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
                made.extend(_left_to_us(descriptor, folder))  # after unlinking: who comes now removes his own
                os.close(descriptor)
    finally:
        for place in made:
            with suppress(OSError):  # something is in it
                place.rmdir()


def _left_to_us(descriptor: int, folder: RunFolder) -> list[Path]:
    """The folders that one who was refused had made, and could not remove while we had them; innermost first."""
    count = max(0, os.fstat(descriptor).st_size - WHO)  # the file is as long as the most of them
    return [folder.path, *folder.path.parents][:count]


def _locked(folder: RunFolder, made: list[Path]) -> tuple[int | None, bool]:
    """(the lock file, open and locked, or ``None`` where there are no locks; whether a killed fit had left it)."""
    place = folder.path / LOCK
    while True:
        there = os.path.lexists(place)
        try:
            descriptor = os.open(place, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except FileNotFoundError:  # a fit that was refused has just removed the folder that it had made
            made.extend(make_folder(folder.path))
            continue
        except OSError as error:
            raise UserError(f"{folder.path} cannot be written ({error.strerror}): choose another --out.") from None
        got = locks.take(descriptor)
        if got and locks.is_at(descriptor, place):
            with suppress(OSError):  # it only tells who
                os.write(descriptor, str(os.getpid()).ljust(WHO).encode())
            return descriptor, there
        holder = os.read(descriptor, WHO).decode(errors="replace").strip()
        if got is False and made:  # we cannot remove them while they are another's
            with suppress(OSError):
                os.pwrite(descriptor, b".", WHO + len(set(made)) - 1)
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
