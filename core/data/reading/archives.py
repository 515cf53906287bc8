"""Folders and zip archives: the files in them that hold rows, in the order of their names, one after another.

Owns which members are read. What an archive must not hold refuses all of it; what is wrong with one file is told of
that file, and the others are read. Nothing is written to disk but a temporary copy of a member that must be sought in.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from zipfile import ZipFile, ZipInfo

from core.data.reading.kinds import read_file
from core.data.reading.rows import Container, Row
from core.data.reading.sources import Meter, counted
from core.data.reading.zips import MAX_MEMBERS, ZIP_ERRORS, member_name, opened_zip, refuse_bomb, refuse_tricks
from core.errors import Place, Problem, WorkbenchError, excerpt, refusal

MEMBER_SUFFIXES = (".json", ".jsonl", ".csv", ".tsv", ".parquet", ".xlsx", ".txt", ".md")
MAX_INFLATED_BYTES = 4 * 2**30
SOUGHT_IN = (".parquet", ".xlsx")
REFUSED_WHOLE = ("D39", "D40")
SHOWN_NAMES = 5
LEFT_BEHIND = ("__MACOSX", "Thumbs.db", "desktop.ini")  # by systems, beside what is hidden
Opener = Callable[[], AbstractContextManager[BinaryIO]]


def read_archive(file: BinaryIO, encoding: str | None, container: Container) -> Iterator[Row | Problem]:
    """The rows of all members of a zip archive.

    Raises:
        WorkbenchError: D38 where no member can be read, D39 and D40 where the archive is damaged or a danger.
    """
    container.kind = "archive"
    with opened_zip(file) as archive:
        refuse_tricks(archive)
        refuse_bomb(archive, MAX_INFLATED_BYTES)
        members = {member_name(info): info for info in archive.infolist() if not info.is_dir()}
        openers = {name: _member_opener(archive, info) for name, info in members.items()}
        yield from _read_members(openers, encoding, container)


def read_folder(path: Path, encoding: str | None, meter: Meter, container: Container) -> Iterator[Row | Problem]:
    """The rows of all files in a folder and the folders inside it.

    Raises:
        WorkbenchError: D38 where no file can be read, D39 where they are too many, D40 where one is a link.
    """
    container.kind = "folder"
    files: dict[str, Path] = {}
    for file in _walk(path):
        name = file.relative_to(path).as_posix()
        if file.is_symlink() or not file.is_file():
            raise refusal("D40_link", Place(file=excerpt(name)))
        files[name] = file
        meter.total += file.stat().st_size
        if len(files) > MAX_MEMBERS:
            raise refusal("D39_too_many_members", limit=MAX_MEMBERS)
        if meter.total > MAX_INFLATED_BYTES:
            raise refusal("D39_inflates", megabytes=MAX_INFLATED_BYTES // 2**20)
    openers = {name: _file_opener(file, meter) for name, file in files.items()}
    yield from _read_members(openers, encoding, container)


def _read_members(openers: dict[str, Opener], encoding: str | None, container: Container) -> Iterator[Row | Problem]:
    shown = sorted(name for name in openers if not _is_hidden(name))
    read = [name for name in shown if PurePosixPath(name).suffix.lower() in MEMBER_SUFFIXES]
    others = [name for name in shown if name not in set(read)]
    container.members = tuple(read)
    if not read:
        raise refusal("D38_no_data_inside", known=", ".join(MEMBER_SUFFIXES))
    if others:
        names = ", ".join(excerpt(name) for name in others[:SHOWN_NAMES])
        values = {"count": len(others), "names": names + (" …" if len(others) > SHOWN_NAMES else "")}
        yield Problem("D38_left_out", values=values, severity="warning")
    for name in read:
        with openers[name]() as file:
            yield from _read_member(file, name, encoding)


def _read_member(file: BinaryIO, name: str, encoding: str | None) -> Iterator[Row | Problem]:
    nothing = True
    try:
        for item in read_file(file, name, Container(), encoding, None):
            nothing = False
            yield replace(item, file=name) if isinstance(item, Row) else _in_member(item, name)
    except WorkbenchError as error:
        problems = [_in_member(problem, name) for problem in error.problems]
        if error.code in REFUSED_WHOLE:
            raise WorkbenchError(problems) from error
        yield from problems
    except ZIP_ERRORS as error:
        raise refusal("D40_damaged", Place(file=excerpt(name)), reason=excerpt(error)) from error
    else:
        if nothing:
            yield Problem("D01_no_rows", Place(file=excerpt(name)), severity="warning")


def _in_member(problem: Problem, name: str) -> Problem:
    return replace(problem, place=replace(problem.place, file=excerpt(name)))


def _is_hidden(name: str) -> bool:
    """Whether it is hidden, or left behind in a folder by a system."""
    return any(part.startswith(".") or part in LEFT_BEHIND for part in PurePosixPath(name).parts)


def _walk(path: Path) -> Iterator[Path]:
    """Every file and link below a folder; links are not followed."""
    for folder, folders, files in os.walk(path):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        yield from (Path(folder) / name for name in (*links, *files))


def _file_opener(file: Path, meter: Meter) -> Opener:
    return lambda: counted(file, meter)


def _member_opener(archive: ZipFile, info: ZipInfo) -> Opener:
    @contextmanager
    def opened() -> Iterator[BinaryIO]:
        try:
            with archive.open(info) as member:
                if not info.filename.lower().endswith(SOUGHT_IN):
                    yield member  # type: ignore[misc]
                    return
                with tempfile.TemporaryFile() as copy:
                    shutil.copyfileobj(member, copy)
                    copy.seek(0)
                    yield copy
        except ZIP_ERRORS as error:
            raise refusal("D40_damaged", Place(file=excerpt(info.filename)), reason=excerpt(error)) from error

    return opened
