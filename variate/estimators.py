"""The scikit-learn face: ``VAE`` and ``Autoencoder`` are fitted, cloned, searched over and put into pipelines as any
other estimator.

Tables are small: what a fitted estimator computes on vectors is computed in float64, so that how rows are grouped shows
in no digit that counts: see ``inference``.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import ClassifierTags, Tags, check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn
from torch.utils import data as torch_data

from variate import config
from variate.apps.classify import classify
from variate.apps.fit import fit
from variate.apps.sample import parse_given, sample
from variate.apps.score import score
from variate.base.console import silent
from variate.base.errors import UserError
from variate.base.surroundings import apart
from variate.data.arrays import cells
from variate.data.conditions import COLUMNS, LABEL, names_of
from variate.data.dataset import Dataset
from variate.data.known import WORDS, number_of, says_words
from variate.data.layout import infer_layout
from variate.data.load import load
from variate.data.sources import frames
from variate.data.table import outward, told
from variate.results import checkpoint, inference
from variate.results.checkpoint import Run
from variate.training.fitting import Asked, Stream

__all__ = ["VAE", "Autoencoder"]

LARGEST_SEED = 2**31 - 1


class _Estimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """What both estimators share: everything but the recipe and the likelihood."""

    run_: Run
    n_features_in_: int
    feature_names_in_: np.ndarray
    _stream: Stream | None = None  # what partial_fit goes on with
    _recipe: str | None = None  # None: what suits the data
    _tabular = True  # whether a frame is learned as a table
    _words = False  # whether the labels were words, which may spell numbers
    _frame: Any = None  # a row of the frame that was learned from, whose library and types results have

    def __init__(
        self,
        latent_dim: int | None = None,
        *,
        recipe: str | None = None,
        given: str | tuple | None = None,
        epochs: int | None = None,
        overrides: tuple[str, ...] = (),
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
        levels: int | None = None,
        layout: str | None = None,
        device: str = "auto",
        random_state: Any = None,
        verbose: bool = False,
    ):
        self.latent_dim = latent_dim
        self.recipe = recipe
        self.given = given
        self.epochs = epochs
        self.overrides = overrides
        self.encoder = encoder
        self.decoder = decoder
        self.levels = levels
        self.layout = layout
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from the rows X: an array (n, …), a data frame, a named set, a path or a PyTorch ``Dataset``.

        ``y``: a label or the known columns of every row, where ``given`` names it; ignored otherwise. A data frame is a
        table with columns of any kind, of which cells may be missing, as NaN says in an array.
        """
        rows = self._rows(X, y, reset=True)
        seed = self._seed()
        with silent(not self.verbose):
            run = fit(
                rows,
                recipe=self.recipe or self._recipe,
                given=self.given,
                epochs=self.epochs,
                seed=seed,
                overrides=self._overrides(),
                modules=self._modules(),
                device=self.device,
            )
        self._stream = None
        return self._fitted(run)

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """One pass over the rows X, on top of what was learned before; the first rows settle what a row is.

        A column that is constant so far may vary later: unlike in ``fit``, it is learned as if 1 were its spread.
        The learning rate stays constant: a stream has no end towards which it could fall. Raises ``ValueError`` where
        nothing can be learned, as from extreme values, and is then what it was before.
        """
        before, stream = getattr(self, "run_", None), self._stream
        rows = self._rows(X, y, reset=before is None)
        with silent(not self.verbose):
            if stream is None:
                asked = Asked(self.recipe or self._recipe, names_of(self.given), 1, tuple(self._overrides()))
                stream = Stream(rows, asked, self._seed(), self.device, self._modules(), before)
            run = stream.learn(rows)
        self._stream = stream  # a first piece that nothing was learned from settles nothing
        return self._fitted(run)

    def transform(self, X: Any, y: Any = None) -> np.ndarray:
        """The posterior mean of every row, (n, latent_dim)."""
        return self._means(X, y, part="test")

    def fit_transform(self, X: Any, y: Any = None, **unused: Any) -> np.ndarray:
        """The posterior means of the rows that are learned from: of a named set its training part."""
        self.fit(X, y)
        return self._means(X, y if self._learned_from_y() else None, part="train")

    @apart()
    def inverse_transform(self, Z: Any, given: Any = None) -> np.ndarray:
        """The points decoded at values of z (n, latent_dim), in the data's own shape and dtype.

        ``given``: the label or the known columns of every row, or of all of them, if the model is told any.
        """
        check_is_fitted(self)
        codes = np.asarray(Z, np.float64)
        size = self._n_features_out
        if codes.ndim != 2 or codes.shape[1] != size or not len(codes):
            raise UserError(f"codes of shape {codes.shape}: give (n, {size}).")
        context = None
        if self.run_.conditional:
            context = self._context(given, len(codes))
        return self._as_given(inference.decode(self._applied, torch.from_numpy(codes), context))

    def reconstruct(self, X: Any, y: Any = None) -> np.ndarray:
        """The rows decoded from their posterior means, in the data's own shape and dtype."""
        rows = self._known_rows(X, y)
        with silent(not self.verbose):
            return self._as_given(inference.reconstruct(self._applied, rows))

    def sample(
        self, n_samples: int | None = None, given: Any = None, *, mean: bool = False, seed: int = 0
    ) -> np.ndarray:
        """n_samples examples drawn from the model, in the data's own shape and dtype; ``mean`` gives E[x | z].

        ``given``: classes, or the values of the known columns, that the samples go through in turn, as they are or as
        {"label": …} or {"columns": …}. Without ``n_samples``, one for each of them.
        """
        check_is_fitted(self)
        n = n_samples
        if n is None:
            n = 1 if given is None or self.run_.schema.table else len(parse_given(self.run_, given))
        with silent(not self.verbose):
            drawn = sample(self._applied, n, given=given, mean=mean, seed=seed)
        return drawn if self._frame is None else frames.like(drawn, self._frame)

    def save(self, path: str | os.PathLike) -> None:
        """Write the model file: safetensors and JSON, whole or not at all."""
        check_is_fitted(self)
        checkpoint.save_model(Path(path), self.run_)

    @classmethod
    def load(cls, path: str | os.PathLike, modules: dict[str, nn.Module] | None = None) -> Self:
        """The estimator with the model of a file or a run folder, and the parameters that would make it again.

        Loading runs no code; ``modules`` as for ``load``.
        """
        run = checkpoint.load(path, modules)
        if run.deterministic != issubclass(cls, Autoencoder):
            other = "Autoencoder" if run.deterministic else "VAE"
            raise UserError(f"{path} holds another kind of model: load it with {other}.load.")
        own = modules or {}
        estimator = cls(**_asked(run), encoder=own.get("encoder"), decoder=own.get("decoder"))
        estimator._words = WORDS.items() <= run.info.items()
        if run.schema.table:
            estimator.feature_names_in_ = np.array([column.name for column in run.schema.table], object)
            estimator.n_features_in_ = len(run.schema.table)
        elif run.schema.are_vectors:
            estimator.n_features_in_ = run.schema.x.shape[0]
        return estimator._fitted(run)

    # ------------------------------------------------------------------------------------------ between both worlds

    def _rows(self, X: Any, y: Any, reset: bool) -> Dataset:
        tabular = self._is_table(X, reset)
        wants_y = not tabular and (self._wants_y() if reset else self._learned_from_y())
        if wants_y and y is None and not _brings_its_own(X):
            raise UserError("requires y to be passed, but the target y is None: the model learns from it.")
        known = y if wants_y else None
        if not reset:
            return load(self._checked(X, reset), known, like=self.run_.schema)
        given = {} if isinstance(X, Dataset) else {"levels": self.levels, "layout": self.layout}
        rows = load(self._checked(X, reset), known, **given)
        self._words, self._frame = rows.words, X[:1] if tabular else None
        return told(rows, names_of(self.given)) if tabular and self.given else rows

    def _learned_from_y(self) -> bool:
        return self.run_.conditional and not self.run_.schema.table or self.run_.model.labelling is not None

    def _is_table(self, X: Any, reset: bool) -> bool:
        """Whether a frame is a table, column by column, rather than rows of numbers beside labels."""
        if not frames.is_frame(X):
            return False
        if not reset:
            return bool(self.run_.schema.table)
        plain = self.levels is None and self.layout is None and self._tabular
        return plain and not {LABEL, COLUMNS} & set(names_of(self.given)) and not self._explains_labels()

    def _as_given(self, raw: np.ndarray) -> Any:
        """Raw rows as the rows that were learned from: an array, or a frame of the same library and types."""
        found = outward(raw, self.run_.schema)
        return found if self._frame is None else frames.like(found, self._frame)

    def _known_rows(self, X: Any, y: Any, part: str = "test") -> Dataset:
        check_is_fitted(self)
        return load(self._checked(X, reset=False), y, part=part, like=self.run_.schema)

    def _means(self, X: Any, y: Any, part: str) -> np.ndarray:
        rows = self._known_rows(X, y, part)
        with silent(not self.verbose):
            means = inference.code_means(self._applied, rows).numpy()
        return means.astype(np.float32 if getattr(X, "dtype", None) == np.float32 else np.float64)

    def _checked(self, X: Any, reset: bool) -> Any:
        """Arrays and frames as scikit-learn wants them checked; what ``load`` alone knows, as it is."""
        if _brings_its_own(X):
            return X
        if hasattr(X, "columns") and len(set(X.columns)) < len(X.columns):
            raise UserError("two columns of the data have the same name: rename one of them.")
        if self._is_table(X, reset):
            return validate_data(self, X, reset=reset, skip_check_array=True)  # pyright: ignore[reportArgumentType]
        if hasattr(X, "columns"):  # a frame, whose names scikit-learn keeps
            cells(X)
        elif not isinstance(X, np.ndarray) or isinstance(X, np.ma.MaskedArray):
            X = cells(X)
        checks = {"reset": reset, "dtype": "numeric", "allow_nd": True, "ensure_min_samples": 2 if reset else 1}
        checks["ensure_all_finite"] = "allow-nan"
        return validate_data(self, X, **checks)  # pyright: ignore[reportArgumentType] (a stub's)

    def _context(self, given: Any, n: int) -> Tensor:
        if given is None:
            raise UserError("the model is told more than codes: say what is given, the label or known columns of rows.")
        context = parse_given(self.run_, given)
        if len(context) not in (1, n):
            raise UserError(f"{len(context)} labels or known rows are given for {n} codes: give one for each.")
        return context.expand(n, *context.shape[1:]) if len(context) == 1 else context

    def _wants_y(self) -> bool:
        """Whether a fit learns from labels or columns: as what is given, or by a recipe that explains labels."""
        return bool({LABEL, COLUMNS} & set(names_of(self.given))) or self._explains_labels()

    def _explains_labels(self) -> bool:
        """Whether the model, or the one that would be fitted, predicts labels."""
        if hasattr(self, "run_"):
            return self.run_.model.labelling is not None
        recipe = config.load_recipe(self.recipe or self._recipe or "vector", self._overrides())
        return recipe["labelling"]["name"] != "none"

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _seed(self) -> int:
        given = self.random_state
        if isinstance(given, bool | np.bool_):
            raise UserError(f"random_state={given}: give None, a whole number or a RandomState.")
        return int(check_random_state(given).randint(LARGEST_SEED))

    def _overrides(self) -> list[str]:
        size = [] if self.latent_dim is None else [f"latent.size={self.latent_dim}"]
        return [*size, *self.overrides]

    def _modules(self) -> dict[str, nn.Module]:
        given = {"encoder": self.encoder, "decoder": self.decoder}
        return {part: module for part, module in given.items() if module is not None}

    def _fitted(self, run: Run) -> Self:
        info = {name: said for name, said in run.info.items() if name not in WORDS}  # of this piece of a stream
        self.run_ = run = replace(run, info=info | says_words(run.schema.class_names, self._words))
        self._applied = inference.exact(run)
        return self

    @property
    def _n_features_out(self) -> int:
        return self.run_.model.latent.size

    def __getstate__(self) -> dict:
        """The model as safetensors bytes and JSON, in a pickle for those who trust pickles. A stream starts anew."""
        state: dict[str, Any] = {**super().__getstate__()}  # pyright: ignore[reportGeneralTypeIssues] (it is a dict)
        if "run_" in state:
            state["run_"] = checkpoint.pack(state["run_"])
        for name in ("_applied", "_stream"):
            state.pop(name, None)
        return state

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        if "run_" in state:
            self._fitted(checkpoint.unpack(state["run_"], self._modules()))


class VAE(_Estimator):
    """log p(x) ≥ E_q[log p(x|z)] − KL(q(z|x) ‖ p(z)), maximised over the rows: a variational autoencoder.

    latent_dim: numbers in a code; None: what the recipe says. recipe: a recipe's name or TOML file; None: what suits
    the data. given: what the model is told of every row, "label" or "columns", which is y: learn p(x | y). epochs:
    passes over the rows; None: the recipe's. overrides: "section.key=value" texts. encoder, decoder: one's own
    ``nn.Module``s, x (B, *shape) → features and z (N, latent_dim) → (N, *shape) or features, called with c as well if
    something is given. levels, layout: what the values and the axes are, where it is not as inferred. device: "auto",
    "cpu" or "cuda". random_state: as scikit-learn has it. verbose: lines and progress on standard error.

    After ``fit``: ``run_``, the run that all functions of variate take. Raises ``ValueError`` for what the caller can
    mend.

    >>> rows = np.random.default_rng(0).normal(size=(60, 3))
    >>> vae = VAE(latent_dim=2, epochs=2, random_state=0).fit(rows)
    >>> vae.transform(rows).shape, vae.sample(5).shape, vae.score_samples(rows).shape
    ((60, 2), (5, 3), (60,))
    """

    def score_samples(self, X: Any, y: Any = None, *, samples: int = 64) -> np.ndarray:
        """log p(x) of every row in nats, (n,), by importance weighting with ``samples`` draws: higher = more likely.

        Burda et al. 2016, eq. 8. Of a model given labels, log p(x) with the label summed out; of one given
        columns log p(x | y). The same row has the same score in any batch.
        """
        rows = self._known_rows(X, y)
        with silent(not self.verbose):
            return score(self._applied, rows, samples=samples)["log_likelihood_nats"]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        if self._predicts():
            tags.estimator_type, tags.classifier_tags, tags.target_tags.required = "classifier", ClassifierTags(), True
        return tags

    def _predicts(self) -> bool:
        try:
            return self._explains_labels()
        except UserError:  # of a recipe that is none: fit says so
            return False

    @available_if(_predicts)
    def predict_proba(self, X: Any) -> np.ndarray:
        """q(y|x) = E_q(z|x) p(y|z), (n, classes) in the order of ``classes_``, of the recipe "semi-supervised"."""
        rows = self._known_rows(X, None)
        with silent(not self.verbose):
            return classify(self._applied, rows)[1]

    @available_if(_predicts)
    def predict(self, X: Any) -> np.ndarray:
        """The class of every row, argmax_y q(y|x), of a model of the recipe "semi-supervised"."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(1)]

    @property
    def classes_(self) -> np.ndarray:
        """The classes that the model knows: whole numbers where it was fitted to numbers, else their names."""
        check_is_fitted(self)
        names = self.run_.schema.class_names
        if not names:
            raise AttributeError("this model knows no classes: it was fitted without labels")
        numbers = [number_of(name) for name in names]
        if self._words or [str(number) for number in numbers] != list(names):
            return np.array(names)
        return _integers(numbers)

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of ``score_samples``: what a search over parameters maximises."""
        return float(self.score_samples(X, y if self._learned_from_y() else None).mean())


class Autoencoder(_Estimator):
    """Σ ‖x − f(g(x))‖², minimised over the rows: a deterministic autoencoder, on the parameters of ``VAE``.

    A prior fitted to the codes afterwards lets it generate (Ghosh et al. 2020, section 4); it has no likelihood.

    >>> rows = np.random.default_rng(0).normal(size=(60, 3))
    >>> Autoencoder(latent_dim=2, epochs=2, random_state=0).fit(rows).transform(rows).shape
    (60, 2)
    """

    _recipe = "autoencoder"
    _tabular = False  # squared errors are of numbers alone

    def score(self, X: Any, y: Any = None) -> float:
        """−‖x − f(g(x))‖² per value in model units, averaged over the rows: higher is better."""
        rows = self._known_rows(X, y if self.given else None)
        with silent(not self.verbose):
            return -float(score(self._applied, rows)["mse_per_dim"].mean())


def _integers(numbers: list) -> np.ndarray:
    """Of 64 bits, with a sign or without, if those hold them all."""
    for dtype in (np.int64, np.uint64):
        if np.iinfo(dtype).min <= min(numbers) and max(numbers) <= np.iinfo(dtype).max:
            return np.array(numbers, dtype)
    return np.array(numbers, object)


def _asked(run: Run) -> dict[str, Any]:
    """The parameters that make the configuration of a run again; what suited its rows is left open, as it was."""
    recipe, said = config.as_said(run.config, run.schema)
    usual = "autoencoder" if run.deterministic else config.default_recipe(run.schema)
    overrides = [text for text in said if not text.startswith("latent.size=")]
    latent_dim = run.config["latent"].get("size") if len(overrides) < len(said) else None
    if run.conditional and set(run.config["context"]) == {"name"}:
        overrides = [text for text in overrides if not text.startswith("context.name=")]
    epochs, training = None, run.config["train"]
    if training.get("least_steps") == 0:  # as where the number of epochs was asked for
        epochs = training["epochs"]
        overrides = [text for text in overrides if not text.startswith(("train.epochs=", "train.least_steps="))]
    schema = run.schema
    given = run.config["context"]["name"] if run.conditional else None
    if schema.table:
        given = ",".join(schema.code_names[at] for field in schema.given for at in field.at) or None
    obvious = schema.x.kind.levels == {"bool": 2, "uint8": 256}.get(schema.x.dtype) or schema.x.kind.divisor > 1
    return {
        "latent_dim": latent_dim,
        "recipe": None if recipe == usual else recipe,
        "given": given,
        "epochs": epochs,
        "overrides": tuple(overrides),
        "levels": None if obvious else schema.x.kind.levels,
        "layout": None if schema.x.layout == infer_layout(schema.x.shape) else schema.x.layout,
    }


def _brings_its_own(X: Any) -> bool:
    """Whether X is no array: a name, a path or a data set, which may have labels of its own."""
    return isinstance(X, str | os.PathLike | torch_data.Dataset | Dataset)
