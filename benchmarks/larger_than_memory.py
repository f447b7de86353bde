"""Train once through more data than there need be memory for, and measure the memory that is the process's own.

    python benchmarks/larger_than_memory.py
    python benchmarks/larger_than_memory.py --kind images --gigabytes 1

Made-up 8-bit images, as .npy shards or as a folder of PNG files, are learned from for one epoch by a child process,
whose resident anonymous memory is looked at every 50 ms: pages of files do not count, since they can be dropped at any
time. The network and its likelihood are small, so that the data are what takes memory. Prints one JSON line.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

SHARD_BYTES = 1 << 26
CHILD = """
import sys
import variate
small = [f"{part}.{what}" for part in ("encoder", "decoder") for what in ("name=mlp", "hidden=[64]")]
small += ["latent.size=8", "likelihood.name=gaussian"]
once = ["train.epochs=1", "train.least_steps=0", "train.batch_size=500"]
variate.fit(sys.argv[1], overrides=[*small, *once, *sys.argv[2:]])
"""


def blobs(n: int, side: int, dice: np.random.Generator) -> np.ndarray:
    """(n, side, side) uint8: a bright ridge across and one down, at random places, with noise."""
    places = np.arange(side, dtype=np.float32)
    down, across = (np.exp(-((places - dice.uniform(0, side, (n, 1))) ** 2) / side) for _ in range(2))
    clean = (110 * (down[:, :, None] + across[:, None, :])).astype(np.uint8)
    return clean + dice.integers(0, 32, clean.shape, np.uint8)


def make(folder: Path, images: int, side: int, kind: str) -> None:
    at_once, dice = max(1, SHARD_BYTES // side**2), np.random.default_rng(0)
    for start in range(0, images, at_once):
        shard = blobs(min(at_once, images - start), side, dice)
        if kind == "shards":
            np.save(folder / f"{start:09d}.npy", shard)
            continue
        for number, image in enumerate(shard, start):
            Image.fromarray(image).save(folder / f"{number:09d}.png", compress_level=1)


def anonymous_mb(process: int) -> float:
    try:
        found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    except OSError:
        found = None
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def watched(command: list) -> tuple[float, float]:
    """(peak of its anonymous memory in MB, seconds) of a process that succeeds."""
    started, peak = time.monotonic(), 0.0
    with subprocess.Popen(command, stdout=sys.stderr) as process:
        while process.poll() is None:
            peak = max(peak, anonymous_mb(process.pid))
            time.sleep(0.05)
    assert process.returncode == 0
    return peak, time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--side", type=int, default=64, help="height and width of an image")
    parser.add_argument("--kind", choices=["shards", "images"], default="shards")
    parser.add_argument("--folder", help="where the images are made, by default where temporary files are")
    parser.add_argument("--set", nargs="*", default=[], help="settings, as in likelihood.name=gaussian")
    asked = parser.parse_args()
    images = round(asked.gigabytes * 1e9 / asked.side**2)
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        make(Path(folder), images, asked.side, asked.kind)
        peak, seconds = watched([sys.executable, "-c", CHILD, folder, *asked.set])
    figures = {"kind": asked.kind, "gigabytes": asked.gigabytes, "images": images, "peak_anonymous_mb": round(peak)}
    print(json.dumps(figures | {"seconds": round(seconds, 1), "images_per_s": round(images / seconds)}))


if __name__ == "__main__":
    main()
