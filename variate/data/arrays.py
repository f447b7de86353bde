"""Any array-like as one that torch can share."""

import numpy as np
import torch

from variate.errors import UserError

__all__ = ["shareable"]


def shareable(data: object) -> tuple[np.ndarray, str | None]:
    """Any array-like as one that torch can share, and its dtype where torch needs a wider one.

    Contiguous, writeable, in this machine's byte order. Raises ``UserError`` for what is no array of numbers.

    >>> shareable(np.array([1, 2], ">u2"))
    (array([1, 2], dtype=int32), 'uint16')
    """
    if isinstance(data, torch.Tensor):
        data = data.detach().cpu()
    try:
        values = np.asarray(data)
    except (ValueError, TypeError) as error:
        raise UserError(f"the data is not an array of rows of one shape ({error}).") from None
    kind, size, dtype = values.dtype.kind, values.dtype.itemsize, None
    if kind == "f" and size > 8:
        values = values.astype(np.float64)
    elif kind == "u" and size == 2:
        values, dtype = values.astype(np.int32), "uint16"
    elif kind == "u" and size > 2:  # torch counts with signed numbers
        if values.size and int(values.max()) > np.iinfo(np.int64).max:
            raise UserError("the data holds whole numbers beyond 64 bits with a sign: divide them, or give floats.")
        values = values.astype(np.int64)
    elif kind == "O":
        values = _numbers(values)
    return np.require(values, values.dtype.newbyteorder("="), ["C", "W"]), dtype


def _numbers(values: np.ndarray) -> np.ndarray:
    """An array of Python objects as one of numbers, if that is what they are."""
    try:
        return values.astype(np.float64)
    except (TypeError, ValueError):
        raise UserError(
            "the data has dtype object and holds what is no number: give an array of numbers, and words as labels."
        ) from None
