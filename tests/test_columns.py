"""Columns of frames: there and back exactly, what is inferred of them, and what is refused."""

import copy
import datetime as dt
import json
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal, assert_series_equal

from variate.base.errors import UserError
from variate.data.columns import (
    Column,
    atoms,
    codes,
    describe,
    frame,
    from_json,
    from_toml,
    infer_columns,
    to_json,
    to_toml,
)

LEARNED = ("real", "binned", "count", "category")
INTS = {getattr(pl, f"{sign}Int{bits}"): (sign, bits) for sign in ("", "U") for bits in (8, 16, 32, 64)}
WORDS = ["", "a", "a,b", "🙂", 'say "no"', "line\nbreak", " ", "NaN", "null", "é", "\x7f", "12"]


# ---- columns of every type, made by chance ----


@st.composite
def whole(draw, rows):
    """Whole numbers of any type, anywhere in its range, near its ends too, not far from each other."""
    kind = draw(st.sampled_from(list(INTS)))
    sign, bits = INTS[kind]
    low, high = (0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    start = draw(st.one_of(st.just(low), st.integers(low, high)))
    reach = draw(st.sampled_from([3, 1000, 2**53 - 1]))
    step = draw(st.sampled_from([1, 1, 5]))
    top = max(0, (min(high, start + reach) - start) // step)
    offsets = draw(rows(st.one_of(st.integers(0, top), st.just(top))))
    return [None if n is None else start + n * step for n in offsets], kind()


@st.composite
def floats(draw, rows):
    """Floats of three widths: any, on a decimal grid, whole, or heaps among others; NaN counts as missing."""
    width, kind = draw(st.sampled_from([(64, pl.Float64), (32, pl.Float32), (16, pl.Float16)]))
    largest = {64: 1e300, 32: 2.0**100, 16: 2.0**15}[width]
    places = draw(st.integers(0, 6))
    cell = draw(
        st.sampled_from(
            [
                st.floats(-largest, largest, width=width),
                st.integers(-999, 999).map(lambda n: n / 10**places),
                st.integers(-9, 9).map(lambda n: n * 0.25),
                st.integers(-999, 999).map(float),
                st.one_of(st.just(0.0), st.floats(-4, 4, width=width), st.just(float("nan"))),
            ]
        )
    )
    return draw(rows(cell)), kind()


@st.composite
def words(draw, rows):
    pool = draw(st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=4)), min_size=1, unique=True))
    pool = [word for word in pool if not any("\ud800" <= letter <= "\udfff" for letter in word)] or ["a"]
    return draw(rows(st.sampled_from(pool))), draw(st.sampled_from([pl.String(), pl.Categorical(), pl.Enum(pool)]))


@st.composite
def times(draw, rows):
    """Steps of dates and times: any, or whole days, hours, seconds from anywhere."""
    unit = draw(st.sampled_from(["ms", "us", "ns"]))
    zone = draw(st.sampled_from([None, "UTC", "Europe/Paris", "Asia/Kathmandu"]))
    kind = draw(st.sampled_from([pl.Date(), pl.Time(), pl.Datetime(unit, zone), pl.Duration(unit)]))
    second = {"ms": 1000, "us": 10**6, "ns": 10**9}[unit]
    size = draw(st.sampled_from([1, second, 3600 * second, 86400 * second]))
    if kind == pl.Date():
        return draw(rows(st.integers(-700_000, 2_000_000))), kind
    if kind == pl.Time():
        size = draw(st.sampled_from([1, 1000, 10**9, 60 * 10**9]))
        return [None if n is None else n * size for n in draw(rows(st.integers(0, 86400 * 10**9 // size - 1)))], kind
    reach = min(2**52, 2 * 10**9 * second // size)
    return [None if n is None else n * size for n in draw(rows(st.integers(-reach, reach)))], kind


@st.composite
def decimals(draw, rows):
    places = draw(st.integers(0, 9))
    cells = draw(rows(st.integers(-(10**14), 10**14)))
    return [None if n is None else Decimal(f"{n}e-{places}") for n in cells], pl.Decimal(20, places)


@st.composite
def frames(draw):
    """A few columns of any type, with missing cells, of the same number of rows."""
    n = draw(st.integers(1, 40))

    def rows(cell):
        return st.lists(st.one_of(st.none(), cell, cell, cell), min_size=n, max_size=n)

    truth = rows(st.booleans()).map(lambda cells: (cells, pl.Boolean()))
    one = st.one_of(whole(rows), floats(rows), words(rows), times(rows), decimals(rows), truth)
    names = draw(st.lists(st.sampled_from([*WORDS, "id", "x", "a.b", "[c]"]), min_size=1, max_size=4, unique=True))
    return pl.DataFrame({name: _series(name, *draw(one)) for name in names})


def _series(name, cells, kind):
    if kind.is_temporal():
        return pl.Series(name, cells, pl.Int64).cast(pl.Int32 if kind == pl.Date() else pl.Int64).cast(kind)
    if kind.is_float():
        return pl.Series(name, cells, pl.Float64).cast(kind)
    return pl.Series(name, cells, dtype=kind, strict=True)


def _cells(series: pl.Series) -> pl.Series:
    """What a column stands for: NaN is a missing cell."""
    return series.fill_nan(None) if series.dtype.is_float() else series


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(frames())
def test_there_and_back_exactly(data: pl.DataFrame) -> None:
    columns = infer_columns(data)
    assert [column.name for column in columns] == data.columns
    values = codes(data, columns)
    learned = [column for column in columns if column.measure in LEARNED]
    assert values.shape == (len(data), len(learned)) and values.dtype == np.float64
    back = frame(values, columns)
    assert back.columns == [column.name for column in columns if column.measure != "left out"]
    for column in columns:
        if column.measure in LEARNED:
            assert_series_equal(back[column.name], _cells(data[column.name]), check_exact=True)
        elif column.measure == "constant":
            whole = _cells(data[column.name])
            assert_series_equal(back[column.name].filter(whole.is_not_null()), whole.drop_nulls(), check_exact=True)
            assert back[column.name].null_count() == 0
    assert from_json(json.loads(json.dumps(to_json(columns)))) == columns
    assert infer_columns(data, from_toml(to_toml(columns))) == columns
    assert all(len(describe(column)) > len(column.name) + 2 for column in columns)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(frames(), st.floats(-0.24, 0.24))
def test_codes_beside_a_grid_come_back_on_it(data: pl.DataFrame, beside: float) -> None:
    columns = [column for column in infer_columns(data) if column.grid]
    moved = codes(data, columns) + [beside * column.step for column in columns]
    assert_frame_equal(frame(moved, columns), data.select(_cells(data[column.name]) for column in columns))


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(frames(), st.sampled_from([1e308, -1e308, 1e18, -1e18, 0.0]))
def test_any_code_becomes_a_cell_of_its_type(data: pl.DataFrame, code: float) -> None:
    columns = infer_columns(data)
    width = sum(column.measure in LEARNED for column in columns)
    back = frame(np.full((2, width), code), columns)
    assert all(back.schema[name] == data.schema[name] for name in back.columns)
    assert not any(back[column.name].null_count() for column in columns if column.measure in LEARNED)


def test_an_empty_name_and_a_table_of_constants_come_back() -> None:
    data = pl.DataFrame({"": ["k"] * 3, "b": pl.Series([dt.date(2001, 2, 3)] * 3), "c": [True] * 3})
    columns = infer_columns(data)
    assert [column.measure for column in columns] == ["constant"] * 3
    assert codes(data, columns).shape == (3, 0)
    assert_frame_equal(frame(codes(data, columns), columns), data)


# ---- what is inferred ----


def _one(cells, name="x", kind=None, **wish) -> Column:
    said = {name: wish} if wish else None
    return infer_columns(pl.DataFrame({name: pl.Series(cells, dtype=kind, strict=False)}), said)[0]


def _repeated(cells) -> list:
    return [cell for cell in cells for _ in range(2)]


def _described(cells, name="x", kind=None, **wish) -> str:
    return describe(_one(cells, name, kind, **wish))


RNG = np.random.default_rng(1)
DAYS = [dt.date(2001, 1, 1) + dt.timedelta(7 * n) for n in (0, 3, 1, 2, 3)]
POISSON = [0, *RNG.poisson(3.0, 500).tolist()]

EXAMPLES = [
    ([None, None], None, "left out, every cell is missing"),
    ([float("nan"), None], None, "left out, every cell is missing"),
    (["a", None, "a"], None, "a in every row"),
    ([[1], [2]], None, "left out, cells of the type List(Int64) cannot be learned"),
    ([b"1", b"2"], None, "left out, cells of the type Binary cannot be learned"),
    (["Male", "Female", None], None, "2 levels (Female, Male)"),
    ([True, False], None, "2 levels (False, True)"),
    (["low", "high"], pl.Enum(["low", "mid", "high"]), "2 levels (low, high)"),
    ([f"k{n}" for n in range(101)], None, "left out, every row has another one: an identifier"),
    ([f"k{n}" for n in range(100)], None, "100 levels (k0, k1, k10, k11, k12, …)"),
    ([f"a word {n}" for n in range(101)], None, "left out, every row has another one: free text"),
    (["k" * 50 + str(n) for n in range(101)] + ["k"], None, "left out, every row has another one: free text"),
    ([str(n // 3) for n in range(600)], None, "200 levels (0, 1, 10, 100, 101, …)"),
    ([str(n) for n in range(65_537)] * 2, None, "left out, its 65,537 levels are more than 65,536"),
    ([5, 6, 7, None, 8], None, "left out, every row has another one: an identifier"),
    ([17, 90, 40, 41], None, "whole numbers 17..90, bins of 1"),
    ([10, 40, 70, 10], None, "whole numbers 10..70, bins of 30"),
    ([-(2**63), 2**63 - 1], None, "left out, its whole numbers are too far apart to be kept exactly"),
    (POISSON, None, f"counts 0, 1, 2, … seen up to {max(POISSON)}"),
    ([float(n) for n in POISSON], None, f"counts 0, 1, 2, … seen up to {max(POISSON)}"),
    ([n + 2 for n in POISSON], None, f"whole numbers 2..{max(POISSON) + 2}, bins of 1"),
    ([0] * 70 + list(range(10)) * 3, None, "whole numbers 0..9, bins of 1"),
    ([0, 1] * 20, None, "whole numbers 0..1, bins of 1"),
    (_repeated([0.1, 0.25, 12.3]), None, "real numbers 0.1..12.3, bins of 0.05"),
    (_repeated([0.5, 1.25, 3.75]), None, "real numbers 0.5..3.75, bins of 0.25"),
    (_repeated([0.1, 0.7, 12.3]), pl.Float32, "real numbers 0.1..12.3, bins of 0.1"),
    ([0.0] * 40 + [0.001 * np.pi, 0.1, np.pi], None, "real numbers 0..3.14159, bins of 0.001"),
    ([0.5, 1.5, 2.5], None, "real numbers 0.5..2.5"),
    (RNG.normal(size=50).tolist(), pl.Float32, None),
    (DAYS, None, "dates 2001-01-01..2001-01-22, bins of 7 days"),
    ([dt.datetime(2001, 1, 1, 5), dt.datetime(2001, 1, 3, 9)], None, "times 2001-01-01 05:00:00..2001-01-03 09:00:00"),
    ([Decimal("1.25"), Decimal("1.75"), Decimal("3.25")], None, "decimals 1.25..3.25, bins of 0.5"),
    ([dt.time(1), dt.time(1, 30), dt.time(3)], None, "times of day 01:00:00..03:00:00, bins of 30 minutes"),
    ([dt.timedelta(hours=1), dt.timedelta(hours=3)], None, "durations 1..3, bins of 2 hours"),
]


@pytest.mark.parametrize("cells, kind, about", EXAMPLES, ids=lambda it: str(it)[:30] if isinstance(it, str) else "")
def test_what_examples_are(cells: list, kind: object, about: str | None) -> None:
    if about is None:
        assert _one(cells, kind=kind).measure == "real"
    else:
        assert _described(cells, kind=kind).startswith(f"x: {about}")


@pytest.mark.parametrize("name", ["id", "ID", "PassengerId", "customer_id", "row index", "user.id", "uuid"])
def test_names_tell_identifiers(name: str) -> None:
    assert _one([30, 10, 21], name).measure == "left out" == _one(["p", "q", "a"], name).measure
    assert _one([30, 10, 10], name).measure == "binned" and _one([30, 10, 21], "paid").measure == "binned"


def test_dates_in_nanoseconds_over_centuries_are_days() -> None:
    days = pl.Series([dt.date(1700, 1, 1), dt.date(2200, 1, 1), None]).cast(pl.Datetime("ns", "UTC"))
    column = _one(days)
    assert (column.unit, column.step, column.high) == (86_400 * 10**9, 182_621.0, 182_621.0)
    later = pl.DataFrame({"x": [dt.datetime(1700, 1, 1, 6, tzinfo=dt.UTC)]})
    assert codes(later, [column])[0, 0] == 0.25


def test_stored_in_32_bits_codes_are_the_decimals() -> None:
    data = pl.DataFrame({"x": pl.Series(_repeated([12.3, 0.1, 7.0]), dtype=pl.Float32)})
    assert codes(data, infer_columns(data))[:, 0].tolist() == _repeated([12.3, 0.1, 7.0])


def test_bounds_are_those_of_the_codes() -> None:
    data = pl.DataFrame({"x": [17, 90, None, 40], "y": ["b", "a", "c", None]})
    assert [(column.low, column.high) for column in infer_columns(data)] == [(0.0, 73.0), (0.0, 2.0)]


def test_atoms_are_heaps_the_most_frequent_first() -> None:
    many = np.concatenate([np.repeat([3.0, 1.0, 2.0], [30, 12, 9]), np.linspace(5, 6, 60), [np.nan] * 99])
    assert atoms(many) == (3.0, 1.0)
    assert atoms(np.repeat(np.arange(16.0), np.arange(1, 17))) == tuple(np.arange(15.0, -1.0, -1.0))
    assert atoms(np.arange(4.0)) == ()
    assert len(atoms(np.repeat(np.arange(40.0), 20))) == 16


# ---- what is said ----


def test_wishes_are_followed() -> None:
    assert _one([3, 5, 9, 9], measure="real").measure == "real"
    assert _one([3, 5, 9, 9], measure="category").levels == (3, 5, 9)
    assert _one([1.0, 2.0] * 10, measure="category").levels == (1, 2)
    assert _one(["b", "a"], levels=["b", "a", "c"]).levels == ("b", "a", "c")
    assert _one(["a", "a"], levels=["b", "a"]).levels == ("b", "a")
    assert _one([3, 5, 9], measure="count").measure == "count"
    assert _one([5, 6, 7], measure="binned").measure == "binned"
    assert _one(["a", "b"], measure="left out").reason == "the schema says so"
    binned = _one([3, 5, 9, 9], step=5)
    assert (binned.measure, binned.step, binned.grid) == ("binned", 5.0, False)
    assert _one([Decimal("1.25"), Decimal("1.75")], step=0.25).step == 25.0
    assert _one([0.5, 0.75, 1.5], step=0.25).grid


@pytest.mark.parametrize(
    "cells, wish, words",
    [
        (["a", "b"], {"measure": "real"}, "'x' of type String cannot be 'real': say one of 'category'"),
        (["a", "b"], {"levels": ["a"]}, "holds 'b', which is not among the levels"),
        (["a", "b"], {"levels": [1, 2]}, "cannot have the level 1"),
        ([1, 2], {"measure": "constant"}, "is no constant"),
        ([-1, 2], {"measure": "count"}, "holds -1, which is no count"),
        ([0.5, 2.0], {"measure": "count"}, "other than whole numbers"),
        ([0.5, 2.0], {"measure": "category"}, "other than whole numbers"),
        ([1, 2], {"measure": "bined"}, "measure = 'bined', did you mean 'binned'?"),
        ([1, 2], {"stepp": 1}, "unknown key 'stepp', did you mean 'step'?"),
        ([1, 2], {"step": -1}, "it must be a number above 0"),
        ([1, 2], {"step": True}, "it must be a number above 0"),
        ([1, 2], {"step": float("nan")}, "it must be a number above 0"),
        ([1, 2], {"levels": [1, 1]}, "a list of different words"),
        ([1, 2], {"levels": [1, True]}, "a list of different words"),
        ([1, 2], {"levels": [[1]]}, "a list of different words"),
        ([1, 2], {"measure": "real", "step": 1}, "has step, but only 'binned'"),
        ([1, 2], {"levels": [1, 2], "step": 1}, "a step and levels"),
    ],
)
def test_wishes_that_make_no_sense_are_refused(cells: list, wish: dict, words: str) -> None:
    with pytest.raises(UserError, match="column 'x'") as error:
        _one(cells, **wish)
    assert words in str(error.value)


def test_a_schema_file_that_is_none_is_refused_with_its_line(tmp_path) -> None:
    file = tmp_path / "schema.toml"
    file.write_text("[column.age]\nmeasure = binned\n")
    with pytest.raises(UserError, match=r"schema\.toml is not valid TOML.*line 2"):
        from_toml(file)
    for text, words in [
        ("age = 3", "unknown entry 'age'"),
        ("column = 3", "says column"),
        ("[column]\nage = 3", "3 of column 'age'"),
    ]:
        with pytest.raises(UserError, match=words):
            from_toml(text)
    with pytest.raises(UserError, match="column 'agee', which the table has not, did you mean 'age'"):
        infer_columns(pl.DataFrame({"age": [1, 2]}), from_toml("[column.agee]\nstep = 1"))


# ---- what is refused of rows ----

TRAINED = pl.DataFrame(
    {
        "age": [17, 90, 40, 40],
        "size": [0.5, 2.25, 0.5, 0.25],
        "sex": ["Male", "Female", "Male", None],
        "on": [dt.date(2001, 1, 1), dt.date(2001, 1, 5), None, None],
        "ok": [True, False, True, False],
        "one": ["k", "k", None, "k"],
        "of": pl.Series([2.0, 1.0, 2.0, 5.0]),
        "cost": pl.Series(["1.25", "2.50", "2.50", None]).cast(pl.Decimal(10, 2)),
    }
)


def _coded(**cells) -> list:
    columns = [column for column in infer_columns(TRAINED) if column.name in cells]
    return codes(pl.DataFrame({name: pl.Series(some) for name, some in cells.items()}), columns).T.tolist()


def test_columns_may_be_reordered_more_and_of_near_types() -> None:
    columns = infer_columns(TRAINED)
    expected = codes(TRAINED, columns)
    other = TRAINED.select(["one", *reversed(TRAINED.columns[:5]), *TRAINED.columns[6:]]).with_columns(more=pl.lit(1))
    np.testing.assert_array_equal(codes(other, columns), expected)
    as_words = TRAINED.select(pl.all().cast(pl.String))
    np.testing.assert_array_equal(codes(as_words, columns), expected)
    near = TRAINED.with_columns(
        pl.col("age").cast(pl.Float32),
        pl.col("sex").cast(pl.Categorical),
        pl.col("on").cast(pl.Datetime("ms")),
        pl.col("of").cast(pl.UInt8),
        pl.col("cost").cast(pl.Float64),
    )
    np.testing.assert_array_equal(codes(near, columns), expected)
    empty = TRAINED.select(pl.lit(None).alias(name) for name in TRAINED.columns)
    assert np.isnan(codes(empty, columns)).all()
    assert codes(TRAINED[:0], columns).shape == (0, 7)


@pytest.mark.parametrize(
    "cells, words",
    [
        (
            {"sex": ["Male", "Femal"]},
            "row 1 of column 'sex' holds 'Femal', which was never seen in training, did you mean",
        ),
        ({"sex": [1, 2]}, "column 'sex' has the type Int64, but in training it was String"),
        ({"age": [True, False]}, "column 'age' has the type Boolean"),
        ({"age": ["20", None, "old"]}, "row 2 of column 'age' holds 'old', which is no Int64"),
        ({"age": [20.0, 17.5]}, "row 1 of column 'age' holds 17.5, which is no Int64"),
        ({"age": [20, 2**60]}, "row 1 of column 'age' holds 1152921504606846976, too far from 17"),
        ({"age": [1e200]}, "row 0 of column 'age' holds 1e+200"),
        ({"size": [0.5, float("inf")]}, "row 1 of column 'size' holds inf, which is beyond 1e+300"),
        ({"size": [0.5, None, -1e301]}, "row 2 of column 'size' holds -1e+301, which is beyond"),
        ({"size": ["0.5", "much"]}, "row 1 of column 'size' holds 'much', which is no Float64"),
        ({"one": ["k", None, "j"]}, "row 2 of column 'one' holds 'j', but only 'k' was seen in training"),
        ({"on": [dt.datetime(2001, 1, 1), dt.datetime(2001, 1, 1, 6)]}, "row 1 of column 'on'"),
        ({"on": ["2001-01-01", "soon"]}, "row 1 of column 'on' holds 'soon', which is no Date"),
        ({"on": [3]}, "column 'on' has the type Int64"),
        ({"on": [dt.time(3)]}, "row 0 of column 'on'"),
        ({"ok": ["true", "perhaps"]}, "row 1 of column 'ok' holds 'perhaps', which is no Boolean"),
        ({"cost": [1.25, 1.255]}, "row 1 of column 'cost' holds 1.255, which is no Decimal(10, 2)"),
    ],
)
def test_cells_that_are_none_are_refused_by_row_and_column(cells: dict, words: str | None) -> None:
    if words is None:
        return
    with pytest.raises(UserError) as error:
        _coded(**cells)
    assert words in str(error.value)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(UserError, match="column 'sex' is missing from the table, did you mean 'Sex'"):
        codes(TRAINED.rename({"sex": "Sex"}), infer_columns(TRAINED))


@pytest.mark.parametrize("cell", [float("inf"), -float("inf"), 1e301])
def test_infinity_in_training_is_refused(cell: float) -> None:
    with pytest.raises(UserError, match="row 2 of column 'x' holds"):
        _one([0.5, 1.5, cell])


def test_a_table_without_rows_or_with_too_long_a_name_is_refused() -> None:
    with pytest.raises(UserError, match="no rows"):
        infer_columns(pl.DataFrame({"a": []}))
    with pytest.raises(UserError, match="1,001 letters"):
        infer_columns(pl.DataFrame({"a" * 1001: [1]}))


# ---- hostile files ----

HOSTILE = [
    (0, {"name": 3}),
    (0, {"name": "a" * 1001}),
    (0, {"name": "\ud800"}),
    (0, {"name": "size"}),
    (0, {"dtype": "List(Int8)"}),
    (0, {"dtype": 'Enum(["a", "a"])'}),
    (0, {"dtype": "Datetime(us, Nowhere/Land)"}),
    (0, {"dtype": "Decimal(2, 30)"}),
    (0, {"dtype": "String"}),
    (0, {"dtype": ["Int64"]}),
    (0, {"measure": "category"}),
    (0, {"measure": "constant"}),
    (0, {"measure": "left out"}),
    (0, {"measure": ["real"]}),
    (0, {"measure": "other"}),
    (0, {"base": 2**130}),
    (0, {"base": 1.5}),
    (0, {"base": True}),
    (0, {"base": float("nan")}),
    (0, {"unit": 0}),
    (0, {"unit": 7}),
    (0, {"step": 0.0}),
    (0, {"step": -1.0}),
    (0, {"step": float("inf")}),
    (0, {"step": "1"}),
    (0, {"grid": 1}),
    (0, {"levels": ["a"]}),
    (0, {"levels": "ab"}),
    (0, {"value": 3}),
    (0, {"reason": "why"}),
    (0, {"low": None}),
    (0, {"low": 1e400}),
    (0, {"low": 100.0}),
    (0, {"high": float("nan")}),
    (2, {"levels": []}),
    (2, {"levels": [1, 2]}),
    (2, {"levels": ["a", "a"]}),
    (2, {"levels": ["a", {}]}),
    (2, {"levels": ["a" * 1001, "b"]}),
    (2, {"levels": [str(n) for n in range(65_537)]}),
    (2, {"dtype": 'Enum(["a"])'}),
    (2, {"dtype": "Int8", "levels": [1, 300]}),
    (4, {"levels": [0, 1]}),
    (5, {"value": None}),
    (5, {"value": 3}),
    (5, {"dtype": "Time", "value": -1}),
]


@pytest.mark.parametrize("place, change", HOSTILE)
def test_hostile_columns_are_refused(place: int, change: dict) -> None:
    said = copy.deepcopy(to_json(infer_columns(TRAINED)))
    assert from_json(said) == infer_columns(TRAINED)
    said[place] |= change
    with pytest.raises(UserError, match="damaged or hostile"):
        from_json(said)


@pytest.mark.parametrize("said", [None, {}, [3], [{}], [{"name": "a"}], "[]"])
def test_what_are_no_columns_at_all_is_refused(said: object) -> None:
    with pytest.raises(UserError, match="not written by variate"):
        from_json(said)


def test_too_many_columns_and_none_are_refused() -> None:
    one = to_json(infer_columns(TRAINED))[:1]
    for said in ([], one * 10_001):
        with pytest.raises(UserError, match="damaged or hostile"):
            from_json(said)
