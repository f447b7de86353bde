"""Learn the distribution of a data set; the result is a run folder."""

import math
import os
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from cyclopts import Parameter
from torch import nn

from variate import config, options
from variate.base.console import say, silent
from variate.base.errors import UserError, seed_number
from variate.base.surroundings import apart
from variate.data import table
from variate.data.conditions import names_of
from variate.data.dataset import Dataset
from variate.data.fingerprint import fingerprint
from variate.data.load import load
from variate.data.schema import Schema
from variate.results import checkpoint
from variate.results.checkpoint import Run
from variate.results.folder import RunFolder
from variate.training import state
from variate.training import trainer as train
from variate.training.claim import claimed
from variate.training.fitting import Asked, fit_prior, trainer_for
from variate.training.keeper import Keeper, Keeping
from variate.training.processes import Processes, is_first, joined, was_restarted

__all__ = ["fit"]


@apart()
def fit(
    data: object,
    labels: object = None,
    *,
    out: str | os.PathLike | None = None,
    recipe: str | os.PathLike | None = None,
    given: str | Sequence[str] | None = None,
    epochs: int | None = None,
    seed: int = 0,
    overrides: list[str] | None = None,
    modules: dict[str, nn.Module] | None = None,
    levels: int | None = None,
    layout: str | None = None,
    resize: tuple[int, int] | None = None,
    names: object = None,
    schema: str | os.PathLike | None = None,
    weight: object = None,
    valid: object = None,
    split: str | None = None,
    resume: bool = False,
    device: str = "auto",
    keeping: Keeping = Keeping(),  # noqa: B008 (frozen)
) -> Run:
    """Maximise the recipe's bound on the training rows; the weights of the best validation epoch are kept.

    data: a named set ("mnist"), a path, an array or tensor (n, …), a data frame, a PyTorch ``Dataset`` or a ``Dataset``
    of variate's; ``labels``, ``levels``, ``layout``, ``resize``, ``names``, ``schema`` and ``weight`` as ``data.load``
    takes them. A seeded sixth of the rows is held out for validation, or as ``split`` says ("time", "time:COLUMN",
    "group:COLUMN"), or other rows validate, ``valid``; a named set's test part is never opened. ``out`` is the run
    folder; without it nothing is written. ``given`` names what the model is told of every row, "label", "columns" or
    columns of a table: it learns p(x | given).
    ``overrides`` are ``section.key=value`` texts. ``modules``: one's own "encoder" and "decoder".
    ``keeping``: how often the state is saved, when to stop, logs and callbacks. Raises ``UserError`` for what the
    caller can mend, ``Interrupted`` after Ctrl-C, with the state saved so that ``resume`` goes on.
    """
    seed = seed_number(seed)
    asked = Asked(recipe, names_of(given), epochs, tuple(overrides or ()), split)
    read = {"levels": levels, "layout": layout, "resize": resize, "names": names, "schema": schema, "weight": weight}
    if valid is not None and split is not None:
        raise UserError("valid says which rows validate, and so does split: give one of both.")
    with joined(device) as group, silent(group.rank > 0):
        place = _Place(RunFolder(Path(out)) if out is not None else None, modules, group)
        source = _Source(data, labels, read, valid)
        return _fit(place, source, asked, seed, resume or place.was_restarted, keeping)


@dataclass(frozen=True)
class _Source:
    """Where the rows come from, as the caller says it."""

    data: object
    labels: object
    read: dict
    valid: object

    def rows(self, given: tuple[str, ...], like: Schema | None = None) -> Dataset:
        """All rows; of a table with the columns that the model is told of. ``like``: as they were in a saved run."""
        if like is not None and like.table:
            return load(self.data, self.labels, weight=self.read["weight"], like=like)
        whole = load(self.data, self.labels, **self.read | ({} if like is None else _as_before(like)))
        return table.told(whole, given) if whole.schema.table and given else whole

    def valid_rows(self, like: Schema) -> Dataset | None:
        """The rows that validate, where the caller says which."""
        return None if self.valid is None else load(self.valid, part="test", like=like)


def _fit(place: "_Place", source: _Source, asked: Asked, seed: int, resume: bool, keeping: Keeping) -> Run:
    """``fit`` in its place: a trainer, which is gone when the processes part."""
    with place.claimed(resume):
        if resume:
            trainer, settings, whole, said = _resumed(place, source, asked)
        else:
            whole = source.rows(asked.given)
            valid = source.valid_rows(whole.schema)
            settings = asked.settings(asked.parts(whole, valid, seed)[0], place.modules)
            whole = config.as_scored(settings, whole)
            trainer = trainer_for(settings, whole, seed, place.group, place.modules, valid)
            said = place.said(whole, valid, seed)
        for schema in (whole.schema, trainer.train_data.schema):
            checkpoint.check_loadable(schema, whole.name)
        say(_announcement(whole, settings, trainer))
        if trainer.step:
            say(f"resumed after step {trainer.step:,} of {trainer.total_steps:,}")
        keeper = Keeper(place.to_write, trainer, settings, whole.schema, said, keeping)
        run = _train(trainer, keeper, place, whole)
        if fit_prior(run, trainer.train_data) or keeper.behind:
            keeper.keep(run)
        return run


@dataclass(frozen=True)
class _Place:
    """Where a run is kept: a folder, or nowhere but in memory. Of several processes the first reads and writes it."""

    folder: RunFolder | None
    modules: dict[str, nn.Module] | None
    group: Processes

    @property
    def was_restarted(self) -> bool:
        """Whether a process was lost, and this run goes on from the last state in the place of all of them."""
        return was_restarted() and self.group.from_first(self.folder is not None and self.folder.has_state)

    @property
    def to_write(self) -> RunFolder | None:
        return self.folder if self.group.rank == 0 else None

    def claimed(self, resume: bool) -> AbstractContextManager:
        """The folder belongs to this fit alone, if there is one."""
        folder = self.to_write
        return nullcontext() if folder is None else claimed(folder, resume, was_restarted())

    def said(self, whole: Dataset, valid: Dataset | None, seed: int) -> dict[str, int | str]:
        """What the states say of the run besides settings and schema: the rows, and how they are parted and drawn."""
        rows = {"data": whole} | ({} if valid is None else {"valid": valid})
        return {"seed": seed} | ({name: fingerprint(some) for name, some in rows.items()} if self.to_write else {})

    def saved(self) -> tuple[dict, dict[str, dict], Schema]:
        """(captured state, settings, schema) of the run to go on with."""
        if self.folder is None:
            raise UserError("there is nothing to resume without a run folder: say which with out.")
        found = self.folder.load_state() if self.group.rank == 0 else None
        captured, settings, schema = self.group.from_first(found)
        weights = {
            name.removeprefix("model."): value
            for name, value in captured["tensors"].items()
            if name.startswith(("model.", checkpoint.OBJECTIVE))
        }
        checkpoint.check_weights(weights, settings, schema, self.folder.state, self.modules)
        return captured, settings, schema


def _resumed(
    place: _Place, source: _Source, asked: Asked
) -> tuple[train.Trainer, dict[str, dict], Dataset, dict[str, int | str]]:
    """The trainer of a saved run as it was, its settings and its rows, which have to be the same, and what is said."""
    captured, settings, schema = place.saved()
    path, seed = place.folder.path if place.folder else None, captured["numbers"]["seed"]
    whole = config.as_scored(settings, source.rows(asked.given, schema))
    valid = source.valid_rows(whole.schema)
    if schema != whole.schema:
        raise UserError(f"{path} learns {schema.describe()}: resume it with the data it was started with.")
    said, before = place.said(whole, valid, seed), captured["numbers"]
    if "data" in said and before.get("data", said["data"]) != said["data"]:  # the first states lack it
        raise UserError(f"{whole.name} holds other rows than {path} learns: resume it with the data it started with.")
    if "data" in said and before.get("valid") != said.get("valid"):
        raise UserError(f"{path} was validated by other rows: resume it with the same --valid, or without as it was.")
    if asked.says_something and asked.settings(asked.parts(whole, valid, seed)[0], place.modules) != settings:
        raise UserError(f"{path} was made with other settings: --resume needs no options, or the same.")
    trainer = trainer_for(settings, whole, seed, place.group, place.modules, valid)
    if why := state.fault(trainer, captured):
        raise UserError(f"the state in {path} is damaged ({why}): start anew, without --resume and in another folder.")
    state.restore(trainer, captured)
    return trainer, settings, whole, said


def _as_before(schema: Schema) -> dict:
    """What has to be said again for the same data to be read in the same way."""
    height_width = (schema.x.shape[0], schema.x.shape[1]) if schema.x.resized else None
    levels = schema.x.kind.levels if schema.x.kind.divisor == 1 else None
    return {"levels": levels, "layout": schema.x.layout, "resize": height_width}


def _announcement(whole: Dataset, settings: dict, trainer: train.Trainer) -> str:
    weights = sum(p.numel() for p in trainer.parameters)
    likelihood, objective = settings["likelihood"]["name"], settings["objective"]["name"]
    return (
        f"{whole.name}: {len(trainer.train_data):,} rows to train on, {len(trainer.valid_data):,} to validate, "
        f"{whole.schema.describe()}\n"
        f"{settings['encoder']['name']} encoder, {settings['decoder']['name']} decoder, {weights:,} weights; "
        f"{trainer.model.latent.size} latents; likelihood {likelihood}; objective {objective}"
    )


def _train(trainer: train.Trainer, keeper: Keeper, place: _Place, whole: Dataset) -> Run:
    """The run with the weights of the best epoch, which is also in its folder, if it has one."""
    every, minutes = keeper.keeping.every_seconds, keeper.keeping.minutes
    with closing(trainer.epochs(keeper.save, every_seconds=every, minutes=minutes)) as epochs:
        for record in epochs:
            say(_line(record, trainer, whole))
            keeper.epoch(record, whole.name)
    _say_how_it_ended(trainer, keeper)
    if keeper.best is None and place.folder is None:
        raise UserError("training ended before its first epoch did: there is nothing to keep.")
    return keeper.best or checkpoint.load(place.folder.path if place.folder else "", place.modules)


def _say_how_it_ended(trainer: train.Trainer, keeper: Keeper) -> None:
    if trainer.best_left_out:
        say(_without_bound(trainer))
    done, best = trainer.epoch, trainer.best_epoch
    if done < trainer.total_epochs and best < done and not math.isfinite(keeper.keeping.minutes):
        say(f"stopped after epoch {done}: no better on the validation rows since epoch {best}, whose weights are kept")
    elif done == trainer.total_epochs and best < done:
        say(f"best on the validation rows after epoch {best} of {done}, whose weights are kept")


def _without_bound(trainer: train.Trainer) -> str:
    """How many validation rows the epochs were not compared by, and the value that is farthest out in one of them."""
    count, rows = trainer.best_left_out, trainer.valid_data
    what = "log p" if trainer.model.latent.has_density else "squared error"
    said = f"{count:,} of {len(rows):,} validation rows {'has' if count == 1 else 'have'} no finite {what}"
    if trainer.left_out:
        values = rows.values[torch.tensor(trainer.left_out[:1])].double().flatten()
        said += f" (one holds {float(values[values.abs().argmax()]):.4g})"
    return f"{said}: the epochs were compared by the others"


def _line(record: dict, trainer: train.Trainer, whole: Dataset) -> str:
    if "event" in record:
        return f"non-finite gradients: back to step {record['step']}, learning rate {record['learning_rate']:.2g}"
    shown = [f"epoch {record['epoch']}/{trainer.total_epochs}"]
    for part in ("train", "validation"):
        name, of = ("ELBO", "elbo_nats") if "elbo_nats" in record[part] else ("squared error", "squared_error")
        mean = record[part][of]
        if mean is None:
            shown.append(f"{part} {name} unknown")
        elif name == "ELBO":
            shown.append(f"{part} ELBO {mean:.2f} nats = {record[part]['elbo_bits_per_dim']:.4f} bits/dim")
        else:
            shown.append(f"{part} squared error {mean / whole.schema.x.size:.5f} per dim")
        if left_out := record[part].get("left_out", 0):
            shown[-1] += f" ({left_out:,} {'row has' if left_out == 1 else 'rows have'} none)"
    if record["skipped"]:
        shown.append(f"skipped so far: {record['skipped']:,} steps whose gradients were not finite")
    shown.append(f"{record['seconds']:.0f} s")
    return ", ".join(shown)


def parse_size(text: str) -> tuple[int, int]:
    """ "32,48" → (32, 48): height and width."""
    match = re.fullmatch(r"(\d{1,5})[,x](\d{1,5})", text)
    if not match or not all(1 <= int(side) <= 8192 for side in match.groups()):
        raise UserError(f"--resize {text!r} is not a height and a width, as in 32,32.")
    return int(match[1]), int(match[2])


def command(
    data: str,
    *,
    out: Path,
    labels: options.LabelFile = None,
    recipe: str | None = None,
    given: str | None = None,
    epochs: int | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    set: Annotated[list[str], Parameter(negative="")] = [],  # noqa: A002, B006 (cyclopts reads the signature)
    levels: options.Levels = None,
    layout: options.Layout = None,
    resize: options.Size = None,
    names: options.Names = None,
    schema: options.SchemaFile = None,
    valid: str | None = None,
    split: str | None = None,
    resume: bool = False,
    minutes: float | None = None,
    save_every: float = 60.0,
    on_disk_full: str = "stop",
    log: Annotated[list[str], Parameter(negative="")] = [],  # noqa: B006
    report: bool = True,
    conditional: options.FormerFlag = False,
) -> None:
    """Learn the distribution of a data set; the result is a run folder.

    Parameters
    ----------
    data
        mnist, fashion-mnist or digits; a .csv or .parquet table; an .idx[.gz], .npy or .npz file; or a folder of
        images, of .npy shards or of .parquet files.
    out
        the run folder to make.
    recipe
        a recipe's name or a TOML file; by default what suits the data.
    given
        what the model is told of every row, label or columns: it learns p(x | label) or p(x | columns), not p(x).
    epochs
        passes over the training rows, instead of the recipe's.
    seed
        of everything random: weights, order, noise, the validation split.
    device
        auto, cpu, cuda or mps.
    precision
        of matrix products: auto takes bfloat16 or TF32 where the machine is made for it, highest is exact.
    set
        section.key=value, as in --set latent.size=16; may be given several times.
    valid
        other data that validates, instead of a sixth of the rows.
    split
        how that sixth is chosen: random, time (the last rows), time:COLUMN or group:COLUMN (whole groups).
    resume
        go on where a run in --out stopped, or was killed.
    minutes
        stop after so many minutes, with what was learned by then.
    save_every
        seconds between saves of the state within an epoch; a killed run loses no more.
    on_disk_full
        stop, or continue without saving until there is space again.
    log
        csv or tensorboard: metrics for other tools, beside metrics.jsonl; may be given several times.
    report
        draw report.html at the end.
    """
    if conditional:
        raise UserError("--conditional is now --given label.")
    size = None if resize is None else parse_size(resize)
    overrides = set if precision == "auto" else [*set, f"train.precision={precision}"]
    asked = {"recipe": recipe, "given": given, "epochs": epochs, "overrides": overrides}
    asked |= {"levels": levels, "layout": layout, "resize": size, "names": names, "schema": schema}
    asked |= {"valid": valid, "split": split}
    asked["keeping"] = Keeping(save_every, math.inf if minutes is None else minutes, on_disk_full, tuple(log))
    try:
        run = fit(data, labels, out=out, seed=seed, device=device, resume=resume, **asked)
    except train.Interrupted as stop:
        again = f"variate fit {data} --out {out} --resume" + (f" --labels {labels}" if labels else "")
        raise train.Interrupted(f"{stop}; go on with: {again}") from None
    if report and is_first():
        from variate.apps.report import report as draw_report  # draws with Matplotlib, which is slow to import

        try:
            say(f"the report is in {draw_report(run, unseen(run, data, labels))}")
        except KeyboardInterrupt:
            what = f"the model in {out} is complete, its report is not drawn; draw it with: variate report {out} {data}"
            raise train.Interrupted(what) from None


def unseen(run: Run, data: str, labels: Path | None) -> Dataset:
    """Rows that the run was not trained on: the test part, where there is one that fits, else the validation rows.

    Labels from a file are those of the training part; a conditional model needs them, or the test part's own.
    """
    if labels is None or not run.conditional:
        try:
            test = load(data, part="test", like=run.schema)
            if test.part == "test" and (test.known is not None or not run.conditional):
                return test
        except UserError:  # there is none, or it is not of the model's kind
            pass
    return load(data, labels, like=run.schema).split(run.info["seed"])[1].under(run.schema)
