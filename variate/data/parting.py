"""Which rows validate: a seeded sixth, the last ones in time, or whole groups, as ``train.split`` says.

Rows that resemble training rows because they were measured next to them, or on the same patient, would make a model
look better than it is on new days and new patients.
"""

import numpy as np
import torch
from torch import Tensor

from variate import noise
from variate.base.errors import UserError, suggest
from variate.data.schema import LABEL, Schema

__all__ = ["check_split", "held_out"]

VALIDATION_SHARE = 1 / 6  # 10,000 of MNIST's 60,000 training rows
WAYS = ("random", "time", "time:COLUMN", "group:COLUMN", "group:label")


def check_split(split: str) -> None:
    """That it is one of the ways."""
    way, _, column = split.partition(":")
    if way not in ("random", "time", "group") or (way == "random" and column) or (way == "group" and not column):
        raise UserError(f"--split {split!r} is not one of {', '.join(WAYS)}{suggest(split, WAYS)}.")


def held_out(n: int, seed: int, split: str, schema: Schema, values: Tensor, labels: Tensor | None) -> Tensor:
    """The validation rows of n: (m,) int64 in their order.

    "random": a seeded sixth, of those without a label where some have none. "time": the last sixth in the rows' order;
    "time:COLUMN" in that of a table's column, rows without a time last. "group:COLUMN": whole groups of rows that have
    the same value there, "group:label" the same label, in a seeded order until they are a sixth.
    """
    check_split(split)
    count, (way, _, column) = max(1, round(n * VALIDATION_SHARE)), split.partition(":")
    if way == "random":
        return _seeded(n, seed, count, labels)
    if way == "time":
        order = torch.arange(n) if not column else torch.from_numpy(_by_time(_column(schema, values, column)))
        return order[n - count :].sort().values
    of = labels if column == LABEL and labels is not None else _column(schema, values, column)
    return _groups(torch.as_tensor(of), seed, count, column)


def _seeded(n: int, seed: int, count: int, labels: Tensor | None) -> Tensor:
    order = noise.permutation(seed, "split", n=n)
    if labels is not None and bool((labels < 0).any()):  # the few labels are to be learned from
        order = torch.cat([order[labels[order] < 0], order[labels[order] >= 0]])
    return order[:count].sort().values


def _column(schema: Schema, values: Tensor, name: str) -> np.ndarray:
    names = schema.code_names
    if name not in names:
        left_out = any(column.name == name for column in schema.table)
        why = "is left out or constant" if left_out else f"is no column of the data{suggest(name, names)}"
        raise UserError(f"--split …:{name}: {name} {why}; name one that is learned.")
    return values[:, names.index(name)].cpu().numpy()


def _by_time(times: np.ndarray) -> np.ndarray:
    return np.argsort(np.where(np.isnan(times), np.inf, times), kind="stable")


def _groups(of: Tensor, seed: int, count: int, name: str) -> Tensor:
    """Whole groups; a row without a value is a group of its own."""
    found, group = np.unique(of.double().cpu().numpy(), return_inverse=True, equal_nan=False)
    if len(found) < 2:
        raise UserError(f"--split group:{name}: all rows are of one group, and none would be left to validate.")
    sizes = np.bincount(group, minlength=len(found))
    order = noise.permutation(seed, "split groups", n=len(found)).numpy()
    enough = int(np.searchsorted(sizes[order].cumsum(), count)) + 1
    chosen = np.isin(group, order[: min(enough, len(found) - 1)])
    return torch.from_numpy(np.flatnonzero(chosen))
