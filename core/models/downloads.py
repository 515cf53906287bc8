"""One model on its way into `models/` at a time: a background thread whose state the page reads.

Owns the thread, its progress and its end (finished, cancelled, failed with a problem). What is fetched and how is in
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

from core.errors import Problem, WorkbenchError, refusal
from core.models.arrival import Cancelled, Progress, Report

log = logging.getLogger("workbench.downloads")

Work = Callable[[Report, Cancelled], str]
"""Fetches a model, reporting as it goes and leaving when it is cancelled; returns the model's name."""


@dataclass(frozen=True)
class DownloadStatus:
    """What a download is doing. `eta_s` None = not known yet; `model` is set once it is there."""

    title: str
    state: Literal["running", "finished", "cancelled", "failed"]
    phase: str = "starting"
    done_bytes: int = 0
    total_bytes: int = 0
    eta_s: float | None = None
    model: str | None = None
    problem: Problem | None = None


class Downloads:
    """Runs one download at a time. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._thread: threading.Thread | None = None
        self._status: DownloadStatus | None = None

    @property
    def status(self) -> DownloadStatus | None:
        """The running download, else the last one; None where there was none."""
        return self._status

    def start(self, title: str, work: Work) -> None:
        """Begin a download and return at once.

        Raises:
            WorkbenchError: A01 where another one is running.
        """
        with self._lock:
            if self._status and self._status.state == "running":
                raise refusal("A01_download_running", title=self._status.title)
            self._cancelled.clear()
            self._status = DownloadStatus(title, "running")
            self._thread = threading.Thread(target=self._run, args=(work,), name="download", daemon=True)
            self._thread.start()

    def cancel(self) -> None:
        """Ask the running download to leave; without one this does nothing."""
        self._cancelled.set()

    def wait(self, timeout_s: float | None = None) -> DownloadStatus | None:
        """Wait for the running download's end."""
        if self._thread:
            self._thread.join(timeout_s)
        return self._status

    def _run(self, work: Work) -> None:
        pace = _Pace()

        def report(progress: Progress) -> None:
            done, total, eta_s = progress.done_bytes, progress.total_bytes, pace.eta_s(progress)
            self._change(phase=progress.phase, done_bytes=done, total_bytes=total, eta_s=eta_s)

        try:
            model = work(report, self._cancelled.is_set)
        except WorkbenchError as error:
            cancelled = self._cancelled.is_set()
            self._change(state="cancelled" if cancelled else "failed", problem=None if cancelled else error.problems[0])
        except Exception:
            reference = secrets.token_hex(4)
            log.exception("download failed, reference %s", reference)
            self._change(state="failed", problem=Problem("A24_download_broke", values={"reference": reference}))
        else:
            self._change(state="finished", model=model, eta_s=None)

    def _change(self, **changes: object) -> None:
        assert self._status is not None
        self._status = replace(self._status, **changes)  # type: ignore[arg-type]


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
