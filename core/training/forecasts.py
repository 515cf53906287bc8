"""Forecasts while a form is filled in: one measurement at a time in the background, each kept for the next look.

Owns the measurement that goes on, when it may (never beside a run), and the file in which measurements are remembered
between starts. How something is measured is `dry_run`'s business, what the figures mean `forecast`'s.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from core.jobs import Cancelled, Job, Watch
from core.models.memory import is_out_of_memory, release
from core.training.estimate import EASY_SHARE, estimate
from core.training.forecast import (
    Forecast,
    Measurement,
    Proposal,
    Setting,
    forecast,
    largest_micro_batch,
    proposals,
    seen,
)
from core.workspace import Workspace, read_json, write_json

if TYPE_CHECKING:
    from core.models.loader import LoadedModel
    from core.training.preparation import Planner, Preparation
    from core.training.spec import RunSpec

FORMAT = 2  # of the file; measurements of another one are made again
REMEMBERED = 200  # measurements, the newest
DOUBT = 1.3  # the formula may be too low by that before anything has been measured
ASKED_S = 3.0  # within which a form that is still open asks again
AGAIN = 1.2  # times more free memory than when there was none for a measurement: worth another try
Problem = Literal["run_in_progress", "not_measured"]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ForecastStatus:
    """What is known of a run before it starts. While `running`, the forecast is the formula's and `share` is done.

    It stays 0 while what another form shows is measured first.
    `problem` says why it stays the formula's: a run is in progress, or the dry run broke (the log knows how).
    """

    running: bool
    share: float
    forecast: Forecast
    problem: Problem | None = None


@dataclass(frozen=True)
class _Outcome:
    """A measurement, or the finding that there was no memory for one."""

    measurement: Measurement | None


@dataclass
class _Going:
    """The measurement of a `key`, begun with so much memory free and last asked for at a moment of the clock."""

    key: str
    free_gb: float
    job: Job[float, _Outcome]
    asked_s: float


class Forecasts:
    """The forecasts of one process. Every method may be called from any thread.

    `busy` says that a run is in progress; such a run calls `give_way` before it begins.
    """

    def __init__(self, workspace: Workspace, planner: Callable[[], Planner], busy: Callable[[], bool]) -> None:
        self._workspace = workspace
        self._planner = planner
        self._busy = busy
        self._lock = threading.RLock()
        self._going: _Going | None = None
        self._broken: set[str] = set()
        self._in_vain: dict[str, float] = {}  # free memory in GB when there was not enough to measure this

    def status(self, spec: RunSpec, loaded: LoadedModel, wait_s: float = 0.0) -> ForecastStatus:
        """The forecast as it stands; begins to measure where nobody has, in the place of what nobody asks for any more.

        Waits at most so long for the measurement that goes on.

        Raises:
            WorkbenchError: as `Planner.prepare`.
        """
        from core.training.sizing import free_disk_gb

        prepared = self._planner().prepare(spec, loaded)
        setting = setting_of(prepared, loaded, free_disk_gb(self._workspace))
        key = _key(setting, loaded)
        with self._lock:
            known = self._finished(key) or self._known(key, setting.machine.free_memory_gb)
            going = None if known or key in self._broken else self._begin(key, setting, loaded)
        if going is not None and going.job.wait(wait_s) and not going.job.cancelled:
            return self.status(spec, loaded)
        if known is not None:
            return ForecastStatus(False, 1.0, forecast(setting, known.measurement, known.measurement is None))
        problem: Problem | None = None if going else "not_measured" if key in self._broken else "run_in_progress"
        share = (going.job.progress or 0.0) if going and going.key == key else 0.0
        return ForecastStatus(going is not None, share, forecast(setting, None), problem)

    def give_way(self) -> None:
        """End the measurement that goes on, and wait until it has left everything as it was."""
        with self._lock:
            going = self._going
        if going is not None:
            going.job.cancel()
            going.job.wait()
            with self._lock:
                if self._going is going:
                    self._going = None  # its end, whatever it was, would keep the model and what was trained on it

    def _begin(self, key: str, setting: Setting, loaded: LoadedModel) -> _Going | None:
        """The measurement to wait for: of this, or of what another form still asks for; None beside a run."""
        going, asked_s = self._going, time.monotonic()
        if going is not None and not going.job.cancelled:
            if going.key == key:
                going.asked_s = asked_s
            if asked_s - going.asked_s < ASKED_S:
                return going
        if self._busy():
            return None
        before = going.job if going else None

        def work(watch: Watch[float]) -> _Outcome:
            if before is not None:
                before.cancel()
                before.wait()
            return _measured(setting, loaded, watch)

        self._going = _Going(key, setting.machine.free_memory_gb, Job("forecast", work), asked_s)
        return self._going

    def _finished(self, key: str) -> _Outcome | None:
        """Remember what the last measurement found, whatever it was of; its outcome where it was of this."""
        going = self._going
        if going is None or going.job.running:
            return None
        self._going = None
        try:
            outcome = going.job.result()
        except Cancelled:
            return None
        except Exception:  # a dry run that breaks costs the measurement, not the form
            log.exception("a run could not be measured before it starts")
            self._broken.add(going.key)
            return None
        if outcome.measurement is None:
            self._in_vain[going.key] = going.free_gb
        else:
            self._remember(going.key, outcome.measurement)
        return outcome if going.key == key else None

    @property
    def _file(self) -> Path:
        return self._workspace.state / "forecasts.json"

    def _all_known(self) -> dict[str, Any]:
        try:
            values = read_json(self._file)
            return dict(values["measurements"]) if values["format"] == FORMAT else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def _known(self, key: str, free_gb: float) -> _Outcome | None:
        if key in self._in_vain and free_gb < AGAIN * self._in_vain[key]:
            return _Outcome(None)
        values = self._all_known().get(key)
        try:
            return _Outcome(Measurement.from_dict(values)) if values else None
        except (KeyError, TypeError):
            return None

    def _remember(self, key: str, measurement: Measurement) -> None:
        known = {**self._all_known(), key: asdict(measurement)}
        try:
            write_json(self._file, {"format": FORMAT, "measurements": dict([*known.items()][-REMEMBERED:])})
        except OSError:
            log.warning("a forecast cannot be remembered", exc_info=True)


def proposals_for(prepared: Preparation, loaded: LoadedModel, needed_gb: float) -> tuple[Proposal, ...]:
    """Settings that need less than a run that was seen to need this much."""
    setting = setting_of(prepared, loaded)
    return proposals(setting, seen(setting, needed_gb))


def _measured(setting: Setting, loaded: LoadedModel, watch: Watch[float]) -> _Outcome:
    """Try the run on a few micro-batches, unless even the smallest may be too much for the memory that is free."""
    from core.training.dry_run import measure

    most_tokens = _safe_tokens(setting)
    if not most_tokens:
        return _Outcome(None)
    try:
        return _Outcome(measure(setting.prepared, loaded, watch, most_tokens))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return _Outcome(None)
    finally:
        release()


def _safe_tokens(setting: Setting) -> int:
    """Tokens of a micro-batch that may be tried without endangering the machine; 0 where none may.

    What the formula says is doubted: a machine without swap kills a process that takes too much.
    """
    plan, training = setting.prepared.plan, setting.prepared.spec.training
    whole = largest_micro_batch(setting, plan)
    formula = estimate(setting.shape, whole, setting.machine, plan.activation_checkpointing, training.optimizer)
    room_gb = EASY_SHARE * setting.machine.free_memory_gb / DOUBT - formula.fixed_gb
    if room_gb <= 0:
        return 0
    return int(whole.tokens * min(1.0, room_gb / max(1e-9, formula.activations_gb + formula.logits_gb)))


def setting_of(prepared: Preparation, loaded: LoadedModel, free_disk: float | None = None) -> Setting:
    """What a forecast is made of, as things are now."""
    from core.training.sizing import disk_of, machine_of, shape_of

    return Setting(
        prepared=prepared,
        shape=shape_of(prepared.spec, loaded),
        machine=machine_of(loaded),
        weights_gb=max(0.0, loaded.memory_after_gb - loaded.memory_before_gb),
        quantized=loaded.precision.quantized,
        disk=disk_of(prepared.spec, loaded, prepared.plan.review_steps),
        free_disk_gb=free_disk,
    )


def _key(setting: Setting, loaded: LoadedModel) -> str:
    """What a measurement depends on, and nothing that it does not: a learning rate changes no figure."""
    spec, plan = setting.prepared.spec, setting.prepared.plan
    training = spec.training
    depends: dict[str, Any] = {
        "base": loaded.fingerprint,
        "precision": loaded.precision.precision,
        "device": loaded.precision.device,
        "method": spec.method.model_dump(mode="json"),
        "micro_batch": asdict(largest_micro_batch(setting, plan)),
        "accumulates": plan.gradient_accumulation_steps > 1,
        "tokens": plan.tokens_per_epoch,
        "validation_tokens": plan.validation_tokens,
        "reviews": bool(plan.review_steps),
        "checkpointing": plan.activation_checkpointing,
        "packing": plan.blocks,
        "grouped": training.group_by_length,
        "optimizer": training.optimizer,
        "neftune": bool(training.neftune_alpha),
        "smoothing": bool(training.label_smoothing),
        "threads": plan.threads,
        "versions": spec.versions,
    }
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:32]
