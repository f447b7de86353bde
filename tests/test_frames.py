"""Frames of polars and pandas: the cells as they are, and back to what they came as; nothing imported unasked."""

import datetime as dt
import decimal
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from variate.base.errors import UserError
from variate.data.sources.frames import as_polars, is_frame, like

BERLIN = pd.to_datetime(["2020-01-01 10:00", "2020-07-02", None], format="ISO8601").tz_localize("Europe/Berlin")
OFFSET = pd.to_datetime(["2020-01-01 10:00+02:00"] * 3)
FINE = pd.to_datetime(["2020-01-01", "2020-01-02 03:04:05.123456789", None], format="ISO8601")
DAY = dt.date(2020, 1, 2)

# a column of pandas; its type and its cells in polars; whether it comes back cell by cell
COLUMNS = {
    "float64": (pd.Series([1.5, np.nan, np.inf]), pl.Float64, [1.5, None, np.inf], True),
    "float32": (pd.Series([1.5, np.nan, 2], dtype="float32"), pl.Float32, [1.5, None, 2], True),
    "float16": (pd.Series([1.5, 1, 2], dtype="float16"), pl.Float32, [1.5, 1, 2], True),
    "int64": (pd.Series([2**62 + 1, -1, 0]), pl.Int64, [2**62 + 1, -1, 0], True),
    "uint8": (pd.Series([0, 1, 255], dtype="uint8"), pl.UInt8, [0, 1, 255], True),
    "bool": (pd.Series([True, False, True]), pl.Boolean, [True, False, True], True),
    "Int64": (pd.Series([2**62 + 1, None, 3], dtype="Int64"), pl.Int64, [2**62 + 1, None, 3], True),
    "UInt16": (pd.Series([1, None, 3], dtype="UInt16"), pl.UInt16, [1, None, 3], True),
    "Float32": (pd.Series([1.5, None, 3], dtype="Float32"), pl.Float32, [1.5, None, 3], True),
    "boolean": (pd.Series([True, None, False], dtype="boolean"), pl.Boolean, [True, None, False], True),
    "str": (pd.Series(["a", None, "b"]), pl.String, ["a", None, "b"], True),
    "string": (pd.Series(["a", pd.NA, "b"], dtype="string"), pl.String, ["a", None, "b"], True),
    "objects: words": (pd.Series(["a", None, "b"], dtype=object), pl.String, ["a", None, "b"], True),
    "objects: all kinds of nothing": (
        pd.Series(["a", np.nan, pd.NA], dtype=object),
        pl.String,
        ["a", None, None],
        False,
    ),
    "objects: words and numbers": (pd.Series(["a", 1, 2.5], dtype=object), pl.String, ["a", "1", "2.5"], False),
    "objects: numbers": (pd.Series([1, 2.5, None], dtype=object), pl.Float64, [1, 2.5, None], True),
    "objects: truths": (pd.Series([True, None, False], dtype=object), pl.Boolean, [True, None, False], True),
    "objects: large numbers": (pd.Series([2**70, 1, None], dtype=object), pl.String, [str(2**70), "1", None], False),
    "objects: dates": (pd.Series([DAY, None, DAY], dtype=object), pl.Date, [DAY, None, DAY], True),
    "objects: decimals": (
        pd.Series([decimal.Decimal("1.10"), None, decimal.Decimal("2")], dtype=object),
        pl.Decimal,
        [decimal.Decimal("1.10"), None, decimal.Decimal("2")],
        True,
    ),
    "objects: lists": (pd.Series([[1], [2, 3], None], dtype=object), pl.List(pl.Int64), [[1], [2, 3], None], True),
    "objects: nothing": (pd.Series([None] * 3, dtype=object), pl.String, [None] * 3, True),
    "moments": (
        pd.Series(FINE),
        pl.Datetime("ns"),
        [dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 2, 3, 4, 5, 123456), None],
        True,
    ),
    "moments in seconds": (
        pd.Series(np.array(["2020-01-02", "NaT", "1500-01-01"], "M8[s]")),
        pl.Datetime("ms"),
        [dt.datetime(2020, 1, 2), None, dt.datetime(1500, 1, 1)],
        True,
    ),
    "moments of a zone": (
        pd.Series(BERLIN),
        pl.Datetime(BERLIN.unit, "Europe/Berlin"),
        [*BERLIN[:2].to_pydatetime(), None],
        True,
    ),
    "moments with an offset": (pd.Series(OFFSET), pl.Datetime(OFFSET.unit, "UTC"), [*OFFSET.to_pydatetime()], True),
    "spans": (
        pd.Series(pd.to_timedelta(["1s", None, "2D"])),
        pl.Duration,
        [dt.timedelta(seconds=1), None, dt.timedelta(days=2)],
        True,
    ),
    "categories": (
        pd.Series(pd.Categorical(["x", None, "y"], categories=["y", "x", "z"], ordered=True)),
        pl.Enum(["y", "x", "z"]),
        ["x", None, "y"],
        True,
    ),
    "categories of numbers": (pd.Series(pd.Categorical([3, None, 1])), pl.Int64, [3, None, 1], True),
    "periods": (
        pd.Series(pd.period_range("2020-01", periods=3, freq="M")),
        pl.String,
        ["2020-01", "2020-02", "2020-03"],
        True,
    ),
    "sparse": (pd.Series(pd.arrays.SparseArray([0, 0, 1])), pl.Int64, [0, 0, 1], True),
    "sparse with holes": (pd.Series(pd.arrays.SparseArray([np.nan, 0, 1])), pl.Float64, [None, 0, 1], True),
}


@pytest.mark.parametrize("column, dtype, cells, exact", COLUMNS.values(), ids=COLUMNS)
def test_columns_of_pandas_there_and_back(column, dtype, cells, exact):
    frame = pd.DataFrame({"x": column.set_axis([7, 7, 8])})
    found = as_polars(frame)
    assert found["x"].dtype == dtype and found["x"].to_list() == cells
    back = like(found, frame)
    assert list(back.index) == [0, 1, 2] and back["x"].dtype == column.dtype
    if exact:
        pd.testing.assert_series_equal(back["x"], column, check_names=False)
    assert as_polars(back).equals(found)


def test_the_users_frame_stays_as_it_was():
    frame = pd.DataFrame({name: column for name, (column, *_) in COLUMNS.items()})
    copy = frame.copy(deep=True)
    back = like(as_polars(frame), frame)
    back.loc[:, "int64"] = 5  # writeable, and no view of it
    pd.testing.assert_frame_equal(frame, copy)


def test_names_that_are_no_words_come_back():
    frame = pd.DataFrame([[1, 2.0]], columns=[0, ("a", 1)])
    assert as_polars(frame).columns == ["0", "('a', 1)"]
    pd.testing.assert_frame_equal(like(as_polars(frame), frame), frame)


def test_missing_cells_in_columns_that_had_none_keep_their_digits():
    frame = pd.DataFrame({"i": pd.Series([1, 2], dtype="int32"), "b": [True, False]})
    back = like(pl.DataFrame({"i": [2**20, None], "b": [None, True]}), frame)
    assert back["i"].tolist() == [2**20, pd.NA] and back["b"].tolist() == [pd.NA, True]


def test_columns_that_the_original_has_not_and_fewer():
    frame = pd.DataFrame({"a": [1], "gone": ["x"]})
    new = pl.DataFrame({"score": [0.5], "a": [3], "word": ["u"], "day": [DAY], "ok": [True]})
    back = like(new, frame)
    assert list(back.columns) == new.columns and back["a"].dtype == "int64" and back["score"].dtype == "float64"
    assert back["ok"].dtype == bool and back.iloc[0].tolist() == [0.5, 3, "u", DAY, True]


def test_frames_of_polars_lazy_ones_too():
    frame = pl.DataFrame(
        {"f": [1.0, np.nan, None], "i": [1, None, 3], "c": ["x", "y", None], "when": [DAY] * 3},
        schema={"f": pl.Float32, "i": pl.Int8, "c": pl.Categorical, "when": pl.Date},
    )
    found = as_polars(frame)
    assert found.schema == frame.schema and found["f"].to_list() == [1, None, None]
    wide = found.with_columns(pl.col("i").cast(pl.Int64), pl.col("c").cast(pl.String), pl.col("f").cast(pl.Float64))
    assert like(wide, frame).schema == frame.schema and like(wide, frame).equals(found)
    lazy = like(wide, frame.lazy())
    assert isinstance(lazy, pl.LazyFrame) and lazy.collect().equals(found)
    assert as_polars(frame.lazy()).equals(found)


def test_subclasses_are_frames_and_other_things_are_not():
    class Mine(pd.DataFrame):
        pass

    assert is_frame(Mine()) and is_frame(pl.LazyFrame())
    for other in (pd.Series([1]), pl.Series([1]), np.eye(2), [[1]], {"a": [1]}, None, "mine.csv", pd.DataFrame):
        assert not is_frame(other)
        with pytest.raises(UserError, match="is no table"):
            as_polars(other)


def test_a_name_twice_is_refused():
    with pytest.raises(UserError, match="2 columns called 'a'"):
        as_polars(pd.DataFrame([[1, 2, 3]], columns=["a", "b", "a"]))


class Speaker:
    """A table of a library that nobody here knows."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def __dataframe__(self):
        raise AssertionError("the older of the two")

    def __arrow_c_stream__(self, requested_schema=None):
        return self._frame.__arrow_c_stream__(requested_schema)


def test_whoever_speaks_arrow():
    frame = pl.DataFrame({"a": [1, None], "f": [1.5, float("nan")], "s": ["x", None]})
    found = as_polars(Speaker(frame))
    assert found.rows() == [(1, 1.5, "x"), (None, None, None)]
    assert like(found, Speaker(frame)) is found


def test_tables_of_pyarrow():
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"a": arrow.array([1, None], arrow.int16()), "f": arrow.array([1.0, float("nan")])})
    found = as_polars(table)
    assert found.schema == {"a": pl.Int16, "f": pl.Float64} and found.rows() == [(1, 1.0), (None, None)]
    assert like(found.with_columns(pl.col("a").cast(pl.Int64)), table).schema == table.schema
    frame = table.to_pandas(types_mapper=pd.ArrowDtype)
    assert as_polars(frame).equals(found) and (like(found, frame).dtypes == frame.dtypes).all()


def test_neither_pandas_nor_pyarrow_is_imported():
    code = """if True:
        import sys
        import polars as pl
        from variate.data.sources.frames import as_polars, is_frame, like
        frame = pl.DataFrame({"a": [1.5]})
        assert is_frame(frame) and not is_frame([1])
        like(as_polars(frame), frame)
        sys.exit(bool({"pandas", "pyarrow"} & set(sys.modules)))
    """
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


CELLS = {
    "Int64": st.none() | st.integers(-(2**63), 2**63 - 1),
    "Float64": st.none() | st.floats(allow_nan=False),
    "boolean": st.none() | st.booleans(),
    "string": st.none() | st.text(st.characters(codec="utf-8"), max_size=5),
}


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(sorted(CELLS)).flatmap(lambda kind: st.tuples(st.just(kind), st.lists(CELLS[kind], max_size=9))))
def test_whatever_is_in_a_nullable_column_comes_back(column):
    kind, cells = column
    frame = pd.DataFrame({"x": pd.Series(cells, dtype=kind)})
    found = as_polars(frame)
    assert found["x"].to_list() == cells
    pd.testing.assert_frame_equal(like(found, frame), frame)
