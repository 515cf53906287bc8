"""The evaluations of a data directory as a person deals with them: start, watch, cancel, look at, repeat, delete.

`EvaluationDesk` is `Workbench.evaluations`. It owns the one evaluation in progress, a background job. What may begin is
`admission`'s, files are `store`'s, what an evaluation does is `procedure`'s. Importing this module loads neither torch
nor transformers.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from core.data.library import DataLibrary
from core.errors import Problem, WorkbenchError, refusal
from core.evaluation.admission import admitted, made_by, run_of
from core.evaluation.overview import OverviewLine, overview_lines
from core.evaluation.results import EvaluationResult
from core.evaluation.spec import EvaluationSpec, Part
from core.evaluation.store import EvaluationStatus, EvaluationStore, first_problem
from core.jobs import Cancelled, Job, Watch, asks, let_go
from core.models import memory
from core.training.desk import RunDesk
from core.training.progress import Status
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.evaluation.judge import Outgoing
    from core.evaluation.procedure import Materials
    from core.evaluation.rows import ChosenRow
    from core.models.loader import LoadedModel

LEAVES_S = 10.0
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationSummary:
    """An evaluation as a row of the list; its id begins with the moment it was started, in UTC."""

    id: str
    spec: EvaluationSpec
    status: EvaluationStatus


@dataclass(frozen=True)
class PartChoice:
    """A part of a data set that can be measured: all of it, or what a run holds out; "" for the usual split."""

    part: Part
    rows: int
    run_id: str | None = None
    run_name: str = ""


@dataclass(frozen=True)
class _Active:
    """The evaluation in progress, or the last one."""

    id: str
    spec: EvaluationSpec
    job: Job[EvaluationStatus, None]

    @property
    def status(self) -> EvaluationStatus:
        seen = self.job.progress or EvaluationStatus(Status.PREPARING)
        status = Status.STOPPING if self.job.cancelled else seen.status
        return replace(seen, status=status, elapsed_s=self.job.elapsed_s)


class EvaluationDesk:
    """All that can be done with evaluations. Its methods may be called from any thread."""

    def __init__(
        self,
        workspace: Workspace,
        exclusive: threading.RLock,
        library: DataLibrary,
        runs: RunDesk,
        model: Callable[[str | None], LoadedModel],
    ) -> None:
        """`model` gives the base model in memory, or refuses where it is not the one of that name.

        Whoever would change the base model holds `exclusive` and asks whether an evaluation is `active` first.
        """
        self._workspace = workspace
        self._library = library
        self._runs = runs
        self._model = model
        self._store = EvaluationStore(workspace)
        self._exclusive = exclusive
        self._last: _Active | None = None
        self._overview: dict[str, tuple[OverviewLine, ...]] = {}  # a result, once written, never changes

    # ---- looking ----

    def list(self) -> Sequence[EvaluationSummary]:
        """All evaluations, the newest first. One that cannot be read is left out and logged."""
        found = []
        for evaluation_id in self._store.ids():
            try:
                found.append(EvaluationSummary(evaluation_id, self.spec(evaluation_id), self.status(evaluation_id)))
            except WorkbenchError:
                logger.warning("evaluation %s cannot be read", evaluation_id, exc_info=True)
        return found

    def active(self) -> str | None:
        """The id of the evaluation in progress."""
        active = self._active
        return active.id if active else None

    def active_name(self) -> str | None:
        """The name of the evaluation in progress."""
        active = self._active
        return active.spec.name if active else None

    def status(self, evaluation_id: str) -> EvaluationStatus:
        """How far an evaluation is, or how it ended.

        Raises:
            WorkbenchError: A30 where there is no such evaluation.
        """
        active = self._active
        return active.status if active and active.id == evaluation_id else self._store.status(evaluation_id)

    def spec(self, evaluation_id: str) -> EvaluationSpec:
        """What an evaluation was to measure.

        Raises:
            WorkbenchError: A30 where there is no such evaluation; H01 where its file is damaged.
        """
        return self._store.spec(evaluation_id)

    def result(self, evaluation_id: str) -> EvaluationResult:
        """What came of a finished evaluation.

        Raises:
            WorkbenchError: A30 where there is no such evaluation, or it has no result.
        """
        return self._store.result(evaluation_id)

    def overview(self) -> Sequence[OverviewLine]:
        """A line for each column of each finished evaluation, the newest first. What cannot be read is left out."""
        known = self._overview
        found: dict[str, tuple[OverviewLine, ...]] = {}
        for evaluation_id in self._store.ids():
            try:
                found[evaluation_id] = known.get(evaluation_id) or overview_lines(self.result(evaluation_id))
            except WorkbenchError:  # not finished, or damaged: the list and the report say so
                continue
        self._overview = found
        return [line for lines in found.values() for line in lines]

    def parts(self, dataset: str) -> Sequence[PartChoice]:
        """What of a data set can be measured: all rows, the usual held-out part, and that of each run that used it.

        Raises:
            WorkbenchError: A03 where there is no such data set; as `DataLibrary.report`.
        """
        from core.evaluation.rows import held_out

        data = self._library.report(dataset)
        usual = len(held_out(dataset, data, None))
        found = [PartChoice("held_out", usual)] if usual else []
        for run in self._runs.list():
            plan = self._runs.snapshot(run.run_id).plan if run.dataset == dataset and run.adapter else None
            if plan and plan.rows_validation:
                found.append(PartChoice("held_out", plan.rows_validation, run.run_id, run.name))
        return [*found, PartChoice("all", len(data.examples))]

    def rows(self, spec: EvaluationSpec) -> Sequence[ChosenRow]:
        """The rows that a spec names.

        Raises:
            WorkbenchError: as `choose_rows`; A30 where there is no such run, A03 where it used other data.
        """
        from core.evaluation.rows import choose_rows

        return choose_rows(spec, self._workspace, self._library, run_of(spec, self._runs)).rows

    def rows_seen(self, dataset: str, rows: Sequence[ChosenRow], columns: Sequence[str]) -> dict[str, int]:
        """On how many of these rows of a data set each column was trained, of those whose run is known."""
        from core.evaluation.rows import rows_seen

        makers = made_by(columns, dataset, self._workspace, self._runs)
        return {name: rows_seen(rows, self._library, run) for name, run in makers.items()}

    def references(self, spec: EvaluationSpec) -> Sequence[str]:
        """The answers that the rows of a spec should get, from which fields can be proposed.

        Raises:
            WorkbenchError: as `rows`.
        """
        return [row.reference for row in self.rows(spec) if row.prompt]

    def outgoing(self, spec: EvaluationSpec) -> Outgoing | None:
        """What would leave this machine; None where the spec names no judge.

        Raises:
            WorkbenchError: as `rows`, and H01 for a judge that cannot be used.
        """
        from core.evaluation.judge import Item, outgoing

        if spec.judge is None:
            return None
        asked = [row for row in self.rows(spec) if row.prompt]
        return outgoing(spec.judge, [Item.of(row, None) for row in asked for _ in spec.columns])

    # ---- one at a time ----

    def start(self, spec: EvaluationSpec) -> str:
        """Begin an evaluation and return its id at once.

        Raises:
            WorkbenchError: A01 where one is in progress; A03 where the base model is not loaded or the data set or the
                run is not there; M25, A30 and M18 to M23 for a column that is not there or does not fit; H01 for what
                cannot be measured; A14 where nothing can be written. What only the rows show is how it ends.
        """
        with self._exclusive:
            if active := self._active:
                raise refusal("A01_evaluation_going_on", name=active.spec.name)
            materials = admitted(spec, self._workspace, self._library, self._runs, self._model)
            evaluation_id = self._store.new(spec)
            materials = replace(materials, answers_file=self._store.answers_file(evaluation_id))
            job = Job(f"evaluation-{evaluation_id}", partial(self._work, evaluation_id, spec, materials))
            self._last = _Active(evaluation_id, spec, job)
            return evaluation_id

    def again(self, evaluation_id: str, agreed: bool = False) -> str:
        """Begin what an evaluation was to measure once more; one without a result makes way for it. Returns the new id.

        `agreed`: that what `outgoing` says leaves this machine once more.

        Raises:
            WorkbenchError: A30 where there is no such evaluation; A24 where it has a judge and nobody agreed; as
                `start`.
        """
        with self._exclusive:
            spec, finished = self.spec(evaluation_id), self.status(evaluation_id).status == Status.FINISHED
            if spec.judge and not agreed:
                raise refusal("A24_judge_not_agreed")
            new = self.start(spec)
            if not finished:
                self._store.delete(evaluation_id)
            return new

    def cancel(self, evaluation_id: str) -> None:
        """Ask an evaluation to end; one that has ended is no error.

        Raises:
            WorkbenchError: A30 where there is no such evaluation.
        """
        active = self._active
        if active and active.id == evaluation_id:
            active.job.cancel()
        else:
            self._store.folder(evaluation_id)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait at most so long; whether no evaluation is in progress any more."""
        active = self._active
        return active is None or active.job.wait(timeout_s)

    def delete(self, evaluation_id: str) -> None:
        """Remove an evaluation with its answers.

        Raises:
            WorkbenchError: A04 while it is in progress, A30 where there is no such evaluation.
        """
        with self._exclusive:
            if self.active() == evaluation_id:
                raise refusal("A04_evaluation_going_on", name=self.spec(evaluation_id).name)
            self._store.delete(evaluation_id)

    def close(self) -> None:
        """Cancel what is in progress and wait for it."""
        active = self._active
        if active:
            active.job.cancel()
            active.job.wait(LEAVES_S)

    # ---- inside ----

    @property
    def _active(self) -> _Active | None:
        """The evaluation in progress."""
        return self._last if self._last and self._last.job.running else None

    def _work(
        self, evaluation_id: str, spec: EvaluationSpec, materials: Materials, watch: Watch[EvaluationStatus]
    ) -> None:
        """The thread's whole life. Whatever happens, the next evaluation can begin afterwards."""
        began = time.monotonic()
        try:
            ended = self._carried_out(evaluation_id, spec, materials, watch)
            if ended:
                self._store.end(evaluation_id, replace(ended, elapsed_s=time.monotonic() - began))
        except (OSError, WorkbenchError):
            logger.exception("evaluation %s could not say how it ended", evaluation_id)
        finally:
            memory.release()

    def _carried_out(
        self, evaluation_id: str, spec: EvaluationSpec, materials: Materials, watch: Watch[EvaluationStatus]
    ) -> EvaluationStatus | None:
        """Measure and keep the result; else how it ended."""
        from core.evaluation.procedure import evaluate

        seen, phase_began = EvaluationStatus(Status.PREPARING), 0.0

        def tell(phase: str, done: int, total: int) -> None:
            nonlocal seen, phase_began
            moment = time.monotonic()
            phase_began = phase_began if phase == seen.phase else moment
            eta_s = (moment - phase_began) * (total - done) / done if done else None
            seen = EvaluationStatus(Status.RUNNING, phase, done, total, eta_s)
            watch(seen)

        try:
            self._store.keep(evaluate(evaluation_id, spec, materials, tell, asks(watch, lambda: seen)))
        except Cancelled as error:
            let_go(error)
            return EvaluationStatus(Status.STOPPED)
        except WorkbenchError as error:
            let_go(error)
            return EvaluationStatus(Status.FAILED, problem=first_problem(error))
        except Exception as error:  # noqa: BLE001 - told to the person, logged in full
            problem = _unexpected(error)
            let_go(error)
            return EvaluationStatus(Status.FAILED, problem=problem)
        return None


def _unexpected(error: Exception) -> Problem:
    """An error that nobody refused: a full disk, memory that did not suffice, else a bug, whose reference is logged."""
    reference = secrets.token_hex(4)
    logger.exception("evaluation failed, reference %s", reference)
    if memory.is_out_of_memory(error):
        return Problem("A20_out_of_memory_evaluating")
    if isinstance(error, OSError):
        return Problem("A14_cannot_write_evaluation", values={"reason": error.strerror or ""})
    return Problem("A24_evaluation_broke", values={"reference": reference})
