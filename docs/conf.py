"""How Sphinx makes the site: Markdown pages, the API from docstrings, the command line from its own help."""

import contextlib
import io
import os
import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from variate.cli import APPS, build_app

project = "variate"
author = "the variate authors"
copyright = author
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["pictures"]
myst_heading_anchors = 3
nitpicky = True
nitpick_ignore = [("py:class", "variate.pictures.Theme")]  # in signatures alone
nitpick_ignore_regex = [(r"py:.*", r"(?!variate\b).*")]  # other projects' names: their pages are elsewhere
pygments_style, pygments_dark_style = "friendly", "github-dark"

html_theme = "furo"
html_title = "variate"
html_static_path = ["static"]
html_css_files = ["variate.css"]
html_copy_source = False
html_show_copyright = False

autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "undoc-members": True}
add_module_names = False

HELP_WIDTH = "84"  # what fits beside the site's two columns
SPECIAL = re.compile(r"([*|`\\_])")


def restructured(lines: list[str]) -> list[str]:
    """A docstring of variate's, plain text with Unicode formulas, as reStructuredText that shows the same.

    Paragraphs, lists with "- ", doctests and ``code`` keep what they are; whatever else reStructuredText would take
    for markup is escaped. A line that begins with "name:" after a full stop, and a formula on a line of its own, begin
    a new line.
    """
    made: list[str] = []
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines).strip()):
        made += [*_paragraph(paragraph.splitlines()), ""]
    return made


def _paragraph(lines: list[str]) -> list[str]:
    if lines and lines[0].startswith(">>>"):
        return lines
    if lines and lines[0].startswith("- "):
        return [_escaped(line) for line in lines]
    starts = [0, *(place for place in range(1, len(lines)) if _begins(lines[place - 1], lines[place]))]
    if len(starts) == 1:
        return [_escaped(line) for line in lines]
    joined = [" ".join(lines[start:end]) for start, end in zip(starts, [*starts[1:], None], strict=True)]
    return [f"| {_escaped(line)}" for line in joined]


def _begins(before: str, line: str) -> bool:
    return before.endswith(".") and re.match(r"\w+( and \w+)*: ", line) is not None


def _escaped(line: str) -> str:
    """``code`` and `code` as literals, everything else as it stands."""
    made = ""
    for part in re.split(r"(``.+?``|`[^`]+`)", line.replace("\\*", "*")):
        if part.startswith("`"):
            made += f"``{part.strip('`')}``"
        else:
            glue = "\\ " if made and re.match(r"\w", part) else ""  # a letter right after a literal: ``Module``s
            made += glue + SPECIAL.sub(r"\\\1", part)
    return made


def process(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    lines[:] = restructured(lines)


def help_of(*words: str) -> str:
    """What ``variate VERB --help`` prints."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        build_app()([*words, "--help"], exit_on_error=False)
    return re.sub(r" +\n", "\n", said.getvalue()).strip() + "\n"


class Verbs(SphinxDirective):
    """A section for every verb: the help that it prints."""

    def run(self) -> list[nodes.Node]:
        os.environ["COLUMNS"] = HELP_WIDTH
        lines: list[str] = []
        for file in sorted(APPS.glob("[a-z]*.py")):
            self.env.note_dependency(str(file))
            shown = help_of(file.stem).splitlines()
            lines += [f"## {file.stem}", "", "```", *shown, "```", ""]
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def skip(app: Sphinx, what: str, name: str, obj: object, skipped: bool, options: object) -> bool | None:
    """Of classes, what has no docstring is left out; of modules, everything in ``__all__`` is there."""
    return True if what == "class" and not getattr(obj, "__doc__", None) else None


def setup(app: Sphinx) -> None:
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-docstring", process)
    app.add_directive("verbs", Verbs)
