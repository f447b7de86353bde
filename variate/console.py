"""What people read while variate works: plain lines on standard error, so that standard output stays for results."""

import sys

__all__ = ["say"]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
