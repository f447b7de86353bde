"""Every likelihood in every manner it has, in double precision, and scipy's law of it."""

import numpy as np
import scipy.special
import scipy.stats
import torch
from torch import Tensor, nn

from variate.data.schema import Schema
from variate.models import likelihoods
from variate.models.likelihoods.likelihood import Likelihood
from variate.registry import registry

REGISTRY = registry(likelihoods, Likelihood)
FEATURES = 4
ROWS = 3
VECTOR, IMAGE = (3,), (2, 1, 2)  # raw shapes: three values, and height × width × channels
REAL = {"offset": (0.0,), "scale": (1.0,)}
COUNTS = Schema(VECTOR, "int64", counts=True, offset=(0.0, 0.0, 0.0), scale=(2.0, 0.7, 1.0))  # scales of columns
COUNT_IMAGES = Schema(IMAGE, "int32", counts=True, scale=(3.0, 5.0))  # and of channels

CASES = {
    "bernoulli, vector": ("bernoulli", {}, Schema(VECTOR, "uint8", levels=2)),
    "bernoulli, image": ("bernoulli", {}, Schema(IMAGE, "uint8", levels=2)),
    "categorical, vector": ("categorical", {}, Schema(VECTOR, "uint8", levels=4)),
    "categorical, image": ("categorical", {}, Schema(IMAGE, "uint8", levels=3)),
    "discretized logistic": ("discretized_logistic", {}, Schema(VECTOR, "uint8", levels=5)),
    "mixture of logistics": ("discretized_logistic", {"components": 3}, Schema(IMAGE, "uint8", levels=3)),
    "mixture with atoms": (
        "discretized_logistic",
        {"components": 2, "atoms": (0, 2)},
        Schema(IMAGE, "uint8", levels=3),
    ),
    "gaussian, learned": ("gaussian", {}, Schema(VECTOR, "float64", **REAL)),
    "gaussian, learned, image": ("gaussian", {}, Schema(IMAGE, "float64", **REAL)),
    "gaussian, predicted": ("gaussian", {"sigma": "predicted"}, Schema(IMAGE, "float64", **REAL)),
    "gaussian, optimal": ("gaussian", {"sigma": "optimal"}, Schema(VECTOR, "float64", **REAL)),
    "gaussian, fixed": ("gaussian", {"sigma": 0.3}, Schema(VECTOR, "float64", **REAL)),
    "johnson, learned": ("johnson_su", {"centre": (0.5,), "width": (0.2,)}, Schema(VECTOR, "float64", **REAL)),
    "johnson, learned, image": (
        "johnson_su",
        {"centre": (0.5, -1.0), "width": (3.0, 0.7)},
        Schema(IMAGE, "float64", **REAL),
    ),
    "johnson, fixed": ("johnson_su", {"sigma": 0.3, "width": (0.1, 1.0, 9.0)}, Schema(VECTOR, "float64", **REAL)),
    "laplace, learned": ("laplace", {}, Schema(IMAGE, "float64", **REAL)),
    "laplace, predicted": ("laplace", {"scale": "predicted"}, Schema(VECTOR, "float64", **REAL)),
    "laplace, fixed": ("laplace", {"scale": 0.3}, Schema(VECTOR, "float64", **REAL)),
    "student t, learned": ("student_t", {}, Schema(IMAGE, "float64", **REAL)),
    "student t, predicted": ("student_t", {"scale": "predicted"}, Schema(VECTOR, "float64", **REAL)),
    "student t, fixed": ("student_t", {"scale": 0.3, "dof": 5.0}, Schema(VECTOR, "float64", **REAL)),
    "poisson, vector": ("poisson", {}, COUNTS),
    "poisson, image": ("poisson", {}, COUNT_IMAGES),
    "negative binomial, vector": ("negative_binomial", {}, COUNTS),
    "negative binomial, image": ("negative_binomial", {}, COUNT_IMAGES),
    "beta binomial, vector": ("beta_binomial", {}, Schema(VECTOR, "uint8", levels=5)),
    "beta binomial, image": ("beta_binomial", {}, Schema(IMAGE, "uint8", levels=3)),
    "beta binomial of one toss": ("beta_binomial", {}, Schema(VECTOR, "uint8", levels=2)),
}


def build(name: str, keywords: dict, schema: Schema) -> Likelihood:
    """In double precision, with every parameter moved off its start."""
    likelihood = REGISTRY[name]((FEATURES,), schema, **keywords).double().requires_grad_(False)
    for parameter in likelihood.parameters():
        nn.init.normal_(parameter, std=0.4)
    return likelihood


def parameters_of(likelihood: Likelihood) -> Tensor:
    return likelihood(torch.randn(ROWS, FEATURES, dtype=torch.float64))


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


def scale_of(likelihood: Likelihood, parts: list[np.ndarray]) -> np.ndarray:
    """exp(softplus(· + 6) − 6) of what is learned or predicted; a number is itself."""
    if isinstance(likelihood.mode, float):
        return np.exp(np.float64(np.float32(np.log(likelihood.mode))))  # stored in single precision
    stored = parts[1] if likelihood.mode == "predicted" else getattr(likelihood, likelihood.log_key).numpy()
    return np.exp(softplus(stored + 6) - 6)


def mean_count(likelihood: Likelihood, parts: list[np.ndarray]) -> np.ndarray:
    return (softplus(parts[0]) + 1e-8) / unit_of(likelihood.schema).numpy()


def student_t(likelihood: Likelihood, parts: list[np.ndarray]):
    learned = likelihood.dof == "learned"
    dof = 2.1 + 97.9 * scipy.special.expit(likelihood.raw_dof.numpy()) if learned else likelihood.dof
    return scipy.stats.t(dof, parts[0], scale_of(likelihood, parts))


def johnson_su(likelihood: Likelihood, parts: list[np.ndarray]):
    sigma, places = scale_of(likelihood, parts), (likelihood.centre.numpy(), likelihood.width.numpy())
    return scipy.stats.johnsonsu(-parts[0] / sigma, 1 / sigma, *places)


def negative_binomial(likelihood: Likelihood, parts: list[np.ndarray]):
    dispersion = softplus(likelihood.raw_dispersion.numpy()) + 1e-8
    return scipy.stats.nbinom(1 / dispersion, 1 / (1 + dispersion * mean_count(likelihood, parts)))


def beta_binomial(likelihood: Likelihood, parts: list[np.ndarray]):
    a, b = (np.exp(parts[1]) * scipy.special.expit(sign * parts[0]) for sign in (1, -1))
    return scipy.stats.betabinom(likelihood.schema.levels - 1, a, b)


# (likelihood, its parameters one by one) → scipy's law of every value, in counts k = 0, 1, 2, … where it has masses
LAWS = {
    "johnson_su": johnson_su,
    "laplace": lambda likelihood, parts: scipy.stats.laplace(parts[0], scale_of(likelihood, parts)),
    "student_t": student_t,
    "poisson": lambda likelihood, parts: scipy.stats.poisson(mean_count(likelihood, parts)),
    "negative_binomial": negative_binomial,
    "beta_binomial": beta_binomial,
}


def law_of(likelihood: Likelihood, parameters: Tensor, laws: dict = LAWS):  # noqa: B006
    name = next(name for name, cls in REGISTRY.items() if cls is type(likelihood))
    return laws[name](likelihood, [part.numpy() for part in parameters.unbind(1)])


def unit_of(schema: Schema) -> Tensor:
    """What one count is in model units, to be multiplied with (…, *tensor_shape); 1 of real numbers."""
    if schema.levels:
        return torch.tensor(1 / (schema.levels - 1)).double()
    scale = torch.tensor(schema.scale if schema.counts else (1.0,)).double()
    return 1 / scale.reshape(-1, *[1] * (len(schema.tensor_shape) - 1))


def learned(likelihood: Likelihood) -> list[Tensor]:
    """Its parameters besides the last layer's."""
    return [parameter for name, parameter in likelihood.named_parameters() if not name.startswith("head")]


def some_rows(schema: Schema, rows: int = ROWS) -> Tensor:
    """Rows in model units that differ from column to column."""
    if schema.levels:
        drawn = torch.randint(0, schema.levels, (rows, *schema.tensor_shape)).double()
    elif schema.counts:
        drawn = torch.poisson(4 * torch.rand(rows, *schema.tensor_shape, dtype=torch.float64).exp())
    else:
        drawn = torch.randn(rows, *schema.tensor_shape, dtype=torch.float64)
    return drawn * unit_of(schema)
