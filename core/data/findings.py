"""Everything found wrong with a data set, counted by kind: five million problems take no more room than twenty.

Owns the counting. Each kind keeps its first problems in words and the row of every one, so that a page can count it,
name it and walk through it. What is a problem is decided by the readers, formats, checks and the renderer.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, overload

from core.errors import SHOWN_PROBLEMS, Problem


@dataclass(frozen=True)
class Finding:
    """One kind of problem in a data set.

    `count` is in how many rows it was found, 1 for a problem of no row in particular. `problems` are the first
    `SHOWN_PROBLEMS`; `lines` are those of the rows in the order they were found, for a problem of the whole set perhaps
    not of all. `files` has the file of each line (`Example.file`), nothing where all are in the one file of the set.
    """

    key: str
    severity: Literal["error", "warning"]
    problems: tuple[Problem, ...]
    count: int
    lines: Sequence[int]
    files: Sequence[str] = ()

    @property
    def code(self) -> str:
        return self.problems[0].code


class FindingLog:
    """Collects problems as they are found.

    One that concerns several rows says how many in its value `count`, and names their lines in its value `rows` and
    their files in `files`.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], list[Problem]] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lines: dict[tuple[str, str], array[int]] = {}
        self._files: dict[tuple[str, str], _Files] = {}

    def add(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            kind = (problem.severity, problem.key)
            kept = self._kept.setdefault(kind, [])
            if len(kept) < SHOWN_PROBLEMS:
                kept.append(problem)
            rows = problem.values.get("rows")
            line = problem.place.line
            self._counts[kind] += problem.values["count"] if rows else 1
            lines = rows or ([] if line is None else [line])
            self._lines.setdefault(kind, array("q")).extend(lines)
            files = problem.values.get("files") or [problem.place.file] * len(lines)
            self._files.setdefault(kind, _Files()).extend(files)

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
            kind = (severity, key)
            found.append(Finding(key, shown, named, self._counts[kind], self._lines[kind], self._files[kind]))
        return tuple(sorted(found, key=lambda each: (each.severity, each.lines[0] if each.lines else 0, each.key)))


class _Files(Sequence[str]):
    """Names of files, of which there are few; 4 bytes each."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._known: dict[str, int] = {}
        self._numbers = array("i")

    def extend(self, names: Iterable[str]) -> None:
        for name in names:
            number = self._known.setdefault(name, len(self._names))
            if number == len(self._names):
                self._names.append(name)
            self._numbers.append(number)

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self._names[number] for number in self._numbers[index]]
        return self._names[self._numbers[index]]
