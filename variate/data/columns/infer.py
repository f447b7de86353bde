"""What the columns of a frame are, from its training rows alone, and from what a user says of them."""

import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from variate.base.errors import UserError, suggest
from variate.data.columns.coding import codes_of, inside
from variate.data.columns.column import EXACT, LEVELS_OF, LONGEST_NAME, MOST_COLUMNS, MOST_LEVELS, Column, units
from variate.data.columns.dtypes import family, text
from variate.data.columns.grids import decimal_step, finest_step, lies_on
from variate.data.columns.wishes import check_wishes

__all__ = ["atoms", "infer_columns"]

REPEATS = 0.01  # more than this part of the cells repeats another's value: masses rather than a density
WHOLE_FROM = 20  # floats that are all whole numbers are taken for such from so many cells on
FARTHEST = 1 << 120  # whole numbers beyond are left out
_COUNTS = {"largest": 1000, "mean": 50, "dispersion": 0.7, "commonest": 0.6}
_IDENTIFIER = re.compile(r"(^|[\s_.-])(?i:id|idx|index|key|uuid|guid|row ?number)$|[a-z](Id|ID)$")
Wish = Mapping[str, Any]


def infer_columns(frame: pl.DataFrame, said: Mapping[str, Wish] | None = None) -> tuple[Column, ...]:
    """One ``Column`` for every column of the frame, in its order; missing cells tell nothing.

    ``said``: what a user says of columns by name, any of ``measure``, ``step`` and ``levels`` (``from_toml``).
    ``UserError`` for wishes that the cells contradict, infinity and numbers beyond 1e300.

    >>> infer_columns(pl.DataFrame({"of": ["b", "a", "b"], "price": [0.5, 0.5, 2.25]}))[1].step
    0.25
    """
    said = said or {}
    if not len(frame):
        raise UserError("the table has no rows: give some to learn from.")
    if frame.width > MOST_COLUMNS:
        raise UserError(f"the table has {frame.width:,} columns: give at most {MOST_COLUMNS:,}.")
    if long := next((name for name in frame.columns if len(name) > LONGEST_NAME), None):
        raise UserError(f"the name of column {long[:20]!r}… has {len(long):,} letters: give at most {LONGEST_NAME:,}.")
    if unknown := next((name for name in said if name not in frame.columns), None):
        raise UserError(
            f"the schema speaks of column {unknown!r}, which the table has not{suggest(unknown, frame.columns)}: "
            "correct the name or remove it."
        )
    check_wishes(said)
    return tuple(_column(frame[name], said.get(name, {})) for name in frame.columns)


def atoms(codes: np.ndarray, most: int = 16) -> tuple[float, ...]:
    """The codes (n,) where values heap up: those of at least max(10, n / 200) cells, the most frequent first.

    All different codes, if there are at most 16 in at least 20 cells.

    >>> atoms(np.r_[np.zeros(60), np.linspace(1, 2, 40), np.full(20, 5.0)])
    (0.0, 5.0)
    """
    seen = codes[~np.isnan(codes)]
    values, counts = np.unique(seen, return_counts=True)
    few = len(values) <= most and len(seen) >= 20
    heaps = counts >= (1 if few else max(10, 0.005 * len(seen)))
    order = np.argsort(-counts[heaps], kind="stable")[:most]
    return tuple(values[heaps][order].tolist())


def _column(series: pl.Series, wish: Wish) -> Column:
    """The column that its cells, and what is said of it, make of a draft."""
    draft = Column(series.name, text(series.dtype), "left out")
    measure = wish.get("measure") or ("category" if "levels" in wish else "binned" if "step" in wish else None)
    if measure == "left out":
        column = _column(series, {})
        return column if not column.is_learned and column.reason else replace(draft, reason="the schema says so")
    if series.null_count() == len(series):
        return replace(draft, reason="every cell is missing")
    kind = family(series.dtype)
    if not kind:
        return replace(draft, reason=f"cells of the type {str(series.dtype)[:100]} cannot be learned")
    given = inside(series, draft).drop_nulls()
    if not len(given):
        return replace(draft, reason="every cell is missing")
    if given.n_unique() == 1 and len(wish.get("levels", ())) < 2:
        return _constant(draft, given)
    if measure is None:
        return _checked(_RULES[kind](draft, given), series)
    if measure not in _WISHES[kind]:
        can = ", ".join(repr(name) for name in (*_WISHES[kind], "left out"))
        raise UserError(f"column {draft.name!r} of type {draft.dtype} cannot be {measure!r}: say one of {can}.")
    return _checked(_WISHES[kind][measure](draft, given, wish), series)


def _constant(draft: Column, given: pl.Series) -> Column:
    if draft.family == "words" and len(given[0]) > LONGEST_NAME:
        return replace(draft, reason="the same long text in every row")
    return replace(draft, measure="constant", value=given[0])


def _checked(column: Column, series: pl.Series) -> Column:
    """The column with the least and greatest of its codes; making them shows that they can be made."""
    made = None if column.measure == "left out" else codes_of(series, column)
    return column if made is None else replace(column, low=float(np.nanmin(made)), high=float(np.nanmax(made)))


# ---- words and truth values ----


def _words(draft: Column, given: pl.Series) -> Column:
    different, cells = given.n_unique(), len(given)
    if different > MOST_LEVELS:
        return replace(draft, reason=f"its {different:,} levels are more than {MOST_LEVELS:,}")
    if _is_named_identifier(draft, given):
        return replace(draft, reason=IDENTIFIER)
    if draft.family == "words" and _is_text(given):
        return replace(draft, reason=f"{_nearly(given)} has another one: free text")
    if cells >= 50 and different > max(100, cells / 2):
        return replace(draft, reason=f"{_nearly(given)} has another one: an identifier")
    return _category(draft, given, {})


IDENTIFIER = "every row has another one: an identifier"


def _nearly(given: pl.Series) -> str:
    return "every row" if given.n_unique() == len(given) else "nearly every row"


def _is_text(given: pl.Series) -> bool:
    """Whether words are free text: most cells differ, and they are long or have blanks; or longer than any level."""
    lengths = given.str.len_chars()
    differ = len(given) >= 50 and given.n_unique() > max(100, len(given) / 2)
    long = float(lengths.mean()) > 40 or float(given.str.contains(r"\s").mean()) > 0.5  # pyright: ignore
    return differ and long or int(lengths.max()) > LONGEST_NAME  # pyright: ignore[reportArgumentType]


def _is_named_identifier(draft: Column, given: pl.Series) -> bool:
    return len(given) >= 3 and given.n_unique() == len(given) and bool(_IDENTIFIER.search(draft.name))


def _category(draft: Column, given: pl.Series, wish: Wish) -> Column:
    """A category of the levels said, or seen: sorted, those of an Enum in its own order."""
    if draft.family == "float":
        given = _whole_or_refuse(draft, given, "category")
    seen = set(given.unique().to_list())
    levels = tuple(wish.get("levels", ()))
    if not levels:
        own = draft.type.categories.to_list() if isinstance(draft.type, pl.Enum) else sorted(seen)
        levels = tuple(level for level in own if level in seen)
    if len(levels) > MOST_LEVELS:
        raise UserError(f"column {draft.name!r} has {len(levels):,} levels: a category has at most {MOST_LEVELS:,}.")
    wanted = LEVELS_OF[draft.family]
    if wrong := [level for level in levels if type(level) is not wanted]:
        raise UserError(f"column {draft.name!r} of type {draft.dtype} cannot have the level {wrong[0]!r}: correct it.")
    if draft.family == "words" and (long := [level for level in levels if len(level) > LONGEST_NAME]):
        raise UserError(f"column {draft.name!r} has the level {long[0][:20]!r}…, too long a one: leave the column out.")
    if other := sorted(seen - set(levels)):
        raise UserError(
            f"column {draft.name!r} holds {other[0]!r}, which is not among the levels in the schema: add it there."
        )
    return replace(draft, measure="category", levels=levels)


# ---- whole numbers, dates and times, decimals ----


def _whole(draft: Column, given: pl.Series) -> Column:
    ordered = len(given) >= 3 and bool((given.diff().drop_nulls() == _int128(1)).all())
    if ordered or _is_named_identifier(draft, given):
        return replace(draft, reason=IDENTIFIER)
    return _count(draft, given, {}) if _is_count(given) else _steps(draft, given, {})


def _is_count(given: pl.Series) -> bool:
    """Whether whole numbers look like counts: from 0 or 1 on, scattered as Poisson's or more, not mostly one."""
    if not 0 <= given.min() <= 1 or given.max() > _COUNTS["largest"]:  # pyright: ignore
        return False
    numbers = given.cast(pl.Float64).to_numpy()
    commonest = np.unique(numbers, return_counts=True)[1].max() / len(numbers)
    mean, variance = numbers.mean(), numbers.var()
    if mean > _COUNTS["mean"] or variance < _COUNTS["dispersion"] * mean:
        return False
    at_mode = _law_of_counts(mean, variance).pmf(np.arange(_COUNTS["largest"] + 1)).max()
    return bool(commonest <= min(_COUNTS["commonest"], 1.5 * at_mode + 0.05))  # no heap, as of 40 hours a week


def _law_of_counts(mean: float, variance: float) -> Any:
    """The negative binomial, or Poisson, law of this mean and variance."""
    if variance <= mean:
        return stats.poisson(mean)
    return stats.nbinom(mean**2 / (variance - mean), mean / variance)


def _count(draft: Column, given: pl.Series, wish: Wish) -> Column:
    given = _whole_or_refuse(draft, given, "count")
    if given.min() < 0:  # pyright: ignore[reportOptionalOperand]
        raise UserError(f"column {draft.name!r} holds {given.min()}, which is no count: say another measure.")
    return replace(draft, measure="count")


def _steps(draft: Column, given: pl.Series, wish: Wish) -> Column:
    """Whole steps of the coarsest unit that all lie on, from the least of them: binned, or real if so wished."""
    sizes = list(units(draft.type).values()) if draft.family == "time" else [1]
    unit = next(size for size in sizes if bool((given % _int128(size) == _int128(0)).all()))
    base, top = int(given.min()), int(given.max())  # pyright: ignore[reportArgumentType]
    if (top - base) // unit >= EXACT or max(abs(base), abs(top)) >= FARTHEST:
        return replace(draft, reason=f"its {_NAMES[draft.family]} are too far apart to be kept exactly")
    column = replace(draft, base=base, unit=unit, measure=wish.get("measure", "binned"))
    if column.measure == "real":
        return column
    distances = ((given - _int128(base)) // _int128(unit)).cast(pl.Int64).to_numpy()
    said = float(Decimal(repr(wish.get("step", 0))).scaleb(getattr(draft.type, "scale", 0)))  # of decimals in ones
    step = said or float(np.gcd.reduce(distances))
    return replace(column, measure="binned", step=step, grid=bool(np.all(distances % step == 0)))


_NAMES = {"whole": "whole numbers", "float": "whole numbers", "time": "dates or times", "decimal": "decimals"}


# ---- real numbers ----


def _float(draft: Column, given: pl.Series) -> Column:
    whole = _as_whole(given)
    if whole is not None and len(given) >= WHOLE_FROM:
        return _whole(draft, whole)
    repeating = len(given) - given.is_unique().sum()
    return _float_bins(draft, given, {}) if repeating > REPEATS * len(given) else _real(draft, given, {})


def _real(draft: Column, given: pl.Series, wish: Wish) -> Column:
    return replace(draft, measure="real", base=0.0)


def _float_bins(draft: Column, given: pl.Series, wish: Wish) -> Column:
    """Bins of the decimal grid that all values lie on; else of the finest decimal that tells them apart."""
    whole = _as_whole(given)
    if whole is not None and len(given) >= WHOLE_FROM:
        return _steps(draft, whole, wish)
    values = given.to_numpy().astype(draft.dtype.lower())
    step = float(wish.get("step") or 0.0) or decimal_step(values) or finest_step(values.astype(np.float64))
    return replace(draft, measure="binned", base=0.0, step=step, grid=lies_on(values, step))


def _as_whole(given: pl.Series) -> pl.Series | None:
    """Floats as Int128 if all are whole numbers that are exact."""
    values = given.to_numpy()
    exact = bool(np.all(np.abs(values) < EXACT) and np.all(values == np.rint(values)))
    return given.cast(pl.Int128) if exact else None


def _whole_or_refuse(draft: Column, given: pl.Series, measure: str) -> pl.Series:
    whole = _as_whole(given) if given.dtype.is_float() else given
    if whole is None:
        raise UserError(f"column {draft.name!r} holds other than whole numbers: it cannot be {measure!r}.")
    return whole


def _int128(number: int) -> pl.Series:
    return pl.Series([number], dtype=pl.Int128)


def _steps_as(measure: str):
    return lambda draft, given, wish: _steps(draft, given, {**wish, "measure": measure})


def _not_constant(draft: Column, given: pl.Series, wish: Wish) -> Column:
    raise UserError(f"column {draft.name!r} is no constant: it holds {given.n_unique():,} different values.")


_STEPPED = {"real": _steps_as("real"), "binned": _steps_as("binned"), "constant": _not_constant}
_RULES = {"words": _words, "truth": _words, "whole": _whole, "float": _float}
_RULES |= {kind: lambda draft, given: _steps(draft, given, {}) for kind in ("time", "decimal")}
_WISHES = {
    "words": {"category": _category, "constant": _not_constant},
    "truth": {"category": _category, "constant": _not_constant},
    "whole": {**_STEPPED, "count": _count, "category": _category},
    "float": {
        "real": _real,
        "binned": _float_bins,
        "count": _count,
        "category": _category,
        "constant": _not_constant,
    },
    "time": _STEPPED,
    "decimal": _STEPPED,
}
