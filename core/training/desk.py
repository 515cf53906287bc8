"""The runs of a data directory as a person deals with them: start, queue, watch, compare, repeat, train further.

`RunDesk` is `Workbench.runs`. It owns which queued run begins when; the list itself is `queue`'s, the thread of the run
in progress `runner`'s, what runs have come to `history`'s. The rest it hands to modules that know nothing of queues.
"""

from __future__ import annotations

import logging
import shlex
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from core.digits import whole_number_in
from core.errors import WorkbenchError, excerpt, refusal
from core.models.precision import choose_precision
from core.settings import LoadSettings
from core.training.admission import check_beforehand, pinned
from core.training.checkpoints import SPEC_FILE
from core.training.comparison import Comparison, RunRecord, compared
from core.training.history import RunSummary
from core.training.lineage import further
from core.training.progress import Snapshot, Status
from core.training.queue import Entry, QueuedRun, QueueState, RunQueue
from core.training.result_name import free_result_name
from core.training.run_archive import write_archive
from core.training.runner import Runner
from core.training.snapshots import AT_STEP
from core.training.spec import RunSpec, spec_text
from core.workspace import Workspace, discard

if TYPE_CHECKING:
    from core.models.loader import LoadedModel
    from core.training.checkpoints import Checkpoint
    from core.training.resume import Resumption

Load = Callable[[str, LoadSettings, "Report | None"], object]
Report = Callable[[str, float], None]
MIN_COMPARED, MAX_COMPARED = 2, 8
CODE = Path(__file__).resolve().parents[2]
logger = logging.getLogger(__name__)


class RunDesk:
    """All that can be done with runs. Its methods may be called from any thread.

    When a run ends, the first queued run for the base model in memory begins by itself, however the one before ended.
    """

    def __init__(
        self,
        workspace: Workspace,
        exclusive: threading.RLock,
        loaded: Callable[[], LoadedModel | None],
        load: Load,
        before_a_run: Callable[[], None] = lambda: None,
    ) -> None:
        """`loaded` gives the base model in memory, `load` puts another there; both hold `exclusive` when it changes.

        `before_a_run` as in `Runner`.
        """
        self._workspace = workspace
        self._exclusive = exclusive
        self._loaded = loaded
        self._load = load
        self._runner = Runner(workspace, self._after_a_run, before_a_run)
        self._queue = RunQueue(workspace.state / "queue.json", self._runner.can_wait)
        self._on_hold = bool(self._queue.entries)
        self._loading = False  # the base of a run that somebody wants now: no other one begins on it first
        self._closed = False

    def close(self, on_wait: Callable[[], None] = lambda: None) -> None:
        """Stop the run in progress, keeping its adapter; what waits in the queue is there at the next start.

        `on_wait` as in `Runner.close`.
        """
        self._closed = True
        self._runner.close(on_wait)

    # ---- looking ----

    def list(self) -> Sequence[RunSummary]:
        """All runs, the newest first; those that wait in the queue are among them."""
        return [replace(run, status=Status.QUEUED) if run.run_id in self._queue else run for run in self._runner.runs()]

    def summary(self, run_id: str) -> RunSummary:
        """A run as its row in the list.

        Raises:
            WorkbenchError: A30 where there is no such run.
        """
        return RunSummary.of(self.snapshot(run_id), self.size(run_id))

    def active(self) -> str | None:
        """The id of the run in progress; None as soon as it has said how it ended."""
        return self._runner.active()

    def active_name(self) -> str | None:
        """The name that the adapter of the run in progress will have."""
        return self._runner.active_name()

    def snapshot(self, run_id: str) -> Snapshot:
        """Everything that is known of a run so far; its status is `queued` while it waits.

        Raises:
            WorkbenchError: A30 where there is no such run.
        """
        snapshot = self._runner.snapshot(run_id)
        return replace(snapshot, status=Status.QUEUED) if run_id in self._queue else snapshot

    def spec(self, run_id: str) -> RunSpec:
        """The settings of a run, resolved where it came so far.

        Raises:
            WorkbenchError: A30 where there is no such run; A03, H01 where its spec is missing or damaged.
        """
        return self._runner.spec(run_id)

    def spec_text(self, run_id: str) -> str:
        """The exact settings of a run as YAML, with which `train` makes it again.

        Raises:
            WorkbenchError: as `spec`.
        """
        return spec_text(self.spec(run_id))

    def command(self, run_id: str) -> str:
        """The command line that, in this program's folder, makes a run again under a name that is free.

        It names the data directory and the folders of models where they are not the ones that are taken without.

        Raises:
            WorkbenchError: as `spec`.
        """
        spec = self.spec(run_id)
        return _train_command(self._workspace, run_id, self._free_name(spec, spec.name))

    def compare(self, run_ids: Sequence[str]) -> Comparison:
        """Two or more runs beside each other.

        Raises:
            WorkbenchError: H03 for fewer than `MIN_COMPARED` or more than `MAX_COMPARED` runs; A30 for unknown ones.
        """
        wanted = list(dict.fromkeys(run_ids))
        if not MIN_COMPARED <= len(wanted) <= MAX_COMPARED:
            raise refusal("H03_compared_runs", count=len(wanted), least=MIN_COMPARED, most=MAX_COMPARED)
        return compared([self._record(run_id) for run_id in wanted])

    def size(self, run_id: str) -> int:
        """Bytes of a run's folder, which deleting it frees.

        Raises:
            WorkbenchError: A30 where there is no such run.
        """
        return self._runner.size(run_id)

    def export(self, run_id: str, folder: Path, with_weights: bool = True) -> Path:
        """A run as one zip in a new folder within one that there is, with or without the adapter it made.

        Raises:
            WorkbenchError: A30 where there is no such run, A14 where the file cannot be written.
        """
        return write_archive(self._workspace, self.snapshot(run_id), folder, with_weights)

    def latest_checkpoint(self, run_id: str) -> Checkpoint | None:
        """The newest whole checkpoint of a run, for chatting with the adapter that is being trained."""
        return self._runner.latest_checkpoint(run_id)

    def saved_steps(self, run_id: str) -> tuple[int, ...]:
        """The steps of a run whose adapter is on disk, also after the run has ended: those that can be applied.

        Raises:
            WorkbenchError: A30 where there is no such run.
        """
        return tuple(self._runner.saved_adapters(run_id))

    def saved_adapter(self, run_id: str, step: int) -> Path:
        """The folder of the adapter that a run had made by a step.

        Raises:
            WorkbenchError: A30 where there is no such run, or nothing of that step.
        """
        saved = self._runner.saved_adapters(run_id)
        if step not in saved:
            known = ", ".join(map(str, saved)) or "–"
            raise refusal("A30_no_saved_step", name=self.snapshot(run_id).name, step=excerpt(step), known=known)
        return saved[step]

    def has_step(self, run_id: str, step: int) -> bool:
        """Whether the adapter of a step is on disk."""
        try:
            return step in self.saved_steps(run_id)
        except WorkbenchError:  # the run was deleted
            return False

    def find_step(self, name: str) -> tuple[str, int] | None:
        """The run and step that `lumi @ 40` means: of this name, or id, the newest run that has the step, else any."""
        run_name, at, step = name.rpartition(AT_STEP)
        number = whole_number_in(step)
        if not at or number is None:
            return None
        known = [run.run_id for run in self.list() if run_name in (run.run_id, run.name)]
        having = (run_id for run_id in known if self.has_step(run_id, number))
        return next(((run_id, number) for run_id in chain(having, known)), None)

    # ---- one run at a time ----

    def start(self, spec: RunSpec, started_by: str = "", repeats: str = "") -> str:
        """Begin a run now and return its id; `repeats` is the id of the run that it repeats.

        Raises:
            WorkbenchError: A01 where a run is in progress, A03 where its base model is not loaded or its data set is
                missing, and everything that can be checked without reading the data.
        """
        with self._exclusive:
            loaded = self._model_for(spec.base)
            return self._runner.start(spec, loaded, started_by, repeats, self.promised_names())

    def resumption(self, run_id: str, verified: Resumption | None = None) -> Resumption:
        """From where a run that ended early would go on, and what has changed since; nothing is started.

        `verified` as in `Runner.resumption`.

        Raises:
            WorkbenchError: as `Runner.resumption`; A01 where it waits in the queue already.
        """
        self._refuse_queued(run_id, "A01_run_queued")
        return self._runner.resumption(run_id, self._loaded(), verified)

    def resume(self, run_id: str, accept_changes: bool = False, verified: Resumption | None = None) -> bool:
        """Go on with a run that ended early, under its own id: now, or in its turn where another run is in progress.

        Returns whether it goes on now; else it is the last in the queue. `verified` as in `Runner.resumption`.

        Raises:
            WorkbenchError: as `resumption`; what has changed since, unless that is accepted and it can go on; A03 where
                its base model is not loaded and it could go on now; A27 where the queue is full.
        """
        verified = verified or self.resumption(run_id)  # reads gigabytes: before anybody has to wait for it
        with self._exclusive:
            found = self.resumption(run_id, verified)
            if self.active() is None:
                self._runner.resume(run_id, self._model_for(found.spec.base), accept_changes, found)
                return True
            found.check_accepted(accept_changes)
            self._queue.add(Entry(run_id, resumes=True, accepts_changes=accept_changes))
            return False

    def further(self, run_id: str) -> RunSpec:
        """The spec of a new run that trains the adapter of a run further, with the same data until that is changed.

        Raises:
            WorkbenchError: as `spec`; A23 where the run kept no adapter; M25 where it is gone; A22 where nobody knows
                how it was made.
        """
        adapter = self.snapshot(run_id).adapter
        if adapter is None:
            raise refusal("A23_no_adapter_kept", name=self.snapshot(run_id).name)
        spec = self.spec(run_id)
        return further(spec, adapter, self._free_name(spec, adapter), self._workspace)

    def stop(self, run_id: str, keep: bool) -> None:
        """Ask a run to stop after its current step; it can be resumed later. Twice, or too late, is no error."""
        self._runner.stop(run_id, keep)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait at most so long; whether no run is in progress any more."""
        return self._runner.wait(timeout_s)

    def settle(self) -> None:
        """Wait the moment that a run which has said how it ended still takes to let go of the model and its folder."""
        self._runner.settle()

    def delete(self, run_id: str) -> None:
        """Remove a run with its checkpoints; the adapter it made stays.

        Raises:
            WorkbenchError: A04 while it is in progress or waits, A30 where there is no such run.
        """
        with self._exclusive:
            self._refuse_queued(run_id, "A04_run_queued")
            doomed = self._runner.put_away(run_id)
        discard(doomed)

    # ---- the queue ----

    def queue(self) -> QueueState:
        """What waits, in its order, and what for."""
        loaded = self._loaded()
        runs = tuple(run for entry in self._queue.entries for run in self._queued_run(entry, loaded))
        return QueueState.of(runs, self.active(), self._on_hold)

    def enqueue(self, specs: Sequence[RunSpec], started_by: str = "", repeats: str = "") -> Sequence[str]:
        """Put runs at the end of the queue and return their ids; the first begins at once where nothing else does.

        Each spec is fixed to the data as it is now, and to the base where that is loaded. All are checked before any
        is queued.

        Raises:
            WorkbenchError: A27 where they are too many; what `start` refuses, but for a run in progress and a base
                model that is not loaded.
        """
        with self._exclusive:
            fixed = self.admitted(specs)
            if not self._queue.entries:
                self._on_hold = False
            run_ids = [self._enqueue(spec, started_by, repeats) for spec in fixed]
            self.advance()
            return run_ids

    def admitted(self, specs: Sequence[RunSpec]) -> Sequence[RunSpec]:
        """The specs as `enqueue` would queue them now; nothing is queued.

        Raises:
            WorkbenchError: as `enqueue`.
        """
        self._queue.check_room(len(specs))
        names = [*self.promised_names()]
        for spec in specs:
            check_beforehand(spec, self._workspace, self._model_of(spec), names)
            names.append(spec.name)
        return [pinned(spec, self._workspace, self._model_of(spec)) for spec in specs]

    def move(self, run_id: str, place: int) -> None:
        """Give a waiting run another place, 0 = first, at most the last. One that waits no more is no error."""
        self._queue.move(run_id, place)

    def cancel(self, run_id: str) -> None:
        """Take a run off the queue: one that has not begun is gone, one that was to go on stays as it was.

        One that waits no more is no error.
        """
        with self._exclusive:
            entry = self._queue.remove(run_id)
            doomed = self._runner.put_away(run_id) if entry and not entry.resumes else None
        if doomed:
            discard(doomed)

    def start_queue(self) -> None:
        """Let the queue go on after it was on hold."""
        with self._exclusive:
            self._on_hold = False
            self.advance()

    def begin(self, run_id: str, report: Report | None = None) -> None:
        """Begin a waiting run now, before its turn; its base model is loaded first where another one is in memory.

        Raises:
            WorkbenchError: A01 where a run is in progress; A30 where it does not wait; what loading refuses.
        """
        with self._exclusive:
            self._runner.settle()
            self._runner.refuse_a_second()
            if run_id not in self._queue:
                raise refusal("A30_not_queued", run_id=excerpt(run_id))
            self._queue.move(run_id, 0)
            spec = self.spec(run_id)
            loaded = self._model_of(spec)
            if loaded is None:
                self._loading = True
                try:
                    self._load(spec.base, spec.load, report)
                finally:
                    self._loading = False
                loaded = self._model_for(spec.base)
            self._begin(next(entry for entry in self._queue.entries if entry.run_id == run_id), loaded)
            self.advance()

    def advance(self) -> None:
        """Begin the next queued run where one can: called when a run has ended and when a base model was loaded."""
        with self._exclusive:
            if self._loading:
                return
            while (loaded := self._loaded()) and not (self._on_hold or self._closed or self._runner.busy()):
                entry = next((each for each in self._queue.entries if self._fits(each.run_id, loaded)), None)
                if entry is None:
                    return
                self._begin(entry, loaded)

    # ---- what runs need ----

    def promised_names(self) -> Sequence[str]:
        """Names of adapters that are still being made, or wait to be."""
        return [spec.name for spec in self._needed()]

    def user_of_dataset(self, name: str) -> str:
        """The run in progress or in the queue that reads a data set; "" for none."""
        return next((spec.name for spec in self._needed() if name in spec.datasets), "")

    def user_of_adapter(self, name: str) -> str:
        """The run in progress or in the queue that trains an adapter further; "" for none."""
        return next((spec.name for spec in self._needed() if spec.start_from and spec.start_from.adapter == name), "")

    # ---- inside ----

    def _after_a_run(self, ended: Snapshot) -> None:
        """The next one begins, unless it would meet the same disk that is full or cannot be written."""
        if ended.stop_reason in ("disk_full", "cannot_write"):
            self._on_hold = True
        self.advance()

    def _enqueue(self, spec: RunSpec, started_by: str, repeats: str) -> str:
        run_id = self._runner.prepare(spec, started_by, repeats)
        try:
            self._queue.add(Entry(run_id))
        except BaseException:
            discard(self._runner.put_away(run_id))
            raise
        return run_id

    def _begin(self, entry: Entry, loaded: LoadedModel) -> None:
        """Begin a waiting run; where it cannot, that is how it ended."""
        self._queue.remove(entry.run_id)
        try:
            if entry.resumes:
                self._runner.resume(entry.run_id, loaded, entry.accepts_changes)
            else:
                self._runner.begin(entry.run_id, loaded)
        except WorkbenchError as error:
            self._runner.fail(entry.run_id, error)

    def _queued_run(self, entry: Entry, loaded: LoadedModel | None) -> Iterator[QueuedRun]:
        """A waiting run as it is shown; nothing where it has just begun or been cancelled."""
        try:
            seen, spec = self._runner.snapshot(entry.run_id), self.spec(entry.run_id)
        except WorkbenchError:
            return
        fits = loaded is not None and _is_base_of(spec, loaded)
        step = (seen.checkpoint_step or 0) if entry.resumes else None
        precision, method = spec.load.precision, spec.method.method
        yield QueuedRun(entry.run_id, spec.name, spec.base, precision, spec.dataset, method, step, fits)

    def _fits(self, run_id: str, loaded: LoadedModel) -> bool:
        """Whether a run may begin on the base model in memory; one with a damaged spec may, and says so as it ends."""
        try:
            return _is_base_of(self.spec(run_id), loaded)
        except WorkbenchError:
            return True

    def _model_of(self, spec: RunSpec) -> LoadedModel | None:
        """The base model in memory where it is the one that a run needs."""
        loaded = self._loaded()
        return loaded if loaded and _is_base_of(spec, loaded) else None

    def _model_for(self, base: str) -> LoadedModel:
        loaded = self._loaded()
        if loaded is None:
            raise refusal("A03_no_model")
        if loaded.info.name != base:
            raise refusal("A03_other_model", wanted=excerpt(base), loaded=loaded.info.name)
        return loaded

    def _refuse_queued(self, run_id: str, key: str) -> None:
        if run_id in self._queue:
            raise refusal(key, name=self._runner.snapshot(run_id).name)

    def _needed(self) -> Iterator[RunSpec]:
        """The specs of the run in progress and of those that wait."""
        active = self.active()
        for run_id in (*([active] if active else []), *(entry.run_id for entry in self._queue.entries)):
            try:
                yield self.spec(run_id)
            except WorkbenchError:
                logger.warning("the spec of run %s cannot be read", run_id, exc_info=True)

    def _record(self, run_id: str) -> RunRecord:
        try:
            spec = self.spec(run_id)
        except WorkbenchError:
            spec = None  # its curves can be compared all the same
        return RunRecord(self.summary(run_id), self.snapshot(run_id), spec)

    def _free_name(self, spec: RunSpec, wish: str) -> str:
        return free_result_name(self._workspace, spec.method.method, wish, self.promised_names())


def _train_command(workspace: Workspace, run_id: str, name: str) -> str:
    """`train` with the spec of a run, as it is typed in the folder of this program."""
    spec, interpreter = workspace.runs / run_id / SPEC_FILE, Path(sys.executable)
    at_home = workspace.root == CODE
    words = [interpreter.relative_to(CODE) if interpreter.is_relative_to(CODE) else interpreter, "app.py", "train"]
    words += [spec.relative_to(CODE) if at_home else spec, "--name", name]
    words += [] if at_home else ["--data-dir", workspace.root]
    words += [word for folder in workspace.extra_models for word in ("--models-dir", folder)]
    return shlex.join(map(str, words))


def _is_base_of(spec: RunSpec, loaded: LoadedModel) -> bool:
    """Whether the base model in memory is the one that a run needs, in the precision that its wish becomes here."""
    wish, has, info = spec.load.precision, loaded.precision.precision, loaded.info
    if spec.base != info.name:
        return False
    return wish in ("auto", has) or (not info.quantization and choose_precision(spec.load, info).precision == has)
