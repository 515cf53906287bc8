"""Rows of JSON files: an array, an object that holds one, objects one a line, or objects one after another.

Owns where each row begins, and saying what is not JSON and where. An array or object that breaks off is refused as a
whole, because what follows the break cannot be trusted; in JSON lines every bad line is named and the others are read.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from core.data.rows import MAX_DEPTH, Found
from core.errors import Place, Problem, WorkbenchError, excerpt, refusal

CONTAINER_KEYS = ("data", "rows", "examples", "train")
MAX_LINE_CHARACTERS = 10 * 1024 * 1024
_SPACE = re.compile(r"[ \t\r\n]*")
_FOREIGN_WORD = re.compile(r"None|True|False|undefined")


def read_json(text: str) -> Found:
    """All rows of a JSON text; the array may be called .jsonl and the lines .json.

    Raises:
        WorkbenchError: D07 where a document ends early; D11, D14, D15 where it is not JSON that can be read.
    """
    document = _Document(text, Found())
    start = document.skip(0)
    if text[start] == "[":
        document.nothing_after(document.read_array(start))
    elif text[start] == "{" and not _is_lines(text, start):
        document.read_objects(start)
    else:
        return _read_lines(text)
    return document.rows_on_their_lines()


def _is_lines(text: str, start: int) -> bool:
    """Whether each line is a row: the first object ends with its line and more follows.

    Where the first object is broken, its line is a row if it ends like one, or if another line is one.
    """
    try:
        _, end = _Decoder().decode(text, start)
    except (ValueError, RecursionError):
        first, *others = text[start:].split("\n", 100)
        ending = first.rstrip()[-1:]
        return ending == "}" or (ending not in "[{," and any(map(_is_object, others)))
    rest = text[end:].strip()
    return bool(rest) and "\n" not in text[start:end]


def _is_object(line: str) -> bool:
    try:
        return line.startswith("{") and isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _read_lines(text: str) -> Found:
    found = Found()
    decoder = _Decoder()
    for line, content in enumerate(text.split("\n"), start=1):
        row = content.strip()
        if not row:
            continue
        if len(row) > MAX_LINE_CHARACTERS:
            place = Place(line=line, excerpt=excerpt(row))
            found.problems.append(Problem("D17_line_too_long", place, {"limit": MAX_LINE_CHARACTERS // 2**20}))
            continue
        try:
            value, end = decoder.decode(row, 0)
            if row[end:].strip():
                raise json.JSONDecodeError("Extra data", row, end)
        except (ValueError, RecursionError) as error:
            found.problems.append(_problem(row, error, line))
            continue
        found.add(line, value)
        found.problems += decoder.take_duplicates(line)
    return found


class _Decoder:
    """JSON values as Python's decoder reads them, with the keys that an object holds twice remembered."""

    def __init__(self) -> None:
        self._duplicates: list[str] = []
        self._json = json.JSONDecoder(object_pairs_hook=self._object)

    def decode(self, text: str, position: int) -> tuple[Any, int]:
        """The value at a position and where it ends. Raises ValueError, RecursionError."""
        return self._json.raw_decode(text, position)

    def take_duplicates(self, line: int) -> list[Problem]:
        keys, self._duplicates = self._duplicates, []
        return [Problem("D13_duplicate_key", Place(line=line, field=excerpt(key)), severity="warning") for key in keys]

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            seen: set[str] = set()
            self._duplicates += [key for key, _ in pairs if key in seen or seen.add(key)]  # type: ignore[func-returns-value]
        return result


class _Document:
    """A JSON text that is one document; reads forward and knows the line it has come to."""

    def __init__(self, text: str, found: Found) -> None:
        self.text = text
        self.found = found
        self.decoder = _Decoder()
        self._position = 0
        self._line = 1
        self._lines: list[int] = []

    def skip(self, position: int) -> int:
        """The next position that is not space."""
        space = _SPACE.match(self.text, position)
        return space.end() if space else position

    def read_array(self, opening: int) -> int:
        """Read the elements of an array as rows; returns the position behind it."""
        position = self.skip(opening + 1)
        if self.text[position : position + 1] == "]":
            return position + 1
        while True:
            position = self._read_row(position, opening)
            mark = self.text[position : position + 1]
            if mark == "]":
                return position + 1
            if mark != ",":
                raise self._refused(json.JSONDecodeError("Expecting ',' delimiter", self.text, position), opening)
            position = self.skip(position + 1)

    def read_objects(self, start: int) -> None:
        """Read an object that holds the rows, or objects that are rows, one after another."""
        position = start
        while position < len(self.text):
            array = self._contained_array(position)
            position = self.skip(self.read_array(array)) if array else self._read_row(position, position)
            if array:
                return

    def nothing_after(self, position: int) -> None:
        position = self.skip(position)
        if position < len(self.text):
            raise self._refused(json.JSONDecodeError("Extra data", self.text, position), position)

    def rows_on_their_lines(self) -> Found:
        """What was found, by line; by number of the row, said so, where several rows share a line."""
        if len(set(self._lines)) < len(self._lines):
            self.found.problems.append(Problem("D10_rows_share_lines", severity="warning"))
            return self.found
        line_of = dict(enumerate(self._lines, start=1))
        rows = [replace(row, line=line_of[row.line]) for row in self.found.rows]
        problems = [
            replace(problem, place=replace(problem.place, line=line_of[problem.place.line or 1]))
            for problem in self.found.problems
        ]
        return Found(rows, problems)

    def _read_row(self, position: int, opening: int) -> int:
        line = self._line_at(position)
        try:
            value, end = self.decoder.decode(self.text, position)
        except (ValueError, RecursionError) as error:
            raise self._refused(error, opening, line) from error
        self._lines.append(line)
        self.found.add(len(self._lines), value)
        self.found.problems += self.decoder.take_duplicates(len(self._lines))
        return self.skip(end)

    def _contained_array(self, opening: int) -> int | None:
        """Where the array of rows begins in an object like `{"data": [...]}`, or None where there is none."""
        position = self.skip(opening + 1)
        try:
            while self.text[position : position + 1] == '"':
                key, end = self.decoder.decode(self.text, position)
                position = self.skip(self.skip(end) + 1)
                if key in CONTAINER_KEYS and self.text[position : position + 1] == "[":
                    return position
                position = self.skip(self.skip(self.decoder.decode(self.text, position)[1]) + 1)
        except (ValueError, RecursionError):
            return None
        return None

    def _line_at(self, position: int) -> int:
        """The line of a position; positions are asked in rising order."""
        self._line += self.text.count("\n", self._position, position)
        self._position = position
        return self._line

    def _refused(self, error: Exception, opening: int, line: int = 0) -> WorkbenchError:
        if isinstance(error, json.JSONDecodeError) and _is_cut_off(self.text, error):
            column = opening - self.text.rfind("\n", 0, opening)
            place = Place(line=line or self._line, excerpt=excerpt(self.text.rstrip()[-60:]))
            opened = self.text.count("\n", 0, opening) + 1
            return refusal("D07_cut_off", place, opened=opened, column=column)
        return WorkbenchError([_problem(self.text, error, None)])


def _is_cut_off(text: str, error: json.JSONDecodeError) -> bool:
    return error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")


def _problem(text: str, error: Exception, line: int | None) -> Problem:
    """What is wrong in a text that is not JSON. `line` is that of a text of one line, else None."""
    if isinstance(error, RecursionError):
        return Problem("D14_too_deep", Place(line=line, excerpt=excerpt(text)), {"limit": MAX_DEPTH})
    if not isinstance(error, json.JSONDecodeError):
        return Problem("D15_number_too_long", Place(line=line))
    shown = text[max(0, error.pos - 30) : error.pos + 50].partition("\n")[0]
    key = _usual_mistake(text, error.pos) or ("D08_bad_line" if line else "D11_not_json")
    return Problem(key, Place(line=line or error.lineno, excerpt=excerpt(shown)), {"column": error.colno})


def _usual_mistake(text: str, position: int) -> str | None:
    """The mistakes people make in JSON, recognised from the text: Python has words for them in English only."""
    space = _SPACE.match(text, position)
    at = space.end() if space else position
    signs = {
        "D11_single_quotes": text.startswith("'", at),
        "D11_comment": text.startswith(("//", "/*", "#"), at),
        "D11_python_word": bool(_FOREIGN_WORD.match(text, at)),
        "D11_trailing_comma": text.startswith(("}", "]"), at) and text[:at].rstrip().endswith(","),
    }
    return next((key for key, present in signs.items() if present), None)
