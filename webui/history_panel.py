"""The list of all runs, and what its buttons say: one is opened by its name, several are put beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import gradio as gr

from core.i18n import Language
from core.workbench import Workbench
from webui import history_views
from webui.preview_panel import CLICKS_JS
from webui.wiring import Wiring

if TYPE_CHECKING:
    from core.training.history import RunSummary

# The run that was opened is drawn further up.
OPENING_JS = f"""{CLICKS_JS}
element.addEventListener('click', (event) => {{
  if (event.target.closest('button[data-do=open]')) document.getElementById('run-choice').scrollIntoView();
}});"""


@dataclass(frozen=True)
class HistoryPanel:
    """The component."""

    listing: gr.HTML


def build(wiring: Wiring) -> HistoryPanel:
    wiring.say(gr.Markdown(elem_classes="wb-section"), value="runs_tab.history.heading")
    return HistoryPanel(gr.HTML(elem_id="run-history", js_on_load=OPENING_JS))


def draw(runs: Sequence[RunSummary], opened: str | None, compared: object, lang: Language) -> str:
    """The list; `compared` are the ids of runs as a browser sent them."""
    return history_views.history_list(runs, opened, compared if isinstance(compared, list) else [], lang)


def clicked(workbench: Workbench, event: gr.EventData, way: str) -> str | None:
    """The run of a button that does this; None where it does something else, or there is no such run."""
    run_id = getattr(event, "run", None)
    known = getattr(event, "do", None) == way and run_id in [run.run_id for run in workbench.runs.list()]
    return str(run_id) if known else None
