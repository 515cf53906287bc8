"""Tables as files to take away: CSV that any spreadsheet opens, and JSON lines. Pure.

Owns what makes a table harmless and readable elsewhere: a cell that a spreadsheet would calculate is told to be text,
and a mark at the beginning says that the file is UTF-8, without which Chinese comes out as rubbish in Excel.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence

UTF8_MARK = "\ufeff"
CALCULATED = ("=", "+", "-", "@", "\t", "\r")  # what begins a cell that a spreadsheet would calculate


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as CSV. Numbers stay numbers; of texts, those that begin like a formula get an apostrophe before them."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\r\n")
    writer.writerow([_cell(name) for name in header])
    writer.writerows([_cell(value) for value in row] for row in rows)
    return UTF8_MARK + written.getvalue()


def jsonl_text(rows: Iterable[Mapping[str, object]]) -> str:
    """Rows as JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(CALCULATED) else value
