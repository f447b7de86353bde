"""Learn the distribution of a data set; the result is a run folder."""

import os
from pathlib import Path
from typing import Annotated

import torch
from cyclopts import Parameter

from variate import checkpoint, config, train
from variate.apps.report import report as draw_report
from variate.checkpoint import Run, RunFolder
from variate.console import say
from variate.data import dataset
from variate.data.dataset import Dataset
from variate.errors import UserError
from variate.files import make_folder

__all__ = ["fit"]

START_ROWS = 1000


def fit(
    data: object,
    labels: object = None,
    *,
    out: str | os.PathLike,
    recipe: str | None = None,
    conditional: bool = False,
    epochs: int | None = None,
    seed: int = 0,
    overrides: list[str] | None = None,
    resume: bool = False,
    device: str = "auto",
) -> Run:
    """Maximise the recipe's bound on the training rows; the weights of the best validation epoch are kept.

    data: a named set ("mnist"), an array (n, d), (n, H, W) or (n, H, W, C), or a ``Dataset``. A seeded sixth of the
    rows is held out for validation; a named set's test part is never opened. ``out`` is the run folder. ``overrides``
    are ``section.key=value`` texts. Raises ``UserError`` for what the caller can mend, ``train.Interrupted`` after
    Ctrl-C, with the state saved so that ``resume`` goes on.
    """
    folder = RunFolder(Path(out))
    whole = dataset.load(data, labels)
    if resume:
        captured, settings, seed = _saved(folder, whole)
        train_rows, valid_rows = whole.split(seed)
        said = recipe is not None or conditional or epochs is not None or overrides
        if said and _settings(train_rows, recipe, conditional, epochs, overrides) != settings:
            raise UserError(f"{folder.path} was made with other settings: --resume needs no options, or the same.")
    else:
        if folder.model.exists() or folder.state.exists():
            raise UserError(f"{folder.path} already holds a run: go on with --resume, or choose another --out.")
        train_rows, valid_rows = whole.split(seed)
        captured, settings = None, _settings(train_rows, recipe, conditional, epochs, overrides)
    trainer = _trainer(settings, train_rows, valid_rows, seed, device)
    if captured is not None:
        trainer.restore(captured)
    make_folder(folder.path)
    say(_announcement(whole, settings, trainer))
    _train(trainer, folder, settings, whole)
    return checkpoint.load(folder.path)


def _settings(
    rows: Dataset, recipe: str | None, conditional: bool, epochs: int | None, overrides: list[str] | None
) -> dict[str, dict]:
    """The whole configuration, with everything that depends on the data decided."""
    settings = config.load_recipe(recipe or config.default_recipe(rows.schema), overrides)
    if conditional:
        settings["context"]["name"] = "label"
    if epochs is not None:
        settings["train"] |= {"epochs": epochs, "least_steps": 0}
    return config.resolve(settings, rows)


def _saved(folder: RunFolder, whole: Dataset) -> tuple[dict, dict[str, dict], int]:
    """(captured state, settings, seed) of the run to go on with."""
    captured, settings, schema = folder.load_state()
    if schema != whole.schema:
        raise UserError(f"{folder.path} learns {schema.describe()}: resume it with the data it was started with.")
    return captured, settings, captured["numbers"]["seed"]


def _trainer(settings: dict, train_rows: Dataset, valid_rows: Dataset, seed: int, device: str) -> train.Trainer:
    model, objective, training = config.build(settings, train_rows.schema, seed)
    model.likelihood.start_at(train_rows.subset(START_ROWS).batch(slice(None)).target)
    name = settings["data"]["binarize"]
    valid_rows = valid_rows.binarized(name)
    if name == "static":  # drawn once and kept
        train_rows, name = train_rows.binarized(name), "none"
    place = _device(device)
    step = train.Step(model, objective).to(place)
    return train.Trainer(step, training, train_rows.to(place), valid_rows.to(place), seed, name)


def _device(name: str) -> torch.device:
    """ "auto" is the GPU if there is one."""
    try:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):  # torch's ways to say that a device is unknown or absent
        raise UserError(f"--device {name} is not to be had here: use auto, cpu or cuda.") from None
    return device


def _announcement(whole: Dataset, settings: dict, trainer: train.Trainer) -> str:
    weights = sum(p.numel() for p in trainer.parameters)
    likelihood, objective = settings["likelihood"]["name"], settings["objective"]["name"]
    return (
        f"{whole.name}: {len(trainer.train_data):,} rows to train on, {len(trainer.valid_data):,} to validate, "
        f"{whole.schema.describe()}\n"
        f"{settings['encoder']['name']} encoder, {settings['decoder']['name']} decoder, {weights:,} weights; "
        f"{settings['latent']['size']} latents; likelihood {likelihood}; objective {objective}"
    )


def _train(trainer: train.Trainer, folder: RunFolder, settings: dict, whole: Dataset) -> None:
    records = [r for r in folder.read_metrics() if r["step"] <= trainer.step]

    def save_state() -> None:
        captured = trainer.capture()
        captured["numbers"]["seed"] = trainer.seed
        folder.save_state(captured, settings, whole.schema)

    for record in trainer.epochs(save_state):
        records.append(record)
        say(_line(record, trainer, whole))
        if record.get("improved"):
            info = {"bound": trainer.best, "data": whole.name, "seed": trainer.seed}
            info |= {"epoch": trainer.best_epoch, "step": trainer.step}
            checkpoint.save_model(folder.model, trainer.average, trainer.train_data.schema, settings, info)
        save_state()
        folder.write_metrics(records)


def _line(record: dict, trainer: train.Trainer, whole: Dataset) -> str:
    if "event" in record:
        return f"non-finite gradients: back to step {record['step']}, learning rate {record['learning_rate']:.2g}"
    shown = [f"epoch {record['epoch']}/{trainer.total_epochs}"]
    for part in ("train", "validation"):
        if "elbo_nats" in record[part]:
            nats, bits = record[part]["elbo_nats"], record[part]["elbo_bits_per_dim"]
            shown.append(f"{part} ELBO {nats:.2f} nats = {bits:.4f} bits/dim")
        else:
            shown.append(f"{part} squared error {record[part]['squared_error'] / whole.schema.size:.5f} per dim")
    shown.append(f"{record['seconds']:.0f} s")
    return ", ".join(shown)


def command(
    data: str,
    *,
    out: Path,
    recipe: str | None = None,
    conditional: bool = False,
    epochs: int | None = None,
    seed: int = 0,
    device: str = "auto",
    set: Annotated[list[str], Parameter(negative="")] = [],  # noqa: A002, B006 (cyclopts reads the signature)
    resume: bool = False,
    report: bool = True,
) -> None:
    """Learn the distribution of a data set; the result is a run folder.

    Parameters
    ----------
    data
        a named set: mnist, fashion-mnist or digits.
    out
        the run folder to make.
    recipe
        a recipe's name or a TOML file; by default what suits the data.
    conditional
        learn p(x | label) instead of p(x).
    epochs
        passes over the training rows, instead of the recipe's.
    seed
        of everything random: weights, order, noise, the validation split.
    device
        auto, cpu or cuda.
    set
        section.key=value, as in --set latent.size=16; may be given several times.
    resume
        go on where a run in --out stopped.
    report
        draw report.html at the end.
    """
    asked = {"recipe": recipe, "conditional": conditional, "epochs": epochs, "overrides": set}
    try:
        run = fit(data, out=out, seed=seed, device=device, resume=resume, **asked)
    except train.Interrupted as stop:
        raise train.Interrupted(f"{stop}; go on with: variate fit {data} --out {out} --resume") from None
    if report:
        page = draw_report(run, dataset.load(data, part="test"))
        say(f"the report is in {page}")
