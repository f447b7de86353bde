"""Metrics for other tools, beside ``metrics.jsonl``: a function of (run folder, step to go on from) each, which gives
a function of all records so far that is called after every epoch."""

import csv as csv_module
import io
from collections.abc import Callable
from pathlib import Path

from variate.base.errors import UserError
from variate.base.files import write_atomic

__all__ = ["csv", "tensorboard"]

Log = Callable[[list[dict]], None]


def csv(folder: Path, step: int) -> Log:
    """``metrics.csv``: a line per epoch, columns as ``validation.elbo_nats``."""

    def write(records: list[dict]) -> None:
        lines = [_flat(record) for record in records if "epoch" in record]
        names = list(dict.fromkeys(name for line in lines for name in line))
        buffer = io.StringIO()
        writer = csv_module.DictWriter(buffer, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
        write_atomic(folder / "metrics.csv", buffer.getvalue().encode())

    return write


def tensorboard(folder: Path, step: int) -> Log:
    """``tensorboard/``: scalars named as in ``metrics.jsonl``, for ``tensorboard --logdir``."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("--log tensorboard needs the package tensorboard: pip install tensorboard.") from None
    writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def write(records: list[dict]) -> None:
        for name, value in _flat(records[-1]).items():
            if isinstance(value, int | float):
                writer.add_scalar(name.replace(".", "/"), value, records[-1]["step"])
        writer.flush()

    return write


def _flat(record: dict, above: str = "") -> dict:
    """Nested records as one level of names with dots."""
    flat: dict = {}
    for name, value in record.items():
        flat |= _flat(value, f"{above}{name}.") if isinstance(value, dict) else {above + name: value}
    return flat
