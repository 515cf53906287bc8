"""Rows of tables of text: comma, semicolon, tab or bar between the cells, the first line naming the columns.

Owns finding the delimiter and the quotation mark, and the line of each row (cells may hold line breaks). Every cell is
text. A row that cannot be read is named by the line it begins on; reading goes on with the line after that one.
"""

from __future__ import annotations

import csv
import io
import re
from collections import deque
from collections.abc import Iterator
from itertools import islice

from core.data.reading.rows import MAX_ROW_CHARACTERS, Container, Row, named_columns
from core.data.reading.texts import TextSource
from core.errors import Place, Problem, excerpt, refusal

DELIMITERS = {",": ",", ";": ";", "\t": "Tab", "|": "|"}
KNOWN_COLUMNS = frozenset(
    {"instruction", "input", "output", "system", "history", "messages", "conversations", "prompt", "completion"}
    | {"response", "question", "answer", "query", "text", "content", "document", "chosen", "rejected", "label"}
    | {"id", "title", "category", "source", "指令", "输入", "输出", "问题", "回答", "答案", "提问", "内容", "文本"}
)
SAMPLED_CHARACTERS = 100_000
SAMPLED_ROWS = 50
LONGEST_NAME = 60
MAX_OPEN_QUOTES = 20
_SEPARATOR_LINE = re.compile(r"sep=([,;\t|])\n", re.IGNORECASE)  # as spreadsheets write before the table
_LIKE_DATA = re.compile(r".*[.!?。！？…]|[-+]?\d+([.,]\d+)?|.*\n.*", re.DOTALL)


def looks_like_table(text: str) -> bool:
    """Whether the first line names at least two columns that data files have."""
    header = _header(text, _delimiter(text))
    return len(KNOWN_COLUMNS & set(header)) >= 2


def read_table(text: TextSource, container: Container) -> Iterator[Row | Problem]:
    """All rows of a table by column.

    Raises:
        WorkbenchError: D35 where quotation marks are past reading, D41 where there are too many columns.
    """
    separator = _SEPARATOR_LINE.match(text.first)
    beginning = text.first[separator.end() if separator else 0 :]
    delimiter = separator[1] if separator else _delimiter(beginning)
    container.kind = "csv"
    container.delimiter = delimiter
    if delimiter not in ",\t":
        yield Problem("D35_delimiter", values={"delimiter": DELIMITERS[delimiter]}, severity="warning")
    records = _records(_Lines(text, 1 if separator else 0), delimiter, _quotation_mark(beginning, delimiter))
    columns: list[str] = []
    for item in records:
        if isinstance(item, Problem):
            yield item
            continue
        line, cells = item
        if not columns:
            named = _names_columns(cells)
            columns, problems = named_columns(cells if named else [""] * len(cells), line)
            if named:
                yield from problems
                continue
            place = Place(line=line, excerpt=excerpt(" | ".join(cells)))
            yield Problem("D35_no_header", place, {"columns": len(columns)}, severity="warning")
        if len(cells) == len(columns):
            yield Row(line, dict(zip(columns, cells, strict=True)))
        else:
            place = Place(line=line, excerpt=excerpt(" | ".join(cells)))
            yield Problem("D35_ragged_row", place, {"cells": len(cells), "columns": len(columns)})


class _Lines:
    """The lines of a text for the reader of the standard library, those of the row it is at kept to be read again."""

    def __init__(self, text: TextSource, skipped: int) -> None:
        self._lines = islice(text.lines(MAX_ROW_CHARACTERS), skipped, None)
        self._again: deque[str] = deque()
        self._held: list[str] = []
        self._characters = 0
        self.line = skipped + 1  # on which the row begins

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines) + "\n"
        self._held.append(line)
        self._characters += len(line)
        if self._characters > MAX_ROW_CHARACTERS:
            raise csv.Error("too long")
        return line

    def begin_row(self) -> None:
        """What was read belonged to a row that is done with."""
        self.line += len(self._held)
        self._held.clear()
        self._characters = 0

    def give_up_line(self) -> str:
        """Go on with the line behind the one on which the row begins; returns that one."""
        first, *others = self._held or [""]
        self._again.extendleft(reversed(others))
        self._held = [first]
        self.begin_row()
        return first


def _records(lines: _Lines, delimiter: str, quotation_mark: str) -> Iterator[tuple[int, list[str]] | Problem]:
    """The rows that are not empty, each with the line it begins on, and those that cannot be read.

    Raises:
        WorkbenchError: D35 where quotation marks are opened and not closed again and again: each is looked for far.
    """
    csv.field_size_limit(MAX_ROW_CHARACTERS)
    reader = csv.reader(lines, delimiter=delimiter, quotechar=quotation_mark, strict=True)
    open_quotes = 0
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            line = lines.line
            first = lines.give_up_line()
            place = Place(line=line, excerpt=excerpt(first.strip()[:200]))
            if len(first) > MAX_ROW_CHARACTERS:
                yield Problem("D17_line_too_long", place, {"limit": MAX_ROW_CHARACTERS // 2**20})
            elif "expected after" in str(error):
                yield Problem("D35_stray_quote", place)
            else:
                yield Problem("D35_open_quote", place)
                open_quotes += 1
                if open_quotes == MAX_OPEN_QUOTES:
                    raise refusal("D35_open_quote", place) from error
            continue
        if any(cell.strip() for cell in cells):
            yield lines.line, cells
        lines.begin_row()


def _names_columns(cells: list[str]) -> bool:
    """Whether the first row names columns; numbers, sentences and long texts are data."""
    if KNOWN_COLUMNS & {cell.strip().lower() for cell in cells}:
        return True
    return not any(len(cell) > LONGEST_NAME or _LIKE_DATA.fullmatch(cell.strip()) for cell in cells)


def _quotation_mark(text: str, delimiter: str) -> str:
    """The single quotation mark where all names of the columns stand in such; else the usual one."""
    names = [cell.strip() for row in _sample(text, delimiter)[:1] for cell in row]
    single = [name for name in names if len(name) > 1 and name[0] == name[-1] == "'"]
    return "'" if names and len(single) == len(names) else '"'


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
    reader = csv.reader(io.StringIO(text[:SAMPLED_CHARACTERS], newline=""), delimiter=delimiter)
    rows: list[list[str]] = []
    try:
        for cells in reader:
            rows += [cells] if cells else []
            if len(rows) == SAMPLED_ROWS:
                break
    except csv.Error:
        return rows
    return rows
