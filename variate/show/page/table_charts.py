"""The charts of a table's columns, small ones beside each other. As in ``charts``, no text in them was written by a
user: the page spells the names of columns and levels."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from variate.show.page.charts import TEXT, blank, edges
from variate.show.page.number_line import Line
from variate.show.page.words import signed
from variate.show.pictures import Theme

__all__ = ["ALONE", "BESIDE", "MOST_WRITTEN", "heat_map", "level_bars", "numbers"]

SMALL, LOW = 3.2, 1.7  # inches
BAR, BESIDE, ALONE = 0.26, 2.1, 3.9  # inches: a level's line, its width in small charts and in large ones
MAP, MOST_WRITTEN = 3.9, 15  # inches; columns up to which numbers fit into the squares
FAINT = 0.4  # opacity of the data's histogram, on which the samples' line is drawn
TRIMMED = (0.002, 0.998)  # quantiles of the data beyond which no bins are drawn
SMALLER = TEXT - 1.5


def level_bars(data: np.ndarray, drawn: np.ndarray | None, width: float, theme: Theme) -> Figure:
    """Shares (levels,) as bars without names, the first on top; of two sides the samples below the data."""
    figure = Figure((width, BAR * len(data)), facecolor=theme.paper)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.axis("off")
    sides = ((data, theme.accent), (drawn, theme.second))
    sides = [(shares, colour) for shares, colour in sides if shares is not None]
    thick = 0.66 / len(sides)
    most = max(float(shares.max()) for shares, _ in sides) or 1.0
    for side, (shares, colour) in enumerate(sides):
        places = np.arange(len(shares)) + (side - (len(sides) - 1) / 2) * thick
        ax.barh(places, shares, height=thick, color=colour)
    for place, share in enumerate(data):
        end = max(share, drawn[place]) if drawn is not None else share
        ax.text(end + 0.02 * most, place, f"{share:.1%}", va="center", color=theme.muted, fontsize=SMALLER)
    ax.set_ylim(len(data) - 0.5, -0.5)
    ax.set_xlim(0, 1.24 * most)
    return figure


def numbers(
    data: np.ndarray, drawn: np.ndarray, heaps: tuple[float, ...], step: float, line: Line, theme: Theme
) -> Figure:
    """Codes (n,) of both sides: ``heaps`` as bars, and beside them a histogram of the others, with a scale of its own.

    ``step``: what all codes are multiples of, 0 if there is none.
    """
    rest, others = (side[~np.isin(side, heaps)] for side in (data, drawn))
    if not heaps or not len(rest):
        figure, axes = blank(theme, LOW, width=SMALL)
    else:
        figure, axes = blank(theme, LOW, 1, 2, SMALL)
        axes[0, 0].get_subplotspec().get_gridspec().set_width_ratios([0.35 * len(heaps) + 0.2, 2])
    if heaps:
        _heaps(axes[0, 0], data, drawn, heaps, line, theme)
    if len(rest):
        _histogram(axes[0, -1], rest, others, (len(data), len(drawn)), step, line, theme)
    for ax in axes.flat:
        ax.spines["left"].set_visible(False)
        ax.set_yticks([])
        ax.tick_params(labelsize=SMALLER)
    return figure


def _heaps(ax: Axes, data: np.ndarray, drawn: np.ndarray, heaps: tuple[float, ...], line: Line, theme: Theme) -> None:
    places = np.arange(len(heaps))
    for side, codes, colour in ((-1, data, theme.accent), (1, drawn, theme.second)):
        shares = [float((codes == heap).mean()) if len(codes) else 0.0 for heap in heaps]
        ax.bar(places + 0.2 * side, shares, 0.36, color=colour)
    for place, heap in zip(places, heaps, strict=True):
        share = (data == heap).mean()
        ax.annotate(f"{share:.0%}", (place - 0.2, share), (0, 2), textcoords="offset points", ha="center",
                    color=theme.muted, fontsize=SMALLER)  # fmt: skip
    ax.margins(y=0.2)
    if line.dates:
        ax.set_xticks(places, [str(np.datetime64(round(line.offset + line.scale * heap), "D")) for heap in heaps])
    else:
        ax.set_xticks(places, [_spelled(line.offset + line.scale * heap) for heap in heaps])
    ax.set_xlim(-0.6, len(heaps) - 0.4)


def _histogram(
    ax: Axes, data: np.ndarray, drawn: np.ndarray, of: tuple[int, int], step: float, line: Line, theme: Theme
) -> None:
    """Of codes as shares ``of`` so many rows."""
    unit = step or 1.0
    sides = [np.rint(side / step) if step else side for side in (data, drawn)]
    bins = edges(np.clip(sides[0], *np.quantile(sides[0], TRIMMED, method="nearest")))
    shown = (line.offset + line.scale * unit * bins).tolist()
    for side, rows, style in zip(
        sides,
        of,
        (
            {"color": theme.accent, "alpha": FAINT},
            {"color": theme.second, "histtype": "step", "linewidth": 1.4},
        ),
        strict=True,
    ):
        counts, _ = np.histogram(side, bins)
        ax.hist(shown[:-1], shown, weights=counts / max(rows, 1), **style)
    if line.dates:
        locator = AutoDateLocator(minticks=2, maxticks=4)
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    else:
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=(unit * line.scale).is_integer() and step > 0))
        ax.xaxis.set_major_formatter(lambda value, _: _spelled(value))
    if line.unit:
        ax.set_xlabel(line.unit, color=theme.muted, fontsize=SMALLER)


def _spelled(value: float) -> str:
    """A number on an axis, as people write it."""
    return signed(f"{value:,.7g}")


def heat_map(strengths: np.ndarray, theme: Theme) -> Figure:
    """A square matrix of 0..1, filling the picture; nothing where it is NaN."""
    count = len(strengths)
    figure = Figure((MAP, MAP), facecolor=theme.paper)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.axis("off")
    scale = LinearSegmentedColormap.from_list("strength", [theme.faint, theme.accent]).with_extremes(bad=theme.paper)
    ax.pcolormesh(np.ma.masked_invalid(strengths), cmap=scale, vmin=0, vmax=1, edgecolors=theme.paper, linewidth=1)
    ax.set_ylim(count, 0)
    if count > MOST_WRITTEN:
        return figure
    for (row, column), value in np.ndenumerate(strengths):
        if np.isfinite(value):
            colour = theme.paper if value > 0.6 else theme.ink
            shown = f"{value:.2f}".removeprefix("0")
            ax.text(column + 0.5, row + 0.5, shown, ha="center", va="center", color=colour, fontsize=SMALLER - 0.5)
    return figure
