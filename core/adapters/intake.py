"""An adapter that was made elsewhere, or here earlier, on its way into `loras/`: from a zip or from a folder.

Owns what is taken (configuration, weights, card), what is left out by name, and that a folder appears in `loras/` only
when its files are whole and sound. A zip comes from a browser: its directory is judged before anything is inflated, no
member's name becomes a path, and nothing but safetensors and JSON is written. A folder comes from the command line.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO

from core.adapters.card import CARD_FILE, MAX_CARD_BYTES, write_card
from core.adapters.config_file import CONFIG_FILE, MAX_CONFIG_BYTES
from core.adapters.store import AdapterInfo, check_adapter_name, find_adapter
from core.adapters.tensor_file import MAX_FILE_BYTES, WEIGHTS_FILE
from core.adapters.validity import read_adapter
from core.data.reading.zips import ZIP_ERRORS, member_name, opened_zip, refuse_bomb, refuse_tricks
from core.errors import Place, Problem, WorkbenchError, excerpt, refusal
from core.models.arrival import SPARE_BYTES, check_disk, write_problem
from core.models.plain_files import unreadable
from core.models.weight_files import PICKLE_SUFFIXES
from core.workspace import Workspace, free_name, new_folder

LIMITS = {CONFIG_FILE: MAX_CONFIG_BYTES, WEIGHTS_FILE: MAX_FILE_BYTES, CARD_FILE: MAX_CARD_BYTES}  # in bytes
PIECE_BYTES = 1 << 20
SHOWN_FILES = 8


@dataclass(frozen=True)
class Arrived:
    """An adapter that was taken in. `left_out` are files beside it that have no place in an adapter's folder."""

    info: AdapterInfo
    left_out: tuple[str, ...]


def import_zip(workspace: Workspace, file: Path, name: str = "", promised: Collection[str] = ()) -> Arrived:
    """Take an adapter out of a zip, under `name` or, where that is empty, under a free one after the file's.

    It may lie at the top or in one folder within others. `promised` are names of adapters that are still being made.

    Raises:
        WorkbenchError: D39, D40 for a dangerous or damaged archive; M24 where there is no adapter in it, or more than
            one; M13, M18, M20 where it is unsound; D42, M25 for the name; A13, A14. Nothing is left behind.
    """
    name = name or free_name(workspace.adapters, file.stem, promised=promised)
    with _opened(file) as opened, opened_zip(opened) as archive:
        refuse_tricks(archive)
        refuse_bomb(archive, sum(LIMITS.values()))
        members = _members(archive)
        left_out = tuple(sorted(set(map(member_name, _files(archive))) - set(map(member_name, members.values()))))
        sizes = {target: info.file_size for target, info in members.items()}
        with _arriving(workspace, name, sizes, promised) as folder:
            for target, info in members.items():
                _inflate(archive, info, folder / target)
    return Arrived(find_adapter(workspace, name), left_out[:SHOWN_FILES])


def import_folder(workspace: Workspace, source: Path, name: str = "", promised: Collection[str] = ()) -> Arrived:
    """Copy an adapter from a folder, whose files may be links, as in the cache of a hub.

    Raises:
        WorkbenchError: as `import_zip`; M01 where there is no such folder.
    """
    if not source.is_dir():
        raise refusal("M01_no_such_folder", Place(excerpt=excerpt(source)), folder=excerpt(source))
    there = {entry.name: entry for entry in source.iterdir()}
    if CONFIG_FILE not in there:
        raise refusal("M24_no_adapter", Place(file=source.name), expected=CONFIG_FILE)
    files = {target: there[target] for target in LIMITS if target in there}
    name = name or free_name(workspace.adapters, source.name, promised=promised)
    _refuse_pickles(list(there), files, source.name)
    for file in files.values():
        if not file.is_file():
            raise refusal("D40_link", Place(file=file.name))
    with _arriving(workspace, name, {t: file.stat().st_size for t, file in files.items()}, promised) as folder:
        for target, file in files.items():
            shutil.copyfile(file, folder / target)
    return Arrived(find_adapter(workspace, name), tuple(sorted(there.keys() - files.keys()))[:SHOWN_FILES])


def _opened(file: Path) -> BinaryIO:
    """Raises M01 where there is no such file."""
    try:
        return file.open("rb")
    except (OSError, ValueError) as error:
        raise WorkbenchError([unreadable(file, error)]) from error


@contextmanager
def _arriving(workspace: Workspace, name: str, sizes: dict[str, int], promised: Collection[str]) -> Iterator[Path]:
    """A folder outside of `loras/` to be filled; what is in it then is judged, and moved in where it is sound."""
    problem = check_adapter_name(workspace, name, promised) or _too_big(sizes)
    if problem:
        raise WorkbenchError([problem])
    check_disk(workspace.adapters, 2 * sum(sizes.values()))
    try:
        with workspace.scratch() as place:
            folder = place / name
            folder.mkdir()
            yield folder
            files = read_adapter(folder)
            if files.errors:
                raise WorkbenchError(files.errors)
            if files.card and files.card.name != name:
                write_card(folder, files.card.model_copy(update={"name": name}))
            with new_folder(workspace.adapters / name) as staging:
                for file in sorted(folder.iterdir(), key=lambda entry: entry.name == CARD_FILE):
                    shutil.move(file, staging / file.name)
    except OSError as error:
        raise write_problem(workspace.adapters, sum(sizes.values()) + SPARE_BYTES, error) from error


def _too_big(sizes: dict[str, int]) -> Problem | None:
    for target, size in sizes.items():
        if size > LIMITS[target]:
            return Problem("M20_too_large", Place(file=target), {"bytes": size, "limit": LIMITS[target]})
    return None


def _files(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    return [info for info in archive.infolist() if not info.is_dir()]


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The members that make the one adapter of an archive, by the name that each gets."""
    by_name = {PurePosixPath(member_name(info)): info for info in _files(archive)}
    found = [path for path in by_name if path.name == CONFIG_FILE and not path.parts[0].startswith("__MACOSX")]
    if not found:
        raise refusal("M24_no_adapter", expected=CONFIG_FILE)
    if len(found) > 1:
        shown = "; ".join(excerpt(path.parent.as_posix()) for path in sorted(found)[:SHOWN_FILES])
        raise refusal("M24_several_adapters", count=len(found), folders=shown)
    folder = found[0].parent
    beside = {path.name: info for path, info in by_name.items() if path.parent == folder}
    members = {target: beside[target] for target in LIMITS if target in beside}
    _refuse_pickles(list(beside), members, folder.as_posix())
    return members


def _refuse_pickles(names: list[str], wanted: Collection[str], where: str) -> None:
    pickles = sorted(name for name in names if name.lower().endswith(PICKLE_SUFFIXES))
    if pickles and WEIGHTS_FILE not in wanted:
        raise refusal("M13_only_pickle", Place(file=where), files=excerpt(", ".join(pickles)), expected=WEIGHTS_FILE)


def _inflate(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> None:
    """Write a member under our own name for it, and never more of it than its directory entry says."""
    try:
        with archive.open(info) as source, target.open("xb") as written:
            _copy(source, written, info.file_size)
    except ZIP_ERRORS as error:
        raise refusal("D40_damaged", Place(file=excerpt(info.filename)), reason=excerpt(error)) from error


def _copy(source: IO[bytes], written: IO[bytes], size: int) -> None:
    left = size
    while piece := source.read(PIECE_BYTES):
        left -= len(piece)
        if left < 0:
            raise zipfile.BadZipFile("longer than announced")
        written.write(piece)
    if left:
        raise zipfile.BadZipFile("shorter than announced")
