"""The contract of a prior."""

from torch import Tensor, nn
from torch.distributions import Distribution

from variate.base.errors import UserError

__all__ = ["Prior"]


class Prior(nn.Module):
    """c (B, C) or None → p(z | c), batch shape (B,) or (). ``noise_size``: normals that one draw takes."""

    def __init__(self, size: int, context: int, noise_size: int | None = None):
        super().__init__()
        self.size, self.context = size, context
        self.noise_size = size if noise_size is None else noise_size

    def forward(self, context: Tensor | None) -> Distribution:
        raise NotImplementedError

    def fit(self, codes: Tensor, context: Tensor | None) -> None:
        """Set the parameters to what codes (n, d) and their contexts (n, C) say (Ghosh et al. 2020, section 4).

        For codes that were trained without a prior. Their standard deviations may be any within e^±7.
        """
        raise UserError(f"prior {type(self).__name__} has nothing to fit: use prior.name=normal or prior.name=mixture.")

    def start_at(self, codes: Tensor, context: Tensor | None, spread: float) -> None:
        """Told codes (n, d) and contexts (n, C) of training rows before the first step, where codes have a law by then:
        lets it start there. The codes are known to within ``spread``."""
