"""The bytes of files, counted as they are read, so that a progress bar can be drawn for every container alike.

Owns opening files on disk. Readers get binary files that can be sought in; what the bytes mean is theirs to say.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

BUFFER_BYTES = 2**18


@dataclass
class Meter:
    """How many of `total` bytes were read."""

    total: int = 0
    read: int = 0

    @property
    def share(self) -> float:
        return min(1.0, self.read / self.total) if self.total else 1.0


@contextmanager
def counted(path: Path, meter: Meter) -> Iterator[BinaryIO]:
    """The file of a path, opened to be read; the meter counts."""
    with io.BufferedReader(_Counted(path, meter), BUFFER_BYTES) as file:
        yield file


class _Counted(io.FileIO):
    def __init__(self, path: Path, meter: Meter) -> None:
        super().__init__(path)
        self._meter = meter

    def readinto(self, buffer) -> int | None:  # type: ignore[no-untyped-def]
        count = super().readinto(buffer)
        self._meter.read += count or 0
        return count
