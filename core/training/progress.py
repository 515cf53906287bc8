"""What a run has come to: its events folded into the one snapshot that a page, a command line and the history show.

Owns that fold, the statuses of a run, speed and the time it will still take. Pure: no file, no clock. `Progress` takes
events one by one, so a running run is never folded from its start again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from core.adapters.card import Ancestor
from core.adapters.method_facts import Makes
from core.errors import Problem
from core.settings import Metric
from core.training.events import (
    EvalDone,
    Event,
    Failed,
    Finished,
    Logged,
    Phase,
    PhaseStarted,
    Planned,
    Resumed,
    RunQueued,
    RunStarted,
    SampleDone,
    Saved,
    StepDone,
    StopAsked,
    Stopped,
    StopReason,
)
from core.training.log import LogLine, log_lines
from core.training.plan import Plan
from core.training.stopping import FinishReason

RECENT_STEPS = 30
PAUSE_FACTOR = 5  # a step slower than this many times the usual one was a pause (a closed lid), not training
LOG_LINES = 500  # the newest that a snapshot keeps
FORWARD_SHARE = 0.4  # an evaluated token costs about this share of a trained one


class Status(StrEnum):
    """Where a run is. Exactly one holds."""

    QUEUED = "queued"
    PREPARING = "preparing"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FINISHED = "finished"
    FAILED = "failed"
    INTERRUPTED = "interrupted"  # found without an end, its process gone

    @property
    def active(self) -> bool:
        return self in (Status.QUEUED, Status.PREPARING, Status.RUNNING, Status.STOPPING)


@dataclass(frozen=True)
class Sample:
    """An answer to a sample prompt after a step; step 0 is the base model."""

    step: int
    prompt: str
    answer: str
    finished: str


@dataclass(frozen=True)
class Snapshot:
    """All that is known of a run after `version` events.

    Series are (step, value) pairs, oldest first. `checkpoint_step` is the newest one on disk; `kept_step` that of the
    weights in `adapter`, `best_step` that of the best evaluation by `best_by`. `eta_s` is None while nothing can be
    said; evaluations and sample answers to come are part of it. `repeats` is the id of the run that it repeats,
    `lineage` the adapters that it trains further, the nearest first; `started_at` of a run that waits is when it was
    queued.
    """

    status: Status = Status.QUEUED
    version: int = 0
    run_id: str = ""
    name: str = ""
    base: str = ""
    dataset: str = ""
    method: str = ""
    repeats: str = ""
    lineage: tuple[Ancestor, ...] = ()
    started_by: str = ""
    started_at: str = ""
    pid: int | None = None
    process_started: float | None = None
    phase: Phase | None = None
    plan: Plan | None = None
    step: int = 0
    steps: int = 0
    epoch: float = 0.0
    epochs: float = 0.0
    elapsed_s: float = 0.0
    eta_s: float | None = None
    tokens_per_s: float | None = None
    memory_gb: float | None = None
    losses: tuple[tuple[int, float], ...] = ()
    evals: tuple[tuple[int, float], ...] = ()
    accuracies: tuple[tuple[int, float], ...] = ()
    learning_rates: tuple[tuple[int, float], ...] = ()
    grad_norms: tuple[tuple[int, float], ...] = ()
    samples: tuple[Sample, ...] = ()
    log: tuple[LogLine, ...] = ()
    best_by: Metric = "loss"
    best_step: int | None = None
    best_loss: float | None = None
    best_accuracy: float | None = None
    checkpoint_step: int | None = None
    adapter: str | None = None
    makes: Makes = "adapter"
    kept_step: int | None = None
    stop_reason: StopReason | None = None
    finish_reason: FinishReason | None = None
    keep_asked: bool | None = None
    problems: tuple[Problem, ...] = ()
    reference: str = ""

    @property
    def fraction(self) -> float:
        """Steps done of all steps, 0 to 1."""
        return self.step / self.steps if self.steps else 0.0


def fold(events: Iterable[Event]) -> Snapshot:
    """The snapshot after these events."""
    progress = Progress()
    for event in events:
        progress.add(event)
    return progress.snapshot()


@dataclass
class Progress:
    """A fold that is going on: `add` each event once, ask for a `snapshot` at any time."""

    _now: Snapshot = field(default_factory=Snapshot)
    _steps: list[StepDone] = field(default_factory=list)
    _evals: list[EvalDone] = field(default_factory=list)
    _samples: list[Sample] = field(default_factory=list)
    _sampling_s: dict[int, float] = field(default_factory=dict)  # by step: how long its sample answers took
    _phase_began_s: float = 0.0
    _log: deque[LogLine] = field(default_factory=lambda: deque(maxlen=LOG_LINES))
    _count: int = 0
    _new_from: int = 0  # the first of `_steps` since the run was resumed

    @property
    def version(self) -> int:
        return self._count

    def add(self, event: Event) -> None:
        self._count += 1
        if isinstance(event, StepDone):
            self._steps.append(event)
        elif isinstance(event, EvalDone):
            self._evals.append(event)
        elif isinstance(event, SampleDone):
            self._samples.append(Sample(event.step, event.prompt, event.answer, event.finished))
            if self._now.phase == "sampling":
                self._sampling_s[event.step] = event.elapsed_s - self._phase_began_s
        elif not isinstance(event, Logged):
            self._now = _after(self._now, event)
        if isinstance(event, PhaseStarted):
            self._phase_began_s = event.elapsed_s
        if isinstance(event, Resumed):
            self._go_back_to(event.step)
        if not isinstance(event, StepDone):
            self._log.extend(log_lines(event, self._best_by))
        if not isinstance(event, RunQueued | RunStarted):
            self._now = replace(self._now, elapsed_s=event.elapsed_s)

    def snapshot(self) -> Snapshot:
        best = next((done for done in reversed(self._evals) if done.best), None)
        last = self._steps[-1] if self._steps else None
        newest = self._steps[self._new_from :] or self._steps  # right after resuming, the earlier speed has to do
        seconds_per_token = _seconds_per_token(newest[-RECENT_STEPS:])
        return replace(
            self._now,
            version=self._count,
            step=last.step if last else 0,
            epoch=last.epoch if last else 0.0,
            memory_gb=last.memory_gb if last else None,
            losses=tuple((done.step, done.loss) for done in self._steps if done.loss is not None),
            learning_rates=tuple((done.step, done.learning_rate) for done in self._steps),
            grad_norms=tuple((done.step, done.grad_norm) for done in self._steps if done.grad_norm is not None),
            evals=tuple((done.step, done.loss) for done in self._evals if done.loss is not None),
            accuracies=tuple((done.step, done.accuracy) for done in self._evals if done.accuracy is not None),
            samples=tuple(self._samples),
            log=tuple(self._log),
            best_by=self._best_by,
            best_step=best.step if best else None,
            best_loss=best.loss if best else None,
            best_accuracy=best.accuracy if best else None,
            tokens_per_s=1 / seconds_per_token if seconds_per_token else None,
            eta_s=self._eta_s(seconds_per_token),
        )

    @property
    def _best_by(self) -> Metric:
        """What makes an evaluation the best, as `stopping.best_step` has it."""
        measured = all(done.accuracy is not None for done in self._evals)
        return self._now.plan.best_by if self._now.plan and measured else "loss"

    def _go_back_to(self, step: int) -> None:
        """Forget what came after a step: it is done again."""
        self._steps = [done for done in self._steps if done.step <= step]
        self._evals = [done for done in self._evals if done.step <= step]
        self._samples = [sample for sample in self._samples if sample.step <= step]
        self._sampling_s = {at: took_s for at, took_s in self._sampling_s.items() if at <= step}
        self._new_from = len(self._steps)

    def _eta_s(self, seconds_per_token: float | None) -> float | None:
        plan = self._now.plan
        if not self._now.status.active:
            return None
        if plan is None or seconds_per_token is None:
            return None
        done = self._steps[-1].step
        training_s = (plan.steps - done) * plan.total_tokens / plan.steps * seconds_per_token
        return training_s + self._evaluating_s(plan, seconds_per_token) + self._answering_s(plan)

    def _evaluating_s(self, plan: Plan, seconds_per_token: float) -> float:
        """What the evaluations to come will take; the first one is guessed by the speed of training."""
        if self._evals:
            evaluation_s = sum(entry.eval_s for entry in self._evals) / len(self._evals)
        else:
            evaluation_s = plan.validation_tokens * seconds_per_token * FORWARD_SHARE
        evaluated = self._evals[-1].step if self._evals else 0
        return evaluation_s * sum(step > evaluated for step in plan.review_steps)

    def _answering_s(self, plan: Plan) -> float:
        """What the sample answers to come will take; before the first review, as long as the base model took."""
        if not self._sampling_s:
            return 0.0
        took_s = [took_s for step, took_s in self._sampling_s.items() if step] or [*self._sampling_s.values()]
        answered = max(self._sampling_s)
        return sum(took_s) / len(took_s) * sum(step > answered for step in plan.review_steps)


def _after(now: Snapshot, event: Event) -> Snapshot:
    """The snapshot after an event that is not one of a series."""
    match event:
        case RunQueued() | RunStarted() | Resumed():
            return _begun(now, event)
        case PhaseStarted():
            trains = event.phase == "training" and now.status == Status.PREPARING
            return replace(now, phase=event.phase, status=Status.RUNNING if trains else now.status)
        case Planned():
            return replace(now, plan=event.plan, steps=event.plan.steps, epochs=event.plan.epochs)
        case Saved():
            return replace(now, checkpoint_step=event.step)
        case StopAsked():
            status = Status.STOPPING if now.status.active else now.status
            return replace(now, status=status, keep_asked=event.keep)
    return _ended(now, event)


def _begun(now: Snapshot, event: RunQueued | RunStarted | Resumed) -> Snapshot:
    if isinstance(event, RunQueued | RunStarted):
        now = replace(
            now,
            run_id=event.run_id,
            name=event.name,
            base=event.base,
            dataset=event.dataset,
            method=event.method,
            repeats=event.repeats,
            started_by=event.started_by,
        )
    match event:
        case RunQueued():
            return replace(now, started_at=event.queued_at)
        case RunStarted():
            return replace(
                now,
                status=Status.PREPARING if now.status == Status.QUEUED else now.status,  # a stop may come first
                lineage=event.lineage,
                started_at=event.started_at,
                pid=event.pid,
                process_started=event.process_started,
            )
        case Resumed():
            return replace(
                now,
                status=Status.PREPARING,
                phase=None,
                pid=event.pid,
                process_started=event.process_started,
                checkpoint_step=event.step or None,
                stop_reason=None,
                keep_asked=None,
                problems=(),
                reference="",
            )


def _ended(now: Snapshot, event: Event) -> Snapshot:
    match event:
        case Finished():
            return replace(
                now,
                status=Status.FINISHED,
                phase=None,
                adapter=event.adapter,
                makes=event.makes,
                kept_step=event.step,
                finish_reason=event.reason,
            )
        case Stopped():
            discarded = event.reason == "asked" and now.keep_asked is False
            return replace(
                now,
                status=Status.STOPPED,
                phase=None,
                adapter=event.adapter or now.adapter,  # what was kept before the run was resumed is still there
                makes=event.makes,
                kept_step=event.step if event.adapter else now.kept_step,
                checkpoint_step=None if discarded else now.checkpoint_step,
                stop_reason=event.reason,
                problems=event.problems,
            )
        case Failed():
            return replace(now, status=Status.FAILED, phase=None, problems=event.problems, reference=event.reference)
    return now


def _seconds_per_token(steps: list[StepDone]) -> float | None:
    """Of recent steps, pauses left out; None where there is none."""
    costs = sorted(done.step_s / done.tokens for done in steps if done.tokens)
    if not costs:
        return None
    slowest = PAUSE_FACTOR * costs[len(costs) // 2]
    counted = [done for done in steps if done.tokens and done.step_s / done.tokens <= slowest]
    return sum(done.step_s for done in counted) / sum(done.tokens for done in counted)
