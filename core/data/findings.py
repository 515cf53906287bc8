"""Everything found wrong with a data set, counted by kind: five million problems take no more room than twenty.

Owns the counting. Each kind keeps its first problems in words and the row of every one, so that a page can count it,
name it and walk through it. What is a problem is decided by the readers, formats, checks and the renderer.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from core.errors import SHOWN_PROBLEMS, Problem


@dataclass(frozen=True)
class Finding:
    """One kind of problem in a data set.

    `count` is in how many rows it was found, 1 for a problem of no row in particular. `problems` are the first
    `SHOWN_PROBLEMS`; `lines` are those of the rows in the order they were found, for a problem of the whole set perhaps
    not of all.
    """

    key: str
    severity: Literal["error", "warning"]
    problems: tuple[Problem, ...]
    count: int
    lines: Sequence[int]

    @property
    def code(self) -> str:
        return self.problems[0].code


class FindingLog:
    """Collects problems as they are found.

    One that concerns several rows says how many in its value `count`, and names their lines in its value `rows`.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], list[Problem]] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lines: dict[tuple[str, str], array[int]] = {}

    def add(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            kind = (problem.severity, problem.key)
            kept = self._kept.setdefault(kind, [])
            if len(kept) < SHOWN_PROBLEMS:
                kept.append(problem)
            rows = problem.values.get("rows")
            line = problem.place.line
            self._counts[kind] += problem.values["count"] if rows else 1
            self._lines.setdefault(kind, array("q")).extend(rows or ([] if line is None else [line]))

    def findings(self, file: str, *, errors_warn: bool = False) -> tuple[Finding, ...]:
        """What was found so far, errors first, then by line; every place names a file.

        With `errors_warn`, what is an error is told as a warning: the rows are left out on purpose.
        """
        found = []
        for (severity, key), kept in self._kept.items():
            shown: Literal["error", "warning"] = "warning" if errors_warn or severity == "warning" else "error"
            named = tuple(
                replace(each, severity=shown, place=replace(each.place, file=each.place.file or file)) for each in kept
            )
            found.append(Finding(key, shown, named, self._counts[severity, key], self._lines[severity, key]))
        return tuple(sorted(found, key=lambda each: (each.severity, each.lines[0] if each.lines else 0, each.key)))
