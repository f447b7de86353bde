"""Say what something is: a run, a model file, a data set, a folder of images."""

import json
import os
from pathlib import Path

from variate import options
from variate.apps.fit import parse_size
from variate.base.console import say
from variate.base.errors import UserError
from variate.base.files import check_writeable, write_atomic
from variate.data import named
from variate.data.columns import describe, to_toml
from variate.data.dataset import Dataset
from variate.data.load import load
from variate.data.schema import Schema
from variate.results import checkpoint
from variate.results.checkpoint import Run

__all__ = ["info"]


def info(
    thing: object,
    labels: object = None,
    *,
    levels: int | None = None,
    layout: str | None = None,
    resize: tuple[int, int] | None = None,
    names: object = None,
    schema: str | os.PathLike | None = None,
) -> dict:
    """What a run, or a data set, knows of itself.

    A ``Run``: data, schema, configuration, number of weights, where training stood. Anything that ``fit`` takes as
    data: what ``fit`` would take it for, with the same ``labels``, ``levels``, ``layout``, ``resize``, ``names`` and
    ``schema``: its schema, its number of rows and how many of them each class has. Raises ``UserError`` for what
    ``fit`` would refuse.
    """
    if isinstance(thing, Run):
        return _of_run(thing)
    read = {"levels": levels, "layout": layout, "resize": resize, "names": names, "schema": schema}
    return _of_data(load(thing, labels, **read))


def _of_run(run: Run) -> dict:
    weights = sum(p.numel() for p in run.model.parameters())
    return {
        "path": str(run.path),
        "format": run.format,
        "weights": weights,
        **run.info,
        "schema": run.schema.to_json(),
        "config": run.config,
    }


def _of_data(rows: Dataset) -> dict:
    known = {"data": rows.name, "part": rows.part, "rows": len(rows), "schema": rows.schema.to_json()}
    if rows.labels is not None and rows.schema.class_counts:
        known["classes"] = dict(zip(rows.schema.class_names, rows.schema.class_counts, strict=True))
        known["without_label"] = int((rows.labels < 0).sum())
    if rows.schema.table:
        known["columns"] = {column.name: describe(column).partition(": ")[2] for column in rows.schema.table}
    return known


def command(
    thing: str,
    *,
    labels: options.LabelFile = None,
    levels: options.Levels = None,
    layout: options.Layout = None,
    resize: options.Size = None,
    names: options.Names = None,
    schema: options.SchemaFile = None,
    out: Path | None = None,
    json_: options.AsJson = False,
) -> None:
    """Say what something is: a run, a model file, a data set, a folder of images.

    Parameters
    ----------
    thing
        a run's folder or model file; or data: a named set, a file, a table or a folder of images.
    out
        of a table: a .toml file that says what its columns are, to be edited and given to fit as --schema.
    """
    if _is_run(thing):
        found = checkpoint.load(thing)
    else:
        size = None if resize is None else parse_size(resize)
        found = load(thing, labels, levels=levels, layout=layout, resize=size, names=names, schema=schema)
    known = info(found)
    if out is not None:
        _write_schema(out, found.schema)
    if json_:
        print(json.dumps(dict(sorted(known.items()))))  # classes stay in their order
    else:
        print("\n".join(_run_lines(known, found) if isinstance(found, Run) else _data_lines(known, found)))


def _write_schema(out: Path, schema: Schema) -> None:
    if not schema.table or out.suffix != ".toml":
        raise UserError(f"--out {out}: what a table's columns are is written as a .toml file, and of tables alone.")
    check_writeable(out)
    write_atomic(out, to_toml(schema.table).encode())
    say(f"what the columns are is in {out}")


def _is_run(thing: str) -> bool:
    """Whether a text names a model rather than data."""
    path = Path(thing)
    if thing.partition(":")[0] in named.names():
        return False
    if path.is_dir():  # a folder with a state but no model was stopped early: the error says so
        return any((path / name).exists() for name in ("model.safetensors", "state", "metrics.jsonl"))
    return path.suffix == ".safetensors"


def _run_lines(known: dict, run: Run) -> list[str]:
    lines = [
        f"{known['path']}: model format {known['format']}, {known['weights']:,} weights",
        f"data: {known['data']}, {run.schema.describe()}",
        *map(describe, run.schema.table),
        f"trained for {known['epoch']} epochs ({known['step']:,} steps), seed {known['seed']}",
    ]
    for section, values in run.config.items():
        lines.append(f"{section}: " + ", ".join(f"{key} = {value}" for key, value in values.items()))
    return lines


def _data_lines(known: dict, rows: Dataset) -> list[str]:
    part = "" if known["part"] == "all" else f":{known['part']}"
    lines = [f"{known['data']}{part}: {known['rows']:,} rows of {rows.schema.describe()}"]
    lines += map(describe, rows.schema.table)
    if "classes" in known:
        counts = [f"{name} {count:,}" for name, count in list(known["classes"].items())[:20]]
        lines.append("rows of each class: " + ", ".join(counts) + (", …" if len(known["classes"]) > 20 else ""))
        if known["without_label"]:
            lines.append(f"rows without a label: {known['without_label']:,}")
    return lines
