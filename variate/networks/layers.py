"""The small pieces that the networks share."""

import math

import torch
from torch import Tensor, nn

__all__ = ["PerValueHead", "with_context"]


def with_context(x: Tensor, context: Tensor | None) -> Tensor:
    """(N, F) and (N, C) → (N, F + C); without a context, x itself."""
    return x if context is None else torch.cat([x, context], dim=-1)


class PerValueHead(nn.Module):
    """A linear map from features to P numbers for every value of an example: (N, *features) → (N, P, *shape).

    Features (F,) are mapped by one matrix; features (F, *spatial) by the same matrix at every place.
    """

    def __init__(self, features: tuple[int, ...], shape: tuple[int, ...], per_value: int):
        super().__init__()
        self.shape, self.per_value = shape, per_value
        self.local = len(features) > 1
        if self.local and features[1:] != shape[1:]:
            raise ValueError(f"features {features} do not cover the places of an example of shape {shape}")
        places = shape[0] if self.local else math.prod(shape)
        self.linear = nn.Linear(features[0], per_value * places)

    def forward(self, features: Tensor) -> Tensor:
        if not self.local:
            return self.linear(features).unflatten(-1, (self.per_value, *self.shape))
        # channels last: one matrix product over all places, and no copy when the features are stored that way
        out = self.linear(features.movedim(1, -1)).movedim(-1, 1)
        return out.unflatten(1, (self.per_value, self.shape[0]))

    def set_bias(self, start: Tensor) -> None:
        """Set where the parameters start: (P, C), the same for all places of a channel."""
        with torch.no_grad():
            places = self.linear.out_features // start.numel()
            self.linear.bias.copy_(start.unsqueeze(-1).expand(*start.shape, places).reshape(-1))
