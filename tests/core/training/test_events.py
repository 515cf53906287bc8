"""Events as lines of a file: nothing is lost, torn lines do no harm."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from core.adapters.card import Ancestor
from core.errors import Place, Problem
from core.training.events import (
    EvalDone,
    Event,
    EventLog,
    Failed,
    Finished,
    Logged,
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
    from_line,
    read_events,
    to_line,
)
from tests.core.training.test_plan import planned

PROBLEM = Problem("H02_not_finite", Place(line=3), {"step": 3, "lines": "1, 2", "good": 2})
ANCESTORS = (Ancestor("poet-2", "ab", "id-1", "rows.jsonl"), Ancestor("poet", "cd"))
EVENTS: list[Event] = [
    RunQueued("id", "名字", "tiny", "rows.jsonl", "dora", "me", "2026-01-01T00:00:00+00:00", "id-0"),
    RunStarted("id", "名字", "tiny", "rows.jsonl", "me", "2026-01-01T00:00:00+00:00", 12, 1.5, "dora", "", ANCESTORS),
    Resumed(1, "2026-01-02T00:00:00+00:00", 13, 2.5, 1.0),
    PhaseStarted("reading", 0.1),
    Planned(planned(54, validation=6), 0.2),
    StepDone(1, 0.5, 2.5, 1.5, 2e-4, 100, 0.5, 1.2, 1.0),
    EvalDone(1, 2.25, True, 0.1, 1.1),
    SampleDone(1, "Who?\u2028\n\x85", "I am 小 🙂", "stop", 1.2),
    Saved(1, "step-000001", 1.3),
    Logged("training.log.best_restored", {"step": 2, "loss": "1.5"}, 1.4),
    StopAsked(True, 1.5),
    Finished("a", 1, 1.6),
    Stopped("not_finite", None, 0, 1.6, (PROBLEM,)),
    Failed((PROBLEM,), "run/log.txt", 1.6),
]


def test_every_kind_of_event_is_in_the_table() -> None:
    assert {type(event) for event in EVENTS} == set(get_args(Event))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_is_one_line_that_reads_back(event: Event) -> None:
    line = to_line(event)
    assert "\n" not in line
    assert from_line(line) == event


def test_a_file_holds_all_events_in_order(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    for event in EVENTS:
        log.append(event)
    history = read_events(log.path)
    assert list(history.events) == EVENTS
    assert history.damaged == 0


def test_a_torn_last_line_is_left_out_and_counted_and_the_next_event_gets_its_own_line(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log.append(EVENTS[0])
    log.append(EVENTS[1])
    log.path.write_bytes(log.path.read_bytes()[:-10])
    assert read_events(log.path).events == (EVENTS[0],)
    log.append(EVENTS[2])
    history = read_events(log.path)
    assert history.events == (EVENTS[0], EVENTS[2])
    assert history.damaged == 1


@pytest.mark.parametrize("line", ["{", "[]", '{"event": "StepDone"}', '{"event": "Stopped", "problems": [1]}', "\x00"])
def test_a_damaged_line_does_not_hide_the_others(tmp_path: Path, line: str) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(f"{to_line(EVENTS[0])}\n{line}\n{to_line(EVENTS[1])}\n", encoding="utf-8")
    history = read_events(path)
    assert history.events == (EVENTS[0], EVENTS[1])
    assert history.damaged == 1


def test_what_a_newer_version_writes_is_passed_over(tmp_path: Path) -> None:
    line = to_line(PhaseStarted("reading", 1.0)).replace('"phase"', '"colour": "red", "phase"')
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "SomethingNew", "x": 1}\n' + line + "\n", encoding="utf-8")
    history = read_events(path)
    assert (history.events, history.damaged) == ((PhaseStarted("reading", 1.0),), 0)


def test_numbers_that_are_not_finite_and_lone_surrogates_do_not_break_the_file() -> None:
    step = from_line(to_line(StepDone(1, 0.5, math.nan, math.inf, 2e-4, 100, 0.5, 1.2, 1.0)))
    assert isinstance(step, StepDone) and step.loss is None and step.grad_norm is None
    sample = from_line(to_line(SampleDone(1, "\ud800", "b", "stop", 1.0)))
    assert isinstance(sample, SampleDone) and sample.prompt == "?"


def test_every_event_but_the_first_ones_says_when_it_was() -> None:
    for kind in set(get_args(Event)) - {RunQueued, RunStarted}:
        assert "elapsed_s" in {field.name for field in fields(kind)}
