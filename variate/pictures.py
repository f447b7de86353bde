"""The report's pictures: sheets of images, pixel by pixel, and charts, drawn for light pages and for dark ones.

Every chart function takes plain arrays and a ``Theme`` and returns a Matplotlib ``Figure`` of its own: no pyplot, no
global state. They are ``WIDTH`` inches wide and shown at 100 CSS pixels an inch, so that their type matches the page's.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageOps

from variate.data.schema import Schema
from variate.outputs import as_bytes, contact_sheet

__all__ = ["against", "bars", "both", "curves", "histograms", "scatter", "sheet", "tile_scale", "unit_bars"]

WIDTH = 5.2  # inches
TEXT = 9.0  # points
GAP = 4  # pixels between the images of a sheet
TILE = 84  # pixels that a small image is blown up to: sharp on screens of twice the usual density
CLASS_COLOURS = (
    "#4c78a8", "#f58518", "#e45756", "#58a8a2", "#54a24b", "#d4a72c", "#b279a2", "#ef8a98", "#9d755d", "#8c8c8c",
)  # fmt: skip


@dataclass(frozen=True)
class Theme:
    paper: str
    ink: str
    muted: str
    faint: str
    accent: str
    second: str


LIGHT = Theme("#ffffff", "#1d2330", "#667080", "#e4e7ec", "#3b6fb6", "#d9822b")
DARK = Theme("#15181e", "#e3e6eb", "#98a0ac", "#2d323b", "#7aa7e0", "#e3a35f")


def both(draw: Callable[..., Figure], *args: object) -> tuple[bytes, bytes]:
    """A chart as PNG, for light pages and for dark ones."""
    return _png(draw(*args, LIGHT)), _png(draw(*args, DARK))


def _png(figure: Figure) -> bytes:
    figure.savefig(buffer := io.BytesIO(), format="png", dpi=200, metadata={"Software": None})
    return buffer.getvalue()


def tile_scale(schema: Schema) -> int:
    """The whole number by which ``sheet`` blows up images: none for those that are large already."""
    return max(1, TILE // max(schema.shape[:2]))


def sheet(images: np.ndarray, schema: Schema, columns: int, gap: int = GAP) -> bytes:
    """Raw images (n, \\*shape), ``columns`` to a row, each pixel a square; what is between them is transparent.

    Of images with more channels than three the first three are shown, of those with two the first.
    """
    pixels = as_bytes(images, schema)
    if pixels.ndim == 4:
        pixels = pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., 0]
    pixels = pixels.repeat(tile_scale(schema), axis=1).repeat(tile_scale(schema), axis=2)
    picture = contact_sheet(pixels, columns, gap)
    picture.putalpha(ImageOps.invert(contact_sheet(np.zeros(pixels.shape[:3], np.uint8), columns, gap)))
    kept = picture.crop((gap, gap, picture.width - gap, picture.height - gap))
    return _encoded(kept)


def _encoded(picture: Image.Image) -> bytes:
    picture.save(buffer := io.BytesIO(), format="PNG", optimize=True)
    return buffer.getvalue()


def _chart(theme: Theme, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, np.ndarray]:
    """An empty figure and its axes (rows, columns), with quiet frames."""
    figure = Figure((WIDTH, height), facecolor=theme.paper, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.set_facecolor(theme.paper)
        for side, spine in ax.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(theme.faint)
        ax.tick_params(colors=theme.muted, labelsize=TEXT, length=0, pad=4)
        ax.set_axisbelow(True)
    return figure, axes


def _named(ax: Axes, theme: Theme, across: str, up: str) -> None:
    ax.set_xlabel(across, color=theme.muted, fontsize=TEXT, labelpad=6)
    ax.set_ylabel(up, color=theme.muted, fontsize=TEXT, labelpad=6)


def _legend(ax: Axes, theme: Theme, **options: Any) -> None:
    ax.legend(frameon=False, fontsize=TEXT, labelcolor=theme.ink, **options)


def curves(epochs: list[int], lines: dict[str, list[float]], best: int, up: str, theme: Theme) -> Figure:
    """Lines over the epochs; the frame is that of all but the first tenth of them, which would squash the rest."""
    figure, axes = _chart(theme, 3.4)
    ax = axes[0, 0]
    colours = (theme.accent, theme.second)
    for (name, values), colour in zip(lines.items(), colours, strict=False):
        marker = "o" if len(epochs) < 12 else None
        ax.plot(epochs, values, color=colour, linewidth=1.8, marker=marker, markersize=4, label=name)
    ax.axvline(best, color=theme.muted, linewidth=0.8, linestyle=(0, (2, 3)))
    late = np.array(list(lines.values()))[:, math.ceil(len(epochs) / 10) if len(epochs) > 3 else 0 :]
    margin = 0.08 * (late.max() - late.min()) or 0.05 * abs(float(late.max())) or 1.0
    ax.set_ylim(float(late.min() - margin), float(late.max() + margin))
    ax.grid(axis="y", color=theme.faint, linewidth=0.8)
    ax.spines["left"].set_visible(False)
    ax.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _named(ax, theme, "epoch", up)
    _legend(ax, theme, loc="best")
    return figure


def unit_bars(nats: np.ndarray, active: np.ndarray, theme: Theme) -> Figure:
    """The KL of every latent unit, largest first, the active ones in colour."""
    figure, axes = _chart(theme, 3.4)
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


def scatter(points: np.ndarray, labels: np.ndarray | None, units: tuple[int, int], theme: Theme) -> Figure:
    """Codes (n, 2) as dots, coloured by label."""
    figure, axes = _chart(theme, WIDTH)
    ax = axes[0, 0]
    groups = np.zeros(len(points), np.int64) if labels is None else labels
    classes = np.unique(groups)
    colours = _class_colours(int(classes.max()) + 1) if labels is not None else [theme.accent]
    size = float(np.clip(12_000 / len(points), 3, 22))
    dots = np.array(colours)[groups]
    order = np.random.default_rng(0).permutation(len(points))  # so that no class lies on top of all others
    ax.scatter(points[order, 0], points[order, 1], s=size, c=dots[order].tolist(), alpha=0.75, linewidths=0)
    ax.grid(color=theme.faint, linewidth=0.8)
    _named(ax, theme, f"z[{units[0]}]", f"z[{units[1]}]")
    if labels is not None and len(classes) <= 24:
        for label in classes:
            ax.plot([], [], "o", color=colours[label], markersize=5, label=str(label))
        options = {"loc": "outside upper left", "ncols": 10, "columnspacing": 0.9, "handletextpad": 0.1}
        figure.legend(frameon=False, fontsize=TEXT, labelcolor=theme.ink, **options)
    return figure


def _class_colours(n: int) -> list[str]:
    if n <= len(CLASS_COLOURS):
        return list(CLASS_COLOURS)
    wheel = colormaps["turbo"](np.linspace(0.05, 0.95, n))
    return [to_hex(colour) for colour in wheel]


def bars(scores: dict[str, float], own: str, across: str, theme: Theme) -> Figure:
    """Named scores, smaller is better, best on top; ``own`` is the one in colour."""
    figure, axes = _chart(theme, 0.9 + 0.42 * len(scores))
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


def histograms(data: np.ndarray, drawn: np.ndarray, theme: Theme) -> Figure:
    """Every column of two tables (n, d): the data filled, the model's draws as a line."""
    columns = min(3, data.shape[1])
    rows = math.ceil(data.shape[1] / columns)
    figure, axes = _chart(theme, 1.1 + 1.35 * rows, rows, columns)
    for column, ax in enumerate(axes.flat):
        if column >= data.shape[1]:
            ax.set_visible(False)
            continue
        low, high = np.quantile(data[:, column], [0.002, 0.998])
        edges = np.linspace(low, high if high > low else low + 1, 31)
        ax.hist(data[:, column], edges, density=True, color=theme.accent, alpha=0.35, label="data")
        ax.hist(
            drawn[:, column],
            edges,
            density=True,
            color=theme.second,
            histtype="step",
            linewidth=1.5,
            label="model",
        )
        ax.spines["left"].set_visible(False)
        ax.set_yticks([])
        ax.set_title(f"x[{column}]", color=theme.muted, fontsize=TEXT, loc="left")
    handles, names = axes[0, 0].get_legend_handles_labels()
    options = {"loc": "outside upper left", "ncols": 2, "fontsize": TEXT}
    figure.legend(handles, names, frameon=False, labelcolor=theme.ink, **options)
    return figure


def against(data: np.ndarray, copies: np.ndarray, theme: Theme) -> Figure:
    """Every column of the rows (n, d) against its reconstruction, and the line where both are equal."""
    columns = min(3, data.shape[1])
    rows = math.ceil(data.shape[1] / columns)
    figure, axes = _chart(theme, 0.8 + 1.6 * rows, rows, columns)
    for column, ax in enumerate(axes.flat):
        if column >= data.shape[1]:
            ax.set_visible(False)
            continue
        ends = np.array([data[:, column].min(), data[:, column].max()])
        ax.plot(ends, ends, color=theme.muted, linewidth=0.8)
        ax.plot(data[:, column], copies[:, column], "o", color=theme.accent, markersize=2, alpha=0.5)
        ax.set_title(f"x[{column}]", color=theme.muted, fontsize=TEXT, loc="left")
        ax.set(xlim=ax.get_ylim(), ylim=ax.get_ylim())
        ax.locator_params(nbins=4)
    figure.supxlabel("data", color=theme.muted, fontsize=TEXT)
    figure.supylabel("reconstruction", color=theme.muted, fontsize=TEXT)
    return figure
