"""All evaluations side by side under their list: a table that is sorted by its headers, and the same as CSV.

It is there once an evaluation has finished; what cannot be read is left out, as in the list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.evaluation.overview import overview_csv
from core.i18n import Language
from core.workbench import Workbench
from core.workspace import now
from webui.browser_file import SAVE_FILE_JS, browser_file
from webui.evaluation_views import OVERVIEW_TYPES, overview_table
from webui.wiring import Wiring


@dataclass(frozen=True)
class OverviewPanel:
    """The components; `file` is never seen."""

    part: gr.Accordion
    table: gr.Dataframe
    csv: gr.Button
    file: gr.Textbox

    @property
    def shown(self) -> list[Any]:
        """What `draw` fills."""
        return [self.part, self.table]


def build(wiring: Wiring) -> OverviewPanel:
    with gr.Accordion(visible=False, elem_id="evaluation-overview") as part:
        wiring.say(part, label="evaluate.overview.title")
        wiring.say(gr.Markdown(), value="evaluate.overview.info")
        look: dict[str, Any] = {"interactive": False, "wrap": True, "max_height": 420, "buttons": []}
        table = gr.Dataframe(datatype=OVERVIEW_TYPES, show_label=False, elem_id="evaluation-overview-table", **look)
        csv = wiring.say(gr.Button(size="sm", elem_id="evaluation-overview-csv"), value="evaluate.overview.csv")
        file = gr.Textbox(visible=False, elem_id="evaluation-overview-file")
    return OverviewPanel(part, table, csv, file)


def connect(wiring: Wiring, panel: OverviewPanel) -> None:
    made = wiring.on(panel.csv.click, make_csv, [], [panel.file])
    made.success(None, [panel.file], [], js=SAVE_FILE_JS, api_visibility="private")


def draw(workbench: Workbench, lang: Language) -> list[Any]:
    """As `OverviewPanel.shown`."""
    lines = workbench.evaluations.overview()
    return [gr.update(visible=bool(lines)), overview_table(lines, lang)]


def make_csv(workbench: Workbench, lang: Language) -> str:
    return browser_file(f"evaluations-{now()[:10]}.csv", overview_csv(workbench.evaluations.overview()))
