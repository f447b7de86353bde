"""The measures that columns of a table have, and the kind that each learns from training rows' codes.

A new measure is an entry here, its kind in ``kinds`` and a likelihood that covers it.
"""

from collections.abc import Callable

import numpy as np

from variate.base.errors import UserError
from variate.data.columns import Column, atoms
from variate.data.kinds import Binned, Categories, Counts, Kind, Reals, spread_or_one
from variate.data.schema import Field, Schema

__all__ = ["MEASURES", "table_schema"]

GIVEN = "given_"  # before the names of fields that the model is told of


def table_schema(values: np.ndarray, columns: tuple[Column, ...], given: frozenset[str] = frozenset()) -> Schema:
    """The fields of a table, with what their kinds learn from training rows' codes (n, W)."""
    learned = [column for column in columns if column.is_learned]
    if not learned:
        raise UserError("every column is left out or has one value everywhere: there is nothing to learn.")
    fields = []
    for told, prefix in ((False, ""), (True, GIVEN)):
        for measure, kind in MEASURES.items():
            at = [place for place, column in enumerate(learned) if column.measure == measure]
            at = tuple(place for place in at if (learned[place].name in given) == told)
            if at:
                found = kind(values[:, list(at)], [learned[place] for place in at])
                field = Field(found, (len(at),), "float64", "F", prefix + measure, at=at, missing=True, given=told)
                fields.append(field)
    return Schema(tuple(fields), columns)


def _reals(values: np.ndarray, columns: list[Column]) -> Kind:
    return Reals(*_standardisation(values))


def _binned(values: np.ndarray, columns: list[Column]) -> Kind:
    offset, scale = _standardisation(values)
    steps = tuple(float(column.step) for column in columns)
    return Binned(offset, scale, steps, tuple(atoms(column[~np.isnan(column)]) for column in values.T))


def _counts(values: np.ndarray, columns: list[Column]) -> Kind:
    return Counts((0.0,), _standardisation(values)[1])


def _categories(values: np.ndarray, columns: list[Column]) -> Kind:
    return Categories(tuple(len(column.levels) for column in columns))


MEASURES: dict[str, Callable[[np.ndarray, list[Column]], Kind]] = {
    "real": _reals,
    "binned": _binned,
    "count": _counts,
    "category": _categories,
}


def _standardisation(values: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, standard deviation) of every column's known cells; 0 and 1 of none, and a spread of 1 of a constant."""
    means, spreads = [], []
    for column in values.T:
        known = column[~np.isnan(column)]
        middle = float(known.mean()) if len(known) else 0.0
        means.append(middle)
        spreads.append(float(np.sqrt(np.mean((known - middle) ** 2))) if len(known) else 1.0)
    return tuple(means), spread_or_one(tuple(spreads))
