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
    "Gathered",
    "code_means",
    "codes",
    "decode",
    "in_chunks",
    "label_probabilities",
    "matching",
    "reconstruct",
    "reconstruction_units",
    "sample",
    "squared_errors",
]

CHUNK = 250
DECODED_ROWS = 1000  # in memory at a time, where only their errors are kept


class Gathered:
    """Columns (rows, …) that are filled some rows at a time.

    They are allocated together: small results that stay between large batches that go would fill memory with holes.
    """

    def __init__(self, rows: int):
        self.rows, self.done, self.columns = rows, 0, list[Tensor]()

    def add(self, *found: Tensor) -> None:
        """The next rows of every column."""
        self.columns = self.columns or [part.new_empty((self.rows, *part.shape[1:])) for part in found]
        for column, part in zip(self.columns, found, strict=True):
            column[self.done : self.done + len(part)] = part
        self.done += len(found[0])


def matching(run: Run, data: Dataset, given: bool = True) -> Dataset:
    """The rows under the model's own schema: what they are was settled when it was trained, not by these rows.

    Raises ``UserError`` for rows of another kind, or, unless c is not ``given`` but summed out, without what a
    conditional model needs to know of each.
    """
    data = data.under(run.schema)
    if not (run.conditional and given):
        return data
    if run.schema.labels and (data.labels is None or bool((data.labels < 0).any())):
        raise UserError(f"the model is conditional: {data.name} needs a label for every row.")
    if run.schema.condition_scale and data.columns is None:
        columns = len(run.schema.condition_scale)
        raise UserError(f"the model is conditional: {data.name} needs {columns} known columns, given as labels.")
    return data


@torch.inference_mode()
def in_chunks(
    function: Callable[..., Tensor], run: Run, data: Dataset, description: str, keyed: bool = False
) -> Tensor:
    """``function`` of every chunk of rows, concatenated; the last chunk is filled up with copies of its last row.

    ``keyed``: it is given the rows' keys as well, for noise that belongs to a row.
    """
    data = matching(run, data)
    results = Gathered(len(data))
    with Progress(description, len(data), unit="rows") as bar:
        for start in range(0, len(data), CHUNK):
            index = torch.arange(start, start + CHUNK).clamp(max=len(data) - 1)
            kept = min(CHUNK, len(data) - start)
            keys = (noise.row_keys(data.values[index]),) if keyed else ()
            results.add(function(data.batch(index, run.binarize).to(run.dtype), *keys)[:kept])
            bar.advance(kept)
    return results.columns[0]


def codes(run: Run, data: Dataset) -> tuple[Tensor, Tensor]:
    """(mean, standard deviation) of the posterior of every row, (n, size) each."""

    def both(batch: Batch) -> Tensor:
        c = run.model.encode_context(batch.context)
        groups = [q for q, _ in run.model.latent.marginals(run.model.encoder(batch.input, c), c)]
        return torch.stack([torch.cat([getattr(q, part) for q in groups], -1) for part in ("mean", "stddev")], 1)

    found = in_chunks(both, run, data, "Embedding")
    return found[:, 0], found[:, 1]


def code_means(run: Run, data: Dataset) -> Tensor:
    """The posterior mean of every row, (n, size)."""
    return codes(run, data)[0]


def label_probabilities(run: Run, data: Dataset, samples: int = 16, seed: int = 0) -> Tensor:
    """q(y|x) = E_q(z|x) p(y|z) of every row, (n, classes), over ``samples`` draws of z keyed by the row's own bytes."""
    model, labelling = run.model, run.model.labelling
    if labelling is None:
        raise UserError("the model predicts no labels: train one with --recipe semi-supervised.")

    def predicted(batch: Batch, keys: list[bytes]) -> Tensor:
        c = model.encode_context(batch.context)
        draws = noise.row_normal(seed, "labels", keys, (samples, model.latent.noise_size)).to(run.dtype)
        draw = model.latent.infer(model.encoder(batch.input, c), c, draws)
        return labelling(draw.code).softmax(-1).mean(0)

    return in_chunks(predicted, run, data, "Labelling", keyed=True)


def reconstruct(run: Run, data: Dataset) -> np.ndarray:
    """f(E q(z|x)): the point decoded at the posterior mean, in the data's own shape and dtype."""
    return run.schema.to_raw(reconstruction_units(run, data))


def reconstruction_units(run: Run, data: Dataset) -> Tensor:
    """The same in model units, (n, *tensor_shape): not rounded to whole levels.

    Raises ``UserError`` for data that are larger than memory, since the reconstructions are too.
    """
    if data.streams:
        raise UserError(f"{data.name} is too large to be reconstructed in memory: give fewer rows, as in --rows 1000.")

    def points(batch: Batch) -> Tensor:
        c = run.model.encode_context(batch.context)
        latent = run.model.latent
        code = latent.code_at(latent.embed(run.model.encoder(batch.input, c), c), c)
        return run.model.likelihood.point(run.model.decode(code.unsqueeze(0), c))[0]

    return in_chunks(points, run, data, "Reconstructing")


def squared_errors(run: Run, data: Dataset) -> Tensor:
    """Mean of (x − f(g(x)))² over the values of every row in model units, at the posterior mean: (n,)."""
    errors = Gathered(len(data))
    with Progress("Reconstructing", len(data), unit="rows") as bar:
        for start in range(0, len(data), DECODED_ROWS):
            part = data.rows(slice(start, start + DECODED_ROWS))
            raw = part.values[:]
            error = run.schema.to_tensor(raw) - reconstruction_units(run, replace(part, values=raw))
            errors.add((error**2).flatten(1).mean(1))
            bar.advance(len(part))
    return errors.columns[0]


@torch.inference_mode()
def decode(run: Run, embedding: Tensor, context: Tensor | None = None) -> np.ndarray:
    """The points decoded at given values of z (n, size), in the data's own shape and dtype."""
    points = []
    for start in range(0, len(embedding), CHUNK):
        index = torch.arange(start, start + CHUNK).clamp(max=len(embedding) - 1)
        c = run.model.encode_context(None if context is None else context[index])
        code = run.model.latent.code_at(embedding[index].to(run.dtype), c)
        points.append(run.model.likelihood.point(run.model.decode(code.unsqueeze(0), c))[0])
    return run.schema.to_raw(torch.cat(points)[: len(embedding)])


@torch.inference_mode()
def sample(run: Run, n: int, context: Tensor | None = None, seed: int = 0, mean: bool = False) -> np.ndarray:
    """z ~ p(z|c), x ~ p(x|z, c) (``mean``: the point instead of a draw), in the data's own shape and dtype.

    Row i's z depends on (seed, i, its context) alone. Without a context, a model conditional on labels draws them from
    the training rows' frequencies. Raises ``UserError`` where there is no prior to draw from, or nothing to draw c
    from.
    """
    if not run.generates:
        raise UserError(
            "this deterministic autoencoder has no prior to draw from: train one with prior.name=mixture, which is "
            "fitted to its codes, or with objective elbo or iwae."
        )
    if run.conditional and context is None:
        context = _drawn_labels(run, n, seed)
    drawn = []
    with Progress("Sampling", n, unit="rows") as bar:
        for chunk, start in enumerate(range(0, n, CHUNK)):
            index = torch.arange(start, start + CHUNK).clamp(max=n - 1)
            c = run.model.encode_context(None if context is None else context[index])
            shape = (1, CHUNK, run.model.latent.noise_size)
            z_noise = noise.normal(seed, "sample", chunk, shape=shape).to(run.dtype)
            parameters = run.model.decode(run.model.latent.generate(c, z_noise), c)
            drawn.append(run.schema.to_raw(_observed(run, parameters, mean, (seed, "draw", chunk))))
            bar.advance(min(CHUNK, n - start))
    return np.concatenate(drawn)[:n]


def _drawn_labels(run: Run, n: int, seed: int) -> Tensor:
    if not run.labelled:
        raise UserError("the model is conditional on known columns: say with --condition which values they have.")
    frequencies = torch.tensor(run.schema.labels, dtype=torch.float64)
    return torch.multinomial(frequencies, n, replacement=True, generator=noise.generator(seed, "sample labels"))


def _observed(run: Run, parameters: Tensor, mean: bool, key: tuple) -> Tensor:
    """The point of p(x | z), or a draw; of a deterministic autoencoder, which has no noise model, always the point."""
    likelihood = run.model.likelihood
    if mean or run.deterministic:
        return likelihood.point(parameters)[0]
    with noise.seeded(*key):
        return likelihood.distribution(parameters).sample()[0]
