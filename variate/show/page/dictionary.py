"""A table's columns, a line each: what a column is, how much of it is missing, how well it is explained."""

from variate.data.columns import describe
from variate.show.page.findings import Findings
from variate.show.page.words import fixed

__all__ = ["HEADS", "TITLE", "rows"]

TITLE = "Columns"
HEADS = ("column", "what it is", "missing", "distortion, nats")


def rows(found: Findings) -> list[tuple[str, str, str, str]]:
    """Nothing for what is no table."""
    schema = found.run.schema
    missing = dict(zip(schema.code_names, found.missing.tolist(), strict=True)) if schema.table else {}
    return [
        (
            column.name,
            describe(column).removeprefix(f"{column.name}: "),
            f"{missing[column.name]:.1%}" if missing.get(column.name) else "",
            _distortion(found, column.name),
        )
        for column in schema.table
    ]


def _distortion(found: Findings, name: str) -> str:
    """−E[log p(x_j | z)] over the rows that have the cell; nothing for columns that are not explained."""
    nats = found.figures["column_distortion_nats"]
    if name in nats:
        return fixed(nats[name], ".3f")
    return "given" if name in found.run.schema.code_names else ""
