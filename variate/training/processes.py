"""Several processes that learn one model: the only file that knows of ``torch.distributed``.

Started by ``torchrun``, every process holds the same weights and takes its part of every batch; gradients and sums are
put together, so that all of them decide the same. The first one alone writes and speaks. In one process everything
here does nothing.
"""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed, nn

from variate.base.errors import UserError

__all__ = ["Processes", "device_of", "is_first", "joined", "was_restarted"]

MEETING = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # what torchrun tells its processes


@dataclass(frozen=True)
class Processes:
    """``count`` processes, of which this is number ``rank``; sums are made on ``device``.

    >>> Processes().parts(rows=10, pieces=2)  # one process, whose batch goes through the network in two pieces
    [slice(0, None, 2), slice(1, None, 2)]
    >>> Processes(rank=1, count=3).parts(rows=10)
    [slice(1, None, 3)]
    """

    rank: int = 0
    count: int = 1
    device: torch.device = torch.device("cpu")

    def parts(self, rows: int, pieces: int = 1) -> list[slice]:
        """Which of a batch's rows this process takes, in so many pieces; those without rows are left out."""
        step = self.count * pieces
        return [slice(first, None, step) for first in range(self.rank, min(rows, step), self.count)]

    def wrap(self, step: nn.Module, unused: Callable[[], bool]) -> nn.Module:
        """The module whose backward pass averages the gradients over the processes.

        ``unused``: whether some parameters may get no gradient, which the processes then have to tell one another.
        """
        if self.count == 1:
            return step
        ids = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(
            step, device_ids=ids, forward_sync_buffers=False, find_unused_parameters=unused()
        )

    def total(self, numbers: list[float]) -> list[float]:
        """Every number summed over the processes: the same bits in all of them."""
        if self.count == 1:
            return numbers
        tensor = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        distributed.all_reduce(tensor)
        return tensor.tolist()

    def any(self, here: bool) -> bool:
        """Whether it is so in any process."""
        return self.total([float(here)])[0] > 0

    def from_first(self, what: Any) -> Any:  # noqa: ANN401
        """What the first process has, in all of them."""
        if self.count == 1:
            return what
        box = [what]
        distributed.broadcast_object_list(box, src=0, device=self.device)
        return box[0]


def is_first() -> bool:
    """Whether this process speaks and writes: the first that ``torchrun`` started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def was_restarted() -> bool:
    """Whether ``torchrun --max-restarts`` has started this process again after one was lost."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """The processes that ``torchrun`` started, each with its own device; one, if it did not.

    device: "auto" (a GPU if there is one), "cpu", "cuda" or "mps". GPUs talk through NCCL, processors through gloo.
    Raises ``UserError`` for a device that is not there, and where processes were not started by ``torchrun``.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes(device=device_of(device))
        return
    mine = not distributed.is_initialized()
    missing = [name for name in (MEETING if mine else ["LOCAL_RANK"]) if name not in os.environ]
    if missing:
        raise UserError(
            f"WORLD_SIZE={count} says that several processes learn together, but the environment lacks "
            f"{', '.join(missing)}: start them with torchrun, or unset WORLD_SIZE."
        )
    place = device_of(device, int(os.environ["LOCAL_RANK"]))
    if place.type == "cuda":
        torch.cuda.set_device(place)
    if mine:
        _connect("nccl" if place.type == "cuda" else "gloo")
    try:
        yield Processes(distributed.get_rank(), count, place)
    finally:
        if mine:
            distributed.destroy_process_group()
            gc.collect()  # wrapped models hold it in circles; a process that ends before its threads may abort


def _connect(backend: str) -> None:
    """Meet the others where nobody has been: a restarted process must not find the addresses of those before it."""
    # before there is a group, which the defaults of these functions would hold for ever, with its threads
    import torch.distributed.nn.functional  # noqa: F401
    from torch.distributed.distributed_c10d import PrefixStore  # here: torch may have been built without them
    from torch.distributed.rendezvous import rendezvous

    store, rank, count = next(rendezvous("env://"))
    fresh = PrefixStore(f"restart {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    distributed.init_process_group(backend, store=fresh, rank=rank, world_size=count)


def device_of(name: str, local_rank: int | None = None) -> torch.device:
    """The device of that name, "auto" being a GPU if there is one; of a process on a machine, the GPU of its number."""
    try:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else torch.device(name)
        if device.type == "cuda" and local_rank is not None:
            device = torch.device("cuda", local_rank)
        torch.empty(0, dtype=torch.float32, device=device)
    except (RuntimeError, AssertionError):  # torch's ways to say that a device is unknown or absent
        raise UserError(f"--device {name} is not to be had here: use auto, cpu, cuda or mps.") from None
    return device
