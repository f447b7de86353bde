"""Real numbers some of which are far out."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from variate.base.errors import UserError
from variate.data.schema import Field
from variate.models.laws.johnson import JohnsonSU
from variate.models.likelihoods.location_scale import LocationScale
from variate.models.likelihoods.marginals import middle
from variate.models.networks.layers import ShowArcsinh

__all__ = ["JohnsonSu"]

WIDTHS = 3.0  # spreads within which Johnson's law is about a Gaussian


class JohnsonSu(LocationScale):
    """p(x|z) = ∏ N(yᵢ; μᵢ, σᵢ²) / (w √(1 + ((xᵢ − c)/w)²)), yᵢ = arcsinh((xᵢ − c)/w): Johnson's S_U law (Johnson 1949).

    A Gaussian of x within w of c, and of log |x − c| far from there: for values whose outliers would leave the others
    no room. ``sigma`` is as the Gaussian's, of y. ``centre`` c and ``width`` w, one per column (else: per channel) in
    model units, stay what they are: where a recipe is silent, the median of the training rows and three times the
    spread of their middle half, by a normal law's measure. The encoder is shown y. The point is the mean.

    >>> import math
    >>> from variate.data.kinds import Reals
    >>> likelihood = JohnsonSu((5,), Field(Reals(), (1,), "float32"), sigma=1.0, centre=(2.0,), width=(0.1,))
    >>> round(likelihood.point(torch.ones(1, 1, 1)).item(), 4), round(2 + 0.1 * math.exp(0.5) * math.sinh(1), 4)
    (2.1938, 2.1938)
    """

    def __init__(
        self,
        features: tuple[int, ...],
        field: Field,
        *,
        sigma: str | float = "learned",
        centre: tuple[float, ...] = (0.0,),
        width: tuple[float, ...] = (1.0,),
    ):
        super().__init__(features, field, "sigma", sigma)
        for name, numbers in (("centre", centre), ("width", width)):
            if len(numbers) not in (1, field.tensor_shape[0]) or name == "width" and not min(numbers) > 0:
                raise UserError(
                    f"likelihood.{name}={list(numbers)}: give one number{' above 0' * (name == 'width')}, or one for "
                    f"each of the {field.tensor_shape[0]} columns or channels."
                )
            wide = torch.tensor(numbers, dtype=torch.float32).reshape(-1, *[1] * (self.event - 1))
            self.register_buffer(name, wide, persistent=False)

    @classmethod
    def suited(cls, rows: Callable[[], Tensor]) -> dict:
        centre, spread = middle(rows())
        return {"centre": centre.tolist(), "width": (WIDTHS * spread).tolist()}

    def shown(self, encoder: nn.Module) -> nn.Module:
        return ShowArcsinh(encoder, self.get_buffer("centre"), self.get_buffer("width"))

    def straight(self, x: Tensor) -> Tensor:
        return torch.asinh((x - self.get_buffer("centre")) / self.get_buffer("width"))

    def start_at(self, rows: Tensor) -> None:
        super().start_at(self.straight(rows))

    def values(self, parameters: Tensor) -> Distribution:
        places = self.get_buffer("centre"), self.get_buffer("width")
        return JohnsonSU(*self._location_and_scale(parameters), *places)
