"""Are class-conditional samples of the class asked for, and are they varied?

    python benchmarks/conditional_samples.py runs/demo

1. A classifier trained on real MNIST alone judges 10,000 conditional means: how many are of the class asked.
2. The same network trained on 60,000 conditional draws alone is scored on the real test set: samples that are wrong,
   or all alike, would not teach it.

Prints both, with the first classifier's accuracy on the real test set beside them.
"""

import argparse
import json

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import variate
from variate import noise
from variate.base.progress import track
from variate.data.load import load

EPOCHS, BATCH, RATE = 6, 128, 2e-3


def classifier() -> nn.Module:
    """A small convolutional network: about 99 % on MNIST after six epochs."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 5, stride=2, padding=2), nn.ReLU()),
        *(nn.Conv2d(16, 48, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(48, 64, 3, padding=1), nn.ReLU(), nn.Flatten()),
        *(nn.Dropout(0.3), nn.Linear(64 * 49, 128), nn.ReLU(), nn.Linear(128, 10)),
    )


def as_input(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images).unsqueeze(1).float() / 255


def train(images: np.ndarray, labels: Tensor, name: str, seed: int = 0) -> nn.Module:
    """The classifier after a fixed number of epochs of Adam with a falling learning rate."""
    with noise.seeded(seed, "classifier"):
        model = classifier()
        steps = EPOCHS * (len(images) // BATCH)
        optimizer = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
        order = torch.cat([torch.randperm(len(images))[: steps // EPOCHS * BATCH] for _ in range(EPOCHS)])
        for rows in track(order.split(BATCH), f"Training on {name}", total=steps, unit="step"):
            loss = F.cross_entropy(model(as_input(images[rows])), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


@torch.inference_mode()
def accuracy(model: nn.Module, images: np.ndarray, labels: Tensor) -> float:
    found = torch.cat([model(as_input(part)).argmax(1) for part in np.array_split(images, max(1, len(images) // 1000))])
    return float((found == labels).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="the folder of a conditional model of mnist or fashion-mnist")
    parser.add_argument("--data", default="mnist")
    arguments = parser.parse_args()
    run = variate.load(arguments.run)
    real, test = (load(f"{arguments.data}:{part}") for part in ("train", "test"))
    classes = torch.arange(10)
    means = variate.sample(run, 10_000, given="0..9", mean=True, seed=1)
    draws = variate.sample(run, 60_000, given="0..9", seed=2)
    judge = train(real.values.numpy(), real.labels, "real images")
    pupil = train(draws, classes.repeat(6000), "drawn images")
    figures = {
        "judge_accuracy": accuracy(judge, test.values.numpy(), test.labels),
        "means_of_the_class_asked": accuracy(judge, means, classes.repeat(1000)),
        "accuracy_from_draws_alone": accuracy(pupil, test.values.numpy(), test.labels),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
