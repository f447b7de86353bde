"""Standard output and standard error, whatever has become of them: closed, full, or without a reader.

What is said on standard error helps; losing it must not lose the work. What is printed on standard output is the
result: where that cannot be written, the command has failed, unless its reader had seen enough.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any, TextIO

from variate.base.errors import UserError

__all__ = ["Log", "standing"]


class Log:
    """A stream that helps, ``None`` where there is none: what it cannot take is dropped.

    >>> Log(None).write("said to nobody")
    14
    """

    def __init__(self, stream: TextIO | None):
        self.stream = stream

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 (whatever a stream has)
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError, AttributeError):  # ValueError: it is closed; AttributeError: there is none
            self.stream.write(text)  # pyright: ignore[reportOptionalMemberAccess]
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError, AttributeError):
            self.stream.flush()  # pyright: ignore[reportOptionalMemberAccess]

    def isatty(self) -> bool:
        with suppress(ValueError, AttributeError):
            return self.stream.isatty()  # pyright: ignore[reportOptionalMemberAccess]
        return False


class _Results:
    """A stream of results: ``UserError`` where it cannot take them; nothing more to do if the reader has gone."""

    def __init__(self, stream: TextIO | None):
        self.stream = stream

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 (whatever a stream has)
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        with self._told():
            if self.stream is None:
                raise OSError("it is closed")
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        if self.stream is not None:
            with self._told():
                self.stream.flush()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:  # the reader has seen enough
            _drop(self.stream)
        except OSError as error:
            _drop(self.stream)
            raise UserError(
                f"standard output cannot be written ({error.strerror or error}): free some space or send it elsewhere."
            ) from None


@contextmanager
def standing() -> Iterator[None]:
    """Inside this block both streams are as the first lines of this file say; after it the interpreter can end in
    peace, which else fails once more on what a stream could not take."""
    _hold_places()
    out, err = sys.stdout, sys.stderr
    try:
        with redirect_stdout(_Results(out)), redirect_stderr(Log(err)):  # pyright: ignore[reportArgumentType]
            yield
    finally:
        try:
            if err is not None:
                err.flush()
        except (OSError, ValueError):
            _drop(err)


def _hold_places() -> None:
    """No file that is opened later takes the number of a stream that was closed, and with it what C says there."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one


def _drop(stream: TextIO | None) -> None:
    """What the stream still holds, and what it is given from now on, goes nowhere."""
    with suppress(AttributeError, OSError, ValueError):  # not a stream of the system's
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # pyright: ignore[reportOptionalMemberAccess]
        os.close(nowhere)
