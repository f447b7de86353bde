"""All that training changes, taken out of a trainer and put back: what a resumed run goes on from, bit for bit."""

import copy
from typing import TYPE_CHECKING

from torch import Tensor

from variate.tally import Tally

if TYPE_CHECKING:
    from variate.train import Trainer

__all__ = ["capture", "restore", "to_save"]

NUMBERS = ("step", "rollbacks", "best", "best_epoch", "seconds")
TALLIED = ("skipped", "bad_run", "sums")
START = "start."  # in front of what was at the start of the epoch, to which a trainer rolls back


def capture(trainer: "Trainer") -> dict:
    """A copy of everything that training changes: tensors under "tensors", plain numbers under "numbers"."""
    tensors = {f"model.{k}": v for k, v in trainer.model.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in trainer.average.state_dict().items()}
    tensors |= {f"adam.{k}": v for k, v in trainer.optimizer.state().items()}
    numbers = {name: getattr(trainer, name) for name in NUMBERS}
    numbers |= {name: getattr(trainer.tally, name) for name in TALLIED}
    return {"tensors": {k: v.detach().clone() for k, v in tensors.items()}, "numbers": copy.deepcopy(numbers)}


def to_save(trainer: "Trainer") -> dict:
    """The same, with the start of an epoch that is under way beside it, in case the resumed run has to roll back."""
    now, start = capture(trainer), trainer.start
    if start is not None and start["numbers"]["step"] != trainer.step:
        now["tensors"] |= {START + name: value for name, value in start["tensors"].items()}
        now["numbers"]["start"] = start["numbers"]
    return now


def restore(trainer: "Trainer", state: dict) -> None:
    """The inverse of ``capture`` and of ``to_save``."""
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "adam": {}, "start": {}}
    for name, value in state["tensors"].items():
        part, _, rest = name.partition(".")
        parts[part][rest] = value
    trainer.model.load_state_dict(parts["model"])
    trainer.average.load_state_dict(parts["average"])
    trainer.optimizer.load(parts["adam"])
    for name in NUMBERS:
        setattr(trainer, name, state["numbers"][name])
    trainer.tally = Tally(**{name: copy.deepcopy(state["numbers"][name]) for name in TALLIED})
    trainer.tally.worst_run = trainer.tally.bad_run
    trainer.tally.sums.pop("skipped", None)  # which older versions counted here too
    start = state["numbers"].get("start")
    trainer.start = {"tensors": parts["start"], "numbers": start} if start else None
