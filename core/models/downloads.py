"""One model on its way into `models/` at a time: a background job whose state the page reads.

Owns its progress and its end (finished, cancelled, failed with a problem). What is fetched and how is in
`starter`, `hub` and `gguf_import`.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from core import jobs
from core.errors import Problem, WorkbenchError, refusal
from core.jobs import Job, Watch, asks
from core.models.arrival import Cancelled, Progress, Report

log = logging.getLogger("workbench.downloads")

Work = Callable[[Report, Cancelled], str]
"""Fetches a model, reporting as it goes and leaving when it is cancelled; returns the model's name."""


@dataclass(frozen=True)
class DownloadStatus:
    """What a download is doing. `eta_s` None = not known yet; `model` is set once it is there.

    `keeps`: where it ends before that, the next try goes on with what has arrived.
    """

    title: str
    state: Literal["running", "finished", "cancelled", "failed"]
    phase: str = "starting"
    done_bytes: int = 0
    total_bytes: int = 0
    eta_s: float | None = None
    model: str | None = None
    problem: Problem | None = None
    keeps: bool = False


class Downloads:
    """Runs one download at a time. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current: tuple[DownloadStatus, Job[DownloadStatus, DownloadStatus]] | None = None

    @property
    def status(self) -> DownloadStatus | None:
        """The running download, else the last one; None where there was none."""
        if self._current is None:
            return None
        began, job = self._current
        return job.progress or began if job.running else job.result()

    def start(self, title: str, work: Work, keeps: bool = False) -> None:
        """Begin a download and return at once. `keeps`: what arrived is there for the next try.

        Raises:
            WorkbenchError: A01 where another one is running.
        """
        with self._lock:
            if self._current and self._current[1].running:
                raise refusal("A01_download_running", title=self._current[0].title)
            began = DownloadStatus(title, "running", keeps=keeps)
            self._current = began, Job("download", lambda watch: _fetched(work, began, watch))

    def cancel(self) -> None:
        """Ask the running download to leave; without one this does nothing."""
        if self._current:
            self._current[1].cancel()

    def wait(self, timeout_s: float | None = None) -> DownloadStatus | None:
        """Wait for the running download's end."""
        if self._current:
            self._current[1].wait(timeout_s)
        return self.status


def _fetched(work: Work, seen: DownloadStatus, watch: Watch[DownloadStatus]) -> DownloadStatus:
    """Fetch a model; how it ended."""
    pace, cancelled = _Pace(), asks(watch, lambda: seen)

    def report(progress: Progress) -> None:
        nonlocal seen
        done, total, eta_s = progress.done_bytes, progress.total_bytes, pace.eta_s(progress)
        seen = replace(seen, phase=progress.phase, done_bytes=done, total_bytes=total, eta_s=eta_s)
        watch(seen)

    try:
        model = work(report, cancelled)
        return replace(seen, state="finished", model=model, eta_s=None)
    except jobs.Cancelled:
        return replace(seen, state="cancelled")
    except WorkbenchError as error:
        problem = error.problems[0]
        return replace(seen, state="cancelled") if cancelled() else replace(seen, state="failed", problem=problem)
    except Exception:
        reference = secrets.token_hex(4)
        log.exception("download failed, reference %s", reference)
        return replace(seen, state="failed", problem=Problem("A24_download_broke", values={"reference": reference}))


@dataclass
class _Pace:
    """How fast the bytes of a phase come. Those of its first report were there before: they took no time."""

    phase: str = ""
    began: float = 0.0
    first_bytes: int = 0

    def eta_s(self, progress: Progress) -> float | None:
        """Seconds until the phase has all its bytes; None as long as nothing came since its first report."""
        now, done = time.monotonic(), progress.done_bytes
        if progress.phase != self.phase:
            self.phase, self.began, self.first_bytes = progress.phase, now, done
        come = done - self.first_bytes
        return (now - self.began) * (progress.total_bytes - done) / come if come > 0 else None
