"""All that training changes, taken out of a trainer and put back: what a resumed run goes on from, bit for bit."""

import copy
import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from variate.training.tally import Tally

if TYPE_CHECKING:
    from variate.training.trainer import Trainer

__all__ = ["capture", "fault", "restore", "to_save"]

NUMBERS = ("step", "rollbacks", "best", "best_epoch", "best_left_out", "seconds")
TALLIED = ("skipped", "bad_run", "sums")
COUNTED = ("step", "rollbacks", "best_epoch", "best_left_out", "skipped", "bad_run")
ADDED = {"best_left_out": 0}  # since the first states, which lack it
MOST = 1 << 53  # what is counted, at most
SHOWN = 60  # letters of a wrong value
START = "start."  # in front of what was at the start of the epoch, to which a trainer rolls back


def capture(trainer: "Trainer") -> dict:
    """A copy of everything that training changes: tensors under "tensors", plain numbers under "numbers"."""
    tensors = {f"model.{k}": v for k, v in trainer.model.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in trainer.average.state_dict().items()}
    tensors |= {f"objective.{k}": v for k, v in trainer.step_module.objective.state_dict().items()}
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
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "objective": {}, "adam": {}, "start": {}}
    for name, value in state["tensors"].items():
        part, _, rest = name.partition(".")
        parts[part][rest] = value
    trainer.model.load_state_dict(parts["model"])
    trainer.average.load_state_dict(parts["average"])
    trainer.step_module.objective.load_state_dict(parts["objective"])
    trainer.optimizer.load(parts["adam"])
    for name in NUMBERS:
        setattr(trainer, name, (ADDED | state["numbers"])[name])
    trainer.tally = Tally(**{name: copy.deepcopy(state["numbers"][name]) for name in TALLIED})
    trainer.tally.worst_run = trainer.tally.bad_run
    trainer.tally.sums.pop("skipped", None)  # which older versions counted here too
    start = state["numbers"].get("start")
    trainer.start = {"tensors": parts["start"], "numbers": start} if start else None


def fault(trainer: "Trainer", state: dict) -> str | None:
    """Why what a file holds is no state of this trainer's, in a few words; ``None`` if it can be restored."""
    expected, start = capture(trainer)["tensors"], state["numbers"].get("start")
    found = {name: value for name, value in state["tensors"].items() if not name.startswith(START)}
    before = {name.removeprefix(START): value for name, value in state["tensors"].items() if name not in found}
    if (start is None) != (not before):
        return "the start of its epoch is not whole"
    sets = [(found, state["numbers"])] if start is None else [(found, state["numbers"]), (before, start)]
    reasons = (_wrong_tensors(expected, tensors) or _wrong_numbers(trainer, numbers) for tensors, numbers in sets)
    return next((reason for reason in reasons if reason), None)


def _wrong_tensors(expected: dict[str, Tensor], found: dict[str, Tensor]) -> str | None:
    """Moments may be missing: torch's Adam has none of what never had a gradient."""
    needed = {name for name in expected if not name.startswith("adam.")}
    strange = sorted((needed - found.keys()) | (found.keys() - expected.keys()))
    if strange:
        return f"{strange[0]} is missing or unknown"
    for name, value in found.items():
        if value.shape != expected[name].shape or value.dtype != expected[name].dtype:
            return f"{name} is {tuple(value.shape)} {value.dtype}, not {tuple(expected[name].shape)}"
        if not torch.isfinite(value).all():
            return f"{name} holds NaN or infinity"
    return None


def _wrong_numbers(trainer: "Trainer", numbers: object) -> str | None:
    if not isinstance(numbers, dict):
        return "its numbers are none"
    told = ADDED | numbers
    most = {"step": trainer.total_steps, "best_epoch": trainer.total_epochs}
    for name in COUNTED:
        if type(told.get(name)) is not int or not 0 <= told[name] <= most.get(name, MOST):
            return f"{name} is {told.get(name)!r}"[:SHOWN]
    for name in ("best", "seconds"):
        nothing_yet = name == "best" and told.get(name) == -math.inf
        if type(told.get(name)) is not float or not (math.isfinite(told[name]) or nothing_yet):
            return f"{name} is {told.get(name)!r}"[:SHOWN]
    sums = told.get("sums")
    if not isinstance(sums, dict) or not all(type(total) is float for total in sums.values()):
        return "its sums are no numbers"
    if not math.isfinite(sums.get("rows", 0.0)):  # of a row of probability 0 the others need not be
        return "its sums are of no number of rows"
    return None
