"""The registry of data sets in `training/datasets/`: files, and folders of files, by name.

Owns adding, listing, finding and deleting, and the card beside each: where it came from and the recipe it is used with.
What is in a data set is `report.py`'s affair.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from core.data.options import DataOptions
from core.data.reading.streams import MAX_FILE_BYTES, SUFFIXES
from core.errors import Place, WorkbenchError, excerpt, refusal
from core.settings import Settings
from core.workspace import Workspace, file_sha256, free_name, now, read_json, sync_folder, write_json

CARDS = ".cards"
SHOWN_NAMES = 8  # of the data sets there are, where another was asked for
README = "README.md"  # of the folder itself, unless someone added a data set of that name


@dataclass(frozen=True)
class DatasetInfo:
    """A file or folder of data; `name` is its name in the registry, `bytes` those of all its files."""

    name: str
    file: Path
    bytes: int

    @cached_property
    def sha256(self) -> str:
        """The hash of its bytes, read when first asked; a folder's covers the names of its files too."""
        if self.file.is_file():
            return file_sha256(self.file)
        whole = hashlib.sha256()
        for member in _members(self.file):
            whole.update(f"{member.relative_to(self.file).as_posix()}\0{file_sha256(member)}\n".encode())
        return whole.hexdigest()

    @property
    def state(self) -> tuple[tuple[str, int, int], ...]:
        """Changes when a file of it does.

        Raises:
            WorkbenchError: D45 where it is gone.
        """
        try:
            files = [self.file] if self.file.is_file() else _members(self.file)
            stats = [(file, file.stat()) for file in files]
        except OSError as error:
            raise refusal("D45_file_unreadable", Place(file=self.name), reason=error.strerror or "") from error
        return tuple((file.name, stat.st_mtime_ns, stat.st_size) for file, stat in stats)


class Replaced(Settings):
    """The recipe that stood before a run's (`by`) took its place: it can be put back."""

    before: DataOptions
    by: DataOptions


class DatasetCard(Settings):
    """What is known of a data set besides its bytes: where it came from, and the recipe it is used with."""

    format_version: Literal[1] = 1
    source: str = ""
    added: str = ""
    options: DataOptions = DataOptions()
    replaced: Replaced | None = None


def info_of(path: Path) -> DatasetInfo:
    """A file or folder anywhere as a data set.

    Raises:
        WorkbenchError: D45 where there is none.
    """
    try:
        size = path.stat().st_size if path.is_file() else sum(file.stat().st_size for file in _members(path))
        return DatasetInfo(path.name, path, size)
    except OSError as error:
        raise refusal("D45_file_unreadable", Place(file=path.name), reason=error.strerror or "") from error


def list_datasets(workspace: Workspace) -> list[DatasetInfo]:
    """The data sets of the workspace by name."""
    entries = [entry for entry in workspace.datasets.glob("*") if _is_listed(workspace, entry)]
    return [info_of(entry) for entry in sorted(entries, key=lambda entry: entry.name)]


def find_dataset(workspace: Workspace, name: str) -> DatasetInfo:
    """The data set of a name.

    Raises:
        WorkbenchError: A03 with the names there are.
    """
    known = {info.name: info for info in list_datasets(workspace)}
    if name not in known:
        shown = [*list(known)[:SHOWN_NAMES], *(["…"] if len(known) > SHOWN_NAMES else [])]
        raise refusal("A03_no_dataset", name=excerpt(name), known=", ".join(shown) or "–")
    return known[name]


def add_dataset(workspace: Workspace, source: Path, original_name: str) -> DatasetInfo:
    """Copy a file into the workspace under a free name as near to its own as is allowed.

    Raises:
        WorkbenchError: D38 for a kind of file that is not read, D18 for one too big, D45 for one that is gone,
            A13 where the disk is full; then nothing was added.
    """
    wish = Path(original_name.replace("\\", "/"))
    suffix = wish.suffix.lower()
    if suffix not in SUFFIXES:
        raise refusal("D38_kind_of_file", Place(file=excerpt(wish.name)), known=", ".join(SUFFIXES))
    staging = workspace.datasets / f".{os.getpid()}-{os.urandom(8).hex()}.tmp"
    try:
        if source.stat().st_size > MAX_FILE_BYTES:
            raise refusal("D18_file_too_big", Place(file=excerpt(wish.name)), megabytes=MAX_FILE_BYTES // 2**20)
        with source.open("rb") as opened, staging.open("wb") as copy:
            shutil.copyfileobj(opened, copy)
            copy.flush()
            os.fsync(copy.fileno())
        target = _reserved(workspace.datasets, wish.stem, suffix)
        staging.replace(target)
        sync_folder(workspace.datasets)
    except OSError as error:
        raise _not_added(error, excerpt(wish.name)) from error
    finally:
        staging.unlink(missing_ok=True)
    write_card(workspace, target.name, DatasetCard(source=excerpt(wish.name), added=now()))
    return info_of(target)


def delete_dataset(workspace: Workspace, name: str) -> None:
    """Remove a data set and its card.

    Raises:
        WorkbenchError: A03 where there is no such data set, A14 where it cannot be removed.
    """
    info = find_dataset(workspace, name)
    try:
        shutil.rmtree(info.file) if info.file.is_dir() else info.file.unlink()
        _card_file(workspace, name).unlink(missing_ok=True)
    except OSError as error:
        raise refusal("A14_cannot_write_file", Place(file=name), reason=error.strerror or "") from error


def read_card(workspace: Workspace, name: str) -> DatasetCard:
    """The card of a data set; an empty one where it has none.

    Raises:
        WorkbenchError: D45 where there is one that cannot be read.
    """
    file = _card_file(workspace, name)
    try:
        return DatasetCard.checked(read_json(file))
    except FileNotFoundError:
        return DatasetCard()
    except (OSError, ValueError, TypeError, WorkbenchError) as error:
        place = Place(file=f"{file.parent.name}/{file.name}")
        raise refusal("D45_card_unreadable", place, reason=excerpt(error)) from error


def write_card(workspace: Workspace, name: str, card: DatasetCard) -> None:
    write_json(_card_file(workspace, name), card.model_dump(mode="json"))


def _card_file(workspace: Workspace, name: str) -> Path:
    """`name` is that of a data set that was found."""
    return workspace.datasets / CARDS / f"{name}.json"


def _is_listed(workspace: Workspace, entry: Path) -> bool:
    if entry.name.startswith(".") or (entry.name == README and not _card_file(workspace, README).exists()):
        return False
    return (entry.is_file() and _is_data(entry)) or (entry.is_dir() and bool(_members(entry)))


def _is_data(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES


def _members(folder: Path) -> list[Path]:
    """The data files of a folder, by name."""

    def visible() -> Iterator[Path]:
        for file in folder.rglob("*"):
            hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
            if not hidden and _is_data(file) and file.is_file():
                yield file

    return sorted(visible())


def _reserved(folder: Path, wish: str, suffix: str) -> Path:
    """An empty file under a free name: two uploads of one name at once get two files."""
    while True:
        target = folder / f"{free_name(folder, wish, suffix)}{suffix}"
        try:
            target.open("xb").close()
        except FileExistsError:
            continue
        return target


def _not_added(error: OSError, file: str) -> WorkbenchError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return refusal("A13_disk_full_dataset", Place(file=file))
    return refusal("D45_file_unreadable", Place(file=file), reason=error.strerror or "")
