"""The law of categories: one of K_i levels for every column i, whose K_i differ."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from variate.models.laws.tails import lower_and_upper, whole

__all__ = ["Categories", "Ragged"]


class Ragged(NamedTuple):
    """Where numbers for every level of every column lie in one row of S numbers.

    Columns of about as many levels lie side by side in a group, each with as many places as the widest of them: a
    group is a plain tensor, and S is below twice the number of levels, however much their numbers differ.
    """

    groups: tuple[tuple[int, int], ...]  # (columns, places of each)
    order: Tensor  # (C,): where each column stands in the groups one after the other
    first: Tensor  # (C,): the place of each column's level 0
    sizes: Tensor  # (C,)
    padding: Tensor  # (S,): −∞ at places of no level, else 0

    @classmethod
    def of(cls, sizes: tuple[int, ...]) -> "Ragged":
        """
        >>> Ragged.of((2, 5, 2)).groups, Ragged.of((2, 5, 2)).first.tolist()
        (((2, 2), (1, 5)), [0, 4, 2])
        """
        groups: dict[int, list[int]] = {}
        for column in sorted(range(len(sizes)), key=lambda column: sizes[column]):
            groups.setdefault((sizes[column] - 1).bit_length(), []).append(column)
        widths = [max(sizes[column] for column in columns) for columns in groups.values()]
        first, padding = [0] * len(sizes), []
        for columns, width in zip(groups.values(), widths, strict=True):
            for column in columns:
                first[column] = len(padding)
                padding += [0.0] * sizes[column] + [-torch.inf] * (width - sizes[column])
        return cls(
            tuple((len(columns), width) for columns, width in zip(groups.values(), widths, strict=True)),
            torch.tensor([column for columns in groups.values() for column in columns]).argsort(),
            torch.tensor(first),
            torch.tensor(sizes),
            torch.tensor(padding, dtype=torch.float32),
        )

    def grouped(self, row: Tensor) -> list[Tensor]:
        """(…, S) → (…, columns, places) of every group."""
        parts = row.split([columns * width for columns, width in self.groups], -1)
        return [part.unflatten(-1, group) for part, group in zip(parts, self.groups, strict=True)]

    def in_order(self, parts: list[Tensor]) -> Tensor:
        """(…, columns) of every group → (…, C), the columns in their own order."""
        return torch.cat(parts, -1).index_select(-1, self.order)


class Categories(Distribution):
    """P(x_i = k) = softmax of the logits of column i at k; logits (…, S) as ``layout`` says, batch shape (…, C).

    Whatever is no level has probability 0.

    >>> law = Categories(torch.zeros(9), Ragged.of((2, 5, 2)))
    >>> [round(p, 4) for p in law.log_prob(torch.tensor([1.0, 4.0, 2.0])).exp().tolist()]
    [0.5, 0.2, 0.0]
    """

    arg_constraints = {}  # pyright: ignore[reportAssignmentType]

    def __init__(self, logits: Tensor, layout: Ragged):
        self.logits, self.layout = logits + layout.padding, layout
        super().__init__((*logits.shape[:-1], len(layout.order)), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        layout = self.layout
        level = value.detach().round()
        there = (level >= 0) & (level < layout.sizes)
        place = torch.where(there, level, 0).long() + layout.first
        norm = layout.in_order([part.logsumexp(-1) for part in layout.grouped(self.logits)])
        shape = np.broadcast_shapes(norm.shape, place.shape)
        chosen = self.logits.expand(*shape[:-1], -1).gather(-1, place.expand(shape))
        return (chosen - norm).masked_fill(~there, -torch.inf)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008 (torch's own signature)
        like = self.logits.expand(*sample_shape, *self.logits.shape)
        return self._largest(like - torch.empty_like(like).exponential_().clamp_min(1e-30).log())

    @property
    def mode(self) -> Tensor:
        """The most probable level of every column."""
        return self._largest(self.logits)

    def _largest(self, numbers: Tensor) -> Tensor:
        best = self.layout.in_order([part.argmax(-1) for part in self.layout.grouped(numbers)])
        return best.to(numbers.dtype)


@lower_and_upper.register(Categories)
def _tails(law: Categories, value: Tensor) -> tuple[Tensor, Tensor]:
    """Running sums of the masses from either end."""
    layout, level = law.layout, whole(value)
    masses = [part.softmax(-1) for part in layout.grouped(law.logits.double())]
    upto = torch.cat([part.cumsum(-1).flatten(-2) for part in masses], -1)
    from_on = torch.cat([part.flip(-1).cumsum(-1).flip(-1).flatten(-2) for part in masses], -1)
    here, above = (level.clamp_min(0) + shift for shift in (0, 1))
    before, after = level < 0, level >= layout.sizes - 1

    def at(table: Tensor, place: Tensor) -> Tensor:
        inside = torch.minimum(place, layout.sizes - 1).long() + layout.first
        return table.expand(*value.shape[:-1], -1).gather(-1, inside).clamp(max=1)

    lower = at(upto, here).masked_fill(before, 0.0).masked_fill(after, 1.0)
    return lower, at(from_on, above).masked_fill(before, 1.0).masked_fill(after, 0.0)
