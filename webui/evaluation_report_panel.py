"""The report of one evaluation on the page: its parts, its figures, and the files to take away.

Owns the components and their drawing; what a report says is in `core.evaluation.report_views`, so that the page and the
file say the same. Which evaluation is open is `evaluate_panel`'s affair.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from core.evaluation import report_figures
from core.evaluation.report_file import report_html
from core.evaluation.report_views import PARTS
from core.evaluation.results import EvaluationResult
from core.evaluation.row_files import rows_csv, rows_jsonl
from core.i18n import Language
from core.workbench import Workbench
from webui.incoming import whole_number
from webui.outgoing import outbox
from webui.wiring import RAW, Wiring

# Gives the browser the file that was just made: what a button offers is known only after it was clicked.
TAKE_JS = """(file) => {
  if (!file?.url) return;
  const link = document.createElement('a');
  link.href = file.url; link.download = file.orig_name ?? ''; link.click();
}"""
FILES: dict[str, Callable[[EvaluationResult, Language], str]] = {
    "html": report_html,
    "csv": lambda result, lang: rows_csv(result),
    "jsonl": lambda result, lang: rows_jsonl(result),
}


@dataclass(frozen=True)
class ReportPanel:
    """The components. `parts` are those of `PARTS`; `field` chooses whose confusion is shown; `file` is never seen."""

    whole: gr.Column
    parts: dict[str, gr.HTML]
    rows: gr.Plot
    fields: gr.Plot
    field: gr.Dropdown
    confusion: gr.Plot
    files: dict[str, gr.Button]
    file: gr.DownloadButton
    close: gr.Button

    @property
    def shown(self) -> list[Any]:
        """What `draw` fills."""
        return [self.whole, *self.parts.values(), self.rows, self.fields, self.field, self.confusion]


def build(wiring: Wiring) -> ReportPanel:
    with gr.Column(visible=False, elem_id="evaluation-report") as whole:
        with gr.Row(elem_classes="wb-buttons"):
            files = {name: _button(wiring, name) for name in FILES}
            close = _button(wiring, "close")
        file = gr.DownloadButton(visible="hidden", elem_id="evaluation-file")
        parts, plots = {}, {}
        for part in PARTS:
            parts[part] = gr.HTML(elem_id=f"evaluation-{part}")
            if part in ("rows", "fields"):
                plots[part] = _plot(wiring, part)
            if part == "fields":
                field = gr.Dropdown([], visible=False, elem_id="evaluation-field", interactive=True)
                wiring.say(field, label="evaluate.report.field", info="evaluation_report.fields.confusion_info")
                plots["confusion"] = _plot(wiring, "confusion")
    return ReportPanel(whole, parts, plots["rows"], plots["fields"], field, plots["confusion"], files, file, close)


def _button(wiring: Wiring, name: str) -> gr.Button:
    return wiring.say(gr.Button(size="sm", elem_id=f"evaluation-save-{name}"), value=f"evaluate.report.{name}")


def _plot(wiring: Wiring, name: str) -> gr.Plot:
    plot = gr.Plot(visible=False, show_label=False, elem_id=f"plot-evaluation-{name}")
    return wiring.say(plot, label=f"evaluate.report.{name}_plot")


def connect(wiring: Wiring, panel: ReportPanel, opened: gr.State) -> None:
    """`opened` holds the id of the evaluation that is shown."""
    wiring.on(panel.field.input, show_field, [opened, panel.field], [panel.confusion], **RAW)
    for name, button in panel.files.items():
        made = wiring.on(button.click, partial(make_file, kind=name), [opened], [panel.file], concurrency_limit=2)
        made.success(None, [panel.file], js=TAKE_JS, api_visibility="private")


def draw(result: EvaluationResult, lang: Language) -> list[Any]:
    """A result as `ReportPanel.shown`, with the confusion of its first field."""
    labels = report_figures.field_labels(result)
    choices = [(label, number) for number, label in enumerate(labels)]
    field = gr.update(choices=choices, value=0 if choices else None, visible=bool(choices))
    return [
        gr.update(visible=True),
        *(draw_part(result, lang) for draw_part in PARTS.values()),
        _drawn(report_figures.rows_figure(result, lang)),
        _drawn(report_figures.fields_figure(result, lang)),
        field,
        _drawn(report_figures.confusion_figure(result, 0, lang)),
    ]


def draw_nothing() -> list[Any]:
    """As `draw`, where none is open."""
    hidden = gr.update(visible=False)
    return [hidden, *[""] * len(PARTS), hidden, hidden, hidden, hidden]


def _drawn(figure: Any) -> Any:
    return gr.update(visible=False) if figure is None else gr.update(visible=True, value=figure)


def show_field(workbench: Workbench, lang: Language, opened: str, field: float | None) -> Any:
    """What was answered instead, for another field."""
    result = workbench.evaluations.result(opened)
    return _drawn(report_figures.confusion_figure(result, whole_number(field, 0, 0), lang))


def make_file(workbench: Workbench, lang: Language, opened: str, kind: str) -> Any:
    """Write the report, or its rows, where the browser can fetch it."""
    result = workbench.evaluations.result(opened)
    file = Path(tempfile.mkdtemp(dir=outbox())) / f"evaluation-{result.id}.{kind}"
    file.write_text(FILES[kind](result, lang), encoding="utf-8", newline="")
    return gr.update(value=str(file))
