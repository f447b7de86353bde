"""The report's charts. All take plain arrays and end in a ``Theme``; they are shown at 100 CSS pixels an inch, so that
their type matches the page's. No text in them was written by a user: the page itself spells names and legends."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from variate.show.pictures import WIDE, WIDTH, Theme

__all__ = ["against", "bars", "blank", "curves", "density", "edges", "histograms", "is_wide", "scatter", "unit_bars"]

TEXT = 9.0  # points
BINS = 30
MOST_ACROSS = 6  # small charts beside each other
MOST_WHOLE = 1e9  # greater numbers are not told apart from their neighbours


def is_wide(count: int) -> bool:
    """Whether charts of so many columns are as wide as the page."""
    return count > MOST_ACROSS // 2


def blank(
    theme: Theme, height: float, rows: int = 1, columns: int = 1, width: float = WIDTH
) -> tuple[Figure, np.ndarray]:
    """An empty figure and its axes (rows, columns), with quiet frames."""
    figure = Figure((width, height), facecolor=theme.paper, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.set_facecolor(theme.paper)
        for side, spine in ax.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(theme.faint)
        ax.tick_params(colors=theme.muted, labelsize=TEXT, length=0, pad=4)
        for axis in (ax.xaxis, ax.yaxis):
            axis.get_offset_text().set(color=theme.muted, fontsize=TEXT - 1)
        ax.set_axisbelow(True)
    return figure, axes


def _named(ax: Axes, theme: Theme, across: str, up: str) -> None:
    ax.set_xlabel(across, color=theme.muted, fontsize=TEXT, labelpad=6)
    ax.set_ylabel(up, color=theme.muted, fontsize=TEXT, labelpad=6)


def _legend(ax: Axes, theme: Theme, **options: Any) -> None:
    ax.legend(frameon=False, fontsize=TEXT, labelcolor=theme.ink, **options)


def curves(epochs: list[int], lines: dict[str, list[float]], up: str, best: int, theme: Theme) -> Figure:
    """Lines over the epochs, with gaps at NaN; the frame is that of all but the first tenth of them, which would squash
    the rest."""
    figure, axes = blank(theme, 3.4)
    ax = axes[0, 0]
    colours = (theme.accent, theme.second)
    for (name, values), colour in zip(lines.items(), colours, strict=False):
        marker = "o" if len(epochs) < 12 else None
        ax.plot(epochs, values, color=colour, linewidth=1.8, marker=marker, markersize=4, label=name)
    ax.axvline(best, color=theme.muted, linewidth=0.8, linestyle=(0, (2, 3)))
    late = np.array(list(lines.values()))[:, math.ceil(len(epochs) / 10) if len(epochs) > 3 else 0 :]
    low, high = np.nanmin(late, initial=math.inf), np.nanmax(late, initial=-math.inf)
    if low <= high:
        margin = 0.08 * (high - low) or 0.05 * abs(float(high)) or 1.0
        ax.set_ylim(float(low - margin), float(high + margin))
    ax.grid(axis="y", color=theme.faint, linewidth=0.8)
    ax.spines["left"].set_visible(False)
    ax.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _named(ax, theme, "epoch", up)
    _legend(ax, theme, loc="best")
    return figure


def unit_bars(nats: np.ndarray, active: np.ndarray, theme: Theme) -> Figure:
    """The KL of every latent unit, largest first, the active ones in colour."""
    figure, axes = blank(theme, 3.4)
    ax, order = axes[0, 0], np.argsort(-nats, kind="stable")
    places = np.arange(len(nats))
    for mask, colour, name in ((active, theme.accent, "active"), (~active, theme.muted, "inactive")):
        chosen = mask[order]
        if chosen.any():
            ax.bar(places[chosen], nats[order][chosen], color=colour, width=0.72, label=name)
    ax.grid(axis="y", color=theme.faint, linewidth=0.8)
    ax.spines["left"].set_visible(False)
    ax.set_xlim(-0.7, max(len(nats), 4) - 0.3)
    step = math.ceil(len(nats) / 16)
    ax.set_xticks(places[::step], [str(unit) for unit in order[::step]])
    _named(ax, theme, "latent unit, by its KL", "KL, nats")
    _legend(ax, theme, loc="upper right")
    return figure


def scatter(points: np.ndarray, colours: np.ndarray, units: tuple[int, int], theme: Theme) -> Figure:
    """Codes (n, 2) as dots, each with a colour of its own."""
    figure, axes = blank(theme, WIDTH)
    ax = axes[0, 0]
    order = np.random.default_rng(0).permutation(len(points))  # so that no class lies on top of all others
    options = {"s": float(np.clip(12_000 / len(points), 3, 22)), "alpha": 0.75, "linewidths": 0}
    ax.scatter(points[order, 0], points[order, 1], c=colours[order].tolist(), **options)
    ax.grid(color=theme.faint, linewidth=0.8)
    _named(ax, theme, f"z[{units[0]}]", f"z[{units[1]}]")
    return figure


def density(codes: np.ndarray, colours: np.ndarray, unit: int, theme: Theme) -> Figure:
    """Codes (n,) as histograms, stacked, one for each colour."""
    figure, axes = blank(theme, 3.0)
    ax, hues = axes[0, 0], list(dict.fromkeys(sorted(colours.tolist())))
    groups = [codes[colours == hue] for hue in hues]
    ax.hist(groups, edges(codes), stacked=True, color=hues, alpha=0.85)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    ax.grid(axis="y", color=theme.faint, linewidth=0.8)
    ax.spines["left"].set_visible(False)
    _named(ax, theme, f"z[{unit}]", "rows")
    return figure


def bars(scores: dict[str, float], own: str, across: str, theme: Theme) -> Figure:
    """Named scores, smaller is better, best on top; ``own`` is the one in colour."""
    figure, axes = blank(theme, 0.9 + 0.42 * len(scores))
    ax, ranked = axes[0, 0], sorted(scores, key=lambda name: -scores[name])
    values = [scores[name] for name in ranked]
    colours = [theme.accent if name == own else theme.faint for name in ranked]
    drawn = ax.barh(ranked, values, color=colours, height=0.62)
    texts = ax.bar_label(drawn, fmt="%.3g" if max(values) < 0.1 else "%.3f", padding=5)
    for text in (*texts, *ax.get_yticklabels()):
        text.set(color=theme.ink, fontsize=TEXT)
    span = max(*values, 0) - min(*values, 0)
    ax.set_xlim(min(*values, 0) - (0.18 * span if min(values) < 0 else 0), max(*values, 0) + 0.18 * span)
    ax.spines["bottom"].set_visible(False)
    ax.set_xticks([])
    _named(ax, theme, across, "")
    return figure


def histograms(data: np.ndarray, drawn: np.ndarray, names: list[str], theme: Theme) -> Figure:
    """Every column of two tables (n, d): the data filled, the model's draws as a line, both as shares of their rows."""
    figure, axes = _small(theme, len(names), 1.1, 1.35)
    for column, ax in enumerate(axes):
        bins = edges(data[:, column]).tolist()
        for rows, style in (
            (data, {"color": theme.accent, "alpha": 0.35, "label": "data"}),
            (drawn, {"color": theme.second, "histtype": "step", "linewidth": 1.5, "label": "model"}),
        ):
            ax.hist(rows[:, column], bins, weights=np.full(len(rows), 1 / len(rows)), **style)
        ax.spines["left"].set_visible(False)
        ax.set_yticks([])
        ax.locator_params(axis="x", nbins=3)
        ax.set_title(names[column], color=theme.muted, fontsize=TEXT, loc="left")
    handles, told = axes[0].get_legend_handles_labels()
    options = {"loc": "outside upper left", "ncols": 2, "fontsize": TEXT}
    figure.legend(handles, told, frameon=False, labelcolor=theme.ink, **options)
    return figure


def against(data: np.ndarray, copies: np.ndarray, names: list[str], theme: Theme) -> Figure:
    """Every column of the rows (n, d) against its reconstruction, and the line where both are equal."""
    figure, axes = _small(theme, len(names), 0.8, 1.6)
    for column, ax in enumerate(axes):
        ends = np.array([data[:, column].min(), data[:, column].max()])
        ax.plot(ends, ends, color=theme.muted, linewidth=0.8)
        ax.plot(data[:, column], copies[:, column], "o", color=theme.accent, markersize=2, alpha=0.5)
        ax.set_title(names[column], color=theme.muted, fontsize=TEXT, loc="left")
        ax.set(xlim=ax.get_ylim(), ylim=ax.get_ylim())
        ax.locator_params(nbins=3)
    figure.supxlabel("data", color=theme.muted, fontsize=TEXT)
    figure.supylabel("reconstruction", color=theme.muted, fontsize=TEXT)
    return figure


def _small(theme: Theme, count: int, frame: float, each: float) -> tuple[Figure, list[Axes]]:
    """So many small axes, as wide as the page if need be. ``frame``, ``each``: inches around them, for a line."""
    columns = min(MOST_ACROSS, count)
    rows = math.ceil(count / columns)
    figure, axes = blank(theme, frame + each * rows, rows, columns, WIDE if is_wide(count) else WIDTH)
    for ax in axes.flat[count:]:
        ax.set_visible(False)
    return figure, list(axes.flat[:count])


def edges(values: np.ndarray) -> np.ndarray:
    """Of the bins of a histogram; every bin holds as many whole numbers, where the values are whole numbers."""
    if np.abs(values).max() < MOST_WHOLE and (values == values.round()).all():
        width = max(1, math.ceil((values.max() - values.min() + 1) / BINS))
        bins = math.ceil((values.max() - values.min() + 1) / width)
        return values.min() - 0.5 + width * np.arange(bins + 1)
    low, high = np.quantile(values, [0.002, 0.998])
    room = 0 if high > low else max(1.0, abs(low) / 10)
    return np.linspace(low - room, high + room, BINS + 1)
