"""What goes in, and what survives the latent space."""

from variate.results import inference
from variate.show.page import classes, columns
from variate.show.page.findings import Findings
from variate.show.page.parts import Section

__all__ = ["draw"]

TITLE = "Data and reconstructions"


def draw(found: Findings) -> Section:
    gallery, schema = found.gallery, found.run.schema
    if gallery is None:
        return Section(TITLE, "", [columns.reconstructions(found)])
    first, pairs = found.spread(gallery.sizes.first), found.spread(gallery.sizes.pairs)
    labels = classes.names_of(first.labels, schema)
    data = gallery.grid(first.values.numpy(), gallery.sizes.first, wide=True)
    copies = gallery.pairs(pairs.values.numpy(), inference.reconstruct(found.run, pairs))
    caption = gallery.paired.format(which=found.which, noun=gallery.noun, code=found.code)
    if found.run.binarize != "none":
        caption += f" The encoder sees them binarised ({found.run.binarize})."
    said = f"{len(first)} {found.which}{gallery.noun}, evenly spaced."
    drawn = [
        gallery.picture("data", "Data.", said, data, len(first), columns=labels, wide=True),
        gallery.picture("reconstructions", "Reconstructions.", caption, copies, 2 * len(pairs), wide=True),
    ]
    return Section(TITLE, "", drawn, gallery.keys)
