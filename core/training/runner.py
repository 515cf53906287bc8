"""The runs of a data directory: at most one going on, on a thread of this process, and all that were there before.

Owns the background thread, who started what, stopping and deleting. What a run does is `run`'s business, what past ones
have come to is `history`'s.
"""

from __future__ import annotations

import logging
import shutil
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from core.errors import Place, Problem, WorkbenchError, refusal
from core.models.memory import release
from core.training.events import END_EVENTS, Event, EventLog, Logged, StopAsked, read_events
from core.training.history import EVENTS_FILE, RunHistory, RunSummary
from core.training.progress import Progress, Snapshot, Status
from core.training.spec import RunSpec, read_spec
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.models.loader import LoadedModel
    from core.training.checkpoints import Checkpoint
    from core.training.endings import StopSignal
    from core.training.resume import Resumption

logger = logging.getLogger(__name__)


@dataclass
class _Active:
    """The run that is going on."""

    run_id: str
    name: str
    started_by: str
    stop: StopSignal
    log: EventLog
    progress: Progress = field(default_factory=Progress)
    ended: bool = False


class Runner:
    """Starts, resumes, stops, shows and forgets runs. Its methods may be called from any thread."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lock = threading.RLock()
        self._active: _Active | None = None
        self._thread: threading.Thread | None = None  # of the last run; it outlives `_active` by a moment
        self._history = RunHistory(workspace)

    def start(self, spec: RunSpec, model: LoadedModel, started_by: str = "") -> str:
        """Begin a run on the loaded model and return its id at once.

        Raises:
            WorkbenchError: A01 where a run is going on; what can be said of the spec without reading the data.
        """
        from core.training.endings import StopSignal

        self.settle()
        with self._lock:
            self._refuse_a_second()
            self._check(spec, model)
            folder = self._history.new_folder()
            active = _Active(folder.name, spec.name, started_by, StopSignal(), EventLog(folder / EVENTS_FILE))
            try:
                self._begin(active, spec, model)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        return active.run_id

    def resumption(self, run_id: str, model: LoadedModel | None) -> Resumption:
        """From where a run that ended early would go on, and what has changed since; nothing is started.

        Without a model, the base is not compared.

        Raises:
            WorkbenchError: A30 where there is no such run, A23 where it has finished, A01 while it goes on; A03, H01
                where its spec or a data set of it is gone or damaged.
        """
        from core.training.resume import find_resumption

        folder, snapshot = self._history.folder(run_id), self.snapshot(run_id)
        if snapshot.status == Status.FINISHED:
            raise refusal("A23_already_finished", name=snapshot.name, steps=snapshot.steps)
        if snapshot.status.active:
            raise refusal("A01_run_going_on", name=snapshot.name)
        return find_resumption(folder / "checkpoints", self.spec(run_id), snapshot, self._workspace, model)

    def resume(self, run_id: str, model: LoadedModel, accept_changes: bool = False) -> None:
        """Go on with a run that ended early, on the loaded model; without a whole checkpoint from its start.

        Raises:
            WorkbenchError: as `resumption`; what has changed since, unless that is accepted and it can go on; A01
                where another run is going on.
        """
        from core.training.endings import StopSignal
        from core.training.resume import resumed_event

        self.settle()
        found = self.resumption(run_id, model)
        with self._lock:
            self._refuse_a_second()
            against = [each for each in found.differences if each.severity == "error" or not accept_changes]
            if against:
                raise WorkbenchError(against)
            log = EventLog(self._history.folder(run_id) / EVENTS_FILE)
            active = _Active(run_id, found.spec.name, self.snapshot(run_id).started_by, StopSignal(), log)
            for event in read_events(log.path).events:
                active.progress.add(event)
            self._emit(active, resumed_event(found))
            self._begin(active, found.spec, model, found)

    def stop(self, run_id: str, keep: bool = True) -> None:
        """Ask a run to stop, keeping its adapter or not. Asking again, or a run that has ended, changes nothing.

        Raises:
            WorkbenchError: A30 where there is no such run.
        """
        with self._lock:
            active = self._active
            if active is None or active.run_id != run_id:
                self._history.folder(run_id)
                return
            if not active.ended and active.stop.ask(keep):
                try:
                    self._emit(active, StopAsked(keep, active.progress.snapshot().elapsed_s))
                except OSError:  # a full disk; the run stops all the same
                    logger.exception("run %s: being told to stop could not be written down", run_id)

    def active(self) -> str | None:
        """The id of the run that is going on; None as soon as it has said how it ended."""
        active = self._active
        return active.run_id if active and not active.ended else None

    def active_name(self) -> str | None:
        """The name that the adapter of the run that is going on will have."""
        active = self._active
        return active.name if active and not active.ended else None

    def settle(self) -> None:
        """Wait the moment that a run which has said how it ended still takes to let go of the model and its folder."""
        with self._lock:
            leaving = self._thread if self._active is not None and self._active.ended else None
        if leaving is not None:
            leaving.join()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until no run is going on; False where the time ran out before."""
        thread = self._thread
        if thread is None:
            return True
        thread.join(timeout_s)
        return not thread.is_alive()

    def close(self, timeout_s: float = 10.0) -> bool:
        """Stop what is going on, keeping it, and wait for it."""
        active = self._active
        if active is not None:
            self.stop(active.run_id, keep=True)
        return self.wait(timeout_s)

    def snapshot(self, run_id: str) -> Snapshot:
        """What a run has come to by now.

        Raises:
            WorkbenchError: A30 where there is no such run.
        """
        with self._lock:
            active = self._active
            if active is not None and active.run_id == run_id:
                return replace(active.progress.snapshot(), run_id=run_id, name=active.name)
            return self._history.snapshot(run_id)

    def runs(self) -> list[RunSummary]:
        """All runs, the newest first. A folder that cannot be read is left out and logged."""
        found = []
        for run_id in self._history.ids():
            try:
                snapshot = self.snapshot(run_id)
            except (OSError, WorkbenchError):
                logger.warning("run %s cannot be read", run_id, exc_info=True)
            else:
                if snapshot.version or run_id == self.active():  # an empty folder is no run
                    found.append(RunSummary.of(snapshot))
        return found

    def spec(self, run_id: str) -> RunSpec:
        """The spec of a run, resolved where it came so far.

        Raises:
            WorkbenchError: A30 where there is no such run; A03, H01 where its spec is missing or damaged.
        """
        return read_spec(self._history.folder(run_id) / "spec.yaml")

    def latest_checkpoint(self, run_id: str) -> Checkpoint | None:
        """The newest whole checkpoint of a run, for chatting with the adapter that is being trained."""
        from core.training.checkpoints import latest_checkpoint

        return latest_checkpoint(self._history.folder(run_id) / "checkpoints")

    def delete(self, run_id: str) -> None:
        """Remove a run's folder with its checkpoints; the adapter it made stays.

        Raises:
            WorkbenchError: A04 while it runs, A30 where there is no such run.
        """
        self.settle()
        with self._lock:
            folder = self._history.folder(run_id)
            if self.snapshot(run_id).status.active:
                raise refusal("A04_run_going_on", Place(file=run_id), name=self.snapshot(run_id).name)
            shutil.rmtree(folder)
            self._history.forget(run_id)

    def _refuse_a_second(self) -> None:
        if self._active is not None:
            raise refusal("A01_run_going_on", name=self._active.name)

    def _begin(self, active: _Active, spec: RunSpec, model: LoadedModel, resumption: Resumption | None = None) -> None:
        """Let the thread of a run begin; where it cannot, no run is going on."""
        arguments = (active, spec, model, resumption)
        thread = threading.Thread(target=self._work, args=arguments, name=f"run-{active.run_id}")
        thread.daemon = True  # `close` stops it in order; a second Ctrl-C need not wait for it
        self._active = active
        try:
            thread.start()
        except BaseException:
            self._active = None
            raise
        self._thread = thread

    def _check(self, spec: RunSpec, model: LoadedModel) -> None:
        from core.adapters.store import check_adapter_name
        from core.data.datasets import find_dataset
        from core.training.preparation import base_problems

        problems: list[Problem] = [each for each in base_problems(spec, model) if each.severity == "error"]
        name_problem = check_adapter_name(self._workspace, spec.name)
        problems += [name_problem] if name_problem else []
        try:
            find_dataset(self._workspace, spec.dataset)
        except WorkbenchError as error:
            problems += error.problems
        if problems:
            raise WorkbenchError(problems)

    def _work(self, active: _Active, spec: RunSpec, model: LoadedModel, resumption: Resumption | None) -> None:
        """The thread's whole life. Whatever happens, the next run can start afterwards."""
        try:
            from core.training.run import RunContext, run_training

            folder = self._history.folder(active.run_id)
            context = RunContext(self._workspace, model, active.run_id, folder, active.started_by)
            run_training(spec, context, lambda event: self._emit(active, event), active.stop, resumption)
        except Exception:
            logger.exception("run %s could not say how it ended", active.run_id)
        finally:
            with self._lock:
                self._active = None
            release()

    def _emit(self, active: _Active, event: Event) -> None:
        """What happened is shown first and then written, so that a full disk does not hide it."""
        with self._lock:
            active.ended = active.ended or isinstance(event, END_EVENTS)
            active.progress.add(event)
            if isinstance(event, Logged):
                logger.info("run %s: %s %s", active.run_id, event.key, event.values)
        active.log.append(event)
