"""Recipes, their keys, and what is said about a wrong one."""

import numpy as np
import pytest
import torch
from helpers_runs import TINY, assert_same, pixels, scratch, table

from variate import config
from variate.apps.fit import fit
from variate.base.errors import UserError
from variate.config import Training
from variate.config.calls import keywords
from variate.config.names import registries
from variate.data.dataset import Dataset
from variate.data.infer import label_field
from variate.data.kinds import Levels, Reals
from variate.data.load import load
from variate.data.schema import Field, Schema
from variate.results import checkpoint
from variate.results.folder import RunFolder
from variate.training import fitting
from variate.training.trainer import Interrupted, Trainer

IMAGES, TABLE = (
    Schema.of(Field(Levels(256), (8, 8), "uint8"), label_field((6, 6))),
    Schema.of(Field(Reals(), (5,), "float64")),
)
TWO_STEPS = ["train.batch_size=5", "train.epochs=2", "train.least_steps=0", "train.patience=0"]


def described(schema: Schema, recipe: str = "vector", overrides: tuple[str, ...] = ()) -> dict[str, dict]:
    """The whole configuration for (black) rows of that schema."""
    black = torch.zeros(2, *schema.x.shape, dtype=getattr(torch, schema.x.dtype))
    return config.resolve(config.load_recipe(recipe, list(overrides)), Dataset(black, None, schema))


def suitable(recipe: str) -> tuple[np.ndarray, np.ndarray]:
    """Twelve rows (ten to train on) of the kind that the recipe is made for."""
    rows = table(12) if recipe in ("vector", "few-columns") else pixels(12)
    return rows, np.arange(12) % 2


@pytest.fixture(scope="module", params=config.recipes())
def trained(request):
    """(recipe, its run of two epochs of two steps), stopped after the first epoch and resumed."""
    recipe = request.param
    folder, (values, labels) = scratch() / f"recipe {recipe}", suitable(recipe)
    plain = Trainer._end_of_epoch

    def stopping(self):
        if self.epoch == 2:
            raise Interrupted
        return plain(self)

    with pytest.MonkeyPatch.context() as patched, pytest.raises(Interrupted):
        patched.setattr(Trainer, "_end_of_epoch", stopping)
        fit(values, labels, out=folder, recipe=recipe, overrides=TWO_STEPS)
    return recipe, fit(values, labels, out=folder, resume=True)


def test_every_recipe_trains_and_resumes(trained):
    assert trained[1].info["epoch"] >= 1
    assert [line.count('"epoch"') for line in RunFolder.of(trained[1]).metrics.read_text().splitlines()] == [1, 1]


def test_every_recipe_loads_what_it_saved(trained):
    loaded = checkpoint.load(trained[1].path)
    assert_same(loaded.model.state_dict(), trained[1].model.state_dict())
    assert all(torch.isfinite(value).all() for value in loaded.model.state_dict().values())


def test_every_recipe_moves_its_weights(trained):
    recipe, run = trained
    fresh = config.build(run.config, run.schema)[0].state_dict()
    assert not torch.equal(
        fresh["likelihood.x.head.linear.bias"], run.model.state_dict()["likelihood.x.head.linear.bias"]
    )


@pytest.mark.parametrize("recipe", config.recipes())
def test_a_recipe_says_nothing_that_is_not_used(recipe):
    """Changing any key that a recipe names to a value of another type is noticed."""
    rows = load(*suitable(recipe))
    said = config.load_recipe(recipe)
    for section, key in [(s, k) for s, values in said.items() for k in values]:
        broken = {s: dict(values) for s, values in said.items()}
        broken[section][key] = {"not": "this"}
        with pytest.raises(UserError):
            config.build(config.resolve(broken, rows), rows.schema)


@pytest.mark.parametrize(
    ("shape", "recipe"),
    [((5,), "vector"), ((7, 40), "vector"), ((8, 8), "vae"), ((31, 17, 3), "vae"), ((4, 4, 3), "vector")],
)
def test_the_default_recipe_suits_the_shape(shape, recipe):
    schema = Schema.of(Field(Levels(256), shape, "uint8"))
    assert config.default_recipe(schema) == recipe
    config.build(described(schema, recipe), schema)


@pytest.mark.parametrize(
    ("schema", "name"),
    [
        (TABLE, "gaussian"),
        (Schema.of(Field(Levels(2), (5,), "uint8")), "bernoulli"),
        (Schema.of(Field(Levels(17), (8, 8), "uint8")), "categorical"),
        (IMAGES, "discretized_logistic"),
    ],
    ids=str,
)
def test_the_automatic_likelihood_suits_the_values(schema, name):
    assert described(schema)["likelihood"]["name"] == name


# ---------------------------------------------------------------------------------------------------- overrides


def value_of(override: str) -> object:
    section, key = override.partition("=")[0].split(".")
    return config.load_recipe("vector", [override])[section][key]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("latent.size=16", 16),
        ("train.learning_rate=2e-3", 2e-3),
        ("encoder.hidden=[64, 32]", [64, 32]),
        ("encoder.skip=false", False),
        ("encoder.activation=relu", "relu"),
        ('encoder.activation="relu"', "relu"),
        ("likelihood.sigma=0.5", 0.5),
        ("likelihood.sigma=learned", "learned"),
    ],
)
def test_an_override_is_read_as_toml_or_as_a_word(text, value):
    assert value_of(text) == value and type(value_of(text)) is type(value)


def test_the_last_override_wins():
    assert config.load_recipe("vector", ["latent.size=3", "latent.size=4"])["latent"]["size"] == 4


def test_another_name_drops_the_keys_of_the_old_one():
    changed = config.load_recipe("vector", ["encoder.name=conv", "encoder.hidden=32"])
    assert changed["encoder"] == {"name": "conv", "hidden": 32}


@pytest.mark.parametrize(
    "text", ["", "latent", "latent.size", "latent=3", "size=3", "=3", "a.b.c=3", ".size=3", "latent size=3"]
)
def test_an_override_of_another_form_is_refused(text):
    with pytest.raises(UserError, match="section.key=value"):
        config.load_recipe("vector", [text])


def test_recipes_and_overrides_do_not_change_the_defaults():
    before = repr(config.DEFAULTS)
    config.load_recipe("vector", ["latent.size=5", "encoder.hidden=[3]", "objective.beta=2.0"])
    assert repr(config.DEFAULTS) == before


# ---------------------------------------------------------------------------------------------------- what is wrong


def build(*overrides: str, schema: Schema = IMAGES, recipe: str = "vector") -> tuple:
    return config.build(described(schema, recipe, overrides), schema)


NEAR_MISSES = [
    ("latnt.size=3", "latent"),
    ("trian.epochs=3", "train"),
    ("encoder.name=cnv", "conv"),
    ("decoder.name=mpl", "mlp"),
    ("posterior.name=diagnal", "diagonal"),
    ("prior.name=standrad", "standard"),
    ("likelihood.name=bernouli", "bernoulli"),
    ("objective.name=ebo", "elbo"),
    ("data.binarize=dynamc", "dynamic"),
    ("data.binarise=dynamic", "binarize"),
    ("encoder.hiden=[3]", "hidden"),
    ("train.epoch=3", "epochs"),
    ("train.learningrate=0.1", "learning_rate"),
    ("objective.freebits_nats=1.0", "free_bits_nats"),
    ("context.name=labl", "label"),
    ("encoder.activation=rleu", "relu"),
    ("train.schedule=cosin", "cosine"),
    ("likelihood.name=gausian", "gaussian"),
]


@pytest.mark.parametrize(("override", "meant"), NEAR_MISSES)
def test_a_near_miss_gets_a_suggestion(override, meant):
    with pytest.raises(UserError, match=meant) as caught:
        build(override)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("section", config.DEFAULTS)
@pytest.mark.parametrize("value", ["[]", "{a = 1}", "true", "1.5", "1979-05-27", "''", "-1", "1e400"])
def test_a_name_of_another_type_is_refused(section, value):
    with pytest.raises(UserError):
        build(f"{section}.name={value}")


TYPES = {
    "latent.size": ["2.0", "two", "[2]", "true", "0", "-3", "65537", "99999999999999999999"],
    "encoder.hidden": ["16", "[1.5]", "['a']", "[true]", "[0]", "[-1]", "wide", "[[1]]"],
    "encoder.skip": ["1", "yes", "[true]"],
    "encoder.activation": ["3", "swoosh", "[]", "true"],
    "train.epochs": ["0", "-1", "1.5", "many", "true", "[1]"],
    "train.batch_size": ["0", "-1", "1.5", "true"],
    "train.learning_rate": ["0", "-0.1", "nan", "inf", "fast", "true"],
    "train.schedule": ["3", "straight", "[]"],
    "train.rampup_steps": ["-1", "1.5"],
    "train.clip_norm": ["-1", "nan", "tight"],
    "train.ema": ["1", "1.5", "-0.1", "nan"],
    "train.patience": ["-1", "0.5"],
    "objective.beta": ["-1", "nan", "strong", "[1]", "inf"],
    "objective.free_bits_nats": ["-1", "nan", "inf"],
    "objective.warmup_steps": ["-1", "1.5"],
    "objective.samples": ["0", "-1", "1.5", "true"],
    "data.binarize": ["3", "[]", "true", "sometimes"],
    "context.name": ["3", "text"],
}


@pytest.mark.parametrize("override", [f"{key}={value}" for key, values in TYPES.items() for value in values])
def test_a_value_of_the_wrong_type_or_range_is_refused(override):
    with pytest.raises(UserError):
        build(override)


@pytest.mark.parametrize(
    "overrides",
    [
        ["likelihood.name=bernoulli"],
        ["posterior.name=point"],
        ["objective.name=reconstruction"],
        ["likelihood.name=gaussian", "likelihood.sigma=0"],
        ["likelihood.name=gaussian", "likelihood.sigma=-1.0"],
        ["likelihood.name=gaussian", "likelihood.sigma=nan"],
        ["likelihood.name=gaussian", "likelihood.sigma=wild"],
        ["likelihood.name=discretized_logistic", "likelihood.components=0"],
        ["likelihood.name=discretized_logistic", "likelihood.components=-2"],
        ["objective.name=iwae", "objective.k=0"],
        ["objective.name=iwae", "objective.gradient=none"],
        ["encoder.name=conv", "encoder.channels=[8]"],
        ["encoder.name=conv", "encoder.channels=[0, 8]"],
        ["encoder.name=conv", "encoder.hidden=0"],
        ["decoder.name=conv", "decoder.features=0"],
        ["decoder.name=conv", "decoder.blocks=[-1, 1]"],
    ],
    ids=" ".join,
)
def test_settings_that_do_not_go_together_are_refused(overrides):
    with pytest.raises(UserError):
        build(*overrides)


@pytest.mark.parametrize(
    ("schema", "override"),
    [
        (TABLE, "likelihood.name=bernoulli"),
        (TABLE, "likelihood.name=categorical"),
        (TABLE, "likelihood.name=discretized_logistic"),
        (TABLE, "data.binarize=dynamic"),
        (TABLE, "context.name=label"),
        (TABLE, "encoder.name=conv"),
        (TABLE, "decoder.name=conv"),
        (Schema.of(Field(Levels(60000), (5,), "int32")), "likelihood.name=categorical"),
    ],
    ids=str,
)
def test_settings_that_do_not_suit_the_data_are_refused(schema, override):
    with pytest.raises(UserError):
        build(override, schema=schema)


@pytest.mark.parametrize("recipe", ["vaee", "nonsense", "", "../vae", "/etc/passwd", "missing.toml", ".toml"])
def test_an_unknown_recipe_is_refused(recipe):
    with pytest.raises(UserError, match="recipe"):
        config.load_recipe(recipe)


def test_an_unknown_recipe_gets_a_suggestion():
    with pytest.raises(UserError, match="kingma-welling"):
        config.load_recipe("kingma-weling")


FILES = {
    "no TOML": b"[encoder\nname",
    "no text": b"\xff\xfe\x00",
    "a repeated key": b"[latent]\nsize = 3\nsize = 4\n",
    "an unknown section": b"[encodr]\nname = 'mlp'\n",
    "a value for a section": b"encoder = 3\n",
    "a list of sections": b"[[encoder]]\nname = 'mlp'\n",
    "a value at the top": b"epochs = 3\n",
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_a_recipe_file_that_is_wrong_is_refused(tmp_path, content):
    (tmp_path / "mine.toml").write_bytes(content)
    with pytest.raises(UserError):
        config.load_recipe(str(tmp_path / "mine.toml"))


def test_a_folder_is_no_recipe(tmp_path):
    (tmp_path / "mine.toml").mkdir()
    with pytest.raises(UserError):
        config.load_recipe(str(tmp_path / "mine.toml"))


def test_a_recipe_file_is_read_with_the_defaults_beneath(tmp_path):
    (tmp_path / "mine.toml").write_text("# été\n[latent]\nsize = 3\n", encoding="utf-8")
    assert config.load_recipe(str(tmp_path / "mine.toml"))["latent"] == {"name": "flat", "size": 3}


def test_the_same_seed_builds_the_same_weights():
    a, b, c = (config.build(described(IMAGES), IMAGES, seed)[0].state_dict() for seed in (1, 1, 2))
    assert_same(a, b)
    assert not torch.equal(a["likelihood.x.head.linear.weight"], c["likelihood.x.head.linear.weight"])


def test_an_integer_is_a_number():
    assert build("train.learning_rate=1", "objective.beta=2")[2] == Training(
        **{k: v for k, v in config.load_recipe("vector")["train"].items()} | {"learning_rate": 1.0}
    )


def test_the_order_of_settings_does_not_matter():
    settings = ["objective.k=5", "objective.name=iwae", "likelihood.sigma=0.5", "likelihood.name=gaussian"]
    assert config.load_recipe("vector", settings) == config.load_recipe("vector", settings[::-1])
    assert config.load_recipe("vector", settings)["objective"]["k"] == 5


def test_what_is_said_of_an_auto_network_holds_for_dense_layers_too():
    """What only convolutions know is theirs; what no network knows is refused."""
    rows = load(table(40))
    said = ["encoder.hidden=[7]", "encoder.channels=[2,3]"]
    chosen = config.resolve(config.load_recipe("autoencoder", said), rows)
    assert chosen["encoder"] == {"name": "mlp", "hidden": [7], "skip": True}
    chosen = config.resolve(config.load_recipe("autoencoder", ["encoder.nonsense=3"]), rows)
    with pytest.raises(UserError, match="nonsense"):
        config.build(chosen, rows.schema)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (["data.binarize=expected", "likelihood.name=categorical"], "likelihood.name=bernoulli"),
        (
            ["labelling.name=classifier", "objective.name=iwae", "objective.gradient=doubly_reparameterized"],
            "labelling",
        ),
    ],
)
def test_what_does_not_go_together_is_named(settings, named):
    rows = load(pixels(30), np.arange(30) % 2)
    with pytest.raises(UserError, match=named):
        config.build(config.resolve(config.load_recipe("kingma-welling", settings), rows), rows.schema)


@pytest.mark.parametrize(("rows", "epochs", "steps"), [(100, 2, 4), (1000, 100, 300), (1000, 10, 40)])
def test_the_warm_up_of_vectors_is_a_fifth_of_a_short_run(rows, epochs, steps):
    """100 rows in batches of 10: 10 steps an epoch, 20 in all."""
    settings = [f"train.epochs={epochs}", "train.least_steps=0", f"train.batch_size={max(10, rows // 20)}"]
    chosen = config.resolve(config.load_recipe("vector", settings), load(table(rows)))
    assert chosen["objective"]["warmup_steps"] == steps


@pytest.mark.parametrize(("shape", "beta"), [((8, 8), 2.0), ((16,), 1.0), ((8, 8, 8), 1.0)])
def test_only_images_are_drawn_better_than_likely(shape, beta):
    layout = {1: "L", 2: "HW", 3: "DHW"}[len(shape)]
    chosen = config.resolve(config.load_recipe("vae"), load(pixels(20, shape), layout=layout))
    assert chosen["objective"]["beta"] == beta


# ------------------------------------------------------------------------------------------------ a mutator of --set

NASTY = [
    *("9" * 40, "-" + "9" * 40, "9" * 400, "9" * 4301, "0x" + "f" * 5000, "1e400", "-1e400", "nan", "-inf", "1e-320"),
    *("0", "-0.0", "true", "10000000", "[10000000, 10000000]", "[]", "[[1]]", "[" * 3000 + "]" * 3000, "{a = {b = 1}}"),
    *("[" + "9" * 40 + "]", "[" + ", ".join(["1"] * 2000) + "]", "[nan, 1]", "[1, 'a']", "1979-05-27", "07:32:00"),
    *("''", r"'\u0000'", "犬", "\x1b[31m", "\udcff", "x" * 100_000, '"', "own"),
]


def settable() -> list[tuple[str, list[str], str]]:
    """Every key of every class in the registries: the section, what chooses the class, and the key."""
    keys: list[tuple[str, list[str], str]] = [(section, [], "name") for section in config.DEFAULTS]
    keys += [("train", [], key) for key in keywords(config.Training)]
    for section, classes in registries().items():
        for name, cls in classes.items():
            keys += [(section, [f"{section}.name={name}"], key) for key in keywords(cls)]
    return [*keys, ("data", [], "binarize"), ("latent", [], "size"), ("latent", [], "x" * 5000), ("y" * 5000, [], "z")]


@pytest.mark.parametrize("section", [*config.DEFAULTS, "y" * 5000], ids=lambda section: section[:12])
def test_whatever_is_set_gives_a_model_or_one_sentence(section):
    """On a device that has no memory, so that no size is too large to be tried; sentences fit on a screen."""
    outcomes = set()
    for chosen, key in [(chosen, key) for one, chosen, key in settable() if one == section]:
        for value in NASTY:
            try:
                said = described(IMAGES, "vector", (*chosen, f"{section}.{key}={value}"))
                config.build(said, IMAGES, device="meta")
                outcomes.add("a model")
            except UserError as error:
                assert "\n" not in str(error) and len(str(error)) < 1000, (chosen, key, value[:20])
                outcomes.add("a sentence")
    assert "a sentence" in outcomes


@pytest.mark.parametrize("value", NASTY, ids=range(len(NASTY)))
def test_whatever_a_recipe_says_gives_a_model_or_one_sentence(tmp_path, value):
    text = f"[likelihood]\nname = 'gaussian'\n[train]\naccumulate = {value}\n"
    (tmp_path / "mine.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    try:
        with torch.device("meta"):
            told = config.build(config.load_recipe(tmp_path / "mine.toml"), TABLE)[2].accumulate
    except UserError as error:
        told = None
        assert "\n" not in str(error) and len(str(error)) < 1000
    assert told == (10_000_000 if value == "10000000" else None)


@pytest.mark.parametrize(
    "key", ["train.accumulate", "encoder.hidden", "latent.size", "objective.name", "data.binarize"]
)
def test_whatever_a_model_file_says_gives_a_model_or_one_sentence(key):
    """Values that JSON has and no override."""
    section, _, name = key.partition(".")
    for value in (10**40, 10**5000, [[1]], {"a": 1}, None, "x" * 5000, 1e400, [1] * 5000):
        said = described(IMAGES)
        said[section] = said[section] | {name: value}
        with pytest.raises(UserError) as caught:
            config.build(said, IMAGES)
        assert len(str(caught.value)) < 1000


def test_a_model_larger_than_memory_is_not_allocated(monkeypatch):
    """Weights, gradients, two moments and the average: twenty bytes for each of 5,000 × 100 and some thousand more."""
    settings = [*TINY, "encoder.hidden=[5000, 100]", "train.epochs=1"]
    monkeypatch.setattr(fitting, "machine_memory", lambda: 20 * 600_000)
    assert fit(table(12), recipe="vector", overrides=settings).model
    monkeypatch.setattr(fitting, "machine_memory", lambda: 20 * 500_000)
    with pytest.raises(UserError, match=r"5\d\d,\d\d\d weights"):
        fit(table(12), recipe="vector", overrides=settings)
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"100,\d\d\d,\d\d\d,\d\d\d,\d\d\d weights"):
        fit(table(12), recipe="vector", overrides=[*TINY, "encoder.hidden=[10000000, 10000000]"])


def test_a_recipe_that_cannot_be_opened_is_named(tmp_path):
    for name in ("x" * 5000, "x" * 5000 + ".toml", "a\0.toml", str(tmp_path / "a/b.toml")):
        with pytest.raises(UserError, match="there is no recipe"):
            config.load_recipe(name)
