"""The run folder: the model, the metrics, and the states that a killed run goes on from.

``state/state.safetensors`` is the last state and ``state/previous.safetensors`` the one before, each with a checksum:
at every instant one of them is whole.
"""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from variate.checkpoint import MODEL, Run, described_config, described_schema, model_file, read_file
from variate.console import say
from variate.data.schema import Schema
from variate.errors import UserError
from variate.files import write_atomic

__all__ = ["RunFolder"]


@dataclass(frozen=True)
class RunFolder:
    """Where a run keeps its things."""

    path: Path

    @classmethod
    def of(cls, run: Run) -> "RunFolder":
        return cls(run.path.parent)

    @property
    def model(self) -> Path:
        return self.path / MODEL

    @property
    def state(self) -> Path:
        return self.path / "state" / "state.safetensors"

    @property
    def previous_state(self) -> Path:
        return self.state.with_name("previous.safetensors")

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    def save_state(self, captured: dict, config: dict, schema: Schema) -> None:
        """Replace the last state, which becomes the previous one; what is on the disk is never less than before."""
        described = {"config": config, "numbers": captured["numbers"], "schema": schema.to_json()}
        described["checksum"] = _checksum(captured["tensors"], described)
        content = model_file(captured["tensors"], described)
        if self.state.is_file():
            _keep_as(self.state, self.previous_state)
        write_atomic(self.state, content)

    def load_state(self) -> tuple[dict, dict, Schema]:
        """(captured, config, schema) of the last state that is whole; it is said if that is not the last one."""
        if not self.state.is_file():
            raise UserError(f"{self.path} has no saved state to resume: start without --resume.")
        try:
            return _load(self.state)
        except UserError:
            if not self.previous_state.is_file():
                raise
            found = _load(self.previous_state)
            say(f"{self.state} is damaged: going on from the state before it, step {found[0]['numbers']['step']:,}.")
            return found

    def write_metrics(self, records: list[dict]) -> None:
        lines = (json.dumps(record, sort_keys=True) + "\n" for record in records)
        write_atomic(self.metrics, "".join(lines).encode())

    def read_metrics(self) -> list[dict]:
        if not self.metrics.is_file():
            return []
        try:
            records = [json.loads(line) for line in self.metrics.read_text().splitlines()]
            return [record for record in records if record["step"] >= 0]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self.metrics} is damaged ({error}): delete it, and go on without its history.") from None


def _keep_as(file: Path, kept: Path) -> None:
    """A second name for a file, in the place of an older one; a copy where a file can have one name only."""
    fresh = kept.with_name(f".{kept.name}.part")
    fresh.unlink(missing_ok=True)
    try:
        os.link(file, fresh)
    except OSError:
        shutil.copyfile(file, fresh)
    os.replace(fresh, kept)


def _load(file: Path) -> tuple[dict, dict, Schema]:
    tensors, described = read_file(file)
    said = {name: value for name, value in described.items() if name not in ("checksum", "format")}
    if described.get("checksum") != _checksum(tensors, said):
        raise UserError(f"{file} is damaged: its checksum is not that of its content; start anew.")
    numbers = described.get("numbers")
    if not isinstance(numbers, dict) or not all(type(numbers.get(name)) is int for name in ("seed", "step")):
        raise UserError(f"{file} is damaged: start anew, without --resume and in another folder.")
    captured = {"tensors": tensors, "numbers": numbers}
    return captured, described_config(described, file), described_schema(described, file)


def _checksum(tensors: dict[str, Tensor], described: dict) -> str:
    """Of all names, numbers and bytes. It finds damage by chance, not by design: whoever forges can count."""
    hashed = hashlib.blake2b(json.dumps(described, sort_keys=True).encode(), digest_size=16)
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name].detach().cpu().numpy())
        hashed.update(f"{name} {array.dtype} {array.shape}".encode())
        hashed.update(array.tobytes())
    return hashed.hexdigest()
