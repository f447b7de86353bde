"""How rows are shown, whatever they are: what the sections ask of ``sheets`` and ``panels``."""

from typing import NamedTuple

import numpy as np

from variate.data.schema import Schema
from variate.show.page.parts import Keys, Picture

__all__ = ["Drawn", "Gallery", "Sizes"]

Drawn = tuple[bytes, bytes | None]  # PNG for light pages and, where they differ, for dark ones


class Sizes(NamedTuple):
    """How many are shown: ``columns`` samples to a line and ``lines`` of them, ``first`` rows of the data, ``pairs`` of
    rows and copies, ``paths`` of so many ``steps`` between two rows, places along a side of the ``plane``."""

    columns: int
    lines: int
    first: int
    pairs: int
    paths: int
    steps: int
    plane: int


class Gallery:
    """Rows of one schema as pictures.

    ``noun``: what a row is. ``paired`` and ``joined`` say in captions what ``pairs`` and ``paths`` draw; they are to be
    formatted. ``keys``: what the colours mean.
    """

    noun: str
    paired: str
    joined: str
    keys: Keys = ()

    def __init__(self, schema: Schema, sizes: Sizes):
        self.schema, self.sizes = schema, sizes

    def note(self, count: int) -> str:
        """What to know of a picture of so many rows: sentences that end its caption."""
        raise NotImplementedError

    def grid(self, rows: np.ndarray, columns: int, wide: bool = False) -> Drawn:
        """Raw rows, so many to a line."""
        raise NotImplementedError

    def pairs(self, originals: np.ndarray, copies: np.ndarray) -> Drawn:
        """Every raw row with its copy."""
        raise NotImplementedError

    def paths(self, starts: np.ndarray, between: np.ndarray, stops: np.ndarray) -> Drawn:
        """Raw rows ``between`` (paths, steps, \\*shape) two others, (paths, \\*shape) each."""
        raise NotImplementedError

    def picture(
        self,
        name: str,
        title: str,
        caption: str,
        drawn: Drawn,
        count: int,
        rows: tuple[str, ...] = (),
        columns: tuple[str, ...] = (),
        wide: bool = False,
    ) -> Picture:
        """What was drawn of ``count`` rows, and all that is to be said of it."""
        return Picture(name, title, caption + self.note(count), *drawn, rows, columns, sheet=True, wide=wide)
