"""The runs that wait: another order, none at all, one before its turn, with its base model loaded first if need be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from core.i18n import Language
from core.workbench import Workbench
from webui import model_views
from webui.background import reported
from webui.history_panel import OPENING_JS
from webui.wiring import RAW, Wiring


@dataclass(frozen=True)
class QueuePanel:
    """The components; `loading` says how far a base model is that a waiting run needs."""

    listing: gr.HTML
    loading: gr.HTML


def build(wiring: Wiring) -> QueuePanel:
    return QueuePanel(gr.HTML(elem_id="run-queue", js_on_load=OPENING_JS), gr.HTML(elem_id="queue-loading"))


def connect(wiring: Wiring, panel: QueuePanel) -> list[Any]:
    """Give the events after which the runs are to be drawn as they then are."""
    click = panel.listing.click
    busy: dict[str, Any] = {**RAW, "concurrency_id": "model", "concurrency_limit": 1}
    return [wiring.on(click, arrange, [], **RAW), wiring.on(click, begin, [], [panel.loading], **busy)]


def arrange(workbench: Workbench, lang: Language, event: gr.EventData) -> None:
    """What a button of the queue says, but for beginning. A run that waits no more is no error: it has begun."""
    way, run_id = getattr(event, "do", None), getattr(event, "run", None)
    order = [run.run_id for run in workbench.runs.queue().runs]
    if way == "start":
        workbench.runs.start_queue()
    elif run_id not in order:
        return
    elif way == "up":
        workbench.runs.move(run_id, max(0, order.index(run_id) - 1))
    elif way == "down":
        workbench.runs.move(run_id, order.index(run_id) + 1)
    elif way == "cancel":
        workbench.runs.cancel(run_id)


def begin(workbench: Workbench, lang: Language, event: gr.EventData) -> Iterator[str]:
    """Begin a run before its turn; the base model that it needs is loaded first."""
    run_id = getattr(event, "run", None)
    if getattr(event, "do", None) != "begin" or not isinstance(run_id, str):
        return
    try:
        for phase, share in reported(partial(workbench.runs.begin, run_id), "begin-run"):
            yield model_views.load_progress(phase, share, lang)
    except Exception:
        yield ""
        raise
    yield ""
