"""What the curves of the open run say, each hint with the one button that acts on it."""

from __future__ import annotations

from typing import Any

import gradio as gr

from core.i18n import Language
from core.training.health import Hint, hints
from core.training.spec import RunSpec
from core.workbench import Workbench
from webui import run_panel
from webui.preview_panel import CLICKS_JS
from webui.run_form import FORM

STOP = "stop_and_keep"
# The form that a button fills is further up.
HINTS_JS = f"""{CLICKS_JS}
element.addEventListener('click', (event) => {{
  if (event.target.closest('button[data-do$=_rate]')) document.getElementById('run-name').scrollIntoView();
}});"""


def build() -> gr.HTML:
    return gr.HTML(elem_id="run-hints", js_on_load=HINTS_JS)


def stop(workbench: Workbench, lang: Language, event: gr.EventData, run_id: str | None) -> None:
    """Stop the run whose validation rises, keeping its best step."""
    if _taken(workbench, event, run_id, stops=True):
        workbench.runs.stop(run_id or "", keep=True)


def fill(workbench: Workbench, lang: Language, event: gr.EventData, run_id: str | None) -> list[Any]:
    """The settings of the run in the form, with the learning rate that the hint names; and its id."""
    hint = _taken(workbench, event, run_id, stops=False)
    if hint is None:
        return [gr.skip()] * (len(FORM) + 2)  # the form, the note under it, the run that it repeats
    spec = workbench.runs.spec(run_id or "")
    return [*run_panel.fill(workbench, lang, with_rate(spec, hint.action_values["learning_rate"])), run_id]


def with_rate(spec: RunSpec, rate: float) -> RunSpec:
    return spec.model_copy(update={"training": spec.training.model_copy(update={"learning_rate": rate})})


def _taken(workbench: Workbench, event: gr.EventData, run_id: str | None, stops: bool) -> Hint | None:
    """The hint whose button was clicked, as the run stands now; None where it does something else, or holds no more."""
    way = getattr(event, "do", None)
    if not run_id or (way == STOP) != stops:
        return None
    return next((hint for hint in hints(workbench.runs.snapshot(run_id)) if hint.action == way), None)
