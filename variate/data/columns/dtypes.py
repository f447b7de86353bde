"""The types of a frame's columns as text and back, and the whole steps that numbers, dates and times are made of."""

import json
import re
from decimal import Decimal

import polars as pl

__all__ = ["family", "parsed", "steps_of", "steps_range", "text", "with_steps"]

_PLAIN = {
    **{f"{sign}Int{bits}": getattr(pl, f"{sign}Int{bits}") for sign in ("", "U") for bits in (8, 16, 32, 64, 128)},
    **{f"Float{bits}": getattr(pl, f"Float{bits}") for bits in (16, 32, 64)},
    **{kind.__name__: kind for kind in (pl.String, pl.Boolean, pl.Categorical, pl.Date, pl.Time)},
}
_DAY_NS = 86_400_000_000_000
_RANGES = {pl.Date: (-(2**31), 2**31 - 1), pl.Time: (0, _DAY_NS - 1)}
WORDS = (pl.String, pl.Categorical, pl.Enum)


def text(dtype: pl.DataType) -> str:
    """A column's type as text, from which ``parsed`` makes it again.

    >>> text(pl.Datetime("us", "UTC")), text(pl.Enum(["no", "yes"])), text(pl.Decimal(10, 2))
    ('Datetime(us, UTC)', 'Enum(["no", "yes"])', 'Decimal(10, 2)')
    """
    if isinstance(dtype, pl.Enum):
        return f"Enum({json.dumps(dtype.categories.to_list(), ensure_ascii=False)})"
    if isinstance(dtype, pl.Datetime):
        return f"Datetime({dtype.time_unit}" + (f", {dtype.time_zone})" if dtype.time_zone else ")")
    if isinstance(dtype, pl.Duration):
        return f"Duration({dtype.time_unit})"
    if isinstance(dtype, pl.Decimal):
        return f"Decimal({dtype.precision}, {dtype.scale})"
    return str(dtype)


def parsed(said: str) -> pl.DataType:
    """The inverse of ``text``, of every type that can be learned; ``ValueError`` for other text.

    >>> parsed("Duration(ms)"), parsed("Int8")
    (Duration(time_unit='ms'), Int8)
    """
    if said in _PLAIN:
        return _PLAIN[said]()
    if match := re.fullmatch(r"Datetime\((ms|us|ns)(?:, ([^,()]{1,100}))?\)", said):
        return pl.Datetime(match[1], match[2])  # pyright: ignore[reportArgumentType]
    if match := re.fullmatch(r"Duration\((ms|us|ns)\)", said):
        return pl.Duration(match[1])  # pyright: ignore[reportArgumentType]
    if match := re.fullmatch(r"Decimal\((\d{1,2}), (\d{1,2})\)", said):
        return pl.Decimal(int(match[1]), int(match[2]))
    if match := re.fullmatch(r"Enum\((\[.*\])\)", said, re.DOTALL):
        return pl.Enum(json.loads(match[1]))
    raise ValueError(said)


def family(dtype: pl.DataType) -> str:
    """Which cells are alike: "whole" numbers, "float", "decimal", "time" (dates too), "words", "truth"; else ""."""
    if dtype.is_integer():
        return "whole"
    if dtype.is_float():
        return "float"
    if dtype.is_decimal():
        return "decimal"
    if dtype.is_temporal():
        return "time"
    if isinstance(dtype, WORDS):
        return "words"
    return "truth" if isinstance(dtype, pl.Boolean) else ""


def steps_of(series: pl.Series) -> pl.Series:
    """Whole numbers, decimals, dates and times → how many of their type's smallest steps they are, Int128.

    >>> import datetime
    >>> steps_of(pl.Series([datetime.date(1970, 1, 3), None])).to_list()
    [2, None]
    """
    return series.to_physical().cast(pl.Int128, strict=False)


def steps_range(dtype: pl.DataType) -> tuple[int, int]:
    """The least and greatest number of steps that the type can hold."""
    if dtype.is_integer():
        bound = pl.select(dtype.min().alias("low"), dtype.max().alias("high")).row(0)  # pyright: ignore
        return bound[0], min(bound[1], 2**127 - 1)
    if isinstance(dtype, pl.Decimal):
        return 1 - 10**dtype.precision, 10**dtype.precision - 1
    return _RANGES.get(type(dtype), (-(2**63), 2**63 - 1))


def with_steps(steps: pl.Series, dtype: pl.DataType) -> pl.Series:
    """The inverse of ``steps_of``: what the type cannot hold becomes the nearest that it can."""
    low, high = (pl.Series([bound], dtype=pl.Int128) for bound in steps_range(dtype))
    whole = pl.select(pl.min_horizontal(pl.max_horizontal(steps, low), high)).to_series()
    whole = pl.select(pl.when(steps.is_null()).then(None).otherwise(whole)).to_series()
    if isinstance(dtype, pl.Decimal):
        cells = [None if step is None else Decimal(f"{step}e-{dtype.scale}") for step in whole]
        return pl.Series(cells, dtype=dtype)
    physical = pl.Series([], dtype=dtype).to_physical().dtype
    return whole.cast(physical).cast(dtype)
