"""The order of the runs that wait: a short list in `state/queue.json`, written whole after every change.

Owns that list, its limit, and how it is shown. What waits is a run folder with its spec, or a run that ended early and
is to go on; which of them may begin, and when, is the desk's decision. A list that is lost or damaged loses no run: its
folders stay and show as interrupted.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from core.errors import refusal
from core.settings import Precision
from core.workspace import read_json, write_json

MAX_QUEUED = 64
Waiting = Literal["run", "on_hold", "model"]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A run that waits. `resumes`: it ended early and is to go on, whatever has changed where that is accepted."""

    run_id: str
    resumes: bool = False
    accepts_changes: bool = False


@dataclass(frozen=True)
class QueuedRun:
    """A run that waits. `fits`: the base model in memory is the one it needs, in the precision it needs.

    `resumes_from` is the step after which one that ended early goes on; None for a run that has not begun.
    """

    run_id: str
    name: str
    base: str
    precision: Precision
    dataset: str
    method: str
    resumes_from: int | None
    fits: bool


@dataclass(frozen=True)
class QueueState:
    """The queue as it stands, first come first; `next_run` is the one that begins by itself, None where none does.

    `waiting` says what for: "run" = the run in progress; "on_hold" = somebody to start the queue, after the server was
    started anew or the disk took no more; "model" = no run in it is for the base model in memory; None = it is empty.
    """

    runs: tuple[QueuedRun, ...] = ()
    active: str | None = None
    waiting: Waiting | None = None
    next_run: str | None = None

    @classmethod
    def of(cls, runs: tuple[QueuedRun, ...], active: str | None, on_hold: bool) -> QueueState:
        next_run = None if on_hold else next((run.run_id for run in runs if run.fits), None)
        waiting: Waiting = "on_hold" if on_hold else "run" if next_run else "model"
        return cls(runs, active, waiting if runs else None, next_run)


class RunQueue:
    """The waiting runs, first come first. Its methods may be called from any thread."""

    def __init__(self, file: Path, waits: Callable[[Entry], bool]) -> None:
        """`waits` says of an entry that the file holds whether it still can: its run is there and has not begun."""
        self._file = file
        self._lock = threading.Lock()
        self._entries = tuple(entry for entry in _read(file) if waits(entry))

    @property
    def entries(self) -> tuple[Entry, ...]:
        return self._entries

    def __contains__(self, run_id: str) -> bool:
        return self._find(run_id) is not None

    def check_room(self, count: int = 1) -> None:
        """Refuse what is over the limit.

        Raises:
            WorkbenchError: A27 where `count` more are too many.
        """
        if len(self._entries) + count > MAX_QUEUED:
            raise refusal("A27_queue_full", waiting=len(self._entries), more=count, limit=MAX_QUEUED)

    def add(self, entry: Entry) -> None:
        """Put a run at the end.

        Raises:
            WorkbenchError: A27 where the queue is full.
            OSError: the order cannot be written; the queue is as it was.
        """
        with self._lock:
            self.check_room()
            self._write((*self._entries, entry))

    def move(self, run_id: str, place: int) -> None:
        """Give a waiting run another place, 0 = first, at most the last. One that waits no more is no error."""
        with self._lock:
            entry = self._find(run_id)
            if entry is not None:
                others = [each for each in self._entries if each is not entry]
                others.insert(max(0, place), entry)
                self._write(tuple(others))

    def remove(self, run_id: str) -> Entry | None:
        """Take a run off the list; None where it was not on it.

        A full disk does not keep it there: what the file says too much is left out when it is read again.
        """
        with self._lock:
            entry = self._find(run_id)
            if entry is not None:
                self._entries = tuple(each for each in self._entries if each is not entry)
                try:
                    self._write(self._entries)
                except OSError:
                    logger.exception("that run %s waits no more could not be written down", run_id)
            return entry

    def _find(self, run_id: str) -> Entry | None:
        return next((entry for entry in self._entries if entry.run_id == run_id), None)

    def _write(self, entries: tuple[Entry, ...]) -> None:
        write_json(self._file, [asdict(entry) for entry in entries])
        self._entries = entries


def _read(file: Path) -> list[Entry]:
    if not file.is_file():
        return []
    try:
        return [Entry(str(each["run_id"]), each["resumes"], each["accepts_changes"]) for each in read_json(file)]
    except (OSError, ValueError, KeyError, TypeError):
        logger.warning("the queue in %s cannot be read; its runs show as interrupted", file, exc_info=True)
        return []
