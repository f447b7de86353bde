"""The model's figure beside those of models that need no network."""

import math

from variate.show import pictures
from variate.show.page import charts
from variate.show.page.findings import BASELINE_ROWS, Findings
from variate.show.page.parts import Picture, Section

__all__ = ["draw"]

TITLE = "Beside simple models"
FITTED = f"fitted to at most {BASELINE_ROWS:,} training rows, a fixed seeded subset"


def draw(found: Findings) -> Section:
    if not any(map(math.isfinite, found.baselines.values())):
        return Section(TITLE, "", [])
    own, value, across, caption = _reconstruction(found) if found.run.deterministic else _likelihood(found)
    scores = {own: math.nan if value is None else value} | found.baselines
    left_out = [name for name, score in scores.items() if not math.isfinite(score)]
    if left_out:
        caption += f" Not finite, and so not drawn: {', '.join(left_out)}."
    chart = pictures.both(charts.bars, {k: v for k, v in scores.items() if k not in left_out}, own, across)
    return Section(TITLE, "", [Picture("comparison", "How well it predicts.", caption, *chart)])


def _reconstruction(found: Findings) -> tuple[str, float | None, str, str]:
    """(name, figure, axis, caption)."""
    caption = f"All {found.which}rows, reconstructed; PCA {FITTED}. Smaller is better."
    return "this autoencoder", found.figures["mse_per_dim"], "squared error per value", caption


def _likelihood(found: Findings) -> tuple[str, float | None, str, str]:
    rows = f"The same {found.figures['log_likelihood_n']:,} {found.which}rows"
    caption = f"{rows}; the others by maximum likelihood, {FITTED}. Smaller is better."
    if found.run.schema.x.kind.levels:
        caption += " Densities are those of x + u, u uniform on [0, 1), and so comparable."
    if "bits_per_dim" in found.figures:
        return "this model", found.figures["bits_per_dim"], "−log p(x), bits/dim", caption
    caption += f" This model alone is told the {found.told}."
    return "this model, told c", found.figures["conditional_bits_per_dim"], "−log p, bits/dim", caption
