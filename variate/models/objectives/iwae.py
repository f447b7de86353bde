"""The importance-weighted bound."""

import math

import torch
from torch import Tensor

from variate.base.errors import UserError
from variate.models.latents.latent import Draw
from variate.models.model import Decoded
from variate.models.objectives.objective import Objective, Scene, Terms, true_terms

__all__ = ["Iwae"]


class Iwae(Objective):
    """log p(x|c) ≥ E[log 1/k Σ_i p(x, z_i|c) / q(z_i|x,c)], z_i ~ q   (Burda et al. 2016, eq. 8); ≥ the ELBO.

    ``gradient``: "reparameterized" differentiates the bound as it stands; "doubly_reparameterized" gives the
    encoder the lower-variance gradient of Tucker et al. (2019, eq. 8), in which weight i enters squared.

    >>> Iwae(k=5, gradient="doubly_reparameterized").samples
    5
    """

    def __init__(self, *, k: int = 10, gradient: str = "reparameterized"):
        super().__init__()
        if k < 1 or gradient not in ("reparameterized", "doubly_reparameterized"):
            raise UserError(
                f"objective iwae: k={k} must be >= 1 and gradient={gradient!r} either reparameterized or "
                "doubly_reparameterized."
            )
        self.samples, self.doubly = k, gradient == "doubly_reparameterized"

    def forward(self, scene: Scene) -> tuple[Tensor, Terms]:
        log_weight = scene.decoded.log_prob + scene.draw.log_weight()
        bound = torch.logsumexp(log_weight, 0) - math.log(self.samples)
        terms = true_terms(scene, bound)
        if not self.doubly:
            return -bound, terms
        return self._doubly_reparameterized(scene.draw, scene.decoded, bound), terms

    def _doubly_reparameterized(self, draw: Draw, decoded: Decoded, bound: Tensor) -> Tensor:
        """The value of −bound whose gradient uses w̃ᵢ for the decoder and prior, and w̃ᵢ² along the path through z.

        In a ladder the lower posteriors depend on the upper z too, and this would be biased (Bauer & Mnih 2021). Both
        are held constant: what autograd would call the gradient's own derivative is none, and raises ``UserError``.
        """
        if len(draw.groups) > 1:
            raise UserError(
                "objective.gradient=doubly_reparameterized holds for one latent group: use reparameterized."
            )
        log_weight = decoded.log_prob + draw.log_weight(detached=True)
        share = log_weight.detach().softmax(0)
        z = draw.code  # of one group, the code is z itself
        if z.requires_grad:  # the path z = μ + σε reaches only the encoder: scale what flows back along it
            z.register_hook(lambda gradient: share.view(*share.shape, *[1] * (z.dim() - 2)) * gradient)
        surrogate = (share * log_weight).sum(0)
        loss = -(surrogate - surrogate.detach() + bound.detach())
        if loss.requires_grad:
            loss.register_hook(_refuse_to_be_differentiated)
        return loss


def _refuse_to_be_differentiated(gradient: Tensor) -> None:
    if torch.is_grad_enabled():  # as it is with create_graph=True alone
        raise UserError(
            "objective.gradient=doubly_reparameterized has no second derivatives: use reparameterized, or leave out "
            "create_graph."
        )
