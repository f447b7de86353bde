"""What the model makes up."""

from variate.results import inference
from variate.show.page import columns
from variate.show.page.findings import Findings
from variate.show.page.given import Given, for_lines
from variate.show.page.parts import Section

__all__ = ["draw"]

TITLE = "Samples"
FEW_LINES = 4  # as wide as the page, so that they are not all too small


def draw(found: Findings) -> Section:
    if not found.run.generates:
        return Section(TITLE, "", [])
    if found.gallery is None:
        return Section(TITLE, _fitted(found), [columns.draws(found)])
    across = found.gallery.sizes.columns
    given = for_lines(found, found.gallery.sizes.lines)
    count = across * (len(given.names) or found.gallery.sizes.lines)
    context = None if given.context is None else given.context.repeat_interleave(across, 0)
    wide = count // across <= FEW_LINES
    kinds = [("means", "Means.", "E[x | z]: what the decoder expects.", True)]
    if not found.run.deterministic:
        kinds.append(("draws", "Draws.", "x ~ p(x | z) at the same z: also its noise.", False))
    drawn = []
    for name, title, caption, mean in kinds:
        picture = found.gallery.grid(inference.sample(found.run, count, context, mean=mean), across, wide)
        drawn.append(found.gallery.picture(name, title, caption, picture, count, rows=given.names, wide=wide))
    return Section(TITLE, _text(found, given), drawn, found.gallery.keys)


def _text(found: Findings, given: Given) -> str:
    text = "Made up by the model: z from the prior, x from the decoder; the first ones of seed 0, none picked by hand."
    return " ".join(part for part in (text, given.text, _fitted(found)) if part)


def _fitted(found: Findings) -> str:
    """What a deterministic autoencoder draws from."""
    if not found.run.deterministic:
        return ""
    kinds = {"mixture": "a mixture of normals", "normal": "a normal"}
    name = found.run.config["prior"]["name"]
    law = f"The prior is {kinds.get(name, name)} fitted to the codes of training rows, after the training"
    return f"{law}; a deterministic autoencoder has no noise model, so these are means alone."
