"""What can be done with the run that is open: stop, resume, chat, evaluate, train further, reuse, export, delete.

Owns the buttons with their dialogs. Handlers here change something and say so; drawing the run afterwards is
`live_panel`'s affair, filling the form `run_panel`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from core.adapters.method_facts import METHODS
from core.i18n import Language, text
from core.training.progress import Snapshot, Status
from core.workbench import Workbench
from webui import resume_panel
from webui.background import awaited
from webui.changes import HIDDEN
from webui.outgoing import outbox
from webui.resume_panel import ResumePanel
from webui.views import size
from webui.wiring import RAW, Wiring


@dataclass(frozen=True)
class Dialog:
    """A question with its answers, over the page."""

    box: gr.Column
    question: gr.Markdown
    answers: tuple[gr.Button, ...]


@dataclass(frozen=True)
class RunActions:
    """The components. `stopping` is answered keep, discard, go on; `deleting` yes, no."""

    stop: gr.Button
    chat: gr.Button
    evaluate: gr.Button  # `evaluate_panel` fills its form with the run
    resuming: ResumePanel
    further: gr.Button
    reuse: gr.Button
    export: gr.Button
    download: gr.DownloadButton
    delete: gr.Button
    stopping: Dialog
    deleting: Dialog

    @property
    def shown(self) -> list[Any]:
        """What `draw` fills."""
        ways = [self.further, self.reuse, self.export, self.download, self.delete]
        return [self.stop, self.chat, self.evaluate, self.resuming.resume, *ways]


def build(wiring: Wiring) -> RunActions:
    with gr.Row(elem_classes="wb-buttons"):
        stop = wiring.say(gr.Button(variant="stop", visible=False, elem_id="stop-run"), value="training_tab.live.stop")
        words = text("training_tab.live.chat", wiring.start_language)  # later `draw` says it: it depends on the run
        chat = gr.Button(words, variant="primary", visible=False, elem_id="chat-with-it")
        evaluate = gr.Button(visible=False, elem_id="run-evaluate")
        wiring.say(evaluate, value="evaluate.from_run")
        resume = resume_panel.build_button(wiring)
        further, reuse, export = (_button(wiring, name) for name in ("further", "reuse", "export"))
        download = gr.DownloadButton(visible=False, variant="primary", elem_id="run-download")
        delete = gr.Button(visible=False, elem_id="delete-run")
        wiring.say(delete, value="training_tab.delete_run.delete")
    resuming = resume_panel.build_dialog(wiring, resume)
    stopping = build_dialog(wiring, "training_tab.stop", {"keep": "primary", "discard": "stop", "go_on": "secondary"})
    deleting = build_dialog(wiring, "training_tab.delete_run", {"yes": "stop", "no": "secondary"})
    return RunActions(stop, chat, evaluate, resuming, further, reuse, export, download, delete, stopping, deleting)


def _button(wiring: Wiring, name: str) -> gr.Button:
    return wiring.say(gr.Button(visible=False, elem_id=f"run-{name}"), value=f"runs_tab.action.{name}")


def build_dialog(wiring: Wiring, key: str, ways: dict[str, Any]) -> Dialog:
    """A question whose answers are called `key.way` in the catalogue; `ways` are the answers with their variants."""
    prefix = key.rpartition(".")[2].replace("_", "-")
    with gr.Column(visible=False, elem_id=f"{prefix}-dialog", elem_classes="wb-dialog") as box:
        question = gr.Markdown()
        with gr.Row():
            buttons = [
                wiring.say(
                    gr.Button(variant=variant, elem_id=f"{prefix}-{way.replace('_', '-')}"), value=f"{key}.{way}"
                )
                for way, variant in ways.items()
            ]
    return Dialog(box, question, tuple(buttons))


def connect(wiring: Wiring, panel: RunActions, run: gr.Dropdown) -> list[Any]:
    """Give the events after which the run, or another, is to be drawn as it then is."""
    stopping, deleting = panel.stopping, panel.deleting
    keep, discard, _ = stopping.answers
    yes, _ = deleting.answers
    wiring.on(panel.stop.click, ask_to_stop, [run], [stopping.box, stopping.question], **RAW)
    wiring.on([each.click for each in stopping.answers], hide, [], [stopping.box])
    wiring.on(panel.delete.click, ask_to_delete, [run], [deleting.box, deleting.question], **RAW)
    wiring.on([each.click for each in deleting.answers], hide, [], [deleting.box])
    exported = [panel.export, panel.download]
    wiring.on(run.change, hide, [], [panel.download])
    wiring.on(panel.export.click, export, [run], exported, concurrency_limit=2, **RAW)
    outputs = [wiring.shared["tabs"], wiring.shared["chat-columns"]]
    wiring.on(panel.chat.click, chat_with_it, [run], outputs, **RAW)
    ended = [
        wiring.on(keep.click, stop_and_keep, [run], **RAW),
        wiring.on(discard.click, stop_and_discard, [run], **RAW),
        wiring.on(yes.click, delete_run, [run], **RAW),
    ]
    return [*ended, *resume_panel.connect(wiring, panel.resuming, run)]


def draw(snapshot: Snapshot, lang: Language) -> list[Any]:
    """As `RunActions.shown`: what can be done with this run now."""
    active, begun = snapshot.status.active, snapshot.status != Status.QUEUED
    adapter = _makes_adapter(snapshot) and bool(snapshot.adapter)
    can_chat = adapter or (active and _makes_adapter(snapshot) and snapshot.checkpoint_step is not None)
    key = "training_tab.live.chat_now" if active else "training_tab.live.chat"
    return [
        gr.update(visible=active and begun),
        gr.update(visible=can_chat, value=text(key, lang)),
        gr.update(visible=not active and adapter),
        resume_panel.button(snapshot, lang),
        gr.update(visible=not active and adapter),
        gr.update(visible=True),
        gr.update(visible=not active),
        HIDDEN if active else gr.skip(),  # what was exported stays on offer while other runs begin and end
        gr.update(visible=not active),
    ]


def _makes_adapter(snapshot: Snapshot) -> bool:
    """Whether what a run makes can be used in chat beside its base; a whole model has to be loaded instead."""
    facts = METHODS.get(snapshot.method)  # type: ignore[call-overload]
    return facts is None or facts.makes == "adapter"


def draw_nothing() -> list[Any]:
    """As `draw`, where there is no run."""
    return [HIDDEN] * 9


def ask_to_stop(workbench: Workbench, lang: Language, run_id: str | None) -> list[Any]:
    kept = "adapter" if _makes_adapter(workbench.runs.snapshot(run_id or "")) else "model"
    return [gr.update(visible=True), text(f"training_tab.stop.question_{kept}", lang)]


def hide(workbench: Workbench, lang: Language) -> Any:
    return gr.update(visible=False)


def stop_and_keep(workbench: Workbench, lang: Language, run_id: str | None) -> None:
    workbench.runs.stop(run_id or "", keep=True)


def stop_and_discard(workbench: Workbench, lang: Language, run_id: str | None) -> None:
    workbench.runs.stop(run_id or "", keep=False)


def ask_to_delete(workbench: Workbench, lang: Language, run_id: str | None) -> list[Any]:
    """The question, with what deleting the run frees and what stays."""
    snapshot = workbench.runs.snapshot(run_id or "")
    freed = size(next((run.bytes for run in workbench.runs.list() if run.run_id == run_id), 0))
    stays = snapshot.makes if snapshot.adapter else "nothing"
    return [gr.update(visible=True), text(f"training_tab.delete_run.question_{stays}", lang, size=freed)]


def delete_run(workbench: Workbench, lang: Language, run_id: str | None) -> None:
    """Delete a run with its checkpoints; what it made stays."""
    workbench.runs.delete(run_id or "")


def export(workbench: Workbench, lang: Language, run_id: str | None) -> Iterator[list[Any]]:
    """Write a run into one file and offer it."""
    for file in awaited(partial(workbench.runs.export, run_id or "", outbox()), "export-run"):
        if file is None:
            yield [gr.update(interactive=False), HIDDEN]
        else:
            label = text("runs_tab.download", lang, size=size(file.stat().st_size))
            yield [gr.update(interactive=True), gr.update(visible=True, value=str(file), label=label)]


def chat_with_it(workbench: Workbench, lang: Language, run_id: str | None) -> list[Any]:
    """Apply the run's adapter (as of its last checkpoint while it goes on) and open the chat beside the base model."""
    snapshot = workbench.runs.snapshot(run_id or "")
    if snapshot.status.active:
        name = workbench.apply_run(snapshot.run_id)
    else:
        name = snapshot.adapter or ""
        workbench.apply_adapter(name)
    choices = [(text("training_tab.live.base", lang), ""), *((entry, entry) for entry in workbench.applied())]
    return [gr.Tabs(selected="chat"), gr.update(choices=choices, value=["", name])]
