"""The small pieces that the networks share."""

import math

import torch
from torch import Tensor, nn

__all__ = ["Film", "PerValueHead"]


class Film(nn.Module):
    """h, c → h · (1 + G c) + S c: feature-wise linear modulation (Perez et al. 2018, eq. 2); without a context, h.

    S starts with unit variance, so that a label is heard as loudly as z from the first step. A one-hot label merely
    appended to z is a whisper: a decoder then reads the class from z, and samples of a class asked for are of another.
    """

    def __init__(self, features: int, context: int):
        super().__init__()
        if context:
            self.gain = nn.Linear(context, features, bias=False)
            self.shift = nn.Linear(context, features, bias=False)
            nn.init.zeros_(self.gain.weight)
            nn.init.normal_(self.shift.weight)

    def forward(self, h: Tensor, context: Tensor | None) -> Tensor:
        return h if context is None else h * (1 + self.gain(context)) + self.shift(context)


class PerValueHead(nn.Module):
    """A linear map from features to P numbers for every value of an example: (N, *features) → (N, P, *shape).

    Features (F,) are mapped by one matrix. Features (F, h, w) are mapped by the same matrix at every place; where they
    are f times coarser than the example, each place gives its f × f values (Shi et al. 2016), cut to the right size.
    """

    def __init__(self, features: tuple[int, ...], shape: tuple[int, ...], per_value: int):
        super().__init__()
        self.shape, self.per_value, self.coarse = shape, per_value, features[1:]
        self.factor = math.ceil(shape[1] / features[1]) if self.coarse else 1
        if self.coarse and tuple(math.ceil(n / self.factor) for n in shape[1:]) != self.coarse:
            raise ValueError(f"features {features} do not cover the places of an example of shape {shape}")
        values = shape[0] * self.factor**2 if self.coarse else math.prod(shape)
        self.linear = nn.Linear(features[0], per_value * values)

    def forward(self, features: Tensor) -> Tensor:
        if not self.coarse:
            return self.linear(features).unflatten(-1, (self.per_value, *self.shape))
        channels, height, width = self.shape
        h, w = self.coarse
        # channels last: one matrix product over all places; then one copy puts every number in its place
        out = self.linear(features.permute(0, 2, 3, 1))
        out = out.view(-1, h, w, self.per_value, channels, self.factor, self.factor)
        out = out.permute(0, 3, 4, 1, 5, 2, 6).reshape(-1, self.per_value, channels, h * self.factor, w * self.factor)
        return out[..., :height, :width]

    def set_bias(self, start: Tensor) -> None:
        """Set where the parameters start: (P, C), the same for all places of a channel."""
        with torch.no_grad():
            places = self.linear.out_features // start.numel()
            self.linear.bias.copy_(start.unsqueeze(-1).expand(*start.shape, places).reshape(-1))
