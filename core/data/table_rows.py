"""Rows of tables of text: comma, semicolon, tab or bar between the cells, the first line naming the columns.

Owns finding the delimiter and the line of each row (cells may hold line breaks). Every cell is text.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from core.data.rows import Found, Row
from core.errors import Place, Problem, excerpt, refusal

DELIMITERS = {",": ",", ";": ";", "\t": "Tab", "|": "|"}
KNOWN_COLUMNS = frozenset(
    {"instruction", "input", "output", "system", "history", "messages", "conversations", "prompt", "completion"}
    | {"response", "question", "answer", "query", "text", "chosen", "rejected", "label"}
)
SAMPLED_ROWS = 50


def looks_like_table(text: str) -> bool:
    """Whether the first line names at least two columns that data files have."""
    header = _header(text, _delimiter(text))
    return len(KNOWN_COLUMNS & set(header)) >= 2


def read_table(text: str) -> Found:
    """All rows of a table by column.

    Raises:
        WorkbenchError: D35 where a column's name is missing or there twice, or a quotation mark is never closed.
    """
    delimiter = _delimiter(text)
    found = Found()
    if delimiter != ",":
        note = Problem("D35_delimiter", values={"delimiter": DELIMITERS[delimiter]}, severity="warning")
        found.problems.append(note)
    lines = _lines(text, delimiter)
    line, header = next(lines, (1, []))
    names = [name.strip() for name in header]
    for name in names:
        if not name or names.count(name) > 1:
            raise refusal("D35_column_name", Place(line=line, excerpt=excerpt(" | ".join(names))), name=excerpt(name))
    for line, cells in lines:
        if len(cells) == len(names):
            found.rows.append(Row(line, dict(zip(names, cells, strict=True))))
        else:
            place = Place(line=line, excerpt=excerpt(" | ".join(cells)))
            values = {"cells": len(cells), "columns": len(names)}
            found.problems.append(Problem("D35_ragged_row", place, values))
    return found


def _lines(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, each with the line it begins on."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise refusal("D35_open_quote", Place(line=line)) from error


def _delimiter(text: str) -> str:
    """The delimiter whose header has the most known columns; then the one that cuts the rows most evenly."""
    return max(DELIMITERS, key=lambda delimiter: _fit(text, delimiter))


def _fit(text: str, delimiter: str) -> tuple[int, int, int]:
    header = _header(text, delimiter)
    widths = [len(cells) for cells in _sample(text, delimiter)]
    even = sum(width == len(header) for width in widths) if len(header) > 1 else 0
    return len(KNOWN_COLUMNS & set(header)), even, len(header)


def _header(text: str, delimiter: str) -> list[str]:
    return [name.strip().lower() for name in next(iter(_sample(text, delimiter)), [])]


def _sample(text: str, delimiter: str) -> list[list[str]]:
    reader = csv.reader(io.StringIO(text[:100_000], newline=""), delimiter=delimiter)
    rows: list[list[str]] = []
    try:
        for cells in reader:
            rows += [cells] if cells else []
            if len(rows) == SAMPLED_ROWS:
                break
    except csv.Error:
        return rows
    return rows
