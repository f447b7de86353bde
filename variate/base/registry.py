"""The names that a recipe may say: one for every class in a folder, or in a module. There is no second list."""

import importlib
import inspect
import pkgutil
import re
import types
from collections.abc import Iterator

__all__ = ["modules", "registry", "snake"]


def registry(place: types.ModuleType, base: type) -> dict[str, type]:
    """Configuration name → class, for the subclasses of ``base`` in the ``__all__`` of a module, or of every module of
    a package."""
    found = (getattr(module, name) for module in modules(place) for name in module.__all__)
    return {snake(m.__name__): m for m in found if inspect.isclass(m) and issubclass(m, base) and m is not base}


def modules(place: types.ModuleType) -> Iterator[types.ModuleType]:
    """The module itself, or all modules of a package by name."""
    if not hasattr(place, "__path__"):
        yield place
        return
    for found in pkgutil.iter_modules(place.__path__):
        yield importlib.import_module(f"{place.__name__}.{found.name}")


def snake(name: str) -> str:
    """
    >>> snake("BetaBinomial")
    'beta_binomial'
    """
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
