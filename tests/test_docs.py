"""The documentation does what it says: its code runs and prints what it shows, its pages and links exist, and its API
pages name every public module."""

import ast
import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

pytestmark = pytest.mark.bits

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SMALL = ("train.batch_size=1000", "encoder.name=mlp", "decoder.name=mlp", "encoder.hidden=[32]", "decoder.hidden=[32]")
QUICK = ["--epochs", "1", "--no-report", *(word for override in SMALL for word in ("--set", override))]
NUMBER = re.compile(r"[-−]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?")
MOST_PIXELS_APART = 0.03  # mean difference of two drawings of the same figure, of the full range


def _module(path: Path) -> ModuleType:
    """A file of docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where NamedTuple looks for it
    spec.loader.exec_module(module)
    return module


blocks = _module(DOCS / "blocks.py")
links = _module(DOCS / "links.py")
PAGES = blocks.pages()
RUNNABLE = [page for page in PAGES if any(block.language in blocks.RUN for block in blocks.blocks(page))]


def _name(page: Path) -> str:
    return str(page.relative_to(DOCS))


# ---------------------------------------------------------------------------------------------------- the code


@pytest.mark.parametrize("page", RUNNABLE, ids=_name)
def test_code_runs_and_prints_what_the_page_shows(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    shortened = False
    with blocks.style():
        for block, printed, shown in blocks.run(page, QUICK):
            if block.language == "sh":
                shortened |= any("fit" in command and "--epochs" not in command for command in blocks.commands(block))
            if shown is not None:
                assert _words(printed) == _words(shown), block.place
                for said, found in zip(_numbers(shown), _numbers(printed), strict=True):
                    assert shortened or _alike(said, found), f"{block.place}: {found} instead of {said}"
    for drawn in tmp_path.glob("*.png"):
        if f"pictures/{drawn.name}" in page.read_text():
            _assert_same_figure(drawn, DOCS / "pictures" / drawn.name)


def _words(text: str) -> list[str]:
    return NUMBER.sub("#", text).split()


def _numbers(text: str) -> list[str]:
    return [number.replace(",", "").replace("−", "-") for number in NUMBER.findall(text)]


def _alike(said: str, found: str) -> bool:
    """Within a tenth, or three units of the last digit shown: what another machine's rounding may do to a short fit."""
    last_digit = 10.0 ** -len(said.partition(".")[2]) if "." in said else 0.0
    return abs(float(said) - float(found)) <= max(0.1 * abs(float(said)), 3 * last_digit)


def _assert_same_figure(drawn: Path, kept: Path) -> None:
    """The figure in docs/pictures is the one that the page's code draws; ``python docs/blocks.py`` draws all anew."""
    small = [np.asarray(Image.open(path).convert("RGBA").resize((160, 80)), float) / 255 for path in (drawn, kept)]
    assert np.abs(small[0] - small[1]).mean() < MOST_PIXELS_APART, f"{kept.name} is not what the page draws"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_block_runs_or_is_plain_text(page):
    assert {block.language for block in blocks.blocks(page)} <= {*blocks.RUN, ""}


def test_every_guide_has_code_that_runs():
    assert {page for page in PAGES if page.parent.name == "guides"} | {DOCS / "losses.md"} <= set(RUNNABLE)


@pytest.mark.parametrize(
    ("said", "found", "alike"), [("10.0", "10.9", True), ("10.0", "11.2", False), ("3", "4", False)]
)
def test_printed_numbers_are_compared(said, found, alike):
    assert _alike(said, found) == alike


# ---------------------------------------------------------------------------------------------------- pages and links


def _below(page: Path) -> list[Path]:
    """What a page's toctrees list."""
    trees = re.findall(r"^```\{toctree\}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    names = [line.strip() for tree in trees for line in tree.splitlines() if line.strip() and not line.startswith(":")]
    return [page.parent / f"{name}.md" for name in names]


def test_every_page_is_reached_from_the_index():
    reached, ahead = set(), [DOCS / "index.md"]
    while ahead:
        page = ahead.pop()
        assert page.is_file() and page not in reached, page
        reached.add(page)
        ahead += _below(page)
    assert reached == set(PAGES)


def _anchors(page: Path) -> set[str]:
    """As MyST makes them of headings: small letters, hyphens between words, nothing but letters and digits."""
    headings = re.findall(r"^#{1,3} (.+)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def _prose(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        path, _, anchor = target.partition("#")
        assert "://" not in target, f"{target} leads elsewhere, and nobody checks whether it is there"
        place = (page.parent / path).resolve() if path else page
        assert place.is_file(), target
        assert not anchor or anchor in _anchors(place), target


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_names_that_link_to_the_api_exist(page):
    for name in re.findall(r"\{py:\w+\}`~?([\w.]+)`", _prose(page)):
        assert name.startswith("variate.")
        module, _, attribute = name.rpartition(".")
        whole = importlib.util.find_spec(name) if importlib.util.find_spec(module).submodule_search_locations else None
        assert whole or hasattr(importlib.import_module(module), attribute), name


def test_the_check_of_a_built_site_finds_what_is_wrong(tmp_path):
    (tmp_path / "a.html").write_text('<h1 id="top"></h1><a href="b.html#here">b</a><a href="https://example.org">x</a>')
    (tmp_path / "b.html").write_text('<p id="here"></p><a href="a.html#top"></a><img src="data:image/png;base64,AA==">')
    assert links.faults(tmp_path) == []
    (tmp_path / "b.html").write_text(
        '<a href="a.html#gone"></a><a href="c.html"></a><script src="//cdn.net/x"></script>'
    )
    found = links.faults(tmp_path)
    assert len(found) == 4 and all(any(word in line for line in found) for word in ("#here", "#gone", "c.html", "cdn"))


# ---------------------------------------------------------------------------------------------------- the API


def _all(path: Path) -> list[str]:
    """The module's ``__all__``, read without importing it."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and [t.id for t in node.targets if isinstance(t, ast.Name)] == ["__all__"]:
            return ast.literal_eval(node.value)
    return []


def _modules() -> dict[str, list[str]]:
    """Every public module and its ``__all__``."""
    files = {path: path.relative_to(ROOT).with_suffix("").parts for path in (ROOT / "variate").rglob("*.py")}
    named = {".".join(parts).removesuffix(".__init__"): _all(path) for path, parts in files.items()}
    return {name: names for name, names in named.items() if names}


MODULES = _modules()
API = "\n".join(page.read_text() for page in (DOCS / "api").glob("*.md"))
DOCUMENTED = re.findall(r"^\.\. automodule:: (\S+)\n((?:   :.*\n)*)", API, re.MULTILINE)
for package in re.findall(r"^```\{modules\} (\S+)", API, re.MULTILINE):  # every module that it has
    DOCUMENTED += [(name, "") for name in MODULES if name.rpartition(".")[0] == package]
FRONT = {name: getattr(importlib.import_module("variate"), name) for name in MODULES["variate"]}


def test_no_module_is_documented_twice():
    names = [name for name, _ in DOCUMENTED]
    assert len(names) == len(set(names)) and set(names) <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_on_an_api_page(module):
    """By its own module's automodule, or as a name of ``variate`` itself."""
    missing = MODULES[module]
    if module in dict(DOCUMENTED):
        missing = re.findall(r"\w+", "".join(re.findall(r":exclude-members:(.*)", dict(DOCUMENTED)[module])))
    found = importlib.import_module(module)
    assert [name for name in missing if FRONT.get(name) is not getattr(found, name)] == []
