"""How exactly matrix products and convolutions of float32 numbers are computed.

``highest`` is float32 throughout. ``auto`` takes what the machine has units for: products of bfloat16 with float32 sums
on processors with AVX512-BF16 or AMX, TF32 on GPUs; elsewhere it is ``highest``. What is kept (weights, moments,
averages, losses) is float32 either way, and what a trained model is asked later is computed exactly.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from variate.base import threads
from variate.base.shared import Shared

__all__ = ["PRECISIONS", "products"]

PRECISIONS = ("auto", "highest")
BF16_UNITS = ("avx512_bf16", "amx_bf16")


@contextmanager
def products(precision: str, most_threads: float = math.inf) -> Iterator[None]:
    """Products inside this block in that precision, by ``most_threads`` at most; the settings of before afterwards.

    Torch has them for the whole process: blocks in other threads that want others wait.

    >>> with products("highest"):
    ...     torch.backends.mkldnn.matmul.fp32_precision
    'ieee'
    """
    has = torch.cpu.get_capabilities()
    cpu = "bf16" if precision == "auto" and any(has.get(unit) for unit in BF16_UNITS) else "ieee"
    # without GPUs all that differs is what processors do, and who agrees on that need not wait
    gpu = "ieee" if precision == "highest" and torch.backends.cuda.is_built() else "tf32"
    with _settings.set_to((cpu, gpu, most_threads)), threads.at_most(most_threads):
        yield


def _put(wanted: tuple[str, str, float]) -> Callable[[], None]:
    """Set what processors and what GPUs do; each thread says itself by how many threads."""
    cpu = (torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv)  # pyright: ignore[reportAttributeAccessIssue]
    gpu = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)  # pyright: ignore[reportAttributeAccessIssue]
    backends = [(backend, wanted[place]) for place, several in enumerate((cpu, gpu)) for backend in several]
    before = [(backend, backend.fp32_precision) for backend, _ in backends]

    def set_to(settings: list) -> None:
        for backend, setting in settings:
            backend.fp32_precision = setting

    set_to(backends)
    return lambda: set_to(before)


_settings = Shared(_put)
