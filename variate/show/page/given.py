"""What the model is told for the pictures of a section: classes, known columns or nothing."""

from typing import NamedTuple

import torch
from torch import Tensor

from variate.show.page import classes
from variate.show.page.findings import Findings
from variate.show.page.words import number

__all__ = ["Given", "for_lines", "for_planes"]

PLANES = 3
MOST_NUMBERS = 3  # columns whose values fit beside a line


class Given(NamedTuple):
    """``context`` (lines,) or (lines, k), ``None`` for an unconditional model; what each is called; a sentence."""

    context: Tensor | None
    names: tuple[str, ...]
    text: str = ""


def for_lines(found: Findings, lines: int) -> Given:
    """For the lines of a sheet of samples: every class, or the columns of the first rows; else ``lines`` of nothing."""
    schema = found.run.schema
    if found.run.labelled:
        chosen = classes.shown(schema)
        text = f"Every line is one class, asked for by its label.{classes.selection(schema)}"
        return Given(torch.tensor(chosen), tuple(schema.class_names[label] for label in chosen), text)
    columns = found.rows.columns
    if not found.run.conditional or columns is None:
        return Given(None, ())
    some = columns[:lines]
    text = f"Every line is told the known columns of one row: of the first {len(some)} {found.which}rows."
    names = [", ".join(map(number, row)) for row in some.tolist()]
    if some.shape[1] > MOST_NUMBERS:
        names = [f"row {row}" for row in range(len(some))]
    return Given(some, tuple(names), text)


def for_planes(found: Findings) -> list[Given]:
    """For pictures of what the decoder makes of z, one each: some classes, the mean of the columns, or nothing."""
    schema = found.run.schema
    if found.run.labelled:
        chosen = classes.shown(schema)
        picked = {round(place) for place in torch.linspace(0, len(chosen) - 1, PLANES, dtype=torch.float32).tolist()}
        labels = [chosen[place] for place in sorted(picked)]
        return [Given(torch.tensor([label]), (schema.class_names[label],)) for label in labels]
    if found.run.conditional and schema.columns:
        mean = torch.tensor([schema.columns.kind.offset], dtype=torch.float64)
        return [Given(mean, (), " The known columns at their mean over the training rows.")]
    return [Given(None, ())]
