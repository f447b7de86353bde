"""Any array-like as one that torch can share."""

import numbers
from collections.abc import Iterable, Iterator, Mapping, Set
from decimal import Decimal
from typing import Any

import numpy as np
import torch
from torch.utils import data as torch_data

from variate.base.errors import UserError

__all__ = ["as_array", "cells", "number_cells", "of_tensor", "shareable"]

_IS = {"data": "the data is", "labels": "the labels are"}
_EXACT = 1 << 53  # from here on float64 does not hold every whole number
_NO_NUMBERS = {  # kind of dtype → what to give in its place
    "c": "give real and imaginary parts as two numbers each",
    "S": "give numbers, and words as labels",
    "T": "give numbers, and words as labels",
    "U": "give numbers, and words as labels",
    "M": "give numbers, as in (data - data.min()) / numpy.timedelta64(1, 's')",
    "m": "give numbers, as in data / numpy.timedelta64(1, 's')",
    "V": "give its fields as columns, by numpy.lib.recfunctions.structured_to_unstructured",
}


def shareable(data: object) -> tuple[np.ndarray, str | None]:
    """Any array-like as one that torch can share, and its dtype where torch needs a wider one.

    Contiguous, writeable, in this machine's byte order. Raises ``UserError`` for what is no array of numbers, as
    ``cells`` does.

    >>> shareable(np.array([1, 2], ">u2"))
    (array([1, 2], dtype=int32), 'uint16')
    """
    values = cells(data)
    kind, size, dtype = values.dtype.kind, values.dtype.itemsize, None
    if kind in _NO_NUMBERS:
        raise UserError(f"the data has dtype {values.dtype}: {_NO_NUMBERS[kind]}.")
    if kind == "f" and size > 8:
        values = values.astype(np.float64)
    elif kind == "u" and size == 2:
        values, dtype = values.astype(np.int32), "uint16"
    elif kind == "u" and size > 2:  # torch counts with signed numbers
        if values.size and int(values.max()) > np.iinfo(np.int64).max:
            raise UserError("the data holds whole numbers beyond 64 bits with a sign: divide them, or give floats.")
        values = values.astype(np.int64)
    return np.require(values, values.dtype.newbyteorder("="), ["C", "W"]), dtype


def cells(data: object) -> np.ndarray:
    """Any array-like as an array of numbers, also where Python objects are numbers; NaN where a cell is masked, None or
    NA.

    Raises ``UserError`` as ``as_array`` does, and for a cell that is no number, by its row and column.
    """
    values, names = as_array(data, "data"), _column_names(data)
    if isinstance(values, np.ma.MaskedArray):
        values = _with_holes(values)
    if values.dtype.kind == "O":
        values = _of_rows(values) if _holds_rows(values) else number_cells(values, "the data", names)
    return values


def as_array(data: object, what: str) -> np.ndarray:
    """What people have as an array, masked where it was masked; of tensors too, and of lists of them.

    ``what``, "data" or "labels", is what it was given as. Raises ``UserError`` for things that hold no rows in an order
    or hold them otherwise, with what to give in their place.

    >>> as_array([torch.ones(2, dtype=torch.bfloat16, requires_grad=True)], "data")
    array([[1., 1.]], dtype=float32)
    """
    wrong = _instead(data, what)
    if wrong is not None:
        raise UserError(f"{_IS[what]} {wrong}.")
    data = _without_tensors(data, what)
    try:
        masked = isinstance(data, list) and any(isinstance(item, np.ma.MaskedArray) for item in data)
        array = np.ma.array(data) if masked else np.asanyarray(data)
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        why = _ragged(data) or " ".join(str(error).split())
        raise UserError(f"{_IS[what]} not an array of rows of one shape ({why}).") from None
    if array.dtype.kind == "O" and array.ndim == 0:
        raise UserError(f"{_IS[what]} of type {type(data).__name__}: give an array, one row for each example.")
    return array if isinstance(array, np.ma.MaskedArray) else np.asarray(array)


def of_tensor(tensor: torch.Tensor, what: str) -> np.ndarray:
    """The same numbers in NumPy, wherever they lie; floats that it does not know, as bfloat16, exactly in float32."""
    if tensor.is_nested or tensor.layout is not torch.strided:
        raise UserError(f"{_IS[what]} a tensor that is not dense: give rows of one shape, as {what}.to_dense().")
    if tensor.is_quantized:
        raise UserError(f"{_IS[what]} a quantised tensor: give {what}.dequantize().")
    if tensor.is_meta:
        raise UserError(f"{_IS[what]} a tensor on the device meta, which holds no values: give one that does.")
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    if tensor.is_floating_point() and tensor.dtype not in (torch.float16, torch.float32, torch.float64):
        tensor = tensor.to(torch.float32)
    try:
        return tensor.numpy()
    except (TypeError, RuntimeError):
        raise UserError(f"{_IS[what]} a tensor of {tensor.dtype}, which is no number: give float32.") from None


def _without_tensors(data: Any, what: str) -> Any:
    """The same with arrays in the place of tensors, also in lists and in lists of lists."""
    if isinstance(data, torch.Tensor):
        return of_tensor(data, what)
    if isinstance(data, list | tuple):
        return [_without_tensors(x, what) if isinstance(x, torch.Tensor | list | tuple) else x for x in data]
    return data


def _instead(data: object, what: str) -> str | None:
    """What it is and what to give in its place, of things that are often given and are no rows in an order."""
    kind, package = type(data).__name__, type(data).__module__.partition(".")[0]
    if data is None:
        return "None: give an array, one row for each example"
    if isinstance(data, torch_data.DataLoader):
        return "a DataLoader, which gives batches: give the data set that it draws from, as loader.dataset"
    if isinstance(data, Mapping):
        return f"a {kind} {_keys(data)}: give the array that is meant, as in {what}[KEY]"
    if isinstance(data, Set):
        return f"a {kind}, which has no order: give a list, as in sorted({what})"
    if isinstance(data, Iterator):
        return f"a {kind}, which can be gone through only once: give a list, as in list({what})"
    if package == "scipy" and hasattr(data, "toarray"):
        return f"a sparse matrix ({kind}): give it with its zeros, as {what}.toarray()"
    if package == "PIL":
        return "a single image: give a list of images"
    return None


def _keys(data: Mapping) -> str:
    keys = [repr(key)[:40] for key in list(data)[:8]]
    return f"with the keys {', '.join(keys)}{', …' * (len(data) > 8)}" if keys else "without keys"


def _ragged(data: object) -> str | None:
    """Which row has another shape than the first."""
    try:
        shapes = [np.shape(row) for row in data] if isinstance(data, list) else []
    except ValueError:
        return None
    other = next((row for row, shape in enumerate(shapes) if shape != shapes[0]), None)
    return None if other is None else f"row {other} has shape {shapes[other]}, but row 0 has {shapes[0]}"


def _column_names(data: object) -> list[str]:
    """The names of a frame's columns, for people."""
    names = getattr(data, "columns", None)
    return [repr(name) for name in names] if isinstance(names, Iterable) else []


def _cell(values: np.ndarray, flat: int, names: list[str], what: str) -> str:
    """Where the flat index of an array (n, …) points to: "row 3 of the data, column 'age',"."""
    row, place = divmod(flat, max(1, values[:1].size))
    return f"row {row} of {what}, " + (f"column {names[place]}," if place < len(names) else f"value {place} of it,")


def _with_holes(values: np.ma.MaskedArray) -> np.ndarray:
    """The same without a mask, in whose place is NaN."""
    mask = np.ma.getmaskarray(values)
    if not mask.any():
        return values.data
    if values.dtype.kind in "biu":
        values = values.astype(np.float64)
    return values.filled(None if values.dtype.kind == "O" else np.nan) if values.dtype.kind in "fO" else values.data


def _holds_rows(values: np.ndarray) -> bool:
    """Whether the objects are rows themselves."""
    return values.ndim == 1 and len(values) > 0 and isinstance(values[0], np.ndarray | list | tuple | torch.Tensor)


def _of_rows(values: np.ndarray) -> np.ndarray:
    found = as_array(values.tolist(), "data")
    return number_cells(found, "the data") if found.dtype.kind == "O" else found


def number_cells(values: np.ndarray, what: str, names: list[str] | None = None) -> np.ndarray:
    """An array (n, …) of Python objects as one of numbers: int64 where float64 would round, else float64.

    NaN where a cell is missing. Raises ``UserError``, naming row and column of ``what``, for one that is no number.
    """
    gone = np.array([is_missing(item) for item in values.ravel().tolist()], bool).reshape(values.shape)
    if gone.any():
        values = np.where(gone, np.nan, values)
    try:
        found = values.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise UserError(_no_number(values, what, names or [])) from None
    if not found.size or not np.abs(found).max() >= _EXACT:
        return found
    try:
        whole = values.astype(np.int64)
    except (TypeError, ValueError, OverflowError):
        return found
    return whole if (whole == values).all() else found


def is_missing(item: object) -> bool:
    """None, a mask, NaT and NA."""
    return item is None or item is np.ma.masked or type(item).__name__ in ("NAType", "NaTType")


def _no_number(values: np.ndarray, what: str, names: list[str]) -> str:
    """The first cell that is no number, and what to do about it."""
    for flat, item in enumerate(values.ravel().tolist()):
        if isinstance(item, numbers.Real | Decimal | np.bool_) or isinstance(item, str) and _spells_a_number(item):
            continue
        where = _cell(values, flat, names, what)
        shown = f"{item[:40]!r}" if isinstance(item, str) else f"a {type(item).__name__}"
        return f"{where} holds {shown}, which is no number: leave that column out, or give words as labels."
    return f"{what} has dtype object and holds what is no number of 64 bits: give an array of numbers."


def _spells_a_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
