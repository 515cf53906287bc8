"""Rows of plain text: a document is one row, or several where it is too long for one.

Owns where a long document is cut. What is to be done with texts is decided by the formats.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from core.data.reading.rows import MAX_ROW_CHARACTERS, Container, Row
from core.data.reading.texts import TextSource

_BLANK_LINES = re.compile(r"\n[ \t]*\n")


def read_document(text: TextSource, container: Container) -> Iterator[Row]:
    """The text as rows `{"text": …}`, each with the line it begins on."""
    container.kind = "text"
    line = 1
    rest = ""
    for chunk in text.chunks():
        rest += chunk
        while len(rest) > MAX_ROW_CHARACTERS:
            cut = _cut(rest)
            yield from _row(rest[:cut], line)
            line += rest.count("\n", 0, cut)
            rest = rest[cut:]
    yield from _row(rest, line)


def _row(text: str, line: int) -> Iterator[Row]:
    inside = text.strip("\n")
    if inside.strip():
        yield Row(line + len(text) - len(text.lstrip("\n")), {"text": inside})


def _cut(text: str) -> int:
    """Where the first row of a long text ends: behind the last blank line, else line, else character that fits."""
    blank = [match.end() for match in _BLANK_LINES.finditer(text, MAX_ROW_CHARACTERS // 2, MAX_ROW_CHARACTERS)]
    return blank[-1] if blank else (text.rfind("\n", 0, MAX_ROW_CHARACTERS) + 1 or MAX_ROW_CHARACTERS)
