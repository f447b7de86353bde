"""What training steps add up to: the sums of their terms, and which of them were skipped."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from variate.data.schema import Schema
from variate.models.objectives.objective import Terms
from variate.training.processes import Processes

__all__ = ["Outcome", "Tally", "in_raw_units", "means", "recorded", "total_terms"]

SIGNS = {"bound_nats": 1, "elbo_nats": 1, "distortion_nats": -1}  # of a log-density in each term


class Outcome(NamedTuple):
    """What a step leaves behind on the device: the sums of its terms, 1.0 if it was skipped; and of how many rows.

    Rows that were drawn beside the epoch's own do not count.
    """

    names: list[str]
    sums: Tensor
    skipped: Tensor
    rows: int


@dataclass
class Tally:
    """The sums of the terms since the epoch began, and how many steps were skipped since training did.

    ``bad_run``: steps in a row that were skipped, up to the last one; ``worst_run``: the most in a row so far.

    >>> tally = Tally()
    >>> outcome = Outcome(["elbo_nats"], torch.tensor([-8.0]), skipped=torch.tensor(0.0), rows=4)
    >>> tally.add([outcome, outcome], Processes())
    {'elbo_nats': -16.0, 'rows': 8.0}
    >>> tally.end_epoch()
    {'elbo_nats': -2.0}
    """

    sums: dict[str, float] = field(default_factory=dict)
    skipped: int = 0
    bad_run: int = 0
    worst_run: int = 0

    def add(self, outcomes: list[Outcome], group: Processes) -> dict[str, float]:
        """What these steps add up to in all processes, with "rows" of them: fetched from the device at one go.

        Steps that were skipped count no rows.
        """
        table = torch.stack([torch.cat([told.sums, told.skipped.unsqueeze(0)]) for told in outcomes]).tolist()
        fresh = dict.fromkeys([*outcomes[0].names, "rows"], 0.0)
        for told, (*sums, skipped) in zip(outcomes, table, strict=True):
            self.bad_run = self.bad_run + 1 if skipped else 0
            self.worst_run = max(self.worst_run, self.bad_run)
            self.skipped += int(skipped)
            if not skipped:
                for name, total in zip((*told.names, "rows"), (*sums, told.rows), strict=True):
                    fresh[name] += total
        fresh = dict(zip(fresh, group.total(list(fresh.values())), strict=True))
        for name, total in fresh.items():
            self.sums[name] = self.sums.get(name, 0.0) + total
        return fresh

    def end_epoch(self) -> dict[str, float]:
        """The terms' means over the rows of the epoch; the sums start anew."""
        found = means(self.sums)
        self.sums = {}
        return found


def means(sums: dict[str, float]) -> dict[str, float]:
    """Sums over "rows" of them → means; NaN over no rows at all."""
    rows = sums.get("rows", 0.0)
    return {name: total / rows if rows else math.nan for name, total in sums.items() if name != "rows"}


def recorded(terms: dict[str, float]) -> dict[str, float | None]:
    """What others are told: ``None`` for a mean over no rows, and for one over a row of probability 0."""
    return {name: mean if math.isfinite(mean) else None for name, mean in terms.items()}


def total_terms(terms: Terms, rows: int | None = None) -> tuple[list[str], Tensor]:
    """The names of the terms that exist, and their sums over the first ``rows`` (``None``: all), on the device.

    Rates are summed over groups.
    """
    known = terms.named()
    return list(known), torch.stack([v if v.dim() == 1 else v.sum(-1) for v in known.values()])[:, :rows].sum(-1)


def in_raw_units(terms: dict[str, float], schema: Schema, log_volume_nats: float | None = None) -> dict[str, float]:
    """Densities of standardised values → of the values as they were given; the ELBO in bits/dim beside it."""
    volume = schema.log_volume_nats if log_volume_nats is None else log_volume_nats
    raw = {name: mean + SIGNS.get(name, 0) * volume for name, mean in terms.items()}
    if "elbo_nats" in raw:
        raw["elbo_bits_per_dim"] = -raw["elbo_nats"] / (schema.size * math.log(2))
    return raw
