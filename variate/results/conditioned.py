"""Rows of a table under conditions: x ~ p(x | x_j in A_j for some columns j), for a model that was told nothing.

p(z | conditions) ∝ p(z) Π_j P(x_j in A_j | z). Draws come from q(z | the cells that are known), which a model trained
under the view ``hide`` has learned, half of them from the prior; each is weighted by p(z) Π_j P(A_j | z) over that
mixture, and n of many times n are kept in proportion to their weights (Rubin 1988). A cell is then drawn from its law
within A_j.
"""

import math

import numpy as np
import torch
from torch import Tensor

from variate import noise
from variate.base.console import say
from variate.base.errors import UserError
from variate.base.progress import Progress
from variate.base.surroundings import applying
from variate.data.batch import Cells, Record
from variate.data.telling import Allowed
from variate.results.checkpoint import Run
from variate.results.inference import exact

__all__ = ["sample_where"]

PROPOSALS, AT_ONCE = 20, 2000  # draws of z for every row that is kept; of them in memory at a time
TRIES = 200  # draws of a cell, until one is within what is allowed
FEW = 3  # different draws of z, below which it is said that rows resemble each other


@applying()
def sample_where(run: Run, n: int, wanted: list[Allowed], told: Tensor | None, seed: int = 0) -> np.ndarray:
    """n raw rows (codes) that meet all conditions; ``told``: codes (1, W) of the columns that the model is told of.

    Raises ``UserError`` where the model holds the conditions impossible.
    """
    run = exact(run)
    c = run.model.encode_context(run.schema.told(told, run.dtype))
    proposed, log_weights = _proposed(run, n * PROPOSALS, wanted, c, seed)
    if not bool(log_weights.isfinite().any()):
        raise UserError("the model gives these conditions no probability together: ask for fewer, or wider ones.")
    kept = _resampled(log_weights, n, seed)
    if len(kept.unique()) < min(n, FEW):
        say(f"these conditions are rare: {n} rows rest on {len(kept.unique())} draws of z, and resemble each other")
    return _decoded(run, proposed[kept], wanted, c, told, seed)


def _proposed(run: Run, count: int, wanted: list[Allowed], c: Tensor | None, seed: int) -> tuple[Tensor, Tensor]:
    """(noise-driven latents flattened (count, size), log weights (count,))."""
    record = _known_cells(run, wanted)
    latent, found, weights = run.model.latent, [], []
    features = run.model.read(record, c)
    with Progress("Looking for rows", count, unit="draws") as bar:
        for chunk, start in enumerate(range(0, count, AT_ONCE)):
            size = min(AT_ONCE, count - start)
            draws = noise.normal(seed, "conditioned", chunk, shape=(size, 1, latent.noise_size)).to(run.dtype)
            from_q = latent.infer(features, c, draws[: size // 2])
            z = torch.cat([from_q.code, latent.generate(c, draws[size // 2 :])])
            parameters = run.model.decode(z, c)
            log_mass = torch.stack([one.log_mass(run.model.likelihood, parameters)[:, 0] for one in wanted]).sum(0)
            weights.append(log_mass.double() + _log_ratio(run, features, c, z))
            found.append(z[:, 0])
            bar.advance(size)
    return torch.cat(found), torch.cat(weights)


def _log_ratio(run: Run, features: Tensor, c: Tensor | None, z: Tensor) -> Tensor:
    """log p(z) − log ½(p(z) + q(z)), (count,), of a flat latent: at most log 2."""
    ((q, p),) = run.model.latent.marginals(features, c)
    log_p, log_q = p.log_prob(z)[:, 0].double(), q.log_prob(z)[:, 0].double()
    return log_p - torch.logaddexp(log_p, log_q) + math.log(2)


def _known_cells(run: Run, wanted: list[Allowed]) -> Record:
    """A row of which nothing is observed but what is said to have one value."""
    record = {}
    for field in run.schema.explained:
        units = torch.zeros(1, field.size, dtype=run.dtype)
        observed = torch.zeros(1, field.size, dtype=torch.bool)
        for one in wanted:
            if one.field == field.name and one.only is not None:
                units[0, one.place], observed[0, one.place] = one.only, True
        record[field.name] = Cells(units, observed)
    return record


def _resampled(log_weights: Tensor, n: int, seed: int) -> Tensor:
    """n places, in proportion to their weights, systematically: (n,) int64, in an order by chance."""
    shares = log_weights.softmax(0).cumsum(0)
    generator = noise.generator(seed, "resampled")
    start = torch.rand((), generator=generator, dtype=torch.float64)
    points = (torch.arange(n, dtype=torch.float64) + start) / n
    places = torch.searchsorted(shares, points * shares[-1]).clamp_max(len(shares) - 1)
    return places[noise.permutation(seed, "resampled order", n=n)]


def _decoded(
    run: Run, z: Tensor, wanted: list[Allowed], c: Tensor | None, told: Tensor | None, seed: int
) -> np.ndarray:
    rows = []
    for chunk, start in enumerate(range(0, len(z), AT_ONCE)):
        parameters = run.model.decode(z[start : start + AT_ONCE].unsqueeze(1), c)
        with noise.seeded(seed, "conditioned cells", chunk):
            laws = run.model.likelihood.distributions(parameters)
            drawn = {name: law.sample()[:, 0] for name, law in laws.items()}
            for _ in range(TRIES):
                wrong = {name: _wrong(units, name, wanted) for name, units in drawn.items()}
                if not any(bool(where.any()) for where in wrong.values()):
                    break
                for name, where in wrong.items():
                    if bool(where.any()):
                        drawn[name] = torch.where(where, laws[name].sample()[:, 0], drawn[name])
        for one in wanted:
            drawn[one.field][:, one.place] = one.within(drawn[one.field][:, one.place])
        raw = run.schema.to_raw(drawn)
        if told is not None:
            at = [place for field in run.schema.given for place in field.at]
            raw[:, at] = told[:, at].numpy()
        rows.append(raw)
    return np.concatenate(rows)


def _wrong(units: Tensor, name: str, wanted: list[Allowed]) -> Tensor:
    """Which cells are not as they have to be, but could be by another draw."""
    wrong = torch.zeros_like(units, dtype=torch.bool)
    for one in wanted:
        if one.field == name and one.only is None:
            wrong[:, one.place] |= ~one.holds(units[:, one.place])
    return wrong
