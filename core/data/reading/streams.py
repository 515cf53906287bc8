"""The door of this package: a file, folder or archive becomes one stream of rows and problems.

Owns what holds for every container: which files are taken at all, that problems name their file, that no row at all
is refused. Which reader reads a file is decided in `kinds.py`; what the rows mean is not asked here (`formats`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from core.data.reading.archives import MEMBER_SUFFIXES, read_archive, read_folder
from core.data.reading.kinds import is_archive, read_file
from core.data.reading.rows import Container, Row
from core.data.reading.sources import Meter, counted
from core.data.reading.texts import ENCODINGS
from core.errors import Problem, WorkbenchError, refusal

__all__ = [
    "ENCODINGS",
    "MAX_FILE_BYTES",
    "SUFFIXES",
    "Container",
    "Row",
    "RowStream",
    "naming",
    "open_rows",
]

MAX_FILE_BYTES = 500 * 2**20
SUFFIXES = (*MEMBER_SUFFIXES, ".zip")


def open_rows(path: Path, encoding: str | None = None, sheet: str | None = None) -> RowStream:
    """The rows of a file, and everything that is wrong with others, as they are read.

    Raises, here or while the stream is read:
        WorkbenchError: D01 where there is neither a row nor a bad one, D04, D05 and D06 where the file is not text,
            D07 and D11 where a JSON document ends early or is none, D18 where the file is too big, D37 to D41 where a
            workbook, archive or Parquet file cannot or must not be read, D45 where it is gone.
    """
    return RowStream(path, encoding, sheet)


class RowStream(Iterator[Row | Problem]):
    """An iterator that is also a context manager; closing it closes its files."""

    def __init__(self, path: Path, encoding: str | None, sheet: str | None) -> None:
        self.container = Container()
        self._meter = Meter()
        self._items = self._checked(path, encoding, sheet)
        self._first = [next(self._items)]  # read at once, so that the container is known

    @property
    def share(self) -> float:
        """The part of the file that was read so far, from 0 to 1."""
        return self._meter.share

    def close(self) -> None:
        self._items.close()

    def __next__(self) -> Row | Problem:
        return self._first.pop() if self._first else next(self._items)

    def __enter__(self) -> RowStream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _checked(self, path: Path, encoding: str | None, sheet: str | None) -> Generator[Row | Problem, None, None]:
        """What the reader finds; every problem names a file, and it finds something."""
        nothing = True
        with naming(path.name):
            try:
                for item in self._read(path, encoding, sheet):
                    if isinstance(item, Row):
                        nothing = False
                        yield item
                    else:
                        nothing = nothing and item.severity == "warning"
                        yield _in_file(item, path.name)
            except OSError as error:
                raise refusal("D45_file_unreadable", reason=error.strerror or str(error)) from error
            if nothing:
                raise refusal("D01_no_rows")

    def _read(self, path: Path, encoding: str | None, sheet: str | None) -> Iterator[Row | Problem]:
        if path.is_dir():
            yield from read_folder(path, encoding, self._meter, self.container)
            return
        self._meter.total = path.stat().st_size
        if self._meter.total > MAX_FILE_BYTES:
            raise refusal("D18_file_too_big", megabytes=MAX_FILE_BYTES // 2**20)
        with counted(path, self._meter) as file:
            if is_archive(file):
                yield from read_archive(file, encoding, self.container)
            else:
                yield from read_file(file, path.name, self.container, encoding, sheet)


@contextmanager
def naming(file: str) -> Iterator[None]:
    """Whatever is refused inside names the file."""
    try:
        yield
    except WorkbenchError as error:
        raise WorkbenchError([_in_file(problem, file) for problem in error.problems], error.total) from error


def _in_file(problem: Problem, file: str) -> Problem:
    return replace(problem, place=replace(problem.place, file=problem.place.file or file))
