"""The runs of a data directory: at most one going on, on a thread of this process, and all that were there before.

Owns the background thread, who started what, stopping and deleting. What a run does is `run`'s business, what past ones
have come to is `history`'s, which one begins next is the desk's.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import Place, WorkbenchError, refusal
from core.models.memory import release
from core.training.admission import check_beforehand
from core.training.checkpoints import CHECKPOINTS, SPEC_FILE
from core.training.events import END_EVENTS, Event, EventLog, Failed, Logged, RunQueued, StopAsked, read_events
from core.training.history import EVENTS_FILE, RunHistory, RunSummary
from core.training.lineage import pinned_start
from core.training.progress import Progress, Snapshot, Status
from core.training.queue import Entry
from core.training.spec import RunSpec, write_spec
from core.workspace import Workspace, now, put_away

if TYPE_CHECKING:
    from core.models.loader import LoadedModel
    from core.training.checkpoints import Checkpoint
    from core.training.endings import StopSignal
    from core.training.resume import Resumption

WAKES_S = 0.2
MOMENT_S = 2.0  # that a person waits without being told what for
logger = logging.getLogger(__name__)


@dataclass
class _Active:
    """The run that is going on."""

    run_id: str
    name: str
    started_by: str
    repeats: str
    stop: StopSignal
    log: EventLog
    progress: Progress = field(default_factory=Progress)
    ended: bool = False


class Runner:
    """Starts, resumes, stops, shows and forgets runs. Its methods may be called from any thread."""

    def __init__(
        self,
        workspace: Workspace,
        after_a_run: Callable[[Snapshot], None] = lambda ended: None,
        before_a_run: Callable[[], None] = lambda: None,
    ) -> None:
        """`after_a_run` is told what each run has come to that has ended, once the next one may begin.

        `before_a_run` is called by each run before it does anything; it waits for whatever must not go on beside it.
        """
        self._workspace = workspace
        self._before_a_run = before_a_run
        self._after_a_run = after_a_run
        self._lock = threading.RLock()
        self._left = threading.Condition(self._lock)  # told when a run lets go of everything
        self._active: _Active | None = None
        self._history = RunHistory(workspace)

    def start(
        self,
        spec: RunSpec,
        model: LoadedModel,
        started_by: str = "",
        repeats: str = "",
        promised: Collection[str] = (),
    ) -> str:
        """Begin a run on the loaded model and return its id at once; `repeats` is the id of the run that it repeats.

        `promised` are names of adapters that are still being made.

        Raises:
            WorkbenchError: A01 where a run is going on; as `check_beforehand`.
        """
        with self._lock:
            self.settle()
            self.refuse_a_second()
            check_beforehand(spec, self._workspace, model, promised)
            spec = pinned_start(spec, self._workspace)
            folder = self._history.new_folder()
            try:
                write_spec(folder / SPEC_FILE, spec)  # before it says anything: it can be resumed from then on
                self._begin(self._new(folder.name, spec.name, started_by, repeats), spec, model)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        return folder.name

    def prepare(self, spec: RunSpec, started_by: str = "", repeats: str = "") -> str:
        """Make the folder of a run that begins later, and return its id."""
        folder = self._history.new_folder()
        try:
            write_spec(folder / SPEC_FILE, spec)
            what = (folder.name, spec.name, spec.base, spec.dataset, spec.method.method)
            EventLog(folder / EVENTS_FILE).append(RunQueued(*what, started_by, now(), repeats))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return folder.name

    def begin(self, run_id: str, model: LoadedModel) -> None:
        """Begin a run that was prepared; what speaks against it by now is how it ends.

        Raises:
            WorkbenchError: A01 where a run is going on, A30 where there is no such run; H01 for a damaged spec.
        """
        with self._lock:
            self.settle()
            self.refuse_a_second()
            spec, seen = self.spec(run_id), self.snapshot(run_id)
            active = self._new(run_id, spec.name, seen.started_by, seen.repeats)
            self._begin(self._as_before(active), spec, model)

    def fail(self, run_id: str, error: WorkbenchError) -> None:
        """Write down why a run that was to begin could not."""
        elapsed_s = self.snapshot(run_id).elapsed_s
        EventLog(self._history.folder(run_id) / EVENTS_FILE).append(Failed(error.problems, "", elapsed_s))

    def can_wait(self, entry: Entry) -> bool:
        """Whether a run is there that can begin later: one that was prepared and has not begun, or is to go on."""
        try:
            seen = self.snapshot(entry.run_id)
        except WorkbenchError:
            return False
        return seen.status != Status.FINISHED if entry.resumes else seen.pid is None

    def resumption(self, run_id: str, model: LoadedModel | None, verified: Resumption | None = None) -> Resumption:
        """From where a run that ended early would go on, and what has changed since; nothing is started.

        Without a model, the base is not compared. `verified` is what was found a moment ago: its checkpoint is not read
        again unless the run has gone on since.

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
        return find_resumption(folder / CHECKPOINTS, self.spec(run_id), snapshot, self._workspace, model, verified)

    def resume(
        self, run_id: str, model: LoadedModel, accept_changes: bool = False, verified: Resumption | None = None
    ) -> None:
        """Go on with a run that ended early, on the loaded model; without a whole checkpoint from its start.

        `verified` as in `resumption`.

        Raises:
            WorkbenchError: as `resumption`; what has changed since, unless that is accepted and it can go on; A01
                where another run is going on.
        """
        from core.training.resume import resumed_event

        self.settle()
        verified = verified or self.resumption(run_id, model)  # reads gigabytes: before this lock is taken
        with self._lock:
            self.settle()
            found = self.resumption(run_id, model, verified)
            self.refuse_a_second()
            found.check_accepted(accept_changes)
            seen = self.snapshot(run_id)
            active = self._as_before(self._new(run_id, found.spec.name, seen.started_by, seen.repeats))
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

    def busy(self) -> bool:
        """Whether a run is going on, or has ended and not yet let go of the model."""
        return self._active is not None

    def active_name(self) -> str | None:
        """The name that the adapter of the run that is going on will have."""
        active = self._active
        return active.name if active and not active.ended else None

    def settle(self) -> None:
        """Wait the moment that a run which has said how it ended still takes to let go of the model and its folder."""
        with self._left:
            self._left.wait_for(lambda: self._active is None or not self._active.ended)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until no run is going on; False where the time ran out before."""
        with self._left:
            return self._left.wait_for(lambda: self._active is None, timeout_s)

    def close(self, on_wait: Callable[[], None] = lambda: None) -> None:
        """Stop what is going on, keeping it, and wait until it is saved, however long that takes.

        `on_wait` is called once where it takes more than a moment.
        """
        began, told = time.monotonic(), False
        while (active := self._active) is not None:
            self.stop(active.run_id, keep=True)
            gone = self.wait(WAKES_S)  # a signal that another thread was given does not wake a longer wait
            if not (gone or told) and time.monotonic() - began > MOMENT_S:
                told = True
                on_wait()

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
                    found.append(RunSummary.of(snapshot, self._history.size(run_id)))
        return found

    def spec(self, run_id: str) -> RunSpec:
        """The spec of a run, resolved where it came so far.

        Raises:
            WorkbenchError: A30 where there is no such run; A03, H01 where its spec is missing or damaged.
        """
        return self._history.spec(run_id)

    def size(self, run_id: str) -> int:
        """Bytes of a run's folder.

        Raises:
            WorkbenchError: A30 where there is no such run.
        """
        return self._history.size(run_id)

    def latest_checkpoint(self, run_id: str) -> Checkpoint | None:
        """The newest whole checkpoint of a run, for chatting with the adapter that is being trained."""
        from core.training.checkpoints import latest_checkpoint

        return latest_checkpoint(self._history.folder(run_id) / CHECKPOINTS)

    def saved_adapters(self, run_id: str) -> dict[int, Path]:
        """The folders of the adapters that a run has on disk, by their step, also after it has ended.

        Raises:
            WorkbenchError: A30 where there is no such run.
        """
        from core.training.snapshots import saved_adapters

        return saved_adapters(self._history.folder(run_id))

    def put_away(self, run_id: str) -> Path:
        """Take a run with its checkpoints out of sight, for `workspace.discard`; the adapter it made stays.

        Raises:
            WorkbenchError: A04 while it runs, A30 where there is no such run.
        """
        with self._lock:
            self.settle()
            folder = self._history.folder(run_id)
            if self.snapshot(run_id).status.active:
                raise refusal("A04_run_going_on", Place(file=run_id), name=self.snapshot(run_id).name)
            doomed = put_away(folder)
            self._history.forget(run_id)
            return doomed

    def refuse_a_second(self) -> None:
        """Refuse to begin a run.

        Raises:
            WorkbenchError: A01 where one is going on.
        """
        if self._active is not None:
            raise refusal("A01_run_going_on", name=self._active.name)

    def _new(self, run_id: str, name: str, started_by: str, repeats: str) -> _Active:
        from core.training.endings import StopSignal

        log = EventLog(self._history.folder(run_id) / EVENTS_FILE)
        return _Active(run_id, name, started_by, repeats, StopSignal(), log)

    def _as_before(self, active: _Active) -> _Active:
        """A run with all that its history says."""
        for event in read_events(active.log.path).events:
            active.progress.add(event)
        return active

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

    def _work(self, active: _Active, spec: RunSpec, model: LoadedModel, resumption: Resumption | None) -> None:
        """The thread's whole life. Whatever happens, the next run can start afterwards."""
        try:
            self._train(active, spec, model, resumption)
        except Exception:
            logger.exception("run %s could not say how it ended", active.run_id)
            if active.ended:
                self._history.keep(active.run_id, active.progress.snapshot())
        finally:
            release()
            with self._left:
                self._active = None
                self._left.notify_all()
        try:
            self._after_a_run(active.progress.snapshot())
        except Exception:
            logger.exception("after run %s the next one could not begin", active.run_id)

    def _train(self, active: _Active, spec: RunSpec, model: LoadedModel, resumption: Resumption | None) -> None:
        from core.training.run import RunContext, run_training

        self._before_a_run()
        folder = self._history.folder(active.run_id)
        context = RunContext(self._workspace, model, active.run_id, folder, active.started_by, active.repeats)
        run_training(spec, context, lambda event: self._emit(active, event), active.stop, resumption)

    def _emit(self, active: _Active, event: Event) -> None:
        """What happened is shown first and then written, so that a full disk does not hide it."""
        with self._lock:
            active.ended = active.ended or isinstance(event, END_EVENTS)
            active.progress.add(event)
            if isinstance(event, Logged):
                logger.info("run %s: %s %s", active.run_id, event.key, event.values)
        active.log.append(event)
