"""Say which class every row belongs to: of a model that learned from labels for some of its rows."""

import csv
import io
from pathlib import Path

import numpy as np

from variate import options
from variate.base.console import say
from variate.base.errors import count_number
from variate.base.files import write_atomic
from variate.base.surroundings import apart
from variate.data.load import load
from variate.results import checkpoint, inference
from variate.results.checkpoint import Run
from variate.show import outputs
from variate.show.outputs import save_columns, spelled, tell_gaps

__all__ = ["classify"]


@apart()
def classify(run: Run, data: object, *, samples: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """(labels (n,), probabilities (n, classes)): argmax_y and the values of q(y|x) = E_q(z|x) p(y|z).

    ``samples`` draws of z per row; the same row has the same probabilities in any batch. The labels are the names in
    ``run.schema.class_names``. Raises ``UserError`` if the model predicts no labels.
    """
    samples = count_number(samples, "samples")
    rows = load(data, part="test", like=run.schema)
    probabilities = inference.label_probabilities(run, rows, samples).numpy()
    return np.array(run.schema.class_names)[probabilities.argmax(1)], probabilities


def command(run: Path, data: options.Data, *, out: Path, samples: int = 16) -> None:
    """Say which class every row belongs to: of a model that learned from labels for some of its rows.

    Parameters
    ----------
    run
        the folder that fit wrote with --recipe semi-supervised, or its model file.
    out
        .csv: the class of every row and the probability of each class; .npy: the probabilities (n, classes).
    samples
        draws of z per row.
    """
    trained = checkpoint.load(run)
    outputs.check(out, outputs.COLUMNS)
    labels, probabilities = classify(trained, data, samples=samples)
    if out.suffix == ".csv":
        write_atomic(out, _csv(labels, probabilities, trained.schema.class_names))
    else:
        save_columns(out, probabilities, list(trained.schema.class_names), together=True)
    say(f"{len(labels):,} rows classified in {out}")
    tell_gaps(out, probabilities)


def _csv(labels: np.ndarray, probabilities: np.ndarray, names: tuple[str, ...]) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["label", *(f"p({name})" for name in names)])
    writer.writerows([label, *spelled(row)] for label, row in zip(labels, probabilities, strict=True))
    return buffer.getvalue().encode("utf-8", "backslashreplace")  # models of before may know names that are no text
