"""The Model tab: the list of models, loading one, and below it the panels that get models and manage adapters.

Owns the upper part. Getting a model is `get_model_panel`, adapters are `adapter_panel`; what things look like is
`model_views`. Everything is drawn anew on page load, when the language changes and when the tab is opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.errors import WorkbenchError
from core.i18n import Language
from core.markup import note
from core.models.catalog import ModelInfo
from core.settings import LoadSettings
from core.workbench import Workbench
from webui import adapter_panel, api_panel, export_panel, get_model_panel, model_views
from webui.adapter_panel import AdapterPanel
from webui.background import reported
from webui.fields import build_fields
from webui.incoming import first_cell
from webui.wiring import RAW, Wiring


@dataclass(frozen=True)
class ModelPanel:
    """The components of the upper part. `shown` are those that `show_models` fills."""

    table: gr.Dataframe
    name: gr.Dropdown
    precision: Any
    precision_note: gr.HTML
    problems: gr.HTML
    status: gr.HTML
    progress: gr.HTML
    load: gr.Button
    reload: gr.Button
    unload: gr.Button
    refresh: gr.Button

    @property
    def shown(self) -> list[Any]:
        return [self.table, self.name, self.status]

    @property
    def chosen(self) -> list[Any]:
        return [self.name, self.precision]


def build(wiring: Wiring) -> None:
    status = gr.HTML(elem_id="model-status")
    table = gr.Dataframe(interactive=False, wrap=True, elem_id="models-table", max_height=320, buttons=[])
    wiring.say(table, label="model_tab.models.title")
    with gr.Row(elem_classes="wb-columns"):
        with gr.Column(min_width=300):
            name = wiring.say(
                gr.Dropdown([], elem_id="model-name"), label="model_tab.choose.label", info="model_tab.choose.info"
            )
            problems = gr.HTML(elem_id="model-problems")
        with gr.Column(min_width=300):
            precision = build_fields(wiring, LoadSettings, ["precision"], "model-")["precision"]
            precision_note = gr.HTML(elem_id="precision-note")
    with gr.Row(elem_classes="wb-buttons"):
        load = wiring.say(gr.Button(variant="primary", elem_id="load-model"), value="model_tab.choose.load")
        again = wiring.say(gr.Button(elem_id="reload-model"), value="model_tab.choose.reload")
        unload = wiring.say(gr.Button(elem_id="unload-model"), value="model_tab.choose.unload")
        refresh = wiring.say(gr.Button(elem_id="refresh-models"), value="model_tab.choose.refresh")
    progress = gr.HTML(elem_id="load-progress")
    wiring.shared["model-panel"] = ModelPanel(
        table, name, precision, precision_note, problems, status, progress, load, again, unload, refresh
    )
    get_model_panel.build(wiring)
    adapter_panel.build(wiring)
    api_panel.build(wiring)


def connect(wiring: Wiring) -> None:
    panel: ModelPanel = wiring.shared["model-panel"]
    adapters: AdapterPanel = wiring.shared["adapter-panel"]
    fetching, watched = get_model_panel.connect(wiring)
    exporting, exported = export_panel.connect(wiring, adapters.name)
    chosen, described = [*panel.chosen, adapters.name], [panel.precision_note, panel.problems]
    drawn = [*panel.shown, *described, *adapters.shown, wiring.shared["get-model-panel"].gguf, *watched, *exported]
    opened = [wiring.language.input, wiring.shared["tab-model"].select, panel.refresh.click]
    shown_again = [*opened, fetching.change, exporting.change]
    for trigger in (wiring.shared["loaded"].then, shown_again):
        wiring.on(trigger, show_tab, chosen, drawn, **RAW)
    picked = wiring.on(panel.table.select, pick_model, [], [panel.name])
    for trigger in ([panel.name.input, panel.precision.input], picked.then):
        wiring.on(trigger, show_choice, panel.chosen, described, **RAW)
    busy: dict[str, Any] = {**RAW, "concurrency_id": "model", "concurrency_limit": 1}
    outputs = [panel.progress, *panel.shown]
    loads = [
        wiring.on(panel.load.click, load_model, panel.chosen, outputs, **busy),
        wiring.on(panel.reload.click, reload_model, [panel.name], outputs, **busy),
        wiring.on(panel.unload.click, unload_model, [panel.name], outputs, **busy),
    ]
    adapter_panel.connect(wiring, after=loads, watched=exported)
    api_panel.connect(wiring, after=loads)


def show_tab(
    workbench: Workbench, lang: Language, name: str | None, precision: str | None, adapter: str | None
) -> list[Any]:
    """Everything the tab shows, in one answer: models, the choice, adapters, GGUF files, the download, the export."""
    models = show_models(workbench, lang, name)
    return [
        *models,
        *show_choice(workbench, lang, models[1]["value"], precision),
        *adapter_panel.show_adapters(workbench, lang, adapter),
        get_model_panel.show_gguf_files(workbench, lang),
        *get_model_panel.show_download(workbench, lang),
        *export_panel.show_export(workbench, lang),
    ]


def show_models(workbench: Workbench, lang: Language, name: str | None) -> list[Any]:
    """The table, the choice and the status line, as they are now."""
    models = workbench.models()
    status = workbench.model_status()
    loaded = status.name if status else None
    names = [info.name for info in models if not info.gguf]
    choice = next((wish for wish in (name, loaded, *_loadable(models)) if wish in names), None)
    return [
        model_views.models_table(models, loaded, lang),
        gr.update(choices=names, value=choice),
        model_views.model_status(status, lang),
    ]


def _loadable(models: list[ModelInfo]) -> list[str]:
    return [info.name for info in models if info.loadable]


def show_choice(workbench: Workbench, lang: Language, name: str | None, precision: str | None) -> list[str]:
    """What the precision becomes for the chosen model, and what is wrong with the model."""
    info = next((entry for entry in workbench.models() if entry.name == name), None)
    if info is None:
        return ["", ""]
    try:
        choice = workbench.precision_choice(info.name, LoadSettings.checked({"precision": precision}))
    except WorkbenchError:  # the model's own problems say why
        return ["", model_views.model_problems(info, lang)]
    return [model_views.precision_note(choice, lang), model_views.model_problems(info, lang)]


def pick_model(workbench: Workbench, lang: Language, event: gr.EventData) -> Any:
    """The model of the row that was clicked."""
    name = first_cell(event).removeprefix("● ")
    return gr.update(value=name) if name in [info.name for info in workbench.models()] else gr.skip()


def load_model(workbench: Workbench, lang: Language, name: str | None, precision: str | None) -> Iterator[list[Any]]:
    settings = LoadSettings.checked({"precision": precision})
    work = reported(lambda report: workbench.load_model(name or "", settings, report), "load-model")
    yield from _with_progress(work, workbench, lang, name)


def reload_model(workbench: Workbench, lang: Language, name: str | None) -> Iterator[list[Any]]:
    yield from _with_progress(reported(workbench.reload_model, "reload-model"), workbench, lang, name)


def _with_progress(
    work: Iterator[tuple[str, float]], workbench: Workbench, lang: Language, name: str | None
) -> Iterator[list[Any]]:
    waiting = [gr.skip()] * len(show_models(workbench, lang, name))
    try:
        for phase, share in work:
            yield [model_views.load_progress(phase, share, lang), *waiting]
    except Exception:
        yield ["", *show_models(workbench, lang, name)]
        raise
    yield ["", *show_models(workbench, lang, name)]


def unload_model(workbench: Workbench, lang: Language, name: str | None) -> list[Any]:
    workbench.unload_model()
    return [note(""), *show_models(workbench, lang, name)]
