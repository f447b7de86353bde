"""The users' own data, in what they keep it in: IDX, .npy and .npz files, folders of images or shards → plain arrays.

The content says what a file is, not its name. No file can run code, and nothing is allocated from a header alone:
it is believed only as far as the bytes behind it go.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import numpy as np

from variate.base.errors import UserError, suggest
from variate.base.files import opened
from variate.data.idx import read_idx
from variate.data.kinds import LONGEST_NAME
from variate.data.npy import MAGIC, NpyFiles, check_rows, read_npy, read_npy_file
from variate.data.shards import Shards, is_large

__all__ = ["Found", "looks_like", "read", "read_labels"]

Like = tuple[tuple[int, ...], np.dtype | str]  # the raw shape and the dtype of what a trained model knows

READABLE = "IDX files (gzipped or not), .npy, .npz, and folders of images or of .npy shards"
VALUE_NAMES = ("values", "x", "data", "images", "arr_0")  # in a .npz, in small letters
LABEL_NAMES = ("labels", "y", "targets", "label", "target")
PARTS = ("train", "test")
PART_FOLDERS = {*PARTS, "val", "valid", "validation"}

_GZIP, _ZIP = b"\x1f\x8b", (b"PK\3\4", b"PK\5\6")
_HEAD = 512  # bytes that tell what a file is
_CHUNK = 1 << 20
_BOMB = 1 << 30, 200  # bytes, and how many times those of the archive, from which on it is not unpacked
_NAMES_SEARCHED = 10_000  # for a misspelled one
_MISSING = {"", "nan", "na", "n/a", "<na>", "null", "none"}  # in small letters: among numbers, that there is none
_WHOLE = r"[+-]?[0-9]+"
_REAL = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?inf(inity)?"
_EXACT = 1 << 53  # from here on floats do not hold every whole number


class Found(NamedTuple):
    """Rows as they were stored, and what was decided on the way.

    values: (n, …), contiguous, writeable, in native byte order; or ``Shards``, if they are too large for memory.
    labels: (n,) whole numbers or words, ``None`` if there are none; also real columns (n, k) from a file that was named
    for them; see ``read_labels``. name: the file's or the folder's. notes: remarks for people. resized: whether images
    had to be. part: "train" or "test" where both may be there, else "all".
    """

    values: np.ndarray | Shards
    labels: np.ndarray | None
    name: str
    notes: tuple[str, ...]
    resized: bool = False
    part: str = "all"


def read(
    path: str | os.PathLike[str],
    *,
    labels: str | os.PathLike[str] | None = None,
    resize: tuple[int, int] | None = None,
    part: str = "train",
    like: Like | None = None,
) -> Found:
    """The rows in an IDX, .npy or .npz file or a folder of images or of .npy shards, and their labels if there are any.

    ``labels`` names a file with one label per row; without it they come from the .npz itself, from the file beside
    ``…images…`` that is called ``…labels…`` or from the names of sub-folders. ``part``, "train" or "test", chooses
    among x_train and x_test of a .npz or the sub-folders train and test. ``resize`` (height, width) and ``like`` are
    for folders: see ``images``. Raises ``UserError``, naming the file, for whatever cannot be read.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/mine.npz", x=np.eye(3, dtype=np.float32), y=np.array([4, 5, 6]))
    ...     found = read(f"{folder}/mine.npz")
    >>> found.values.shape, found.labels.tolist(), found.notes
    ((3, 3), [4, 5, 6], ("values from 'x'", "labels from 'y'"))
    """
    place = _existing(path)
    if resize is not None and not place.is_dir():
        raise UserError(f"{place} is not a folder of images, and only those are resized: leave --resize out.")
    try:
        found = _folder(place, resize, part, like) if place.is_dir() else _file(place, part)
    except MemoryError:
        raise UserError(f"{place} does not fit into this machine's memory: give fewer rows or smaller ones.") from None
    if labels is None:
        return found
    known = _one_per_row(read_labels(labels, part, len(found.values)), len(found.values), labels)
    notes = [note for note in found.notes if not note.startswith("labels")]  # about those that were found unasked
    return found._replace(labels=known, notes=(*notes, f"labels from {Path(labels).name}"))


def read_labels(path: str | os.PathLike[str], part: str = "train", rows: int = 0) -> np.ndarray:
    """What is known of every row besides its values, from an IDX, .npy, .npz or text file, as it is stored there.

    (n,) whole numbers or words, or real columns (n, k). A text file has one row on each line, the columns separated by
    commas, and a first line of words above numbers is a heading. A line that is empty is a label that is not known, as
    is one of nan, NA, N/A, <NA>, null or None among numbers, in any letters, and −1 among words: a masked whole number
    (they are of dtype object where 64 bits do not hold them), NaN among real ones, "" among words. Empty lines at the
    end are labels only as far as there are ``rows``. In a .npz, ``part`` chooses among y_train and y_test. Raises
    ``UserError``, naming the file.
    """
    place = _existing(path)
    if place.is_dir():
        raise UserError(f"{place} is a folder: give a file with one label per row.")
    head = _head(place)
    if head.startswith(_ZIP):
        with _unpacking(place) as archive:
            members = _arrays(archive, place)
            chosen = list(members) if len(members) == 1 else _labels_among(list(members), part)
            if not chosen:
                raise UserError(f"{place} holds the arrays {_listed(members)}: call the one with the labels 'labels'.")
            array = _member(archive, members[chosen[0]], place)
    elif head.startswith(MAGIC):
        array = read_npy_file(place)
    elif _is_idx(head):
        array = read_idx(place)
    elif head and _text(head) is not None:
        array = _text_labels(place, rows)
    else:
        raise UserError(f"{place} is {looks_like(head)}: give labels as IDX, .npy, .npz or lines of text.")
    return _labels(array, str(place))


def looks_like(head: bytes) -> str:
    """What a file that begins with these bytes (512 are enough) seems to be, for people.

    >>> looks_like(b"height,weight\\n1.8,75"), looks_like(b"\\x89PNG\\r\\n"), looks_like(b"\\x00\\xff\\x00\\xff")
    ('a table in text (CSV)', 'a PNG image', "of no known kind (it begins with the bytes '00 ff 00 ff')")
    """
    if not head:
        return "empty"
    if head.startswith(_GZIP):
        return f"a gzipped file ({looks_like(inner)} inside)" if (inner := _inflated(head)) else "a gzipped file"
    for signature, what in _SIGNATURES.items():
        if re.match(signature, head, re.DOTALL):
            return what
    text = _text(head)
    if text is None:
        return f"of no known kind (it begins with the bytes '{head[:4].hex(' ')}')"
    lines = text.strip().split("\n")
    separators = {len(re.findall(r"[,;\t]", line)) for line in lines[:-1][:3] or lines}  # the last one may be cut
    table = len(separators) == 1 and 0 not in separators
    return "a table in text (CSV)" if table else f"text (it begins with {lines[0].strip()[:30]!r})"


_SIGNATURES = {
    rb"\x89PNG": "a PNG image",
    rb"\xff\xd8\xff": "a JPEG image",
    rb"GIF8": "a GIF image",
    rb"BM.{4}\0": "a BMP image",
    rb"II\*\0|MM\0\*": "a TIFF image",
    rb"RIFF.{4}WEBP": "a WebP image",
    rb"P[1-6]\s": "a PNM image",
    rb".{4}ftyp": "a HEIC, AVIF or MP4 file",
    rb"PK[\3\5]": "a zip archive",
    rb".{257}ustar": "a tar archive",
    rb"BZh|\xfd7zXZ|7z\xbc\xaf|\x28\xb5\x2f\xfd": "a packed archive",
    rb"\x93NUMPY": "a .npy array",
    rb"\x89HDF": "an HDF5 file",
    rb"MATLAB": "a MATLAB file",
    rb"PAR1": "a Parquet file",
    rb"\x80[\x02-\x05]": "a Python pickle",
    rb"%PDF": "a PDF",
    rb"\xff\xfe|\xfe\xff": "text in UTF-16",
    rb"\s*[\[{]": "JSON",
    rb"\s*<": "HTML or XML",
}


def _text(head: bytes) -> str | None:
    """The bytes as text; ``None`` if they are something else."""
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)  # which may end inside a letter
    except UnicodeDecodeError:
        return None
    return text if all(letter.isprintable() or letter.isspace() for letter in text) else None


def _inflated(head: bytes) -> bytes:
    """What the first bytes of a gzipped file begin with; nothing if they are damaged."""
    try:
        return zlib.decompressobj(wbits=31).decompress(head, _HEAD)
    except zlib.error:
        return b""


def _existing(path: str | os.PathLike[str]) -> Path:
    place = Path(path)
    try:
        place.stat()
    except (FileNotFoundError, NotADirectoryError):
        near = suggest(place.name, _names_in(place.parent))
        raise UserError(f"{place} does not exist{near or ': check the path.'}") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        why = getattr(error, "strerror", None) or error
        raise UserError(f"{str(place)!r} cannot be read ({why}): check the path and its permissions.") from None
    if not (place.is_file() or place.is_dir()):
        raise UserError(f"{place} is neither a file nor a folder: give {READABLE}.")
    return place


def _names_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in itertools.islice(entries, _NAMES_SEARCHED)]
    except OSError:
        return []


def _head(path: Path) -> bytes:
    with opened(path) as file:
        return file.read(_HEAD)


# --- one file


def _folder(path: Path, resize: tuple[int, int] | None, part: str, like: Like | None) -> Found:
    from variate.data.images import holds_images, images  # here: it imports this module, and Pillow

    place = path / part if _has_parts(path) else path
    shards = _shard_names(place)
    if shards and not holds_images(place):
        if resize is not None:
            raise UserError(f"{place} is a folder of .npy shards, and only images are resized: leave --resize out.")
        found = _shards(place, shards)
    else:
        found = images(place, resize, like)
    if place == path:
        return found
    notes = (f"read from the sub-folder {part}", *found.notes)
    return found._replace(name=path.resolve().name, notes=notes, part=part)


def _shard_names(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith(".npy") and not name.startswith("."))
    except OSError:  # which looking for images explains
        return []


def _shards(folder: Path, names: list[str]) -> Found:
    """The rows of all these files, one after the other."""
    name = folder.resolve().name
    values, notes = _rows_of(NpyFiles([_existing(folder / name) for name in names], name))
    return Found(values, None, name, (f"{len(names):,} shards", *notes))


def _rows_of(files: NpyFiles) -> tuple[np.ndarray | Shards, tuple[str, ...]]:
    """(rows, notes): in memory, or where they are, if they are too large for that."""
    if is_large(len(files), files.shape, files.dtype):
        return Shards(files), ("too large for memory: rows are read when they are needed",)
    return files.read(np.arange(len(files))), ()


def _has_parts(path: Path) -> bool:
    """Whether its sub-folders are train and test, and nothing that could be a class."""
    if not all(os.path.isdir(path / part) for part in PARTS):
        return False
    return all(
        name in PART_FOLDERS or name.startswith(".") or not os.path.isdir(path / name) for name in _names_in(path)
    )


def _file(path: Path, part: str) -> Found:
    head = _head(path)
    if head.startswith(_ZIP):
        return _npz(path, part)
    rest: tuple[str, ...] = ()
    if head.startswith(MAGIC) and is_large(path.stat().st_size, (), "uint8"):
        values, rest = _rows_of(NpyFiles([path], path.name))
    elif head.startswith(MAGIC):
        values = _numbers(read_npy_file(path), str(path))
    elif _is_idx(head):
        values = read_idx(path)
    else:
        raise UserError(f"{path} is {looks_like(head)}, which is not read as data: {_remedy(looks_like(head))}.")
    labels, notes = _labels_beside(path, len(values))
    return Found(values, labels, path.name, (*rest, *notes))


def _is_idx(head: bytes) -> bool:
    """Whether ``read_idx`` is to read it: IDX, gzipped or not, and gzipped files too damaged for anybody to tell."""
    if head.startswith(_GZIP):
        head = _inflated(head) or b"\0\0\x08\x01"
    return re.match(rb"\0\0[\x08\x09\x0b-\x0e][\x01-\x40]", head) is not None


def _remedy(what: str) -> str:
    if what.endswith(" image"):
        return "give the folder that it lies in"
    if "gzip" in what or "archive" in what:
        return "unpack it, and give what is in it"
    if "CSV" in what:
        return "turn it into .npy, as in numpy.save('rows.npy', numpy.loadtxt(file, delimiter=','))"
    return f"what is read are {READABLE}"


def _labels_beside(path: Path, rows: int) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """(labels, notes) from the file that is named like this one, but for "labels" in the place of "images"."""
    if "images" not in path.name:
        return None, ()
    name = re.sub(r"idx\d", "idx1", path.name.replace("images", "labels"))
    for place in (path.with_name(name), path.with_name(name.removesuffix(".gz")), path.with_name(name + ".gz")):
        if place.is_file():
            try:
                labels = _classes(read_labels(place, rows=rows), str(place))
                return _one_per_row(labels, rows, place), (f"labels from {place.name}",)
            except UserError as error:
                return None, (f"labels beside {path.name} are not used: {error}",)
    return None, ()


def _one_per_row(labels: np.ndarray, rows: int, name: str | os.PathLike[str]) -> np.ndarray:
    if len(labels) != rows:
        raise UserError(f"{os.fspath(name)} holds {len(labels):,} labels for {rows:,} rows: give one label per row.")
    return labels


def _numbers(values: np.ndarray, name: str) -> np.ndarray:
    """The same array, if it can be data."""
    check_rows(values.ndim, values.dtype, name)
    return values


# --- labels


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


def _classes(array: np.ndarray, name: str) -> np.ndarray:
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


# --- .npz


_ZIP_ERRORS = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError, OSError, struct.error),
    *(NotImplementedError, RuntimeError, ValueError),
)


@contextmanager
def _unpacking(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive; whatever goes wrong with it in this block is said in one sentence."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except UserError:
        raise
    except _ZIP_ERRORS as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path} cannot be unpacked ({why}): it is cut short or damaged; save it anew.") from None


def _arrays(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    arrays = {info.filename.removesuffix(".npy"): info for info in archive.infolist() if info.filename.endswith(".npy")}
    if not arrays:
        raise UserError(f"{path} is a zip archive without arrays: unpack it; what is read are {READABLE}.")
    return arrays


def _npz(path: Path, part: str) -> Found:
    with _unpacking(path) as archive:
        members = _arrays(archive, path)
        chosen = _values_among(list(members), part, path)
        values = _numbers(_member(archive, members[chosen], path), _quoted(chosen, path))
        known = [name for name in _labels_among(list(members), part) if name != chosen][:1]
        labels, notes = None, [f"values from {chosen!r}"] if len(members) > 1 else []
        if known:
            try:
                array = _classes(_member(archive, members[known[0]], path), _quoted(known[0], path))
                labels = _one_per_row(array, len(values), _quoted(known[0], path))
                notes.append(f"labels from {known[0]!r}")
            except UserError as error:
                notes.append(f"labels are not used: {error}")
    unused = [name for name in members if name not in (chosen, *known)]
    if unused:
        notes.append(f"not used: {_listed(unused)}")
    read_part = next((one for one in PARTS if _named([chosen], VALUE_NAMES, one)), "all")
    return Found(values, labels, path.name, tuple(notes), part=read_part)


def _quoted(name: str, path: Path) -> str:
    return f"{name!r} in {path}"


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> np.ndarray:
    """One array of the archive, which cannot be longer than its directory says; a bomb is not unpacked."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise NotImplementedError("a compression that NumPy does not use")
    packed = min(info.compress_size, path.stat().st_size)
    size, ratio = _BOMB
    if info.file_size > size and info.file_size > ratio * packed:
        raise UserError(
            f"{path} would unpack {packed:,} bytes to {info.file_size:,}, as a zip bomb does: if you trust it, "
            "save its arrays one by one with numpy.save."
        )
    with archive.open(info) as stream:
        return read_npy(stream, info.file_size, _quoted(info.filename.removesuffix(".npy"), path))


def _values_among(names: list[str], part: str, path: Path) -> str:
    """The array with the rows: the only one, or the one that is named so."""
    if len(names) == 1:
        found = names
    elif any(_named(names, VALUE_NAMES, one) for one in PARTS):
        found = _named(names, VALUE_NAMES, part)
        if not found:
            raise UserError(f"{path} has no {part} part, only the arrays {_listed(names)}: add x_{part}.")
    else:
        labels = _named(names, LABEL_NAMES)
        found = _named(names, VALUE_NAMES) or [name for name in names if name not in labels]
    if len(found) != 1:
        raise UserError(
            f"{path} holds the arrays {_listed(names)}: say which are the rows and their labels, as in "
            "numpy.savez(file, values=..., labels=...)."
        )
    return found[0]


def _labels_among(names: list[str], part: str) -> list[str]:
    """The arrays that are named as labels, the likeliest first: those of the part, if any array names a part."""
    if any(_named(names, VALUE_NAMES + LABEL_NAMES, one) for one in PARTS):
        return _named(names, LABEL_NAMES, part)
    return _named(names, LABEL_NAMES)


def _named(names: list[str], wanted: tuple[str, ...], part: str | None = None) -> list[str]:
    """Those of the names that are wanted, in small letters or large, as in x_train or train_x if there is a part."""
    spelled = [(word,) if part is None else (f"{word}_{part}", f"{part}_{word}") for word in wanted]
    return [name for words in spelled for name in names if name.lower() in words]


def _listed(names: Iterable[str]) -> str:
    shown = [repr(name[:40]) for name in names]
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")
