"""One batch, as every model sees it: records, each the cells of some fields."""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Batch", "Cells", "Record"]


class Cells(NamedTuple):
    """Values of one field: ``units`` (B, \\*tensor_shape) in model units, 0 where a cell is missing; ``observed``, bool
    like them, False there, ``None`` where all cells are known."""

    units: Tensor
    observed: Tensor | None = None

    def choose(self, index: Tensor | slice) -> "Cells":
        """Some of the rows."""
        return Cells(self.units[index], None if self.observed is None else self.observed[index])

    def to(self, dtype: torch.dtype) -> "Cells":
        """Floats in another precision; what is counted stays exact."""
        return self._replace(units=self.units.to(dtype) if self.units.is_floating_point() else self.units)

    @property
    def holes(self) -> Tensor:
        """The units, NaN where a cell is missing."""
        return self.units if self.observed is None else self.units.masked_fill(~self.observed, torch.nan)


Record = dict[str, Cells]  # field name → cells


class Batch(NamedTuple):
    """B rows: what the encoder reads, what the likelihood scores, and what the model is told besides.

    input, target: records; they differ in denoising, where cells are hidden, or in translation. given: the record of
    what is known of every row; ``None`` without it. weight: (B,), how much each row counts in the loss (0 pads a last
    batch); ``None`` for ones.

    >>> Batch.of(torch.zeros(5, 2)).rows
    5
    """

    input: Record
    target: Record
    given: Record | None = None
    weight: Tensor | None = None

    @classmethod
    def of(cls, x: Tensor, given: Record | None = None) -> "Batch":
        """Rows (B, …) of the one field "x", which are to be read and explained."""
        record = {"x": Cells(x)}
        return cls(record, record, given)

    @property
    def rows(self) -> int:
        return len(next(iter(self.target.values())).units)

    def choose(self, index: Tensor | slice) -> "Batch":
        """Some of the rows."""

        def chosen(record: Record) -> Record:
            return {name: cells.choose(index) for name, cells in record.items()}

        given = None if self.given is None else chosen(self.given)
        weight = None if self.weight is None else self.weight[index]
        return Batch(chosen(self.input), chosen(self.target), given, weight)

    def to(self, dtype: torch.dtype) -> "Batch":
        """The same rows in another precision; what is counted stays exact."""

        def changed(record: Record) -> Record:
            return {name: cells.to(dtype) for name, cells in record.items()}

        given = None if self.given is None else changed(self.given)
        weight = None if self.weight is None else self.weight.to(dtype)
        return Batch(changed(self.input), changed(self.target), given, weight)
