"""The schema of raw arrays: which values they can hold, how their axes lie, what is known besides."""

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from variate.base.errors import UserError
from variate.data.kinds import Category, Levels, Reals, spread_or_one
from variate.data.known import Known
from variate.data.layout import infer_layout, parse_layout
from variate.data.schema import COLUMNS, DTYPES, LABEL, Field, Schema
from variate.data.shards import Shards, pieces

__all__ = [
    "check_finite",
    "columns_field",
    "count_units",
    "infer_schema",
    "known_fields",
    "label_field",
    "plain_schema",
    "standardisation",
]

GRID_TOLERANCE, COARSE_TOLERANCE = 1e-3, 0.13  # of a level: what float32, and float16, lose in a division by 255
LEAST_GRID_VALUES = 16  # different values that a vector on the grid k/255 must have to be taken for 8-bit
ROWS_AT_ONCE = 4096
LARGEST = 1e300  # of real numbers: their differences stay numbers


def infer_schema(
    values: np.ndarray | Shards,
    known: Known | None = None,
    levels: int | None = None,
    layout: str | None = None,
    dtype: str | None = None,
) -> Schema:
    """The schema of rows (n, …): uint8 → 256 levels; 0 and 1 → 2 levels; images of whole numbers up to 255, or of
    those divided by 255 or 256 → 256 levels; all others → real numbers.

    All rows are looked at, those in shards piece by piece. ``levels`` and ``layout`` override; ``dtype`` is what the
    values were before torch could hold them. Raises ``UserError`` for empty, non-numeric or non-finite data.
    """
    plain = plain_schema(values, known, layout, dtype)
    if plain.x.missing and plain.are_vectors:
        _check_columns(values)
    if levels is not None:
        _check_levels(values, levels)
        return plain.with_kind(Levels(levels))
    found, divisor = _grid(values, plain.x.dtype, plain.x.axes.spatial > 0)
    if found:
        return plain.with_kind(Levels(found, divisor))
    return plain.with_kind(Reals(*standardisation(values, plain.x.layout)))


def plain_schema(
    values: np.ndarray | Shards, known: Known | None = None, layout: str | None = None, dtype: str | None = None
) -> Schema:
    """What can be said of rows (n, …) without a look at all of them: the schema of real numbers as they are.

    Nothing in it depends on other rows: for rows of a model that has settled the rest. Raises as ``infer_schema``.
    """
    if str(values.dtype) not in DTYPES:
        raise UserError(f"the data has dtype {values.dtype}: give numbers ({', '.join(DTYPES)}).")
    if not 2 <= values.ndim <= 5 or 0 in values.shape:
        raise UserError(
            f"the data has shape {values.shape}: give at least one row of vectors, signals, images or volumes."
        )
    shape = values.shape[1:]
    axes = parse_layout(layout, shape) if layout else infer_layout(shape)
    missing = values.dtype.kind == "f" and check_finite(values)
    x = Field(Reals(), shape, dtype or str(values.dtype), axes, missing=missing)
    return Schema.of(x, *known_fields(known, len(values)))


def known_fields(known: Known | None, rows: int) -> list[Field]:
    """What a schema says of labels or columns."""
    if known is None:
        return []
    if known.rows != rows:
        raise UserError(f"there are {known.rows} labels for {rows} rows: give one label per row.")
    if known.columns is not None:
        return [columns_field(known.columns, "the columns given as labels")]
    if known.labels is None:
        return []
    counts = np.bincount(known.labels[known.labels >= 0], minlength=len(known.names)).tolist()
    numbered = known.names == tuple(str(index) for index in range(len(known.names)))
    return [label_field(tuple(counts), None if numbered else known.names)]


def label_field(counts: tuple[int, ...], words: tuple[str, ...] | None = None) -> Field:
    return Field(Category(counts, words), (), "int64", name=LABEL, given=True)


def columns_field(columns: np.ndarray | Tensor, what: str = "the data") -> Field:
    """Of real columns (n, k)."""
    offset, scale = standardisation(columns, "F", what)
    return Field(Reals(offset, spread_or_one(scale)), (columns.shape[1],), "float64", "F", COLUMNS, given=True)


def _parts(values: np.ndarray | Shards, doing: str = "") -> Iterator[np.ndarray]:
    """All rows in their order, some at a time."""
    if isinstance(values, Shards):
        yield from (piece.numpy() for piece in pieces(values, doing))
    else:
        yield from (values[start : start + ROWS_AT_ONCE] for start in range(0, len(values), ROWS_AT_ONCE))


def check_finite(values: np.ndarray | Shards) -> bool:
    """Whether cells are missing, which NaN says; ``UserError`` for infinity."""
    start, missing = 0, False
    for part in _parts(values):
        flat = part.reshape(len(part), -1)
        if not np.isfinite(flat).all():
            infinite = np.isinf(flat)
            if infinite.any():
                row, column = np.argwhere(infinite)[0]
                raise UserError(
                    f"row {start + row} of the data holds infinity (value {column} of it): remove or fill such rows."
                )
            missing = True
        start += len(part)
    return missing


def _check_columns(values: np.ndarray | Shards) -> None:
    """That some row has a value in every column of vectors."""
    known = np.zeros(values.shape[1], bool)
    for part in _parts(values):
        known |= ~np.isnan(part).all(0)
    if not known.all():
        raise UserError(f"column {int(known.argmin())} of the data is missing in every row: leave it out.")


def _check_levels(values: np.ndarray | Shards, levels: int) -> None:
    if not 2 <= levels <= 65536:
        raise UserError(f"levels={levels} must be within 2..65536.")
    for part in map(_known, _parts(values)):
        whole = part.dtype.kind != "f" or (part == np.round(part)).all()
        if not len(part):
            continue
        if not whole or int(part.min()) < 0 or int(part.max()) >= levels:
            raise UserError(
                f"the data are not whole numbers 0..{levels - 1}, as levels={levels} says: mend the one or the other."
            )


def _grid(values: np.ndarray | Shards, dtype: str, places: bool) -> tuple[int | None, int]:
    """(levels, divisor) of values that lie on a grid; (None, 1) of real numbers."""
    ends = [(part.min(), part.max()) for part in map(_known, _parts(values, "Looking at all rows")) if len(part)]
    if not ends:
        raise UserError("every value of the data is missing: give some.")
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    if low < 0 or not places and values.dtype.kind in "iu" and high > 1 and dtype != "uint8":
        return None, 1
    if _on_grid(values, 1):
        if high <= 1:
            return 2, 1
        if dtype in ("uint8", "uint16"):
            return 256 if dtype == "uint8" else 65536, 1
        return (256, 1) if places and high <= 255 else (None, 1)
    if high <= 1:
        for divisor in (255, 256):
            if not 0.5 < high * divisor < 255.5 or not _on_grid(values, divisor):
                continue
            if places or _different(values) >= LEAST_GRID_VALUES:
                return 256, divisor
    return None, 1


def _known(part: np.ndarray) -> np.ndarray:
    """The values that are not missing, in one row; itself where none is."""
    if part.dtype.kind != "f":
        return part
    gone = np.isnan(part)
    return part[~gone] if gone.any() else part


def _on_grid(values: np.ndarray | Shards, divisor: int) -> bool:
    """Whether every value is k / divisor for a whole k, within what floating point loses."""
    if values.dtype.kind != "f":
        return True
    tolerance = COARSE_TOLERANCE if values.dtype == np.float16 else GRID_TOLERANCE
    tolerance = 0.0 if divisor == 1 else tolerance
    for part in map(_known, _parts(values)):
        scaled = part.astype(np.float32 if divisor > 1 else part.dtype) * divisor
        if (np.abs(scaled - np.round(scaled)) > tolerance).any():
            return False
    return True


def _different(values: np.ndarray | Shards) -> int:
    """How many different values the first rows hold, counted up to ``LEAST_GRID_VALUES``."""
    found: set = set()
    for row in range(min(len(values), ROWS_AT_ONCE)):
        found.update(np.unique(_known(values[row : row + 1])).tolist())
        if len(found) >= LEAST_GRID_VALUES:
            break
    return len(found)


def standardisation(
    values: np.ndarray | Tensor | Shards, layout: str, what: str = "the data"
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(offset, scale): mean and standard deviation, per column of vectors, per channel of everything else.

    A constant, whose values are all the same number, has that number as its offset and the scale 0.
    """
    channel = layout.find("C") if "C" in layout else -1
    if layout == "F":
        axes: tuple[int, ...] = (0,)
    else:
        axes = tuple(axis for axis in range(values.ndim) if channel < 0 or axis != channel + 1)
    low, high = _ends(values, axes, what)
    largest = np.maximum(np.abs(low), np.abs(high))
    if not (largest < LARGEST).all():
        column = int(np.argwhere(~(largest < LARGEST))[0, 0])
        raise UserError(f"column {column} of {what} holds numbers beyond {LARGEST:g}: divide it by a power of ten.")
    offset, spread = (np.atleast_1d(moment) for moment in _moments(values, axes, largest))
    # what is no constant has a spread, even if it is too small for a double
    offset, spread = np.where(low == high, low, offset), np.where(low == high, 0.0, np.maximum(spread, 5e-324))
    return tuple(offset.tolist()), tuple(spread.tolist())


def _ends(values: np.ndarray | Tensor | Shards, axes: tuple[int, ...], what: str) -> tuple[np.ndarray, np.ndarray]:
    """(least, largest) in double precision, some rows at a time."""
    rows = values.numpy() if isinstance(values, Tensor) else values
    ends = [_ends_of(part, axes) for part in _parts(rows, "Looking at all rows")]
    low, high = (np.atleast_1d(np.stack(side).reshape(len(ends), -1)) for side in zip(*ends, strict=True))
    low, high = low.min(0), high.max(0)
    empty = low > high  # nothing but holes
    low, high = np.where(empty, 0, low), np.where(empty, 0, high)
    exact = low.astype(np.float64), high.astype(np.float64)
    alike = np.flatnonzero((low != high) & (exact[0] == exact[1]))
    if len(alike):
        column = int(alike[0])
        raise UserError(
            f"column {column} of {what} holds whole numbers from {low[column]} to {high[column]}, which are one number "
            f"in double precision: subtract {low[column]}."
        )
    return exact


def _ends_of(part: np.ndarray, axes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    if part.dtype.kind != "f" or not np.isnan(part).any():
        return part.min(axes), part.max(axes)
    return np.where(np.isnan(part), np.inf, part).min(axes), np.where(np.isnan(part), -np.inf, part).max(axes)


def _moments(
    values: np.ndarray | Tensor | Shards, axes: tuple[int, ...], largest: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(mean, standard deviation) over these axes, in double precision; of shards in one pass (Chan et al. 1983).

    Divided meanwhile by a power of two near the largest, which costs no digit, so that no square is out of range.
    """
    power = np.frexp(largest)[1]
    wide = power.reshape([1 if axis in axes or len(power) == 1 else -1 for axis in range(values.ndim)])
    if not isinstance(values, Shards):
        exact = np.ldexp(np.asarray(values, np.float64), -wide)
        if np.isnan(exact).any():
            mean, variance, _ = _moments_of_known(exact, axes)
            return np.ldexp(mean, power), np.ldexp(np.sqrt(variance), power)
        mean = exact.mean(axes, keepdims=True)
        variance = exact.var(axes) - (exact - mean).mean(axes) ** 2  # the mean is rounded, as a small spread shows
        return np.ldexp(np.squeeze(mean, axes), power), np.ldexp(np.sqrt(variance.clip(0)), power)
    known, mean, square = np.zeros(()), np.zeros(()), np.zeros(())  # square: Σ (x − mean)²
    for part in _parts(values, "Standardising"):
        exact = np.ldexp(part.astype(np.float64), -wide)
        middle, variance, count = _moments_of_known(exact, axes)
        far, share = middle - mean, count / np.maximum(known + count, 1)
        square = square + count * variance + far**2 * known * share
        mean, known = mean + far * share, known + count
    return np.ldexp(mean, power), np.ldexp(np.sqrt(square / np.maximum(known, 1)), power)


def _moments_of_known(exact: np.ndarray, axes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(mean, variance, how many) of what is not NaN over these axes; 0 where there is nothing."""
    there = ~np.isnan(exact)
    count = there.sum(axes, keepdims=True)
    mean = np.where(there, exact, 0.0).sum(axes, keepdims=True) / np.maximum(count, 1)
    square = (np.where(there, exact - mean, 0.0) ** 2).sum(axes)
    return np.squeeze(mean, axes), square / np.maximum(np.squeeze(count, axes), 1), np.squeeze(count, axes)


def count_units(values: np.ndarray | Tensor | Shards, layout: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(offset, scale) of counts: 0 and their standard deviation, so that the encoder reads numbers near 1.

    A constant has itself and 0, as in ``standardisation``.
    """
    offset, scale = standardisation(values, layout)
    if 0.0 not in scale:
        return (0.0,), scale
    return tuple(0.0 if wide else where for where, wide in zip(offset, scale, strict=True)), scale
