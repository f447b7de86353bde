"""Model files: what is written comes back whole, and nothing that a file says can do harm."""

import functools
import json
import operator
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers_runs import DATA, TINY, assert_same, model_bytes, run, scratch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save

from variate.apps.fit import fit
from variate.base.errors import UserError
from variate.base.files import write_atomic
from variate.data.load import load
from variate.results import checkpoint, inference

KEY = "variate"
KINDS = ["table", "bits", "plain", "binary", "autoencoder"]


@functools.cache
def source(kind: str = "table") -> tuple[dict[str, torch.Tensor], dict, bytes]:
    """(tensors, what the metadata says, bytes) of a real model file."""
    path = run(kind).path
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, json.loads(file.metadata()[KEY]), path.read_bytes()


def forged(tensors: dict, described: object, key: str = KEY) -> bytes:
    return save(tensors, metadata={key: described if isinstance(described, str) else json.dumps(described)})


def load_bytes(content: bytes) -> checkpoint.Run:
    path = scratch() / "forged.safetensors"
    path.write_bytes(content)
    return checkpoint.load(path)


def refused(content: bytes) -> None:
    with pytest.raises(UserError) as caught:
        load_bytes(content)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------------------------------------------- round trip


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_saved_is_loaded(kind):
    first, again = run(kind), checkpoint.load(run(kind).path)
    assert_same(first.model.state_dict(), again.model.state_dict())
    assert (first.schema, first.config, first.info) == (again.schema, again.config, again.info)


@pytest.mark.parametrize("kind", KINDS)
def test_saving_what_was_loaded_gives_the_same_bytes(kind, tmp_path):
    loaded = run(kind)
    checkpoint.save_model(tmp_path / "copy", loaded)
    assert (tmp_path / "copy").read_bytes() == loaded.path.read_bytes()


@pytest.mark.parametrize("place", [lambda path: path, lambda path: path.parent, lambda path: str(path.parent)])
def test_a_run_is_found_by_its_folder_or_its_file(place):
    assert_same(checkpoint.load(place(run("table").path)).model.state_dict(), source()[0])


def test_a_loaded_model_computes_what_the_saved_one_did():
    values = DATA["table"]()[0]
    codes = [inference.code_means(r, load(values)) for r in (run("table"), checkpoint.load(run("table").path))]
    assert torch.equal(*codes)


def test_the_metadata_is_one_key_of_canonical_json():
    with safe_open(run("table").path, framework="pt") as file:
        metadata = file.metadata()
    assert list(metadata) == [KEY]
    assert metadata[KEY] == json.dumps(json.loads(metadata[KEY]), sort_keys=True, separators=(",", ":"))


# ---------------------------------------------------------------------------------------------------- hostile files


def with_tensors(change: Callable[[dict], object]) -> bytes:
    """The model file after ``change`` to its first matrix (name, tensors)."""
    tensors, described, _ = source()
    changed = dict(tensors)
    change(changed)
    return forged(changed, described)


NAME = "encoder.layers.layers.0.weight"
TENSORS = {
    "a NaN weight": lambda t: t.update({NAME: torch.full_like(t[NAME], torch.nan)}),
    "an infinite weight": lambda t: t.update({NAME: t[NAME].index_fill(0, torch.tensor([0]), torch.inf)}),
    "another dtype": lambda t: t.update({NAME: t[NAME].double()}),
    "whole numbers": lambda t: t.update({NAME: t[NAME].long()}),
    "half precision": lambda t: t.update({NAME: t[NAME].half()}),
    "another shape": lambda t: t.update({NAME: t[NAME][:-1].clone()}),
    "a transposed weight": lambda t: t.update({NAME: t[NAME].T.contiguous()}),
    "an empty weight": lambda t: t.update({NAME: torch.zeros(0)}),
    "a missing weight": lambda t: t.pop(NAME),
    "a weight too many": lambda t: t.update({"surplus": torch.zeros(1)}),
    "a renamed weight": lambda t: t.update({"other": t.pop(NAME)}),
    "no weights": lambda t: t.clear(),
}


@pytest.mark.parametrize("change", TENSORS.values(), ids=TENSORS)
def test_wrong_weights_are_refused(change):
    refused(with_tensors(change))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 8,
        b"not a model\n" * 50,
        b"\xff" * 64,
        (2**62).to_bytes(8, "little") + b"{}",
        pickle.dumps({"weights": [1, 2, 3]}),
        b"PK\x03\x04" + b"\0" * 60,
    ],
    ids=["empty", "zeros", "text", "ones", "endless header", "pickle", "zip"],
)
def test_files_of_other_kinds_are_refused(content):
    refused(content)


class Trap:
    """Unpickling one leaves a mark."""

    def __reduce__(self):
        return open, (str(scratch() / "sprung"), "w")


def test_a_pickle_is_never_opened():
    torch.save({"weights": Trap()}, scratch() / "trap.pt")
    for content in ((scratch() / "trap.pt").read_bytes(), pickle.dumps(Trap())):
        refused(content)
    assert not (scratch() / "sprung").exists()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(share):
    content = source()[2]
    refused(content[: int(len(content) * share)])


@pytest.mark.parametrize("path", ["nothing-here", "folder", "folder/model.safetensors"])
def test_a_place_without_a_model_is_refused(tmp_path, path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=path):
        checkpoint.load(tmp_path / path)


@pytest.mark.parametrize("key", ["other", "Variate", ""])
def test_metadata_under_another_key_is_refused(key):
    refused(forged(source()[0], source()[1], key))


def test_no_metadata_is_refused():
    refused(save(source()[0]))


NOTHINGS = ["", "{", "null", "3", "[]", '"text"', "{}", "[" * 5000 + "]" * 5000, "NaN", '{"format": 1}']


@pytest.mark.parametrize("text", NOTHINGS, ids=lambda t: t[:16] or "empty")
def test_metadata_that_is_no_description_is_refused(text):
    refused(forged(source()[0], text))


def paths(described: object, path: tuple = ()) -> list[tuple]:
    """Every place in nested JSON objects, and in lists of them."""
    listed = isinstance(described, list) and bool(described) and isinstance(described[0], dict)
    inner = dict(enumerate(described)) if listed else described
    if not isinstance(inner, dict):
        return [path]
    return [path] * bool(path) + [p for key, value in inner.items() for p in paths(value, (*path, key))]


def replaced(path: tuple, value: object) -> dict:
    """The description with another value at one place (``...``: without it)."""
    described = json.loads(json.dumps(source()[1]))
    inner = functools.reduce(operator.getitem, path[:-1], described)
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return described


JUNK = [None, True, -1, 0, 2**70, 1.5, float("nan"), "", "junk", [], [[]], ["junk"], [-1], [2**70], [1.5], {}, {"a": 1}]
REQUIRED = [
    p
    for p in paths(
        {
            "format": 1,
            "config": {"encoder": {"name": 1}},
            "schema": {"fields": [{"shape": 1, "dtype": 1, "kind": {"name": 1}}]},
        }
    )
]


@functools.cache
def places() -> list[tuple]:
    return paths(source()[1])


@given(st.data(), st.sampled_from([*JUNK, ...]))
@settings(max_examples=300, deadline=None)
def test_junk_anywhere_in_the_description_is_refused_or_harmless(data, junk):
    """Nothing but a UserError, and a model that is loaded can still be used."""
    path = data.draw(st.sampled_from(places()))
    content = forged(source()[0], replaced(path, junk))
    try:
        loaded = load_bytes(content)
    except UserError as error:
        assert "\n" not in str(error)
        return
    inference.sample(loaded, 2)


@pytest.mark.parametrize("path", REQUIRED, ids=lambda path: ".".join(map(str, path)))
@pytest.mark.parametrize("junk", [..., None, 99, "junk", [], {}], ids=repr)
def test_what_a_description_needs_must_be_there(path, junk):
    refused(forged(source()[0], replaced(path, junk)))


SCHEMAS = {
    "shape": [5, "5", [0], [-5], [2.0], [True], [], [1, 1, 1, 1], [1 << 40], [1 << 20, 1 << 20], [6]],
    "dtype": ["object", "float", "U3", "M8[s]", "nonsense", 8, None, ["float64"], "f8,f8", "V8"],
    "layout": ["", "HW", 3, None, ["F"]],
    "name": ["y", "label", "", 3, None],
    "resized": [True, 1, None],
    "colour": [1],
    "kind": [
        *({"name": "levels", "levels": value, "divisor": 1} for value in [1, 0, -3, 2.0, "2", True, 1 << 40, [2]]),
        *({"name": "levels", "levels": 2, "divisor": value} for value in [0, 2, -1, 1.0, True, None]),
        *({"name": name, "offset": [0.0], "scale": [1.0]} for name in ["kind", "Reals", "", None, 3, ["reals"], {}]),
        {"name": "category", "frequencies": [1, 2], "words": None},
        {"name": "reals", "offset": [0.0]},
        [],
    ],
}
KINDS = {
    "scale": [[-0.5], [-1.0], [float("inf")], ["1"], 1.0, [], [1.0, 2.0], [[1.0] * 5], [1]],
    "offset": [[float("nan")], ["0"], 0.0, [], [1.0, 2.0], [None]],
    "colour": [1],
}
LABELS = [3, [-1], [1.5], ["a"], {}, [[1]], [], None]


FIRST = ("schema", "fields", 0)
WRONG_FIELDS = [
    *[((*FIRST, key), value) for key, values in SCHEMAS.items() for value in values],
    *[((*FIRST, "kind", key), value) for key, values in KINDS.items() for value in values],
    *[(("schema", "fields"), value) for value in ([], None, {}, [3], [[]])],
]


@pytest.mark.parametrize(("path", "value"), WRONG_FIELDS, ids=repr)
def test_a_schema_of_wrong_types_is_refused(path, value):
    refused(forged(source()[0], replaced(path, value)))


@pytest.mark.parametrize("frequencies", LABELS, ids=repr)
@pytest.mark.parametrize("words", [None, ["a", "a"], ["a", 3], "ab"], ids=repr)
def test_classes_of_wrong_types_are_refused(frequencies, words):
    described = json.loads(json.dumps(source()[1]))
    kind = {"name": "category", "frequencies": frequencies, "words": words}
    field = described["schema"]["fields"][0] | {"name": "label", "kind": kind, "shape": [], "layout": ""}
    described["schema"]["fields"].append(field)
    refused(forged(source()[0], described))


WRONG_SETTINGS = [
    *[((section, "name"), "conw") for section in ("encoder", "decoder", "latent", "posterior", "prior", "context")],
    *[((section, "name"), "builtins.eval") for section in ("likelihood", "objective")],
    *[((section, "nmae"), 1) for section in ("encoder", "latent", "posterior", "objective", "train", "data")],
    *[(("latent", "size"), size) for size in (0, -1, 1.0, "2", None, True, 3, [2])],
    *[(("encoder", "hidden"), hidden) for hidden in ("16", [0], [-1], [1.5], [16, 16], [None], 16, [[16]])],
    *[(("data", "binarize"), name) for name in (3, None, ["none"], "dynamc", {})],
    *[(("encoder", "activation"), name) for name in ("nonsense", 3, None, "__class__")],
]


@pytest.mark.parametrize(("path", "value"), WRONG_SETTINGS, ids=repr)
def test_a_wrong_configuration_is_refused(path, value):
    refused(forged(source()[0], replaced(("config", *path), value)))


@pytest.mark.parametrize(
    "path", [(*FIRST, "dtype"), (*FIRST, "colour"), ("config", "encoder", "name"), ("config", "latent", "size")]
)
def test_a_refusal_names_the_file(path):
    with pytest.raises(UserError, match="forged.safetensors"):
        load_bytes(forged(source()[0], replaced(path, "junk")))


HUGE = {
    "wide layers": (("encoder", "hidden"), [10**9, 10**9]),
    "layers beyond 64 bits": (("encoder", "hidden"), [10**30]),
    "product beyond 64 bits": (("decoder", "hidden"), [2**40, 2**40]),
    "large latent": (("latent", "size"), 65536),
    "huge latent": (("latent", "size"), 10**12),
    "deep conv encoder": (("encoder",), {"name": "conv", "blocks": [10**8, 1]}),
    "wide conv decoder": (("decoder",), {"name": "conv", "channels": [10**7, 10**7]}),
    "full covariance": (("posterior",), {"name": "full"}),
    "components": (("likelihood",), {"name": "discretized_logistic", "components": 10**9}),
    "samples": (("objective",), {"name": "elbo", "samples": 10**15}),
    "importance samples": (("objective",), {"name": "iwae", "k": 10**15}),
    "long shape": ((*FIRST, "shape"), [16_000_000]),
    "large image": ((*FIRST, "shape"), [8192, 8192, 3]),
}

TRY_ALL = """
import json, resource, signal, sys
resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
from variate.results import checkpoint
from variate.base.errors import UserError
def late(*_): raise TimeoutError
signal.signal(signal.SIGALRM, late)
for path in sys.argv[1:]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.alarm(10)
    try:
        checkpoint.load(path); outcome = "loaded"
    except BaseException as error:
        outcome = type(error).__name__
    signal.alarm(0)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps([outcome, grown]), flush=True)
"""


@pytest.fixture(scope="module")
def outcomes() -> dict[str, list]:
    """Name of a huge configuration → [how loading it ended, MiB that the process grew], each within ten seconds."""
    files = []
    for name, (path, value) in HUGE.items():
        where = path if path[0] == "schema" else ("config", *path)
        files.append(scratch() / f"huge {name}.safetensors")
        files[-1].write_bytes(forged(source()[0], replaced(where, value)))
    done = subprocess.run(
        [sys.executable, "-c", TRY_ALL, *map(str, files)], capture_output=True, text=True, timeout=250
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return dict(zip(HUGE, lines + [[f"process died: {done.returncode}", 0]] * len(HUGE), strict=False))


@pytest.mark.parametrize("name", HUGE)
def test_huge_sizes_allocate_nothing(outcomes, name):
    outcome, grown = outcomes[name]
    assert outcome == "UserError" or (outcome == "loaded" and "samples" in name)
    assert grown < 300


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_flipped_bytes_are_refused_or_harmless(data):
    """Half of the flips hit the header, where they hurt most."""
    content = bytearray(source()[2])
    header = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 4))):
        end = data.draw(st.sampled_from([header, len(content)]))
        content[data.draw(st.integers(0, end - 1))] ^= data.draw(st.integers(1, 255))
    try:
        loaded = load_bytes(bytes(content))
    except UserError:
        return
    assert all(torch.isfinite(p).all() for p in loaded.model.state_dict().values())


@given(st.integers(0, 10**6), st.integers(0, 200), st.binary(max_size=20))
@settings(max_examples=100, deadline=None)
def test_cut_and_stretched_files_are_refused_or_harmless(start, length, inserted):
    content = source()[2]
    start %= len(content)
    try:
        load_bytes(content[:start] + inserted + content[start + length :])
    except UserError:
        return


STATE, METRICS = "state/state.safetensors", "metrics.jsonl"
DAMAGES = [(STATE, 0.0), (STATE, 0.3), (STATE, 0.99), (METRICS, 0.3), (METRICS, 0.99)]


@pytest.mark.parametrize(("name", "share"), DAMAGES)
def test_a_damaged_run_folder_is_not_resumed(tmp_path, name, share):
    fit(DATA["table"]()[0], out=tmp_path, epochs=2, overrides=TINY)
    for file in {name, name.replace("state.s", "previous.s")}:
        content = (tmp_path / file).read_bytes()
        (tmp_path / file).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=f"{name}|previous"):
        fit(DATA["table"]()[0], out=tmp_path, resume=True)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_state_is_noticed_and_the_one_before_it_used(tmp_path, capfd, damage):
    """A single bit of a weight is enough to be noticed, and the run ends as if nothing had been."""
    for name in ("whole", "damaged"):
        fit(DATA["table"]()[0], out=tmp_path / name, epochs=3, overrides=TINY)
    state = tmp_path / "damaged" / STATE
    content = bytearray(state.read_bytes())
    content[-100] ^= 1 if damage == "flipped" else 0
    state.write_bytes(content[: {"cut": -9, "flipped": None, "empty": 0}[damage]])
    capfd.readouterr()
    fit(DATA["table"]()[0], out=tmp_path / "damaged", resume=True)
    assert f"{state} is damaged: going on from the state before it, step 2." in capfd.readouterr().err
    assert model_bytes(tmp_path / "damaged") == model_bytes(tmp_path / "whole")


@pytest.mark.parametrize("junk", [None, 3, "junk", [], {}], ids=repr)
@pytest.mark.parametrize("key", ["numbers", "config", "schema"])
def test_a_forged_state_is_not_resumed(tmp_path, key, junk):
    fit(DATA["table"]()[0], out=tmp_path, epochs=1, overrides=TINY)
    state = tmp_path / "state" / "state.safetensors"
    with safe_open(state, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        described = json.loads(file.metadata()[KEY])
    state.write_bytes(forged(tensors, described | {key: junk}))
    with pytest.raises(UserError):
        fit(DATA["table"]()[0], out=tmp_path, resume=True)


# ---------------------------------------------------------------------------------------------------- atomic


def failing(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("call", ["replace", "fsync"])
@pytest.mark.parametrize(("failure", "expected"), [(failing, UserError), (interrupted, KeyboardInterrupt)])
def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch, call, failure, expected):
    path = tmp_path / "file"
    write_atomic(path, b"old")
    with monkeypatch.context() as patched, pytest.raises(expected):
        patched.setattr(os, call, failure)
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_write_replaces_the_whole_file(tmp_path):
    path = tmp_path / "new folder" / "file"
    for content in (b"a long old content", b"new"):
        write_atomic(path, content)
        assert path.read_bytes() == content
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_reader_never_sees_half_a_file(tmp_path, monkeypatch):
    """At the moment of the move the old file is whole and the new content is already on the disk, whole."""
    path, seen, plain = tmp_path / "file", [], os.replace
    write_atomic(path, b"old")

    def looking(source, target):
        seen.append((path.read_bytes(), Path(source).read_bytes()))
        plain(source, target)

    monkeypatch.setattr(os, "replace", looking)
    write_atomic(path, b"new")
    assert seen == [(b"old", b"new")]


@pytest.mark.parametrize("path", ["file/inside", "folder"])
def test_a_place_that_cannot_be_written_is_refused(tmp_path, path):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError):
        write_atomic(tmp_path / path, b"new")


FULL_DISK = """
import resource, sys
from dataclasses import replace
from variate.results import checkpoint
from variate.base.errors import UserError
run = checkpoint.load(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    checkpoint.save_model(run.path, replace(run, info=run.info | {"seed": 1}))
except UserError as error:
    sys.exit(f"refused: {error}")
"""


def test_a_full_disk_leaves_the_old_model(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(source()[2])
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("refused: ") and str(path) in done.stderr
    assert path.read_bytes() == source()[2] and os.listdir(tmp_path) == [path.name]
