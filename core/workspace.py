"""Where things live on disk: the folders of one data directory, safe names, atomic writes, the single writer's lock.

Nothing here knows what the files mean. Every path that is built from a name a person typed is built here, after the
name was checked against an allow-list (never joined first and checked later).
"""

from __future__ import annotations

import ctypes
import glob
import hashlib
import json
import os
import re
import shutil
import tempfile
import threading
import unicodedata
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psutil
from filelock import FileLock, Timeout

from core.errors import Place, Problem, WorkbenchError, excerpt, refusal

MAX_NAME_CHARACTERS = 64
_NAME = re.compile(r"[^\W_][\w .+-]*")
_RESERVED_NAMES = {"default", "base", "con", "prn", "aux", "nul"} | {
    f"{port}{digit}" for port in ("com", "lpt") for digit in range(1, 10)
}


@dataclass(frozen=True)
class Workspace:
    """The folders of one data directory. `extra_models` are read-only folders of base models from the command line."""

    root: Path
    extra_models: tuple[Path, ...] = ()

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def datasets(self) -> Path:
        return self.root / "training" / "datasets"

    @property
    def runs(self) -> Path:
        return self.root / "training" / "runs"

    @property
    def evaluations(self) -> Path:
        return self.root / "training" / "evaluations"

    @property
    def token_cache(self) -> Path:
        return self.root / "training" / "cache"

    @property
    def adapters(self) -> Path:
        return self.root / "loras"

    def results(self, makes: Literal["adapter", "model"]) -> Path:
        """Where that which a run makes is kept."""
        return self.models if makes == "model" else self.adapters

    @property
    def state(self) -> Path:
        """What is neither model, data, run nor adapter: conversations, presets, characters, uploads, logs."""
        return self.root / "state"

    def create(self) -> None:
        """Make every folder that is missing.

        Raises:
            WorkbenchError: A14 where the data directory cannot be written.
        """
        for folder in (self.models, self.datasets, self.runs, self.adapters, self.state):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise refusal("A14_cannot_write", Place(file=str(folder)), reason=error.strerror or "") from error

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for what is needed for a while, which its writer alone asks for.

        What a process that was killed leaves of it is gone when the next writer begins.
        """
        self._scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            yield Path(folder)

    @property
    def _scratch(self) -> Path:
        return self.state / "scratch"

    @contextmanager
    def writer(self) -> Iterator[None]:
        """Hold the data directory as its one writer.

        Raises:
            WorkbenchError: A17 with the pid of the process that holds it.
        """
        self.create()
        owner = self.state / "writer.json"
        lock = FileLock(self.state / "writer.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            pid = read_json(owner).get("pid", "?") if owner.exists() else "?"
            raise refusal("A17_data_directory_in_use", Place(file=str(self.root)), pid=pid) from error
        try:
            write_json(owner, {"pid": os.getpid()})
            shutil.rmtree(self._scratch, ignore_errors=True)
            yield
        finally:
            lock.release()


def name_problem(name: object) -> Problem | None:
    """Why a name may not be used for a file or folder here, or None where it may.

    Allowed: up to 64 letters, digits, spaces and `_ . + -`, in any script, beginning with a letter or digit and not
    ending with a dot or space; no name that Windows or the workbench reserves.
    """
    if not isinstance(name, str) or not name.strip():
        return Problem("D42_name_empty")
    shown = {"name": excerpt(name), "limit": MAX_NAME_CHARACTERS, "suggestion": suggested_name(name)}
    if len(name) > MAX_NAME_CHARACTERS or len(name.encode(errors="surrogatepass")) > 200:
        return Problem("D42_name_too_long", values=shown)
    if name != unicodedata.normalize("NFC", name) or not _NAME.fullmatch(name) or name[-1] in " .":
        return Problem("D42_name_not_allowed", values=shown)
    if name.split(".")[0].strip().lower() in _RESERVED_NAMES:
        return Problem("D42_name_reserved", values=shown)
    return None


def checked_name(name: object) -> str:
    """The name itself where it is allowed.

    Raises:
        WorkbenchError: D42 where it is not.
    """
    problem = name_problem(name)
    if problem:
        raise WorkbenchError([problem])
    return str(name)


def suggested_name(wish: str) -> str:
    """An allowed name as near to the wish as can be."""
    name = re.sub(r"[^\w.+-]+", "-", unicodedata.normalize("NFKC", wish)).strip("-_. +")[:48].rstrip("-_. +")
    if not name:
        return "unnamed"
    return f"my-{name}" if name.split(".")[0].lower() in _RESERVED_NAMES else name


def free_name(folder: Path, wish: str, suffix: str = "", promised: Collection[str] = ()) -> str:
    """`wish` made allowed and, where taken, numbered (`name-2`): no entry `name + suffix` of the folder has it.

    `promised` are names that will be taken soon.
    """
    name = suggested_name(wish)
    taken = {entry.name.casefold() for entry in folder.iterdir()} if folder.exists() else set()
    taken |= {f"{each}{suffix}".casefold() for each in promised}
    candidate, number = name, 1
    while f"{candidate}{suffix}".casefold() in taken:
        number += 1
        candidate = f"{name}-{number}"
    return candidate


def now() -> str:
    """This moment as cards and events have it: ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, value: object) -> None:
    write_bytes(path, json.dumps(value, ensure_ascii=False, indent=2).encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file as a whole: a reader sees the old content or the new, also after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = _staging(path)
    try:
        with staging.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)
    sync_folder(path.parent)


def file_sha256(path: Path) -> str:
    """The hash of a file's bytes, as 64 hexadecimal digits; raises OSError where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def new_folder(target: Path, replace: bool = False) -> Iterator[Path]:
    """Fill a folder under a temporary name; it appears as `target` only when the block ends without an error.

    A folder that has content is in the way, unless it is to be replaced.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = _staging(target)
    _clear_left_over(staging, target)
    staging.mkdir()
    try:
        yield staging
        for file in staging.rglob("*"):
            if file.is_file():
                with file.open("rb") as opened:
                    os.fsync(opened.fileno())
        if replace and target.exists():
            _replace(target, staging)
        else:
            staging.rename(target)
        sync_folder(target.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def new_timed_folder(parent: Path) -> Path:
    """A new folder whose name sorts by time and is nobody else's."""
    while True:
        moment = datetime.now(UTC)
        folder = parent / f"{moment:%Y%m%d-%H%M%S}-{moment.microsecond // 1000:03}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder


def remove_folder(folder: Path) -> None:
    """Remove a folder. It is out of sight at once, also where removing its files is interrupted.

    Raises:
        OSError: it is there as it was.
    """
    discard(put_away(folder))


def put_away(folder: Path) -> Path:
    """Take a folder out of sight, in one step; gives what is left for `discard`, which takes its time.

    Raises:
        OSError: it is there as it was.
    """
    doomed = folder.with_name(f".{folder.name}.deleted")
    if doomed.exists():  # left by a removal that was interrupted
        discard(doomed)
    return folder.rename(doomed)


def discard(doomed: Path) -> None:
    """Remove what `put_away` has left."""
    shutil.rmtree(doomed, ignore_errors=True)
    sync_folder(doomed.parent)


def _clear_left_over(staging: Path, target: Path) -> None:
    """Remove what is left of earlier tries: under the very name, and of processes that were killed."""
    for left in target.parent.glob(f".{glob.escape(target.name)}.*.tmp"):
        pid = left.suffixes[-2].lstrip(".").partition("-")[0]
        if left == staging or (pid.isdecimal() and not psutil.pid_exists(int(pid))):
            shutil.rmtree(left, ignore_errors=True)


def _replace(target: Path, staging: Path) -> None:
    """Give a folder the place of another: in one step where the system can exchange them, else in two."""
    if _exchange(target, staging):
        return
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    target.rename(old)
    try:
        staging.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Linux's renameat2 with RENAME_EXCHANGE, which Python has no name for; False where there is none."""
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    call = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    return call is not None and call(here, os.fsencode(first), here, os.fsencode(second), exchange) == 0


def _staging(target: Path) -> Path:
    """A name beside the target that no other process or thread uses at the same time."""
    return target.with_name(f".{target.name}.{os.getpid()}-{threading.get_ident()}.tmp")


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable; Windows has no such call and needs none."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
