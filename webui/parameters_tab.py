"""The Parameters tab: everything that shapes an answer, presets of it, and who answers.

Owns the layout and the wiring; what happens is in `parameters_handlers`. Offers the Chat tab what it sends with every
question: `sampling` (the form's components), `system-prompt` and `character`. What a person set stays in their browser
over a reload.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from core.settings import SamplingSettings
from webui import parameters_handlers as handlers
from webui.fields import build_fields
from webui.sampling_form import FIELDS, SIZE
from webui.wiring import LAST_ONLY, RAW, Wiring

# One entry: the model whose starting values were taken, the form, the typed prompt, the character.
REMEMBER_JS = f"""(model, prompt, character, ...values) =>
  [{{model: model, system_prompt: prompt, character: character, values: values.slice(0, {SIZE})}}]"""


def build(wiring: Wiring) -> None:
    with gr.Row(equal_height=False, elem_id="parameters"):
        with gr.Column(scale=3, min_width=320):
            _build_sampling(wiring)
        with gr.Column(scale=2, min_width=320):
            _build_character(wiring)


def _build_sampling(wiring: Wiring) -> None:
    shared = wiring.shared
    wiring.say(gr.Markdown(elem_id="sampling-title"), value="parameters_tab.sampling_title")
    with gr.Row(elem_classes="parameters-line"):
        presets = gr.Dropdown([], elem_id="preset", interactive=True, scale=3)
        shared["preset"] = wiring.say(presets, label="parameters_tab.preset", info="parameters_tab.preset_info")
        reset = gr.Button(elem_id="sampling-reset", scale=1, min_width=120)
        shared["sampling-reset"] = wiring.say(reset, value="parameters_tab.reset")
    shared["preset-problems"] = gr.HTML(elem_id="preset-problems", padding=False)
    # A text box, as gr.State would not reach the script that keeps the values in the browser.
    shared["sampling-model"] = gr.Textbox(visible=False, elem_id="sampling-model")
    shared["sampling-origin"] = gr.HTML(elem_id="sampling-origin", padding=False)
    with gr.Row(elem_id="sampling-fields"):
        fields = build_fields(wiring, SamplingSettings, FIELDS, "sampling-", sliders=True)
    stop = gr.Textbox(lines=2, max_lines=6, elem_id="sampling-stop")
    wiring.say(stop, label="settings.SamplingSettings.stop.label", info="parameters_tab.stop_info")
    shared["sampling"] = [*fields.values(), stop]
    shared["sampling-problems"] = gr.HTML(elem_id="sampling-problems", padding=False)
    with gr.Row(elem_classes="parameters-line"):
        name = gr.Textbox(elem_id="preset-name", scale=3, min_width=160)
        shared["preset-name"] = wiring.say(name, label="parameters_tab.preset_name")
        _buttons(wiring, "preset")


def _build_character(wiring: Wiring) -> None:
    shared = wiring.shared
    wiring.say(gr.Markdown(elem_id="character-title"), value="parameters_tab.character_title")
    prompt = gr.Textbox(lines=3, max_lines=12, elem_id="system-prompt")
    shared["system-prompt"] = wiring.say(
        prompt,
        label="parameters_tab.prompt",
        info="parameters_tab.prompt_info",
        placeholder="parameters_tab.prompt_empty",
    )
    character = gr.Dropdown([], elem_id="character", interactive=True)
    shared["character"] = wiring.say(character, label="parameters_tab.character", info="parameters_tab.character_info")
    shared["character-problems"] = gr.HTML(elem_id="character-problems", padding=False)
    name = wiring.say(gr.Textbox(elem_id="character-name"), label="parameters_tab.character_name")
    text_box = gr.Textbox(lines=4, max_lines=14, elem_id="character-prompt")
    wiring.say(text_box, label="parameters_tab.character_prompt")
    greeting = gr.Textbox(lines=2, max_lines=8, elem_id="character-greeting")
    wiring.say(greeting, label="parameters_tab.greeting", info="parameters_tab.greeting_info")
    shared["character-boxes"] = [name, text_box, greeting]
    with gr.Row(elem_classes="parameters-line"):
        _buttons(wiring, "character")


def _buttons(wiring: Wiring, what: str) -> None:
    """Save, delete and import for presets or characters."""
    save = gr.Button(elem_id=f"{what}-save", min_width=90, scale=1)
    delete = gr.Button(elem_id=f"{what}-delete", min_width=90, scale=1, variant="stop")
    load = gr.UploadButton(elem_id=f"{what}-import", min_width=90, scale=1)
    wiring.shared[f"{what}-save"] = wiring.say(save, value="parameters_tab.save")
    wiring.shared[f"{what}-delete"] = wiring.say(delete, value="parameters_tab.delete")
    wiring.shared[f"{what}-import"] = wiring.say(load, label=f"parameters_tab.import_{what}")


def connect(wiring: Wiring) -> None:
    shared = wiring.shared
    # Outside the tabs: what is in a tab that is not open is not in the page, and cannot read what the browser kept.
    # The secret keeps the entry readable after a restart; sampling settings are no secret.
    saved = gr.BrowserState({}, storage_key="workbench.parameters", secret="parameters")  # noqa: S106
    form: list[Any] = shared["sampling"]
    model, origin = shared["sampling-model"], shared["sampling-origin"]
    kept = [model, shared["system-prompt"], shared["character"], *form]
    who = [shared["preset"], shared["character"]]
    wiring.on(
        wiring.page.load,
        handlers.restore,
        [saved],
        [model, origin, *who, *shared["character-boxes"], shared["system-prompt"], *form],
        **RAW,
    )
    changes = [component.change for component in kept]
    gr.on(changes, None, kept, [saved], js=REMEMBER_JS, api_visibility="private")
    checks = [component.change for component in form]
    wiring.on(checks, handlers.check, form, shared["sampling-problems"], **LAST_ONLY)
    for tab in ("tab-parameters", "tab-chat"):
        wiring.on(shared[tab].select, handlers.follow_model, [model], [model, origin, *form], **RAW)
    wiring.on(wiring.language.change, handlers.lists, [*who, model], [origin, *who], **RAW)
    looked_at = [wiring.page.load, shared["tab-parameters"].select, wiring.language.change]
    wiring.on(looked_at, handlers.damaged_files, [], [shared["preset-problems"], shared["character-problems"]])
    _connect_presets(wiring, form)
    _connect_characters(wiring)


def _connect_presets(wiring: Wiring, form: list[Any]) -> None:
    shared = wiring.shared
    preset, name = shared["preset"], shared["preset-name"]
    start = [shared["sampling-model"], shared["sampling-origin"], preset, *form]
    wiring.on(shared["sampling-reset"].click, handlers.reset, [], start, **RAW)
    wiring.on(preset.input, handlers.choose_preset, [preset], form, **RAW)
    saving = [shared["preset-save"].click, name.submit]
    wiring.on(saving, handlers.save_preset, [name, *form], [preset, name], **RAW)
    wiring.on(shared["preset-delete"].click, handlers.delete_preset, [preset], preset, **RAW)
    upload = shared["preset-import"]
    wiring.on(upload.upload, handlers.import_preset, [upload], [preset, *form])


def _connect_characters(wiring: Wiring) -> None:
    shared = wiring.shared
    character, boxes = shared["character"], shared["character-boxes"]
    wiring.on(character.change, handlers.choose_character, [character], boxes, **RAW)
    wiring.on(shared["character-save"].click, handlers.save_character, boxes, character, **RAW)
    wiring.on(shared["character-delete"].click, handlers.delete_character, [character], character, **RAW)
    upload = shared["character-import"]
    wiring.on(upload.upload, handlers.import_character, [upload], character)
