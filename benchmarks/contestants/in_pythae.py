"""pythae: five epochs of its own trainer, the whole call."""

import contextlib
import logging
import os
import tempfile
from importlib.metadata import version

import race
import torch
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.pipelines import TrainingPipeline
from pythae.trainers import BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from torch import Tensor, nn


class Encoder(BaseEncoder):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(race.SIDE**2, race.HIDDEN), nn.ReLU())
        self.posterior = nn.Linear(race.HIDDEN, 2 * race.LATENT)

    def forward(self, x: Tensor) -> ModelOutput:
        mean, log_variance = self.posterior(self.layers(x)).chunk(2, dim=-1)
        return ModelOutput(embedding=mean, log_covariance=log_variance)


class Decoder(BaseDecoder):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(race.LATENT, race.HIDDEN),
            nn.ReLU(),
            nn.Linear(race.HIDDEN, race.SIDE**2),
            nn.Sigmoid(),  # pythae's cross-entropy takes probabilities
            nn.Unflatten(1, (1, race.SIDE, race.SIDE)),
        )

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.layers(z))


class LastLoss(TrainingCallback):
    def on_log(self, training_config: BaseTrainerConfig, logs: dict, **_: object) -> None:
        self.loss = logs["train_epoch_loss"]


def model() -> VAE:
    config = VAEConfig(input_dim=(1, race.SIDE, race.SIDE), latent_dim=race.LATENT, reconstruction_loss="bce")
    return VAE(config, encoder=Encoder(), decoder=Decoder())


def main() -> None:
    asked = race.arguments()
    torch.set_num_threads(asked.threads)
    logging.disable()
    train, valid = (
        torch.from_numpy(race.images(asked.rows, part)).unsqueeze(1).float() / 255 for part in ("train", "valid")
    )

    def whole_call() -> dict:
        last = LastLoss()
        with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
            config = BaseTrainerConfig(
                output_dir=folder,
                per_device_train_batch_size=race.BATCH,
                per_device_eval_batch_size=race.BATCH,
                num_epochs=race.EPOCHS,
                learning_rate=race.LEARNING_RATE,
            )
            with contextlib.redirect_stderr(nowhere), contextlib.redirect_stdout(nowhere):
                TrainingPipeline(model(), config)(train, eval_data=valid, callbacks=[last])
        return {"loss": last.loss}

    versions = {"pythae": version("pythae"), "torch": torch.__version__}
    weights = sum(parameter.numel() for parameter in model().parameters())
    race.serve(whole_call, versions=versions, weights=weights, steps=race.EPOCHS * -(-len(train) // race.BATCH))


main()
