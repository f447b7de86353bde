"""What a page is made of: sections of pictures."""

from typing import NamedTuple

__all__ = ["Keys", "Picture", "Section"]

Keys = tuple[tuple[str, str], ...]


class Picture(NamedTuple):
    """One figure. ``light`` and ``dark``: PNG for light pages and, where the two differ, for dark ones.

    ``rows`` and ``columns``: names beside the lines of a sheet and under its columns. ``keys``: (colour, name) of what
    is in it. ``sheet``: made of tiles that fill it to its edges; else it is a chart. ``wide``: as wide as the page.
    ``small``: one of many, its name above it.
    """

    name: str
    title: str
    caption: str
    light: bytes
    dark: bytes | None = None
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    keys: Keys = ()
    sheet: bool = False
    wide: bool = False
    small: bool = False


class Section(NamedTuple):
    """``keys``: (colour, name) of what is in several of its pictures."""

    title: str
    text: str
    pictures: list[Picture]
    keys: Keys = ()
