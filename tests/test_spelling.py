"""Numbers in text are the shortest that read back to the same bits; classes are gone through by their numbers."""

import csv
import io
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_UP, Context, Decimal

import numpy as np
import pytest
from helpers_runs import bits
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import variate
from variate import UserError
from variate.apps import classify
from variate.apps.sample import parse_given
from variate.data.infer import label_field
from variate.data.kinds import Reals
from variate.data.schema import Field, Schema
from variate.show.outputs import save_array, save_columns, spelled

DIGITS = {"f2": 5, "f4": 9, "f8": 17}  # that tell any two numbers of the dtype apart


def digits(text: str) -> int:
    """How many digits of the number a text holds, but for zeros that only say where the point is."""
    return len(text.lower().partition("e")[0].lstrip("-").replace(".", "").strip("0"))


def fewest(number: np.floating, dtype: str) -> int:
    """Tried one after the other: how many digits it takes to read the same number, rounded to either side."""
    exact = Decimal(float(number))
    texts = (
        f"{Context(count + 1, rounding).plus(exact):.{count}e}"
        for count in range(DIGITS[dtype])
        for rounding in (ROUND_HALF_EVEN, ROUND_UP, ROUND_DOWN)
    )
    with np.errstate(over="ignore"):  # too few digits of the largest number are more than it
        return next(digits(text) for text in texts if np.dtype(dtype).type(text) == number)


@pytest.mark.parametrize("dtype", DIGITS)
@given(st.data())
def test_floats_come_back_from_the_fewest_digits(dtype, data):
    numbers = data.draw(hnp.arrays(dtype, 5, elements=hnp.from_dtype(np.dtype(dtype))))
    limits = np.finfo(dtype)
    numbers = np.concatenate([numbers, [limits.max, limits.tiny, limits.smallest_subnormal, -0.0, 1 / 3]]).astype(dtype)
    texts = spelled(numbers)
    back = np.array([np.dtype(dtype).type(text) for text in texts])
    np.testing.assert_array_equal(back, numbers)
    np.testing.assert_array_equal(np.signbit(back), np.signbit(numbers) & ~np.isnan(numbers))
    for text, number in zip(texts, numbers, strict=True):
        assert not np.isfinite(number) or digits(text) == fewest(number, dtype)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "i4", "i8", "u8"])
def test_whole_numbers_come_back_to_the_last_digit(tmp_path, dtype):
    limits = np.iinfo(dtype)
    rows = np.array([[limits.min, limits.max], [0, limits.max - 1]], dtype)
    save_array(tmp_path / "rows.csv", rows, Schema.of(Field(Reals(), (2,), "int64")))
    assert [[int(word) for word in line] for line in read(tmp_path / "rows.csv")] == rows.tolist()


def read(path) -> list[list[str]]:
    return list(csv.reader(path.read_text().splitlines()))


def test_a_date_in_seconds_keeps_its_hundredths(tmp_path):
    """And numbers are written as they are: no blanks, whole ones without a point."""
    save_array(
        tmp_path / "rows.csv",
        np.array([[1700057222.32, -3.0], [1e22, np.nan]]),
        Schema.of(Field(Reals(), (2,), "float64")),
    )
    assert read(tmp_path / "rows.csv") == [["1700057222.32", "-3"], ["1e+22", "nan"]]
    save_columns(tmp_path / "both.csv", np.array([[0.1 + 0.2, True]]), ["a", "b"])
    assert (tmp_path / "both.csv").read_bytes() == b"a,b\n0.30000000000000004,1\n"
    save_array(tmp_path / "bits.csv", np.array([[True, False]]), Schema.of(Field(Reals(), (2,), "bool")))
    assert (tmp_path / "bits.csv").read_bytes() == b"1,0\n"


def test_probabilities_come_back_to_the_last_bit():
    chances = np.random.default_rng(0).dirichlet([0.1, 1, 3], 50).astype(np.float32)
    lines = list(csv.reader(io.StringIO(classify._csv(np.array(["a,b"] * 50), chances, ("a,b", "c", "d")).decode())))
    assert lines[0] == ["label", "p(a,b)", "p(c)", "p(d)"] and {line[0] for line in lines[1:]} == {"a,b"}
    np.testing.assert_array_equal(np.array([line[1:] for line in lines[1:]], np.float32), chances)


# ---------------------------------------------------------------------------------------------------- ranges

NUMBERS = [str(number) for number in range(-2, 12) if number != 5]


@pytest.fixture(scope="module", params=["as files of before have them", "as they are now"])
def numbered(request, tiny_run):
    """A model whose classes are words that spell numbers, in the order of letters or of numbers; 5 is missing."""
    names = tuple(sorted(NUMBERS)) if "before" in request.param else tuple(NUMBERS)
    return tiny_run(Schema.of(Field(Reals(), (3,), "float64"), label_field((1,) * len(names), names)))


def chosen(run, condition) -> list[str]:
    return [run.schema.class_names[index] for index in parse_given(run, condition).tolist()]


def test_a_range_goes_through_all_numbers_within(numbered):
    assert chosen(numbered, "-2..11") == NUMBERS
    assert chosen(numbered, "0..11") == [str(number) for number in range(12) if number != 5]
    assert chosen(numbered, "9..11, 2") == ["9", "10", "11", "2"]
    assert chosen(numbered, "10..10") == chosen(numbered, "10") == ["10"]
    assert chosen(numbered, [10, 2, np.int64(11)]) == ["10", "2", "11"]
    for unknown in ("5..7", "0..12", "5", [5], "0...3", "3..1", "1,11..2"):
        with pytest.raises(UserError, match=r"does not know.*it has -2, -1, 0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11\."):
            chosen(numbered, unknown)


def test_a_range_of_words_goes_by_their_letters(tiny_run):
    run = tiny_run(Schema.of(Field(Reals(), (3,), "float64"), label_field((1,) * 4, ("1", "10", "2", "b"))))
    assert chosen(run, "1..2") == ["1", "10", "2"] and chosen(run, "2..b") == ["2", "b"]
    run = tiny_run(Schema.of(Field(Reals(), (3,), "float64"), label_field((1,) * 2, ("1..2", "a,b"))))
    assert chosen(run, "1..2") == ["1..2"] and chosen(run, "a,b") == ["a,b"]


def test_names_that_are_no_text_are_asked_for_as_they_are_typed(tiny_run):
    run = tiny_run(Schema.of(Field(Reals(), (3,), "float64"), label_field((1, 1), ("B\\xe4r", "c"))))
    assert chosen(run, "B\udce4r") == chosen(run, "c,B\udce4r")[1:] == chosen(run, ["B\udce4r"]) == ["B\\xe4r"]


def test_classes_are_listed_by_their_numbers():
    values, _ = bits(24)
    labels = [str(number % 12) for number in range(24)]
    assert list(variate.info(values, labels)["classes"]) == [str(number) for number in range(12)]
