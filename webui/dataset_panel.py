"""The first part of the Training tab: a data file, what is in it, and how its rows look to the model.

Owns the components that make `DataOptions`; `options_from` reads them. The file itself is copied into the workspace at
once and goes by its name from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from core.data.datasets import DataOptions
from core.errors import WorkbenchError, excerpt
from core.i18n import Language, text
from core.workbench import Workbench
from webui import dataset_views
from webui.incoming import checked_type
from webui.views import note
from webui.wiring import RAW, Wiring

MAX_PLACEHOLDERS = 6
PREVIEW_ROWS = 3
MAX_ROW = 1e9
# While one call runs, of many changes only the last is answered.
LAST_ONLY: dict[str, Any] = {**RAW, "trigger_mode": "always_last"}
FORMATS = ("auto", "alpaca", "sharegpt", "messages", "prompt_completion")


@dataclass(frozen=True)
class DatasetPanel:
    """The components. `form` are those that decide what the data is, in the order `options_from` takes them."""

    name: gr.Dropdown
    upload: gr.UploadButton
    report: gr.HTML
    format: gr.Dropdown
    system_prompt: gr.Textbox
    skip_bad_rows: gr.Checkbox
    placeholders: tuple[gr.Textbox, ...]
    placeholder_names: gr.Textbox  # never shown: one name a line, beside the values in `placeholders`
    placeholder_group: gr.Column
    preview: gr.HTML
    page: gr.Number
    previous: gr.Button
    next: gr.Button
    pager: gr.Row

    @property
    def form(self) -> list[Any]:
        return [self.name, self.format, self.system_prompt, self.skip_bad_rows, *self.placeholders]

    @property
    def changed(self) -> list[Any]:
        """Events after which the data is another: choices at once, texts when they are left."""
        left = [event for field in (self.system_prompt, *self.placeholders) for event in (field.blur, field.submit)]
        return [self.name.input, self.format.input, self.skip_bad_rows.input, *left]

    @property
    def shown(self) -> list[Any]:
        """What `show_dataset` fills."""
        fields = [self.placeholder_names, self.placeholder_group, *self.placeholders]
        return [self.report, self.preview, self.pager, self.page, *fields]

    @property
    def inputs(self) -> list[Any]:
        """What `options_from` needs: the names of the placeholders, then `form`."""
        return [self.placeholder_names, *self.form]


def build(wiring: Wiring) -> None:
    wiring.say(gr.Markdown(elem_classes="wb-section"), value="training_tab.data.heading")
    with gr.Row(elem_classes="wb-columns"):
        with gr.Column(scale=2, min_width=320):
            name = gr.Dropdown([], value=None, elem_id="dataset-name")
            wiring.say(name, label="training_tab.data.choose", info="training_tab.data.choose_info")
            # No `file_types`: gradio would refuse other files in words of its own; the core says what to do instead.
            upload = gr.UploadButton(elem_id="dataset-upload")
            wiring.say(upload, label="training_tab.data.upload")
            with gr.Column(visible=False, elem_id="placeholders") as group:
                wiring.say(gr.Markdown(), value="training_tab.data.placeholders_text")
                names = gr.Textbox(visible=False, elem_id="placeholder-names")
                placeholders = tuple(
                    gr.Textbox(visible=False, elem_id=f"placeholder-{index}", max_length=500)
                    for index in range(MAX_PLACEHOLDERS)
                )
            options = _build_options(wiring)
        with gr.Column(scale=3, min_width=420):
            report = gr.HTML(elem_id="dataset-report")
            with wiring.say(gr.Accordion(open=True, elem_id="preview-part"), label="training_tab.preview.title"):
                preview = gr.HTML(elem_id="dataset-preview")
                with gr.Row(elem_classes="wb-pager", visible=False) as pager:
                    back = wiring.say(
                        gr.Button(size="sm", elem_id="preview-previous"), value="training_tab.preview.previous"
                    )
                    page = gr.Number(1, elem_id="preview-row", precision=0, container=False, min_width=80)
                    ahead = wiring.say(gr.Button(size="sm", elem_id="preview-next"), value="training_tab.preview.next")
    wiring.shared["dataset-panel"] = DatasetPanel(
        name, upload, report, *options, placeholders, names, group, preview, page, back, ahead, pager
    )


def _build_options(wiring: Wiring) -> tuple[Any, Any, Any]:
    with wiring.say(gr.Accordion(open=False, elem_id="data-options"), label="training_tab.data.more"):
        format_name = gr.Dropdown(FORMATS, value="auto", elem_id="dataset-format", interactive=True)
        wiring.say_with(
            format_name,
            lambda lang: {
                "label": text("training_tab.data.format", lang),
                "info": text("training_tab.data.format_info", lang),
                "choices": [(text(f"training_tab.data.formats.{name}", lang), name) for name in FORMATS],
            },
        )
        system_prompt = gr.Textbox(lines=2, elem_id="system-prompt-for-rows", max_length=20_000)
        wiring.say(system_prompt, label="training_tab.data.system_prompt", info="training_tab.data.system_prompt_info")
        skip = gr.Checkbox(elem_id="skip-bad-rows")
        wiring.say(skip, label="training_tab.data.skip_bad_rows", info="training_tab.data.skip_bad_rows_info")
    return format_name, system_prompt, skip


def connect(wiring: Wiring) -> Any:
    """Wire the panel; returns the event after which an uploaded data set is chosen."""
    panel: DatasetPanel = wiring.shared["dataset-panel"]
    added = wiring.on(panel.upload.upload, add_dataset, [panel.upload], [panel.name, panel.upload])
    turned = [panel.page, *panel.inputs]
    turns = [(panel.previous.click, show_previous), (panel.next.click, show_next), (panel.page.submit, show_page)]
    for trigger, handler in turns:
        wiring.on(trigger, handler, turned, [panel.page, panel.preview], **LAST_ONLY)
    return added


def show_datasets(workbench: Workbench, lang: Language, name: str | None) -> Any:
    """The files to choose from; a choice that is gone is taken back."""
    names = [info.name for info in workbench.datasets()]
    return gr.update(choices=names) if not name or name in names else gr.update(choices=names, value=None)


def add_dataset(workbench: Workbench, lang: Language, file: str | None) -> list[Any]:
    """Take an uploaded file into the workspace and choose it; the upload box is emptied for the next one."""
    if not file:
        return [gr.skip(), gr.skip()]
    info = workbench.add_dataset(Path(file), Path(file).name)
    names = [entry.name for entry in workbench.datasets()]
    return [gr.update(choices=names, value=info.name), None]


def options_from(names: str | None, values: Sequence[Any]) -> tuple[str | None, DataOptions]:
    """The chosen data set and its options from the form's values (in the order of `DatasetPanel.form`).

    Raises:
        WorkbenchError: H01 for a value that no form can hold.
    """
    name, format_name, system_prompt, skip, *filled = values
    checked_type(name, "dataset")
    checked_type(names, "placeholders")
    placeholders = {key: value for key, value in zip((names or "").splitlines(), filled, strict=False) if value}
    chosen = {
        "format": None if format_name == "auto" else format_name,
        "system_prompt": system_prompt or None,
        "skip_bad_rows": skip,
        "placeholders": placeholders,
    }
    return name or None, DataOptions.checked(chosen)


def show_dataset(workbench: Workbench, lang: Language, names: str | None, *values: Any) -> list[Any]:
    """The report, the first rows and the placeholders' fields of the chosen data set."""
    name, options = options_from(names, values)
    if name is None:
        return [note(text("training_tab.data.none", lang)), *_no_preview(lang)]
    try:
        report = workbench.dataset_report(name, options)
    except WorkbenchError as error:
        return [dataset_views.dataset_refused(error, lang), *_no_preview(lang)]
    found = list(report.placeholders)
    shown = dataset_views.dataset_report(report, lang) + _more_placeholders(found[MAX_PLACEHOLDERS:], lang)
    rows = _preview(workbench, lang, name, options, 1)
    more = len(report.examples) > PREVIEW_ROWS
    return [shown, rows, gr.update(visible=more), 1, *_placeholder_fields(found[:MAX_PLACEHOLDERS], lang)]


def _no_preview(lang: Language) -> list[Any]:
    return ["", gr.update(visible=False), 1, *_placeholder_fields([], lang)]


def _more_placeholders(names: list[str], lang: Language) -> str:
    """What to do with the placeholders that have no field here; "" where there are none."""
    if not names:
        return ""
    shown = excerpt(", ".join(names))
    return note(text("training_tab.data.more_placeholders", lang, count=len(names), names=shown), "warning")


def _placeholder_fields(names: list[str], lang: Language) -> list[Any]:
    fields = [
        gr.update(visible=True, label=text("training_tab.data.placeholder", lang, name=names[index]))
        if index < len(names)
        else gr.update(visible=False)
        for index in range(MAX_PLACEHOLDERS)
    ]
    return ["\n".join(names), gr.update(visible=bool(names)), *fields]


def show_page(workbench: Workbench, lang: Language, row: float | None, names: str | None, *values: Any) -> list[Any]:
    """The rows from number `row` of the usable ones on, and the number itself where there is such a row."""
    name, options = options_from(names, values)
    if name is None:
        return [1, ""]
    start = max(1, int(row)) if isinstance(row, int | float) and 1 <= row < MAX_ROW else 1
    return [start, _preview(workbench, lang, name, options, start)]


def show_next(workbench: Workbench, lang: Language, row: float | None, *values: Any) -> list[Any]:
    return show_page(workbench, lang, (row or 1) + PREVIEW_ROWS, *values)


def show_previous(workbench: Workbench, lang: Language, row: float | None, *values: Any) -> list[Any]:
    return show_page(workbench, lang, (row or 1) - PREVIEW_ROWS, *values)


def _preview(workbench: Workbench, lang: Language, name: str, options: DataOptions, start: int) -> str:
    try:
        rows = workbench.preview(name, options, start - 1, PREVIEW_ROWS)
    except WorkbenchError as error:
        return dataset_views.dataset_refused(error, lang)
    if not rows:
        return note(text("training_tab.preview.no_rows", lang))
    return dataset_views.preview(rows, lang, workbench.model_status() is not None)
