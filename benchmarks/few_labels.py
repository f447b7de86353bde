"""MNIST with labels for a few rows: test error of the ``semi-supervised`` recipe, and of its network on those alone.

Balanced, seeded choices of labelled training rows; all other training rows have no label (−1). The 10,000 test rows are
used once, for the error that is printed. One JSON line per run, and the mean over the seeds at the end.
"""

import argparse
import json
import time

import numpy as np
from codes_against_pca import balanced

import variate
from variate.data.load import load
from variate.results.checkpoint import Run


def error(run: Run, name: str) -> float:
    test = load(f"{name}:test")
    found, _ = variate.classify(run, test)
    return float(np.mean(found != np.array(test.schema.class_names)[test.labels.numpy()]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--labels", nargs="+", type=int, default=[100, 1000])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--set", nargs="*", default=[], help="section.key=value")
    parser.add_argument("--alone", action="store_true", help="only the network on the labelled rows alone")
    asked = parser.parse_args()
    train = load(f"{asked.data}:train")
    truth = train.labels.numpy()
    for n in asked.labels:
        found: dict[str, list[float]] = {"all rows": [], "labelled rows alone": []}
        for seed in asked.seeds:
            rows = balanced(truth, n, seed)
            known = np.full(len(truth), -1)
            known[rows] = truth[rows]
            kinds = {"labelled rows alone": (train.values.numpy()[rows], truth[rows])}
            if not asked.alone:
                kinds["all rows"] = (train.values.numpy(), known)
            for kind, (values, labels) in kinds.items():
                started = time.monotonic()
                few = ["train.epochs=1", "train.least_steps=1000"] if kind != "all rows" else []
                run = variate.fit(values, labels, recipe="semi-supervised", seed=seed, overrides=[*few, *asked.set])
                found[kind].append(error(run, asked.data))
                told = {"labels": n, "seed": seed, "rows": kind, "error": found[kind][-1]}
                print(json.dumps(told | {"seconds": round(time.monotonic() - started)}), flush=True)
        print(json.dumps({"labels": n} | {kind: float(np.mean(e)) for kind, e in found.items() if e}), flush=True)


if __name__ == "__main__":
    main()
