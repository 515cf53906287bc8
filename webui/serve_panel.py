"""“Serve it”: the commands by which vLLM, transformers and Ollama serve the chosen adapter, to be copied.

Nothing is run here. It is drawn when it is opened, and emptied when another adapter is chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import gradio as gr

from core.exports.serving_commands import Tool
from core.i18n import Language, text
from core.markup import note
from core.workbench import Workbench
from webui.wiring import RAW, Wiring

if TYPE_CHECKING:
    from core.exports.serving_commands import Serving


@dataclass(frozen=True)
class ServePanel:
    """The components: a note and a code box for each program, Ollama's Modelfile last."""

    box: gr.Accordion
    show: gr.Button
    notes: list[gr.HTML]
    codes: list[gr.Code]

    @property
    def shown(self) -> list[Any]:
        return [*self.notes, *self.codes]


TOOLS: tuple[Tool, ...] = get_args(Tool)


def build(wiring: Wiring) -> None:
    notes, codes = [], []
    with wiring.say(gr.Accordion(open=False, elem_id="serve-adapter"), label="serve_panel.title") as box:
        wiring.say(gr.Markdown(), value="serve_panel.help")
        show = wiring.say(gr.Button(elem_id="serve-show"), value="serve_panel.show")
        for tool in TOOLS:
            notes.append(gr.HTML(elem_id=f"serve-{tool}-note"))
            code = gr.Code(language="shell", interactive=False, lines=1, wrap_lines=True, elem_id=f"serve-{tool}")
            codes.append(wiring.say(code, label=f"exports.tool.{tool}"))
        notes.append(gr.HTML(elem_id="serve-modelfile-note"))
        modelfile = gr.Code(interactive=False, lines=3, max_lines=16, wrap_lines=True, elem_id="serve-modelfile")
        codes.append(wiring.say(modelfile, label="serve_panel.modelfile"))
    wiring.shared["serve-panel"] = ServePanel(box, show, notes, codes)


def connect(wiring: Wiring, adapter: gr.Dropdown) -> None:
    panel: ServePanel = wiring.shared["serve-panel"]
    wiring.on([panel.box.expand, panel.show.click], show_commands, [adapter], panel.shown, **RAW)


def show_commands(workbench: Workbench, lang: Language, adapter: str | None) -> list[Any]:
    """Notes, then commands, of every program; without an adapter nothing."""
    if not adapter:
        return forget()
    found: dict[str, Serving] = {each.tool: each for each in workbench.exports.serving(adapter)}
    made = workbench.exports.modelfile(adapter)
    needs = [note(text(f"exports.needs.{found[tool].needs}", lang)) if found[tool].needs else "" for tool in TOOLS]
    key = "serve_panel.template_written" if made.family else "serve_panel.template_from_gguf"
    notes = [*needs, note(text(key, lang, family=made.family or ""))]
    return [*notes, *("\n".join(found[tool].commands) for tool in TOOLS), made.text]


def said(wiring: Wiring) -> list[Any]:
    """What is said of one adapter."""
    panel: ServePanel = wiring.shared["serve-panel"]
    return panel.shown


def forget() -> list[Any]:
    """As `said`, once another adapter is chosen."""
    return [""] * (2 * (len(TOOLS) + 1))
