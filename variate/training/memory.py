"""Memory that training frees and asks for again at every step."""

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from variate.base.shared import Shared

__all__ = ["kept"]

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of malloc.h
EVERYTHING, AS_USUAL = 1 << 30, 1 << 25  # bytes; what glibc itself comes to after large blocks were freed


@contextmanager
def kept() -> Iterator[None]:
    """Inside this block freed memory stays with the process; afterwards what is free goes back to the system.

    Else glibc may give the system, after each step, what the next step asks for again, page by page: measured, 5,000
    page faults and a fifth of the time of a step of small convolutional networks. Afterwards glibc's thresholds are
    those that it comes to by itself when large blocks are freed, whatever they were: after the last of the blocks of
    several threads. Other libraries' ``malloc`` is left alone.

    >>> with kept():
    ...     sum([1.0] * 1000)
    1000.0
    """
    with _memory.set_to(True):
        yield


def _keep(_: bool) -> Callable[[], None]:
    library = ctypes.CDLL(None) if os.name == "posix" else None
    if not hasattr(library, "mallopt") or not hasattr(library, "malloc_trim"):
        return lambda: None
    library.mallopt(MMAP_THRESHOLD, EVERYTHING) or library.mallopt(MMAP_THRESHOLD, AS_USUAL)  # the most of older ones
    library.mallopt(TRIM_THRESHOLD, EVERYTHING)

    def as_usual() -> None:
        library.mallopt(MMAP_THRESHOLD, AS_USUAL)
        library.mallopt(TRIM_THRESHOLD, 2 * AS_USUAL)
        library.malloc_trim(0)

    return as_usual


_memory = Shared(_keep)
