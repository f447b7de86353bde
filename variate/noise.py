"""Randomness as a pure function of (seed, purpose, step, row).

Nothing in variate advances the user's global random state. Every random number is drawn from a generator that is
seeded, at the moment of use, by a hash of what it is for; so a resumed run, two processes or another batch size see
the numbers that one uninterrupted process would have seen.
"""

import functools
import hashlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from variate.base.errors import UserError
from variate.base.shared import lock

__all__ = ["generator", "normal", "permutation", "row_keys", "row_normal", "seeded"]


COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd
_lending = lock()  # while the global generators are lent to an operation
_here = threading.local()  # whether it is this thread that lends them


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
    return torch.randn(shape, generator=generator(*key, device=device), device=device, dtype=torch.float32)


def permutation(*key: object, n: int) -> Tensor:
    """A permutation of 0..n-1 (int64), a function of the key and n alone."""
    return torch.randperm(n, generator=generator(*key), device="cpu")


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


class seeded(TorchDispatchMode):  # noqa: N801 (used like a function)
    """Run code that knows no generators (module initialisation, ``Distribution.sample``, dropout) under the key.

    In this thread alone: every random operation of torch in the block draws from a generator of the block's own, one
    for each device, whose numbers are those of ``torch.manual_seed`` with the key's hash. The global generators, which
    are the user's, are not drawn from. What can draw from nothing else (dropout in the fused operations of GPUs)
    borrows them, one thread at a time, and they are put back.

    >>> with seeded(0, "weights"):
    ...     one = torch.rand(2)
    >>> with seeded(0, "weights"):
    ...     bool((torch.rand(2) == one).all())
    True
    """

    def __init__(self, *key: object):
        super().__init__()
        self.seed, self.generators = _hash(*key), dict[torch.device, torch.Generator]()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch would import its compiler, a second's work, to keep it away from what is below."""
        return False

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # noqa: ANN001, ANN204 (torch's own signature)
        kwargs = kwargs or {}
        device = _device(args, kwargs)
        drawing = _drawing(function, device.type)
        settled = kwargs.get("generator") is not None or getattr(_here, "lends", False)  # by a block inside this one
        if drawing is None or settled or device.type == "meta":  # shapes alone
            return function(*args, **kwargs)
        _refuse_a_second_pass()
        if device not in self.generators:
            self.generators[device] = torch.Generator(device).manual_seed(self.seed)
        generator = self.generators[device]
        if drawing.taking is not None:
            return drawing.taking(*args, **kwargs | {"generator": generator})
        if torch._C._dispatch_has_kernel_for_dispatch_key(function.name(), COMPOSITE):
            with self:  # made of others, each of which comes here: by itself torch does so where it records gradients
                return function._op_dk(COMPOSITE, *args, **kwargs)
        with _lent(generator):
            return function(*args, **kwargs)


class _Drawing(NamedTuple):
    """How a random operation is called with a generator: ``None`` where there is no way."""

    taking: Callable | None


@functools.cache
def _drawing(function: object, kind: str) -> _Drawing | None:
    """``None`` for an operation that is not random, by torch's own tags."""
    if torch.Tag.nondeterministic_seeded not in getattr(function, "tags", ()):
        return None
    if function is torch.ops.aten.native_dropout.default and kind == "cpu":
        return _Drawing(_dropout)
    assert isinstance(function, OpOverload)
    packet, wanted = function.overloadpacket, _arguments(function)
    overloads = [function, *(getattr(packet, name) for name in packet.overloads())]
    return _Drawing(next((each for each in overloads if _takes_one(each) and _arguments(each) == wanted), None))


def _dropout(x: Tensor, p: float, train: bool | None, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """What torch's own does on processors, step by step, but for where the numbers come from."""
    if train is False:
        return x.clone(), torch.ones_like(x, dtype=torch.bool)
    kept = torch.empty_like(x, dtype=torch.bool).bernoulli_(1 - p, generator=generator)
    return x.mul(kept).mul_(0.0 if p == 1 else 1 / (1 - p)), kept


def _takes_one(function: OpOverload) -> bool:
    return any(argument.name == "generator" for argument in function._schema.arguments)


def _arguments(function: OpOverload) -> list[tuple[str, str]]:
    """The names and types of all but the generator."""
    return [(each.name, str(each.type)) for each in function._schema.arguments if each.name != "generator"]


def _device(args: tuple, kwargs: dict) -> torch.device:
    """Where an operation draws."""
    given = next((each.device for each in (*args, *kwargs.values()) if isinstance(each, Tensor)), None)
    return given or torch.device(kwargs.get("device") or "cpu")


@contextmanager
def _lent(generator: torch.Generator) -> Iterator[None]:
    """The device's global generator is this one inside the block."""
    device, cpu = generator.device, generator.device.type == "cpu"
    module: Any = torch if cpu else torch.get_device_module(device)
    where = () if cpu or device.index is None else (device,)
    with _lending:
        before, _here.lends = module.get_rng_state(*where), True
        module.set_rng_state(generator.get_state(), *where)
        try:
            yield
        finally:
            generator.set_state(module.get_rng_state(*where))
            module.set_rng_state(before, *where)
            _here.lends = False


def _refuse_a_second_pass() -> None:
    """What ``torch.utils.checkpoint`` computes again it would draw again, from the global generator: other numbers."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_globals.get("__name__") == "torch.utils.checkpoint":
            raise UserError(
                "a network of your own draws random numbers inside torch.utils.checkpoint, whose second pass would "
                "draw others: take dropout and the like out of what is checkpointed."
            )
        frame = frame.f_back
