"""Numbers as they are printed."""

__all__ = ["number", "signed"]


def number(value: float) -> str:
    """To three digits."""
    return signed(f"{value:.3g}")


def signed(text: str) -> str:
    """With a real minus."""
    return text.replace("-", "−")
