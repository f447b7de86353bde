"""Warnings of libraries that the user of variate can do nothing about."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from variate.base.shared import Shared

__all__ = ["hushed"]

# (action, beginning of the message, module): Pillow about odd metadata, Python's parser about odd spellings in the
# header of an array, scikit-learn about a fit that could still improve, which will do
FILTERS = (
    ("ignore", "", r"(PIL(\..*)?|variate\.data\.sources\.images|<unknown>)$"),
    ("ignore", "(?s).*(converge|number of distinct clusters)", r"sklearn(\..*)?$"),
    ("error", "Image size .* exceeds limit", r"PIL(\..*)?$"),  # the last one is asked first
)


@contextmanager
def hushed() -> Iterator[None]:
    """Those are not shown inside this block, and an image of too many pixels is an error; all others are as before.

    Python has its filters for the whole process: those of before are back when the last of all threads' blocks ends.

    >>> with hushed():
    ...     warnings.warn_explicit("odd metadata", UserWarning, "Image.py", 1, "PIL.Image")
    """
    with _filters.set_to(True):
        yield


def _put(_: bool) -> Callable[[], None]:
    before = warnings.catch_warnings()
    before.__enter__()
    for action, message, module in FILTERS:
        warnings.filterwarnings(action, message, module=module)  # pyright: ignore[reportArgumentType] (a word, to it)
    return lambda: before.__exit__(None, None, None)


_filters = Shared(_put)
