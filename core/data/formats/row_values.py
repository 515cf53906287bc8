"""One row being read: every problem of it is collected, with line and field, before the row is refused.

Owns how a value becomes text. Reading goes on after a problem, with an empty text in the place of what was wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from core.data.reading.rows import type_name
from core.errors import Place, Problem, WorkbenchError, excerpt


class Cell(NamedTuple):
    """A value and the key or path under which a person finds it."""

    field: str
    value: object


@dataclass
class Reading:
    """What was found while reading one row. `renamed` counts role names as they stand in the file, over all rows."""

    line: int
    file: str = ""
    renamed: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)

    def refuse(self, key: str, field: str, shown: object = "", **values: Any) -> None:
        place = Place(self.file, self.line, field, excerpt(shown) if shown != "" else "")
        self.problems.append(Problem(key, place, {"field": field, **values}))

    def finish(self) -> None:
        """Raises WorkbenchError with all problems where there are any."""
        if self.problems:
            raise WorkbenchError(self.problems)

    def text(self, value: object, field: str) -> str:
        """A text that may be null, which is the same as empty."""
        if value is None:
            return ""
        if not isinstance(value, str):
            self.refuse("D23_not_text", field, value, type=type_name(value))
            return ""
        return value

    def filled_text(self, value: object, field: str) -> str:
        return self.joined([Cell(field, value)])

    def joined(self, cells: Sequence[Cell]) -> str:
        """The texts that are not empty, one a line; one of them at least must be there."""
        known = len(self.problems)
        texts = [self.text(value, name) for name, value in cells]
        filled = [text for text in texts if text.strip()]
        if not filled and len(self.problems) == known:
            self.refuse("D22_empty_text", cells[0].field)
        return "\n".join(filled)
