"""``Step``, the differentiable whole, and the only training loop."""

import copy
import math
import threading
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from variate import noise
from variate.base import threads
from variate.base.errors import UserError, seed_number
from variate.base.progress import Progress
from variate.base.surroundings import applying, learning
from variate.base.waiting import considerate
from variate.config import SCHEDULES, Training
from variate.data.batch import Batch
from variate.data.dataset import Dataset
from variate.data.schema import LABEL
from variate.data.views import View
from variate.models.model import Model
from variate.models.networks.own import Own, drawing
from variate.models.objectives.objective import Objective, Scene, Terms
from variate.training import memory, state
from variate.training.adam import Adam
from variate.training.processes import Processes
from variate.training.stopping import Clock, asked_to_stop
from variate.training.tally import Outcome, Tally, in_raw_units, means, recorded, total_terms

__all__ = ["Interrupted", "Step", "Trainer"]

CHECK_EVERY = 20  # steps between looks at the device, each of which may wait for it, and between updates of averages
BAD_STEPS_IN_A_ROW = 5
MOST_ROLLBACKS = 6
VALIDATION_ROWS, VALIDATION_VALUES = 500, 1 << 22  # per chunk, at most


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM arrived; the state was saved after the step in flight."""


class Step(nn.Module):
    """(batch, noise, step) → (loss, Terms): the one thing that is differentiated, distributed or compiled.

    noise: standard normal (samples, B, noise_size): what the latent takes, then what the objective takes. ``rows``: of
    the training set, for an objective that asks. Use it from your own loop:

    >>> from variate import config
    >>> from variate.data.load import load
    >>> rows = load(torch.randn(20, 3).numpy())
    >>> model, objective, _ = config.build(config.resolve(config.load_recipe("vector"), rows), rows.schema)
    >>> step = Step(model, objective)
    >>> loss, terms = step(rows.batch(slice(0, 8)), torch.randn(1, 8, step.noise_size), 0)
    >>> loss.backward()
    >>> terms.elbo_nats.shape
    torch.Size([8])
    """

    def __init__(self, model: Model, objective: Objective, rows: int | None = None):
        super().__init__()
        self.model, self.objective, self.rows = model, objective, rows
        self.noise_size = model.latent.noise_size + objective.noise_size

    def scene(self, model: Model, batch: Batch, noise: Tensor, step: Tensor | int) -> Scene:
        """What the objective sees, in the model or in an average of it."""
        own = [model.latent.noise_size, self.objective.noise_size]
        for_latent, for_objective = noise.split(own, dim=-1)
        draw, decoded = model(batch, for_latent)
        return Scene(draw, decoded, step, model, batch, for_objective, self.rows)

    def forward(self, batch: Batch, noise: Tensor, step: Tensor | int) -> tuple[Tensor, Terms]:
        scene = self.scene(self.model, batch, noise, step)
        rows, terms = self.objective(scene)
        loss = rows.mean() if batch.weight is None else (rows * batch.weight).sum() / batch.weight.sum()
        if self.model.labelling is not None and batch.given is not None:
            loss = loss + self.model.labelling.loss(scene.draw, batch.given[LABEL].units, step)
        return loss, terms


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
    view: View | None = None  # what the encoder is shown of the rows that it learns from
    group: Processes = Processes()
    step: int = 0
    rollbacks: int = 0
    best: float = -math.inf  # the mean over the validation rows, without those that have none
    best_epoch: int = 0
    best_left_out: int = 0  # validation rows whose bound was not finite in the best epoch
    seconds: float = 0.0
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self.seed, self.mean_weight = seed_number(self.seed), self.train_data.mean_weight
        self.model = self.step_module.model
        self._draw_from(self.train_data)
        self.average = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.own_networks = [module for module in self.model.modules() if isinstance(module, Own)]
        self.device = next(self.model.parameters()).device
        self.parameters = list(self.step_module.parameters())
        # (average, what it is the average of): looked up once, because walking a model takes as long as a small layer
        self.averaged = list(zip(self.average.parameters(), self.model.parameters(), strict=True))
        self.copied = list(zip(self.average.buffers(), self.model.buffers(), strict=True))
        own = {id(parameter) for parameter in self.step_module.objective.parameters()}
        factors = [self.step_module.objective.rate_factor if id(p) in own else 1.0 for p in self.parameters]
        self.optimizer = Adam(self.parameters, self.training.betas, factors)
        rows = len(self.train_data)
        self.steps_per_epoch, self.total_epochs = self.training.steps_per_epoch(rows), self.training.total_epochs(rows)
        self.batch_size = min(self.training.batch_size, rows)
        if self.batch_size < self.group.count * self.training.accumulate:
            raise UserError(
                f"a batch of {self.batch_size} rows cannot be parted among {self.group.count} processes in "
                f"{self.training.accumulate} pieces each: raise train.batch_size or lower train.accumulate."
            )
        each = self.batch_size * self.step_module.objective.samples / (self.group.count * self.training.accumulate)
        known = self.device.type == "cpu" and not self.own_networks  # what a weight of one's own is used for is not
        self.most_threads = threads.worth(self.parameters, math.ceil(each)) if known else math.inf
        self.volumes = self.train_data.mean_log_volume_nats, self.valid_data.mean_log_volume_nats
        self.differentiated = self.group.wrap(self.step_module, self._leaves_parameters_unused)
        self.start: dict | None = None  # what the epoch under way began with
        self.on_steps: Callable[[dict], None] | None = None  # told the means of every few steps
        self.left_out: list[int] = []  # validation rows, of those that this process saw, without a finite bound
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
        clock = Clock(save or (lambda: None), every_seconds, minutes)
        bar = Progress("Training", self.total_steps, "step", self.step)
        with asked_to_stop() as stop, memory.kept(), considerate(), bar:
            while self.epoch < self.total_epochs and not self._patience_is_over():
                self.start = self.start or state.capture(self)
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
        """Every row once, the last few too: learning from a stream that has no epochs.

        Raises ``UserError`` where no step stays finite, and is then as it was before; warns where some do not.
        """
        # all that changes where every step is skipped, which leaves weights and moments alone
        before, tally, learned_before = self.step, copy.deepcopy(self.tally), self.train_data
        self._draw_from(rows)
        order = noise.permutation(self.seed, "stream", self.step, n=len(rows)).to(self.device)
        with considerate(), Progress("Learning", len(rows), unit="rows") as bar:
            parts = order.split(self.training.batch_size)
            for first in range(0, len(parts), CHECK_EVERY):
                some = parts[first : first + CHECK_EVERY]
                self._settle(self._steps((index,) for index in some))
                bar.advance(sum(map(len, some)))
        steps, skipped = self.step - before, self.tally.skipped - tally.skipped
        told = f"{skipped:,} of {steps:,} steps over {len(rows):,} rows met gradients that are not finite"
        if skipped == steps:
            self.step, self.tally = before, tally
            self._draw_from(learned_before)
            raise UserError(f"nothing was learned, since {told}: look for extreme values in these rows.")
        if skipped:
            warnings.warn(f"{told} and were left out: look for extreme values in these rows.", stacklevel=2)

    def _interrupted(self, clock: Clock) -> Interrupted:
        clock.save()
        return Interrupted(f"stopped after step {self.step:,} of {self.total_steps:,}, all of it saved")

    def _patience_is_over(self) -> bool:
        """Small data are gone through quickly: a third of ``least_steps`` must have passed as well."""
        waited = self.step - self.best_epoch * self.steps_per_epoch
        enough = max(self.training.patience * self.steps_per_epoch, self.training.least_steps // 3)
        return 0 < self.training.patience and waited >= enough

    def _run_epoch(self, bar: Progress, stop: threading.Event, clock: Clock) -> str:
        """Steps to the end of the epoch: "done", or before it "stop" (asked to), "time" (over) or "diverged"."""
        end = (self.epoch + 1) * self.steps_per_epoch
        order = self.train_data.order(self.seed, self.epoch).to(self.device)
        while self.step < end:
            until = min(end, self.step - self.step % CHECK_EVERY + CHECK_EVERY)
            self._look(self._steps(self._indices(order, until)), bar)
            self.seconds += clock.lap()
            if self.tally.worst_run >= BAD_STEPS_IN_A_ROW:
                return "diverged"
            stopped, over = self.group.total([float(stop.is_set()), float(clock.is_over())])
            if self.step < end:
                if stopped or over:
                    return "stop" if stopped else "time"
                clock.save_if_due()
            elif over:
                return "time"
        return "done"

    def _steps(self, indices: Iterable[tuple[Tensor, ...]]) -> list[Outcome]:
        """A step for each of the indices; other threads, which may want other products, have their turn after them."""
        with learning(self.training.precision, self.most_threads):
            return [self._one_step(*index) for index in indices]

    def _indices(self, order: Tensor, until: int) -> Iterator[tuple[Tensor, ...]]:
        """The rows of every step up to that one, taken from the epoch's order."""
        while self.step < until:
            place = (self.step % self.steps_per_epoch) * self.batch_size
            yield self._with_labelled(order[place : place + self.batch_size])

    def _with_labelled(self, index: Tensor) -> tuple[Tensor, ...]:
        """The rows of a step, and beside them some with a label, where a labelling would else see hardly any."""
        labelling, labels = self.model.labelling, self.train_data.labels
        if labelling is None or labels is None or self.labelled is None or not labelling.rows:
            return (index,)
        generator = noise.generator(self.seed, "labelled", self.step)
        chosen = torch.randint(len(self.labelled), (labelling.rows,), generator=generator, device="cpu")
        return index, self.labelled[chosen.to(self.device)]

    def _one_step(self, own: Tensor, *beside: Tensor) -> Outcome:
        """One optimiser step; a non-finite gradient leaves weights and moments alone, without a sync.

        It learns from its ``own`` rows and from those ``beside`` them; its figures are of its own.
        """
        index = torch.cat([own, *beside])
        parts = self.group.parts(len(index), self.training.accumulate)
        counts = [len(range(*part.indices(len(own)))) for part in parts]
        names, sums = [], []
        for place, (part, count) in enumerate(zip(parts, counts, strict=True)):
            # the processes put their gradients together once, with the last piece
            alone = self.group.count > 1 and place + 1 < len(parts)
            with self.differentiated.no_sync() if alone else nullcontext():  # pyright: ignore[reportCallIssue] (DDP's)
                names, total = self._differentiate(index, part, count)
                sums.append(total)
        norm = self._clipped_norm()
        skipped = torch.isnan(norm - norm).to(torch.float32)  # of infinite norms too
        self.optimizer.step(self.learning_rate(), skipped)
        self._forget_gradients()
        self.step += 1
        return Outcome(names, sums[0] if len(sums) == 1 else torch.stack(sums).sum(0), skipped, sum(counts))

    def _differentiate(self, index: Tensor, part: slice, count: int) -> tuple[list[str], Tensor]:
        """The gradient of this part of a batch is added to the weights'; names and sums of its first rows' terms."""
        batch = self._shown(self.drawn_from.batch(index, self.redrawn, self.seed, self.step, part=part), index, part)
        shape = (self.step_module.objective.samples, len(index), self.step_module.noise_size)
        draws = noise.normal(self.seed, "train", self.step, shape=shape, device=self.device)[:, part]
        with drawing(self.own_networks, self.seed, "own networks", self.step, part.start):
            loss, terms = self.differentiated(batch, draws, self.step)
        share = batch.rows * self.group.count / len(index)  # of the batch's mean, which all processes average
        if batch.weight is not None:  # the loss is a weighted mean: of all batches together, too
            share = share * batch.weight.mean() / self.mean_weight
        if not isinstance(share, float) or share != 1:
            loss = loss * share  # not backward(share), which imports a computer algebra system
        loss.backward()
        return total_terms(terms, count)

    def _shown(self, batch: Batch, index: Tensor, part: slice) -> Batch:
        """The batch as the encoder is to see it in this step."""
        if self.view is None:
            return batch

        def uniform(size: int) -> Tensor:
            generator = noise.generator("view", self.seed, self.step, device=self.device)
            whole = torch.rand((len(index), size), generator=generator, device=self.device, dtype=torch.float32)
            return whole[part]

        shown = self.view(batch.input, uniform)
        if not self.view.hides:
            return batch._replace(input=shown)
        left = {name: cells._replace(observed=shown[name].observed) for name, cells in batch.target.items()}
        return batch._replace(input=shown, target=left)

    @torch.no_grad()
    def _clipped_norm(self) -> Tensor:
        """The norm of all gradients before they are clipped to ``clip_norm``, if at all."""
        flat = [parameter.grad.flatten() for parameter in self.parameters if parameter.grad is not None]
        norm = torch.stack([torch.dot(part, part) for part in flat]).sum().sqrt()  # on a CPU faster than norms
        if self.training.clip_norm:
            nn.utils.clip_grads_with_norm_(self.parameters, self.training.clip_norm, norm, foreach=True)
        return norm

    def _leaves_parameters_unused(self) -> bool:
        """Whether some parameters get no gradient, as the prior of an autoencoder, or might get none in some steps."""
        if self.model.labelling is not None or self.own_networks:  # one's own may also change when they are tried
            return True
        index = torch.zeros(1, dtype=torch.int64, device=self.device)
        shape = (self.step_module.objective.samples, 1, self.step_module.noise_size)
        draws = torch.zeros(shape, dtype=torch.float32, device=self.device)
        with learning(self.training.precision):
            loss, _ = self.step_module(self.drawn_from.batch(index, self.redrawn, 0), draws, 0)
            loss.backward()
        unused = any(parameter.grad is None for parameter in self.parameters)
        self._forget_gradients()
        return unused

    def _forget_gradients(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def _average(self, steps: int) -> None:
        """θ̄ ← d θ̄ + (1 − d) θ for each of the last steps, at one go with the θ of now: weights move little meanwhile.

        The decay d grows to ``ema``, so that the first steps are forgotten.
        """
        counts = range(self.step - steps + 1, self.step + 1)
        decay = math.prod(min(self.training.ema, (1 + count) / (10 + count)) for count in counts)
        for mean, value in self.averaged:
            mean.lerp_(value, 1 - decay)
        for mean, value in self.copied:
            mean.copy_(value)

    def _look(self, outcomes: list[Outcome], bar: Progress) -> None:
        """Settle the last steps, move the bar, tell who listens."""
        fresh = self._settle(outcomes)
        told = in_raw_units(means(fresh), self.train_data.schema, self.volumes[0])
        shown = "bound_nats" if "bound_nats" in told else "squared_error"
        bar.advance(self.step - bar.done, **{shown: f"{told[shown]:.2f}" if fresh["rows"] else "none, steps skipped"})
        if self.on_steps is not None:
            self.on_steps({"step": self.step} | recorded(told))

    def _settle(self, outcomes: list[Outcome]) -> dict[str, float]:
        """Fetch what the last steps did, refit what has a closed form, bring the averages up to date; the sums."""
        skipped, fresh = self.tally.skipped, self.tally.add(outcomes, self.group)
        self._refit(fresh)
        self.optimizer.forget_traces()
        self._average(len(outcomes) - (self.tally.skipped - skipped))
        return fresh

    def _refit(self, fresh: dict[str, float]) -> None:
        if not self.model.likelihood.wants_residuals:
            return
        error = means(fresh)["squared_error"]
        if math.isfinite(error):
            self.model.likelihood.refit(error / max(1, self.train_data.schema.varying_size))

    def _roll_back(self, good: dict) -> int:
        """Back to the last good state with half the learning rate; the number of steps undone."""
        undone, rollbacks, skipped = self.step, self.rollbacks + 1, self.tally.skipped
        if rollbacks > MOST_ROLLBACKS:
            raise UserError(
                f"training met non-finite gradients again and again, even at {0.5**MOST_ROLLBACKS:.0%} of the learning "
                "rate: look for extreme values in the data or lower train.learning_rate."
            )
        state.restore(self, good)
        self.rollbacks, self.tally.skipped = rollbacks, skipped
        return undone - self.step

    def _end_of_epoch(self) -> dict:
        """Validate the averaged weights; the record of the epoch that just ended."""
        train = in_raw_units(self.tally.end_epoch(), self.train_data.schema, self.volumes[0])
        valid, left_out = self._validated()
        improved = self._is_best(valid, left_out)
        if improved:
            self.best, self.best_epoch, self.best_left_out = _watched(valid), self.epoch, left_out
        return {
            "epoch": self.epoch,  # how many are done
            "step": self.step,
            "learning_rate": self.learning_rate(),
            "seconds": round(self.seconds, 2),
            "skipped": self.tally.skipped,
            "improved": improved,
            "train": recorded(train),
            "validation": recorded(valid) | ({"left_out": left_out} if left_out else {}),
        }

    def _is_best(self, valid: dict[str, float], left_out: int) -> bool:
        """Whether no epoch had a finite bound of more validation rows or, of as many, a better mean of them.

        Any epoch is better than none. The bound does not see labels, which validation rows may lack: where they are
        learned, and where no row has a bound, the last weights stay.
        """
        first = self.best == -math.inf and not self.best_left_out
        blind = self.model.labelling is not None or left_out == self.best_left_out == len(self.valid_data)
        return first or blind or (-left_out, _watched(valid)) > (-self.best_left_out, self.best)

    def validate(self) -> dict[str, float]:
        """Mean terms of the averaged weights on the validation rows, with the same noise every time.

        Of the rows whose bound (or squared error) is finite: an outlier may have none.
        """
        return self._validated()[0]

    @applying()
    def _validated(self) -> tuple[dict[str, float], int]:
        """The same, and how many rows were left out."""
        objective = self.step_module.objective
        names, totals = [], torch.zeros((), dtype=torch.float64)
        left_out: list[int] = []
        part = slice(self.group.rank, None, self.group.count)
        rows = max(1, min(VALIDATION_ROWS, VALIDATION_VALUES // self.valid_data.schema.size))
        for chunk, index in enumerate(torch.arange(len(self.valid_data), device=self.device).split(rows)):
            shape = (objective.samples, len(index), self.step_module.noise_size)
            draws = noise.normal(self.seed, "validation", chunk, shape=shape, device=self.device)[:, part]
            batch = self.valid_data.batch(index, part=part)
            scene = self.step_module.scene(self.average, batch, draws, self.step)
            finite, terms = _with_bound(objective(scene)[1])
            names, sums = total_terms(terms)
            if not bool(sums.isfinite().all()):  # finite rows may add up to more than they can be each
                names, sums = total_terms(terms.changed(Tensor.double))
            totals = totals + sums.cpu().double()
            left_out += index[part][~finite].tolist()
        self.left_out = left_out
        *found, missing = self.group.total([*totals.tolist(), float(len(left_out))])
        rows = len(self.valid_data) - int(missing)
        terms_of_rows = means(dict(zip(names, found, strict=True)) | {"rows": rows})
        return in_raw_units(terms_of_rows, self.train_data.schema, self.volumes[1]), int(missing)

    def restart_from(self, model: Model, objective: Objective | None) -> None:
        """Go on with another model's weights, and its objective's, with moments and averages of their own."""
        if objective is not None:
            self.step_module.objective.load_state_dict(objective.state_dict())
        self.model.load_state_dict(model.state_dict())
        self.average.load_state_dict(model.state_dict())


def _watched(means: dict[str, float]) -> float:
    """What epochs are compared by: the higher, the better; −∞ where there is nothing to go by."""
    watched = means["bound_nats"] if "bound_nats" in means else -means["squared_error"]
    return -math.inf if math.isnan(watched) else watched


def _with_bound(terms: Terms) -> tuple[Tensor, Terms]:
    """(which rows have a finite bound (B,); the terms with 0 in place of the others)."""
    watched = terms.squared_error if terms.bound_nats is None else terms.bound_nats
    assert watched is not None
    finite = watched.isfinite()
    return finite, terms.changed(lambda v: torch.where(finite.view(-1, *[1] * (v.dim() - 1)), v, 0.0))
