"""Convolutional networks for signals, images and volumes: one, two or three dimensions from 8 places up, odd sizes too.

Most of the work is done at a quarter and at half of the example's size, where a convolution has something to say for
its cost; the likelihood's head spreads the last features over the values. One rule for every size: an example is
halved twice, and further until at most ``most_places`` places are left for the dense layers (256 are left of 64 × 64 at
a quarter of its size), which would otherwise hold nearly all the weights of a long signal or a large image. What lies
deeper than a quarter is built like the quarter: the same channels, the same blocks.
"""

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from variate.base.errors import UserError
from variate.models.networks.layers import Film, finer

__all__ = ["Decoder", "Encoder"]

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
FORMATS = {1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d}  # what is fastest


class _Block(nn.Module):
    """x + conv(relu(x))."""

    def __init__(self, channels: int, dims: int):
        super().__init__()
        self.conv = CONVOLUTIONS[dims](channels, channels, 3, padding=1, dtype=torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(F.relu(x))


class _Up(nn.Linear):
    """(N, C, *coarse) → (N, F, *fine): every place gives its two finer ones along every dimension that was halved."""

    def __init__(self, channels: int, features: int, coarse: tuple[int, ...], fine: tuple[int, ...]):
        factors = _factors(coarse, fine)
        super().__init__(channels, math.prod(factors) * features, dtype=torch.float32)
        self.given, self.fine = (*factors, features), fine

    def forward(self, x: Tensor) -> Tensor:
        h = super().forward(x.movedim(1, -1)).unflatten(-1, self.given)
        return finer(h, x.ndim - 1, 1, self.fine).movedim(-1, 1)


def _sizes(places: tuple[int, ...], most_places: int) -> list[tuple[int, ...]]:
    """The sizes after every halving, which rounds up: at least two, the last of at most ``most_places`` places."""
    if most_places < 1:
        raise UserError(f"conv: most_places={most_places} must be at least 1.")
    sizes = []
    while len(sizes) < 2 or math.prod(sizes[-1]) > most_places:
        places = tuple(math.ceil(n / 2) for n in places)
        sizes.append(places)
    return sizes


def _factors(coarse: tuple[int, ...], fine: tuple[int, ...]) -> tuple[int, ...]:
    """Two along every dimension that was halved; one along a dimension that had a single place left."""
    return tuple(math.ceil(n / m) for m, n in zip(coarse, fine, strict=True))


def _check(shape: tuple[int, ...], channels: tuple[int, int], blocks: tuple[int, int], hidden: int) -> None:
    if not 2 <= len(shape) <= 4 or min(shape[1:]) < 8:
        raise UserError(
            "network conv needs channels × one to three dimensions of at least 8, "
            f"not {' × '.join(map(str, shape))}: use name=mlp."
        )
    if min(*channels, hidden) < 1 or not all(0 <= depth <= 100 for depth in blocks):
        raise UserError(
            f"conv: channels={channels} and hidden={hidden} must be at least 1, blocks={blocks} within 0..100."
        )


class Encoder(nn.Module):
    """x (B, C, *spatial), c or None → features (B, F): halvings, each with its residual blocks, and one dense layer.

    ``channels`` and ``blocks`` are those at half and at quarter size; deeper, they are those at quarter size.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        context: int,
        *,
        channels: tuple[int, int] = (32, 48),
        blocks: tuple[int, int] = (0, 0),
        hidden: int = 256,
        most_places: int = 256,
    ):
        super().__init__()
        _check(shape, channels, blocks, hidden)
        dims, sizes = len(shape) - 1, _sizes(shape[1:], most_places)
        deeper, inputs, size = len(sizes) - 2, shape[0], shape[1:]
        stages = []
        widths, depths = (pair + pair[1:] * deeper for pair in (channels, blocks))
        for width, depth, half in zip(widths, depths, sizes, strict=True):
            stride = _factors(half, size)
            stages += [CONVOLUTIONS[dims](inputs, width, 3, stride=stride, padding=1, dtype=torch.float32)]
            stages += [*(_Block(width, dims) for _ in range(depth)), nn.ReLU()]
            inputs, size = width, half
        self.stages = nn.Sequential(*stages)
        self.dense = nn.Linear(inputs * math.prod(size), hidden, dtype=torch.float32)
        self.film = Film(hidden, context)
        self.features, self.format = (hidden,), FORMATS[dims]
        self.to(memory_format=self.format)  # pyright: ignore[reportCallIssue] (a stub lacks it)

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        h = self.stages(x.contiguous(memory_format=self.format))
        h = h.movedim(1, -1).flatten(1)  # images and volumes: in the order in which it lies in memory, no copy
        return self.film(F.relu(self.dense(h)), context)


class Decoder(nn.Module):
    """code (N, *code), c or None → features (N, F, *⌈spatial/2⌉): dense layers, then blocks at every size up to half.

    ``channels`` and ``blocks`` are those at quarter and at half size; deeper, they are those at quarter size.
    """

    def __init__(
        self,
        code: tuple[int, ...],
        shape: tuple[int, ...],
        context: int,
        *,
        channels: tuple[int, int] = (64, 32),
        blocks: tuple[int, int] = (1, 1),
        hidden: int = 256,
        most_places: int = 256,
    ):
        super().__init__()
        _check(shape, channels, blocks, hidden)
        dims, (wide, narrow) = len(shape) - 1, channels
        half, *deeper = _sizes(shape[1:], most_places)
        self.first = (*deeper[-1], wide)
        self.dense = nn.Linear(math.prod(code), hidden, dtype=torch.float32)
        self.film = Film(hidden, context)
        self.spread = nn.Linear(hidden, math.prod(self.first), dtype=torch.float32)
        coarse = self._stage(wide, blocks[0], dims)
        for small, large in itertools.pairwise(reversed(deeper)):
            coarse += [_Up(wide, wide, small, large), *self._stage(wide, blocks[0], dims)]
        self.coarse = nn.Sequential(*coarse)
        self.up = _Up(wide, narrow, deeper[0], half)
        self.fine = nn.Sequential(*self._stage(narrow, blocks[1], dims))
        self.features = (narrow, *half)
        self.to(memory_format=FORMATS[dims])  # pyright: ignore[reportCallIssue] (a stub lacks it)

    @staticmethod
    def _stage(channels: int, depth: int, dims: int) -> list[nn.Module]:
        return [*(_Block(channels, dims) for _ in range(depth)), nn.ReLU()]

    def forward(self, code: Tensor, context: Tensor | None) -> Tensor:
        h = self.spread(self.film(F.relu(self.dense(code.flatten(1))), context))
        h = h.view(-1, *self.first).movedim(-1, 1)
        return self.fine(self.up(self.coarse(h)))
