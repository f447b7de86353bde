"""The codes of the rows, in the two latent units that say most."""

from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex

from variate.show import pictures
from variate.show.page import charts, classes, walk
from variate.show.page.findings import Findings
from variate.show.page.parts import Keys, Picture, Section
from variate.show.page.words import number

__all__ = ["draw"]

UNKNOWN, OTHER, ALONE = "#b4bac3", "#858d99", "#5a8ac6"
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)  # of a known column, in the legend


class Colours(NamedTuple):
    """One colour per row, (n,); what they mean; a sentence that says so."""

    dots: np.ndarray
    keys: Keys = ()
    text: str = "."


def draw(found: Findings) -> Section:
    colours = _colours(found)
    units, size = found.units, found.codes.shape[1]
    codes = found.codes[:, list(units)].double().numpy()
    caption = f"The {found.code}s of {len(found.seen):,} {found.which}rows in "
    if len(units) == 1:
        drawn = pictures.both(charts.density, codes[:, 0], colours.dots, units[0])
        caption += "the one unit"
    else:
        drawn = pictures.both(charts.scatter, codes, colours.dots, units)
        which = "the two units" if size == 2 else "the two most active units"
        caption += f"{which}, {units[0]} and {units[1]} (counted from 0)"
    caption += colours.text
    if found.run.conditional:
        caption += f" The {found.told} {'is' if found.run.labelled else 'are'} given to encoder and decoder, so z need "
        caption += "not tell the classes apart." if found.run.labelled else "not tell of them."
    picture = Picture("latent", "Codes.", caption, *drawn, keys=colours.keys)
    return Section("Latent space", "", [picture, *walk.pictures_of(found)], found.gallery.keys if found.gallery else ())


def _colours(found: Findings) -> Colours:
    """By class or by the first known column, where there are such."""
    seen, schema = found.seen, found.run.schema
    if seen.columns is not None:
        return _by_number(seen.columns[:, 0].numpy(), seen.columns.shape[1])
    if seen.labels is None or not schema.class_counts:
        return Colours(np.full(len(seen), ALONE))
    labels, chosen = seen.labels.numpy(), classes.shown(schema)
    dots = np.where(labels < 0, UNKNOWN, OTHER)
    for hue, label in zip(pictures.HUES, chosen, strict=False):
        dots[labels == label] = hue
    keys = [(hue, schema.class_names[label]) for hue, label in zip(pictures.HUES, chosen, strict=False)]
    keys += [(OTHER, "other classes")] if len(schema.class_counts) > len(chosen) else []
    keys += [(UNKNOWN, classes.NO_LABEL)] if (labels < 0).any() else []
    return Colours(dots, tuple(keys), f", coloured by label.{classes.selection(schema)}")


def _by_number(values: np.ndarray, columns: int) -> Colours:
    """By rank: as many rows have every colour."""
    rank = np.searchsorted(np.sort(values), values) / max(len(values) - 1, 1)
    scale = colormaps["viridis"]
    dots = np.array([to_hex(colour) for colour in scale(0.1 + 0.8 * rank)])
    keys = [(to_hex(scale(0.1 + 0.8 * q)), number(float(np.quantile(values, q)))) for q in QUANTILES]
    which = "known column" if columns == 1 else f"first of the {columns} known columns"
    return Colours(dots, tuple(keys), f", coloured by the rank of the {which}.")
