"""What the columns of a frame are, and the one matrix of codes that they become."""

from variate.data.columns.coding import codes, frame
from variate.data.columns.column import Column, describe
from variate.data.columns.infer import atoms, infer_columns

__all__ = ["Column", "atoms", "codes", "describe", "frame", "infer_columns"]
