"""Every event of the real page: private, guarded, and answering whatever a browser could send with the error contract.

The page is built over a real workbench with the tiny model, an adapter, a data set, runs and a conversation. Handlers
are found on the page, so one that is added later is tested without being named here.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import orjson
import pytest

from core.chat import conversations as talk
from core.data.datasets import CARDS
from core.errors import WorkbenchError
from core.models.loader import load
from core.settings import LoadSettings
from core.workbench import Workbench
from core.workspace import Workspace
from tests.core.adapters.building import save_random_adapter
from tests.webui.test_run_history import write_run
from webui import (
    evaluation_form_panel,
    live_panel,
    notices,
    plan_panel,
    proposals_panel,
    run_panel,
    sampling_form,
    start_panel,
)
from webui.page import build_page
from webui.preview_panel import CLICKS_JS

pytestmark = pytest.mark.proof

BAD = [None, float("nan"), True, "", "../../x", "x" * 10_000, ["../x", 5], {"a": [1]}, "\ud800", 2**80]
# The only function of the page that is not guarded: it switches the language, calls nothing of the workbench and takes
# any value (`notices.language_of`).
UNGUARDED = {"_wire_language.<locals>.<lambda>"}
KEPT_FILES = ("rows.jsonl",)
RUNS = ("run-1", "run-2")
YIELDS = 3  # of an answer: then the browser goes away, which cancels it
GOOD = {
    "model-name": "tiny",
    "adapter-name": "judge",
    "adapter-new-name": "../x",
    "adapter-strength": 1.0,
    "part-1": "judge",
    "combine-name": "../x",
    "import-name": "../x",
    "export-result": "model",
    "push-repo": "someone/judge",
    "dataset-name": "rows.jsonl",
    "dataset-filled": "rows.jsonl",
    "mapping-paths": '["prompt", "completion"]',
    "row-editor-row": '{"row": 1, "messages": [{"role": "user", "content": "Who?"}]}',
    "changed-rows": 1,
    "preview-search": "who",
    "preview-line": 2,
    "data-new-name": "../x",
    "run-name": "first",
    "run-choice": "run-1",
    "compare-runs": ["run-1", "run-2"],
    "evaluate-dataset": "rows.jsonl",
    "evaluate-rows-of": "all",
    "evaluate-columns": ["judge"],
    "evaluate-fields": "(x)",
    "steps-run": "run-1",
    "prompt-set-prompts": "Who?",
    "chat-columns": ["", "judge"],
    "chat-message": "Hello",
    "chat-title": "Foxes",
    "preset-name": "mine",
    "character-name": "Momo",
    "sampling-max_new_tokens": 2,
}


@dataclass(frozen=True)
class Handler:
    """A guarded handler of the page: gradio's entry for it, and the name of the function behind it."""

    entry: Any
    function: Any

    @property
    def name(self) -> str:
        plain = self.function.func if isinstance(self.function, partial) else self.function
        return f"{plain.__module__}.{plain.__qualname__}"

    @property
    def unit(self) -> Any:
        """The fields of the data form that it saves, if it does."""
        return self.function.keywords.get("unit") if isinstance(self.function, partial) else None

    @property
    def event(self) -> Any:
        """The kind of event data that it takes after the language, if any."""
        return inspect.signature(self.entry.fn).parameters.get("event")


@dataclass
class Scene:
    workbench: Workbench
    page: gr.Blocks
    conversation: talk.Conversation
    bugs: list[str]
    notices: list[str]

    def handlers(self) -> list[Handler]:
        """One of each function; the four panes share theirs, each unit of the data form has its own."""
        found = {}
        for entry in self.page.fns.values():
            if entry.fn and _is_guarded(entry.fn):
                handler = Handler(entry, inspect.getclosurevars(entry.fn).nonlocals["handler"])
                found.setdefault((handler.name, len(entry.inputs), handler.unit), handler)
        return list(found.values())

    def values(self, handler: Handler) -> list[Any]:
        """What a page sends that is in order; states as gradio looks them up."""
        return [self._value(component) for component in handler.entry.inputs]

    def _value(self, component: Any) -> Any:
        if getattr(component, "storage_key", None) == "workbench.conversation" or component.elem_id == "chat-list":
            return self.conversation.id
        return GOOD.get(component.elem_id or "", component.value)

    def restore(self) -> None:
        """What a handler may have taken away or changed is there again."""
        folder = self.workbench.workspace.datasets
        for file in folder.glob("*"):
            if file.name == CARDS or file.name not in KEPT_FILES:
                shutil.rmtree(file) if file.is_dir() else file.unlink()
        if not (folder / "rows.jsonl").exists():
            write_rows(folder)
        file = self.workbench.workspace.state / "conversations" / f"{self.conversation.id}.json"
        kept = self.conversation.model_dump_json(indent=1).encode()
        if not file.exists() or file.read_bytes() != kept:
            file.write_bytes(kept)
        for run_id in RUNS:
            if not (self.workbench.workspace.runs / run_id).exists():
                write_run(self.workbench.workspace, run_id)
        if self.workbench.model_status() is None:
            self.workbench.load_model("tiny", LoadSettings(precision="fp32"))

    def call(self, handler: Handler, values: list[Any]) -> None:
        """Call a handler as gradio does and send what it returns, up to the bytes of the answer."""
        try:
            result = handler.entry.fn(*values)
            steps = islice(result, YIELDS) if inspect.isgenerator(result) else [result]
            for step in steps:
                orjson.dumps(step, default=str)
            if inspect.isgenerator(result):
                result.close()
        except gr.Error as error:
            orjson.dumps(str(error))

    def bugs_of(self, handler: Handler, values: list[Any]) -> list[str]:
        """What went wrong in a call that is no refusal; in the handler or on the way back."""
        self.bugs.clear()
        try:
            self.call(handler, values)
        except Exception as error:
            self.bugs.append("".join(traceback.format_exception(error)[-3:]))
        return list(self.bugs)


def write_rows(folder: Path) -> None:
    rows = ['{"prompt": "Who?", "completion": "{{name}}"}'] * 4
    (folder / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")


@pytest.fixture(scope="module")
def scene(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    from transformers import AutoModelForCausalLM

    workspace = Workspace(tmp_path_factory.mktemp("every-handler"))
    workspace.create()
    shutil.copytree(tiny_model_dir, workspace.models / "tiny")
    save_random_adapter(AutoModelForCausalLM.from_pretrained(tiny_model_dir), workspace.adapters / "judge", 1)
    write_rows(workspace.datasets)
    for run_id in RUNS:
        write_run(workspace, run_id)
    with Workbench(workspace) as workbench, _nothing_goes_out():
        page = asyncio.run(_built(workbench))
        said = talk.add_turn(workbench.conversations.new(model="tiny"), "Hello")
        answered = talk.add_answer(said, talk.BASE, talk.Answer(text="Hi", adapter=None))
        conversation = workbench.conversations.save(answered)
        with _watched() as (bugs, shown):
            yield Scene(workbench, page, conversation, bugs, shown)


async def _built(workbench: Workbench) -> gr.Blocks:
    return build_page(workbench, "en")  # where a loop is running, gradio makes none that it never closes


@contextmanager
def _nothing_goes_out() -> Iterator[None]:
    """No download, no run: everything before the thread that would do it is real. Weights are read once."""
    loaded: dict[str, Any] = {}

    def load_once(info: Any, settings: Any, *_: Any) -> Any:
        return loaded.setdefault(info.name, loaded.get(info.name) or load(info, settings))

    def no_run(runner: Any, active: Any, *_: Any) -> None:
        shutil.rmtree(runner._history.folder(active.run_id))
        runner._active = None

    def no_evaluation(desk: Any, evaluation_id: str, *_: Any) -> None:
        desk._store.delete(evaluation_id)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("core.evaluation.desk.EvaluationDesk._work", no_evaluation)
        patch.setattr(os, "fsync", lambda handle: None)
        patch.setattr("webui.steps_panel.REST_S", 0.0)
        patch.setattr("core.models.downloads._fetched", lambda work, began, watch: began)
        patch.setattr("core.models.loader.load", load_once)
        patch.setattr("core.models.memory.release", lambda: None)
        patch.setattr("core.training.runner.Runner._work", no_run)
        patch.setattr("core.exports.desk.ExportDesk._start", lambda self, title, result, work: None)
        yield


@contextmanager
def _watched() -> Iterator[tuple[list[str], list[str]]]:
    """Bugs (failures that are no refusal) as they reach the notices, and the notices that would be shown."""
    bugs: list[str] = []
    shown: list[str] = []
    real_notice = notices.notice

    def notice(error: Exception, lang: Any) -> gr.Error:
        if not isinstance(error, WorkbenchError):
            bugs.append("".join(traceback.format_exception(error)[-3:]))
        return real_notice(error, lang)

    def show(message: str, title: str, *_: Any, **__: Any) -> None:
        shown.append(orjson.dumps([message, title]).decode())  # as it goes to the browser

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(notices, "notice", notice)
        patch.setattr("gradio.helpers.log_message", show)
        yield bugs, shown


def _is_guarded(function: Any) -> bool:
    return function.__qualname__ in ("guarded.<locals>.call", "guarded.<locals>.stream")


def test_every_function_of_the_page_is_private_and_guarded(scene: Scene) -> None:
    entries = scene.page.fns.values()
    assert [entry.name for entry in entries if entry.api_visibility != "private"] == []
    unguarded = {entry.fn.__qualname__ for entry in entries if entry.fn and not _is_guarded(entry.fn)}
    assert unguarded == UNGUARDED
    assert len(scene.handlers()) > 40


def test_consent_to_a_judge_ends_with_whatever_changes_what_it_would_get(scene: Scene) -> None:
    guarded = [entry for entry in scene.page.fns.values() if entry.fn and _is_guarded(entry.fn)]
    handlers = [(entry, inspect.getclosurevars(entry.fn).nonlocals["handler"]) for entry in guarded]
    targets = [
        target for entry, handler in handlers if handler is evaluation_form_panel.withdraw for target in entry.targets
    ]
    changed = {scene.page.blocks[block].elem_id for block, event in targets if event == "input" and block is not None}
    what = ("dataset", "rows-of", "columns", "rows", "judging", "judge_url", "judge_model", "judge_key")
    assert changed == {f"evaluate-{name}" for name in what}
    assert any(event == "success" for _, event in targets), "a run that fills the form"


def targets_of(scene: Scene, wanted: Any) -> set[tuple[str, str]]:
    """(component, event) of everything that calls a handler."""
    guarded = [entry for entry in scene.page.fns.values() if entry.fn and _is_guarded(entry.fn)]
    handled = [entry for entry in guarded if inspect.getclosurevars(entry.fn).nonlocals["handler"] is wanted]
    return {
        (scene.page.blocks[block].elem_id, event)
        for entry in handled
        for block, event in entry.targets
        if block is not None
    }


def test_buttons_of_a_run_and_under_the_form_reach_their_handlers(scene: Scene) -> None:
    for name, handler in (("run-progress", proposals_panel.fill), ("run-said", run_panel.put_back)):
        assert targets_of(scene, handler) == {(name, "click")}
        (panel,) = (block for block in scene.page.blocks.values() if block.elem_id == name)
        assert panel.js_on_load == CLICKS_JS  # gradio's own would not tell which button it was


def test_a_form_that_a_person_makes_another_repeats_no_run(scene: Scene) -> None:
    assert targets_of(scene, live_panel.repeat_on_same_data) == {("dataset-name", "change")}
    assert targets_of(scene, live_panel.repeat_nothing) >= {("run-method", "input"), ("run-start-from", "input")}


@pytest.mark.parametrize(
    ("handler", "button"),
    [
        (plan_panel.show_plan, "plan-again"),
        (plan_panel.show_forecast, "forecast-again"),
        (start_panel.check_name, "start-again"),
        (evaluation_form_panel.describe, "evaluate-again"),
    ],
    ids=["plan", "forecast", "start", "evaluation"],
)
def test_what_describes_a_form_is_one_event_of_which_the_last_counts(scene: Scene, handler: Any, button: str) -> None:
    """Two could overtake each other on their way, and the page would go on describing an older form."""
    (entry,) = (each.entry for each in scene.handlers() if each.function is handler)
    assert entry.trigger_mode == "always_last"
    assert targets_of(scene, handler) == {(button, "click")}
    asking = [each for each in scene.page.fns.values() if each.fn is None and f"'{button}'" in str(each.js)]
    assert len(asking) > 1, "several ask for it"


@pytest.mark.parametrize("bad", BAD, ids=lambda value: repr(value)[:12])
def test_no_value_of_any_input_of_any_handler_makes_a_bug(scene: Scene, bad: Any) -> None:
    found = []
    for handler in scene.handlers():
        kinds = handler.entry.inputs
        for position, component in enumerate(kinds):
            if isinstance(component, gr.State):
                continue  # never comes from the browser
            scene.restore()
            values = scene.values(handler)
            values[position] = bad
            if handler.event:
                values.insert(1, gr.EventData(None, {"index": bad, "value": bad, "row_value": bad}))
            found += [f"{handler.name}[{position}]: {bug}" for bug in scene.bugs_of(handler, values)]
    assert not found, "\n\n".join([f"{len(found)} bugs", *found[:12]])


@pytest.mark.parametrize("bad", BAD, ids=lambda value: repr(value)[:12])
def test_what_a_browser_kept_may_be_anything(scene: Scene, bad: Any) -> None:
    names = [component.elem_id for component in scene.page.blocks.values() if component.elem_id]
    entries = ("model", "system_prompt", "character")
    kept = {**dict.fromkeys([*names, *entries], bad), "values": [bad] * sampling_form.SIZE}
    tried = 0
    for handler in scene.handlers():
        values = scene.values(handler)
        for position, component in enumerate(handler.entry.inputs):
            if isinstance(component, gr.BrowserState) and component.storage_key != "workbench.conversation":
                values[position] = kept
                tried += 1
                assert scene.bugs_of(handler, values) == []
    assert tried == 2  # the training form and the parameters


@pytest.mark.parametrize("data", [None, [], "x", {}, {"row_value": [["x"]]}, {"index": [0, "x"], "row_value": []}])
def test_event_data_may_be_anything(scene: Scene, data: Any) -> None:
    handlers = [handler for handler in scene.handlers() if handler.event]
    assert len(handlers) == 18  # two tables, the edited message, fifteen that buttons and marks inside HTML call
    for handler in handlers:
        values = scene.values(handler)
        assert scene.bugs_of(handler, [values[0], gr.EventData(None, data), *values[1:]]) == []


def test_a_bug_is_seen_by_these_tests(scene: Scene) -> None:
    handler = next(handler for handler in scene.handlers() if handler.name.endswith("show_adapters"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene.workbench, "adapters", lambda: 1 / 0)
        assert len(scene.bugs_of(handler, scene.values(handler))) == 1
    speechless = Handler(SimpleNamespace(fn=lambda *_: "\ud800"), None)
    assert "surrogates" in scene.bugs_of(speechless, [])[0]
