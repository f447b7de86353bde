"""A folder of images → one array, whatever the images are stored as.

Twice through the files: first what kind and size each image is, so that the result can be allocated once; then the
pixels, straight into their places, or, if there are too many for that, whenever a batch asks for them.
"""

from __future__ import annotations

import functools
import os
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from variate.base.errors import UserError
from variate.base.hushed import hushed
from variate.base.progress import Progress
from variate.data.shards import Shards, Stamp, is_large
from variate.data.sources.found import Found, Like
from variate.data.sources.signatures import looks_like

__all__ = ["EXTENSIONS", "ImageFiles", "holds_images", "images"]

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp", ".pgm", ".ppm")
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP", "PPM")  # no others: a name must not start Ghostscript
SUGGESTED = 8, 128  # the least and the largest side that an error suggests

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_TURNED = {  # EXIF orientation → what puts the image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
DECODERS = min(8, os.cpu_count() or 1)  # threads that images are decoded by while a model is trained
_DRAFT = 2  # a large JPEG is decoded, ten times faster, at no less than so many times the size that is wanted


class Kind(NamedTuple):
    """What a pixel is: ``channels`` 1 (grey), 3 (RGB) or 4 (RGBA) of ``depth`` bool, uint8, uint16 or float32."""

    channels: int
    depth: str

    def __str__(self) -> str:
        if self.channels == 1:
            grey = {"bool": "black and white", "uint8": "grey", "uint16": "16-bit grey", "float32": "real-valued"}
            return grey[self.depth]
        return _MODES[self.channels] + (" of 16 bits" if self.depth == "uint16" else "")


class Seen(NamedTuple):
    """One image before its pixels are read: its size as it is looked at, and what will be done to it."""

    path: Path
    kind: Kind
    height: int
    width: int
    remarks: tuple[str, ...]
    stamp: Stamp

    @property
    def size(self) -> tuple[int, int]:
        return self.height, self.width


class Listing(NamedTuple):
    """The images in a folder, sorted; the names of their sub-folders, or ``None``; remarks on what was left out."""

    paths: list[Path]
    labels: list[str] | None
    notes: tuple[str, ...]


def images(folder: str | os.PathLike[str], resize: tuple[int, int] | None = None, like: Like | None = None) -> Found:
    """All images in a folder, or in its sub-folders, whose names are then the labels.

    values: (n, H, W) bool, uint8, uint16 or float32 for black and white, grey, 16-bit grey and floating-point images;
    (n, H, W, 3) or (n, H, W, 4) uint8 for colours, without and with transparency; the widest that any image needs.
    Of images of several sizes, ``resize`` (height, width) makes one, and black and white becomes grey by it.

    ``like`` (shape, dtype) gives images as a model knows them, of that shape and dtype whatever their own kind; then
    ``resize``, which must be the model's own size, allows those of other sizes to be resized. Raises ``UserError``,
    naming the file, for images that cannot be read, need resizing without ``resize``, or hold what the model cannot
    know.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("L", (4, 6)).save(f"{folder}/a.png")
    ...     found = images(folder, resize=(3, 2))
    >>> found.values.shape, found.values.dtype, found.notes, found.resized
    ((1, 3, 2), dtype('uint8'), ('1 images resized to 3 x 2',), True)
    """
    folder = Path(folder)
    if resize is not None and min(resize) < 1:
        raise UserError(f"--resize {resize[0]},{resize[1]}: give a height and a width of at least 1.")
    listing = _listing(folder)
    with hushed(), Progress("Reading images", len(listing.paths), unit="images") as bar:
        seen = []
        for path in listing.paths:
            seen.append(_look(path))
            bar.advance(0.5)
        size = _size(folder, seen, resize, like)
        kind, shape, dtype = _wanted(seen, size) if like is None else _known(seen, size, like)
        files = ImageFiles(folder.resolve().name, seen, kind, size, shape, np.dtype(dtype))
        if is_large(len(seen), shape, dtype):
            _allocated((1, *shape), dtype, folder)  # one at least has to fit
            values = Shards(files)
            bar.advance(0.5 * len(seen))
        else:
            values = _allocated((len(seen), *shape), dtype, folder)
            for number, row in enumerate(values):
                row[...] = files.pixels(number)
                bar.advance(0.5)
    labels = None if listing.labels is None else np.array(listing.labels)
    notes = (*listing.notes, *_remarks(seen, kind, size, silent=like is not None))
    return Found(values, labels, folder.resolve().name, notes, any(one.size != size for one in seen))


class ImageFiles(NamedTuple):
    """The images of a folder as rows that are decoded when they are asked for; each is a shard of its own."""

    name: str
    seen: list[Seen]
    kind: Kind
    size: tuple[int, int]
    shape: tuple[int, ...]
    dtype: np.dtype
    bounds: None = None

    def __len__(self) -> int:
        return len(self.seen)

    @property
    def sizes(self) -> list[int]:
        return [one.stamp.size for one in self.seen]

    def pixels(self, number: int) -> np.ndarray:
        return _pixels(self.seen[number], self.kind, self.size).reshape(self.shape)

    def read(self, index: np.ndarray) -> np.ndarray:
        """The images with these numbers, (len(index), \\*shape)."""
        values = np.empty((len(index), *self.shape), self.dtype)
        with hushed():
            for row, pixels in zip(values, _decoders(os.getpid()).map(self.pixels, index.tolist()), strict=True):
                row[...] = pixels
        return values


@functools.lru_cache(1)
def _decoders(process: int) -> ThreadPoolExecutor:
    """Of this process: a forked child does not have its parent's threads."""
    return ThreadPoolExecutor(DECODERS, "decoding")


def _allocated(shape: tuple[int, ...], dtype: str, folder: Path) -> np.ndarray:
    try:
        return np.empty(shape, dtype)
    except (MemoryError, ValueError):  # ValueError: more than an address can say
        size = " x ".join(map(str, shape[1:]))
        why = f"{shape[0]:,} images of {size} do not fit into this machine's memory"
        raise UserError(f"{folder}: {why}; give --resize with fewer pixels.") from None


# --- which files


def _listing(folder: Path) -> Listing:
    top, folders, others = _scan(folder)
    below, skipped, deeper = [], others, 0
    for place in folders:
        found, inner, others = _scan(place)
        below += found
        skipped += others
        deeper += len(inner)
    if not top and not below:
        hint = f", but the folders in {folders[0]} may: give one of those" if deeper else ": give a folder with some"
        raise UserError(f"{folder} holds no images ({', '.join(EXTENSIONS)}){hint}.")
    labels = [path.parent.name for path in below] if not top else None
    notes = []
    if labels:
        notes.append(f"labels are the names of the sub-folders ({len(set(labels))})")
    elif below:
        notes.append(f"labels are none, since images lie beside the sub-folders ({len(top)}) too")
    if skipped:
        notes.append(f"files skipped, being hidden or no images by their names: {skipped}")
    if deeper:
        notes.append(f"folders inside the sub-folders are not looked into: {deeper}")
    return Listing(top + below, labels, tuple(notes))


def holds_images(folder: Path) -> bool:
    """Whether there is an image in it, or in one of its sub-folders."""
    found, folders, _ = _scan(folder)
    return bool(found) or any(_scan(place)[0] for place in folders)


def _scan(folder: Path) -> tuple[list[Path], list[Path], int]:
    """(images, sub-folders, number of other files), each sorted by name; hidden folders are left out."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror}): check its permissions.") from None
    found, folders, others = [], [], 0
    for name in names:
        path, hidden = folder / name, name.startswith(".")
        if os.path.isdir(path):  # unlike the method, never raises
            if not hidden and not _leads_back(path):
                folders.append(path)
        elif hidden or path.suffix.lower() not in EXTENSIONS or _is_special(path):
            others += 1
        else:
            found.append(path)  # a link to nowhere too: reading it will say so
    return found, folders, others


def _leads_back(folder: Path) -> bool:
    """Whether it is a link to one of the folders that it lies in, whose images would be read twice."""
    return folder.is_symlink() and folder.resolve() in folder.parent.resolve().joinpath("any").parents


def _is_special(path: Path) -> bool:
    """Whether it is a pipe or a device, from which reading may never return."""
    return os.path.exists(path) and not os.path.isfile(path)


# --- what they are


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The image, nothing of it decoded; whatever goes wrong with it in this block is said in one sentence."""
    try:
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
            yield image
    except UserError:
        raise
    except UnidentifiedImageError:
        with path.open("rb") as file:
            what = looks_like(file.read(512))
        raise UserError(f"{path} is no image that can be read, it is {what}: remove or convert it.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        most = Image.MAX_IMAGE_PIXELS or 0
        raise UserError(f"{path} is an image of more than {most:,} pixels: make it smaller, or remove it.") from None
    except Exception as error:  # a damaged image can fail in any way there is
        why = getattr(error, "strerror", None) or " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path} cannot be read ({why}): replace or remove it.") from None


def _look(path: Path) -> Seen:
    with _opened(path) as image:
        stamp = Stamp.of(path)
        width, height = image.size
        if _orientation(image) >= 5:
            width, height = height, width
        return Seen(path, _kind(image), height, width, tuple(_peculiarities(image)), stamp)


def _kind(image: Image.Image) -> Kind:
    if image.mode.startswith("I"):
        return Kind(1, "uint16")
    if image.mode == "F":
        return Kind(1, "float32")
    if image.has_transparency_data:
        return Kind(4, "uint8")
    if image.mode == "1":
        return Kind(1, "bool")
    return Kind(1 if image.mode == "L" or _is_grey_palette(image) else 3, "uint8")


def _is_grey_palette(image: Image.Image) -> bool:
    colours = image.getpalette("RGB") if image.mode == "P" else None
    return colours is not None and colours[0::3] == colours[1::3] == colours[2::3]


def _peculiarities(image: Image.Image) -> Iterator[str]:
    """What people would want to know of."""
    if image.mode in ("P", "PA"):
        yield f"palette images read as {_kind(image)}"
    elif image.mode not in ("1", "L", "LA", "La", "RGB", "RGBA", "RGBa", "RGBX", "F") and image.mode[0] != "I":
        yield f"{image.mode} images read as RGB"
    if image.mode[0] in "LR" and ";16" in str(getattr(image, "tile", "")):
        yield "images whose 16 bits per colour are read as 8"
    if getattr(image, "is_animated", False) and image.format != "MPO":  # of a phone: a picture and its thumbnails
        yield "images with several frames or pages, of which the first is read"


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation that is still to be applied; 1 is upright."""
    if image.format == "TIFF":
        return 1  # Pillow turns these itself, in both the size and the pixels
    try:
        # Not the PNG's own method: it decodes the pixels, to look for EXIF behind them, where it may not be
        orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged metadata is no reason to refuse the image: viewers show it as it is
        return 1
    return orientation if orientation in _TURNED else 1


def _size(folder: Path, seen: Sequence[Seen], resize: tuple[int, int] | None, like: Like | None) -> tuple[int, int]:
    """(height, width) of all images, or of what they are to become."""
    if like is not None:
        return _known_size(seen, resize, like)
    if resize is not None:
        return resize[0], resize[1]
    sizes = sorted({one.size for one in seen}, key=lambda size: (size[0] * size[1], size))
    if len(sizes) > 1:
        side = " to ".join(f"{height} x {width}" for height, width in (sizes[0], sizes[-1]))
        raise UserError(
            f"{folder} holds images of {len(sizes)} different sizes (height x width, from {side}): give one to all, as "
            f"in --resize {_suggested(one.height for one in seen)},{_suggested(one.width for one in seen)}."
        )
    return sizes[0]


def _suggested(sides: Iterator[int]) -> int:
    least, most = SUGGESTED
    return min(max(4 * round(statistics.median(sides) / 4), least), most)


def _wanted(seen: Sequence[Seen], size: tuple[int, int]) -> tuple[Kind, tuple[int, ...], str]:
    """(kind, shape, dtype) that hold every image without loss."""
    depths = ["bool", "uint8", "uint16", "float32"]
    real = {one.kind.depth == "float32": one.path for one in seen}
    if len(real) > 1:  # whether 1.0 is white or next to black, no file says
        raise UserError(f"{real[True]} has real numbers and {real[False]} whole ones: give only the one or the other.")
    channels = max(one.kind.channels for one in seen)
    depth = max((one.kind.depth for one in seen), key=depths.index)
    if depth == "bool" and (channels > 1 or any(one.size != size for one in seen)):
        depth = "uint8"
    return Kind(channels, depth), size if channels == 1 else (*size, channels), depth


# --- what a model knows


def _known_size(seen: Sequence[Seen], resize: tuple[int, int] | None, like: Like) -> tuple[int, int]:
    shape = like[0]
    if not (len(shape) == 2 or (len(shape) == 3 and shape[2] in _MODES)):
        raise UserError(f"the model knows rows of shape {shape}, not images: give it a file with such rows.")
    height, width = shape[:2]
    if resize is not None and tuple(resize) != (height, width):
        raise UserError(f"--resize {resize[0]},{resize[1]}: the model knows {height} x {width}; leave it out.")
    for one in seen:
        if resize is None and one.size != (height, width):
            raise UserError(
                f"{one.path} is of {one.height} x {one.width} pixels (height x width), but the model knows {height} x "
                f"{width}: resize it first."
            )
    return height, width


def _known(seen: Sequence[Seen], size: tuple[int, int], like: Like) -> tuple[Kind, tuple[int, ...], str]:
    """(kind, shape, dtype) of the model, if every image can be made such."""
    shape, dtype = tuple(like[0]), np.dtype(like[1])
    kind = Kind(shape[2] if len(shape) == 3 else 1, _known_depth(dtype))
    holds = {"bool": ["bool"], "uint8": ["bool", "uint8"], "uint16": ["bool", "uint8", "uint16"]}
    for one in seen:
        if one.kind.depth not in holds.get(kind.depth, [kind.depth]):
            raise UserError(f"{one.path} is {one.kind}, but the model knows {kind} images: convert it first.")
    return kind, shape, str(dtype)


def _known_depth(dtype: np.dtype) -> str:
    if dtype.kind == "f":
        return "float32"
    if dtype in (np.dtype(bool), np.dtype(np.uint16)):
        return str(dtype)
    if np.can_cast(np.uint8, dtype):  # an array of bytes in wider integers is not one of 16 bits
        return "uint8"
    raise UserError(f"the model knows {dtype}, which no image holds: give it a file with such rows.")


# --- their pixels


def _pixels(one: Seen, kind: Kind, size: tuple[int, int]) -> np.ndarray:
    """(H, W) or (H, W, C) of the kind wanted."""
    with _opened(one.path) as image:
        one.stamp.check(one.path)  # before its pixels are: whatever is wrong with others is not its fault
        turned = _TURNED.get(_orientation(image))
        image.draft(None, (_DRAFT * max(size), _DRAFT * max(size)))
        upright = image if turned is None else image.transpose(turned)
        deep = one.kind.depth in ("uint16", "float32")
        array = _deep(upright, one, size) if deep else _shallow(upright, one, kind, size)
        array = _widened(array, kind)
    one.stamp.check(one.path)
    return array


def _shallow(image: Image.Image, one: Seen, kind: Kind, size: tuple[int, int]) -> np.ndarray:
    """Up to 8 bits: bool or uint8, with the channels wanted."""
    if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa"):
        image = image.convert("LA" if image.mode == "La" else "RGB")
    if one.kind.channels == 4:
        image = image.convert("RGBA")
        if kind.channels < 4 and image.getchannel("A").getextrema() != (255, 255):
            raise UserError(f"{one.path} is transparent, which the model does not know: give it a background.")
    if kind.depth != "bool" or one.size != size:
        image = image.convert(_MODES[kind.channels])
    if one.size == size:
        return np.asarray(image)
    grey = np.asarray(image.resize((size[1], size[0]), Image.Resampling.LANCZOS))
    return grey >= 128 if kind.depth == "bool" else grey


def _deep(image: Image.Image, one: Seen, size: tuple[int, int]) -> np.ndarray:
    """Grey of 16 bits or real numbers, (H, W)."""
    array = np.asarray(image)
    low, high = array.min(), array.max()
    if one.kind.depth == "uint16" and not (low >= 0 and high < 1 << 16):
        raise UserError(f"{one.path} has values from {low} to {high}: save it with 16 bits, from 0 to 65535.")
    if not (np.isfinite(low) and np.isfinite(high)):
        raise UserError(f"{one.path} holds NaN or infinity: replace or remove it.")
    if one.size == size:
        return array
    smooth = Image.fromarray(array.astype(np.float32)).resize((size[1], size[0]), Image.Resampling.LANCZOS)
    scaled = np.asarray(smooth).clip(low, high)  # Lanczos overshoots at edges
    return scaled.round() if one.kind.depth == "uint16" else scaled


def _widened(array: np.ndarray, kind: Kind) -> np.ndarray:
    """The same pixels at the depth and with the channels wanted: white stays white."""
    if kind.depth == "uint16" and array.dtype != bool and array.dtype.itemsize == 1:
        array = array.astype(np.uint16) * 257
    if kind.channels > 1 and array.ndim == 2:
        array = np.repeat(array[..., None], kind.channels, axis=-1)
        if kind.channels == 4:
            array[..., 3] = 65535
    return array


# --- what is said of them


def _remarks(seen: Sequence[Seen], kind: Kind, size: tuple[int, int], silent: bool) -> Iterator[str]:
    kinds = Counter(str(one.kind) for one in seen)
    if kinds.keys() != {str(kind)}:
        counts = ", ".join(f"{count} {name}" for name, count in sorted(kinds.items()))
        yield f"images of other kinds are read as {kind} ({counts})"
    for remark, count in sorted(Counter(remark for one in seen for remark in one.remarks).items()):
        yield f"{remark}: {count}"
    others = [one for one in seen if one.size != size]
    if others and not silent:
        stretched = sum(one.height * size[1] != one.width * size[0] for one in others)
        told = f", {stretched:,} of them stretched" if stretched else ""
        yield f"{len(others):,} images resized to {size[0]} x {size[1]}{told}"
