"""Recipes, which are TOML, and what is said beside them → configuration, of which nothing is checked but its form."""

import os
import re
import reprlib
import tomllib
from pathlib import Path

from variate.base.errors import UserError, suggest
from variate.base.files import opened
from variate.data.schema import Schema

__all__ = [
    "DEFAULTS",
    "LARGEST",
    "MOST_LAYERS",
    "check_plain",
    "default_recipe",
    "load_recipe",
    "parse_override",
    "recipes",
    "shown",
]

LARGEST, MOST_LAYERS, LONGEST_WORD = 10_000_000, 1024, 1000
FEW_COLUMNS = 4
RECIPES = Path(__file__).parents[1] / "recipes"
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
    "view": {"name": "none"},
    "train": {},
}


def recipes() -> list[str]:
    """The names of the recipes that come with variate."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def default_recipe(schema: Schema) -> str:
    """ "vae" (convolutional) where every axis of places has 8 or more; "few-columns" for vectors of up to four real
    numbers; "table" for tables; "vector" for everything else."""
    if schema.table:
        return "table"
    if schema.x.axes.spatial:
        return "vae" if min(schema.x.tensor_shape[1:]) >= 8 else "vector"
    return "few-columns" if schema.x.size <= FEW_COLUMNS and not schema.x.kind.is_mass else "vector"


def load_recipe(recipe: str | os.PathLike[str], overrides: list[str] | None = None) -> dict[str, dict]:
    """A recipe's name or TOML file, completed with the defaults, with ``section.key=value`` overrides applied."""
    recipe = os.fspath(recipe)
    path = Path(recipe) if recipe.endswith(".toml") else RECIPES / f"{recipe}.toml"
    if not os.path.isfile(path):  # unlike the method, never raises
        raise UserError(
            f"there is no recipe {shown(recipe)}{suggest(recipe[:100], recipes())}; known: {', '.join(recipes())}."
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
    parsed = [parse_override(override) for override in overrides or []]
    parsed.sort(key=lambda said: said[1] != "name")  # names first: a new one drops the keys of the old
    for section, key, value in parsed:
        _merge(config, section, {key: value})
    check_plain(config)
    return config


def _merge(config: dict[str, dict], section: str, values: object) -> None:
    if section not in config:
        raise UserError(
            f"there is no section {shown(section)}{suggest(section[:100], config)}; known: {', '.join(config)}."
        )
    if not isinstance(values, dict):
        raise UserError(f"section {section!r} must hold keys, as in {section}.name = ….")
    if "name" in values and values["name"] != config[section].get("name"):
        config[section] = {}
    config[section].update(values)


def parse_override(override: str) -> tuple[str, str, object]:
    match = re.fullmatch(r"(\w+)\.(\w+)=(.*)", override)
    if not match:
        raise UserError(f"--set {shown(override)} is not of the form section.key=value, for example latent.size=16.")
    section, key, text = match.groups()
    try:
        return section, key, tomllib.loads(f"v = {text}")["v"]
    except (ValueError, RecursionError):  # a bare word is a string; so is what is too long or too deep to be read
        return section, key, text


def check_plain(config: dict[str, dict]) -> None:
    """Every value is a word, a number or a flat list of such, of a size that can be printed; what it is good for, the
    class that it is for knows."""
    for section, values in config.items():
        for key, value in values.items():
            name, listed = f"{shown(section)[1:-1]}.{shown(key)[1:-1]}", isinstance(value, list | tuple)
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


def shown(value: object) -> str:
    """A value in a line."""
    return reprlib.repr(value)
