"""Runs as OpenAI writes fine-tuning jobs, their events and their checkpoints. Pure: snapshots and events in, JSON out.

What we know and OpenAI has no word for stands under `workbench`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from core.adapters.method_facts import METHODS
from core.api.models import adapter_id
from core.api.wire import unix_time
from core.errors import Problem
from core.i18n import Language, has_text, text
from core.settings import Metric
from core.training.events import EvalDone, Event, Failed, RunQueued, RunStarted, StepDone, Stopped
from core.training.log import log_lines
from core.training.progress import Snapshot, Status
from core.training.spec import RunSpec
from core.workbench import AT_STEP

AUTO = "auto"
ORGANISATION = "local"
_STATUS = {
    Status.QUEUED: "queued",
    Status.PREPARING: "validating_files",
    Status.RUNNING: "running",
    Status.STOPPING: "running",
    Status.FINISHED: "succeeded",
    Status.FAILED: "failed",
    Status.INTERRUPTED: "failed",
}


def job_entry(seen: Snapshot, spec: RunSpec | None, lang: Language) -> dict[str, Any]:
    """A run as a `fine_tuning.job`; `spec` None where its file cannot be read."""
    began, over = unix_time(seen.started_at), not seen.status.active
    hyperparameters = _hyperparameters(spec)
    return {
        "id": seen.run_id,
        "object": "fine_tuning.job",
        "created_at": began,
        "model": seen.base,
        "fine_tuned_model": _result(seen),
        "status": _status(seen),
        "error": _error(seen, lang),
        "training_file": seen.dataset,
        "validation_file": spec.data.validation_dataset if spec else None,
        "hyperparameters": hyperparameters,
        "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
        "seed": spec.training.seed if spec else 0,
        "finished_at": began + round(seen.elapsed_s) if over else None,
        "estimated_finish": None if over or seen.eta_s is None else round(time.time() + seen.eta_s),
        "trained_tokens": seen.plan.total_tokens if seen.plan and seen.status == Status.FINISHED else None,
        "organization_id": ORGANISATION,
        "result_files": [],
        "integrations": [],
        "metadata": {},
        "workbench": {
            "name": seen.name,
            "method": seen.method,
            "status": seen.status.value,
            "step": seen.step,
            "steps": seen.steps,
            "best_step": seen.best_step,
            "eta_s": seen.eta_s,
        },
    }


def event_entries(seen: Snapshot, events: Sequence[Event], lang: Language) -> list[dict[str, Any]]:
    """What happened in a run as `fine_tuning.job.event`s, the newest first."""
    began = unix_time(seen.started_at)
    entries: list[dict[str, Any]] = []
    for number, event in enumerate(events):
        elapsed_s = 0.0 if isinstance(event, RunQueued | RunStarted) else event.elapsed_s
        for place, (message, data) in enumerate(_told(event, seen.best_by, lang)):
            entries.append(
                {
                    "id": f"{seen.run_id}-{number}-{place}",
                    "object": "fine_tuning.job.event",
                    "created_at": began + int(elapsed_s),
                    "level": "error" if isinstance(event, Failed) else "warn" if isinstance(event, Stopped) else "info",
                    "message": message,
                    "type": "metrics" if data else "message",
                    "data": data,
                }
            )
    return entries[::-1]


def checkpoint_entries(seen: Snapshot, steps: Sequence[int]) -> list[dict[str, Any]]:
    """The saved steps of a run as `fine_tuning.job.checkpoint`s, the newest first."""
    losses, evals, accuracies = dict(seen.losses), dict(seen.evals), dict(seen.accuracies)
    return [
        {
            "id": f"{seen.run_id}-step-{step}",
            "object": "fine_tuning.job.checkpoint",
            "created_at": unix_time(seen.started_at),
            "fine_tuned_model_checkpoint": adapter_id(seen.base, f"{seen.name}{AT_STEP}{step}"),
            "fine_tuning_job_id": seen.run_id,
            "metrics": {
                "step": step,
                "train_loss": losses.get(step),
                "full_valid_loss": evals.get(step),
                "full_valid_mean_token_accuracy": accuracies.get(step),
            },
            "step_number": step,
        }
        for step in sorted(steps, reverse=True)
    ]


def _status(seen: Snapshot) -> str:
    """OpenAI's word; a run that stopped because of the disk or its numbers has failed."""
    if seen.status == Status.STOPPED:
        return "cancelled" if seen.stop_reason == "asked" else "failed"
    return _STATUS[seen.status]


def _result(seen: Snapshot) -> str | None:
    """The name to ask the result by, once there is one; a model of its own has no base."""
    if seen.adapter is None:
        return None
    return seen.adapter if seen.makes == "model" else adapter_id(seen.base, seen.adapter)


def _error(seen: Snapshot, lang: Language) -> dict[str, Any] | None:
    if _status(seen) != "failed":
        return None
    if seen.problems:
        first: Problem = seen.problems[0]
        words = "\n\n".join(str(problem.describe(lang)) for problem in seen.problems)
        return {"code": first.code, "message": words, "param": "training_file" if first.code[0] == "D" else None}
    if seen.status == Status.INTERRUPTED:
        return {"code": "A18", "message": text("api.job.interrupted", lang), "param": None}
    if seen.stop_reason:
        return {
            "code": seen.stop_reason,
            "message": text(f"training.stop_reason.{seen.stop_reason}", lang),
            "param": None,
        }
    return {"code": "bug", "message": text("api.job.bug", lang, reference=seen.reference), "param": None}


def _hyperparameters(spec: RunSpec | None) -> dict[str, Any]:
    """OpenAI's three as the run has them; `auto` until it has worked them out."""
    training = spec.training if spec else None
    if spec is None or training is None:
        return {"n_epochs": AUTO, "batch_size": AUTO, "learning_rate_multiplier": AUTO}
    micro, accumulation, rate = (
        training.micro_batch_size,
        training.gradient_accumulation_steps,
        training.learning_rate,
    )
    usual = METHODS[spec.method.method].learning_rate
    return {
        "n_epochs": AUTO if training.epochs is None else _whole(training.epochs),
        "batch_size": AUTO if micro is None or accumulation is None else micro * accumulation,
        "learning_rate_multiplier": AUTO if rate is None else _whole(round(rate / usual, 6)),
    }


def _whole(value: float) -> float | int:
    return int(value) if value == int(value) else value


def _told(event: Event, best_by: Metric, lang: Language) -> list[tuple[str, dict[str, Any] | None]]:
    """The messages of an event, with the figures that belong to it."""
    match event:
        case RunQueued():
            return [(text("api.job.queued", lang), None)]
        case RunStarted():
            return [(text("api.job.started", lang), None)]
        case StepDone():
            data = {"step": event.step, "train_loss": event.loss, "learning_rate": event.learning_rate}
            loss = "–" if event.loss is None else f"{event.loss:.4g}"
            return [(text("api.job.step", lang, step=event.step, loss=loss), data)]
        case EvalDone():
            measured = {"full_valid_loss": event.loss, "full_valid_mean_token_accuracy": event.accuracy}
            lines = log_lines(event, best_by)
            return [(text(line.key, lang, **line.values), {"step": event.step, **measured}) for line in lines]
    return [
        (text(line.key, lang, **line.values) if has_text(line.key) else line.key, None)
        for line in log_lines(event, best_by)
    ]
