"""A toy: an objective with weights of its own, which learn against the model's."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from variate.models.objectives.objective import Objective, Scene, Terms, true_terms

__all__ = ["Critic"]


class Critic(Objective):
    """−ELBO + weight · log D(prior | z), D the critic's guess whether z was drawn from N(0, I) or from q(z|x).

    The critic learns the guess, the encoder to mislead it: a step down one loss, in which each sees the other held.
    """

    def __init__(self, code: tuple[int, ...], *, weight: float = 0.1, hidden: int = 8, rate_factor: float = 3.0):
        super().__init__()
        self.noise_size = math.prod(code)
        self.guess = nn.Sequential(nn.Linear(self.noise_size, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        self.weight, self.rate_factor = weight, rate_factor

    def forward(self, scene: Scene) -> tuple[Tensor, Terms]:
        z = scene.draw.code.flatten(2)
        held = {name: weight.detach() for name, weight in self.guess.named_parameters()}
        misled = F.softplus(functional_call(self.guess, held, (z,)))  # −log(1 − D), for z taken for the prior's: small
        learned = F.softplus(-self.guess(z.detach())) + F.softplus(self.guess(scene.noise))
        terms = true_terms(scene)
        loss = scene.decoded.distortion_nats + torch.stack(scene.draw.rates_nats()).sum((0, -1))
        surrogate = (self.weight * misled + learned).squeeze(-1).mean(0)
        other = {"critic_loss": learned.detach().squeeze(-1).mean(0)}
        return loss + surrogate, Terms(terms.distortion_nats, terms.rate_nats, terms.squared_error, others=other)
