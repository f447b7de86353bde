"""The user's own networks: plain ``nn.Module``s whose shapes are found out by one dry run.

``kind`` is what the class was called, for the file's reader: the module itself is not in the file.
"""

import copy
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from variate import noise
from variate.base.errors import UserError
from variate.base.surroundings import apart

__all__ = ["Decoder", "Encoder", "Own"]


@contextmanager
def drawing(networks: Iterable["Own"], *key: object) -> Iterator[None]:
    """What these networks draw inside the block is a function of the key; nothing else there pays for it."""
    stream = noise.seeded(*key)
    for network in networks:
        network.drawing = stream
    try:
        yield
    finally:
        for network in networks:
            network.drawing = None


class Own(nn.Module):
    """A copy of the user's module in single precision, called with c only if the model is conditional.

    It may draw numbers of its own, as dropout does: under a seed of the step while it is trained, under one seed later.
    """

    def __init__(self, module: object, part: str):
        super().__init__()
        if not isinstance(module, nn.Module):
            raise UserError(f"the {part} is {type(module).__name__}: give a torch.nn.Module.")
        for name, inner in module.named_modules():
            if isinstance(inner, nn.modules.batchnorm._BatchNorm):
                raise UserError(
                    f"the {part} holds {type(inner).__name__} ({name}), which makes one row's likelihood depend on the "
                    "others: use GroupNorm or LayerNorm."
                )
        self.drawing: noise.seeded | None = None  # what it draws from: nothing of ours in a loop of the user's own
        self.module, self.part = _in_single_precision(copy.deepcopy(module)), part

    def _call(self, x: Tensor, context: Tensor | None) -> Tensor:
        drawing = self.drawing
        if drawing is None and not self.training:  # one that draws even when it is applied
            drawing = noise.seeded("own networks", self.part)
        with drawing or nullcontext():
            return self.module(x) if context is None else self.module(x, context)

    def _try(self, shape: tuple[int, ...], context: int) -> tuple[int, ...]:
        """The shape of what two rows of zeros become, without the rows."""
        like = next(self.module.parameters(), torch.zeros((), dtype=torch.float32, device="cpu"))
        x, c = (torch.zeros(2, *size, dtype=like.dtype, device=like.device) for size in (shape, (context,)))
        given = f"{'x' if self.part == 'encoder' else 'z'} {tuple(x.shape)}" + (
            f" and c {tuple(c.shape)}" if context else ""
        )
        try:
            with apart(), torch.no_grad(), noise.seeded("the shape of what it gives"):
                out = self._call(x, c if context else None)
        except UserError:
            raise
        except Exception as error:  # whatever the user's code may raise
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"the {self.part} cannot be called with {given}: {why}.") from error
        if not isinstance(out, Tensor) or out.dim() < 2 or len(out) != 2 or 0 in out.shape:
            got = f"a tensor of shape {tuple(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
            raise UserError(f"the {self.part}, called with {given}, gave {got}: it must give a tensor (2, …).")
        return tuple(out.shape[1:])


def _in_single_precision(module: nn.Module) -> nn.Module:
    """As all that is learned: weights of another precision, which torch may have been told to make, are converted."""
    other = any(weight.is_floating_point() and weight.dtype != torch.float32 for weight in module.parameters())
    return module.to(torch.float32) if other else module


class Encoder(Own):
    """x (B, *shape) and, for a conditional model, c (B, C) → features (B, …), flattened to (B, F).

    The posterior's own linear layer makes its mean and scale of them.
    """

    def __init__(self, module: object, shape: tuple[int, ...], context: int, *, kind: str = ""):
        super().__init__(module, "encoder")
        self.features = (math.prod(self._try(shape, context)),)

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self._call(x, context).flatten(1)


class Decoder(Own):
    """code (N, *code) and, if conditional, c (N, C) → (N, F), (N, F, places…), (N, *shape) or (N, D) flattened.

    The likelihood's own linear layer, the same at every place, makes its parameters of them.
    """

    def __init__(self, module: object, code: tuple[int, ...], shape: tuple[int, ...], context: int, *, kind: str = ""):
        super().__init__(module, "decoder")
        found = self._try(code, context)
        whole = len(found) == 1 < len(shape) and found[0] == math.prod(shape)
        self.features = shape if whole else found
        if len(self.features) not in (1, len(shape)):
            gave = ", ".join(map(str, ("N", *found)))
            places = f" or (N, F{', places' * (len(shape) - 1)})" if len(shape) > 1 else ""
            raise UserError(f"the decoder gave ({gave}): for examples of {shape} it must give (N, F){places}.")

    def forward(self, code: Tensor, context: Tensor | None) -> Tensor:
        out = self._call(code, context)
        return out.reshape(len(out), *self.features)
