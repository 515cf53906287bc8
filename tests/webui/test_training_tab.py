"""The Training tab's handlers against a stand-in workbench: data, form, plan, the live view, the form's memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from core.data.options import DataOptions
from core.errors import Problem, WorkbenchError, refusal
from core.i18n import LANGUAGES, Language
from core.settings import MethodSettings, TrainingSettings, fields_of
from core.training.history import RunSummary
from core.training.plan import Plan
from core.training.progress import Snapshot, Status
from core.training.resume import Resumption
from core.training.spec import RunSpec
from core.workbench import ModelStatus
from core.workspace import Workspace
from tests.webui.data_scene import NAME, StandInData
from tests.webui.test_model_tab import BF16
from tests.webui.test_views import PLAN, SNAPSHOT
from webui import live_panel, resume_panel, run_panel, run_views, training_tab

DATA = [NAME]


def form(**changes: Any) -> list[Any]:
    """The run panel's raw values as a fresh page sends them, some of them changed by their setting's name."""
    specs = {**{n: fields_of(MethodSettings)[n] for n in run_panel.METHOD}, **fields_of(TrainingSettings)}
    values = {name: "auto" if spec.boolean and spec.automatic else spec.default for name, spec in specs.items()}
    head = {"name": "first", "targets": ["all-linear"], "prompts": ""}
    return list({**head, **values, **changes}.values())


def shown_plan(workbench: Any, *values: Any) -> list[Any]:
    """The last answer of `show_plan`."""
    *_, last = run_panel.show_plan(workbench, "en", *values)
    return last


@dataclass
class StandIn(StandInData):
    """What the handlers call of a workbench, with what they asked for in `calls`."""

    workspace: Workspace = None  # type: ignore[assignment]
    status: ModelStatus | None = field(
        default_factory=lambda: ModelStatus("m", BF16, None, "f", 512, 1, 0.5, 0.8, (), ())
    )
    active: str | None = None
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    refused: WorkbenchError | None = None
    differences: tuple[Problem, ...] = ()
    calls: list[tuple[Any, ...]] = field(default_factory=list)

    def check_adapter_name(self, name: str) -> Problem | None:
        return Problem("D42_name_empty") if name == "taken" else None

    def plan(self, spec: RunSpec) -> Plan:
        self.calls.append(("plan", spec.name))
        if self.refused:
            raise self.refused
        return PLAN

    def run_spec_text(self, run_id: str) -> str:
        if run_id == "run-0":
            raise refusal("A30_no_such_run", run_id=run_id)
        return f"name: {run_id}\n"

    def delete_run(self, run_id: str) -> None:
        del self.snapshots[run_id]

    def start_run(self, spec: RunSpec, started_by: str) -> str:
        self.calls.append(("start", spec, started_by))
        self.active = "run-2"
        self.snapshots["run-2"] = replace(SNAPSHOT, run_id="run-2", version=1)
        return "run-2"

    def stop_run(self, run_id: str, keep: bool) -> None:
        self.calls.append(("stop", run_id, keep))

    def active_run(self) -> str | None:
        return self.active

    def runs(self) -> list[RunSummary]:
        return [RunSummary.of(snapshot) for snapshot in reversed(self.snapshots.values())]

    def snapshot(self, run_id: str) -> Snapshot:
        self.calls.append(("snapshot", run_id))
        return self.snapshots[run_id]

    def resumption(self, run_id: str) -> Resumption:
        return Resumption(RunSpec(name="a", base="m", dataset=NAME), differences=self.differences)

    def resume_run(self, run_id: str, accept_changes: bool = False) -> None:
        self.calls.append(("resume", run_id, accept_changes))
        self.active = run_id

    def apply_adapter(self, name: str) -> None:
        self.calls.append(("apply", name))

    def apply_run(self, run_id: str) -> str:
        return f"{run_id} @ 11"

    def applied(self) -> list[str]:
        return ["first"]


@pytest.fixture
def workbench(workspace: Workspace) -> Any:
    return StandIn(workspace=workspace)


# ---- run ----


def test_the_form_becomes_a_spec_and_what_is_empty_stays_automatic() -> None:
    values = [*DATA, *form(rank=8.0, learning_rate=1e-3, prompts="Who?\n\n Why? ", activation_checkpointing="on")]
    spec = run_panel.spec_from("m", "bf16", DataOptions(placeholders={"name": "Momo"}), values)
    assert (spec.name, spec.base, spec.dataset, spec.load.precision) == ("first", "m", "rows.jsonl", "bf16")
    assert (spec.method.rank, spec.training.learning_rate, spec.training.epochs) == (8, 1e-3, None)
    assert spec.training.activation_checkpointing is True
    assert spec.sample_prompts == ("Who?", "Why?")
    assert spec.data.placeholders == {"name": "Momo"}


def test_every_wrong_value_of_the_form_is_named_at_once() -> None:
    wrong = {"rank": 0, "learning_rate": float("nan"), "epochs": True, "seed": "abc"}
    with pytest.raises(WorkbenchError) as refused:
        run_panel.spec_from("m", "bf16", DataOptions(), [*DATA, *form(**wrong)])
    fields = {problem.place.field for problem in refused.value.problems}
    assert {field.rpartition(".")[2] for field in fields} >= set(wrong)
    assert refused.value.code == "H01"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"status": None}, "Load a model first"),
        ({"dataset": None}, "Choose a data set"),
        ({"checking": True}, "the data is being checked"),
        ({"name": " "}, "Type a name"),
        ({"name": "taken"}, "Type a name"),
        ({"active": "run-1"}, "A run is in progress"),
        ({"refused": True}, "see the plan"),
        ({}, "Start training"),
    ],
)
def test_start_says_what_is_missing(workbench: Any, changes: dict[str, Any], words: str) -> None:
    workbench.status = changes.get("status", workbench.status)
    workbench.active = changes.get("active")
    workbench.data.running = changes.get("checking", False)
    data = changes.get("dataset", NAME)
    button, _ = run_panel.check_name(workbench, "en", changes.get("name", "first"), data, changes.get("refused", False))
    assert words in button["value"]


def test_a_plan_needs_no_name(workbench: Any) -> None:
    card, *_ = shown_plan(workbench, *DATA, *form(name=None))
    assert "2 × 4 = batch of 8" in card
    assert workbench.calls == [("plan", "adapter")]


def test_settings_that_make_no_run_are_explained_in_the_plan_and_not_in_a_toast(workbench: Any) -> None:
    card, refused, *_ = shown_plan(workbench, *DATA, *form(rank=-1))
    assert "H01" in card
    assert refused is True


def test_the_name_is_checked_while_it_is_typed(workbench: Any) -> None:
    assert "D42" in run_panel.check_name(workbench, "en", "taken", NAME, False)[1]
    assert "is free" in run_panel.check_name(workbench, "en", " first ", NAME, False)[1]
    assert run_panel.check_name(workbench, "en", None, None, False)[0]["variant"] == "secondary"


def test_reset_brings_back_the_declared_defaults(workbench: Any) -> None:
    updates = run_panel.reset_settings(workbench, "en")
    values = [update["value"] if isinstance(update, dict) else update for update in updates]
    assert values == form()[1:]


def test_the_recipe_of_a_run_is_the_servers(workbench: Any) -> None:
    workbench.data.options = DataOptions(fixes=("trim_text",))
    live_panel.start(workbench, "en", *DATA, *form())
    assert workbench.calls[0][1].data.fixes == ("trim_text",)


def test_a_length_that_loses_every_answer_comes_with_the_one_that_fits(workbench: Any) -> None:
    workbench.refused = refusal("D30_all_too_long", percent=100, limit=192, needed=400, longest=480)
    card, refused, fit, length = shown_plan(workbench, *DATA, *form(max_length=192))
    assert "D30" in card
    assert (refused, fit["visible"], length) == (True, True, 480)
    assert "480 tokens" in fit["value"]
    assert run_panel.fit_length(workbench, "en", length) == 480
    workbench.status = replace(workbench.status, max_length=450)  # the model takes no more
    assert shown_plan(workbench, *DATA, *form(max_length=192))[3] == 450
    workbench.refused = None
    assert shown_plan(workbench, *DATA, *form())[2]["visible"] == run_panel.HIDDEN


def test_the_whole_tab_is_drawn_anew_in_one_answer(workbench: Any) -> None:
    datasets, advanced, report, *_ = training_tab.show_tab(workbench, "en", NAME, "advanced", "")
    assert datasets["choices"] == [NAME, "other.jsonl"]
    assert advanced["visible"] is True
    assert "OpenAI messages" in report
    gone, _, report, *_ = training_tab.show_tab(workbench, "en", "gone", "simple", "")
    assert gone["value"] is None
    assert "Choose a data set" in report


# ---- live ----


def test_a_run_says_in_each_language_where_it_was_started(workbench: Any) -> None:
    live_panel.start(workbench, "en", *DATA, *form())
    assert workbench.calls[0][2] == "page"
    for started_by, english, chinese in [("page", "the page", "网页"), ("command_line", "command line", "命令行")]:
        snapshot = replace(SNAPSHOT, started_by=started_by)
        assert english in run_views.run_progress(snapshot, "en")
        assert chinese in run_views.run_progress(snapshot, "zh")
    assert "Ada" in run_views.run_progress(replace(SNAPSHOT, started_by="Ada"), "zh")


def test_the_settings_of_a_run_are_shown_and_sent_once(workbench: Any) -> None:
    *drawn, seen, _ = live_panel.start(workbench, "en", *DATA, *form())
    assert "name: run-2\n" in drawn
    workbench.snapshots["run-2"] = replace(SNAPSHOT, run_id="run-2", version=2)
    assert "name: run-2\n" not in live_panel.tick(workbench, "en", seen)
    assert live_panel.spec_text(workbench, "run-0") == ""


def test_a_deleted_run_leaves_the_list_and_another_is_shown(workbench: Any) -> None:
    for run_id in ("run-1", "run-2"):
        workbench.snapshots[run_id] = replace(SNAPSHOT, run_id=run_id, status=Status.FINISHED)
    drawn = live_panel.delete_run(workbench, "en", "run-2")
    assert len(drawn) == live_panel.DRAWN
    *_, delete, stop, _, choice, _, seen, _ = drawn
    assert (seen.run_id, [value for _, value in choice["choices"]]) == ("run-1", ["run-1"])
    assert (delete["visible"], stop["visible"]) == (True, False)


def test_start_shows_the_new_run_at_once_and_the_timer_runs_fast(workbench: Any) -> None:
    drawn = live_panel.start(workbench, "en", *DATA, *form())
    assert len(drawn) == live_panel.DRAWN
    *_, choice, timer, seen, active = drawn
    assert (choice["value"], timer.value, seen.run_id, active) == ("run-2", live_panel.ACTIVE_TICK_S, "run-2", "run-2")


def test_nothing_is_sent_while_nothing_has_changed(workbench: Any) -> None:
    *_, seen, _ = live_panel.start(workbench, "en", *DATA, *form())
    assert live_panel.tick(workbench, "en", seen) == live_panel.nothing_new()
    workbench.snapshots["run-2"] = replace(SNAPSHOT, run_id="run-2", version=2)
    assert "step 11 of 44" in live_panel.tick(workbench, "en", seen)[0]


def test_a_run_that_began_in_another_tab_is_followed(workbench: Any) -> None:
    *_, seen, _ = live_panel.show_run(workbench, "en", None)
    workbench.start_run(None, "")
    *_, now, active = live_panel.tick(workbench, "en", seen)
    assert (now.run_id, active) == ("run-2", "run-2")


def test_looking_at_an_old_run_is_not_disturbed_by_the_one_in_progress(workbench: Any) -> None:
    workbench.snapshots["run-1"] = replace(SNAPSHOT, run_id="run-1", status=Status.FINISHED)
    workbench.start_run(None, "")
    *_, seen, _ = live_panel.show_run(workbench, "en", "run-1")
    assert seen.run_id == "run-1"
    assert live_panel.tick(workbench, "en", seen) == live_panel.nothing_new()


def test_the_end_of_a_run_is_drawn_and_the_timer_slows_down(workbench: Any) -> None:
    *_, seen, _ = live_panel.start(workbench, "en", *DATA, *form())
    workbench.active = None
    workbench.snapshots["run-2"] = replace(
        SNAPSHOT, run_id="run-2", version=9, status=Status.FINISHED, adapter="first", kept_step=44
    )
    progress, result, *_, stop, chat, _, timer, _, active = live_panel.tick(workbench, "en", seen)
    assert "Finished" in progress
    assert str(workbench.workspace.adapters / "first") in result
    assert (stop["visible"], chat["visible"], timer.value, active) == (False, True, live_panel.IDLE_TICK_S, None)


def test_without_runs_the_page_says_so(workbench: Any) -> None:
    drawn = live_panel.show_run(workbench, "en", "gone")
    assert len(drawn) == live_panel.DRAWN
    assert "No runs yet" in drawn[0]


@pytest.mark.parametrize(("handler", "keep"), [(live_panel.stop_and_keep, True), (live_panel.stop_and_discard, False)])
def test_the_two_ways_to_stop(workbench: Any, handler: Any, keep: bool) -> None:
    handler(workbench, "en", "run-2")
    assert workbench.calls == [("stop", "run-2", keep)]


@pytest.mark.parametrize(("step", "words"), [(None, "Start again from step 0"), (11, "Resume after step 11 of 44")])
def test_resume_is_offered_with_its_step_where_a_run_ended_early(workbench: Any, step: int | None, words: str) -> None:
    for status in Status:
        snapshot = replace(SNAPSHOT, status=status, checkpoint_step=step)
        offered = resume_panel.button(snapshot, "en")
        assert offered["visible"] == (status in (Status.STOPPED, Status.INTERRUPTED, Status.FAILED))
        assert offered["value"] == words
        assert offered in live_panel.draw(workbench, snapshot, "en", "")


def test_a_run_of_which_nothing_has_changed_is_resumed_at_once(workbench: Any) -> None:
    dialog, *_, asked = resume_panel.resume(workbench, "en", "run-2")
    assert (workbench.calls, dialog["visible"], asked) == ([("resume", "run-2", False)], False, None)


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
    tabs, columns = live_panel.chat_with_it(workbench, "en", "run-1")
    assert tabs.selected == "chat"
    assert columns["value"] == ["", column]


# ---- the form's memory ----


@pytest.mark.parametrize("saved", [None, 7, [], {"run-name": {"a": 1}}])
def test_a_form_that_was_never_saved_begins_empty(workbench: Any, saved: object) -> None:
    name, epochs = training_tab.restored_form(workbench, ["run-name", "run-epochs"], saved, ["run-epochs"])
    assert "value" not in name
    assert epochs["value"] is None


def test_a_saved_form_comes_back_but_not_a_data_set_that_is_gone(workbench: Any) -> None:
    names = ["dataset-name", "run-name", "run-target_modules"]
    saved = {"dataset-name": "gone.json", "run-name": "first", "run-target_modules": ["q_proj"], "other": 1}
    dataset, name, targets = training_tab.restored_form(workbench, names, saved, [])
    assert "value" not in dataset
    assert (name["value"], targets["value"]) == ("first", ["q_proj"])
    kept, *_ = training_tab.restored_form(workbench, names, {**saved, "dataset-name": "rows.jsonl"}, [])
    assert kept["value"] == "rows.jsonl"


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_answer_of_the_handlers_has_words_in_both_languages(workbench: Any, lang: Language) -> None:
    assert list(run_panel.show_plan(workbench, lang, *DATA, *form()))
    assert list(run_panel.show_plan(workbench, lang, None, *form()))
    live_panel.start(workbench, lang, *DATA, *form())
