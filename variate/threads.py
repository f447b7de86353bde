"""How many of torch's threads a step is worth.

Threads that share a product have to wait for one another, dozens of times in a step. A step of a small dense network is
done sooner by one of them, which no other program can keep waiting either.
"""

import math
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
def at_most(count: float) -> Iterator[None]:
    """No more threads than ``count`` inside this block, and never more than there were; as many as before afterwards.

    >>> before = torch.get_num_threads()
    >>> with at_most(1):
    ...     torch.get_num_threads()
    1
    >>> torch.get_num_threads() == before
    True
    """
    before = torch.get_num_threads()
    if count >= before:
        yield
        return
    torch.set_num_threads(int(count))
    try:
        yield
    finally:
        torch.set_num_threads(before)
