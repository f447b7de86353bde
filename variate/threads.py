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

__all__ = ["at_most", "worth"]

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
def at_most(count: float, found_by_all: int | None = None) -> Iterator[None]:
    """No more threads than ``count`` inside this block, and never more than there were; as many as before afterwards.

    Torch has their number for each thread, and the last one said for new threads: ``found_by_all`` is what a thread
    that comes while others are in such blocks would have found without them.

    >>> before = torch.get_num_threads()
    >>> with at_most(1):
    ...     torch.get_num_threads()
    1
    >>> torch.get_num_threads() == before
    True
    """
    found, outer = torch.get_num_threads(), getattr(_here, "usual", None)
    _here.usual = outer or found_by_all or found
    wanted, after = int(min(_here.usual, count)), found if outer else _here.usual
    try:
        if wanted != found:
            torch.set_num_threads(wanted)
        yield
    finally:
        _here.usual = outer
        if torch.get_num_threads() != after:
            torch.set_num_threads(after)


def usual() -> int:
    """This thread's number outside of such blocks."""
    return getattr(_here, "usual", None) or torch.get_num_threads()


_here = threading.local()  # a thread's usual number, while it is in such a block
