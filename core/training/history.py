"""The folders of all runs, read: which there are, what each has come to, the rows of the history.

Owns run ids, `training/runs/<id>/` and folding what its event file says. It starts nothing and writes only new folders.
A run without an end whose process is gone shows as interrupted; nothing is written to say so.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import psutil

from core.adapters.card import Ancestor
from core.errors import excerpt, refusal
from core.settings import Metric
from core.training.checkpoints import SPEC_FILE
from core.training.events import read_events
from core.training.progress import Snapshot, Status, fold
from core.training.spec import RunSpec, read_spec
from core.workspace import Workspace, new_timed_folder

EVENTS_FILE = "events.jsonl"
SUMMED_STEPS = 10
SPARKLINE_POINTS = 40
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunSummary:
    """A run as a row of the history; `train_loss` is the mean of its last steps.

    `eval_loss` and `eval_accuracy` are those of `best_step`, which is the best by `best_by`.
    `sparkline` is its training loss in at most `SPARKLINE_POINTS` points (step, loss); `bytes` is what its folder holds
    on disk; `repeats` and `lineage` as in `Snapshot`.
    """

    run_id: str
    name: str
    status: Status
    base: str
    dataset: str
    method: str
    repeats: str
    lineage: tuple[Ancestor, ...]
    started_by: str
    started_at: str
    elapsed_s: float
    step: int
    steps: int
    train_loss: float | None
    eval_loss: float | None
    eval_accuracy: float | None
    best_by: Metric
    best_step: int | None
    adapter: str | None
    sparkline: tuple[tuple[int, float], ...]
    bytes: int

    @classmethod
    def of(cls, snapshot: Snapshot, size: int = 0) -> RunSummary:
        recent = [loss for _, loss in snapshot.losses[-SUMMED_STEPS:]]
        return cls(
            run_id=snapshot.run_id,
            name=snapshot.name,
            status=snapshot.status,
            base=snapshot.base,
            dataset=snapshot.dataset,
            method=snapshot.method,
            repeats=snapshot.repeats,
            lineage=snapshot.lineage,
            started_by=snapshot.started_by,
            started_at=snapshot.started_at,
            elapsed_s=snapshot.elapsed_s,
            step=snapshot.step,
            steps=snapshot.steps,
            train_loss=sum(recent) / len(recent) if recent else None,
            eval_loss=snapshot.best_loss,
            eval_accuracy=snapshot.best_accuracy,
            best_by=snapshot.best_by,
            best_step=snapshot.best_step,
            adapter=snapshot.adapter,
            sparkline=_thinned(snapshot.losses),
            bytes=size,
        )


class RunHistory:
    """The run folders of a workspace. Snapshots are kept as long as a run's event file does not grow."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._folded: dict[str, tuple[int, Snapshot]] = {}  # run id → size of its event file, snapshot
        self._weighed: dict[str, tuple[int, int]] = {}  # run id → size of its event file, bytes of its folder
        self._specs: dict[str, tuple[object, RunSpec]] = {}  # run id → state of its file, spec

    def ids(self) -> list[str]:
        """All run ids, the newest first."""
        if not self._workspace.runs.is_dir():
            return []
        with os.scandir(self._workspace.runs) as entries:  # asks the system nothing more about each: there may be many
            found = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
        return sorted(found, reverse=True)  # hidden: half removed

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
        return new_timed_folder(self._workspace.runs)

    def snapshot(self, run_id: str) -> Snapshot:
        """What the file of a run says that this process does not run."""
        path = self.folder(run_id) / EVENTS_FILE
        size = _size(path)
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

    def spec(self, run_id: str) -> RunSpec:
        """The spec of a run as its file has it now.

        Raises:
            WorkbenchError: A30 where there is no such run; A03, H01 where its spec is missing or damaged.
        """
        path = self.folder(run_id) / SPEC_FILE
        try:
            found = path.stat()
            state = (found.st_mtime_ns, found.st_size)
        except OSError:  # not there, or it went just now: `read_spec` says so
            state = None
        kept = self._specs.get(run_id)
        if kept is None or kept[0] != state:
            kept = self._specs[run_id] = (state, read_spec(path))
        return kept[1]

    def size(self, run_id: str) -> int:
        """Bytes of all files of a run; counted anew when its event file has grown."""
        folder = self.folder(run_id)
        grown_to = _size(folder / EVENTS_FILE)
        counted = self._weighed.get(run_id)
        if counted is None or counted[0] != grown_to:
            # A walk that passes over what goes meanwhile: checkpoints are rotated.
            files = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
            counted = self._weighed[run_id] = (grown_to, sum(map(_size, files)))
        return counted[1]

    def keep(self, run_id: str, snapshot: Snapshot) -> None:
        """Show what a run has come to although its file could not be told, until the file grows."""
        size = _size(self.folder(run_id) / EVENTS_FILE)
        self._folded[run_id] = (size, replace(snapshot, run_id=run_id))

    def forget(self, run_id: str) -> None:
        self._folded.pop(run_id, None)
        self._weighed.pop(run_id, None)
        self._specs.pop(run_id, None)


def _size(path: Path) -> int:
    """Bytes of a file; 0 for anything else, and for one that has just gone."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:
        return 0


def _thinned(points: tuple[tuple[int, float], ...]) -> tuple[tuple[int, float], ...]:
    """A curve in at most `SPARKLINE_POINTS` points, each the mean of the neighbours it stands for, at the last step."""
    groups = min(len(points), SPARKLINE_POINTS)
    bounds = [index * len(points) // groups for index in range(groups + 1)] if groups else []
    stretches = [points[start:end] for start, end in pairwise(bounds)]
    return tuple((stretch[-1][0], sum(loss for _, loss in stretch) / len(stretch)) for stretch in stretches)


def _runs_elsewhere(snapshot: Snapshot) -> bool:
    """Whether another process that is alive runs it: same pid, same start time, and not this one."""
    if snapshot.pid is None or snapshot.pid == os.getpid():
        return False
    try:
        began = float(psutil.Process(snapshot.pid).create_time())
    except psutil.Error:
        return False
    return abs(began - (snapshot.process_started or 0)) < 1
