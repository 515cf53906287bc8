"""Rows of JSON files: a document, or objects one a line.

Owns telling the two apart, and the lines: every bad one is named and the others are read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from core.data.reading.json_documents import read_json_document, rows_key
from core.data.reading.json_values import Decoder, after_space, problem_of, too_long
from core.data.reading.rows import MAX_ROW_CHARACTERS, Container, Row
from core.data.reading.texts import TextSource
from core.errors import Problem

_BEGINS_AS_JSON = re.compile(r"\s*[\[{]")
_BEGINS_AS_ROWS = re.compile(r"\s*(\[\s*\{|\{\s*[\"'}])")


def looks_like_json(text: str, *, prose: bool) -> bool:
    """Whether it begins as JSON does; `prose` where a bracket may also begin a text, such as `[1] Smith et al.`"""
    return bool((_BEGINS_AS_ROWS if prose else _BEGINS_AS_JSON).match(text))


def read_json(text: TextSource, container: Container) -> Iterator[Row | Problem]:
    """All rows of a JSON text; the array may be called .jsonl and the lines .json.

    Raises:
        WorkbenchError: D07 where a document ends early; D11, D14, D15, D17 where it is not JSON that can be read.
    """
    start = after_space(text.first, 0)
    mark = text.first[start : start + 1]
    if mark and mark in "[{" and not _is_lines(text.first, start, text.whole):
        container.kind = "json"
        return read_json_document(text)
    container.kind = "json_lines"
    return _read_lines(text)


def _is_lines(text: str, start: int, whole: bool) -> bool:
    """Whether each line is a row, told from the beginning of a text: the first value ends with its line, more follow.

    Where the first object is broken, its line is a row if it ends like one, or if another line is one. Where not
    even one line is in sight, it is a row unless it holds an array of them. An array goes on over lines.
    """
    try:
        _, end = Decoder().decode(text, start)
    except (ValueError, RecursionError):
        first, *others = text[start:].split("\n", 100)
        if first.startswith("["):
            return False
        if not others and not whole:
            return rows_key(text, start) is None
        ending = first.rstrip()[-1:]
        return ending == "}" or (ending not in "[{," and any(map(_is_object, others)))
    rest = text[end:].lstrip(" \t")
    if text[start] == "[":
        return "\n" not in text[start:end] and rest.startswith("\n") and rest.lstrip()[:1] in ("[", "{")
    return "\n" not in text[start:end] and bool(rest.strip()) and not rest.startswith("{")


def _is_object(line: str) -> bool:
    try:
        return line.startswith("{") and isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _read_lines(text: TextSource) -> Iterator[Row | Problem]:
    decoder = Decoder()
    for line, content in enumerate(text.lines(MAX_ROW_CHARACTERS), start=1):
        row = content.strip()
        if not row:
            continue
        if len(row) > MAX_ROW_CHARACTERS:
            yield too_long(row, line)
            continue
        try:
            value, end = decoder.decode(row, 0)
            if end < len(row):
                raise json.JSONDecodeError("Extra data", row, end)
        except (ValueError, RecursionError) as error:
            decoder.forget()
            yield problem_of(row, error, line)
            continue
        yield from decoder.rows(line, value, row, 0, end)
