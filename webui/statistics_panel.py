"""Statistics: the tokens of a data set under the loaded model, and what a maximum length would do to its rows.

Counting goes on in the background; the page asks how far it is. What the figures say is in `statistics_views`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from core.errors import WorkbenchError
from core.i18n import Language, text
from core.markup import note
from core.workbench import Workbench
from webui import dataset_views, statistics_views
from webui.incoming import whole_number
from webui.views import progress_bar
from webui.wiring import LAST_ONLY, RAW, Wiring

if TYPE_CHECKING:
    from core.data.statistics import TokenTable
    from core.data.token_tables import TokenStatus

TICK_S = 0.7
WAIT_S = 0.6
SHORTEST = 8  # the least that `TrainingSettings.max_length` takes
CUT = "cut"


@dataclass(frozen=True)
class StatisticsPanel:
    """The components. `is_open` is never shown: whether the part is, so that nothing is counted unasked."""

    part: gr.Accordion
    is_open: gr.Checkbox
    progress: gr.HTML
    length: gr.Slider
    use: gr.Button
    summary: gr.HTML
    plot: gr.Plot
    roles: gr.Plot
    timer: gr.Timer

    @property
    def shown(self) -> list[Any]:
        """What `draw` fills."""
        return [self.timer, self.progress, self.length, self.use, self.summary, self.plot, self.roles]

    @property
    def moved(self) -> list[Any]:
        """What a move of the slider fills."""
        return [self.summary, self.plot]


def build(wiring: Wiring) -> StatisticsPanel:
    with wiring.say(gr.Accordion(open=False, elem_id="statistics-part"), label="data_tab.statistics.title") as part:
        is_open = gr.Checkbox(visible=False, elem_id="statistics-open")
        progress = gr.HTML(elem_id="statistics-progress")
        with gr.Row(elem_classes="wb-pager"):
            length = gr.Slider(
                SHORTEST, 1024, 1024, step=1, visible=False, elem_id="statistics-length", min_width=320, buttons=[]
            )
            wiring.say(length, label="data_tab.statistics.length", info="data_tab.statistics.length_info")
            use = gr.Button(visible=False, size="sm", elem_id="statistics-use")
            wiring.say(use, value="data_tab.statistics.use")
        summary = gr.HTML(elem_id="statistics-summary")
        with gr.Row(elem_classes="wb-columns"):
            plot = gr.Plot(visible=False, elem_id="statistics-plot", show_label=False, min_width=420, scale=3)
            wiring.say(plot, label="data_tab.statistics.lengths")
            roles = gr.Plot(visible=False, elem_id="statistics-roles", show_label=False, min_width=300, scale=2)
            wiring.say(roles, label="data_tab.statistics.roles")
    return StatisticsPanel(part, is_open, progress, length, use, summary, plot, roles, gr.Timer(TICK_S, active=False))


def connect(wiring: Wiring, panel: StatisticsPanel, name: gr.Dropdown) -> Any:
    """Wire the panel with the run's form; returns the event after which the maximum length is another.

    When the data changes while the part is open, the count begins anew.
    """
    run = wiring.shared["run-panel"]
    limit, long_rows = run.settings["max_length"], run.settings["long_rows"]
    inputs = [name, limit, long_rows]
    wiring.on(panel.part.expand, show_count, inputs, [panel.is_open, *panel.shown], **LAST_ONLY)
    wiring.on(panel.part.collapse, hide_count, [], [panel.is_open, panel.timer], **LAST_ONLY)
    again = [wiring.shared["data-checked"].change, long_rows.input]
    wiring.on(again, show_again, [panel.is_open, *inputs], panel.shown, **LAST_ONLY)
    ticked = {**RAW, "concurrency_limit": None, "trigger_mode": "once"}
    wiring.on(panel.timer.tick, show_progress, inputs, panel.shown, **ticked)
    moved = [name, panel.length, long_rows]
    wiring.on(panel.length.release, show_length, moved, panel.moved, **LAST_ONLY)
    return wiring.on(panel.use.click, use_length, [panel.length], [limit], **RAW).success


def show_count(workbench: Workbench, lang: Language, name: str | None, limit: Any, long_rows: str | None) -> list[Any]:
    """Begin to count, now that the part is open."""
    return [True, *show_progress(workbench, lang, name, limit, long_rows)]


def hide_count(workbench: Workbench, lang: Language) -> list[Any]:
    return [False, gr.Timer(active=False)]


def show_again(
    workbench: Workbench, lang: Language, is_open: Any, name: str | None, limit: Any, long_rows: str | None
) -> list[Any]:
    if not is_open:
        return [gr.skip()] * 7
    return show_progress(workbench, lang, name, limit, long_rows)


def show_progress(
    workbench: Workbench, lang: Language, name: str | None, limit: Any, long_rows: str | None
) -> list[Any]:
    """How far the count is, and the figures when it has ended."""
    if not name:
        return _empty("")
    try:
        status = workbench.token_status(name, WAIT_S)
    except WorkbenchError as error:
        return _empty(dataset_views.dataset_refused(error, lang))
    if status.error:
        return _empty(dataset_views.dataset_refused(status.error, lang))
    return _counting(status, lang) if status.table is None else _figures(status.table, limit, long_rows, lang)


def _empty(words: str) -> list[Any]:
    hidden = gr.update(visible=False)
    return [gr.Timer(active=False), words, hidden, hidden, "", hidden, hidden]


def _counting(status: TokenStatus, lang: Language) -> list[Any]:
    words = text("data_tab.statistics.counting", lang, share=f"{status.share:.0%}")
    return [gr.Timer(TICK_S, active=True), progress_bar(status.share, words), *[gr.skip()] * 5]


def _figures(table: TokenTable, limit: Any, long_rows: str | None, lang: Language) -> list[Any]:
    if not len(table.tokens):
        return _empty(note(text("data_tab.preview.no_rows", lang)))
    longest = max(SHORTEST, int(table.tokens.max()))
    chosen = length_from(limit, longest)
    slider = gr.update(visible=True, maximum=longest, value=chosen)
    plot = gr.update(visible=True, value=statistics_views.figure(table, chosen, lang))
    roles = gr.update(visible=bool(table.by_role), value=statistics_views.role_figure(table, lang))
    summary = statistics_views.summary(table, chosen, _way(long_rows), lang)
    return [gr.Timer(active=False), "", slider, gr.update(visible=True), summary, plot, roles]


def length_from(limit: object, longest: int) -> int:
    """A maximum length between the shortest there may be and the longest row, which stands for none chosen."""
    return min(whole_number(limit, SHORTEST, longest), longest)


def _way(long_rows: str | None) -> Any:
    return CUT if long_rows == CUT else "skip"


def show_length(workbench: Workbench, lang: Language, name: str | None, limit: Any, long_rows: str | None) -> list[Any]:
    """The figures at another maximum length."""
    table = workbench.token_status(name).table if name else None
    if table is None:
        return [gr.skip(), gr.skip()]
    *_, summary, plot, _ = _figures(table, limit, long_rows, lang)
    return [summary, plot]


def use_length(workbench: Workbench, lang: Language, length: float | None) -> Any:
    """The maximum length for the run's form."""
    return length_from(length, 1_048_576)
