"""The first part of the Training tab: a data set, what is in it, what is done with it, and how a model sees its rows.

Owns choosing, uploading and deleting, and the one way in which everything about a data set is drawn. Its recipe is the
server's: choosing fills the form from it, each change of the form saves it. A check that takes long goes on in the
background, and a timer asks how far it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from core.i18n import Language
from core.workbench import Workbench
from webui import dataset_handlers as handlers
from webui import (
    findings_panel,
    fixes_panel,
    making_panel,
    mapping_panel,
    preview_panel,
    reading_panel,
    row_editor,
    statistics_panel,
)
from webui.data_recipe import FORM, UNITS
from webui.wiring import LAST_ONLY, RAW, Wiring


@dataclass(frozen=True)
class DatasetPanel:
    """The components. `form` are those of the recipe, in the order of `data_recipe.FORM`.

    `filled`, `seen` and `delete_asked` are never shown: the name of the data set whose recipe the form holds, without
    which nothing is saved, the marks of what the page shows, and the data set that the open question is about.
    `checked` changes when the rows that a run would train on do.
    """

    name: gr.Dropdown
    upload: gr.UploadButton
    refused: gr.HTML
    delete: gr.Button
    delete_dialog: gr.Column
    delete_question: gr.HTML
    delete_asked: gr.Textbox
    delete_yes: gr.Button
    delete_no: gr.Button
    report: gr.HTML
    cancel: gr.Button
    again: gr.Button
    filled: gr.Textbox
    seen: gr.Textbox
    timer: gr.Timer
    checked: gr.State
    form: tuple[Any, ...]
    reading: reading_panel.ReadingPanel
    findings: findings_panel.FindingsPanel
    mapping: mapping_panel.MappingPanel
    fixes: fixes_panel.FixesPanel
    preview: preview_panel.PreviewPanel
    editor: row_editor.RowEditor
    making: making_panel.MakingPanel
    statistics: statistics_panel.StatisticsPanel

    @property
    def shown(self) -> list[Any]:
        """What `dataset_handlers.show` fills."""
        own = [self.report, self.cancel, self.again, self.timer, self.checked, self.filled, *self.form]
        parts = (self.reading, self.findings, self.mapping, self.fixes, self.preview, self.editor, self.making)
        return [*own, *(component for part in parts for component in part.shown), self.seen]

    def fields(self, unit: tuple[str, ...]) -> list[Any]:
        """The components of some fields of the form."""
        return [self.form[FORM.index(name)] for name in unit]


def changed(fields: list[Any]) -> list[Any]:
    """Events after which fields of a form are others: choices at once, what is typed when it is left."""
    typed = [field for field in fields if isinstance(field, gr.Number | gr.Textbox)]
    left = [event for field in typed for event in (field.blur, field.submit)]
    return [*(field.input for field in fields if field not in typed), *left]


def build(wiring: Wiring) -> None:
    form = wiring.shared["data-form"] = {}
    wiring.say(gr.Markdown(elem_classes="wb-section"), value="data_tab.choose.heading")
    with gr.Row(elem_classes="wb-columns"):
        with gr.Column(scale=2, min_width=320):
            chosen = _build_choice(wiring)
            reading = reading_panel.build(wiring)
        with gr.Column(scale=3, min_width=420):
            report = gr.HTML(elem_id="dataset-report")
            with gr.Row(elem_classes="wb-buttons"):
                cancel = wiring.say(gr.Button(visible=False, elem_id="check-cancel"), value="data_tab.check.cancel")
                again = wiring.say(gr.Button(visible=False, elem_id="check-again"), value="data_tab.check.again")
    mapping = mapping_panel.build(wiring)
    listing = findings_panel.build_list(wiring)
    fixes = fixes_panel.build(wiring)
    with wiring.say(gr.Accordion(open=True, elem_id="preview-part"), label="data_tab.preview.title"):
        making_panel.build_learning(wiring)
        findings = findings_panel.build_walk(wiring, *listing)
        preview = preview_panel.build(wiring)
        editor = row_editor.build(wiring)
    making = making_panel.build(wiring)
    statistics = statistics_panel.build(wiring)
    filled = gr.Textbox(visible=False, elem_id="dataset-filled")
    seen = gr.Textbox(visible=False, elem_id="dataset-seen")
    checked = wiring.shared["data-checked"] = gr.State(None)
    fields = tuple(form[name] for name in FORM)
    own = (report, cancel, again, filled, seen, gr.Timer(handlers.TICK_S, active=False), checked, fields)
    wiring.shared["dataset-panel"] = DatasetPanel(
        *chosen, *own, reading, findings, mapping, fixes, preview, editor, making, statistics
    )


def _build_choice(wiring: Wiring) -> tuple[Any, Any, Any, Any, Any, Any, Any, Any, Any]:
    name = gr.Dropdown([], value=None, elem_id="dataset-name")
    wiring.say(name, label="data_tab.choose.label", info="data_tab.choose.info")
    with gr.Row(elem_classes="wb-buttons"):
        # No `file_types`: gradio would refuse other files in words of its own; the core says what to do instead.
        upload = gr.UploadButton(elem_id="dataset-upload", file_count="multiple", variant="primary")
        wiring.say(upload, label="data_tab.choose.upload")
        delete = wiring.say(gr.Button(elem_id="dataset-delete"), value="data_tab.choose.delete")
    refused = gr.HTML(elem_id="upload-refused")
    with gr.Column(visible=False, elem_id="delete-dataset-dialog", elem_classes="wb-dialog") as dialog:
        question = gr.HTML(elem_id="delete-dataset-question")
        asked = gr.Textbox(visible=False, elem_id="delete-dataset-name")
        with gr.Row():
            yes = wiring.say(
                gr.Button(variant="stop", elem_id="delete-dataset-yes"), value="data_tab.choose.delete_yes"
            )
            no = wiring.say(gr.Button(elem_id="delete-dataset-no"), value="data_tab.choose.delete_no")
    return name, upload, refused, delete, dialog, question, asked, yes, no


def connect(wiring: Wiring) -> Any:
    """Wire the panel; returns the event after which the run's maximum length is another."""
    panel: DatasetPanel = wiring.shared["dataset-panel"]
    name = panel.name
    added = wiring.on(panel.upload.upload, handlers.add_datasets, [panel.upload], [name, panel.upload, panel.refused])
    asked = [panel.delete_dialog, panel.delete_question, panel.delete_asked]
    agreed = [panel.delete_asked, name]
    deleted = wiring.on(panel.delete_yes.click, handlers.delete_dataset, agreed, [name, panel.delete_dialog], **RAW)
    saved_as = making_panel.connect(wiring, panel.making, name)
    for trigger in (name.input, added.success, deleted.success, saved_as):
        wiring.on(trigger, handlers.choose, [name, panel.seen], panel.shown, **LAST_ONLY)
    _connect_recipe(wiring, panel)
    ticked = {**RAW, "concurrency_limit": None, "trigger_mode": "once"}
    drawn = [name, panel.seen, panel.preview.page, *panel.fields(("placeholder-names",))]
    wiring.on(panel.timer.tick, handlers.show_progress, drawn, panel.shown, **ticked)
    wiring.on(
        panel.cancel.click, handlers.cancel, [name], [panel.report, panel.cancel, panel.again, panel.timer], **RAW
    )
    wiring.on(panel.delete.click, handlers.ask_to_delete, [name], asked, **RAW)
    wiring.on([panel.delete_no.click, name.input], hide, [], panel.delete_dialog)
    preview_panel.connect(wiring, panel.preview, name)
    findings_panel.connect(wiring, panel.findings, panel.preview, name)
    return statistics_panel.connect(wiring, panel.statistics, name)


def _connect_recipe(wiring: Wiring, panel: DatasetPanel) -> None:
    """Everything that changes the recipe: the form, a format file, the mapping, a row."""
    name, page = panel.name, panel.preview.page
    upload, choice = panel.reading.patterns_upload, panel.fields(("patterns",))
    named = wiring.on(upload.upload, reading_panel.add_patterns, [upload], [*choice, upload])
    known = [name, panel.seen, page, panel.filled, *panel.fields(("placeholder-names",))]
    for unit in UNITS:
        fields, saving = panel.fields(unit), partial(handlers.save, unit=unit)
        triggers = [changed(fields), *([named.success] if fields == choice else [])]
        for trigger in triggers:
            wiring.on(trigger, saving, [*known, *fields], panel.shown, **LAST_ONLY)
    applied = wiring.on(panel.mapping.apply.click, mapping_panel.apply, [name, *panel.mapping.inputs], None, **RAW)
    edited = row_editor.connect(wiring, panel.editor, panel.preview.rows, name, page)
    for trigger in (applied.success, *edited, panel.again.click):
        wiring.on(trigger, handlers.show_again, [name, panel.seen, page], panel.shown, **LAST_ONLY)


def hide(workbench: Workbench, lang: Language) -> Any:
    return gr.update(visible=False)
