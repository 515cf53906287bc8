"""openpyxl's parser of a sheet, which also keeps what a sheet opened for reading only does not tell.

Owns the one place that reaches behind openpyxl's public face, whose version is pinned. It looks at rows and merged
cells alone: what else a sheet holds is nothing to us, and cannot make reading fail.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, BinaryIO

from defusedxml.ElementTree import iterparse
from openpyxl.workbook import Workbook
from openpyxl.worksheet._reader import FORMULA_TAG, ROW_TAG, WorkSheetParser
from openpyxl.xml.constants import SHEET_MAIN_NS

MERGED_TAG = f"{{{SHEET_MAIN_NS}}}mergeCell"


class SheetParser(WorkSheetParser):
    """The rows of one sheet. `hidden` is that of the row last read; `merged` ranges come behind the last row."""

    def __init__(self, workbook: Workbook, name: str) -> None:
        sheet = workbook[name]
        self._open = sheet._get_source
        super().__init__(
            None,
            sheet._shared_strings,
            data_only=True,
            epoch=workbook.epoch,
            date_formats=workbook._date_formats,
            timedelta_formats=workbook._timedelta_formats,
        )
        self.merged: list[str] = []
        self.hidden = False

    def rows(self) -> Generator[tuple[int, list[dict[str, Any]]], None, None]:
        """The number of each row and its cells: openpyxl's `column`, `value`, `data_type`, and whether a `formula`."""
        source: BinaryIO
        with self._open() as source:
            for _, element in iterparse(source):
                if element.tag == MERGED_TAG:
                    self.merged.append(element.get("ref", ""))
                if element.tag != ROW_TAG:
                    continue
                line, cells = self.parse_row(element)
                self.row_dimensions.clear()
                self.hidden = element.get("hidden") in ("1", "true")
                element.clear()
                yield line, cells

    def parse_cell(self, element: Any) -> dict[str, Any]:
        cell: dict[str, Any] = super().parse_cell(element)
        return cell | {"formula": element.find(FORMULA_TAG) is not None}
