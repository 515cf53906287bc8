"""The log of a run for people: which lines an event makes on the page, and the file `log.txt` beside it.

Owns what is said of an event, as keys of the catalogue with values; the words are the catalogue's. Everything else that
events add up to is `progress`'s business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.settings import Metric
from core.training.events import (
    EvalDone,
    Event,
    Failed,
    Finished,
    Logged,
    PhaseStarted,
    Planned,
    Resumed,
    Saved,
    StepDone,
    StopAsked,
    Stopped,
    to_line,
)

LOG_FILE = "log.txt"
Sink = Callable[[Event], None]


@dataclass(frozen=True)
class LogLine:
    """A line of the log as a key of the catalogue with values."""

    key: str
    values: dict[str, Any]
    elapsed_s: float


def log_lines(event: Event, best_by: Metric) -> list[LogLine]:
    """What the log says of an event of a run whose best evaluation is the best by this."""
    match event:
        case Logged():
            says_best = event.key == "training.log.best_restored"
            key = f"{event.key}_by_accuracy" if says_best and best_by == "accuracy" else event.key
            return [LogLine(key, event.values, event.elapsed_s)]
        case PhaseStarted():
            return [LogLine(f"training.phase.{event.phase}", {}, event.elapsed_s)]
        case EvalDone():
            return [_evaluated(event, best_by)]
        case Saved():
            return [LogLine("training.log.saved", {"step": event.step}, event.elapsed_s)]
        case Resumed():
            key = "training.log.resumed" if event.step else "training.log.resumed_at_start"
            return [LogLine(key, {"step": event.step}, event.elapsed_s)]
    return _end_lines(event)


def also_logged(sink: Sink, path: Path) -> Sink:
    """A sink that also writes everything but single steps to the run's log, for people who read logs."""

    def emit(event: Event) -> None:
        sink(event)
        if not isinstance(event, StepDone | Planned):
            with path.open("a", encoding="utf-8") as log:
                log.write(to_line(event) + "\n")

    return emit


def _evaluated(event: EvalDone, best_by: Metric) -> LogLine:
    loss = "–" if event.loss is None else f"{event.loss:.4g}"  # a file has null for one that is not finite
    key = "training.log.evaluated_best" if event.best else "training.log.evaluated"
    values = {"step": event.step, "loss": loss}
    if best_by == "accuracy" and event.accuracy is not None:
        return LogLine(f"{key}_by_accuracy", values | {"percent": f"{100 * event.accuracy:.1f}"}, event.elapsed_s)
    return LogLine(key, values, event.elapsed_s)


def _end_lines(event: Event) -> list[LogLine]:
    match event:
        case StopAsked():
            key = "training.log.stop_asked_keep" if event.keep else "training.log.stop_asked_discard"
            return [LogLine(key, {}, event.elapsed_s)]
        case Finished():
            early = [LogLine(f"training.finish_reason.{event.reason}", {}, event.elapsed_s)]
            return [*([] if event.reason == "all_steps" else early), _kept("finished", event)]
        case Stopped():
            reason = LogLine(f"training.stop_reason.{event.reason}", {}, event.elapsed_s)
            nothing = LogLine("training.log.stopped", {}, event.elapsed_s)
            return [reason, _kept("stopped_kept", event) if event.adapter else nothing]
        case Failed():
            return [LogLine("training.log.failed", {}, event.elapsed_s)]
    return []


def _kept(how: str, event: Finished | Stopped) -> LogLine:
    values = {"name": event.adapter, "step": event.step}
    return LogLine(f"training.log.{how}_{event.makes}", values, event.elapsed_s)
