"""The README is the product's face: its commands run, its Python runs, its file tree is the file tree."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from variate.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^variate .*$|(?<=`)variate [^`]+(?=`)", README, re.MULTILINE)
MAKE = set(re.findall(r"^make (\w+)", README + (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE))
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory, monkeypatch_module):
    folder = tmp_path_factory.mktemp("readme")
    monkeypatch_module.chdir(folder)
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
            words += ["--epochs", "2"]  # the page's user waits a minute for a good model; this test does not
        main(words)
        if "--out" in words:
            assert (place / words[words.index("--out") + 1]).exists(), command


def test_its_python_runs(place, capsys):
    for block in PYTHON:
        exec(compile(block, "README.md", "exec"), {})
    nats, _, error, *convention = capsys.readouterr().out.split()
    assert float(nats) < 0 < float(error) and convention == ["probability", "density", "of", "raw", "values"]


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
