"""Real numbers that lie on a grid and repeat: mixtures of logistic laws cut into bins, and atoms."""

import torch
from torch import Tensor

from variate.data.kinds import Binned
from variate.data.schema import Field
from variate.models.laws.logistic_mixtures import BinnedLogisticMixture, Grid, bins
from variate.models.likelihoods.likelihood import Likelihood
from variate.models.likelihoods.logistics import bounded, checked, unbounded
from variate.models.likelihoods.marginals import LEAST_SHARE, by_column
from variate.models.likelihoods.mixture_start import logistics_of

__all__ = ["BinnedLogistics"]

BELOW_HALF = 3.0  # e^-3 halves of a bin is the least scale: all but e^-20 of such a law is in one bin
FIRST_OF_HALF = 0.25  # halves of a bin, the least scale at the start


class BinnedLogistics(Likelihood):
    """P(x|z) = ∏ᵢ Σ_j π_ij 1[xᵢ = a_ij] + Σ_k π_ik [F((xᵢ + hᵢ − μ_ik)/s_ik) − F((xᵢ − hᵢ − μ_ik)/s_ik)], F logistic.

    h is half the width of a column's bins; its atoms a_ij are values with a probability of their own. Both are the
    data's (``variate.data.kinds.Binned``). The decoder gives the logits of the atoms and of the ``components`` logistic
    laws, their means and log scales, for every value. The point is the largest atom where it has more than half of the
    mass, else the mean of what is no atom.

    >>> field = Field(Binned(step=(1.0, 0.1), atoms=((0.0, 99.0), (0.5,))), (2,), "float64")
    >>> BinnedLogistics((5,), field, components=3)(torch.zeros(4, 5)).shape  # 2 + 3 logits, 3 means, 3 log scales
    torch.Size([4, 11, 2])
    """

    support = "bins"

    def __init__(self, features: tuple[int, ...], field: Field, *, components: int = 4):
        atoms = _padded(field.kind) if isinstance(field.kind, Binned) else torch.zeros(0, 1)
        super().__init__(features, field, per_value=len(atoms) + 3 * checked(components))
        assert isinstance(field.kind, Binned)
        self.components = components
        step = 2 * self._wide(torch.tensor(field.kind.half_widths, dtype=torch.float64))
        anchor = self._wide(torch.tensor(field.kind.anchors, dtype=torch.float64))
        atoms = torch.stack([self._wide(each) for each in atoms]) if len(atoms) else step.new_zeros(0, *step.shape)
        places = bins(atoms, step, anchor)
        for name, each in (("step", step), ("anchor", anchor), ("places", places), ("atoms", atoms.nan_to_num(0.0))):
            self.register_buffer(name, each, persistent=False)
        self.register_buffer("least", (step / 2).log().float() - BELOW_HALF, persistent=False)

    def _wide(self, numbers: Tensor) -> Tensor:
        return numbers.reshape(-1, *[1] * (self.event - 1))

    def _grid(self) -> Grid:
        return Grid(*(self.get_buffer(name) for name in Grid._fields))

    def start_at(self, rows: Tensor) -> None:
        """The atoms at their frequencies, the components at the maximum likelihood of the other values."""
        grid, columns = self._grid(), by_column(rows)
        step, anchor, places = (each.flatten(-self.event) for each in (grid.step, grid.anchor, grid.places))
        there = bins(columns, step.unsqueeze(-1), anchor.unsqueeze(-1)) == places.unsqueeze(-1)  # (J, C, n)
        known = (~columns.isnan()).sum(1).clamp_min(1)
        share = there.sum(-1) / known
        others = columns.masked_fill(there.any(0), torch.nan)
        least = step.expand(len(columns)) / 2 * FIRST_OF_HALF
        weights, means, scales = logistics_of(others, self.components, least)
        rest = (1 - share.sum(0)).clamp_min(LEAST_SHARE)
        log_scales = unbounded(scales.log(), self.get_buffer("least").flatten())
        start = [share.clamp_min(LEAST_SHARE).log().expand(len(places), len(columns)), (rest * weights).log()]
        self.head.set_bias(torch.cat([*start, means, log_scales]))

    def values(self, parameters: Tensor) -> BinnedLogisticMixture:
        dim, k = -(self.event + 1), self.components
        logits, means, log_scales = parameters.split([parameters.shape[dim] - 2 * k, k, k], dim)
        return BinnedLogisticMixture(means, bounded(log_scales, self.get_buffer("least")), logits, self._grid(), dim)

    def _guess(self, parameters: Tensor) -> Tensor:
        return self.values(parameters).guess


def _padded(kind: Binned) -> Tensor:
    """The atoms in model units, (J, C or 1), NaN where a column has fewer."""
    atoms = kind.atoms_in_units
    most = max(map(len, atoms))
    rows = [[*of_column, *[torch.nan] * (most - len(of_column))] for of_column in atoms]
    return torch.tensor(rows, dtype=torch.float64).reshape(len(atoms), most).T
