"""When a run saves and when it ends: by the clock, and when it is asked to."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Clock", "asked_to_stop"]


class Clock:
    """When to save, when to stop, and how long it took."""

    def __init__(self, save: Callable[[], None], every_seconds: float, minutes: float):
        self._keep, self._every = save, every_seconds
        self._lap = self._saved = time.monotonic()
        self._end = self._lap + 60 * minutes

    def lap(self) -> float:
        """Seconds since the last time that this was asked."""
        before, self._lap = self._lap, time.monotonic()
        return self._lap - before

    def is_over(self) -> bool:
        return time.monotonic() >= self._end

    def save(self) -> None:
        self._keep()
        self._saved = time.monotonic()

    def save_if_due(self) -> None:
        if time.monotonic() >= self._saved + self._every:
            self.save()


@contextmanager
def asked_to_stop() -> Iterator[threading.Event]:
    """An event that Ctrl-C, SIGTERM or the end of the terminal sets, so that a step in flight is finished before the
    state is saved."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    asked = set()

    def ask(number: int, frame: object) -> None:
        if number in asked:  # twice: do not wait for the step in flight
            raise KeyboardInterrupt
        asked.add(number)  # Ctrl-C under torchrun comes as a SIGINT and, through it, as a SIGTERM
        stop.set()

    hangup = getattr(signal, "SIGHUP", None)  # none on Windows; ignored under nohup
    hangups = [hangup] if hangup is not None and signal.getsignal(hangup) == signal.SIG_DFL else []
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM, *hangups)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
