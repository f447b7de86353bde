"""Damaged files and senseless commands: one sentence and status 2, or a result; never a traceback, never half a file.

``VARIATE_FUZZ=2000 python -m pytest tests/test_fuzz.py`` tries 2,000 of each instead of some hundred.
"""

import contextlib
import gzip
import io
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from helpers_runs import TINY, pixels, run, scratch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from variate import cli
from variate.data.sources.idx import idx_bytes

EXAMPLES = int(os.environ.get("VARIATE_FUZZ", "0"))


KINDS = ["plain", "conditional", "table", "labelled", "autoencoder"]


@pytest.fixture(scope="module", autouse=True)
def trained() -> None:
    """The runs, before any example is drawn."""
    for kind in KINDS:
        run(kind)


def outcome(arguments: list[str]) -> tuple[int, str]:
    """(exit status, standard error) of a command, in this process. An exception that is no exit is our bug."""
    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        try:
            cli.main(arguments)
        except SystemExit as stop:
            return int(stop.code or 0), err.getvalue()
    return 0, err.getvalue()


def assert_mendable(arguments: list[str], place: Path) -> None:
    """Status 0, or 2 with one sentence and nothing new in the folder."""
    before = sorted(place.rglob("*"))
    status, err = outcome(arguments)
    assert status in (0, 2), (arguments, err)
    assert "Traceback" not in err
    if status == 2:
        told = [line for line in err.splitlines() if line.startswith("variate: ")]
        assert len(told) == 1 or not told and err.strip(), (arguments, err)  # cyclopts has its own words
        assert sorted(place.rglob("*")) == before, (arguments, err)
    assert not list(place.rglob("*.part")), arguments


# ---------------------------------------------------------------------------------------------------- damaged files


def npy(array: np.ndarray) -> bytes:
    np.save(buffer := io.BytesIO(), array)
    return buffer.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    np.savez_compressed(buffer := io.BytesIO(), **arrays)
    return buffer.getvalue()


def png(mode: str) -> bytes:
    image = Image.fromarray(pixels(1, (9, 8))[0]).convert(mode)
    image.save(buffer := io.BytesIO(), format="PNG")
    return buffer.getvalue()


def model() -> bytes:
    return (run("table").path).read_bytes()


SOUND = {  # name of the file → what is in it before it is damaged, and the verb that reads it
    "mine.idx": (lambda: idx_bytes(pixels(6)), "info"),
    "mine.idx.gz": (lambda: gzip.compress(idx_bytes(pixels(6)), mtime=0), "info"),
    "mine.npy": (lambda: npy(pixels(6)), "info"),
    "reals.npy": (lambda: npy(np.linspace(0, 1, 30).reshape(6, 5) ** 3), "score"),
    "mine.npz": (lambda: npz(x=pixels(6), y=np.arange(6)), "info"),
    "grey.png": (lambda: png("L"), "folder"),
    "colour.png": (lambda: png("RGBA"), "folder"),
    "palette.png": (lambda: png("P"), "folder"),
    "labels.csv": (lambda: b"cat\ndog\n\ncat\n3\n-1\n", "labels"),
    "model.safetensors": (model, "info"),
    "recipe.toml": (lambda: b'[encoder]\nname = "mlp"\nhidden = [8]\n[train]\nepochs = 1\nleast_steps = 0\n', "recipe"),
}


@st.composite
def damaged(draw) -> tuple[str, bytes]:
    """A file of ``SOUND`` with some of its bytes changed, cut out, put in, or cut off."""
    name = draw(st.sampled_from(sorted(SOUND)))
    content = bytearray(SOUND[name][0]())
    for _ in range(draw(st.integers(1, 4))):
        near = draw(st.one_of(st.integers(0, 150), st.integers(0, max(0, len(content) - 1))))
        place = min(near, max(0, len(content) - 1))
        what = draw(st.sampled_from(["change", "change", "cut out", "put in", "cut off", "huge number"]))
        if what == "change" and content:
            content[place] = draw(st.integers(0, 255))
        elif what == "cut out":
            del content[place : place + draw(st.integers(1, 40))]
        elif what == "put in":
            content[place:place] = draw(st.one_of(st.binary(max_size=8), st.text(max_size=6).map(str.encode)))
        elif what == "cut off":
            del content[place:]
        else:
            content[place : place + 4] = draw(st.sampled_from([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"9999"]))
    return name, bytes(content)


@settings(max_examples=EXAMPLES or 250)
@given(damaged())
def test_a_damaged_file_is_read_or_refused(file):
    name, content = file
    with tempfile.TemporaryDirectory(dir=scratch()) as folder:
        place = Path(folder)
        (place / "in").mkdir()
        (place / "in" / name).write_bytes(content)
        assert_mendable(command_for(name, place), place)


def command_for(name: str, place: Path) -> list[str]:
    path, out = str(place / "in" / name), str(place / "out.csv")
    verb = SOUND[name][1]
    if verb == "score":
        return ["score", str(run("table").path), path, "--samples", "2", "--out", out]
    if verb == "labels":
        np.save(place / "rows.npy", pixels(6))
        return ["reconstruct", str(run("plain").path), str(place / "rows.npy"), "--labels", path, "--out", out]
    if verb == "recipe":
        np.save(place / "rows.npy", pixels(6))
        return [
            "fit",
            str(place / "rows.npy"),
            "--recipe",
            path,
            "--no-report",
            "--epochs",
            "1",
            "--out",
            str(place / "r"),
        ]
    return ["info", str(place / "in") if verb == "folder" else path]


# ------------------------------------------------------------------------------------------------ senseless commands

WORDS = st.one_of(
    st.sampled_from(
        ["", "-1", "0", "1", "3", "1e9", "nan", "inf", "-0.5", "0..9", "9..0", "1,2", "true", "none", "x.npy"]
    ),
    st.sampled_from(
        ["digits", "digits:test", "digits:exam", "mnits", "rows.npy", "bad.npy", "images", "empty", "..", "/"]
    ),
    st.sampled_from(
        ["out.npy", "out.csv", "out.png", "out.npz", "out", "no/where/out.npy", "rows.npy/out.npy", "out.xyz"]
    ),
    st.sampled_from(
        ["latent.size=0", "latent.size=x", "train.epochs=-1", "encoder.name=cnov", "likelihood.name=poisson"]
    ),
    st.sampled_from(
        ["prior.name=mixture", "objective.beta=nan", "a=b", "a.b=c", "likelihood.atoms=[300]", "8,8", "0,0"]
    ),
    st.text(max_size=8),
)
OPTIONS = {
    "sample": ["-n", "--out", "--given", "--mean", "--seed"],
    "reconstruct": ["--out", "--rows", "--labels"],
    "embed": ["--out", "--spread", "--labels"],
    "score": ["--out", "--samples", "--seed", "--labels"],
    "classify": ["--out", "--samples"],
    "evaluate": ["--samples", "--rows", "--json", "--seed", "--labels"],
    "info": ["--json"],
    "fit": [
        "--out",
        "--recipe",
        "--given",
        "--seed",
        "--device",
        "--set",
        "--levels",
        "--layout",
        "--resize",
        "--labels",
    ],
}


@st.composite
def commands(draw) -> list[str]:
    """A verb, a run where it takes one, data that may be its own, and options that may have any value or none."""
    verb = draw(st.sampled_from(sorted(OPTIONS)))
    arguments = [verb]
    if verb != "fit" and draw(st.integers(0, 9)):
        arguments.append(str(run(draw(st.sampled_from(KINDS))).path.parent))
    arguments += draw(
        st.lists(st.one_of(st.just("rows.npy"), st.just("digits"), WORDS), max_size=1 if draw(st.booleans()) else 2)
    )
    for option in draw(st.lists(st.sampled_from(OPTIONS[verb]), max_size=3)):
        arguments += [option] if draw(st.integers(0, 4)) == 0 else [option, draw(WORDS)]
    if draw(st.booleans()):
        arguments += ["--out", draw(st.sampled_from(["out.npy", "out.csv", "run"]))]
    return arguments


@pytest.fixture(scope="module")
def folder():
    """A working folder with some files, not all of them sound."""
    place = Path(tempfile.mkdtemp(dir=scratch()))
    np.save(place / "rows.npy", pixels(6))
    (place / "bad.npy").write_bytes(npy(pixels(6))[:-9])
    (place / "empty").mkdir()
    (place / "images").mkdir()
    for index, image in enumerate(pixels(4)):
        Image.fromarray(image).save(place / "images" / f"{index}.png")
    return place


QUICK = [word for override in [*TINY, "train.epochs=1"] for word in ("--set", override)]


@settings(max_examples=EXAMPLES or 150)
@given(commands())
def test_a_senseless_command_is_refused(folder, arguments):
    with tempfile.TemporaryDirectory(dir=scratch()) as place, contextlib.chdir(place):
        shutil.copytree(folder, place, dirs_exist_ok=True)
        quick = [*QUICK, "--no-report"] if arguments[0] == "fit" else []
        few = ["--rows", "5"] if arguments[0] in ("evaluate", "reconstruct") and "--rows" not in arguments else []
        assert_mendable([*arguments, *quick, *few], Path(place))
