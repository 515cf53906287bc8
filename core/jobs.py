"""Long work on a thread of its own, that others can watch, wait for and cancel.

Owns the thread and its one end: a result, a refusal, or a bug that is raised again for whoever asks. What the work is
and what its progress looks like is its own affair.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

from core.errors import WorkbenchError

ResultT = TypeVar("ResultT")
ProgressT = TypeVar("ProgressT")
Watch = Callable[[ProgressT], None]
"""Told how far the work is. Raises `Cancelled` where it shall end; the work lets that through."""


class Cancelled(Exception):  # noqa: N818 - a wish, not an error
    """The work was told to end."""


class Job(Generic[ProgressT, ResultT]):
    """One piece of work, begun with the object. Every method may be called from any thread."""

    def __init__(self, name: str, work: Callable[[Watch[ProgressT]], ResultT]) -> None:
        self.progress: ProgressT | None = None
        self._cancelled = threading.Event()
        self._result: list[ResultT] = []
        self._error: BaseException | None = None
        self._raised_at: TracebackType | None = None
        self._began = time.monotonic()
        self._ended: float | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), name=name, daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        return self._ended is None

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    @property
    def elapsed_s(self) -> float:
        return (self._ended or time.monotonic()) - self._began

    def cancel(self) -> None:
        """Ask it to end; at its next report it does."""
        self._cancelled.set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end, at most so long; whether it has come."""
        self._thread.join(timeout_s)
        return not self.running

    def result(self) -> ResultT:
        """What came of it, once it has ended.

        Raises:
            Cancelled: where it was told to end before.
            WorkbenchError: what the work refused; any other error it died of.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error.with_traceback(self._raised_at)  # else it would grow each time it is raised
        return self._result[0]

    def _run(self, work: Callable[[Watch[ProgressT]], ResultT]) -> None:
        try:
            self._result.append(work(self._report))
        except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
            self._error, self._raised_at = error, error.__traceback__
            if isinstance(error, Cancelled | WorkbenchError):
                let_go(error)
        finally:
            del work  # an error that is kept would keep it, with all that it holds
            self._ended = time.monotonic()

    def _report(self, progress: ProgressT) -> None:
        if self._cancelled.is_set():
            raise Cancelled
        self.progress = progress


def asks(watch: Watch[ProgressT], progress: Callable[[], ProgressT]) -> Callable[[], bool]:
    """Whether a job was cancelled, asked by telling it where it stands."""

    def cancelled() -> bool:
        try:
            watch(progress())
        except Cancelled:
            return True
        return False

    return cancelled


def let_go(error: BaseException | None) -> None:
    """Free what the work held: an error that is kept keeps every local of the frames it came through."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
