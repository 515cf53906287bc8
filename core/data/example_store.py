"""Examples on disk: a sequence of any length that takes 8 bytes of memory a row.

Owns the temporary file, which is gone with the object or the process. Reading is by number and may be done from any
thread; adding is over before anyone reads.
"""

from __future__ import annotations

import json
import tempfile
import threading
import weakref
from array import array
from collections.abc import Sequence
from typing import overload

from core.data.conversation import Example


class ExampleStore(Sequence[Example]):
    """Examples in the order they were added."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="workbench-examples-")  # noqa: SIM115 - lives as long as the store
        weakref.finalize(self, self._file.close)
        self._offsets = array("q", [0])
        self._lock = threading.Lock()

    def add(self, example: Example) -> None:
        """Raises OSError where the disk is full."""
        line = json.dumps(_plain(example), ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
        self._file.write(line)
        self._offsets.append(self._offsets[-1] + len(line))

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        at = index % len(self)
        with self._lock:
            self._file.seek(self._offsets[at])
            line = self._file.read(self._offsets[at + 1] - self._offsets[at])
        return _example(json.loads(line.decode("utf-8", "surrogatepass")))


def _plain(example: Example) -> list[object]:
    return [
        example.messages,
        example.line,
        example.row,
        example.file,
        example.tools,
        example.text,
        example.rejected,
        example.label,
    ]


def _example(values: list[object]) -> Example:
    messages, line, row, file, tools, text, rejected, label = values
    return Example(tuple(messages), line, row, file, tuple(tools), text, rejected, label)  # type: ignore[arg-type]
