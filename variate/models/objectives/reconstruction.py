"""The objective of autoencoders."""

from torch import Tensor

from variate.models.latents.latent import mean_of_samples
from variate.models.objectives.objective import Objective, Scene, Terms

__all__ = ["Reconstruction"]


class Reconstruction(Objective):
    """loss = ‖x − f(g(x))‖²: the deterministic autoencoder. Not a bound on any likelihood."""

    density = False

    def forward(self, scene: Scene) -> tuple[Tensor, Terms]:
        loss = mean_of_samples(scene.decoded.squared_error)
        return loss, Terms(squared_error=loss.detach())
