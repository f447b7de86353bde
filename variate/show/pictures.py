"""Rows as pictures: sheets of images and of middle slices, pixel by pixel, and panels of signals, line by line.

What has dark lines on a light ground is a function that ends in a ``Theme`` and returns a Matplotlib ``Figure`` of its
own: no pyplot, no global state, and no text that a user could have written.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from PIL import Image, ImageOps

from variate.data.schema import Schema

__all__ = [
    "HUES",
    "LIGHT",
    "MOST_LINES",
    "WIDE",
    "WIDTH",
    "Grid",
    "Theme",
    "as_bytes",
    "as_lines",
    "both",
    "contact_sheet",
    "line_spans",
    "pairs_png",
    "panels",
    "rows_png",
    "scales",
    "sheet",
]

WIDTH, WIDE = 5.2, 10.4  # inches that half the page and all of it hold
GAP = 4  # pixels between the images of a sheet
TILE = 84  # pixels that a small image is blown up to: sharp on screens of twice the usual density
MOST_PIXELS = 700_000  # a sheet's own, before it is blown up; larger images are shrunk to fit: 2.8 MB at the very most
MOST_LINES = 6  # channels in a panel
MOST_POINTS = 1000  # of a line; a longer signal is drawn as the least and the greatest of its neighbours
PAIRS_TO_A_LINE = 20
PANEL, PANEL_ASPECT, LARGEST = 1.4, 0.6, 100.0  # inches; height over width; inches along a picture's side
CARD_GAP, MARGIN = 0.05, 0.06  # inches between panels; what they leave free at their edges
HUES = (
    "#4c78a8", "#f58518", "#e45756", "#3fa8a0", "#54a24b", "#c99a1f",
    "#b279a2", "#ef8a98", "#9d755d", "#7b66d6", "#3aa5dd", "#8fae2e",
)  # fmt: skip


@dataclass(frozen=True)
class Theme:
    paper: str
    card: str
    ink: str
    muted: str
    faint: str
    accent: str
    second: str


LIGHT = Theme("#ffffff", "#f6f7f9", "#1d2330", "#667080", "#e4e7ec", "#3b6fb6", "#d9822b")
DARK = Theme("#15181e", "#1c2027", "#e3e6eb", "#98a0ac", "#2d323b", "#7aa7e0", "#e3a35f")


def both(draw: Callable[..., Figure], *args: object) -> tuple[bytes, bytes]:
    """A figure as PNG, for light pages and for dark ones."""
    return png(draw(*args, LIGHT)), png(draw(*args, DARK))


def png(figure: Figure) -> bytes:
    """In 128 colours, which takes a third of the bytes that all of them would."""
    figure.savefig(buffer := io.BytesIO(), format="png", dpi=200)
    exact = Image.open(buffer).convert("RGB")
    return encoded(exact.quantize(128, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE))


def encoded(picture: Image.Image) -> bytes:
    picture.save(buffer := io.BytesIO(), format="PNG", optimize=True)
    return buffer.getvalue()


# ---------------------------------------------------------------- images


def as_bytes(values: np.ndarray, schema: Schema, span: tuple[float, float] | None = None) -> np.ndarray:
    """Raw images, or the middle slices of volumes → uint8 (n, H, W), (n, H, W, 3) or (n, H, W, 4) for looking at.

    Levels are spread over 0..255; real numbers and counts from the one end of the ``span`` to the other, by default
    their least and greatest. Of two channels the first is shown, of more than three the first three; but four channels
    of levels are colours with transparency.
    """
    planes = _planes(values, schema).astype(np.float64)
    channels = planes.shape[-1]
    if channels not in (1, 3) and not (channels == 4 and schema.x.kind.levels):
        planes = planes[..., : 3 if channels > 3 else 1]
    if schema.x.kind.levels is not None:
        low, high = 0.0, (schema.x.kind.levels - 1) / schema.x.kind.divisor
    else:
        low, high = span or (planes.min(), planes.max())
    pixels = ((planes - low) * (255 / ((high - low) or 1))).round().clip(0, 255).astype(np.uint8)
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def _planes(values: np.ndarray, schema: Schema) -> np.ndarray:
    """Raw images or volumes → (n, H, W, C)."""
    axis = schema.x.layout.find("C")
    values = values[..., None] if axis < 0 else np.moveaxis(values, axis + 1, -1)
    return values[:, values.shape[1] // 2] if schema.x.axes.spatial == 3 else values


def contact_sheet(images: np.ndarray, columns: int | None = None, gap: int = 2) -> Image.Image:
    """uint8 images (n, H, W) or (n, H, W, C) in one picture, ``columns`` to a row (by default as square as it gets)."""
    n, height, width = images.shape[:3]
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, *images.shape[3:]), 255, np.uint8)
    for index, image in enumerate(images):
        top, left = (index // columns) * (height + gap) + gap, (index % columns) * (width + gap) + gap
        sheet[top : top + height, left : left + width] = image
    return Image.fromarray(sheet)


def scales(schema: Schema, count: int) -> tuple[int, int]:
    """The whole numbers by which a sheet of that many images blows them up, and shrinks them."""
    height, width = schema.x.tensor_shape[-2:]
    return max(1, TILE // max(height, width)), math.ceil(math.sqrt(count * height * width / MOST_PIXELS))


def sheet(
    images: np.ndarray, schema: Schema, columns: int, gap: int = GAP, span: tuple[float, float] | None = None
) -> bytes:
    """Raw images (n, \\*shape) as PNG, ``columns`` to a row, each pixel a square; what is between them is transparent.

    Transparent images lie on white. Images that are too large for a sheet are averaged over squares.
    """
    up, down = scales(schema, len(images))
    pixels = _shrunk(_on_white(as_bytes(images, schema, span)), down).repeat(up, axis=1).repeat(up, axis=2)
    picture = contact_sheet(pixels, columns, gap)
    picture.putalpha(ImageOps.invert(contact_sheet(np.zeros(pixels.shape[:3], np.uint8), columns, gap)))
    return encoded(picture.crop((gap, gap, picture.width - gap, picture.height - gap)))


def _on_white(pixels: np.ndarray) -> np.ndarray:
    if pixels.shape[-1] != 4 or pixels.ndim < 4:
        return pixels
    alpha = pixels[..., 3:] / 255
    return (pixels[..., :3] * alpha + 255 * (1 - alpha)).round().astype(np.uint8)


def _shrunk(pixels: np.ndarray, by: int) -> np.ndarray:
    """The means over squares of that side."""
    return pixels if by == 1 else np.stack([np.asarray(Image.fromarray(image).reduce(by)) for image in pixels])


# ---------------------------------------------------------------- signals


def as_lines(values: np.ndarray, schema: Schema, span: np.ndarray) -> np.ndarray:
    """Raw signals → (n, C, L) for looking at: of every channel, its ``span`` (C, 2) becomes 0..1; the first few alone.

    >>> from variate.data.kinds import Reals
    >>> from variate.data.schema import Field
    >>> schema = Schema.of(Field(Reals(), (3,), "uint8", layout="L"))
    >>> as_lines(np.array([[0, 5, 10]]), schema, np.array([[0.0, 10.0]])).tolist()
    [[[0.0, 0.5, 1.0]]]
    """
    lines = _channels_first(values, schema)[:, :MOST_LINES]
    low, high = span[:MOST_LINES, :1], span[:MOST_LINES, 1:]
    return (lines - low) / np.where(high > low, high - low, 1.0)


def line_spans(values: np.ndarray, schema: Schema, drawn: np.ndarray | None = None) -> np.ndarray:
    """(C, 2): what every channel of raw signals ranges over, but for a thousandth at either end; all of what ``drawn``
    ones do, so that no spike is cut off."""
    spans = np.quantile(_channels_first(values, schema), (0.001, 0.999), axis=(0, 2)).T
    if drawn is None:
        return spans
    lines = _channels_first(drawn, schema)
    return np.stack([np.minimum(spans[:, 0], lines.min((0, 2))), np.maximum(spans[:, 1], lines.max((0, 2)))], axis=1)


def _channels_first(values: np.ndarray, schema: Schema) -> np.ndarray:
    axis = schema.x.layout.find("C")
    lines = values[:, None] if axis < 0 else np.moveaxis(values, axis + 1, 1)
    return lines.astype(np.float64)


class Grid(NamedTuple):
    """Where panels stand: ``columns`` to a row, over so many inches, so high for their width; those of a ``ladder``
    touch each other from top to bottom."""

    columns: int
    width: float
    aspect: float
    ladder: bool = False


def panels(lines: np.ndarray, behind: np.ndarray | None, grid: Grid, theme: Theme) -> Figure:
    """Lines (n, C, L) with 0..1 from bottom to top, a panel each, one colour a channel, all with the same axes.

    ``behind``: others of that shape, drawn pale and thick under them. Where lines are NaN there are none. What leaves
    its panel runs along the edge. There is one pair of axes, in which every panel has the sides 1 and 1.
    """
    rows, height = math.ceil(len(lines) / grid.columns), grid.aspect * grid.width / grid.columns
    figure = Figure((grid.width, rows * height), facecolor=theme.paper)
    ax = figure.add_axes((0, 0, 1, 1), xlim=(0, grid.columns), ylim=(-rows, 0))
    ax.set_axis_off()
    between = min(CARD_GAP, height / 4)
    gap = np.array([between * grid.columns / grid.width, 0 if grid.ladder else between / height])
    corners = np.array([(index % grid.columns, -(index // grid.columns) - 1) for index in range(len(lines))]) + gap / 2
    square = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
    ax.add_collection(PolyCollection([corner + (1 - gap) * square for corner in corners], facecolors=theme.card))
    layers = [(lines, 1.0, 1.0)] if behind is None else [(behind, 2.6, 0.35), (lines, 1.0, 1.0)]
    for drawn, weight, alpha in layers:
        for channel in range(drawn.shape[1]):
            curves = [_curve(line) for line in drawn[:, channel]]
            curves = [corner + (1 - gap) * curve for corner, curve in zip(corners, curves, strict=True)]
            ax.add_collection(LineCollection(curves, colors=HUES[channel], linewidths=weight, alpha=alpha))
    return figure


def _curve(line: np.ndarray) -> np.ndarray:
    """(points, 2) within the unit square of a signal's values; it keeps its peaks however long it is."""
    if len(line) > 2 * MOST_POINTS:
        blocks = np.array_split(line, MOST_POINTS // 2)
        line = np.array([end for block in blocks for end in (block.min(), block.max())])
    across = np.linspace(MARGIN, 1 - MARGIN, len(line))
    if len(line) == 1:  # a point: a dash
        across, line = np.array([0.3, 0.7]), line.repeat(2)
    return np.stack([across, MARGIN + (1 - 2 * MARGIN) * line.clip(-MARGIN, 1 + MARGIN)], axis=1)


# ---------------------------------------------------------------- whatever the rows are, as one file


def rows_png(values: np.ndarray, schema: Schema, columns: int | None = None) -> bytes:
    """Raw images, volumes or signals side by side, pixel by pixel or in panels, on white."""
    if schema.x.axes.spatial > 1:
        return encoded(contact_sheet(as_bytes(values, schema), columns))
    lines = as_lines(values, schema, line_spans(values, schema, values))
    return png(panels(lines, None, _square(len(lines), columns), LIGHT))


def pairs_png(originals: np.ndarray, copies: np.ndarray, schema: Schema) -> bytes:
    """The same of rows and their copies: images below each other, line by line, and signals in one panel."""
    if schema.x.axes.spatial == 1:
        spans = line_spans(originals, schema, originals)
        behind, lines = (as_lines(rows, schema, spans) for rows in (originals, copies))
        return png(panels(lines, behind, _square(len(lines), None), LIGHT))
    count, columns = len(originals), min(PAIRS_TO_A_LINE, len(originals))
    pixels = as_bytes(np.concatenate([originals, copies]), schema)
    blank = np.full((-count % columns, *pixels.shape[1:]), 255, np.uint8)
    halves = [np.concatenate([half, blank]) for half in (pixels[:count], pixels[count:])]
    lines = np.stack([half.reshape(-1, columns, *pixels.shape[1:]) for half in halves], axis=1)
    return encoded(contact_sheet(lines.reshape(-1, *pixels.shape[1:]), columns))


def _square(count: int, columns: int | None) -> Grid:
    """Panels in a picture as square as it gets, and not larger than can be looked at."""
    columns = columns or math.ceil(math.sqrt(count))
    side = min(PANEL, LARGEST / columns, LARGEST / (PANEL_ASPECT * math.ceil(count / columns)))
    return Grid(columns, side * columns, PANEL_ASPECT)
