"""Names in other encodings, and terminals that have few letters: escapes are printed, and nothing ends for them."""

import contextlib
import csv
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers_runs import FLAGS, pixels
from PIL import Image

import variate
from variate import cli
from variate.base import console

CLASSES = {
    b"B\xe4r": "B\\xe4r",
    "Bär".encode(): "Bär",
    b"10": "10",
    b"\xff\xfe": "\\xff\\xfe",
}  # on the disk → our text


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of images, itself and its sub-folders named in several encodings."""
    root = os.fsencode(tmp_path_factory.mktemp("names")) + b"/bilder-\xe4"
    for number, name in enumerate(CLASSES):
        try:
            os.makedirs(os.path.join(root, name))
        except OSError:
            pytest.skip("names on this file system are UTF-8")
        for index, image in enumerate(pixels(8, seed=number)):
            Image.fromarray(image).save(os.fsdecode(os.path.join(root, name, b"%d.png" % index)))
    return os.fsdecode(root)


def call(*arguments: object, encoding: str = "ascii") -> str:
    """What a command prints on a terminal of that encoding, where it ends well."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        cli.main([str(argument) for argument in arguments])
    for stream in (out, err):
        stream.flush()
    return out.buffer.getvalue().decode(encoding)


@pytest.fixture(scope="module")
def run(place):
    """Its run folder has such a name too, and a report; the classes are predicted and are a condition."""
    folder = place + "-run"
    flags = [*FLAGS, "--epochs", 1, "--given", "label", "--set", "labelling.name=classifier"]
    call("fit", place, *flags, "--out", folder)
    return folder


def test_classes_keep_different_names(place):
    names = [variate.info(place)["classes"], json.loads(call("info", place, "--json"))["classes"]]
    assert names[0] == names[1] == dict.fromkeys(sorted(CLASSES.values()), 8)


@pytest.mark.parametrize("encoding", ["ascii", "cp437", "latin-1", "utf-8"])
def test_info_is_printed_everywhere(place, run, encoding):
    """What the encoding cannot say is an escape; the rest are its letters."""
    printed = call("info", place, encoding=encoding)
    expected = "8 × 8 HW uint8, whole numbers 0..255, 4 classes".encode(encoding, "backslashreplace").decode(encoding)
    assert printed.splitlines()[0] == f"bilder-\\xe4: 32 rows of {expected}"
    assert call("info", run, encoding=encoding).splitlines()[1].endswith(expected)


def test_every_verb_takes_a_run_of_such_a_name(place, run, tmp_path):
    loaded = variate.load(run)
    assert loaded.schema.class_names == tuple(sorted(CLASSES.values())) and loaded.info["data"] == "bilder-\\xe4"
    for name, text in CLASSES.items():
        call("sample", run, "-n", 3, "--given", os.fsdecode(name), "--out", tmp_path / "drawn.npy")
        drawn = variate.sample(loaded, 3, given=text)
        np.testing.assert_array_equal(np.load(tmp_path / "drawn.npy"), drawn)
    page = Path(run, "report.html").read_text(encoding="utf-8")
    assert all(text in page for text in CLASSES.values())
    call("evaluate", run, place, "--samples", 2)
    call("report", run, place, "--samples", 2, "--rows", 12)
    call("fit", place, "--out", run, "--resume", "--no-report")


def test_classify_writes_utf8(place, tmp_path):
    flags = [*FLAGS, "--epochs", 1, "--no-report"]
    call("fit", place, "--recipe", "semi-supervised", *flags, "--out", tmp_path / "few")
    call("classify", tmp_path / "few", place, "--out", tmp_path / "guessed.csv")
    lines = list(csv.reader((tmp_path / "guessed.csv").read_text(encoding="utf-8").splitlines()))
    assert lines[0] == ["label", *(f"p({name})" for name in sorted(CLASSES.values()))]
    assert {line[0] for line in lines[1:]} <= set(CLASSES.values()) and len(lines) == 33


def test_a_name_that_is_wrong_is_told_in_escapes(monkeypatch):
    for name in ("nicht-\udce4.npy", "犬.npy"):
        err = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        monkeypatch.setattr(sys, "stderr", err)
        with pytest.raises(SystemExit) as stop:
            cli.main(["info", name])
        err.flush()
        told = err.buffer.getvalue().decode()
        assert stop.value.code == 2 and told.startswith("variate: ") and ascii(name)[1:-1] in told


def test_a_line_for_people_is_no_reason_to_stop(monkeypatch):
    """From Python the streams are their owner's: a strict one stays strict."""
    err = io.TextIOWrapper(io.BytesIO(), encoding="cp437")
    monkeypatch.setattr(sys, "stderr", err)
    console.say("8 × 8 \udce4 ü")
    err.flush()
    assert err.buffer.getvalue().decode("cp437") == "8 \\xd7 8 \\udce4 ü\n" and err.errors == "strict"


def test_a_recipe_is_utf8_whatever_the_locale(tmp_path, monkeypatch):
    monkeypatch.setattr(io, "text_encoding", lambda encoding, *_: encoding or "ascii")
    (tmp_path / "mine.toml").write_bytes("# größer\n[latent]\nsize = 3\n".encode())
    assert variate.config.load_recipe(tmp_path / "mine.toml")["latent"]["size"] == 3
