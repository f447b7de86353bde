"""What is known of every row besides its values: files with one label, or several columns of numbers, per row."""

from __future__ import annotations

import csv
import io
import math
import os
import re
from decimal import Decimal
from pathlib import Path

import numpy as np

from variate.base.errors import UserError
from variate.base.files import opened
from variate.data.kinds import LONGEST_NAME
from variate.data.sources.idx import read_idx
from variate.data.sources.npy import MAGIC, read_npy_file
from variate.data.sources.npz import arrays, labels_among, member, unpacking
from variate.data.sources.places import existing, listed
from variate.data.sources.signatures import ZIP, head_of, is_idx, looks_like, text_of

_MISSING = {"", "nan", "na", "n/a", "<na>", "null", "none"}  # in small letters: among numbers, that there is none
_WHOLE = r"[+-]?[0-9]+"
_REAL = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?inf(inity)?"
_EXACT = 1 << 53  # from here on floats do not hold every whole number


def read_labels(path: str | os.PathLike[str], part: str = "train", rows: int = 0) -> np.ndarray:
    """What is known of every row besides its values, from an IDX, .npy, .npz or text file, as it is stored there.

    (n,) whole numbers or words, or real columns (n, k). A text file has one row on each line, the columns separated by
    commas, and a first line of words above numbers is a heading. A line that is empty is a label that is not known, as
    is one of nan, NA, N/A, <NA>, null or None among numbers, in any letters, and −1 among words: a masked whole number
    (they are of dtype object where 64 bits do not hold them), NaN among real ones, "" among words. Empty lines at the
    end are labels only as far as there are ``rows``. In a .npz, ``part`` chooses among y_train and y_test. Raises
    ``UserError``, naming the file.
    """
    place = existing(path)
    if place.is_dir():
        raise UserError(f"{place} is a folder: give a file with one label per row.")
    head = head_of(place)
    if head.startswith(ZIP):
        with unpacking(place) as archive:
            members = arrays(archive, place)
            chosen = list(members) if len(members) == 1 else labels_among(list(members), part)
            if not chosen:
                raise UserError(f"{place} holds the arrays {listed(members)}: call the one with the labels 'labels'.")
            array = member(archive, members[chosen[0]], place)
    elif head.startswith(MAGIC):
        array = read_npy_file(place)
    elif is_idx(head):
        array = read_idx(place)
    elif head and text_of(head) is not None:
        array = _text_labels(place, rows)
    else:
        raise UserError(f"{place} is {looks_like(head)}: give labels as IDX, .npy, .npz or lines of text.")
    return _labels(array, str(place))


def one_per_row(labels: np.ndarray, rows: int, name: str | os.PathLike[str]) -> np.ndarray:
    if len(labels) != rows:
        raise UserError(f"{os.fspath(name)} holds {len(labels):,} labels for {rows:,} rows: give one label per row.")
    return labels


def _labels(array: np.ndarray, name: str) -> np.ndarray:
    """(n,) numbers or words, or (n, k) numbers, from what was stored."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.dtype.kind in "SU" and array.ndim == 1:
        return _words(array, name)
    if array.dtype.kind not in "biufO" or array.ndim not in (1, 2):  # O: whole numbers beyond 64 bits
        what = f"the shape {array.shape} and the type {array.dtype}"
        raise UserError(f"{name} has {what}: labels are one whole number or word per row, or columns of numbers.")
    return np.asanyarray(array, order="C")  # masked as it was


def classes(array: np.ndarray, name: str) -> np.ndarray:
    """(n,) whole numbers or words: what may be taken for labels without being asked to."""
    array = _labels(array, name)
    if array.ndim != 1 or array.dtype.kind == "f" and not (np.isnan(array) | (array == np.rint(array))).all():
        raise UserError(f"{name} holds columns of numbers, not one whole number or word per row.")
    return array


def _words(array: np.ndarray, name: str) -> np.ndarray:
    try:
        if array.dtype.kind == "U":
            array.astype(array.dtype.newbyteorder("<")).tobytes().decode("utf-32-le")  # a bad letter would crash NumPy
        return np.array([word.decode() if isinstance(word, bytes) else word for word in array.tolist()])
    except ValueError:
        raise UserError(f"{name} holds words that are no text: save them as a NumPy array of str.") from None


def _text_labels(path: Path, rows: int) -> np.ndarray:
    with opened(path) as file:
        content = file.read()
    try:
        text = content.decode("utf-8-sig")
        lines = [line or [""] for line in csv.reader(io.StringIO(text, newline=""), strict=True)]
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path} is no list of labels ({error}): give text with one on each line.") from None
    if not text.strip():
        raise UserError(f"{path} holds no labels: give one on each line.")
    blank = 0
    while lines[-1] == [""]:
        lines.pop()
        blank += 1
    labels = _spelled(lines, path)
    missing = min(blank, max(rows - len(labels), 0)) if labels.ndim == 1 else 0
    return _spelled(lines + [[""]] * missing, path) if missing else labels


def _spelled(lines: list[list[str]], path: Path) -> np.ndarray:
    """What the words on the lines stand for, (n,) or, of several columns, (n, k); without the heading."""
    for number, line in enumerate(lines, 1):
        if len(line) != len(lines[0]):
            raise UserError(f"{path} has {len(line)} columns on line {number}, but {len(lines[0])} on the first.")
        if max(map(len, line)) > LONGEST_NAME:
            raise UserError(f"{path} has more than {LONGEST_NAME:,} letters on line {number}: shorten that label.")
    columns = [[word.strip() for word in column] for column in zip(*lines, strict=True)]
    for start in (0, 1):  # 1: below a heading
        numbers = [_column(column[start:]) for column in columns]
        found = [column for column in numbers if column is not None]
        if len(found) == len(columns):
            return np.stack([_real(column) for column in found], axis=1) if len(found) > 1 else found[0]
    if len(columns) > 1:
        raise UserError(f"{path} has {len(columns)} columns that are not all numbers: give one label on each line.")
    return np.array(["" if word == "-1" else word for word in columns[0]])


def _column(words: list[str]) -> np.ndarray | None:
    """The words as whole numbers, masked where there is none, or real ones, NaN there, if that is what they spell."""
    missing = [word.lower() in _MISSING for word in words]
    known = [word for word, gone in zip(words, missing, strict=True) if not gone]
    if known and all(re.fullmatch(_WHOLE, word) for word in known):
        return _whole([-1 if gone else int(word) for word, gone in zip(words, missing, strict=True)], missing)
    if not known or not all(re.fullmatch(_REAL, word, re.IGNORECASE) for word in known):
        return None
    numbers = [math.nan if gone else float(word) for word, gone in zip(words, missing, strict=True)]
    if max(abs(float(word)) for word in known) < _EXACT or not all(_is_whole(word) for word in known):
        return np.array(numbers)
    return _whole([-1 if gone else int(Decimal(word)) for word, gone in zip(words, missing, strict=True)], missing)


def _is_whole(word: str) -> bool:
    """Whether a real number that is written out has nothing behind its point."""
    return math.isfinite(float(word)) and Decimal(word) == Decimal(word).to_integral_value()


def _whole(numbers: list[int], missing: list[bool]) -> np.ndarray:
    fits = -(1 << 63) <= min(numbers) and max(numbers) < 1 << 63
    array = np.array(numbers, np.int64 if fits else object)
    return np.ma.array(array, mask=missing) if any(missing) else array


def _real(column: np.ndarray) -> np.ndarray:
    """A column among others: NaN where there is none; rounded where 64 bits do not hold it."""
    if column.dtype.kind == "O":
        column = np.ma.array([float(str(number)) for number in np.ma.getdata(column)], mask=np.ma.getmask(column))
    return np.ma.filled(column.astype(np.float64), np.nan) if np.ma.isMaskedArray(column) else column
