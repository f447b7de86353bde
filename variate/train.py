"""``Step``, the differentiable whole, and the only training loop."""

import copy
import math
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from variate import noise, state
from variate.config import SCHEDULES, Training
from variate.data.batch import Batch
from variate.data.dataset import Dataset
from variate.errors import UserError
from variate.model import Model
from variate.networks.own import Own
from variate.objectives import Objective, Terms
from variate.precision import products
from variate.processes import Processes
from variate.progress import Progress

__all__ = ["Interrupted", "Step", "Trainer", "total_terms"]

CHECK_EVERY = 20  # steps between looks at the device: each look may wait for it
BAD_STEPS_IN_A_ROW = 5
MOST_ROLLBACKS = 6
VALIDATION_ROWS = 500  # per chunk


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM arrived; the state was saved after the step in flight."""


class Step(nn.Module):
    """(batch, noise, step) → (loss, Terms): the one thing that is differentiated, distributed or compiled.

    noise: standard normal (samples, B, noise_size). Use it from your own loop:

    >>> from variate import config
    >>> from variate.data.load import load
    >>> rows = load(torch.randn(20, 3).numpy())
    >>> model, objective, _ = config.build(config.resolve(config.load_recipe("vector"), rows), rows.schema)
    >>> step = Step(model, objective)
    >>> loss, terms = step(rows.batch(slice(0, 8)), torch.randn(1, 8, model.latent.noise_size), 0)
    >>> loss.backward()
    >>> terms.elbo_nats.shape
    torch.Size([8])
    """

    def __init__(self, model: Model, objective: Objective):
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, batch: Batch, noise: Tensor, step: Tensor | int) -> tuple[Tensor, Terms]:
        draw, decoded = self.model(batch, noise)
        rows, terms = self.objective(draw, decoded, step)
        loss = rows.mean() if batch.weight is None else (rows * batch.weight).sum() / batch.weight.sum()
        if self.model.labelling is not None and batch.context is not None:
            loss = loss + self.model.labelling.loss(draw, batch.context, step)
        return loss, terms


def total_terms(terms: Terms) -> dict[str, Tensor]:
    """The sum over the rows of every term that exists, on the device; rates are summed over groups too."""
    return {name: value.sum() for name, value in terms._asdict().items() if value is not None}


@dataclass
class Trainer:
    """All that training changes, in one place that can be saved and put back.

    ``step`` counts optimiser steps, so that (epoch, place in it) = divmod(step, steps per epoch); every random number
    is a function of (seed, purpose, step) and nothing else needs to be remembered.
    """

    step_module: Step
    training: Training
    train_data: Dataset
    valid_data: Dataset
    seed: int = 0
    binarize: str = "none"  # what is drawn anew at every step; validation rows come as they are to be scored
    group: Processes = Processes()
    step: int = 0
    skipped: int = 0
    rollbacks: int = 0
    best: float = -math.inf
    best_epoch: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.model = self.step_module.model
        self._draw_from(self.train_data)
        self.average = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.has_own_networks = any(isinstance(module, Own) for module in self.model.modules())
        self.device = next(self.model.parameters()).device
        self.parameters = list(self.step_module.parameters())
        # (average, what it is the average of): looked up once, because walking a model takes as long as a small layer
        self.averaged = list(zip(self.average.parameters(), self.model.parameters(), strict=True))
        self.copied = list(zip(self.average.buffers(), self.model.buffers(), strict=True))
        self.optimizer = torch.optim.Adam(
            self.parameters, lr=self.training.learning_rate, betas=self.training.betas, fused=True
        )
        rows = len(self.train_data)
        self.steps_per_epoch, self.total_epochs = self.training.steps_per_epoch(rows), self.training.total_epochs(rows)
        self.batch_size = min(self.training.batch_size, rows)
        if self.batch_size < self.group.count * self.training.accumulate:
            raise UserError(
                f"a batch of {self.batch_size} rows cannot be parted among {self.group.count} processes in "
                f"{self.training.accumulate} pieces each: raise train.batch_size or lower train.accumulate."
            )
        self.differentiated = self.group.wrap(self.step_module, self._leaves_parameters_unused)
        self.bad_run = self.worst_run = torch.zeros((), device=self.device)
        self.start: dict | None = None  # what the epoch under way began with
        self.on_steps: Callable[[dict], None] | None = None  # told the means of every few steps
        labels = self.train_data.labels
        self.labelled = labels.ge(0).nonzero().flatten() if labels is not None and bool((labels < 0).any()) else None

    @property
    def epoch(self) -> int:
        return self.step // self.steps_per_epoch

    @property
    def total_steps(self) -> int:
        return self.total_epochs * self.steps_per_epoch

    def learning_rate(self) -> float:
        rate = self.training.learning_rate * 0.5**self.rollbacks
        rate *= min(1.0, (self.step + 1) / max(1, self.training.rampup_steps))
        return rate * SCHEDULES[self.training.schedule](self.step / self.total_steps)

    def epochs(
        self, save: Callable[[], None] | None = None, *, every_seconds: float = math.inf, minutes: float = math.inf
    ) -> Generator[dict, None, None]:
        """Train epoch by epoch, yielding one record of metrics after each.

        ``save`` keeps the state: every so many seconds within an epoch, and when interrupted; at an epoch's end that is
        the caller's affair. After so many minutes training ends, in mid-epoch too. Raises ``Interrupted`` after saving
        on Ctrl-C or SIGTERM, ``UserError`` when training will not stay finite.
        """
        clock = _Clock(save or (lambda: None), every_seconds, minutes)
        with _signals() as stop, Progress("Training", self.total_steps, "step", self.step) as bar:
            while self.epoch < self.total_epochs and not self._patience_is_over():
                self.start = self.start or state.capture(self)
                with products(self.training.precision):
                    outcome = self._run_epoch(bar, stop, clock)
                if outcome == "stop":
                    raise self._interrupted(clock)
                if outcome == "diverged":
                    bar.advance(-self._roll_back(self.start))
                    yield {"event": "rollback", "step": self.step, "learning_rate": self.learning_rate()}
                    continue
                self.start = None
                yield self._end_of_epoch()
                if outcome == "time":
                    return
                if self.group.any(stop.is_set()) and self.epoch < self.total_epochs:
                    raise self._interrupted(clock)

    def _draw_from(self, rows: Dataset) -> None:
        """Steps are made of these rows; what is binarised once and for all is so now."""
        self.train_data, self.redrawn = rows, self.binarize
        self.drawn_from = rows
        if self.binarize == "static":
            self.drawn_from, self.redrawn = rows.binarized("static").to(rows.values.device), "none"

    def learn_from(self, rows: Dataset) -> None:
        """Every row once, the last few too: learning from a stream that has no epochs."""
        self._draw_from(rows)
        running = {}
        order = noise.permutation(self.seed, "stream", self.step, n=len(rows)).to(self.device)
        with products(self.training.precision), Progress("Learning", len(rows), unit="rows") as bar:
            for index in order.split(self.training.batch_size):
                for name, total in self._one_step(index).items():
                    running[name] = running.get(name, 0) + total
                bar.advance(len(index))
            self._refit(self._fetch(running))

    def _interrupted(self, clock: "_Clock") -> Interrupted:
        clock.save()
        return Interrupted(f"stopped after step {self.step:,} of {self.total_steps:,}, all of it saved")

    def _patience_is_over(self) -> bool:
        """Small data are gone through quickly: a third of ``least_steps`` must have passed as well."""
        waited = self.step - self.best_epoch * self.steps_per_epoch
        enough = max(self.training.patience * self.steps_per_epoch, self.training.least_steps // 3)
        return 0 < self.training.patience and waited >= enough

    def _run_epoch(self, bar: Progress, stop: threading.Event, clock: "_Clock") -> str:
        """Steps to the end of the epoch: "done", or before it "stop" (asked to), "time" (over) or "diverged"."""
        end = (self.epoch + 1) * self.steps_per_epoch
        order = self.train_data.order(self.seed, self.epoch).to(self.device)
        running: dict[str, Tensor] = {}
        while self.step < end:
            place = (self.step % self.steps_per_epoch) * self.batch_size
            for name, total in self._one_step(self._with_labelled(order[place : place + self.batch_size])).items():
                running[name] = running.get(name, 0) + total
            if self.step % CHECK_EVERY == 0 or self.step == end:
                self._look(running, bar)
                self.seconds += clock.lap()
                if self.worst_run.item() >= BAD_STEPS_IN_A_ROW:
                    return "diverged"
                stopped, over = self.group.total([float(stop.is_set()), float(clock.is_over())])
                if self.step < end:
                    if stopped or over:
                        return "stop" if stopped else "time"
                    clock.save_if_due()
                elif over:
                    return "time"
        return "done"

    def _with_labelled(self, index: Tensor) -> Tensor:
        """The rows of a step, and beside them some with a label, where a labelling would else see hardly any."""
        labelling, labels = self.model.labelling, self.train_data.labels
        if labelling is None or labels is None or self.labelled is None or not labelling.rows:
            return index
        generator = noise.generator(self.seed, "labelled", self.step)
        chosen = torch.randint(len(self.labelled), (labelling.rows,), generator=generator)
        return torch.cat([index, self.labelled[chosen.to(self.device)]])

    def _one_step(self, index: Tensor) -> dict[str, Tensor]:
        """One optimiser step; a non-finite gradient leaves weights, moments and averages alone, without a sync."""
        parts = self.group.parts(len(index), self.training.accumulate)
        totals: dict[str, Tensor] = {}
        for place, part in enumerate(parts):
            # the processes put their gradients together once, with the last piece
            alone = self.group.count > 1 and place + 1 < len(parts)
            with self.differentiated.no_sync() if alone else nullcontext():
                for name, total in self._differentiate(index, part).items():
                    totals[name] = totals[name] + total if name in totals else total
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = nn.utils.get_total_norm(gradients, foreach=True)
        if self.training.clip_norm:
            nn.utils.clip_grads_with_norm_(self.parameters, self.training.clip_norm, norm, foreach=True)
        good = torch.isfinite(norm).to(torch.float32)
        bad = 1.0 - good
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        self.optimizer.found_inf = bad  # pyright: ignore[reportAttributeAccessIssue] (read by the fused kernel)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._average(good)
        self.step += 1
        self.bad_run = (self.bad_run + 1) * bad
        self.worst_run = torch.maximum(self.worst_run, self.bad_run)
        counted = torch.stack(list(totals.values())).nan_to_num_().mul_(good)
        return dict(zip(totals, counted.unbind(), strict=True)) | {"skipped": bad}

    def _differentiate(self, index: Tensor, part: slice) -> dict[str, Tensor]:
        """The gradient of this part of a batch is added to the weights'; the sums of its terms, and its rows."""
        batch = self.drawn_from.batch(index, self.redrawn, self.seed, self.step, part=part)
        shape = (self.step_module.objective.samples, len(index), self.model.latent.noise_size)
        draws = noise.normal(self.seed, "train", self.step, shape=shape, device=self.device)[:, part]
        # one's own networks may draw from the global generator, whose state is the user's
        key = (self.seed, "own networks", self.step, part.start)
        with noise.seeded(*key) if self.has_own_networks else nullcontext():
            loss, terms = self.differentiated(batch, draws, self.step)
        rows = len(batch.input)
        share = rows * self.group.count / len(index)  # of the batch's mean, which the processes take the mean of
        (loss * share).backward()
        return total_terms(terms) | {"rows": torch.full((), float(rows), device=self.device)}

    def _leaves_parameters_unused(self) -> bool:
        """Whether some parameters get no gradient, as the prior of an autoencoder, or might get none in some steps."""
        if self.model.labelling is not None or self.has_own_networks:  # one's own may also change when they are tried
            return True
        index = torch.zeros(1, dtype=torch.int64, device=self.device)
        draws = torch.zeros(self.step_module.objective.samples, 1, self.model.latent.noise_size, device=self.device)
        loss, _ = self.step_module(self.drawn_from.batch(index, self.redrawn, 0), draws, 0)
        loss.backward()
        unused = any(parameter.grad is None for parameter in self.parameters)
        self.optimizer.zero_grad()
        return unused

    @torch.no_grad()
    def _average(self, good: Tensor) -> None:
        """θ̄ ← θ̄ + (1 − d)(θ − θ̄), with d growing to ``ema`` so that the first steps are forgotten."""
        weight = good * (1 - min(self.training.ema, (1 + self.step) / (10 + self.step)))
        for mean, value in self.averaged:
            mean.lerp_(value, weight)
        for mean, value in self.copied:
            mean.copy_(value)

    def _look(self, running: dict[str, Tensor], bar: Progress) -> None:
        """Fetch the running sums, refit what has a closed form, move the bar."""
        fresh = self._fetch(running)
        self._refit(fresh)
        rows = max(fresh["rows"], 1.0)
        means = self._in_raw_units({name: total / rows for name, total in fresh.items()})
        shown = "bound_nats" if "bound_nats" in fresh else "squared_error"
        bar.advance(self.step - bar.done, **{shown: f"{means[shown]:.2f}"})
        if self.on_steps is not None:
            self.on_steps({"step": self.step} | means)

    def _fetch(self, running: dict[str, Tensor]) -> dict[str, float]:
        """The running sums, taken from the device and added to the epoch's."""
        sums = self.group.total(torch.stack(list(running.values())).tolist())
        fresh = dict(zip(running, sums, strict=True))
        fresh["skipped"] /= self.group.count  # all of them skip a step together
        running.clear()
        for name, total in fresh.items():
            self.sums[name] = self.sums.get(name, 0.0) + total
        self.skipped += int(fresh["skipped"])
        return fresh

    def _refit(self, fresh: dict[str, float]) -> None:
        if self.model.likelihood.wants_residuals and fresh["rows"]:
            error = fresh["squared_error"] / fresh["rows"]
            self.model.likelihood.refit(error / self.train_data.schema.size)

    def _roll_back(self, good: dict) -> int:
        """Back to the last good state with half the learning rate; the number of steps undone."""
        undone, rollbacks, skipped = self.step, self.rollbacks + 1, self.skipped
        if rollbacks > MOST_ROLLBACKS:
            raise UserError(
                f"training met non-finite gradients again and again, even at {0.5**MOST_ROLLBACKS:.0%} of the learning "
                "rate: look for extreme values in the data or lower train.learning_rate."
            )
        state.restore(self, good)
        self.rollbacks, self.skipped = rollbacks, skipped
        return undone - self.step

    def _end_of_epoch(self) -> dict:
        """Validate the averaged weights; the record of the epoch that just ended."""
        rows = max(self.sums.pop("rows", 0.0), 1.0)
        self.sums.pop("skipped", None)
        train = self._in_raw_units({name: total / rows for name, total in self.sums.items()})
        self.sums = {}
        valid = self.validate()
        watched = valid["bound_nats"] if "bound_nats" in valid else -valid["squared_error"]
        # the bound does not see labels, which validation rows may lack: where they are learned, the last weights stay
        if watched > self.best or self.model.labelling is not None:
            self.best, self.best_epoch = watched, self.epoch
        return {
            "epoch": self.epoch,  # how many are done
            "step": self.step,
            "learning_rate": self.learning_rate(),
            "seconds": round(self.seconds, 2),
            "skipped": self.skipped,
            "improved": self.best_epoch == self.epoch,
            "train": train,
            "validation": valid,
        }

    @torch.inference_mode()
    def validate(self) -> dict[str, float]:
        """Mean terms of the averaged weights on the validation rows, with the same noise every time."""
        objective = self.step_module.objective
        totals: dict[str, float] = {}
        part = slice(self.group.rank, None, self.group.count)
        for chunk, index in enumerate(torch.arange(len(self.valid_data), device=self.device).split(VALIDATION_ROWS)):
            shape = (objective.samples, len(index), self.model.latent.noise_size)
            draws = noise.normal(self.seed, "validation", chunk, shape=shape, device=self.device)[:, part]
            batch = self.valid_data.batch(index, part=part)
            for name, total in total_terms(objective(*self.average(batch, draws), self.step)[1]).items():
                totals[name] = totals.get(name, 0.0) + float(total)
        totals = dict(zip(totals, self.group.total(list(totals.values())), strict=True))
        return self._in_raw_units({name: total / len(self.valid_data) for name, total in totals.items()})

    def _in_raw_units(self, means: dict[str, float]) -> dict[str, float]:
        """Densities of standardised values → of the values as they were given; the ELBO in bits/dim beside it."""
        sign = {"bound_nats": 1, "elbo_nats": 1, "distortion_nats": -1}
        volume = self.train_data.schema.log_volume_nats
        raw = {name: mean + sign.get(name, 0) * volume for name, mean in means.items()}
        if "elbo_nats" in raw:
            raw["elbo_bits_per_dim"] = -raw["elbo_nats"] / (self.train_data.schema.size * math.log(2))
        return raw

    def restart_from(self, model: Model) -> None:
        """Go on with another model's weights, with moments and averages of their own."""
        self.model.load_state_dict(model.state_dict())
        self.average.load_state_dict(model.state_dict())


class _Clock:
    """When to save, when to stop, and how long it took."""

    def __init__(self, save: Callable[[], None], every_seconds: float, minutes: float):
        self._keep, self._every = save, every_seconds
        self._lap = self._saved = time.monotonic()
        self._end = self._lap + 60 * minutes

    def lap(self) -> float:
        """Seconds since the last time that this was asked."""
        before, self._lap = self._lap, time.monotonic()
        return self._lap - before

    def is_over(self) -> bool:
        return time.monotonic() >= self._end

    def save(self) -> None:
        self._keep()
        self._saved = time.monotonic()

    def save_if_due(self) -> None:
        if time.monotonic() >= self._saved + self._every:
            self.save()


@contextmanager
def _signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets, so that a step in flight is finished before the state is saved."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    asked = set()

    def ask(number: int, frame: object) -> None:
        if number in asked:  # twice: do not wait for the step in flight
            raise KeyboardInterrupt
        asked.add(number)  # Ctrl-C under torchrun comes as a SIGINT and, through it, as a SIGTERM
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
