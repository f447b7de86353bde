"""What "auto" means, for the rows at hand."""

from dataclasses import replace

from torch import Tensor

from variate.base.errors import UserError
from variate.base.registry import registry
from variate.config.calls import call, keywords
from variate.config.names import JOINT, network_registry
from variate.config.recipes import default_recipe
from variate.config.training import Training
from variate.data import binarize, views
from variate.data.dataset import Dataset
from variate.data.infer import count_units
from variate.data.kinds import Counts, Levels
from variate.data.schema import Schema
from variate.data.shards import pieces
from variate.models import likelihoods
from variate.models.likelihoods import defaults
from variate.models.likelihoods.likelihood import Likelihood
from variate.models.start import some_of

__all__ = [
    "as_scored",
    "auto_networks",
    "beta",
    "joint_section",
    "latent_section",
    "may_start_principal",
    "model_schema",
    "network_for",
    "resolve",
]

MOST_WARMUP_STEPS = 300
MOST_LATENTS, LEAST_TABLE_LATENTS, MOST_TABLE_LATENTS = 16, 8, 32


def resolve(config: dict[str, dict], rows: Dataset) -> dict[str, dict]:
    """Replace "auto" by what suits the training rows: networks, the latent's size and start, the likelihood, the
    warm-up."""
    config = config | {part: network_for(rows.schema, part, config[part]) for part in auto_networks(config)}
    config = config | {"latent": latent_section(config, rows.schema)}
    config = config | {"likelihood": _likelihood(config, rows)}
    return config | {"objective": _objective(config, rows)}


def latent_section(config: dict[str, dict], schema: Schema) -> dict:
    """Half as many latents as columns; where the recipe speaks of a start, as many; of tables, whose columns may each
    need several, 8 to 32. Left open, the start is at the principal components if that is possible."""
    said = dict(config["latent"])
    if said.get("size") == "auto" and schema.table:
        said["size"] = min(MOST_TABLE_LATENTS, max(LEAST_TABLE_LATENTS, schema.size))
    elif said.get("size") == "auto":
        columns = schema.size if "start" in said else schema.size // 2
        said["size"] = 32 if schema.x.axes.spatial else max(1, min(MOST_LATENTS, columns))
    if said.get("start") == "auto":
        said["start"] = "principal" if may_start_principal(config | {"latent": said}, schema) else "random"
    return said


def may_start_principal(config: dict[str, dict], schema: Schema) -> bool:
    """Whether features end with what the networks read, which has no holes, no column goes without a latent, the code
    has a law that is learned, and the values have a location."""
    size = config["latent"].get("size")
    whole = not schema.table and not schema.x.missing
    enough = whole and isinstance(size, int) and size >= schema.x.size
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
    if rows.schema.table:
        return joint_section(rows.schema) | {key: value for key, value in said.items() if key != "name"}
    if said.get("name") == "auto":
        chosen = defaults.default_for(model_schema(config, rows.schema).x, rows.values)
        if config["latent"].get("start") == "principal":
            chosen = defaults.default_of_principal(_units_of(rows))
        said = chosen | {key: value for key, value in said.items() if key != "name"}
    law = registry(likelihoods, Likelihood).get(str(said.get("name")))
    return (law.suited(lambda: _units_of(rows)) if law else {}) | said


def joint_section(schema: Schema) -> dict:
    """The likelihood section that suits a table; nothing for an array."""
    if not schema.table:
        return {}
    return {"name": JOINT} | {field.name: defaults.name_for(field) for field in schema.explained}


def _units_of(rows: Dataset) -> Tensor:
    """Some rows of an array in model units."""
    return some_of(rows).target[rows.schema.x.name].units


def _objective(config: dict[str, dict], rows: Dataset) -> dict:
    """With its numbers."""
    suitable = {
        "beta": lambda: beta(rows.schema),
        "warmup_steps": lambda: _warmup_steps(config, len(rows)),
    }
    said = config["objective"]
    return said | {key: number() for key, number in suitable.items() if said.get(key) == "auto"}


def beta(schema: Schema) -> float:
    """2 buys images better samples; of other data it only costs likelihood."""
    return 2.0 if schema.x.is_image else 1.0


def _warmup_steps(config: dict[str, dict], rows: int) -> int:
    """A fifth of a short run, and enough of a long one; none where the code has a law from the start."""
    if config["latent"].get("start") == "principal":
        return 0
    training = call(Training, {}, config["train"], "train")
    return min(MOST_WARMUP_STEPS, training.total_epochs(rows) * training.steps_per_epoch(rows) // 5)


def auto_networks(config: dict[str, dict]) -> list[str]:
    return [part for part in ("encoder", "decoder") if config[part].get("name") == "auto"]


def network_for(schema: Schema, part: str, said: dict) -> dict:
    """Convolutions where neighbours are near each other and enough, else dense layers; of what is said of the network,
    that which is no key of dense layers is meant for convolutions."""
    if default_recipe(schema) == "vae":
        return said | {"name": "conv"}
    dense, conv = (keywords(network_registry(part.capitalize())[name]) for name in ("mlp", "conv"))
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
    view = registry(views, views.View).get(str(config["view"].get("name")))
    if view is not None and view.hides and not rows.schema.table:
        rows = replace(rows, schema=rows.schema.with_field(replace(rows.schema.x, missing=True)))
    cls = registry(likelihoods, Likelihood).get(str(config["likelihood"].get("name")))
    if cls is None or cls.support != "counts" or rows.schema.x.kind.is_count:
        return rows
    if not all(_are_counts(part) for part in pieces(rows.values)):
        name = config["likelihood"]["name"]
        raise UserError(f"likelihood.name={name} needs whole numbers 0, 1, 2, …, but {rows.name} holds others.")
    offset, scale = count_units(rows.values, rows.schema.x.layout)
    return replace(rows, schema=rows.schema.with_kind(Counts(offset, scale)))


def _are_counts(values: Tensor) -> bool:
    known = values[~values.isnan()] if values.is_floating_point() else values
    whole = not values.is_floating_point() or bool((known == known.round()).all())
    return whole and bool((known >= 0).all())
