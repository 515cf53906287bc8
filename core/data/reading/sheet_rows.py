"""Rows of XLSX workbooks: one sheet of it, its first row that is not empty naming the columns.

Owns the choice of the sheet and what a spreadsheet has that a table of text has not: formulas, dates, merged and hidden
cells. Every cell is text, as in tables of text; a row's line is its number in the sheet. Importing this imports
openpyxl.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import closing
from typing import Any, BinaryIO

from openpyxl import load_workbook
from openpyxl.workbook import Workbook

from core.data.reading.rows import MAX_COLUMNS, Container, Row, named_columns
from core.data.reading.sheet_parser import SheetParser
from core.data.reading.zips import opened_zip, refuse_bomb
from core.errors import SHOWN_PROBLEMS, Place, Problem, WorkbenchError, excerpt, refusal

MAX_BYTES = 50 * 2**20
MAX_INFLATED_BYTES = 500 * 2**20


def read_sheet(file: BinaryIO, container: Container, sheet: str | None) -> Iterator[Row | Problem]:
    """All rows of a sheet: the one that is named, else the first that has any.

    Raises:
        WorkbenchError: D37 where there is no such sheet or the workbook is damaged, D39 where it is too big, D41 where
            the sheet has too many columns.
    """
    container.kind = "xlsx"
    if file.seek(0, 2) > MAX_BYTES:
        raise refusal("D39_workbook_too_big", megabytes=MAX_BYTES // 2**20)
    with opened_zip(file) as archive:
        refuse_bomb(archive, MAX_INFLATED_BYTES)
    file.seek(0)
    try:
        yield from _read(file, container, sheet)
    except WorkbenchError:
        raise
    except Exception as error:  # the parser lets out whatever a damaged file makes it stumble on
        raise refusal("D37_damaged", reason=excerpt(f"{type(error).__name__}: {error}")) from error


def _read(file: BinaryIO, container: Container, wanted: str | None) -> Iterator[Row | Problem]:
    workbook = load_workbook(file, read_only=True, data_only=True, keep_links=False)
    container.sheets = tuple(sheet.title for sheet in workbook.worksheets)
    if wanted is not None and wanted not in container.sheets:
        known = ", ".join(map(excerpt, container.sheets))
        raise refusal("D37_unknown_sheet", name=excerpt(wanted), known=known)
    filled = [name for name in container.sheets if _has_rows(workbook, name)] if wanted is None else []
    container.sheet = wanted or next(iter(filled or container.sheets), "")
    if len(filled) > 1:
        values = {"read": excerpt(container.sheet), "others": ", ".join(map(excerpt, filled[1:]))}
        yield Problem("D37_sheets", values=values, severity="warning")
    if container.sheet:
        yield from _rows(workbook, container.sheet)


def _has_rows(workbook: Workbook, name: str) -> bool:
    with closing(SheetParser(workbook, name).rows()) as rows:
        return any(_has_text(cells) for _, cells in rows)


def _rows(workbook: Workbook, name: str) -> Iterator[Row | Problem]:
    parser = SheetParser(workbook, name)
    columns: list[str] = []
    hidden: list[int] = []
    for line, cells in parser.rows():
        if not _has_text(cells):
            continue
        if parser.hidden:
            hidden.append(line)
        texts = _texts(cells, line)
        if not columns:
            columns, problems = named_columns(texts, line)
            yield from problems
            continue
        yield from _cell_problems(cells, columns, line)
        if len(texts) > len(columns):
            place = Place(line=line, excerpt=excerpt(" | ".join(texts)))
            yield Problem("D35_ragged_row", place, {"cells": len(texts), "columns": len(columns)})
        else:
            yield Row(line, dict(zip(columns, texts + [""] * (len(columns) - len(texts)), strict=True)))
    yield from _sheet_problems(parser.merged, hidden)


def _cell_problems(cells: list[dict[str, Any]], columns: list[str], line: int) -> Iterator[Problem]:
    """Formulas that were never computed, and those that went wrong."""
    for cell in cells:
        unsaved = cell["formula"] and cell["value"] is None
        if (unsaved or cell["data_type"] == "e") and cell["column"] <= len(columns):
            column = excerpt(columns[cell["column"] - 1])
            place = Place(line=line, field=column, excerpt=excerpt(cell["value"] or ""))
            key = "D37_no_saved_value" if unsaved else "D37_error_value"
            yield Problem(key, place, {"field": column}, severity="warning")


def _sheet_problems(merged: list[str], hidden: list[int]) -> Iterator[Problem]:
    if merged:
        values = {"count": len(merged), "cells": excerpt(", ".join(merged[:SHOWN_PROBLEMS]))}
        yield Problem("D37_merged", values=values, severity="warning")
    if hidden:
        values = {"count": len(hidden), "lines": ", ".join(map(str, hidden[:SHOWN_PROBLEMS]))}
        yield Problem("D37_hidden_rows", Place(line=hidden[0]), values, severity="warning")


def _has_text(cells: list[dict[str, Any]]) -> bool:
    return any(cell["formula"] or _text(cell["value"]).strip() for cell in cells)


def _texts(cells: list[dict[str, Any]], line: int) -> list[str]:
    """The texts of a row's cells from the first column to the last that is not empty."""
    filled = {cell["column"]: text for cell in cells if (text := _text(cell["value"])).strip()}
    width = max(filled, default=0)
    if width > MAX_COLUMNS:
        raise refusal("D41_too_many_columns", Place(line=line), columns=width, limit=MAX_COLUMNS)
    return [filled.get(column, "") for column in range(1, width + 1)]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return "" if value is None else str(value)
