"""What happens in a run, one frozen dataclass a kind, and the append-only file that keeps it.

Owns the kinds of events, their JSON lines, and writing and reading `events.jsonl`. What they add up to is `progress`'s
business. Events hold plain numbers, names and catalogue keys; a finished sentence is never stored. Durations come from
a monotonic clock and count from the run's start, so a clock that jumps disturbs nothing.
"""

from __future__ import annotations

import json
import math
import os
import threading
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from core.adapters.card import Ancestor
from core.adapters.method_facts import Makes
from core.data.conversation import whole_text
from core.errors import Place, Problem
from core.training.plan import Plan
from core.training.stopping import FinishReason

Phase = Literal[
    "reading", "checking", "rendering", "planning", "preparing", "training", "evaluating", "sampling", "saving"
]
StopReason = Literal["asked", "not_finite", "disk_full", "cannot_write"]


@dataclass(frozen=True)
class RunQueued:
    """The first event of a run that waits for its turn. `repeats` is the id of the run that it repeats; "" for none."""

    run_id: str
    name: str
    base: str
    dataset: str
    method: str
    started_by: str
    queued_at: str
    repeats: str = ""


@dataclass(frozen=True)
class RunStarted:
    """The run begins. `pid` and `process_started` say which process runs it; `started_at` is ISO 8601 in UTC.

    `lineage` are the adapters that it trains further, the nearest first.
    """

    run_id: str
    name: str
    base: str
    dataset: str
    started_by: str
    started_at: str
    pid: int
    process_started: float
    method: str = "lora"
    repeats: str = ""
    lineage: tuple[Ancestor, ...] = ()


@dataclass(frozen=True)
class Resumed:
    """The run goes on after a step, 0 for its start, in this process; what came after that step is done again."""

    step: int
    resumed_at: str
    pid: int
    process_started: float
    elapsed_s: float


@dataclass(frozen=True)
class PhaseStarted:
    phase: Phase
    elapsed_s: float


@dataclass(frozen=True)
class Planned:
    plan: Plan
    elapsed_s: float


@dataclass(frozen=True)
class StepDone:
    """An optimizer step. `loss` is the mean over the step's trained tokens; `tokens` are those read, without padding.

    `step_s` is the time of its forward and backward passes and the update: no evaluation, no saving.
    """

    step: int
    epoch: float
    loss: float
    grad_norm: float | None
    learning_rate: float
    tokens: int
    step_s: float
    memory_gb: float
    elapsed_s: float


@dataclass(frozen=True)
class EvalDone:
    """The mean loss over all trained tokens of the validation rows; `best` says that no earlier evaluation was as good.

    `accuracy` is the share of those tokens that the model itself would have chosen; older runs have none.
    """

    step: int
    loss: float
    best: bool
    eval_s: float
    elapsed_s: float
    accuracy: float | None = None


@dataclass(frozen=True)
class SampleDone:
    """An answer to a sample prompt; at step 0 it is the base model's. `finished` as in `generation.Token`."""

    step: int
    prompt: str
    answer: str
    finished: str
    elapsed_s: float


@dataclass(frozen=True)
class Saved:
    """A checkpoint is on disk: `folder` is its name under `checkpoints/`."""

    step: int
    folder: str
    elapsed_s: float


@dataclass(frozen=True)
class Logged:
    """A line of the log: a key of the catalogue and its values."""

    key: str
    values: dict[str, Any]
    elapsed_s: float


@dataclass(frozen=True)
class StopAsked:
    """Somebody asked to stop. `keep` says whether the adapter is to be saved."""

    keep: bool
    elapsed_s: float


@dataclass(frozen=True)
class Finished:
    """The run came to its end; `adapter` is the name of what it made, `step` that of the weights it holds.

    It `makes` an adapter in `loras/` or a model in `models/`. `reason` says whether all its steps were done or a rule
    found that it had done enough before.
    """

    adapter: str
    step: int
    elapsed_s: float
    reason: FinishReason = "all_steps"
    makes: Makes = "adapter"


@dataclass(frozen=True)
class Stopped:
    """The run ended early. `adapter` and `step` say what was kept; None and 0 where nothing was.

    `problems` say why where nobody asked for it.
    """

    reason: StopReason
    adapter: str | None
    step: int
    elapsed_s: float
    problems: tuple[Problem, ...] = ()
    makes: Makes = "adapter"


@dataclass(frozen=True)
class Failed:
    """The run broke: `problems` say why in words for people; where there are none, `reference` names the log."""

    problems: tuple[Problem, ...]
    reference: str
    elapsed_s: float


Event = (
    RunQueued
    | RunStarted
    | Resumed
    | PhaseStarted
    | Planned
    | StepDone
    | EvalDone
    | SampleDone
    | Saved
    | Logged
    | StopAsked
    | Finished
    | Stopped
    | Failed
)
END_EVENTS = (Finished, Stopped, Failed)
_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(Event)}


def to_line(event: Event) -> str:
    """An event as one line of JSON, without the line's end. Numbers that are not finite become null."""
    return json.dumps({"event": type(event).__name__, **_plain(asdict(event))}, ensure_ascii=False, allow_nan=False)


def from_line(line: str) -> Event | None:
    """The event of a line; None where this version does not know its kind. Unknown fields are left out.

    Raises:
        ValueError: the line is no event.
    """
    values = json.loads(line)
    if not isinstance(values, dict):
        raise ValueError("an event is a JSON object")  # noqa: TRY004 - every damaged line is a ValueError
    kind = _KINDS.get(values.pop("event", ""))
    if kind is None:
        return None
    known = {entry.name for entry in fields(kind)}
    values = {name: value for name, value in values.items() if name in known}
    try:
        if "plan" in values:
            values["plan"] = Plan.from_dict(values["plan"])
        if "problems" in values:
            values["problems"] = tuple(_problem(problem) for problem in values["problems"])
        if "lineage" in values:
            values["lineage"] = tuple(Ancestor(**each) for each in values["lineage"])
        event: Event = kind(**values)
    except (TypeError, KeyError) as error:
        raise ValueError(f"not a whole {kind.__name__}") from error
    return event


@dataclass
class EventLog:
    """The file of one run. It is opened and flushed for each event: a killed process loses at most a torn line.

    May be used from several threads.
    """

    path: Path
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def append(self, event: Event) -> None:
        """Write one event.

        Raises:
            OSError: the disk is full or the file cannot be written.
        """
        line = to_line(event).encode("utf-8") + b"\n"
        with self._lock, self.path.open("ab") as file:
            if file.tell() and not _ends_with_newline(self.path):
                line = b"\n" + line  # what a torn write left stays a line of its own
            file.write(line)
            file.flush()
            if not isinstance(event, StepDone):
                os.fsync(file.fileno())


@dataclass(frozen=True)
class History:
    """What a file of events holds; `damaged` counts lines that could not be read."""

    events: tuple[Event, ...]
    damaged: int = 0


def read_events(path: Path) -> History:
    """All events of a file. A torn or damaged line is left out and counted; a missing file has none."""
    events: list[Event] = []
    damaged = 0
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                event = from_line(line) if line.strip() else None
            except ValueError:
                damaged += 1
            else:
                events += [event] if event is not None else []
    return History(tuple(events), damaged)


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _problem(values: dict[str, Any]) -> Problem:
    return Problem(**{**values, "place": Place(**values["place"])})


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become null. Lone surrogates would break a page's event stream."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return whole_text(value)
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value if value is None or isinstance(value, (bool, int)) else str(value)
