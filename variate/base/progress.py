"""Progress of long work on standard error: a bar on a terminal, a line now and then anywhere else.

Nothing is ever written to standard output, which belongs to the results. Inside a progress a second one is
silent: one bar at a time is what a reader can follow.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Any, TypeVar

from variate.base.shared import lock
from variate.base.streams import Log

T = TypeVar("T")

_silenced = 0  # how many `quiet()` blocks and running progresses there are, in all threads
_counting = lock()


@contextmanager
def quiet() -> Iterator[bool]:
    """No progress is shown inside this block, in the whole process (errors and warnings still are).

    Gives whether it could be until then: of several threads' progresses one alone is shown.
    """
    global _silenced
    with _counting:
        could = _silenced == 0
        _silenced += 1
    try:
        yield could
    finally:
        with _counting:
            _silenced -= 1


class Progress:
    """Progress of one piece of work: done of `total`, rate, time left, and whatever fields the worker names.

    `total` may be None where nobody knows it; `unit` is the plural printed behind the counts ("B" is scaled
    to kB, MB, GB). Fields may be tensors: they are formatted (and so fetched from a device) only when shown.

    >>> with Progress("Training", total=2, unit="steps") as bar:
    ...     for step in range(2):
    ...         bar.advance(1, elbo=-101.2)
    """

    def __init__(self, description: str, total: float | None = None, unit: str = "it", done: float = 0):
        self.description, self.total, self.unit = description, total, unit
        self.done = self.before = done  # what was done before does not count for the rate
        self.fields: dict[str, Any] = {}

    def __enter__(self) -> Progress:
        self._quiet = quiet()
        self._view = _view(self.description, self.total) if self._quiet.__enter__() else _Silent()
        self._started = time.monotonic()
        self._due = self._started + self._view.interval
        return self

    def advance(self, n: float = 1, **fields: Any) -> None:
        """Count `n` more units as done; `fields` are shown beside the counts until they are given anew."""
        self.done += n
        self.fields.update(fields)
        now = time.monotonic()
        if now >= self._due:
            self._due = now + self._view.interval
            self._view.show(self.done, self._status(now - self._started, running=True))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._quiet.__exit__(None, None, None)
        status = self._status(time.monotonic() - self._started, running=False)
        self._view.close(self.done, status if kind is None else f"stopped at {status}")

    def _status(self, seconds: float, running: bool) -> str:
        parts = [_count(self.done, self.total, self.unit)]
        rate = (self.done - self.before) / seconds if seconds > 0 else 0.0
        if rate > 0:
            parts.append(_quantity(rate, self.unit) + "/s")
        if not running:
            parts.append(f"took {_clock(seconds)}")
        elif rate > 0 and self.total is not None:
            parts.append(f"ETA {_clock(max(self.total - self.done, 0) / rate)}")
        parts += [f"{name}={_value(value)}" for name, value in self.fields.items()]
        return ", ".join(parts)


def track(iterable: Iterable[T], description: str, total: float | None = None, unit: str = "it") -> Iterator[T]:
    """The items of `iterable`, one by one, with a `Progress`; `total` defaults to its length if it has one.

    >>> list(track([1, 2], "Counting"))
    [1, 2]
    """
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    with Progress(description, total, unit) as bar:
        for item in iterable:
            yield item
            bar.advance()


class _Silent:
    interval = math.inf

    def show(self, done: float, status: str) -> None:
        pass

    close = show


class _Lines:
    interval = 10.0

    def __init__(self, description: str):
        self.description = description

    def show(self, done: float, status: str) -> None:
        print(f"{self.description}: {status}", file=Log(sys.stderr), flush=True)

    close = show


class _Bar:
    interval = 0.25

    def __init__(self, description: str, total: float | None):
        from rich import progress  # here, because it takes longer to import than most commands take to run
        from rich.console import Console

        self.bar = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.TextColumn("{task.fields[status]}", markup=False),
            console=Console(file=Log(sys.stderr)),  # pyright: ignore[reportArgumentType] (it is like a stream)
            refresh_per_second=4,
            redirect_stdout=False,  # what is printed to standard output stays there
        )
        self.task = self.bar.add_task(description, total=total, status="")
        self.bar.start()

    def show(self, done: float, status: str) -> None:
        self.bar.update(self.task, completed=done, status=status)

    def close(self, done: float, status: str) -> None:
        self.show(done, status)
        self.bar.stop()


def _view(description: str, total: float | None) -> _Silent | _Lines | _Bar:
    if sys.stderr is None:
        return _Silent()
    return _Bar(description, total) if Log(sys.stderr).isatty() else _Lines(description)


def _count(done: float, total: float | None, unit: str) -> str:
    if unit == "B":
        return _quantity(done, unit) + ("" if total is None else f" of {_quantity(total, unit)}")
    return f"{done:.15g}" + ("" if total is None else f"/{total:.15g}") + f" {unit}"


def _quantity(amount: float, unit: str) -> str:
    if unit == "B":
        for unit in ("B", "kB", "MB"):
            if amount < 1000:
                return f"{amount:.3g} {unit}"
            amount /= 1000
        return f"{amount:,.1f} GB"
    return f"{amount:,.0f} {unit}" if amount >= 100 else f"{amount:.3g} {unit}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _value(value: Any) -> str:
    return str(value) if isinstance(value, int | str) else format(value, ".4g")
