"""What a user may say of columns: a TOML file to be edited, and the checks of it."""

import json
import tomllib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from variate.base.errors import UserError, suggest
from variate.base.files import opened
from variate.data.columns.column import MEASURES, MOST_LEVELS, Column, describe
from variate.data.columns.grids import COARSEST, FINEST

__all__ = ["check_wishes", "from_toml", "to_toml"]

SHOWN_LEVELS = 256
_ONLY_OF = {"step": "binned", "levels": "category"}
_HEAD = """\
# What is learned of every column. Change what is wrong and fit again with this file; what it does not say is inferred.
#
#   measure = "real"      a real number: it has a density
#             "binned"    a number, date or time that repeats: masses of bins, step wide
#             "count"     a whole number 0, 1, 2, ...
#             "category"  one of its levels
#             "constant"  the same in every row
#             "left out"  nothing is learned of it
#   step                  of dates and times in the unit that stands beside it
"""


def to_toml(columns: Iterable[Column]) -> str:
    """A file that says what the columns are, to be edited and read by ``from_toml``.

    >>> text = to_toml([Column("sex", "String", "category", levels=("Female", "Male"))])
    >>> print(text[text.index("[") :])
    [column.sex]  # 2 levels (Female, Male)
    measure = "category"
    levels = ["Female", "Male"]
    <BLANKLINE>
    """
    return "\n".join([_HEAD, *map(_table, columns)])


def from_toml(source: str | Path) -> dict[str, dict[str, Any]]:
    """What a file (a ``Path``) or text says of columns: their names → measure, step, levels, for ``infer_columns``.

    ``UserError`` names the line of what is no TOML, else the column of what makes no sense.

    >>> from_toml('[column.age]\\nmeasure = "binned"\\nstep = 5')
    {'age': {'measure': 'binned', 'step': 5}}
    """
    where = f"the schema file {source}" if isinstance(source, Path) else "the schema"
    try:
        said = tomllib.loads(_text(source))
    except (ValueError, RecursionError) as error:  # also of numbers of thousands of digits, and of nested lists
        raise UserError(f"{where} is not valid TOML: {' '.join(str(error).split())[:200]}.") from None
    wishes = said.pop("column", {})
    if said:
        raise UserError(f"{where} has the unknown entry {next(iter(said))!r}: write tables such as [column.age].")
    if not isinstance(wishes, dict):
        raise UserError(f"{where} says column = …: write tables such as [column.age].")
    check_wishes(wishes)
    return wishes


def check_wishes(said: Mapping[str, Any]) -> None:
    """Raises ``UserError`` for the first wish that makes no sense whatever the cells are."""
    for name, wish in said.items():
        if not isinstance(wish, Mapping):
            raise UserError(f"the schema says {wish!r} of column {name!r}: write measure, step or levels.")
        for key, value in wish.items():
            _check(name, key, value)
            only = _ONLY_OF.get(key)
            if only and wish.get("measure", only) != only:
                raise UserError(f"column {name!r} of the schema has {key}, but only {only!r} columns have: remove it.")
        if set(_ONLY_OF) <= set(wish):
            raise UserError(f"column {name!r} of the schema has a step and levels: remove one of them.")


def _check(name: str, key: str, value: object) -> None:
    if key not in _GOOD:
        raise UserError(
            f"column {name!r} of the schema has the unknown key {key!r}{suggest(key, _GOOD)}: "
            "write measure, step or levels."
        )
    is_good, must = _GOOD[key]
    if not is_good(value):
        near = suggest(value, MEASURES) if key == "measure" and isinstance(value, str) else ""
        raise UserError(f"column {name!r} of the schema has {key} = {str(value)[:100]!r}{near}: it must be {must}.")


def _is_step(value: object) -> bool:
    return type(value) in (int, float) and FINEST <= value <= COARSEST  # pyright: ignore[reportOperatorIssue]


def _are_levels(value: object) -> bool:
    """A list of different words, whole numbers or truth values."""
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= MOST_LEVELS:
        return False
    kinds = {type(level) for level in value}
    return len(kinds) == 1 and kinds <= {str, int, bool} and len(set(value)) == len(value)


_GOOD = {
    "measure": (
        lambda value: isinstance(value, str) and value in MEASURES,
        "one of " + ", ".join(repr(measure) for measure in MEASURES),
    ),
    "step": (_is_step, "a number above 0"),
    "levels": (_are_levels, "a list of different words, of whole numbers or of truth values"),
}


def _text(source: str | Path) -> str:
    if not isinstance(source, Path):
        return source
    with opened(source) as file:
        return file.read().decode("utf-8")


def _table(column: Column) -> str:
    lines = [f"[column.{_key(column.name)}]  # {_plain(describe(column)[len(column.name) + 2 :])}"]
    lines.append(f"measure = {_quoted(column.measure)}")
    if column.measure == "binned":
        lines.append(f"step = {step_said(column)!r}")
    if 0 < len(column.levels) <= SHOWN_LEVELS:
        lines.append(f"levels = [{', '.join(_quoted(level) for level in column.levels)}]")
    return "\n".join(lines) + "\n"


def step_said(column: Column) -> float:
    """The step as people say it: of decimals not in their last places but in ones."""
    places = getattr(column.type, "scale", 0)
    return float(Decimal(repr(column.step)).scaleb(-places))


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if bare else _quoted(name)


def _quoted(value: str | int | bool) -> str:
    """A value as TOML: strings as in JSON, where only DEL is not escaped."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _plain(text: str) -> str:
    """Text without what a comment may not hold."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
