"""The queue, the list of all runs and their comparison: over run folders as they lie on disk, without a model."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from core.adapters.card import Ancestor
from core.errors import WorkbenchError
from core.i18n import LANGUAGES, Language
from core.training.desk import RunDesk
from core.training.events import EvalDone, Event, EventLog, Finished, RunStarted, SampleDone, StepDone
from core.training.history import EVENTS_FILE, RunSummary
from core.training.progress import Status
from core.training.queue import QueuedRun, QueueState
from core.training.spec import RunSpec, write_spec
from core.workspace import Workspace
from tests.webui.test_views import HOSTILE, Tags
from webui import compare_panel, history_panel, history_views, queue_panel, queue_views

VIEW = ["step", False, 0.85]


def write_run(workspace: Workspace, run_id: str, rank: int = 8, lineage: tuple[Ancestor, ...] = ()) -> str:
    """A run of four steps that finished, in its folder."""
    folder = workspace.runs / run_id
    folder.mkdir(parents=True)
    events: list[Event] = [
        RunStarted(
            run_id, f"name-{run_id}", "tiny", "rows.jsonl", "page", "2026-01-02T03:04:05", 1, 0.0, "lora", "", lineage
        ),
        *(StepDone(step, step / 4, 4.0 / step, 0.5, 1e-4, 100, 0.1, 0.5, step) for step in range(1, 5)),
        EvalDone(4, 1.25, True, 0.1, 4.5),
        SampleDone(0, "Who?", "base says", "stop", 4.6),
        SampleDone(4, "Who?", f"{run_id} says", "stop", 4.7),
        Finished(f"name-{run_id}", 4, 5.0),
    ]
    log = EventLog(folder / EVENTS_FILE)
    for event in events:
        log.append(event)
    write_spec(folder / "spec.yaml", RunSpec(name=run_id, base="tiny", dataset="rows.jsonl", method={"rank": rank}))
    return run_id


@pytest.fixture
def workbench(workspace: Workspace) -> Any:
    def load(*_: object) -> None:
        raise AssertionError("no model is loaded here")

    return SimpleNamespace(runs=RunDesk(workspace, threading.RLock(), lambda: None, load))


def click(**data: Any) -> gr.EventData:
    return gr.EventData(None, data)


# ---- the list of all runs ----


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_run_is_listed_with_its_descent_its_losses_and_their_course(
    workbench: Any, workspace: Workspace, lang: Language
) -> None:
    write_run(workspace, "run-1")
    write_run(workspace, "run-2", lineage=(Ancestor("first", "ab", "run-1"),))
    shown = history_panel.draw(workbench.runs.list(), "run-2", ["run-1"], lang)
    newest, oldest = shown.split("<li")[1:]
    assert 'aria-current="true"' in newest and "aria-current" not in oldest
    assert 'aria-pressed="true"' in oldest and 'aria-pressed="false"' in newest
    assert 'data-do="open" data-run="run-1">first</button>' in newest
    for words in ("LoRA · rows.jsonl · tiny", "<polyline", "2.08", "1.25", "2026-01-02 03:04"):
        assert words in newest


def test_the_list_calls_no_loss_the_best_where_accuracy_decided(workspace: Workspace, workbench: Any) -> None:
    write_run(workspace, "run-1")
    [summary] = workbench.runs.list()
    by_loss, by_accuracy = (
        history_views.history_list([run], None, (), "en")
        for run in (summary, _with(summary, best_by="accuracy", eval_accuracy=0.625))
    )
    assert "best validation 1.25" in by_loss
    assert "best validation accuracy 62.5 %" in by_accuracy and "1.25" not in by_accuracy


def test_a_run_in_progress_is_listed_the_same_at_every_step(workspace: Workspace, workbench: Any) -> None:
    write_run(workspace, "run-1")
    [summary] = workbench.runs.list()
    running = [_with(summary, status=Status.RUNNING, step=step, elapsed_s=step, train_loss=step) for step in (1, 2)]
    first, second = (history_views.history_list([run], None, (), "en") for run in running)
    assert first == second and "in progress" in first


def _with(summary: RunSummary, **changes: Any) -> RunSummary:
    return type(summary)(**{**vars(summary), **changes})


def test_names_from_outside_are_inert_in_every_list(workspace: Workspace, workbench: Any) -> None:
    write_run(workspace, "run-1")
    [summary] = workbench.runs.list()
    hostile = _with(summary, name=HOSTILE, dataset=HOSTILE, base=HOSTILE, method=HOSTILE, run_id='"><img src=x>')
    waiting = QueuedRun('"><img src=x>', HOSTILE, HOSTILE, "auto", HOSTILE, HOSTILE, 3, fits=False)
    for shown in (
        history_views.history_list([hostile], None, (), "en"),
        queue_views.queue_card(QueueState((waiting,), None, "model"), "en"),
    ):
        assert "img" not in Tags(shown).names and "button" in Tags(shown).names


@pytest.mark.parametrize("wrong", [{}, {"do": "open"}, {"do": "open", "run": "../x"}, {"do": "x", "run": "run-1"}])
def test_a_click_that_is_none_of_ours_opens_nothing(workspace: Workspace, workbench: Any, wrong: Any) -> None:
    write_run(workspace, "run-1")
    assert history_panel.clicked(workbench, click(**wrong), "open") is None
    assert history_panel.clicked(workbench, click(do="open", run="run-1"), "open") == "run-1"


# ---- comparing ----


def test_runs_are_put_beside_each_other_one_by_one_and_taken_away_again(workspace: Workspace, workbench: Any) -> None:
    for run_id in ("run-1", "run-2"):
        write_run(workspace, run_id)
    _, choice, plot, words, _ = compare_panel.toggle(workbench, "en", click(do="compare", run="run-1"), [], None, *VIEW)
    assert (choice["value"], plot["visible"]) == (["run-1"], False)
    assert "two or more" in words
    part, choice, plot, _, listing = compare_panel.toggle(
        workbench, "en", click(do="compare", run="run-2"), ["run-1"], "run-1", *VIEW
    )
    assert (part["open"], choice["value"], plot["visible"]) == (True, ["run-1", "run-2"], True)
    assert listing.count('aria-pressed="true"') == 2
    again = compare_panel.toggle(workbench, "en", click(do="compare", run="run-2"), ["run-1", "run-2"], None, *VIEW)
    assert again[1]["value"] == ["run-1"]
    assert compare_panel.toggle(workbench, "en", click(do="open", run="run-2"), [], None, *VIEW) == [gr.skip()] * 5


@pytest.mark.parametrize(("lang", "words"), [("en", "Settings that differ"), ("zh", "不同的设置")])
def test_a_comparison_shows_ends_settings_and_answers(
    workspace: Workspace, workbench: Any, lang: Language, words: str
) -> None:
    ids = [write_run(workspace, "run-1", rank=8), write_run(workspace, "run-2", rank=32)]
    _, _, plot, tables, _ = compare_panel.draw(workbench, lang, [*ids, "gone"], None, *VIEW)
    assert len(plot["value"].data) == 4
    for part in (words, "<td><div>8</div></td><td><div>32</div></td>", "base says", "run-1 says", "run-2 says", "1.25"):
        assert part in tables
    epochs = compare_panel.show_chart(workbench, lang, ids, "step", True, 0)
    assert epochs.layout.yaxis.type == "log"


@pytest.mark.parametrize("sent", [None, "run-1", ["run-1"], ["run-1", "run-1", {}], 7])
def test_whatever_a_browser_sends_as_compared_is_no_bug(workspace: Workspace, workbench: Any, sent: Any) -> None:
    write_run(workspace, "run-1")
    assert compare_panel.draw(workbench, "en", sent, None, *VIEW)[2]["visible"] is False
    assert compare_panel.show_chart(workbench, "en", sent, *VIEW) == gr.skip()


def test_a_deleted_run_is_compared_no_more(workspace: Workspace, workbench: Any) -> None:
    ids = [write_run(workspace, "run-1"), write_run(workspace, "run-2")]
    workbench.runs.delete("run-1")
    _, choice, plot, _, _ = compare_panel.draw(workbench, "en", ids, None, *VIEW)
    assert (choice["value"], plot["visible"]) == (["run-2"], False)


# ---- the queue ----


@dataclass
class Desk:
    """A queue of names, with what was asked of it."""

    names: tuple[str, ...] = ("a", "b", "c")
    active: str | None = None
    calls: tuple[Any, ...] = ()

    def queue(self) -> QueueState:
        runs = tuple(QueuedRun(n, f"run {n}", "tiny", "auto", "rows", "lora", None, fits=n != "c") for n in self.names)
        return QueueState(runs, self.active, "run" if self.active else "on_hold")

    def __getattr__(self, way: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> None:
            self.calls += ((way, *arguments),)
            if way == "begin" and self.active:
                raise WorkbenchError([])

        return call


@pytest.mark.parametrize(
    ("way", "run", "asked"),
    [
        ("up", "c", ("move", "c", 1)),
        ("up", "a", ("move", "a", 0)),
        ("down", "a", ("move", "a", 1)),
        ("cancel", "b", ("cancel", "b")),
        ("start", "", ("start_queue",)),
    ],
)
def test_every_button_of_the_queue_does_what_it_says(way: str, run: str, asked: tuple[Any, ...]) -> None:
    desk = Desk()
    queue_panel.arrange(SimpleNamespace(runs=desk), "en", click(do=way, run=run))  # type: ignore[arg-type]
    assert desk.calls == (asked,)


@pytest.mark.parametrize("data", [{}, {"do": "up"}, {"do": "up", "run": "gone"}, {"do": ["up"], "run": {"a": 1}}])
def test_a_run_that_waits_no_more_is_no_error(data: dict[str, Any]) -> None:
    desk = Desk()
    queue_panel.arrange(SimpleNamespace(runs=desk), "en", click(**data))  # type: ignore[arg-type]
    assert list(queue_panel.begin(SimpleNamespace(runs=desk), "en", click(**data))) == []  # type: ignore[arg-type]
    assert desk.calls == ()


def test_beginning_before_its_turn_shows_how_far_loading_is() -> None:
    desk = SimpleNamespace(begin=lambda run_id, report: report("weights", 0.5))
    words = list(queue_panel.begin(SimpleNamespace(runs=desk), "en", click(do="begin", run="c")))  # type: ignore[arg-type]
    assert len(words) == 2 and "50" in words[0] and words[1] == ""


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_queue_says_its_order_and_what_each_run_waits_for(lang: Language) -> None:
    shown = queue_views.queue_card(Desk().queue(), lang)
    assert [shown.index(f">run {name}<") for name in "abc"] == sorted(shown.index(f">run {name}<") for name in "abc")
    assert shown.count('data-do="begin"') == 3  # the last with its base model loaded first
    assert shown.count(" disabled") == 2  # up for the first, down for the last
    assert 'data-do="start"' in shown
    busy = queue_views.queue_card(Desk(active="x").queue(), lang)
    assert 'data-do="begin"' not in busy and 'data-do="start"' not in busy
    assert queue_views.queue_card(QueueState(), lang) == ""
    resumed = QueuedRun("r", "r", "tiny", "auto", "rows", "lora", 7, fits=True)
    assert "7" in queue_views.queue_card(QueueState((resumed,), "x", "run", "r"), lang)
