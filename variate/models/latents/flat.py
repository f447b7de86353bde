"""One cell, which is the code itself."""

from torch import Tensor

from variate.base.errors import UserError, suggest
from variate.models.latents.latent import Choose, Latent
from variate.models.posteriors.posterior import Posterior
from variate.models.priors.prior import Prior

__all__ = ["Flat"]

STARTS = ("random", "principal")


class Flat(Latent):
    """One group: z ~ p(z|c), q(z|x,c) from the encoder's features. The code is z itself.

    ``start``: "random", or "principal": see ``variate.models.start``.

    >>> import torch
    >>> from variate.models.posteriors.diagonal import Diagonal
    >>> from variate.models.priors.standard import Standard
    >>> latent = Flat(Diagonal(features=5, size=2), Standard(size=2, context=0))
    >>> draw = latent.infer(torch.zeros(3, 5), None, noise=torch.zeros(7, 3, 2))
    >>> draw.code.shape, draw.log_weight().shape, draw.rates_nats()[0].shape
    (torch.Size([7, 3, 2]), torch.Size([7, 3]), torch.Size([3, 2]))
    """

    def __init__(self, posterior: Posterior, prior: Prior, *, start: str = "random"):
        shape = (posterior.size,)
        super().__init__((shape,), shape, (max(posterior.size, prior.noise_size),))
        if start not in STARTS:
            raise UserError(f"latent.start={start!r} is not one of {', '.join(STARTS)}{suggest(start, STARTS)}.")
        self.posterior, self.prior, self.start = posterior, prior, start
        self.has_density = posterior.has_density

    def walk(self, choose: Choose, features: Tensor | None, context: Tensor | None) -> Tensor:
        return choose(None if features is None else self.posterior(features), self.prior(context))

    def fit_prior(self, embeddings: Tensor, context: Tensor | None) -> None:
        self.prior.fit(embeddings, context)

    def start_linear(
        self, matrix: Tensor, offset: Tensor, codes: Tensor, context: Tensor | None, spread: float
    ) -> None:
        self.posterior.start_linear(matrix, offset, spread)
        self.prior.start_at(codes, context, spread)
