"""The users' own data, in what they keep it in: one file for each thing that people keep data in.

The content says what a file is, not its name. No file can run code, and nothing is allocated from a header alone:
it is believed only as far as the bytes behind it go.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from variate.data.sources.found import Found
    from variate.data.sources.labels import read_labels
    from variate.data.sources.reading import read
    from variate.data.sources.signatures import looks_like

__all__ = ["Found", "looks_like", "read", "read_labels"]

_HOMES = {"Found": "found", "looks_like": "signatures", "read": "reading", "read_labels": "labels"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: a single file of this folder is used without torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
