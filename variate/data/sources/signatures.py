"""What a file is: its content says so, not its name."""

from __future__ import annotations

import codecs
import re
import zlib
from pathlib import Path

from variate.base.files import opened

GZIP, ZIP, PARQUET = b"\x1f\x8b", (b"PK\3\4", b"PK\5\6"), b"PAR1"
HEAD = 512  # bytes that tell what a file is
_CONTROLS = {*range(32), 127} - {*b"\t\n\v\f\r\x1a"}  # bytes that no text has, in whatever encoding of one byte


def looks_like(head: bytes) -> str:
    """What a file that begins with these bytes (512 are enough) seems to be, for people.

    >>> looks_like(b"height,weight\\n1.8,75"), looks_like(b"\\x89PNG\\r\\n"), looks_like(b"\\x00\\xff\\x00\\xff")
    ('a table in text (CSV)', 'a PNG image', "of no known kind (it begins with the bytes '00 ff 00 ff')")
    """
    if not head:
        return "empty"
    if head.startswith(GZIP):
        return f"a gzipped file ({looks_like(inner)} inside)" if (inner := inflated(head)) else "a gzipped file"
    for signature, what in _SIGNATURES.items():
        if re.match(signature, head, re.DOTALL):
            return what
    text = text_of(head)
    if text is None:
        return f"of no known kind (it begins with the bytes '{head[:4].hex(' ')}')"
    lines = text.strip().split("\n")
    separators = {len(re.findall(r"[,;\t]", line)) for line in lines[:-1][:3] or lines}  # the last one may be cut
    table = len(separators) == 1 and 0 not in separators
    return "a table in text (CSV)" if table else f"text (it begins with {lines[0].strip()[:30]!r})"


_UTF_16 = rb"\xff\xfe|\xfe\xff"
_SIGNATURES = {
    rb"\x89PNG": "a PNG image",
    rb"\xff\xd8\xff": "a JPEG image",
    rb"GIF8": "a GIF image",
    rb"BM.{4}\0": "a BMP image",
    rb"II\*\0|MM\0\*": "a TIFF image",
    rb"RIFF.{4}WEBP": "a WebP image",
    rb"P[1-6]\s+(#[^\n]*\n\s*)*[0-9]+\s+[0-9]+\s": "a PNM image",
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
    _UTF_16: "text in UTF-16",
    rb"\s*[\[{]": "JSON",
    rb"\s*<": "HTML or XML",
}


def text_of(head: bytes) -> str | None:
    """The bytes as text; ``None`` if they are something else."""
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)  # which may end inside a letter
    except UnicodeDecodeError:
        return None
    return text if all(letter.isprintable() or letter.isspace() for letter in text) else None


def is_table_text(head: bytes) -> bool:
    """Whether a file that begins with these bytes, gzipped or not, may be a table in text, whatever its encoding."""
    if head.startswith(GZIP):
        head = inflated(head)
    kinds = [what for signature, what in _SIGNATURES.items() if re.match(signature, head, re.DOTALL)]
    if kinds:
        return kinds == [_SIGNATURES[_UTF_16]]
    return bool(head) and (text_of(head) is not None or not _CONTROLS.intersection(head))


def inflated(head: bytes) -> bytes:
    """What the first bytes of a gzipped file begin with; nothing if they are damaged."""
    try:
        return zlib.decompressobj(wbits=31).decompress(head, HEAD)
    except zlib.error:
        return b""


def head_of(path: Path) -> bytes:
    with opened(path) as file:
        return file.read(HEAD)


def is_idx(head: bytes) -> bool:
    """Whether ``read_idx`` is to read it: IDX, gzipped or not, and gzipped files too damaged for anybody to tell."""
    if head.startswith(GZIP):
        head = inflated(head) or b"\0\0\x08\x01"
    return re.match(rb"\0\0[\x08\x09\x0b-\x0e][\x01-\x40]", head) is not None
