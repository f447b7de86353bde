"""Which likelihood suits which data: what "auto" means."""

import torch
from torch import Tensor

from variate.data.schema import Schema
from variate.data.shards import Shards, pieces
from variate.models.likelihoods.marginals import by_column, middle

__all__ = ["default_for", "default_of_principal", "may_be_default"]

MOST_ATOMS = 6
OF_ROWS = ("atoms", "centre", "width")  # keywords that "auto" takes from the rows themselves
FAR = 10.0  # spreads from the middle, where a Gaussian's values never are


def default_for(schema: Schema, values: Tensor | Shards) -> dict:
    """The likelihood section that suits the training rows: what "auto" means."""
    section = _default_of(schema)
    if schema.levels is None or section["name"] != "discretized_logistic":
        return section
    counts = torch.zeros(schema.levels, dtype=torch.int64)
    for part in pieces(values, "Counting levels"):
        levels = part if part.dtype == torch.uint8 and schema.divisor == 1 else schema.to_levels(part)  # a copy saved
        counts += torch.bincount(levels.flatten(), minlength=schema.levels)
    atoms = counts.argsort(descending=True, stable=True)[:MOST_ATOMS].tolist()
    return section | {"atoms": atoms}


def _default_of(schema: Schema) -> dict:
    """The likelihood section that suits rows of the schema, but for what the rows themselves say."""
    if schema.counts:
        return {"name": "negative_binomial"}
    if schema.levels is None:
        return {"name": "gaussian"}
    if schema.levels == 2:
        return {"name": "bernoulli"}
    return {"name": "categorical"} if schema.levels <= 32 else {"name": "discretized_logistic", "components": 2}


def may_be_default(section: dict, schema: Schema, starts_principal: bool) -> bool:
    """Whether "auto" means this section for some rows of the schema."""
    said = {key: value for key, value in section.items() if key not in OF_ROWS}
    if starts_principal:
        return said in [{"name": name, "sigma": "predicted"} for name in ("gaussian", "johnson_su")]
    return said == _default_of(schema)


def default_of_principal(rows: Tensor) -> dict:
    """The likelihood section that suits real rows (n, *shape), in model units, whose code starts at their components.

    Johnson's law, where some value is further from its column's middle than 10 of its spreads: of a normal law none
    ever is, and the others are to have room.
    """
    columns = by_column(rows).double().cpu()
    centre, spread = middle(rows)
    far = ((columns - centre.unsqueeze(1)).abs() > FAR * spread.unsqueeze(1)).any()
    return {"name": "johnson_su" if far else "gaussian", "sigma": "predicted"}
