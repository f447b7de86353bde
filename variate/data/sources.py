"""The users' own data, in what they keep it in: IDX, .npy and .npz files, folders of images → plain arrays.

The content says what a file is, not its name. No file can run code, and nothing is allocated from a header alone:
it is believed only as far as the bytes behind it go.
"""

from __future__ import annotations

import ast
import codecs
import csv
import io
import itertools
import math
import os
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from variate.data.idx import read_idx, read_values
from variate.errors import UserError, suggest

__all__ = ["Found", "looks_like", "read", "read_labels"]

Like = tuple[tuple[int, ...], np.dtype | str]  # the raw shape and the dtype of what a trained model knows

READABLE = "IDX files (gzipped or not), .npy, .npz and folders of images"
VALUE_NAMES = ("values", "x", "data", "images", "arr_0")  # in a .npz, in small letters
LABEL_NAMES = ("labels", "y", "targets", "label", "target")
PARTS = ("train", "test")
PART_FOLDERS = {*PARTS, "val", "valid", "validation"}

_GZIP, _NPY, _ZIP = b"\x1f\x8b", b"\x93NUMPY", (b"PK\3\4", b"PK\5\6")
_HEAD = 512  # bytes that tell what a file is
_CHUNK = 1 << 20
_LONGEST_HEADER = 10_000  # characters in a .npy: more is an attack on the parser (NumPy has the same limit)
_BOMB = 1 << 30, 200  # bytes, and how many times those of the archive, from which on it is not unpacked
_NAMES_SEARCHED = 10_000  # for a misspelled one
_MISSING = {"i": -1, "f": math.nan, "U": ""}  # a label that is not known, by the kind of the others


class Found(NamedTuple):
    """Rows as they were stored, and what was decided on the way.

    values: (n, …), contiguous, writeable, in native byte order. labels: (n,) whole numbers or words, ``None`` if there
    are none; also real columns (n, k) from a file that was named for them. name: the file's or the folder's. notes:
    remarks for people. resized: whether images had to be. part: "train" or "test" where both may be there, else "all".
    """

    values: np.ndarray
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
    """The rows in an IDX, .npy or .npz file or a folder of images, and their labels if there are any.

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
    commas; a line that is empty gives −1, "" or NaN, for a label that is not known, and a first line of words above
    numbers is a heading. Empty lines at the end are labels only as far as there are ``rows``. In a .npz, ``part``
    chooses among y_train and y_test. Raises ``UserError``, naming the file.
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
    elif head.startswith(_NPY):
        array = _npy_file(place)
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
    with _opened(path) as file:
        return file.read(_HEAD)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}): check its permissions.") from None


# --- one file


def _folder(path: Path, resize: tuple[int, int] | None, part: str, like: Like | None) -> Found:
    from variate.data.images import images  # here: it imports this module, and Pillow, which only folders need

    if not _has_parts(path):
        return images(path, resize, like)
    found = images(path / part, resize, like)
    notes = (f"read from the sub-folder {part}", *found.notes)
    return found._replace(name=path.resolve().name, notes=notes, part=part)


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
    if head.startswith(_NPY):
        values = _numbers(_npy_file(path), str(path))
    elif _is_idx(head):
        values = read_idx(path)
    else:
        raise UserError(f"{path} is {looks_like(head)}, which is not read as data: {_remedy(looks_like(head))}.")
    labels, notes = _labels_beside(path, len(values))
    return Found(values, labels, path.name, notes)


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
    if values.ndim == 0:
        raise UserError(f"{name} holds a single value: give an array with one row per example.")
    if values.dtype.kind == "c":
        raise UserError(f"{name} holds complex numbers: save their real and imaginary parts as separate columns.")
    if values.dtype.kind not in "biuf":
        raise UserError(f"{name} holds values of type {values.dtype}: save numbers, as in array.astype(float).")
    return values


# --- labels


def _labels(array: np.ndarray, name: str) -> np.ndarray:
    """(n,) numbers or words, or (n, k) numbers, from what was stored."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.dtype.kind in "SU" and array.ndim == 1:
        return _words(array, name)
    if array.dtype.kind not in "biuf" or array.ndim not in (1, 2):
        what = f"the shape {array.shape} and the type {array.dtype}"
        raise UserError(f"{name} has {what}: labels are one whole number or word per row, or columns of numbers.")
    return np.ascontiguousarray(array)


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
    with _opened(path) as file:
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
    return np.append(labels, np.full(missing, _MISSING[labels.dtype.kind], labels.dtype)) if missing else labels


def _spelled(lines: list[list[str]], path: Path) -> np.ndarray:
    """What the words on the lines stand for, (n,) or, of several columns, (n, k); without the heading."""
    for number, line in enumerate(lines, 1):
        if len(line) != len(lines[0]):
            raise UserError(f"{path} has {len(line)} columns on line {number}, but {len(lines[0])} on the first.")
    columns = [[word.strip() for word in column] for column in zip(*lines, strict=True)]
    for start in (0, 1):  # 1: below a heading
        numbers = [_column(column[start:]) for column in columns]
        found = [column for column in numbers if column is not None]
        if len(found) == len(columns):
            return np.stack(found, axis=1) if len(found) > 1 else found[0]
    if len(columns) > 1:
        raise UserError(f"{path} has {len(columns)} columns that are not all numbers: give one label on each line.")
    return np.array(columns[0])


def _column(words: list[str]) -> np.ndarray | None:
    """The words as whole numbers (int64, −1 where empty) or real ones (NaN where empty), if that is what they spell."""
    known = [word for word in words if word]
    if known and all(re.fullmatch(r"[+-]?[0-9]{1,18}", word) for word in known):
        return np.array([int(word or _MISSING["i"]) for word in words], np.int64)
    if known and all(re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", word) for word in known):
        return np.array([float(word or _MISSING["f"]) for word in words])
    return None


# --- .npy


def _npy_file(path: Path) -> np.ndarray:
    with _opened(path) as file:
        return _npy(file, os.fstat(file.fileno()).st_size, str(path))


def _npy(stream: IO[bytes], most: int, name: str) -> np.ndarray:
    """The array in a stream of the .npy format that cannot be longer than ``most`` bytes."""
    dtype, shape, fortran, header = _npy_header(stream, name)
    body = read_values(stream, dtype, shape, most - header, name, "save it anew with numpy.save")
    flat = np.frombuffer(body, dtype)
    if dtype.kind == "b":
        flat = flat.view(np.uint8) != 0  # a byte of 2 would be a truth value that no library expects
    array = flat.reshape(shape, order="F" if fortran else "C")
    return array.astype(array.dtype.newbyteorder("="), order="C", copy=False)


def _npy_header(stream: IO[bytes], name: str) -> tuple[np.dtype, tuple[int, ...], bool, int]:
    """(dtype, shape, whether in Fortran's order, length in bytes) of versions 1 to 3."""

    def fault(why: str) -> UserError:
        return UserError(f"{name} has a header that is not NumPy's ({why}): save it anew with numpy.save.")

    start = stream.read(8)
    length = {1: "<H", 2: "<I", 3: "<I"}.get(start[6]) if len(start) == 8 and start.startswith(_NPY) else None
    if length is None:
        raise fault(f"it begins with the bytes '{start.hex(' ')}'")
    size = stream.read(struct.calcsize(length))
    characters = struct.unpack(length, size)[0] if len(size) == struct.calcsize(length) else 0
    if not 0 < characters <= _LONGEST_HEADER:
        raise fault(f"of {characters:,} characters")
    text = stream.read(characters)
    try:
        described = _literal(text.decode("utf-8" if start[6] == 3 else "latin1"))
        descr, shape, fortran = described["descr"], described["shape"], described["fortran_order"]
    except (ValueError, KeyError, TypeError) as error:
        raise fault(" ".join(str(error).split())[:80]) from None
    whole = isinstance(shape, tuple) and all(type(n) is int and 0 <= n < 1 << 63 for n in shape)
    if not whole or len(shape) > 64 or type(fortran) is not bool:
        raise fault("its shape is no list of lengths")
    return _dtype(descr, name), shape, fortran, 8 + len(size) + len(text)


def _literal(text: str) -> dict:
    """The dictionary that the text spells, as Python 2 or 3 would; ``ValueError`` for anything else."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the parser, about odd spellings
            return dict(ast.literal_eval(re.sub(r"\b(\d+)L\b", r"\1", text.strip())))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"not a dictionary: {error}") from None


def _dtype(descr: object, name: str) -> np.dtype:
    if isinstance(descr, list):
        remedy = "save plain ones, with numpy.lib.recfunctions.structured_to_unstructured"
        raise UserError(f"{name} holds rows of named columns: {remedy}.")
    if isinstance(descr, str) and re.fullmatch(r"[<>|=]?O\d*", descr):
        raise UserError(
            f"{name} holds Python objects, which could run code when they are read: save numbers or words, as in "
            "numpy.save(file, numpy.stack(list_of_rows)) or array.astype(str)."
        )
    if isinstance(descr, str) and re.fullmatch(r"[<>|=]?[biufcSUVmM]\d{1,9}(\[\w+\])?", descr):
        try:
            return np.dtype(descr)
        except (TypeError, ValueError):
            pass
    raise UserError(f"{name} holds values of no known type ({str(descr)[:40]!r}): save numbers, array.astype(float).")


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
        return _npy(stream, info.file_size, _quoted(info.filename.removesuffix(".npy"), path))


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
