"""Progress: what standard error shows, on a terminal and elsewhere; standard output stays empty."""

import io
import subprocess
import sys

import pytest

from variate.base import progress
from variate.base.progress import Progress, quiet, track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that only moves when told to."""

    class Clock:
        now = 1000.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_lines_come_every_ten_seconds_and_at_the_end(clock, capsys):
    with Progress("Training", total=100, unit="steps") as bar:
        for step in range(100):
            clock.now += 0.25
            bar.advance(1, elbo=-101.23456, phase="warm-up", epoch=step // 10)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "Training: 40/100 steps, 4 steps/s, ETA 0:15, elbo=-101.2, phase=warm-up, epoch=3",
        "Training: 80/100 steps, 4 steps/s, ETA 0:05, elbo=-101.2, phase=warm-up, epoch=7",
        "Training: 100/100 steps, 4 steps/s, took 0:25, elbo=-101.2, phase=warm-up, epoch=9",
    ]


def test_bytes_are_scaled_and_hours_counted(clock, capsys):
    with Progress("Downloading", total=1.5e9, unit="B") as bar:
        clock.now += 100
        bar.advance(20_279_490)
        clock.now += 3600
    first, last = capsys.readouterr().err.splitlines()
    assert first == "Downloading: 20.3 MB of 1.5 GB, 203 kB/s, ETA 2:01:37"
    assert last == "Downloading: 20.3 MB of 1.5 GB, 5.48 kB/s, took 1:01:40"


def test_an_unknown_total_has_no_eta(clock, capsys):
    with Progress("Reading", unit="rows") as bar:
        clock.now += 11
        bar.advance(5500)
    assert capsys.readouterr().err.splitlines() == [
        "Reading: 5500 rows, 500 rows/s",
        "Reading: 5500 rows, 500 rows/s, took 0:11",
    ]


def test_a_failure_is_not_reported_as_done(clock, capsys):
    with pytest.raises(RuntimeError), Progress("Training", total=10) as bar:
        clock.now += 1
        bar.advance(3)
        raise RuntimeError
    assert capsys.readouterr().err == "Training: stopped at 3/10 it, 3 it/s, took 0:01\n"


def test_quiet_and_inner_progress_are_silent_and_it_ends(capsys):
    with quiet(), Progress("Hidden", total=1) as bar:
        bar.advance()
    with Progress("Outer", total=1) as outer:
        assert list(track(range(3), "Inner")) == [0, 1, 2]
        outer.advance()
    list(track([1], "After"))
    err = capsys.readouterr().err
    assert [line.split(":")[0] for line in err.splitlines()] == ["Outer", "After"]


def test_track_yields_the_items_and_knows_their_number(capsys):
    assert list(track("abc", "Letters", unit="letters")) == ["a", "b", "c"]
    assert list(track(iter("ab"), "Some")) == ["a", "b"]
    letters, some = capsys.readouterr().err.splitlines()
    assert letters.startswith("Letters: 3/3 letters") and some.startswith("Some: 2 it")


def test_leaving_a_track_early_ends_its_silence(capsys):
    for item in track(range(10), "Left"):
        if item == 4:
            break
    list(track([1], "Next"))
    left, following = capsys.readouterr().err.splitlines()
    assert left.startswith("Left: stopped at 4/10 it") and following.startswith("Next: 1/1 it")


def test_a_terminal_gets_a_bar_with_the_fields(clock, monkeypatch, capsys):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Progress("Training [b]", total=4, unit="steps") as bar:
        print("a result")
        clock.now += 2
        bar.advance(2, elbo=-101.23)
        clock.now += 2
        bar.advance(2, elbo=-99.5)
    shown = sys.stderr.getvalue()
    assert "\x1b[" in shown and "Training [b]" in shown
    assert "4/4 steps, 1 steps/s, took 0:04, elbo=-99.5" in shown
    assert capsys.readouterr().out == "a result\n"


def test_rich_is_not_imported_before_a_terminal_needs_it():
    code = "import sys, variate.base.progress as p; list(p.track([1], 'x')); sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
