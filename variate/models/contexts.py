"""What a conditional model is told: context networks from the record of what is given to c (B, C), which prior,
posterior and decoder share."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from variate.base.errors import UserError
from variate.data.batch import Record
from variate.data.schema import COLUMNS, LABEL, Schema
from variate.models.readers import reader_of

__all__ = ["Columns", "Context", "Fields", "Label"]


class Context(nn.Module):
    """The base of the context networks; ``size`` is C, the width of c."""

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, given: Record) -> Tensor:
        raise NotImplementedError


class Label(Context):
    """A class label (B,) int64 → one-hot (B, classes).

    >>> from variate.data.infer import label_field
    >>> from variate.data.kinds import Reals
    >>> from variate.data.schema import Field
    >>> x = Field(Reals(), (2,), "float32")
    >>> from variate.data.batch import Cells
    >>> label = Label(Schema.of(x, label_field((5, 5, 5), None)))
    >>> label({"label": Cells(torch.tensor([2, 0]))}).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """

    def __init__(self, schema: Schema):
        if not schema.class_counts:
            raise UserError("a model given labels needs them: give labels, or leave out --given.")
        super().__init__(len(schema.class_counts))
        self.register_buffer("one", torch.ones((), dtype=torch.float32), persistent=False)  # whose dtype is the model's

    def forward(self, given: Record) -> Tensor:
        return F.one_hot(given[LABEL].units, self.size).to(self.get_buffer("one").dtype)


class Columns(Context):
    """Real columns v (B, k) in model units → [v, silu(W v + b)], (B, k + hidden): linear in v and more than that.

    >>> from variate.data.kinds import Reals
    >>> from variate.data.schema import Field
    >>> from variate.data.batch import Cells
    >>> columns = Field(Reals((1.0,), (2.0,)), (1,), "float64", name="columns", given=True)
    >>> network = Columns(Schema.of(Field(Reals(), (2,), "float32"), columns), hidden=0)
    >>> network({"columns": Cells(torch.tensor([[2.0]]))})
    tensor([[2.]])
    """

    def __init__(self, schema: Schema, *, hidden: int = 32):
        if schema.columns is None:
            raise UserError("a model given columns needs real numbers (n, k): give them as labels.")
        if hidden < 0:
            raise UserError(f"context.hidden={hidden} must be at least 0.")
        columns = schema.columns.size
        super().__init__(columns + hidden)
        self.register_buffer("one", torch.ones((), dtype=torch.float32), persistent=False)  # whose dtype is the model's
        self.dense = nn.Linear(columns, hidden, dtype=torch.float32) if hidden else None

    def forward(self, given: Record) -> Tensor:
        values = given[COLUMNS].units.to(self.get_buffer("one").dtype)  # a date's digits are gone once its mean is
        return values if self.dense is None else torch.cat([values, F.silu(self.dense(values))], dim=-1)


class Fields(Context):
    """Columns of a table, as a reader shows them, v → [v, silu(W v + b)], (B, width + hidden); missing cells too."""

    def __init__(self, schema: Schema, *, hidden: int = 32):
        if not schema.table or not schema.given:
            raise UserError("a model of a table that is told of some columns needs their names: say them with --given.")
        if hidden < 0:
            raise UserError(f"context.hidden={hidden} must be at least 0.")
        reader = reader_of(schema.given)
        super().__init__(reader.shape[0] + hidden)
        self.reader = reader
        self.dense = nn.Linear(reader.shape[0], hidden, dtype=torch.float32) if hidden else None

    def forward(self, given: Record) -> Tensor:
        values = self.reader(given)
        return values if self.dense is None else torch.cat([values, F.silu(self.dense(values))], dim=-1)
