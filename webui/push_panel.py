"""Sending an adapter, or a model that was made of it, to Hugging Face or ModelScope.

Nothing is sent before it has been shown what leaves the machine and to where: the first press of Send shows it. The
progress is that of an export (`export_panel`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.exports.desk import PushWish
from core.i18n import Language, text
from core.workbench import Workbench
from webui import export_panel, export_views
from webui.wiring import RAW, Wiring


@dataclass(frozen=True)
class PushPanel:
    """The components. `wished` are those that say what is to be sent, and to where."""

    what: gr.Dropdown
    source: gr.Radio
    repo_id: gr.Textbox
    private: gr.Checkbox
    look: gr.Button
    send: gr.Button
    plan: gr.HTML

    @property
    def wished(self) -> list[Any]:
        return [self.what, self.source, self.repo_id, self.private]


def build(wiring: Wiring) -> None:
    with wiring.say(gr.Accordion(open=False, elem_id="push-adapter"), label="push_panel.title") as box:
        wiring.say(gr.Markdown(), value="push_panel.help")
        with gr.Row(elem_classes="wb-columns"):
            what = wiring.say(gr.Dropdown([""], value="", elem_id="push-what", min_width=200), label="push_panel.what")
            hubs = [("Hugging Face", "huggingface"), ("ModelScope", "modelscope")]
            source = gr.Radio(hubs, value="huggingface", elem_id="push-source", min_width=200)
            wiring.say(source, label="model_tab.get.source")
        repo_id = gr.Textbox(elem_id="push-repo", max_length=200)
        wiring.say(repo_id, label="model_tab.get.repo_id", placeholder="push_panel.repo_example")
        private = wiring.say(gr.Checkbox(value=True, elem_id="push-private"), label="push_panel.make_private")
        with gr.Row(elem_classes="wb-buttons"):
            look = wiring.say(gr.Button(elem_id="push-look"), value="push_panel.look")
            send = wiring.say(gr.Button(variant="primary", elem_id="push-send"), value="push_panel.send")
        plan = gr.HTML(elem_id="push-plan")
    wiring.shared["push-box"] = box
    wiring.shared["push-panel"] = PushPanel(what, source, repo_id, private, look, send, plan)


def connect(wiring: Wiring, adapter: gr.Dropdown, watched: list[Any]) -> None:
    """`watched` is what `export_panel.show_export` fills."""
    panel: PushPanel = wiring.shared["push-panel"]
    seen = gr.State(None)  # what was shown of it
    wished = [adapter, *panel.wished]
    wiring.on(wiring.shared["push-box"].expand, show_choices, [adapter], [panel.what], **RAW)
    wiring.on(panel.look.click, look, wished, [panel.plan, seen], **RAW)
    wiring.on(panel.send.click, send, [*wished, seen], [panel.plan, seen, *watched], **RAW)


def said(wiring: Wiring) -> list[Any]:
    """What is said of one adapter."""
    panel: PushPanel = wiring.shared["push-panel"]
    return [panel.what, panel.plan]


def forget(lang: Language) -> list[Any]:
    """As `said`, once another adapter is chosen; its models are looked for when the panel is opened."""
    return [gr.update(choices=[(text("push_panel.adapter_itself", lang), "")], value=""), ""]


def show_choices(workbench: Workbench, lang: Language, adapter: str | None) -> Any:
    """The adapter itself, and the models that were made of it."""
    models = workbench.exports.merged_models(adapter or "")
    return gr.update(choices=[(text("push_panel.adapter_itself", lang), ""), *models], value="")


def look(workbench: Workbench, lang: Language, adapter: str | None, *wished: object) -> list[Any]:
    """What would leave the machine, and that it has been shown."""
    wish = wish_of(adapter, wished)
    return [export_views.push_plan(workbench.exports.plan_push(wish), lang), wish.model_dump()]


def send(workbench: Workbench, lang: Language, adapter: str | None, *wished: object) -> list[Any]:
    """Send what was `seen` (the last value); anything else is shown first, and the next press sends it."""
    *fields, seen = wished
    wish = wish_of(adapter, tuple(fields))
    if wish.model_dump() != seen:
        return [*look(workbench, lang, adapter, *fields), *export_panel.show_export(workbench, lang)]
    workbench.exports.start_push(wish)
    return [gr.skip(), seen, *export_panel.show_export(workbench, lang)]


def wish_of(adapter: str | None, wished: tuple[object, ...]) -> PushWish:
    """What the fields ask for.

    Raises:
        WorkbenchError: H01 for what no page sends.
    """
    what, source, repo_id, private = wished
    repo = repo_id.strip() if isinstance(repo_id, str) else repo_id
    values = {"adapter": adapter or "", "model": what or "", "source": source, "repo_id": repo, "private": private}
    return PushWish.checked(values)
