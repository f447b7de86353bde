"""Which likelihood suits which data: what "auto" means."""

import torch
from torch import Tensor

from variate.data.schema import Field
from variate.data.shards import Shards, pieces
from variate.models.likelihoods.marginals import by_column, middle

__all__ = ["default_for", "default_of_principal", "may_be_default", "name_for"]

OF_SUPPORT = {
    "counts": "negative_binomial",
    "reals": "gaussian",
    "bins": "binned_logistics",
    "categories": "categoricals",
}
MOST_ATOMS = 6
OF_ROWS = ("atoms", "centre", "width")  # keywords that "auto" takes from the rows themselves
FAR = 10.0  # spreads from the middle, where a Gaussian's values never are


def default_for(field: Field, values: Tensor | Shards) -> dict:
    """The likelihood section that suits the training rows: what "auto" means."""
    section = _default_of(field)
    if field.kind.levels is None or section["name"] != "discretized_logistic":
        return section
    counts = torch.zeros(field.kind.levels, dtype=torch.int64)
    for part in pieces(values, "Counting levels"):
        part = part[~part.isnan()] if field.missing else part
        levels = (
            part if part.dtype == torch.uint8 and field.kind.divisor == 1 else field.kind.whole(part)
        )  # a copy saved
        counts += torch.bincount(levels.flatten(), minlength=field.kind.levels)
    atoms = counts.argsort(descending=True, stable=True)[:MOST_ATOMS].tolist()
    return section | {"atoms": atoms}


def name_for(field: Field) -> str:
    """The likelihood of a table's field: real columns have humps and tails, which one normal has not."""
    return "logistics" if field.kind.support == "reals" else _default_of(field)["name"]


def _default_of(field: Field) -> dict:
    """The likelihood section that suits rows of the field, but for what the rows themselves say."""
    if field.kind.levels is None:
        return {"name": OF_SUPPORT[field.kind.support]}
    if field.kind.levels == 2:
        return {"name": "bernoulli"}
    return {"name": "categorical"} if field.kind.levels <= 32 else {"name": "discretized_logistic", "components": 2}


def may_be_default(section: dict, field: Field, starts_principal: bool) -> bool:
    """Whether "auto" means this section for some rows of the field."""
    said = {key: value for key, value in section.items() if key not in OF_ROWS}
    if starts_principal:
        return said in [{"name": name, "sigma": "predicted"} for name in ("gaussian", "johnson_su")]
    return said == _default_of(field)


def default_of_principal(rows: Tensor) -> dict:
    """The likelihood section that suits real rows (n, *shape), in model units, whose code starts at their components.

    Johnson's law, where some value is further from its column's middle than 10 of its spreads: of a normal law none
    ever is, and the others are to have room.
    """
    columns = by_column(rows).double().cpu()
    centre, spread = middle(rows)
    far = ((columns - centre.unsqueeze(1)).abs() > FAR * spread.unsqueeze(1)).any()
    return {"name": "johnson_su" if far else "gaussian", "sigma": "predicted"}
