"""What a conditional model is told: context networks from raw context (B, …) to c (B, C), which prior, posterior and
decoder share."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from variate.base.errors import UserError
from variate.data.schema import Schema

__all__ = ["Columns", "Context", "Label"]


class Context(nn.Module):
    """The base of the context networks; ``size`` is C, the width of c."""

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, context: Tensor) -> Tensor:
        raise NotImplementedError


class Label(Context):
    """A class label (B,) int64 → one-hot (B, classes).

    >>> from variate.data.infer import label_field
    >>> from variate.data.kinds import Reals
    >>> from variate.data.schema import Field
    >>> x = Field(Reals(), (2,), "float32")
    >>> Label(Schema.of(x, label_field((5, 5, 5), None)))(torch.tensor([2, 0])).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """

    def __init__(self, schema: Schema):
        if not schema.class_counts:
            raise UserError("a model given labels needs them: give labels, or leave out --given.")
        super().__init__(len(schema.class_counts))
        self.register_buffer("one", torch.ones((), dtype=torch.float32), persistent=False)  # whose dtype is the model's

    def forward(self, context: Tensor) -> Tensor:
        return F.one_hot(context, self.size).to(self.get_buffer("one").dtype)


class Columns(Context):
    """Real columns v (B, k), standardised → [v, silu(W v + b)], (B, k + hidden): linear in v and more than that.

    >>> from variate.data.kinds import Reals
    >>> from variate.data.schema import Field
    >>> columns = Field(Reals((1.0,), (2.0,)), (1,), "float64", name="columns")
    >>> Columns(Schema.of(Field(Reals(), (2,), "float32"), columns), hidden=0)(torch.tensor([[5.0]]))
    tensor([[2.]])
    """

    def __init__(self, schema: Schema, *, hidden: int = 32):
        if schema.columns is None:
            raise UserError("a model given columns needs real numbers (n, k): give them as labels.")
        if hidden < 0:
            raise UserError(f"context.hidden={hidden} must be at least 0.")
        columns, kind = schema.columns.size, schema.columns.kind
        super().__init__(columns + hidden)
        for name, numbers in (("offset", kind.offset), ("scale", kind.scale)):
            self.register_buffer(name, torch.tensor(numbers, dtype=torch.float64), persistent=False)
        self.register_buffer("one", torch.ones((), dtype=torch.float32), persistent=False)  # whose dtype is the model's
        self.dense = nn.Linear(columns, hidden, dtype=torch.float32) if hidden else None

    def forward(self, context: Tensor) -> Tensor:
        exact = (context.to(torch.float64) - self.get_buffer("offset")) / self.get_buffer("scale")
        values = exact.to(self.get_buffer("one").dtype)  # a date's digits are gone once its mean is
        return values if self.dense is None else torch.cat([values, F.silu(self.dense(values))], dim=-1)
