"""The grid that numbers lie on, and the nearest of its points as the float of the shortest decimal."""

import math
from decimal import Decimal

import numpy as np

__all__ = ["decimal_step", "finest_step", "lies_on", "on_grid"]

PLACES = 6  # decimal grids are no finer than 1e-6
FINEST, COARSEST = 1e-280, 1e300  # steps
_EXACT = 1 << 53


def on_grid(values: np.ndarray, step: float) -> np.ndarray:
    """round(x / step) · step, where k · 123 / 1000 is rounded once and k · 0.123 would be twice.

    >>> on_grid(np.array([0.1 + 0.2, 12.3000001]), 0.1).tolist()
    [0.3, 12.3]
    """
    _, digits, exponent = Decimal(repr(step)).normalize().as_tuple()
    numerator, power = float("".join(map(str, digits))), int(exponent)
    with np.errstate(over="ignore"):
        steps = np.rint(values / step)
        points = steps * numerator / 10.0**-power if power < 0 else steps * (numerator * 10.0**power)
    return np.where(np.abs(steps) < _EXACT, points, values)  # where floats are coarser than the grid, all lie on it


def lies_on(values: np.ndarray, step: float) -> bool:
    """Whether all floats are points of the grid as their own type stores them."""
    return FINEST <= step <= COARSEST and bool(
        np.all(on_grid(values.astype(np.float64), step).astype(values.dtype) == values)
    )


def decimal_step(values: np.ndarray) -> float:
    """The greatest step, a multiple of 1e-6, of whose multiples all values are; 0 if there is none.

    Of floats whose own spacing is nearly as coarse as a grid nothing can be said: it is none.

    >>> decimal_step(np.array([12.25, 0.5])), decimal_step(np.array([np.pi, 1.0]))
    (0.25, 0.0)
    """
    spacing = float(np.spacing(np.abs(values).max()))
    exact = values.astype(np.float64)
    for places in range(PLACES + 1):
        if 8 * spacing > 10.0**-places:
            return 0.0
        units = np.rint(exact * 10.0**places)
        if np.all((units / 10.0**places).astype(values.dtype) == values):
            return float(np.gcd.reduce(units.astype(np.int64))) / 10.0**places
    return 0.0


def finest_step(values: np.ndarray) -> float:
    """The greatest power of ten below all gaps between values; but not below 1e-9 of their spread: then 1e-6 of it.

    >>> finest_step(np.array([0.0, 0.0, np.pi, 4.0]))
    0.1
    """
    gap = float(np.diff(np.unique(values)).min())
    largest = float(np.abs(values).max())
    spread = float((values / largest).std()) * largest
    step = _power_of_ten(gap)
    return max(step if step >= 1e-9 * spread else _power_of_ten(spread) * 1e-6, FINEST)


def _power_of_ten(number: float) -> float:
    return float(f"1e{math.floor(math.log10(number))}")
