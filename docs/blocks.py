"""The code on the pages, and what runs it. ``python docs/blocks.py`` draws the figures of the pages anew."""

import contextlib
import io
import re
import shlex
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
    from variate.cli import main

    namespace: dict[str, object] = {"__name__": page.stem}
    found = blocks(page)
    for block, below in zip(found, [*found[1:], None], strict=True):
        if block.language not in RUN:
            continue
        with contextlib.redirect_stdout(io.StringIO()) as said:
            if block.language == "python":
                code = "\n" * (block.line - 1) + block.text  # so that a traceback names the page's own lines
                exec(compile(code, str(page), "exec"), namespace)
            for command in commands(block) if block.language == "sh" else ():
                main(command + (quick or []) * (command[0] == "fit" and not {"--epochs", "--resume"} & set(command)))
        shown = below.text if below is not None and below.language == "" and below.line == block.end + 4 else None
        yield block, said.getvalue(), shown


def commands(block: Block) -> list[list[str]]:
    """The lines of a ``sh`` block as lists of words, without "variate" in front."""
    lines = [shlex.split(line, comments=True) for line in block.text.replace("\\\n", " ").splitlines()]
    strange = [line for line in lines if line and line[0] != "variate"]
    if strange:
        raise ValueError(f"{block.place}: {strange[0]} is no command of variate's, so it cannot be run here")
    return [line[1:] for line in lines if line]


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Figures as the pages show them, drawn without a screen."""
    matplotlib.use("Agg")
    with matplotlib.rc_context():
        matplotlib.style.use(STYLE)
        yield
        matplotlib.pyplot.close("all")


def draw() -> None:
    """Run every page that draws something, in the folder of the pictures."""
    for page in pages():
        if any("savefig" in block.text for block in blocks(page)):
            with contextlib.chdir(PICTURES), style():
                for block, _, _ in run(page):
                    print(block.place)


if __name__ == "__main__":
    draw()
