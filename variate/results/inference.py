"""A trained model applied to rows: always in chunks of one size, padded, so that no row's result depends on another.

Products of one size may still round differently at different places, as those of some processors do. What is promised:
the same bits for the same place in the same chunk; anywhere else 1e-12 of the value for vectors, which are computed in
double precision, and 1e-5 of it for everything else, in single precision.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from variate import noise
from variate.base.errors import UserError, seed_number
from variate.base.progress import Progress
from variate.base.surroundings import applying
from variate.data.batch import Batch, Record
from variate.data.dataset import Dataset
from variate.results.checkpoint import Run

__all__ = [
    "Gathered",
    "all_in_chunks",
    "chunks",
    "code_means",
    "codes",
    "decode",
    "exact",
    "in_chunks",
    "label_probabilities",
    "matching",
    "reconstruct",
    "reconstructed",
    "reconstruction_units",
    "rows_at_once",
    "sample",
    "squared_errors",
]

CHUNK = 250  # rows at a time, at most
CHUNK_BYTES = 1 << 26  # that the parameters of p(x|z) of so many rows may take
DECODED_ROWS = 1000  # in memory at a time, at most, where only their errors are kept


def exact(run: Run) -> Run:
    """The run as it is applied to rows: of vectors in double precision, where rounding stays below 1e-12."""
    if not run.schema.are_vectors or run.dtype == torch.float64:
        return run
    return replace(run, model=copy.deepcopy(run.model).double())


def rows_at_once(run: Run, most: int = CHUNK) -> int:
    """How many rows (or samples of them) are decoded together: by their bytes, a function of the model alone."""
    values = run.model.likelihood.parameters_per_row
    return max(1, min(most, CHUNK_BYTES // (values * run.dtype.itemsize)))


def chunks(rows: int, size: int) -> Iterator[tuple[Tensor, int]]:
    """(index, how many of it count) until all rows are done; the last one is filled up with copies of its last row.

    >>> [(index.tolist(), kept) for index, kept in chunks(rows=5, size=3)]
    [([0, 1, 2], 3), ([3, 4, 4], 2)]
    """
    for start in range(0, rows, size):
        yield torch.arange(start, start + size).clamp(max=rows - 1), min(size, rows - start)


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
    if run.schema.class_counts and (data.labels is None or bool((data.labels < 0).any())):
        raise UserError(f"the model is given labels: {data.name} needs one for every row.")
    if run.schema.columns is not None and data.columns is None:
        columns = run.schema.columns.size
        raise UserError(f"the model is given columns: {data.name} needs {columns} known columns, given as labels.")
    return data


@applying()
def in_chunks(
    function: Callable[..., Tensor], run: Run, data: Dataset, description: str, keyed: bool = False
) -> Tensor:
    """``function`` of every chunk of rows, concatenated.

    ``keyed``: it is given the rows' keys as well, for noise that belongs to a row.
    """
    return all_in_chunks(lambda *chunk: (function(*chunk),), run, data, description, keyed)[0]


@applying()
def all_in_chunks(
    function: Callable[..., tuple[Tensor, ...]], run: Run, data: Dataset, description: str, keyed: bool = False
) -> list[Tensor]:
    """The same of a function that gives several tensors."""
    data = matching(run, data)
    results = Gathered(len(data))
    with Progress(description, len(data), unit="rows") as bar:
        for index, kept in chunks(len(data), rows_at_once(run)):
            keys = (data.keys(index),) if keyed else ()
            found = function(data.batch(index, run.binarize, dtype=run.dtype), *keys)
            results.add(*(part[:kept] for part in found))
            bar.advance(kept)
    return results.columns


def codes(run: Run, data: Dataset) -> tuple[Tensor, Tensor]:
    """(mean, standard deviation) of the posterior of every row, (n, size) each."""
    run = exact(run)

    def both(batch: Batch) -> Tensor:
        c = run.model.encode_context(batch.given)
        cells = [q for q, _ in run.model.latent.marginals(run.model.read(batch.input, c), c)]
        return torch.cat([torch.stack([q.mean.flatten(1), q.stddev.flatten(1)], 1) for q in cells], dim=-1)

    found = in_chunks(both, run, data, "Embedding")
    return found[:, 0], found[:, 1]


def code_means(run: Run, data: Dataset) -> Tensor:
    """The posterior mean of every row, (n, size)."""
    return codes(run, data)[0]


def label_probabilities(run: Run, data: Dataset, samples: int = 16, seed: int = 0) -> Tensor:
    """q(y|x) = E_q(z|x) p(y|z) of every row, (n, classes), over ``samples`` draws of z that are the row's own."""
    run = exact(run)
    model, labelling, seed = run.model, run.model.labelling, seed_number(seed)
    if labelling is None:
        raise UserError("the model predicts no labels: train one with --recipe semi-supervised.")

    def predicted(batch: Batch, keys: list[bytes]) -> Tensor:
        c = model.encode_context(batch.given)
        draws = noise.row_normal(seed, "labels", keys, (samples, model.latent.noise_size)).to(run.dtype)
        draw = model.infer(batch.input, c, draws)
        return labelling(draw.code).softmax(-1).mean(0)

    return in_chunks(predicted, run, data, "Labelling", keyed=True)


def reconstruct(run: Run, data: Dataset) -> np.ndarray:
    """f(E q(z|x)): the point decoded at the posterior mean, in the data's own shape and dtype."""
    return run.schema.to_raw(reconstructed(run, data))


def reconstruction_units(run: Run, data: Dataset) -> Tensor:
    """The same of an array in model units, (n, *tensor_shape): not rounded to whole levels."""
    return reconstructed(run, data)[run.schema.x.name]


def reconstructed(run: Run, data: Dataset) -> dict[str, Tensor]:
    """The points of every field in model units, (n, *tensor_shape).

    Raises ``UserError`` for data that are larger than memory, since the reconstructions are too.
    """
    if data.streams:
        raise UserError(f"{data.name} is too large to be reconstructed in memory: give fewer rows, as in --rows 1000.")
    run = exact(run)
    names = [field.name for field in run.schema.explained]

    def points(batch: Batch) -> tuple[Tensor, ...]:
        c = run.model.encode_context(batch.given)
        latent = run.model.latent
        code = latent.code_at(latent.embed(run.model.read(batch.input, c), c), c)
        found = run.model.likelihood.point(run.model.decode(code.unsqueeze(0), c))
        return tuple(found[name][0] for name in names)

    return dict(zip(names, all_in_chunks(points, run, data, "Reconstructing"), strict=True))


def squared_errors(run: Run, data: Dataset) -> Tensor:
    """Mean of (x − f(g(x)))² over the values of every row in model units, at the posterior mean: (n,)."""
    run, data, errors = exact(run), matching(run, data), Gathered(len(data))
    size = min(DECODED_ROWS, 4 * rows_at_once(run))
    with Progress("Reconstructing", len(data), unit="rows") as bar:
        for start in range(0, len(data), size):
            part = data.rows(slice(start, start + size))
            part = replace(part, values=part.values[:])
            errors.add(_mean_squares(part.batch(slice(None), dtype=run.dtype).target, reconstructed(run, part)))
            bar.advance(len(part))
    return errors.columns[0]


def _mean_squares(target: Record, points: dict[str, Tensor]) -> Tensor:
    """The mean of (x − point)² over the observed numbers of every row, (n,)."""
    squares, counts = [], []
    for name, (units, observed) in target.items():
        there = torch.ones_like(units) if observed is None else observed.to(units)
        squares.append((((units - points[name]) ** 2) * there).flatten(1).sum(1))
        counts.append(there.flatten(1).sum(1))
    return torch.stack(squares).sum(0) / torch.stack(counts).sum(0)


@applying()
def decode(run: Run, embedding: Tensor, context: Tensor | None = None) -> np.ndarray:
    """The points decoded at given values of z (n, size), in the data's own shape and dtype."""
    run, points = exact(run), []
    for index, _ in chunks(len(embedding), rows_at_once(run)):
        told = None if context is None else context[index]
        c = run.model.encode_context(run.schema.told(told, run.dtype))
        code = run.model.latent.code_at(embedding[index].to(run.dtype), c)
        found = run.model.likelihood.point(run.model.decode(code.unsqueeze(0), c))
        points.append(_with_given(run, {name: units[0] for name, units in found.items()}, told))
    return np.concatenate(points)[: len(embedding)]


@applying()
def sample(run: Run, n: int, context: Tensor | None = None, seed: int = 0, mean: bool = False) -> np.ndarray:
    """z ~ p(z|c), x ~ p(x|z, c) (``mean``: the point instead of a draw), in the data's own shape and dtype.

    Row i's z depends on (seed, i, its context) alone. Without a context, a model conditional on labels draws them from
    the training rows' frequencies. Raises ``UserError`` where there is no prior to draw from, or nothing to draw c
    from.
    """
    seed = seed_number(seed)
    if not run.generates:
        raise UserError(
            "this deterministic autoencoder has no prior to draw from: train one with prior.name=mixture, which is "
            "fitted to its codes, or with objective elbo or iwae."
        )
    if run.conditional and context is None:
        context = _drawn_labels(run, n, seed)
    run = exact(run)
    drawn, size = np.empty((n, *run.schema.shape), run.schema.dtype), rows_at_once(run)
    with Progress("Sampling", n, unit="rows") as bar:
        for chunk, (index, kept) in enumerate(chunks(n, size)):
            told = None if context is None else context[index]
            c = run.model.encode_context(run.schema.told(told, run.dtype))
            shape = (1, size, run.model.latent.noise_size)
            z_noise = noise.normal(seed, "sample", chunk, shape=shape).to(run.dtype)
            parameters = run.model.decode(run.model.latent.generate(c, z_noise), c)
            rows = _with_given(run, _observed(run, parameters, mean, (seed, "draw", chunk)), told)
            drawn[chunk * size :][:kept] = rows[:kept]
            bar.advance(kept)
    return drawn


def _drawn_labels(run: Run, n: int, seed: int) -> Tensor:
    if not run.labelled:
        raise UserError("the model is given columns: say with --given which values they have.")
    frequencies = torch.tensor(run.schema.class_counts, dtype=torch.float64)
    return torch.multinomial(frequencies, n, replacement=True, generator=noise.generator(seed, "sample labels"))


def _with_given(run: Run, units: dict[str, Tensor], told: Tensor | None) -> np.ndarray:
    """Raw rows of what was decoded; of a table what was given stands beside it."""
    raw = run.schema.to_raw(units)
    if run.schema.table and told is not None:
        at = [place for field in run.schema.given for place in field.at]
        raw[:, at] = told[:, at].numpy()
    return raw


def _observed(run: Run, parameters: dict[str, Tensor], mean: bool, key: tuple) -> dict[str, Tensor]:
    """The point of p(x | z), or a draw; of a deterministic autoencoder, which has no noise model, always the point."""
    likelihood = run.model.likelihood
    if mean or run.deterministic:
        return {name: units[0] for name, units in likelihood.point(parameters).items()}
    with noise.seeded(*key):
        return {name: law.sample()[0] for name, law in likelihood.distributions(parameters).items()}
