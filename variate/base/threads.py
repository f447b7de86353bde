"""How many of torch's threads a step is worth.

Threads that share a product have to wait for one another, dozens of times in a step. A step of a small dense network is
done sooner by one of them, which no other program can keep waiting either.
"""

import math
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from variate.base.shared import lock

__all__ = ["at_most", "forget_others", "worth"]

SMALL = 8e6  # products of a number and a weight in a forward pass: at 5 one thread is a quarter faster, at 80 two are


def worth(weights: Iterable[Tensor], rows: int) -> float:
    """The most threads that help with so many rows: 1 for small dense networks, else no limit.

    A function of the model and the batch alone, and not of what else the machine does: sums over the places of an image
    depend, in their last digits, on how many threads share them. Weights of convolutions are used at many places, and
    are never few.

    >>> worth([torch.zeros(128, 64)], rows=128), worth([torch.zeros(8, 1, 3, 3)], rows=1)
    (1, inf)
    """
    sizes = [(weight.dim(), weight.numel()) for weight in weights]
    dense = all(dim <= 2 for dim, _ in sizes)
    return 1 if dense and rows * sum(size for _, size in sizes) <= SMALL else math.inf


@contextmanager
def at_most(count: float) -> Iterator[None]:
    """No more threads than ``count`` inside this block, and never more than there were; as many as before afterwards.

    Torch has their number for each thread, and the last one said for threads that are new: such a one, coming while
    others are in these blocks, counts with what the first of them found.

    >>> before = torch.get_num_threads()
    >>> with at_most(1):
    ...     torch.get_num_threads()
    1
    >>> torch.get_num_threads() == before
    True
    """
    outer = getattr(_here, "usual", None)
    usual = outer or _begin()
    _here.usual, found = usual, torch.get_num_threads()
    after = found if outer else usual
    try:
        if found != int(min(usual, count)):
            torch.set_num_threads(int(min(usual, count)))
        yield
    finally:
        _here.usual = outer
        if torch.get_num_threads() != after:
            torch.set_num_threads(after)
        if outer is None:
            _end()


def _begin() -> int:
    """The outermost block of a thread begins: how many threads it would have without any blocks."""
    global _inside, _found
    with _lock:
        if not _inside:
            _found = torch.get_num_threads()
        _inside += 1
        usual = torch.get_num_threads() if getattr(_here, "is_known", False) else _found
        _here.is_known = True
        return usual


def _end() -> None:
    global _inside
    with _lock:
        _inside = max(0, _inside - 1)


def forget_others() -> None:
    """In a forked child, which computes with one thread: nobody else is in a block, and its own find one thread."""
    global _inside
    _inside, _here.is_known = 0, True
    if getattr(_here, "usual", None):
        _inside, _here.usual = 1, 1


_lock = lock()
_inside, _found = 0, 1  # threads in such blocks; what the first of them found
_here = threading.local()  # a thread's usual number while it is in such a block; whether it has ever been in one
