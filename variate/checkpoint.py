"""The model file: safetensors and JSON, so that loading never runs code.

``model.safetensors`` holds the weights and one metadata key, ``variate``: canonical JSON with the format version, the
configuration, the schema and what the weights are.
"""

import json
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_bytes
from safetensors.torch import save
from torch import Tensor, nn

from variate import config as configuration
from variate.data.schema import Schema
from variate.errors import UserError
from variate.files import write_atomic
from variate.model import Model
from variate.surroundings import apart

__all__ = [
    "FORMAT",
    "MODEL",
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

FORMAT, READABLE = 2, (1, 2)  # format 1 has no layouts, and only labels as context: the defaults say what it meant
KEY, MODEL = "variate", "model.safetensors"
LARGEST_WEIGHT = 1e15  # beyond it two of them overflow soon; a unit's spread is 1
MOST = 1 << 53  # what is counted, at most


@dataclass(frozen=True)
class Run:
    """A trained model with all that is needed to use it. ``info``: data name, seed, epoch, step, bound."""

    model: Model
    schema: Schema
    config: dict[str, dict]
    info: dict
    path: Path
    format: int = FORMAT

    @property
    def deterministic(self) -> bool:
        return self.config["posterior"]["name"] == "point"

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


def save_model(path: Path, model: Model, schema: Schema, config: dict, info: dict) -> None:
    """Write the model file: same weights and configuration, same bytes."""
    described = {"config": config, "info": info, "schema": schema.to_json()}
    write_atomic(path, model_file(model.state_dict(), described))


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
    if not {"config", "schema", "info"} <= set(described):
        raise UserError(f"{file} is not a model file of variate's: make one with `variate fit`.")
    schema, config, info = described_schema(described, file), described_config(described, file), described["info"]
    if not _is_info(info):
        raise UserError(f"{file} does not say what it was trained on and for how long: it is damaged; make it anew.")
    check_weights(tensors, config, schema, file, modules)
    model = configuration.build(config, schema, modules=modules)[0]
    model.load_state_dict(tensors)
    return Run(model.requires_grad_(False).eval(), schema, config, info, file, described["format"])


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
        model = configuration.build(config, schema, modules=modules, device="meta")[0]
    except UserError as error:
        raise UserError(f"{file} cannot be loaded: {error}") from None
    _check_tensors(model.state_dict(), tensors, file)
    for name, _ in model.named_parameters():
        if bool((tensors[name].abs() > LARGEST_WEIGHT).any()):
            raise UserError(f"{file} holds weights ({name}) that no training comes to: it is damaged or hostile.")


def pack(run: Run) -> dict:
    """A run as plain bytes and JSON values, for whoever has to pickle it; ``unpack`` is the inverse."""
    tensors = {name: tensor.contiguous() for name, tensor in run.model.state_dict().items()}
    described = {"config": run.config, "info": run.info, "schema": run.schema.to_json(), "path": str(run.path)}
    return {"tensors": save(tensors), "described": json.dumps(described)}


@apart()
def unpack(packed: dict, modules: dict[str, nn.Module] | None = None) -> Run:
    """The run that was packed. What comes out of a pickle is as trustworthy as the pickle: shapes are not checked."""
    described = json.loads(packed["described"])
    schema = Schema.from_json(described["schema"])
    model = configuration.build(described["config"], schema, modules=modules)[0]
    model.load_state_dict(load_bytes(packed["tensors"]))
    return Run(
        model.requires_grad_(False).eval(), schema, described["config"], described["info"], Path(described["path"])
    )


def model_file(tensors: dict[str, Tensor], described: dict) -> bytes:
    """The file of these tensors and what is said of them: the same tensors and words, the same bytes."""
    metadata = json.dumps({"format": FORMAT, **described}, sort_keys=True, separators=(",", ":"))
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save(tensors, metadata={KEY: metadata})


def read_file(path: Path) -> tuple[dict[str, Tensor], dict]:
    """The inverse of ``model_file``; ``UserError`` for what is no file of variate's, or damaged."""
    try:
        with _named_in_utf8(path) as place, safe_open(place, framework="pt") as file:
            described = json.loads((file.metadata() or {})[KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path} is damaged or not a file of variate's ({error}): make it anew with `variate fit`."
        ) from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from None
    if not isinstance(described, dict) or described.get("format") not in READABLE:
        known = " and ".join(map(str, READABLE))
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
        return Schema.from_json(described.get("schema"))
    except UserError as error:
        raise UserError(f"{file} cannot be read: {error}") from None


def described_config(described: dict, file: Path) -> dict[str, dict]:
    config = described.get("config")
    if isinstance(config, dict) and {"encoder", "likelihood"} <= set(config) <= set(configuration.DEFAULTS):
        if all(isinstance(section, dict) for section in config.values()):
            whole = configuration.DEFAULTS | _as_meant(config, described.get("format"))
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


def _as_meant(config: dict[str, dict], version: int | None) -> dict[str, dict]:
    """In format 1 convolutions halved twice, whatever the image's size."""
    if version != 1:
        return config
    halved_twice = {"most_places": configuration.LARGEST}
    return {name: (halved_twice if said.get("name") == "conv" else {}) | said for name, said in config.items()}


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
