"""A model is a reader, networks and a latent, put together; nobody subclasses it.

record ─reader→ x ─encoder→ features ─latent→ Draw ─decoder→ features ─likelihood→ p(record | z, c), with the context c,
made once of what is given, shared by all of them.
"""

import torch
from torch import Tensor, nn

from variate.base.once import once
from variate.data.batch import Batch, Record
from variate.models.labellings import Labelling
from variate.models.latents.latent import Draw, Latent, mean_of_samples
from variate.models.likelihoods.joint import Joint
from variate.models.readers import Reader

__all__ = ["Decoded", "Model"]


class Decoded:
    """p(x | z, c) for n samples of every row, judged on the target; computed when asked, once.

    The places of parameters and target may be in any one order: nothing here is but summed over them.
    """

    def __init__(self, likelihood: Joint, parameters: dict[str, Tensor], target: Record):
        self.likelihood, self.parameters, self.target = likelihood, parameters, target

    @once
    def log_prob(self) -> Tensor:
        """log p(x | z, c) in nats, (n, B)."""
        return self.likelihood.log_prob(self.parameters, self.target)

    @once
    def distortion_nats(self) -> Tensor:
        """−log p(x | z, c), the mean over the samples: (B,)."""
        return -mean_of_samples(self.log_prob)

    @once
    def squared_error(self) -> Tensor:
        """‖x − point‖² in model units, summed over the (observed) values: (n, B)."""
        points = self.likelihood.point(self.parameters)
        errors = []
        for name, (units, observed) in self.target.items():
            error = (units - points[name]) ** 2
            if observed is not None:
                error = torch.where(observed, error, torch.zeros_like(error))
            errors.append(error.flatten(2).sum(-1))
        return errors[0] if len(errors) == 1 else torch.stack(errors).sum(0)


class Model(nn.Module):
    """reader, encoder, latent, decoder, likelihood; a context network, if something is given, and a labelling, if z
    explains labels."""

    def __init__(
        self,
        reader: Reader,
        encoder: nn.Module,
        latent: Latent,
        decoder: nn.Module,
        likelihood: Joint,
        context: nn.Module | None,
        labelling: Labelling | None = None,
    ):
        super().__init__()
        self.reader, self.encoder, self.latent, self.decoder = reader, encoder, latent, decoder
        self.likelihood, self.context, self.labelling = likelihood, context, labelling

    def encode_context(self, given: Record | None) -> Tensor | None:
        """What is given of every row → c (B, C); ``None`` for an unconditional model."""
        return None if self.context is None else self.context(given)

    def read(self, record: Record, c: Tensor | None) -> Tensor:
        """A record → the encoder's features (B, F)."""
        return self.encoder(self.reader(record), c)

    def infer(self, record: Record, c: Tensor | None, noise: Tensor) -> Draw:
        """n = len(noise) samples from q(z | x, c) for every row."""
        return self.latent.infer(self.read(record, c), c, noise)

    def decode(self, code: Tensor, c: Tensor | None) -> dict[str, Tensor]:
        """Code (n, B, …) and c (B, C) → the likelihood's parameters (n, B, P, *shape) of every field."""
        return _by_sample(self.likelihood(self._features(code, c)), code)

    def judge(self, code: Tensor, c: Tensor | None, batch: Batch) -> Decoded:
        """Code (n, B, …) and c (B, C) → p(x | z, c), ready to be asked about the batch."""
        parameters, target = self.likelihood.beside(self._features(code, c), batch.target)
        return Decoded(self.likelihood, _by_sample(parameters, code), target)

    def _features(self, code: Tensor, c: Tensor | None) -> Tensor:
        """What the decoder makes of every sample, (n · B, …)."""
        wide = None if c is None else c.expand(len(code), *c.shape).flatten(0, 1)
        return self.decoder(code.flatten(0, 1), wide)

    def forward(self, batch: Batch, noise: Tensor) -> tuple[Draw, Decoded]:
        """Encode, draw, decode, ready to be judged by an objective or an estimator."""
        c = self.encode_context(batch.given)
        draw = self.infer(batch.input, c, noise)
        return draw, self.judge(draw.code, c, batch)


def _by_sample(parameters: dict[str, Tensor], code: Tensor) -> dict[str, Tensor]:
    """(n · B, …) → (n, B, …), as the code (n, B, …) has it."""
    return {name: numbers.unflatten(0, code.shape[:2]) for name, numbers in parameters.items()}
