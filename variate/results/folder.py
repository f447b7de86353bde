"""The run folder: the model, the metrics, and the states that a killed run goes on from.

``state/state.safetensors`` is the last state and ``state/previous.safetensors`` the one before, each with a checksum:
at every instant one of them is whole.
"""

import hashlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from variate.base.console import say
from variate.base.errors import UserError
from variate.base.files import keep_as, opened, write_atomic
from variate.data.schema import Schema
from variate.results.checkpoint import MODEL, Run, described_config, described_schema, model_file, read_file
from variate.results.formats import renamed

__all__ = ["RunFolder"]

MOST = 1 << 53  # what is counted, at most
LARGEST = 1e300  # a mean, at most: a chart has room above it
SHOWN = 100  # letters of what a parser says


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
        if os.path.isfile(self.state):
            keep_as(self.state, self.previous_state)
        write_atomic(self.state, content)

    @property
    def has_state(self) -> bool:
        return any(os.path.lexists(state) for state in (self.state, self.previous_state))

    def check_resumable(self) -> None:
        if not self.has_state:
            raise UserError(f"{self.path} has no saved state to resume: start without --resume.")

    def load_state(self) -> tuple[dict, dict, Schema]:
        """(captured, config, schema) of the last state that is whole; it is said if that is not the last one."""
        self.check_resumable()
        try:
            return _load(self.state)
        except UserError:
            if not os.path.lexists(self.previous_state):
                raise
            found = _load(self.previous_state)
            say(f"{self.state} is damaged: going on from the state before it, step {found[0]['numbers']['step']:,}.")
            return found

    def write_metrics(self, records: list[dict]) -> None:
        """A line of JSON for each; numbers that are not finite are null, for JSON knows none."""
        lines = (json.dumps(_finite(record), sort_keys=True, allow_nan=False) + "\n" for record in records)
        write_atomic(self.metrics, "".join(lines).encode())

    def read_metrics(self) -> list[dict]:
        if not os.path.lexists(self.metrics):
            return []
        with opened(self.metrics) as file:
            content = file.read()
        remedy = "delete it, and go on without its history"
        try:
            lines = content.decode("utf-8").splitlines()
            records: list = [_finite(json.loads(line)) for line in lines]
        except (ValueError, RecursionError) as error:
            raise UserError(f"{self.metrics} is damaged ({str(error)[:SHOWN]}): {remedy}.") from None
        for number, record in enumerate(records, 1):
            if not _is_record(record):
                raise UserError(f"{self.metrics} is damaged (line {number} is no record of an epoch): {remedy}.")
        return records


def _finite(value: object) -> object:
    """The same JSON without NaN and infinity."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_record(record: object) -> bool:
    """Whether it is what a trainer yields: of an epoch, with its means, or of another event."""
    if not isinstance(record, dict) or not _is_count(record.get("step")):
        return False
    if "epoch" not in record:
        return isinstance(record.get("event"), str) and "seconds" not in record
    parts = [part for name in ("train", "validation") if isinstance(part := record.get(name), dict)]
    numbers = [*(number for part in parts for number in part.values()), record.get("seconds", 0)]
    return (
        _is_count(record["epoch"])
        and len(parts) == 2
        and all("elbo_nats" in part or "squared_error" in part for part in parts)
        and ("elbo_nats" in parts[0]) == ("elbo_nats" in parts[1])
        and all(number is None or type(number) in (int, float) and abs(number) < LARGEST for number in numbers)
    )


def _is_count(number: object) -> bool:
    return type(number) is int and 0 <= number < MOST


def _load(file: Path) -> tuple[dict, dict, Schema]:
    tensors, described = read_file(file)
    said = {name: value for name, value in described.items() if name not in ("checksum", "format")}
    if described.get("checksum") != _checksum(tensors, said):
        raise UserError(f"{file} is damaged: its checksum is not that of its content; start anew.")
    numbers = described.get("numbers")
    if not isinstance(numbers, dict) or type(numbers.get("seed")) is not int or not _is_count(numbers.get("step")):
        raise UserError(f"{file} is damaged: start anew, without --resume and in another folder.")
    captured = {"tensors": renamed(tensors, described["format"]), "numbers": numbers}
    return captured, described_config(described, file), described_schema(described, file)


def _checksum(tensors: dict[str, Tensor], described: dict) -> str:
    """Of all names, numbers and bytes. It finds damage by chance, not by design: whoever forges can count."""
    hashed = hashlib.blake2b(json.dumps(described, sort_keys=True).encode(), digest_size=16)
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name].detach().cpu().numpy())
        hashed.update(f"{name} {array.dtype} {array.shape}".encode())
        hashed.update(array.tobytes())
    return hashed.hexdigest()
