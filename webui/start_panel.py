"""The buttons that make a run of the form: start it now, or add it to the queue; and what they still wait for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.errors import Problem
from core.i18n import Language, text
from core.markup import note
from core.workbench import Workbench
from webui import method_panel, plan_views
from webui.plan_panel import described, missing
from webui.preview_panel import CLICKS_JS
from webui.wiring import Wiring

HIDDEN: Any = "hidden"  # there but not seen: a button taken off the page and put back in a moment may stay away
STARTED_BY = "page"  # a key under `training_tab.started_by`


@dataclass(frozen=True)
class StartPanel:
    """The components. What Start says depends on the form, so `check_name` says it, also in another language."""

    start: gr.Button
    queue: gr.Button
    said: gr.HTML  # what came of a click on this form, where it shows nowhere else

    @property
    def shown(self) -> list[Any]:
        """What `check_name` fills, but for the name's own check."""
        return [self.start, self.queue]


def build(wiring: Wiring) -> StartPanel:
    words = text("training_tab.start.model", wiring.start_language)
    start = gr.Button(words, variant="secondary", elem_id="start-run", size="lg")
    queue = wiring.say(gr.Button(elem_id="queue-run", visible=HIDDEN), value="run_form.queue.add")
    return StartPanel(start, queue, gr.HTML(elem_id="run-said", js_on_load=CLICKS_JS))


def check_name(
    workbench: Workbench,
    lang: Language,
    typed: str | None,
    dataset: str | None,
    refused: Any,
    *chosen: str | None,
) -> list[Any]:
    """What the buttons say now, and whether the name is free: both said while it is typed.

    `chosen` are the method and the adapter that is trained further, if one is: the result is one, too.
    """
    method, start_from = chosen
    name = str(typed or "").strip()
    facts = method_panel.known(None if start_from else method)
    problem = workbench.check_result_name(name, facts.name) if name else None
    lacking = missing(workbench, name, dataset) or _name_refused(problem) or ("settings" if refused else None)
    return [*_buttons(workbench, lacking, lang), plan_views.name_check(problem, name, facts.makes, lang)]


def _name_refused(problem: Problem | None) -> str | None:
    """What Start says of a name that cannot be had."""
    if problem is None:
        return None
    return "name_taken" if problem.code == "M25" else "name_not_allowed"


def _buttons(workbench: Workbench, lacking: str | None, lang: Language) -> list[Any]:
    """Start, and the queue beside it where there is something to queue; while a run goes on that is the way."""
    busy = workbench.runs.active() is not None
    said = lacking or ("running" if busy else "ready")
    variant = "primary" if said == "ready" else "secondary"
    start = gr.update(value=text(f"training_tab.start.{said}", lang), variant=variant)
    return [start, gr.update(visible=HIDDEN if lacking else True, variant="primary" if busy else "secondary")]


def start_run(workbench: Workbench, lang: Language, repeats: str, *values: Any) -> str:
    """Start what the form describes and return the run's id; `repeats` is that of the run whose settings it holds.

    Raises:
        WorkbenchError: A03 naming what is missing, else whatever the form or the core refuses.
    """
    return workbench.runs.start(described(workbench, values), STARTED_BY, repeats)


def queue_run(workbench: Workbench, lang: Language, repeats: str, *values: Any) -> list[Any]:
    """Add what the form describes to the queue; say so, and offer the next free name for another run.

    That one repeats nothing.

    Raises:
        WorkbenchError: as `start_run`; A27 where the queue is full.
    """
    spec = described(workbench, values)
    workbench.runs.enqueue([spec], STARTED_BY, repeats)
    further = workbench.free_result_name(spec.name, spec.method.method)
    return [note(text("run_form.queue.added", lang, name=spec.name), "good"), further, ""]
