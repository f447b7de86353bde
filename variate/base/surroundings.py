"""What a caller may have set in torch, kept away from what variate computes: same results under any of it.

A thread's default device, gradient mode and autocast are put aside for the length of a block, in this thread alone.
The default dtype belongs to the whole process and is left as it is: whatever variate creates says its dtype.
"""

import functools
import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch

from variate.base import threads
from variate.base.precision import products
from variate.base.shared import lock

__all__ = ["applying", "apart", "learning"]


@contextmanager
def apart(device: torch.device | str = "cpu") -> Iterator[None]:
    """Tensors are made on this device unless they say where, can be learned from, and are of the dtype that they say.

    >>> with torch.inference_mode(), torch.device("meta"), apart():
    ...     torch.zeros(2, requires_grad=True).is_inference(), torch.zeros(2).device.type
    (False, 'cpu')
    """
    _outlive_forks()
    with ExitStack() as stack, np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"):
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if torch.get_default_device() != torch.device(device):  # a default costs time at every operation
            stack.enter_context(torch.device(device))
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def learning(precision: str, most_threads: float = math.inf) -> Iterator[None]:
    """Apart, with gradients and with products in that precision, shared by so many of torch's threads at most.

    >>> with torch.no_grad(), learning("highest"):
    ...     torch.is_grad_enabled()
    True
    """
    with apart(), torch.enable_grad(), products(precision, most_threads):
        yield


@contextmanager
def applying() -> Iterator[None]:
    """Apart, without gradients and with exact products.

    >>> with applying():
    ...     torch.ones(2).is_inference()
    True
    """
    with apart(), products("highest"), torch.inference_mode():
        yield


_first_use = lock()


def _outlive_forks() -> None:
    """OpenMP's threads are not there in a forked child, which would wait for them for ever: it computes with one."""
    with _first_use:
        _compute_alone_in_children()


@functools.cache
def _compute_alone_in_children() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_compute_alone)


def _compute_alone() -> None:
    threads.forget_others()
    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)
