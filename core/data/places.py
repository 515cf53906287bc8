"""Where rows stand: the line of each, and the file it is in where a data set has several; 12 bytes a row.

Owns how a place is said and found again. Whose rows they are is the affair of those who collect them.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.data.conversation import Example


@dataclass(frozen=True, eq=False)
class Places:
    """The place of each row in the order of the rows; `files[file_numbers[i]]` is as in `Example.file`."""

    lines: NDArray[np.int64]
    file_numbers: NDArray[np.int32]
    files: tuple[str, ...]

    @classmethod
    def of(cls, examples: Iterable[Example]) -> Places:
        collected = PlaceList()
        for example in examples:
            collected.add(example)
        return collected.places()

    def __len__(self) -> int:
        return len(self.lines)

    def file(self, at: int) -> str:
        return self.files[int(self.file_numbers[at])]

    def said(self, at: int) -> str:
        """The line, behind its file where there are several: `a.csv:7`."""
        return f"{self.file(at)}:{self.lines[at]}" if self.files != ("",) else str(self.lines[at])


class PlaceList:
    """Collects places one by one."""

    def __init__(self) -> None:
        self._lines, self._file_numbers = array("q"), array("i")
        self._files: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, example: Example) -> None:
        self._lines.append(example.line)
        self._file_numbers.append(self._files.setdefault(example.file, len(self._files)))

    def places(self) -> Places:
        return Places(np.array(self._lines), np.array(self._file_numbers), tuple(self._files))
