"""Paths that people give: there, readable, or said why not."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from pathlib import Path

from variate.base.errors import UserError, suggest
from variate.data.sources.found import READABLE

_NAMES_SEARCHED = 10_000  # for a misspelled one


def existing(path: str | os.PathLike[str]) -> Path:
    place = Path(path)
    try:
        place.stat()
    except (FileNotFoundError, NotADirectoryError):
        near = suggest(place.name, names_in(place.parent))
        raise UserError(f"{place} does not exist{near or ': check the path.'}") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        why = getattr(error, "strerror", None) or error
        raise UserError(f"{str(place)!r} cannot be read ({why}): check the path and its permissions.") from None
    if not (place.is_file() or place.is_dir()):
        raise UserError(f"{place} is neither a file nor a folder: give {READABLE}.")
    return place


def names_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in itertools.islice(entries, _NAMES_SEARCHED)]
    except OSError:
        return []


def listed(names: Iterable[str]) -> str:
    shown = [repr(name[:40]) for name in names]
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")
