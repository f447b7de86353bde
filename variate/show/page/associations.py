"""How strongly any two columns of a table go together, in the data and in samples."""

import numpy as np

from variate.data.columns import Column
from variate.show import pictures
from variate.show.page import pairwise, sides, table_charts
from variate.show.page.findings import Findings
from variate.show.page.parts import Keys, Picture, Section

__all__ = ["differences", "draw"]

TITLE = "Which columns go together"
MEASURES = (
    "From 0, not at all, to 1, one says all of the other: Cramér's V of two categories, the absolute rank correlation "
    "of two numbers, the correlation ratio of ranks between the levels of a category."
)
SCALE: Keys = tuple(
    (f"color-mix(in srgb, var(--accent) {percent}%, var(--faint))", name)
    for percent, name in ((0, "0"), (50, "0.5"), (100, "1"))
)
NAMED = 3


def draw(found: Findings) -> Section:
    if found.sides is None or len(found.sides.columns) < 2:
        return Section(TITLE, "", [])
    columns = found.sides.columns[: sides.MOST]
    categories = np.array([column.measure == "category" for column in columns])
    data, drawn = (pairwise.matrix(codes[:, : len(columns)], categories) for codes in found.sides[:2])
    text = f"{MEASURES} {differences(data, drawn, columns)}"
    if len(columns) < len(found.sides.columns):
        text += f" The first {len(columns)} of {len(found.sides.columns):,} columns."
    names = tuple(f"{place} {column.name}" for place, column in enumerate(columns, 1))
    rows = f"{len(found.sides.data):,}"
    said = (f"{rows} {found.which}rows.", f"{rows} rows that the model made up.")
    drawings = [
        Picture(
            f"associations-{name.lower()}",
            f"{name}.",
            caption,
            *pictures.both(table_charts.heat_map, strengths),
            rows=names,
            columns=_numbered(len(columns)),
            sheet=True,
        )
        for name, caption, strengths in zip(("Data", "Samples"), said, (data, drawn), strict=True)
    ]
    return Section(TITLE, text, drawings, SCALE)


def _numbered(count: int) -> tuple[str, ...]:
    """The numbers under the columns of a map; every second one where there is no room for all."""
    every = 1 if count <= table_charts.MOST_WRITTEN else 2
    return tuple(str(place + 1) if place % every == 0 else "" for place in range(count))


def differences(data: np.ndarray, drawn: np.ndarray, columns: tuple[Column, ...]) -> str:
    """A sentence on the pairs that differ most."""
    above = np.triu_indices(len(data), 1)
    order = np.argsort(-np.abs(data - drawn)[above], kind="stable")[:NAMED]
    pairs = [(int(above[0][pair]), int(above[1][pair])) for pair in order]
    told = [
        f"{columns[i].name} and {columns[j].name} ({data[i, j]:.2f} in the data, {drawn[i, j]:.2f} in samples)"
        for i, j in pairs
    ]
    return f"The largest difference{'s are' if len(told) > 1 else ' is'} between {'; '.join(told)}."
