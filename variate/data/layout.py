"""What the axes of one example are: features, places, channels; the model sees channels first."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from variate.base.errors import UserError, suggest

__all__ = ["LAYOUTS", "Layout", "default_layout", "infer_layout", "parse_layout", "seems_sequential"]

LAYOUTS = ("F", "L", "LC", "CL", "HW", "HWC", "CHW", "DHW", "DHWC", "CDHW")
MOST_CHANNELS = 4  # of images and volumes: grey, grey + alpha, RGB, RGBA; a longer axis is one of places
MOST_COMPARED, LEAST_COMPARED = 1000, 16  # rows and columns that tell whether neighbours resemble each other
NEIGHBOURS, CONTRAST = 0.6, 0.3  # their correlation, and how much it is above that of columns half the way apart
LEAST_PLACES = 8  # a shorter axis beside a longer one holds a signal's channels


@dataclass(frozen=True)
class Layout:
    """One of ``LAYOUTS``: F features, L places of a signal, H × W of an image, D × H × W of a volume, C channels.

    >>> Layout("HWC").tensor_shape((28, 20, 3))
    (3, 28, 20)
    """

    name: str

    @property
    def spatial(self) -> int:
        """The number of axes along which neighbours are near each other: 0 for vectors, 2 for images."""
        return 0 if self.name == "F" else len(self.name.replace("C", ""))

    def fits(self, shape: tuple[int, ...]) -> bool:
        return self.name in LAYOUTS and len(shape) == len(self.name)

    def channels(self, shape: tuple[int, ...]) -> int:
        """The number of features or of channels."""
        return self.tensor_shape(shape)[0]

    def tensor_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(d,) for vectors, else (C, places…)."""
        if self.name == "F" or self.name[0] == "C":
            return shape
        return (shape[-1], *shape[:-1]) if self.name[-1] == "C" else (1, *shape)

    def to_tensor(self, rows: Tensor) -> Tensor:
        """(B, \\*shape) → (B, \\*tensor_shape)."""
        if self.name == "F" or self.name[0] == "C":
            return rows
        return rows.movedim(-1, 1) if self.name[-1] == "C" else rows.unsqueeze(1)

    def to_raw(self, rows: Tensor) -> Tensor:
        """(B, \\*tensor_shape) → (B, \\*shape)."""
        if self.name == "F" or self.name[0] == "C":
            return rows
        return rows.movedim(1, -1) if self.name[-1] == "C" else rows.squeeze(1)

    def along_channels(self, numbers: tuple[float, ...]) -> np.ndarray:
        """One number, or one per feature or channel → float64, to be broadcast against (\\*shape)."""
        array = np.asarray(numbers, dtype=np.float64)
        if len(array) > 1 and self.name[0] == "C":
            return array.reshape(-1, *[1] * self.spatial)
        return array


def default_layout(axes: int) -> str:
    """What an example of that many axes is taken for by format 1 of the model file: F, HW or HWC."""
    return {1: "F", 2: "HW", 3: "HWC"}.get(axes, "DHWC")


def infer_layout(shape: tuple[int, ...]) -> str:
    """The layout that arrays of this shape most often have; ``parse_layout`` is for those that have another.

    >>> [infer_layout(shape) for shape in [(784,), (28, 28), (32, 32, 3), (3, 32, 32), (128, 6), (16, 16, 16)]]
    ['F', 'HW', 'HWC', 'CHW', 'LC', 'DHW']
    """
    if len(shape) == 2 and min(shape) < LEAST_PLACES <= max(shape):
        return "LC" if shape[1] < LEAST_PLACES else "CL"
    if len(shape) == 3:
        return "HWC" if shape[-1] <= MOST_CHANNELS else "CHW" if shape[0] <= MOST_CHANNELS else "DHW"
    if len(shape) == 4:
        return "CDHW" if shape[0] <= MOST_CHANNELS < shape[-1] else "DHWC"
    return default_layout(len(shape))


def seems_sequential(vectors: np.ndarray) -> bool:
    """Whether the columns of real vectors (n, d) resemble their neighbours, and distant ones less: a signal's do.

    >>> walks = np.random.default_rng(0).normal(size=(100, 50)).cumsum(1)
    >>> seems_sequential(walks), seems_sequential(walks[:, np.random.default_rng(0).permutation(50)])
    (True, False)
    """
    some = vectors[:MOST_COMPARED].astype(np.float64)
    if min(some.shape) < LEAST_COMPARED:
        return False
    spread = some.std(0)
    unit = (some - some.mean(0)) / np.where(spread > 0, spread, 1)
    near, far = (float((unit[:, gap:] * unit[:, :-gap]).mean()) for gap in (1, unit.shape[1] // 2))
    return near > NEIGHBOURS and near - far > CONTRAST


def parse_layout(name: str, shape: tuple[int, ...]) -> str:
    """The layout that the user names, checked against the shape."""
    known = name.upper()
    if known not in LAYOUTS:
        raise UserError(f"layout {name!r} is not one of {', '.join(LAYOUTS)}{suggest(known, LAYOUTS)}.")
    if not Layout(known).fits(shape):
        rows = " × ".join(map(str, shape))
        raise UserError(f"layout {known} does not fit examples of {rows}: it has {len(known)} axes, they {len(shape)}.")
    return known
