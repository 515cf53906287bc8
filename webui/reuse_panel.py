"""Settings from a file: a run's YAML, pasted or uploaded, fills the whole form."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from core.i18n import Language
from core.small_yaml import MAX_BYTES
from core.training.spec import RunSpec, read_spec, spec_from_yaml, spec_text
from core.workbench import Workbench
from webui.incoming import checked_type
from webui.wiring import Wiring

SUFFIXES = [".yaml", ".yml"]
PASTED = "spec.yaml"  # how errors name what was pasted


@dataclass(frozen=True)
class ReusePanel:
    """The components."""

    written: gr.Textbox
    upload: gr.UploadButton
    use: gr.Button


def build(wiring: Wiring) -> ReusePanel:
    with wiring.say(gr.Accordion(open=False, elem_id="reuse-part"), label="run_form.reuse.title"):
        written = gr.Textbox(lines=6, max_lines=16, elem_id="reuse-yaml", max_length=MAX_BYTES)
        wiring.say(written, label="run_form.reuse.yaml", info="run_form.reuse.help")
        with gr.Row(elem_classes="wb-buttons"):
            upload = gr.UploadButton(file_types=SUFFIXES, elem_id="reuse-upload")
            wiring.say(upload, label="run_form.reuse.upload")
            use = wiring.say(gr.Button(variant="primary", elem_id="reuse-use"), value="run_form.reuse.use")
    return ReusePanel(written, upload, use)


def connect(wiring: Wiring, panel: ReusePanel) -> None:
    wiring.on(panel.upload.upload, read_file, [panel.upload], [panel.written])


def read_file(workbench: Workbench, lang: Language, file: str | None) -> Any:
    """An uploaded spec as text, to be looked at before it is used."""
    return spec_text(read_spec(Path(file))) if file else gr.skip()


def written_spec(written: object) -> RunSpec:
    """The run that the text field describes.

    Raises:
        WorkbenchError: H01 where it is no YAML mapping or for every key and value that is not allowed.
    """
    return spec_from_yaml((checked_type(written, "yaml") or "").encode("utf-8", "replace"), PASTED)
