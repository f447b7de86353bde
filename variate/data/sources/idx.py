"""IDX, the format of the MNIST files: two zero bytes, a type, the number of axes, their lengths, values.

Everything is big-endian. The header is believed only as far as the file can back it: nothing is allocated
from a header alone, and no more is inflated from a `.gz` than the header says there is.
"""

from __future__ import annotations

import gzip
import io
import math
import os
import struct
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from variate.base.errors import UserError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_CODES = {np.dtype(name).newbyteorder("="): code for code, name in _TYPES.items()}
_MOST_AXES = 64  # what NumPy can hold
_GZ_MAGIC = b"\x1f\x8b"
_DEFLATE_RATIO = 1032  # deflate never shrinks further than this, so a small file cannot hold a large array
_CHUNK = 1 << 20


def read_idx(source: bytes | str | os.PathLike[str], name: str | None = None) -> np.ndarray:
    """The array in an IDX file, gzipped or not.

    `source` is the path of the file, or its bytes; `name` is what errors call it (default: the path). The
    result has the shape in the header and one of the six IDX types in native byte order: uint8, int8, int16,
    int32, float32 or float64; it may be written to.

    Raises `UserError`, naming the file, where it cannot be opened, is no IDX file, has no values, is cut
    short, is damaged, or goes on after its end.

    >>> read_idx(idx_bytes(np.arange(6, dtype=np.uint8).reshape(2, 3))).tolist()
    [[0, 1, 2], [3, 4, 5]]
    """
    if isinstance(source, bytes):
        return _read(io.BytesIO(source), len(source), name or "the IDX data")
    path = Path(source)
    name = name or str(path)
    try:
        with path.open("rb") as file:
            return _read(file, os.fstat(file.fileno()).st_size, name)
    except OSError as error:
        raise UserError(f"{name} cannot be read ({error.strerror or error}); check the path") from error


def idx_bytes(array: np.ndarray) -> bytes:
    """The uncompressed IDX file that holds `array`, whose type is one of the six that IDX knows."""
    code = _CODES.get(array.dtype.newbyteorder("="))
    if code is None or array.ndim == 0:
        raise UserError(f"IDX cannot hold an array of {array.dtype} with {array.ndim} axes; convert it first")
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(_TYPES[code], copy=False).tobytes()


def _read(file: IO[bytes], size: int, name: str) -> np.ndarray:
    zipped = file.read(2) == _GZ_MAGIC
    file.seek(0)
    if not zipped:
        return _parse(file, size, name)
    try:
        with gzip.GzipFile(fileobj=file) as inflated:
            return _parse(inflated, size * _DEFLATE_RATIO, name)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{name} is cut short or damaged ({error}); fetch it again") from error


def _parse(stream: IO[bytes] | gzip.GzipFile, most: int, name: str) -> np.ndarray:
    """The array in a stream that cannot be longer than `most` bytes."""
    dtype, shape, header = _header(stream, name)
    body = read_values(stream, dtype, shape, most - header, name, "fetch it again")
    return np.frombuffer(body, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def read_values(
    stream: IO[bytes] | gzip.GzipFile, dtype: np.dtype, shape: tuple[int, ...], most: int, name: str, remedy: str
) -> bytearray:
    """The bytes of the values that a header promised, no more than ``most``, and nothing after them.

    They are read in pieces, so that what is allocated is never more than what was there.
    """
    expected, says = _promise(dtype, shape, most, name, remedy)
    body = bytearray()
    while len(body) < expected and (chunk := stream.read(min(_CHUNK, expected - len(body)))):
        body += chunk
    if len(body) < expected:
        raise UserError(f"{name} is cut short ({says}, but it ends after {len(body)} bytes): {remedy}.")
    if stream.read(1):  # in a .gz or .npz this is also what makes its checksum be checked
        raise UserError(_goes_on(name, says))
    return body


def check_promise(dtype: np.dtype, shape: tuple[int, ...], size: int, name: str, remedy: str) -> None:
    """That a file has exactly the ``size`` that its header promises: the same checks without reading it."""
    expected, says = _promise(dtype, shape, size, name, remedy)
    if expected < size:
        raise UserError(_goes_on(name, says))


def _promise(dtype: np.dtype, shape: tuple[int, ...], most: int, name: str, remedy: str) -> tuple[int, str]:
    """(how many bytes the values take, what the header says), if there are values and room for them."""
    expected = math.prod(shape) * dtype.itemsize
    says = f"its header says {' x '.join(map(str, shape)) or 1} values of {dtype.newbyteorder('=')}"
    if expected == 0:
        raise UserError(f"{name} holds no values ({says}): give one that has some.")
    if expected > most:
        raise UserError(f"{name} is cut short or its header is wrong ({says}): {remedy}.")
    return expected, says


def _goes_on(name: str, says: str) -> str:
    return f"{name} goes on after its end ({says}): save each array in a file of its own."


def _header(stream: IO[bytes] | gzip.GzipFile, name: str) -> tuple[np.dtype, tuple[int, ...], int]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or not 1 <= magic[3] <= _MOST_AXES:
        raise UserError(f"{name} is not an IDX file: it begins with the bytes '{magic.hex(' ')}'")
    lengths = stream.read(4 * magic[3])
    if len(lengths) < 4 * magic[3]:
        raise UserError(f"{name} is cut short: it ends inside its header; fetch it again")
    return np.dtype(_TYPES[magic[2]]), struct.unpack(f">{magic[3]}I", lengths), 4 + len(lengths)
