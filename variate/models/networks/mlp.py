"""Fully connected networks, for vectors and for whatever is small enough to be flattened."""

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from variate.base.errors import UserError, suggest
from variate.models.networks.layers import Film

__all__ = ["Decoder", "Encoder"]

ACTIVATIONS = {"silu": F.silu, "relu": F.relu, "gelu": F.gelu, "tanh": torch.tanh}


class _Layers(nn.Module):
    """(N, inputs), c → (N, features); the context enters after the first layer.

    ``skip`` appends the input, so that what follows contains the linear map.
    """

    def __init__(self, inputs: int, context: int, hidden: tuple[int, ...], activation: str, skip: bool):
        super().__init__()
        if activation not in ACTIVATIONS:
            known = f"{', '.join(ACTIVATIONS)}{suggest(activation, ACTIVATIONS)}"
            raise UserError(f"activation={activation!r} is not one of {known}.")
        if any(width < 1 for width in hidden):
            raise UserError(f"hidden={list(hidden)}: every layer needs at least one unit.")
        widths = (inputs, *hidden)
        self.layers = nn.ModuleList(nn.Linear(a, b, dtype=torch.float32) for a, b in itertools.pairwise(widths))
        self.activation = ACTIVATIONS[activation]
        self.film = Film(widths[min(1, len(hidden))], context)
        self.skip = skip and len(hidden) > 0
        self.features = (widths[-1] + (inputs if self.skip else 0),)

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        h = x if self.layers else self.film(x, context)
        for place, layer in enumerate(self.layers):
            h = self.activation(layer(h))
            h = self.film(h, context) if place == 0 else h
        return torch.cat([h, x], dim=-1) if self.skip else h


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
        self.layers = _Layers(math.prod(shape), context, hidden, activation, skip)
        self.features = self.layers.features

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.layers(x.flatten(1), context)


class Decoder(nn.Module):
    """code (N, *code), c (N, C) or None → features (N, F)."""

    def __init__(
        self,
        code: tuple[int, ...],
        shape: tuple[int, ...],
        context: int,
        *,
        hidden: tuple[int, ...] = (512, 512),
        activation: str = "silu",
        skip: bool = False,
    ):
        super().__init__()
        self.layers = _Layers(math.prod(code), context, hidden, activation, skip)
        self.features = self.layers.features

    def forward(self, code: Tensor, context: Tensor | None) -> Tensor:
        return self.layers(code.flatten(1), context)
