"""The model file: safetensors and JSON, so that loading never runs code.

``model.safetensors`` holds the weights and one metadata key, ``variate``: canonical JSON with the format version, the
configuration, the schema and what the weights are.
"""

import json
import math
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_bytes
from safetensors.torch import save
from torch import Tensor, nn

from variate import config as configuration
from variate.base.errors import UserError
from variate.base.files import write_atomic
from variate.base.surroundings import apart
from variate.data.schema import Schema
from variate.models.model import Model
from variate.models.objectives.objective import Objective
from variate.results.formats import FORMAT, READABLE, renamed, upgraded

__all__ = [
    "MODEL",
    "OBJECTIVE",
    "Run",
    "check_loadable",
    "check_weights",
    "described_config",
    "described_schema",
    "load",
    "model_file",
    "pack",
    "read_file",
    "save_model",
    "unpack",
]

KEY, MODEL = "variate", "model.safetensors"
OBJECTIVE = "objective."  # in front of the names of an objective's own weights
LARGEST_WEIGHT = 1e15  # beyond it two of them overflow soon; a unit's spread is 1
MOST = 1 << 53  # what is counted, at most


@dataclass(frozen=True)
class Run:
    """A trained model with all that is needed to use it. ``info``: data name, seed, epoch, step, bound.

    ``objective``: what it was trained with, whose own weights, as a critic's, are its last ones; ``None`` of a model
    that was put together by hand.
    """

    model: Model
    schema: Schema
    config: dict[str, dict]
    info: dict
    path: Path
    format: int = FORMAT
    objective: Objective | None = None

    @property
    def deterministic(self) -> bool:
        return not self.model.latent.has_density

    def tensors(self) -> dict[str, Tensor]:
        """All weights by name: the model's, and after "objective." those of its objective."""
        own = {} if self.objective is None else self.objective.state_dict()
        return self.model.state_dict() | {OBJECTIVE + name: tensor for name, tensor in own.items()}

    @property
    def conditional(self) -> bool:
        return self.model.context is not None

    @property
    def labelled(self) -> bool:
        """Whether it is conditional on a label, which has frequencies and can be summed out."""
        return self.config["context"]["name"] == "label"

    @property
    def generates(self) -> bool:
        """Whether there is a prior to draw from: a deterministic autoencoder's is fitted to its codes afterwards."""
        return not self.deterministic or self.info.get("prior") == "fitted"

    @property
    def binarize(self) -> str:
        return self.config["data"]["binarize"]

    @property
    def dtype(self) -> torch.dtype:
        return next(self.model.parameters()).dtype


def save_model(path: Path, run: Run) -> None:
    """Write the model file: same weights and configuration, same bytes."""
    described = {"config": run.config, "info": run.info, "schema": run.schema.to_json()}
    write_atomic(path, model_file(run.tensors(), described))


@apart()
def load(path: str | os.PathLike, modules: dict[str, nn.Module] | None = None) -> Run:
    """A run folder or a model file → ``Run``.

    A model of one's own networks needs them again, as ``modules={"encoder": …, "decoder": …}``: the file holds their
    weights, which are put into copies of them, and no code. Raises ``UserError`` for whatever is not a whole model of
    variate's.
    """
    place = Path(path)
    file = place / MODEL if os.path.isdir(place) else place
    if not os.path.isfile(file):
        raise UserError(
            f"{place} is no run: it has no model.safetensors; make one with `variate fit DATA --out {place}`."
        )
    tensors, described = read_file(file)
    tensors = renamed(tensors, described["format"])
    if not {"config", "schema", "info"} <= set(described):
        raise UserError(f"{file} is not a model file of variate's: make one with `variate fit`.")
    schema, config, info = described_schema(described, file), described_config(described, file), described["info"]
    if not _is_info(info):
        raise UserError(f"{file} does not say what it was trained on and for how long: it is damaged; make it anew.")
    check_weights(tensors, config, schema, file, modules)
    return replace(_run_of(tensors, schema, config, info, file, modules), format=described["format"])


def _run_of(
    tensors: dict[str, Tensor], schema: Schema, config: dict, info: dict, path: Path, modules: dict | None
) -> Run:
    """The configured model and objective with these weights."""
    model, objective, _ = configuration.build(config, schema, modules=modules)
    own = {name.removeprefix(OBJECTIVE): value for name, value in tensors.items() if name.startswith(OBJECTIVE)}
    objective.load_state_dict(own)
    model.load_state_dict({name: value for name, value in tensors.items() if not name.startswith(OBJECTIVE)})
    model.requires_grad_(False).eval()
    objective.requires_grad_(False).eval()
    return Run(model, schema, config, info, path, objective=objective)


def check_loadable(schema: Schema, name: str) -> None:
    """That a model of such data, once it is saved, will be loaded; to be asked before it is trained."""
    try:
        if Schema.from_json(schema.to_json()) == schema:
            return
    except UserError:
        pass
    raise UserError(
        f"{name} holds more than a model file can say of its data ({schema.describe()}): give fewer or smaller values, "
        "and fewer classes with shorter names."
    )


def check_weights(
    tensors: dict[str, Tensor], config: dict, schema: Schema, file: Path, modules: dict[str, nn.Module] | None
) -> None:
    """``UserError`` unless these are weights of the configured model, which is not built for that: a hostile
    configuration allocates nothing."""
    try:
        model, objective, _ = configuration.build(config, schema, modules=modules, device="meta")
    except UserError as error:
        raise UserError(f"{file} cannot be loaded: {error}") from None
    expected = Run(model, schema, config, {}, file, objective=objective).tensors()
    _check_tensors(expected, tensors, file)
    own = (OBJECTIVE + name for name, _ in objective.named_parameters())
    for name in (*(name for name, _ in model.named_parameters()), *own):
        if bool((tensors[name].abs() > LARGEST_WEIGHT).any()):
            raise UserError(f"{file} holds weights ({name}) that no training comes to: it is damaged or hostile.")


def pack(run: Run) -> dict:
    """A run as plain bytes and JSON values, for whoever has to pickle it; ``unpack`` is the inverse."""
    described = {"config": run.config, "info": run.info, "schema": run.schema.to_json(), "path": str(run.path)}
    tensors, described["aliases"] = _stored_once(run.tensors())
    return {"tensors": save(tensors), "described": json.dumps(described)}


@apart()
def unpack(packed: dict, modules: dict[str, nn.Module] | None = None) -> Run:
    """The run that was packed. What comes out of a pickle is as trustworthy as the pickle: shapes are not checked."""
    described = json.loads(packed["described"])
    schema, tensors = Schema.from_json(described["schema"]), load_bytes(packed["tensors"])
    tensors |= {name: tensors[stored] for name, stored in described["aliases"].items()}
    return _run_of(tensors, schema, described["config"], described["info"], Path(described["path"]), modules)


def model_file(tensors: dict[str, Tensor], described: dict) -> bytes:
    """The file of these tensors and what is said of them: the same tensors and words, the same bytes."""
    once, aliases = _stored_once(tensors)
    described = {"format": FORMAT, **described} | ({"aliases": aliases} if aliases else {})
    metadata = json.dumps(described, sort_keys=True, separators=(",", ":"))
    return save(once, metadata={KEY: metadata})


def _stored_once(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors that lie in memory of their own, and which name is another's tensor: tied weights are one thing."""
    first, once, aliases = dict[tuple, str](), dict[str, Tensor](), dict[str, str]()
    for name, tensor in tensors.items():
        place = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.device)
        if tensor.numel() and place in first:
            aliases[name] = first[place]
            continue
        first[place] = name
        once[name] = tensor.detach().cpu().contiguous()
    return _apart_in_memory(once), aliases


def _apart_in_memory(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same, copied where several are views into one, as of a weight of which another is a part."""
    count = Counter(tensor.untyped_storage().data_ptr() for tensor in tensors.values())
    return {n: t.clone() if count[t.untyped_storage().data_ptr()] > 1 else t for n, t in tensors.items()}


def read_file(path: Path) -> tuple[dict[str, Tensor], dict]:
    """The inverse of ``model_file``; ``UserError`` for what is no file of variate's, or damaged."""
    try:
        with _named_in_utf8(path) as place, safe_open(place, framework="pt") as file:
            described = json.loads((file.metadata() or {})[KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            tensors |= {name: tensors[stored] for name, stored in described.get("aliases", {}).items()}
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path} is damaged or not a file of variate's ({error}): make it anew with `variate fit`."
        ) from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from None
    if not isinstance(described, dict) or described.get("format") not in READABLE:
        known = ", ".join(map(str, READABLE))
        raise UserError(f"{path} has a format that this version does not know: it reads {known}; update variate.")
    return tensors, described


@contextmanager
def _named_in_utf8(path: Path) -> Iterator[Path]:
    """The file under a name that safetensors can open: a link to it, if its own is in another encoding."""
    try:
        os.fsencode(path).decode("utf-8")
        yield path
    except UnicodeDecodeError:
        with tempfile.TemporaryDirectory() as folder:
            link = Path(folder, MODEL)
            link.symlink_to(path.absolute())
            yield link


def described_schema(described: dict, file: Path) -> Schema:
    try:
        return Schema.from_json(upgraded(described).get("schema"))
    except UserError as error:
        raise UserError(f"{file} cannot be read: {error}") from None


def described_config(described: dict, file: Path) -> dict[str, dict]:
    config = upgraded(described).get("config")
    if isinstance(config, dict) and {"encoder", "likelihood"} <= set(config) <= set(configuration.DEFAULTS):
        if all(isinstance(section, dict) for section in config.values()):
            whole = configuration.DEFAULTS | config
            return whole | {"data": configuration.DEFAULTS["data"] | whole["data"]}
    raise UserError(f"{file} holds no valid configuration: it is damaged; make it anew with `variate fit`.")


def _is_info(info: object) -> bool:
    """Whether it has what is told of every run; there may be more."""
    if not isinstance(info, dict) or not isinstance(info.get("data"), str) or type(info.get("seed")) is not int:
        return False
    counts, bound = (info.get("epoch"), info.get("step")), info.get("bound")
    return all(type(count) is int and 0 <= count < MOST for count in counts) and (
        bound is None or (type(bound) is float and math.isfinite(bound))
    )


def _check_tensors(expected: dict[str, Tensor], found: dict[str, Tensor], file: Path) -> None:
    def fault(what: str) -> UserError:
        return UserError(
            f"{file} does not hold the weights that its configuration needs ({what}): the file is damaged."
        )

    if set(expected) != set(found):
        raise fault(f"missing or unknown: {', '.join(sorted(set(expected) ^ set(found))[:3])}")
    for name, tensor in expected.items():
        if tensor.shape != found[name].shape or tensor.dtype != found[name].dtype:
            raise fault(f"{name} is {tuple(found[name].shape)} {found[name].dtype}, not {tuple(tensor.shape)}")
        if not torch.isfinite(found[name]).all():
            raise fault(f"{name} holds NaN or infinity")
