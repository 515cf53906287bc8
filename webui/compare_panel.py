"""Runs beside each other: overlaid curves, the settings in which they differ, how they ended, what they answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.i18n import Language
from core.training.desk import MAX_COMPARED, MIN_COMPARED
from core.training.history import RunSummary
from core.workbench import Workbench
from webui import chart_controls, charts, compare_views, history_panel, run_views
from webui.chart_controls import ChartControls
from webui.charts import ChartView
from webui.wiring import RAW, Wiring


@dataclass(frozen=True)
class ComparePanel:
    """The components. `runs` are those that are compared."""

    part: gr.Accordion
    runs: gr.Dropdown
    view: ChartControls
    plot: gr.Plot
    tables: gr.HTML

    @property
    def shown(self) -> list[Any]:
        """What `draw` fills."""
        return [self.part, self.runs, self.plot, self.tables]


def build(wiring: Wiring) -> ComparePanel:
    with wiring.say(gr.Accordion(open=False, elem_id="compare-part"), label="runs_tab.compare.title") as part:
        runs = gr.Dropdown([], value=[], multiselect=True, max_choices=MAX_COMPARED, elem_id="compare-runs")
        wiring.say(runs, label="runs_tab.compare.runs", info="runs_tab.compare.runs_info")
        view = chart_controls.build(wiring, "compare")
        plot = gr.Plot(visible=False, show_label=False, elem_id="plot-compare")
        wiring.say(plot, label="runs_tab.chart.loss")
        tables = gr.HTML(elem_id="compare-tables")
    return ComparePanel(part, runs, view, plot, tables)


def connect(wiring: Wiring, panel: ComparePanel, listing: gr.HTML, run: gr.Dropdown, changed: Sequence[Any]) -> None:
    """`listing` is the list of all runs, in which those that are compared are marked; `run` chooses the open one.

    `changed` are the events after which a run may be gone.
    """
    chosen, shown = [panel.runs, run, *panel.view.values], [*panel.shown, listing]
    wiring.on(listing.click, toggle, chosen, shown, **RAW)
    begun_or_ended = wiring.shared["active-run"].change
    again = [panel.runs.input, wiring.language.input, panel.part.expand, begun_or_ended]
    for trigger in (again, *changed):
        wiring.on(trigger, draw, chosen, shown, **RAW)
    wiring.on(panel.view.changed, show_chart, [panel.runs, *panel.view.values], [panel.plot], **RAW)


def toggle(
    workbench: Workbench, lang: Language, event: gr.EventData, runs: object, opened: str | None, *view: Any
) -> list[Any]:
    """Put the run whose button was clicked in the list beside the others, or take it away again."""
    run_id = history_panel.clicked(workbench, event, "compare")
    if run_id is None:
        return [gr.skip()] * 5
    before = runs if isinstance(runs, list) else []
    wanted = [each for each in before if each != run_id] if run_id in before else [*before, run_id]
    every = workbench.runs.list()
    known = _known(every, wanted[-MAX_COMPARED:])
    choice = gr.update(choices=run_views.run_choices(every, lang), value=known)
    return [gr.update(open=True), choice, *_compared(workbench, lang, every, known, opened, *view)]


def draw(workbench: Workbench, lang: Language, runs: object, opened: str | None, *view: Any) -> list[Any]:
    """The comparison of the runs that are still there, and the list of all with those marked.

    The choice is sent back only where a run of it is gone: a late answer would undo what was chosen meanwhile.
    """
    every = workbench.runs.list()
    known = _known(every, runs)
    gone = {"value": known} if known != (runs or []) else {}
    choice = gr.update(choices=run_views.run_choices(every, lang), **gone)
    return [gr.skip(), choice, *_compared(workbench, lang, every, known, opened, *view)]


def show_chart(workbench: Workbench, lang: Language, runs: object, *view: Any) -> Any:
    """The overlaid curves as a person now wants to see them."""
    wanted = _known(workbench.runs.list(), runs)
    if len(wanted) < MIN_COMPARED:
        return gr.skip()
    return charts.comparison_figure(workbench.runs.compare(wanted).curves, ChartView.of(*view), lang)


def _compared(
    workbench: Workbench, lang: Language, every: Sequence[RunSummary], known: list[str], opened: str | None, *view: Any
) -> list[Any]:
    """Plot and tables of the runs that are compared, and the list of all with those marked."""
    marked = history_panel.draw(every, opened, known, lang)
    if len(known) < MIN_COMPARED:
        return [gr.update(visible=False), compare_views.too_few(lang), marked]
    compared = workbench.runs.compare(known)
    figure = charts.comparison_figure(compared.curves, ChartView.of(*view), lang)
    return [gr.update(visible=True, value=figure), compare_views.comparison(compared, lang), marked]


def _known(every: Sequence[RunSummary], runs: object) -> list[str]:
    """The runs among what a browser sent that there are, as many as can be compared."""
    ids = [run.run_id for run in every]
    wanted = [each for each in (runs if isinstance(runs, list) else []) if each in ids]
    return list(dict.fromkeys(wanted))[:MAX_COMPARED]
