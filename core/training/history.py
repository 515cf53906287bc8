"""The folders of all runs, read: which there are, what each has come to, the rows of the history.

Owns run ids, `training/runs/<id>/` and folding what its event file says. It starts nothing and writes only new folders.
A run without an end whose process is gone shows as interrupted; nothing is written to say so.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

from core.errors import excerpt, refusal
from core.training.events import read_events
from core.training.progress import Snapshot, Status, fold
from core.workspace import Workspace

EVENTS_FILE = "events.jsonl"
SUMMED_STEPS = 10
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunSummary:
    """A run as a row of the history; `train_loss` is the mean of its last steps, `eval_loss` its best."""

    run_id: str
    name: str
    status: Status
    base: str
    dataset: str
    started_by: str
    started_at: str
    elapsed_s: float
    step: int
    steps: int
    train_loss: float | None
    eval_loss: float | None
    best_step: int | None
    adapter: str | None

    @classmethod
    def of(cls, snapshot: Snapshot) -> RunSummary:
        recent = [loss for _, loss in snapshot.losses[-SUMMED_STEPS:]]
        return cls(
            run_id=snapshot.run_id,
            name=snapshot.name,
            status=snapshot.status,
            base=snapshot.base,
            dataset=snapshot.dataset,
            started_by=snapshot.started_by,
            started_at=snapshot.started_at,
            elapsed_s=snapshot.elapsed_s,
            step=snapshot.step,
            steps=snapshot.steps,
            train_loss=sum(recent) / len(recent) if recent else None,
            eval_loss=snapshot.best_loss,
            best_step=snapshot.best_step,
            adapter=snapshot.adapter,
        )


class RunHistory:
    """The run folders of a workspace. Snapshots are kept as long as a run's event file does not grow."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._folded: dict[str, tuple[int, Snapshot]] = {}  # run id → size of its event file, snapshot

    def ids(self) -> list[str]:
        """All run ids, the newest first."""
        runs = self._workspace.runs
        return sorted((entry.name for entry in runs.iterdir() if entry.is_dir()), reverse=True) if runs.is_dir() else []

    def folder(self, run_id: str) -> Path:
        """The folder of a run: the id is looked up among those there are, never joined to a path first.

        Raises:
            WorkbenchError: A30 where there is no such run.
        """
        if run_id not in self.ids():
            raise refusal("A30_no_such_run", run_id=excerpt(run_id))
        return self._workspace.runs / run_id

    def new_folder(self) -> Path:
        """A folder whose name sorts by time and is nobody else's."""
        while True:
            now = datetime.now(UTC)
            folder = self._workspace.runs / f"{now:%Y%m%d-%H%M%S}-{now.microsecond // 1000:03}"
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                continue
            return folder

    def snapshot(self, run_id: str) -> Snapshot:
        """What the file of a run says that this process does not run."""
        path = self.folder(run_id) / EVENTS_FILE
        size = path.stat().st_size if path.is_file() else 0
        cached = self._folded.get(run_id)
        if cached is None or cached[0] != size:
            history = read_events(path)
            if history.damaged:
                logger.warning("run %s: %d damaged lines in %s", run_id, history.damaged, EVENTS_FILE)
            cached = self._folded[run_id] = (size, replace(fold(history.events), run_id=run_id))
        snapshot = cached[1]
        if snapshot.status.active and not _runs_elsewhere(snapshot):
            return replace(snapshot, status=Status.INTERRUPTED, phase=None, eta_s=None)
        return snapshot

    def forget(self, run_id: str) -> None:
        self._folded.pop(run_id, None)


def _runs_elsewhere(snapshot: Snapshot) -> bool:
    """Whether another process that is alive runs it: same pid, same start time, and not this one."""
    if snapshot.pid is None or snapshot.pid == os.getpid():
        return False
    try:
        began = float(psutil.Process(snapshot.pid).create_time())
    except psutil.Error:
        return False
    return abs(began - (snapshot.process_started or 0)) < 1
