"""The adapters part of the Model tab: what lies in `loras/`, what chat may use, renaming and deleting.

Chosen adapters go by name; the façade looks every name up. Putting several together is `strength_panel`; an adapter's
ways in and out are `import_panel`, `export_panel`, `push_panel` and `serve_panel`, all for the adapter chosen here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.i18n import Language, text
from core.markup import note
from core.workbench import Workbench
from webui import export_panel, import_panel, model_views, push_panel, serve_panel, strength_panel
from webui.incoming import first_cell
from webui.wiring import RAW, Wiring


@dataclass(frozen=True)
class AdapterPanel:
    """The components. `shown` are those that `show_adapters` fills."""

    table: gr.Dataframe
    name: gr.Dropdown
    strength: gr.Slider
    apply: gr.Button
    remove: gr.Button
    refresh: gr.Button
    details_button: gr.Button
    new_name: gr.Textbox
    rename: gr.Button
    delete: gr.Button
    confirm: gr.Column
    question: gr.HTML
    delete_yes: gr.Button
    delete_no: gr.Button
    details: gr.HTML

    @property
    def shown(self) -> list[Any]:
        return [self.table, self.name, self.details]

    @property
    def told(self) -> list[Any]:
        """What depends on the chosen adapter: its strength, and what needs its files."""
        return [self.strength, self.apply, self.details_button, self.rename, self.delete]


def build(wiring: Wiring) -> None:
    wiring.say(gr.Markdown(elem_classes="wb-section"), value="model_tab.adapters.heading")
    table = gr.Dataframe(interactive=False, wrap=True, elem_id="adapters-table", max_height=320, buttons=[])
    wiring.say(table, label="model_tab.adapters.title")
    with gr.Row(equal_height=False, elem_classes="wb-columns"):
        with gr.Column(scale=3, min_width=320):
            name = gr.Dropdown([], elem_id="adapter-name")
            wiring.say(name, label="model_tab.adapters.choose")
            strength = strength_panel.build_strength(wiring)
            with gr.Row():
                apply = wiring.say(
                    gr.Button(variant="primary", elem_id="apply-adapter"), value="model_tab.adapters.apply"
                )
                remove = wiring.say(gr.Button(elem_id="remove-adapter"), value="model_tab.adapters.remove")
                details_button = wiring.say(gr.Button(elem_id="adapter-details"), value="model_tab.adapters.details")
                refresh = wiring.say(gr.Button(elem_id="refresh-adapters"), value="model_tab.adapters.refresh")
        with gr.Column(scale=2, min_width=320):
            new_name = gr.Textbox(elem_id="adapter-new-name", max_length=200)
            wiring.say(new_name, label="model_tab.adapters.new_name")
            with gr.Row():
                rename = wiring.say(gr.Button(elem_id="rename-adapter"), value="model_tab.adapters.rename")
                delete = wiring.say(
                    gr.Button(variant="stop", elem_id="delete-adapter"), value="model_tab.adapters.delete"
                )
    with gr.Column(visible=False, elem_id="delete-dialog", elem_classes="wb-dialog") as confirm:
        question = gr.HTML(elem_id="delete-question")
        with gr.Row():
            yes = wiring.say(gr.Button(variant="stop", elem_id="delete-yes"), value="model_tab.adapters.delete_yes")
            no = wiring.say(gr.Button(elem_id="delete-no"), value="model_tab.adapters.delete_no")
    details = gr.HTML(elem_id="adapter-details-view")
    wiring.shared["adapter-panel"] = AdapterPanel(
        table,
        name,
        strength,
        apply,
        remove,
        refresh,
        details_button,
        new_name,
        rename,
        delete,
        confirm,
        question,
        yes,
        no,
        details,
    )
    strength_panel.build_combination(wiring)
    import_panel.build(wiring)
    export_panel.build(wiring)
    push_panel.build(wiring)
    serve_panel.build(wiring)


def connect(wiring: Wiring, after: list[Any], watched: list[Any]) -> None:
    """`after` are the events that change the loaded model, after which other adapters are applied.

    `watched` is what `export_panel.show_export` fills.
    """
    panel: AdapterPanel = wiring.shared["adapter-panel"]
    push_panel.connect(wiring, panel.name, watched)
    serve_panel.connect(wiring, panel.name)
    changed = [*after, *strength_panel.connect(wiring), import_panel.connect(wiring)]
    told: list[Any] = [*panel.told, *export_panel.said(wiring), *push_panel.said(wiring), *serve_panel.said(wiring)]
    wiring.on(panel.name.change, choose_adapter, [panel.name], told, **RAW)
    for trigger in (panel.refresh.click, *(event.then for event in changed)):
        wiring.on(trigger, show_adapters, [panel.name], panel.shown, **RAW)
    wiring.on(panel.table.select, pick_adapter, [], [panel.name])
    wiring.on(panel.apply.click, apply_adapter, [panel.name, panel.strength], panel.shown, **RAW)
    wiring.on(panel.remove.click, remove_adapter, [panel.name], panel.shown, **RAW)
    wiring.on(panel.details_button.click, show_details, [panel.name], [panel.details], **RAW)
    renames = [panel.rename.click, panel.new_name.submit]
    wiring.on(renames, rename_adapter, [panel.name, panel.new_name], [*panel.shown, panel.new_name], **RAW)
    asked = [panel.confirm, panel.question]
    wiring.on(panel.delete.click, ask_delete, [panel.name], asked, **RAW)
    wiring.on([panel.delete_no.click, panel.delete_yes.click], close_dialog, [], [panel.confirm])
    wiring.on(panel.delete_yes.click, delete_adapter, [panel.name], panel.shown, **RAW)


def show_adapters(workbench: Workbench, lang: Language, name: str | None) -> list[Any]:
    """The table and the choice as they are now; details are closed."""
    adapters = workbench.adapters()
    without_files = workbench.applied_without_files()
    names = [*(info.name for info in adapters), *without_files]
    chosen = name if name in names else names[0] if names else None
    table = model_views.adapters_table(adapters, workbench.strengths(), lang, without_files)
    return [table, gr.update(choices=names, value=chosen), ""]


def pick_adapter(workbench: Workbench, lang: Language, event: gr.EventData) -> Any:
    """The adapter of the row that was clicked."""
    name = first_cell(event)
    names = [*(info.name for info in workbench.adapters()), *workbench.applied_without_files()]
    return gr.update(value=name) if name in names else gr.skip()


def choose_adapter(workbench: Workbench, lang: Language, name: str | None) -> list[Any]:
    """Another adapter: its strength, and nothing that was said of the one before.

    One without files can be taken off chat and nothing else.
    """
    info = next((info for info in workbench.adapters() if info.name == name), None)
    has_files = name not in workbench.applied_without_files()
    slider = strength_panel.show_strength(workbench, info) if has_files else gr.update(value=1.0, interactive=False)
    buttons = [gr.update(interactive=has_files)] * 4
    return [slider, *buttons, *export_panel.forget(info, lang), *push_panel.forget(lang), *serve_panel.forget()]


def apply_adapter(workbench: Workbench, lang: Language, name: str | None, strength: float | None) -> list[Any]:
    """Apply in a strength; applied already, it gets the new one."""
    workbench.apply_adapter(name or "", 1.0 if strength is None else strength)
    return show_adapters(workbench, lang, name)


def remove_adapter(workbench: Workbench, lang: Language, name: str | None) -> list[Any]:
    workbench.remove_adapter(name or "")
    return show_adapters(workbench, lang, name)


def show_details(workbench: Workbench, lang: Language, name: str | None) -> str:
    return model_views.adapter_details(workbench.adapter_details(name or ""), lang)


def rename_adapter(workbench: Workbench, lang: Language, name: str | None, new_name: str | None) -> list[Any]:
    """Rename; the new name's box is emptied."""
    wish = (new_name or "").strip()
    workbench.rename_adapter(name or "", wish)
    return [*show_adapters(workbench, lang, wish), ""]


def ask_delete(workbench: Workbench, lang: Language, name: str | None) -> list[Any]:
    if not name:
        return [gr.update(visible=False), ""]
    return [gr.update(visible=True), note(text("model_tab.adapters.delete_question", lang, name=name))]


def close_dialog(workbench: Workbench, lang: Language) -> Any:
    return gr.update(visible=False)


def delete_adapter(workbench: Workbench, lang: Language, name: str | None) -> list[Any]:
    workbench.delete_adapter(name or "")
    return show_adapters(workbench, lang, None)
