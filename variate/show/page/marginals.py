"""Every column of a table by itself: the data against samples."""

import numpy as np

from variate.data.columns import Column
from variate.show import pictures
from variate.show.page import number_line, sides, table_charts
from variate.show.page.findings import Findings
from variate.show.page.parts import Keys, Picture, Section

__all__ = ["BESIDE", "draw", "heaps_of", "top_levels"]

TITLE = "Each column by itself"
BESIDE: Keys = (("var(--accent)", "data"), ("var(--second)", "samples"))
MOST_LEVELS = 7
HEAP, MOST_HEAPS, CONTINUOUS = 0.1, 3, 20  # share of the rows; values that heap up; different values without heaps


def draw(found: Findings) -> Section:
    if found.sides is None:
        return Section(TITLE, "", [])
    shown = found.sides.columns[: sides.MOST]
    count, rows = len(found.sides.columns), len(found.sides.data)
    text = f"{rows:,} samples against {rows:,} {found.which}rows, as shares of the cells that are not missing; "
    text += "percentages are the data's. Where many cells hold the same number it stands beside the histogram of the "
    text += "others, which has a scale of its own."
    if found.run.conditional:
        text += " Samples are told the given columns of these rows."
    if count > len(shown):
        text += f" The first {len(shown)} of {count:,} columns."
    return Section(TITLE, text, [_picture(found.sides, place) for place in range(len(shown))], BESIDE)


def _picture(both: sides.Sides, place: int) -> Picture:
    column, name = both.columns[place], f"column-{place}"
    data, drawn = both.column(place)
    if column.measure == "category":
        names, *shares = top_levels(data, drawn, column)
        chart = pictures.both(table_charts.level_bars, *shares, table_charts.BESIDE)
        return Picture(name, column.name, "", *chart, rows=names, sheet=True, small=True)
    if not len(data):
        data = drawn  # nothing is known of it in these rows
    step = column.step if column.grid else 1.0 if column.measure == "count" else 0.0
    chart = pictures.both(table_charts.numbers, data, drawn, heaps_of(data), step, number_line.of(column))
    return Picture(name, column.name, "", *chart, small=True)


def top_levels(data: np.ndarray, drawn: np.ndarray, column: Column) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """The names of the levels that most rows have, the others together, and their shares on both sides."""
    levels = len(column.levels)
    counts, others = (np.bincount(side.astype(int), minlength=levels) for side in (data, drawn))
    order = np.argsort(-counts, kind="stable")
    kept = order if levels <= MOST_LEVELS + 1 else order[:MOST_LEVELS]
    names = tuple(str(column.levels[level]) for level in kept)
    shares = [side[kept] / max(side.sum(), 1) for side in (counts, others)]
    if len(kept) < levels:
        names += (f"{levels - len(kept):,} others",)
        shares = [np.append(side, max(1 - side.sum(), 0.0)) for side in shares]
    return names, shares[0], shares[1]


def heaps_of(codes: np.ndarray) -> tuple[float, ...]:
    """The few numbers that many of the cells hold, where the others are of many values."""
    values, counts = np.unique(codes, return_counts=True)
    if len(values) < CONTINUOUS:
        return ()
    heaps = np.argsort(-counts, kind="stable")[:MOST_HEAPS]
    return tuple(sorted(values[heaps[counts[heaps] >= HEAP * len(codes)]].tolist()))
