"""The virtual environment of those that are raced against, made when it is missing."""

import subprocess
import sys
from pathlib import Path

CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
WANTED = ("torch", "numpy", "jax==0.10.2", "optax==0.2.8", "pythae==0.1.2")  # jax 0.11 needs Python 3.12
FOLDER = Path.home() / ".cache" / "variate-peers"


def python(folder: Path) -> Path:
    """The interpreter of the environment in that folder."""
    found, done = folder / "bin" / "python", folder / "installed"
    if not done.is_file() or done.read_text() != repr(WANTED):
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [found, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "-c", CONSTRAINTS]
        subprocess.run([*pip, *WANTED], check=True)
        done.write_text(repr(WANTED))
    return found
