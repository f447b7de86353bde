"""How the threads that share a product wait for one another: busily while the machine is free, else asleep.

OpenMP's threads wait busily for three milliseconds before they sleep. That is fast, since to wake a thread takes as
long as a small product; but where another program wants the processor too, one of them runs in the place of the very
thread that it waits for, and a step takes ten to a hundred times as long. GNU's OpenMP, which torch brings along on
Linux, waits for a microsecond only while a process has more threads for it than there are processors. So such threads
are made while other programs run here, and ended when those do: they sleep, and change no number.
"""

import atexit
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from variate.base.shared import lock

__all__ = ["adapts", "considerate"]

TOLD = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")  # by which the user decides
EVERY = 0.2  # seconds between looks at what else runs
GRAIN = 1 << 15  # numbers that torch gives a thread at least
SHARE = 0.3  # of a processor, wanted by others and by us, that makes waiting busily slow
PROCESSORS = Path("/proc/stat")

_lock = lock()
_inside = 0  # how many `considerate()` blocks we are inside of
_watch: "_Watch | None" = None


def adapts() -> bool:
    """Whether threads wait as the machine allows: where the system tells what else runs, and the user does not say."""
    return PROCESSORS.exists() and not any(name in os.environ for name in TOLD)


@contextmanager
def considerate() -> Iterator[None]:
    """Inside this block torch's threads wait asleep for as long as other programs use the processors that they need.

    It holds for the whole process; blocks in several threads are one. Nothing but time depends on it.
    """
    global _inside, _watch
    with _lock:
        _inside += 1
        if adapts() and (_watch is None or not _watch.is_alive()):  # as after a fork
            _watch = _Watch()
            with suppress(RuntimeError):  # no thread is to be had, and it is a matter of time alone
                _watch.start()
                atexit.register(_watch.end)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            over, _watch = (_watch, None) if _inside == 0 else (None, _watch)
        if over is not None:
            over.end()


class _Watch(threading.Thread):
    """Looks now and then at how busy the machine is with others, and has more threads made or ended.

    All of them are over when it is: a thread that the interpreter's own end finds in the middle of torch aborts it.
    """

    def __init__(self) -> None:
        super().__init__(name="variate-watch", daemon=True)
        self._over = threading.Event()

    def end(self) -> None:
        """At once, and not before it is so."""
        atexit.unregister(self.end)
        self._over.set()
        if self.is_alive():
            self.join()

    def run(self) -> None:
        asleep: _Asleep | None = None  # while others run
        before = _times()
        while not self._over.wait(EVERY):
            now = _times()
            seconds, used, own = (new - old for new, old in zip(now, before, strict=True))
            before, crowded = now, _is_crowded((used - own) / seconds)
            if crowded and asleep is None:
                asleep = _Asleep()
            elif asleep is not None and not crowded:
                asleep.end()
                asleep = None
        if asleep is not None:
            asleep.end()


def _times() -> tuple[float, float, float]:
    """Seconds: of the clock, of the work of all processors that this process may use, and of this process's own."""
    ours = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    lines = (line.split() for line in PROCESSORS.read_text().splitlines() if line.startswith("cpu"))
    counted = [list(map(int, line[1:9])) for line in lines if line[0] in ours]  # the fourth and fifth are idle
    ticks = sum(sum(numbers) - numbers[3] - numbers[4] for numbers in counted)
    return time.monotonic(), ticks / os.sysconf("SC_CLK_TCK"), time.process_time()


def _is_crowded(others: float) -> bool:
    """Whether torch's threads and so many processors' worth of others want more than there is."""
    threads = _threads()
    return threads > 1 and others + threads > _processors() + SHARE


def _threads() -> int:
    """How many share a product now; as a new thread sees it, since an older one remembers how many there were."""
    number = getattr(sys.modules.get("torch"), "get_num_threads", None)  # it may be half imported
    seen = [1]
    if number is not None:
        asked = threading.Thread(target=lambda: seen.append(number()))
        asked.start()
        asked.join()
    return seen[-1]


def _processors() -> int:
    return len(os.sched_getaffinity(0))


class _Asleep:
    """More of OpenMP's threads than there are processors, asleep until they are ended."""

    def __init__(self) -> None:
        self._enough, self._team = threading.Event(), max(2, _threads())
        number = (_processors() - self._team) // (self._team - 1) + 1  # each brings all of its team but itself
        named = {"name": "variate-asleep", "daemon": True}
        self._threads = [threading.Thread(target=self._share, **named) for _ in range(max(1, number))]
        for thread in self._threads:
            thread.start()

    def _share(self) -> None:
        import torch

        shared = torch.ones(self._team * GRAIN, dtype=torch.float32, device="cpu")
        shared.add_(1)  # a team is made for what it shares, and kept
        self._enough.wait()

    def end(self) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join()
