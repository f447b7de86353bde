"""Importance-weighted log-likelihoods beside exact ones, where exact ones exist.

    python benchmarks/linear_gaussian.py

(a) The decoder is linear, so log p(x) = log N(x; b, W Wᵀ + σ² I) under the same parameters: the estimator's
    bias, paired per row, with its Monte-Carlo error. The proposal is the exact posterior with 1.5 its covariance.
(b) 6,000 rows of a three-factor law in 12 dimensions, learned by the default recipe: how far the mean test
    log-likelihood of 4,000 fresh rows stays below the law that made them, with the paired standard error.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from scipy.stats import multivariate_normal

import variate
from variate import config
from variate.data.dataset import Dataset
from variate.data.load import load
from variate.results import estimate
from variate.results.checkpoint import Run

FACTORS, DIMENSIONS, SIGMA = 3, 12, 0.7


def law(seed: int) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """(mean, covariance) of x = W z + b + ε with unequal noise, and the generator that goes on."""
    rng = np.random.default_rng(seed)
    weights, mean = rng.normal(size=(DIMENSIONS, FACTORS)), 3 * rng.normal(size=DIMENSIONS)
    noise = np.exp(0.3 * rng.normal(size=DIMENSIONS) - 0.5)
    return mean, weights @ weights.T + np.diag(noise**2), rng


def estimator_bias(samples: int) -> dict[str, float]:
    """Part (a), for an untrained model with a linear decoder, on rows drawn from that model."""
    data = load(np.random.default_rng(1).normal(size=(1000, DIMENSIONS)))
    overrides = ["encoder.hidden=[]", "decoder.hidden=[]", f"latent.size={FACTORS}", "posterior.name=full"]
    overrides += ["objective.warmup_steps=0"]
    settings = config.load_recipe("vector", overrides) | {"likelihood": {"name": "gaussian", "sigma": SIGMA}}
    model = config.build(settings, data.schema)[0].requires_grad_(False)
    head = model.likelihood.only.head.linear
    weights, mean = head.weight.double().numpy(), head.bias.double().numpy()
    propose_widened_posterior(model.latent.posterior.linear, weights, mean)
    covariance = weights @ weights.T + SIGMA**2 * np.eye(DIMENSIONS)
    units = np.random.default_rng(2).multivariate_normal(mean, covariance, size=len(data))
    raw = units * np.asarray(data.schema.x.kind.scale) + np.asarray(data.schema.x.kind.offset)
    run = Run(model, data.schema, settings, {}, Path())
    found = estimate.log_likelihood(run, Dataset(torch.from_numpy(raw), None, data.schema), samples)
    exact = multivariate_normal(mean, covariance).logpdf(units) + data.schema.x.log_volume_nats
    return {"bias_nats": float((found.nats.numpy() - exact).mean()), "mc_error_nats": found.mean_mc_se}


def propose_widened_posterior(linear: torch.nn.Linear, weights: np.ndarray, mean: np.ndarray) -> None:
    """q(z|x): the exact posterior's mean, and 1.5 times its covariance, so that the weights have a variance."""
    covariance = np.linalg.inv(np.eye(FACTORS) + weights.T @ weights / SIGMA**2)
    gain = covariance @ weights.T / SIGMA**2
    scale = np.linalg.cholesky(1.5 * covariance)
    np.fill_diagonal(scale, 8 * np.arctanh(np.log(scale.diagonal()) / 8))  # what the posterior takes the diagonal from
    linear.weight.zero_()
    linear.weight[:FACTORS] = torch.from_numpy(gain)
    linear.bias.copy_(torch.from_numpy(np.concatenate([-gain @ mean, scale[np.tril_indices(FACTORS)]])))


def gap_to_the_law(seed: int, samples: int) -> dict[str, float]:
    """Part (b)."""
    mean, covariance, rng = law(seed)
    train, test = (rng.multivariate_normal(mean, covariance, size=n) for n in (6000, 4000))
    with tempfile.TemporaryDirectory() as folder:
        run = variate.fit(train, out=folder, seed=seed)
        found = estimate.log_likelihood(run, load(test), samples).nats.numpy()
    gap = multivariate_normal(mean, covariance).logpdf(test) - found
    return {"gap_nats": float(gap.mean()), "paired_error_nats": float(gap.std() / np.sqrt(len(gap)))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    figures = {"a": estimator_bias(arguments.samples)}
    figures["b"] = [gap_to_the_law(seed, 200) for seed in range(arguments.seeds)]
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
