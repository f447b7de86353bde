"""Users' own files: every value as it was stored, whatever the file is called; one clear sentence for all others."""

import contextlib
import functools
import gzip
import io
import os
import pickle
import re
import struct
import tempfile
import tracemalloc
import warnings
import zipfile
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from variate.base.errors import UserError
from variate.data.sources import Found, looks_like, read, read_labels
from variate.data.sources.idx import idx_bytes
from variate.data.sources.images import EXTENSIONS, images

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (6, 5, 7), np.uint8)
LABELS = np.array([3, 1, 4, 1, 5, 9], np.uint8)
HARMLESS = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def npy(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    np.lib.format.write_array(buffer := io.BytesIO(), array, version)
    return buffer.getvalue()


def npz(**arrays: object) -> bytes:
    np.savez_compressed(buffer := io.BytesIO(), **arrays)
    return buffer.getvalue()


def npy_saying(header: str | bytes, body: bytes = b"", version: int = 1) -> bytes:
    """A .npy file by hand, whatever its header says."""
    text = header.encode() if isinstance(header, str) else header
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text + body


def saying(shape: object, descr: object = "<f8", order: object = False) -> str:
    return repr({"descr": descr, "fortran_order": order, "shape": shape}) + "\n"


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def refusal(path: Path | str, **options: object) -> str:
    """The one sentence with which the path is refused, at next to no cost in memory."""
    tracemalloc.start()
    try:
        with pytest.raises(UserError) as caught:
            read(path, **options)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600
    return message


def assert_rows(found: Found, values: np.ndarray) -> None:
    np.testing.assert_array_equal(found.values, values)
    assert found.values.dtype == values.dtype.newbyteorder("=") and found.values.dtype.isnative
    assert found.values.flags.c_contiguous and found.values.flags.writeable


# ---------------------------------------------------------------------------------------------------- .npy


@pytest.mark.parametrize("dtype", ["|b1", "|u1", "|i1", "<u2", ">u2", "<i4", ">i8", "<f2", ">f4", "<f8", "<u8"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("version", [1, 2, 3])
def test_npy_comes_back_as_it_was_saved(tmp_path, dtype, order, version):
    array = np.asarray(BYTES % 2 if dtype == "|b1" else BYTES, order=order).astype(dtype, order="K")
    found = read(put(tmp_path / "mine.npy", npy(array, (version, 0))))
    assert_rows(found, array)
    assert found.labels is None and (found.name, found.notes, found.resized) == ("mine.npy", (), False)


def test_npy_of_python_2_and_of_other_writers(tmp_path):
    body = np.arange(6, dtype="<i2").tobytes()
    for header in (
        "{'descr': '<i2', 'fortran_order': False, 'shape': (2L, 3L), }",
        '{"shape":(2,3),"fortran_order":False,"descr":"<i2"}',
    ):
        assert_rows(read(put(tmp_path / "x.npy", npy_saying(header, body))), np.arange(6, dtype="i2").reshape(2, 3))


def test_an_odd_header_is_read_without_a_warning(tmp_path):
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), '\\d': 0}"
    path = put(tmp_path / "x.npy", npy_saying(header, b"\x05\x06"))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert read(path).values.tolist() == [5, 6]
    assert seen == []


def test_truth_values_are_0_and_1_whatever_the_bytes(tmp_path):
    found = read(put(tmp_path / "x.npy", npy_saying(saying((4, 1), "|b1"), b"\x00\x01\x02\xff")))
    assert found.values.view(np.uint8).ravel().tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize("name", ["rows.txt", "rows.png", "rows", "rows.npz"])
def test_the_content_says_what_a_file_is(tmp_path, name):
    for content in (npy(BYTES), idx_bytes(BYTES), gzip.compress(idx_bytes(BYTES), mtime=0), npz(x=BYTES)):
        assert_rows(read(put(tmp_path / name, content)), BYTES)


BAD_NPY = {
    "objects": (npy(np.array([[1, "a"]], object)), "Python objects.*run code.*numpy.stack"),
    "words": (npy(np.array([["a", "b"]])), "type <U1: save numbers"),
    "bytes": (npy(np.array([[b"a"]])), "type .S1: save numbers"),
    "complex": (npy(np.array([[1j]])), "complex numbers: save their real and imaginary parts"),
    "dates": (npy(np.array([["2020-01-01"]], "M8[D]")), "type datetime64"),
    "named columns": (
        npy(np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")])),
        "named columns.*structured_to_unstructured",
    ),
    "a number": (npy(np.float64(3)), "single value"),
    "no rows": (npy(np.zeros((0, 28, 28))), "no values .*0 x 28 x 28 values of float64"),
    "short": (npy(BYTES)[:-1], "cut short or its header is wrong .*6 x 5 x 7 values of uint8"),
    "long": (npy(BYTES) + b"\0", "goes on after its end"),
    "two arrays": (npy(BYTES) + npy(BYTES), "goes on after its end.*a file of its own"),
    "huge": (npy_saying(saying((10**6, 10**6))), "1000000 x 1000000 values of float64"),
    "beyond huge": (npy_saying(saying((10**18, 10**18, 10**18))), "cut short"),
    "unspeakable": (npy_saying(saying((1 << 70,))), "no list of lengths"),
    "many axes": (npy_saying(saying((1,) * 65)), "no list of lengths"),
    "wide words": (npy_saying(saying((3,), "<U999999999")), "cut short|no known type"),
    "negative": (npy_saying(saying((-1, 3))), "no list of lengths"),
    "no tuple": (npy_saying(saying(3)), "no list of lengths"),
    "truth in shape": (npy_saying(saying((True, 3))), "no list of lengths"),
    "no truth": (npy_saying(saying((3,), order=1)), "no list of lengths"),
    "no key": (npy_saying("{'descr': '<f8'}"), "header that is not NumPy's"),
    "a call": (npy_saying("{'descr': __import__('os').abort(), 'fortran_order': 0, 'shape': ()}"), "not a dictionary"),
    "a list": (npy_saying("[1, 2]"), "not a dictionary"),
    "brackets": (npy_saying("(" * 9000), "not a dictionary"),
    "signs": (npy_saying("-" * 9000 + "1"), "not a dictionary"),
    "digits": (npy_saying("{'shape': (" + "9" * 9000 + ",)}"), "not a dictionary|not NumPy's"),
    "odd spelling": (npy_saying("{'descr': '\\d', 'fortran_order': 0or 0, 'shape': (1,)}"), "header"),
    "no text": (npy_saying(b"\xff\xfe\xfd", version=3), "header that is not NumPy's"),
    "zero bytes": (npy_saying(b"\0" * 20), "header that is not NumPy's"),
    "long header": (npy_saying(saying((1,)) + " " * 20_000, version=2), "of 20,0.. characters"),
    "endless header": (b"\x93NUMPY\x02\0\xff\xff\xff\xff", "of 4,294,967,295 characters"),
    "only magic": (b"\x93NUMPY", "begins with the bytes"),
    "no length": (b"\x93NUMPY\x01\0\x10", "header"),
    "version 9": (b"\x93NUMPY\x09\0\x10\0", "begins with the bytes '93 4e 55 4d 50 59 09 00'"),
    "no type": (npy_saying(saying((3,), "<q9")), "no known type .'<q9'"),
    "commas": (npy_saying(saying((3,), "f4,f4")), "no known type"),
    "a subarray": (npy_saying(saying((3,), "(100000,100000)f8")), "no known type"),
    "a wrong size": (npy_saying(saying((3,), "<f3")), "no known type"),
    "a wrong unit": (npy_saying(saying((3,), "<M8[zz]")), "no known type"),
    "type of types": (npy_saying(saying((3,), {"a": 1})), "no known type"),
}


@pytest.mark.parametrize("content, reason", BAD_NPY.values(), ids=BAD_NPY)
def test_a_bad_npy_is_named_and_allocates_nothing(tmp_path, content, reason):
    path = put(tmp_path / "bad.npy", content)
    message = refusal(path)
    assert str(path) in message
    assert re.search(reason, message), message


def test_no_code_in_a_file_is_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    array = np.array([[Evil()]], object)
    for content in (npy(array), npz(x=array), pickle.dumps(Evil())):
        refusal(put(tmp_path / "evil", content))
    assert not (tmp_path / "harm").exists()


# ---------------------------------------------------------------------------------------------------- .npz

OTHER = BYTES[:4, ::-1]
NPZ = {
    "alone": ({"whatever": BYTES}, BYTES, None),
    "alone, named as labels": ({"y": BYTES}, BYTES, None),
    "values": ({"values": BYTES, "other": OTHER}, BYTES, None),
    "x and y": ({"y": LABELS, "x": BYTES}, BYTES, LABELS),
    "X and Y": ({"X": BYTES, "Y": LABELS}, BYTES, LABELS),
    "data and target": ({"data": BYTES, "target": LABELS}, BYTES, LABELS),
    "images and labels": ({"images": BYTES, "labels": LABELS}, BYTES, LABELS),
    "anything and label": ({"pixels": BYTES, "label": LABELS}, BYTES, LABELS),
    "words": ({"x": BYTES, "labels": np.array(list("abcabc"))}, BYTES, np.array(list("abcabc"))),
    "bytes as words": ({"x": BYTES, "labels": np.array([b"a", b"bb"] * 3)}, BYTES, np.array(["a", "bb"] * 3)),
    "a column": ({"x": BYTES, "y": LABELS[:, None]}, BYTES, LABELS),
    "by place": ({"arr_0": BYTES, "arr_1": OTHER}, BYTES, None),
    "labels of another length": ({"x": BYTES, "y": LABELS[:3]}, BYTES, None),
    "one-hot labels": ({"x": BYTES, "y": np.eye(6)}, BYTES, None),
    "real targets": ({"x": BYTES, "y": LABELS / 7}, BYTES, None),
    "whole targets as reals": ({"x": BYTES, "y": LABELS / 1}, BYTES, LABELS / 1),
    "labels that are objects": ({"x": BYTES, "y": np.array([1, "a", None] * 2, object)}, BYTES, None),
}


@pytest.mark.parametrize("arrays, values, labels", NPZ.values(), ids=NPZ)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed], ids=["stored", "deflated"])
def test_npz_knows_rows_and_labels_by_their_names(tmp_path, arrays, values, labels, save):
    save(tmp_path / "mine.npz", **arrays)
    found = read(tmp_path / "mine.npz")
    assert_rows(found, values)
    assert (found.labels is None) == (labels is None)
    if labels is not None:
        np.testing.assert_array_equal(found.labels, labels)
        assert found.notes[1].startswith("labels from")
    ignored = [name for name in arrays if name.lower() in ("y", "labels") and len(arrays) > 1 and labels is None]
    assert any("not used" in note for note in found.notes) == (bool(ignored) or "arr_1" in arrays or "other" in arrays)


@pytest.mark.parametrize("form", ["x_{0} y_{0}", "{0}_images {0}_labels", "X_{0} Y_{0}", "{0}_data {0}_target"])
def test_npz_with_parts_gives_the_one_that_is_asked(tmp_path, form):
    arrays = dict(
        zip(form.format("train").split() + form.format("test").split(), [BYTES, LABELS, OTHER, LABELS[:4]], strict=True)
    )
    np.savez(tmp_path / "mine.npz", **arrays)
    for part, values in [("train", BYTES), ("test", OTHER)]:
        found = read(tmp_path / "mine.npz", part=part)
        assert_rows(found, values)
        assert found.labels.tolist() == LABELS[: len(values)].tolist()
        assert read_labels(tmp_path / "mine.npz", part).tolist() == found.labels.tolist()
    x, y = form.format("test").split()
    assert found.notes == (
        f"values from {x!r}",
        f"labels from {y!r}",
        f"not used: {', '.join(map(repr, form.format('train').split()))}",
    )


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    with zipfile.ZipFile(buffer := io.BytesIO(), "w", method) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return buffer.getvalue()


def patched(content: bytes, find: bytes, replace: bytes) -> bytes:
    assert content.count(find) >= 1 and len(find) == len(replace)
    return content.replace(find, replace)


GOOD_NPZ = zipped(("x.npy", npy(BYTES)))
SIZES = struct.pack("<2I", len(zlib.compress(npy(BYTES))) - 6, len(npy(BYTES)))  # as in both of its headers
BAD_NPZ = {
    "two that could be": (npz(a=BYTES, b=BYTES), "'a', 'b'.*numpy.savez"),
    "x and data": (npz(x=BYTES, data=BYTES), "'x', 'data'.*say which"),
    "x and X": (npz(x=BYTES, X=BYTES), "'x', 'X'.*say which"),
    "no test part": (npz(x_train=BYTES, y_train=LABELS), "no test part, only the arrays 'x_train', 'y_train'"),
    "a hundred": (npz(**{f"array_{i}": BYTES for i in range(100)}), "'array_7' and 92 more"),
    "long names": (zipped(*((letter * 60_000 + ".npy", npy(BYTES)) for letter in "ab")), "say which"),
    "objects": (npz(x=np.array([[None]])), "'x' in .*bad.npz holds Python objects"),
    "words": (npz(x=np.array([["a"]])), "'x' in .*bad.npz holds values of type <U1"),
    "nothing": (zipped(), "zip archive without arrays"),
    "pictures": (zipped(("a.png", b"")), "zip archive without arrays: unpack it"),
    "no array inside": (zipped(("x.npy", b"hello")), "'x' in .*header that is not NumPy's"),
    "an empty member": (zipped(("x.npy", b"")), "'x' in .*header that is not NumPy's"),
    "a short member": (zipped(("x.npy", npy(BYTES)[:-9])), "'x' in .*cut short"),
    "a long member": (zipped(("x.npy", npy(BYTES) + b"more")), "'x' in .*goes on after its end"),
    "a member that promises": (
        zipped(("x.npy", npy_saying(saying((10**6, 10**6))))),
        "'x' in .*cut short or its header",
    ),
    "a stored promise": (zipped(("x.npy", npy_saying(saying((10**6, 10**6)))), method=zipfile.ZIP_STORED), "cut short"),
    "lzma": (zipped(("x.npy", npy(BYTES)), method=zipfile.ZIP_LZMA), "compression that NumPy does not use"),
    "encrypted": (patched(GOOD_NPZ, b"PK\1\2\x14\x03\x14\0\0\0", b"PK\1\2\x14\x03\x14\0\1\0"), "encrypted"),
    "cut": (GOOD_NPZ[:-30], "cannot be unpacked"),
    "headless": (b"PK\3\4" + b"\0" * 100, "cannot be unpacked"),
    "flipped": (GOOD_NPZ[:200] + bytes([GOOD_NPZ[200] ^ 1]) + GOOD_NPZ[201:], "cannot be unpacked|'x' in"),
    "a wrong checksum": (
        zipped(("x.npy", npy(BYTES)), method=zipfile.ZIP_STORED).replace(BYTES.tobytes(), BYTES[::-1].tobytes()),
        "CRC",
    ),
    "a directory that lies": (
        patched(GOOD_NPZ, SIZES, struct.pack("<2I", 0xFFFFFFF0, 0xFFFFFFF0)),
        "would unpack .* as a zip bomb does",
    ),
}


@pytest.mark.parametrize("content, reason", BAD_NPZ.values(), ids=BAD_NPZ)
def test_a_bad_npz_is_named_and_allocates_nothing(tmp_path, content, reason):
    path = put(tmp_path / "bad.npz", content)
    message = refusal(path, part="test")
    assert str(path) in message
    assert re.search(reason, message), message


def test_a_zip_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("variate.data.sources.npz.BOMB", (1 << 20, 200))
    zeros = np.zeros((1, 1 << 22), np.uint8)
    path = put(tmp_path / "bomb.npz", npz(x=zeros))
    assert "zip bomb" in refusal(path) and str(path) in refusal(path)
    assert_rows(read(put(tmp_path / "small.npz", npz(x=zeros[:, : 1 << 19]))), zeros[:, : 1 << 19])
    noise = RNG.integers(0, 256, (1, 1 << 22), np.uint8)
    assert_rows(read(put(tmp_path / "noise.npz", npz(x=noise))), noise)


# ---------------------------------------------------------------------------------------------------- IDX and labels


def idx(array: np.ndarray, name: str) -> bytes:
    return gzip.compress(idx_bytes(array), mtime=0) if name.endswith(".gz") else idx_bytes(array)


@pytest.mark.parametrize(
    "rows, labels",
    [
        ("stuff-images.idx.gz", "stuff-labels.idx.gz"),
        ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
        ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
        ("images.idx", "labels.idx"),
        ("images.idx", "labels.idx.gz"),
        ("images.idx.gz", "labels.idx"),
        ("x-images-idx4-ubyte", "x-labels-idx1-ubyte"),
    ],
)
def test_labels_beside_idx_images_are_found(tmp_path, rows, labels):
    put(tmp_path / rows, idx(BYTES, rows))
    put(tmp_path / labels, idx(LABELS, labels))
    found = read(tmp_path / rows)
    assert_rows(found, BYTES)
    assert (found.labels.tolist(), found.name, found.notes) == (LABELS.tolist(), rows, (f"labels from {labels}",))


def test_labels_beside_npy_images_are_found(tmp_path):
    np.save(tmp_path / "images.npy", BYTES)
    np.save(tmp_path / "labels.npy", LABELS)
    assert read(tmp_path / "images.npy").labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize(
    "beside, why",
    [
        (idx_bytes(LABELS[:5]), "5 labels for 6 rows"),
        (idx_bytes(BYTES), "the shape"),
        (idx_bytes(BYTES[:, 0]), "columns of numbers"),
        (idx_bytes(LABELS / 7), "columns of numbers"),
        (idx_bytes(LABELS)[:-1], "cut short"),
        (b"", "empty"),
    ],
    ids=["five", "images", "columns", "reals", "cut", "empty"],
)
def test_what_does_not_fit_beside_is_left_with_a_note_unless_it_was_named(tmp_path, beside, why):
    rows, labels = put(tmp_path / "images.idx", idx_bytes(BYTES)), put(tmp_path / "labels.idx", beside)
    found = read(rows)
    assert_rows(found, BYTES)
    assert found.labels is None and len(found.notes) == 1
    assert found.notes[0].startswith("labels beside images.idx are not used: ") and why in found.notes[0]
    if why != "columns of numbers":  # which may be conditions
        assert why in refusal(rows, labels=labels)


@pytest.mark.parametrize(
    "name", ["labels.idx", "labels.idx.gz", "labels.npy", "labels.npz", "labels.txt", "l.csv", "labels"]
)
def test_labels_that_are_named_go_before_all_others(tmp_path, name):
    np.savez(tmp_path / "rows.npz", x=BYTES, y=LABELS[::-1])
    given = {".idx": idx_bytes(LABELS), ".gz": idx(LABELS, ".gz"), ".npy": npy(LABELS), ".npz": npz(y=LABELS, z=BYTES)}
    text = "".join(f"{label}\n" for label in LABELS).encode()
    path = put(tmp_path / name, given.get(Path(name).suffix, text))
    found = read(tmp_path / "rows.npz", labels=path)
    assert found.labels.tolist() == LABELS.tolist()
    assert found.notes == ("values from 'x'", f"labels from {name}")


NAN = float("nan")
TEXTS = {
    "whole": ("3\n-1\n+4\n", [3, -1, 4]),
    "no last line end": ("3\n1", [3, 1]),
    "of Windows": ("\ufeff3\r\n1\r\n\r\n", [3, 1]),
    "words": ("cat\nTom's dog\ncat\n", ["cat", "Tom's dog", "cat"]),
    "words and numbers": ("1\nb\n3\n", ["1", "b", "3"]),
    "letters of the world": ("Ж\n犬\n", ["Ж", "犬"]),
    "heading": ("label\n3\n1\n", [3, 1]),
    "heading of words": ("label\ncat\n", ["label", "cat"]),
    "quoted": ('"cat, small"\n"1,5"\n', ["cat, small", "1,5"]),
    "long numbers": ("1234567890123456789012\n1\n", np.array([1234567890123456789012, 1], object)),
    "numbers of 19 digits": (f"{2**60 + 1}\n{2**60 + 2}\n", [2**60 + 1, 2**60 + 2]),
    "the same with a point": (f"{2**60 + 1}.0\n{2**60 + 2}.\n", [2**60 + 1, 2**60 + 2]),
    "missing numbers": ("3\n\n1\n", [3, None, 1]),
    "missing beside one": ("1\n\n1\n", [1, None, 1]),
    "missing long numbers": (f"{2**70}\n\n-{2**70}\n", [2**70, None, -(2**70)]),
    "missing in words": ("nan\n1\nNA\n<NA>\nnull\nNone\nNaN", [None, 1, None, None, None, None, None]),
    "missing words": ("cat\n\ndog\n-1\n", ["cat", "", "dog", ""]),
    "words that are not missing": ("NA\nNone\nnull\nx", ["NA", "None", "null", "x"]),
    "infinity": ("1.5\n-inf\nInfinity", [1.5, -np.inf, np.inf]),
    "reals": ("1.5\n-.5\n2e3\n", [1.5, -0.5, 2000.0]),
    "missing reals": ("1.5\n\n2\n", [1.5, NAN, 2.0]),
    "columns": ("1,2.5\n3,4\n", [[1.0, 2.5], [3.0, 4.0]]),
    "columns with a gap": ("1,2\n,4\n1,\n", [[1, 2], [NAN, 4], [1, NAN]]),
    "columns of long numbers": (f"{2**70},1\n2,\n", [[2.0**70, 1], [2, NAN]]),
    "columns below a heading": ("height,age\n1,2\n3,4\n", [[1, 2], [3, 4]]),
    "one": ("7", [7]),
}


@pytest.mark.parametrize("text, labels", TEXTS.values(), ids=TEXTS)
def test_labels_in_text(tmp_path, text, labels):
    """A whole number that is missing is masked: no number can stand for it."""
    got = read_labels(put(tmp_path / "labels.csv", text.encode()))
    if None in list(labels):
        assert np.ma.isMaskedArray(got) and got.tolist() == labels
    else:
        np.testing.assert_array_equal(got, np.array(labels), strict=True)


@pytest.mark.parametrize("text, labels", [("3\n1\n\n\n", [3, 1, None]), ("c\n\n\n", ["c", "", ""]), ("0.5", [0.5])])
def test_the_last_labels_may_be_missing(tmp_path, text, labels):
    """As far as there are rows: an empty line more at the end of a file is no label."""
    place = put(tmp_path / "labels.txt", text.encode())
    assert read_labels(place, rows=len(labels)).tolist() == labels
    assert read_labels(place, rows=1).tolist() == [label for label in labels if label not in (None, "")]


def test_an_archive_that_is_whole_is_not_called_damaged(tmp_path):
    """What is wrong with the arrays in it is said as it is."""
    for arrays, reason in [({"a": BYTES, "b": BYTES}, "say which are the rows"), ({"x_train": BYTES}, "no test part")]:
        message = refusal(put(tmp_path / "whole.npz", npz(**arrays | {"y_train": LABELS})), part="test")
        assert re.search(reason, message) and "damaged" not in message


BAD_LABELS = {
    "nothing": (b"", "is empty"),
    "blank lines": (b"\n \n", "holds no labels"),
    "several words": (b"a,b\nc,d\n", "2 columns that are not all numbers"),
    "ragged": (b"1,2\n3\n", "1 columns on line 2, but 2 on the first"),
    "an open quote": (b'"cat\ndog\n', "no list of labels"),
    "latin": ("Bär\n".encode("latin1"), "no known kind"),
    "late latin": (b"cat\n" * 200 + "Bär\n".encode("latin1"), "no list of labels"),
    "a picture": (b"\x89PNG\r\n\x1a\n\0\0", "is a PNG image: give labels as"),
    "objects": (npy(np.array([1, "a"], object)), "Python objects"),
    "dates": (npy(np.array(["2020-01-01"], "M8[D]")), "datetime64"),
    "pictures": (npy(BYTES), "the shape .6, 5, 7."),
    "a table of words": (npy(np.array([["a", "b"]])), "the shape .1, 2."),
    "bytes": (npy(np.array([b"\xff"])), "words that are no text"),
    "no letters": (npy_saying(saying((1,), "<U1"), b"\xff\xff\xff\xff"), "words that are no text"),
    "unnamed": (npz(a=LABELS, b=LABELS), "holds the arrays 'a', 'b': call the one with the labels"),
}


@pytest.mark.parametrize("content, reason", BAD_LABELS.values(), ids=BAD_LABELS)
def test_bad_labels_are_named(tmp_path, content, reason):
    path = put(tmp_path / "bad", content)
    with pytest.raises(UserError, match=reason) as caught:
        read_labels(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_labels_are_no_folder(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path} is a folder"):
        read_labels(tmp_path)


# ---------------------------------------------------------------------------------------------------- what is no data

OTHERS = {
    "csv": (b"a,b\n1,2\n", "is a table in text .CSV.*read_table"),
    "tsv": (b"1\t2\n", "is a table in text"),
    "wide csv": (b"%s\n" % b",".join([b"0"] * 784), "is a table in text"),
    "cut csv": (b"a,b,c\n1,2,3\n4,5", "is a table in text"),
    "prose": (b"Dear Sir,\n\nthank you, and you, and you.\n", "is text .it begins with 'Dear Sir,'"),
    "json": (b' {"a": [1, 2]}', "is JSON"),
    "web page": (b"<!doctype html><p>404, not found", "is HTML"),
    "text": ("schöne Grüße\n".encode(), "is text .it begins with 'schöne Grüße'.*what is read are IDX"),
    "cut letter": (b"a" * 511 + "ü".encode(), "is text"),
    "utf-16": ("hello".encode("utf-16"), "text in UTF-16"),
    "png": (b"\x89PNG\r\n\x1a\n", "is a PNG image.*the folder that it lies in"),
    "jpeg": (b"\xff\xd8\xff\xe0\0\x10JFIF", "is a JPEG image.*the folder"),
    "heic": (b"\0\0\0\x18ftypheic", "is a HEIC"),
    "hdf5": (b"\x89HDF\r\n\x1a\n", "is an HDF5 file"),
    "matlab": (b"MATLAB 5.0 MAT-file", "is a MATLAB file"),
    "pickle": (pickle.dumps([1]), "is a Python pickle"),
    "parquet": (b"PAR1\x15\x04", "is a Parquet file"),
    "tar": (b"\0" * 257 + b"ustar\0", "is a tar archive.*unpack it"),
    "csv.gz": (gzip.compress(b"a,b\n1,2\n", mtime=0), "a gzipped file .a table in text .CSV. inside.*read_table"),
    "npy.gz": (gzip.compress(npy(BYTES), mtime=0), "a gzipped file .a .npy array inside.*unpack it"),
    "broken gzip": (b"\x1f\x8b\x08nothing", "cut short or damaged"),
    "short gzip": (gzip.compress(idx_bytes(BYTES), mtime=0)[:-20], "cut short or damaged"),
    "short idx": (idx_bytes(BYTES)[:-20], "cut short"),
    "empty": (b"", "is empty"),
    "unknown": (b"\x00\x01\x02\x03", "no known kind .*'00 01 02 03'"),
}


@pytest.mark.parametrize("content, reason", OTHERS.values(), ids=OTHERS)
def test_any_other_file_is_named_for_what_it_is(tmp_path, content, reason):
    path = put(tmp_path / "data.npy", content)
    message = refusal(path)
    assert str(path) in message
    assert re.search(reason, message), message


@given(st.binary(max_size=600))
@HARMLESS
def test_what_a_file_looks_like_can_always_be_said(head):
    said = looks_like(head)
    assert said and "\n" not in said and len(said) < 200


def test_a_path_that_leads_nowhere_is_named_with_its_neighbour(tmp_path):
    put(tmp_path / "training.npz", npz(x=BYTES))
    assert refusal(tmp_path / "trainin.npz").endswith("does not exist, did you mean 'training.npz'?")
    assert "does not exist: check the path" in refusal(tmp_path / "xyz")
    assert "does not exist: check the path" in refusal(tmp_path / "no folder" / "x.npz")
    assert "does not exist: check the path" in refusal(tmp_path / "training.npz" / "x")
    assert "cannot be read" in refusal(tmp_path / ("x" * 300))
    assert "cannot be read" in refusal("x\0y")
    assert "does not exist" in refusal(tmp_path / "training.npz", labels=tmp_path / "labels.txt")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert "neither a file nor a folder" in refusal(tmp_path / "pipe.png")
    assert "holds no images" in refusal(tmp_path)


@contextlib.contextmanager
def nobody():
    """Without the superuser's rights, to whom everything is readable."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.mark.parametrize("name, asked", [("x.npy", "x.npy"), ("folder/a.png", "folder"), ("folder", "folder")])
def test_what_may_not_be_read_is_named(name, asked):
    with tempfile.TemporaryDirectory() as place:  # pytest's own folders are closed to others
        Path(place).chmod(0o755)
        save(Path(place, "folder", "a.png"), BYTES[0])
        put(Path(place, "x.npy"), npy(BYTES))
        Path(place, name).chmod(0)
        with nobody():
            said = refusal(Path(place, asked))
        Path(place, name).chmod(0o700)
    assert str(Path(place, name)) in said and "Permission denied" in said


@functools.cache
def mutable() -> dict[str, bytes]:
    """Good files, to be damaged."""
    files = {
        "x.npy": npy(BYTES),
        "x.npz": npz(x=BYTES, y=LABELS),
        "stored.npz": zipped(("x.npy", npy(BYTES)), method=0),
    }
    files |= {"x.idx": idx_bytes(BYTES), "x.idx.gz": idx(BYTES, ".gz"), "labels.txt": b"label\n1\n2\n"}
    colour = Image.fromarray(RNG.integers(0, 256, (9, 8, 3), np.uint8))
    exif = Image.Exif()
    exif[274] = 6
    for name, options in {
        "a.png": {"exif": exif},
        "b.jpg": {"exif": exif},
        "c.bmp": {},
        "d.tif": {"compression": "tiff_lzw"},
        "e.gif": {"save_all": True, "append_images": [colour.rotate(90)]},
        "f.webp": {},
        "g.ppm": {},
    }.items():
        colour.save(buffer := io.BytesIO(), {"jpg": "JPEG", "tif": "TIFF"}.get(name[2:], name[2:].upper()), **options)
        files[name] = buffer.getvalue()
    return files


@pytest.mark.parametrize("name", sorted(mutable()))
@given(data=st.data())
@HARMLESS
def test_damaged_files_are_refused_in_one_sentence_or_harmless(tmp_path, name, data):
    content = bytearray(mutable()[name])
    for _ in range(data.draw(st.integers(1, 4))):  # the first bytes, the headers, are hit as often as all others
        near = data.draw(st.sampled_from([min(200, len(content)), len(content)]))
        content[data.draw(st.integers(0, near - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    folder = tmp_path / "damaged"
    path = put(folder / name, bytes(content))
    reading = read_labels if name == "labels.txt" else images if path.suffix in EXTENSIONS else read
    try:
        found = reading(folder if reading is images else path)
    except UserError as error:
        assert str(folder) in str(error) and "\n" not in str(error)
    else:
        assert len(found) if reading is read_labels else len(found.values)


# ---------------------------------------------------------------------------------------------------- folders of images


def save(path: Path, image: np.ndarray | Image.Image, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return path


def picture(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


GREY, RGB, RGBA = picture(5, 7), picture(5, 7, 3), picture(5, 7, 4)
DEEP = np.random.default_rng(1).integers(0, 65536, (5, 7), np.uint16)
REAL = np.random.default_rng(2).normal(size=(5, 7)).astype(np.float32)
PALETTE = np.arange(35, dtype=np.uint8).reshape(5, 7)  # places in it


def palette(colours: np.ndarray, **info: object) -> Image.Image:
    image = Image.fromarray(PALETTE).convert("L")
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette(colours.astype(np.uint8).tobytes())
    image.info |= info
    return image


COLOURS = picture(256, 3, seed=3)
GREYS = np.repeat(picture(256, 1, seed=4), 3, axis=1)
ALPHA = np.concatenate([np.array([0, 7], np.uint8), np.full(254, 255, np.uint8)])
LA = np.stack([GREY, GREY[::-1]], -1)
KINDS = {
    "bits": ("png", GREY > 99, GREY > 99),
    "bits, tif": ("tif", GREY > 99, GREY > 99),
    "grey": ("png", GREY, GREY),
    "grey, bmp": ("bmp", GREY, GREY),
    "grey, pgm": ("pgm", GREY, GREY),
    "grey, tiff": ("TIFF", GREY, GREY),
    "16 bits": ("png", DEEP, DEEP),
    "16 bits, tif": ("tif", DEEP, DEEP),
    "16 bits, big-endian": ("tif", DEEP.astype(">u2"), DEEP),
    "16 bits, pgm": ("pgm", DEEP, DEEP),
    "16 bits in 32": ("tif", DEEP.astype(np.int32), DEEP),
    "real": ("tiff", REAL, REAL),
    "RGB": ("png", RGB, RGB),
    "RGB, bmp": ("BMP", RGB, RGB),
    "RGB, ppm": ("ppm", RGB, RGB),
    "RGBA": ("png", RGBA, RGBA),
    "RGBA, tif": ("tif", RGBA, RGBA),
    "grey and alpha": ("png", LA, np.dstack([GREY, GREY, GREY, GREY[::-1]])),
    "palette": ("png", palette(COLOURS), COLOURS[PALETTE]),
    "palette, gif": ("gif", palette(COLOURS), COLOURS[PALETTE]),
    "palette of greys": ("png", palette(GREYS), GREYS[PALETTE][..., 0]),
    "palette with one colour transparent": (
        "png",
        palette(COLOURS, transparency=1),
        np.dstack([COLOURS[PALETTE], np.where(PALETTE == 1, 0, 255).astype(np.uint8)]),
    ),
    "palette with alphas": (
        "png",
        palette(COLOURS, transparency=ALPHA.tobytes()),
        np.dstack([COLOURS[PALETTE], ALPHA[PALETTE]]),
    ),
}


@pytest.mark.parametrize("extension, image, pixels", KINDS.values(), ids=KINDS)
def test_every_kind_of_image_comes_back_as_it_was_saved(tmp_path, extension, image, pixels):
    for name in "ab":
        save(tmp_path / f"{name}.{extension}", image)
    found = read(tmp_path)
    assert_rows(found, np.stack([pixels, pixels]))
    assert (found.labels, found.name, found.resized) == (None, tmp_path.name, False)


@pytest.mark.parametrize("mode, tolerance", [("CMYK", 1), ("YCbCr", 2), ("LAB", 3)])
def test_other_colours_become_rgb(tmp_path, mode, tolerance):
    """White, black and a grey, which every way to write colours has, and which are no matter of taste."""
    greys = np.array([[255, 0, 119]], np.uint8)
    stored = {
        "CMYK": np.dstack([greys * 0] * 3 + [255 - greys]),
        "YCbCr": np.dstack([greys, greys * 0 + 128, greys * 0 + 128]),
        "LAB": np.dstack([np.array([[255, 0, 128]], np.uint8), greys * 0, greys * 0]),  # L* = 50 is 119 in sRGB
    }[mode]
    save(tmp_path / "a.tif", Image.frombytes(mode, (3, 1), stored.tobytes()))
    found = read(tmp_path)
    assert np.abs(found.values[0].astype(int) - np.dstack([greys] * 3)).max() <= tolerance
    assert found.notes == (f"{mode} images read as RGB: 1",)


def test_jpeg_and_webp_are_read(tmp_path):
    flat = np.full((16, 16, 3), (200, 30, 90), np.uint8)
    save(tmp_path / "a.jpg", flat, quality=95)
    save(tmp_path / "b.JPEG", flat, quality=95)
    save(tmp_path / "c.webp", flat, lossless=True)
    found = read(tmp_path)
    assert found.values.shape == (3, 16, 16, 3)
    assert np.abs(found.values.astype(int) - flat).max() <= 3


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *more: bytes) -> bytes:
    """A PNG by hand: of a depth, a size or with chunks that Pillow does not write."""
    start = chunk(b"IHDR", struct.pack(">2I5B", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + start + b"".join(more) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_colours_of_16_bits_are_read_as_8_and_it_is_said(tmp_path):
    put(tmp_path / "a.png", png(2, 1, 16, 2, b"\0" + struct.pack(">6H", 0, 257, 65535, 1000, 30000, 128 * 257)))
    found = read(tmp_path)
    assert np.abs(found.values.ravel().astype(int) - [0, 1, 255, 4, 117, 128]).max() <= 1
    assert found.notes == ("images whose 16 bits per colour are read as 8: 1",)


def test_greys_of_few_bits_reach_from_black_to_white(tmp_path):
    put(tmp_path / "a.png", png(4, 1, 2, 0, b"\0\x1b"))
    assert read(tmp_path).values.tolist() == [[[0, 85, 170, 255]]]


UPRIGHT = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("extension", ["png", "tif", "webp"])
@pytest.mark.parametrize("stored", [RGB, DEEP], ids=["8 bits", "16 bits"])
def test_images_are_turned_as_their_exif_says(tmp_path, orientation, extension, stored):
    if extension == "webp" and stored is DEEP:
        return
    exif = Image.Exif()
    exif[274] = orientation
    save(tmp_path / f"a.{extension}", stored, exif=exif, **({"lossless": True} if extension == "webp" else {}))
    assert_rows(read(tmp_path), np.ascontiguousarray(UPRIGHT[orientation](stored))[None])


def test_a_photo_of_a_phone_is_turned_before_it_is_resized(tmp_path):
    photo = np.zeros((400, 800, 3), np.uint8)
    photo[:, :200] = 255  # the left quarter; upright: the upper one
    exif = Image.Exif()
    exif[274] = 6
    save(tmp_path / "a.jpg", photo, exif=exif)
    found = read(tmp_path, resize=(16, 8))
    assert found.values.shape == (1, 16, 8, 3)
    assert (found.values[0, :4] > 200).all() and (found.values[0, 5:] < 50).all()
    assert found.notes == ("1 images resized to 16 x 8",)


def test_broken_exif_is_no_reason_to_refuse(tmp_path):
    save(tmp_path / "a.png", RGB, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff nonsense")
    assert_rows(read(tmp_path), RGB[None])


def test_of_moving_pictures_the_first_is_read(tmp_path):
    frames = [Image.fromarray(np.full((3, 4, 3), shade, np.uint8)) for shade in (10, 100, 200)]
    for name in ("a.gif", "b.png", "c.tif", "d.webp"):
        save(
            tmp_path / name,
            frames[0],
            save_all=True,
            append_images=frames[1:],
            **({"lossless": True} if "webp" in name else {}),
        )
    save(tmp_path / "e.png", frames[0])
    found = read(tmp_path)
    assert (found.values == 10).all() and len(found.values) == 5
    assert "images with several frames or pages, of which the first is read: 4" in found.notes


MIXED = {
    "grey and RGB": ([GREY, RGB], [np.dstack([GREY] * 3), RGB], "RGB (1 RGB, 1 grey)"),
    "grey and RGBA": ([GREY, RGBA], [np.dstack([GREY] * 3 + [GREY * 0 + 255]), RGBA], "RGBA (1 RGBA, 1 grey)"),
    "RGB and alpha": (
        [RGB, LA],
        [np.dstack([RGB, GREY * 0 + 255]), np.dstack([GREY] * 3 + [GREY[::-1]])],
        "RGBA (1 RGB, 1 RGBA)",
    ),
    "bits and grey": ([GREY > 99, GREY], [(GREY > 99) * np.uint8(255), GREY], "grey (1 black and white, 1 grey)"),
    "bits and RGB": (
        [GREY > 99, RGB],
        [np.dstack([(GREY > 99) * np.uint8(255)] * 3), RGB],
        "RGB (1 RGB, 1 black and white)",
    ),
    "grey and 16 bits": ([GREY, DEEP], [GREY * np.uint16(257), DEEP], "16-bit grey (1 16-bit grey, 1 grey)"),
    "RGBA and 16 bits": (
        [RGBA, DEEP],
        [RGBA * np.uint16(257), np.dstack([DEEP] * 3 + [DEEP * 0 + 65535])],
        "RGBA of 16 bits (1 16-bit grey, 1 RGBA)",
    ),
}


@pytest.mark.parametrize("stored, pixels, kinds", MIXED.values(), ids=MIXED)
def test_mixed_kinds_become_the_widest_that_is_needed(tmp_path, stored, pixels, kinds):
    for name, image in zip("ab", stored, strict=True):
        save(tmp_path / f"{name}.png", image)
    found = read(tmp_path)
    assert_rows(found, np.stack(pixels))
    assert found.notes == (f"images of other kinds are read as {kinds}",)


def test_real_numbers_are_not_mixed_with_whole_ones(tmp_path):
    save(tmp_path / "a.tif", REAL)
    save(tmp_path / "b.png", GREY)
    assert "a.tif has real numbers and" in refusal(tmp_path) and "b.png whole ones" in refusal(tmp_path)


# --- which files, and their labels


def test_images_are_sorted_and_everything_else_is_skipped_with_a_note(tmp_path):
    for shade, name in enumerate(["10.png", "2.PNG", "B.png", "a.bmp", "ä.png"]):
        save(tmp_path / name, np.full((1, 1), shade, np.uint8), format="BMP" if "bmp" in name else "PNG")
    for name in ("readme.txt", ".hidden.png", "Thumbs.db", "c.png.part"):
        put(tmp_path / name, b"whatever")
    save(tmp_path / ".cache" / "x.png", GREY)
    found = read(tmp_path)
    assert found.values.ravel().tolist() == [0, 1, 2, 3, 4]
    assert found.labels is None and found.notes == ("files skipped, being hidden or no images by their names: 4",)


def test_sub_folders_are_the_labels_if_all_images_lie_in_them(tmp_path):
    for shade, name in enumerate(["ant/2.png", "bee/1.png", "bee/3.png", "9/x.png", "10/x.png"]):
        save(tmp_path / name, np.full((2, 2), shade, np.uint8))
    (tmp_path / "empty").mkdir()
    put(tmp_path / "notes.txt", b"")
    found = read(tmp_path)
    assert found.labels.tolist() == ["10", "9", "ant", "bee", "bee"]
    assert found.values[:, 0, 0].tolist() == [4, 3, 0, 1, 2]
    assert found.notes[0] == "labels are the names of the sub-folders (4)"


def test_images_beside_sub_folders_leave_no_labels(tmp_path):
    for shade, name in enumerate(["a/x.png", "b/x.png", "z.png"]):
        save(tmp_path / name, np.full((2, 2), shade, np.uint8))
    found = read(tmp_path)
    assert found.labels is None and found.values[:, 0, 0].tolist() == [2, 0, 1]
    assert found.notes == ("labels are none, since images lie beside the sub-folders (1) too",)


def test_labels_of_a_folder_can_be_named(tmp_path):
    for shade in range(3):
        save(tmp_path / "set" / "a" / f"{shade}.png", np.full((2, 2), shade, np.uint8))
    labels = put(tmp_path / "labels.txt", b"x\ny\nx\n")
    assert read(tmp_path / "set", labels=labels).labels.tolist() == ["x", "y", "x"]
    labels.write_text("x\ny\n")
    assert f"{labels} holds 2 labels for 3 rows" in refusal(tmp_path / "set", labels=labels)


@pytest.mark.parametrize("more", [[], ["valid"]], ids=["two", "three"])
def test_sub_folders_called_train_and_test_are_parts(tmp_path, more):
    for shade, part in enumerate(["train", "test", *more]):
        for name in ("cat", "dog"):
            save(tmp_path / part / name / "x.png", np.full((2, 2), shade, np.uint8))
    for shade, part in enumerate(["train", "test"]):
        found = read(tmp_path, part=part)
        assert (found.values == shade).all() and found.labels.tolist() == ["cat", "dog"]
        assert found.name == tmp_path.name and found.notes[0] == f"read from the sub-folder {part}"


def test_train_beside_other_classes_is_a_class(tmp_path):
    for name in ("train", "test", "bus"):
        save(tmp_path / name / "x.png", GREY)
    assert read(tmp_path).labels.tolist() == ["bus", "test", "train"]


def test_a_folder_without_images_says_where_some_may_be(tmp_path):
    assert f"{tmp_path} holds no images (.png, .jpg" in refusal(tmp_path)
    save(tmp_path / "photos" / "2024" / "x.png", GREY)
    message = refusal(tmp_path)
    assert "holds no images" in message and f"the folders in {tmp_path / 'photos'} may" in message
    assert_rows(read(tmp_path / "photos"), GREY[None])
    save(tmp_path / "others" / "x.png", GREY)
    assert "folders inside the sub-folders are not looked into: 1" in read(tmp_path).notes


def test_links_are_followed_but_not_in_circles(tmp_path):
    save(tmp_path / "elsewhere" / "1.png", GREY)
    save(tmp_path / "beside.png", GREY)  # which "up" would lead to
    save(tmp_path / "set" / "ant" / "1.png", GREY)
    (tmp_path / "set" / "loop").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "up").symlink_to("..")
    (tmp_path / "set" / "self").symlink_to("self")
    (tmp_path / "set" / "bee").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "ant" / "2.png").symlink_to("1.png")
    found = read(tmp_path / "set")
    assert found.labels.tolist() == ["ant", "ant", "bee"]


@pytest.mark.parametrize(
    "target, why", [("nowhere.png", "No such file"), ("x.png", "symbolic links")], ids=["nowhere", "itself"]
)
def test_a_link_to_no_image_is_named(tmp_path, target, why):
    save(tmp_path / "a.png", GREY)
    (tmp_path / "x.png").symlink_to(target)
    message = refusal(tmp_path)
    assert str(tmp_path / "x.png") in message and why in message


# --- sizes


def test_images_of_several_sizes_ask_for_one(tmp_path):
    for name, shape in {"a": (20, 30), "b": (31, 33), "c": (400, 600), "d": (31, 33)}.items():
        save(tmp_path / f"{name}.png", np.zeros(shape, np.uint8))
    message = refusal(tmp_path)
    assert "3 different sizes (height x width, from 20 x 30 to 400 x 600)" in message
    assert message.endswith("as in --resize 32,32.")  # medians 31 and 33
    found = read(tmp_path, resize=(32, 32))
    assert found.values.shape == (4, 32, 32) and found.resized
    assert found.notes == ("4 images resized to 32 x 32, 4 of them stretched",)


@pytest.mark.parametrize("sides, suggested", [((1, 2), 8), ((3000, 4000), 128), ((50, 51), 52)], ids=str)
def test_the_size_suggested_is_one_that_can_be_learned(tmp_path, sides, suggested):
    for side in sides:
        save(tmp_path / f"{side}.png", np.zeros((side, side), np.uint8))
    assert f"--resize {suggested},{suggested}." in refusal(tmp_path)


def test_resizing_to_their_own_size_changes_nothing(tmp_path):
    save(tmp_path / "a.png", RGB)
    found = read(tmp_path, resize=(5, 7))
    assert_rows(found, RGB[None])
    assert not found.resized and found.notes == ()


def test_one_pixel_is_an_image(tmp_path):
    save(tmp_path / "a.png", GREY[:1, :1])
    assert_rows(read(tmp_path), GREY[None, :1, :1])


@pytest.mark.parametrize("resize", [(0, 5), (5, -1)], ids=str)
def test_a_size_of_nothing_is_refused(tmp_path, resize):
    save(tmp_path / "a.png", GREY)
    assert f"--resize {resize[0]},{resize[1]}: " in refusal(tmp_path, resize=resize)


def test_only_folders_are_resized(tmp_path):
    assert "leave --resize out" in refusal(put(tmp_path / "x.npy", npy(BYTES)), resize=(8, 8))


def smooth(side: int) -> np.ndarray:
    """A surface in [0.1, 0.9] that is the same at every resolution."""
    y, x = (np.indices((side, side)) + 0.5) / side
    return 0.5 + 0.4 * np.sin(3 * x + 1) * np.cos(2 * y)


STORED = {
    "grey": ("png", lambda x: (x * 255).round().astype(np.uint8), 255),
    "RGB": ("png", lambda x: np.dstack([(x * 255).round().astype(np.uint8)] * 3), 255),
    "RGBA": (
        "png",
        lambda x: np.dstack([(x * 255).round().astype(np.uint8)] * 3 + [np.full(x.shape, 255, np.uint8)]),
        255,
    ),
    "jpeg": ("jpg", lambda x: (x * 255).round().astype(np.uint8), 255),
    "16 bits": ("png", lambda x: (x * 65535).round().astype(np.uint16), 65535),
    "16 bits, big-endian": ("tif", lambda x: (x * 65535).round().astype(">u2"), 65535),
    "16 bits in 32": ("tif", lambda x: (x * 65535).round().astype(np.int32), 65535),
    "real": ("tif", lambda x: (x - 7).astype(np.float32), None),
}


@pytest.mark.parametrize("extension, store, white", STORED.values(), ids=STORED)
@pytest.mark.parametrize("side", [12, 64, 300], ids=["larger", "smaller", "much smaller"])
def test_resizing_keeps_the_picture_at_every_depth(tmp_path, extension, store, white, side):
    save(tmp_path / f"a.{extension}", store(smooth(side)), **({"quality": 100} if extension == "jpg" else {}))
    values = read(tmp_path, resize=(24, 24)).values[0]
    seen = values.astype(float) / white if white else values + 7
    seen = seen[..., 0] if seen.ndim == 3 else seen
    assert values.dtype == (np.float32 if not white else np.uint16 if white > 255 else np.uint8)
    assert np.abs(seen - smooth(24)).max() < 0.02


def test_shrinking_averages_and_never_leaves_the_range(tmp_path):
    """A board of single black and white pixels is grey from afar; an edge does not ring beyond black and white."""
    board = (np.indices((64, 64)).sum(0) % 2).astype(np.float32)
    save(tmp_path / "board" / "a.tif", board)
    assert np.abs(read(tmp_path / "board", resize=(16, 16)).values[0, 2:-2, 2:-2] - 0.5).max() < 0.02
    for name, image in {
        "real": board * 0 + (np.arange(64) > 30),
        "16": ((np.arange(64) > 30) * np.ones((64, 1)) * 65535),
    }.items():
        save(tmp_path / name / "a.tif", image.astype(np.float32 if name == "real" else np.uint16))
        values = read(tmp_path / name, resize=(20, 20)).values
        assert values.min() == 0 and values.max() == (1 if name == "real" else 65535)
        assert (np.diff(values[0].astype(float), axis=0) == 0).all()


def test_16_bits_are_rounded_after_resizing(tmp_path):
    save(tmp_path / "whole" / "a.tif", (smooth(30) * 1000).astype(np.uint16))
    save(tmp_path / "real" / "a.tif", (smooth(30) * 1000).astype(np.uint16).astype(np.float32))
    whole, real = (read(tmp_path / name, resize=(11, 13)).values for name in ("whole", "real"))
    np.testing.assert_array_equal(whole, np.rint(real).astype(np.uint16), strict=True)


def test_black_and_white_becomes_grey_by_resizing(tmp_path):
    save(tmp_path / "a.png", np.indices((32, 32)).sum(0) % 2 > 0)
    save(tmp_path / "b.png", np.ones((8, 8), bool))
    found = read(tmp_path, resize=(8, 8))
    assert found.values.dtype == np.uint8
    assert np.abs(found.values[0, 1:-1, 1:-1].astype(int) - 127).max() <= 6 and (found.values[1] == 255).all()
    assert found.notes[0] == "images of other kinds are read as grey (2 black and white)"


def test_transparent_pixels_lend_no_colour_to_their_neighbours(tmp_path):
    image = np.zeros((32, 32, 4), np.uint8)
    image[:, :16] = (200, 0, 0, 255)
    image[:, 16:] = (0, 255, 0, 0)
    save(tmp_path / "a.png", image)
    values = read(tmp_path, resize=(8, 8)).values[0]
    seen = values[values[..., 3] > 30]
    assert len(seen) and (seen[:, 0] > 190).all() and (seen[:, 1] < 10).all()


# --- as a model knows them


@pytest.mark.parametrize(
    "stored, like, pixels",
    [
        (GREY, ((5, 7), "uint8"), GREY),
        (RGB, ((5, 7, 3), "uint8"), RGB),
        (GREY, ((5, 7, 3), "uint8"), np.dstack([GREY] * 3)),
        (np.dstack([GREY] * 3), ((5, 7), "uint8"), GREY),
        (np.dstack([RGB, GREY * 0 + 255]), ((5, 7, 3), "uint8"), RGB),
        (RGB, ((5, 7, 4), "uint8"), np.dstack([RGB, GREY * 0 + 255])),
        (GREY, ((5, 7, 1), "uint8"), GREY[..., None]),
        (GREY > 99, ((5, 7), "bool"), GREY > 99),
        (GREY > 99, ((5, 7), "uint8"), (GREY > 99) * np.uint8(255)),
        (DEEP, ((5, 7), "uint16"), DEEP),
        (GREY, ((5, 7), "uint16"), GREY * np.uint16(257)),
        (GREY, ((5, 7), "int64"), GREY.astype(np.int64)),
        (REAL, ((5, 7), "float32"), REAL),
        (REAL, ((5, 7), "float64"), REAL.astype(np.float64)),
    ],
    ids=lambda value: str(value) if isinstance(value, tuple) else "",
)
def test_images_are_read_as_a_model_knows_them(tmp_path, stored, like, pixels):
    save(tmp_path / "a.tif", stored)
    assert_rows(read(tmp_path, like=like), pixels[None])


@pytest.mark.parametrize(
    "stored, like, reason",
    [
        (RGBA, ((5, 7, 3), "uint8"), "a.tif is transparent"),
        (LA, ((5, 7), "uint8"), "a.tif is transparent"),
        (GREY, ((5, 7), "bool"), "a.tif is grey, but the model knows black and white images"),
        (DEEP, ((5, 7), "uint8"), "a.tif is 16-bit grey, but the model knows grey images"),
        (GREY, ((5, 7), "float32"), "a.tif is grey, but the model knows real-valued images"),
        (REAL, ((5, 7), "uint8"), "a.tif is real-valued, but the model knows grey images"),
        (GREY, ((5, 7), "int8"), "int8, which no image holds"),
        (GREY, ((35,), "uint8"), "rows of shape .35,., not images"),
        (GREY, ((3, 5, 7), "uint8"), "rows of shape .3, 5, 7., not images"),
        (GREY, ((5, 8), "uint8"), "a.tif is of 5 x 7 pixels .*, but the model knows 5 x 8: resize it first"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_model_cannot_know_is_refused(tmp_path, stored, like, reason):
    save(tmp_path / "a.tif", stored)
    assert re.search(reason, refusal(tmp_path, like=like))


def test_other_sizes_are_resized_silently_for_a_model_that_was_trained_so(tmp_path):
    for side in (10, 20, 30):
        save(tmp_path / f"{side}.png", np.full((side, side), side, np.uint8))
    found = read(tmp_path, like=((20, 20), "uint8"), resize=(20, 20))
    assert found.values[:, 3, 3].tolist() == [10, 20, 30] and found.values.shape == (3, 20, 20)
    assert found.resized and found.notes == ()
    assert "--resize 8,8: the model knows 20 x 20" in refusal(tmp_path, like=((20, 20), "uint8"), resize=(8, 8))


def test_resized_for_a_model_of_black_and_white_is_black_and_white(tmp_path):
    save(tmp_path / "a.png", np.arange(32)[None].repeat(32, 0) < 12)
    found = read(tmp_path, like=((8, 8), "bool"), resize=(8, 8))
    assert_rows(found, (np.arange(8)[None].repeat(8, 0) < 3)[None])


# --- what is no image

GOOD_PNG = png(2, 2, 8, 0, b"\0\1\2\0\3\4")
BAD_IMAGES = {
    "text": (
        "x.png",
        b"height,weight\n1,2\n",
        "no image that can be read, it is a table in text (CSV): remove or convert",
    ),
    "empty": ("x.png", b"", "it is empty"),
    "heic": ("x.jpg", b"\0\0\0\x18ftypheic", "it is a HEIC"),
    "postscript": ("x.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it is text"),
    "npy": ("x.png", npy(BYTES), "it is a .npy array"),
    "cut": ("x.png", png(50, 50, 8, 0, bytes(51 * 50))[:-20], "cannot be read ("),
    "no pixels": ("x.png", png(9, 9, 8, 0, b""), "cannot be read ("),
    "wrong checksum": ("x.png", GOOD_PNG.replace(b"\0\0\0\2\x08", b"\0\0\0\3\x08"), "x.png"),
    "bomb": ("x.png", png(100_000, 100_000, 8, 0, b""), "more than 89,478,485 pixels: make it smaller"),
    "half a bomb": ("x.png", png(10_000, 10_000, 8, 0, b""), "more than 89,478,485 pixels: make it smaller"),
    "text bomb": (
        "x.png",
        png(1, 1, 8, 0, b"\0\0", chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 22)))),
        "cannot be read",
    ),
    "a wide number": ("x.tif", None, "values from -5 to 70000: save it with 16 bits"),
    "a hole": ("x.tif", None, "NaN or infinity"),
}


@pytest.mark.parametrize("name, content, reason", BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_a_bad_image_is_named_among_good_ones(tmp_path, name, content, reason):
    save(tmp_path / "a.png", np.zeros((2, 2), np.uint8))
    if content is None:
        (tmp_path / "a.png").unlink()
        array = np.array([[-5, 70000]], np.int32) if "values" in reason else np.array([[0, np.nan]], np.float32)
        save(tmp_path / name, array)
    else:
        put(tmp_path / name, content)
    message = refusal(tmp_path, resize=(2, 2))
    assert str(tmp_path / name) in message and reason in message


def test_images_that_do_not_fit_into_memory_are_refused(tmp_path):
    save(tmp_path / "a.png", GREY)
    with pytest.raises(UserError, match="1 images of 1073741824 x 1073741824 do not fit .*--resize"):
        read(tmp_path, resize=(1 << 30, 1 << 30))


def test_reading_shows_its_progress_on_standard_error(tmp_path, capsys):
    for index in range(5):
        save(tmp_path / f"{index}.png", GREY)
    images(tmp_path)
    out, err = capsys.readouterr()
    assert out == "" and "Reading images: 5/5 images" in err


def test_every_extension_is_read(tmp_path):
    for extension in EXTENSIONS:
        save(tmp_path / f"a{extension.upper()}", np.zeros((2, 2, 3) if "pgm" not in extension else (2, 2), np.uint8))
    found = read(tmp_path)
    assert len(found.values) == len(EXTENSIONS) == 10 and Counter(found.values.ravel().tolist()).keys() == {0}
