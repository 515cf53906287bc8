"""How a file is read: format, encoding, sheet, format file, system prompt; and the fields for the data's blanks.

Owns these components of the data form and what of them is seen; their values go the way of `data_recipe`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from core.data.options import FORMATS
from core.data.reading.streams import ENCODINGS
from core.errors import excerpt
from core.i18n import Language, text
from core.markup import note
from core.workbench import Workbench
from webui.changes import Anew
from webui.data_recipe import AUTO, MAX_PLACEHOLDERS, PLACEHOLDERS
from webui.data_view import DataView, Properties
from webui.dataset_views import format_words
from webui.wiring import Wiring


@dataclass(frozen=True)
class ReadingPanel:
    """The components beside those of the form."""

    part: gr.Accordion
    patterns_group: gr.Column
    patterns_upload: gr.UploadButton
    placeholder_group: gr.Column
    more_placeholders: gr.HTML

    @property
    def shown(self) -> list[Any]:
        """What `draw` fills."""
        return [self.part, self.patterns_group, self.placeholder_group, self.more_placeholders]


def build(wiring: Wiring) -> ReadingPanel:
    form = wiring.shared["data-form"]
    with gr.Column(visible=False, elem_id="placeholders") as blanks:
        wiring.say(gr.Markdown(), value="data_tab.reading.placeholders_text")
        form["placeholder-names"] = gr.Textbox(visible=False, elem_id="placeholder-names")
        for field in PLACEHOLDERS:
            form[field] = gr.Textbox(visible=False, elem_id=field, max_length=500)
        more = gr.HTML(elem_id="more-placeholders")
    with wiring.say(gr.Accordion(open=False, elem_id="data-options"), label="data_tab.reading.title") as part:
        form["format"] = _dropdown(wiring, "dataset-format", "format", _format_choices)
        with gr.Column(visible=False, elem_id="patterns-group") as patterns:
            form["patterns"] = gr.Dropdown([], value=None, elem_id="dataset-patterns", interactive=True)
            wiring.say(form["patterns"], label="data_tab.reading.patterns", info="data_tab.reading.patterns_info")
            upload = wiring.say(
                gr.UploadButton(elem_id="patterns-upload", size="sm"), label="data_tab.reading.add_patterns"
            )
        form["encoding"] = _dropdown(wiring, "dataset-encoding", "encoding", _encoding_choices)
        form["sheet"] = gr.Dropdown([("", "")], value="", visible=False, elem_id="dataset-sheet", interactive=True)
        wiring.say(form["sheet"], label="data_tab.reading.sheet", info="data_tab.reading.sheet_info")
        form["system_prompt"] = gr.Textbox(lines=2, elem_id="system-prompt-for-rows", max_length=20_000)
        wiring.say(
            form["system_prompt"], label="data_tab.reading.system_prompt", info="data_tab.reading.system_prompt_info"
        )
    return ReadingPanel(part, patterns, upload, blanks, more)


def _dropdown(wiring: Wiring, elem_id: str, name: str, choices: Any) -> gr.Dropdown:
    def words(lang: Language) -> dict[str, Any]:
        label, info = (text(f"data_tab.reading.{name}{part}", lang) for part in ("", "_info"))
        return {"label": label, "info": info, "choices": choices(lang)}

    first = choices(wiring.start_language)
    return wiring.say_with(gr.Dropdown(first, value=AUTO, elem_id=elem_id, interactive=True), words)


def _format_choices(lang: Language) -> list[tuple[str, str]]:
    return [(format_words(name, lang), name) for name in (AUTO, *FORMATS)]


def _encoding_choices(lang: Language) -> list[tuple[str, str]]:
    return [(text(f"data_tab.encodings.{name}", lang), name) for name in (AUTO, *ENCODINGS)]


def properties(view: DataView) -> Properties:
    """What of the form's components depends on the data set."""
    found: Properties = {"patterns": {"choices": list(view.patterns)}}
    sheets = view.report.container.sheets if view.report else ()
    if sheets or view.fresh:
        automatic = (text("data_tab.reading.sheet_auto", view.lang), "")
        choices = [automatic, *((sheet, sheet) for sheet in sheets)]
        found["sheet"] = {"choices": choices, "visible": True} if len(sheets) > 1 else {"visible": False}
    if view.report or view.fresh:
        names = view.placeholders
        for number, field in enumerate(PLACEHOLDERS):
            label = (
                {"label": text("data_tab.reading.placeholder", view.lang, name=names[number])}
                if number < len(names)
                else {}
            )
            found[field] = {"visible": number < len(names), **label}
    return found


def draw(view: DataView) -> list[Any]:
    """The groups around the form's components, as `ReadingPanel.shown`."""
    patterns = gr.update(visible=view.recipe.format == "patterns")
    if view.report is None and not view.fresh:
        return [gr.skip(), patterns, gr.skip(), gr.skip()]
    lost = view.error is not None or (view.report is not None and view.report.format is None)
    part = Anew(gr.update(open=True)) if lost else gr.skip()
    names = list(view.report.placeholders) if view.report else []
    return [part, patterns, gr.update(visible=bool(names)), _more_placeholders(names[MAX_PLACEHOLDERS:], view.lang)]


def _more_placeholders(names: list[str], lang: Language) -> str:
    """What to do with the placeholders that have no field here; "" where there are none."""
    if not names:
        return ""
    shown = excerpt(", ".join(names))
    return note(text("data_tab.reading.more_placeholders", lang, count=len(names), names=shown), "warning")


def add_patterns(workbench: Workbench, lang: Language, file: str | None) -> list[Any]:
    """Import an uploaded format file and choose it; the upload box is emptied for the next one."""
    if not file:
        return [gr.skip(), gr.skip()]
    name = workbench.data.add_patterns(Path(file), Path(file).name)
    return [gr.update(choices=list(workbench.data.patterns()), value=name), None]
