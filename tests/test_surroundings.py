"""What a user has set in torch neither changes a result nor is changed: bytes under the defaults are the oracle."""

import contextlib
import functools
import pickle
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers_runs import TINY, bits, model_bytes, pixels, records, run, table
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors

import variate
from variate import config, noise
from variate.base.surroundings import apart, applying, learning
from variate.data.load import load
from variate.results import checkpoint
from variate.training.trainer import Step

BRIEF = [*TINY, "train.epochs=1", "train.batch_size=10"]
CONV = ["encoder.channels=[2,3]", "decoder.channels=[3,2]", "encoder.hidden=8", "decoder.hidden=8", *BRIEF[4:]]


def own() -> dict[str, nn.Module]:
    """Networks that draw numbers: made in single precision whatever the default, since torch is asked to."""
    torch.manual_seed(0)
    make = functools.partial(nn.Linear, dtype=torch.float32, device="cpu")
    encoder, decoder = (nn.Sequential(make(inputs, 8), nn.Dropout(0.3)) for inputs in (5, 2))
    return {"encoder": encoder, "decoder": decoder}


def halves() -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(60) % 2
    labels[20:] = -1
    return bits(60)[0], labels


FITS: dict[str, Callable[[], dict]] = {
    "convolutions": lambda: {"data": pixels(40), "recipe": "vae", "overrides": CONV},
    "dense, atoms": lambda: {"data": pixels(40), "overrides": BRIEF},
    "binarised": lambda: {"data": pixels(40), "overrides": [*BRIEF, "data.binarize=dynamic"]},
    "conditional, mixture": lambda: {
        **dict(zip(("data", "labels"), bits(60), strict=True)),
        "given": "label",
        "overrides": [*BRIEF, "prior.name=mixture"],
    },
    "columns": lambda: {
        "data": table(60),
        "labels": table(60, seed=1)[:, :2],
        "given": "columns",
        "overrides": [*BRIEF, "prior.name=normal", "posterior.name=full", "likelihood.name=student_t"],
    },
    "counts": lambda: {
        "data": np.random.default_rng(0).poisson(90, (60, 3)),
        "overrides": [*BRIEF, "likelihood.name=negative_binomial"],
    },
    "predicted scale": lambda: {"data": table(60), "overrides": [*BRIEF, "likelihood.sigma=predicted"]},
    "few columns": lambda: {"data": table(60)[:, :2], "epochs": 1},
    "autoencoder": lambda: {"data": table(60), "recipe": "autoencoder", "overrides": BRIEF},
    "few labels": lambda: {
        **dict(zip(("data", "labels"), halves(), strict=True)),
        "recipe": "semi-supervised",
        "overrides": [*BRIEF, "labelling.rampup_steps=3"],
    },
    "own": lambda: {"data": table(60), "modules": own(), "overrides": BRIEF[4:]},
}


def fitted(name: str, folder: Path) -> dict[str, bytes]:
    """The file of a fit, and what every verb that suits it gives, after it was loaded again."""
    asked = FITS[name]()
    values, labels = asked.pop("data"), asked.pop("labels", None)
    place = folder / name
    variate.fit(values, labels, out=place, **asked)
    made = variate.load(place, asked.get("modules"))
    told = labels if made.conditional else None
    results = {"file": model_bytes(place), "metrics": repr(records(place)).encode()}
    results["sample"] = variate.sample(made, 30, seed=1, **({"given": "0.5,2"} if name == "columns" else {}))
    results["reconstruct"] = variate.reconstruct(made, values, told)
    results["embed"] = variate.embed(made, values, told)
    results |= {f"score {k}": v for k, v in variate.score(made, values, told, samples=3).items()}
    results["evaluate"] = repr(variate.evaluate(made, values, told, samples=3, rows=30)).encode()
    if name == "few labels":
        results["classify"] = variate.classify(made, values)[1]
    return {k: v if isinstance(v, bytes) else np.ascontiguousarray(v).tobytes() for k, v in results.items()}


def estimated() -> dict[str, bytes]:
    """What estimators give: fitted in one go and piece by piece, unpickled, without and with a condition."""
    rows, classes = table(60), np.arange(60) % 2
    vae = variate.VAE(epochs=1, random_state=0, latent_dim=2, overrides=BRIEF[:4]).fit(rows)
    stream = variate.VAE(random_state=0, latent_dim=2, overrides=BRIEF[:4]).partial_fit(rows).partial_fit(rows[:30])
    told = variate.VAE(epochs=1, random_state=0, given="label", overrides=BRIEF[:4]).fit(rows, classes)
    found = {
        "transform": vae.transform(rows),
        "sample": vae.sample(20, seed=3),
        "score": vae.score_samples(rows, samples=3),
        "inverse": vae.inverse_transform(np.ones((3, 2))),
        "unpickled": pickle.loads(pickle.dumps(vae)).transform(rows),
        "stream": stream.transform(rows),
        "told": told.sample(given=[0, 1, 1]),
        "told inverse": told.inverse_transform(np.ones((2, told.run_.config["latent"]["size"])), [0, 1]),
    }
    return {name: value.tobytes() for name, value in found.items()}


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def coarse_products() -> Iterator[None]:
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


SETTINGS: dict[str, Callable[[], contextlib.AbstractContextManager]] = {
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "on another device": lambda: torch.device("meta"),
    "always on another device": lambda: default_device("meta"),
    "without gradients": torch.no_grad,
    "inference": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "coarse products": coarse_products,
}


def settings() -> list[object]:
    """What of a thread's and of the process's settings a user would notice."""
    return [
        *(torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()),
        *(torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"), torch.get_num_threads()),
        *(torch.backends.mkldnn.matmul.fp32_precision, torch.backends.mkldnn.conv.fp32_precision),
        *(torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision),
        *(torch.get_rng_state().numpy().tobytes(), list(warnings.filters)),
    ]


@pytest.fixture(scope="module")
def by_default(tmp_path_factory) -> dict[str, dict[str, bytes]]:
    folder = tmp_path_factory.mktemp("by-default")
    return {name: fitted(name, folder) for name in FITS} | {"estimators": estimated()}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", [*FITS, "estimators"])
def test_no_setting_of_torch_changes_a_byte(name, setting, by_default, tmp_path):
    with SETTINGS[setting]():
        state = torch.get_rng_state()  # networks of one's own are made with it
        before = settings()
        found = estimated() if name == "estimators" else fitted(name, tmp_path)
        torch.set_rng_state(state) if name == "own" else None
        assert settings() == before
    assert [key for key, value in by_default[name].items() if found[key] != value] == []


@pytest.mark.parametrize("setting", ["float64", "bfloat16", "on another device"])
def test_a_loop_of_ones_own_sees_the_same_numbers(setting):
    """What a loop is made of says its dtype and device itself; the loop runs under what the user wants."""

    def parts() -> list[bytes]:
        rows = load(table(40))
        model, _, _ = config.build(config.resolve(config.load_recipe("vector", BRIEF[:4]), rows), rows.schema)
        batch = rows.batch(noise.permutation(0, "order", n=40)[:10], "none", 0)
        weights = [p.detach().numpy().tobytes() for p in model.parameters()]
        return [
            *weights,
            batch.input["x"].units.numpy().tobytes(),
            noise.normal(0, "e", shape=(1, 10, 2)).numpy().tobytes(),
        ]

    with SETTINGS[setting]():
        found = parts()
    assert found == parts()


class Sayings(TorchFunctionMode):
    """Fails where a floating-point tensor is made without saying of which dtype."""

    exempt = {torch.as_tensor, torch.asarray}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in _device_constructors() - self.exempt and "dtype" not in kwargs:
            made = func(*args, **kwargs)
            if made.is_floating_point():
                pytest.fail(f"{func.__name__}{args} says no dtype")  # no error that anybody would catch
            return made
        return func(*args, **kwargs)


@pytest.mark.parametrize("name", sorted(set(FITS) - {"own"}))
def test_every_float_that_is_made_says_its_dtype(name, tmp_path):
    """Caught where it happens, whether or not a result would change today."""
    with Sayings():
        fitted(name, tmp_path)


def test_networks_of_another_precision_are_trained_in_single(tmp_path):
    """A user who has set float64 makes networks of float64, and one of bfloat16 may want to fit those."""
    modules = {part: module.double() for part, module in own().items()}
    found = variate.fit(table(60), modules=modules, out=tmp_path / "run", overrides=BRIEF[4:])
    assert {p.dtype for p in found.model.parameters()} == {torch.float32}
    assert next(modules["encoder"].parameters()).dtype == torch.float64  # the user's own are as they were
    again = variate.load(tmp_path / "run", modules)
    np.testing.assert_array_equal(variate.sample(again, 5), variate.sample(found, 5))
    same = variate.fit(table(60), modules=own(), overrides=BRIEF[4:])
    assert [n for n, p in same.model.state_dict().items() if not torch.equal(p, found.model.state_dict()[n])] == []


def test_a_model_made_while_inferring_can_be_learned_by_ones_own_loop():
    rows = load(table(40))
    with torch.inference_mode():
        settings = config.resolve(config.load_recipe("vector", BRIEF[:4]), rows)
        model, objective, _ = config.build(settings, rows.schema)
    loss, _ = Step(model, objective)(rows.batch(slice(0, 8)), torch.randn(1, 8, model.latent.noise_size), 0)
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.encoder.parameters())


def test_the_blocks_nest_in_any_order_and_leave_nothing():
    before = settings()
    with applying(), learning("highest"):
        assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
        with applying():
            assert torch.ones(1).is_inference()
        weight = torch.ones(1, requires_grad=True)
        weight.square().backward()
    with torch.device("meta"), apart(), torch.device("meta"):  # a network's own wish still counts
        assert torch.ones(1).device.type == "meta"
    assert settings() == before


def test_shapes_are_asked_for_without_memory():
    """A file is checked against a model of no weights, whatever the user's default device is."""
    schema = load(table(40)).schema
    settings = config.resolve(config.load_recipe("vector", BRIEF[:4]), load(table(40)))
    for device in ("cpu", "meta"):
        with torch.device("meta"):
            model = config.build(settings, schema, device=device)[0]
        assert {p.device.type for p in model.parameters()} == {device}
    assert checkpoint.load(run("plain").path).model is not None
