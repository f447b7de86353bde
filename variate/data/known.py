"""What people know of their rows besides the values, as they have it: labels → class indices, or real columns."""

import numbers
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import torch

from variate.base.errors import UserError
from variate.data.arrays import as_array, number_cells
from variate.data.kinds import LONGEST_NAME, MOST_CLASSES
from variate.data.schema import MOST_CONDITIONS, Schema

__all__ = ["WORDS", "Known", "class_name", "infer_known", "known_as", "number_of", "ordered", "says_words"]

MISSING_WORDS = ("", "nan", "NaN")  # how NumPy and pandas write, among words, that there is none
WORDS = {"labels": "words"}
_INT64 = np.iinfo(np.int64)
_CONTROLS = ("Cc", "Zl", "Zp")  # letters that begin a new line, or command a terminal


class Known(NamedTuple):
    """What is known of every row besides x: class indices (n,) int64, −1 where missing, or real columns (n, k).

    ``names`` are what the classes are called; ``words``: whether the labels were words, which may spell numbers.
    """

    labels: np.ndarray | None = None
    names: tuple[str, ...] = ()
    columns: np.ndarray | None = None
    words: bool = False

    @property
    def rows(self) -> int:
        array = self.labels if self.labels is not None else self.columns
        return 0 if array is None else len(array)


def infer_known(labels: object, like: Schema | None = None) -> Known:
    """Labels or columns as the user has them → ``Known``.

    Whole numbers of any size and words (n,) are classes, in the order of ``ordered``. That the class of a row is not
    known is said by None, NaN, NA, a mask, the words "" and "nan", and by −1, unless 1 is the only other number: then
    the classes are −1 and 1. Other numbers (n,), and floats (n, k), are real columns. ``like``: a trained model's
    schema, which has settled whether they are classes or columns; whatever it knows as a class is one. Raises
    ``UserError`` for what is neither, and for names that no model can keep.

    >>> infer_known(np.ma.array([1, 10, 2, 2], mask=[0, 0, 0, 1])).labels.tolist(), infer_known(["10", "9"]).names
    ([0, 2, 1, -1], ('9', '10'))
    """
    if isinstance(labels, Known):
        return labels
    array, missing = _one_column(labels)
    are_columns = like is not None and like.columns is not None
    whole = array.dtype.kind in "biuOU" or array.dtype.kind == "f" and _all_whole(array[~missing])
    if array.ndim == 1 and whole and not are_columns:
        return _classes(array, missing, like)
    if like is not None and like.class_counts:
        raise UserError(
            f"labels of shape {array.shape} and dtype {array.dtype}: the model knows {len(like.class_counts)} classes, "
            "give the name or the number of one per row."
        )
    return Known(columns=_real_columns(array, missing))


def known_as(labels: np.ndarray, names: tuple[str, ...], wanted: tuple[str, ...], name: str) -> np.ndarray:
    """Class indices under ``names`` → under the ``wanted`` names; ``UserError`` for a class that is not among them."""
    place = {word: index for index, word in enumerate(wanted)}
    strangers = [word for index, word in enumerate(names) if word not in place and (labels == index).any()]
    if strangers:
        raise UserError(f"{name} has the label {strangers[0]!r}, which the model has never seen.")
    table = np.array([place.get(word, -1) for word in names] + [-1], np.int64)
    return table[labels]


def ordered(names: Iterable[str]) -> list[str]:
    """By their values where all of them are whole numbers, else by their letters.

    >>> ordered(["10", "9", "-1"]), ordered(["10", "9", "b"])
    (['-1', '9', '10'], ['10', '9', 'b'])
    """
    values = {name: number_of(name) for name in names}
    if None in values.values():
        return sorted(values)
    return sorted(values, key=lambda name: (values[name], name))


def number_of(name: str) -> int | None:
    """The whole number that a name spells, in the digits 0 to 9."""
    return int(name) if re.fullmatch(rf"[+-]?[0-9]{{1,{LONGEST_NAME}}}", name) else None


def says_words(names: Iterable[str], words: bool) -> dict[str, str]:
    """What a model's ``info`` says of classes that were words: something, where their names spell numbers."""
    return WORDS if words and None not in map(number_of, names) else {}


def class_name(name: str) -> str:
    """A name as text that every file can hold: bytes that are no UTF-8, as in names of folders, become escapes.

    >>> class_name("B\\udce4r"), class_name("Bär")
    ('B\\\\xe4r', 'Bär')
    """
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a letter that stands for no byte
        return name.encode("utf-8", "backslashreplace").decode("utf-8")


# --- whatever was given → (array, missing), each (n,) or (n, k)


def _one_column(labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Numbers or words, with all their digits, and where there is none; a column (n, 1) of what can be classes as (n,).

    Whole numbers are of any dtype, and of dtype object where 64 bits do not hold them.
    """
    names = getattr(labels, "columns", None)
    if names is not None and len(names) == 1 and not isinstance(labels, np.ndarray):
        labels = labels[names[0]]
    array = _listed(labels) if isinstance(labels, list | tuple) else as_array(labels, "labels")
    to_list = getattr(labels, "to_list", None) or getattr(labels, "tolist", None)
    if array.dtype.kind == "f" and array.ndim == 1 and to_list is not None and np.isnan(array).any():
        array = _objects(to_list())  # a series of whole numbers was rounded, if one of them is missing
    missing = np.ma.getmaskarray(array)
    array = np.asarray(array.data if isinstance(array, np.ma.MaskedArray) else array)
    if array.ndim == 2 and array.shape[1] == 1 and array.dtype.kind in "biuOSTU":
        array, missing = array[:, 0], missing[:, 0]
    if array.dtype.kind in "OST":
        array, missing = _of_objects(array, missing) if array.ndim == 1 else (_cells(array, names), missing)
    return array, missing | np.isnan(array) if array.dtype.kind == "f" else missing


def _listed(labels: list | tuple) -> np.ndarray:
    """A list as an array: what stands beside words or a missing label is not rounded or spelled out."""
    items = [item.item() if isinstance(item, torch.Tensor) and not item.dim() else item for item in labels]
    items = [None if item is np.ma.masked else item for item in items]
    items = [item[()] if isinstance(item, np.ndarray) and not item.ndim else item for item in items]
    nested = any(isinstance(item, list | tuple | np.ndarray | torch.Tensor) for item in items)
    return as_array(items, "labels") if nested else _objects(items)


def _objects(items: list) -> np.ndarray:
    array = np.empty(len(items), object)
    array[:] = items
    return array


def _cells(array: np.ndarray, names: Iterable | None = None) -> np.ndarray:
    listed = [] if names is None else [repr(name) for name in names]
    return number_cells(array, "the columns given as labels", listed) if array.dtype.kind == "O" else array


def _of_objects(array: np.ndarray, masked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Words, whole numbers or floats from Python objects, and where there is none."""
    items = array.tolist()
    missing = masked | np.fromiter((_is_missing(item) for item in items), bool, len(items))
    rest = [item for item, gone in zip(items, missing.tolist(), strict=True) if not gone]
    filled = np.full(len(items), "", object)
    if all(isinstance(item, str | bytes) for item in rest):
        words = [_letters(item) for item in rest]
        _check_lengths(words)
        filled[~missing] = _objects(words)
        return filled.astype(str), missing
    if not all(isinstance(item, numbers.Real | Decimal | np.bool_) for item in rest):
        kinds = sorted({type(item).__name__ for item in rest})
        mixed = f"mix {', '.join(kinds)}" if len(kinds) > 1 else f"are of type {kinds[0]}"
        raise UserError(f"the labels {mixed}: give whole numbers or words.")
    whole = all(_is_whole(item) for item in rest)
    filled[missing] = 0 if whole else np.nan
    filled[~missing] = _objects([int(item) if whole else float(item) for item in rest])
    return (filled if whole else filled.astype(np.float64)), missing


def _is_missing(item: object) -> bool:
    """None, a mask, and what does not equal itself: NaN, NaT and NA, whoever made them."""
    if item is None or item is np.ma.masked:
        return True
    try:
        return not item == item  # noqa: PLR0124
    except TypeError:  # NA has no truth
        return True
    except ValueError:  # an array
        return False


def _is_whole(number: Any) -> bool:
    try:
        return int(number) == number
    except (OverflowError, ValueError):  # infinity
        return False


def _letters(word: str | bytes) -> str:
    return word.decode("utf-8", "surrogateescape") if isinstance(word, bytes) else str(word)


def _check_lengths(words: list[str]) -> None:
    """Before they become an array, in which every word takes the place of the longest."""
    longest = max(words, key=len, default="")
    if len(longest) > LONGEST_NAME:
        raise _too_long(longest)


def _too_long(name: str) -> UserError:
    return UserError(
        f"the label {name[:20]!r}… has {len(name):,} letters, but a class has a name of at most {LONGEST_NAME:,}: "
        "shorten it."
    )


# --- what the classes are, or the columns


def _all_whole(numbers: np.ndarray) -> bool:
    return bool(np.isfinite(numbers).all() and (numbers == np.round(numbers)).all())


def _classes(array: np.ndarray, missing: np.ndarray, like: Schema | None) -> Known:
    """The classes of words or whole numbers (n,)."""
    known = frozenset(like.class_names if like is not None else ())
    words = array.dtype.kind == "U"
    values = array if words else _whole(array, missing)
    missing = missing | _says_missing(values, missing, known)
    found, index = np.unique(values[~missing], return_inverse=True)
    if len(found) == 0 and like is None:
        raise UserError("no row has a label: give some, or leave labels out.")
    if len(found) > MOST_CLASSES:
        raise UserError(f"the labels name {len(found):,} classes: a model can tell at most {MOST_CLASSES:,} apart.")
    spelled = [_name(value, known) for value in found.tolist()]
    names = ordered(spelled)
    if len(names) < len(spelled):
        twice = Counter(spelled).most_common(1)[0][0]
        raise UserError(f"two labels would both be called {twice!r}, since one is no text: rename it.")
    place = {name: number for number, name in enumerate(names)}
    labels = np.full(len(array), -1, np.int64)
    labels[~missing] = np.array([place[name] for name in spelled], np.int64)[index]
    return Known(labels, tuple(names), words=words)


def _whole(array: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Whole numbers as int64, or, where that does not hold them, as Python's own."""
    filled = np.where(missing, 0, array)
    if filled.dtype.kind in "bi":
        return filled.astype(np.int64)
    if filled.size == 0 or filled.min() >= _INT64.min and filled.max() < -float(_INT64.min):
        return filled.astype(np.int64)
    return _objects([int(number) for number in filled.tolist()])


def _says_missing(values: np.ndarray, missing: np.ndarray, known: frozenset[str]) -> np.ndarray:
    """Where words or numbers say that the class is not known; ``known`` are a trained model's classes."""
    if values.dtype.kind == "U":
        return np.isin(values, [word for word in MISSING_WORDS if word not in known])
    minus = values == -1
    others = values[~(missing | minus)]
    is_class = "-1" in known if known else len(others) > 0 and bool((others == 1).all())  # two called −1 and 1
    return np.zeros(len(values), bool) if is_class else minus


def _name(value: str | int, known: frozenset[str]) -> str:
    """What the class is called; ``UserError`` if no model could keep that."""
    if isinstance(value, int):
        if abs(value) < 10**LONGEST_NAME and len(str(value)) <= LONGEST_NAME:
            return str(value)
        raise UserError(f"a label is a whole number of more than {LONGEST_NAME:,} digits: give shorter ones.")
    name = value if value in known else class_name(value)
    if len(name) > LONGEST_NAME:
        raise _too_long(name)
    if name not in known and any(unicodedata.category(letter) in _CONTROLS for letter in name):
        raise UserError(f"the label {name[:40]!r} holds a control character, such as a line's end: write it without.")
    return name


def _real_columns(array: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Real numbers (n, k), float64, all of them known."""
    if array.ndim not in (1, 2) or array.dtype.kind not in "biufO" or 0 in array.shape[1:]:
        raise UserError(
            f"labels of shape {array.shape} and dtype {array.dtype}: give a whole number or a word per row, or real "
            "columns (n, k)."
        )
    floats = _cells(array).astype(np.float64)
    columns = np.where(missing, np.nan, floats).reshape(len(array), -1)
    if columns.shape[1] > MOST_CONDITIONS:
        raise UserError(f"{columns.shape[1]} columns given as labels: give at most {MOST_CONDITIONS:,}.")
    if not np.isfinite(columns).all():
        row = int(np.argwhere(~np.isfinite(columns))[0, 0])
        raise UserError(
            f"row {row} of the columns given as labels holds NaN or infinity, or is masked: remove or fill such rows."
        )
    return columns
