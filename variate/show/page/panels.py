"""Signals as lines, one to a panel."""

import numpy as np

from variate.data.schema import Schema
from variate.show import pictures
from variate.show.page.gallery import Drawn, Gallery, Sizes
from variate.show.page.words import number

__all__ = ["Panels"]

SIZES = Sizes(columns=6, lines=6, first=6, pairs=12, paths=4, steps=10, plane=7)
PAIRS_TO_A_LINE = 4
HIGH, LOW, RUNG = 0.6, 0.4, 0.16  # a panel's height over its width


class Panels(Gallery):
    """``rows``: raw ones that say from where to where a panel reaches, and ``drawn`` ones that it must hold."""

    noun = "signals"
    paired = "Broad and pale, {which}{noun}, evenly spaced; thin, each decoded from its {code}."
    joined = "Broad and pale, above and below: two {which}{noun}{of_one}. Thin, between them, {steps}."

    def __init__(self, schema: Schema, rows: np.ndarray, drawn: np.ndarray):
        super().__init__(schema, SIZES)
        self.spans = pictures.line_spans(rows, schema, drawn)
        if len(self.spans) > 1:
            hues = pictures.HUES[: min(len(self.spans), pictures.MOST_LINES)]
            self.keys = tuple((hue, f"channel {channel}") for channel, hue in enumerate(hues))

    def note(self, count: int) -> str:
        if len(self.spans) == 1:
            return " Every panel reaches from {} to {}.".format(*map(number, self.spans[0]))
        some = f" Of {len(self.spans)} channels the first {len(self.keys)}." if len(self.spans) > len(self.keys) else ""
        return f"{some} Every channel has a scale of its own, the same in all panels."

    def grid(self, rows: np.ndarray, columns: int, wide: bool = False) -> Drawn:
        width = pictures.WIDE if wide else pictures.WIDTH
        return self._drawn(self._lines(rows), None, pictures.Grid(columns, width, LOW if wide else HIGH))

    def pairs(self, originals: np.ndarray, copies: np.ndarray) -> Drawn:
        grid = pictures.Grid(PAIRS_TO_A_LINE, pictures.WIDE, LOW)
        return self._drawn(self._lines(copies), self._lines(originals), grid)

    def paths(self, starts: np.ndarray, between: np.ndarray, stops: np.ndarray) -> Drawn:
        """Ladders side by side, each from top to bottom."""
        ends = np.stack([self._lines(starts), self._lines(stops)])
        paths, steps = between.shape[:2]
        inner = self._lines(between.swapaxes(0, 1).reshape(-1, *self.schema.x.shape))
        lines, behind = (np.full((steps + 2, paths, *ends.shape[2:]), np.nan) for _ in range(2))
        behind[[0, -1]], lines[1:-1] = ends, inner.reshape(steps, *behind.shape[1:])
        grid = pictures.Grid(paths, pictures.WIDE, RUNG * paths / self.sizes.paths, ladder=True)
        return self._drawn(lines.reshape(-1, *ends.shape[2:]), behind.reshape(-1, *ends.shape[2:]), grid)

    def _lines(self, rows: np.ndarray) -> np.ndarray:
        return pictures.as_lines(rows, self.schema, self.spans)

    def _drawn(self, lines: np.ndarray, behind: np.ndarray | None, grid: pictures.Grid) -> Drawn:
        return pictures.both(pictures.panels, lines, behind, grid)
