"""A file of text → its letters: gzipped or not, UTF-8 with and without BOM, UTF-16 with BOM, else Windows-1252."""

from __future__ import annotations

import codecs
import gzip
import zlib
from pathlib import Path
from typing import IO

from variate.base.errors import UserError
from variate.base.files import opened
from variate.data.sources.found import BOMB
from variate.data.sources.signatures import GZIP

_CHUNK = 1 << 24  # bytes that are unpacked at a time
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def text_in(path: Path) -> tuple[str, tuple[str, ...]]:
    """(letters, notes); ``UserError``, naming the file, if it holds no text, is damaged or a bomb."""
    content = _content(path)
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
    notes: tuple[str, ...] = ()
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise UserError(f"{path} says that it is {encoding}, but is damaged: save it anew as UTF-8.") from None
        line = content.count(b"\n", 0, error.start) + 1
        text, notes = _of_one_byte(content), (f"read as Windows-1252: line {line:,} is not UTF-8",)
    if "\0" in text:
        raise UserError(f"{path} holds zero bytes, which are no text: save it anew as UTF-8.")
    return text.rstrip("\x1a"), notes  # an end mark of DOS


def _of_one_byte(content: bytes) -> str:
    try:
        return content.decode("cp1252")
    except UnicodeDecodeError:  # five bytes stand for nothing there
        return content.decode("latin-1")


def _content(path: Path) -> bytes:
    with opened(path) as file:
        zipped = file.read(2) == GZIP
        file.seek(0)
        if not zipped:
            return file.read()
        try:
            return _unzipped(file, path)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UserError(f"{path} cannot be unpacked ({error}): it is cut short or damaged.") from None


def _unzipped(file: IO[bytes], path: Path) -> bytes:
    """What is inside; no more than a bomb's fuse of it is unpacked."""
    packed = path.stat().st_size
    most, ratio = BOMB
    content = bytearray()
    with gzip.GzipFile(fileobj=file) as stream:
        while chunk := stream.read(_CHUNK):
            content += chunk
            if len(content) > most and len(content) > ratio * packed:
                raise UserError(
                    f"{path} would unpack {packed:,} bytes to more than {len(content):,}, as a bomb does: "
                    "if you trust it, unpack it yourself."
                )
    return bytes(content)
