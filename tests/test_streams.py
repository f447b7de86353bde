"""Streams that are closed, full, or without a reader: the work is done all the same, and the exit status says so."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers_runs import FLAGS, run, table

from variate import cli
from variate.apps import score as score_module
from variate.apps.fit import fit
from variate.base.console import say
from variate.base.errors import UserError
from variate.base.files import atomic_file, write_atomic
from variate.base.progress import Progress
from variate.base.streams import Log
from variate.show import outputs

FULL = Path("/dev/full")
FIT = ["digits", *FLAGS, "--epochs", "1", "--no-report"]


class Broken(io.StringIO):
    """Whatever is written fails so."""

    def __init__(self, error: Exception):
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error

    def flush(self) -> None:
        raise self.error


class BrokenTerminal(Broken):
    def isatty(self) -> bool:
        return True


ERRORS = {
    "no reader": BrokenPipeError(32, "Broken pipe"),
    "full": OSError(28, "No space left on device"),
    "gone": OSError(5, "Input/output error"),
    "closed": ValueError("I/O operation on closed file."),
}
LOST = {name: Broken(error) for name, error in ERRORS.items()} | {"none": None}
LOST |= {f"terminal, {name}": BrokenTerminal(error) for name, error in ERRORS.items()}


@pytest.mark.parametrize("name", LOST)
def test_losing_the_log_does_not_lose_the_run(tmp_path, monkeypatch, capsys, name):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", LOST[name])
    say("to nobody")
    with Progress("Counting", 2) as bar:
        bar.advance(2)
    fit(table(60), out=tmp_path / "run", epochs=1, overrides=FLAGS[1::2])
    cli.main(["fit", *FIT, "--out", str(tmp_path / "cli")])
    with pytest.raises(SystemExit) as stop:
        cli.main(["fit", *FIT, "--out", str(tmp_path / "cli")])
    assert stop.value.code == 2
    assert all((tmp_path / place / "model.safetensors").is_file() for place in ("run", "cli"))
    assert capsys.readouterr().out == ""  # what is said to nobody is not said among the results


def test_a_log_that_can_be_written_again_is(monkeypatch):
    found = io.StringIO()
    for stream in (LOST["full"], found):
        monkeypatch.setattr(sys, "stderr", stream)
        say("hello")
    assert found.getvalue() == "hello\n" and Log(None).isatty() is False


@pytest.mark.parametrize("verb", ["info", "doctor", "--help", "--version"])
@pytest.mark.parametrize("name", ["full", "gone", "none"])
def test_a_result_that_cannot_be_written_is_no_success(monkeypatch, capsys, verb, name):
    from variate.apps import doctor

    monkeypatch.setattr(doctor, "doctor", lambda: {"checks": {}})
    monkeypatch.setattr(doctor, "_lines", lambda found: ["all is well"])
    place = str(run("table").path)
    capsys.readouterr()
    monkeypatch.setattr(sys, "stdout", LOST[name])
    with pytest.raises(SystemExit) as stop:
        cli.main([verb, place] if verb == "info" else [verb])
    told = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and len(told) == 1
    assert told[0].startswith("variate: standard output cannot be written (")


def test_a_reader_that_has_seen_enough_is_a_success(monkeypatch, capsys):
    commands = [["info", str(run("table").path)], ["--help"]]
    capsys.readouterr()
    for verb in commands:
        monkeypatch.setattr(sys, "stdout", LOST["no reader"])
        cli.main(verb)
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not FULL.exists(), reason="a device that is always full")
def test_a_result_that_is_only_found_lost_at_the_end(tmp_path):
    """In a real process, where all of it waits in a buffer, and where the interpreter would say so a second time."""
    command = f"{sys.executable} -m variate --help"
    with FULL.open("w") as full:
        lost = subprocess.run(command.split(), stdout=full, stderr=subprocess.PIPE, text=True)
        nothing = subprocess.run(command.split(), stdout=full, stderr=full)
        log = subprocess.run([*command.split()[:-1], "nonsense"], stderr=full, stdout=subprocess.PIPE)
    assert (lost.returncode, nothing.returncode, log.returncode, log.stdout) == (2, 2, 2, b"")
    assert lost.stderr.startswith("variate: standard output") and lost.stderr.count("\n") == 1


def test_no_file_takes_the_place_of_a_stream_that_was_closed():
    """What C says on descriptor 2 would else be written into whatever is opened next."""
    code = "import os\nfrom variate.base import streams\nwith streams.standing():\n os._exit(os.open(os.devnull, 0))"
    closed = subprocess.run(["bash", "-c", f"{sys.executable} -c '{code}' 2>&- >&-"])
    assert closed.returncode > 2


# ---------------------------------------------------------------------------------------------------- left-over parts

HOLDS = """
import sys
from variate.base.files import atomic_file
with atomic_file(sys.argv[1]) as file:
    file.write(b"half")
    print("writing", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def writer(tmp_path):
    """A process in the middle of writing ``out.csv``."""
    command = [sys.executable, "-c", HOLDS, str(tmp_path / "out.csv")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    yield process
    process.kill()
    process.communicate()


def test_what_a_killed_process_left_is_cleared_by_the_next_and_nothing_else(tmp_path, writer):
    others = [".other.csv.01234567.part", ".out.csv.part", "out.csv.01234567.part", ".out.csv.0123456.part"]
    for name in others:
        (tmp_path / name).write_text("mine")
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert len(os.listdir(tmp_path)) == 1 + len(others)
    write_atomic(tmp_path / "out.csv", b"whole")
    assert sorted(os.listdir(tmp_path)) == sorted([*others, "out.csv"])


def test_what_another_process_is_writing_is_left_to_it(tmp_path, writer):
    """Who ends last has the last word; both files were whole."""
    write_atomic(tmp_path / "out.csv", b"whole")
    assert len(os.listdir(tmp_path)) == 2
    writer.communicate("")
    assert (writer.returncode, os.listdir(tmp_path)) == (0, ["out.csv"])
    assert (tmp_path / "out.csv").read_bytes() == b"half"


def test_a_part_that_was_cleared_before_it_was_locked_is_begun_again(tmp_path, monkeypatch):
    """The moment between making a file and locking it, in which it looks like one that was left."""
    from variate.base import locks

    plain, cleared = locks.take, []

    def clearing(descriptor: int) -> bool | None:
        if not cleared:
            cleared.extend(path.name for path in tmp_path.iterdir())
            (tmp_path / cleared[0]).unlink()
        return plain(descriptor)

    monkeypatch.setattr(locks, "take", clearing)
    write_atomic(tmp_path / "out.csv", b"whole")
    assert len(cleared) == 1 and os.listdir(tmp_path) == ["out.csv"]


def test_sigterm_puts_away_what_was_begun(tmp_path, monkeypatch):
    """In the middle of writing the scores; the handler of before is back."""
    before = signal.getsignal(signal.SIGTERM)

    def ending(path: Path, *_: object) -> None:
        with atomic_file(path) as file:
            file.write(b"half")
            signal.raise_signal(signal.SIGTERM)
            time.sleep(1)

    monkeypatch.setattr(score_module, "save_columns", ending)
    with pytest.raises(SystemExit) as stop:
        cli.main(["score", str(run("plain").path), "digits", "--samples", "2", "--out", str(tmp_path / "out.csv")])
    assert stop.value.code == 128 + signal.SIGTERM and os.listdir(tmp_path) == []
    assert signal.getsignal(signal.SIGTERM) == before


# ---------------------------------------------------------------------------------------------------- before any work

WRITERS = {"sample": [], "reconstruct": ["digits"], "embed": ["digits"], "score": ["digits"], "classify": ["digits"]}


@pytest.mark.parametrize("verb", WRITERS)
@pytest.mark.parametrize("out", ["a.xyz", "a", "folder.npy", "file/a.npy", "a.NPY.gz"])
def test_a_place_that_cannot_be_written_is_told_before_any_work(tmp_path, monkeypatch, capsys, verb, out):
    from variate.results import estimate, inference

    (tmp_path / "folder.npy").mkdir()
    (tmp_path / "file").write_text("mine")
    place = str(run("labelled" if verb == "classify" else "plain").path)
    for module in (inference, estimate):
        for name in module.__all__:
            monkeypatch.setattr(module, name, None)  # whoever begins fails
    with pytest.raises(SystemExit) as stop:
        cli.main([verb, place, *WRITERS[verb], "--out", str(tmp_path / out)])
    assert stop.value.code == 2 and f"--out {tmp_path / out}" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.npy"]


def test_rows_that_are_no_images_make_no_picture_and_it_is_told_first(tmp_path):
    schema = run("table").schema
    with pytest.raises(UserError, match="are no images"):
        outputs.check_rows(tmp_path / "a.png", schema)
    outputs.check_rows(tmp_path / "new" / "folders" / "a.png", run("plain").schema)
    assert os.listdir(tmp_path) == []


# ---------------------------------------------------------------------------------------------------- memory


@pytest.mark.parametrize(
    "arguments", [["--samples", "100000000"], ["--samples", str(10**18)], ["--samples", str(10**20)]], ids=str
)
def test_more_than_there_is_memory_for_is_one_sentence(tmp_path, monkeypatch, capsys, arguments):
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), before[1]))
    try:
        with pytest.raises(SystemExit) as stop:
            cli.main(["score", str(run("plain").path), "digits", *arguments, "--out", str(tmp_path / "a.csv")])
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("variate: ")]
    assert stop.value.code == 2 and len(told) == 1 and "memory" in told[0] and "--samples" in told[0]
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory. Tried"), RuntimeError("a bug")])
def test_only_a_lack_of_memory_is_one(monkeypatch, error):
    def failing(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(cli, "build_app", lambda: failing)
    with pytest.raises(RuntimeError if "bug" in str(error) else SystemExit) as stop:
        cli.main([])
    assert "bug" in str(error) or stop.value.code == 2
