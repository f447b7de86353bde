"""Run folders that were damaged, or made to harm: one sentence at load time, or a run that works."""

import functools
import json
import math
import operator
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers_runs import TINY, model_bytes, run, scratch, table
from safetensors import safe_open
from safetensors.torch import save

import variate
from variate import cli
from variate.apps.fit import fit
from variate.apps.info import info
from variate.base import files
from variate.base.errors import DiskFull, UserError
from variate.results import checkpoint, folder
from variate.results.folder import RunFolder
from variate.training.keeper import Keeping

JUNK = [None, True, False, -7, 0, 2**70, -(2**70), 1.5, 1e308, math.nan, math.inf, "", "junk", [], [[]], [1.5], {}]
JUNK += [{"a": 1}, {"elbo_nats": "x"}, ["junk"] * 3]
JUNK_IDS = [f"{number} {str(junk)[:12]}" for number, junk in enumerate(JUNK)]


@functools.cache
def stopped() -> Path:
    """A run in the middle of its second epoch."""
    place, copies = scratch() / "hostile-whole", []

    def copied(what: dict) -> None:
        if what["step"] == 60:
            copies.append(shutil.copytree(place, scratch() / "hostile-stopped"))

    keeping = Keeping(every_seconds=1e-9, callbacks={"save": copied})
    fit(table(240), out=place, epochs=2, overrides=[*TINY, "train.batch_size=5"], keeping=keeping)
    return copies[0]


@functools.cache
def contents(path: Path) -> tuple[dict[str, torch.Tensor], dict]:
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, json.loads(file.metadata()["variate"])


def forged(place: Path, tensors: dict, described: dict) -> Path:
    """A copy of the stopped run with another state, whose checksum is right."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(stopped(), place)
    (place / "state" / "previous.safetensors").unlink(missing_ok=True)
    said = {name: value for name, value in described.items() if name not in ("checksum", "format")}
    described = {**described, "checksum": folder._checksum(tensors, said)}
    content = save(tensors, metadata={"variate": json.dumps(described)})
    (place / "state" / "state.safetensors").write_bytes(content)
    return place


def state() -> tuple[dict[str, torch.Tensor], dict]:
    tensors, described = contents(stopped() / "state" / "state.safetensors")
    return dict(tensors), json.loads(json.dumps(described))


def places(described: object, path: tuple = ()) -> list[tuple]:
    """Every place in nested JSON objects, the objects themselves too."""
    listed = isinstance(described, list) and bool(described) and isinstance(described[0], dict)
    inner = enumerate(described) if listed else described.items() if isinstance(described, dict) else ()
    return [path] * bool(path) + [place for key, value in inner for place in places(value, (*path, key))]


def put(described: dict, path: tuple, value: object) -> None:
    """Another value at one place (``...``: nothing)."""
    inner = functools.reduce(operator.getitem, path[:-1], described)
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value


def refused_or_works(call) -> bool:
    """Whether it worked; else it raised one sentence."""
    try:
        call()
    except UserError as error:
        assert "\n" not in str(error) and str(error).rstrip().endswith((".", "`."))
        return False
    return True


# ---------------------------------------------------------------------------------------------------- the state


def test_a_state_as_it_was_goes_on_to_the_same_bytes(tmp_path):
    """What the forgeries below start from is sound."""
    fit(table(240), out=forged(tmp_path / "run", *state()), resume=True)
    assert model_bytes(tmp_path / "run") == model_bytes(scratch() / "hostile-whole")


@pytest.mark.parametrize("number", range(len(JUNK) + 1), ids=[*JUNK_IDS, "missing"])
def test_junk_anywhere_in_a_state_is_refused_or_harmless(tmp_path, number):
    """In every third place. A resumed run that is not refused ends with a model of finite weights."""
    every = [place for place in places(state()[1]) if place[0] in ("numbers", "schema", "config")]
    for path in every[number % 3 :: 3]:
        tensors, described = state()
        put(described, path, [*JUNK, ...][number])
        place = forged(tmp_path / "run", tensors, described)
        if refused_or_works(lambda place=place: fit(table(240), out=place, resume=True, keeping=Keeping(minutes=1e-9))):
            weights = checkpoint.load(place).model.state_dict().values()
            assert all(torch.isfinite(weight).all() for weight in weights), path


@pytest.mark.parametrize(
    "path", [("schema", "fields", 0, "resized"), ("config", "data"), ("config", "data", "binarize")], ids=str
)
@pytest.mark.parametrize("junk", [True, {}, ...], ids=str)
def test_what_the_state_of_rows_that_are_no_images_says_of_images(tmp_path, path, junk):
    tensors, described = state()
    put(described, path, junk)
    place = forged(tmp_path / "run", tensors, described)
    refused_or_works(lambda: fit(table(240), out=place, resume=True, keeping=Keeping(minutes=1e-9)))


NUMBERS = {
    "step": [None, -7, 10**9, 60.0, True, "60", ...],
    "best": ["x", None, math.nan, math.inf, [1.0], ...],
    "best_epoch": [-1, 10**9, 0.5, ...],
    "sums": [None, [1.0], {"rows": "x"}, {"rows": math.nan}, {"rows": None}, ...],
    "seconds": [-math.inf, "1", ...],
    "rollbacks": [-1, 1.0, ...],
    "skipped": [-1, None, ...],
    "seed": [None, "0", 1.0, ...],
    "start": [None, [], 7, {}, {"step": 40}, ...],
}


@pytest.mark.parametrize(("name", "value"), [(name, v) for name, values in NUMBERS.items() for v in values], ids=str)
def test_numbers_that_no_trainer_has_are_refused(tmp_path, name, value):
    tensors, described = state()
    put(described, ("numbers", name), value)
    with pytest.raises(UserError, match="damaged"):
        fit(table(240), out=forged(tmp_path / "run", tensors, described), resume=True)


WEIGHT = "model.encoder.layers.layers.0.weight"
TENSORS = {
    "another shape": lambda t, name: t.update({name: t[name][:-1].clone()}),
    "another type": lambda t, name: t.update({name: t[name].double()}),
    "a missing part": lambda t, name: t.pop(name),
    "a part too many": lambda t, name: t.update({f"{name}.surplus": torch.zeros(1)}),
    "an unknown part": lambda t, name: t.update({"junk": torch.zeros(1)}),
    "NaN": lambda t, name: t.update({name: torch.full_like(t[name], math.nan)}),
}


@pytest.mark.parametrize("name", [WEIGHT, WEIGHT.replace("model", "average"), "adam.0.exp_avg", f"start.{WEIGHT}"])
@pytest.mark.parametrize("change", TENSORS)
def test_parts_of_a_state_that_are_not_the_models_are_refused(tmp_path, name, change):
    if name.startswith("adam") and change == "a missing part":
        return  # torch's Adam has no moments of what never had a gradient
    tensors, described = state()
    TENSORS[change](tensors, name)
    with pytest.raises(UserError, match="damaged|cannot be loaded"):
        fit(table(240), out=forged(tmp_path / "run", tensors, described), resume=True)


def test_a_state_of_huge_networks_allocates_nothing(tmp_path):
    tensors, described = state()
    put(described, ("config", "encoder", "hidden"), [10**9, 10**9])
    with pytest.raises(UserError, match=r"state\.safetensors"):
        fit(table(240), out=forged(tmp_path / "run", tensors, described), resume=True)


# ---------------------------------------------------------------------------------------------------- the model


def model_with(path: tuple, value: object) -> checkpoint.Run:
    tensors, described = contents(run("table").path)
    described = json.loads(json.dumps(described))
    put(described, path, value)
    file = scratch() / "forged-info.safetensors"
    file.write_bytes(save(tensors, metadata={"variate": json.dumps(described)}))
    return checkpoint.load(file)


@pytest.mark.parametrize("junk", [*JUNK, ...], ids=[*JUNK_IDS, "missing"])
def test_junk_in_what_a_model_says_of_itself_is_refused_or_harmless(junk, capsys):
    for path in places({"info": contents(run("table").path)[1]["info"]}):
        if refused_or_works(lambda path=path: model_with(path, junk)):
            cli.main(["info", str(scratch() / "forged-info.safetensors")])
            json.loads(json.dumps(info(model_with(path, junk)), allow_nan=False))


@pytest.mark.parametrize("value", [{}, {"data": "x"}, {"epoch": 1}, [], "junk", None], ids=str)
def test_a_model_that_does_not_say_what_it_is_is_refused(value):
    with pytest.raises(UserError, match="does not say what it was trained on"):
        model_with(("info",), value)


@pytest.mark.parametrize("size", [3e38, -3e38, 1e25])
def test_weights_that_overflow_are_refused(size):
    tensors, described = contents(run("table").path)
    for name in tensors:
        if not name.startswith("likelihood.log"):
            file = scratch() / "forged-weights.safetensors"
            huge = {**tensors, name: torch.full_like(tensors[name], size)}
            file.write_bytes(save(huge, metadata={"variate": json.dumps(described)}))
            with pytest.raises(UserError, match="no training comes to|NaN or infinity"):
                checkpoint.load(file)


# ---------------------------------------------------------------------------------------------------- the metrics

LINES = {
    "brackets": "[" * 100_000,
    "closed brackets": "[" * 100_000 + "]" * 100_000,
    "no object": "7",
    "no keys": "{}",
    "a step alone": '{"step": 1}',
    "no parts": '{"epoch": 1, "step": 1, "seconds": 1.0}',
    "an empty part": '{"epoch": 1, "step": 1, "train": {}, "validation": {}}',
    "words": '{"epoch": 1, "step": 1, "train": {"elbo_nats": "x"}, "validation": {"elbo_nats": 1.0}}',
    "a list": '{"epoch": 1, "step": 1, "train": {"elbo_nats": [1.0]}, "validation": {"elbo_nats": 1.0}}',
    "huge": '{"epoch": 1, "step": 1, "train": {"elbo_nats": 1e308}, "validation": {"elbo_nats": -1e308}}',
    "two measures": '{"epoch": 1, "step": 1, "train": {"elbo_nats": 1.0}, "validation": {"squared_error": 1.0}}',
    "digits": '{"epoch": 1, "step": %s}' % ("9" * 5000),
    "a huge step": '{"epoch": 1, "step": 1%s}' % ("0" * 50),
    "other letters": '{"epoch": 1, "step": "\udcff"}',
}


@pytest.mark.parametrize("line", LINES)
def test_a_damaged_line_of_metrics_is_told_by_resume_and_by_report(tmp_path, line):
    place = forged(tmp_path / "run", *state())
    with (place / "metrics.jsonl").open("ab") as file:
        file.write(LINES[line].encode(errors="surrogateescape") + b"\n")
    for use in (lambda: fit(table(240), out=place, resume=True), RunFolder(place).read_metrics):
        with pytest.raises(UserError, match=r"metrics\.jsonl is damaged .*: delete it, and go on without its history"):
            use()


def test_metrics_that_are_a_folder_are_told(tmp_path):
    place = forged(tmp_path / "run", *state())
    (place / "metrics.jsonl").unlink()
    (place / "metrics.jsonl").mkdir()
    with pytest.raises(UserError, match=r"metrics\.jsonl cannot be read \(Is a directory\)"):
        fit(table(240), out=place, resume=True)


@pytest.mark.parametrize("value", ["null", "-Infinity"])
def test_a_mean_that_is_not_finite_is_null_and_is_drawn_around(tmp_path, value):
    """Also where an older version wrote what JSON does not know."""
    place = shutil.copytree(run("plain").path.parent, tmp_path / "run")
    text = (place / "metrics.jsonl").read_text()
    first, *others = text.splitlines()
    record = json.loads(first)
    found = json.dumps(record["validation"]["elbo_nats"])
    (place / "metrics.jsonl").write_text("\n".join([first.replace(found, value), *others]) + "\n")
    records = RunFolder(place).read_metrics()
    assert records[0]["validation"]["elbo_nats"] is None and len(records) == 1 + len(others)
    RunFolder(place).write_metrics(records)
    assert "null" in (place / "metrics.jsonl").read_text()
    assert variate.report(variate.load(place), "digits", samples=2, rows=10).is_file()


# ---------------------------------------------------------------------------------------------------- the file system


def no_links(*_: object, **__: object) -> None:
    raise PermissionError(1, "Operation not permitted")


def test_a_file_system_without_hard_links_keeps_both_states(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", no_links)
    place = forged(tmp_path / "run", *state())
    before = (place / "state" / "state.safetensors").read_bytes()
    fit(table(240), out=place, resume=True, keeping=Keeping(minutes=1e-9))
    assert (place / "state" / "previous.safetensors").read_bytes() == before
    assert model_bytes(place) and not list(place.rglob("*.part"))
    fit(table(240), out=place, resume=True)
    assert model_bytes(place) == model_bytes(scratch() / "hostile-whole")


def test_a_full_disk_without_hard_links_is_a_full_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", no_links)
    place = forged(tmp_path / "run", *state())
    before = (place / "state" / "state.safetensors").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(DiskFull, match=r"previous\.safetensors cannot be written"):
        patched.setattr(os, "fsync", full)
        RunFolder(place).save_state({"tensors": {}, "numbers": {}}, {}, run("table").schema)
    assert (place / "state" / "state.safetensors").read_bytes() == before
    assert sorted(os.listdir(place / "state")) == ["state.safetensors"]


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
@pytest.mark.parametrize("name", ["previous.safetensors", ".previous.safetensors.part"])
def test_a_folder_in_the_place_of_the_previous_state_is_told(tmp_path, monkeypatch, links, name):
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    place = forged(tmp_path / "run", *state())
    (place / "state" / name / "inner").mkdir(parents=True)
    before = (place / "state" / "state.safetensors").read_bytes()
    if refused_or_works(lambda: fit(table(240), out=place, resume=True)):
        assert name.endswith(".part") and model_bytes(place) == model_bytes(scratch() / "hostile-whole")
    else:
        assert (place / "state" / "state.safetensors").read_bytes() == before


@pytest.mark.parametrize("name", ["model.safetensors", "state/state.safetensors"])
def test_a_folder_in_the_place_of_a_file_is_told(tmp_path, name):
    place = forged(tmp_path / "run", *state())
    (place / name).unlink()
    (place / name / "inner").mkdir(parents=True)
    assert not refused_or_works(lambda: fit(table(240), out=place, resume=True))
    if name.startswith("model"):
        assert not refused_or_works(lambda: checkpoint.load(place))


@pytest.mark.parametrize("path", ["x" * 5000, "a\0b"])
def test_a_path_that_no_file_can_have_is_told(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    assert not refused_or_works(lambda: checkpoint.load(path))
    assert not refused_or_works(lambda: fit(table(20), out=path, epochs=1, overrides=TINY))
    assert not refused_or_works(lambda: files.write_atomic(Path(path), b""))
    assert os.listdir(tmp_path) == []


# ---------------------------------------------------------------------------------------------------- before training


def test_what_loading_would_refuse_is_refused_before_training(tmp_path, monkeypatch):
    """A class name as long as no file may have: not after hours, when the model is saved."""
    from variate.data import kinds

    monkeypatch.setattr(kinds, "LONGEST_NAME", 3)
    monkeypatch.setattr(variate.training.trainer.Trainer, "epochs", None)  # whoever trains fails
    names = np.array(["short", "ann"])[np.arange(60) % 2]
    with pytest.raises(UserError, match="shorter names"):
        fit(table(60), names, out=tmp_path / "run", given="label", epochs=1, overrides=TINY)
    assert not (tmp_path / "run").exists()


def test_files_are_what_they_were(tmp_path):
    """``keep_as`` gives the bytes a second name, in the place of others."""
    (tmp_path / "a").write_bytes(b"new")
    (tmp_path / "b").write_bytes(b"old")
    files.keep_as(tmp_path / "a", tmp_path / "b")
    (tmp_path / "a").unlink()
    assert (tmp_path / "b").read_bytes() == b"new" and os.listdir(tmp_path) == ["b"]
