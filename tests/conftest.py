"""What every test file shares: run-time type checks, one thread per worker, tiny models and small fitted runs."""

import importlib
import os
from collections.abc import Callable
from pathlib import Path

os.environ["SCIPY_ARRAY_API"] = "1"  # before SciPy is imported: else one of scikit-learn's checks is skipped

from jaxtyping import install_import_hook  # noqa: E402

# Before anything imports variate: the annotations of the mathematical modules become checks (an int is a float).
CHECKED = "contexts estimate inference models networks noise".split()
CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
install_import_hook([f"variate.{name}" for name in CHECKED], CHECKER)

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from variate import config  # noqa: E402
from variate.data.schema import Schema  # noqa: E402
from variate.models.model import Model  # noqa: E402
from variate.results.checkpoint import Run  # noqa: E402

torch.set_num_threads(1)  # the models are tiny, and pytest-xdist keeps the other cores busy


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    """Every test draws the same numbers, alone or after others."""
    torch.manual_seed(0)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's handwritten digits: (1797, 8, 8) uint8 with 17 levels, and their labels."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.images.astype(np.uint8), bunch.target.astype(np.int64)


@pytest.fixture(scope="session")
def normal_quadrature() -> Callable[[int, int], tuple[Tensor, Tensor]]:
    """(points per dimension, dimensions) → nodes (P, dims) and weights (P,): Σ w f(ε) = E f(ε), ε ~ N(0, I)."""

    def product(points: int, dims: int) -> tuple[Tensor, Tensor]:
        nodes, weights = np.polynomial.hermite_e.hermegauss(points)
        grid = np.stack(np.meshgrid(*[nodes] * dims, indexing="ij"), -1).reshape(-1, dims)
        mass = np.stack(np.meshgrid(*[weights / weights.sum()] * dims, indexing="ij"), -1).reshape(-1, dims).prod(-1)
        return torch.from_numpy(grid), torch.from_numpy(mass)

    return product


@pytest.fixture(scope="session")
def tiny_run() -> Callable[..., Run]:
    """``tiny_run(schema, section={...}, …)``: an unfitted double-precision model, every parameter moved off its start.

    Dense networks without hidden layers (linear maps), latent size 2, unless a section says otherwise; Bernoulli
    for binary data, else Gaussian; conditional if the schema has labels.
    """

    def make(schema: Schema, *, spread: float = 0.4, seed: int = 0, **sections: dict) -> Run:
        linear = {"name": "mlp", "hidden": ()}
        chosen = {"encoder": linear, "decoder": linear, "latent": {"name": "flat", "size": 2}}
        chosen["context"] = {"name": "label" if schema.class_counts else "none"}
        chosen["likelihood"] = {"name": "bernoulli" if schema.x.kind.levels == 2 else "gaussian"}
        settings = {name: dict(values) for name, values in (config.DEFAULTS | chosen | sections).items()}
        model = config.build(settings, schema, seed)[0].double()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += spread * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        return Run(model, schema, settings, {"seed": seed}, Path("unsaved", "model.safetensors"))

    return make


@pytest.fixture(scope="session")
def tiny_model(tiny_run) -> Callable[..., Model]:
    """The model of ``tiny_run`` alone."""
    return lambda *args, **sections: tiny_run(*args, **sections).model


@pytest.fixture(scope="session")
def fitted(tmp_path_factory) -> Callable[..., Run]:
    """``fitted(data, labels, **keywords)``: ``variate.fit`` in a new folder, once per session for equal arguments."""
    import variate

    runs: dict[str, Run] = {}

    def fit(data: object, labels: object = None, **keywords: object) -> Run:
        name = data if isinstance(data, str) else np.asarray(data).tobytes()
        key = repr((hash(name), labels is None, sorted(keywords.items())))
        if key not in runs:
            runs[key] = variate.fit(data, labels, out=tmp_path_factory.mktemp("run") / "run", **keywords)
        return runs[key]

    return fit


@pytest.fixture
def toys(monkeypatch) -> None:
    """The files in ``toys/`` lie in the folders of the package that they would be added to."""
    for folder in (Path(__file__).parent / "toys").iterdir():
        package = importlib.import_module(f"variate.models.{folder.name}")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
