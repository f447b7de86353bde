"""What people read while variate works: plain lines on standard error, so that standard output stays for results."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TextIO

from variate.base.progress import quiet
from variate.base.streams import Log

__all__ = ["say", "silent"]

_is_silent = ContextVar("_is_silent", default=False)  # of a thread: one is not to hush what another has to say


def say(text: str) -> None:
    """Never fails: the work goes on where nobody can read of it."""
    if not _is_silent.get():
        print(_printable(text, sys.stderr), file=Log(sys.stderr), flush=True)


def _printable(text: str, stream: TextIO | None) -> str:
    """The text with escapes for letters that the stream cannot encode, which is no reason to stop."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


@contextmanager
def silent(asked: bool = True) -> Iterator[None]:
    """Neither lines nor progress of this thread inside this block, if that is ``asked``."""
    if not asked:
        yield
        return
    before = _is_silent.set(True)
    try:
        with quiet():
            yield
    finally:
        _is_silent.reset(before)
