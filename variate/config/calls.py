"""What a class wants from the house and what it can be told, by its signature."""

import inspect
import math
import types
import typing
from collections.abc import Callable

from variate.base.errors import UserError, suggest
from variate.config.recipes import LARGEST, MOST_LAYERS, shown
from variate.config.training import Training

__all__ = ["call", "check_keys", "keywords", "wanted"]


def check_keys(values: dict, allowed: set[str], section: str) -> None:
    for key in values:
        if key not in allowed:
            names = ", ".join(sorted(allowed)) or "none"
            raise UserError(f"{section} has no key {shown(key)}{suggest(key[:100], allowed)}; it takes: {names}.")


def keywords(cls: Callable) -> set[str]:
    """What a class can be configured by: its keyword-only arguments."""
    return {n for n, p in inspect.signature(cls).parameters.items() if p.kind is p.KEYWORD_ONLY}


def wanted(cls: Callable) -> list[str]:
    """What a class wants from the house: the names of its positional arguments."""
    return [n for n, p in inspect.signature(cls).parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]


def call(cls: Callable, house: dict[str, typing.Any], values: dict, section: str) -> typing.Any:
    """Call with what it wants from the house, by name, and the keyword-only arguments in ``values``, after checking
    their names and types."""
    check_keys(values, keywords(cls), section)
    hints = typing.get_type_hints(cls if isinstance(cls, type) and cls is Training else cls.__init__)
    checked: dict[str, typing.Any] = {
        key: _typed(value, hints[key], f"{section}.{key}") for key, value in values.items()
    }
    for key, value in checked.items():
        _check_range(value, f"{section}.{key}")
    try:
        return cls(**{name: house[name] for name in wanted(cls)} | checked)
    except UserError:
        raise
    except (ValueError, RuntimeError, OverflowError) as error:
        raise UserError(f"[{section}] {shown(values)} cannot be built: {' '.join(str(error).split())}.") from error


def _check_range(value: object, name: str) -> None:
    """No key takes a number that is not finite, and none a size that no machine could hold."""
    numbers = value if isinstance(value, tuple) else (value,)
    for number in numbers:
        if isinstance(number, int | float) and not (math.isfinite(number) and -LARGEST <= number <= LARGEST):
            raise UserError(f"{name}={shown(value)} is out of range: give finite numbers up to {LARGEST:,}.")
    if len(numbers) > MOST_LAYERS and all(isinstance(n, int) for n in numbers):
        raise UserError(f"{name} has {len(numbers)} entries: give at most {MOST_LAYERS}.")


def _typed(value: object, hint: object, name: str) -> object:
    """The value as the hinted type (int, float, bool, str, tuples and unions of them), or a ``UserError``."""
    if isinstance(hint, types.UnionType):
        for option in typing.get_args(hint):
            try:
                return _typed(value, option, name)
            except UserError:
                continue
    elif typing.get_origin(hint) is tuple and isinstance(value, list | tuple):
        inner = typing.get_args(hint)
        length_fits = Ellipsis in inner or len(inner) == len(value)
        if length_fits:
            return tuple(_typed(v, inner[0], name) for v in value)
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif isinstance(hint, type) and type(value) is hint:
        return value
    raise UserError(f"{name}={shown(value)} must be of type {getattr(hint, '__name__', hint)}.")
