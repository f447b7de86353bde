"""What the columns of a frame are, and the one matrix of codes that they become."""

from variate.data.columns.coding import code_of, codes, frame
from variate.data.columns.column import Column, describe
from variate.data.columns.infer import atoms, infer_columns
from variate.data.columns.saved import from_json, to_json
from variate.data.columns.wishes import from_toml, to_toml

__all__ = [
    "Column",
    "atoms",
    "code_of",
    "codes",
    "describe",
    "frame",
    "from_json",
    "from_toml",
    "infer_columns",
    "to_json",
    "to_toml",
]
