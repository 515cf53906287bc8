"""Resuming a run that ended early: the button that says from which step, and the dialog where something has changed.

What the run would go on from and what has changed is worked out when somebody asks; the panel around it draws the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.i18n import Language, text
from core.training.progress import Snapshot, Status
from core.workbench import Workbench
from webui.incoming import checked_type
from webui.views import problem_list
from webui.wiring import RAW, Wiring

RESUMABLE = (Status.STOPPED, Status.INTERRUPTED, Status.FAILED)


@dataclass(frozen=True)
class ResumePanel:
    """The components; `asked` is the run that the open dialog is about."""

    resume: gr.Button
    dialog: gr.Column
    question: gr.Markdown
    differences: gr.HTML
    yes: gr.Button
    no: gr.Button
    asked: gr.State

    @property
    def shown(self) -> list[Any]:
        return [self.dialog, self.question, self.differences, self.yes, self.asked]


def build_button(wiring: Wiring) -> gr.Button:
    words = text("training_tab.resume.from_start", wiring.start_language)  # later `button` says it
    return gr.Button(words, variant="primary", visible=False, elem_id="resume-run")


def build_dialog(wiring: Wiring, resume: gr.Button) -> ResumePanel:
    with gr.Column(visible=False, elem_id="resume-dialog", elem_classes="wb-dialog") as dialog:
        question = gr.Markdown()
        differences = gr.HTML(elem_id="resume-differences")
        with gr.Row():
            yes = wiring.say(gr.Button(variant="primary", elem_id="resume-yes"), value="training_tab.resume.yes")
            no = wiring.say(gr.Button(elem_id="resume-no"), value="training_tab.resume.no")
    return ResumePanel(resume, dialog, question, differences, yes, no, gr.State(None))


def connect(wiring: Wiring, panel: ResumePanel, run: gr.Dropdown) -> list[Any]:
    """Gives the events after which a run may have begun to go on."""
    asked = wiring.on(panel.resume.click, resume, [run], panel.shown, **RAW)
    accepted = wiring.on(panel.yes.click, resume_all_the_same, [panel.asked], panel.shown)
    wiring.on([panel.no.click, run.input], close, [], panel.shown)
    return [asked, accepted]


def button(snapshot: Snapshot, lang: Language) -> Any:
    """What Resume would do with a run, shown where it can be resumed."""
    key = "from_step" if snapshot.checkpoint_step else "from_start"
    words = text(f"training_tab.resume.{key}", lang, step=snapshot.checkpoint_step, steps=snapshot.steps)
    return gr.update(visible=snapshot.status in RESUMABLE, value=words)


def resume(workbench: Workbench, lang: Language, run_id: str | None) -> list[Any]:
    """Go on with a run at once; where something has changed since it ended, list that and ask."""
    run_id = checked_type(run_id, "run") or ""
    found = workbench.runs.resumption(run_id)
    if not found.differences:
        workbench.runs.resume(run_id, verified=found)
        return close(workbench, lang)
    possible = all(problem.severity == "warning" for problem in found.differences)
    key = "question" if possible else "impossible"
    words = text(f"training_tab.resume.{key}", lang, step=found.step, steps=workbench.runs.snapshot(run_id).steps)
    listed = problem_list(found.differences, lang)
    return [gr.update(visible=True), words, listed, gr.update(visible=possible), run_id]


def resume_all_the_same(workbench: Workbench, lang: Language, asked: str | None) -> list[Any]:
    """Go on with the run that the dialog is about, whatever has changed."""
    workbench.runs.resume(asked or "", accept_changes=True)
    return close(workbench, lang)


def close(workbench: Workbench, lang: Language) -> list[Any]:
    return [gr.update(visible=False), "", "", gr.update(), None]
