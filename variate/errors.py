"""What goes wrong and who can mend it: a `UserError` is the user's, anything else is our bug."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something the user can mend.

    The message is one sentence that names the thing (file, row, column, option) and the remedy. The command
    line prints it without a traceback and exits with status 2.
    """


def suggest(word: str, choices: Iterable[str]) -> str:
    """The tail of an error about an unknown name: `", did you mean 'x'?"`, or `""` if nothing is near.

    >>> "unknown data set 'mnits'" + suggest("mnits", ["mnist", "digits"])
    "unknown data set 'mnits', did you mean 'mnist'?"
    """
    spelling = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(word.lower(), spelling, n=1)
    return f", did you mean {spelling[near[0]]!r}?" if near else ""
