"""What the densities of real numbers share: a location from the decoder, and a scale."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from variate.base.errors import UserError
from variate.data.schema import Field
from variate.models.likelihoods.likelihood import Likelihood
from variate.models.likelihoods.marginals import by_column, inverse_softplus, mean_of

__all__ = []  # no likelihood by itself: a name in a recipe is a class in __all__

LEAST_LOG_SCALE, MOST_LOG_SCALE = -6.0, 30.0


class LocationScale(Likelihood):
    """The base of the densities f((x − μ)/s)/s of real numbers: a location μ for every value from the decoder.

    s as the keyword ``key`` says: "learned" is one per column (else: per channel), free of z; "predicted" is one for
    every value from the decoder; a number fixes it, in model units.
    """

    support = "reals"
    has_location = True

    def __init__(
        self,
        features: tuple[int, ...],
        field: Field,
        key: str,
        scale: str | float,
        modes: tuple[str, ...] = ("learned", "predicted"),
    ):
        if isinstance(scale, str) and scale not in modes or not isinstance(scale, str) and not 0 < scale < math.inf:
            raise UserError(f"likelihood.{key}={scale!r}: give {', '.join(modes)} or a number above 0.")
        super().__init__(features, field, per_value=2 if scale == "predicted" else 1)
        self.mode, self.log_key = scale, f"log_{key}"
        if scale == "learned":
            self.register_parameter(self.log_key, self._per_channel(0.0))
        elif scale != "predicted":
            start = 0.0 if isinstance(scale, str) else math.log(scale)
            self.register_buffer(self.log_key, torch.tensor(start, dtype=torch.float32))

    def start_at(self, rows: Tensor) -> None:
        """The location at the median and the scale at the mean distance from it, which outliers move little."""
        columns = by_column(rows)
        location = columns.nanmedian(1).values
        distance = mean_of((columns - location.unsqueeze(1)).abs())
        log_scale = self._unbounded(distance.log())
        self.head.set_bias(torch.stack([location, log_scale])[: self.head.per_value])
        if self.mode == "learned":
            with torch.no_grad():
                stored = self.get_parameter(self.log_key)
                stored.copy_(log_scale.view_as(stored))

    @torch.no_grad()
    def start_linear(self, matrix: Tensor, offset: Tensor, spread: float) -> None:
        """μ starts as W f + b, f the last features, W (values, d), b (values,); s, unless fixed, at ``spread``."""
        values, weight, bias = len(matrix), self.head.linear.weight, self.head.linear.bias
        log_scale = float(self._unbounded(torch.tensor(spread, dtype=torch.float32).log()))
        weight.zero_()
        weight[:values, -matrix.shape[1] :] = matrix
        bias.fill_(log_scale)[:values] = offset
        if self.mode == "learned":
            self.get_parameter(self.log_key).fill_(log_scale)
        elif self.mode == "optimal":
            self.get_buffer(self.log_key).fill_(math.log(spread))

    def _unbounded(self, log_scale: Tensor) -> Tensor:
        """What ``_location_and_scale`` takes log s from."""
        return inverse_softplus(log_scale.clamp_min(LEAST_LOG_SCALE + 1) - LEAST_LOG_SCALE) + LEAST_LOG_SCALE

    def _location_and_scale(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        parts = self._parts(parameters)
        log_scale = parts[1] if self.mode == "predicted" else getattr(self, self.log_key)
        if self.mode in ("learned", "predicted"):  # a constant column would buy an infinite density: s > e^-6
            log_scale = F.softplus(log_scale - LEAST_LOG_SCALE) + LEAST_LOG_SCALE
            log_scale = log_scale.clamp(max=MOST_LOG_SCALE)
        return parts[0], log_scale.exp().expand_as(parts[0])
