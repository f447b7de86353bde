"""What must not change unnoticed: the losses of the first ten steps, and a model file of every format version."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from variate import config, noise
from variate.data.dataset import Dataset
from variate.data.load import load
from variate.results import checkpoint, estimate
from variate.training.trainer import Step, Trainer

pytestmark = pytest.mark.bits

GOLDEN = Path(__file__).parent / "golden"
FILES = sorted(GOLDEN.glob("*.safetensors"))


def rows(side: int = 8) -> Dataset:
    """Forty square 8-bit images that need no random generator, and a label for each."""
    row, y, x = np.ogrid[:40, :side, :side]
    values = (row * 37 + y * 11 + x * 5 + (row * y * x) % 17 * 13) % 256
    return load(values.astype(np.uint8), np.arange(40) % 3)


def trainer() -> Trainer:
    settings = ["context.name=label", "latent.size=3", "train.batch_size=8", "train.epochs=2", "train.least_steps=0"]
    settings += ["train.rampup_steps=0"]  # full strides from the first step: a change shows within ten
    data = rows()
    chosen = config.resolve(config.load_recipe("vae", settings), data)
    model, objective, training = config.build(chosen, data.schema)
    return Trainer(Step(model, objective), training, *data.split(0))


def test_the_first_ten_steps_are_what_they_were():
    """To 1e-3: another processor rounds differently, another algorithm does not come near."""
    told, run = json.loads((GOLDEN / "ten-steps.json").read_text()), trainer()
    order = noise.permutation(0, "golden", n=32)
    outcomes = [run._one_step(order[step % 4 * 8 :][:8]) for step in range(10)]
    losses = [run.tally.add([outcome], run.group)["bound_nats"] / 8 for outcome in outcomes]
    assert losses == pytest.approx(told, rel=1e-3)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_format_is_read_for_ever(file):
    """``large``: 72 × 72, where the networks of format 1 had another shape than today's."""
    run, told = checkpoint.load(file), json.loads(file.with_suffix(".json").read_text())
    found = estimate.elbo_parts(run, rows(run.schema.x.shape[0]))
    assert found.elbo_nats[:5].tolist() == pytest.approx(told["elbo_nats"], rel=1e-3)


def test_there_is_a_file_of_the_present_format():
    assert f"format-{checkpoint.FORMAT}" in {file.stem for file in FILES}


def test_same_weights_same_bytes(tmp_path):
    """The file of the present format, loaded and saved again, is the file: no byte depends on place or time."""
    golden = GOLDEN / f"format-{checkpoint.FORMAT}.safetensors"
    run = checkpoint.load(golden)
    checkpoint.save_model(tmp_path / "again", run)
    assert (tmp_path / "again").read_bytes() == golden.read_bytes()
    assert all(torch.isfinite(value).all() for value in run.model.state_dict().values())
