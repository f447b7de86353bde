"""variate learns the distribution of data with (variational) autoencoders and puts it to work."""

import importlib
from typing import Any

__all__ = [
    "VAE",
    "Autoencoder",
    "UserError",
    "classify",
    "doctor",
    "embed",
    "evaluate",
    "fit",
    "info",
    "load",
    "reconstruct",
    "report",
    "sample",
    "score",
]

_HOMES = {
    "Autoencoder": "variate.estimators",
    "UserError": "variate.base.errors",
    "VAE": "variate.estimators",
    "load": "variate.results.checkpoint",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: ``import variate`` alone stays instant and free of torch."""
    if name not in __all__:
        raise AttributeError(f"module 'variate' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, f"variate.apps.{name}")), name)


def __dir__() -> list[str]:
    return __all__
