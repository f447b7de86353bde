"""A model is four networks and a latent, put together; nobody subclasses it.

x ─encoder→ features ─latent→ Draw ─decoder→ features ─likelihood→ p(x | z, c), with the context c, encoded once,
shared by all of them.
"""

import torch
from torch import Tensor, nn

from variate.base.once import once
from variate.data.batch import Batch
from variate.models.labellings import Labelling
from variate.models.latents.latent import Draw, Latent, mean_of_samples
from variate.models.likelihoods.likelihood import Likelihood

__all__ = ["Decoded", "Model"]


class Decoded:
    """p(x | z, c) for n samples of every row, judged on the batch's target; computed when asked, once.

    The places of parameters, target and ``observed`` may be in any one order: nothing here is but summed over them.
    """

    def __init__(self, likelihood: Likelihood, parameters: Tensor, batch: Batch):
        self.likelihood, self.parameters, self.batch = likelihood, parameters, batch

    @once
    def log_prob(self) -> Tensor:
        """log p(x | z, c) in nats, (n, B)."""
        return self.likelihood.log_prob(self.parameters, self.batch.target, self.batch.observed)

    @once
    def distortion_nats(self) -> Tensor:
        """−log p(x | z, c), the mean over the samples: (B,)."""
        return -mean_of_samples(self.log_prob)

    @once
    def squared_error(self) -> Tensor:
        """‖x − point‖² in model units, summed over the (observed) values: (n, B)."""
        error = (self.batch.target - self.likelihood.point(self.parameters)) ** 2
        if self.batch.observed is not None:
            error = torch.where(self.batch.observed, error, torch.zeros_like(error))
        return error.flatten(2).sum(-1)


class Model(nn.Module):
    """encoder, latent, decoder, likelihood; a context network, if conditional; a labelling, if z explains labels."""

    def __init__(
        self,
        encoder: nn.Module,
        latent: Latent,
        decoder: nn.Module,
        likelihood: Likelihood,
        context: nn.Module | None,
        labelling: Labelling | None = None,
    ):
        super().__init__()
        self.encoder, self.latent, self.decoder = encoder, latent, decoder
        self.likelihood, self.context, self.labelling = likelihood, context, labelling

    def encode_context(self, context: Tensor | None) -> Tensor | None:
        """Raw context (B, …) → c (B, C); ``None`` for an unconditional model."""
        return None if self.context is None else self.context(context)

    def infer(self, x: Tensor, c: Tensor | None, noise: Tensor) -> Draw:
        """n = len(noise) samples from q(z | x, c) for every row."""
        return self.latent.infer(self.encoder(x, c), c, noise)

    def decode(self, code: Tensor, c: Tensor | None) -> Tensor:
        """Code (n, B, …) and c (B, C) → the likelihood's parameters (n, B, P, *shape)."""
        return self.likelihood(self._features(code, c)).unflatten(0, code.shape[:2])

    def judge(self, code: Tensor, c: Tensor | None, batch: Batch) -> Decoded:
        """Code (n, B, …) and c (B, C) → p(x | z, c), ready to be asked about the batch."""
        known = [batch.target] if batch.observed is None else [batch.target, batch.observed]
        parameters, target, *observed = self.likelihood.beside(self._features(code, c), *known)
        batch = batch._replace(target=target, observed=observed[0] if observed else None)
        return Decoded(self.likelihood, parameters.unflatten(0, code.shape[:2]), batch)

    def _features(self, code: Tensor, c: Tensor | None) -> Tensor:
        """What the decoder makes of every sample, (n · B, …)."""
        wide = None if c is None else c.expand(len(code), *c.shape).flatten(0, 1)
        return self.decoder(code.flatten(0, 1), wide)

    def forward(self, batch: Batch, noise: Tensor) -> tuple[Draw, Decoded]:
        """Encode, draw, decode, ready to be judged by an objective or an estimator."""
        c = self.encode_context(batch.context)
        draw = self.infer(batch.input, c, noise)
        return draw, self.judge(draw.code, c, batch)
