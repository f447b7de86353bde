"""One fit to a folder, and no fit into what is not its own. Pairs of real processes: ``benchmarks/pairs.py``."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from helpers_runs import TINY, model_bytes, run, table

from variate.apps import fit as fit_module
from variate.apps.fit import fit
from variate.base import locks
from variate.base.errors import UserError
from variate.data.load import load
from variate.results.folder import RunFolder
from variate.training import claim
from variate.training.claim import LOCK, claimed
from variate.training.keeper import Keeping

QUICK = [*TINY, "train.batch_size=5"]
HELD = """
import fcntl, os, sys
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX)
print(os.getpid(), file=lock, flush=True)
print("held", flush=True)
sys.stdin.read()
"""


def quick(folder: Path, **options: object):
    return fit(table(60), out=folder, epochs=1, overrides=QUICK, **options)


@pytest.fixture
def idle(monkeypatch) -> None:
    """Whoever gets as far as reading data has failed."""
    run("table")  # but for this one, which others are copies of

    def never(*_: object, **__: object) -> None:
        raise AssertionError("the data are read before the folder is looked at")

    monkeypatch.setattr(fit_module, "load", never)


@pytest.fixture
def holder():
    """``holder(folder)``: another process that has the folder's lock, as a fit has."""
    started = []

    def hold(folder: Path) -> subprocess.Popen:
        command = [sys.executable, "-c", HELD, str(folder / LOCK)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout.readline() == "held\n"
        return started[-1]

    yield hold
    for process in started:
        process.kill()
        process.communicate()


def everything(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def complete(tmp_path) -> Path:
    """A folder with a run of its own."""
    return Path(shutil.copytree(run("table").path.parent, tmp_path / "complete"))


# ---------------------------------------------------------------------------------------------------- two fits


@pytest.mark.parametrize("resume", [False, True], ids=["fit", "resume"])
def test_a_folder_that_another_process_has_is_refused_before_anything_is_read(tmp_path, idle, holder, resume, complete):
    place = complete if resume else tmp_path / "run"
    place.mkdir(exist_ok=True)
    process = holder(place)
    before = everything(place)
    with pytest.raises(UserError, match=f"^process {process.pid} is learning into {place}: wait until it ends, or "):
        quick(place, resume=resume)
    assert everything(place) == before


def test_a_lock_dies_with_its_process(tmp_path, holder):
    """However it ends; what it left is no run, and no obstacle."""
    place = tmp_path / "run"
    place.mkdir()
    process = holder(place)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert os.listdir(place) == [LOCK]
    quick(place)
    assert (place / "model.safetensors").is_file() and not (place / LOCK).exists()


def test_of_fits_in_threads_one_wins(tmp_path):
    """All of them at once; the winner's run is the one that it would have been."""
    refusals, wins, ready = [], [], threading.Barrier(4)

    def one(seed: int) -> None:
        ready.wait()
        try:
            with claimed(RunFolder(tmp_path / "run"), resume=False):
                ready.wait()  # nobody leaves before all have tried
            wins.append(seed)
        except UserError as error:
            refusals.append(str(error))
            ready.wait()

    threads = [threading.Thread(target=one, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    known, unknown = f"process {os.getpid()} is learning into", "another process is learning into"  # who has just begun
    assert len(wins) == 1 and all(said.startswith((known, unknown)) for said in refusals)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("resume", [False, True], ids=["fit", "resume"])
def test_a_fit_inside_a_fit_into_one_folder_is_refused(tmp_path, resume):
    """After the state was saved too, when --resume would find one."""
    said = []

    def again(what: dict) -> None:
        with pytest.raises(UserError, match="is learning into") as caught:
            quick(tmp_path / "run", resume=resume)
        said.append(str(caught.value))

    quick(tmp_path / "alone")
    quick(tmp_path / "run", keeping=Keeping(callbacks={"save": again}))
    assert said and model_bytes(tmp_path / "run") == model_bytes(tmp_path / "alone")


def test_a_run_that_is_being_trained_can_be_looked_at(complete, holder):
    from variate.results.checkpoint import load as load_run

    holder(complete)
    assert load_run(complete).info == run("table").info


def test_without_locks_training_goes_on_and_it_is_said(tmp_path, monkeypatch, capsys):
    """As on Windows and on some network file systems."""
    monkeypatch.setattr(locks, "fcntl", None)
    quick(tmp_path / "run")
    assert f"the file system of {tmp_path / 'run'} has no locks" in capsys.readouterr().err
    assert not list(tmp_path.rglob(f"*{LOCK}")) and (tmp_path / "run" / "model.safetensors").is_file()
    monkeypatch.undo()
    monkeypatch.setattr(locks.fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(37, "No locks available")))
    quick(tmp_path / "other")
    assert "has no locks" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------- other folders

OTHERS = {
    "a report": ["report.html"],
    "pictures": ["pictures/1.png"],
    "metrics": ["metrics.jsonl"],
    "shards": ["0.npy", "1.npy"],
    "a sub-folder": ["cats/1.png", ".hidden"],
    "a folder called state": ["state/notes.txt"],
    "many": [f"{number}.txt" for number in range(9)],
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_folder_of_other_things_is_refused_and_stays_as_it_is(tmp_path, idle, name):
    """Twice: the refusal leaves no trace that would make it look like a run."""
    for file in OTHERS[name]:
        (tmp_path / "mine" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / file).write_text("mine")
    before = everything(tmp_path)
    for _ in range(2):
        with pytest.raises(UserError, match="is neither empty nor a run .*: choose another --out") as caught:
            quick(tmp_path / "mine")
        assert everything(tmp_path) == before and "\n" not in str(caught.value)
    with pytest.raises(UserError, match="has no saved state to resume"):
        quick(tmp_path / "mine", resume=True)
    assert everything(tmp_path) == before


def test_a_model_without_a_state_is_not_overwritten(complete, idle):
    shutil.rmtree(complete / "state")
    before = everything(complete)
    with pytest.raises(UserError, match="already holds a model, without a state to go on from: .* or delete it"):
        quick(complete)
    assert everything(complete) == before


def test_a_run_is_not_overwritten(complete, idle):
    before = everything(complete)
    with pytest.raises(UserError, match="already holds a run: go on with --resume"):
        quick(complete)
    assert everything(complete) == before


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", ".gitignore", "desktop.ini"])
def test_what_systems_leave_in_folders_does_not_count(tmp_path, name):
    (tmp_path / name).write_text("mine")
    quick(tmp_path)
    assert (tmp_path / name).read_text() == "mine" and (tmp_path / "model.safetensors").is_file()


def test_what_was_killed_before_its_first_save_is_begun_anew(tmp_path):
    """Its model and metrics may be there, written before the state was; parts of files too."""
    place = tmp_path / "run"
    (place / "state").mkdir(parents=True)
    left = ["model.safetensors", "metrics.jsonl", ".model.safetensors.01234567.part"]
    for name in [*left, "state/.state.safetensors.89abcdef.part", LOCK]:
        (place / name).write_bytes(b"")
    with pytest.raises(UserError, match="has no saved state to resume: start without --resume"):
        quick(place, resume=True)
    quick(place)
    quick(tmp_path / "alone")
    assert model_bytes(place) == model_bytes(tmp_path / "alone")
    assert everything(place).keys() == everything(tmp_path / "alone").keys()


def test_the_users_files_beside_what_was_killed_are_refused(tmp_path, idle):
    for name in (LOCK, "metrics.jsonl", "report.html"):
        (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=r"neither empty nor a run \(it holds report.html\)"):
        quick(tmp_path)


@pytest.mark.parametrize("made", [True, False], ids=["there", "made"])
def test_a_fit_that_is_refused_leaves_nothing(tmp_path, made):
    place = tmp_path / "a" / "b"
    if made:
        place.mkdir(parents=True)
    with pytest.raises(UserError, match="digits"):
        fit("digitz", out=place)
    assert place.exists() == (tmp_path / "a").exists() == made
    assert not made or os.listdir(place) == []


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match="choose another --out"):
        quick(tmp_path / "run")
    assert (tmp_path / "mine").read_text() == "mine"


# ---------------------------------------------------------------------------------------------------- other rows


def resumable(place: Path, *data: object, **options: object) -> Path:
    """A run of these data that is not complete."""
    folder = place / "whole"

    def copied(what: dict) -> None:
        if not (place / "part").exists():
            shutil.copytree(folder, place / "part")

    fit(*data, out=folder, epochs=2, overrides=TINY, keeping=Keeping(callbacks={"save": copied}), **options)
    return place / "part"


CHANGES = {
    "other rows": lambda values: values + 1.0,
    "another order": lambda values: values[::-1].copy(),
    "one value": lambda values: values + (abs(values - values[7, 3]) == 0) * 1e-9,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_goes_on_with_its_own_rows_only(tmp_path, monkeypatch, change):
    """Of the same schema, as far as it is known before the rows are parted."""
    values = table(120)
    place = resumable(tmp_path, values)
    other = CHANGES[change](values)
    schema = RunFolder(place).load_state()[2]
    plain = fit_module.load
    monkeypatch.setattr(fit_module, "load", lambda *a, **k: replace(plain(*a, **k), schema=schema))
    with pytest.raises(UserError, match="holds other rows than .*: resume it with the data it started with"):
        fit(other, out=place, resume=True)
    assert RunFolder(place).load_state()[0]["numbers"]["step"] == 1  # nothing has changed
    fit(values.copy(), out=place, resume=True)
    assert model_bytes(place) == model_bytes(tmp_path / "whole")


def test_bytes_and_labels_are_told_apart_too(tmp_path):
    """255 − x has the schema of x, and so have labels in another order."""
    values, labels = load("digits").values.numpy()[:200] * 15, load("digits").labels.numpy()[:200]
    place = resumable(tmp_path, values, labels, levels=256, given="label")
    for other in ((values.max() - values, labels), (values, labels[::-1].copy()), (values[:, ::-1].copy(), labels)):
        with pytest.raises(UserError, match="holds other rows than"):
            fit(*other, out=place, resume=True)
    fit(values, labels, out=place, resume=True)
    assert model_bytes(place) == model_bytes(tmp_path / "whole")


def test_the_first_states_say_nothing_of_the_rows_and_go_on(tmp_path):
    values = table(120)
    place = resumable(tmp_path, values)
    captured, settings, schema = RunFolder(place).load_state()
    del captured["numbers"]["data"], captured["numbers"]["best_left_out"]
    RunFolder(place).save_state(captured, settings, schema)
    fit(values, out=place, resume=True)
    assert model_bytes(place) == model_bytes(tmp_path / "whole")


def test_what_a_refused_fit_has_made_is_removed_by_the_one_that_has_it(tmp_path, monkeypatch):
    """He made the folders, another was the first to lock: they are nobody's but the last one's to remove."""
    place = tmp_path / "made" / "run"
    make, inside = claim.make_folder, claimed(RunFolder(place), resume=False)

    def make_and_lose(path):
        monkeypatch.setattr(claim, "make_folder", make)
        made = make(path)
        inside.__enter__()
        return made

    monkeypatch.setattr(claim, "make_folder", make_and_lose)
    with pytest.raises(UserError, match="is learning into"), claimed(RunFolder(place), resume=False):
        pass
    assert place.exists()
    inside.__exit__(None, None, None)
    assert not (tmp_path / "made").exists()
