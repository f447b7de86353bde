"""Vectors, column by column: which of many columns are shown, and what is drawn of them."""

import numpy as np
from torch import Tensor

from variate.data.dataset import Dataset
from variate.data.schema import Schema
from variate.results import inference
from variate.show import pictures
from variate.show.page import charts
from variate.show.page.findings import Findings
from variate.show.page.given import for_lines
from variate.show.page.parts import Picture

__all__ = ["draws", "reconstructions"]

ROWS, MOST = 2000, 12
MOST_DIFFERENT = 30  # whole numbers in a column, up to which their dots are spread


def _chosen(values: np.ndarray) -> tuple[list[int], str]:
    """The columns that are shown, and a sentence where they are not all."""
    count = values.shape[1]
    if count <= MOST:
        return list(range(count)), ""
    order = np.argsort(-values.var(0), kind="stable")
    return sorted(order[:MOST].tolist()), f" Of {count:,} columns the {MOST} that vary most over these rows."


def _table(rows: Dataset) -> np.ndarray:
    return rows.values.numpy().astype(np.float64)


def draws(found: Findings) -> Picture:
    """Histograms of the data and of as many draws from the model."""
    data = _table(found.rows.some())
    chosen, which = _chosen(data)
    given = for_lines(found, ROWS)
    context, told = given.context, ""
    if found.run.labelled:
        context, told = None, ", the label drawn by its frequency in the training rows"
    elif context is not None:
        context = context.repeat(-(-ROWS // len(context)), 1)[:ROWS]
        told = f", told the known columns of the first {len(given.names):,} {found.which}rows in turn"
    drawn = inference.sample(found.run, ROWS, context).astype(np.float64)
    names = [f"x[{column}]" for column in chosen]
    chart = pictures.both(charts.histograms, data[:, chosen], drawn[:, chosen], names)
    what = "means decoded from the prior" if found.run.deterministic else "draws from the model"
    caption = f"{ROWS:,} {what}{told}, against the {len(data):,} {found.which}rows.{which}"
    return Picture("samples", "Each column by itself.", caption, *chart, wide=charts.is_wide(len(chosen)))


def reconstructions(found: Findings) -> Picture:
    """The rows against their copies."""
    rows = found.rows.some().subset(ROWS)
    data = _table(rows)
    chosen, which = _chosen(data)
    copies = _raw(inference.reconstruction_units(found.run, rows), found.run.schema)
    shown, spread = _spread(data[:, chosen], found.run.schema)
    names = [f"x[{column}]" for column in chosen]
    chart = pictures.both(charts.against, shown, copies[:, chosen], names)
    caption = f"{len(rows):,} {found.which}rows, each decoded from its {found.code}; on the line both agree.{spread}"
    return Picture("reconstructions", "Each column.", caption + which, *chart, wide=charts.is_wide(len(chosen)))


def _raw(units: Tensor, schema: Schema) -> np.ndarray:
    """Model units → raw ones, not rounded to whole levels."""
    exact = units.double().numpy()
    if schema.x.kind.levels is not None:
        return exact * ((schema.x.kind.levels - 1) / schema.x.kind.divisor)
    return exact * schema.x.kind.scale + schema.x.kind.offset


def _spread(data: np.ndarray, schema: Schema) -> tuple[np.ndarray, str]:
    """Columns of few whole numbers with their dots moved a little to the sides, and a sentence that says so."""
    step = 1 / schema.x.kind.divisor
    if not schema.x.kind.is_mass or np.ptp(data) > MOST_DIFFERENT * step:
        return data, ""
    moved = data + 0.3 * step * np.random.default_rng(0).uniform(-1, 1, data.shape)
    return moved, " Dots are spread to the sides, so that those of one value are seen."
