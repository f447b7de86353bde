"""Conditions on the columns of a table, in model units: which values of a cell they allow."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from variate.base.errors import UserError
from variate.data import columns as framed
from variate.data.columns import Column
from variate.data.conditions import Condition
from variate.data.schema import Field, Schema

__all__ = ["Allowed", "allowed", "told_codes"]

ORDERED = ("real", "binned", "count")  # measures whose values have an order


@dataclass(frozen=True)
class Allowed:
    """The values that a condition allows of one cell, in model units: those ``among`` a few, or in ``low``..``high``.

    ``other``: all but those among. ``open_low``, ``open_high``: whether the ends themselves are not allowed.
    """

    field: str
    place: int
    among: tuple[float, ...] = ()
    other: bool = False
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    half_bin: float = 1e-9  # how far a value may be off one that is meant

    @property
    def only(self) -> float | None:
        """The value, if one alone is allowed."""
        return self.among[0] if len(self.among) == 1 and not self.other else None

    def holds(self, units: Tensor) -> Tensor:
        """Which of the values (…) are allowed."""
        if self.among:
            found = self._is_among(units)
            return ~found if self.other else found
        above = units > self.low + self.half_bin if self.open_low else units >= self.low - self.half_bin
        below = units < self.high - self.half_bin if self.open_high else units <= self.high + self.half_bin
        return above & below

    def within(self, units: Tensor) -> Tensor:
        """The values that are allowed as they are, the others at the nearest that is."""
        if self.among and not self.other:
            choices = units.new_tensor(self.among)
            nearest = choices[(units.unsqueeze(-1) - choices).abs().argmin(-1)]
            return torch.where(self.holds(units), units, nearest)
        return units if self.other else units.clamp(self.low, self.high)

    def log_mass(self, likelihood, parameters: dict[str, Tensor]) -> Tensor:  # noqa: ANN001 (models lie above data)
        """log P(the cell is allowed | z), parameters (n, B, P, …) → (n, B); of one value of a density log p of it."""
        law, numbers = likelihood[self.field], parameters[self.field]
        if self.among:
            log_mass = torch.stack([self._log_prob(law, numbers, value) for value in self.among]).logsumexp(0)
            return torch.log1p(-log_mass.exp().clamp(max=1 - 1e-12)) if self.other else log_mass
        upper = self._cumulative(law, numbers, self.high, self.open_high)
        lower = self._cumulative(law, numbers, self.low, not self.open_low)
        return (upper - lower).clamp_min(0).log()

    def _is_among(self, units: Tensor) -> Tensor:
        return ((units.unsqueeze(-1) - units.new_tensor(self.among)).abs() <= self.half_bin).any(-1)

    def _log_prob(self, law, numbers: Tensor, value: float) -> Tensor:  # noqa: ANN001
        return law.values(numbers).log_prob(self._row(law, numbers, value))[..., self.place].double()

    def _cumulative(self, law, numbers: Tensor, value: float, without: bool) -> Tensor:  # noqa: ANN001
        """P(x ≤ value), or P(x < value) ``without`` it."""
        if math.isinf(value):
            return numbers.new_full(numbers.shape[:2], float(value > 0), dtype=torch.float64)
        found = law.cumulative(numbers, self._row(law, numbers, value))[..., self.place]
        if without and law.field.kind.is_mass:
            found = found - self._log_prob(law, numbers, value).exp()
        return found

    def _row(self, law, numbers: Tensor, value: float) -> Tensor:  # noqa: ANN001
        row = torch.zeros(law.field.size, dtype=numbers.dtype, device=numbers.device)
        row[self.place] = value
        return row


def allowed(conditions: tuple[Condition, ...], schema: Schema) -> list[Allowed]:
    """Conditions on columns that are learned, in model units. Raises ``UserError`` for a value that its column cannot
    have, and for an order among categories."""
    found = []
    for condition in conditions:
        field, place, column = _cell(schema, condition.name)
        values = [_units(field, place, _code(column, value)) for value in condition.values]
        if condition.op not in ("=", "!=", "in") and column.measure not in ORDERED:
            raise UserError(f"--given {condition.name}{condition.op}…: the levels of {condition.name} have no order.")
        found.append(Allowed(field.name, place, **BOUNDS[condition.op](values), half_bin=_half_bin(field, place)))
    return found


def told_codes(conditions: tuple[Condition, ...], schema: Schema) -> Tensor | None:
    """Codes (1, W) of the columns that the model is told of; each needs one value."""
    if not schema.given:
        return None
    codes = torch.full((1, *schema.shape), math.nan, dtype=torch.float64)
    said = {condition.name: condition for condition in conditions}
    for field in schema.given:
        for at in field.at:
            name = schema.code_names[at]
            if name not in said or said[name].op != "=":
                raise UserError(f"the model is told of {name}: say which value it has, as in --given {name}=….")
            codes[0, at] = _code(_column(schema, name), said[name].values[0])
    return codes


BOUNDS = {
    "=": lambda values: {"among": tuple(values)},
    "in": lambda values: {"among": tuple(values)},
    "!=": lambda values: {"among": tuple(values), "other": True},
    "<": lambda values: {"high": values[0], "open_high": True},
    "<=": lambda values: {"high": values[0]},
    ">": lambda values: {"low": values[0], "open_low": True},
    ">=": lambda values: {"low": values[0]},
    "..": lambda values: {"low": values[0], "high": values[1]},
}


def _column(schema: Schema, name: str) -> Column:
    return next(column for column in schema.table if column.name == name)


def _cell(schema: Schema, name: str) -> tuple[Field, int, Column]:
    at = schema.code_names.index(name)
    field = next(field for field in schema.fields if at in field.at)
    return field, field.at.index(at), _column(schema, name)


def _code(column: Column, value: object) -> float:
    """The code of a value as people write it."""
    return framed.code_of(column, value)


def _units(field: Field, place: int, code: float) -> float:
    raw = torch.zeros(1, field.size, dtype=torch.float64)
    raw[0, place] = code
    return float(field.to_tensor(raw, torch.float64)[0, place])


def _half_bin(field: Field, place: int) -> float:
    """A tenth of the distance between values, in model units."""
    steps = getattr(field.kind, "half_widths", None)
    return 1e-9 if steps is None else 0.2 * float(steps[place])
