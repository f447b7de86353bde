"""The command line: one sub-command per module in ``apps/``, imported only when it is called."""

import ast
import io
import pkgutil
import sys
from pathlib import Path

from cyclopts import App, CycloptsError

from variate.errors import UserError

APPS = Path(__file__).parent / "apps"


def _version() -> str:
    from importlib.metadata import version  # takes as long to import as everything else here

    return version("variate")


def build_app() -> App:
    """Every verb's name and help, read from the files without importing them (they import torch)."""
    app = App(
        name="variate",
        help="Learn the distribution of your data with (variational) autoencoders and put it to work.",
        version=_version,
        help_format="plaintext",  # the default imports a Markdown parser for texts that have no Markdown
        result_action="return_value",
        suppress_keyboard_interrupt=False,  # main says what was saved
    )
    for module in pkgutil.iter_modules([str(APPS)]):
        docstring = ast.get_docstring(ast.parse((APPS / f"{module.name}.py").read_text(encoding="utf-8"))) or ""
        app.command(f"variate.apps.{module.name}:command", name=module.name, help=docstring.splitlines()[0])
    return app


def _escape_strange_letters() -> None:
    """What a terminal has no letter for is printed as an escape: × as \\xd7, and names of files that are no text."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def main(arguments: list[str] | None = None) -> None:
    """Run one command. Exit 0: done; 2: what the user can mend, one sentence on standard error; 130: Ctrl-C."""
    _escape_strange_letters()
    try:
        build_app()(arguments, exit_on_error=False)
    except CycloptsError:
        sys.exit(2)  # cyclopts has said what was wrong
    except UserError as error:
        print(f"variate: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(0)  # the reader of our output has seen enough
    except KeyboardInterrupt as stop:
        print(f"variate: {str(stop) or 'interrupted'}", file=sys.stderr)
        sys.exit(130)
