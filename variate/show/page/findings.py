"""Everything that is measured for a page, once."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from variate.apps.evaluate import compare, evaluate
from variate.base.errors import UserError
from variate.data import named
from variate.data.dataset import Dataset
from variate.data.load import load
from variate.results import estimate, inference
from variate.results.checkpoint import Run
from variate.results.folder import RunFolder
from variate.show.page.gallery import Gallery
from variate.show.page.panels import Panels
from variate.show.page.sheets import Sheets
from variate.show.page.sides import Sides, both

__all__ = ["BASELINE_ROWS", "EVALUATION_SEED", "Findings", "look"]

DOTS = 5000
SPAN_VALUES = 2_000_000  # of a subset of the rows, which say from where to where values are drawn
BASELINE_ROWS = 10_000  # training rows that the baselines are fitted to: seconds instead of minutes
EVALUATION_SEED = 0
PARTS = {"test": "test ", "validation": "validation ", "train": "training "}


@dataclass(frozen=True)
class Findings:
    """``rows``: what the model is applied to. ``codes``: the posterior means of ``seen``, a fixed subset of them."""

    run: Run
    rows: Dataset
    figures: dict
    baselines: dict[str, float]
    records: list[dict]
    seen: Dataset
    codes: Tensor
    active: np.ndarray

    @cached_property
    def gallery(self) -> Gallery | None:
        """How rows are shown; ``None`` for vectors, which are shown column by column."""
        schema = self.run.schema
        if not schema.x.axes.spatial:
            return None
        some = self.rows.some().subset(-(-SPAN_VALUES // schema.x.size)).values.numpy()
        if schema.x.axes.spatial > 1:
            return Sheets(schema, some)
        return Panels(schema, some, np.concatenate([self.spread(count).values.numpy() for count in (6, 12)]))

    @cached_property
    def sides(self) -> Sides | None:
        """Rows of a table and samples; ``None`` for what is no table."""
        return both(self.run, self.rows) if self.run.schema.table else None

    @cached_property
    def missing(self) -> np.ndarray:
        """The share of a table's rows without a cell, (W,)."""
        return np.isnan(self.rows.some().values.numpy()).mean(0)

    def spread(self, count: int) -> Dataset:
        """So many of the rows, from the first to the last: folders and tables may be sorted."""
        places = torch.linspace(0, len(self.rows) - 1, min(count, len(self.rows)), dtype=torch.float32).round().long()
        return self.rows.rows(places)

    @property
    def units(self) -> tuple[int, ...]:
        """The two latent units that say most, or the one: by their KL, or by their variance where there is no KL."""
        says = np.array(self.figures.get("unit_nats") or self.codes.var(0, correction=0).tolist())
        return tuple(np.argsort(-says, kind="stable")[:2].tolist())

    @property
    def which(self) -> str:
        """ "test " in front of rows, where they are a test part."""
        return PARTS.get(self.rows.part, "")

    @property
    def code(self) -> str:
        """What a row's embedding is called."""
        return "code" if self.run.deterministic else "posterior mean"

    @property
    def told(self) -> str:
        """What a conditional model knows of every row."""
        return "label" if self.run.labelled else "known columns"


def look(run: Run, rows: Dataset, samples: int, estimated: int | None) -> Findings:
    """``estimated``: how many of the rows get a log p(x), by so many ``samples``."""
    figures = evaluate(run, rows, samples=samples, rows=estimated, seed=EVALUATION_SEED)
    seen = rows.subset(DOTS)
    codes = inference.code_means(run, seen)
    active = np.ones(codes.shape[1], bool) if run.deterministic else estimate.active_units(run, rows)
    baselines = _baselines(run, rows if run.deterministic else rows.subset(estimated))
    return Findings(run, rows, figures, baselines, RunFolder.of(run).read_metrics(), seen, codes, active)


def _baselines(run: Run, rows: Dataset) -> dict[str, float]:
    """``compare`` on a subset of the training rows; nothing where a name is not enough to load them again."""
    if run.info["data"] not in named.names():
        return {}
    whole = replace(load(run.info["data"]), labels=None)  # its labels may be others than the model's
    try:
        train, _ = whole.under(run.schema).split(run.info["seed"])
    except UserError:  # a user's own folder of the same name
        return {}
    return compare(run, train.subset(BASELINE_ROWS), rows)
