"""Draw what a run learned: one HTML page with its pictures."""

import os
from pathlib import Path

from variate import options
from variate.base.console import say
from variate.base.errors import UserError
from variate.base.files import check_writeable
from variate.base.surroundings import apart
from variate.data import named
from variate.data.load import load
from variate.results import checkpoint
from variate.results.checkpoint import Run
from variate.results.folder import RunFolder
from variate.show.page import assembly
from variate.show.page.findings import look

__all__ = ["report"]


@apart()
def report(
    run: Run,
    data: object = None,
    labels: object = None,
    *,
    samples: int = 50,
    rows: int | None = 1000,
    out: str | os.PathLike | None = None,
) -> Path:
    """Write ``report.html``, ``report.json`` and ``pictures/*.png``; returns the path of the page.

    ``data`` and ``labels``: rows that the model has not seen, by default the test part of the named set that it was
    trained on. ``samples`` and ``rows`` are those of ``evaluate``. ``out``: a folder, by default the run's own. The
    page refers to nothing outside itself. Baselines are fitted where the training rows are those of a named set.
    Raises ``UserError`` where the rows, or the folder, have to be named.
    """
    name = run.info["data"]
    if data is None and name not in named.names():
        raise UserError(f"{name} is data of your own: name the rows to draw the report of, those or others like them.")
    if out is None and not run.path.is_file():
        raise UserError("the run was never saved: say with out which folder the report goes to.")
    unseen = load(name if data is None else data, labels, part="test", like=run.schema)
    return assembly.write(look(run, unseen, samples, rows), RunFolder.of(run).path if out is None else Path(out))


def command(
    run: options.RunPlace,
    data: str | None = None,
    *,
    labels: options.Known = None,
    samples: options.Samples = 50,
    rows: int | None = 1000,
    out: Path | None = None,
) -> None:
    """Draw what a run learned: one HTML page with its pictures.

    Parameters
    ----------
    data
        a named set (its test part unless it says mnist:train), a file or a folder of images; by default the named set
        that the run was trained on.
    rows
        a fixed, seeded subset for log p(x).
    out
        the folder to write into; by default the run's own.
    """
    if out is not None:
        check_writeable(out / "report.html")
    page = report(checkpoint.load(run), data, labels, samples=samples, rows=rows, out=out)
    say(f"the report is {page}")
