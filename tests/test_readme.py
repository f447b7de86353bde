"""The README is the product's face: its commands run, its Python runs, its file tree is the file tree."""

import gzip
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from variate.cli import main
from variate.data.load import load
from variate.data.sources.idx import idx_bytes

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = [
    c.split(" #")[0].strip() for c in re.findall(r"^variate .*$|(?<=`)variate [^`]+(?=`)", README, re.MULTILINE)
]
MAKE = set(re.findall(r"^make (\w+)", README + (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE))
SMALL = ("train.batch_size=1000", "encoder.name=mlp", "decoder.name=mlp")
QUICK = ["--epochs", "1", "--no-report", *(word for override in SMALL for word in ("--set", override))]
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory, monkeypatch_module):
    """An empty folder but for ``runs/demo``, as ``make demo`` leaves it, of a smaller model."""
    folder = tmp_path_factory.mktemp("readme")
    monkeypatch_module.chdir(folder)
    own_data(folder)
    main(["fit", "mnist", "--given", "label", "--out", "runs/demo", *QUICK])
    return folder


def own_data(folder: Path) -> None:
    """The files that the page's users have."""
    rng = np.random.default_rng(0)
    names = [f"{word}\n" for word in rng.choice(["ann", "bob"], 40)]
    (folder / "names.csv").write_text("".join(names))
    np.savez(folder / "faces.npz", images=rng.integers(0, 256, (40, 12, 12), np.uint8))
    np.save(folder / "windows.npy", np.cumsum(rng.normal(size=(60, 32)), 1))
    np.save(folder / "new.npy", np.cumsum(rng.normal(size=(7, 32)), 1))
    for name, array in {
        "images": rng.integers(0, 256, (30, 9, 9), np.uint8),
        "labels": np.arange(30, dtype="u1") % 3,
    }.items():
        (folder / f"mine-{name}.idx.gz").write_bytes(gzip.compress(idx_bytes(array)))
    for index in range(30):
        place = folder / "photos" / ("cats" if index % 2 else "dogs")
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (20 + index, 30, 3), np.uint8)
        Image.fromarray(pixels).save(place / f"{index}.png")
    town, sold = rng.integers(0, 2, 90), np.datetime64("2025-01-01") + rng.integers(0, 300, 90).astype("timedelta64[D]")
    flats = zip(np.array(["Bonn", "Celle"])[town], 120 + 60 * town + rng.integers(0, 40, 90), sold, strict=True)
    (folder / "flats.csv").write_text("town,price,sold\n" + "".join(f"{a},{b},{c}\n" for a, b, c in flats))
    labels = load("digits").labels.tolist()
    (folder / "some.csv").write_text("".join(f"{label if row < 200 else -1}\n" for row, label in enumerate(labels)))


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
    """All blocks, one after the other, as a reader types them: a mean log-likelihood and an ELBO are printed."""
    names: dict = {}
    for block in PYTHON:
        exec(compile(block, "README.md", "exec"), names)
    told = [re.search(r"-?\d+\.\d+", line)[0] for line in capsys.readouterr().out.splitlines()]
    assert len(told) == 2 and all(-20 < float(number) < 0 for number in told)


@pytest.mark.parametrize("script", sorted(set(re.findall(r"python (benchmarks/\w+\.py)", README))))
def test_every_benchmark_is_there(script):
    told = subprocess.run([sys.executable, ROOT / script, "--help"], check=True, capture_output=True, text=True).stdout
    assert "usage" in told


@pytest.mark.parametrize("target", sorted(MAKE))
def test_make_knows_the_target(target):
    subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True)


def test_make_demo_runs_the_documented_fit():
    recipe = subprocess.run(["make", "-n", "demo"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert "variate fit mnist --given label --out runs/demo" in recipe


def test_the_file_tree_names_every_room():
    tree = README[README.index("```\nvariate/") :]
    told, package = set(re.findall(r"(\w+\.py)\b", tree)), ROOT / "variate"
    assert told <= {path.name for path in package.rglob("*.py")}
    rooms = {path.name for path in package.iterdir() if path.is_dir() and path.name != "__pycache__"}
    rooms |= {path.name for path in (package / "models").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms <= set(re.findall(r"(\w+)/", tree)) and told >= {path.name for path in package.glob("[a-z]*.py")}


def test_pictures_and_links_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).is_file(), target
