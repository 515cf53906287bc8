"""One row of a file with its line, and what any value must be before its meaning is asked.

Owns what holds for rows of every container: a row is an object, its numbers are finite, it is not nested without end,
and its text can be encoded. Which containers there are is decided in `readers.py`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

from core.errors import Place, Problem, excerpt

MAX_DEPTH = 64
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Row:
    """The values of one row by column or key. `line` is where it begins in the file, from 1."""

    line: int
    values: dict[str, Any]


@dataclass
class Found:
    """What a reader has collected so far."""

    rows: list[Row] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def add(self, line: int, value: object) -> None:
        """Take a value as a row where it can be one; what is wrong with it becomes a problem."""
        if not isinstance(value, dict):
            place = Place(line=line, excerpt=excerpt(value))
            self.problems.append(Problem("D23_row_not_object", place, {"type": type_name(value)}))
            return
        defect = _first_defect(value, "", 1)
        if defect is None:
            self.rows.append(Row(line, value))
            return
        key, path = defect
        if key == "D16_lone_surrogate":
            self.rows.append(Row(line, _encodable(value)))
            self.problems.append(Problem(key, Place(line=line, field=path), severity="warning"))
        else:
            self.problems.append(Problem(key, Place(line=line, field=path), {"limit": MAX_DEPTH}))


def type_name(value: object) -> str:
    """A JSON type by name, as shown to a person."""
    names = {dict: "object", list: "list", str: "text", bool: "true/false", int: "number", float: "number"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


def _first_defect(value: object, path: str, depth: int) -> tuple[str, str] | None:
    """The catalogue key and field of the first thing that is wrong; a lone surrogate only where nothing else is."""
    if isinstance(value, str):
        return ("D16_lone_surrogate", path) if _SURROGATE.search(value) else None
    if isinstance(value, float):
        return None if math.isfinite(value) else ("D12_not_finite", path)
    if not isinstance(value, dict | list):
        return None
    if depth > MAX_DEPTH:
        return ("D14_too_deep", path)
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    defects = []
    for key, entry in entries:
        inside = f"{path}[{key}]" if isinstance(key, int) else f"{path}.{key}".removeprefix(".")
        defect = _first_defect(entry, inside, depth + 1)
        if defect and defect[0] != "D16_lone_surrogate":
            return defect
        defects += [defect] if defect else []
    return defects[0] if defects else None


def _encodable(value: Any) -> Any:
    """The value with each lone surrogate, which no encoding can hold, replaced by U+FFFD."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_encodable(key): _encodable(entry) for key, entry in value.items()}
    return [_encodable(entry) for entry in value] if isinstance(value, list) else value
