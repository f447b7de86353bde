"""Logistic regression on the codes of a model against logistic regression on as many principal components.

Both are fitted to the same training rows of MNIST and Fashion-MNIST without their labels; the classifier sees the
labels of all training rows, or of a balanced, seeded 1,000 of them; the figure is its accuracy on the 10,000 test rows.
Prints one line per cell, and writes all of them as JSON where ``--out`` says.
"""

import argparse
import json
import time

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from variate import VAE, Autoencoder
from variate.data.load import load

SIZES = (10, 16, 32)


def balanced(labels: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    """n row numbers, the same number of every class."""
    rng = np.random.default_rng(seed)
    each = n // len(np.unique(labels))
    return np.concatenate([rng.choice(np.flatnonzero(labels == label), each, False) for label in np.unique(labels)])


def accuracy(train: np.ndarray, labels: np.ndarray, test: np.ndarray, truth: np.ndarray) -> float:
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return float(classifier.fit(train, labels).score(test, truth))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=["mnist", "fashion-mnist"])
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--model", choices=("vae", "autoencoder"), default="autoencoder")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--set", nargs="*", default=(), help="section.key=value")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="a .json file")
    asked = parser.parse_args()
    cells = []
    for name in asked.data:
        train, test = load(f"{name}:train"), load(f"{name}:test")
        labels, truth = train.labels.numpy(), test.labels.numpy()
        flat = [rows.values.numpy().reshape(len(rows), -1) / 255 for rows in (train, test)]
        for size in asked.sizes:
            kind = {"vae": VAE, "autoencoder": Autoencoder}[asked.model]
            started = time.monotonic()
            model = kind(size, epochs=asked.epochs, overrides=tuple(asked.set), random_state=asked.seed)
            model.fit(f"{name}:train")
            seconds = time.monotonic() - started
            pca = PCA(size, random_state=0).fit(flat[0])
            codes = {asked.model: [model.transform(rows) for rows in (train, test)], "pca": map(pca.transform, flat)}
            codes = {method: list(parts) for method, parts in codes.items()}
            for shown in (len(labels), 1000):
                rows = balanced(labels, shown, asked.seed) if shown == 1000 else np.arange(shown)
                scores = {m: accuracy(a[rows], labels[rows], b, truth) for m, (a, b) in codes.items()}
                cells.append({"data": name, "size": size, "labels": shown, "seconds": round(seconds), **scores})
                print(json.dumps(cells[-1]), flush=True)
    if asked.out:
        with open(asked.out, "w") as file:
            json.dump(cells, file, indent=1)


if __name__ == "__main__":
    main()
