"""What goes wrong and who can mend it: a `UserError` is the user's, anything else is our bug."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable
from typing import Any

SEED_BITS = 128  # what NumPy's own have


class UserError(ValueError):
    """Something the user can mend.

    The message is one sentence that names the thing (file, row, column, option) and the remedy. The command
    line prints it without a traceback and exits with status 2.
    """


class DiskFull(UserError):
    """There is no space left for a file; what was there before is as it was."""


def whole_number(number: Any, name: str) -> int:
    """Python's own int of any whole number, NumPy's too; ``UserError`` for everything else, truth values among it.

    >>> import numpy
    >>> whole_number(numpy.int64(3), "epochs")
    3
    """
    try:
        if str(getattr(number, "dtype", type(number).__name__)).removeprefix("torch.") == "bool":
            raise TypeError
        return operator.index(number)
    except TypeError:
        raise UserError(f"{name}={number!r} must be a whole number.") from None


def count_number(number: Any, name: str) -> int:
    """Python's own int of a whole number of at least 1; else ``UserError``.

    >>> count_number(5, "samples")
    5
    """
    count = whole_number(number, name)
    if count < 1:
        raise UserError(f"{name}={count} must be at least 1.")
    return count


def seed_number(seed: Any) -> int:
    """A seed as Python's own int: any whole number, negative ones too, of at most 128 bits; else ``UserError``.

    >>> seed_number(-1)
    -1
    """
    number = whole_number(seed, "seed")
    if number.bit_length() > SEED_BITS:
        raise UserError(f"a seed of {number.bit_length():,} bits is too long: give one of at most {SEED_BITS}.")
    return number


def suggest(word: str, choices: Iterable[str]) -> str:
    """The tail of an error about an unknown name: `", did you mean 'x'?"`, or `""` if nothing is near.

    >>> "unknown data set 'mnits'" + suggest("mnits", ["mnist", "digits"])
    "unknown data set 'mnits', did you mean 'mnist'?"
    """
    spelling = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(word.lower(), spelling, n=1)
    return f", did you mean {spelling[near[0]]!r}?" if near else ""
