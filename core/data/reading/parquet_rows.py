"""Rows of Parquet files. A row's line is its number.

Owns turning what the columns hold into values that JSON has too. The file is read by row group and batch. Importing
this imports pyarrow.
"""

from __future__ import annotations

import datetime
import decimal
import math
from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa
from pyarrow.parquet import ParquetFile

from core.data.reading.rows import Container, Row, checked, named_columns
from core.errors import Problem, WorkbenchError, excerpt, refusal

BATCH_ROWS = 100


def read_parquet(file: BinaryIO, container: Container) -> Iterator[Row | Problem]:
    """All rows of a Parquet file.

    Raises:
        WorkbenchError: D41 where the file is damaged or has too many columns.
    """
    container.kind = "parquet"
    try:
        with ParquetFile(file, buffer_size=2**20, pre_buffer=False) as parquet:
            columns, problems = named_columns(parquet.schema_arrow.names, None)
            yield from problems
            line = 0
            for batch in parquet.iter_batches(batch_size=BATCH_ROWS, use_threads=False):
                for values in batch.rename_columns(columns).to_pylist():
                    line += 1
                    yield from checked(line, _plain(values))
    except WorkbenchError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise refusal("D41_damaged", reason=excerpt(error)) from error


def _plain(value: Any) -> Any:
    """A value as JSON has it; a number that is none, as tables have them where one is missing, is null."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, decimal.Decimal):
        value = int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return _text(value)
    return value if value is None or isinstance(value, str | int) else _named(value)


def _named(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else str(value)


def _text(value: bytes) -> str | bytes:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value
