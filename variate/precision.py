"""How exactly matrix products and convolutions of float32 numbers are computed while training.

``highest`` is float32 throughout. ``auto`` takes what the machine has units for: products of bfloat16 with float32 sums
on processors with AVX512-BF16 or AMX, TF32 on GPUs; elsewhere it is ``highest``. What is kept (weights, moments,
averages, losses) is float32 either way, and what a trained model is asked later is computed exactly.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["PRECISIONS", "products"]

PRECISIONS = ("auto", "highest")
BF16_UNITS = ("avx512_bf16", "amx_bf16")


@contextmanager
def products(precision: str) -> Iterator[None]:
    """Products inside this block in that precision; the settings of before afterwards.

    >>> with products("highest"):
    ...     torch.backends.mkldnn.matmul.fp32_precision
    'ieee'
    """
    has = torch.cpu.get_capabilities()
    fast = {"cpu": "bf16" if any(has.get(unit) for unit in BF16_UNITS) else "ieee", "gpu": "tf32"}
    backends = {
        "cpu": (torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv),  # pyright: ignore[reportAttributeAccessIssue]
        "gpu": (torch.backends.cuda.matmul, torch.backends.cudnn.conv),  # pyright: ignore[reportAttributeAccessIssue]
    }
    before = [(backend, backend.fp32_precision) for places in backends.values() for backend in places]
    try:
        for place, several in backends.items():
            for backend in several:
                backend.fp32_precision = fast[place] if precision == "auto" else "ieee"
        yield
    finally:
        for backend, setting in before:
            backend.fp32_precision = setting
