"""Which cells of a table are missing, column by column."""

import numpy as np

from variate.show import pictures
from variate.show.page import sides, table_charts
from variate.show.page.findings import Findings
from variate.show.page.parts import Picture, Section

__all__ = ["draw"]

TITLE = "Missing cells"


def draw(found: Findings) -> Section:
    """Nothing where no cell is missing."""
    if found.sides is None:
        return Section(TITLE, "", [])
    shares = found.missing
    places = np.argsort(-shares, kind="stable")[: sides.MOST]
    places = places[shares[places] > 0]
    if not len(places):
        return Section(TITLE, "", [])
    whole = int((shares == 0).sum())
    caption = f"The share of all {len(found.rows):,} {found.which}rows in which a column's cell is missing"
    caption += f"; {whole:,} of {len(shares):,} columns have all their cells. " if whole else ". "
    caption += "The likelihood is that of the cells that are there, and samples have them all."
    names = tuple(found.sides.columns[place].name for place in places)
    chart = pictures.both(table_charts.level_bars, shares[places], None, table_charts.ALONE)
    return Section(TITLE, "", [Picture("missing", "By column.", caption, *chart, rows=names, sheet=True)])
