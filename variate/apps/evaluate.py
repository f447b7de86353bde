"""Measure a run: honest log-likelihoods with their errors, or an autoencoder's reconstruction error."""

import json
import math
from typing import Annotated

import numpy as np
from cyclopts import Parameter

from variate import options
from variate.base.console import say
from variate.base.errors import UserError, count_number, seed_number
from variate.base.surroundings import apart
from variate.data.dataset import Dataset
from variate.data.load import load
from variate.results import baselines, checkpoint, estimate, inference
from variate.results.checkpoint import Run
from variate.results.estimate import LogLikelihood

__all__ = ["evaluate"]

ESTIMATED = ("log_likelihood_nats", "log_likelihood_se", "log_likelihood_mc_se", "bits_per_dim", "bits_per_dim_se")


@apart()
def evaluate(
    run: Run,
    data: object,
    labels: object = None,
    *,
    samples: int = 100,
    rows: int | None = 1000,
    seed: int = 0,
) -> dict:
    """Every figure is a mean over examples, in nats per example unless its name says otherwise.

    ELBO, distortion, rate and active units on all rows; log p(x) by importance sampling with ``samples`` draws on a
    fixed, seeded subset of ``rows`` (None: all). ``log_likelihood_se`` is the standard error across rows,
    ``log_likelihood_mc_se`` its Monte-Carlo part alone. A conditional model adds ``conditional_log_likelihood_nats``,
    log p(x|c), with errors of its own, and its ELBO bounds that; ``log_likelihood_nats`` is log p(x) with the label
    summed out, which is not there where columns are known. A deterministic autoencoder has no likelihood: it gets
    ``mse_per_dim``, in model units, beside PCA's. A mean that is not finite is ``None``; ``not_finite`` counts the rows
    whose log p is not.
    """
    seed, samples = seed_number(seed), count_number(samples, "samples")
    rows = None if rows is None else count_number(rows, "rows")
    test = load(data, labels, part="test", like=run.schema)
    figures = {"data": f"{test.name}:{test.part}", "n": len(test), "convention": convention(run)}
    figures["mse_per_dim"] = _finite(mse_per_dim(run, test))
    if run.deterministic:
        return figures
    figures |= _elbo(run, test, seed) | _log_likelihood(run, test.subset(rows), samples, seed)
    if run.schema.table:
        by_column = estimate.column_nats(run, test, seed)
        figures["column_distortion_nats"] = {name: _finite(round(nats, 5)) for name, nats in by_column.items()}
    return figures


def convention(run: Run) -> str:
    """What the figures are likelihoods of."""
    if run.deterministic:
        return "no likelihood: a deterministic autoencoder"
    if run.schema.table:
        real = sum(field.size for field in run.schema.explained if not field.kind.is_mass)
        masses = "probability of categories, counts and bins of numbers"
        return f"{masses}, times the density of {real} real columns" if real else masses
    if run.binarize != "none":
        return f"probability of binary values, binarisation {run.binarize}"
    if run.model.likelihood.only.support == "reals":
        return f"probability density of {'values in [0, 1]' if run.schema.x.kind.levels else 'raw values'}"
    if run.schema.x.kind.is_count:
        return "probability of counts 0, 1, 2, …"
    return f"probability of whole-number levels 0..{(run.schema.x.kind.levels or 0) - 1}"


def mse_per_dim(run: Run, test: Dataset) -> float:
    """Mean of (x − f(g(x)))² per value in model units, at the posterior mean."""
    return float(inference.squared_errors(run, test).double().mean())


def _elbo(run: Run, test: Dataset, seed: int) -> dict:
    parts = estimate.elbo_parts(run, test, seed)
    active = estimate.active_units(run, test)
    elbo = float(parts.elbo_nats.mean())
    return {
        "elbo_nats": _finite(elbo),
        "elbo_bits_per_dim": _finite(estimate.bits_per_dim(elbo, run)),
        "distortion_nats": _finite(float(parts.distortion_nats.mean())),
        "rate_nats": _finite(float(parts.rate_nats.mean())),
        "unit_nats": [round(float(nats), 4) for nats in parts.unit_nats],
        "active_units": int(np.sum(active)),
        "latent_size": len(active),
    }


def _log_likelihood(run: Run, chosen: Dataset, samples: int, seed: int) -> dict:
    """log p(x), and log p(x|c) beside it; of a model given columns, which cannot be summed out, log p(x|c)."""
    if run.labelled:
        total, given = estimate.log_likelihoods(run, chosen, samples, seed)
        figures = _with_errors("", total, run) | _with_errors("conditional_", given, run)
    else:
        total = estimate.log_likelihood(run, chosen, samples, seed)
        figures = _with_errors("conditional_" if run.conditional else "", total, run)
    figures["effective_samples"] = float(total.effective_samples.median())
    figures["not_finite"] = int((~total.nats.isfinite()).sum())
    return figures | {"samples": samples, "log_likelihood_n": len(chosen)}


def _with_errors(prefix: str, found: LogLikelihood, run: Run) -> dict:
    """The mean of a log-likelihood, in nats and in bits/dim, and its errors."""
    bits, error = (estimate.bits_per_dim(nats, run) for nats in (found.mean, found.se))
    numbers = (found.mean, found.se, found.mean_mc_se, bits, -error)
    return {prefix + key: _finite(number) for key, number in zip(ESTIMATED, numbers, strict=True)}


def _finite(number: float) -> float | None:
    """None for an error that one row or one sample cannot tell, and for a mean that some row has made infinite."""
    return number if math.isfinite(number) else None


def compare(run: Run, train: Dataset, test: Dataset) -> dict[str, float]:
    """The same figure of simple models fitted to the same training rows: PCA's error, or bits/dim by name."""
    size, whole, test = run.model.latent.size, test, test.some()
    if len(test) < len(whole):
        say(f"the simple models are measured on {len(test):,} of the {len(whole):,} rows, as many as fit into memory")
    if run.deterministic:
        return {f"PCA, {size} components": baselines.pca_mse_per_dim(train, test, size)}
    name = "dynamic" if run.binarize == "expected" else run.binarize  # one draw b estimates E_b[log p(b)]
    train, test = train.binarized(name), test.binarized(name)
    scores = baselines.likelihood_baselines(train, test, size)
    if scores and run.model.likelihood.only.support == "reals" and run.schema.x.kind.levels:
        # the model has a density over values in [0, 1], and these a density over levels: L − 1 times as wide per value
        scores.pop("independent values")
        scores = {
            name: nats + run.schema.x.size * math.log(run.schema.x.kind.levels - 1) for name, nats in scores.items()
        }
    return {name: estimate.bits_per_dim(nats, run) for name, nats in scores.items()}


def command(
    run: options.RunPlace,
    data: options.Data,
    *,
    labels: options.Known = None,
    samples: options.Samples = 100,
    rows: int | None = 1000,
    compare_with_baselines: Annotated[bool, Parameter(name="--baselines", negative="")] = False,
    train: str | None = None,
    seed: options.ScoringSeed = 0,
    json_: options.AsJson = False,
) -> None:
    """Measure a run: honest log-likelihoods with their errors, or an autoencoder's reconstruction error.

    Parameters
    ----------
    rows
        a fixed, seeded subset for log p(x) and for the baselines; the ELBO takes all rows.
    compare_with_baselines
        fit simple models to the training rows too, and print their figures beside.
    train
        the data that the model was trained on, for --baselines; a named set's are known.
    """
    trained = checkpoint.load(run)
    test = load(data, labels, part="test", like=trained.schema)
    figures = evaluate(trained, test, samples=samples, rows=rows, seed=seed)
    if compare_with_baselines:
        if train is None and test.part == "all":
            raise UserError(f"--baselines are fitted to the training rows: say with --train what {run} learned from.")
        whole = load(train or data.partition(":")[0], like=trained.schema)
        scored = test if trained.deterministic else test.subset(rows)  # the rows of the model's own figure
        measured = compare(trained, whole.split(trained.info["seed"])[0], scored)
        figures["baselines"] = {name: _finite(number) for name, number in measured.items()}
        if not measured:
            say("no simple model is fitted to rows like these: they know neither tables nor missing cells")
    print(json.dumps(figures, sort_keys=True, allow_nan=False) if json_ else table(figures))
    effective = figures.get("effective_samples", samples)
    if effective < estimate.FEW_EFFECTIVE <= samples:
        say(
            f"in the median row {effective:.2g} of {samples} samples are effective: log p is higher than it says; "
            "raise --samples"
        )


def _shown(number: float | None, digits: int, width: int = 0) -> str:
    return f"{'unknown' if number is None else f'{number:.{digits}f}':>{width}}"


def _with_its_errors(name: str, found: dict, how: str) -> list[str]:
    return [
        f"{name}  {_shown(found['log_likelihood_nats'], 2, 10)} nats = {_shown(found['bits_per_dim'], 4)} "
        f"± {_shown(found['bits_per_dim_se'], 4)} bits/dim",
        f"               {how}; standard error {_shown(found['log_likelihood_se'], 2)} nats across rows, "
        f"{_shown(found['log_likelihood_mc_se'], 3)} Monte Carlo alone",
    ]


def table(figures: dict) -> str:
    """The figures for people, a line each, with units and errors."""
    lines = [f"{figures['data']}, {figures['n']:,} rows; {figures['convention']}"]
    if "elbo_nats" in figures:
        lines += [
            f"ELBO           {_shown(figures['elbo_nats'], 2, 10)} nats = "
            f"{_shown(figures['elbo_bits_per_dim'], 4)} bits/dim, all rows",
            f"  distortion   {_shown(figures['distortion_nats'], 2, 10)} nats",
            f"  rate         {_shown(figures['rate_nats'], 2, 10)} nats, "
            f"{figures['active_units']} of {figures['latent_size']} units active",
        ]
        how = f"importance weighting, k = {figures['samples']}, {figures['log_likelihood_n']:,} rows"
        for prefix, name in (("", "log p(x)     "), ("conditional_", "log p(x | c) ")):
            if f"{prefix}bits_per_dim" in figures:
                lines += _with_its_errors(name, {key: figures[prefix + key] for key in ESTIMATED}, how)
    if figures.get("not_finite"):
        lines.append(f"               (no finite log p for {figures['not_finite']:,} rows: `variate score` says which)")
    if "conditional_log_likelihood_nats" in figures:
        lines.append("               (the ELBO above bounds log p(x | c))")
    lines += [f"squared error  {_shown(figures['mse_per_dim'], 5, 10)} per value at the posterior mean"]
    lines += [f"  {name:<28} {_shown(value, 4, 8)}" for name, value in figures.get("baselines", {}).items()]
    return "\n".join(lines)
