"""A table's rows and as many that the model makes up, code by code: what its sections compare."""

from typing import NamedTuple

import numpy as np
import torch

from variate.data.columns import Column
from variate.data.dataset import Dataset
from variate.results import inference
from variate.results.checkpoint import Run

__all__ = ["MOST", "Sides", "both"]

ROWS = 5000
MOST = 24  # columns that are drawn


class Sides(NamedTuple):
    """Codes (n, W) of rows and of samples, NaN where a cell is missing, of these columns."""

    data: np.ndarray
    drawn: np.ndarray
    columns: tuple[Column, ...]

    def column(self, place: int) -> tuple[np.ndarray, np.ndarray]:
        """The cells of one column that are there, on both sides."""
        data, drawn = self.data[:, place], self.drawn[:, place]
        return data[~np.isnan(data)], drawn[~np.isnan(drawn)]


def both(run: Run, rows: Dataset) -> Sides:
    """A fixed subset of the rows, and as many samples: the strength of an association grows where rows are few.

    A model that is given columns is told those of the same rows, in turn.
    """
    codes = rows.subset(ROWS).some().values
    drawn = inference.sample(run, len(codes), torch.from_numpy(codes.numpy()) if run.conditional else None)
    learned = tuple(column for column in run.schema.table if column.is_learned)
    return Sides(codes.numpy(), drawn, learned)
