"""The README is the product's face: its commands run, its Python runs, its file tree is the file tree."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from variate.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^variate .*$|(?<=`)variate [^`]+(?=`)", README, re.MULTILINE)
MAKE = set(re.findall(r"^make (\w+)", README + (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE))
SMALL = ("train.batch_size=1000", "encoder.name=mlp", "decoder.name=mlp")
QUICK = ["--epochs", "1", "--no-report", *(word for override in SMALL for word in ("--set", override))]
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory, monkeypatch_module):
    """An empty folder but for ``runs/demo``, as ``make demo`` leaves it, of a smaller model."""
    folder = tmp_path_factory.mktemp("readme")
    monkeypatch_module.chdir(folder)
    main(["fit", "mnist", "--conditional", "--out", "runs/demo", *QUICK])
    return folder


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def test_every_command_runs_in_the_order_of_the_page(place, capsys):
    assert len(COMMANDS) >= 9
    for command in COMMANDS:
        words = shlex.split(command)[1:]
        if words[0] == "fit" and "--epochs" not in words:
            words += QUICK  # the page's user waits minutes for a good model; this test does not
        main([{"1000": "20"}.get(word, word) for word in words])
        if "--out" in words:
            assert (place / words[words.index("--out") + 1]).exists(), command


def test_its_python_runs(place, capsys):
    for block in PYTHON:
        exec(compile(block, "README.md", "exec"), {})
    nats, _, error, *convention = capsys.readouterr().out.split()
    assert float(nats) < 0 < float(error) and convention == ["probability", "density", "of", "raw", "values"]


@pytest.mark.parametrize("script", sorted(set(re.findall(r"python (benchmarks/\w+\.py)", README))))
def test_every_benchmark_is_there(script):
    told = subprocess.run([sys.executable, ROOT / script, "--help"], check=True, capture_output=True, text=True).stdout
    assert "usage" in told


@pytest.mark.parametrize("target", sorted(MAKE))
def test_make_knows_the_target(target):
    subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True)


def test_make_demo_runs_the_documented_fit():
    recipe = subprocess.run(["make", "-n", "demo"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert "variate fit mnist --conditional --out runs/demo" in recipe


def test_the_file_tree_names_every_file():
    tree = README[README.index("```\nvariate/") :]
    told = set(re.findall(r"(\w+\.py)\b", tree))
    there = {path.name for folder in ("", "data") for path in (ROOT / "variate" / folder).glob("[a-z]*.py")}
    assert told - {"architecture.md"} == there


def test_pictures_and_links_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).is_file(), target
