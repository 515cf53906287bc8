"""How strong an adapter acts, and several adapters put together: applied for chat, or saved as a new one.

Owns the rows of a combination. What is exact about it is the façade's; everything is by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.adapters.store import AdapterInfo
from core.adapters.strength import MAX_STRENGTH, checked_strength
from core.i18n import Language, text
from core.markup import note
from core.workbench import Workbench
from webui.wiring import RAW, Wiring

PARTS = 4
STEP = 0.05


@dataclass(frozen=True)
class CombinePanel:
    """The components. `parts` are name, strength, name, strength …"""

    box: gr.Accordion
    parts: list[Any]
    apply: gr.Button
    name: gr.Textbox
    save: gr.Button
    said: gr.HTML


def build_strength(wiring: Wiring) -> gr.Slider:
    strength = gr.Slider(0, MAX_STRENGTH, value=1.0, step=STEP, elem_id="adapter-strength", buttons=[])
    wiring.say(strength, label="strength.label", info="strength.info")
    return strength


def build_combination(wiring: Wiring) -> None:
    with wiring.say(gr.Accordion(open=False, elem_id="combine-adapters"), label="strength.combine.title") as box:
        wiring.say(gr.Markdown(), value="strength.combine.help")
        parts: list[Any] = []
        for number in range(1, PARTS + 1):
            with gr.Row(equal_height=True, elem_classes="wb-columns"):
                name = gr.Dropdown([], value=None, elem_id=f"part-{number}", min_width=160)
                wiring.say_with(name, lambda lang, number=number: _label(lang, number))  # type: ignore[misc]
                strength = gr.Slider(
                    0, MAX_STRENGTH, value=1.0, step=STEP, elem_id=f"part-strength-{number}", buttons=[], min_width=160
                )
                wiring.say(strength, label="strength.label")
                parts += [name, strength]
        with gr.Row(elem_classes="wb-buttons"):
            apply = wiring.say(gr.Button(variant="primary", elem_id="combine-apply"), value="strength.combine.apply")
            new_name = gr.Textbox(elem_id="combine-name", max_length=200, min_width=200)
            wiring.say(new_name, label="strength.combine.name")
            save = wiring.say(gr.Button(elem_id="combine-save"), value="strength.combine.save")
        said = gr.HTML(elem_id="combine-said")
    wiring.shared["combine-panel"] = CombinePanel(box, parts, apply, new_name, save, said)


def connect(wiring: Wiring) -> list[Any]:
    """Give the events after which other adapters are there or applied."""
    panel: CombinePanel = wiring.shared["combine-panel"]
    wiring.on(panel.box.expand, show_names, [], panel.parts[::2], **RAW)
    applied = wiring.on(panel.apply.click, apply_combination, panel.parts, [panel.said], **RAW)
    saved = wiring.on(panel.save.click, save_combination, [panel.name, *panel.parts], [panel.said, panel.name], **RAW)
    return [applied, saved]


def show_strength(workbench: Workbench, info: AdapterInfo | None) -> Any:
    """The strength in which an adapter is applied, else 1; fixed for one that has none."""
    if info is None:
        return gr.update(value=1.0, interactive=True)
    strength = workbench.strengths().get(info.name, 1.0)
    return gr.update(value=strength, interactive="no_strength" not in info.limits)


def show_names(workbench: Workbench, lang: Language) -> list[Any]:
    """The adapters that can be put together, for each row; a choice stays."""
    nobody = (text("strength.combine.none", lang), "")
    names = [info.name for info in workbench.adapters() if not info.errors and "alone" not in info.limits]
    return [gr.update(choices=[nobody, *names])] * PARTS


def apply_combination(workbench: Workbench, lang: Language, *parts: object) -> str:
    name = workbench.apply_combination(chosen(parts))
    return note(text("strength.combine.applied", lang, name=name), "good")


def save_combination(workbench: Workbench, lang: Language, name: str | None, *parts: object) -> list[Any]:
    info = workbench.save_combination(chosen(parts), (name or "").strip())
    return [note(text("strength.combine.saved", lang, name=info.name), "good"), ""]


def chosen(parts: tuple[object, ...]) -> list[tuple[str, float]]:
    """The rows in which an adapter is named.

    Raises:
        WorkbenchError: H01 for a strength that is none.
    """
    pairs = zip(parts[::2], parts[1::2], strict=False)
    return [(name, checked_strength(strength)) for name, strength in pairs if isinstance(name, str) and name]


def _label(lang: Language, number: int) -> dict[str, Any]:
    return {"label": text("strength.combine.part", lang, number=number)}
