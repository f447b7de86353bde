"""Honest estimates: log p(x) by importance sampling with its errors, the ELBO and its parts, which units are used.

All in nats per example, per row first. Noise is keyed by each row's bytes: the same row gets the same score in any
batch and any order, and the Monte-Carlo errors of different rows are independent.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from variate import noise
from variate.checkpoint import Run
from variate.data.batch import Batch
from variate.data.dataset import Dataset
from variate.distributions import kl_of_marginals
from variate.errors import UserError
from variate.inference import CHUNK, Gathered, code_means, matching
from variate.progress import Progress

__all__ = ["LogLikelihood", "Parts", "active_units", "bits_per_dim", "elbo_parts", "log_likelihood", "log_likelihoods"]

DECODED_AT_ONCE = 500  # rows × samples in memory at a time
PILOT_SAMPLES = 4
NEGLIGIBLE_NATS = 15.0  # a label this far below the best one adds less than 1e-6 nats to log p(x)
ROWS = 50


FEW_EFFECTIVE = 3  # samples, below which an estimate rests on one or two draws


@dataclass(frozen=True)
class LogLikelihood:
    """Per row: the estimate of log p and its Monte-Carlo standard error (delta method), each (n,) in nats.

    ``samples`` k: with relative variance v of the mean weight, ``effective_samples`` = k / (1 + (k − 1) v), (n,), from
    1 (one draw has all the weight: log p is too low, and its error larger than it says) to k.
    """

    nats: Tensor
    mc_se: Tensor
    samples: int = 1

    @property
    def effective_samples(self) -> Tensor:
        return self.samples / (1 + (self.samples - 1) * self.mc_se.square().nan_to_num(posinf=1.0))

    @property
    def mean(self) -> float:
        return float(self.nats.mean())

    @property
    def se(self) -> float:
        """The standard error of the mean across rows."""
        return float(self.nats.std() / math.sqrt(len(self.nats))) if len(self.nats) > 1 else math.nan

    @property
    def mean_mc_se(self) -> float:
        """The part of it that more samples would remove: √(Σ se²) / n."""
        return float(self.mc_se.square().sum().sqrt() / len(self.nats))


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


def _log_weights(run: Run, batch: Batch, labels: Tensor | None, keys: list[bytes], samples: int, key: tuple) -> Tensor:
    """log p(x, z_i | c) − log q(z_i | x, c) for every row and sample: (samples, B), double precision."""
    model = run.model
    c = model.encode_context(labels)
    features = model.encoder(batch.input, c)
    draws = noise.row_normal(key[0], repr(key[1:]), keys, (samples, model.latent.noise_size)).to(features)
    at_once = max(1, DECODED_AT_ONCE // len(keys))
    parts = []
    for start in range(0, samples, at_once):
        draw = model.latent.infer(features, c, draws[start : start + at_once])
        parts.append((model.judge(draw.code, c, batch).log_prob + draw.log_weight()).double())
    return torch.cat(parts)


def _log_mean(log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """(log of the mean weight, relative variance of that mean) per row."""
    k = len(log_weights)
    log_mean = torch.logsumexp(log_weights, 0) - math.log(k)
    ratio = (log_weights - log_mean).exp()
    return log_mean, ratio.var(0) / k if k > 1 else torch.full_like(log_mean, math.inf)


def log_likelihood(run: Run, data: Dataset, samples: int = 100, seed: int = 0, marginal: bool = False) -> LogLikelihood:
    """log p(x|c) ≈ log 1/k Σ_i p(x, z_i|c) / q(z_i|x, c), z_i ~ q   (Burda et al. 2016, eq. 8).

    Its expectation is below log p(x|c) and rises to it with k = ``samples``. With ``marginal`` a conditional model
    gives log p(x) = logsumexp_c [log p(c) + log p(x|c)] instead, as in ``log_likelihoods``, if c is a label. Raises
    ``UserError`` for a deterministic model.
    """
    if marginal and run.labelled:
        totals = partial(_all_labels, run, samples=samples, seed=seed)
        return _over_rows(run, data, samples, totals, given=False)[0]
    return _over_rows(
        run, data, samples, lambda batch, keys: [_given(run, batch, keys, samples, (seed, "importance"))]
    )[0]


def log_likelihoods(run: Run, data: Dataset, samples: int = 100, seed: int = 0) -> tuple[LogLikelihood, LogLikelihood]:
    """(log p(x), log p(x|c)) of a conditional model: the label summed out, and given.

    log p(x) = logsumexp_c [log p(c) + log p(x|c)] with the training rows' frequencies as p(c). Labels that a pilot of
    4 samples puts 15 nats below the best keep the pilot's estimate, which in expectation can only lower the sum.
    """
    total, given = _over_rows(run, data, samples, partial(_all_labels, run, samples=samples, seed=seed))
    return total, given


@torch.inference_mode()
def _over_rows(
    run: Run,
    data: Dataset,
    samples: int,
    estimate: Callable[[Batch, list[bytes]], list[tuple[Tensor, Tensor]]],
    given: bool = True,
) -> list[LogLikelihood]:
    """``estimate`` gives (log mean, relative variance) pairs for a batch; one ``LogLikelihood`` for each of them."""
    _refuse_deterministic(run)
    data = matching(run, data, given)
    gathered = Gathered(len(data))
    with Progress("Estimating log p", len(data), unit="rows") as bar:
        for start in range(0, len(data), ROWS):
            index = torch.arange(start, start + ROWS).clamp(max=len(data) - 1)
            kept = min(ROWS, len(data) - start)
            pairs = estimate(data.batch(index, run.binarize).to(run.dtype), noise.row_keys(data.values[index]))
            gathered.add(*[part[:kept] for pair in pairs for part in pair])
            bar.advance(kept)
    columns = zip(gathered.columns[::2], gathered.columns[1::2], strict=True)
    return [LogLikelihood(nats + run.schema.log_volume_nats, variance.sqrt(), samples) for nats, variance in columns]


def _given(run: Run, batch: Batch, keys: list[bytes], samples: int, key: tuple) -> tuple[Tensor, Tensor]:
    return _log_mean(_log_weights(run, batch, batch.context, keys, samples, key))


def _all_labels(run: Run, batch: Batch, keys: list[bytes], samples: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """(log p(x)) and, of rows that all have a label, (log p(x|c)): stratified over the labels, few samples for all of
    them, the full number for the given one and its rivals."""
    counts = torch.tensor(run.schema.labels, dtype=torch.float64)
    log_prior = (counts / counts.sum()).log()
    estimates = torch.empty((len(counts), len(keys)), dtype=torch.float64)
    variances = torch.empty_like(estimates)
    for label in range(len(counts)):
        labels = torch.full((len(keys),), label)
        weights = _log_weights(run, batch, labels, keys, min(PILOT_SAMPLES, samples), (seed, "pilot", label))
        estimates[label], variances[label] = _log_mean(weights)
    pilot = estimates + log_prior.unsqueeze(-1)
    needed = pilot > pilot.max(0).values - NEGLIGIBLE_NATS
    known = batch.context is not None and bool((batch.context >= 0).all())
    given = batch.context.unsqueeze(0) if known and batch.context is not None else pilot.argmax(0, keepdim=True)
    needed.scatter_(0, given, True)
    summed = torch.full((samples, len(keys)), -math.inf, dtype=torch.float64)  # of every draw: the labels share them
    for label in range(len(counts)):
        chosen = needed[label].nonzero().squeeze(-1)
        if len(chosen):
            part = Batch(batch.input[chosen], batch.target[chosen], context=torch.full((len(chosen),), label))
            some = [keys[i] for i in chosen]
            weights = _log_weights(run, part, part.context, some, samples, (seed, "importance"))
            estimates[label, chosen], variances[label, chosen] = _log_mean(weights)
            summed[:, chosen] = torch.logaddexp(summed[:, chosen], weights + log_prior[label])
    joint = estimates + log_prior.unsqueeze(-1)
    total = torch.logsumexp(joint, 0)
    sure, spread = _log_mean(summed)
    left = torch.where(needed, 0.0, (joint - total).exp() ** 2 * variances).sum(0)
    spread = spread * (sure - total).exp() ** 2 + left
    return [(total, spread), (estimates.gather(0, given)[0], variances.gather(0, given)[0])]


@torch.inference_mode()
def elbo_parts(run: Run, data: Dataset, seed: int = 0) -> Parts:
    """The ELBO of every row and its parts with one draw of z per row and the exact KL where there is one."""
    _refuse_deterministic(run)
    data = matching(run, data)
    parts = Gathered(len(data))
    with Progress("Estimating the ELBO", len(data), unit="rows") as bar:
        for start in range(0, len(data), CHUNK):
            index = torch.arange(start, start + CHUNK).clamp(max=len(data) - 1)
            kept = min(CHUNK, len(data) - start)
            batch, keys = data.batch(index, run.binarize).to(run.dtype), noise.row_keys(data.values[index])
            draws = noise.row_normal(seed, "elbo", keys, (1, run.model.latent.noise_size)).to(run.dtype)
            draw, decoded = run.model(batch, draws)
            rates = torch.cat(draw.rates_nats(), dim=-1)[:kept]
            distortion = -decoded.log_prob[0, :kept].double() - run.schema.log_volume_nats
            rate = rates.double().sum(-1)
            parts.add(-distortion - rate, distortion, rate, _unit_nats(run, batch)[:kept].double())
            bar.advance(kept)
    elbo, distortion, rate, units = parts.columns
    return Parts(elbo, distortion, rate, units.mean(0))


def _unit_nats(run: Run, batch: Batch) -> Tensor:
    """KL of every unit's marginal q(z_j|x,c) to p(z_j|c): (B, size); the rate, if both factorise."""
    c = run.model.encode_context(batch.context)
    features = run.model.encoder(batch.input, c)
    pairs = run.model.latent.marginals(features, c)
    return torch.cat([kl_of_marginals(q, p) for q, p in pairs], dim=-1)


def active_units(run: Run, data: Dataset, threshold: float = 0.01) -> np.ndarray:
    """Which units' posterior means vary over the data: Var_x E_q[z_j] > 0.01 (Burda et al. 2016, section 5.2)."""
    return (code_means(run, data).var(0, correction=0) > threshold).cpu().numpy()
