"""What a network reads of a record: any fields, with holes, as one tensor."""

import itertools
import math

import torch
from torch import Tensor, nn

from variate.data.batch import Cells, Record
from variate.data.schema import Field

__all__ = ["Reader", "reader_of"]

ONE_HOT = 32  # levels, up to which a category is shown one by one; more are embedded
FARTHEST = 8.0  # spreads, from which on a number is shown as its logarithm


class Reader(nn.Module):
    """The base of the readers: a record → (B, \\*shape). ``shape``: of what is read, of one row."""

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        self.shape = shape

    def forward(self, record: Record) -> Tensor:
        raise NotImplementedError


class Plain(Reader):
    """The values of one field as they are."""

    def __init__(self, field: Field):
        super().__init__(field.tensor_shape)
        self.name = field.name

    def forward(self, record: Record) -> Tensor:
        return record[self.name].units


class Masked(Reader):
    """The values of one field, 0 where missing, and as many channels again that say where they are observed."""

    def __init__(self, field: Field):
        super().__init__((2 * field.tensor_shape[0], *field.tensor_shape[1:]))
        self.name = field.name

    def forward(self, record: Record) -> Tensor:
        units, observed = record[self.name]
        there = torch.ones_like(units) if observed is None else observed.to(units)
        return torch.cat([units, there], dim=1)


class Columns(Reader):
    """Fields of a table side by side, each shown as suits its kind, and which cells are observed: (B, width)."""

    def __init__(self, fields: tuple[Field, ...]):
        shown = {field.name: SHOWN[field.kind.shown](field) for field in fields}
        super().__init__((sum(part.width for part in shown.values()),))
        self.shown = nn.ModuleDict(shown)

    def forward(self, record: Record) -> Tensor:
        return torch.cat([part(record[name]) for name, part in self.shown.items()], dim=-1)


class _Numbers(nn.Module):
    """u as far as 8 spreads, beyond as its logarithm; 0 where missing, and 1 where it is not: (B, 2C)."""

    def __init__(self, field: Field):
        super().__init__()
        self.width = 2 * field.size

    def forward(self, cells: Cells) -> Tensor:
        return torch.cat([_bounded(cells.units), _there(cells)], dim=-1)


class _Heaped(nn.Module):
    """As numbers, and which of the column's atoms it is: (B, 2C + atoms)."""

    def __init__(self, field: Field):
        super().__init__()
        columns = field.kind.atoms_in_units
        places = [column for column, atoms in enumerate(columns) for _ in atoms]
        self.width = 2 * field.size + len(places)
        self.register_buffer("places", torch.tensor(places, dtype=torch.int64), persistent=False)
        for name, numbers in (
            ("atoms", [atom for atoms in columns for atom in atoms]),
            ("reach", [field.kind.half_widths[column] for column in places]),
        ):
            self.register_buffer(name, torch.tensor(numbers, dtype=torch.float64), persistent=False)

    def forward(self, cells: Cells) -> Tensor:
        there = _there(cells)
        places = self.get_buffer("places")
        far = (cells.units[:, places] - self.get_buffer("atoms").to(cells.units)).abs()
        is_atom = (far < self.get_buffer("reach").to(cells.units)).to(cells.units) * there[:, places]
        return torch.cat([_bounded(cells.units), there, is_atom], dim=-1)


class _Levels(nn.Module):
    """One entry for each level of a category with few of them, an embedding of one with many; zeros where missing."""

    def __init__(self, field: Field):
        super().__init__()
        sizes = list(field.kind.sizes)
        self.few = [column for column, size in enumerate(sizes) if size <= ONE_HOT]
        self.many = [column for column, size in enumerate(sizes) if size > ONE_HOT]
        *starts, self.total = itertools.accumulate(sizes, initial=0)
        kept = [starts[column] + level for column in self.few for level in range(sizes[column])]
        self.register_buffer("starts", torch.tensor(starts, dtype=torch.int64), persistent=False)
        self.register_buffer("kept", torch.tensor(kept, dtype=torch.int64), persistent=False)
        widths = [min(ONE_HOT, 2 + math.isqrt(sizes[column])) for column in self.many]
        self.embedded = nn.ModuleList(
            nn.Embedding(sizes[column] + 1, width, padding_idx=0, dtype=torch.float32)
            for column, width in zip(self.many, widths, strict=True)
        )
        self.width = len(kept) + sum(widths) + len(self.many)

    def forward(self, cells: Cells) -> Tensor:
        there, level = _there(cells), cells.units.round().long()
        shown = there.new_zeros(len(level), self.total)
        shown.scatter_(1, level + self.get_buffer("starts"), there)
        parts = [shown[:, self.get_buffer("kept")]]
        for column, table in zip(self.many, self.embedded, strict=True):
            place = torch.where(there[:, column] > 0, level[:, column] + 1, 0)
            parts += [table(place), there[:, column : column + 1]]
        return torch.cat(parts, dim=-1)


SHOWN = {"numbers": _Numbers, "heaped": _Heaped, "levels": _Levels}


def _bounded(units: Tensor) -> Tensor:
    """u within 8 spreads, ±(8 + log(|u|/8)) beyond."""
    far = units.abs().clamp_min(FARTHEST)
    return units.clamp(-FARTHEST, FARTHEST) + units.sign() * (far / FARTHEST).log()


def _there(cells: Cells) -> Tensor:
    """1 where a cell is observed."""
    return torch.ones_like(cells.units) if cells.observed is None else cells.observed.to(cells.units)


def reader_of(fields: tuple[Field, ...]) -> Reader:
    """What suits these fields: one array is read as it is, a table column by column."""
    first = fields[0]
    if first.at:
        return Columns(fields)
    return Masked(first) if first.missing else Plain(first)
