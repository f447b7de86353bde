"""The command line: one sub-command per module in ``apps/``, imported only when it is called."""

import ast
import io
import pkgutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cyclopts import App, CycloptsError

from variate.base.console import say
from variate.base.errors import UserError
from variate.base.streams import standing
from variate.base.waiting import considerate

APPS = Path(__file__).parent / "apps"
NO_MEMORY_WORDS = (
    *("not enough memory", "allocate memory", "out of memory", "calculation overflowed", "multiplication overflow"),
    *("array is too big", "dimension exceeded", "int too big to convert"),
)
NO_MEMORY = (
    "this takes more memory than there is: ask for less at once, with fewer --samples, -n or --rows, or a smaller "
    "train.batch_size or network."
)


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
    """Run one command. Exit 0: done; 2: what the user can mend, one sentence on standard error; 130: Ctrl-C; 143:
    SIGTERM, with nothing half-written."""
    _escape_strange_letters()
    with standing():
        status = _status(arguments)
    if status:
        sys.exit(status)


def _status(arguments: list[str] | None) -> int:
    try:
        with _ended_by_signals(), considerate():
            build_app()(arguments, exit_on_error=False)
            sys.stdout.flush()
    except CycloptsError:
        return 2  # cyclopts has said what was wrong
    except UserError as error:
        say(f"variate: {error}")
        return 2
    except (MemoryError, RuntimeError, ValueError, OverflowError) as error:
        if not _is_lack_of_memory(error):
            raise
        say(f"variate: {NO_MEMORY}")
        return 2
    except KeyboardInterrupt as stop:
        say(f"variate: {str(stop) or 'interrupted'}")
        return 130
    return 0


def _is_lack_of_memory(error: Exception) -> bool:
    """There is an exception for it; torch, and NumPy for what no machine could hold, have only words."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY_WORDS)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM ends what is in this block as an exception does, so that what it has begun is put away."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
