"""Honest estimates: log p(x) by importance sampling with its errors, the ELBO and its parts, which units are used.

All in nats per example, per row first. Noise is keyed by each row's own values, whatever they were stored as: the same
row gets the same score in any batch and any order (to the digits that ``inference`` promises), and the Monte-Carlo
errors of different rows are independent.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from variate import noise
from variate.base.errors import UserError, seed_number
from variate.base.progress import Progress
from variate.base.surroundings import applying
from variate.data.batch import Batch, Cells
from variate.data.dataset import Dataset
from variate.data.schema import LABEL
from variate.models.laws.normals import kl_of_marginals
from variate.results.checkpoint import Run
from variate.results.inference import Gathered, chunks, code_means, exact, matching, rows_at_once

__all__ = [
    "LogLikelihood",
    "Parts",
    "active_units",
    "bits_per_dim",
    "column_nats",
    "elbo_parts",
    "log_likelihood",
    "log_likelihoods",
]

DECODED_AT_ONCE = 500  # rows × samples in memory at a time, at most
PILOT_SAMPLES = 4
NEGLIGIBLE_NATS = 15.0  # a label this far below the best one adds less than 1e-6 nats to log p(x)
ROWS = 50  # at a time, at most
DEFENDED = 4  # one in so many draws of z is from the prior, where q may miss a mode
FEW_EFFECTIVE = 3  # samples, below which an estimate rests on one or two draws


@dataclass(frozen=True)
class LogLikelihood:
    """Per row: the estimate of log p and its Monte-Carlo standard error (delta method), each (n,) in nats.

    ``samples`` k: with relative variance v of the mean weight, ``effective_samples`` = k / (1 + (k − 1) v), (n,), from
    1 (one draw has all the weight: log p is too low, and its error larger than it says) to k; of a row without a finite
    log p, none. ``alike``: the group of each row, (n,) int64, where some rows are equal and so share their noise.
    """

    nats: Tensor
    mc_se: Tensor
    samples: int = 1
    alike: Tensor | None = None

    @property
    def effective_samples(self) -> Tensor:
        found = self.samples / (1 + (self.samples - 1) * self.mc_se.square().nan_to_num(nan=1.0, posinf=1.0))
        return torch.where(self.nats.isfinite(), found, 0.0)

    @property
    def mean(self) -> float:
        return float(self.nats.mean())

    @property
    def se(self) -> float:
        """The standard error of the mean across rows; the errors that equal rows share do not average out in it."""
        rows = len(self.nats)
        if rows < 2:
            return math.nan
        own = float(self.mc_se.square().sum())
        shared = self._shared_variance() - own if self.alike is not None and math.isfinite(own) else 0.0
        return math.sqrt(float(self.nats.var()) / rows + shared / rows**2)

    @property
    def mean_mc_se(self) -> float:
        """The part of it that more samples would remove: √(Σ_g (Σ_{i in g} se_i)²) / n, g the groups of equal rows."""
        return math.sqrt(self._shared_variance()) / len(self.nats)

    def _shared_variance(self) -> float:
        errors = self.mc_se
        if self.alike is not None:
            errors = torch.zeros(int(self.alike.max()) + 1, dtype=errors.dtype).index_add_(0, self.alike, errors)
        return float(errors.square().sum())


@dataclass(frozen=True)
class Parts:
    """Per row, in nats: elbo = −distortion − rate, each (n,); ``unit_nats`` (units,): the mean KL of every unit."""

    elbo_nats: Tensor
    distortion_nats: Tensor
    rate_nats: Tensor
    unit_nats: Tensor


def bits_per_dim(nats: float, run: Run) -> float:
    """−log p / (D ln 2)."""
    return -nats / (run.schema.size * math.log(2))


def _refuse_deterministic(run: Run) -> None:
    if run.deterministic:
        raise UserError(
            "a deterministic autoencoder has no likelihood: it names neither a prior nor a noise model; "
            "train with objective elbo, or read its reconstruction error."
        )


def _log_weights(run: Run, batch: Batch, keys: list[bytes], samples: int, key: tuple) -> Tensor:
    """log p(x, z_i | c) − log q(z_i | x, c) for every row and sample: (samples, B), double precision."""
    model = run.model
    c = model.encode_context(batch.given)
    features = model.read(batch.input, c)
    draws = noise.row_normal(key[0], repr(key[1:]), keys, (samples, model.latent.noise_size)).to(features)
    at_once = max(1, rows_at_once(run, DECODED_AT_ONCE) // len(keys))
    defended = samples // DEFENDED if _may_miss_modes(run) else 0
    parts = []
    for some, from_prior in ((draws[: samples - defended], False), (draws[samples - defended :], True)):
        for part in some.split(at_once) if len(some) else ():
            code, log_weight = _weighed(run, features, c, part, from_prior, defended / samples)
            parts.append((model.judge(code, c, batch).log_prob + log_weight).double())
    return torch.cat(parts)


def _may_miss_modes(run: Run) -> bool:
    """Whether rows may have holes: what is known of one may fit several modes of the prior, of which q has one."""
    return any(field.missing for field in run.schema.explained) and len(run.model.latent.cells) == 1


def _weighed(
    run: Run, features: Tensor, c: Tensor | None, draws: Tensor, from_prior: bool, share: float
) -> tuple[Tensor, Tensor]:
    """(code, log p(z) − log r(z)) of draws from r = (1 − share) q + share p, those of one part of it (n, B): the
    balance heuristic (Veach & Guibas 1995, eq. 14). Without a share r is q."""
    draw = run.model.latent.infer(features, c, draws)
    if not share:
        return draw.code, draw.log_weight()
    (group,) = draw.groups
    assert group.q is not None and group.p is not None
    z = run.model.latent.generate(c, draws) if from_prior else group.z
    log_q, log_p = group.q.log_prob(z), group.p.log_prob(z)
    return z, log_p - torch.logaddexp(log_q + math.log(1 - share), log_p + math.log(share))


def _log_mean(log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """(log of the mean weight, relative variance of that mean, infinite where nobody knows it) per row."""
    k = len(log_weights)
    log_mean = torch.logsumexp(log_weights, 0) - math.log(k)
    variance = (log_weights - log_mean).exp().var(0) / k if k > 1 else torch.full_like(log_mean, math.inf)
    return log_mean, variance.where(log_mean.isfinite(), math.inf)


def log_likelihood(run: Run, data: Dataset, samples: int = 100, seed: int = 0, marginal: bool = False) -> LogLikelihood:
    """log p(x|c) ≈ log 1/k Σ_i p(x, z_i|c) / q(z_i|x, c), z_i ~ q   (Burda et al. 2016, eq. 8).

    Its expectation is below log p(x|c) and rises to it with k = ``samples``. With ``marginal`` a conditional model
    gives log p(x) = logsumexp_c [log p(c) + log p(x|c)] instead, as in ``log_likelihoods``, if c is a label. Raises
    ``UserError`` for a deterministic model.
    """
    seed = seed_number(seed)
    if marginal and run.labelled:
        return _over_rows(run, data, samples, partial(_summed_out, samples=samples, seed=seed), given=False)[0]
    return _over_rows(run, data, samples, partial(_given, samples=samples, seed=seed))[0]


def log_likelihoods(run: Run, data: Dataset, samples: int = 100, seed: int = 0) -> tuple[LogLikelihood, LogLikelihood]:
    """(log p(x), log p(x|c)) of a conditional model: the label summed out, and given.

    log p(x) = logsumexp_c [log p(c) + log p(x|c)] with the training rows' frequencies as p(c). Labels that a pilot of
    4 samples puts 15 nats below the best keep the pilot's estimate, which in expectation can only lower the sum; the
    label that a row is said to have changes nothing in it.
    """
    seed = seed_number(seed)
    total, given = _over_rows(run, data, samples, partial(_summed_out, samples=samples, seed=seed, given=True))
    return total, given


@applying()
def _over_rows(
    run: Run,
    data: Dataset,
    samples: int,
    estimate: Callable[[Run, Batch, list[bytes]], list[tuple[Tensor, Tensor]]],
    given: bool = True,
) -> list[LogLikelihood]:
    """``estimate`` gives (log mean, relative variance) pairs for a batch; one ``LogLikelihood`` for each of them."""
    _refuse_deterministic(run)
    run, data = exact(run), matching(run, data, given)
    gathered, all_keys, volumes = Gathered(len(data)), list[bytes](), Gathered(len(data))
    with Progress("Estimating log p", len(data), unit="rows") as bar:
        for index, kept in chunks(len(data), rows_at_once(run, ROWS)):
            keys = data.keys(index)
            batch = data.batch(index, run.binarize, dtype=run.dtype)
            pairs = estimate(run, batch, keys)
            volumes.add(data.schema.log_volumes_nats(batch.target)[:kept])
            gathered.add(*[part[:kept] for pair in pairs for part in pair])
            all_keys += keys[:kept]
            bar.advance(kept)
    columns, alike = zip(gathered.columns[::2], gathered.columns[1::2], strict=True), _alike(all_keys)
    (volume,) = volumes.columns
    return [LogLikelihood(nats + volume, variance.sqrt(), samples, alike) for nats, variance in columns]


def _alike(keys: list[bytes]) -> Tensor | None:
    """The number of each row's group of equal ones; ``None`` where all rows differ."""
    groups = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return None if len(groups) == len(keys) else torch.tensor([groups[key] for key in keys])


def _given(run: Run, batch: Batch, keys: list[bytes], samples: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    return [_log_mean(_log_weights(run, batch, keys, samples, (seed, "importance")))]


def _summed_out(
    run: Run, batch: Batch, keys: list[bytes], samples: int, seed: int, given: bool = False
) -> list[tuple[Tensor, Tensor]]:
    """log p(x) and, if the label is ``given``, log p(x|c): stratified over the labels, few samples for all of them, the
    full number for the given one and for those that count."""
    counts = torch.tensor(run.schema.class_counts, dtype=torch.float64)
    log_prior = (counts / counts.sum()).log().unsqueeze(-1)
    estimates, variances = _pilot(run, batch, keys, samples, seed)
    pilot = estimates + log_prior
    needed = pilot > pilot.max(0).values - NEGLIGIBLE_NATS
    wanted, (full, spreads) = needed.clone(), (estimates.clone(), variances.clone())
    told = _labels(batch) if given else None
    if told is not None:
        wanted.scatter_(0, told, True)
    summed = torch.full((samples, len(keys)), -math.inf, dtype=torch.float64)  # of every draw: the labels share them
    for label, rows, weights in _of_pairs(run, batch, keys, wanted, samples, seed):
        full[label, rows], spreads[label, rows] = _log_mean(weights)
        rival = needed[label, rows]
        rows, weights = rows[rival], weights[:, rival]
        summed[:, rows] = torch.logaddexp(summed[:, rows], weights + log_prior[label])
    joint = torch.where(needed, full, estimates) + log_prior
    total = torch.logsumexp(joint, 0)
    sure, spread = _log_mean(summed)
    share = (joint - total).exp() ** 2  # 0 of an impossible label, whose variance nobody knows
    left = torch.where(needed | (share == 0), 0.0, share * variances).sum(0)
    spread = (spread * (sure - total).exp() ** 2 + left).where(total.isfinite(), math.inf)
    if told is None:
        return [(total, spread)]
    return [(total, spread), (full.gather(0, told)[0], spreads.gather(0, told)[0])]


def _pilot(run: Run, batch: Batch, keys: list[bytes], samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """(log means, relative variances) of every label and row from a few samples, (labels, B) each."""
    found, few = [], min(PILOT_SAMPLES, samples)
    for label in range(len(run.schema.class_counts)):
        labelled = _labelled(batch, torch.full((len(keys),), label))
        found.append(_log_mean(_log_weights(run, labelled, keys, few, (seed, "pilot", label))))
    estimates, variances = zip(*found, strict=True)
    return torch.stack(estimates), torch.stack(variances)


def _of_pairs(
    run: Run, batch: Batch, keys: list[bytes], wanted: Tensor, samples: int, seed: int
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """(label, rows, log weights (samples, rows)) of the pairs that are ``wanted``, (labels, B) bool.

    They are made in batches of one size, whatever labels and rows they are of: a size that the other rows of a chunk
    decide would show in a row's last digits.
    """
    labels, rows = wanted.nonzero(as_tuple=True)
    for index, kept in chunks(len(rows), len(keys)):
        chosen, told = rows[index], labels[index]
        part = _labelled(batch.choose(chosen), told)
        weights = _log_weights(run, part, [keys[row] for row in chosen], samples, (seed, "importance"))
        for label in told[:kept].unique().tolist():
            places = (told[:kept] == label).nonzero().flatten()
            yield label, chosen[places], weights[:, places]


def _labelled(batch: Batch, labels: Tensor) -> Batch:
    """The rows with these labels, whatever theirs are."""
    return batch._replace(given={LABEL: Cells(labels)})


def _labels(batch: Batch) -> Tensor | None:
    """The rows' own labels, (1, B)."""
    return None if batch.given is None else batch.given[LABEL].units.unsqueeze(0)


@applying()
def elbo_parts(run: Run, data: Dataset, seed: int = 0) -> Parts:
    """The ELBO of every row and its parts with one draw of z per row and the exact KL where there is one."""
    seed = seed_number(seed)
    _refuse_deterministic(run)
    run, data = exact(run), matching(run, data)
    parts = Gathered(len(data))
    with Progress("Estimating the ELBO", len(data), unit="rows") as bar:
        for index, kept in chunks(len(data), rows_at_once(run)):
            batch = data.batch(index, run.binarize, dtype=run.dtype)
            draws = noise.row_normal(seed, "elbo", data.keys(index), (1, run.model.latent.noise_size)).to(run.dtype)
            draw, decoded = run.model(batch, draws)
            rates = torch.cat(draw.rates_nats(), dim=-1)[:kept]
            distortion = (-decoded.log_prob[0].double() - data.schema.log_volumes_nats(batch.target))[:kept]
            rate = rates.double().sum(-1)
            parts.add(-distortion - rate, distortion, rate, _unit_nats(run, batch)[:kept].double())
            bar.advance(kept)
    elbo, distortion, rate, units = parts.columns
    return Parts(elbo, distortion, rate, units.mean(0))


@applying()
def column_nats(run: Run, data: Dataset, seed: int = 0) -> dict[str, float]:
    """−E_q log p(x_j | z, c) of every column of a table, the mean over the rows that have it; their order is the
    table's. One draw of z per row. A column that no row has gets NaN."""
    seed = seed_number(seed)
    run, data = exact(run), matching(run, data)
    sums, counts = np.zeros(run.schema.shape), np.zeros(run.schema.shape)
    with Progress("Looking at the columns", len(data), unit="rows") as bar:
        for index, kept in chunks(len(data), rows_at_once(run)):
            batch = data.batch(index, run.binarize, dtype=run.dtype)
            draws = noise.row_normal(seed, "elbo", data.keys(index), (1, run.model.latent.noise_size)).to(run.dtype)
            c = run.model.encode_context(batch.given)
            parameters = run.model.decode(run.model.infer(batch.input, c, draws).code, c)
            for field in run.schema.explained:
                units, observed = batch.target[field.name].choose(slice(kept))
                law = run.model.likelihood[field.name].values(parameters[field.name][0, :kept])
                nats = torch.where(observed, law.log_prob(units), 0.0).double().sum(0).cpu().numpy()
                there = observed.sum(0).cpu().numpy()
                sums[list(field.at)] -= nats + there * field.log_volumes_nats
                counts[list(field.at)] += there
            bar.advance(kept)
    explained = {place for field in run.schema.explained for place in field.at}
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return {name: float(means[at]) for at, name in enumerate(run.schema.code_names) if at in explained}


def _unit_nats(run: Run, batch: Batch) -> Tensor:
    """KL of every unit's marginal q(z_j|x,c) to p(z_j|c): (B, size); the rate, if both factorise."""
    c = run.model.encode_context(batch.given)
    features = run.model.read(batch.input, c)
    pairs = run.model.latent.marginals(features, c)
    return torch.cat([kl_of_marginals(q, p).flatten(1) for q, p in pairs], dim=-1)


def active_units(run: Run, data: Dataset, threshold: float = 0.01) -> np.ndarray:
    """Which units' posterior means vary over the data: Var_x E_q[z_j] > 0.01 (Burda et al. 2016, section 5.2)."""
    return (code_means(run, data).var(0, correction=0) > threshold).cpu().numpy()
