"""What values are: the exact way between raw values and model units, for each kind of them.

A field's values come as (B, C, *places), channels first; numbers that a kind has learned are one for all of them, or
one for every channel (of vectors: column).
"""

import math
import sys
from dataclasses import asdict, dataclass, fields, replace
from itertools import zip_longest
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from variate.base.errors import UserError
from variate.base.registry import registry, snake

__all__ = ["Binned", "Categories", "Category", "Counts", "Kind", "Levels", "Reals", "spread_or_one"]

MOST_LEVELS, MOST_CLASSES, LONGEST_NAME = 65_536, 65_536, 1000
MOST_ATOMS, MOST_CATEGORIES = 16, 1 << 20  # of a column, and of all columns of a field together
WHOLE = 1e-9  # how close to 1 a step times a whole number is to be


@dataclass(frozen=True)
class Kind:
    """The base of the kinds. ``support`` names what a likelihood of such values must cover.

    ``levels``: how many values there are, ``None`` of those without end. ``divisor``: raw values are k / divisor.
    ``offset`` and ``scale``: u = (x − offset) / scale. A scale of 0 says that all values are a constant, the offset: u
    is 0 there, and 1 for any other value, which has probability 0.
    """

    support: ClassVar[str] = "levels"
    shown: ClassVar[str] = "numbers"  # how a reader shows such columns of a table
    is_mass: ClassVar[bool] = True  # whether likelihoods are probabilities rather than densities
    is_count: ClassVar[bool] = False  # whether they are whole numbers without end
    levels: ClassVar[int | None] = None
    divisor: ClassVar[int] = 1
    offset: ClassVar[tuple[float, ...]] = (0.0,)
    scale: ClassVar[tuple[float, ...]] = (1.0,)

    def units(self, raw: Tensor, dtype: torch.dtype) -> Tensor:
        """Raw values (B, C, …) as stored → model units, on their device."""
        raise NotImplementedError

    def raw(self, units: np.ndarray) -> np.ndarray:
        """Model units (B, C, …), float64 → raw values, float64; what is whole is rounded."""
        raise NotImplementedError

    def canonical(self, raw: Tensor) -> Tensor:
        """Raw values → what they stand for: equal values have equal bytes, however stored."""
        return self.whole(raw)

    def whole(self, raw: Tensor) -> Tensor:
        """Raw values of a kind of masses → the whole numbers k that they stand for, int64."""
        if self.divisor == 1 and not raw.is_floating_point():
            return raw.to(torch.int64)
        return (raw.to(torch.float64) * self.divisor).round().to(torch.int64)

    def log_volume_nats(self, shape: tuple[int, ...]) -> float:
        """What a log-density in model units lacks to be one in raw units, of an example of (C, …): 0 for masses."""
        return 0.0

    def varying_size(self, shape: tuple[int, ...]) -> int:
        """How many of the values of an example of (C, …) are no constants."""
        return int(np.count_nonzero(np.broadcast_to(_along_channels(self.scale, len(shape)), shape)))

    def without_constants(self) -> "Kind":
        """The same, of values that may all vary."""
        return self

    def describe(self) -> str:
        """What the values are, in a few words."""
        raise NotImplementedError

    def plausible(self, channels: int) -> bool:
        """Whether every number has the type and the range that this package gives it; nothing is assumed of them."""
        raise NotImplementedError

    def to_json(self) -> dict:
        return {"name": snake(type(self).__name__)} | asdict(self)

    @staticmethod
    def from_json(said: object) -> "Kind":
        """The inverse of ``to_json``; raises ``UserError`` for what is no kind."""
        kinds = registry(sys.modules[__name__], Kind)
        name = said.get("name") if isinstance(said, dict) else None
        kind = kinds.get(name) if isinstance(name, str) else None
        if kind is None or not isinstance(said, dict) or set(said) != {"name", *(field.name for field in fields(kind))}:
            raise UserError("its schema has missing or unknown keys: it was not written by variate.")
        return kind(**{key: _tuples(value) for key, value in said.items() if key != "name"})


@dataclass(frozen=True)
class Levels(Kind):
    """k / ``divisor`` for whole k in 0..L−1; u = k / (L−1) lies on a grid in [0, 1].

    >>> Levels(256).units(torch.tensor([[51]]), torch.float32)
    tensor([[0.2000]])
    """

    levels: int
    divisor: int = 1

    def units(self, raw: Tensor, dtype: torch.dtype) -> Tensor:
        level = raw.to(dtype) if self.divisor == 1 else raw.to(dtype) * self.divisor
        return (level.round() if raw.is_floating_point() else level) / (self.levels - 1)

    def raw(self, units: np.ndarray) -> np.ndarray:
        return (units * (self.levels - 1)).round().clip(0, self.levels - 1) / self.divisor

    def canonical(self, raw: Tensor) -> Tensor:
        return self.whole(raw).to(torch.uint8) if self.levels <= 256 else self.whole(raw)

    def describe(self) -> str:
        return f"whole numbers 0..{self.levels - 1}" + (f" divided by {self.divisor}" * (self.divisor > 1))

    def plausible(self, channels: int) -> bool:
        return (
            _whole((self.levels,), 2, MOST_LEVELS) and _whole((self.divisor,), 1, 256) and self.divisor in (1, 255, 256)
        )


@dataclass(frozen=True)
class _Standardised(Kind):
    """u = (x − offset) / scale."""

    offset: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)

    def units(self, raw: Tensor, dtype: torch.dtype) -> Tensor:
        exact = self._exact(raw)
        offset, scale = (torch.from_numpy(_along_channels(n, raw.dim() - 1)).to(raw.device) for n in self._numbers)
        if 0.0 not in self.scale:
            return ((exact - offset) / scale).to(dtype)
        other = (exact != offset).to(exact.dtype)
        return torch.where(scale == 0, other, (exact - offset) / torch.where(scale == 0, 1.0, scale)).to(dtype)

    def raw(self, units: np.ndarray) -> np.ndarray:
        offset, scale = (_along_channels(numbers, units.ndim - 1) for numbers in self._numbers)
        return np.where(scale == 0, 0.0, units) * scale + offset

    def without_constants(self) -> Kind:
        return replace(self, scale=spread_or_one(self.scale))

    @property
    def _numbers(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return self.offset, self.scale

    def _exact(self, raw: Tensor) -> Tensor:
        return raw.to(torch.float64)

    def plausible(self, channels: int) -> bool:
        fit = all(_reals(numbers) and len(numbers) in (1, channels) for numbers in self._numbers)
        return fit and min(self.scale) >= 0


@dataclass(frozen=True)
class Counts(_Standardised):
    """Whole numbers 0, 1, 2, … without end; u = (x − offset) / scale, and likelihoods are masses.

    >>> Counts(scale=(2.0,)).units(torch.tensor([[3]]), torch.float32)
    tensor([[1.5000]])
    """

    support: ClassVar[str] = "counts"
    is_count: ClassVar[bool] = True

    def _exact(self, raw: Tensor) -> Tensor:
        return self.whole(raw).to(torch.float64)

    def raw(self, units: np.ndarray) -> np.ndarray:
        return super().raw(units).round().clip(0)

    def describe(self) -> str:
        return "counts 0, 1, 2, …"


@dataclass(frozen=True)
class Reals(_Standardised):
    """Real numbers; u = (x − offset) / scale, and likelihoods are densities: log p(x) = log p(u) − Σ log scale.

    >>> reals = Reals(offset=(5.0, 0.0), scale=(2.0, 1.0))
    >>> reals.units(torch.tensor([[1.0, 3.0]]), torch.float32), round(reals.log_volume_nats((2,)), 4)
    (tensor([[-2.,  3.]]), -0.6931)
    """

    support: ClassVar[str] = "reals"
    is_mass: ClassVar[bool] = False

    def canonical(self, raw: Tensor) -> Tensor:
        return raw.to(torch.float64) + 0.0  # −0.0 too becomes 0.0

    def log_volume_nats(self, shape: tuple[int, ...]) -> float:
        scale = np.broadcast_to(_along_channels(self.scale, len(shape)), shape)
        return -float(np.log(scale[scale > 0]).sum())

    def describe(self) -> str:
        return "real numbers"


@dataclass(frozen=True)
class Binned(_Standardised):
    """Real numbers that lie on a grid; u = (x − offset) / scale, and likelihoods are the masses of bins of the grid.

    Bins are ``step`` wide in raw values, one of them around every whole multiple of it. ``atoms`` are, per column, the
    raw values that are to have a probability of their own. Each is one for all columns, or one per column. ``raw``
    gives what is nearest, a multiple or an atom.

    >>> cents = Binned(offset=(10.0,), scale=(4.0,), step=(0.01,), atoms=((0.0, 9.99),))
    >>> cents.units(torch.tensor([[9.0]]), torch.float32), cents.atoms_in_units[0][0], cents.describe()
    (tensor([[-0.2500]]), -2.5, 'real numbers in bins')
    """

    step: tuple[float, ...] = (1.0,)
    atoms: tuple[tuple[float, ...], ...] = ((),)

    support: ClassVar[str] = "bins"
    shown: ClassVar[str] = "heaped"

    @property
    def half_widths(self) -> tuple[float, ...]:
        """Half a bin of every column in model units."""
        return tuple((np.asarray(self.step) / (2 * np.asarray(spread_or_one(self.scale)))).tolist())

    @property
    def anchors(self) -> tuple[float, ...]:
        """Where u = 0 lies on the grid of every column, in bins: the value k · step is u = (k − anchor) · 2 · half."""
        return tuple((np.asarray(self.offset) / np.asarray(self.step)).tolist())

    @property
    def atoms_in_units(self) -> tuple[tuple[float, ...], ...]:
        columns = max(map(len, (self.offset, self.scale, self.atoms)))
        offset, scale = (np.broadcast_to(n, columns) for n in (self.offset, spread_or_one(self.scale)))
        atoms = self.atoms * (columns // len(self.atoms))
        return tuple(
            tuple(((np.asarray(of_column) - x0) / s).tolist())
            for of_column, x0, s in zip(atoms, offset, scale, strict=True)
        )

    def raw(self, units: np.ndarray) -> np.ndarray:
        about, step = super().raw(units), _along_channels(self.step, units.ndim - 1)
        parts = np.maximum((1 / step).round(), 1)  # 3 / 10 is 0.3, which 3 · 0.1 is not
        tenths = np.abs(parts * step - 1) < WHOLE
        found = np.where(tenths, (about * parts).round() / parts, (about / step).round() * step)
        for atoms in zip_longest(*self.atoms, fillvalue=math.inf):
            atom = _along_channels(atoms, units.ndim - 1)
            found = np.where(np.abs(about - atom) < np.abs(about - found), atom, found)
        return found + 0.0

    def canonical(self, raw: Tensor) -> Tensor:
        return raw.to(torch.float64) + 0.0  # −0.0 too becomes 0.0

    def describe(self) -> str:
        return "real numbers in bins"

    def plausible(self, channels: int) -> bool:
        return (
            super().plausible(channels)
            and (_reals(self.step) and len(self.step) in (1, channels) and min(self.step) > 0)
            and (isinstance(self.atoms, tuple) and len(self.atoms) in (1, channels))
            and all(_reals(atoms) and len(set(atoms)) == len(atoms) <= MOST_ATOMS for atoms in self.atoms)
        )


@dataclass(frozen=True)
class Categories(Kind):
    """One of K_i levels without an order in column i: k in 0..K_i − 1, and u = k, a float.

    >>> Categories((2, 3)).units(torch.tensor([[1.0, 2.0]], dtype=torch.float64), torch.float32)
    tensor([[1., 2.]])
    """

    sizes: tuple[int, ...]

    support: ClassVar[str] = "categories"
    shown: ClassVar[str] = "levels"

    def units(self, raw: Tensor, dtype: torch.dtype) -> Tensor:
        return raw.to(torch.float64).round().to(dtype)

    def raw(self, units: np.ndarray) -> np.ndarray:
        return units.round().clip(0, _along_channels(self.sizes, units.ndim - 1) - 1)

    def describe(self) -> str:
        return f"categories of {min(self.sizes)} to {max(self.sizes)} levels"

    def plausible(self, channels: int) -> bool:
        return (
            _whole(self.sizes, 2, MOST_CATEGORIES)
            and len(self.sizes) == channels
            and sum(self.sizes) <= MOST_CATEGORIES
        )


@dataclass(frozen=True)
class Category(Kind):
    """One of K classes, k in 0..K−1, −1 where it is missing; u = k, int64.

    ``frequencies``: the training rows of each. ``words``: what they are called, ``None`` for "0", "1", ….

    >>> Category((7, 3), ("cat", "dog")).names
    ('cat', 'dog')
    """

    frequencies: tuple[int, ...]
    words: tuple[str, ...] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return self.words or tuple(str(index) for index in range(len(self.frequencies)))

    def units(self, raw: Tensor, dtype: torch.dtype) -> Tensor:
        return raw.to(torch.int64)

    def raw(self, units: np.ndarray) -> np.ndarray:
        return units

    def describe(self) -> str:
        return f"{len(self.frequencies)} classes"

    def plausible(self, channels: int) -> bool:
        counts, words = self.frequencies, self.words
        return (_whole(counts, 0, 1 << 53) and 0 < len(counts) <= MOST_CLASSES) and (
            words is None
            or isinstance(words, tuple)
            and len(words) == len(counts)
            and all(isinstance(word, str) and len(word) <= LONGEST_NAME for word in words)
            and len(set(words)) == len(words)
        )


def spread_or_one(scale: tuple[float, ...]) -> tuple[float, ...]:
    """The scales of what may be divided by them: a constant is as wide as 1."""
    return tuple(number or 1.0 for number in scale)


def _tuples(said: object) -> object:
    """JSON's lists, and lists of lists, as tuples."""
    if not isinstance(said, list):
        return said
    return tuple(tuple(part) if isinstance(part, list) else part for part in said)


def _along_channels(numbers: tuple[float, ...], axes: int) -> np.ndarray:
    """One number, or one per channel → float64, to be broadcast against (C, …) of so many axes."""
    return np.asarray(numbers, np.float64).reshape(-1, *[1] * (axes - 1))


def _whole(numbers: object, low: int, high: int) -> bool:
    return isinstance(numbers, tuple) and all(type(n) is int and low <= n <= high for n in numbers)


def _reals(numbers: object) -> bool:
    return isinstance(numbers, tuple) and all(isinstance(n, float) and math.isfinite(n) for n in numbers)
