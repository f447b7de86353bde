"""What the decoder makes of the plane of the two latent units that say most, or of the line of the one."""

import torch
from torch import Tensor

from variate.base.surroundings import applying
from variate.results import inference
from variate.show.page.findings import Findings
from variate.show.page.gallery import Gallery
from variate.show.page.given import Given, for_planes
from variate.show.page.parts import Picture

__all__ = ["pictures_of"]

QUANTILES = (0.02, 0.98)


def pictures_of(found: Findings) -> list[Picture]:
    """Nothing for vectors, of which a plane would show nothing."""
    gallery = found.gallery
    if gallery is None:
        return []
    return [_plane(found, gallery, given, index) for index, given in enumerate(for_planes(found))]


def _plane(found: Findings, gallery: Gallery, given: Given, index: int) -> Picture:
    """The grid of decoded points; the other units stay at their mean."""
    mean, scale = _spread(found, given.context)
    side = gallery.sizes.plane
    quantiles = torch.special.ndtri(torch.linspace(*QUANTILES, side, dtype=torch.float64)).to(mean.dtype)
    upwards = quantiles.flip(0) if len(found.units) > 1 else quantiles.new_zeros(1)
    up, across = torch.meshgrid(upwards, quantiles, indexing="ij")
    points = mean.repeat(up.numel(), 1)
    for unit, place in zip(found.units, (across, up), strict=False):
        points[:, unit] += scale[unit] * place.flatten()
    context = None if given.context is None else given.context.expand(len(points), *given.context.shape[1:])
    wide = len(found.units) == 1
    drawn = gallery.grid(inference.decode(found.run, points, context), side, wide)
    name = f"manifold-{index}" if given.names else "manifold"
    shape = "line" if wide else "plane"
    title = f"Decoded {shape}, class {given.names[0]}." if given.names else f"Decoded {shape}."
    return gallery.picture(name, title, _caption(found, side, len(mean)) + given.text, drawn, len(points), wide=wide)


def _caption(found: Findings, side: int, size: int) -> str:
    where = f"z[{found.units[0]}]"
    if len(found.units) > 1:
        where += f" (to the right) and z[{found.units[1]}] (upwards)"
    law = "a normal fitted to the codes" if found.run.deterministic else "the prior"
    ends = f"{QUANTILES[0]:.0%} to {QUANTILES[1]:.0%}"
    rest = "; the other units at their mean." if size > 2 else "."
    return f"E[x | z] over {where} at {side} quantiles from {ends} of {law}{rest}"


@applying()
def _spread(found: Findings, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every latent unit: the prior's, or the codes' where it was no part of training."""
    if found.run.deterministic:
        return found.codes.mean(0), found.codes.std(0, correction=0)
    model, one = found.run.model, found.rows.batch(slice(0, 1), found.run.binarize).to(found.run.dtype)
    c = model.encode_context(found.run.schema.told(context, found.run.dtype))
    priors = [prior for _, prior in model.latent.marginals(model.read(one.input, c), c)]
    return torch.cat([p.mean.flatten() for p in priors]), torch.cat([p.stddev.flatten() for p in priors])
