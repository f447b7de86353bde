"""Tables in text: what people and programs write, read as they meant it; one sentence with the line for all else."""

import codecs
import csv
import datetime as dt
import gzip
import io
import math
import os
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from variate.base.errors import UserError
from variate.data.sources.tables import read_table
from variate.data.sources.text import read_text_table

DATA = Path(os.environ.get("VARIATE_DATA", "no such folder"), "tabular")


def put(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(folder: Path, content: str | bytes, names=None):
    return read_text_table(put(folder / "mine.csv", content), names)


def refusal(folder: Path, content: str | bytes, names=None) -> str:
    with pytest.raises(UserError) as caught:
        read(folder, content, names)
    message = str(caught.value)
    assert "\n" not in message
    return message


# ------------------------------------------------------------------------------------------------------- separators

SEPARATED = {
    "commas": "a,b\n1,x\n2,y\n",
    "semicolons": "a;b\n1;x\n2;y\n",
    "tabs": "a\tb\n1\tx\n2\ty\n",
    "bars": "a|b\n1|x\n2|y\n",
    "runs of blanks": "a   b\n1 x\n2\t\ty\n",
    "blanks around the lines": "  a b  \n 1   x\n2 y \n\n",
    "a blank after the comma": "a, b\n1, x\n2, y\n",
    "Windows lines": "a,b\r\n1,x\r\n2,y\r\n",
    "old Macintosh lines": "a,b\r1,x\r2,y",
    "no end of line": "a,b\n1,x\n2,y",
    "empty lines at the end": "a,b\n1,x\n2,y\n\n  \n\n",
    "an end mark of DOS": "a,b\r\n1,x\r\n2,y\r\n\x1a",
    "quotes": '"a","b"\n"1","x"\n"2","y"\n',
    "quotes and blanks": '"a" , "b"\n"1" , "x"\n"2", "y" \n',
    "quotes amid runs of blanks": '"a"  "b"\n1  "x"\n2 "y"\n',
    "what Excel begins with": "sep=;\na;b\n1;x\n2;y\n",
    "a UCI comment": "|a remark, of two, parts\na,b\n1,x\n2,y\n",
    "remarks": "# made by hand\n% 2020\na,b\n1,x\n2,y\n",
    "what numpy.savetxt writes": "# a,b\n1,x\n2,y\n",
    "UTF-8 with a mark": codecs.BOM_UTF8 + b"a,b\n1,x\n2,y\n",
    "UTF-16": "a,b\n1,x\n2,y\n".encode("utf-16"),
    "UTF-16, big-endian": codecs.BOM_UTF16_BE + "a,b\n1,x\n2,y\n".encode("utf-16-be"),
    "gzipped": gzip.compress(b"a,b\n1,x\n2,y\n"),
    "a separator behind every row": "a,b,\n1,x,\n2,y,\n",
    "a separator behind the rows alone": "a,b\n1,x,\n2,y,\n",
}


@pytest.mark.parametrize("content", SEPARATED.values(), ids=SEPARATED)
def test_one_table_however_it_is_written(tmp_path, content):
    found = read(tmp_path, content)
    expected = pl.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    if "separator behind the rows" in str(found.notes):
        found = found._replace(frame=found.frame[:, :2])
    assert found.frame.equals(expected) and found.frame.schema == expected.schema
    assert found.name == "mine.csv"


def test_row_numbers_of_r_and_pandas_are_a_column_without_a_name(tmp_path):
    for content in ('"x","y"\n"1",0.5,"u"\n"2",1.5,"v"\n', ",x,y\n1,0.5,u\n2,1.5,v\n"):
        found = read(tmp_path, content)
        assert found.frame.columns == ["c1", "x", "y"] and found.frame.rows() == [(1, 0.5, "u"), (2, 1.5, "v")]
        assert found.notes == ("columns without a name are called 'c1'",)


def test_cells_with_everything_in_quotes(tmp_path):
    words = ['say "hi"', "a, b", "two\nlines", "two\r\nlines", "5' 2\"", 'half "', "'", "ü–€", ";|\t;"]
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([["word", "n"], *([word, n] for n, word in enumerate(words))])
    assert read(tmp_path, stream.getvalue()).frame.rows() == list(zip(words, range(len(words)), strict=True))


def test_a_quote_inside_a_word_is_a_letter(tmp_path):
    assert read(tmp_path, 'size,n\n5" pipe,1\n"6"" pipe",2\n').frame["size"].to_list() == ['5" pipe', '6" pipe']


def test_a_single_column(tmp_path):
    assert read(tmp_path, "height\n1.5\n\n2.5\n\n").frame.rows() == [(1.5,), (None,), (2.5,)]
    assert read(tmp_path, '"1"\n""\n"2"\n').frame.rows() == [(1,), (None,), (2,)]


def test_empty_lines_between_rows_are_left_out_and_said(tmp_path):
    for content in ("a,b\n\n1,2\n\n\n3,4\n", '"a",b\n\n1,2\n\n\n3,4\n'):
        found = read(tmp_path, content)
        assert found.frame.rows() == [(1, 2), (3, 4)] and found.notes == ("3 empty lines are left out",)


def test_rows_without_anything_in_their_cells_are_rows(tmp_path):
    assert read(tmp_path, "a,b\n1,2\n,\n3,4\n").frame.rows() == [(1, 2), (None, None), (3, 4)]
    assert read(tmp_path, "a\tb\n1\t2\n\t\n3\t4\n").frame.rows() == [(1, 2), (None, None), (3, 4)]


def test_letters_of_one_byte_are_read_as_windows_has_them(tmp_path):
    found = read(tmp_path, "name,n\nZoë,1\n“x”,2\n".encode("cp1252"))
    assert found.frame["name"].to_list() == ["Zoë", "“x”"]
    assert found.notes == ("read as Windows-1252: line 2 is not UTF-8",)
    assert read(tmp_path, b"name,n\n\x81\xe9,1\n").frame["name"].to_list() == ["\x81é"]


# --------------------------------------------------------------------------------------------------------- headings

HEADINGS = {
    "numbers below words": ("a,b\n1,2\n", ["a", "b"]),
    "no heading": ("1,2\n3,4\n", ["c1", "c2"]),
    "words that come again": ("p,x\ne,x\np,y\n", ["c1", "c2"]),
    "words that do not": ("sex,job\nf,x\nm,y\n", ["sex", "job"]),
    "a word once among numbers, but no heading": ("low,1\nlow,2\n3,4\n", ["c1", "c2"]),
    "a missing cell is no name": ("?,1,x\n2,3,y\n", ["c1", "c2", "c3"]),
    "a year beside words": ("x,2020\ny,2021\n", ["c1", "c2"]),
    "numbered columns": ("0,1,2\n0.5,0.5,1\n1,2,3\n", ["0", "1", "2"]),
    "numbered columns with row numbers": (",0,1,2\n0,0.5,0.5,1\n1,1,2,3\n", ["c1", "0", "1", "2"]),
    "an empty name": ("a,,b\n1,2,3\n", ["a", "c2", "b"]),
    "dates below words": ("day,word\n2020-01-01,x\n", ["day", "word"]),
    "one row": ("1,x\n", ["c1", "c2"]),
}


@pytest.mark.parametrize("content, names", HEADINGS.values(), ids=HEADINGS)
def test_whether_the_first_row_is_a_heading(tmp_path, content, names):
    assert read(tmp_path, content).frame.columns == names


def test_a_heading_that_is_missing_is_said(tmp_path):
    assert read(tmp_path, "1,2\n3,4\n").notes == ("no heading: the columns are called c1 … c2",)


NAMES = {
    "a list": ["a", "b", "c"],
    "one a line": "a\nb\n\nc\n",
    "commas": "a, b,c\n",
    "of the archive": "| remarks: many\n\na: continuous. | more\nb: x, y,\n   z.\nc: ignore.\n",
    "of the archive, with classes": "yes,\n no.\n\na: continuous.\nb: x, y.\nc: 1, 2, 3.\n",
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_names_that_are_told(tmp_path, names):
    if isinstance(names, str):
        names = put(tmp_path / "mine.names", names)
    assert read(tmp_path, "1,2,x\n3,4,y\n", names).frame.columns == ["a", "b", "c"]
    replaced = read(tmp_path, "k,l,m\n1,2,x\n3,4,y\n", names)
    assert replaced.frame.columns == ["a", "b", "c"] and len(replaced.frame) == 2
    assert replaced.notes == ("the names given stand in the place of those in its heading",)
    words = read(tmp_path, "x,y,z\nu,v,w\n", names)  # a heading is not seen where nothing but words is
    assert len(words.frame) == 2
    assert len(read(tmp_path, "a,b,c\nu,v,w\n", names).frame) == 1


def test_the_classes_of_a_names_file_are_the_last_column(tmp_path):
    names = put(tmp_path / "mine.names", ">50K, <=50K.\n\nage: continuous.\njob: a, b.\n")
    assert read(tmp_path, "1, a, >50K\n2, b, <=50K\n", names).frame.columns == ["age", "job", "class"]


def test_names_that_do_not_fit(tmp_path):
    assert "gives 2 names" in refusal(tmp_path, "1,2,3\n4,5,6\n", ["a", "b"])
    assert "'a' to 2 columns" in refusal(tmp_path, "1,2\n4,5\n", ["a", "a"])
    assert "names no column" in refusal(tmp_path, "1,2\n4,5\n", put(tmp_path / "n", "a: b.\nc d\n"))
    assert "does not exist" in refusal(tmp_path, "1,2\n4,5\n", tmp_path / "nothing")


# ------------------------------------------------------------------------------------------------------------ types

DAY, NOON = dt.date(2020, 2, 29), dt.datetime(2020, 2, 29, 12)
UTC = dt.datetime(2020, 2, 29, 12, tzinfo=dt.UTC)
TYPES = {
    "whole": (["1", "-2", "+3", ""], pl.Int64, [1, -2, 3, None]),
    "all digits": ([str(2**63 - 1), str(-(2**63)), "0"], pl.Int64, [2**63 - 1, -(2**63), 0]),
    "beyond 64 bits": ([str(2**63), "1"], pl.String, [str(2**63), "1"]),
    "codes": (["007", "10"], pl.String, ["007", "10"]),
    "real": (["1", ".5", "2.", "1e-3", "1E5", "-0.1"], pl.Float64, [1, 0.5, 2, 1e-3, 1e5, -0.1]),
    "infinite": (["inf", "-Infinity", "1.5"], pl.Float64, [math.inf, -math.inf, 1.5]),
    "every word for nothing": (
        ["1", "?", "NA", "N/A", "nan", "NaN", "null", "NULL", "None", "-", ".", " "],
        pl.Int64,
        [1] + [None] * 11,
    ),
    "dashes among words": (["x", "-", ".", "NA"], pl.String, ["x", "-", ".", None]),
    "dashes alone": (["-", "-", "?"], pl.String, ["-", "-", None]),
    "nothing": (["?", "", "NA"], pl.String, [None] * 3),
    "truths": (["true", "False", "TRUE", ""], pl.Boolean, [True, False, True, None]),
    "truths and others": (["true", "maybe"], pl.String, ["true", "maybe"]),
    "dates": (["2020-02-29", "-"], pl.Date, [DAY, None]),
    "no such date": (["2021-02-29", "2020-01-01"], pl.String, ["2021-02-29", "2020-01-01"]),
    "moments": (["2020-02-29T12:00", "2020-02-29 12:00:00", ""], pl.Datetime("us"), [NOON, NOON, None]),
    "parts of seconds": (
        ["2020-02-29T12:00:00.25", "2020-02-29T12:00:00.000001", "2020-02-29T12:00:00.000001000"],
        pl.Datetime("us"),
        [NOON.replace(microsecond=250_000), NOON.replace(microsecond=1), NOON.replace(microsecond=1)],
    ),
    "offsets": (
        ["2020-02-29T12:00:00Z", "2020-02-29 14:00:00+02:00", "2020-02-29 06:30-0530", ""],
        pl.Datetime("us", "UTC"),
        [UTC, UTC, UTC, None],
    ),
    "an offset here, none there": (
        ["2020-02-29T12:00:00Z", "2020-02-29T12:00:00"],
        pl.String,
        ["2020-02-29T12:00:00Z", "2020-02-29T12:00:00"],
    ),
    "thousands": (["1,234,567", "-12,345.5", "1"], pl.Float64, [1234567, -12345.5, 1]),
    "whole thousands": (["1,234", "950", ""], pl.Int64, [1234, 950, None]),
    "blank thousands": (["1 234", "12\u00a0345", "7"], pl.Int64, [1234, 12345, 7]),
    "lists of numbers are words": (["1,23,4", "1"], pl.String, ["1,23,4", "1"]),
    "a decimal comma in quotes": (["0,5", "12,25"], pl.Float64, [0.5, 12.25]),
    "words with blanks around": ([" x ", "y"], pl.String, ["x", "y"]),
}


@pytest.mark.parametrize("cells, dtype, values", TYPES.values(), ids=TYPES)
def test_types_that_the_cells_spell(tmp_path, cells, dtype, values):
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([["column", "n"], *([cell, "0"] for cell in cells)])
    column = read(tmp_path, stream.getvalue()).frame["column"]
    assert column.dtype == dtype and column.to_list() == values


def test_nanoseconds_are_kept(tmp_path):
    column = read(tmp_path, "t,n\n2020-02-29T12:00:00.000000001,1\n").frame["t"]
    assert column.dtype == pl.Datetime("ns") and column.dt.nanosecond().item() == 1


MARKED = {
    "decimal commas": ("a;b\n1,5;x\n1.234,25;y\n", [1.5, 1234.25]),
    "decimal commas, tabs": ("a\tb\n0,5\tx\n12,25\ty\n", [0.5, 12.25]),
    "decimal commas, blanks": ("a b\n0,5 x\n12,25 y\n", [0.5, 12.25]),
    "points in a file with semicolons": ("a;b\n1.5;x\n1.25;y\n", [1.5, 1.25]),
    "points of three digits": ("a;b\n1.234;x\n5.678;y\n", [1.234, 5.678]),
    "commas of three digits are decimal beside semicolons": ("a;b\n1,234;x\n5,678;y\n", [1.234, 5.678]),
    "and thousands beside tabs": ("a\tb\n1,234\tx\n5,678\ty\n", [1234, 5678]),
    "and decimal if another column says so": ("a\tb\n1,234\t0,5\n5,678\t1,5\n", [1.234, 5.678]),
    "points are thousands if another column says so": ("a;b\n1.234;0,5\n5.678;1,5\n", [1234, 5678]),
    "two points": ("a;b\n1.234.567;x\n12;y\n", [1234567, 12]),
}


@pytest.mark.parametrize("content, values", MARKED.values(), ids=MARKED)
def test_what_a_comma_among_digits_means(tmp_path, content, values):
    assert read(tmp_path, content).frame["a"].to_list() == values


# --------------------------------------------------------------------------------------------------------- refusals

FAULTS = {
    "a longer row": ("a,b\n1,2\n3,4,5\n6,7\n", "3 cells on line 3, but 2 on line 1"),
    "a shorter row": ("a,b,c\n1,2,3\n\n4,5\n6,7,8\n", "2 cells on line 4, but 3 on line 1"),
    "a shorter row under a remark": ("#!\na,b,c\n1,2,3\n4,5\n6,7,8\n", "2 cells on line 4, but 3 on line 2"),
    "a longer row among quotes": ('a,b\n"1\n2",2\n3,4,5\n6,7\n', "3 cells on line 4, but 2 on line 1"),
    "a longer row of blanks": ("a b\n1 2\n3 4 5\n6 7\n8 9\n1 2\n", "3 cells on line 3, but 2 on line 1"),
    "an open quote": ('a,b\n1,2\n"3,4\n5,6\n', "opens a quote that is never closed on line 3"),
    "letters behind a quote": ('a,b\n1,2\n"3"x,4\n', "behind a closing quote on line 3"),
    "a name twice": ("a,b,a\n1,2,3\n", "2 columns called 'a' on line 1"),
    "a name twice under a remark": ("#!\na,b,a\n1,2,3\n", "2 columns called 'a' on line 2"),
    "a heading alone": ("a,b\n", "no rows"),
    "empty lines": ("\n \n", "no rows"),
    "nothing": ("", "empty"),
    "zero bytes": (b"a,b\n" * 200 + b"1,\0\n", "zero bytes"),
    "an image": (b"\x89PNG\r\n\x1a\n....", "PNG"),
    "JSON": ('{"a": 1}', "JSON"),
    "UTF-16, cut": (codecs.BOM_UTF16_LE + b"a\0,\0b", "damaged"),
    "gzipped text, cut": (gzip.compress("".join(f"{i},{i * i}\n" for i in range(9999)).encode())[:9000], "unpacked"),
}


@pytest.mark.parametrize("content, reason", FAULTS.values(), ids=FAULTS)
def test_what_is_no_table_is_said_with_its_line(tmp_path, content, reason):
    message = refusal(tmp_path, content)
    assert reason in message and "mine.csv" in message


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("variate.data.sources.letters.BOMB", (1 << 20, 200))
    monkeypatch.setattr("variate.data.sources.letters._CHUNK", 1 << 16)
    bomb = gzip.compress(b"a,b\n" + b"1,2\n" * (1 << 20))
    assert "bomb" in refusal(tmp_path, bomb)


def test_what_is_no_table_is_none(tmp_path):
    for content in (b"\x93NUMPY\1\0", b"\0\0\x08\x01\0\0\0\1a", b"\x89PNG\r\n", b"PK\3\4", b"\x00\xff\x00"):
        assert read_table(put(tmp_path / "mine", content)) is None
    assert read_table(tmp_path) is None
    assert read_table(put(tmp_path / "mine", "P1\tP2\n1\t2\n")).frame.columns == ["P1", "P2"]


# ------------------------------------------------------------------------------------------- whatever csv can write

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]) | st.sampled_from("\" \n'é"), max_size=9)
COLUMNS = st.sampled_from(
    [
        (pl.Int64, st.integers(-(2**63), 2**63 - 1), str),
        (pl.Float64, st.floats(allow_nan=False, allow_subnormal=True), repr),
        (pl.Boolean, st.booleans(), str),
        (pl.Date, st.dates(), dt.date.isoformat),
        (pl.Datetime("us"), st.datetimes(), dt.datetime.isoformat),
        (pl.Datetime("us"), st.datetimes(), str),
        (pl.String, WORDS.map(lambda word: f"w{word}w"), str),
    ]
)


@st.composite
def tables(draw) -> tuple[pl.DataFrame, str]:
    """A frame, and how some program writes it."""
    separator = draw(st.sampled_from(",;\t|"))
    rows = draw(st.integers(1, 6))
    series, spelled = [], []
    for number in range(draw(st.integers(2, 5))):
        dtype, values, spell = draw(COLUMNS)
        column = draw(st.lists(values, min_size=rows, max_size=rows))
        if dtype == pl.String:
            column = [
                "".join(letter for letter in word if letter not in ",;\t|" or letter == separator) for word in column
            ]
        gone = draw(st.lists(st.booleans(), min_size=rows, max_size=rows))
        gone[0] = False
        column = [None if there_is_none else value for value, there_is_none in zip(column, gone, strict=True)]
        token = draw(st.sampled_from(["", "?", "NA", "nan", "None"]))
        spelled.append([f"n{number}", *(token if value is None else spell(value) for value in column)])
        series.append(pl.Series(f"n{number}", column, dtype=dtype))
    stream = io.StringIO(newline="")
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    csv.writer(stream, delimiter=separator, quoting=quoting, lineterminator=end).writerows(zip(*spelled, strict=True))
    return pl.DataFrame(series), stream.getvalue()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables())
@example((pl.DataFrame({"n0": ["w"], "n1": ["w"]}), "n0,n1\nw,w\n"))
def test_what_csv_writes_is_read_back(tmp_path, table):
    frame, text = table
    found = read(tmp_path, text).frame
    assert found.schema == frame.schema
    assert found.rows() == frame.rows()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | st.text(st.sampled_from('a1,;"\n\r \t|#.?-'), max_size=60).map(str.encode))
def test_whatever_is_there_is_a_table_or_a_sentence(tmp_path, content):
    try:
        read_table(put(tmp_path / "mine.csv", content))
    except UserError as error:
        assert "mine.csv" in str(error)


# ---------------------------------------------------------------------------------------------------- what is there


@pytest.mark.skipif(not (DATA / "adult.data").exists(), reason="without the UCI tables")
def test_adult():
    train = read_text_table(DATA / "adult.data", DATA / "adult.names")
    test = read_text_table(DATA / "adult.test", DATA / "adult.names")
    assert train.frame.shape == (32561, 15) and test.frame.shape == (16281, 15)
    assert train.frame.schema == test.frame.schema and train.frame.columns[-2:] == ["native-country", "class"]
    assert train.frame.null_count().sum_horizontal().item() == 4262
    assert test.frame.null_count().sum_horizontal().item() == 2203
    assert train.notes == () and test.notes == ("the first line is not part of the table",)
    assert set(test.frame["class"]) == {"<=50K.", ">50K."}
    assert sum(dtype == pl.Int64 for dtype in train.frame.dtypes) == 6


@pytest.mark.skipif(not (DATA / "cal_housing.data").exists(), reason="without the UCI tables")
def test_housing_wine_and_cancer():
    plain = read_text_table(DATA / "cal_housing.data").frame
    mixed = read_text_table(DATA / "california_housing_mixed.csv").frame
    assert plain.shape == (20640, 9) and mixed.shape == (20640, 10) and plain.columns == mixed.columns[:9]
    assert mixed.null_count().sum_horizontal().item() == mixed["total_bedrooms"].null_count() == 207
    there = mixed["total_bedrooms"].is_not_null()
    assert plain.filter(there).equals(mixed[:, :9].filter(there))
    cancer = read_text_table(DATA / "breast-cancer-wisconsin.data").frame
    assert cancer.shape == (699, 11) and set(cancer.dtypes) == {pl.Int64} and cancer["c7"].null_count() == 16
    assert read_text_table(DATA / "winequality-red.csv").frame.shape == (1599, 12)
