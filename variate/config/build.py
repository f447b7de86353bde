"""A checked configuration → a model, its objective and how it is trained."""

import typing

from torch import nn

from variate import noise
from variate.base.errors import UserError, seed_number, suggest
from variate.base.surroundings import apart
from variate.config.calls import call, check_keys, keywords, wanted
from variate.config.names import JOINT, OPTIONAL, OWN, registries
from variate.config.recipes import DEFAULTS, check_plain, shown
from variate.config.suited import may_start_principal, model_schema
from variate.config.training import Training
from variate.data.schema import Schema
from variate.data.views import View
from variate.models.latents.latent import Latent
from variate.models.likelihoods.joint import Joint
from variate.models.model import Model
from variate.models.networks.layers import ShowAtoms
from variate.models.objectives.objective import Objective
from variate.models.readers import reader_of

__all__ = ["build", "view_of"]


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
    check_plain(config)
    check_keys(config["data"], {"binarize"}, "data")
    view_of(config)  # which is of the trainer, not of the model
    scored = model_schema(config, schema)
    with apart(device), noise.seeded(seed_number(seed), "weights"):
        house: dict[str, typing.Any] = {"schema": schema}
        context = _optional("context", config, known, house)
        house |= {"schema": scored, "shape": scored.x.tensor_shape, "context": context.size if context else 0}
        reader = reader_of(scored.explained)
        encoder = _encoder(config, known, house | {"shape": reader.shape}, modules or {})
        house |= {"features": encoder.features[0]}
        latent = _latent_of(config, known, house)
        house |= {"code": latent.code}
        decoder = _network("decoder", config, known, house, modules or {})
        likelihood = _joint(config, known, house | {"features": decoder.features})
        labelling = _optional("labelling", config, known, house | {"counts": _class_counts(config, schema)})
        shown = likelihood.only.shown(encoder) if _sees_plain_values(config, scored) else encoder
        model = Model(reader, shown, latent, decoder, likelihood, context, labelling)
    with apart(device), noise.seeded(seed_number(seed), "objective"):
        objective = _make("objective", config, known, house)
    _check_together(config, model, objective, scored)
    return model, objective, call(Training, {}, config["train"], "train")


def view_of(config: dict[str, dict]) -> View | None:
    """What the encoder is shown while it learns, where that is not all."""
    return _optional("view", config, registries(), {})


def _latent_of(config: dict[str, dict], known: dict[str, dict[str, type]], house: dict[str, typing.Any]) -> Latent:
    """The latent; where it is made of a posterior and a prior, ``size`` is theirs."""
    said, cls = config["latent"], known["latent"][_name("latent", config, known)]
    if not {"posterior", "prior"} & set(wanted(cls)):
        return _make("latent", config, known, house)
    size = said.get("size", DEFAULTS["latent"]["size"])
    if not isinstance(size, int) or isinstance(size, bool) or not 0 < size <= 65536:
        raise UserError(f"latent.size={size!r} must be a whole number within 1..65536.")
    check_keys(said, {"name", "size"} | keywords(cls), "latent")
    parts = {section: _make(section, config, known, house | {"size": size}) for section in ("posterior", "prior")}
    return call(cls, house | parts, {k: v for k, v in said.items() if k not in ("name", "size")}, "latent")


def _check_together(config: dict[str, dict], model: Model, objective: Objective, scored: Schema) -> None:
    """What each makes sense by itself and not with the other."""
    name = {section: said.get("name") for section, said in config.items()}
    if config["latent"].get("start") == "principal" and not may_start_principal(config, scored):
        raise UserError(
            "latent.start=principal needs as many latents as values, encoder.name=mlp and decoder.name=mlp with "
            "skip=true, a posterior and a prior that learn a density, and a likelihood of real numbers: use "
            "latent.start=random."
        )
    if objective.density not in (None, model.latent.has_density):
        section = "posterior" if "posterior" in wanted(type(model.latent)) else "latent"
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
    if not _sees_plain_values(config, scored):
        return _network("encoder", config, known, house, modules)
    levels = range(scored.x.kind.levels or 0)
    if not isinstance(atoms, list | tuple) or not all(type(atom) is int and atom in levels for atom in atoms):
        atoms = ()  # what is wrong with them, the likelihood will say
    if not atoms:
        return _network("encoder", config, known, house, modules)
    shape = ShowAtoms.shape(scored.x.tensor_shape, tuple(atoms))
    encoder = _network("encoder", config, known, house | {"shape": shape}, modules)
    return ShowAtoms(encoder, tuple(atoms), scored.x.kind.levels or 0)


def _sees_plain_values(config: dict[str, dict], scored: Schema) -> bool:
    """Whether an encoder of ours reads all values of an array, and nothing besides."""
    return config["encoder"].get("name") != OWN and not scored.table and not scored.x.missing


def _joint(config: dict[str, dict], known: dict[str, dict[str, type]], house: dict[str, typing.Any]) -> Joint:
    """A law for every field: of an array the one that is said, of a table one for each measure, by the field's name."""
    said, fields = config["likelihood"], house["schema"].explained
    if not house["schema"].table:
        return Joint({fields[0].name: _make("likelihood", config, known, house | {"field": fields[0]})})
    if said.get("name") != JOINT:
        raise UserError(
            f"likelihood.name={shown(said.get('name'))} is of an array: a table has a likelihood for each measure, as "
            f"in likelihood.{fields[0].name}=…."
        )
    names = {field.name for field in fields}
    shared = {key: value for key, value in said.items() if key not in {"name", *names}}
    laws, taken = {}, set[str]()
    for field in fields:
        cls = known["likelihood"][_one_of(said.get(field.name), f"likelihood.{field.name}", list(known["likelihood"]))]
        own = {key: value for key, value in shared.items() if key in keywords(cls)}
        laws[field.name] = call(cls, house | {"field": field}, own, "likelihood")
        taken |= set(own)
    check_keys(shared, taken, "likelihood")
    return Joint(laws)


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
    check_keys(config[section], {"name"}, section)
    return None


def _class_counts(config: dict[str, dict], schema: Schema) -> tuple[int, ...]:
    if config["labelling"].get("name") != "none" and len(schema.class_counts) < 2:
        raise UserError("a model that predicts labels needs two classes or more: give labels, −1 where one is missing.")
    return schema.class_counts


def _name(section: str, config: dict[str, dict], known: dict[str, dict[str, type]]) -> str:
    name = config[section].get("name")
    names = [*known[section], *(["none"] if section in OPTIONAL else [])]
    return name if isinstance(name, str) and name in known[section] else _one_of(name, f"{section}.name", names)


def _one_of(name: object, key: str, names: list[str]) -> str:
    if isinstance(name, str) and name in names:
        return name
    raise UserError(f"{key}={shown(name)} is not one of {', '.join(names)}{suggest(str(name)[:100], names)}.")


def _make(
    section: str, config: dict[str, dict], known: dict[str, dict[str, type]], house: dict[str, typing.Any]
) -> typing.Any:
    cls = known[section][_name(section, config, known)]
    return call(cls, house, {k: v for k, v in config[section].items() if k != "name"}, section)
