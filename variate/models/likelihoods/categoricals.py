"""Levels without an order, as many for every column as it has."""

import torch
from torch import Tensor

from variate.base.errors import UserError
from variate.data.kinds import Categories as Kind
from variate.data.schema import Field
from variate.models.laws.categories import Categories, Ragged
from variate.models.likelihoods.likelihood import Likelihood

__all__ = ["Categoricals"]


class Categoricals(Likelihood):
    """P(x|z) = ∏ᵢ softmax(logitsᵢ)_{xᵢ}, K_i logits for column i; −log P is the sum of the softmax cross-entropies.

    The logits of all columns lie in one row (N, 1, S), S at most twice the number of levels, however many one of the
    columns has (``variate.models.laws.categories.Ragged``). The point is the most probable level.

    >>> likelihood = Categoricals((5,), Field(Kind((2, 5, 2)), (3,), "float64"))
    >>> parameters = likelihood(torch.zeros(4, 5)).mul(0)
    >>> parameters.shape, round(likelihood.log_prob(parameters, torch.tensor([1.0, 4.0, 0.0]))[0].exp().item(), 4)
    (torch.Size([4, 1, 9]), 0.05)
    """

    support = "categories"

    def __init__(self, features: tuple[int, ...], field: Field):
        sizes = field.kind.sizes if isinstance(field.kind, Kind) else (2,)
        layout = Ragged.of(sizes)
        super().__init__(features, field, per_value=1, parameter_shape=(len(layout.padding),))
        if field.tensor_shape != (len(sizes),):
            raise UserError(
                f"likelihood Categoricals is of rows with {len(sizes)} columns, not of shape {field.tensor_shape}."
            )
        self.groups = layout.groups
        for name in Ragged._fields[1:]:
            self.register_buffer(name, getattr(layout, name), persistent=False)

    def _layout(self) -> Ragged:
        return Ragged(self.groups, *(self.get_buffer(name) for name in Ragged._fields[1:]))

    def start_at(self, rows: Tensor) -> None:
        """At how often each level occurs, all of a column's together counted once more."""
        known, layout = ~rows.isnan(), self._layout()
        places = (rows.round() + layout.first)[known].long()
        counts = torch.bincount(places, minlength=len(layout.padding))
        once = torch.cat([rows.new_full((columns * width,), 1 / width) for columns, width in layout.groups])
        self.head.set_bias(((counts + once) / len(rows)).log().unsqueeze(0))

    def values(self, parameters: Tensor) -> Categories:
        return Categories(parameters.squeeze(-2), self._layout())

    def _guess(self, parameters: Tensor) -> Tensor:
        return self.values(parameters).mode
