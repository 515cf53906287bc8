"""One row of a file with its line, and what any value must be before its meaning is asked.

Owns what holds for rows of every container: a row is an object, its numbers are finite, it is not nested without end,
and its text can be encoded. Which containers there are is decided in `streams.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from core.errors import Place, Problem, excerpt, refusal

ContainerKind = Literal["json", "json_lines", "csv", "parquet", "xlsx", "text", "archive", "folder"]
MAX_DEPTH = 64
MAX_COLUMNS = 1000
MAX_ROW_CHARACTERS = 10 * 2**20
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Row:
    """The values of one row by column or key.

    `line` is where it begins in the file, from 1; `file` the member of a folder or archive it is in, else "".
    """

    line: int
    values: dict[str, Any]
    file: str = ""


@dataclass
class Container:
    """What kind of file the rows are in, filled in by its reader before the first row.

    `encoding` is "" for files that are not text; `sheets` are all those of a workbook, `sheet` the one that is read;
    `members` are the files of a folder or archive that are read.
    """

    kind: ContainerKind = "text"
    encoding: str = ""
    delimiter: str = ""
    sheets: tuple[str, ...] = ()
    sheet: str = ""
    members: tuple[str, ...] = ()


def checked(line: int, value: object) -> list[Row | Problem]:
    """A value as a row where it can be one, and what is wrong with it."""
    if not isinstance(value, dict):
        place = Place(line=line, excerpt=excerpt(value))
        return [Problem("D23_row_not_object", place, {"type": type_name(value)})]
    defect = _first_defect(value, "", 1)
    if defect is None:
        return [Row(line, value)]
    key, path = defect
    place = Place(line=line, field=excerpt(path))
    if key == "D16_lone_surrogate":
        return [Problem(key, place, severity="warning"), Row(line, _encodable(value))]
    return [Problem(key, place, {"limit": MAX_DEPTH})]


def named_columns(header: Sequence[str], line: int | None) -> tuple[list[str], list[Problem]]:
    """Names that tell the columns apart: an empty one becomes `column 3`, a repeated one `text 2`; both are said.

    Raises:
        WorkbenchError: D41 where there are more columns than a table of texts can have.
    """
    if len(header) > MAX_COLUMNS:
        raise refusal("D41_too_many_columns", Place(line=line), columns=len(header), limit=MAX_COLUMNS)
    names: list[str] = []
    problems = []
    taken = {name.strip() for name in header}
    for position, cell in enumerate(header, start=1):
        name = wish = cell.strip()
        number = 1
        while not name or name in names or (name != wish and name in taken):
            number += 1
            name = f"{wish} {number}" if wish else f"column {position + number - 2}"
        if name != wish:
            place = Place(line=line, excerpt=excerpt(" | ".join(header)))
            values = {"number": position, "name": excerpt(wish), "renamed": excerpt(name)}
            key = "D35_column_repeated" if wish else "D35_column_unnamed"
            problems.append(Problem(key, place, values, severity="warning"))
        names.append(name)
    return names, problems


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
        name = _first_defect(key, inside, depth + 1)
        defect = _first_defect(entry, inside, depth + 1) or name
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
