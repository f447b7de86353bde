"""What training leaves behind while it goes on: the best model, the metrics, the state to resume from, logs.

They are written in that order, so that after a kill between two of them the resumed run writes the same again.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from variate.base.console import say
from variate.base.errors import DiskFull, UserError, suggest
from variate.data.schema import Schema
from variate.results import checkpoint
from variate.results.checkpoint import Run
from variate.results.folder import RunFolder
from variate.training import logs, state
from variate.training.fitting import UNSAVED, snapshot
from variate.training.trainer import Trainer

__all__ = ["EVENTS", "Keeper", "Keeping"]

EVENTS = ("steps", "epoch", "save")


@dataclass(frozen=True)
class Keeping:
    """How a run is kept: seconds between saves within an epoch, minutes after which training stops, what to do when
    the disk is full ("stop" or "continue"), which logs to write, and functions to call at ``EVENTS``."""

    every_seconds: float = 60.0
    minutes: float = math.inf
    on_disk_full: str = "stop"
    logs: tuple[str, ...] = ()
    callbacks: Mapping[str, Callable[[dict], None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.every_seconds > 0 or not self.minutes > 0:
            name = "save_every" if not self.every_seconds > 0 else "minutes"
            raise UserError(f"{name} must be above 0.")
        if self.on_disk_full not in ("stop", "continue"):
            raise UserError(f"on_disk_full={self.on_disk_full!r} must be stop or continue.")
        for kind, names, known in (("log", self.logs, logs.__all__), ("event", self.callbacks, EVENTS)):
            strange = [name for name in names if name not in known]
            if strange:
                hint = suggest(strange[0], known)
                raise UserError(f"{strange[0]!r} is not one of the {kind}s {', '.join(known)}{hint}.")


class Keeper:
    """Keeps one run in its folder, or, without one, its best model in memory."""

    def __init__(
        self,
        folder: RunFolder | None,
        trainer: Trainer,
        settings: dict[str, dict],
        schema: Schema,
        said: dict[str, int | str],
        keeping: Keeping,
    ):
        self.folder, self.trainer, self.settings, self.schema, self.keeping = folder, trainer, settings, schema, keeping
        self.said = said  # beside them, what the run must be the same in when it goes on
        self.best: Run | None = None
        self.behind = False  # whether the best model could not be written
        # what a killed run had noted of steps that are done again
        self.records = [r for r in folder.read_metrics() if r["step"] <= trainer.step] if folder else []
        place = folder.path if folder else Path()
        self.logs = [getattr(logs, name)(place, trainer.step) for name in keeping.logs] if folder else []
        trainer.on_steps = keeping.callbacks.get("steps")

    def epoch(self, record: dict, name: str) -> None:
        """Keep what an epoch, or a roll-back, has brought."""
        self.records.append(record)
        if record.get("improved"):
            self.best = snapshot(self.trainer, self.settings, name, self.folder.model if self.folder else UNSAVED)
            self.behind = not self._unless_full(lambda: self.keep(self.best))
        if self.folder is not None:
            folder = self.folder
            self._unless_full(lambda: folder.write_metrics(self.records))
        self.save()
        for log in self.logs:
            self._unless_full(lambda log=log: log(self.records))
        self._tell("epoch", record)

    def save(self) -> None:
        """Keep the state as it is now."""
        if self.folder is None:
            return
        folder, saved = self.folder, state.to_save(self.trainer)
        saved["numbers"] |= self.said
        self._unless_full(lambda: folder.save_state(saved, self.settings, self.schema))
        self._tell("save", {"step": self.trainer.step, "path": str(folder.state)})

    def keep(self, run: Run | None) -> None:
        """Write the model file."""
        if self.folder is not None and run is not None:
            checkpoint.save_model(self.folder.model, run)

    def _unless_full(self, write: Callable[[], None]) -> bool:
        """Whether there was space for it."""
        try:
            write()
            return True
        except DiskFull as full:
            if self.keeping.on_disk_full == "stop":
                raise
            say(f"{full} Training goes on; what is on the disk is as it was.")
            return False

    def _tell(self, event: str, what: dict) -> None:
        if event in self.keeping.callbacks:
            self.keeping.callbacks[event](what)
