"""Residual convolutional networks for images of any height × width × channels from 8 × 8 up, odd sizes too."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from variate.networks.layers import with_context

__all__ = ["Decoder", "Encoder"]


class _Block(nn.Module):
    """x + conv(silu(conv(silu(x)))): the second convolution starts at zero, so a fresh block is the identity."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


def _halved(size: tuple[int, int], times: int) -> tuple[int, int]:
    """The size after ``times`` convolutions of stride 2, which round up."""
    height, width = (math.ceil(n / 2**times) for n in size)
    return height, width


class Encoder(nn.Module):
    """x (B, C, H, W), c or None → features (B, F): two halvings, residual blocks, one dense layer."""

    def __init__(
        self,
        shape: tuple[int, ...],
        context: int,
        *,
        channels: tuple[int, int] = (32, 64),
        blocks: tuple[int, int] = (1, 1),
        hidden: int = 256,
    ):
        super().__init__()
        stages, inputs = [], shape[0]
        for width, depth in zip(channels, blocks, strict=True):
            stages += [
                nn.Conv2d(inputs, width, 3, stride=2, padding=1),
                *(_Block(width) for _ in range(depth)),
            ]
            inputs = width
        self.stages = nn.Sequential(*stages)
        places = math.prod(_halved((shape[1], shape[2]), len(channels)))
        self.dense = nn.Linear(inputs * places + context, hidden)
        self.features = (hidden,)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] (a stub lacks it)

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        h = F.silu(self.stages(x.contiguous(memory_format=torch.channels_last)))
        return F.silu(self.dense(with_context(h.flatten(1), context)))


class Decoder(nn.Module):
    """code (N, d), c or None → features (N, F, H, W): two dense layers, residual blocks, two pixel shuffles, a crop."""

    def __init__(
        self,
        code: int,
        shape: tuple[int, ...],
        context: int,
        *,
        channels: tuple[int, int] = (64, 32),
        blocks: tuple[int, int] = (1, 1),
        features: int = 16,
        hidden: int = 256,
    ):
        super().__init__()
        self.size = shape[1], shape[2]
        self.start = (channels[0], *_halved(self.size, len(channels)))
        self.dense = nn.Sequential(
            nn.Linear(code + context, hidden), nn.SiLU(), nn.Linear(hidden, math.prod(self.start))
        )
        stages, widths = [], (*channels, features)
        for width, after, depth in zip(channels, widths[1:], blocks, strict=True):
            up = nn.Sequential(nn.SiLU(), nn.Conv2d(width, 4 * after, 1), nn.PixelShuffle(2))
            stages += [*(_Block(width) for _ in range(depth)), up]
        self.stages = nn.Sequential(*stages)
        self.features = (features, *self.size)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] (a stub lacks it)

    def forward(self, code: Tensor, context: Tensor | None) -> Tensor:
        h = self.dense(with_context(code, context)).unflatten(-1, self.start)
        h = F.silu(self.stages(h.contiguous(memory_format=torch.channels_last)))
        return h[..., : self.size[0], : self.size[1]]
