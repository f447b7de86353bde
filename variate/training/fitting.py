"""From rows and what is asked for to a trainer, and from a trainer to a run."""

import copy
import math
import os
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from variate import config
from variate.base.errors import UserError, suggest, whole_number
from variate.base.surroundings import apart
from variate.config.names import OWN
from variate.data.conditions import COLUMNS, LABEL
from variate.data.dataset import Dataset
from variate.data.known import says_words
from variate.data.schema import Schema
from variate.models import start
from variate.results import inference
from variate.results.checkpoint import Run
from variate.training import trainer as train
from variate.training.processes import Processes, device_of

__all__ = ["Asked", "Stream", "fit_prior", "snapshot", "trainer_for"]

WEIGHT_BYTES, LEARNED_BYTES = 4, 20  # of a weight; with its gradient, Adam's two means and its average
PRIOR_ROWS = 20_000  # codes that an autoencoder's prior is fitted to
TOLD = (LABEL, COLUMNS)  # names that may be given of an array
FIELDS = "fields"  # the context network of a table
UNSAVED = Path("unsaved", "model.safetensors")


@dataclass(frozen=True)
class Asked:
    """What the caller says about the model."""

    recipe: str | os.PathLike | None = None
    given: tuple[str, ...] = ()
    epochs: int | None = None
    overrides: tuple[str, ...] = ()
    split: str | None = None

    def parts(self, whole: Dataset, valid: Dataset | None, seed: int) -> tuple[Dataset, Dataset]:
        """(the rows to learn from, those that validate)."""
        return _parts(whole, valid, seed, self._said(whole.schema)["train"])

    def _said(self, schema: Schema) -> dict[str, dict]:
        """What the recipe and the overrides say, before the rows decide the rest."""
        settings = config.load_recipe(self.recipe or config.default_recipe(schema), list(self.overrides))
        if self.split is not None:
            settings["train"]["split"] = self.split
        return settings

    def settings(self, rows: Dataset, modules: dict[str, nn.Module] | None) -> dict[str, dict]:
        """The whole configuration, with everything that depends on the data decided."""
        settings = self._said(rows.schema)
        for part, module in (modules or {}).items():
            settings[part] = {"name": OWN, "kind": type(module).__name__}
        if self.given:
            told = FIELDS if rows.schema.table else ", ".join(self.given)  # of other rows one thing alone is known
            settings["context"]["name"] = _context_of(told, settings["context"]["name"])
        if self.epochs is not None:
            settings["train"] |= {"epochs": whole_number(self.epochs, "epochs"), "least_steps": 0}
        return config.resolve(settings, rows)

    @property
    def says_something(self) -> bool:
        return self != Asked()


def _parts(whole: Dataset, valid: Dataset | None, seed: int, training: dict) -> tuple[Dataset, Dataset]:
    return whole.split(seed, training.get("split", "random")) if valid is None else whole.beside(valid)


def _context_of(name: str, said: str) -> str:
    """The context network that is told what is given; ``said``: the recipe's."""
    if name not in (*TOLD, FIELDS):
        raise UserError(f"given {name[:100]!r} is not one of {', '.join(TOLD)}{suggest(name[:100], TOLD)}.")
    if said not in ("none", name):
        raise UserError(f"the model is given {name}, but context.name={said}: say one of both.")
    return name


def trainer_for(
    settings: dict[str, dict],
    whole: Dataset,
    seed: int,
    group: Processes,
    modules: dict[str, nn.Module] | None,
    valid: Dataset | None = None,
) -> train.Trainer:
    """A trainer with seeded weights; a sixth of the rows is held out for validation, unless others are given."""
    _check_known(settings, whole)
    if valid is not None:
        valid = config.as_scored(settings, valid)
    return _assembled(settings, *_parts(whole, valid, seed, settings["train"]), seed, group, modules)


def _assembled(
    settings: dict[str, dict],
    train_rows: Dataset,
    valid_rows: Dataset,
    seed: int,
    group: Processes,
    modules: dict[str, nn.Module] | None,
) -> train.Trainer:
    with nullcontext() if modules else _Bounded(group.device):  # one's own are in memory already
        model, objective, training = config.build(settings, train_rows.schema, seed, modules)
    start.start_at(model, train_rows)
    name, place, view = settings["data"]["binarize"], group.device, config.view_of(settings)
    valid_rows = valid_rows.binarized(name)
    step = train.Step(model, objective, len(train_rows)).to(place)
    train_rows, valid_rows = train_rows.to(place), valid_rows.to(place)
    return train.Trainer(step, training, train_rows, valid_rows, seed, name, view, group)


class _Bounded(TorchDispatchMode):
    """Inside this block no more is allocated than is learned in this machine's memory: ``UserError`` before it is."""

    def __init__(self, device: torch.device):
        super().__init__()
        self.weights, self.most = 0, machine_memory() / (LEARNED_BYTES if device.type == "cpu" else WEIGHT_BYTES)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:  # else torch imports its compiler, a second's work
        return False

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # noqa: ANN001, ANN204 (torch's own signature)
        if args and isinstance(args[0], list | tuple) and all(isinstance(length, int) for length in args[0]):
            self.weights += math.prod(args[0])
        if self.weights > self.most:
            raise UserError(
                f"the model would take {self.weights:,} weights or more, and this machine's memory holds "
                f"{int(self.most):,} while they are learned: choose smaller networks, as with --set encoder.hidden and "
                "decoder.hidden."
            )
        return function(*args, **(kwargs or {}))


def machine_memory() -> float:
    """In bytes; without end where nobody says."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return math.inf


def _check_known(settings: dict[str, dict], rows: Dataset) -> None:
    """What a model is told has to be known of every row."""
    kind = settings["context"]["name"]
    if kind == COLUMNS and rows.columns is None:
        instead = "real numbers (n, k) as labels" + ("" if rows.labels is None else ", or say --given label")
        raise UserError(f"{rows.name} has no known columns, which the model is to be told: give {instead}.")
    if kind == LABEL and rows.labels is None:
        instead = "leave out --given" if rows.columns is None else "say --given columns"
        raise UserError(f"{rows.name} has no labels, which the model is to be told: give some, or {instead}.")
    if kind == LABEL and rows.labels is not None and bool((rows.labels < 0).any()):
        missing = int((rows.labels < 0).sum())
        raise UserError(
            f"{missing:,} rows of {rows.name} have no label, which a model given labels needs: leave those rows out, "
            "or learn from them with --recipe semi-supervised."
        )


def snapshot(trainer: train.Trainer, settings: dict, data: str, path: Path = UNSAVED) -> Run:
    """The averaged weights as they are now, as a run of their own."""
    bound = trainer.best if math.isfinite(trainer.best) else None  # a stream has no validation rows
    info = {"bound": bound, "data": data, "seed": trainer.seed}
    info |= {"epoch": trainer.best_epoch, "step": trainer.step}
    info |= says_words(trainer.train_data.schema.class_names, trainer.train_data.words)
    model = copy.deepcopy(trainer.average).cpu().requires_grad_(False).eval()
    objective = copy.deepcopy(trainer.step_module.objective).cpu().requires_grad_(False).eval()
    return Run(model, trainer.train_data.schema, settings, info, path, objective=objective)


def fit_prior(run: Run, rows: Dataset) -> bool:
    """A deterministic autoencoder's prior is fitted to its codes, so that it can generate too (Ghosh et al. 2020).

    Whether that was needed, and so whether the run has changed.
    """
    if run.generates or run.config["prior"]["name"] == "standard":
        return False
    some = rows.to("cpu").subset(PRIOR_ROWS)
    run.model.latent.fit_prior(inference.code_means(run, some), run.model.encode_context(some.given))
    run.info["prior"] = "fitted"
    return True


class Stream:
    """Learning from rows that come piece by piece; the first piece, or the run to go on from, settles what a row is.

    The learning rate stays constant: a stream has no end towards which it could fall.
    """

    @apart()
    def __init__(
        self,
        rows: Dataset,
        asked: Asked,
        seed: int,
        device: str = "auto",
        modules: dict[str, nn.Module] | None = None,
        before: Run | None = None,
    ):
        if before is None:
            settings = asked.settings(rows, modules)
            rows = config.as_scored(settings, rows)
            if not rows.schema.table:  # what has not varied yet may do so later
                rows = replace(rows, schema=rows.schema.with_kind(rows.schema.x.kind.without_constants()))
        else:
            settings, rows = before.config, rows.under(before.schema)
        self.settings = settings | {"train": settings["train"] | {"schedule": "constant"}}
        _check_known(self.settings, rows)
        self.trainer = _assembled(self.settings, rows, rows, seed, Processes(device=device_of(device)), modules)
        if before is not None:
            self.trainer.restart_from(before.model, before.objective)

    @apart()
    def learn(self, rows: Dataset) -> Run:
        """One pass over the rows; the model as it is after them."""
        trainer, rows = self.trainer, rows.under(self.trainer.train_data.schema)
        _check_known(self.settings, rows)
        trainer.learn_from(rows.to(trainer.device))
        run = snapshot(trainer, self.settings, rows.name)
        fit_prior(run, rows)
        return run
