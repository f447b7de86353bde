"""Numbers as they are printed."""

__all__ = ["fixed", "number", "signed"]


def number(value: float) -> str:
    """To three digits."""
    return signed(f"{value:.3g}")


def fixed(value: float | None, form: str) -> str:
    """In Python's format; ``None`` is what some row has made infinite."""
    return "unknown" if value is None else signed(format(value, form))


def signed(text: str) -> str:
    """With a real minus."""
    return text.replace("-", "−")
