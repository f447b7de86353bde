"""Parquet: all rows, or those asked for, from one file or many; a few row groups in memory; one sentence for damage."""

import decimal
import pickle
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from variate.base.errors import UserError
from variate.data.sources import parquet
from variate.data.sources.footer import row_groups
from variate.data.sources.parquet import ParquetRows, read_parquet_table
from variate.data.sources.tables import read_table

RNG = np.random.default_rng(0)


def frame(rows: int, start: int = 0) -> pl.DataFrame:
    numbers = np.arange(start, start + rows)
    return pl.DataFrame(
        {
            "n": numbers,
            "x": pl.Series(numbers / 7, dtype=pl.Float32),
            "word": [f"w{number % 5}" for number in numbers],
            "maybe": [None if number % 3 else int(number) for number in numbers],
        },
        schema_overrides={"word": pl.String, "maybe": pl.Int64},
    )


@pytest.fixture
def folder(tmp_path) -> Path:
    """100 rows in three files of row groups of 8, among other things."""
    place = tmp_path / "mine"
    place.mkdir()
    for name, start, rows in (("b.parquet", 40, 35), ("a.parquet", 0, 40), ("c.pq", 75, 25)):
        frame(rows, start).write_parquet(place / name, row_group_size=8)
    for name in ("_SUCCESS", ".a.parquet.crc", "_metadata.parquet", "notes.txt"):
        (place / name).write_bytes(b"no Parquet")
    return place


def test_a_file_and_a_folder_in_the_order_of_their_names(folder):
    found = read_table(folder)
    assert found.frame.equals(frame(100)) and found.frame.schema == frame(1).schema
    assert found.name == "mine" and found.notes == ("3 files",)
    alone = read_table(folder / "b.parquet")
    assert alone.frame.equals(frame(35, 40)) and alone.name == "b.parquet" and alone.notes == ()


def test_the_content_tells_not_the_name(tmp_path):
    frame(3).write_parquet(tmp_path / "mine[1]*.csv")
    assert read_table(tmp_path / "mine[1]*.csv").frame.equals(frame(3))


def test_types_are_left_as_they_are_and_nan_is_missing(tmp_path):
    odd = pl.DataFrame(
        {
            "list": [[1, 2], None],
            "struct": [{"a": 1}, {"a": None}],
            "bytes": [b"\0", None],
            "decimal": [decimal.Decimal("1.10"), None],
            "nan": [1.0, float("nan")],
            "enum": pl.Series(["b", "a"], dtype=pl.Enum(["a", "b"])),
            "small": pl.Series([1, 2], dtype=pl.UInt8),
            "when": pl.Series([0, 1], dtype=pl.Datetime("ms", "Europe/Berlin")),
            "time": pl.Series([0, 1], dtype=pl.Time),
        }
    )
    odd.write_parquet(tmp_path / "odd.parquet")
    found = read_parquet_table(tmp_path / "odd.parquet").frame
    assert found.schema == odd.schema
    assert found.equals(odd.with_columns(nan=pl.Series([1.0, None])))


@pytest.mark.parametrize("compression", ["zstd", "snappy", "gzip", "lz4", "brotli", "uncompressed"])
def test_row_groups_are_where_the_footer_says(tmp_path, compression):
    path = tmp_path / "mine.parquet"
    frame(50).write_parquet(path, row_group_size=20, compression=compression)
    assert [group.rows for group in row_groups(path)] == [20, 20, 10]
    assert all(group.size > 0 for group in row_groups(path))


def test_hundreds_of_row_groups_and_columns(tmp_path):
    wide = pl.DataFrame({f"column {i}": np.arange(300) for i in range(40)})
    wide.write_parquet(tmp_path / "mine.parquet", row_group_size=1)
    assert len(row_groups(tmp_path / "mine.parquet")) == 300


def test_rows_in_any_order(folder):
    rows = ParquetRows(folder)
    assert len(rows) == 100 and rows.schema == frame(1).schema
    assert rows.bounds.tolist() == [0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 75, 83, 91, 99, 100]
    for index in (RNG.permutation(100), np.array([99, 0, 0, 40, 39]), np.array([], int), [3]):
        assert rows.take(index).equals(frame(100)[np.asarray(index, int)])
    for index in ([100], [-1]):
        with pytest.raises(IndexError):
            rows.take(index)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 99), max_size=40), st.integers(1, 120))
def test_rows_taken_are_those_of_the_table(folder, index, size):
    rows = ParquetRows(folder)
    assert rows.take(index).equals(frame(100)[np.array(index, int)])
    pieces = list(rows.pieces(size))
    assert [len(piece) for piece in pieces[:-1]] == [size] * (len(pieces) - 1)
    assert pl.concat(pieces).equals(frame(100))


def test_few_row_groups_are_in_memory_and_each_is_read_once_in_a_pass(folder, monkeypatch):
    read = []
    plain = ParquetRows._read
    monkeypatch.setattr(ParquetRows, "_read", lambda self, *place: (read.append(place), plain(self, *place))[1])
    rows = ParquetRows(folder)
    monkeypatch.setattr(parquet, "KEPT_BYTES", 3 * max(group.size for group in row_groups(folder / "a.parquet")))
    for _ in rows.pieces(5):
        assert len(rows._kept) <= 4
    assert len(read) == len(rows.bounds) - 1
    monkeypatch.setattr(parquet, "KEPT_BYTES", 0)
    assert rows.take(np.arange(100)).equals(frame(100)) and len(rows._kept) == 1


def test_rows_go_to_other_processes_without_what_was_read(folder):
    rows = ParquetRows(folder)
    rows.take([5])
    copy = pickle.loads(pickle.dumps(rows))
    assert not copy._kept and copy.take([5]).equals(frame(1, 5))


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_parquet_table(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_other_columns_other_content_and_none(folder, tmp_path):
    rows = ParquetRows(folder)
    frame(41).write_parquet(folder / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet has changed"):
        rows.take([0])
    pl.DataFrame({"n": [1]}).write_parquet(folder / "d.parquet")
    assert "d.parquet has other columns than a.parquet" in refusal(folder)
    frame(5)[:, ::-1].write_parquet(folder / "d.parquet")
    assert "d.parquet has other columns than a.parquet" in refusal(folder)
    (tmp_path / "empty").mkdir()
    assert "no Parquet files" in refusal(tmp_path / "empty")
    frame(0).write_parquet(tmp_path / "none.parquet")
    assert "no rows" in refusal(tmp_path / "none.parquet")


def test_files_without_rows_among_others(folder):
    frame(0).write_parquet(folder / "aa.parquet")
    assert read_parquet_table(folder).frame.equals(frame(100))
    assert ParquetRows(folder).take([99, 40]).equals(frame(100)[[99, 40]])


def test_files_cut_short(tmp_path):
    path = tmp_path / "mine.parquet"
    frame(50).write_parquet(path)
    content = path.read_bytes()
    for length in (0, 4, 8, 11, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        assert "mine.parquet" in refusal(path)
    path.write_bytes(content[:-8] + b"\xff\xff\xff\x7f" + b"PAR1")
    assert "mine.parquet" in refusal(path)


def test_a_damaged_footer_is_said_and_allocates_nothing(tmp_path):
    """Of one file with bytes changed, one or many: a list of groups, or a sentence."""
    path = tmp_path / "mine.parquet"
    frame(50).write_parquet(path, row_group_size=20)
    content = np.frombuffer(path.read_bytes(), np.uint8)
    footer = int.from_bytes(content[-8:-4].tobytes(), "little")
    said = 0
    for count in (1, 3, 50):
        for _ in range(200):
            damaged = content.copy()
            damaged[RNG.integers(len(content) - 8 - footer, len(content) - 8, count)] = RNG.integers(0, 256, count)
            path.write_bytes(damaged.tobytes())
            try:
                assert all(group.rows >= 0 and group.size >= 0 for group in row_groups(path))
            except UserError as error:
                assert "mine.parquet" in str(error)
                said += 1
    assert said > 200


def test_damaged_pages_are_said(tmp_path):
    path = tmp_path / "mine.parquet"
    frame(50).write_parquet(path, row_group_size=20)
    content = bytearray(path.read_bytes())
    content[4:200] = b"\xff" * 196
    path.write_bytes(content)
    assert "cannot be read as Parquet" in refusal(path)
