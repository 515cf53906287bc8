"""A JSON text that is one document: an array of rows, an object that holds one, or objects one after another.

Owns where each row begins in it. A document that breaks off is refused as a whole, because what follows the break
cannot be trusted. No more of the text is held than one row and one chunk.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from core.data.reading.json_values import Decoder, after_space, problem_of, too_long
from core.data.reading.rows import MAX_ROW_CHARACTERS, Row
from core.data.reading.texts import TextSource
from core.errors import Place, Problem, WorkbenchError, excerpt, refusal

CONTAINER_KEYS = ("data", "rows", "examples", "train")
NEAR_THE_END = 32  # characters in which a token that is cut off by the end of a chunk can begin


def read_json_document(text: TextSource) -> Iterator[Row | Problem]:
    """All rows of a document.

    Raises:
        WorkbenchError: D07 where it ends early; D11, D14, D15, D17 where it is not JSON that can be read.
    """
    return _on_their_lines(_Document(text).rows())


def rows_key(text: str, opening: int) -> str | None:
    """The key of the array of rows in an object like `{"data": [...]}`, or None where there is none in sight."""
    decoder = Decoder()
    position = after_space(text, opening + 1)
    try:
        while text[position : position + 1] == '"':
            key, end = decoder.decode(text, position)
            position = after_space(text, after_space(text, end) + 1)
            if key in CONTAINER_KEYS and text[position : position + 1] == "[":
                return str(key)
            position = after_space(text, after_space(text, decoder.decode(text, position)[1]) + 1)
    except (ValueError, RecursionError):
        return None
    return None


def _on_their_lines(found: Iterator[tuple[int, list[Row | Problem]]]) -> Iterator[Row | Problem]:
    """What was found, by line; by number of the row, said so, where the first two rows share a line."""
    first = next(found, None)
    if first is None:
        return
    second = next(found, None)
    numbered = second is not None and second[0] == first[0]
    if numbered:
        yield Problem("D10_rows_share_lines", severity="warning")
    yield from first[1]
    number = 1
    while second is not None:
        number += 1
        yield from (_moved(item, number) for item in second[1]) if numbered else second[1]
        second = next(found, None)


def _moved(item: Row | Problem, line: int) -> Row | Problem:
    if isinstance(item, Row):
        return replace(item, line=line)
    return replace(item, place=replace(item.place, line=line))


class _Document:
    """A JSON text that is one document; a window moves over it and knows the line it has come to."""

    def __init__(self, text: TextSource) -> None:
        self._chunks = text.chunks()
        self._text = next(self._chunks, "")
        self._position = self._began = 0
        self._line = 1  # of what was counted so far
        self._counted = 0
        self._cut = 0  # characters of the window's first line that stand before the window
        self._decoder = Decoder()

    def rows(self) -> Iterator[tuple[int, list[Row | Problem]]]:
        """The rows, each with the line it begins on and what is wrong with it."""
        if self._mark() == "[":
            yield from self._array()
        elif (key := rows_key(self._text, self._position)) is not None:
            yield from self._object_with_rows(key)
        else:
            while self._mark():
                yield self._row(self._place())
            return
        if self._mark():
            raise self._refused(self._expected("end"), self._place())

    def _array(self) -> Iterator[tuple[int, list[Row | Problem]]]:
        """The elements of the array at the position as rows."""
        opening = self._place()
        self._position += 1
        if self._mark() == "]":
            self._position += 1
            return
        while True:
            self._mark()
            yield self._row(opening)
            if self._separator("]", opening):
                return

    def _object_with_rows(self, rows_key: str) -> Iterator[tuple[int, list[Row | Problem]]]:
        """The rows of the array under a key; what stands under others is passed over, lists of objects not silently."""
        opening = self._place()
        self._position += 1
        unread = True
        while True:
            self._mark()
            key = self._value(opening)
            if self._mark() != ":":
                raise self._refused(self._expected(":"), opening)
            self._position += 1
            if self._mark() != "[":
                self._value(opening)
            elif key == rows_key and unread:
                unread = False
                yield from self._array()
            else:
                line = self._line_here()
                objects = sum(isinstance(item, Row) for _, found in self._array() for item in found)
                if objects:
                    place = Place(line=line, field=excerpt(key))
                    values = {"field": excerpt(key), "count": objects, "read": rows_key}
                    yield line, [Problem("D09_other_list", place, values, severity="warning")]
            if self._separator("}", opening):
                return

    def _row(self, opening: tuple[int, int]) -> tuple[int, list[Row | Problem]]:
        line = self._line_here()
        value = self._value(opening)
        return line, self._decoder.rows(line, value, self._text, self._began, self._position)

    def _value(self, opening: tuple[int, int]) -> Any:
        """The value at the position, which moves behind it; `_began` is then where it stood."""
        while True:
            try:
                value, end = self._decoder.decode(self._text, self._position)
            except (ValueError, RecursionError) as error:
                self._decoder.forget()
                if not _may_go_on(self._text, error) or not self._more():
                    raise self._refused(error, opening) from error
            else:
                if isinstance(value, dict | list | str) or end < len(self._text) - 2 or not self._more():
                    self._began, self._position = self._position, end
                    return value
            if len(self._text) - self._position > MAX_ROW_CHARACTERS:
                raise WorkbenchError([too_long(self._text[self._position :], self._line_here())])

    def _mark(self) -> str:
        """Move over white space; the character that follows, "" at the end."""
        while True:
            self._position = after_space(self._text, self._position)
            if self._position < len(self._text):
                return self._text[self._position]
            if not self._more():
                return ""

    def _separator(self, closing: str, opening: tuple[int, int]) -> bool:
        """Move over a comma or the closing bracket; whether it was the bracket."""
        mark = self._mark()
        if mark not in (",", closing) or not mark:
            raise self._refused(self._expected(","), opening)
        self._position += 1
        return mark == closing

    def _expected(self, mark: str) -> json.JSONDecodeError:
        return json.JSONDecodeError(f"Expecting {mark}", self._text, self._position)

    def _more(self) -> bool:
        """Lengthen the window by a chunk and drop what lies behind; False at the end of the text."""
        chunk = next(self._chunks, "")
        if not chunk:
            return False
        self._line_here()
        newline = self._text.rfind("\n", 0, self._position)
        self._cut = self._position - newline - 1 if newline >= 0 else self._cut + self._position
        self._text = self._text[self._position :] + chunk
        self._position = self._counted = 0
        return True

    def _line_here(self) -> int:
        """The line of the position."""
        self._line += self._text.count("\n", self._counted, self._position)
        self._counted = self._position
        return self._line

    def _place(self) -> tuple[int, int]:
        """The line and column of the position."""
        return self._line_here(), self._column(self._position)

    def _column(self, position: int) -> int:
        newline = self._text.rfind("\n", 0, position)
        return position - newline + (self._cut if newline < 0 else 0)

    def _refused(self, error: Exception, opening: tuple[int, int]) -> WorkbenchError:
        line = self._line_here()
        if isinstance(error, json.JSONDecodeError):
            if _is_cut_off(self._text, error):
                place = Place(line=line, excerpt=excerpt(self._text.rstrip()[-60:]))
                return refusal("D07_cut_off", place, opened=opening[0], column=opening[1])
            line += self._text.count("\n", self._counted, error.pos)
            problem = problem_of(self._text, error, None)
            values = {"column": self._column(error.pos)}
            return WorkbenchError([replace(problem, place=replace(problem.place, line=line), values=values)])
        problem = problem_of(self._text[self._position :][:200], error, None)
        return WorkbenchError([replace(problem, place=replace(problem.place, line=line))])


def _may_go_on(text: str, error: Exception) -> bool:
    """Whether what is wrong may be only that the text is not all there yet."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.pos >= len(text) - NEAR_THE_END or error.msg.startswith("Unterminated string")


def _is_cut_off(text: str, error: json.JSONDecodeError) -> bool:
    return error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
