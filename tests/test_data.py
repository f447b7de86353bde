"""Raw values and model units, splits, subsets, binarisations, and what is refused."""

import collections
import json
import statistics
import time
from fractions import Fraction

import numpy as np
import pytest
import torch
from helpers_runs import pixels
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

import variate
from variate.base.errors import UserError
from variate.data.dataset import Dataset
from variate.data.infer import infer_schema, label_field
from variate.data.kinds import Counts, Levels, Reals
from variate.data.known import infer_known
from variate.data.load import load
from variate.data.schema import Field, Schema

SHAPES = st.one_of(
    st.tuples(st.integers(1, 6)),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
)
ROWS = st.integers(1, 5)


def batches_of(dtype, elements=None):
    """Arrays (n, *shape) of vectors, images and images with channels."""
    return st.tuples(ROWS, SHAPES).flatmap(lambda drawn: hnp.arrays(dtype, (drawn[0], *drawn[1]), elements=elements))


def there_and_back(values: np.ndarray, schema: Schema) -> tuple[torch.Tensor, np.ndarray]:
    units = schema.x.to_tensor(torch.from_numpy(values))
    assert units.dtype == torch.float32 and units.shape == (len(values), *schema.x.tensor_shape)
    back = schema.x.to_raw(units)
    assert back.dtype == values.dtype and back.shape == values.shape
    return units, back


@given(batches_of(st.sampled_from([np.uint8, np.bool_])))
def test_bytes_and_bits_come_back_exactly(values):
    units, back = there_and_back(values, infer_schema(values))
    np.testing.assert_array_equal(back, values)
    assert 0 <= units.min() and units.max() <= 1


@given(st.integers(2, 65536), st.sampled_from([np.uint8, np.int16, np.int32, np.int64, np.float32]), SHAPES, st.data())
def test_every_level_comes_back_exactly(levels, dtype, shape, data):
    top = min(levels - 1, np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else levels)
    values = data.draw(hnp.arrays(np.int64, (3, *shape), elements=st.integers(0, top))).astype(dtype)
    _, back = there_and_back(values, infer_schema(values, levels=levels))
    np.testing.assert_array_equal(back, values)


@given(batches_of(np.int32, st.integers(-(2**20), 2**20)))
@example(np.array([[-3500], [21], [3493], [7]], np.int32))
def test_whole_numbers_come_back_exactly(values):
    """Whole numbers without a known range are standardised; what comes back must be rounded, not cut off."""
    _, back = there_and_back(values, infer_schema(values))
    np.testing.assert_array_equal(back, values)


@given(batches_of(np.int8, st.integers(-5, 1)))
def test_negative_numbers_are_not_levels(values):
    assume(values.min() < 0)
    assert infer_schema(values).x.kind.levels is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(data=st.data())
def test_real_numbers_come_back_within_float32(dtype, data):
    """Model units are float32: an error of 2^-23 of the distance from the mean, and of the dtype's own rounding."""
    finite = st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False)
    values = data.draw(batches_of(dtype, finite))
    schema = infer_schema(values)
    _, back = there_and_back(values, schema)
    exact = values.astype(np.float64)
    tolerance = 2.0**-23 * np.abs(exact - np.asarray(schema.x.kind.offset)) + 4 * np.finfo(dtype).eps * np.abs(exact)
    assert (np.abs(back - exact) <= tolerance + 1e-30).all()


def test_columns_get_unit_scale_and_no_mean():
    values = np.random.default_rng(0).normal(1e6, 1e-3, size=(500, 3)) * [1, 10, 100]
    units = infer_schema(values).x.to_tensor(torch.from_numpy(values)).numpy()
    np.testing.assert_allclose(units.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(units.std(0), 1, rtol=1e-5)


SCALES = {
    "small numbers of a large offset": 1e9 + 1e-4 * np.random.default_rng(0).normal(size=50),
    "a large offset": 1.7e15 + 500 * np.random.default_rng(0).normal(size=50),
    "the last digit": np.nextafter(7.25, np.array([8, 7.25, 8, 8.0])),
    "too small to square": 1e-170 * np.random.default_rng(0).normal(size=50),
    "too large to square": 1e200 * np.random.default_rng(0).normal(size=50),
    "subnormal": 1e-310 * np.random.default_rng(0).normal(size=50),
    "the least there is": np.array([0.0, 5e-324, 0.0]),
    "from small to large": np.array([1e-200, 1.0, 1e150, -1e150, 3e149]),
    "one far out": np.array([0.0] * 99 + [1e100]),
    "seconds since 1970": 1700057222.32 + np.random.default_rng(0).normal(size=50),
}


@pytest.mark.parametrize("values", SCALES.values(), ids=list(SCALES))
def test_offset_and_scale_are_mean_and_deviation_at_any_size(values):
    """Against exact rational arithmetic; the units are then numbers near 1, and come back."""
    exact = [Fraction(value) for value in values.tolist()]
    mean = sum(exact) / len(exact)
    deviation = statistics.pstdev(exact)
    rows = np.c_[values, np.ones(len(values))]
    schema = infer_schema(rows)
    assert schema.x.kind.offset[0] == pytest.approx(float(mean), rel=1e-14, abs=float(deviation) * 1e-3)
    assert schema.x.kind.scale[0] == pytest.approx(float(deviation), rel=1e-3, abs=5e-324)
    units = schema.x.to_tensor(torch.from_numpy(rows), torch.float64)[:, 0]
    offset, scale = Fraction(schema.x.kind.offset[0]), Fraction(schema.x.kind.scale[0])
    np.testing.assert_allclose(units.numpy(), [float((value - offset) / scale) for value in exact], atol=1e-9)
    back = schema.x.to_raw(schema.x.to_tensor(torch.from_numpy(rows), torch.float64))
    np.testing.assert_allclose(back[:, 0], values, rtol=1e-15, atol=float(deviation) * 1e-12)


@pytest.mark.parametrize("value", [7.25, 7.25e6, 7.25e-6, 0.1, 0.0, -1e299, 1e-320, 3])
@pytest.mark.parametrize("dtype", ["float64", "float32", "int32"])
def test_a_constant_is_a_constant(value, dtype):
    """Exactly itself, whatever was drawn in its place; no density, so no volume; and any other value is told apart."""
    value = {"int32": round(value) % 1000, "float32": float(np.float32(max(value, -1e38)))}.get(dtype, value)
    rows = np.random.default_rng(0).normal(10, 5, size=(30, 2)).astype(dtype)
    with_it = np.insert(rows, 1, np.full(30, value, dtype), 1)
    schema, without = infer_schema(with_it), infer_schema(rows)
    assert schema.x.kind.scale[1] == 0 and schema.x.log_volume_nats == without.x.log_volume_nats
    assert (schema.x.size, schema.x.varying_size) == (3, 2)
    drawn = torch.randn(30, 3).index_fill(1, torch.tensor([0]), 1e30)
    np.testing.assert_array_equal(schema.x.to_raw(drawn)[:, 1], with_it[:, 1])
    assert schema.x.to_tensor(torch.from_numpy(with_it))[:, 1].tolist() == [0] * 30
    with_it[3, 1] = np.nextafter(with_it[3, 1], np.inf, dtype=dtype) if dtype != "int32" else value + 1
    assert schema.x.to_tensor(torch.from_numpy(with_it))[:, 1].tolist() == [0, 0, 0, 1] + [0] * 26
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


def test_a_constant_count_is_a_constant():
    values = np.random.default_rng(0).poisson(4, size=(90, 3))
    values[:, 1] = 7
    vae = variate.VAE(epochs=2, random_state=0, overrides=("likelihood.name=poisson",)).fit(values)
    assert set(vae.sample(200)[:, 1].tolist()) == {7} and vae.run_.schema.x.kind.is_count
    values[0, 1] = 8
    scores = vae.score_samples(values[:5])
    assert scores[0] == -np.inf and np.isfinite(scores[1:]).all()


def test_counts_are_what_they_round_to():
    schema = Schema.of(Field(Counts(offset=(0.0, 7.0), scale=(2.0, 0.0)), (2,), "float32"))
    stored = torch.tensor([[3.0004, 7.0004], [3.0, 7.0]])
    assert torch.equal(*schema.x.to_tensor(stored).unbind()) and torch.equal(*schema.x.canonical(stored).unbind())


def test_whole_numbers_that_a_double_cannot_tell_apart_are_refused():
    values = np.full((20, 2), 2**53, np.int64)
    values[:, 0] = np.arange(20)
    assert infer_schema(values).x.kind.scale[1] == 0
    values[::2, 1] += 1
    with pytest.raises(UserError, match="column 1 .* from 9007199254740992 to 9007199254740993"):
        infer_schema(values)


def test_what_varies_in_validation_rows_alone_is_no_constant():
    values = np.random.default_rng(0).normal(size=(60, 3))
    values[:, 1] = 0
    held_out = load(values).split(0)[1].values
    row = int((values == held_out[0].numpy()).all(1).nonzero()[0][0])
    values[row, 1] = 5
    train, valid = load(values).split(0)
    assert train.schema.x.kind.scale[::2] == pytest.approx(
        train.values.numpy().std(0)[::2]  # of the training rows alone
    )
    assert train.values[:, 1].eq(0).all() and train.schema.x.kind.scale[1] == pytest.approx(values[:, 1].std())
    units = valid.batch(slice(None)).target["x"].units
    assert units[:, 1].max() == pytest.approx((5 - values[:, 1].mean()) / values[:, 1].std())


@pytest.mark.parametrize("name", ["x", "columns"])
@pytest.mark.parametrize("scale", [(1.0, -1.0), (0.0,), (1.0, 1.0, 1.0)])
def test_no_schema_of_ours_has_such_scales(name, scale):
    """A constant has the scale 0; nobody is told of columns that are constants."""
    x, other = Field(Reals(), (2,), "float64"), Field(Reals((0.0,) * len(scale), scale), (2,), "float64", name=name)
    said = Schema.of(*([other] if name == "x" else [x, other])).to_json()
    if name == "x" and scale == (0.0,):
        assert Schema.from_json(said) == Schema.of(other)
        return
    with pytest.raises(UserError, match="out of range"):
        Schema.from_json(said)


GREYS = Schema.of(Field(Levels(256), (2, 2), "uint8"))
FRACTIONS = {
    "bool": np.array([[[True, False], [False, False]]]),
    "float": np.array([[[0.0, 1.0], [1.0, 0.0]]]),
    "float beside greys": np.array([[[0.0, 200.0], [7.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]]),
}


@pytest.mark.parametrize("values", FRACTIONS.values(), ids=list(FRACTIONS))
def test_black_and_white_is_not_taken_for_two_dark_greys(values):
    with pytest.raises(UserError, match=f"row {len(values) - 1} has 0 and 1 alone, as if 1 were white: multiply by"):
        load(values, like=GREYS)


def test_dark_images_are_given_as_integers():
    dark = np.array([[[0, 1], [1, 0]], [[0, 0], [0, 0]]])
    assert load(dark, like=GREYS).batch(slice(None)).target["x"].units.max() == pytest.approx(1 / 255)
    assert len(load(dark[1:].astype(float), like=GREYS)) == 1  # black is black either way
    ratings = Schema.of(Field(Levels(5), (4,), "float64"))
    assert len(load(np.array([[0.0, 1.0, 1.0, 0.0]]), like=ratings)) == 1


@pytest.mark.parametrize(("value", "place"), [(256, 2), (-1, 0), (3.5, 3), (1e300, 1)])
def test_a_value_that_no_model_of_levels_knows_is_named(value, place):
    values = np.zeros((5, 4))
    values[3, place] = value
    with pytest.raises(UserError, match=f"row 3 has {value:.6g} as value {place}".replace("+", r"\+")):
        load(values.reshape(5, 2, 2), like=GREYS)


def test_log_volume_is_the_log_derivative_of_the_map_to_units():
    """d(units)/d(raw), measured by a difference, column by column: densities change by its logarithm."""
    values = np.random.default_rng(1).normal(size=(50, 4)) * [0.1, 1, 10, 1000]
    schema = infer_schema(values)
    step = schema.x.to_tensor(torch.from_numpy(values + values.std(0))) - schema.x.to_tensor(torch.from_numpy(values))
    slopes = step.double().mean(0).numpy() / values.std(0)
    assert schema.x.log_volume_nats == pytest.approx(np.log(slopes).sum(), rel=1e-5)


@pytest.mark.parametrize(("layout", "axis"), [("HWC", 3), ("CHW", 1)])
def test_an_images_volume_counts_every_pixel_of_every_channel(layout, axis):
    values = np.random.default_rng(1).normal(size=(50, 3, 4, 2)) * 5
    found = infer_schema(values, layout=layout).x.log_volume_nats
    spreads = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1).std(1)
    assert found == pytest.approx(-24 / len(spreads) * np.log(spreads).sum(), rel=1e-9)


def test_channels_go_first_and_come_back_last():
    values = np.zeros((1, 4, 5, 3), np.uint8)
    values[0, 2, 3, 1] = 255
    units = infer_schema(values).x.to_tensor(torch.from_numpy(values))
    assert units.nonzero().tolist() == [[0, 1, 2, 3]]


@given(batches_of(st.sampled_from([np.uint8, np.bool_, np.float32, np.int64]), st.integers(0, 1)), st.booleans())
def test_a_schema_survives_json(values, labelled):
    schema = infer_schema(values, infer_known(np.arange(len(values))) if labelled else None)
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


@given(batches_of(np.float64, st.floats(-1e9, 1e9)))
def test_the_scale_survives_json_to_the_last_bit(values):
    schema = infer_schema(values)
    again = Schema.from_json(json.loads(json.dumps(schema.to_json())))
    assert again == schema


def numbered(n: int) -> Dataset:
    """n rows that say which they are, labelled by their last digit."""
    rows = np.arange(n)
    return load(np.stack([rows // 256, rows % 256], 1).astype(np.uint8), rows % 10)


def numbers(data: Dataset) -> list[int]:
    return (data.values.long() @ torch.tensor([256, 1])).tolist()


@given(st.integers(2, 700), st.integers(0, 2**40))
def test_a_split_is_disjoint_covers_and_holds_out_a_sixth(n, seed):
    train, valid = (numbers(part) for part in numbered(n).split(seed))
    assert sorted(train + valid) == list(range(n))
    assert len(train) >= 1 and len(valid) == max(1, round(n / 6))


def test_a_split_follows_its_seed():
    whole = numbered(600)
    assert numbers(whole.split(1)[1]) == numbers(whole.split(1)[1]) != numbers(whole.split(2)[1])


def test_labels_stay_with_their_rows_and_are_counted_on_the_training_part():
    train, valid = numbered(600).split(0)
    for part in (train, valid):
        assert part.labels.tolist() == [n % 10 for n in numbers(part)]
        assert part.schema.class_counts == tuple(np.bincount(train.labels, minlength=10).tolist())


def test_one_row_cannot_be_split():
    with pytest.raises(UserError):
        numbered(1).split(0)


def test_a_subset_is_fixed_and_keeps_the_order():
    whole = numbered(500)
    chosen = numbers(whole.subset(40))
    assert len(chosen) == 40 and chosen == sorted(set(chosen)) == numbers(whole.subset(40))
    assert chosen != list(range(40))  # not simply the first ones
    assert numbers(whole.subset(None)) == numbers(whole.subset(500)) == list(range(500))


GREY = pixels(60, (6, 6), seed=3)
NAMES = ["static", "dynamic", "threshold"]


def draw(name: str, rows: np.ndarray, *key: object) -> torch.Tensor:
    return load(rows, levels=256).batch(slice(None), name, *key).target["x"].units


@pytest.mark.parametrize("name", NAMES)
def test_a_binarisation_gives_zeros_and_ones_in_the_datas_shape(name):
    bits = draw(name, GREY)
    assert bits.shape == (60, 1, 6, 6) and set(bits.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("name", ["static", "dynamic"])
def test_the_mean_of_many_draws_is_the_grey_value(name):
    """χ² of the number of ones in 1000 draws per pixel; exact for black and white."""
    grey = GREY[:5].reshape(5, 1, 6, 6) / 255
    share = torch.stack([draw(name, GREY[:5], step) for step in range(1000)]).mean(0).numpy()
    certain = (grey == 0) | (grey == 1)
    np.testing.assert_array_equal(share[certain], grey[certain])
    scaled = (share - grey)[~certain] / np.sqrt(grey * (1 - grey) / 1000)[~certain]
    assert abs((scaled**2).mean() - 1) < 5 * np.sqrt(2 / scaled.size)


def test_keyless_bits_have_the_grey_mean_too():
    """Drawn from the rows' own bytes: 4000 different rows whose values at other places are all alike."""
    rows = np.full((4000, 1, 20), 64, np.uint8)
    rows[:, 0, :2] = np.stack(np.divmod(np.arange(4000), 256), 1)
    assert draw("static", rows)[..., 2:].mean() == pytest.approx(64 / 255, abs=4 * 0.434 / np.sqrt(72_000))


@pytest.mark.parametrize("name", NAMES)
@given(order=st.permutations(range(10)), kept=st.integers(1, 10))
def test_bits_without_a_key_are_fixed_per_row(name, order, kept):
    chosen = list(order)[:kept]
    assert torch.equal(draw(name, GREY[chosen]), draw(name, GREY)[chosen])


def test_dynamic_bits_change_with_the_step():
    assert not torch.equal(draw("dynamic", GREY, 0, 1), draw("dynamic", GREY, 0, 2))
    assert torch.equal(draw("dynamic", GREY, 0, 1), draw("dynamic", GREY, 0, 1))


def test_a_threshold_cuts_at_one_half():
    rows = np.array([[0, 127, 128, 255]], np.uint8)
    assert draw("threshold", rows).tolist() == [[0, 0, 1, 1]]


def test_expected_keeps_the_grey_values():
    torch.testing.assert_close(draw("expected", GREY).squeeze(1).numpy(), (GREY / 255).astype(np.float32))


@pytest.mark.parametrize("name", NAMES)
def test_binarised_rows_are_the_bits_that_are_scored(name):
    rows = load(GREY)
    binary = rows.binarized(name)
    assert binary.schema.x.kind.levels == 2
    assert torch.equal(binary.batch(slice(None)).target["x"].units, rows.batch(slice(None), name).target["x"].units)


def test_an_unknown_binarisation_is_refused_with_a_suggestion():
    with pytest.raises(UserError, match="dynamic"):
        draw("dynamc", GREY)


FLOATS = st.sampled_from([np.float16, np.float32, np.float64])


@given(batches_of(FLOATS, st.floats(-9, 9, width=16)), st.sampled_from([np.inf, -np.inf]))
def test_an_infinite_value_is_refused_by_its_row(values, bad):
    values[len(values) // 2].flat[-1] = bad
    with pytest.raises(UserError, match=f"row {len(values) // 2} "):
        load(values)


@pytest.mark.parametrize("shape", [(30, 3), (30, 5, 6)])
def test_nan_is_a_missing_cell_and_the_others_are_standardised_without_it(shape):
    values = np.random.default_rng(0).normal(3, 2, shape)
    values[np.random.default_rng(1).random(shape) < 0.3] = np.nan
    rows = load(values)
    units, observed = rows.batch(slice(None), dtype=torch.float64).target["x"]
    offset, scale = rows.schema.x.kind.offset, rows.schema.x.kind.scale
    axes = 0 if len(shape) == 2 else None
    np.testing.assert_allclose(np.nanmean(values, axes), np.squeeze(offset), rtol=1e-12)
    np.testing.assert_allclose(np.nanstd(values, axes), np.squeeze(scale), rtol=1e-12)
    assert int(observed.sum()) == int((~np.isnan(values)).sum()) and bool((units[~observed] == 0).all())
    with pytest.raises(UserError, match="missing in every row"):
        load(np.where(np.arange(3) == 1, np.nan, np.ones((9, 3))))


@given(
    hnp.array_shapes(min_dims=0, max_dims=6, min_side=0, max_side=3).filter(lambda s: not 2 <= len(s) <= 5 or 0 in s)
)
def test_arrays_that_are_no_rows_are_refused(shape):
    with pytest.raises(UserError):
        load(np.zeros(shape, np.float32))


@given(batches_of(st.sampled_from(["c8", "S3", "U3", "M8[s]", "m8[s]"])))
def test_arrays_that_are_no_numbers_are_refused(values):
    with pytest.raises(UserError, match="dtype"):
        load(values)


@pytest.mark.parametrize(
    "bad",
    [None, 3, "nonsense", "digits:tset", [[1, 2], [3]], {"a": 1}, object, [["a", "b"]], np.zeros(3, "i4,f8")],
    ids=repr,
)
def test_things_that_are_no_data_are_refused(bad):
    with pytest.raises(UserError):
        load(bad)


@pytest.mark.parametrize("top", [1e200, 1e308], ids=str)
def test_numbers_near_the_end_of_the_range_are_refused_or_survive(top):
    values = np.array([[top, 1.0], [-top, 2.0], [0.0, 3.0]])
    try:
        units = load(values).batch(slice(None)).target["x"].units
    except UserError:
        return
    np.testing.assert_allclose(units[:, 0], np.array([1, -1, 0]) * 1.5**0.5, rtol=1e-6)


BAD_LABELS = [
    [0, 1],
    [[0, 1], [2]],
    [[1], [2]],
    [-1, -1, -1],
    ["", "", ""],
    [None, None, None],
    [0.5, np.nan, 2],
    [0.5, np.inf, 2],
    np.array(["a", 1, 2.5], object),
    [1j, 2, 3],
    np.zeros((3, 2, 2)),
    np.zeros((3, 0)),
]


@pytest.mark.parametrize("labels", BAD_LABELS, ids=repr)
def test_bad_labels_are_refused(labels):
    with pytest.raises(UserError, match="label"):
        load(np.zeros((3, 2), np.uint8), labels)


WORSE_LABELS = {  # → what the sentence must say
    "numbers among words": (["a", 1, "b"], "mix int, str"),
    "a line's end": (["a\nb", "c", "c"], r"'a\\nb' holds a control character"),
    "a command to a terminal": (["\x1b[31m", "c", "c"], "control character"),
    "two names that print the same": (["B\udce4r", "B\\xe4r", "c"], "two labels would both be called"),
    "a number of 1,001 digits": ([10**1000, 1, 2], "more than 1,000 digits"),
    "a number too long to print": ([-(10**5000), 1, 2], "more than 1,000 digits"),
    "a word of 1,001 letters": (["x" * 1001, "a", "b"], "1,001 letters"),
    "a word that escapes lengthen": (["\udce4" * 251, "a", "b"], "1,004 letters"),
    "nothing but masks": (np.ma.masked_all(3, int), "no row has a label"),
    "a masked column": (np.ma.array([[1.0], [2.0], [3.0]], mask=[[0], [1], [0]]), "row 1 .* masked"),
    "a masked real number": ([0.5, np.ma.masked, 2], "row 1"),
    "a dict": ({"y": [1, 2, 3]}, "the keys 'y'"),
    "a set": ({1, 2, 3}, "no order"),
    "a generator": ((label for label in range(3)), "list"),
    "dates": (np.array(["2020-01-01"] * 3, "M8[D]"), "datetime64"),
}


@pytest.mark.parametrize(("labels", "said"), WORSE_LABELS.values(), ids=WORSE_LABELS)
def test_labels_that_no_model_could_keep_are_refused_before_it_is_trained(labels, said):
    with pytest.raises(UserError, match=said) as caught:
        load(np.zeros((3, 2), np.uint8), labels)
    assert "\n" not in str(caught.value)


LABELS = {  # as given → (names, index of each row)
    "whole numbers from 0": ([2, 0, 1], ("0", "1", "2"), [2, 0, 1]),
    "with gaps": ([7, 3, 7], ("3", "7"), [1, 0, 1]),
    "beyond 32 bits": ([0, 1, 2**40], ("0", "1", str(2**40)), [0, 1, 2]),
    "minus one is missing": ([0, -1, 1], ("0", "1"), [0, -1, 1]),
    "plus and minus one": ([1, -1, 1], ("-1", "1"), [1, 0, 1]),
    "NaN is missing": ([1.0, np.nan, 0.0], ("0", "1"), [1, -1, 0]),
    "words": (["cat", "ant", "cat"], ("ant", "cat"), [1, 0, 1]),
    "an empty word is missing": (["cat", "", "ant"], ("ant", "cat"), [1, -1, 0]),
    "None is missing": (["cat", None, "ant"], ("ant", "cat"), [1, -1, 0]),
    "None among numbers": ([5, None, 4], ("4", "5"), [1, -1, 0]),
    "a column": (np.array([[1], [0], [1]]), ("0", "1"), [1, 0, 1]),
    "truths": ([True, False, True], ("0", "1"), [1, 0, 1]),
    "missing beside one": ([np.nan, 1.0, 1.0], ("1",), [-1, 0, 0]),
    "missing beside plus and minus one": ([None, 1, -1], ("-1", "1"), [-1, 1, 0]),
    "masked": (np.ma.array([1, 1, -1], mask=[1, 0, 0]), ("-1", "1"), [-1, 1, 0]),
    "masked words": (np.ma.array(["cat", "ant", "cow"], mask=[0, 0, 1]), ("ant", "cat"), [1, 0, -1]),
    "a mask in a list": ([3, np.ma.masked, 5], ("3", "5"), [0, -1, 1]),
    "NaN among words": (["cat", np.nan, "ant"], ("ant", "cat"), [1, -1, 0]),
    "NaN that became a word": (np.array(["cat", np.nan, "ant"]), ("ant", "cat"), [1, -1, 0]),
    "not a time among words": (np.array(["cat", np.datetime64("NaT"), "ant"], object), ("ant", "cat"), [1, -1, 0]),
    "19 digits": ([2**60 + 2, 2**60 + 1, 7], ("7", str(2**60 + 1), str(2**60 + 2)), [2, 1, 0]),
    "19 digits beside a missing one": ([2**60 + 2, 2**60 + 1, None], (str(2**60 + 1), str(2**60 + 2)), [1, 0, -1]),
    "of any size": ([10**30, -(10**30), 2], (str(-(10**30)), "2", str(10**30)), [2, 0, 1]),
    "unsigned": (np.array([2**64 - 1, 1, 2**63], "u8"), ("1", str(2**63), str(2**64 - 1)), [2, 0, 1]),
    "floats beyond 64 bits": ([1e19, 2.0**63, 3.0], ("3", str(2**63), str(10**19)), [2, 1, 0]),
    "words that are numbers": (["10", "9", "-11"], ("-11", "9", "10"), [2, 1, 0]),
    "words that are numbers with zeros before": (["10", "010", "9"], ("9", "010", "10"), [2, 1, 0]),
    "words that are not all numbers": (["10", "9", "a"], ("10", "9", "a"), [0, 1, 2]),
    "words in other digits": (["٣", "10", "9"], ("10", "9", "٣"), [2, 0, 1]),
    "bytes": ([b"b", b"a", b"\xe4"], ("\\xe4", "a", "b"), [2, 1, 0]),
    "names that are no text": (["B\udce4r", "Bär", "\ud800"], ("B\\xe4r", "Bär", "\\ud800"), [0, 1, 2]),
    "the longest name": (["x" * 1000, "a", "b"], ("a", "b", "x" * 1000), [2, 0, 1]),
    "tensors": (torch.tensor([2.0, 1.0, 2.0], dtype=torch.bfloat16, requires_grad=True), ("1", "2"), [1, 0, 1]),
    "a list of tensors": ([torch.tensor(2.0, requires_grad=True), torch.tensor(1), 2], ("1", "2"), [1, 0, 1]),
    "a column of words": ([["b"], [None], ["a"]], ("a", "b"), [1, -1, 0]),
}


def series() -> dict:
    """Labels 2⁶⁰ + 1, missing, 2⁶⁰ + 2, and words, as frames keep them."""
    import pandas as pd
    import polars as pl

    numbers, words, flags = [2**60 + 1, None, 2**60 + 2], ["b", None, "a"], [True, None, False]
    return {
        "Int64 of pandas": (pd.Series(numbers, dtype="Int64"), numbers),
        "UInt64 of pandas": (pd.Series(numbers, dtype="UInt64"), numbers),
        "a frame of pandas": (pd.DataFrame({"y": pd.Series(numbers, dtype="Int64")}), numbers),
        "an array of pandas": (pd.array(numbers, dtype="Int64"), numbers),
        "string of pandas": (pd.Series(words, dtype="string"), words),
        "str of pandas": (pd.Series(words), words),
        "category of pandas": (pd.Series(words).astype("category"), words),
        "boolean of pandas": (pd.Series(flags, dtype="boolean"), flags),
        "another index": (pd.Series(words, index=[7, 8, 0]), words),
        "polars": (pl.Series(numbers), numbers),
        "words of polars": (pl.Series(words), words),
        "categories of polars": (pl.Series(words, dtype=pl.Categorical), words),
        "a frame of polars": (pl.DataFrame({"y": numbers}), numbers),
        "truths of polars": (pl.Series(flags), flags),
    }


@pytest.mark.parametrize("kind", series())
def test_labels_in_frames_keep_their_digits_and_what_is_missing(kind):
    given, plain = series()[kind]
    known = infer_known(given)
    first, _, last = (item if isinstance(item, str | None) else str(int(item)) for item in plain)
    assert known.names == tuple(sorted([first, last])) and known.labels[1] == -1
    assert [known.names[label] for label in known.labels[[0, 2]]] == [first, last]


@pytest.mark.parametrize(("given", "names", "index"), LABELS.values(), ids=LABELS)
def test_labels_become_classes(given, names, index):
    rows = load(np.zeros((3, 2), np.uint8), given)
    assert rows.schema.class_names == names and rows.labels.tolist() == index
    assert rows.schema.class_counts == tuple(index.count(place) for place in range(len(names)))


def test_real_numbers_beside_the_rows_are_known_columns():
    known = np.array([[1.0, 10.5], [3.0, 20.5], [5.0, 30.5]])
    rows = load(np.zeros((3, 2), np.uint8), known)
    assert rows.labels is None and rows.columns.tolist() == known.tolist()
    np.testing.assert_allclose(rows.schema.columns.kind.offset, known.mean(0))
    np.testing.assert_allclose(rows.schema.columns.kind.scale, known.std(0))


def test_new_rows_get_the_classes_of_the_model():
    """The same words in another order and number keep their index; an unknown one is named."""
    model = load(np.zeros((4, 2), np.uint8), ["cat", "dog", "ant", "cat"]).schema
    assert load(np.zeros((2, 2), np.uint8), ["dog", "cat"], like=model).labels.tolist() == [2, 1]
    assert load(np.zeros((2, 2), np.uint8), ["dog", ""], like=model).labels.tolist() == [2, -1]
    with pytest.raises(UserError, match="'cow'"):
        load(np.zeros((2, 2), np.uint8), ["dog", "cow"], like=model)


def test_what_a_model_knows_as_a_class_is_one():
    """Models of before may have classes called nan and −1, and word classes in another order."""
    rows = np.zeros((3, 2), np.uint8)
    old = load(rows).schema.with_field(label_field((1, 1, 1), ("-1", "10", "9")))
    assert load(rows, ["9", "-1", "10"], like=old).labels.tolist() == [2, 0, 1]
    assert load(rows, [9, -1, None], like=old).labels.tolist() == [2, 0, -1]
    old = old.with_field(label_field((1, 1, 1), ("B\udce4r", "a\nb", "nan")))
    assert load(rows, ["nan", "B\udce4r", "a\nb"], like=old).labels.tolist() == [2, 0, 1]


def test_as_many_classes_as_a_model_can_tell_apart_are_no_work():
    """65,536 of them, among rows enough and for a model that knows them, within seconds."""
    values = np.random.default_rng(0).permutation(2**17) % 65_536
    started = time.process_time()
    names = infer_known(values).names
    model = Schema.of(Field(Reals(), (1,), "float64"), label_field((1,) * 65536, names[::-1]))
    again = infer_known(values.astype(str), model)
    assert again.names == names == tuple(map(str, range(65_536))) and (again.labels == values).all()
    assert time.process_time() - started < 20
    with pytest.raises(UserError, match="65,537 classes"):
        infer_known(np.arange(65_537))


def test_names_of_classes_have_an_order_that_every_numbering_keeps():
    """Python's own sort of the numbers is the oracle."""
    numbers = np.random.default_rng(0).integers(-(10**6), 10**6, 400) // 7
    names = infer_known([str(number) for number in numbers]).names
    assert [int(name) for name in names] == sorted(set(numbers.tolist()))
    assert infer_known(numbers).names == names


# ---------------------------------------------------------------------------------------------------- grids and layouts

BYTES = np.random.default_rng(0).integers(0, 256, (20, 8, 9), dtype=np.uint8)
BYTES[0, 0, :2] = 0, 255
GRIDS = {  # values → (levels, divisor)
    "bytes": (BYTES, 256, 1),
    "bytes over 255": ((BYTES / 255).astype(np.float32), 256, 255),
    "bytes times 1/255": (BYTES * np.float32(1 / 255), 256, 255),
    "bytes over 256": ((BYTES / 256).astype(np.float32), 256, 256),
    "bytes over 255 in double precision": (BYTES / 255, 256, 255),
    "flattened bytes over 255": ((BYTES / 255).reshape(20, -1), 256, 255),
    "bytes as floats": (BYTES.astype(np.float64), 256, 1),
    "bytes as long integers": (BYTES.astype(np.int64), 256, 1),
    "two values": ((BYTES > 99).astype(np.float32), 2, 1),
    "16 bits": (BYTES.astype(np.uint16) * 257, 65536, 1),
    "a table of fifths": (np.random.default_rng(0).integers(0, 6, (50, 4)) / 5, None, 1),
    "counts in a table": (BYTES[:, 0].astype(np.int64), None, 1),
    "floats in between": (BYTES / 255 + 1e-3, None, 1),
    "floats beyond": (BYTES / 254, None, 1),
}


@pytest.mark.parametrize(("values", "levels", "divisor"), GRIDS.values(), ids=GRIDS)
def test_values_on_a_grid_are_found_and_come_back(values, levels, divisor):
    rows = load(values)
    assert (rows.schema.x.kind.levels, rows.schema.x.kind.divisor) == (levels, divisor)
    back = rows.schema.x.to_raw(rows.batch(slice(None)).target["x"].units)
    assert back.dtype == values.dtype
    if levels:
        np.testing.assert_allclose(back, values, rtol=2e-7)
        units = rows.batch(slice(None)).target["x"].units.numpy() * (levels - 1)
        np.testing.assert_allclose(units, np.round(units), atol=1e-2)


LAYOUTS = {  # shape → (layout, tensor shape)
    (10,): ("F", (10,)),
    (28, 28): ("HW", (1, 28, 28)),
    (9, 12, 3): ("HWC", (3, 9, 12)),
    (3, 9, 12): ("CHW", (3, 9, 12)),
    (12, 9, 10): ("DHW", (1, 12, 9, 10)),
    (128, 6): ("LC", (6, 128)),
    (6, 128): ("CL", (6, 128)),
    (5, 9, 12, 2): ("DHWC", (2, 5, 9, 12)),
    (2, 5, 9, 12): ("CDHW", (2, 5, 9, 12)),
}


@pytest.mark.parametrize("shape", LAYOUTS, ids=str)
def test_axes_are_found_and_come_back(shape):
    layout, tensor_shape = LAYOUTS[shape]
    values = np.random.default_rng(0).normal(size=(4, *shape))
    rows = load(values)
    assert (rows.schema.x.layout, rows.schema.x.tensor_shape) == (layout, tensor_shape)
    units = rows.batch(slice(None)).target["x"].units
    assert units.shape == (4, *tensor_shape)
    np.testing.assert_allclose(rows.schema.x.to_raw(units), values, atol=1e-5)
    channel = layout.find("C")
    if channel >= 0:  # of every channel by itself, where the channels stand
        own = np.moveaxis(values, channel + 1, 1).reshape(4, tensor_shape[0], -1)
        expected = (own - own.mean((0, 2), keepdims=True)) / own.std((0, 2), keepdims=True)
        np.testing.assert_allclose(units.flatten(2).numpy(), expected, atol=1e-5)


def test_a_layout_that_is_named_is_taken():
    values = np.zeros((4, 28, 28), np.uint8)
    assert load(values, layout="lc").schema.x.tensor_shape == (28, 28)
    assert load(values, layout="CL").schema.x.layout == "CL"
    assert load(np.zeros((4, 100)), layout="L").schema.x.tensor_shape == (1, 100)
    for wrong, said in [("HWC", "axes"), ("HWD", "did you mean"), ("", None)]:
        if said:
            with pytest.raises(UserError, match=said):
                load(values, layout=wrong)


# ---------------------------------------------------------------------------------------------------- what people have


def test_pytorch_data_sets_are_read():
    images = torch.randint(0, 256, (12, 1, 8, 8), dtype=torch.uint8)
    labels = torch.arange(12) % 3
    rows = load(torch.utils.data.TensorDataset(images, labels))
    assert torch.equal(rows.values, images) and torch.equal(rows.labels, labels)
    assert rows.schema.x.layout == "CHW"
    alone = load(torch.utils.data.TensorDataset(images.float().mul(1 / 255)))
    assert alone.labels is None and alone.schema.x.kind.divisor == 255

    class Pictures(torch.utils.data.Dataset):
        def __len__(self):
            return 5

        def __getitem__(self, index):
            return Image.new("RGB", (9, 8), (index, 2, 3)), "odd" if index % 2 else "even"

    rows = load(Pictures())
    assert rows.schema.x.shape == (8, 9, 3) and rows.schema.class_names == ("even", "odd")
    assert rows.values[4, 0, 0].tolist() == [4, 2, 3]


class Items(torch.utils.data.Dataset):
    def __init__(self, *items: object):
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> object:
        return self.items[index]


HALF = torch.tensor([[0.1, 1e30], [-2.0, 3.0]], dtype=torch.bfloat16, requires_grad=True)
Pair = collections.namedtuple("Pair", "x y")
TENSORS = {
    "as rows": HALF,
    "as a parameter": torch.nn.Parameter(HALF.detach()),
    "as a list of rows": list(HALF),
    "as a list of lists": [list(row) for row in HALF],
    "as items": Items(*HALF),
    "as pairs": Items(*((row, 1) for row in HALF)),
    "as named pairs": Items(*(Pair(row, HALF[0, 0]) for row in HALF)),
}


@pytest.mark.parametrize("given", TENSORS.values(), ids=TENSORS)
def test_tensors_of_any_kind_are_read_exactly(given):
    """bfloat16 is the upper half of float32: the same numbers."""
    bits = (HALF.detach().view(torch.int16).numpy().astype(np.uint32) << 16).view(np.float32)
    assert load(given).values.dtype == torch.float32
    np.testing.assert_array_equal(load(given).values.numpy(), bits)


def test_eight_bit_floats_are_read_exactly():
    values = torch.tensor([[0.5, -448.0], [0.0625, 3.5]])
    for dtype in (torch.float8_e4m3fn, torch.float8_e5m2):
        assert torch.equal(load(values.to(dtype)).values, values.to(dtype).float())


def unreadable() -> dict:
    """Things that people give → what the sentence must say."""
    import pandas as pd
    from scipy import sparse

    row = torch.ones(3)
    return {
        "a loader": (torch.utils.data.DataLoader(Items(row)), "loader.dataset"),
        "a sparse matrix": (sparse.csr_matrix(np.eye(3)), r"data\.toarray\(\)"),
        "a sparse array": (sparse.coo_array(np.eye(3)), r"data\.toarray\(\)"),
        "a sparse tensor": (torch.eye(3).to_sparse(), r"data\.to_dense\(\)"),
        "a tensor without values": (torch.ones(3, 3, device="meta"), "device meta"),
        "complex numbers": (torch.ones(3, 3, dtype=torch.complex64), "imaginary"),
        "a dict": ({"x": [1], "y": [2]}, "'x', 'y'"),
        "a set": ({1, 2}, "no order"),
        "a generator": ((row for _ in range(3)), "list"),
        "an image": (Image.new("L", (9, 8)), "list of images"),
        "dates": (np.array(["2020-01-01"], "M8[D]"), "timedelta64"),
        "a ragged list": ([[1, 2], [3, 4], [5]], r"row 2 has shape \(1,\)"),
        "images of two sizes": ([Image.new("L", (9, 8)), Image.new("L", (8, 8))], "row 1 has shape"),
        "words in a table": (np.array([[1, "a"]], object), "row 0 of the data, value 1 of it, holds 'a'"),
        "a frame of one value": (pd.DataFrame({"a": [1], "b": [pd.Timestamp(0)]}), "nothing to learn"),
        "items of dicts": (Items({"image": row, "label": 1}), "item 0 .* dict with 'image', 'label'"),
        "items of dicts in pairs": (Items(({"image": row}, 1)), "example in item 0 .* dict"),
        "items of nothing": (Items((None, 1)), "example in item 0 .* NoneType"),
        "items of words": (Items("abc"), "example in item 0 .* str"),
        "items of numbers": (Items(1.0, 2.0), "single number"),
        "items of two shapes": (Items(row, row, row[:2]), r"item 2 .* \(2,\)"),
        "items of two kinds": (Items(row, (row, 1)), "item 1 .* tuple"),
        "labels of dicts": (Items((row, {"boxes": 1})), "labels are of type dict"),
    }


@pytest.mark.parametrize("kind", unreadable())
def test_what_is_no_rows_gets_a_sentence_of_its_own(kind):
    given, said = unreadable()[kind]
    with pytest.raises(UserError, match=said) as caught:
        load(given)
    assert "\n" not in str(caught.value)


def test_whole_masks_and_whole_numbers_stay():
    """An array without a masked value is an array; objects keep whole numbers that floats would round."""
    values = np.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(load(np.ma.array(values, mask=False)).values.numpy(), values)
    long = [[2**60 + 1, 5], [2**61 + 3, 6]]
    assert load(np.array(long, object)).values.tolist() == long


def test_data_sets_without_an_order_are_refused():
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            yield torch.zeros(3)

    class Empty(torch.utils.data.Dataset):
        def __len__(self):
            return 0

    for bad, said in [(Stream(), "Iterable"), (Empty(), "empty"), (torch.utils.data.Dataset(), "length")]:
        with pytest.raises(UserError, match=said):
            load(bad)


def test_frames_are_read():
    import pandas as pd
    import polars as pl

    values = np.random.default_rng(0).normal(size=(6, 3))
    for frame in (pd.DataFrame(values), pl.DataFrame(values)):
        np.testing.assert_array_equal(load(frame).values.numpy(), values)
    words = load(pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}))
    assert [column.measure for column in words.schema.table] == ["binned", "category"]


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_files_are_the_arrays_in_them(tmp_path, suffix):
    values, labels = np.random.default_rng(0).normal(size=(6, 3)), np.array(list("aabbab"))
    path = tmp_path / f"mine{suffix}"
    if suffix == ".npy":
        np.save(path, values), np.save(tmp_path / "labels.npy", labels)
        rows = load(path, tmp_path / "labels.npy")
    else:
        np.savez(path, x=values, y=labels)
        rows = load(str(path))
    assert rows.name == path.name and rows.schema.class_names == ("a", "b")
    np.testing.assert_array_equal(rows.values.numpy(), values)


DATA = {"bytes": BYTES, "over 255": (BYTES / 255).astype(np.float32), "reals": BYTES / 254}


@pytest.mark.parametrize(("model", "new"), [(m, n) for m in DATA for n in DATA])
def test_only_rows_that_the_model_can_hold_are_let_in(model, new):
    """A model of bytes takes bytes, one of k/255 takes those and 0 and 1; one of real numbers takes any number."""
    schema = load(DATA[model]).schema
    if model in (new, "reals"):
        assert load(DATA[new], like=schema).schema == schema
    else:
        with pytest.raises(UserError, match="trained on"):
            load(DATA[new], like=schema)


def test_values_outside_the_named_levels_are_refused():
    with pytest.raises(UserError):
        load(np.array([[0, 1], [2, 17]], np.uint8), levels=17)


@pytest.mark.parametrize("dtype", ["u2", "u4", "i8", "f2", "f4", ">f4", ">i2"])
def test_every_kind_of_number_can_be_learned_from(dtype):
    values = np.arange(24).reshape(6, 4).astype(dtype)
    batch = load(values).rows(torch.tensor([3, 1])).batch(torch.tensor([1, 0]))
    expected = (values - values.mean(0)) / values.std(0)
    np.testing.assert_allclose(batch.target["x"].units.numpy(), expected[[1, 3]].astype(np.float32), rtol=2e-3)


@pytest.mark.parametrize("awkward", [lambda a: a[::-1], lambda a: np.asfortranarray(a), lambda a: a[:, ::2]])
def test_arrays_may_lie_in_memory_as_they_like(awkward):
    values = awkward(np.arange(40, dtype=np.uint8).reshape(5, 8))
    np.testing.assert_array_equal(load(values).values.numpy(), values)


def test_a_read_only_array_is_no_problem():
    values = np.arange(40, dtype=np.uint8).reshape(5, 8)
    values.flags.writeable = False
    np.testing.assert_array_equal(load(values).values.numpy(), values)
