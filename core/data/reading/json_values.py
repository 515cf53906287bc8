"""JSON values as Python's decoder reads them, and in words what is wrong where it cannot.

Owns what holds for lines and documents alike; where rows begin is decided in `json_rows.py` and `json_documents.py`.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from core.data.reading.rows import MAX_DEPTH, MAX_ROW_CHARACTERS, Row, checked
from core.errors import Place, Problem, excerpt

_SPACE = re.compile(r"[ \t\r\n]*")
_FOREIGN_WORD = re.compile(r"None|True|False|undefined")


class Decoder:
    """JSON values as Python's decoder reads them; remembers what it does not say: keys that are there twice."""

    def __init__(self) -> None:
        self._duplicates: list[str] = []
        self._endless = False
        self._json = json.JSONDecoder(
            object_pairs_hook=self._object, parse_float=self._number, parse_constant=self._number
        )

    def decode(self, text: str, position: int) -> tuple[Any, int]:
        """The value at a position and where it ends. Raises ValueError, RecursionError."""
        return self._json.raw_decode(text, position)

    def rows(self, line: int, value: Any, text: str, start: int, end: int) -> list[Row | Problem]:
        """A value that was decoded from a part of a text as a row, with what is wrong with it.

        What can be wrong inside shows in the text first: looking there is much faster than walking through the value.
        """
        opened = text.count("[", start, end) + text.count("{", start, end)
        plain = not self._endless and text.find("\\u", start, end) < 0
        certain = isinstance(value, dict) and plain and opened <= MAX_DEPTH
        found: list[Row | Problem] = [Row(line, value)] if certain else checked(line, value)
        for key in dict.fromkeys(self._duplicates):
            found.append(Problem("D13_duplicate_key", Place(line=line, field=excerpt(key)), severity="warning"))
        self.forget()
        return found

    def forget(self) -> None:
        self._duplicates = []
        self._endless = False

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            seen: set[str] = set()
            self._duplicates += [key for key, _ in pairs if key in seen or seen.add(key)]  # type: ignore[func-returns-value]
        return result

    def _number(self, digits: str) -> float:
        number = float(digits)
        self._endless = self._endless or not math.isfinite(number)
        return number


def after_space(text: str, position: int) -> int:
    space = _SPACE.match(text, position)
    return space.end() if space else position


def too_long(text: str, line: int) -> Problem:
    place = Place(line=line, excerpt=excerpt(text[:200]))
    return Problem("D17_line_too_long", place, {"limit": MAX_ROW_CHARACTERS // 2**20})


def problem_of(text: str, error: Exception, line: int | None) -> Problem:
    """What is wrong in a text that is not JSON. `line` is that of a text of one line, else None."""
    if isinstance(error, RecursionError):
        return Problem("D14_too_deep", Place(line=line, excerpt=excerpt(text[:200])), {"limit": MAX_DEPTH})
    if not isinstance(error, json.JSONDecodeError):
        return Problem("D15_number_too_long", Place(line=line))
    shown = text[max(0, error.pos - 30) : error.pos + 50].partition("\n")[0]
    key = _usual_mistake(text, error.pos) or ("D08_bad_line" if line else "D11_not_json")
    return Problem(key, Place(line=line, excerpt=excerpt(shown)), {"column": error.colno})


def _usual_mistake(text: str, position: int) -> str | None:
    """The mistakes people make in JSON, recognised from the text: Python has words for them in English only."""
    at = after_space(text, position)
    signs = {
        "D11_single_quotes": text.startswith("'", at),
        "D11_comment": text.startswith(("//", "/*", "#"), at),
        "D11_python_word": bool(_FOREIGN_WORD.match(text, at)),
        "D11_trailing_comma": text.startswith(("}", "]"), at) and text[:at].rstrip().endswith(","),
    }
    return next((key for key, present in signs.items() if present), None)
