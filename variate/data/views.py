"""What an encoder is shown of rows while it learns: a view of the record that is to be explained.

A view that changes values, as noise does, changes the input alone: what is judged stays as it was. One that hides cells
hides them from both: what is learned then is a bound on log p of the cells that are left, and q(z | those cells) comes
to what it should be, p(z | those cells). Judged on the whole row, q would have to guess, and the decoder to make up for
it: a known law of six columns then costs 0.1 to 0.2 nats more.
"""

from collections.abc import Callable

from torch import Tensor

from variate.base.errors import UserError
from variate.data.batch import Cells, Record

__all__ = ["Hide", "View"]

Uniform = Callable[[int], Tensor]  # how many → U(0, 1), (B, how many), a function of the seed and the step


class View:
    """The base of the views: ``view(record, uniform)`` → the record as the encoder sees it, in one step of training.

    ``hides``: whether cells may be missing in it that are there. What is hidden is not judged either.
    """

    hides = False

    def __call__(self, record: Record, uniform: Uniform) -> Record:
        raise NotImplementedError


class Hide(View):
    """Of a share ``rows`` of all rows a part of the cells is hidden, each with probability u, u ~ U(0, 1) for each row.

    So the posterior learns q(z | any subset of the cells), as from rows that lack cells (Nazabal et al. 2020, eq. 4).

    >>> import torch
    >>> whole = {"x": Cells(torch.ones(2, 3))}
    >>> hidden = Hide(rows=1.0)(whole, lambda size: torch.full((2, size), 0.5))
    >>> hidden["x"].observed.all().item(), Hide(rows=0.0)(whole, lambda size: torch.zeros(2, size))["x"].units.sum()
    (True, tensor(6.))
    """

    hides = True

    def __init__(self, *, rows: float = 0.5):
        if not 0 <= rows <= 1:
            raise UserError(f"view.rows={rows} must be within 0..1: the share of rows with hidden cells.")
        self.rows = rows

    def __call__(self, record: Record, uniform: Uniform) -> Record:
        sizes = [cells.units[0].numel() for cells in record.values()]
        draws = uniform(2 + sum(sizes))
        share = draws[:, 1].where(draws[:, 0] < self.rows, 0.0)
        kept = (draws[:, 2:] >= share.unsqueeze(1)).split(sizes, dim=1)
        return {name: _left(cells, part) for (name, cells), part in zip(record.items(), kept, strict=True)}


def _left(cells: Cells, kept: Tensor) -> Cells:
    """Of the cells those that are kept, (B, cells) bool."""
    kept = kept.view_as(cells.units)
    observed = kept if cells.observed is None else cells.observed & kept
    return Cells(cells.units.masked_fill(~observed, 0), observed)
