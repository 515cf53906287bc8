"""One row → one example: the door of this package.

Owns finding the column of each role in a row: by its name (the usual formats), by its path (a mapping a person made),
or by the text around it (a format file). What the columns say is read in `roles.py`. A reader remembers what only a
whole file can tell: rows of other formats, unusual role names, columns that look misspelt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from core.data.conversation import Example, Message
from core.data.formats.detection import format_of
from core.data.formats.names import (
    EXTRAS,
    NAMES,
    REQUIRED,
    ROLES,
    SPEAKERS,
    USUAL_ELSEWHERE,
    USUAL_NAMES,
    USUAL_SPEAKERS,
    by_plain_key,
    columns_of,
    similar,
)
from core.data.formats.paths import MISSING, value_at
from core.data.formats.patterns import read_entry, usable_patterns
from core.data.formats.roles import Cells, read_roles
from core.data.formats.row_values import Cell, Reading
from core.data.formats.turns import read_turns
from core.data.options import ColumnRole, FormatName
from core.data.reading.rows import Row
from core.errors import SHOWN_PROBLEMS, Place, Problem, excerpt, refusal

MAX_KEYS = 1_000  # columns that are kept in mind because nothing reads them
SURELY_MEANT = 0.85
ONE_COLUMN: tuple[ColumnRole, ...] = ("chosen", "rejected", "label", "tools")  # two of these cannot be joined


class RowReader:
    """Reads the rows of one file in one format.

    Raises:
        WorkbenchError: D21 where the mapping or the patterns cannot make an example of any row.
    """

    def __init__(
        self,
        format: FormatName,  # noqa: A002
        mapping: Mapping[str, ColumnRole] = {},
        patterns: Mapping[str, str] = {},
    ) -> None:
        self._format = format
        self._mapping = _usable_mapping(mapping) if format == "mapped" else {}
        self._patterns = usable_patterns(patterns) if format == "patterns" else ()
        self._usual: dict[ColumnRole, str] = dict(USUAL_NAMES.get(format, {}))
        self._speakers: Counter[str] = Counter()
        self._formats: dict[FormatName, tuple[int, Place]] = {}  # rows, and the place of the first
        self._unread: dict[str, tuple[int, Place]] = {}

    def read(self, row: Row, number: int) -> Example:
        """The example of a row, which is the `number`-th of its file, from 1.

        Raises:
            WorkbenchError: with everything that is wrong with the row (D19, D20, D22–D25).
        """
        reading = Reading(row.line, row.file, self._speakers)
        if self._format == "mapped":
            return read_roles(reading, self._mapped_cells(reading, row.values), number)
        values = by_plain_key(row.values)
        if self._format == "patterns":
            return read_roles(reading, read_entry(reading, self._patterns, values), number)
        cells = self._named_cells(reading, values)
        example = read_roles(reading, cells, number)
        self._remember(values, cells, Place(row.file, row.line))
        return example

    def problems(self) -> list[Problem]:
        """What is to be said about the file as a whole, after its last row."""
        return [*self._mixed(), *self._misspelt(), *self._renamed()]

    def _mapped_cells(self, reading: Reading, values: Mapping[str, Any]) -> Cells:
        cells: dict[ColumnRole, list[Cell]] = {}
        for path, role in self._mapping.items():
            value = value_at(values, path)
            if value is MISSING:
                reading.refuse("D20_key_missing", path, columns=_shown(values))
            cells.setdefault(role, []).append(Cell(path, value))
        reading.finish()
        return cells

    def _named_cells(self, reading: Reading, values: Mapping[str, Any]) -> Cells:
        own = format_of(values)
        if own:
            count, first = self._formats.get(own) or (0, Place(reading.file, reading.line))
            self._formats[own] = (count + 1, first)
        cells: dict[ColumnRole, list[Cell]] = {}
        columns = columns_of(tuple(values))
        for role in ROLES[self._format]:
            if role in columns:
                cells[role] = [Cell(columns[role], values[columns[role]])]
        if "user" in cells:
            extras = (name for name in EXTRAS if name in values and name != cells["user"][0].field)
            cells["user"] += [Cell(name, values[name]) for name in extras]
        if "messages" in cells:  # a preference or KTO row may repeat its question beside the whole conversation
            cells.pop("user", None)
            cells.pop("assistant", None)
        self._require(reading, cells, values, own)
        return cells

    def _require(self, reading: Reading, cells: Cells, values: Mapping[str, Any], own: FormatName | None) -> None:
        """Refuses a row without the columns of the format: as one of another format where it is that."""
        required = REQUIRED[self._format]
        if self._format == "kto":
            required = ("messages", "label") if "messages" in cells else ("user", "assistant", "label")
        missing = [role for role in required if role not in cells]
        if len(missing) == len(required) and own:
            reading.refuse("D19_other_format", "", _shown(values), own=own, format=self._format)
        else:
            read = {cell.field for found in cells.values() for cell in found}
            for role in missing:
                name = self._usual.get(role, NAMES[role][0])
                near = similar(name, [key for key in values if key not in read])
                if near:
                    reading.refuse("D20_key_misspelt", name, similar=near)
                else:
                    reading.refuse("D20_key_missing", name, columns=_shown(values))
        reading.finish()

    def _remember(self, values: Mapping[str, Any], cells: Cells, place: Place) -> None:
        read = {cell.field for found in cells.values() for cell in found}
        for role, found in cells.items():
            self._usual[role] = found[0].field
        for name in values.keys() - read:
            count, first = self._unread.get(name, (0, place))
            if count or len(self._unread) < MAX_KEYS:
                self._unread[name] = (count + 1, first)

    def _mixed(self) -> list[Problem]:
        if self._format in ("mapped", "patterns") or not self._formats.keys() - {self._format}:
            return []
        by_count = sorted(self._formats.items(), key=lambda entry: (entry[0] != self._format, -entry[1][0]))
        found = ", ".join(f"{name} ({count}; {first.line})" for name, (count, first) in by_count)
        first = next(first for name, (_, first) in self._formats.items() if name != self._format)
        return [Problem("D19_mixed_formats", first, {"found": found, "format": self._format}, "warning")]

    def _misspelt(self) -> list[Problem]:
        """Columns that nothing reads and whose name is almost that of one that may be left out."""
        if self._format in ("mapped", "patterns"):
            return []
        optional = set(ROLES[self._format]) - set(REQUIRED[self._format]) - {"user", "messages"}
        names = [name for role in optional for name in NAMES[role]]
        names += EXTRAS if "user" in ROLES[self._format] else ()
        known = {name for role in ROLES[self._format] for name in NAMES[role]}
        return [
            Problem("D20_similar_column", replace(first, field=key), _named(key, near, count), "warning")
            for key, (count, first) in self._unread.items()
            if key not in known and (near := similar(key, names, SURELY_MEANT))
        ]

    def _renamed(self) -> list[Problem]:
        usual = USUAL_SPEAKERS.get(self._format, USUAL_ELSEWHERE)
        seen = [
            f"{said} → {SPEAKERS[said.strip().lower()]} ({count})"
            for said, count in self._speakers.items()
            if said not in usual
        ]
        values = {"roles": ", ".join(seen[:SHOWN_PROBLEMS])}
        return [Problem("D25_roles_read_as", values=values, severity="warning")] if seen else []


def read_messages(values: Sequence[object], line: int) -> tuple[Message, ...]:
    """The messages of a row as a person rewrote it.

    Raises:
        WorkbenchError: D22–D25 with everything that is wrong with them.
    """
    reading = Reading(line)
    messages = read_turns(reading, list(values), "messages")
    reading.finish()
    return tuple(messages)


def _usable_mapping(mapping: Mapping[str, ColumnRole]) -> Mapping[str, ColumnRole]:
    counts = Counter(mapping.values())
    roles = set(counts)
    if "text" in roles:
        complete = roles == {"text"}
    elif roles & {"chosen", "rejected"}:
        complete = roles >= {"chosen", "rejected"} and not roles & {"assistant", "label"}
    else:
        complete = "messages" in roles or roles >= {"user", "assistant"}
    if not complete:
        raise refusal("D21_mapping_incomplete", roles=", ".join(sorted(roles)) or "–")
    twice = [role for role in ONE_COLUMN if counts[role] > 1]
    if twice:
        raise refusal("D21_mapping_twice", roles=", ".join(twice))
    return mapping


def _shown(values: Collection[str]) -> str:
    names = [excerpt(name) for name in list(values)[:SHOWN_PROBLEMS]]
    return ", ".join(names) + (" …" if len(values) > SHOWN_PROBLEMS else "") if names else "–"


def _named(column: str, similar: str, count: int) -> dict[str, object]:
    return {"column": excerpt(column), "similar": similar, "count": count}
