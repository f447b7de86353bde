"""How Sphinx makes the site: Markdown pages, the API from docstrings, the command line from its own help."""

import contextlib
import importlib
import inspect
import io
import os
import pkgutil
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
nitpick_ignore_regex = [
    (r"py:.*", r"(?!variate\b).*"),  # other projects' names: their pages are elsewhere
    (r"py:class", r"variate\..*\.[A-Z]"),  # type variables
]
pygments_style, pygments_dark_style = "friendly", "github-dark"

highlight_language = "none"  # of what is no code
smartquotes = False

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
NAMED = r"[a-z_][\w\\]*(?:(?:,| and) [a-z_][\w\\]*)*(?=:\s)"
SPECIAL = re.compile(r"([*|`\\_])")


def restructured(lines: list[str]) -> list[str]:
    """A docstring of variate's, plain text with Unicode formulas, as reStructuredText that shows the same.

    Lists with "- ", doctests and ``code`` stay what they are; whatever else would be taken for markup is escaped.
    Sentences that begin with "name:", what there is to say of a parameter or a field, become a list.
    """
    made: list[str] = []
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines).strip()):
        made += [*_paragraph(paragraph), ""]
    return made


def _paragraph(text: str) -> list[str]:
    if text.startswith(">>>"):
        return text.splitlines()
    if text.startswith("- "):
        return [_escaped(line) for line in text.splitlines()]
    said = re.split(rf"(?<=\.)\s+(?={NAMED})", text)
    if len(said) == 1:
        return _escaped(text).splitlines()
    joined = [_escaped(" ".join(one.split())) for one in said]
    listed = [re.sub(rf"^({NAMED})", r"- **\1**", one) for one in joined]
    return listed if listed[0] != joined[0] else [listed[0], "", *listed[1:]]  # what stands before the list, apart


def _escaped(text: str) -> str:
    """``code`` and `code` as literals, everything else as it stands."""
    made = ""
    for part in re.split(r"(``.+?``|`[^`]+`)", text.replace("\\*", "*"), flags=re.DOTALL):
        if part.startswith("`"):
            made += f"``{part.strip('`')}``"
        else:
            glue = "\\ " if made and re.match(r"\w", part) else ""  # a letter right after a literal: ``Module``s
            made += glue + SPECIAL.sub(r"\\\1", part)
    return made


def process(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    lines[:] = restructured(lines)


def help_of(*words: str) -> str:
    """What ``variate VERB --help`` prints, without its frames."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        build_app()([*words, "--help"], exit_on_error=False)
    lines = [re.sub(r"^╭─ (\w+) .*|^│ (.*)│$|^╰─.*", r"\1\2", line).rstrip() for line in said.getvalue().splitlines()]
    return "\n".join(lines).strip()


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


class Modules(SphinxDirective):
    """A section for every module of a package: a file that is added to it is documented without being listed."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        package = importlib.import_module(self.arguments[0])
        names = [f"{package.__name__}.{module.name}" for module in pkgutil.iter_modules(package.__path__)]
        shown = [f"## `{name}`\n\n```{{eval-rst}}\n.. automodule:: {name}\n```\n" for name in names]
        return self.parse_text_to_nodes("\n".join(shown), allow_section_headings=True)


def skip(app: Sphinx, what: str, name: str, obj: object, skipped: bool, options: object) -> bool | None:
    """A class shows its own methods that have something to say; a module everything in its ``__all__``."""
    if what != "class":
        return None
    ours = (getattr(obj, "__module__", None) or "variate").startswith("variate")
    return None if ours and (inspect.isroutine(obj) or isinstance(obj, property)) and obj.__doc__ else True


def setup(app: Sphinx) -> None:
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-docstring", process)
    app.add_directive("modules", Modules)
    app.add_directive("verbs", Verbs)
