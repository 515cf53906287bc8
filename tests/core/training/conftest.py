"""Fixtures for training: the tiny model loaded, a data file of easy rows, a way to run a spec and keep its events."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from core.training.events import Event, StepDone
from core.training.spec import RunSpec
from core.workspace import Workspace


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """The test's own thread computes with as many threads as the runs of `spec_of`: logits depend on it bit by bit."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _short_answers(short_sample_answers: None) -> None:
    """For every run of these tests."""


COLORS = ["red", "blue", "green", "white", "black", "pink", "grey", "gold"]


def write_rows(workspace: Workspace, count: int, name: str = "colors.jsonl") -> Path:
    """Rows of different lengths, as `messages`."""
    rows = []
    for number in range(count):
        color = COLORS[number % len(COLORS)]
        question = f"Which color has number {number}? " + "Think. " * (number % 4)
        answer = f"Number {number} is {color}." + " Yes." * (number % 3)
        rows.append({"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]})
    path = workspace.datasets / name
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def spec_of(**changes: Any) -> RunSpec:
    """A small run; `training` and `method` given as dicts are merged into its settings."""
    training = {
        "epochs": 2,
        "learning_rate": 1e-2,
        "micro_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "validation_share": 0.2,
        "evaluations": 2,
        "threads": 1,
        **changes.pop("training", {}),
    }
    method = {"rank": 4, "dropout": 0.1, **changes.pop("method", {})}
    values = {"name": "colors", "base": "tiny", "dataset": "colors.jsonl", **changes}
    return RunSpec.checked({**values, "training": training, "method": method})


def adapter_hash(place: Workspace, name: str) -> str:
    return hashlib.sha256((place.adapters / name / "adapter_model.safetensors").read_bytes()).hexdigest()


def is_free(lock: Any) -> bool:
    """Whether no thread, this one included, holds a lock."""
    got: list[bool] = []

    def attempt() -> None:
        got.append(lock.acquire(blocking=False))
        if got[0]:
            lock.release()

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return got[0]


@dataclass
class Outcome:
    """What a run emitted, and where."""

    events: list[Event]
    folder: Path
    end: Any

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def losses(self) -> list[float]:
        return [event.loss for event in self.of(StepDone)]


@pytest.fixture
def place(workspace_with_tiny: Workspace) -> Workspace:
    """A data directory with the tiny model and 20 rows."""
    write_rows(workspace_with_tiny, 20)
    return workspace_with_tiny


@pytest.fixture
def loaded(place: Workspace) -> Any:
    from core.models.catalog import find_model
    from core.models.loader import load
    from core.settings import LoadSettings

    return load(find_model(place, "tiny"), LoadSettings(precision="fp32"))


@pytest.fixture
def train(place: Workspace, loaded: Any) -> Callable[..., Outcome]:
    """Carry a spec out to its end. `on_event(event, stop)` sees every event as it comes."""
    from core.training.endings import StopSignal
    from core.training.run import RunContext, run_training

    def carry_out(
        spec: RunSpec | None = None, on_event: Callable[[Event, StopSignal], None] = lambda event, stop: None
    ) -> Outcome:
        spec = spec or spec_of()
        folder = place.runs / f"run-{len(list(place.runs.iterdir()))}"
        folder.mkdir()
        events: list[Event] = []
        stop = StopSignal()

        def sink(event: Event) -> None:
            events.append(event)
            on_event(event, stop)

        end = run_training(spec, RunContext(place, loaded, folder.name, folder, "test"), sink, stop)
        return Outcome(events, folder, end)

    return carry_out
