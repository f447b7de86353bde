"""The numbers that a layer gives → spreads above 0 and triangular factors of covariances."""

import torch
from torch import Tensor

__all__ = ["bounded_exp", "lower", "packed"]

BEND = 8.0  # log scales stay within ±8


def bounded_exp(log_scale: Tensor) -> Tensor:
    """exp, with the exponent bent to stay within ±8: a wild early step can neither overflow nor collapse."""
    return torch.exp(BEND * torch.tanh(log_scale / BEND))


def lower(flat: Tensor, size: int) -> Tensor:
    """(…, d(d+1)/2) → lower triangular (…, d, d) with a positive diagonal; zeros give the identity."""
    rows, columns = torch.tril_indices(size, size, device=flat.device)
    matrix = flat.new_zeros(*flat.shape[:-1], size, size)
    matrix[..., rows, columns] = flat
    diagonal = bounded_exp(matrix.diagonal(dim1=-2, dim2=-1))
    return matrix.tril(-1) + torch.diag_embed(diagonal)


def packed(factor: Tensor) -> Tensor:
    """The inverse of ``lower``; a diagonal that it cannot give is brought to the nearest that it can."""
    log_diagonal = factor.diagonal(dim1=-2, dim2=-1).log() / BEND
    bent = BEND * torch.atanh(log_diagonal.clamp(-0.99, 0.99))
    rows, columns = torch.tril_indices(*factor.shape[-2:], device=factor.device)
    return (factor.tril(-1) + torch.diag_embed(bent))[..., rows, columns]
