"""Problems of a data set by kind, and the walk from one to the next in the preview."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from core.i18n import Language
from core.workbench import Workbench
from webui import findings_views
from webui.changes import Anew
from webui.data_view import DataView
from webui.incoming import whole_number
from webui.preview_panel import CLICKS_JS, PreviewPanel, at_line
from webui.wiring import LAST_ONLY, RAW, Wiring

if TYPE_CHECKING:
    from core.data.findings import Finding


@dataclass(frozen=True)
class FindingsPanel:
    """The components. `number` is never shown: how far the walk through the chosen kind is, from 0."""

    part: gr.Accordion
    listing: gr.HTML
    walk: gr.Row
    kind: gr.Dropdown
    number: gr.Number
    previous: gr.Button
    next: gr.Button
    position: gr.HTML

    @property
    def shown(self) -> list[Any]:
        """What `draw` fills."""
        return [self.part, self.listing, self.walk, self.kind, self.number, self.position]

    @property
    def walked(self) -> list[Any]:
        """What a step of the walk fills, before the preview's own."""
        return [self.kind, self.number, self.position]


def build_list(wiring: Wiring) -> tuple[gr.Accordion, gr.HTML]:
    with wiring.say(
        gr.Accordion(open=True, visible=False, elem_id="findings-part"), label="data_tab.findings.title"
    ) as part:
        return part, gr.HTML(elem_id="dataset-findings", js_on_load=CLICKS_JS)


def build_walk(wiring: Wiring, part: gr.Accordion, listing: gr.HTML) -> FindingsPanel:
    """Beside the preview."""
    with gr.Row(visible=False, elem_classes="wb-pager", elem_id="problem-walk") as walk:
        kind = gr.Dropdown([], value=None, elem_id="problem-kind", min_width=320, container=False, interactive=True)
        wiring.say(kind, label="data_tab.findings.kind")
        back = wiring.say(gr.Button(size="sm", elem_id="problem-previous"), value="data_tab.findings.previous")
        ahead = wiring.say(gr.Button(size="sm", elem_id="problem-next"), value="data_tab.findings.next")
    number = gr.Number(0, visible=False, elem_id="problem-number")
    position = gr.HTML(elem_id="problem-position")
    return FindingsPanel(part, listing, walk, kind, number, back, ahead, position)


def connect(wiring: Wiring, panel: FindingsPanel, preview: PreviewPanel, name: gr.Dropdown) -> None:
    inputs, outputs = [name, panel.kind, panel.number], [*panel.walked, *preview.turned]
    wiring.on(panel.kind.input, show_first, inputs[:2], outputs, **LAST_ONLY)
    wiring.on(panel.next.click, show_next, inputs, outputs, **LAST_ONLY)
    wiring.on(panel.previous.click, show_previous, inputs, outputs, **LAST_ONLY)
    wiring.on(panel.listing.click, show_clicked, [name], outputs, **RAW)


def draw(view: DataView, findings: Sequence[Finding], running: bool) -> list[Any]:
    """As `FindingsPanel.shown`; while the check runs, what was found so far."""
    listing = findings_views.findings_list(findings, view.lang, running)
    listing = listing if running or view.report else ""
    part = gr.update(visible=bool(listing))
    if view.report is None:
        return [part, listing, gr.update(visible=False), gr.skip(), Anew(-1), Anew("")]
    choices = findings_views.choices(findings, view.lang)
    kind = gr.update(choices=choices, value=choices[0][1] if choices else None)
    return [part, listing, gr.update(visible=bool(choices and view.report.examples)), Anew(kind), Anew(-1), Anew("")]


def show_first(workbench: Workbench, lang: Language, name: str | None, kind: str | None) -> list[Any]:
    return walk_to(workbench, lang, name, kind, 0)


def show_next(
    workbench: Workbench, lang: Language, name: str | None, kind: str | None, number: float | None
) -> list[Any]:
    return walk_to(workbench, lang, name, kind, whole_number(number, -1, -1) + 1)


def show_previous(
    workbench: Workbench, lang: Language, name: str | None, kind: str | None, number: float | None
) -> list[Any]:
    return walk_to(workbench, lang, name, kind, whole_number(number, -1, -1) - 1)


def show_clicked(workbench: Workbench, lang: Language, event: gr.EventData, name: str | None) -> list[Any]:
    """The row of a button in the list of problems."""
    kind, number = getattr(event, "finding", None), getattr(event, "number", None)
    at = int(number[:10]) if isinstance(number, str) and number.isdecimal() else 0
    return walk_to(workbench, lang, name, kind if isinstance(kind, str) else None, at)


def walk_to(workbench: Workbench, lang: Language, name: str | None, kind: str | None, number: int) -> list[Any]:
    """The row of problem `number` of a kind, which begins anew at either end: walk and preview."""
    status = workbench.data.check(name, again=False) if name else None
    finding = findings_views.found(status.findings, kind) if status and status.report else None
    if finding is None:
        return [gr.skip()] * 5
    at = number % len(finding.lines)
    words = findings_views.position(finding, at, lang)
    file = finding.files[at] if at < len(finding.files) else ""
    if file == status.report.options.validation_dataset:  # type: ignore[union-attr]
        return [findings_views.finding_id(finding), at, words, gr.skip(), gr.skip()]
    member = file if file in status.report.container.members else ""  # type: ignore[union-attr]
    return [findings_views.finding_id(finding), at, words, *at_line(workbench, lang, name, member, finding.lines[at])]
