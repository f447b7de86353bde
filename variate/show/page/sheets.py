"""Images, and the middle slices of volumes, side by side."""

import numpy as np

from variate.data.schema import Schema
from variate.show import pictures
from variate.show.page.gallery import Drawn, Gallery, Sizes
from variate.show.page.words import number

__all__ = ["Sheets"]

SMALL = Sizes(columns=12, lines=8, first=10, pairs=16, paths=6, steps=10, plane=15)
LARGE = Sizes(columns=8, lines=6, first=8, pairs=8, paths=4, steps=6, plane=9)
LARGEST_SMALL = 48  # pixels along a side


class Sheets(Gallery):
    """``rows``: raw ones that say how bright a number is drawn, if it is not one of so many levels."""

    paired = "Above, {which}{noun}, evenly spaced; below, each decoded from its {code}."
    joined = "First and last column: two {which}{noun}{of_one}. Between them, {steps}."

    def __init__(self, schema: Schema, rows: np.ndarray):
        super().__init__(schema, SMALL if max(schema.x.tensor_shape[-2:]) <= LARGEST_SMALL else LARGE)
        self.noun = "volumes" if schema.x.axes.spatial == 3 else "images"
        low, high = np.quantile(rows.astype(np.float64), (0.001, 0.999))
        self.span = float(low), float(high)

    def note(self, count: int) -> str:
        schema, channels, said = self.schema, self.schema.x.tensor_shape[0], ""
        if schema.x.axes.spatial == 3:
            depth = schema.x.tensor_shape[1]
            said += f" Of every volume the middle slice, number {depth // 2} of 0 to {depth - 1}."
        if channels == 4 and schema.x.kind.levels:
            said += " What is transparent lies on white."
        elif channels not in (1, 3):
            said += f" Of {channels} channels {'the first three, as colours' if channels > 3 else 'the first'}."
        if schema.x.kind.levels is None:
            said += " Black is {}, white {}.".format(*map(number, self.span))
        shrunk = pictures.scales(schema, count)[1]
        return said + (f" Shrunk to 1/{shrunk} of their width and height." if shrunk > 1 else "")

    def grid(self, rows: np.ndarray, columns: int, wide: bool = False) -> Drawn:
        return pictures.sheet(rows, self.schema, columns, span=self.span), None

    def pairs(self, originals: np.ndarray, copies: np.ndarray) -> Drawn:
        return self.grid(np.concatenate([originals, copies]), len(originals))

    def paths(self, starts: np.ndarray, between: np.ndarray, stops: np.ndarray) -> Drawn:
        """From left to right."""
        lines = np.concatenate([starts[:, None], between, stops[:, None]], axis=1)
        return self.grid(lines.reshape(-1, *self.schema.x.shape), lines.shape[1])
