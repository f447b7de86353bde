"""A trained model applied to rows: always in chunks of one size, padded, so that no row's result depends on another."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from variate import noise
from variate.checkpoint import Run
from variate.data.batch import Batch
from variate.data.dataset import Dataset
from variate.errors import UserError
from variate.progress import Progress

__all__ = [
    "code_means",
    "decode",
    "in_chunks",
    "matching",
    "reconstruct",
    "reconstruction_units",
    "sample",
]

CHUNK = 250


def matching(run: Run, data: Dataset) -> Dataset:
    """The rows under the model's own schema: what they are was settled when it was trained, not by these rows.

    Raises ``UserError`` for rows of another kind, or without the labels that a conditional model needs.
    """
    wanted, values = run.schema, data.values
    fits = data.schema.shape == wanted.shape
    if fits and wanted.levels is not None:
        fits = not values.is_floating_point() and 0 <= int(values.min()) and int(values.max()) < wanted.levels
    if not fits:
        raise UserError(
            f"{data.name} holds {data.schema.describe()}, but the model was trained on {wanted.describe()}."
        )
    if run.conditional:
        if data.labels is None:
            raise UserError(f"the model is conditional: {data.name} needs a label for every row.")
        if int(data.labels.max()) >= len(wanted.labels or ()):
            raise UserError(f"{data.name} has labels up to {int(data.labels.max())}, which the model has never seen.")
    return replace(data, schema=wanted)


@torch.inference_mode()
def in_chunks(function: Callable[[Batch], Tensor], run: Run, data: Dataset, description: str) -> Tensor:
    """``function`` of every chunk of rows, concatenated; the last chunk is filled up with copies of its last row."""
    data = matching(run, data)
    results = []
    with Progress(description, len(data), unit="rows") as bar:
        for start in range(0, len(data), CHUNK):
            index = torch.arange(start, start + CHUNK).clamp(max=len(data) - 1)
            kept = min(CHUNK, len(data) - start)
            results.append(function(data.batch(index, run.binarize))[:kept])
            bar.advance(kept)
    return torch.cat(results)


def code_means(run: Run, data: Dataset) -> Tensor:
    """The posterior mean of every row, (n, size)."""

    def means(batch: Batch) -> Tensor:
        c = run.model.encode_context(batch.context)
        return run.model.latent.embed(run.model.encoder(batch.input, c), c)

    return in_chunks(means, run, data, "Embedding")


def reconstruct(run: Run, data: Dataset) -> np.ndarray:
    """f(E q(z|x)): the point decoded at the posterior mean, in the data's own shape and dtype."""
    return run.schema.to_raw(reconstruction_units(run, data))


def reconstruction_units(run: Run, data: Dataset) -> Tensor:
    """The same in model units, (n, *tensor_shape): not rounded to whole levels."""

    def points(batch: Batch) -> Tensor:
        c = run.model.encode_context(batch.context)
        latent = run.model.latent
        code = latent.code_at(latent.embed(run.model.encoder(batch.input, c), c), c)
        return run.model.likelihood.point(run.model.decode(code.unsqueeze(0), c))[0]

    return in_chunks(points, run, data, "Reconstructing")


@torch.inference_mode()
def decode(run: Run, embedding: Tensor, labels: Tensor | None = None) -> np.ndarray:
    """The points decoded at given values of z (n, size), in the data's own shape and dtype."""
    points = []
    for start in range(0, len(embedding), CHUNK):
        index = torch.arange(start, start + CHUNK).clamp(max=len(embedding) - 1)
        c = run.model.encode_context(None if labels is None else labels[index])
        code = run.model.latent.code_at(embedding[index], c)
        points.append(run.model.likelihood.point(run.model.decode(code.unsqueeze(0), c))[0])
    return run.schema.to_raw(torch.cat(points)[: len(embedding)])


@torch.inference_mode()
def sample(run: Run, n: int, labels: Tensor | None = None, seed: int = 0, mean: bool = False) -> np.ndarray:
    """z ~ p(z|c), x ~ p(x|z, c) (``mean``: the point instead of a draw), in the data's own shape and dtype.

    Row i depends on (seed, i, its label) alone. Without labels a conditional model draws c from the training rows'
    frequencies. Raises ``UserError`` for a deterministic autoencoder, which has no prior to draw from.
    """
    if run.deterministic:
        raise UserError("a deterministic autoencoder has no prior to draw from: train one with objective elbo or iwae.")
    if run.conditional and labels is None:
        frequencies = torch.tensor(run.schema.labels, dtype=torch.float64)
        labels = torch.multinomial(frequencies, n, replacement=True, generator=noise.generator(seed, "sample labels"))
    drawn = []
    with Progress("Sampling", n, unit="rows") as bar:
        for chunk, start in enumerate(range(0, n, CHUNK)):
            index = torch.arange(start, start + CHUNK).clamp(max=n - 1)
            c = run.model.encode_context(None if labels is None else labels[index])
            z_noise = noise.normal(seed, "sample", chunk, shape=(1, CHUNK, run.model.latent.noise_size))
            parameters = run.model.decode(run.model.latent.generate(c, z_noise), c)
            with noise.seeded(seed, "draw", chunk):
                likelihood = run.model.likelihood
                units = likelihood.point(parameters) if mean else likelihood.distribution(parameters).sample()
            drawn.append(run.schema.to_raw(units[0]))
            bar.advance(min(CHUNK, n - start))
    return np.concatenate(drawn)[:n]
