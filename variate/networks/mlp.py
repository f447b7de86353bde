"""Fully connected networks, for vectors and for whatever is small enough to be flattened."""

import math

import torch
from torch import Tensor, nn

from variate.networks.layers import with_context

__all__ = ["Decoder", "Encoder"]

ACTIVATIONS = {"silu": nn.SiLU, "relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh, "linear": nn.Identity}


class _Layers(nn.Module):
    """(N, inputs) → (N, features); ``skip`` appends the input, so that what follows contains the linear map."""

    def __init__(self, inputs: int, hidden: tuple[int, ...], activation: str, skip: bool):
        super().__init__()
        widths = (inputs, *hidden)
        pairs = zip(widths[:-1], widths[1:], strict=True)
        self.layers = nn.Sequential(*(m for a, b in pairs for m in (nn.Linear(a, b), ACTIVATIONS[activation]())))
        self.skip = skip
        self.features = (widths[-1] + (inputs if skip and hidden else 0),)

    def forward(self, x: Tensor) -> Tensor:
        h = self.layers(x)
        return torch.cat([h, x], dim=-1) if self.skip and len(self.layers) else h


class Encoder(nn.Module):
    """x (B, *shape), c (B, C) or None → features (B, F)."""

    def __init__(
        self,
        shape: tuple[int, ...],
        context: int,
        *,
        hidden: tuple[int, ...] = (512, 512),
        activation: str = "silu",
        skip: bool = False,
    ):
        super().__init__()
        self.layers = _Layers(math.prod(shape) + context, hidden, activation, skip)
        self.features = self.layers.features

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.layers(with_context(x.flatten(1), context))


class Decoder(nn.Module):
    """code (N, d), c (N, C) or None → features (N, F)."""

    def __init__(
        self,
        code: int,
        shape: tuple[int, ...],
        context: int,
        *,
        hidden: tuple[int, ...] = (512, 512),
        activation: str = "silu",
        skip: bool = False,
    ):
        super().__init__()
        self.layers = _Layers(code + context, hidden, activation, skip)
        self.features = self.layers.features

    def forward(self, code: Tensor, context: Tensor | None) -> Tensor:
        return self.layers(with_context(code, context))
