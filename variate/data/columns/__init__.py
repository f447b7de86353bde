"""What the columns of a frame are, and the one matrix of codes that they become."""

from variate.data.columns.coding import code_of as code_of
from variate.data.columns.coding import codes as codes
from variate.data.columns.coding import frame as frame
from variate.data.columns.column import Column as Column
from variate.data.columns.column import describe as describe
from variate.data.columns.infer import atoms as atoms
from variate.data.columns.infer import infer_columns as infer_columns
from variate.data.columns.saved import from_json as from_json
from variate.data.columns.saved import to_json as to_json
from variate.data.columns.wishes import from_toml as from_toml
from variate.data.columns.wishes import to_toml as to_toml
