"""Classes on a page: which of many are shown, and what the class of a row is called."""

from torch import Tensor

from variate.data.schema import Schema

__all__ = ["MOST", "NO_LABEL", "names_of", "selection", "shown"]

MOST = 12
NO_LABEL = "no label"


def shown(schema: Schema) -> list[int]:
    """The classes that most training rows have, at most ``MOST`` of them, in their order."""
    counts = schema.class_counts
    return sorted(sorted(range(len(counts)), key=lambda label: -counts[label])[:MOST])


def selection(schema: Schema) -> str:
    """A sentence where not all classes are shown."""
    classes = len(schema.class_counts)
    return f" The {MOST} most frequent of {classes:,} classes." if classes > MOST else ""


def names_of(labels: Tensor | None, schema: Schema) -> tuple[str, ...]:
    """The name of every row's class; nothing where there are no classes."""
    if labels is None or not schema.class_counts:
        return ()
    return tuple(NO_LABEL if label < 0 else schema.class_names[label] for label in labels.tolist())
