"""Recipes → checked configuration → models. A recipe is TOML; its keys are the constructors' keyword arguments.

Sections: ``data`` (binarize), ``encoder``, ``decoder``, ``latent``, ``posterior``, ``prior``, ``context``,
``likelihood``, ``objective`` (each a ``name`` and that class's keywords) and ``train``. Names come from the modules'
``__all__``; there is no second list.
"""

import inspect
import json
import math
import os
import re
import reprlib
import tomllib
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from variate import contexts, networks, noise
from variate.data import binarize
from variate.data.dataset import Dataset
from variate.data.infer import count_units
from variate.data.kinds import Counts, Levels
from variate.data.schema import Schema
from variate.data.shards import pieces
from variate.errors import UserError, seed_number, suggest
from variate.files import opened
from variate.models import labellings, latents, likelihoods, objectives, posteriors, priors
from variate.models.labellings import Labelling
from variate.models.latents.latent import Latent
from variate.models.likelihoods import defaults
from variate.models.likelihoods.likelihood import Likelihood
from variate.models.model import Model
from variate.models.objectives.objective import Objective
from variate.models.posteriors.posterior import Posterior
from variate.models.priors.prior import Prior
from variate.networks.layers import ShowAtoms
from variate.precision import PRECISIONS
from variate.registry import modules as modules_of
from variate.registry import registry
from variate.start import some_of
from variate.surroundings import apart

__all__ = ["Training", "as_said", "build", "default_recipe", "load_recipe", "recipes", "resolve"]

LARGEST, MOST_LAYERS, LONGEST_WORD = 10_000_000, 1024, 1000
MOST_WARMUP_STEPS = 300
FEW_COLUMNS, MOST_LATENTS = 4, 16
OPTIONAL = ("context", "labelling")  # sections whose name may be "none"
OWN = "own"  # the file in networks/ for modules that the user brings
RECIPES = Path(__file__).parent / "recipes"
DEFAULTS: dict[str, dict] = {
    "data": {"binarize": "none"},
    "encoder": {"name": "mlp"},
    "decoder": {"name": "mlp"},
    "latent": {"name": "flat", "size": 32},
    "posterior": {"name": "diagonal"},
    "prior": {"name": "standard"},
    "context": {"name": "none"},
    "labelling": {"name": "none"},
    "likelihood": {"name": "auto"},
    "objective": {"name": "elbo"},
    "train": {},
}


LAST_RATE = 0.01  # of the highest learning rate is left at the end
SCHEDULES: dict[str, Callable[[float], float]] = {  # the part of training that is done → a factor of the learning rate
    "cosine": lambda done: LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * done)) / 2,
    "linear": lambda done: LAST_RATE + (1 - LAST_RATE) * (1 - done),
    "constant": lambda done: 1.0,
}


@dataclass(frozen=True, kw_only=True)
class Training:
    """How long and how fast. Small data are gone through more often than ``epochs``, for ``least_steps`` in all.

    ``learning_rate`` rises over ``rampup_steps``, then follows ``schedule``: to 1 % of it along a half cosine
    ("cosine") or a straight line ("linear"), or stays ("constant"). A batch of ``batch_size`` rows goes through the
    network in ``accumulate`` pieces, one after the other: less memory, the same mean gradient (what looks at a batch
    as a whole, as free bits do, looks at each piece). ``ema`` averages weights; ``patience`` epochs, and a third of
    ``least_steps``, without a better validation bound end the run (0: never). ``clip_norm`` bounds the gradient's
    norm (0: no bound). ``precision``: see ``variate.precision``."""

    epochs: int = 10
    least_steps: int = 1500
    batch_size: int = 128
    accumulate: int = 1
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    schedule: str = "cosine"
    rampup_steps: int = 200
    clip_norm: float = 0.0
    ema: float = 0.998
    precision: str = "auto"
    patience: int = 0

    def __post_init__(self) -> None:
        at_least = {"epochs": 1, "least_steps": 0, "batch_size": 1, "accumulate": 1, "rampup_steps": 0}
        at_least |= {"clip_norm": 0, "patience": 0}
        for name, least in at_least.items():
            if not getattr(self, name) >= least:
                raise UserError(f"train.{name}={getattr(self, name)} must be at least {least}.")
        if not 0 < self.learning_rate < 10:
            raise UserError(f"train.learning_rate={self.learning_rate} must be above 0 and below 10.")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise UserError(f"train.betas={self.betas}: Adam's two decay rates must be at least 0 and below 1.")
        if not 0 <= self.ema < 1:
            raise UserError(f"train.ema={self.ema} must be at least 0 and below 1.")
        for name, known in (("schedule", SCHEDULES), ("precision", PRECISIONS)):
            value = getattr(self, name)
            if value not in known:
                raise UserError(f"train.{name}={value!r} is not one of {', '.join(known)}{suggest(value, known)}.")

    def steps_per_epoch(self, rows: int) -> int:
        """Of that many training rows; rows that do not fill a last batch are left out of the epoch."""
        return rows // min(self.batch_size, rows)

    def total_epochs(self, rows: int) -> int:
        return max(self.epochs, -(-self.least_steps // self.steps_per_epoch(rows)))


def network_registry(part: str) -> dict[str, type]:
    """Name → class for every file in ``networks/`` that has the part ("Encoder" or "Decoder")."""
    return {m.__name__.rpartition(".")[2]: getattr(m, part) for m in modules_of(networks) if hasattr(m, part)}


def registries() -> dict[str, dict[str, type]]:
    """Section → name → class."""
    return {
        "encoder": network_registry("Encoder"),
        "decoder": network_registry("Decoder"),
        "latent": registry(latents, Latent),
        "posterior": registry(posteriors, Posterior),
        "prior": registry(priors, Prior),
        "likelihood": registry(likelihoods, Likelihood),
        "objective": registry(objectives, Objective),
        "context": registry(contexts, contexts.Context),
        "labelling": registry(labellings, Labelling),
    }


def recipes() -> list[str]:
    """The names of the recipes that come with variate."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def default_recipe(schema: Schema) -> str:
    """ "vae" (convolutional) where every axis of places has 8 or more; "few-columns" for vectors of up to four real
    numbers; "vector" for everything else."""
    if schema.x.axes.spatial:
        return "vae" if min(schema.x.tensor_shape[1:]) >= 8 else "vector"
    return "few-columns" if schema.x.size <= FEW_COLUMNS and not schema.x.kind.is_mass else "vector"


def load_recipe(recipe: str | os.PathLike[str], overrides: list[str] | None = None) -> dict[str, dict]:
    """A recipe's name or TOML file, completed with the defaults, with ``section.key=value`` overrides applied."""
    recipe = os.fspath(recipe)
    path = Path(recipe) if recipe.endswith(".toml") else RECIPES / f"{recipe}.toml"
    if not os.path.isfile(path):  # unlike the method, never raises
        raise UserError(
            f"there is no recipe {_shown(recipe)}{suggest(recipe[:100], recipes())}; known: {', '.join(recipes())}."
        )
    with opened(path) as file:
        content = file.read()
    try:
        said = tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # also of numbers of thousands of digits, and of nested lists
        raise UserError(f"the recipe {path} is not valid TOML: {' '.join(str(error).split())[:200]}.") from None
    config = {section: dict(values) for section, values in DEFAULTS.items()}
    for section, values in said.items():
        _merge(config, section, values)
    parsed = [_parse_override(override) for override in overrides or []]
    parsed.sort(key=lambda said: said[1] != "name")  # names first: a new one drops the keys of the old
    for section, key, value in parsed:
        _merge(config, section, {key: value})
    _check_plain(config)
    return config


def _merge(config: dict[str, dict], section: str, values: object) -> None:
    if section not in config:
        raise UserError(
            f"there is no section {_shown(section)}{suggest(section[:100], config)}; known: {', '.join(config)}."
        )
    if not isinstance(values, dict):
        raise UserError(f"section {section!r} must hold keys, as in {section}.name = ….")
    if "name" in values and values["name"] != config[section].get("name"):
        config[section] = {}
    config[section].update(values)


def _parse_override(override: str) -> tuple[str, str, object]:
    match = re.fullmatch(r"(\w+)\.(\w+)=(.*)", override)
    if not match:
        raise UserError(f"--set {_shown(override)} is not of the form section.key=value, for example latent.size=16.")
    section, key, text = match.groups()
    try:
        return section, key, tomllib.loads(f"v = {text}")["v"]
    except (ValueError, RecursionError):  # a bare word is a string; so is what is too long or too deep to be read
        return section, key, text


def as_said(settings: dict[str, dict], schema: Schema) -> tuple[str, list[str]]:
    """The inverse of ``load_recipe`` and ``resolve``: a recipe's name and the fewest overrides that make these settings
    of it for rows of this schema.

    What "auto" may have become is left open again, for other rows may want another. What the settings leave out is said
    as its class has it by default. Of one's own networks nothing is said: they are given again.

    >>> from variate.data.kinds import Levels
    >>> from variate.data.schema import Field
    >>> as_said(load_recipe("iwae", ["objective.k=7"]), Schema.of(Field(Levels(2), (4,), "uint8")))
    ('iwae', ['objective.k=7'])
    """
    known = registries()
    left_open = {recipe: _as_left_open(load_recipe(recipe), settings, schema) for recipe in recipes()}
    told = {recipe: _told(settings, base, known) for recipe, base in left_open.items()}
    nearest = min(told, key=lambda recipe: (len(told[recipe]), recipe))
    return nearest, told[nearest]


def _as_left_open(recipe: dict[str, dict], settings: dict[str, dict], schema: Schema) -> dict[str, dict]:
    """A recipe with what its "auto" became in these settings, as far as a schema tells that nobody had to say it."""
    left, said, size = recipe["latent"], settings["latent"], settings["latent"].get("size")
    starts_principal = said.get("start") == "principal"
    chosen = recipe | {part: _network_for(schema, part, recipe[part]) for part in _auto(recipe)}
    chosen["latent"] = _latent(settings | {"latent": left | {"size": size}}, schema)
    chosen["latent"]["size"] = _latent(settings | {"latent": left}, schema)["size"]
    law = settings["likelihood"]
    if recipe["likelihood"].get("name") == "auto":
        if defaults.may_be_default(law, model_schema(settings, schema).x, starts_principal):
            chosen["likelihood"] = law
    suitable = {"beta": _beta(schema)} | ({"warmup_steps": 0} if starts_principal else {})
    objective = recipe["objective"]
    chosen["objective"] = objective | {key: n for key, n in suitable.items() if objective.get(key) == "auto"}
    return chosen


def _told(settings: dict[str, dict], base: dict[str, dict], known: dict[str, dict[str, type]]) -> list[str]:
    """The overrides that lead from a recipe's settings to others."""
    overrides = []
    for section, values in settings.items():
        name = values.get("name")
        if name == OWN:
            continue
        before = dict(base[section])
        if name != before.get("name"):
            overrides.append(f"{section}.name={_toml(name)}")
            before = {"name": name}
        cls = Training if section == "train" else known.get(section, {}).get(str(name))
        defaults = {} if cls is None else {n: p.default for n, p in inspect.signature(cls).parameters.items()}
        wanted = {key: defaults.get(key, value) for key, value in before.items()} | values
        overrides += [
            f"{section}.{key}={_toml(value)}"
            for key, value in wanted.items()
            if key not in before or _toml(before[key]) != _toml(value)
        ]
    return overrides


def _toml(value: object) -> str:
    """A word, a number or a list of such as TOML has it."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _check_plain(config: dict[str, dict]) -> None:
    """Every value is a word, a number or a flat list of such, of a size that can be printed; what it is good for, the
    class that it is for knows."""
    for section, values in config.items():
        for key, value in values.items():
            name, listed = f"{_shown(section)[1:-1]}.{_shown(key)[1:-1]}", isinstance(value, list | tuple)
            if isinstance(value, list | tuple) and len(value) > MOST_LAYERS:
                raise UserError(f"{name} has {len(value):,} entries: give at most {MOST_LAYERS}.")
            for one in value if listed else (value,):
                if not isinstance(one, str | bool | int | float):
                    raise UserError(
                        f"{name} is or holds a {type(one).__name__}: give words, numbers or a list of them."
                    )
                if isinstance(one, str) and len(one) > LONGEST_WORD:
                    raise UserError(f"{name} is a text of {len(one):,} letters: give at most {LONGEST_WORD:,}.")
                if isinstance(one, int) and abs(one) >= 1 << 63:
                    raise UserError(f"{name} is a whole number of more than 64 bits: give one up to {LARGEST:,}.")


def _shown(value: object) -> str:
    """A value in a line."""
    return reprlib.repr(value)


def resolve(config: dict[str, dict], rows: Dataset) -> dict[str, dict]:
    """Replace "auto" by what suits the training rows: networks, the latent's size and start, the likelihood, the
    warm-up."""
    config = config | {part: _network_for(rows.schema, part, config[part]) for part in _auto(config)}
    config = config | {"latent": _latent(config, rows.schema)}
    config = config | {"likelihood": _likelihood(config, rows)}
    return config | {"objective": _objective(config, rows)}


def _latent(config: dict[str, dict], schema: Schema) -> dict:
    """Half as many latents as columns; where the recipe speaks of a start, as many. Left open, the start is at the
    principal components if that is possible."""
    said = dict(config["latent"])
    if said.get("size") == "auto":
        columns = schema.x.size if "start" in said else schema.x.size // 2
        said["size"] = 32 if schema.x.axes.spatial else max(1, min(MOST_LATENTS, columns))
    if said.get("start") == "auto":
        said["start"] = "principal" if _may_start_principal(config | {"latent": said}, schema) else "random"
    return said


def _may_start_principal(config: dict[str, dict], schema: Schema) -> bool:
    """Whether features end with what the networks read, no column goes without a latent, the code has a law that is
    learned, and the values have a location."""
    size = config["latent"].get("size")
    enough = isinstance(size, int) and size >= schema.x.size
    name = config["likelihood"].get("name")
    law = registry(likelihoods, Likelihood).get(str(name))
    located = (
        not model_schema(config, schema).x.kind.is_mass if name == "auto" else law is not None and law.has_location
    )
    contained = all(config[part].get("name") == "mlp" and config[part].get("skip") for part in ("encoder", "decoder"))
    learned = config["posterior"].get("name") != "point" and config["prior"].get("name") != "standard"
    return enough and located and contained and learned


def _likelihood(config: dict[str, dict], rows: Dataset) -> dict:
    """What suits the values, with the numbers that suit the rows."""
    said = config["likelihood"]
    if said.get("name") == "auto":
        chosen = defaults.default_for(model_schema(config, rows.schema).x, rows.values)
        if config["latent"].get("start") == "principal":
            chosen = defaults.default_of_principal(some_of(rows).target)
        said = chosen | {key: value for key, value in said.items() if key != "name"}
    law = registry(likelihoods, Likelihood).get(str(said.get("name")))
    return (law.suited(lambda: some_of(rows).target) if law else {}) | said


def _objective(config: dict[str, dict], rows: Dataset) -> dict:
    """With its numbers."""
    suitable = {
        "beta": lambda: _beta(rows.schema),
        "warmup_steps": lambda: _warmup_steps(config, len(rows)),
    }
    said = config["objective"]
    return said | {key: number() for key, number in suitable.items() if said.get(key) == "auto"}


def _beta(schema: Schema) -> float:
    """2 buys images better samples; of other data it only costs likelihood."""
    return 2.0 if schema.x.is_image else 1.0


def _warmup_steps(config: dict[str, dict], rows: int) -> int:
    """A fifth of a short run, and enough of a long one; none where the code has a law from the start."""
    if config["latent"].get("start") == "principal":
        return 0
    training = _call(Training, {}, config["train"], "train")
    return min(MOST_WARMUP_STEPS, training.total_epochs(rows) * training.steps_per_epoch(rows) // 5)


def _auto(config: dict[str, dict]) -> list[str]:
    return [part for part in ("encoder", "decoder") if config[part].get("name") == "auto"]


def _network_for(schema: Schema, part: str, said: dict) -> dict:
    """Convolutions where neighbours are near each other and enough, else dense layers; of what is said of the network,
    that which is no key of dense layers is meant for convolutions."""
    if default_recipe(schema) == "vae":
        return said | {"name": "conv"}
    dense, conv = (_keywords(network_registry(part.capitalize())[name]) for name in ("mlp", "conv"))
    meant = {key: value for key, value in said.items() if key in dense or key not in conv}
    return {"hidden": [128, 128], "skip": True} | meant | {"name": "mlp"}


def model_schema(config: dict[str, dict], schema: Schema) -> Schema:
    """The schema of what the likelihood scores: two levels once grey values have been binarised."""
    name = config["data"].get("binarize", "none")
    if binarize.get(name) is None:
        return schema
    if schema.x.kind.levels is None:
        raise UserError(f"data.binarize={name} needs whole-number levels, but the data holds real numbers.")
    return schema.with_kind(Levels(2))


def as_scored(config: dict[str, dict], rows: Dataset) -> Dataset:
    """The rows under the schema that the likelihood can score: counts, where it is a likelihood of counts."""
    cls = registry(likelihoods, Likelihood).get(str(config["likelihood"].get("name")))
    if cls is None or cls.support != "counts" or rows.schema.x.kind.is_count:
        return rows
    if not all(_are_counts(part) for part in pieces(rows.values)):
        name = config["likelihood"]["name"]
        raise UserError(f"likelihood.name={name} needs whole numbers 0, 1, 2, …, but {rows.name} holds others.")
    offset, scale = count_units(rows.values, rows.schema.x.layout)
    return replace(rows, schema=rows.schema.with_kind(Counts(offset, scale)))


def _are_counts(values: Tensor) -> bool:
    whole = not values.is_floating_point() or bool((values == values.round()).all())
    return whole and bool(values.min() >= 0)


def build(
    config: dict[str, dict],
    schema: Schema,
    seed: int = 0,
    modules: dict[str, nn.Module] | None = None,
    *,
    device: str = "cpu",
) -> tuple[Model, Objective, Training]:
    """A checked configuration → (model with seeded weights, objective, training settings).

    ``modules``: the user's own networks, for those of "encoder" and "decoder" whose name is "own".
    """
    known = registries()
    _check_plain(config)
    _check_keys(config["data"], {"binarize"}, "data")
    scored = model_schema(config, schema)
    with apart(device), noise.seeded(seed_number(seed), "weights"):
        house: dict[str, typing.Any] = {"schema": schema}
        context = _optional("context", config, known, house)
        house |= {"schema": scored, "shape": scored.x.tensor_shape, "context": context.size if context else 0}
        encoder = _encoder(config, known, house, modules or {})
        house |= {"features": encoder.features[0]}
        latent = _latent_of(config, known, house)
        house |= {"code": latent.code}
        decoder = _network("decoder", config, known, house, modules or {})
        likelihood = _make("likelihood", config, known, house | {"features": decoder.features, "field": scored.x})
        labelling = _optional("labelling", config, known, house | {"counts": _class_counts(config, schema)})
        shown = encoder if config["encoder"]["name"] == OWN else likelihood.shown(encoder)
        model = Model(shown, latent, decoder, likelihood, context, labelling)
    with apart(device), noise.seeded(seed_number(seed), "objective"):
        objective = _make("objective", config, known, house)
    _check_together(config, model, objective, scored)
    return model, objective, _call(Training, {}, config["train"], "train")


def _latent_of(config: dict[str, dict], known: dict[str, dict[str, type]], house: dict[str, typing.Any]) -> Latent:
    """The latent; where it is made of a posterior and a prior, ``size`` is theirs."""
    said, cls = config["latent"], known["latent"][_name("latent", config, known)]
    if not {"posterior", "prior"} & set(_wanted(cls)):
        return _make("latent", config, known, house)
    size = said.get("size", DEFAULTS["latent"]["size"])
    if not isinstance(size, int) or isinstance(size, bool) or not 0 < size <= 65536:
        raise UserError(f"latent.size={size!r} must be a whole number within 1..65536.")
    _check_keys(said, {"name", "size"} | _keywords(cls), "latent")
    parts = {section: _make(section, config, known, house | {"size": size}) for section in ("posterior", "prior")}
    return _call(cls, house | parts, {k: v for k, v in said.items() if k not in ("name", "size")}, "latent")


def _check_together(config: dict[str, dict], model: Model, objective: Objective, scored: Schema) -> None:
    """What each makes sense by itself and not with the other."""
    name = {section: said.get("name") for section, said in config.items()}
    if config["latent"].get("start") == "principal" and not _may_start_principal(config, scored):
        raise UserError(
            "latent.start=principal needs as many latents as values, encoder.name=mlp and decoder.name=mlp with "
            "skip=true, a posterior and a prior that learn a density, and a likelihood of real numbers: use "
            "latent.start=random."
        )
    if objective.density not in (None, model.latent.has_density):
        section = "posterior" if "posterior" in _wanted(type(model.latent)) else "latent"
        raise UserError(
            f"objective.name={name['objective']} does not go with {section}.name={name[section]}: "
            "reconstruction and point belong together, and nothing else."
        )
    if config["data"].get("binarize") == "expected" and name["likelihood"] != "bernoulli":
        raise UserError(
            f"data.binarize=expected is the mean over bits of a Bernoulli's log p, not of likelihood.name="
            f"{name['likelihood']}: use likelihood.name=bernoulli, or data.binarize=dynamic."
        )
    if name["labelling"] != "none" and config["objective"].get("gradient") == "doubly_reparameterized":
        raise UserError(
            "objective.gradient=doubly_reparameterized would scale what labels teach the encoder as well: use "
            "reparameterized with a labelling."
        )


def _encoder(
    config: dict[str, dict],
    known: dict[str, dict[str, type]],
    house: dict[str, typing.Any],
    modules: dict[str, nn.Module],
) -> typing.Any:
    """The encoder; where the likelihood has atoms, one of ours is shown them."""
    atoms, scored = config["likelihood"].get("atoms") or (), house["schema"]
    levels = range(scored.x.kind.levels or 0)
    if not isinstance(atoms, list | tuple) or not all(type(atom) is int and atom in levels for atom in atoms):
        atoms = ()  # what is wrong with them, the likelihood will say
    if config["encoder"].get("name") == OWN or not atoms:
        return _network("encoder", config, known, house, modules)
    shape = ShowAtoms.shape(scored.x.tensor_shape, tuple(atoms))
    encoder = _network("encoder", config, known, house | {"shape": shape}, modules)
    return ShowAtoms(encoder, tuple(atoms), scored.x.kind.levels or 0)


def _network(
    part: str,
    config: dict[str, dict],
    known: dict[str, dict[str, type]],
    house: dict[str, typing.Any],
    modules: dict[str, nn.Module],
) -> typing.Any:
    if config[part].get("name") != OWN:
        return _make(part, config, known, house)
    if part not in modules:
        kind = config[part].get("kind") or "module"
        raise UserError(f"its {part} is your own {kind}: give it as modules={{'{part}': …}}.")
    return _make(part, config, known, house | {"module": modules[part]})


def _optional(
    section: str, config: dict[str, dict], known: dict[str, dict[str, type]], house: dict[str, typing.Any]
) -> typing.Any:
    """What a model may do without: nothing, where the name is "none"."""
    if config[section].get("name") != "none":
        return _make(section, config, known, house)
    _check_keys(config[section], {"name"}, section)
    return None


def _class_counts(config: dict[str, dict], schema: Schema) -> tuple[int, ...]:
    if config["labelling"].get("name") != "none" and len(schema.class_counts) < 2:
        raise UserError("a model that predicts labels needs two classes or more: give labels, −1 where one is missing.")
    return schema.class_counts


def _name(section: str, config: dict[str, dict], known: dict[str, dict[str, type]]) -> str:
    name = config[section].get("name")
    if not isinstance(name, str) or name not in known[section]:
        names = [*known[section], *(["none"] if section in OPTIONAL else [])]
        raise UserError(
            f"{section}.name={_shown(name)} is not one of {', '.join(names)}{suggest(str(name)[:100], names)}."
        )
    return name


def _make(
    section: str, config: dict[str, dict], known: dict[str, dict[str, type]], house: dict[str, typing.Any]
) -> typing.Any:
    cls = known[section][_name(section, config, known)]
    return _call(cls, house, {k: v for k, v in config[section].items() if k != "name"}, section)


def _check_keys(values: dict, allowed: set[str], section: str) -> None:
    for key in values:
        if key not in allowed:
            names = ", ".join(sorted(allowed)) or "none"
            raise UserError(f"{section} has no key {_shown(key)}{suggest(key[:100], allowed)}; it takes: {names}.")


def _keywords(cls: Callable) -> set[str]:
    """What a class can be configured by: its keyword-only arguments."""
    return {n for n, p in inspect.signature(cls).parameters.items() if p.kind is p.KEYWORD_ONLY}


def _wanted(cls: Callable) -> list[str]:
    """What a class wants from the house: the names of its positional arguments."""
    return [n for n, p in inspect.signature(cls).parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]


def _call(cls: Callable, house: dict[str, typing.Any], values: dict, section: str) -> typing.Any:
    """Call with what it wants from the house, by name, and the keyword-only arguments in ``values``, after checking
    their names and types."""
    _check_keys(values, _keywords(cls), section)
    hints = typing.get_type_hints(cls if isinstance(cls, type) and cls is Training else cls.__init__)
    checked: dict[str, typing.Any] = {
        key: _typed(value, hints[key], f"{section}.{key}") for key, value in values.items()
    }
    for key, value in checked.items():
        _check_range(value, f"{section}.{key}")
    try:
        return cls(**{name: house[name] for name in _wanted(cls)} | checked)
    except UserError:
        raise
    except (ValueError, RuntimeError, OverflowError) as error:
        raise UserError(f"[{section}] {_shown(values)} cannot be built: {' '.join(str(error).split())}.") from error


def _check_range(value: object, name: str) -> None:
    """No key takes a number that is not finite, and none a size that no machine could hold."""
    numbers = value if isinstance(value, tuple) else (value,)
    for number in numbers:
        if isinstance(number, int | float) and not (math.isfinite(number) and -LARGEST <= number <= LARGEST):
            raise UserError(f"{name}={_shown(value)} is out of range: give finite numbers up to {LARGEST:,}.")
    if len(numbers) > MOST_LAYERS and all(isinstance(n, int) for n in numbers):
        raise UserError(f"{name} has {len(numbers)} entries: give at most {MOST_LAYERS}.")


def _typed(value: object, hint: object, name: str) -> object:
    """The value as the hinted type (int, float, bool, str, tuples and unions of them), or a ``UserError``."""
    if isinstance(hint, types.UnionType):
        for option in typing.get_args(hint):
            try:
                return _typed(value, option, name)
            except UserError:
                continue
    elif typing.get_origin(hint) is tuple and isinstance(value, list | tuple):
        inner = typing.get_args(hint)
        length_fits = Ellipsis in inner or len(inner) == len(value)
        if length_fits:
            return tuple(_typed(v, inner[0], name) for v in value)
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif isinstance(hint, type) and type(value) is hint:
        return value
    raise UserError(f"{name}={_shown(value)} must be of type {getattr(hint, '__name__', hint)}.")
