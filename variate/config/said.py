"""The inverse: configuration → the fewest words that make it."""

import inspect
import json

from variate.config.names import OWN, registries
from variate.config.recipes import load_recipe, recipes
from variate.config.suited import auto_networks, beta, joint_section, latent_section, model_schema, network_for
from variate.config.training import Training
from variate.data.schema import Schema
from variate.models.likelihoods import defaults

__all__ = ["as_said"]


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
    chosen = recipe | {part: network_for(schema, part, recipe[part]) for part in auto_networks(recipe)}
    chosen["latent"] = latent_section(settings | {"latent": left | {"size": size}}, schema)
    chosen["latent"]["size"] = latent_section(settings | {"latent": left}, schema)["size"]
    law = settings["likelihood"]
    if recipe["likelihood"].get("name") == "auto":
        scored = model_schema(settings, schema).x
        if law == joint_section(schema) or not schema.table and defaults.may_be_default(law, scored, starts_principal):
            chosen["likelihood"] = law
    suitable = {"beta": beta(schema)} | ({"warmup_steps": 0} if starts_principal else {})
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
