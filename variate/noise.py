"""Randomness as a pure function of (seed, purpose, step, row).

Nothing in variate advances the user's global random state. Every random number is drawn from a generator that is
seeded, at the moment of use, by a hash of what it is for; so a resumed run, two processes or another batch size see
the numbers that one uninterrupted process would have seen.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

__all__ = ["generator", "normal", "permutation", "row_keys", "row_normal", "seeded"]


def _hash(*key: object) -> int:
    """63 bits of blake2b over the key's parts: the same on every machine and Python (``hash`` is neither)."""
    key = tuple(int(part) if isinstance(part, np.integer) else part for part in key)
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), "big") >> 1


def generator(*key: object, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator whose stream depends on the key alone.

    >>> a, b = generator(0, "weights"), generator(0, "weights")
    >>> bool((torch.rand(3, generator=a) == torch.rand(3, generator=b)).all())
    True
    """
    return torch.Generator(device).manual_seed(_hash(*key))


def normal(*key: object, shape: tuple[int, ...], device: torch.device | str = "cpu") -> Tensor:
    """Standard normal noise ε ~ N(0, I) of the given shape, a function of the key alone."""
    return torch.randn(shape, generator=generator(*key, device=device), device=device)


def permutation(*key: object, n: int) -> Tensor:
    """A permutation of 0..n-1 (int64), a function of the key and n alone."""
    return torch.randperm(n, generator=generator(*key))


def row_keys(rows: Tensor) -> list[bytes]:
    """One key per row: a hash of the row's own bytes, so that equal rows get equal keys wherever they stand."""
    flat = np.ascontiguousarray(rows.cpu().numpy()).reshape(len(rows), -1)
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in flat]


def row_normal(seed: int, purpose: str, keys: list[bytes], shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise of shape (n, B, …) for shape = (n, …): row b's part depends on its own key alone.

    The same row gets the same noise in any batch and any order; different rows get independent noise.
    """
    draws = np.empty((len(keys), *shape), np.float32)
    for draw, key in zip(draws, keys, strict=True):
        np.random.Generator(np.random.Philox(key=_hash(seed, purpose, key))).standard_normal(dtype=np.float32, out=draw)
    return torch.from_numpy(draws).movedim(0, 1)


@contextmanager
def seeded(*key: object) -> Iterator[None]:
    """Run code that only knows the global generator (module initialisation, ``Distribution.sample``) under the key.

    The user's global state is put back afterwards, on every device.
    """
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []):
        torch.manual_seed(_hash(*key))
        yield
