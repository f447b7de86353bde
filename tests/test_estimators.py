"""The scikit-learn face: its own conformance suite with none excused, and what it does not ask."""

import pickle

import numpy as np
import pytest
import torch
from helpers_runs import bits, pixels, table
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

import variate
from variate import UserError, estimators
from variate.data.load import load
from variate.results import estimate

pytestmark = pytest.mark.bits

PUBLIC = [getattr(estimators, name) for name in estimators.__all__]
SAME = 1e-12  # of a value in double precision: what is promised of a row at another place


@parametrize_with_checks([kind(epochs=2, random_state=0) for kind in PUBLIC])
def test_scikit_learns_own_check(estimator, check):
    check(estimator)


def rows(n: int = 120) -> np.ndarray:
    return table(n)


def quick(kind=estimators.VAE, **keywords):
    settings = ("train.batch_size=20", "train.rampup_steps=5", "train.learning_rate=0.01")
    return kind(latent_dim=2, epochs=3, random_state=0, overrides=settings, **keywords)


@pytest.fixture(scope="module", params=PUBLIC, ids=estimators.__all__)
def fitted(request):
    return quick(request.param).fit(rows())


def test_transform_is_the_posterior_mean_of_the_run(fitted):
    """The estimator in float64 against the same model called directly in float32."""
    run, data = fitted.run_, rows()
    units = run.schema.x.to_tensor(torch.from_numpy(data))
    direct = run.model.latent.embed(run.model.encoder(units, None), None)
    np.testing.assert_allclose(fitted.transform(data), direct.numpy(), atol=1e-5)


def test_inverse_transform_decodes_the_codes(fitted):
    data = rows()
    np.testing.assert_array_equal(fitted.inverse_transform(fitted.transform(data)), fitted.reconstruct(data))


def test_no_row_depends_on_its_neighbours(fitted):
    """Bit for bit at the same place, whatever the company; elsewhere to 1e-12, as products round on any processor."""
    data = rows(700)
    codes, order = fitted.transform(data), np.random.default_rng(0).permutation(len(data))
    np.testing.assert_array_equal(codes[:3], fitted.transform(data[:3]))
    np.testing.assert_array_equal(codes[::2], fitted.transform(np.where(np.arange(700)[:, None] % 2, 0.0, data))[::2])
    close = {"rtol": SAME, "atol": SAME * np.abs(codes).max()}
    np.testing.assert_allclose(fitted.transform(data[order]), codes[order], **close)


def test_output_can_be_a_frame(fitted):
    import pandas as pd

    frame = pd.DataFrame(rows(), columns=list("abcde"))
    again = clone(fitted).set_output(transform="pandas").fit(frame)
    name = type(fitted).__name__.lower()
    assert list(again.transform(frame).columns) == [f"{name}0", f"{name}1"] == list(again.get_feature_names_out())
    assert list(again.feature_names_in_) == list("abcde")


def test_a_pickle_gives_the_same_model(fitted):
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.transform(rows()), fitted.transform(rows()))
    assert again.get_params() == fitted.get_params()


def test_a_file_gives_the_same_model(fitted, tmp_path):
    fitted.save(tmp_path / "model.safetensors")
    again = type(fitted).load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again.transform(rows()), fitted.transform(rows()))
    other = next(kind for kind in PUBLIC if kind is not type(fitted))
    with pytest.raises(UserError, match=type(fitted).__name__):
        other.load(tmp_path / "model.safetensors")


def test_samples_have_the_datas_shape_and_spread():
    """A model that learned: means and standard deviations of its samples are the data's, within a fifth of a sigma."""
    data = table(400)
    for kind in PUBLIC:
        drawn = kind(latent_dim=4, epochs=60, random_state=0).fit(data).sample(2000)
        assert drawn.shape == (2000, 5) and drawn.dtype == data.dtype
        assert (np.abs(drawn.mean(0) - data.mean(0)) < 0.2 * data.std(0)).all()
        assert (np.abs(drawn.std(0) / data.std(0) - 1) < 0.2).all()


def test_a_search_takes_the_better_size():
    """Rows of two hidden dimensions: two latents explain held-out rows better than one."""
    search = GridSearchCV(quick(), {"latent_dim": [1, 2], "epochs": [40]}, cv=2).fit(rows(240))
    assert search.best_params_["latent_dim"] == 2


def test_codes_feed_a_classifier_in_a_pipeline():
    data = np.concatenate([rows(), rows() + 60])
    labels = np.repeat([0, 1], 120)
    model = make_pipeline(StandardScaler(), quick(), LogisticRegression()).fit(data, labels)
    assert model.score(data, labels) == 1


def test_scores_are_log_densities_of_the_data_as_given():
    """A change of units by a factor changes a log-density by its logarithm, for every value."""
    data = table(300)
    plain, scaled = (quick().fit(values).score_samples(values[:20], samples=4000) for values in (data, 10 * data))
    np.testing.assert_allclose(plain - scaled, 5 * np.log(10), atol=0.05)  # Monte-Carlo noise of two estimates


def test_a_stream_is_learned_piece_by_piece():
    """After many pieces the bound on other rows is far better than after the first one."""
    stream = quick()
    scores = []
    for _ in range(3):
        for seed in range(10):
            stream.partial_fit(table(100, seed))
        scores.append(stream.score(table(200, 99)))
    assert scores[0] < scores[1] < scores[2]
    again = stream.fit(rows())
    np.testing.assert_array_equal(again.transform(rows()), quick().fit(rows()).transform(rows()))


def test_a_stream_goes_on_from_what_was_fitted():
    fitted = quick().fit(rows())
    before = fitted.score(rows())
    assert abs(fitted.partial_fit(rows()).score(rows()) - before) < 1


def test_a_piece_that_nothing_can_be_learned_from_is_refused_and_leaves_no_trace():
    """The pieces after it are learned as if it had never been."""
    straight, troubled = (quick().partial_fit(rows()) for _ in range(2))
    before = troubled.transform(rows())
    for _ in range(2):
        with pytest.raises(UserError, match="extreme values"):
            troubled.partial_fit(rows() * 1e25)
    np.testing.assert_array_equal(troubled.transform(rows()), before)
    np.testing.assert_array_equal(
        troubled.partial_fit(table(50, 7)).transform(rows()), straight.partial_fit(table(50, 7)).transform(rows())
    )


def test_a_first_piece_that_nothing_can_be_learned_from_settles_nothing(monkeypatch):
    plain = estimators.Stream.learn

    def poisoned(self, piece):
        with torch.no_grad():
            next(self.trainer.model.parameters()).fill_(np.inf)
        return plain(self, piece)

    stream = quick()
    with monkeypatch.context() as patch:
        patch.setattr(estimators.Stream, "learn", poisoned)
        with pytest.raises(UserError, match="extreme values"):
            stream.partial_fit(rows() - 1000)
    found = stream.partial_fit(rows()).transform(rows())
    np.testing.assert_array_equal(found, quick().partial_fit(rows()).transform(rows()))


def test_steps_of_a_piece_that_were_left_out_are_warned_of():
    stream, piece = quick().partial_fit(rows()), rows()
    piece[5] *= 1e25
    with pytest.warns(UserWarning, match="^1 of 6 steps"):
        stream.partial_fit(piece)
    assert np.isfinite(stream.transform(rows())).all()


# ---------------------------------------------------------------------------------------------------- conditions


def test_a_label_is_a_condition_and_is_summed_out():
    """log p(x) = log Σ_y p(y) p(x | y), from the conditional scores of the same model."""
    values, labels = bits(200)
    words = np.array(["one", "two", "three"])[labels]
    model = quick(given="label").fit(values, words)
    assert set(model.run_.schema.class_names) == set(words)
    counts = np.array(model.run_.schema.class_counts)
    joint = [
        np.log(counts[index] / counts.sum())
        + estimate.log_likelihood(model.run_, load(values[:20], np.full(20, word)), samples=2000).nats.numpy()
        for index, word in enumerate(model.run_.schema.class_names)
    ]
    exact = np.logaddexp.reduce(joint)
    np.testing.assert_allclose(model.score_samples(values[:20], samples=2000), exact, atol=0.03)
    np.testing.assert_array_equal(model.score_samples(values[:20]), model.score_samples(values[:20], words[:20]))
    assert counts.sum() == 167 and model.sample(given=["two", "one"]).shape == (2, 6)


@pytest.mark.parametrize(
    ("given", "y", "said"),
    [
        ("label", np.linspace(0, 1, 120), "no labels.*say --given columns"),
        ("columns", np.arange(120) % 2, "no known columns.*say --given label"),
        ("columns", np.array(["a", "b"] * 60), "no known columns.*say --given label"),
        ("lable", np.arange(120) % 2, "'lable' is not one of label, columns, did you mean 'label'"),
        (("label", "columns"), np.arange(120) % 2, "'label, columns' is not one of"),
        (True, np.arange(120) % 2, "given=True must be names"),
    ],
    ids=str,
)
def test_what_is_given_has_the_name_of_what_is_known(given, y, said):
    for learn in (quick(given=given).fit, quick(given=given).partial_fit):
        with pytest.raises(UserError, match=said):
            learn(rows(), y)


def test_what_is_given_is_said_once():
    y = np.arange(120) % 2
    asked = [quick(given=given).fit(rows(), y) for given in ("label", ("label",))]
    twice = quick(given="label").set_params(overrides=(*asked[0].overrides, "context.name=label"))
    asked.append(twice.fit(rows(), y))
    for model in asked[1:]:
        assert model.run_.config == asked[0].run_.config
    with pytest.raises(UserError, match="given columns, but context.name=label"):
        asked[2].set_params(given="columns").fit(rows(), y)


def test_known_columns_are_a_condition():
    """x = y + noise: samples at y have the mean y."""
    rng = np.random.default_rng(0)
    known = rng.uniform(-3, 3, size=(600, 1))
    data = known * [1.0, -2.0] + 0.1 * rng.normal(size=(600, 2))
    model = quick(given="columns").set_params(epochs=30).fit(data, known)
    for value in (-2.0, 0.0, 2.0):
        np.testing.assert_allclose(model.sample(400, given=[value]).mean(0), [value, -2 * value], atol=0.2)
    with pytest.raises(UserError, match="column"):
        model.sample(3)


def test_a_few_labels_are_enough_to_predict():
    """Three far groups of rows, two labels each: every row gets its group's."""
    rng = np.random.default_rng(0)
    groups = np.arange(240) % 3
    data = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])[groups] + rng.normal(size=(240, 2))
    known = np.where(np.arange(240) < 6, np.array(["a", "b", "c"])[groups], "")
    settings = ("train.rampup_steps=5", "train.least_steps=400", "encoder.name=mlp", "decoder.name=mlp")
    model = estimators.VAE(2, recipe="semi-supervised", epochs=None, overrides=settings, random_state=0)
    model = model.fit(data, known)
    assert (model.predict(data) == np.array(["a", "b", "c"])[groups]).mean() > 0.95
    np.testing.assert_allclose(model.predict_proba(data).sum(1), 1, atol=1e-6)
    assert not hasattr(quick().fit(data), "predict")


def test_a_conditional_model_asks_for_its_condition():
    values, labels = bits(60)
    with pytest.raises(UserError, match="requires y"):
        quick(given="label").fit(values)
    model = quick(given="label").fit(values, labels)
    with pytest.raises(UserError, match="label"):
        model.transform(values)
    with pytest.raises(UserError, match="does not know"):
        model.sample(2, given=[7])


# ---------------------------------------------------------------------------------------------------- own networks


def networks() -> dict[str, nn.Module]:
    torch.manual_seed(1)
    encoder = nn.Sequential(nn.Linear(5, 8), nn.Tanh())
    return {"encoder": encoder, "decoder": nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 5))}


def test_own_networks_learn_and_are_not_changed(tmp_path):
    own = networks()
    before = {part: module[0].weight.clone() for part, module in own.items()}
    model = quick(**own).fit(rows())
    for part, module in own.items():
        assert torch.equal(module[0].weight, before[part])
        assert not torch.equal(getattr(model.run_.model, part).module[0].weight, before[part])
    model.save(tmp_path / "own.safetensors")
    again = estimators.VAE.load(tmp_path / "own.safetensors", modules=networks())
    np.testing.assert_array_equal(again.transform(rows()), model.transform(rows()))
    with pytest.raises(UserError, match="modules="):
        estimators.VAE.load(tmp_path / "own.safetensors")
    pickled = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(pickled.transform(rows()), model.transform(rows()))


def test_own_networks_for_images_may_give_images():
    images = np.random.default_rng(0).integers(0, 256, (60, 9, 10), dtype=np.uint8)
    encoder = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.ReLU())
    decoder = nn.Sequential(nn.Linear(2, 90), nn.Unflatten(1, (1, 9, 10)))
    model = quick(encoder=encoder, decoder=decoder).fit(images)
    assert model.reconstruct(images).shape == images.shape and model.sample(3).dtype == np.uint8


WRONG = {
    "no module": ("encoder", lambda x: x, "Module"),
    "another width": ("encoder", nn.Linear(7, 3), r"\(2, 5\)"),
    "a wrong batch": ("encoder", nn.Flatten(0), "must give a tensor"),
    "batch statistics": ("encoder", nn.BatchNorm1d(5), "BatchNorm1d"),
    "too few values": ("decoder", nn.Unflatten(1, (1, 1, 2)), "decoder"),
}


@pytest.mark.parametrize(("part", "module", "said"), WRONG.values(), ids=WRONG)
def test_own_networks_that_do_not_fit_are_told_what_was_expected(part, module, said):
    with pytest.raises(UserError, match=said):
        quick(**{part: module}).fit(rows())


def test_own_networks_may_draw_numbers_of_their_own():
    """Dropout: the same seed trains the same weights, codes are not random, and the user's generator stays put."""
    torch.manual_seed(1)
    noisy = nn.Sequential(nn.Linear(5, 16), nn.Dropout(0.5))
    fits = []
    for state in (7, 8):
        torch.manual_seed(state)
        before = torch.get_rng_state()
        fits.append(quick(encoder=noisy).fit(rows()))
        assert torch.equal(torch.get_rng_state(), before)
    one, other = (model.transform(rows()) for model in fits)
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(one, fits[0].transform(rows()))


def test_own_networks_are_told_the_condition():
    class Told(nn.Module):
        def __init__(self, inputs: int):
            super().__init__()
            self.linear = nn.Linear(inputs, 5)

        def forward(self, x, c):
            return self.linear(torch.cat([x, c], dim=1))

    labels = np.arange(120) % 3
    data = rows() + 50 * labels[:, None]
    model = quick(given="label", encoder=Told(5 + 3), decoder=Told(2 + 3)).set_params(epochs=40).fit(data, labels)
    for label in range(3):
        assert abs(model.sample(300, given=[label]).mean() - data[labels == label].mean()) < 10
    with pytest.raises(UserError, match="encoder cannot be called with x .* and c"):
        quick(given="label", encoder=nn.Linear(5, 2)).fit(data, labels)


# ------------------------------------------------------------------------------------------------ labels and columns


def labelled(y, **keywords):
    settings = ("train.batch_size=20", "encoder.hidden=[8]", "labelling.hidden=[8]", "labelling.rampup_steps=0")
    return estimators.VAE(2, recipe="semi-supervised", epochs=2, overrides=settings, random_state=0).fit(rows(), y)


@pytest.mark.parametrize("kind", [int, float, bool, str])
def test_predictions_are_labels_as_they_were_given(kind):
    """Numbers for numbers and words for words, words that spell numbers too: what a metric can compare."""
    y = (rows()[:, 0] > 7).astype(int).astype(kind)
    model = labelled(y)
    assert set(model.classes_.tolist()) == set(y.tolist()) == set(np.unique(y).tolist())
    assert accuracy_score(y, model.predict(rows())) == (model.predict(rows()) == y).mean()
    np.testing.assert_allclose(model.predict_proba(rows()).sum(1), 1, rtol=1e-5)


def test_predicting_says_nothing_unless_asked(capfd):
    model = labelled((rows()[:, 0] > 7).astype(int))
    capfd.readouterr()
    model.predict(rows())
    assert capfd.readouterr() == ("", "")


def test_a_model_of_columns_takes_whole_numbers_for_columns():
    """What y is was settled when the model was trained: 1.0, 2.0 and 0.0 are no classes to it."""
    y = np.linspace(0, 2, 120)
    model = quick(given="columns").fit(rows(), y)
    for given in ([0.0, 1.0, 2.0], [0, 1, 2], [[0], [1], [2]]):
        np.testing.assert_array_equal(
            model.transform(rows()[:3], given), model.transform(rows()[:3], np.c_[[0, 1, 2.0]])
        )
        assert len(model.sample(given=given)) == len(model.sample(given={"columns": given})) == 3
    with pytest.raises(UserError, match="given columns and nothing else"):
        model.sample(3, given={"label": 1})


def test_classes_called_minus_one_and_one():
    y = np.where(rows()[:, 0] > 7, 1, -1)
    model, low = quick(given="label").fit(rows(), y), y == -1
    close = {"rtol": SAME, "atol": SAME}
    np.testing.assert_allclose(model.transform(rows()[low], y[low]), model.transform(rows(), y)[low], **close)


def test_real_numbers_are_no_classes():
    model = quick(given="label").fit(rows(), np.arange(120) % 2)
    for method in (model.transform, model.score_samples, model.partial_fit):
        with pytest.raises(UserError, match="the model knows 2 classes"):
            method(rows(), np.linspace(0, 1, 120))


@pytest.mark.parametrize("y", [np.arange(120) % 2 == 0, (np.arange(120) % 2).astype(float)], ids=["bool", "float"])
def test_conditions_are_taken_as_fit_took_them(y):
    model = quick(given="label").fit(rows(), y)
    codes = model.transform(rows(), y)
    np.testing.assert_array_equal(model.inverse_transform(codes, y), model.reconstruct(rows(), y))
    np.testing.assert_array_equal(model.sample(2, given=[y[0]]), model.sample(2, given=y[0]))
    assert len(model.sample(given="0..1")) == len(model.sample(given="label=0..1")) == 2
    for same in (range(2), "0..1", {"label": "0..1"}, {"label": [0, 1]}, {"label": range(2)}):
        np.testing.assert_array_equal(model.sample(4, given=same), model.sample(4, given=[0, 1]))
        np.testing.assert_array_equal(
            model.inverse_transform(codes[:2], same), model.inverse_transform(codes[:2], [0, 1])
        )
    for wrong in (y[:5], y[[*range(120), 0]]):
        with pytest.raises(UserError, match="120 codes"):
            model.inverse_transform(codes, wrong)


@pytest.mark.parametrize("missing", [3, 30])
def test_a_condition_must_be_known_of_every_row(missing):
    y = np.arange(120) % 3
    y[:missing] = -1
    with pytest.raises(UserError, match=f"^{missing} rows .* no label"):
        quick(given="label").fit(rows(), y)
    known = quick(given="label").partial_fit(rows(), np.arange(120) % 3)
    with pytest.raises(UserError, match=f"^{missing} rows .* no label"):
        known.partial_fit(rows(), y)


def test_a_date_as_a_condition_keeps_its_seconds():
    """The model of the seconds since 1970 is the model of the seconds of that hour."""
    seconds = np.linspace(-100, 100, 120)
    at = [quick(given="columns").fit(rows(), offset + seconds) for offset in (0.0, 1.7e9)]
    np.testing.assert_allclose(
        at[0].transform(rows(), seconds), at[1].transform(rows(), 1.7e9 + seconds), rtol=1e-3, atol=1e-4
    )


# ------------------------------------------------------------------------------------------- streams, files and kinds


def test_an_autoencoder_generates_after_partial_fit():
    model = quick(estimators.Autoencoder).partial_fit(rows())
    first = model.sample(300)
    np.testing.assert_allclose(first.mean(0), model.reconstruct(rows()).mean(0), atol=3)
    assert not np.array_equal(model.partial_fit(rows()).sample(300), first)


def test_a_loaded_model_learns_from_labels_as_before(tmp_path):
    y = (rows()[:, 0] > 7).astype(int)
    model = labelled(y)
    model.save(tmp_path / "few.safetensors")
    again = estimators.VAE.load(tmp_path / "few.safetensors")
    with pytest.raises(UserError, match="requires y"):
        again.partial_fit(rows())
    before = again.predict_proba(rows())[:, 0]
    assert (again.partial_fit(rows(), y).predict_proba(rows())[:, 0] - before)[y == 0].mean() > 0


def test_bits_drawn_once_are_the_models_affair():
    """The rows of a model of static bits stay grey: it scores, reconstructs and goes on learning from them."""
    images = pixels(60)
    settings = ("data.binarize=static", "encoder.hidden=[8]", "decoder.hidden=[8]")
    model = estimators.VAE(2, recipe="kingma-welling", epochs=2, overrides=settings, random_state=0).fit(images)
    assert model.run_.schema.x.kind.levels == 256
    assert np.isfinite(model.score_samples(images)).all() and model.reconstruct(images).shape == images.shape
    assert np.isfinite(model.partial_fit(images).score(images))


def test_a_data_set_of_ours_takes_labels_beside_it():
    y = np.arange(120) % 2
    model = quick(given="label").fit(load(rows()), y)
    np.testing.assert_array_equal(model.transform(load(rows()), y), model.transform(rows(), y))


def test_whole_numbers_of_numpy_are_whole_numbers(tmp_path):
    one, two = (quick().set_params(epochs=n, random_state=n).fit(rows()) for n in (np.int64(2), 2))
    np.testing.assert_array_equal(one.transform(rows()), two.transform(rows()))
    trained = variate.fit(rows(), out=tmp_path / "run", seed=np.int64(3), epochs=np.int32(1))
    assert trained.info["seed"] == variate.load(tmp_path / "run").info["seed"] == 3


def test_half_precision_images_are_those_of_the_model():
    images = (pixels(60) / 255).astype(np.float16)
    model = estimators.VAE(2, recipe="kingma-welling", given="label", epochs=1, overrides=("encoder.hidden=[8]",))
    y = np.arange(60) % 2
    assert model.set_params(overrides=("likelihood.name=auto",)).fit(images, y).transform(images, y).shape == (60, 2)


def test_fit_transform_gives_the_rows_that_are_learned_from():
    model = quick().set_params(epochs=1)
    assert len(model.fit_transform("digits")) == len(load("digits:train"))


def test_a_recipe_may_be_a_path(tmp_path):
    place = tmp_path / "mine.toml"
    place.write_text("[latent]\nsize = 3\n")
    assert variate.fit(rows(), recipe=place, epochs=1).config["latent"]["size"] == 3


# ---------------------------------------------------------------------------------------------- classifiers, and files


FEW = ("train.batch_size=20", "encoder.hidden=[8]", "decoder.hidden=[8]", "labelling.hidden=[8]")


def groups(n: int = 90) -> tuple[np.ndarray, np.ndarray]:
    """Rows of two far groups, called as words that spell numbers."""
    labels = np.arange(n) % 2
    return np.random.default_rng(0).normal(size=(n, 3)) + 8 * labels[:, None], np.array(["1", "10"])[labels]


def few(**keywords) -> estimators.VAE:
    settings = (*FEW, "train.least_steps=60", "train.learning_rate=0.01", "train.rampup_steps=5")
    settings += ("labelling.rampup_steps=0",)
    return estimators.VAE(**{"recipe": "semi-supervised", "overrides": settings, "random_state": 0} | keywords)


@pytest.mark.parametrize(
    ("asked", "predicts"),
    [
        ({}, True),
        ({"recipe": None, "overrides": ("labelling.name=classifier",)}, True),
        ({"overrides": ("labelling.name=none",)}, False),
        ({"recipe": None}, False),
        ({"recipe": None, "given": "label"}, False),
        ({"recipe": "nonsense"}, False),
        ({"overrides": ("nonsense",)}, False),
    ],
    ids=str,
)
def test_what_predicts_says_so_before_it_is_fitted(asked, predicts):
    model = estimators.VAE(**{"recipe": "semi-supervised"} | asked)
    assert is_classifier(model) == is_classifier(make_pipeline(StandardScaler(), model)) == predicts
    assert hasattr(model, "predict") == hasattr(model, "predict_proba") == predicts
    assert get_tags(model).target_tags.required == predicts and get_tags(model).transformer_tags is not None
    assert not is_classifier(estimators.Autoencoder())


def test_scikit_learns_tools_take_it_for_a_classifier():
    """Held-out rows of far groups are told apart, whichever tool asks; folds hold both classes of sorted rows."""
    values, labels = groups()
    values, labels = values[np.argsort(labels)], np.sort(labels)
    with pytest.raises(NotFittedError):
        few().predict(values)
    for method in ("predict", "predict_proba"):
        found = cross_val_predict(few(), values, labels, cv=3, method=method)
        assert (found == labels if method == "predict" else (found.argmax(1) == (labels == "10"))).mean() > 0.9
    search = GridSearchCV(few(), {"latent_dim": [1]}, scoring="accuracy", cv=2).fit(values, labels)
    assert search.best_score_ > 0.9 and search.predict(values).dtype == labels.dtype
    best = search.best_estimator_
    assert best.score(values) == pytest.approx(best.score_samples(values).mean(), rel=1e-12)


@pytest.mark.parametrize("kind", [str, int, float], ids=lambda kind: kind.__name__)
def test_classes_come_back_from_a_file_as_they_were_given(tmp_path, kind):
    """Words that spell numbers are words, after load, in a pickle, in a clone, and when a stream goes on."""
    values, labels = groups(40)
    labels = labels.astype(kind)
    model = few(overrides=(*FEW, "train.least_steps=0"), epochs=1).fit(values, labels)
    model.save(tmp_path / "few.safetensors")
    loaded = estimators.VAE.load(tmp_path / "few.safetensors")
    for again in (loaded, pickle.loads(pickle.dumps(loaded)), clone(loaded).fit(values, labels)):
        assert again.classes_.tolist() == np.unique(labels).tolist()
        assert again.predict(values).dtype.kind == ("U" if kind is str else "i")
    assert loaded.partial_fit(values, labels).classes_.tolist() == np.unique(labels).tolist()
    assert ("labels" in model.run_.info) == (kind is str)


def test_words_are_words_wherever_they_come_from(tmp_path):
    """In a data set of ours or of PyTorch's, in a file, learned by the command's function: their model says so."""
    values, labels = groups(40)
    np.savez(tmp_path / "both.npz", x=values, y=labels)
    pairs = [(row, str(label)) for row, label in zip(values, labels, strict=True)]
    quickly = {"overrides": (*FEW, "train.least_steps=0"), "epochs": 1}

    class Pairs(torch.utils.data.Dataset):
        def __len__(self):
            return len(pairs)

        def __getitem__(self, index):
            return pairs[index]

    for given in (load(values, labels), Pairs(), tmp_path / "both.npz"):
        assert few(**quickly).fit(given).classes_.tolist() == ["1", "10"]
    trained = variate.fit(Pairs(), out=tmp_path / "run", recipe="semi-supervised", epochs=1, overrides=list(FEW))
    assert estimators.VAE.load(tmp_path / "run").classes_.tolist() == ["1", "10"] and trained.info["labels"] == "words"
    variate.fit(values, labels.astype(int), out=tmp_path / "other", given="label", epochs=1)
    assert "labels" not in variate.load(tmp_path / "other").info


def test_numbers_beyond_64_bits_with_a_sign_come_back_as_numbers():
    for large in (2**62, 2**63 + 1, 2**70):
        known = few(overrides=(*FEW, "train.least_steps=0"), epochs=1).fit(rows(40), [1, large] * 20)
        assert known.classes_.tolist() == [1, large] and set(known.predict(rows(40)).tolist()) <= {1, large}


RECIPES = {
    "iwae": (estimators.VAE, {"recipe": "iwae", "overrides": ("objective.k=3", "encoder.hidden=[8]")}),
    "the default": (estimators.VAE, {}),
    "of images": (estimators.VAE, {"levels": 300, "layout": "HW", "overrides": ("encoder.channels=[4,4]",)}),
    "signals": (estimators.VAE, {"layout": "CL"}),
    "conditional": (estimators.VAE, {"given": "label", "overrides": ("posterior.name=full",)}),
    "semi-supervised": (estimators.VAE, {"recipe": "semi-supervised", "overrides": ("labelling.hidden=[8]",)}),
    "other parts": (estimators.VAE, {"overrides": ("likelihood.name=laplace", "prior.name=mixture", "train.ema=0.5")}),
    "an autoencoder": (estimators.Autoencoder, {"overrides": ("prior.components=2",)}),
    "its own recipe": (estimators.VAE, {"recipe": "[decoder]\nname = 'mlp'\nhidden = [3]\n"}),
}


@pytest.mark.parametrize("name", RECIPES)
def test_what_a_file_holds_is_fitted_again_to_the_same_weights(tmp_path, name):
    """Loaded, cloned and fitted to the same rows: the same configuration and, with the seed, the same bytes."""
    kind, asked = RECIPES[name]
    y, values = np.arange(24) % 2, rows(24)
    if name == "iwae":
        values = (values > 7).astype(np.uint8)
    if "layout" in asked:
        values = np.abs(10 * values[:, :1, None] * np.ones((1, 8, 8))).astype(int)
    if asked.get("recipe", "").startswith("["):
        (tmp_path / "mine.toml").write_text(asked["recipe"])
        asked = asked | {"recipe": str(tmp_path / "mine.toml")}
    model = kind(**{"epochs": 1, "random_state": 3} | asked).fit(values, y)
    model.save(tmp_path / "model.safetensors")
    again = clone(kind.load(tmp_path / "model.safetensors")).set_params(random_state=3).fit(values, y)
    assert repr(again).startswith(kind.__name__) and again.epochs == 1
    assert (
        again.run_.config == {part: dict(said) for part, said in model.run_.config.items()} or name == "its own recipe"
    )
    again.save(tmp_path / "again.safetensors")
    if name != "its own recipe":  # of which the defaults are written out
        assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()
    for one, other in zip(model.run_.model.parameters(), again.run_.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_what_suited_the_rows_is_left_open_for_others(tmp_path):
    """A loaded estimator makes of other rows what a new one would: of more columns, of tails, of bits."""
    rng = np.random.default_rng(0)
    first, new = rng.normal(size=(60, 3)), {"epochs": 1, "random_state": 3}
    estimators.VAE(**new).fit(first).save(tmp_path / "model.safetensors")
    loaded = estimators.VAE.load(tmp_path / "model.safetensors")
    assert (loaded.recipe, loaded.latent_dim, loaded.overrides) == (None, None, ())
    for other in (np.tile(first, 2), rng.standard_cauchy((90, 2)), (rng.random((60, 9)) < 0.5).astype(np.uint8)):
        again = clone(loaded).set_params(random_state=3).fit(other)
        assert again.run_.config == estimators.VAE(**new).fit(other).run_.config


def test_own_networks_are_fitted_again(tmp_path):
    model = quick(**networks()).fit(rows())
    model.save(tmp_path / "own.safetensors")
    again = clone(estimators.VAE.load(tmp_path / "own.safetensors", modules=networks())).set_params(random_state=0)
    assert again.fit(rows()).run_.config == model.run_.config


# ------------------------------------------------------------------------------------- arrays that know what is missing


def test_what_is_missing_is_never_learned():
    """A mask, NaN and NA are one thing, whatever stands behind them; a score is that of the cells that are there."""
    import pandas as pd

    hole, y = np.ma.array(rows(30)), np.arange(30) % 2
    hole[7, 2] = 1e6
    hole[7, 2] = np.ma.masked
    plain = np.where(np.ma.getmaskarray(hole), np.nan, hole.data)
    listed = [[None if np.isnan(cell) else cell for cell in row] for row in plain.tolist()]
    learned = [quick().fit(X) for X in (hole, plain, listed)]
    for model in learned[1:]:
        np.testing.assert_array_equal(model.score_samples(plain), learned[0].score_samples(hole))
    assert learned[0].run_.schema.x.missing and abs(learned[0].run_.schema.x.kind.offset[2]) < 10
    other = np.where(np.isnan(plain), -1e6, plain)
    assert learned[0].score_samples(plain)[7] - learned[0].score_samples(other)[7] > 1e3
    frame = pd.DataFrame(rows(30), columns=list("abcde"))
    named = frame.astype({"c": "Float64"})
    named.loc[7, "c"] = pd.NA
    assert quick().fit(named).sample(3).dtypes.to_dict() == named.dtypes.to_dict()
    with pytest.raises(UserError, match="two columns"):
        quick().fit(pd.DataFrame(rows(30), columns=list("abcda")))
    model = quick().set_params(epochs=1)
    np.testing.assert_array_equal(
        model.fit(np.ma.array(rows(30), mask=False)).transform(rows(30)), model.fit(rows(30)).transform(rows(30))
    )
    missing = np.ma.array(y, mask=np.arange(30) == 4)
    with pytest.raises(UserError, match="1 rows .* no label"):
        quick(given="label").fit(rows(30), missing)
    counts = [
        labelled_counts(given)
        for given in (
            missing,
            pd.Series(y, dtype="Int64").where(np.arange(30) != 4),
            [None if i == 4 else v for i, v in enumerate(y)],
        )
    ]
    assert counts[0] == counts[1] == counts[2] and sum(counts[0]) == 30 - 5


def labelled_counts(y) -> tuple[int, ...]:
    """Of the classes in the training part: a sixth of the thirty rows is held out, those without a label first."""
    return few(overrides=(*FEW, "train.least_steps=0"), epochs=1).fit(rows(30), y).run_.schema.class_counts


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_tensors_are_taken_wherever_arrays_are(dtype):
    values = torch.tensor(rows(30)).to(dtype).requires_grad_()
    y = torch.tensor(np.arange(30) % 2).to(dtype).requires_grad_()
    model = quick(given="label").set_params(epochs=1)
    plain, labels = values.detach().double().numpy(), np.arange(30) % 2
    wide = plain if dtype == torch.float64 else plain.astype(np.float32)
    codes = model.fit(wide, labels).transform(wide, labels)
    np.testing.assert_array_equal(model.fit(values, y).transform(values, y).astype(codes.dtype), codes)
    np.testing.assert_array_equal(model.sample(given=y), model.sample(given=labels))
    one = model.fit(list(values), list(y)).sample(given=y[1])
    np.testing.assert_array_equal(one, model.fit(wide, labels).sample(given=1))
