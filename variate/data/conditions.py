"""The grammar of conditions: what a user writes of the things that a model is told, as texts and no more.

A condition is NAME OP VALUE, with the first operator after a known name, so that in ``income=<=50K`` the value is
``<=50K``. Conditions are joined by commas. A value is ``x``, a range ``a..b`` or a set ``a|b|c..d``; a value that holds
``,``, ``|`` or ``..`` stands in quotes, of which a doubled one is a single one.
"""

import re
import reprlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from variate.base.errors import UserError, suggest

__all__ = ["CHOOSING", "COLUMNS", "LABEL", "Condition", "Span", "names_of", "of_mapping", "parse", "spell"]

LABEL, COLUMNS = "label", "columns"  # what is known of rows that are no table; a list without a name is of labels
OPERATORS = ("!=", "<=", ">=", "=", "<", ">")  # the longer ones first
SET, RANGE = "in", ".."
CHOOSING = ("=", SET, RANGE)  # the others compare
SHOWN = 20  # names in a message, at most
_OPERATOR = re.compile("|".join(OPERATORS))
_NAMED = re.compile(r"[^=<>!][^=<>]*[=<>]")  # something that is no operator, and then one
_QUOTED = {quote: re.compile(rf"{quote}((?:[^{quote}]|{quote}{quote})*){quote}") for quote in "\"'"}
_NEEDS_QUOTES = re.compile(r"[,|]|\.\.|\A[\s.\"'=<>!]|[\s.]\Z|\A\Z")


class Span(NamedTuple):
    """Everything from ``low`` to ``high``."""

    low: str
    high: str


class Condition(NamedTuple):
    """``op``: one of ``= != < <= > >=`` with one value, ".." with the two ends, or "in" with texts and ``Span``s."""

    name: str
    op: str
    values: tuple[str | Span, ...]

    @property
    def items(self) -> tuple[str | Span, ...]:
        """The values as the members of a set, of which a range is one.

        >>> Condition("age", "..", ("20", "30")).items
        (Span(low='20', high='30'),)
        """
        return (Span(*map(str, self.values)),) if self.op == RANGE else self.values


def parse(text: str, names: Collection[str]) -> tuple[Condition, ...]:
    """NAME OP VALUE, … → conditions on the known ``names``; where "label" is one, a bare list is a condition on it.

    Of several names that fit, the longest. Raises ``UserError`` for an unknown name, a missing operator or value, a
    name given twice with "=", and a quote that is not closed.

    >>> parse("income=<=50K, age>=40", ["age", "income"])
    (Condition(name='income', op='=', values=('<=50K',)), Condition(name='age', op='>=', values=('40',)))
    >>> parse("0..9", ["label"])
    (Condition(name='label', op='..', values=('0', '9')),)
    """
    reader = _Reader(text)
    if (listed := _listed(reader, names)) is not None:
        return (listed,)
    found = [_condition(reader, names)]
    while reader.takes(","):
        found.append(_condition(reader, names))
    return _each_once(found)


def of_mapping(given: Mapping[str, Any], names: Collection[str]) -> tuple[Condition, ...]:
    """{name: value} → conditions; a value is a text as after the name, (op, value), a list as a set, or a number.

    Commas in a text need no quotes; in a list and after an operator of its own a text is taken as it is. Raises
    ``UserError`` as ``parse`` does.

    >>> spell(of_mapping({"sex": "Female", "age": (">=", 40), "town": ["Ulm", "Bonn, Rhein"]}, ["age", "sex", "town"]))
    'sex=Female,age>=40,town=Ulm|"Bonn, Rhein"'
    """
    strangers = [name for name in given if name not in names]
    if strangers:
        raise _unknown(str(strangers[0]), names)
    return tuple(_of_value(name, value) for name, value in given.items())


def spell(conditions: Iterable[Condition]) -> str:
    """The text that ``parse`` reads as these conditions.

    >>> spell([Condition("label", "in", ("a,b", Span("0", "9"))), Condition("age", "<", ("40",))])
    'label="a,b"|0..9,age<40'
    """
    return ",".join(map(_spelled, conditions))


def names_of(given: object) -> tuple[str, ...]:
    """Names joined by commas, or a list of them → the names; ``None``: none. ``UserError`` for anything else.

    >>> names_of("sex, age"), names_of(["label"]), names_of(None)
    (('sex', 'age'), ('label',), ())
    """
    if given is None:
        return ()
    listed = given.split(",") if isinstance(given, str) else given
    if not isinstance(listed, list | tuple) or not all(isinstance(name, str) and name.strip() for name in listed):
        raise UserError(f"given={reprlib.repr(given)} must be names of what the model is told, as in given='label'.")
    names = tuple(name.strip() for name in listed)
    if len(set(names)) < len(names):
        raise UserError(f"given={reprlib.repr(given)} names a thing twice: name it once.")
    return names


# --- text → conditions


@dataclass
class _Reader:
    """A text and how far it is read; ``stops``: what ends a value that is not in quotes, as ".." does."""

    text: str
    stops: str = ",|"
    at: int = 0
    bare: tuple[str, ...] = ()  # the words that were not in quotes

    def skip_blanks(self) -> None:
        self.at += len(self.text[self.at :]) - len(self.text[self.at :].lstrip())

    def takes(self, sign: str) -> bool:
        self.skip_blanks()
        found = self.text.startswith(sign, self.at)
        self.at += len(sign) if found else 0
        return found

    def operator(self) -> str | None:
        return next((sign for sign in OPERATORS if self.takes(sign)), None)

    def name_and_operator(self, names: Collection[str]) -> tuple[str, str] | None:
        """The longest known name that an operator follows."""
        self.skip_blanks()
        start = self.at
        for name in sorted(names, key=len, reverse=True):
            self.at = start
            if name.strip() and self.takes(name.strip()) and (sign := self.operator()):
                return name, sign
        self.at = start
        return None

    def items(self, what: str, separator: str = "|") -> list[str | Span]:
        """Texts and ranges between separators."""
        found = [self.item(what)]
        while any(self.takes(sign) for sign in separator):
            found.append(self.item(what))
        return found

    def item(self, what: str) -> str | Span:
        low = self.word(what)
        if not self.takes(".."):
            return low
        high = self.word(what)
        if self.takes(".."):
            raise UserError(f"{what} has a range of more than two ends: write a..b, and dots of a value in quotes.")
        return Span(low, high)

    def word(self, what: str) -> str:
        self.skip_blanks()
        if self.text[self.at : self.at + 1] in _QUOTED:
            return self._quoted(what)
        match = re.compile(rf"(?:(?!\.\.)[^{self.stops}])*").match(self.text, self.at)
        word = match[0].strip() if match else ""
        if not word:
            raise UserError(f'{what} lacks a value: write one, or "" for the empty text, in quotes if it has signs.')
        self.at += len(match[0]) if match else 0
        self.bare += (word,)
        return word

    def _quoted(self, what: str) -> str:
        quote = self.text[self.at]
        match = _QUOTED[quote].match(self.text, self.at)
        if not match:
            raise UserError(f"{what} has a quote that is not closed: close it, and double one that is part of a value.")
        self.at = match.end()
        self.skip_blanks()
        rest = self.text[self.at :]
        if rest and rest[0] not in self.stops and not rest.startswith(".."):
            raise UserError(f"{what} goes on after a quoted value, with {reprlib.repr(rest)}: put a comma there.")
        return match[1].replace(quote * 2, quote)


def _listed(reader: _Reader, names: Collection[str]) -> Condition | None:
    """A bare list, if the text is one: no word of it, unless in quotes, has an operator behind a name."""
    if LABEL not in names or _Reader(reader.text).name_and_operator(names):
        return None
    whole = _Reader(reader.text)
    items = whole.items(f"what is given, {reprlib.repr(reader.text)},", ",|")
    return None if any(map(_NAMED.match, whole.bare)) else _chosen(LABEL, items)


def _condition(reader: _Reader, names: Collection[str]) -> Condition:
    found = reader.name_and_operator(names)
    if found is None:
        raise _refusal(reader.text[reader.at :].partition(",")[0].strip(), names)
    return _with_values(*found, reader)


def _with_values(name: str, op: str, reader: _Reader) -> Condition:
    items = reader.items(f"{name}{op}")
    if op == "=":
        return _chosen(name, items)
    if len(items) > 1 or isinstance(items[0], Span):
        raise UserError(f"{name}{op} takes one value: write sets and ranges with =, as in {name}=a|b or {name}=a..b.")
    return Condition(name, op, tuple(items))


def _chosen(name: str, items: list[str | Span]) -> Condition:
    """One text, one range or a set."""
    if len(items) > 1:
        return Condition(name, SET, tuple(items))
    (item,) = items
    return Condition(name, RANGE, tuple(item)) if isinstance(item, Span) else Condition(name, "=", (item,))


def _each_once(found: list[Condition]) -> tuple[Condition, ...]:
    """Two bounds of a name may be given, but not two values."""
    values: dict[str, Condition] = {}
    for condition in found:
        if condition.op in CHOOSING and values.setdefault(condition.name, condition) is not condition:
            both = spell([_chosen(condition.name, [*values[condition.name].items, *condition.items])])
            raise UserError(f"{condition.name} is given twice: give a set, as in {both}.")
    return tuple(found)


def _refusal(part: str, names: Collection[str]) -> UserError:
    """Why the part of a text is no condition."""
    operator = _OPERATOR.search(part)
    if not part:
        return UserError("a condition is missing where something is given: write NAME=VALUE, and no comma at the end.")
    if not operator:
        return UserError(
            f"{reprlib.repr(part)} has no operator, where NAME=VALUE is needed: write a set as NAME=a|b, and a value "
            "with a comma in quotes."
        )
    word = part[: operator.start()].strip()
    if not word:
        return UserError(f"{reprlib.repr(part)} says no name before {operator[0]}: write NAME{operator[0]}VALUE.")
    return _unknown(word, names)


def _unknown(word: str, names: Collection[str]) -> UserError:
    known = ", ".join(sorted(names)[:SHOWN]) + (", …" if len(names) > SHOWN else "")
    return UserError(f"nothing that can be given is called {reprlib.repr(word)}{suggest(word[:100], names)}: {known}.")


# --- Python's own → conditions


def _of_value(name: str, value: Any) -> Condition:
    if isinstance(value, str):
        return _of_text(name, value)
    if isinstance(value, tuple) and value and isinstance(value[0], str) and value[0] in (*OPERATORS, SET, RANGE):
        return _of_pair(name, *value)
    if isinstance(value, list | tuple | range | set | frozenset | np.ndarray):
        return _of_pair(name, SET, value)
    return Condition(name, "=", (_text(name, value),))


def _of_text(name: str, text: str) -> Condition:
    reader = _Reader(text, stops="|")
    return _with_values(name, reader.operator() or "=", reader)


def _of_pair(name: str, op: str, *values: Any) -> Condition:
    """Values that are taken as they are."""
    if len(values) == 1 and isinstance(values[0], list | tuple | range | set | frozenset | np.ndarray):
        values = tuple(values[0])
    texts = tuple(_text(name, value) for value in values)
    if op == SET and texts:
        return _chosen(name, list(texts))
    if len(texts) != (2 if op == RANGE else 1):
        raise UserError(f"{name} is given {len(texts)} values with {op!r}: give {'two' if op == RANGE else 'one'}.")
    return Condition(name, op, texts)


def _text(name: str, value: Any) -> str:
    """A number in the fewest digits, anything else as it prints itself."""
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or value != value:  # noqa: PLR0124 (NaN)
        raise UserError(f"{name} is given no value: give one, or leave {name} out.")
    return str(value)


# --- conditions → text


def _spelled(condition: Condition) -> str:
    op = "=" if condition.op in (SET, RANGE) else condition.op
    return f"{condition.name.strip()}{op}{'|'.join(map(_item_spelled, condition.items))}"


def _item_spelled(item: str | Span) -> str:
    return f"{_quoted(item.low)}..{_quoted(item.high)}" if isinstance(item, Span) else _quoted(item)


def _quoted(value: str) -> str:
    return '"' + value.replace('"', '""') + '"' if _NEEDS_QUOTES.search(value) else value
