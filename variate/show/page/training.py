"""How learning went and, for a variational model, what each latent unit carries."""

import math

import numpy as np

from variate.results.checkpoint import Run
from variate.show import pictures
from variate.show.page import charts
from variate.show.page.findings import Findings
from variate.show.page.parts import Picture, Section

__all__ = ["draw", "lines"]


def draw(found: Findings) -> Section:
    records = [record for record in found.records if "epoch" in record]
    drawn = [_curves(found, records)] if records else []
    if "unit_nats" in found.figures:
        drawn.append(_units(found))
    return Section("Training", "", drawn)


def _curves(found: Findings, records: list[dict]) -> Picture:
    epochs, kept = [record["epoch"] for record in records], found.run.info["epoch"]
    drawn = pictures.both(charts.curves, epochs, *lines(found.run, records), kept)
    caption = (
        "Training: the mean over the epoch, weights moving. Validation: held-out rows at the epoch's end, averaged "
        f"weights. Dotted: epoch {kept}, whose weights were kept."
    )
    return Picture("curves", "Learning.", caption, *drawn)


def lines(run: Run, records: list[dict]) -> tuple[dict[str, list[float]], str]:
    """What was learned, epoch by epoch, of the training rows and of the validation rows; what it is, with its unit.

    NaN where an epoch has no mean.
    """
    name, up, scale = "elbo_nats", "ELBO, nats per example", 1.0
    if name not in records[0]["validation"]:
        name, up, scale = "squared_error", "squared error per value", 1 / run.schema.size
    means = {part: [record[part][name] for record in records] for part in ("train", "validation")}
    return {part: [math.nan if mean is None else mean * scale for mean in line] for part, line in means.items()}, up


def _units(found: Findings) -> Picture:
    nats = np.array(found.figures["unit_nats"])
    caption = f"Mean KL of each unit's q(z | x) to its p(z) over {len(found.rows):,} {found.which}rows, sorted; "
    caption += f"{found.active.sum()} of {len(nats)} units {'is' if found.active.sum() == 1 else 'are'} active: "
    caption += "the posterior mean varies by more than 0.01."
    rate = found.figures["rate_nats"]
    if rate is not None and nats.sum() > 1.05 * rate:
        caption += f" Units that go together say the same: all of them carry {rate:.1f} nats."
    drawn = pictures.both(charts.unit_bars, nats, found.active)
    return Picture("units", "What each latent unit carries.", caption, *drawn)
