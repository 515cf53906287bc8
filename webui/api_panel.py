"""The last part of the Model tab: how programs use what is loaded, with examples filled in for this server.

Its address is the one in the browser's own bar: behind a proxy or a public link the server does not know it. It is
drawn when it is opened, and again when the language or the model changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from core.api.access import State
from core.api.models import models
from core.i18n import Language
from core.workbench import Workbench
from webui import api_views
from webui.wiring import RAW, Wiring

ASK_BROWSER = "(language, origin) => [language, window.location.origin]"
PLACEHOLDER = "MODEL"


@dataclass(frozen=True)
class ApiPanel:
    """The components. `origin` is never shown: where the browser sees the page."""

    part: gr.Accordion
    origin: gr.Textbox
    summary: gr.HTML
    curl: gr.Code
    python: gr.Code
    training: gr.Code

    @property
    def shown(self) -> list[Any]:
        return [self.summary, self.curl, self.python, self.training]


def build(wiring: Wiring) -> None:
    with wiring.say(gr.Accordion(open=False, elem_id="api-part"), label="api.panel.title") as part:
        origin = gr.Textbox(visible=False, elem_id="api-origin")
        summary = gr.HTML(elem_id="api-summary")
        curl = _code(wiring, "curl", "shell")
        python = _code(wiring, "python", "python")
        training = _code(wiring, "training", "python")
    wiring.shared["api-panel"] = ApiPanel(part, origin, summary, curl, python, training)


def _code(wiring: Wiring, name: str, language: Any) -> gr.Code:
    code = gr.Code(language=language, interactive=False, lines=1, wrap_lines=True, elem_id=f"api-{name}")
    return wiring.say(code, label=f"api.panel.{name}")


def connect(wiring: Wiring, after: list[Any]) -> None:
    """`after` are the events that change the loaded model."""
    panel: ApiPanel = wiring.shared["api-panel"]
    show = partial(show_api, state=wiring.shared["api-state"])
    for trigger in ([panel.part.expand, wiring.language.input], *(event.then for event in after)):
        wiring.on(trigger, show, [panel.origin], panel.shown, js=ASK_BROWSER, **RAW)


def show_api(workbench: Workbench, lang: Language, origin: str | None, *, state: State) -> list[Any]:
    """The address, the names of models, and examples; of a closed API only why it is."""
    names = [model["id"] for model in models(workbench)]
    url, base = api_views.base_url(origin), names[0] if names else PLACEHOLDER
    applied = workbench.applied()
    asked = next((name for name in names if name in applied), base)
    examples = [
        api_views.curl_example(url, state, asked),
        api_views.python_example(url, state, asked),
        api_views.training_example(url, state, base),
    ]
    shown = [gr.update(value=example, visible=state != "closed") for example in examples]
    return [api_views.summary(url, state, names, lang), *shown]
