"""The code on the pages, and what runs it.

``python docs/blocks.py [PAGE …]`` runs them (all: some minutes) and puts what they print and draw where they show it.
"""

import contextlib
import io
import itertools
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import matplotlib
import matplotlib.pyplot
import matplotlib.style

DOCS = Path(__file__).parent
PICTURES = DOCS / "pictures"
STYLE = DOCS / "pictures" / "figures.mplstyle"  # colours that can be read on a light page and on a dark one
RUN = ("python", "sh")
GAP = 4  # lines from the end of one block's text to the start of the next one's, right under it


class Block(NamedTuple):
    """A fenced block of a page. ``language`` "" is plain text: right under a block that runs, what that prints."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def end(self) -> int:
        """The last line of the text."""
        return self.line + self.text.count("\n") - 1

    @property
    def place(self) -> str:
        return f"{self.page.name}:{self.line}"


def pages() -> list[Path]:
    return sorted(DOCS.rglob("*.md"))


def blocks(page: Path) -> list[Block]:
    """Every fenced block of a page that is no directive."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```([^\n`]*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [
        Block(page, text[: match.start()].count("\n") + 2, match[1].strip(), match[2])
        for match in found
        if not match[1].startswith("{")
    ]


def run(page: Path, quick: list[str] | None = None) -> Iterator[tuple[Block, str, str | None]]:
    """Run the blocks of a page in their order, in the current folder; yields (block, printed, what the page shows).

    All Python blocks share one namespace. Every line of a ``sh`` block is a command of variate's; ``quick`` is appended
    to a ``fit`` that does not say how many epochs it takes.
    """
    namespace: dict[str, object] = {"__name__": page.stem}
    found = blocks(page)
    for block, below in itertools.zip_longest(found, found[1:]):
        if block.language not in RUN:
            continue
        with contextlib.redirect_stdout(io.StringIO()) as said:
            if block.language == "python":
                code = "\n" * (block.line - 1) + block.text  # so that a traceback names the page's own lines
                exec(compile(code, str(page), "exec"), namespace)
            for command in commands(block) if block.language == "sh" else ():
                _call(command, quick or [])
        shown = below.text if below is not None and below.language == "" and below.line == block.end + GAP else None
        yield block, said.getvalue(), shown


def commands(block: Block) -> list[list[str]]:
    """The lines of a ``sh`` block as lists of words, the first of which is "variate" or "torchrun"."""
    lines = [shlex.split(line, comments=True) for line in block.text.replace("\\\n", " ").splitlines()]
    strange = [line for line in lines if line and line[0] not in ("variate", "torchrun")]
    if strange:
        raise ValueError(f"{block.place}: {strange[0]} is no command of variate's, so it cannot be run here")
    return [line for line in lines if line]


def _call(command: list[str], quick: list[str]) -> None:
    """What it prints on standard output is printed here, if it is a command of variate's alone."""
    from variate.cli import main

    program, *words = command
    if program == "torchrun":
        subprocess.run([sys.executable, "-m", "torch.distributed.run", *words], check=True, timeout=300)
    else:
        main(words + quick * (words[0] == "fit" and not {"--epochs", "--resume"} & set(words)))


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Figures as the pages show them, drawn without a screen."""
    matplotlib.use("Agg")
    with matplotlib.rc_context():
        matplotlib.style.use(STYLE)
        yield
        matplotlib.pyplot.close("all")


def renew(page: Path) -> None:
    """Run a page as it stands, and put what it prints and draws where the page shows it."""
    lines = page.read_text(encoding="utf-8").splitlines(keepends=True)
    changes: list[tuple[int, int, str]] = []
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), style():
        for block, printed, shown in run(page):
            if shown is not None:
                start = block.end + GAP - 1
                changes.append((start, start + shown.count("\n"), printed))
        for drawn in Path(folder).glob("*.png"):
            if f"pictures/{drawn.name}" in "".join(lines):
                shutil.copy(drawn, PICTURES)
    for start, end, printed in reversed(changes):
        lines[start:end] = [printed]
    page.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    for one in [Path(name).resolve() for name in sys.argv[1:]] or pages():
        print(one)
        renew(one)
