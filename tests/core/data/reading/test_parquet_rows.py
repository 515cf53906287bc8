from __future__ import annotations

import datetime
import decimal
import io

import pyarrow as pa
import pytest
from pyarrow import parquet

from core.data.reading import parquet_rows
from core.data.reading.streams import open_rows
from core.errors import WorkbenchError
from tests.core.data.reading.reading import keys, read


def packed(table: pa.Table, **options: object) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, **options)
    return buffer.getvalue()


def test_rows_are_read_by_number_batch_after_batch(write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_rows, "BATCH_ROWS", 7)
    table = pa.table({"prompt": [f"q{number}" for number in range(50)], "completion": ["a"] * 50})
    file = write(packed(table, row_group_size=20), "data.parquet")
    rows, problems = read(file)
    assert [(row.line, row.values["prompt"]) for row in rows] == [(number + 1, f"q{number}") for number in range(50)]
    assert problems == []
    with open_rows(file) as stream:
        assert (stream.container.kind, stream.container.encoding) == ("parquet", "")


def test_nested_values_come_through_as_json_has_them(write) -> None:
    row = {
        "messages": [{"role": "user", "content": "hi"}],
        "day": datetime.date(2024, 5, 1),
        "at": datetime.datetime(2024, 5, 1, 12, 30),
        "missing": float("nan"),
        "price": decimal.Decimal("1.50"),
        "bytes": "中".encode(),
        "nothing": None,
        "yes": True,
        "number": 3,
    }
    rows, problems = read(write(packed(pa.Table.from_pylist([row])), "data.parquet"))
    expected = {"day": "2024-05-01", "at": "2024-05-01T12:30:00", "missing": None, "price": 1.5, "bytes": "中"}
    assert (rows[0].values, problems) == (row | expected, [])


def test_columns_of_one_name_are_told_apart(write) -> None:
    table = pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    rows, problems = read(write(packed(table), "data.parquet"))
    assert (rows[0].values, keys(problems)) == ({"text": "a", "text 2": "b"}, ["D35_column_repeated"])


@pytest.mark.parametrize("kept", [4, 100, -1])
def test_a_file_that_is_cut_off_is_refused(write, kept: int) -> None:
    content = packed(pa.table({"text": ["some text"] * 1000}))
    with pytest.raises(WorkbenchError) as caught:
        read(write(content[:kept], "cut.parquet"))
    assert (caught.value.key, caught.value.problems[0].place.file) == ("D41_damaged", "cut.parquet")
    assert "download" in caught.value.problems[0].describe("en").fix


def test_very_many_columns_are_refused_from_the_schema(write) -> None:
    with pytest.raises(WorkbenchError) as caught:
        read(write(packed(pa.table({f"c{number}": [1] for number in range(1001)})), "wide.parquet"))
    assert (caught.value.key, caught.value.problems[0].values["columns"]) == ("D41_too_many_columns", 1001)


def test_a_table_without_rows_has_none(write) -> None:
    with pytest.raises(WorkbenchError, match="D01"):
        read(write(packed(pa.table({"text": pa.array([], pa.string())})), "empty.parquet"))
