"""An adapter from a zip into `loras/`: chosen in the browser, judged by the core, named by the person.

A folder is imported on the command line: the page never opens a path that somebody typed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from core.i18n import Language
from core.workbench import Workbench
from webui import export_views
from webui.wiring import Wiring


@dataclass(frozen=True)
class ImportPanel:
    """The components."""

    name: gr.Textbox
    upload: gr.UploadButton
    said: gr.HTML


def build(wiring: Wiring) -> None:
    with wiring.say(gr.Accordion(open=False, elem_id="import-adapter"), label="import_panel.title"):
        wiring.say(gr.Markdown(), value="import_panel.help")
        name = wiring.say(
            gr.Textbox(elem_id="import-name", max_length=200),
            label="import_panel.name",
            placeholder="import_panel.name_free",
        )
        upload = gr.UploadButton(file_types=[".zip"], variant="primary", elem_id="import-upload")
        wiring.say(upload, label="import_panel.upload")
        said = gr.HTML(elem_id="import-said")
    wiring.shared["import-panel"] = ImportPanel(name, upload, said)


def connect(wiring: Wiring) -> Any:
    """Give the event after which another adapter may be there."""
    panel: ImportPanel = wiring.shared["import-panel"]
    outputs = [panel.said, panel.name]
    return wiring.on(panel.upload.upload, import_zip, [panel.upload, panel.name], outputs, show_progress="minimal")


def import_zip(workbench: Workbench, lang: Language, file: str | None, name: str | None) -> list[Any]:
    """Take an uploaded zip in; the name's box is emptied."""
    if not file:
        return [gr.skip(), gr.skip()]
    came = workbench.exports.import_zip(Path(file), (name or "").strip())
    return [export_views.arrived(came, lang), ""]
