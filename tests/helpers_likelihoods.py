"""Every likelihood in every manner it has, in double precision, and scipy's law of it."""

import numpy as np
import scipy.special
import scipy.stats
import torch
from torch import Tensor, nn

from variate.base.registry import registry
from variate.data.kinds import Binned, Categories, Counts, Levels, Reals
from variate.data.schema import Field
from variate.models import likelihoods
from variate.models.likelihoods.likelihood import Likelihood

REGISTRY = registry(likelihoods, Likelihood)
FEATURES = 4
ROWS = 3
VECTOR, IMAGE = (3,), (2, 1, 2)  # raw shapes: three values, and height × width × channels
REAL = {"offset": (0.0,), "scale": (1.0,)}
COUNTS = Field(Counts(offset=(0.0, 0.0, 0.0), scale=(2.0, 0.7, 1.0)), VECTOR, "int64")  # scales of columns
ATOMS = ((0.0, 3.0), (), (0.6,))  # two, none, and one off the grid
BINS = Field(Binned((0.5, 0.0, -1.0), (2.0, 0.7, 1.0), (1.0, 0.25, 0.5), ATOMS), VECTOR, "float64")
BIN_IMAGES = Field(Binned((0.0, 0.0), (3.0, 5.0), (1.0, 0.5), ((0.0,),)), IMAGE, "float64")
CATEGORIES = Field(Categories((2, 5, 3)), VECTOR, "float64")
COUNT_IMAGES = Field(Counts(scale=(3.0, 5.0)), IMAGE, "int32")  # and of channels

CASES = {
    "bernoulli, vector": ("bernoulli", {}, Field(Levels(2), VECTOR, "uint8")),
    "bernoulli, image": ("bernoulli", {}, Field(Levels(2), IMAGE, "uint8")),
    "categorical, vector": ("categorical", {}, Field(Levels(4), VECTOR, "uint8")),
    "categorical, image": ("categorical", {}, Field(Levels(3), IMAGE, "uint8")),
    "discretized logistic": ("discretized_logistic", {}, Field(Levels(5), VECTOR, "uint8")),
    "mixture of logistics": ("discretized_logistic", {"components": 3}, Field(Levels(3), IMAGE, "uint8")),
    "mixture with atoms": (
        "discretized_logistic",
        {"components": 2, "atoms": (0, 2)},
        Field(Levels(3), IMAGE, "uint8"),
    ),
    "gaussian, learned": ("gaussian", {}, Field(Reals(**REAL), VECTOR, "float64")),
    "gaussian, learned, image": ("gaussian", {}, Field(Reals(**REAL), IMAGE, "float64")),
    "gaussian, predicted": ("gaussian", {"sigma": "predicted"}, Field(Reals(**REAL), IMAGE, "float64")),
    "gaussian, optimal": ("gaussian", {"sigma": "optimal"}, Field(Reals(**REAL), VECTOR, "float64")),
    "gaussian, fixed": ("gaussian", {"sigma": 0.3}, Field(Reals(**REAL), VECTOR, "float64")),
    "johnson, learned": ("johnson_su", {"centre": (0.5,), "width": (0.2,)}, Field(Reals(**REAL), VECTOR, "float64")),
    "johnson, learned, image": (
        "johnson_su",
        {"centre": (0.5, -1.0), "width": (3.0, 0.7)},
        Field(Reals(**REAL), IMAGE, "float64"),
    ),
    "johnson, fixed": ("johnson_su", {"sigma": 0.3, "width": (0.1, 1.0, 9.0)}, Field(Reals(**REAL), VECTOR, "float64")),
    "laplace, learned": ("laplace", {}, Field(Reals(**REAL), IMAGE, "float64")),
    "laplace, predicted": ("laplace", {"scale": "predicted"}, Field(Reals(**REAL), VECTOR, "float64")),
    "laplace, fixed": ("laplace", {"scale": 0.3}, Field(Reals(**REAL), VECTOR, "float64")),
    "student t, learned": ("student_t", {}, Field(Reals(**REAL), IMAGE, "float64")),
    "student t, predicted": ("student_t", {"scale": "predicted"}, Field(Reals(**REAL), VECTOR, "float64")),
    "student t, fixed": ("student_t", {"scale": 0.3, "dof": 5.0}, Field(Reals(**REAL), VECTOR, "float64")),
    "poisson, vector": ("poisson", {}, COUNTS),
    "poisson, image": ("poisson", {}, COUNT_IMAGES),
    "negative binomial, vector": ("negative_binomial", {}, COUNTS),
    "negative binomial, image": ("negative_binomial", {}, COUNT_IMAGES),
    "beta binomial, vector": ("beta_binomial", {}, Field(Levels(5), VECTOR, "uint8")),
    "beta binomial, image": ("beta_binomial", {}, Field(Levels(3), IMAGE, "uint8")),
    "beta binomial of one toss": ("beta_binomial", {}, Field(Levels(2), VECTOR, "uint8")),
    "logistics, vector": ("logistics", {"components": 3}, Field(Reals(**REAL), VECTOR, "float64")),
    "logistics, image": ("logistics", {"components": 1}, Field(Reals(**REAL), IMAGE, "float64")),
    "bins with atoms": ("binned_logistics", {"components": 2}, BINS),
    "bins, image": ("binned_logistics", {}, BIN_IMAGES),
    "bins without atoms": ("binned_logistics", {}, Field(Binned(scale=(2.0,)), VECTOR, "float64")),
    "categories": ("categoricals", {}, CATEGORIES),
}


def build(name: str, keywords: dict, field: Field) -> Likelihood:
    """In double precision, with every parameter moved off its start."""
    likelihood = REGISTRY[name]((FEATURES,), field, **keywords).double().requires_grad_(False)
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
    return (softplus(parts[0]) + 1e-8) / unit_of(likelihood.field).numpy()


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
    return scipy.stats.betabinom(likelihood.field.kind.levels - 1, a, b)


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


def levels_of(field: Field) -> list[int]:
    """How many values each cell of a row may have."""
    return list(field.kind.sizes) if field.kind.support == "categories" else [field.kind.levels] * field.size


def on_grid(field: Field, k: Tensor) -> Tensor:
    """The multiples k (…, *tensor_shape) of the step of bins, in model units."""
    channels = (-1,) + (1,) * (len(field.tensor_shape) - 1)
    numbers = (field.kind.offset, field.kind.scale, field.kind.step)
    offset, scale, step = (torch.tensor(each).double().reshape(channels) for each in numbers)
    return (k.double() * step - offset) / scale


def unit_of(field: Field) -> Tensor:
    """What one count is in model units, to be multiplied with (…, *tensor_shape); 1 of real numbers and categories."""
    if field.kind.levels:
        return torch.tensor(1 / (field.kind.levels - 1)).double()
    scale = torch.tensor(field.kind.scale if field.kind.is_count else (1.0,)).double()
    return 1 / scale.reshape(-1, *[1] * (len(field.tensor_shape) - 1))


def learned(likelihood: Likelihood) -> list[Tensor]:
    """Its parameters besides the last layer's."""
    return [parameter for name, parameter in likelihood.named_parameters() if not name.startswith("head")]


def some_rows(field: Field, rows: int = ROWS) -> Tensor:
    """Rows in model units that differ from column to column."""
    if field.kind.levels:
        drawn = torch.randint(0, field.kind.levels, (rows, *field.tensor_shape)).double()
    elif field.kind.support == "bins":
        return on_grid(field, torch.randint(-6, 7, (rows, *field.tensor_shape)))
    elif field.kind.support == "categories":
        drawn = (torch.rand(rows, *field.tensor_shape) * torch.tensor(field.kind.sizes)).floor().double()
    elif field.kind.is_count:
        drawn = torch.poisson(4 * torch.rand(rows, *field.tensor_shape, dtype=torch.float64).exp())
    else:
        drawn = torch.randn(rows, *field.tensor_shape, dtype=torch.float64)
    return drawn * unit_of(field)
