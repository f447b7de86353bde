"""What is said in files of older formats, step by step as this version says it: 1 → 2 → 3.

Format 1 had no layouts, only labels as context, and convolutions that halved twice whatever an image's size. Format 2
had one set of numbers for all values and labels in a flat schema; format 3 has fields, each of a kind.
"""

import re
from collections.abc import Callable

from torch import Tensor

from variate.data.layout import default_layout
from variate.data.schema import COLUMNS, LABEL, X

__all__ = ["FORMAT", "READABLE", "renamed", "upgraded"]

FORMAT = 3
FLAT = {
    **{"levels": None, "offset": [0.0], "scale": [1.0], "labels": None, "layout": "", "counts": False, "divisor": 1},
    **{"classes": None, "condition_offset": [], "condition_scale": [], "resized": False},
}
UNBOUNDED = 10_000_000


def _from_1(described: dict) -> dict:
    config = described.get("config")
    if not isinstance(config, dict):
        return described
    halved_twice = {"most_places": UNBOUNDED}
    as_meant = {
        name: halved_twice | said if isinstance(said, dict) and said.get("name") == "conv" else said
        for name, said in config.items()
    }
    return described | {"config": as_meant}


def _from_2(described: dict) -> dict:
    schema = described.get("schema")
    if not isinstance(schema, dict) or not {"shape", "dtype"} <= set(schema) <= {"shape", "dtype", *FLAT}:
        return described
    flat = FLAT | schema
    kind = {"name": "counts" if flat["counts"] is True else "reals", "offset": flat["offset"], "scale": flat["scale"]}
    if flat["levels"] is not None:
        kind = {"name": "levels", "levels": flat["levels"], "divisor": flat["divisor"]}
    layout = flat["layout"]
    if layout == "" and isinstance(flat["shape"], list):
        layout = default_layout(len(flat["shape"]))
    fields = [_field(X, kind, flat["shape"], flat["dtype"], layout, flat["resized"])]
    if flat["labels"] is not None:
        category = {"name": "category", "frequencies": flat["labels"], "words": flat["classes"]}
        fields.append(_field(LABEL, category, [], "int64"))
    if flat["condition_scale"]:
        known = {"name": "reals", "offset": flat["condition_offset"], "scale": flat["condition_scale"]}
        size = len(known["scale"]) if isinstance(known["scale"], list) else 0
        fields.append(_field(COLUMNS, known, [size], "float64", "F"))
    return described | {"schema": {"fields": fields, "table": []}}


def _field(name: str, kind: dict, shape: object, dtype: object, layout: object = "", resized: object = False) -> dict:
    said = {"kind": kind, "shape": shape, "dtype": dtype, "layout": layout, "name": name, "resized": resized}
    return said | {"at": [], "missing": False, "given": name != X}


def renamed(tensors: dict[str, Tensor], format: int) -> dict[str, Tensor]:
    """Weights by the names of this version: a likelihood had no name before it was one of a record's."""
    if format >= FORMAT:
        return tensors
    return {re.sub(r"(^|\.)likelihood\.", r"\1likelihood.x.", name): tensor for name, tensor in tensors.items()}


STEPS: dict[int, Callable[[dict], dict]] = {1: _from_1, 2: _from_2}
READABLE = (*STEPS, FORMAT)


def upgraded(described: dict) -> dict:
    """What a file says of itself, as a file of this format would; what is wrong with it stays so."""
    for step in range(described["format"], FORMAT):
        described = STEPS[step](described)
    return described
