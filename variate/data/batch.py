"""One batch, as every model sees it."""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Batch"]


class Batch(NamedTuple):
    """What the encoder reads, what the likelihood scores, and what is known besides; B rows in model units.

    input: (B, …), the encoder's input.
    target: (B, …), what p(x|z, c) is asked about; differs from ``input`` in denoising or translation.
    observed: (B, …) bool like ``target``, False where a cell is missing; ``None`` when all are there.
    context: (B,) int64 labels, or (B, …) whatever the context network reads; ``None`` without conditions.
    weight: (B,), how much each row counts in the loss (0 pads a last batch); ``None`` for ones.
    """

    input: Tensor
    target: Tensor
    observed: Tensor | None = None
    context: Tensor | None = None
    weight: Tensor | None = None

    def to(self, dtype: torch.dtype) -> "Batch":
        """The same rows with input, target and weight in another precision; what is known besides stays exact."""
        weight = None if self.weight is None else self.weight.to(dtype)
        return self._replace(input=self.input.to(dtype), target=self.target.to(dtype), weight=weight)
