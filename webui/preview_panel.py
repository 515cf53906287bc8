"""The preview: rows of a data set as the model sees them, with ways to any row: by number, line, words or problem.

Owns turning to rows. Changing one is `row_editor`'s affair; which problems there are, `findings_panel`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.errors import WorkbenchError
from core.i18n import Language, text
from core.markup import note
from core.workbench import Workbench
from webui import dataset_views, preview_views
from webui.changes import Anew
from webui.data_view import DataView
from webui.incoming import whole_number
from webui.wiring import LAST_ONLY, RAW, Wiring

PREVIEW_ROWS = 3
WAIT_S = 0.5  # for a check in progress; longer ones fill the preview themselves when they end
# Buttons inside HTML: what they stand for is in their data- attributes.
CLICKS_JS = """element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-do]');
  if (button) trigger('click', {...button.dataset});
});"""


@dataclass(frozen=True)
class PreviewPanel:
    """The components. `page` is the number of the first row that is shown, from 1 among the usable ones."""

    rows: gr.HTML
    pager: gr.Row
    page: gr.Number
    total: gr.HTML
    previous: gr.Button
    next: gr.Button
    line: gr.Number
    words: gr.Textbox
    find: gr.Button

    @property
    def shown(self) -> list[Any]:
        """What `draw` fills."""
        return [self.pager, self.page, self.total, self.line, self.rows]

    @property
    def turned(self) -> list[Any]:
        """What a turn to other rows fills."""
        return [self.page, self.rows]


def build(wiring: Wiring) -> PreviewPanel:
    """Inside the accordion of the preview, which others add to."""
    with gr.Row(elem_classes="wb-pager", visible=False) as pager:
        back = wiring.say(gr.Button(size="sm", elem_id="preview-previous"), value="data_tab.preview.previous")
        page = gr.Number(1, elem_id="preview-row", precision=0, container=False, min_width=90)
        wiring.say(page, label="data_tab.preview.row")
        total = gr.HTML(elem_id="preview-total")
        ahead = wiring.say(gr.Button(size="sm", elem_id="preview-next"), value="data_tab.preview.next")
        line = gr.Number(None, elem_id="preview-line", precision=0, container=False, min_width=130)
        wiring.say(line, label="data_tab.preview.go_to_line", placeholder="data_tab.preview.go_to_line")
        words = gr.Textbox(elem_id="preview-search", container=False, max_lines=1, max_length=500, min_width=200)
        wiring.say(words, label="data_tab.preview.search", placeholder="data_tab.preview.search")
        find = wiring.say(gr.Button(size="sm", elem_id="preview-find"), value="data_tab.preview.find")
    rows = gr.HTML(elem_id="dataset-preview", js_on_load=CLICKS_JS)
    return PreviewPanel(rows, pager, page, total, back, ahead, line, words, find)


def connect(wiring: Wiring, panel: PreviewPanel, name: gr.Dropdown) -> None:
    turns = [(panel.previous.click, show_previous), (panel.next.click, show_next), (panel.page.submit, show_page)]
    for trigger, handler in turns:
        wiring.on(trigger, handler, [name, panel.page], panel.turned, **LAST_ONLY)
    wiring.on(panel.line.submit, show_line, [name, panel.line], panel.turned, **LAST_ONLY)
    found = [panel.find.click, panel.words.submit]
    wiring.on(found, find_words, [name, panel.words, panel.page], panel.turned, **RAW)


def draw(workbench: Workbench, view: DataView, page: float | None) -> list[Any]:
    """As `PreviewPanel.shown`."""
    if view.report is None or view.name is None:
        return [gr.update(visible=False), Anew(1), "", Anew(None), Anew("")] if view.fresh else [gr.skip()] * 5
    count = len(view.report.examples)
    start = min(row_number(page), max(1, count))
    total = text("data_tab.preview.of", view.lang, count=f"{count:,}")
    pager = gr.update(visible=count > 0)
    shown = rows(workbench, view.lang, view.name, start)
    return [pager, Anew(start), note(total), Anew(None), Anew(shown)]


def row_number(page: object) -> int:
    """A number of a row from what a browser sent."""
    return whole_number(page, 1, 1)


def show_page(workbench: Workbench, lang: Language, name: str | None, page: float | None) -> list[Any]:
    """The rows from number `page` of the usable ones on, or the last, and that number itself."""
    if not name:
        return [1, ""]
    start = min(row_number(page), _count(workbench, name) or 1)
    return [start, rows(workbench, lang, name, start)]


def show_next(workbench: Workbench, lang: Language, name: str | None, page: float | None) -> list[Any]:
    """The next rows; after the last there are none."""
    ahead = row_number(page) + PREVIEW_ROWS
    last = bool(name) and ahead > _count(workbench, str(name))
    return show_page(workbench, lang, name, page if last else ahead)


def show_previous(workbench: Workbench, lang: Language, name: str | None, page: float | None) -> list[Any]:
    return show_page(workbench, lang, name, row_number(page) - PREVIEW_ROWS)


def _count(workbench: Workbench, name: str) -> int:
    """How many rows there are to turn to; 0 where that is not known."""
    try:
        status = workbench.data.check(name, WAIT_S, again=False)
    except WorkbenchError:
        return 0
    return len(status.report.examples) if status.report else 0


def show_line(workbench: Workbench, lang: Language, name: str | None, line: float | None) -> list[Any]:
    """The row at a line of the file, or the first after it."""
    return at_line(workbench, lang, name, "", row_number(line))


def at_line(workbench: Workbench, lang: Language, name: str | None, file: str, line: int) -> list[Any]:
    """The row at a line of a file of the set; where it is not among the usable ones, the next, which is said."""
    if not name:
        return [1, ""]
    index = workbench.data.index_of(name, file, line)
    if index is None:
        missing = note(text("data_tab.preview.no_line", lang, line=f"{line:,}"), "warning")
        return [gr.skip(), missing]
    shown = rows(workbench, lang, name, index + 1, at=line)
    return [index + 1, shown]


def find_words(
    workbench: Workbench, lang: Language, name: str | None, words: str | None, page: float | None
) -> list[Any]:
    """The next row that holds the words, from the one after that which is shown."""
    if not name or not (words or "").strip():
        return [gr.skip(), gr.skip()]
    index = workbench.data.search(name, str(words).strip(), row_number(page))
    if index is None:
        nothing = note(text("data_tab.preview.not_found", lang, words=str(words).strip()), "warning")
        return [gr.skip(), nothing]
    return show_page(workbench, lang, name, index + 1)


def rows(workbench: Workbench, lang: Language, name: str, start: int, at: int | None = None) -> str:
    """The HTML of the rows from number `start` on; with `at`, says where the first begins at another line."""
    try:
        status = workbench.data.check(name, WAIT_S, again=False)
        if status.running or status.error:
            return note(text("data_tab.preview.wait", lang)) if status.running else ""
        found = workbench.preview(name, start - 1, PREVIEW_ROWS)
    except WorkbenchError as error:
        return dataset_views.dataset_refused(error, lang)
    if not found:
        return note(text("data_tab.preview.no_rows", lang))
    moved = at is not None and found[0].line != at
    hint = note(text("data_tab.preview.not_usable", lang, line=f"{at:,}"), "warning") if moved else ""
    mixed = frozenset(other.dataset for other in workbench.data.recipe(name).mix)
    return hint + preview_views.preview(found, lang, workbench.model_status() is not None, mixed)
