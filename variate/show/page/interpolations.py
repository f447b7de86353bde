"""Straight lines in z between the codes of two rows."""

import torch
from torch import Tensor

from variate.results import inference
from variate.show.page import classes
from variate.show.page.findings import Findings
from variate.show.page.parts import Section

__all__ = ["draw"]

TITLE = "Interpolations"


def draw(found: Findings) -> Section:
    gallery = found.gallery
    pairs = None if gallery is None else _pairs(found, gallery.sizes.paths)
    if gallery is None or pairs is None or not len(pairs):
        return Section(TITLE, "", [])
    ends, steps = found.rows.rows(pairs.flatten()), gallery.sizes.steps
    path = _between(inference.code_means(found.run, ends), steps)
    context = ends.known if found.run.conditional else None
    if context is not None:
        context = context[::2].repeat_interleave(steps) if found.run.labelled else _between(context, steps)
    shape = found.run.schema.x.shape
    between = inference.decode(found.run, path, context).reshape(-1, steps, *shape)
    starts, stops = ends.values.numpy().reshape(-1, 2, *shape).swapaxes(0, 1)
    drawn = gallery.paths(starts, between, stops)
    title = f"From one {gallery.noun.removesuffix('s')} to another."
    count = len(pairs) * (steps + 2)
    picture = gallery.picture("interpolations", title, _caption(found), drawn, count, wide=True)
    return Section(TITLE, "", [picture], gallery.keys)


def _pairs(found: Findings, most: int) -> Tensor:
    """Rows to go between, (pairs, 2): the first two of each class of a model that knows them, else neighbours."""
    if not found.run.labelled or found.rows.labels is None:
        return torch.arange(min(most, len(found.rows) // 2) * 2).view(-1, 2)
    members = [(found.rows.labels == label).nonzero().flatten()[:2] for label in classes.shown(found.run.schema)]
    pairs = [pair for pair in members if len(pair) == 2][:most]
    return torch.stack(pairs) if pairs else torch.empty(0, 2, dtype=torch.long)


def _between(ends: Tensor, steps: int) -> Tensor:
    """(2 · pairs, d) → (pairs · steps, d): equal steps from every first one to the second after it."""
    start, stop = ends.unflatten(0, (-1, 2)).unbind(1)
    along = torch.linspace(0, 1, steps, dtype=ends.dtype).view(1, -1, 1)
    return (start.unsqueeze(1) + along * (stop - start).unsqueeze(1)).flatten(0, 1)


def _caption(found: Findings) -> str:
    gallery = found.gallery
    if gallery is None:
        return ""
    kept = ""
    if found.run.conditional:
        kept = ", the label kept" if found.run.labelled else ", the known columns going the same way"
    steps = f"E[x | z] at {gallery.sizes.steps} equal steps on the straight line from the one's {found.code} to "
    steps += f"the other's{kept}"
    of_one = " of one class" if found.run.labelled else ""
    return gallery.joined.format(which=found.which, noun=gallery.noun, of_one=of_one, steps=steps)
