"""The named ways to turn grey values in [0, 1] into what a Bernoulli likelihood may score.

Each is a function (grey, uniform) → target. ``uniform()`` gives one U(0, 1) number per value: only what needs them
asks for them, because drawing them costs as much as a layer.
"""

from collections.abc import Callable

from torch import Tensor

from variate.base.errors import UserError, suggest

__all__ = ["dynamic", "expected", "static", "threshold"]


def static(grey: Tensor, uniform: Callable[[], Tensor]) -> Tensor:
    """b ~ Bernoulli(x), drawn once per row and kept (Larochelle & Murray 2011; Salakhutdinov & Murray 2008)."""
    return (uniform() < grey).to(grey.dtype)


def dynamic(grey: Tensor, uniform: Callable[[], Tensor]) -> Tensor:
    """b ~ Bernoulli(x), drawn anew at every training step (Burda et al. 2016); scored on one draw per row."""
    return (uniform() < grey).to(grey.dtype)


def threshold(grey: Tensor, uniform: Callable[[], Tensor]) -> Tensor:
    """b = 1[x ≥ 1/2]: no randomness.

    >>> import torch
    >>> threshold(torch.tensor([0.2, 0.7]), lambda: torch.rand(2)).tolist()
    [0.0, 1.0]
    """
    return (grey >= 0.5).to(grey.dtype)


def expected(grey: Tensor, uniform: Callable[[], Tensor]) -> Tensor:
    """E_b[log p(b)] under b ~ Bernoulli(x): the grey cross-entropy; bounds the expected dynamic log-likelihood."""
    return grey


def get(name: str) -> Callable[[Tensor, Callable[[], Tensor]], Tensor] | None:
    """The binarisation of that name; ``None`` for "none"."""
    if name == "none":
        return None
    if name not in __all__:
        raise UserError(f"binarize={name!r} is not one of none, {', '.join(__all__)}{suggest(str(name), __all__)}.")
    return globals()[name]
