"""The small pieces that the networks share."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Film", "PerValueHead", "ShowArcsinh", "ShowAtoms", "coarser", "finer"]


def finer(x: Tensor, factors: int, places: int, size: tuple[int, ...]) -> Tensor:
    """Every place gives its finer places (Shi et al. 2016), in d dimensions: (N, f₁…f_d, n₁…n_d) → (N, f₁n₁…f_d n_d).

    x holds f₁…f_d from dimension ``factors`` on, in whatever order with what else it holds; the finer places start at
    dimension ``places`` of the result and are cut to ``size``.
    """
    dims = len(size)
    x = x.movedim(tuple(range(factors, factors + dims)), tuple(range(places + 1, places + 2 * dims, 2)))
    for dim in range(places, places + dims):
        x = x.flatten(dim, dim + 1)
    # not narrow, whose gradient is copied even where nothing is cut
    return x[(slice(None),) * places + tuple(slice(most) for most in size)]


def coarser(x: Tensor, factor: int, dims: int) -> Tensor:
    """The inverse of ``finer``, in the last dimensions, without a cut: (…, f n₁, …, f n_d) → (…, f, …, n₁, …, n_d)."""
    lead = x.dim() - dims
    for dim in range(lead, lead + 2 * dims, 2):
        x = x.unflatten(dim, (-1, factor))
    return x.movedim(tuple(range(lead + 1, lead + 2 * dims, 2)), tuple(range(lead, lead + dims)))


class Film(nn.Module):
    """h, c → h · (1 + G c) + S c: feature-wise linear modulation (Perez et al. 2018, eq. 2); without a context, h.

    S starts with unit variance, so that a label is heard as loudly as z from the first step. A one-hot label merely
    appended to z is a whisper: a decoder then reads the class from z, and samples of a class asked for are of another.
    """

    def __init__(self, features: int, context: int):
        super().__init__()
        if context:
            self.gain = nn.Linear(context, features, bias=False, dtype=torch.float32)
            self.shift = nn.Linear(context, features, bias=False, dtype=torch.float32)
            nn.init.zeros_(self.gain.weight)
            nn.init.normal_(self.shift.weight)

    def forward(self, h: Tensor, context: Tensor | None) -> Tensor:
        return h if context is None else h * (1 + self.gain(context)) + self.shift(context)


class ShowArcsinh(nn.Module):
    """An encoder that is shown y = arcsinh((x − c)/w): outliers at the distance of their logarithm. c, w: (C, 1, …)."""

    def __init__(self, encoder: nn.Module, centre: Tensor, width: Tensor):
        super().__init__()
        self.encoder, self.features = encoder, encoder.features
        for name, numbers in (("centre", centre), ("width", width)):
            self.register_buffer(name, numbers.clone(), persistent=False)

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.encoder(torch.asinh((x - self.get_buffer("centre")) / self.get_buffer("width")), context)


class ShowAtoms(nn.Module):
    """An encoder that is also shown where the input is exactly on one of J values: (B, C, …) → (B, C·(1 + J), …).

    Levels 253 and 254 are the same grey to a network, but not to a likelihood that gives each a mass of its own.
    """

    def __init__(self, encoder: nn.Module, atoms: tuple[int, ...], levels: int):
        super().__init__()
        self.encoder, self.last = encoder, levels - 1
        self.features = encoder.features
        # what each level looks like: its grey value, and the atoms it is
        table = torch.zeros(levels, 1 + len(atoms), dtype=torch.float32)
        table[:, 0] = torch.arange(levels, dtype=torch.float32) / self.last
        table[list(atoms), 1 + torch.arange(len(atoms))] = 1
        self.register_buffer("table", table, persistent=False)

    @staticmethod
    def shape(shape: tuple[int, ...], atoms: tuple[int, ...]) -> tuple[int, ...]:
        """What the encoder inside reads."""
        return (shape[0] * (1 + len(atoms)), *shape[1:])

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        shown = F.embedding((x * self.last).round().long(), self.get_buffer("table"))
        return self.encoder(shown.movedim(-1, 2).flatten(1, 2), context)


class PerValueHead(nn.Module):
    """A linear map from features to P numbers for every value of an example: (N, *features) → (N, P, *shape).

    Features (F,) are mapped by one matrix. Features (F, *coarse) are mapped by the same matrix at every place; where
    they are f times coarser than the example, each place gives its f × … × f values, cut to the right size.
    """

    def __init__(self, features: tuple[int, ...], shape: tuple[int, ...], per_value: int):
        super().__init__()
        self.shape, self.per_value, self.coarse = shape, per_value, features[1:]
        self.factor = math.ceil(shape[1] / features[1]) if self.coarse else 1
        if self.coarse and tuple(math.ceil(n / self.factor) for n in shape[1:]) != self.coarse:
            raise ValueError(f"features {features} do not cover the places of an example of shape {shape}")
        values = shape[0] * self.factor ** len(self.coarse) if self.coarse else math.prod(shape)
        self.linear = nn.Linear(features[0], per_value * values, dtype=torch.float32)

    def forward(self, features: Tensor) -> Tensor:
        if not self.coarse:
            return self.linear(features).unflatten(-1, (self.per_value, *self.shape))
        return finer(self._coarse(features), 3, 3, self.shape[1:])

    def beside(self, features: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        """``forward(features)``, and values (…, *shape) beside them, all with their places in the order that is free.

        That is the order in which the product makes them: to put so many numbers into the order of the example takes
        longer than to make them, and a sum over the places needs none. The shapes are (N, P, C, …) and (…, C, …).
        """
        dims = len(self.coarse)
        cut = tuple(self.factor * n for n in self.coarse) != self.shape[1:]
        if cut or not self.coarse:
            return self(features), *values
        return self._coarse(features).flatten(3, 3 + dims), *(
            coarser(value, self.factor, dims).flatten(-2 * dims, -dims) for value in values
        )

    def _coarse(self, features: Tensor) -> Tensor:
        """(N, F, *coarse) → (N, P, C, f, …, f, *coarse)."""
        channels, *size = self.shape
        out = _Planes.apply(features.flatten(2), self.linear.weight, self.linear.bias).unflatten(2, self.coarse)
        return out.unflatten(1, (self.per_value, channels, *[self.factor] * len(size)))

    def set_bias(self, start: Tensor) -> None:
        """Set where the parameters start: (P, C), the same for all places of a channel."""
        with torch.no_grad():
            places = self.linear.out_features // start.numel()
            self.linear.bias.copy_(start.unsqueeze(-1).expand(*start.shape, places).reshape(-1))


class _Planes(torch.autograd.Function):
    """y_np = W x_np + b at every place p: x (N, F, places), W (P, F), b (P,) → (N, P, places), a plane per number.

    The gradient of x lies in memory as x does. Autograd's own lies plane by plane even where x has its channels last,
    as from a convolution, and the ReLU before is several times slower when its input and its gradient lie differently.
    """

    @staticmethod
    def forward(ctx, x, weight, bias):  # noqa: ANN001, ANN205 (autograd's own signature)
        ctx.save_for_backward(x, weight)
        return torch.baddbmm(bias.unsqueeze(-1).expand(len(x), -1, x.shape[-1]), weight.expand(len(x), -1, -1), x)

    @staticmethod
    def backward(ctx, gradient):  # noqa: ANN001, ANN205
        x, weight = ctx.saved_tensors
        each = weight.expand(len(x), -1, -1)
        to_x = torch.bmm(each.mT, gradient) if x.is_contiguous() else torch.bmm(gradient.mT, each).mT
        return to_x, torch.bmm(gradient, x.mT).sum(0), gradient.sum((0, 2))
