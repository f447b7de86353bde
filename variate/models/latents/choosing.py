"""What a walk through the cells of a latent may choose in each: drawn from q, from p, q's point, what is given.

Randomness is handed in, never drawn here: ``noise`` is standard normal, (n, B, noise_size).
"""

import copy
from collections.abc import Iterator

from torch import Tensor
from torch.distributions import Distribution

__all__ = ["Drawn", "Generated", "Given", "Points", "draw", "held"]


def draw(law: Distribution, noise: Tensor) -> Tensor:
    """A sample (n, B, *event) that is a differentiable function of the first normals in ``noise`` (n, B, …).

    A law that is ours says how many it takes (``noise_size``), if not one for each of its numbers.
    """
    taken = noise[..., : getattr(law, "noise_size", law.event_shape.numel())]
    if len(law.event_shape) > 1:
        taken = taken.unflatten(-1, law.event_shape)
    return law.rsample_from(taken)  # pyright: ignore[reportAttributeAccessIssue] (torch's have no such method)


def held(law: Distribution) -> Distribution:
    """The same law with its parameters held constant (Roeder et al. 2017)."""
    constant = copy.copy(law)
    for name, value in vars(law).items():
        if isinstance(value, Tensor):
            vars(constant)[name] = value.detach()
        elif isinstance(value, Distribution):
            vars(constant)[name] = held(value)
    return constant


class _Choice:
    """What a walk is handed: called for every cell in turn with q (``None`` where nothing was seen) and p."""

    def __call__(self, q: Distribution | None, p: Distribution) -> Tensor:
        raise NotImplementedError


class Drawn(_Choice):
    """z ~ q from the noise; ``chosen``: (q, p, z) of every cell."""

    def __init__(self, noise: Iterator[Tensor]):
        self.noise, self.chosen = noise, list[tuple[Distribution, Distribution, Tensor]]()

    def __call__(self, q: Distribution | None, p: Distribution) -> Tensor:
        assert q is not None
        z = draw(q, next(self.noise))
        self.chosen.append((q, p, z))
        return z


class Generated(_Choice):
    """z ~ p from the noise."""

    def __init__(self, noise: Iterator[Tensor]):
        self.noise = noise

    def __call__(self, q: Distribution | None, p: Distribution) -> Tensor:
        return draw(p, next(self.noise))


class Points(_Choice):
    """The mean of q; ``laws``: (q, p) of every cell, each at the means of the cells before it."""

    def __init__(self) -> None:
        self.laws = list[tuple[Distribution, Distribution]]()

    def __call__(self, q: Distribution | None, p: Distribution) -> Tensor:
        assert q is not None
        self.laws.append((q, p))
        return q.mean


class Given(_Choice):
    """Values that are known, one for every cell."""

    def __init__(self, values: Iterator[Tensor]):
        self.values = values

    def __call__(self, q: Distribution | None, p: Distribution) -> Tensor:
        return next(self.values)
