"""Ours: an epoch of the trainer, or the whole of ``variate.fit``. One configuration: the recipes as they come."""

import tempfile

import numpy as np
import race
import torch

import variate
from variate.data.load import load
from variate.training.fitting import Asked, trainer_for
from variate.training.processes import Processes

RECIPES = {"mlp": "kingma-welling", "fit": "kingma-welling", "conv": "vae"}
# what everybody is given: grey values as probabilities of bits, and batches of one size
SAID = {"mlp": ("data.binarize=expected",), "fit": ("data.binarize=expected",), "conv": ()}
ENDLESS = 100_000  # epochs: the race ends first
FEW = 100  # validation rows: an epoch is to be an epoch


def whole_call(rows: np.ndarray, said: tuple[str, ...]) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        variate.fit(rows, out=f"{folder}/run", recipe=RECIPES["fit"], epochs=race.EPOCHS, overrides=list(said))
    return {}


def main() -> None:
    asked = race.arguments()
    torch.set_num_threads(asked.threads)
    # five parts to learn from, one held out, as variate divides them
    rows = np.concatenate([race.images(asked.rows, part) for part in ("train", "valid")])
    said = (*SAID[asked.workload], f"train.batch_size={race.BATCH}")
    versions = {"torch": torch.__version__}
    if asked.workload == "fit":
        race.serve(lambda: whole_call(rows, said), versions=versions)
        return
    whole = load(rows)
    settings = Asked(RECIPES[asked.workload], epochs=ENDLESS, overrides=said).settings(whole.split(0)[0], None)
    trainer = trainer_for(settings, whole, 0, Processes(), None)
    trainer.valid_data = trainer.valid_data.subset(FEW)
    epochs = trainer.epochs()
    beta = settings["objective"].get("beta", 1.0)

    def epoch() -> dict:
        terms = next(epochs)["train"]
        return {"loss": terms["distortion_nats"] + beta * terms["rate_nats"]}

    weights = sum(parameter.numel() for parameter in trainer.parameters)
    race.serve(epoch, versions=versions, weights=weights, steps=trainer.steps_per_epoch)


main()
