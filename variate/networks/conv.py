"""Convolutional networks for images of any height × width × channels from 8 × 8 up, odd sizes too.

Most of the work is done at a quarter and at half of the image's size, where a convolution has something to say for
its cost; the likelihood's head spreads the last features over the pixels.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from variate.errors import UserError
from variate.networks.layers import Film

__all__ = ["Decoder", "Encoder"]


class _Block(nn.Module):
    """x + conv(relu(x))."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(F.relu(x))


def _halved(size: tuple[int, int], times: int) -> tuple[int, int]:
    """The size after ``times`` halvings, which round up."""
    height, width = (math.ceil(n / 2**times) for n in size)
    return height, width


def _check(shape: tuple[int, ...], channels: tuple[int, int], blocks: tuple[int, int], hidden: int) -> None:
    if len(shape) != 3 or min(shape[1:]) < 8:
        raise UserError(
            f"network conv needs images of at least 8 × 8, not {' × '.join(map(str, shape))}: use name=mlp."
        )
    if min(*channels, hidden) < 1 or not all(0 <= depth <= 100 for depth in blocks):
        raise UserError(
            f"conv: channels={channels} and hidden={hidden} must be at least 1, blocks={blocks} within 0..100."
        )


class Encoder(nn.Module):
    """x (B, C, H, W), c or None → features (B, F): two halvings, residual blocks, one dense layer."""

    def __init__(
        self,
        shape: tuple[int, ...],
        context: int,
        *,
        channels: tuple[int, int] = (32, 48),
        blocks: tuple[int, int] = (0, 0),
        hidden: int = 256,
    ):
        super().__init__()
        _check(shape, channels, blocks, hidden)
        stages, inputs = [], shape[0]
        for width, depth in zip(channels, blocks, strict=True):
            stages += [nn.Conv2d(inputs, width, 3, stride=2, padding=1), *(_Block(width) for _ in range(depth))]
            stages += [nn.ReLU()]
            inputs = width
        self.stages = nn.Sequential(*stages)
        places = math.prod(_halved((shape[1], shape[2]), len(channels)))
        self.dense = nn.Linear(inputs * places, hidden)
        self.film = Film(hidden, context)
        self.features = (hidden,)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] (a stub lacks it)

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        h = self.stages(x.contiguous(memory_format=torch.channels_last))
        h = h.permute(0, 2, 3, 1).flatten(1)  # in the order in which it lies in memory: no copy
        return self.film(F.relu(self.dense(h)), context)


class Decoder(nn.Module):
    """code (N, d), c or None → features (N, F, ⌈H/2⌉, ⌈W/2⌉): dense layers, blocks at quarter, then at half size."""

    def __init__(
        self,
        code: int,
        shape: tuple[int, ...],
        context: int,
        *,
        channels: tuple[int, int] = (64, 32),
        blocks: tuple[int, int] = (1, 1),
        hidden: int = 256,
    ):
        super().__init__()
        _check(shape, channels, blocks, hidden)
        self.half_size, self.quarter_size = (_halved((shape[1], shape[2]), times) for times in (1, 2))
        self.channels = channels
        self.dense = nn.Linear(code, hidden)
        self.film = Film(hidden, context)
        self.spread = nn.Linear(hidden, channels[0] * math.prod(self.quarter_size))
        self.coarse = nn.Sequential(*(_Block(channels[0]) for _ in range(blocks[0])), nn.ReLU())
        self.up = nn.Linear(channels[0], 4 * channels[1])
        self.fine = nn.Sequential(*(_Block(channels[1]) for _ in range(blocks[1])), nn.ReLU())
        self.features = (channels[1], *self.half_size)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] (a stub lacks it)

    def forward(self, code: Tensor, context: Tensor | None) -> Tensor:
        h = self.spread(self.film(F.relu(self.dense(code)), context))
        h = self.coarse(h.view(-1, *self.quarter_size, self.channels[0]).permute(0, 3, 1, 2))
        (height, width), fine = self.quarter_size, self.channels[1]
        h = self.up(h.permute(0, 2, 3, 1)).view(-1, height, width, 2, 2, fine).transpose(2, 3)
        h = h.reshape(-1, 2 * height, 2 * width, fine)[:, : self.half_size[0], : self.half_size[1]]
        return self.fine(h.permute(0, 3, 1, 2))
