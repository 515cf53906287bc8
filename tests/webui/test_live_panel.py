"""What the page shows of runs, against a stand-in workbench: following, ticking, and what is done with the open run."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from core.errors import Problem, WorkbenchError, refusal
from core.i18n import LANGUAGES, Language
from core.training.history import RunSummary
from core.training.progress import Snapshot, Status
from core.training.queue import QueuedRun, QueueState
from core.training.resume import Resumption
from core.training.spec import RunSpec, StartingAdapter
from core.workspace import Workspace
from tests.webui.data_scene import NAME
from tests.webui.run_scene import StandInForm, form_sent
from tests.webui.test_views import SNAPSHOT
from webui import hints_panel, live_panel, open_run, proposals_panel, resume_panel, run_actions, run_views
from webui.charts import ChartView
from webui.run_form import FORM

WISHES = [[], "step", False, 0.85]  # nothing compared, curves as they are at first
OPENED = (
    "progress",
    "hints",
    "result",
    "part",
    "loss",
    "learning_rate",
    "grad_norm",
    "samples",
    "log",
    "spec",
    "command",
)
ACTIONS = ("stop", "chat", "evaluate", "resume", "further", "reuse", "export", "download", "delete")
OUTPUTS = (*OPENED, *ACTIONS, "queue", "choice", "history", "seen", "active")
QUEUED = QueuedRun("run-9", "later", "m", "auto", NAME, "lora", None, fits=True)


@dataclass
class StandIn(StandInForm):
    """What the handlers call of a workbench and its runs, with what they asked for in `calls`."""

    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    waiting: QueueState = QueueState()
    differences: tuple[Problem, ...] = ()

    @property
    def runs(self) -> Any:
        return self

    def queue(self) -> QueueState:
        return self.waiting

    def list(self) -> Sequence[RunSummary]:
        return [RunSummary.of(snapshot, 2_500_000) for snapshot in reversed(self.snapshots.values())]

    def snapshot(self, run_id: str) -> Snapshot:
        return self.snapshots[run_id]

    def spec(self, run_id: str) -> RunSpec:
        if run_id == "deleted":
            raise refusal("A30_no_such_run", run_id=run_id)
        return RunSpec(name=run_id, base="m", dataset=NAME, method={"rank": 4})

    def spec_text(self, run_id: str) -> str:
        if run_id == "run-0":
            raise refusal("A30_no_such_run", run_id=run_id)
        return f"name: {run_id}\n"

    def command(self, run_id: str) -> str:
        return f"python app.py train {run_id}"

    def further(self, run_id: str) -> RunSpec:
        return self.spec(run_id).model_copy(update={"start_from": StartingAdapter(adapter="first")})

    def start(self, spec: RunSpec | None, started_by: str, repeats: str = "") -> str:
        self.calls.append(("start", spec, started_by, repeats))
        self.going_on = "run-2"
        self.snapshots["run-2"] = replace(SNAPSHOT, run_id="run-2", version=1)
        return "run-2"

    def stop(self, run_id: str, keep: bool) -> None:
        self.calls.append(("stop", run_id, keep))

    def delete(self, run_id: str) -> None:
        del self.snapshots[run_id]

    def export(self, run_id: str, folder: Path) -> Path:
        file = folder / f"{run_id}.zip"
        file.write_bytes(b"x" * 2000)
        return file

    def resumption(self, run_id: str) -> Resumption:
        return Resumption(RunSpec(name="a", base="m", dataset=NAME), differences=self.differences)

    def resume(self, run_id: str, accept_changes: bool = False, verified: Resumption | None = None) -> None:
        self.verified = verified
        self.calls.append(("resume", run_id, accept_changes))
        self.going_on = run_id

    def apply_adapter(self, name: str) -> None:
        self.calls.append(("apply", name))

    def apply_run(self, run_id: str) -> str:
        return f"{run_id} @ 11"

    def applied(self) -> Sequence[str]:
        return ["first"]


@pytest.fixture
def workbench(workspace: Workspace) -> Any:
    return StandIn(workspace=workspace)


def shown(workbench: Any, run_id: str | None, lang: Language = "en") -> SimpleNamespace:
    return named(live_panel.show_run(workbench, lang, run_id, *WISHES))


def ticked(workbench: Any, seen: Any) -> SimpleNamespace:
    return named(live_panel.tick(workbench, "en", seen, *WISHES))


def named(answer: list[Any]) -> SimpleNamespace:
    """The outputs of `show_run` by name."""
    assert len(answer) == len(OUTPUTS) == live_panel.DRAWN
    return SimpleNamespace(**dict(zip(OUTPUTS, answer, strict=True)))


# ---- following ----


def test_start_chooses_the_new_run(workbench: Any) -> None:
    choice, repeats = live_panel.start(workbench, "en", "run-1", *form_sent())
    assert choice["value"] == "run-2"
    assert (workbench.calls[0][2:], repeats) == (("page", "run-1"), "")  # the next one is a repetition no more
    now = shown(workbench, choice["value"])
    assert (now.seen.run_id, now.active) == ("run-2", "run-2")
    assert (now.stop["visible"], now.delete["visible"]) == (True, False)


def test_nothing_is_sent_while_nothing_has_changed(workbench: Any) -> None:
    workbench.start(None, "")
    seen = shown(workbench, None).seen
    assert live_panel.tick(workbench, "en", seen, *WISHES) == live_panel.nothing_new()
    workbench.snapshots["run-2"] = replace(SNAPSHOT, run_id="run-2", version=2, step=12)
    assert "step 12 of 44" in ticked(workbench, seen).progress


def test_a_tick_sends_only_what_is_new_and_curves_not_too_often(workbench: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(live_panel, "CHARTS_S", 3600.0)
    workbench.start(None, "")
    first = shown(workbench, None)
    assert first.spec == "name: run-2\n"
    workbench.snapshots["run-2"] = replace(SNAPSHOT, run_id="run-2", version=2, step=12)
    soon = ticked(workbench, first.seen)
    assert [name for name, sent in vars(soon).items() if sent != gr.skip()] == ["progress", "seen"]
    later = ticked(workbench, replace(first.seen, charts_at=first.seen.charts_at - live_panel.CHARTS_S))
    assert [type(figure).__name__ for figure in (later.loss, later.learning_rate, later.grad_norm)] == ["Figure"] * 3


def test_a_run_that_began_in_another_tab_is_followed(workbench: Any) -> None:
    seen = shown(workbench, None).seen
    workbench.start(None, "")
    now = ticked(workbench, seen)
    assert (now.seen.run_id, now.active) == ("run-2", "run-2")


def test_the_next_run_of_the_queue_is_followed_only_by_who_watched_the_one_before(workbench: Any) -> None:
    for run_id in ("run-0", "run-1"):
        workbench.snapshots[run_id] = replace(SNAPSHOT, run_id=run_id, status=Status.FINISHED)
    workbench.going_on = "run-1"
    watching, reading = shown(workbench, "run-1").seen, shown(workbench, "run-0").seen
    workbench.start(None, "")
    assert ticked(workbench, watching).choice["value"] == "run-2"
    assert ticked(workbench, reading).choice["value"] == "run-0"


def test_looking_at_an_old_run_is_not_disturbed_by_the_one_in_progress(workbench: Any) -> None:
    workbench.snapshots["run-1"] = replace(SNAPSHOT, run_id="run-1", status=Status.FINISHED)
    workbench.start(None, "")
    seen = shown(workbench, "run-1").seen
    workbench.snapshots["run-2"] = replace(SNAPSHOT, run_id="run-2", version=2)
    assert live_panel.tick(workbench, "en", seen, *WISHES) == live_panel.nothing_new()


def test_another_order_of_the_queue_is_drawn_by_the_next_tick(workbench: Any) -> None:
    seen = shown(workbench, None).seen
    workbench.waiting = QueueState((QUEUED,), None, "on_hold")
    assert "later" in ticked(workbench, seen).queue


def test_the_page_is_woken_whenever_there_is_something_to_draw_and_by_nothing_else(workbench: Any) -> None:
    words = [live_panel.state_of(workbench), live_panel.state_of(workbench)]
    workbench.start(None, "")
    words.append(live_panel.state_of(workbench))
    workbench.snapshots["run-2"] = replace(SNAPSHOT, run_id="run-2", version=2)
    words.append(live_panel.state_of(workbench))
    workbench.waiting = QueueState((QUEUED,), "run-2", "run")
    words.append(live_panel.state_of(workbench))
    workbench.going_on = None
    words.append(live_panel.state_of(workbench))
    assert words[0] == words[1]
    assert len(set(words)) == 5


def test_the_end_of_a_run_is_drawn(workbench: Any) -> None:
    workbench.start(None, "")
    seen = shown(workbench, None).seen
    workbench.going_on = None
    workbench.snapshots["run-2"] = replace(
        SNAPSHOT, run_id="run-2", version=9, status=Status.FINISHED, adapter="first", kept_step=44
    )
    now = ticked(workbench, seen)
    assert "Finished" in now.progress
    assert str(workbench.workspace.adapters / "first") in now.result
    assert (now.stop["visible"], now.chat["visible"], now.further["visible"]) == (False, True, True)
    assert now.active is None


@pytest.mark.parametrize("lang", LANGUAGES)
def test_without_runs_the_page_says_so(workbench: Any, lang: Language) -> None:
    now = shown(workbench, "gone", lang)
    assert {"en": "No runs yet", "zh": "还没有训练任务"}[lang] in now.progress
    assert now.history
    assert not any(button["visible"] for button in (now.stop, now.chat, now.reuse, now.export, now.delete))


def test_a_run_that_waits_is_opened_only_where_none_has_begun(workbench: Any) -> None:
    workbench.snapshots["run-1"] = replace(SNAPSHOT, run_id="run-1", status=Status.FINISHED)
    workbench.snapshots["run-9"] = Snapshot(run_id="run-9", name="later", status=Status.QUEUED)
    assert shown(workbench, None).seen.run_id == "run-1"
    del workbench.snapshots["run-1"]
    now = shown(workbench, None)
    assert now.seen.run_id == "run-9"
    assert (now.stop["visible"], now.delete["visible"], now.reuse["visible"]) == (False, False, True)


def test_a_run_says_in_each_language_where_it_was_started() -> None:
    for started_by, english, chinese in [("page", "the page", "网页"), ("command_line", "command line", "命令行")]:
        snapshot = replace(SNAPSHOT, started_by=started_by)
        assert english in run_views.run_progress(snapshot, "en")
        assert chinese in run_views.run_progress(snapshot, "zh")
    assert "Ada" in run_views.run_progress(replace(SNAPSHOT, started_by="Ada"), "zh")


def test_a_run_without_a_spec_is_shown_without_settings(workbench: Any) -> None:
    workbench.snapshots["run-0"] = replace(SNAPSHOT, run_id="run-0")
    now = shown(workbench, "run-0")
    assert (now.spec, now.command) == ("", "")
    assert open_run.written(workbench, "run-1") == ("name: run-1\n", "python app.py train run-1")


def test_curves_are_drawn_as_wished(workbench: Any) -> None:
    workbench.snapshots["run-1"] = replace(SNAPSHOT, run_id="run-1")
    loss, *_ = open_run.show_charts(workbench, "en", "run-1", "epoch", True, 0)
    assert (loss.layout.xaxis.title.text, loss.layout.yaxis.type) == ("Epoch", "log")
    assert ChartView.of("../x", "yes", float("nan")) == ChartView()


# ---- what is done with the open run ----


def test_the_two_ways_to_stop(workbench: Any) -> None:
    run_actions.stop_and_keep(workbench, "en", "run-2")
    run_actions.stop_and_discard(workbench, "en", "run-2")
    assert workbench.calls == [("stop", "run-2", True), ("stop", "run-2", False)]


def test_deleting_says_what_it_frees_and_then_another_run_is_shown(workbench: Any) -> None:
    for run_id in ("run-1", "run-2"):
        workbench.snapshots[run_id] = replace(SNAPSHOT, run_id=run_id, status=Status.FINISHED)
    dialog, question = run_actions.ask_to_delete(workbench, "en", "run-2")
    assert dialog["visible"] and "2 MB" in question
    run_actions.delete_run(workbench, "en", "run-2")
    now = shown(workbench, "run-2")
    assert (now.seen.run_id, [value for _, value in now.choice["choices"]]) == ("run-1", ["run-1"])


@pytest.mark.parametrize(
    ("method", "adapter", "kept", "stays"),
    [
        ("lora", "first", "as an adapter", "The adapter it made stays in loras/."),
        ("full", "first", "as a new model", "The model it made stays in models/."),
        ("lora", None, "as an adapter", "frees 2 MB."),
    ],
)
def test_what_is_kept_is_called_what_it_is(
    workbench: Any, method: str, adapter: str | None, kept: str, stays: str
) -> None:
    makes = "model" if method == "full" else "adapter"
    run = replace(SNAPSHOT, run_id="run-1", method=method)
    workbench.snapshots["run-1"] = run
    assert kept in run_actions.ask_to_stop(workbench, "en", "run-1")[1]
    workbench.snapshots["run-1"] = replace(run, status=Status.FINISHED, adapter=adapter, makes=makes)
    assert run_actions.ask_to_delete(workbench, "en", "run-1")[1].endswith(stays)


def test_an_export_is_offered_with_its_size(workbench: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("webui.outgoing.get_upload_folder", lambda: str(tmp_path))
    *_, (export, download) = run_actions.export(workbench, "en", "run-1")
    assert export["interactive"] and "2 kB" in download["label"]
    assert Path(download["value"]).parent == tmp_path


def test_what_was_exported_stays_on_offer_until_its_run_goes_on() -> None:
    for status, kept in ((Status.FINISHED, True), (Status.RUNNING, False)):
        offered = dict(zip(ACTIONS, run_actions.draw(replace(SNAPSHOT, status=status), "en"), strict=True))
        assert (offered["download"] == gr.skip()) == kept


def test_the_settings_of_a_run_come_back_into_the_form(workbench: Any) -> None:
    for handler, start_from, repeats in (
        (live_panel.use_settings, "", "run-1"),
        (live_panel.train_further, "first", ""),
    ):
        updates = dict(zip((*FORM, "note", "repeats"), handler(workbench, "en", "run-1"), strict=True))
        assert (updates["rank"]["value"], updates["start_from"]["value"]) == (4, start_from)
        assert updates["repeats"] == repeats


@pytest.mark.parametrize(("step", "words"), [(None, "Start again from step 0"), (11, "Resume after step 11 of 44")])
def test_resume_is_offered_with_its_step_where_a_run_ended_early(workbench: Any, step: int | None, words: str) -> None:
    for status in Status:
        snapshot = replace(SNAPSHOT, status=status, checkpoint_step=step)
        offered = resume_panel.button(snapshot, "en")
        assert offered["visible"] == (status in (Status.STOPPED, Status.INTERRUPTED, Status.FAILED))
        assert offered["value"] == words
        assert offered in run_actions.draw(snapshot, "en")


def test_a_run_of_which_nothing_has_changed_is_resumed_at_once(workbench: Any) -> None:
    dialog, *_, asked = resume_panel.resume(workbench, "en", "run-2")
    assert (workbench.calls, dialog["visible"], asked) == ([("resume", "run-2", False)], False, None)
    assert workbench.verified is not None, "its checkpoint is not read a second time"


@pytest.mark.parametrize("lang", LANGUAGES)
def test_what_has_changed_is_listed_and_resumed_only_when_told_so(workbench: Any, lang: Language) -> None:
    values = {"name": NAME, "before": "0a", "now": "1b"}
    workbench.snapshots["run-2"] = replace(SNAPSHOT, status=Status.STOPPED)
    workbench.differences = (Problem("A22_data_changed", values=values, severity="warning"),)
    dialog, question, listed, yes, asked = resume_panel.resume(workbench, lang, "run-2")
    assert (dialog["visible"], yes["visible"], asked) == (True, True, "run-2") and question
    assert "A22" in listed and "1b" in listed
    assert not [call for call in workbench.calls if call[0] == "resume"]
    assert resume_panel.resume_all_the_same(workbench, lang, asked)[0]["visible"] is False
    assert workbench.calls[-1] == ("resume", "run-2", True)


def test_what_makes_resuming_impossible_cannot_be_waved_through(workbench: Any) -> None:
    workbench.snapshots["run-2"] = replace(SNAPSHOT, status=Status.STOPPED)
    changed = Problem("A22_method_changed", values={"field": "method.rank", "before": "4", "now": "8"})
    workbench.differences = (changed,)
    dialog, question, _, yes, _ = resume_panel.resume(workbench, "en", "run-2")
    assert (dialog["visible"], yes["visible"]) == (True, False) and "cannot go on" in question


@pytest.mark.parametrize(("status", "column"), [(Status.FINISHED, "first"), (Status.RUNNING, "run-1 @ 11")])
def test_chat_opens_with_the_adapter_beside_the_base(workbench: Any, status: Status, column: str) -> None:
    workbench.snapshots["run-1"] = replace(SNAPSHOT, run_id="run-1", status=status, adapter="first")
    tabs, columns = run_actions.chat_with_it(workbench, "en", "run-1")
    assert tabs.selected == "chat"
    assert columns["value"] == ["", column]


@pytest.mark.parametrize(
    ("repeats", "dataset", "left"),
    [
        ("run-1", NAME, "run-1"),
        ("run-1", "other.jsonl", ""),
        ("run-1", None, ""),
        ("", NAME, ""),
        ("deleted", NAME, ""),
    ],
)
def test_a_run_on_other_data_repeats_nothing(workbench: Any, repeats: str, dataset: Any, left: str) -> None:
    assert live_panel.repeat_on_same_data(workbench, "en", repeats, dataset) == left


# ---- settings that need less ----

SMALLER = {"micro_batch_size": 2, "gradient_accumulation_steps": 4}
FILLED = (*FORM, "note", "repeats", "tab", "precision")


def without_memory(workbench: Any, *proposals: Any) -> None:
    values = {"micro": 4, "length": 512, "needed_gb": 3.0, "free_gb": 2.0, "proposals": list(proposals)}
    kept = Problem("A20_checkpoint_kept", values={"step": 11}, severity="warning")
    problems = (Problem("A20_out_of_memory_training", values=values), kept)
    workbench.snapshots["run-1"] = replace(SNAPSHOT, run_id="run-1", status=Status.FAILED, problems=problems)


def clicked_on(workbench: Any, written: Any, run_id: Any = "run-1") -> dict[str, Any]:
    event = gr.EventData(None, {"do": "use", "values": written})
    return dict(zip(FILLED, proposals_panel.fill(workbench, "en", event, run_id), strict=True))


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_run_without_memory_shows_buttons_that_fill_the_form_with_less(workbench: Any, lang: Language) -> None:
    without_memory(workbench, SMALLER, {"precision": "nf4"})
    buttons = re.findall(r'data-values="([^"]*)"', shown(workbench, "run-1", lang).progress)
    smaller, four_bit = (clicked_on(workbench, html.unescape(written)) for written in buttons)
    assert {name: smaller[name]["value"] for name in (*SMALLER, "rank")} == {**SMALLER, "rank": 4}
    assert (smaller["repeats"], smaller["tab"]) == ("run-1", gr.skip())
    assert (four_bit["tab"].selected, four_bit["precision"]["value"]) == ("model", "nf4")
    assert four_bit["rank"]["value"] == 4
    assert workbench.calls == []  # nothing has begun


@pytest.mark.parametrize("written", [None, 5, "{", '{"rank": 4}', '{"micro_batch_size": 2}', '{"precision": "fp32"}'])
def test_what_the_run_does_not_propose_changes_nothing(workbench: Any, written: Any) -> None:
    without_memory(workbench, SMALLER)
    assert set(map(str, clicked_on(workbench, written).values())) == {str(gr.skip())}
    assert set(map(str, clicked_on(workbench, written, None).values())) == {str(gr.skip())}


def test_a_log_that_proposes_what_is_none_is_drawn_without_buttons(workbench: Any) -> None:
    for proposals in ([5, {"rank": 4}, ["x"], {}], {"a": 1}, "x"):
        without_memory(workbench)
        workbench.snapshots["run-1"].problems[0].values["proposals"] = proposals
        assert "<button" not in shown(workbench, "run-1").progress
    impossible = {"max_length": "<b>"}
    without_memory(workbench, impossible)
    assert "<b>" not in shown(workbench, "run-1").progress
    with pytest.raises(WorkbenchError, match="H01"):
        clicked_on(workbench, json.dumps(impossible))


# ---- what its curves say ----

RISING = tuple((step, 2.0 if step < 40 else 6.0 + step / 100) for step in range(1, 60))


def test_a_hint_comes_with_one_button_that_fills_the_form(workbench: Any) -> None:
    workbench.snapshots["run-1"] = replace(SNAPSHOT, run_id="run-1", losses=RISING)
    now = shown(workbench, "run-1")
    assert "The loss is rising" in now.hints and 'data-do="lower_rate"' in now.hints
    event = gr.EventData(None, {"do": "lower_rate"})
    updates = dict(zip((*FORM, "note", "repeats"), hints_panel.fill(workbench, "en", event, "run-1"), strict=True))
    assert updates["learning_rate"]["value"] == pytest.approx(5e-5)
    assert updates["rank"]["value"] == 4
    hints_panel.stop(workbench, "en", event, "run-1")
    assert workbench.calls == []


def test_a_run_that_learns_by_heart_is_stopped_with_its_best_step(workbench: Any) -> None:
    falling = tuple((step, 3.0 - step / 20) for step in range(1, 45))
    evals = ((11, 2.0), (22, 2.2), (33, 2.4), (44, 2.6))
    workbench.snapshots["run-1"] = replace(SNAPSHOT, run_id="run-1", losses=falling, evals=evals)
    event = gr.EventData(None, {"do": "stop_and_keep"})
    assert "Stop here and keep step 11" in shown(workbench, "run-1").hints
    assert hints_panel.fill(workbench, "en", event, "run-1") == [gr.skip()] * (len(FORM) + 2)
    hints_panel.stop(workbench, "en", event, "run-1")
    assert workbench.calls == [("stop", "run-1", True)]


@pytest.mark.parametrize("way", [None, "stop_and_keep", "lower_rate", ["x"], "../x"])
def test_a_hint_that_holds_no_more_does_nothing(workbench: Any, way: Any) -> None:
    workbench.snapshots["run-1"] = SNAPSHOT
    event = gr.EventData(None, {"do": way})
    hints_panel.stop(workbench, "en", event, "run-1")
    assert hints_panel.fill(workbench, "en", event, "run-1") == [gr.skip()] * (len(FORM) + 2)
    assert workbench.calls == []
